//! Time as a number that is handed in. Nothing below `server` ever asks what time it is; this is the one place that can.

use std::fmt;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A point in time: nanoseconds since the [`Clock`] it came from was made.
///
/// Arithmetic saturates, at zero and at [`Nanos::MAX`] (584 years), which therefore serves as "never".
///
/// ```
/// use socketpool::Nanos;
/// use std::time::Duration;
///
/// let start = Nanos::from_millis(5);
/// let later = start + Duration::from_millis(20);
/// assert_eq!(later.since(start), Duration::from_millis(20));
/// assert_eq!(start.since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(u64);

impl Nanos {
    /// The moment the clock was made.
    pub const ZERO: Self = Self(0);
    /// The end of time, used for "never".
    pub const MAX: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the clock was made.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// assert_eq!(Nanos::new(1_500_000), Nanos::ZERO + Duration::from_micros(1_500));
    /// ```
    #[must_use]
    pub const fn new(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The point `millis` milliseconds after the clock was made.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// assert_eq!(Nanos::from_millis(2), Nanos::new(2_000_000));
    /// assert_eq!(Nanos::from_millis(u64::MAX), Nanos::MAX, "what is too far off is never");
    /// ```
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// Nanoseconds since the clock was made.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let seen = std::sync::atomic::AtomicU64::new(Nanos::from_millis(7).as_nanos());
    /// assert_eq!(Nanos::new(seen.into_inner()), Nanos::from_millis(7));
    /// ```
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the clock was made, rounded down.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// assert_eq!(Nanos::new(1_999_999).as_millis(), 1);
    /// ```
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / NANOS_PER_MILLI
    }

    /// How long ago `earlier` was; zero when it is not earlier.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let (asked, now) = (Nanos::from_millis(10), Nanos::from_millis(45));
    /// assert!(now.since(asked) >= Duration::from_millis(30), "it is late");
    /// assert_eq!(asked.since(now), Duration::ZERO, "never negative");
    /// ```
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Nanos {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span_nanos(span)))
    }
}

impl fmt::Debug for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

/// Where a pool gets its time from: the machine's monotonic clock, or one that a test turns by hand.
///
/// ```
/// use socketpool::Clock;
/// use std::time::Duration;
///
/// let (clock, hand) = Clock::manual();
/// let before = clock.now();
/// hand.advance(Duration::from_secs(3600));
/// assert_eq!(clock.now().since(before), Duration::from_secs(3600));
/// ```
#[derive(Clone, Debug)]
pub struct Clock(Source);

impl Clock {
    /// The machine's monotonic clock, which no change of the wall clock disturbs. It begins now: points of time of two
    /// such clocks cannot be compared.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let clock = Clock::monotonic();
    /// let (first, second) = (clock.now(), clock.now());
    /// assert!(first <= second);
    /// ```
    #[must_use]
    pub fn monotonic() -> Self {
        Self(Source::Monotonic(Instant::now()))
    }

    /// A clock that shows how far `read`, which gives nanoseconds and never goes back, has come since now. For those who
    /// know a shorter way to the machine's clock than the standard library's, whose arithmetic on seconds and
    /// nanoseconds costs three times the reading.
    pub(crate) fn reading(read: fn() -> u64) -> Self {
        Self(Source::Reading { read, origin: read() })
    }

    /// The same, that shows what `read` says.
    pub(crate) fn showing(read: fn() -> u64) -> Self {
        Self(Source::Reading { read, origin: 0 })
    }

