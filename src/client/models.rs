//! What may happen to a pool at the same time, tried in every order that matters (loom): the pool as it is, with a manager that
//! makes numbers. Run with `--cfg loom`, see CONTRIBUTING.md. Time stands still in them unless a model moves it.

mod stack;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::thread;

use super::shared::Shared;
use super::slots::Home;
use super::sync::thread as parking;
use super::{Manager, Pool, PoolConfig, PoolError, PooledConnection, Timeouts};
use crate::clock::{Clock, Hand};
use crate::drain::State;

/// Somebody gets in line while a connection comes back to a lane.
#[test]
fn lane_push_and_enter_wait() {
    explore("lane_push_and_enter_wait", INTERRUPTIONS, || {
        let world = World::new(2, 2);
        let (held, kept) = (world.lease(), world.lease());
        held.pool().slots().crowd();
        let other = world.clone();
        let waiter = thread::spawn(move || other.use_one());
        drop(held);
        waiter.join().unwrap();
        drop(kept);
        world.is_at_rest(2);
    });
}

/// The pool is closed while a connection comes back to a lane.
#[test]
fn lane_push_and_close() {
    explore("lane_push_and_close", INTERRUPTIONS, || {
        let world = World::new(2, 2);
        let (held, other) = (world.lease(), world.lease());
        held.pool().slots().crowd();
        drop(other);
        let closing = world.clone();
        let closer = thread::spawn(move || closing.pool.close());
        drop(held);
        closer.join().unwrap();
        world.pool.tick();
        assert_eq!(world.pool.state(), State::Drained);
        world.tally.all_closed();
    });
}

/// Somebody gets in line while the one connection comes back.
#[test]
fn push_and_enter_wait() {
    explore("push_and_enter_wait", INTERRUPTIONS, || {
        let world = World::new(1, 1);
        let held = world.lease();
        let other = world.clone();
        let waiter = thread::spawn(move || other.use_one());
        drop(held);
        waiter.join().unwrap();
        world.is_at_rest(1);
    });
}

/// Two get in line while the one connection comes back.
#[test]
fn push_and_two_enter_wait() {
    explore("push_and_two_enter_wait", INTERRUPTIONS, || {
        let world = World::new(1, 1);
        let held = world.lease();
        let waiters = [world.clone(), world.clone()].map(|world| thread::spawn(move || world.use_one()));
        drop(held);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        world.is_at_rest(1);
    });
}

/// The first in line gives up while the connection comes back: the second gets it.
#[test]
fn grant_and_cancel() {
    explore("grant_and_cancel", INTERRUPTIONS, || {
        let world = World::new(1, 1);
        let held = world.lease();
        let mut first = Box::pin(world.pool.acquire_async().into_owned());
        assert!(poll_once(first.as_mut()).is_pending());
        let other = world.clone();
        let second = thread::spawn(move || other.use_one());
        let cancel = thread::spawn(move || drop(first));
        drop(held);
        second.join().unwrap();
        cancel.join().unwrap();
        world.is_at_rest(1);
    });
}

/// A future that stands in line moves to another task while the connection comes back: whoever polled it last is woken.
#[test]
fn grant_and_new_waker() {
    explore("grant_and_new_waker", INTERRUPTIONS, || {
        let world = World::new(1, 1);
        let held = world.lease();
        let mut waiting = Box::pin(world.pool.acquire_async().into_owned());
        assert!(poll_once(waiting.as_mut()).is_pending());
        let other = world.clone();
        let task = thread::spawn(move || other.work_with(block_on(waiting).unwrap()));
        drop(held);
        task.join().unwrap();
        world.is_at_rest(1);
    });
}

