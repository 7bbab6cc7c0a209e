//! Token buckets: how many operations, and how many bytes, may pass in a time. A policy ([`Bucket`], [`ByteBucket`]) exists
//! once; what it limits carries a [`Level`] of eight bytes. Does not know what is limited, nor what happens on refusal.
//!
//! Both are the generic cell rate algorithm (GCRA, "virtual scheduling" in ITU-T I.371 and ATM Forum TM 4.1): a level holds
//! the theoretical arrival time (TAT), the moment at which its bucket will be full again. Operations are governor's
//! implementation; bytes are our own, because governor counts whole nanoseconds a cell and 1.25 GB/s is 0.8.

use std::cell::Cell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos as GovernorNanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use crate::clock::Nanos;
use crate::error::Error;

mod bytes;

pub(crate) use bytes::ByteBucket;
pub use bytes::ByteRate;

/// So many operations in a time, and how many of them at once.
///
/// A bucket of `burst` tokens that is full at first and gains `n` tokens each `window`, evenly. Without
/// [`burst`](Self::burst) it holds `n`. "No limit" is `None` where a rate is asked for; a rate of 0, a window or a burst of 0,
/// more than 1,000,000 a second, and bursts that take over 146 years to refill are configuration errors.
/// The time for one token is rounded down to whole nanoseconds, so the rate is never lower and at most 0.1 % higher.
///
/// ```
/// use socketpool::Rate;
/// use std::time::Duration;
///
/// let rate = Rate::per_second(100).burst(200);
/// assert_eq!(rate.to_string(), "100 per 1s, burst 200");
/// assert_eq!(Rate::per_minute(6), Rate::new(6, Duration::from_secs(60)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    n: u32,
    window: Duration,
    burst: u32,
}

impl Rate {
    /// `n` operations a second, all of them at once if need be.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// assert_eq!(Rate::per_second(100).to_string(), "100 per 1s, burst 100");
    /// let none = SocketPool::<()>::builder().operation_rate(Rate::per_second(0)).build().unwrap_err();
    /// assert!(none.to_string().ends_with("must be at least 1 per window (use None for no limit)"));
    /// ```
    #[must_use]
    pub const fn per_second(n: u32) -> Self {
        Self::new(n, Duration::from_secs(1))
    }

    /// `n` operations a minute, all of them at once if need be.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().operation_rate(Rate::per_minute(6)).clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let mut conn = pool.conn(id); // of a pool with Rate::per_minute(6)
    /// assert!((0..6).all(|_| conn.check_operation().is_ok()), "all six at once");
    /// assert_eq!(conn.check_operation(), Err(Duration::from_secs(10)), "then one every ten seconds");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn per_minute(n: u32) -> Self {
        Self::new(n, Duration::from_secs(60))
    }

    /// `n` operations a `window`, all of them at once if need be.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let steady = Rate::new(1, Duration::from_millis(10)); // as fast as 100 a second, but one by one
    /// assert_eq!(steady.to_string(), "1 per 10ms, burst 1");
    /// assert_eq!(steady, Rate::new(1, Duration::from_millis(10)).burst(1));
    /// ```
    #[must_use]
    pub const fn new(n: u32, window: Duration) -> Self {
        Self { n, window, burst: n }
    }

    /// The same rate with at most `burst` operations at once.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().operation_rate(Rate::per_second(10).burst(2)).clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let mut conn = pool.conn(id); // of a pool with Rate::per_second(10).burst(2)
    /// assert!(conn.check_operation().is_ok() && conn.check_operation().is_ok());
    /// assert_eq!(conn.check_operation(), Err(Duration::from_millis(100)));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn burst(self, burst: u32) -> Self {
        Self { burst, ..self }
    }

    /// Whether a [`Bucket`] can be made of it; if not, an error that names `field` and the bound.
    pub(crate) fn validate(&self, field: &'static str) -> Result<(), Error> {
        let bound = if self.n == 0 {
            "at least 1 per window (use None for no limit)"
        } else if self.window.is_zero() {
            "over a window longer than 0"
        } else if self.burst == 0 {
            "of a burst of at least 1"
        } else if self.period() < SHORTEST_PERIOD {
            "at most 1000000 per second"
        } else if self.period().saturating_mul(u128::from(self.burst)) >= u128::from(LONGEST) {
            "so that the burst refills within 146 years"
        } else {
            return Ok(());
        };
        Err(Error::config(field, self, bound))
    }

    /// Nanoseconds for one token.
    const fn period(&self) -> u128 {
        match self.n {
            0 => 0,
            n => self.window.as_nanos() / n as u128,
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {:?}, burst {}", self.n, self.window, self.burst)
    }
}

