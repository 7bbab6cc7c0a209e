//! Who is compared, and through which door: a pool for threads or one for tasks. Measures nothing.

use crate::adapters::textbook::{MutexCondvar, MutexVec, SemaphoreVec};
use crate::adapters::{tasks, threads};
use crate::cost::{self, Scenario};
use crate::fairness::{self, Queue};
use crate::pairs;
use crate::probes::{self, Probe};
use std::fmt;
use std::future::Future;
use std::ops::DerefMut;
use std::time::Duration;

/// A pool whose acquire blocks the thread. Each lives until its process ends, so guards may borrow from it for ever.
pub trait Blocking: Sized + Send + Sync + 'static {
    /// Returns the resource when it is dropped.
    type Guard: DerefMut<Target = u64>;

    fn build(size: usize) -> Self;
    fn acquire(&'static self) -> Self::Guard;
}

/// A pool whose acquire is a future.
pub trait Async: Sized + Send + Sync + 'static {
    type Guard: DerefMut<Target = u64> + Send;

    /// Called within a runtime: some pools spawn tasks here.
    fn build(size: usize) -> impl Future<Output = Self> + Send;
    fn acquire(&'static self) -> impl Future<Output = Self::Guard> + Send;
}

/// What workers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Threads,
    /// Tasks of tokio on one thread.
    CurrentThread,
    /// Tasks of tokio on two threads.
    MultiThread,
}

/// One pool in one runtime: a row of the tables.
#[derive(Clone, Copy)]
pub struct Entry {
    pub pool: &'static str,
    pub runtime: Runtime,
    pub measures: Measures,
}

/// What can be measured of it, as functions that know its type.
#[derive(Clone, Copy)]
pub struct Measures {
    /// Nanoseconds for a pair of acquire and release, by [`cost::Figure`].
    pub cost: fn(Runtime, Scenario, Duration) -> Vec<f64>,
    pub fairness: fn(Runtime, Queue, Duration) -> Vec<f64>,
    /// Allocations for a pair.
    pub pairs: fn(Runtime, u64) -> f64,
    /// Threads cannot be cancelled.
    pub probe: Option<fn(Runtime, Probe) -> f64>,
}

impl Runtime {
    pub const ALL: [Self; 3] = [Self::Threads, Self::CurrentThread, Self::MultiThread];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::CurrentThread => "ct",
            Self::MultiThread => "mt2",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|runtime| runtime.name() == name)
    }

    /// A runtime of tokio.
    pub fn start(self) -> tokio::runtime::Runtime {
        let mut builder = match self {
            Self::Threads => unreachable!("threads need no runtime"),
            Self::CurrentThread => tokio::runtime::Builder::new_current_thread(),
            Self::MultiThread => tokio::runtime::Builder::new_multi_thread(),
        };
        builder.worker_threads(2).enable_time().build().expect("there are threads to be had")
    }
}

impl Entry {
    /// All of them; the one that ratios are to comes first.
    pub fn all() -> Vec<Self> {
        let mut all = vec![
            Self::blocking::<MutexVec>(BASELINE),
            Self::blocking::<MutexCondvar>("mutex-condvar"),
            Self::blocking::<threads::R2d2>("r2d2"),
            Self::blocking::<threads::Pingora>("pingora-pool"),
        ];
        all.extend(Self::tasks::<SemaphoreVec>("semaphore"));
        all.extend(Self::tasks::<tasks::Bb8>("bb8"));
        all.extend(Self::tasks::<tasks::Deadpool>("deadpool"));
        all.extend(Self::tasks::<tasks::DeadpoolTimeout>("deadpool-wait"));
        all.extend(Self::tasks::<tasks::Mobc>("mobc"));
        all.extend(Self::tasks::<tasks::FastPool>("fast_pool"));
        {
            all.push(Self::blocking::<crate::adapters::ours::Ours>("socketpool"));
            all.extend(Self::tasks::<crate::adapters::ours::Ours>("socketpool"));
        }
        all
    }

    pub fn find(pool: &str, runtime: Runtime) -> Option<Self> {
        Self::all().into_iter().find(|entry| entry.pool == pool && entry.runtime == runtime)
    }

    pub fn is_baseline(&self) -> bool {
        self.pool == BASELINE && self.runtime == Runtime::Threads
    }

    fn blocking<P: Blocking>(pool: &'static str) -> Self {
        let measures = Measures {
            cost: cost::of_threads::<P>,
            fairness: fairness::of_threads::<P>,
            pairs: pairs::of_threads::<P>,
            probe: None,
        };
        Self { pool, runtime: Runtime::Threads, measures }
    }

    fn tasks<P: Async>(pool: &'static str) -> [Self; 2] {
        let measures = Measures {
            cost: cost::of_tasks::<P>,
            fairness: fairness::of_tasks::<P>,
            pairs: pairs::of_tasks::<P>,
            probe: Some(probes::run::<P>),
        };
        [Runtime::CurrentThread, Runtime::MultiThread].map(|runtime| Self { pool, runtime, measures })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}: {}", self.runtime.name(), self.pool))
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Builds a pool that lives as long as the process, with all its resources made.
pub fn stock_threads<P: Blocking>(size: usize) -> &'static P {
    let pool: &'static P = Box::leak(Box::new(P::build(size)));
    drop((0..size).map(|_| pool.acquire()).collect::<Vec<_>>());
    pool
}

/// The same within a runtime.
pub async fn stock_tasks<P: Async>(size: usize) -> &'static P {
    let pool: &'static P = Box::leak(Box::new(P::build(size).await));
    let mut guards = Vec::new();
    for _ in 0..size {
        guards.push(pool.acquire().await);
    }
    drop(guards);
    // One pool returns resources by tasks, which get their turn here.
    tokio::task::yield_now().await;
    pool
}

/// What ratios are to.
const BASELINE: &str = "mutex-vec";