/// The first in line gives up while the connection comes back, and the pool is closed: it is closed too, once.
#[test]
fn grant_and_cancel_and_close() {
    explore("grant_and_cancel_and_close", INTERRUPTIONS, || {
        let world = World::new(1, 1);
        let held = world.lease();
        let shared = Arc::clone(held.pool());
        let mut waiting = Box::pin(world.pool.acquire_async().into_owned());
        assert!(poll_once(waiting.as_mut()).is_pending());
        let cancel = thread::spawn(move || drop(waiting));
        let tally = Arc::clone(&world.tally);
        // The last handle goes, and with it the pool is closed.
        let closer = thread::spawn(move || drop(world));
        drop(held);
        closer.join().unwrap();
        cancel.join().unwrap();
        shared.do_jobs();
        assert_eq!(shared.state(), State::Drained);
        drop(shared);
        tally.all_closed();
    });
}

/// Two in line give up while the connection comes back, one after the other or both at once: it is there for the next.
#[test]
fn grant_and_two_cancel() {
    explore("grant_and_two_cancel", INTERRUPTIONS, || {
        let world = World::new(1, 1);
        let held = world.lease();
        let waiting = || Box::pin(world.pool.acquire_async().into_owned());
        let (mut first, mut second) = (waiting(), waiting());
        assert!(poll_once(first.as_mut()).is_pending() && poll_once(second.as_mut()).is_pending());
        let cancel = [first, second].map(|waiting| thread::spawn(move || drop(waiting)));
        drop(held);
        cancel.into_iter().for_each(|cancel| cancel.join().unwrap());
        world.is_at_rest(1);
    });
}

/// Somebody's patience ends while the connection comes back: he has exactly one outcome, and nothing is lost.
#[test]
fn grant_and_timeout() {
    explore("grant_and_timeout", INTERRUPTIONS - 1, || {
        let world = World::new(1, 1);
        let held = world.lease();
        let other = world.clone();
        let waiter = thread::spawn(move || match other.pool.acquire_timeout(PATIENCE) {
            Ok(lease) => other.work_with(lease),
            Err(error) => assert!(matches!(error, PoolError::Timeout { .. }), "{error}"),
        });
        let other = world.clone();
        let clock = thread::spawn(move || {
            other.hand.advance(PATIENCE);
            other.pool.tick();
        });
        drop(held);
        clock.join().unwrap();
        world.pool.tick();
        waiter.join().unwrap();
        world.is_at_rest(1);
    });
}

/// Several are told at the same time that their patience is over, more than are woken for one visit to the lock. One of them
/// finds out before he is woken and stands in line again: the call that was meant for him then is not taken for the next.
#[test]
fn timeout_and_enter_wait() {
    explore("timeout_and_enter_wait", INTERRUPTIONS, || {
        let world = World::new(1, 1);
        let held = world.lease();
        let waiting = || Box::pin(world.pool.acquire_timeout_async(PATIENCE).into_owned());
        let (mut first, mut second) = (waiting(), waiting());
        assert!(poll_once(first.as_mut()).is_pending() && poll_once(second.as_mut()).is_pending());
        let other = world.clone();
        let thread = thread::spawn(move || {
            assert!(matches!(block_on(second), Err(PoolError::Timeout { .. })));
            other.use_one();
        });
        world.hand.advance(PATIENCE);
        world.pool.tick();
        assert!(matches!(block_on(first), Err(PoolError::Timeout { .. })));
        drop(held);
        thread.join().unwrap();
        world.is_at_rest(1);
    });
}

/// The pool is closed while somebody asks and somebody gives back.
#[test]
fn close_and_acquire() {
    explore("close_and_acquire", INTERRUPTIONS, || {
        let world = World::new(1, 1);
        let held = world.lease();
        let shared = Arc::clone(held.pool());
        let other = world.clone();
        let asker = thread::spawn(move || match other.pool.acquire() {
            Ok(lease) => other.work_with(lease),
            Err(error) => assert!(matches!(error, PoolError::Closed), "{error}"),
        });
        let other = world.clone();
        let closer = thread::spawn(move || other.pool.close());
        drop(held);
        asker.join().unwrap();
        closer.join().unwrap();
        world.pool.tick();
        assert!(shared.take_idle().is_none(), "nothing is lent after the close");
        assert!(matches!(world.pool.acquire(), Err(PoolError::Closed)));
        assert_eq!(world.pool.state(), State::Drained);
        world.tally.all_closed();
    });
}

