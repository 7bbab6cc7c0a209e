//! Whatever ends a connection or begins another, those who stand in line are served: threads, futures and functions in
//! one line.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use socketpool::{BreakerConfig, Pool, PoolConfig};

use crate::closing::threaded;
use crate::fake::{Call, Does, Fake, World, until};
use crate::scene::{ms, quiet};
use crate::waiters::{ByHand, KINDS, Waiter};

/// Two of every kind in one line, behind as many leases as there may be.
struct Line {
    world: World,
    pool: Pool<Fake>,
    held: Vec<socketpool::PooledConnection<Fake>>,
    waiters: Vec<Waiter<Fake>>,
}

impl Line {
    fn behind(number: usize) -> Self {
        let breaker = BreakerConfig { first_delay: ms(1), failures: 100, ..BreakerConfig::default() };
        let config = PoolConfig { breaker: Some(breaker), ..quiet(number as u32) };
        let (world, pool) = threaded(config);
        let held = (0..number).map(|_| pool.acquire().unwrap()).collect();
        let kinds = KINDS.iter().chain(&KINDS);
        let waiters = kinds.map(|kind| Waiter::enter(&pool, *kind)).collect();
        Self { world, pool, held, waiters }
    }

    /// Each gets one and gives it back.
    #[track_caller]
    fn all_are_served(self) {
        for waiter in &self.waiters {
            drop(waiter.get().unwrap());
        }
        drop(self.held);
        drop(self.pool);
        self.world.assert_all_closed();
    }
}

#[test]
fn by_a_release() {
    let mut line = Line::behind(1);
    line.held.clear();
    line.all_are_served();
}

#[test]
fn by_a_discard() {
    let mut line = Line::behind(2);
    line.held.drain(..).for_each(socketpool::PooledConnection::discard);
    line.all_are_served();
}

#[test]
fn by_one_that_broke_while_it_was_held() {
    let mut line = Line::behind(1);
    line.held[0].break_down();
    line.held.clear();
    line.all_are_served();
}

#[test]
fn after_connects_that_failed() {
    let mut line = Line::behind(1);
    line.world.script([Does::Fail, Does::Panic, Does::Fail]);
    line.held.drain(..).for_each(socketpool::PooledConnection::discard);
    line.all_are_served();
}

#[test]
fn by_a_larger_limit() {
    let line = Line::behind(1);
    line.pool.resize(4).unwrap();
    line.all_are_served();
}

#[test]
fn by_a_close_that_has_been_carried_out() {
    let mut line = Line::behind(1);
    line.world.set(Call::Close, Does::Hang);
    line.held.drain(..).for_each(socketpool::PooledConnection::discard);
    until("it is being closed", || line.world.hanging() == 1);
    assert!(line.waiters.iter().all(|waiter| waiter.peek().is_none()), "its place is not free yet");
    line.world.set(Call::Close, Does::Panic);
    line.all_are_served();
}

#[test]
fn when_the_holder_panics() {
    let mut line = Line::behind(1);
    let held = line.held.pop().unwrap();
    let holder = thread::spawn(move || {
        let _held = held;
        std::panic::resume_unwind(Box::new("the work went wrong"));
    });
    assert!(holder.join().is_err());
    line.all_are_served();
}

#[test]
fn when_those_before_them_give_up() {
    let mut line = Line::behind(1);
    let pool = line.pool.clone();
    let mut given_up: Vec<_> = (0..3).map(|_| ByHand::in_line(pool.acquire_async().into_owned())).collect();
    let last = Waiter::enter(&pool, crate::waiters::Kind::Thread);
    let granted_later = given_up.pop().unwrap();
    drop(given_up);
    line.waiters.push(last);
    let dropper = thread::spawn(move || {
        until("it was granted", || granted_later.rung() == 1);
        drop(granted_later);
    });
    line.held.clear();
    for waiter in &line.waiters {
        drop(waiter.get().unwrap());
    }
    dropper.join().unwrap();
    drop(pool);
    line.all_are_gone();
}

#[test]
fn when_a_function_that_was_called_panics() {
    let mut line = Line::behind(1);
    for _ in 0..20 {
        line.pool.acquire_with(|_| std::panic::resume_unwind(Box::new("a function of the application")));
    }
    line.waiters.push(Waiter::enter(&line.pool, crate::waiters::Kind::Thread));
    line.held.clear();
    line.all_are_served();
}

#[test]
fn by_a_drain_and_by_a_close() {
    let mut line = Line::behind(1);
    let pool = line.pool.clone();
    let drain = thread::spawn(move || pool.drain(crate::fake::PATIENCE));
    line.held.clear();
    for waiter in &line.waiters {
        drop(waiter.get().unwrap());
    }
    assert_eq!(drain.join().unwrap(), socketpool::State::Drained);
    line.all_are_gone();

    let line = Line::behind(1);
    line.pool.close();
    for waiter in &line.waiters {
        assert!(matches!(waiter.get(), Err(socketpool::PoolError::Closed)));
    }
    line.all_are_gone();
}

#[test]
fn one_who_is_given_back_while_unwinding_is_closed() {
    let (world, pool) = threaded(quiet(1));
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _held = pool.acquire().unwrap();
        std::panic::resume_unwind(Box::new("the work went wrong"));
    }));
    assert!(unwound.is_err());
    until("it is closed", || world.count(Call::Close) == 1);
    assert_eq!(pool.acquire().unwrap().number, 2);
    drop(pool);
    world.assert_all_closed();
}

impl Line {
    #[track_caller]
    fn all_are_gone(self) {
        drop((self.held, self.pool, self.waiters));
        self.world.assert_all_closed();
    }
}
