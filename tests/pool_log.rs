//! What a pool writes into the log: who asks for a connection and what comes of it, and what whoever runs it should know.
//! A program of its own, for a log has one level.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::{Mutex, Once, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use socketpool::{Clock, Hand, Manager, Pool, PoolConfig, State, Timeouts};

struct Numbers;

impl Manager for Numbers {
    type Connection = u32;
    type Error = Infallible;

    fn connect(&self, _: &Timeouts) -> Result<u32, Infallible> {
        Ok(7)
    }
}

/// Keeps what is logged, with the thread that logged it. A pool that is driven by hand logs in the thread of its test.
struct Kept(Mutex<Vec<(ThreadId, String)>>);

thread_local! {
    /// Whether whatever is logged in this thread makes the logger panic.
    static PANICS: Cell<bool> = const { Cell::new(false) };
}

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

impl Log for Kept {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        if PANICS.get() {
            resume_unwind(Box::new("the disk is full"));
        }
        let line = format!("{} {}", record.level(), record.args());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((thread::current().id(), line));
    }

    fn flush(&self) {}
}

/// What this thread has logged since it asked last, without how long anything took.
fn logged() -> Vec<String> {
    let mut kept = KEPT.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mine = |(thread, _): &mut (ThreadId, String)| *thread == thread::current().id();
    let lines = kept.extract_if(.., mine).map(|(_, line)| line);
    lines.map(|line| line.split(" duration=").next().unwrap_or_default().to_owned()).collect()
}

fn warnings() -> Vec<String> {
    logged().into_iter().filter(|line| line.starts_with("WARN")).collect()
}

fn pool(max_size: u32) -> (Pool<Numbers>, Hand) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        log::set_logger(&KEPT).expect("no other logger in this program");
        log::set_max_level(LevelFilter::Debug);
    });
    let (clock, hand) = Clock::manual();
    let config = PoolConfig { max_size, ..PoolConfig::default() };
    let pool = Pool::builder(Numbers).config(config).clock(clock).driven_by_hand().build().unwrap();
    logged();
    (pool, hand)
}

#[test]
fn a_thread_that_asks_is_logged_before_and_after() {
    let (pool, _hand) = pool(1);
    let lease = pool.acquire().unwrap();
    assert!(pool.try_acquire().is_none());
    drop(lease);
    drop(pool.acquire().unwrap());
    let lines = [
        "DEBUG Acquiring connection: available=0 in_use=0",
        "DEBUG Connection acquire complete: success=true",
        "DEBUG Acquiring connection: available=0 in_use=1",
        "DEBUG Connection acquire complete: success=false",
        "DEBUG Acquiring connection: available=1 in_use=0",
        "DEBUG Connection acquire complete: success=true",
    ];
    assert_eq!(logged(), lines);
}

#[test]
fn a_future_is_logged_at_its_first_poll_and_at_its_end() {
    let (pool, _hand) = pool(1);
    let lease = pool.acquire().unwrap();
    logged();
    let mut context = Context::from_waker(Waker::noop());
    let mut future = pin!(pool.acquire_async());
    assert!(future.as_mut().poll(&mut context).is_pending());
    assert_eq!(logged(), ["DEBUG Acquiring connection: available=0 in_use=1"]);
    assert!(future.as_mut().poll(&mut context).is_pending());
    assert_eq!(logged(), Vec::<String>::new());
    drop(lease);
    assert!(matches!(future.poll(&mut context), Poll::Ready(Ok(_))));
    assert_eq!(logged(), ["DEBUG Connection acquire complete: success=true"]);
}

#[test]
fn a_pool_that_is_nearly_full_is_warned_of_once_a_minute() {
    let (pool, hand) = pool(1);
    let _lease = pool.acquire().unwrap();
    pool.tick();
    assert_eq!(warnings(), ["WARN Pool near capacity: 1/1"]);
    hand.advance(Duration::from_secs(59));
    pool.tick();
    assert_eq!(warnings(), Vec::<String>::new());
    hand.advance(Duration::from_secs(1));
    pool.tick();
    assert_eq!(warnings(), ["WARN Pool near capacity: 1/1"]);
}

#[test]
fn connections_that_are_hardly_used_again_are_warned_of() {
    let (pool, _hand) = pool(10);
    for _ in 0..100 {
        pool.acquire_new().unwrap().discard();
    }
    pool.tick();
    assert_eq!(warnings(), ["WARN Low pool hit rate: 0% of 100 acquisitions"]);
}

#[test]
fn a_logger_that_panics_costs_no_connection() {
    let (pool, _) = pool(2);
    let (one, other) = (pool.acquire().unwrap(), pool.acquire().unwrap());
    PANICS.set(true);
    one.discard();
    pool.tick();
    PANICS.set(false);
    drop(other);
    assert_eq!(pool.drain(Duration::from_secs(1)), State::Drained);
    let stats = pool.stats();
    assert_eq!((stats.connections_created, stats.connections_destroyed), (2, 2));
}
