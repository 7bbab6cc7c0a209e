//! What a pair of acquire and release costs when nobody waits, and when many do.

use crate::roster::{self, Async, Blocking, Runtime};
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Who shares how much, and what happens between acquire and release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub name: &'static str,
    pub workers: usize,
    pub size: usize,
    /// Holders let others run, so that there are waiters.
    pub yields: bool,
}

/// What [`of_threads`] and [`of_tasks`] find, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// By the clock on the wall: what a worker sees.
    Wall,
    /// By the CPU time of the process: what others have left. On a machine that is not quiet only this one is of use, but
    /// it is higher than the wall's where two work at once.
    Cpu,
}

impl Figure {
    pub const ALL: [Self; 2] = [Self::Wall, Self::Cpu];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Cpu => "cpu",
        }
    }
}

impl Scenario {
    pub const ALL: [Self; 4] = [
        Self { name: "A", workers: 1, size: 4, yields: false },
        Self { name: "B", workers: 2, size: 2, yields: false },
        Self { name: "C", workers: 8, size: 4, yields: false },
        Self { name: "D", workers: 8, size: 4, yields: true },
    ];

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name == name)
    }
}

/// Both clocks at one moment.
struct Clocks {
    wall: Instant,
    cpu: Duration,
}

impl Clocks {
    fn read() -> Self {
        Self { wall: Instant::now(), cpu: own_cpu() }
    }

    /// Since then, by [`Figure`], for each of so many.
    fn nanos_for(&self, pairs: u64) -> Vec<f64> {
        let each = |time: Duration| time.as_nanos() as f64 / pairs as f64;
        vec![each(self.wall.elapsed()), each(own_cpu() - self.cpu)]
    }
}

fn own_cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().expect("it is not negative")
}

pub fn of_threads<P: Blocking>(_: Runtime, scenario: Scenario, time: Duration) -> Vec<f64> {
    let pool = roster::stock_threads::<P>(scenario.size);
    work_thread(pool, scenario.yields, || false, WARM_UP);
    let begin = Clocks::read();
    let over = alarm(time);
    let workers: Vec<_> = (0..scenario.workers)
        .map(|_| {
            thread::spawn(move || {
                work_thread(pool, scenario.yields, || over.load(Ordering::Relaxed), u64::MAX)
            })
        })
        .collect();
    let pairs: u64 = workers.into_iter().map(|worker| worker.join().expect("workers do not panic")).sum();
    begin.nanos_for(pairs)
}

pub fn of_tasks<P: Async>(runtime: Runtime, scenario: Scenario, time: Duration) -> Vec<f64> {
    runtime.start().block_on(async {
        let pool = roster::stock_tasks::<P>(scenario.size).await;
        work_task(pool, scenario.yields, || false, WARM_UP).await;
        let begin = Clocks::read();
        let over = alarm(time);
        let workers: Vec<_> = (0..scenario.workers)
            .map(|_| {
                tokio::spawn(work_task(pool, scenario.yields, || over.load(Ordering::Relaxed), u64::MAX))
            })
            .collect();
        let mut pairs = 0;
        for worker in workers {
            pairs += worker.await.expect("workers do not panic");
        }
        begin.nanos_for(pairs)
    })
}

fn work_thread<P: Blocking>(pool: &'static P, yields: bool, over: impl Fn() -> bool, most: u64) -> u64 {
    let mut pairs = 0;
    while pairs < most && !over() {
        let mut guard = pool.acquire();
        *guard += 1;
        if yields {
            thread::yield_now();
        }
        drop(guard);
        pairs += 1;
    }
    pairs
}

async fn work_task<P: Async>(
    pool: &'static P,
    yields: bool,
    over: impl Fn() -> bool + Send,
    most: u64,
) -> u64 {
    let mut pairs = 0;
    while pairs < most && !over() {
        let mut guard = pool.acquire().await;
        *guard += 1;
        if yields {
            tokio::task::yield_now().await;
        }
        drop(guard);
        pairs += 1;
    }
    pairs
}

/// Becomes true after `time`. A thread's work: tasks that never wait would keep a timer of their runtime from firing.
fn alarm(time: Duration) -> &'static AtomicBool {
    let over: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    thread::spawn(move || {
        thread::sleep(time);
        over.store(true, Ordering::Relaxed);
    });
    over
}

/// Pairs before the clock starts.
const WARM_UP: u64 = 1_000;
