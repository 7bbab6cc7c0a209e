//! The lease as the application holds it. It goes back when it is dropped, at once and in the thread that drops it.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::backend::{Backend, tell};
use super::facts::Times;
use super::inner::{HandedOn, Lent, Line};
use super::shared::{Held, Shared};
use super::slots::{Parked, Place};
use crate::breaker::Went;
use crate::clock::Nanos;
use crate::lease::{Return, SlotId};

/// A connection that was lent. It goes back to the pool when this is dropped.
///
/// Giving it back never blocks, allocates, makes a thread or does I/O: a connection that must be closed is closed by a
/// connector thread. Any number may be held while any function of the pool is called. A connection that looks broken,
/// that was [invalidated](Self::invalidate), or that is dropped while its thread unwinds, is closed instead of kept.
///
/// ```
/// # use socketpool::{Manager, Pool, Timeouts};
/// # struct Numbers;
/// # impl Manager for Numbers {
/// #     type Connection = u64;
/// #     type Error = std::convert::Infallible;
/// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
/// # }
/// let pool = Pool::new(Numbers);
/// let mut number = pool.acquire()?;
/// *number += 1;
/// drop(number);
/// assert_eq!(*pool.acquire()?, 8, "the same connection again");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a connection that nobody holds goes back at once"]
pub struct PooledConnection<B: Backend> {
    /// `None` only while it goes back.
    held: Option<Held<B>>,
    slot: SlotId,
    /// To bring it back without the lock.
    right: Option<Place>,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Discarded,
}

/// What an application has recorded of its work with a connection.
///
/// ```
/// # use socketpool::ConnectionStats;
/// assert_eq!(ConnectionStats::default().ops, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionStats {
    /// How many operations.
    pub ops: u64,
    /// How long they took together.
    pub op_time: Duration,
}

impl<B: Backend> PooledConnection<B> {
    #[inline(always)]
    pub(super) const fn new(held: Held<B>, slot: SlotId, right: Option<Place>) -> Self {
        Self { held: Some(held), slot, right, fate: Fate::Open }
    }