/// The limit goes down while connections come back: the surplus is closed, the rest can be lent.
#[test]
fn resize_and_release() {
    explore("resize_and_release", INTERRUPTIONS, || {
        let world = World::new(2, 2);
        let (one, other) = (world.lease(), world.lease());
        let threads = [one, other].map(|lease| thread::spawn(move || drop(lease)));
        world.pool.resize(1).unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        world.pool.tick();
        world.is_at_rest(1);
    });
}

/// The limit goes up while somebody waits and a connection comes back.
#[test]
fn resize_and_enter_wait() {
    explore("resize_and_enter_wait", INTERRUPTIONS, || {
        let world = World::new(2, 1);
        world.pool.resize(1).unwrap();
        let held = world.lease();
        let other = world.clone();
        let waiter = thread::spawn(move || other.use_one());
        world.pool.resize(2).unwrap();
        world.pool.tick();
        waiter.join().unwrap();
        drop(held);
        world.pool.tick();
        let idle = world.pool.stats().idle_connections;
        assert!((1..=2).contains(&idle), "{idle}");
        world.is_at_rest(idle);
    });
}

/// Counters are looked at while a connection that nobody has had is lent and comes back.
#[test]
fn pop_and_stats() {
    explore("pop_and_stats", INTERRUPTIONS, || {
        let world = World::warmed();
        let other = world.clone();
        let thread = thread::spawn(move || other.use_one());
        let mut seen = (0, 0);
        for _ in 0..2 {
            let stats = world.pool.stats();
            let now = (stats.total_acquisitions, stats.total_releases);
            assert!(seen.0 <= now.0 && seen.1 <= now.1 && now.1 <= now.0, "{seen:?}, then {now:?}");
            seen = now;
        }
        thread.join().unwrap();
        let stats = world.pool.stats();
        assert_eq!((stats.total_acquisitions, stats.total_releases), (1, 1));
        world.is_at_rest(1);
    });
}

/// A pool whose connections are numbers.
#[derive(Clone)]
struct World {
    pool: Pool<Numbers>,
    hand: Hand,
    tally: Arc<Tally>,
}

impl World {
    /// A pool of at most `most` connections, of which some have been lent and are idle in the stack.
    fn new(most: u32, made: u32) -> Self {
        let world = Self::empty(most, 0);
        let leases: Vec<_> = (0..made).map(|_| world.lease()).collect();
        drop(leases);
        world
    }

    /// A pool of one connection that nobody has had yet. It is idle in the stack.
    fn warmed() -> Self {
        let world = Self::empty(1, 1);
        world.pool.warm().unwrap();
        world
    }

    fn empty(max_size: u32, min_size: u32) -> Self {
        let tally = Arc::new(Tally::default());
        let (clock, hand) = Clock::manual();
        let config = PoolConfig {
            max_size,
            min_size,
            idle_timeout: None,
            max_lifetime: None,
            acquire_timeout: None,
            validate_after: None,
            health_check_interval: None,
            ..PoolConfig::default()
        };
        let builder = Pool::builder(Numbers(Arc::clone(&tally))).config(config).clock(clock);
        let pool = builder.driven_by_hand().build().unwrap();
        Self { pool, hand, tally }
    }

    fn lease(&self) -> PooledConnection<Numbers> {
        self.pool.acquire().unwrap()
    }

    fn use_one(&self) {
        self.work_with(self.lease());
    }

    fn work_with(&self, lease: PooledConnection<Numbers>) {
        let number = *lease;
        self.tally.hold(number);
        // Others may come while it is held.
        thread::yield_now();
        self.tally.let_go(number);
    }