    /// A clock that stands still until its [`Hand`] is turned, and that hand.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let (clock, hand) = Clock::manual();
    /// let mut pool = SocketPool::<()>::builder().first_message_timeout(Duration::from_secs(30)).clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// hand.advance(Duration::from_secs(30)); // nobody waits for it
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::FirstMessage, .. })));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn manual() -> (Self, Hand) {
        let hand = Hand(Arc::new(AtomicU64::new(0)));
        (Self(Source::Manual(hand.clone())), hand)
    }

    /// What time it is.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let (clock, hand) = Clock::manual();
    /// let same = clock.clone();
    /// hand.advance(Duration::from_millis(5));
    /// assert_eq!(clock.now(), Nanos::from_millis(5));
    /// assert_eq!(same.now(), clock.now(), "clones show the same time");
    /// ```
    #[must_use]
    #[inline]
    pub fn now(&self) -> Nanos {
        match &self.0 {
            Source::Reading { read, origin } => Nanos(read().saturating_sub(*origin)),
            Source::Monotonic(origin) => Nanos(span_nanos(origin.elapsed())),
            Source::Manual(hand) => hand.now(),
        }
    }
}

/// Turns a manual [`Clock`]. Clones turn the same one.
///
/// ```
/// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
/// let (clock, hand) = Clock::manual();
/// let other = hand.clone();
/// std::thread::spawn(move || other.advance(Duration::from_secs(1))).join().unwrap();
/// assert_eq!(clock.now(), Nanos::from_millis(1_000));
/// ```
#[derive(Clone, Debug)]
pub struct Hand(Arc<AtomicU64>);

impl Hand {
    /// Moves the clock forward by `span`, to [`Nanos::MAX`] at most. There is no way back.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let (clock, hand) = Clock::manual();
    /// hand.advance(Duration::from_millis(5));
    /// hand.clone().advance(Duration::from_millis(5));
    /// assert_eq!(clock.now(), Nanos::from_millis(10));
    /// hand.advance(Duration::MAX);
    /// assert_eq!(clock.now(), Nanos::MAX, "there it stays");
    /// ```
    pub fn advance(&self, span: Duration) {
        let later = |now| Some((Nanos(now) + span).0);
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    /// What the clock shows.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let (clock, hand) = Clock::manual();
    /// let deadline = hand.now() + Duration::from_secs(1);
    /// hand.advance(Duration::from_secs(1));
    /// assert!(hand.now() >= deadline && clock.now() == hand.now());
    /// ```
    #[must_use]
    pub fn now(&self) -> Nanos {
        Nanos(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Clone, Debug)]
enum Source {
    Monotonic(Instant),
    Reading { read: fn() -> u64, origin: u64 },
    Manual(Hand),
}

const NANOS_PER_MILLI: u64 = 1_000_000;

/// `span` in nanoseconds, saturating: spans beyond 584 years are "never" here.
#[inline]
pub(crate) fn span_nanos(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(span.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Nanos::MAX + Duration::from_nanos(1), Nanos::MAX);
        assert_eq!(Nanos::ZERO + Duration::MAX, Nanos::MAX);
        assert_eq!(Nanos::from_millis(u64::MAX), Nanos::MAX);
        assert_eq!(Nanos::ZERO.since(Nanos::MAX), Duration::ZERO);
    }

    #[test]
    fn hands_of_one_clock_turn_together() {
        let (clock, hand) = Clock::manual();
        let other = hand.clone();
        hand.advance(Duration::from_millis(2));
        other.advance(Duration::from_millis(3));
        assert_eq!(clock.now(), Nanos::from_millis(5));
    }

    #[test]
    fn hands_that_turn_at_the_same_time_lose_nothing() {
        let (clock, hand) = Clock::manual();
        std::thread::scope(|scope| {
            for hand in [hand.clone(), hand.clone(), hand] {
                scope.spawn(move || (0..100_000).for_each(|_| hand.advance(Duration::from_nanos(1))));
            }
        });
        assert_eq!(clock.now(), Nanos::new(300_000));
    }

    #[test]
    fn monotonic_clock_starts_near_zero_and_never_goes_back() {
        let clock = Clock::monotonic();
        let first = clock.now();
        assert!(first < Nanos::from_millis(60_000));
        assert!(clock.now() >= first);
    }
}