    /// Gives the connection back now, as dropping does.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// pool.acquire()?.release();
    /// assert_eq!(pool.stats().idle_connections, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn release(self) {
        drop(self);
    }

    /// Has the connection closed instead of kept: nobody gets it again.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// pool.acquire()?.discard();
    /// assert_eq!(pool.stats().idle_connections, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn discard(mut self) {
        self.invalidate();
    }

    /// The same when the lease ends: until then the connection can be used.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// let mut number = pool.acquire()?;
    /// number.invalidate();
    /// *number += 1; // still ours
    /// drop(number);
    /// assert_eq!(pool.stats().idle_connections, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn invalidate(&mut self) {
        self.fate = Fate::Discarded;
    }

    /// The connection's name: no other connection of the pool ever has it. The log writes it as `slot.generation`, which
    /// are the lower and the upper 32 bits of this number.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// let (one, other) = (pool.acquire()?, pool.acquire()?);
    /// assert_ne!(one.id(), other.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> u64 {
        u64::from(self.slot.generation()) << 32 | self.slot.index() as u64
    }

    /// Notes an operation that took `elapsed`, for [`stats`](Self::stats).
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # use std::time::Duration;
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// pool.acquire()?.record_op(Duration::from_millis(3));
    /// assert_eq!(pool.acquire()?.stats().ops, 1, "it stays with the connection");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record_op(&mut self, elapsed: Duration) {
        if !self.pool().is_inherited() {
            self.pool().lock().record_op(self.slot, elapsed);
        }
    }

    /// What was recorded of this connection, in this lease and all before.
    ///
    /// The example of [`record_op`](Self::record_op) shows it.
    ///
    /// ```
    /// # use socketpool::{ConnectionStats, Backend, PooledConnection};
    /// fn mean<B: Backend>(connection: &PooledConnection<B>) -> Option<std::time::Duration> {
    ///     let ConnectionStats { ops, op_time } = connection.stats();
    ///     op_time.checked_div(u32::try_from(ops).ok()?)
    /// }
    /// ```
    #[must_use]
    pub fn stats(&self) -> ConnectionStats {
        if self.pool().is_inherited() {
            return ConnectionStats::default();
        }
        self.pool().lock().recorded(self.slot)
    }

    /// How many leases the connection has served, with this one.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// drop(pool.acquire()?);
    /// assert_eq!(pool.acquire()?.use_count(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn use_count(&self) -> u64 {
        if self.pool().is_inherited() {
            return 0;
        }
        let mut inner = self.pool().visit();
        inner.catch_up(self.pool().now());
        let uses = inner.core.uses(self.slot);
        self.pool().leave(inner);
        uses.unwrap_or(0)
    }

    /// How long ago the connection was made.
    ///
    /// Like all times of a lease it is that of the pool's clock, also of one that is turned by hand. In a child process
    /// of a fork all of them are zero.
    ///
    /// ```
    /// # use socketpool::{Clock, Manager, Pool, Timeouts};
    /// # use std::time::Duration;
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let (clock, hand) = Clock::manual();
    /// let pool = Pool::builder(Numbers).clock(clock).driven_by_hand().build()?;
    /// let number = pool.acquire()?;
    /// hand.advance(Duration::from_secs(3));
    /// assert_eq!(number.age(), Duration::from_secs(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn age(&self) -> Duration {
        self.times(Times::age)
    }

    /// How long the connection had been idle when this lease began: since it was given back before, or was made if this
    /// is its first. Zero for one that had been waited for, and exact to some milliseconds otherwise: a lease is not
    /// worth a look at an exact clock.
    ///
    /// A server may close what was silent for long. Whoever knows how long that is can tell here whether to begin with
    /// a request that may be sent twice.
    ///
    /// ```
    /// # use socketpool::{Clock, Manager, Pool, Timeouts};
    /// # use std::time::Duration;
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let (clock, hand) = Clock::manual();
    /// let pool = Pool::builder(Numbers).clock(clock).driven_by_hand().build()?;
    /// drop(pool.acquire()?);
    /// hand.advance(Duration::from_secs(3));
    /// let number = pool.acquire()?;
    /// hand.advance(Duration::from_secs(1));
    /// assert_eq!(number.idle_before(), Duration::from_secs(3), "however long it is held");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn idle_before(&self) -> Duration {
        self.times(|times, _| times.idle_before())
    }

    /// How long the connection has been on lease, in this lease so far and in all before: with [`age`](Self::age), how
    /// busy it is. Each lease counts to some milliseconds, as in [`idle_before`](Self::idle_before), and what is
    /// shorter than that may count as nothing.
    ///
    /// ```
    /// # use socketpool::{Clock, Manager, Pool, Timeouts};
    /// # use std::time::Duration;
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let (clock, hand) = Clock::manual();
    /// let pool = Pool::builder(Numbers).clock(clock).driven_by_hand().build()?;
    /// let number = pool.acquire()?;
    /// hand.advance(Duration::from_secs(3));
    /// drop(number);
    /// hand.advance(Duration::from_secs(6)); // idle
    /// let number = pool.acquire()?;
    /// hand.advance(Duration::from_secs(1));
    /// assert_eq!((number.held_total().as_secs(), number.age().as_secs()), (4, 10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn held_total(&self) -> Duration {
        self.times(Times::held_total)
    }

    /// Says how it goes with the other side: what went ill counts for the breaker as a failed connect does. What went well
    /// ends the pause after one, also for those who wait.
    ///
    /// The example of [`Went`] does this.
    ///
    /// ```
    /// # use socketpool::{Backend, PooledConnection, Went};
    /// fn give_up<B: Backend>(connection: PooledConnection<B>) {
    ///     connection.report(Went::Ill);
    ///     connection.discard();
    /// }
    /// ```
    pub fn report(&self, went: Went) {
        if self.pool().is_inherited() {
            return;
        }
        let now = self.pool().now();
        let mut inner = self.pool().visit();
        inner.core.report(self.slot, went, now);
        self.pool().leave(inner);
    }

    #[inline(always)]
    pub(super) fn pool(&self) -> &Arc<Shared<B>> {
        &self.held().home
    }

    #[inline(always)]
    fn held(&self) -> &Held<B> {
        self.held.as_ref().expect("there until it goes back")
    }

    /// Takes the lease apart; what it lent is given back by whoever asked for this.
    pub(super) fn into_lent(mut self) -> Option<Lent<B::Connection>> {
        // The rest drops with nothing to give back.
        let (slot, right) = (self.slot, self.right.take());
        self.held.take().map(|held| Lent { slot, connection: held.connection, right })
    }

    fn times(&self, look: impl FnOnce(Times, Nanos) -> Duration) -> Duration {
        let pool = self.pool();
        if pool.is_inherited() {
            return Duration::ZERO;
        }
        let times = pool.lock().times(self.slot, self.right.as_ref());
        look(times, pool.now())
    }
}

