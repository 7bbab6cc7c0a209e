//! The pool that all its handles, leases, waiters and threads share: the core behind one lock, the connections that the
//! core only knows by name, and what has to be done when the lock is let go.
//!
//! Nothing of the application runs under the lock: managers are called, wakers woken and connections dropped
//! outside of it. A visit takes the lock, asks or tells the core something, and [leaves](Shared::leave).

use std::panic::Location;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use log::Level;

use super::backend::{Backend, note};
use super::config::PoolConfig;
use super::connectors::Jobs;
use super::deadlines::{Name, Process, Ticks};
use super::facts::Reuse;
use super::inner::{Granted, Inner, Lent, Means};
use super::manager::Timeouts;
use super::retrying::{Stage, StageIs};
use super::seat::Seat;
use super::slots::{Home, Parked, Place, Slots};
use super::stats::PoolStats;
use super::sync::{Condvar, Mutex, MutexGuard};
use super::woken::Woken;
use crate::clock::{Clock, Nanos};
use crate::lease::{Core, KeyId, Known, SlotId, Span};
use crate::net::sys;

pub(super) struct Shared<B: Backend> {
    inner: Mutex<Inner<B>>,
    /// What is idle and can be lent without the lock.
    slots: Arc<Stack<B>>,
    /// For those who wait until a warm-up, a round of checks or a drain is over.
    settled: Condvar,
    pub(super) backend: B,
    pub(super) key: KeyId,
    pub(super) config: PoolConfig,
    /// Exact, for whatever waits.
    clock: Clock,
    /// Cheap and a little late, for whatever does not.
    coarse: Coarse,
    /// How many forks deep the process was in which the pool was made.
    forks: u32,
    driver: Drive,
    pub(super) stage: Stage,
}

/// What is idle and can be lent without the lock.
pub(super) type Stack<B> = Slots<<B as Backend>::Connection, Shared<B>>;

/// What is lent, with its share in its pool.
pub(super) type Held<B> = Parked<<B as Backend>::Connection, Shared<B>>;

/// A clock for what happens too often to pay for an exact one.
enum Coarse {
    Machine,
    Given(Clock),
}

impl Coarse {
    #[inline(always)]
    fn now(&self) -> Nanos {
        match self {
            Self::Machine => Nanos::new(sys::coarse_nanos()),
            Self::Given(clock) => given(clock),
        }
    }
}

/// Apart, so that it takes no room beside the machine's clock.
#[cold]
#[inline(never)]
fn given(clock: &Clock) -> Nanos {
    clock.now()
}

/// Who carries out commands and calls `tick`.
#[derive(Clone, Copy)]
pub(super) enum Drive {
    /// Threads of the process.
    Threads(&'static Process, Name),
    /// Whoever calls [`Pool::tick`](super::Pool::tick).
    Hand,
}

impl<B: Backend> Shared<B> {
    pub(super) fn new(
        backend: B,
        config: PoolConfig,
        clock: Option<Clock>,
        driver: Drive,
        stage: StageIs,
        seed: u64,
    ) -> Self {
        let (clock, coarse) = match clock {
            Some(clock) => (clock.clone(), Coarse::Given(clock)),
            None => (Clock::showing(sys::monotonic_nanos), Coarse::Machine),
        };
        let mut core = Core::new(None, seed);
        let key = core.add_key(config.terms(), clock.now());
        let reuse = Reuse::new(Span::from(config.validate_after), config.max_uses.unwrap_or(u64::MAX));
        let (slots, rights) = Slots::new(config.places(), reuse);
        let slots = Arc::new(slots);
        let means = Means { key, driver, works_in: backend.works_in(), limits: Timeouts::from(&config) };
        Self {
            inner: Mutex::new(Inner::new(core, Arc::clone(&slots), rights, means, config.min_size as usize)),
            slots,
            settled: Condvar::new(),
            backend,
            key,
            config,
            clock,
            coarse,
            forks: sys::forks(),
            driver,
            stage: Stage::new(stage),
        }
    }

