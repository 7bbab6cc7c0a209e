//! Code of the application in places where nobody expects any: wakers, errors and managers that panic when they are copied
//! or dropped, and a last handle that goes in the hands of a thread of the pool's own.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::task::{RawWakerVTable, Wake, Waker};
use std::thread;

use socketpool::{BreakerConfig, Manager, Pool, PoolConfig, PoolError, Timeouts};

use crate::closing::threaded;
use crate::fake::{Call, Does, PATIENCE, Resource, World, until};
use crate::scene::{Scene, ms, quiet, secs};
use crate::waiters::{ByHand, Kind, Waiter};

/// More than there are threads to lose.
const OFTEN: usize = 20;

/// A waker that panics when the last of it is dropped.
struct Clinging;

impl Wake for Clinging {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Clinging {
    fn drop(&mut self) {
        resume_unwind(Box::new("it is not to be dropped"));
    }
}

#[test]
fn a_waker_that_panics_when_it_is_dropped_keeps_no_connection() {
    let scene = Scene::new(quiet(1));
    let held = scene.acquire();
    let mut waiter = ByHand::new(scene.pool.acquire_async().into_owned());
    assert!(waiter.poll_with(&Waker::from(Arc::new(Clinging))).is_none());
    // Another one takes its place, which panics, and the future stands in line still.
    assert!(catch_unwind(AssertUnwindSafe(|| waiter.poll())).is_err());
    assert!(waiter.poll().is_none());
    scene.release(held);
    assert_eq!(waiter.get().unwrap().number, 1);
    assert_eq!(scene.idle(), 1);
}

#[test]
fn a_future_that_panics_when_it_is_dropped_has_left_the_line() {
    let scene = Scene::new(quiet(1));
    let held = scene.acquire();
    let mut waiter = ByHand::new(scene.pool.acquire_async().into_owned());
    assert!(waiter.poll_with(&Waker::from(Arc::new(Clinging))).is_none());
    let mut other = scene.in_line();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(waiter))).is_err());
    scene.release(held);
    assert_eq!(other.get().unwrap().number, 1);
}

/// A waker that panics when it is copied.
fn unique() -> Waker {
    const UNIQUE: RawWakerVTable =
        RawWakerVTable::new(|_| resume_unwind(Box::new("it is not to be copied")), |_| {}, |_| {}, |_| {});
    // SAFETY: none of the functions looks at what it is given.
    #[allow(unsafe_code, reason = "no safe one can panic there")]
    unsafe {
        Waker::new(std::ptr::null(), &UNIQUE)
    }
}

#[test]
fn a_waker_that_panics_when_it_is_copied_strands_nobody() {
    let scene = Scene::new(quiet(1));
    let held = scene.acquire();
    let (mut first, mut other) = (scene.in_line(), scene.in_line());
    assert!(catch_unwind(AssertUnwindSafe(|| first.poll_with(&unique()))).is_err());
    drop(first);
    scene.release(held);
    assert_eq!(other.get().unwrap().number, 1);
    assert_eq!(scene.idle(), 1);
}

/// A manager whose end is told, with the thread in which it was, and then panics.
struct Dying(World, Sender<String>);

impl Manager for Dying {
    type Connection = Resource;
    type Error = crate::fake::Fault;

    fn connect(&self, within: &Timeouts) -> Result<Resource, Self::Error> {
        self.0.manager().connect(within)
    }

    fn close(&self, resource: Resource) {
        self.0.manager().close(resource);
    }
}

impl Drop for Dying {
    fn drop(&mut self) {
        let _ = self.1.send(this_thread());
        resume_unwind(Box::new("a manager at its end"));
    }
}

fn this_thread() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

#[test]
fn managers_that_panic_at_their_end_cost_no_connector_thread() {
    let (give, take) = mpsc::channel();
    for _ in 0..OFTEN {
        let world = World::default();
        world.set(Call::Connect, Does::Hang);
        let pool = Pool::builder(Dying(world.clone(), give.clone())).config(quiet(1)).build().unwrap();
        assert!(pool.try_acquire().is_none());
        until("the connect hangs", || world.hanging() == 1);
        drop(pool);
        world.set(Call::Connect, Does::Work);
        assert_eq!(take.recv_timeout(PATIENCE).unwrap(), "socketpool-connect");
        world.assert_all_closed();
    }
    let (world, pool) = threaded(quiet(1));
    drop(pool.acquire().unwrap());
    drop(pool);
    world.assert_all_closed();
}

/// Every deadline of the process is kept by one thread, which must not be lost.
fn assert_deadlines_are_kept() {
    let (world, pool) = threaded(quiet(1));
    let held = pool.acquire().unwrap();
    let late = Waiter::ask_for(pool.acquire_timeout_async(ms(5)).into_owned());
    assert!(matches!(late.get(), Err(PoolError::Timeout { .. })));
    drop((held, pool));
    world.assert_all_closed();
}