/// How full the bucket of one connection (or address, or pool) is: its TAT.
///
/// Zero is full, whatever the policy. Times are absolute, so a level keeps its meaning when the policy changes. A level
/// belongs to one kind of bucket for its whole life, of operations or of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Level(Cell<u64>);

impl Level {
    /// The bucket is full: nothing was taken yet.
    pub(crate) const fn full() -> Self {
        Self(Cell::new(0))
    }

    /// The TAT, given the one of an empty bucket. One beyond that stems from a slower policy that was in force before;
    /// the bucket is just empty.
    #[inline]
    fn tat(&self, empty: u64) -> u64 {
        self.0.get().min(empty)
    }
}

/// As a governor key a level is its own state, so nothing needs to tell two of them apart.
impl Hash for Level {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// One policy for operations. Any number of levels can be held to it.
#[derive(Debug)]
pub(crate) struct Bucket {
    limiter: RateLimiter<Level, Levels, SetClock, NoOpMiddleware<GovernorNanos>>,
    /// Nanoseconds for one token.
    period: u64,
    /// Nanoseconds from empty to full. Invariant: a multiple of `period`, below [`LONGEST`].
    span: u64,
    /// How far ahead of now a TAT may lie for a token to be there: `span - period`.
    ahead: u64,
}

impl Bucket {
    /// The bucket for a rate that [`Rate::validate`] found good.
    pub(crate) fn new(rate: Rate) -> Self {
        debug_assert!(rate.validate("rate").is_ok(), "{rate} was not validated");
        let period = rate.period().clamp(SHORTEST_PERIOD, u128::from(LONGEST)) as u64;
        let burst = u64::from(rate.burst).clamp(1, (LONGEST / period).max(1));
        let quota = Quota::with_period(Duration::from_nanos(period))
            .expect("clamped to a microsecond and up")
            .allow_burst(NonZeroU32::new(burst as u32).expect("clamped to one and up"));
        // The clock shows 0 now, and that becomes the limiter's origin: TATs are absolute.
        let limiter = RateLimiter::new(quota, Levels, SetClock(Cell::new(0)));
        Self { limiter, period, span: period * burst, ahead: period * (burst - 1) }
    }

    /// Takes a token, or says when the next one will be there. For levels on which nobody reserves: beyond an empty
    /// bucket such a level has come under a slower policy that was in force before, and that is forgotten.
    #[inline(always)] // What is usual of it is six instructions.
    pub(crate) fn check(&self, level: &Level, now: Moment) -> Result<(), Nanos> {
        if self.takes(level, now) {
            return Ok(());
        }
        self.forgive(level, now);
        self.refuse(level, now)
    }

    /// Takes a token, or says when the next one that nobody has reserved will be there.
    #[inline]
    fn check_unreserved(&self, level: &Level, now: Moment) -> Result<(), Nanos> {
        if self.takes(level, now) { Ok(()) } else { self.refuse(level, now) }
    }

    /// Takes a token, there or not. If not, the error says from when on it counts: whoever waits until then passes in
    /// the order of the calls, at the rate, and no two for the same token.
    #[inline]
    pub(crate) fn reserve(&self, level: &Level, now: Moment) -> Result<(), Nanos> {
        if self.takes(level, now) { Ok(()) } else { Err(self.reserve_ahead(level)) }
    }

    /// A token that was reserved is used only now, which may be long after it came to count: what the bucket has gained
    /// meanwhile it has gained without it.
    pub(crate) fn use_late(&self, level: &Level, now: Moment) {
        level.0.set(level.0.get().max(now.0 + self.period));
    }

    /// Puts back a token that was taken.
    #[inline]
    pub(crate) fn give_back(&self, level: &Level) {
        level.0.set(level.0.get().saturating_sub(self.period));
    }

    /// Forgets what was reserved, or taken under a slower policy that was in force before.
    pub(crate) fn forgive(&self, level: &Level, now: Moment) {
        level.0.set(level.tat(now.0 + self.span));
    }