    /// Whether the pool was made by a parent of this process: then none of its threads is here, and its lock may be taken
    /// for ever.
    #[inline]
    pub(super) fn is_inherited(&self) -> bool {
        sys::forks_seen() != self.forks
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner<B>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Nanos {
        self.clock.now()
    }

    pub(super) const fn driver(&self) -> Drive {
        self.driver
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        Timeouts::from(&self.config)
    }

    /// Takes the lock for something that may be decided by what is idle.
    pub(super) fn visit(&self) -> MutexGuard<'_, Inner<B>> {
        let mut inner = self.lock();
        inner.gather();
        inner
    }

    /// Something idle that may be handed out as it is. Nothing else happens.
    #[inline(always)]
    pub(super) fn take_idle(&self) -> Option<(Held<B>, SlotId, Place)> {
        let (place, generation, held) = Slots::pop(self)?;
        let slot = SlotId::of(place.index(), generation);
        Some((held, slot, place))
    }

    /// What has happened to what is lent without the core's knowledge.
    pub(super) fn known(&self, right: &Place) -> Known {
        self.slots.facts(right.index() as usize).known()
    }

    /// Puts back what may simply become idle; gives it back when there is more to it.
    #[inline(always)]
    pub(super) fn put_back(right: Place, held: Held<B>) -> Result<(), (Place, Held<B>)> {
        Slots::push(right, held)
    }

    /// Lets go of what is idle, in a child of the process that it belongs to: dropping it here might say goodbye in the
    /// parent's name.
    #[cold]
    pub(super) fn forget_idle(&self) {
        self.slots.shut(|_, held| std::mem::forget(held.connection));
    }

    /// Notes where a lease was taken.
    #[cold]
    pub(super) fn note_place(&self, slot: SlotId, place: &'static Location<'static>) {
        self.lock().record(slot).taken_at = Some(place);
    }

    /// What is going on, and what has happened.
    pub(super) fn stats(self: &Arc<Self>) -> PoolStats {
        let mut inner = self.visit();
        inner.catch_up(self.now());
        let stats = inner.stats(self.key);
        self.leave(inner);
        stats
    }

    /// Ends a visit in which the core may have found something to do: everything is set going, outside of the lock.
    pub(super) fn leave<'a>(self: &'a Arc<Self>, mut inner: MutexGuard<'a, Inner<B>>) {
        if inner.has_news() {
            return self.leave_with_news(inner);
        }
        let rearm = inner.rearm();
        inner.hand_over(self);
        drop(inner);
        self.set_alarm(rearm);
    }