/// Whether a connection is known not to work; a manager that panics here has said so.
#[inline(always)]
pub(super) fn looks_broken<B: Backend>(held: &mut Held<B>) -> bool {
    let Parked { connection, home } = held;
    let look = AssertUnwindSafe(|| home.backend.looks_broken(connection));
    match catch_unwind(look) {
        Ok(is_broken) => is_broken,
        panicked => tell("looking at a connection", panicked).unwrap_or(true),
    }
}

/// Tells the core that something comes back.
#[cold]
#[inline(never)]
fn end_slowly<B: Backend>(pool: Arc<Shared<B>>, lent: Lent<B::Connection>, what: Return) {
    let (slot, now) = (lent.slot, pool.now());
    let known = lent.right.as_ref().map(|right| pool.known(right));
    let mut inner = pool.visit();
    if what == Return::Keep
        && let Some(HandedOn { seat, next, rest }) = inner.hand_on(slot, known, now)
    {
        return match rest {
            Line::Waits => {
                drop(inner);
                Shared::give(pool, &seat, lent, now, next);
            }
            // What is idle may be lent without the lock again.
            Line::Empty if !inner.has_news() => {
                pool.leave(inner);
                Shared::give(pool, &seat, lent, now, next);
            }
            // Others are to be told something, and a waker may take its time.
            Line::Empty => {
                drop(inner);
                Shared::give(Arc::clone(&pool), &seat, lent, now, next);
                pool.leave(pool.lock());
            }
        };
    }
    inner.store(lent, now);
    let known = inner.core.release(slot, what, now);
    debug_assert!(known.is_ok(), "{slot:?} was lent");
    pool.leave(inner);
}

impl<B: Backend> Drop for PooledConnection<B> {
    #[inline]
    fn drop(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        if held.home.is_inherited() {
            // It is the parent's. Closing it here might say goodbye in the parent's name.
            mem::forget(held.connection);
            return;
        }
        let is_bad = self.fate == Fate::Discarded || thread::panicking() || looks_broken(&mut held);
        let mut right = self.right.take();
        if !is_bad && let Some(place) = right {
            match Shared::put_back(place, held) {
                Ok(()) => return,
                Err((place, back)) => (right, held) = (Some(place), back),
            }
        }
        let Parked { connection, home } = held;
        let what = if is_bad { Return::Discard } else { Return::Keep };
        end_slowly(home, Lent { slot: self.slot, connection, right }, what);
    }
}

impl<B: Backend> Deref for PooledConnection<B> {
    type Target = B::Connection;

    #[inline]
    fn deref(&self) -> &B::Connection {
        &self.held().connection
    }
}

impl<B: Backend> DerefMut for PooledConnection<B> {
    #[inline]
    fn deref_mut(&mut self) -> &mut B::Connection {
        &mut self.held.as_mut().expect("there until it goes back").connection
    }
}

impl<B: Backend<Connection: fmt::Debug>> fmt::Debug for PooledConnection<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledConnection")
            .field("id", &self.slot)
            .field("connection", &self.held.as_ref().map(|held| &held.connection))
            .finish_non_exhaustive()
    }
}