    /// Tokens that are there now.
    #[cfg(test)]
    pub(crate) fn available(&self, level: &Level, now: Moment) -> u32 {
        let empty = now.0 + self.span;
        // At most `burst`, which is a u32.
        ((empty - level.tat(empty).max(now.0)) / self.period) as u32
    }

    /// When the next token is there that nobody has reserved: `now` if one is.
    #[inline]
    pub(crate) fn ready_at(&self, level: &Level, now: Moment) -> Nanos {
        Nanos::new(level.0.get().saturating_sub(self.ahead).max(now.0))
    }

    /// When a token is there that nobody has reserved, and that `others` do not take before.
    pub(crate) fn ready_after(&self, level: &Level, others: u32, now: Moment) -> Nanos {
        let ready = self.ready_at(level, now).as_nanos();
        Nanos::new(ready.saturating_add(self.period.saturating_mul(u64::from(others))))
    }

    /// Takes a token if there is one: what governor would do, without asking it.
    #[inline]
    pub(crate) fn takes(&self, level: &Level, now: Moment) -> bool {
        let tat = level.0.get();
        if tat > now.0 + self.ahead {
            return false;
        }
        level.0.set(tat.max(now.0) + self.period);
        true
    }

    /// There is no token: governor says until when.
    #[cold]
    fn refuse(&self, level: &Level, now: Moment) -> Result<(), Nanos> {
        self.limiter.clock().0.set(now.0);
        self.limiter.check_key(level).map_err(|not_until| Nanos::new(not_until.earliest_possible().as_u64()))
    }

    #[cold]
    fn reserve_ahead(&self, level: &Level) -> Nanos {
        let tat = level.0.get();
        level.0.set(tat.saturating_add(self.period));
        Nanos::new(tat - self.ahead)
    }
}

/// Takes a token from each of the two buckets that exist, or from neither; then the error says when both will have one.
#[inline]
pub(crate) fn check_both(
    own: Option<(&Bucket, &Level)>,
    pool: Option<(&Bucket, &Level)>,
    now: Moment,
) -> Result<(), Nanos> {
    let Some((bucket, level)) = own else {
        return pool.map_or(Ok(()), |(bucket, level)| bucket.check_unreserved(level, now));
    };
    let before = level.0.get();
    if let Err(at) = bucket.check_unreserved(level, now) {
        return Err(pool.map_or(at, |(bucket, level)| at.max(bucket.ready_at(level, now))));
    }
    let Some((pool_bucket, pool_level)) = pool else { return Ok(()) };
    pool_bucket.check_unreserved(pool_level, now).inspect_err(|_| level.0.set(before))
}

/// A time so early that adding the span of a bucket to it does not overflow: made once a turn, asked for many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(u64);

impl Moment {
    /// `now`. After 146 years time stands still.
    #[inline]
    pub(crate) fn of(now: Nanos) -> Self {
        Self(now.as_nanos().min(LONGEST - 1))
    }
}

/// governor's state store: the key is the state.
#[derive(Debug)]
struct Levels;

impl StateStore for Levels {
    type Key = Level;

    #[inline]
    fn measure_and_replace<T, F, E>(&self, level: &Level, f: F) -> Result<T, E>
    where
        F: Fn(Option<GovernorNanos>) -> Result<(T, GovernorNanos), E>,
    {
        // A TAT of 0 is in the past, which is what full means; governor's None would say the same.
        let (outcome, tat) = f(Some(GovernorNanos::new(level.0.get())))?;
        level.0.set(tat.as_u64());
        Ok(outcome)
    }
}

/// governor's clock: shows what it was set to before the check.
#[derive(Debug)]
struct SetClock(Cell<u64>);

impl governor::clock::Clock for SetClock {
    type Instant = GovernorNanos;

    #[inline]
    fn now(&self) -> GovernorNanos {
        GovernorNanos::new(self.0.get())
    }
}

/// Bound of times and spans, in the unit of a level: no sum of two overflows.
const LONGEST: u64 = 1 << 62;
/// One million operations a second. Below a microsecond, rounding to nanoseconds would be off by more than 0.1 %.
const SHORTEST_PERIOD: u128 = 1_000;

#[cfg(test)]
mod tests;