    #[inline(never)]
    fn leave_with_news<'a>(self: &'a Arc<Self>, mut inner: MutexGuard<'a, Inner<B>>) {
        loop {
            let mut woken = Woken::new();
            let more = inner.fetch_commands(&mut woken);
            let enlist = inner.enlist();
            let rearm = inner.rearm();
            if !more {
                inner.hand_over(self);
            }
            drop(inner);
            if let (Drive::Threads(process, _), true) = (self.driver, enlist) {
                process.submit(Arc::clone(self) as Arc<dyn Jobs>);
            }
            self.set_alarm(rearm);
            let mut is_over = !more;
            woken.give(|lent| {
                let now = self.now();
                self.visit().give_back_unused(lent, now);
                is_over = false;
            });
            if woken.settled {
                self.settled.notify_all();
            }
            // Last, for a waker may take its time, and what it waits for may be what was submitted.
            woken.wake();
            if is_over {
                return;
            }
            inner = self.lock();
        }
    }

    /// Has `tick` called no later than that.
    fn set_alarm(&self, due: Option<Nanos>) {
        if let (Drive::Threads(process, name), Some(due)) = (self.driver, due) {
            process.rearm(name, self.in_time_of_machine(due));
        }
    }

    /// Gives what came back to him who sits there, and this share with it; then calls up the next.
    pub(super) fn give(
        home: Arc<Self>,
        seat: &Seat<B>,
        lent: Lent<B::Connection>,
        now: Nanos,
        next: Option<Arc<Seat<B>>>,
    ) {
        if let Some(right) = &lent.right {
            home.slots.facts(right.index() as usize).hand_on(now);
        }
        match seat.give(Ok(Granted { lent, home: Some(home) })) {
            Ok(call) => call.wake(),
            // He has left.
            Err(Ok(Granted { lent, home: Some(home) })) => {
                let now = home.now();
                let mut inner = home.visit();
                inner.give_back_unused(lent, now);
                home.leave(inner);
            }
            Err(_) => unreachable!("what he was to be given comes back"),
        }
        if let Some(next) = next {
            next.call_up();
        }
    }

    /// Waits until `is_over` says so of the pool; with a driver by hand, does meanwhile what is to be done.
    pub(super) fn wait_until<T>(
        self: &Arc<Self>,
        deadline: Nanos,
        mut is_over: impl FnMut(&mut Inner<B>) -> Option<T>,
    ) -> Option<T> {
        let mut inner = self.lock();
        loop {
            if let Some(result) = is_over(&mut inner) {
                self.leave(inner);
                return Some(result);
            }
            let now = self.now();
            if now >= deadline {
                self.leave(inner);
                return None;
            }
            if matches!(self.driver, Drive::Hand) && inner.has_jobs() {
                self.leave(inner);
                self.do_jobs();
                inner = self.lock();
                continue;
            }
            let due = match self.driver {
                Drive::Hand => deadline.min(inner.next_deadline()),
                Drive::Threads(..) => deadline,
            };
            let span = due.since(now).min(LONGEST_WAIT);
            inner = self.settled.wait_timeout(inner, span).unwrap_or_else(PoisonError::into_inner).0;
            if matches!(self.driver, Drive::Hand) {
                inner.tick(self.now());
                // What has come of it may be what is waited for.
                self.leave(inner);
                inner = self.lock();
            }
        }
    }

    /// Does what is due and says when something is due next.
    pub(super) fn tick_now(self: &Arc<Self>) -> Nanos {
        let mut inner = self.lock();
        inner.armed = Nanos::MAX;
        let now = self.now();
        inner.tick(now);
        let warnings = inner.warnings(now);
        self.leave(inner);
        for warning in warnings.into_iter().flatten() {
            note(Level::Warn, format_args!("{warning}"));
        }
        self.lock().next_deadline()
    }

    /// When that is by the machine's clock, which is that of the deadline thread and may not be the pool's.
    fn in_time_of_machine(&self, due: Nanos) -> Nanos {
        match &self.coarse {
            Coarse::Given(clock) if due != Nanos::MAX => {
                Nanos::new(sys::monotonic_nanos()) + due.since(clock.now())
            }
            Coarse::Machine | Coarse::Given(_) => due,
        }
    }

    /// Has everybody look who [waits](Self::wait_until) for a state of the pool.
    pub(super) fn tell_all(&self) {
        self.settled.notify_all();
    }
}

impl<B: Backend> Home for Shared<B> {
    type Connection = B::Connection;

    #[inline(always)]
    fn slots(&self) -> &Stack<B> {
        &self.slots
    }

    #[inline(always)]
    fn now(&self) -> Nanos {
        self.coarse.now()
    }
}

impl<B: Backend> Ticks for Shared<B> {
    fn tick(self: Arc<Self>) -> Nanos {
        let due = self.tick_now();
        let due = self.in_time_of_machine(due);
        // What ends here is the application's too, so a connector thread ends it.
        if let Some(last) = Arc::into_inner(self)
            && let Drive::Threads(process, _) = last.driver
        {
            process.submit(Arc::new(last));
        }
        due
    }
}

impl<B: Backend> Drop for Shared<B> {
    fn drop(&mut self) {
        let is_inherited = self.is_inherited();
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        if is_inherited {
            // They are the parent's. Dropping them here might say goodbye in the parent's name.
            std::mem::forget(std::mem::take(&mut inner.records));
            std::mem::forget(std::mem::take(&mut inner.returning));
            return;
        }
        if let Drive::Threads(process, name) = self.driver {
            process.leave(name);
        }
        // A pool that was driven by hand leaves those for which nobody could call `tick` any more.
        for connection in
            std::mem::take(&mut inner.records).into_iter().filter_map(|record| record.connection)
        {
            self.backend.begin_close(connection, || ());
        }
    }
}