#[test]
fn a_pool_whose_last_handle_goes_in_a_waker_ends_in_no_thread_that_keeps_deadlines() {
    let (give, take) = mpsc::channel();
    let world = World::default();
    world.set(Call::Connect, Does::Fail);
    let breaker =
        BreakerConfig { first_delay: secs(3600), max_delay: secs(3600), ..BreakerConfig::default() };
    let config = PoolConfig { breaker: Some(breaker), ..quiet(1) };
    let pool = Pool::builder(Dying(world.clone(), give)).config(config).build().unwrap();
    assert!(pool.try_acquire().is_none());
    until("nothing goes on any more", || {
        world.count(Call::Connect) == 1 && pool.stats().total_connections == 0
    });
    let waiter = ByHand::in_line(pool.acquire_timeout_async(ms(50)).into_owned());
    let (waker, both) = (Arc::clone(&waiter.bell), Mutex::new((waiter, pool)));
    let (woken, wakes) = mpsc::channel();
    waker.hook(move || {
        drop(both);
        woken.send(this_thread()).unwrap();
    });
    assert_eq!(wakes.recv_timeout(PATIENCE).unwrap(), "socketpool-deadlines");
    assert_eq!(take.recv_timeout(PATIENCE).unwrap(), "socketpool-connect");
    assert_deadlines_are_kept();
}

/// An error that tells in which thread it is dropped.
struct Told(Sender<String>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(this_thread());
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl Error for Told {}

struct Refusing(World, Sender<String>);

impl Manager for Refusing {
    type Connection = Resource;
    type Error = Told;

    fn connect(&self, within: &Timeouts) -> Result<Resource, Told> {
        self.0.manager().connect(within).map_err(|_| Told(self.1.clone()))
    }

    fn close(&self, resource: Resource) {
        self.0.manager().close(resource);
    }
}

#[test]
fn an_error_is_not_dropped_by_the_thread_that_finds_the_next_connect_late() {
    let (give, take) = mpsc::channel();
    let world = World::default();
    world.script([Does::Fail, Does::Hang]);
    let breaker = BreakerConfig { first_delay: ms(1), max_delay: ms(1), ..BreakerConfig::default() };
    let config = PoolConfig {
        breaker: Some(breaker),
        connect_timeout: Some(ms(30)),
        acquire_timeout: Some(PATIENCE),
        ..quiet(1)
    };
    let pool = Pool::builder(Refusing(world.clone(), give)).config(config).build().unwrap();
    let waiter = Waiter::ask(&pool, Kind::Thread);
    until("the second is late", || pool.stats().connection_errors.timeout == 1);
    world.set(Call::Connect, Does::Work);
    drop(waiter.get().unwrap());
    drop(pool);
    assert_ne!(take.recv_timeout(PATIENCE).unwrap(), "socketpool-deadlines");
    world.assert_all_closed();
}

/// An error of which the first panics when the last of it is dropped.
#[derive(Debug)]
struct Sticky(u64);

impl Drop for Sticky {
    fn drop(&mut self) {
        if self.0 == 0 {
            resume_unwind(Box::new("it is not to be dropped"));
        }
    }
}

impl fmt::Display for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl Error for Sticky {}

struct Sticking(World, AtomicU64);

impl Manager for Sticking {
    type Connection = Resource;
    type Error = Sticky;

    fn connect(&self, within: &Timeouts) -> Result<Resource, Sticky> {
        self.0.manager().connect(within).map_err(|_| Sticky(self.1.fetch_add(1, Ordering::SeqCst)))
    }

    fn close(&self, resource: Resource) {
        self.0.manager().close(resource);
    }
}

#[test]
fn a_thread_that_unwinds_while_it_waits_has_left_the_line() {
    let world = World::default();
    let (clock, hand) = socketpool::Clock::manual();
    let breaker = BreakerConfig { first_delay: ms(1), max_delay: ms(1), ..BreakerConfig::default() };
    let config = PoolConfig { breaker: Some(breaker), ..quiet(1) };
    let pool = Pool::builder(Sticking(world.clone(), AtomicU64::new(0)))
        .config(config)
        .clock(clock)
        .driven_by_hand();
    let pool = pool.build().unwrap();
    world.script([Does::Fail, Does::Fail]);
    let of = pool.clone();
    // With the second error the first one goes, in the thread that waits and does what is to be done.
    let waiter = thread::spawn(move || drop(of.acquire()));
    until("it has unwound", || {
        hand.advance(ms(10));
        waiter.is_finished()
    });
    assert!(waiter.join().is_err());
    assert_eq!(pool.stats().pending_requests, 0);
    hand.advance(ms(10));
    assert!(pool.try_acquire().is_none(), "it is made in the background");
    pool.tick();
    let stats = pool.stats();
    assert_eq!((stats.active_connections, stats.idle_connections), (0, 1), "{stats:?}");
}