    /// Nobody waits, nothing is lent, and so many are there for whoever comes without the lock.
    fn is_at_rest(&self, idle: u32) {
        let stats = self.pool.stats();
        assert_eq!((stats.idle_connections, stats.total_connections), (idle, idle), "{stats:?}");
        assert_eq!((stats.active_connections, stats.pending_requests), (0, 0), "{stats:?}");
        let first = self.lease();
        let shared = Arc::clone(first.pool());
        self.tally.hold(*first);
        let lent: Vec<_> = (1..idle).map(|_| shared.take_idle().expect("in the stack")).collect();
        lent.iter().for_each(|(held, ..)| self.tally.hold(held.connection));
        assert!(shared.take_idle().is_none());
        for (held, _, right) in lent {
            self.tally.let_go(held.connection);
            assert!(Shared::put_back(right, held).is_ok(), "the stack is open");
        }
        self.tally.let_go(*first);
        drop(first);
        let (held, _, right) = shared.take_idle().expect("the stack is open");
        assert!(Shared::put_back(right, held).is_ok());
        assert_eq!(self.tally.open(), idle as usize);
    }
}

/// Makes numbers, each once.
struct Numbers(Arc<Tally>);

impl Manager for Numbers {
    type Connection = u32;
    type Error = Infallible;

    fn connect(&self, _: &Timeouts) -> Result<u32, Infallible> {
        Ok(self.0.made.fetch_add(1, Ordering::Relaxed) as u32)
    }

    fn close(&self, number: u32) {
        assert!(!self.0.closed[number as usize].swap(true, Ordering::Relaxed), "{number} is closed again");
        assert!(!self.0.held[number as usize].load(Ordering::Relaxed), "{number} is closed and held");
    }
}

/// Who has which number. Not of loom's making: it is to see orders of events and not to allow fewer of them.
#[derive(Default)]
struct Tally {
    made: AtomicUsize,
    closed: [AtomicBool; MOST],
    held: [AtomicBool; MOST],
}

impl Tally {
    fn hold(&self, number: u32) {
        assert!((number as usize) < self.made.load(Ordering::Relaxed), "{number} was never made");
        assert!(!self.held[number as usize].swap(true, Ordering::Relaxed), "two have {number}");
        assert!(!self.closed[number as usize].load(Ordering::Relaxed), "{number} was closed");
    }

    fn let_go(&self, number: u32) {
        assert!(self.held[number as usize].swap(false, Ordering::Relaxed), "nobody had {number}");
    }

    fn open(&self) -> usize {
        let closed = self.closed.iter().filter(|closed| closed.load(Ordering::Relaxed)).count();
        self.made.load(Ordering::Relaxed) - closed
    }

    fn all_closed(&self) {
        assert_eq!(self.open(), 0, "each that was made is closed, once");
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    let waker = Waker::from(parking::current().0);
    future.poll(&mut Context::from_waker(&waker))
}

fn block_on<F: Future>(mut future: Pin<Box<F>>) -> F::Output {
    loop {
        match poll_once(future.as_mut()) {
            Poll::Ready(output) => return output,
            Poll::Pending => parking::park(),
        }
    }
}

/// Tells a story in every order that takes no more than so many interruptions.
fn explore(name: &str, interruptions: usize, story: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(interruptions));
    model.max_branches = MOST_BRANCHES;
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    model.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        story();
    });
    println!("{name}: {} orders", told.load(Ordering::Relaxed));
}

/// Most faults take one or two: "Iterative context bounding" (Musuvathi, Qadeer, 2007).
const INTERRUPTIONS: usize = 3;
/// More steps than a story has, so that only one that goes round in circles is stopped.
const MOST_BRANCHES: usize = 20_000;
/// Numbers that a story gets along with.
const MOST: usize = 8;
const PATIENCE: Duration = Duration::from_secs(1);