/// No wait is longer than this without looking.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;
    use std::sync::Mutex;

    use super::*;
    use crate::client::slots::move_on;
    use crate::client::{Async, AsyncManager, BoxFuture, Executor, Manager, Pool, PoolError};
    use crate::clock::Hand;

    #[test]
    fn what_a_waiter_was_lent_is_idle_since_it_came_back() {
        let idle_timeout = Some(Duration::from_secs(60));
        let (pool, hand) = numbers(PoolConfig { idle_timeout, health_check_interval: None, ..one() });
        let lease = pool.acquire().unwrap();
        hand.advance(Duration::from_secs(100));
        drop(lease);
        pool.tick();
        assert_eq!(pool.stats().idle_connections, 1, "it has not been idle for a moment");
        hand.advance(Duration::from_secs(61));
        pool.tick();
        assert_eq!(pool.stats().idle_connections, 0);
    }

    #[test]
    fn what_comes_back_from_several_lanes_is_as_old_as_it_is() {
        let idle_timeout = Some(Duration::from_secs(25));
        let (pool, hand) = numbers(PoolConfig { idle_timeout, max_size: 3, ..one() });
        let leases = [(); 3].map(|()| pool.acquire().unwrap());
        pool.shared().slots.crowd();
        let ids = leases.map(|lease| {
            let id = lease.id();
            drop(lease);
            move_on();
            hand.advance(Duration::from_secs(10));
            id
        });
        pool.tick();
        assert_eq!(pool.stats().idle_connections, 2, "the first one has been idle for 30 seconds");
        assert_eq!(pool.acquire().unwrap().id(), ids[2], "the newest");
    }

    #[test]
    fn warming_by_hand_ends_when_the_connects_are_too_late() {
        struct Never;
        impl AsyncManager for Never {
            type Connection = u32;
            type Error = Infallible;

            fn connect<'a>(&'a self, _: &'a Timeouts) -> BoxFuture<'a, Result<u32, Infallible>> {
                Box::pin(pending())
            }
        }
        struct Shelf(Mutex<Vec<BoxFuture<'static, ()>>>);
        impl Executor for Shelf {
            fn spawn(&self, task: BoxFuture<'static, ()>) {
                self.0.lock().unwrap().push(task);
            }
        }
        let connect_timeout = Some(Duration::from_millis(20));
        let backend = Async::on(Never, Shelf(Mutex::new(Vec::new())));
        let config = PoolConfig { min_size: 1, connect_timeout, ..one() };
        let pool = Pool::builder(backend).config(config).driven_by_hand().build().unwrap();
        assert!(matches!(pool.warm(), Err(PoolError::Connect(_))));
    }

    #[test]
    fn a_clock_that_began_later_than_the_machine_does_not_keep_its_thread_busy() {
        let config = PoolConfig { health_check_interval: Some(Duration::from_secs(3600)), ..one() };
        let pool = Pool::builder(Numbers).config(config).clock(Clock::monotonic()).build().unwrap();
        let now = Nanos::new(sys::monotonic_nanos());
        let due = Arc::clone(pool.shared()).tick();
        assert!(due.since(now) > Duration::from_secs(3000), "{due:?} is by the pool's own clock");
    }

    struct Numbers;

    impl Manager for Numbers {
        type Connection = u32;
        type Error = Infallible;

        fn connect(&self, _: &Timeouts) -> Result<u32, Infallible> {
            Ok(7)
        }
    }

    fn one() -> PoolConfig {
        PoolConfig { max_size: 1, max_lifetime: None, validate_after: None, ..PoolConfig::default() }
    }

    fn numbers(config: PoolConfig) -> (Pool<Numbers>, Hand) {
        let (clock, hand) = Clock::manual();
        (Pool::builder(Numbers).config(config).clock(clock).driven_by_hand().build().unwrap(), hand)
    }
}
