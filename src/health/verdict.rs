//! Is the pool well? Weighs what is known at one moment against marks, with hysteresis, and says why not.
//! Acts on nothing: who reads the verdict decides what follows.

use std::fmt;
use std::time::Duration;

use super::Facts;
use super::recent::Tally;
use crate::clock::Nanos;
use crate::drain::State;

/// What a load balancer or an operator wants to know in one word.
///
/// A degraded pool still serves: only [`Draining`](Self::Draining) and [`Drained`](Self::Drained) ask for peers to be
/// sent elsewhere. Marks are looked at when somebody asks: a cause enters as soon as it is seen at its high mark, and leaves
/// when it has been seen below the low mark for ten seconds.
///
/// ```
/// use socketpool::{Causes, Cause, Verdict};
///
/// let causes: Causes = [Cause::Buffers, Cause::NearlyFull].into_iter().collect();
/// let verdict = Verdict::Degraded(causes);
/// assert_eq!(verdict.to_string(), "degraded:nearly_full,buffers");
/// assert!(verdict.is_serving());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing is wrong.
    #[default]
    Healthy,
    /// It serves, but close to a limit or with losses.
    Degraded(Causes),
    /// It takes nobody new and waits for the rest to finish.
    Draining,
    /// It is empty, for good.
    Drained,
}

impl Verdict {
    /// The verdict as one word without its causes: `healthy`, `degraded`, `draining` or `drained`.
    ///
    /// ```
    /// use socketpool::{Cause, Verdict};
    ///
    /// let verdict = Verdict::Degraded([Cause::NearlyFull].into_iter().collect());
    /// assert_eq!(verdict.as_str(), "degraded", "a label with four values");
    /// assert_eq!(verdict.to_string(), "degraded:nearly_full");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded(_) => "degraded",
            Self::Draining => "draining",
            Self::Drained => "drained",
        }
    }

    /// Whether newcomers are welcome: healthy or degraded.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// assert!(pool.verdict().is_serving());
    /// pool.drain(None);
    /// assert!(!pool.verdict().is_serving(), "the load balancer is to send its clients elsewhere");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn is_serving(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded(_))
    }

    /// What is wrong; empty unless degraded.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().max_connections(1).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// assert!(pool.verdict().causes().contains(Cause::NearlyFull), "one of one");
    /// pool.drain(None);
    /// assert!(pool.verdict().causes().is_empty(), "it is draining and not degraded");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn causes(self) -> Causes {
        match self {
            Self::Degraded(causes) => causes,
            _ => Causes::NONE,
        }
    }
}

impl fmt::Display for Verdict {
    /// One word without spaces: `healthy`, `degraded:nearly_full,errors`, `draining`, `drained`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Degraded(causes) => write!(f, "degraded:{causes}"),
            other => f.pad(other.as_str()),
        }
    }
}

/// One thing that can be wrong with a pool that serves.
///
/// ```
/// use socketpool::Cause;
/// assert_eq!(Cause::NearlyFull.to_string(), "nearly_full");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Cause {
    /// At least 95 % of the connections that there may be are there (until below 90 %).
    NearlyFull,
    /// Newcomers are turned away for want of room, ten within ten seconds, or are left waiting in the backlog
    /// (until neither happened for ten seconds). Refusals for what the peer is or does do not count: they are
    /// protection at work.
    Refusing,
    /// Accepting failed for want of descriptors or memory and has not recovered.
    Descriptors,
    /// Buffers have reached the soft mark of the budget (until below 90 % of the mark).
    Buffers,
    /// Of the connections that ended in the last ten seconds at least ten, and a quarter, ended by error or stall
    /// (until fewer than five or less than a tenth).
    Errors,
}

impl Cause {
    /// Every cause, in the order in which they are shown.
    pub const ALL: &[Self] =
        &[Self::NearlyFull, Self::Refusing, Self::Descriptors, Self::Buffers, Self::Errors];
    /// How many causes there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The cause as a word for logs and metrics, never changed.
    ///
    /// ```
    /// for cause in socketpool::Cause::ALL {
    ///     assert_eq!(cause.as_str(), cause.to_string());
    /// }
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NearlyFull => "nearly_full",
            Self::Refusing => "refusing",
            Self::Descriptors => "descriptors",
            Self::Buffers => "buffers",
            Self::Errors => "errors",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A set of [`Cause`]s.
///
/// ```
/// use socketpool::{Cause, Causes};
///
/// let causes: Causes = [Cause::Errors].into_iter().collect();
/// assert!(causes.contains(Cause::Errors) && !causes.contains(Cause::Buffers));
/// assert_eq!(causes.iter().count(), 1);
/// assert_eq!(Causes::NONE.to_string(), "none");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Causes(u8);

impl Causes {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Whether this cause is in it.
    ///
    /// ```
    /// use socketpool::{Cause, Causes};
    ///
    /// let causes: Causes = [Cause::Errors, Cause::Buffers].into_iter().collect();
    /// assert!(causes.contains(Cause::Buffers) && !causes.contains(Cause::Refusing));
    /// ```
    #[must_use]
    pub const fn contains(self, cause: Cause) -> bool {
        self.0 & (1 << cause as u8) != 0
    }

    /// Whether there is none.
    ///
    /// ```
    /// use socketpool::{Causes, Verdict};
    ///
    /// assert!(Causes::NONE.is_empty());
    /// assert!(Verdict::Healthy.causes().is_empty());
    /// ```
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The causes, in the order of [`Cause::ALL`].
    ///
    /// ```
    /// use socketpool::{Cause, Causes};
    ///
    /// let causes: Causes = [Cause::Errors, Cause::NearlyFull, Cause::Errors].into_iter().collect();
    /// assert!(causes.iter().eq([Cause::NearlyFull, Cause::Errors]), "in order, each once");
    /// ```
    pub fn iter(self) -> impl Iterator<Item = Cause> {
        Cause::ALL.iter().copied().filter(move |&cause| self.contains(cause))
    }

    fn insert(&mut self, cause: Cause) {
        self.0 |= 1 << cause as u8;
    }

    fn remove(&mut self, cause: Cause) {
        self.0 &= !(1 << cause as u8);
    }
}

impl FromIterator<Cause> for Causes {
    fn from_iter<I: IntoIterator<Item = Cause>>(causes: I) -> Self {
        let mut set = Self::NONE;
        for cause in causes {
            set.insert(cause);
        }
        set
    }
}

impl fmt::Display for Causes {
    /// The words with commas between them and no spaces; `none` when empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (place, cause) in self.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{cause}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Causes({self})")
    }
}

/// Remembers which causes are in force and since when each has been below its low mark.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    causes: Causes,
    /// For each cause in force: when it was first seen below its low mark, and not at or above it since.
    calm_since: [Option<Nanos>; Cause::COUNT],
}

/// Where a condition stands between its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// At or above the high mark: a cause now, whatever was before.
    High,
    /// Between the marks: as it was.
    Between,
    /// Below the low mark: no cause, once this has lasted.
    Low,
}

impl Judge {
    pub(crate) fn judge(&mut self, facts: &Facts, recent: &Tally, now: Nanos) -> Verdict {
        for &cause in Cause::ALL {
            self.weigh(cause, level(cause, facts, recent), now);
        }
        match facts.state {
            State::Draining => Verdict::Draining,
            State::Drained => Verdict::Drained,
            State::Active if self.causes.is_empty() => Verdict::Healthy,
            State::Active => Verdict::Degraded(self.causes),
        }
    }

    fn weigh(&mut self, cause: Cause, level: Level, now: Nanos) {
        let calm_since = &mut self.calm_since[cause as usize];
        match level {
            Level::High => {
                self.causes.insert(cause);
                *calm_since = None;
            }
            Level::Between => *calm_since = None,
            Level::Low => {
                let since = *calm_since.get_or_insert(now);
                if now.since(since) >= CALM {
                    self.causes.remove(cause);
                }
            }
        }
    }
}

fn level(cause: Cause, facts: &Facts, recent: &Tally) -> Level {
    match cause {
        Cause::NearlyFull => share(facts.live, facts.max_connections, FULL_HIGH, FULL_LOW),
        Cause::Refusing => {
            let high = facts.waiting_in_backlog || recent.crowded_out >= REFUSED_HIGH;
            between(high, recent.crowded_out == 0)
        }
        Cause::Descriptors => between(facts.descriptors_exhausted, true),
        Cause::Buffers => match facts.budget {
            Some(budget) => share(facts.buffer_bytes, budget.soft_bytes, 100, BUFFERS_LOW),
            None => Level::Low,
        },
        Cause::Errors => {
            let high =
                recent.failed >= FAILED_HIGH && recent.failed * 100 >= recent.ended * FAILED_SHARE_HIGH;
            let low = recent.failed < FAILED_LOW || recent.failed * 100 < recent.ended * FAILED_SHARE_LOW;
            between(high, low)
        }
    }
}

const fn between(high: bool, low: bool) -> Level {
    match (high, low) {
        (true, _) => Level::High,
        (false, true) => Level::Low,
        (false, false) => Level::Between,
    }
}

/// Where `part` stands between two marks that are percentages of `whole`.
fn share(part: usize, whole: usize, high: u128, low: u128) -> Level {
    let (part, whole) = (part as u128 * 100, whole as u128);
    between(part >= whole * high, part < whole * low)
}

/// How long a condition must have stayed below its low mark: as long as the rates look back, so that a cause does
/// not come and go with each burst.
const CALM: Duration = Duration::from_secs(10);
/// Percent of `max_connections`. At 95 % of the default of 10,000 there is room for 500: at a thousand newcomers a
/// second, half a second to react in.
const FULL_HIGH: u128 = 95;
/// Five points lower, so that a level that swings around the mark does not make the verdict swing.
const FULL_LOW: u128 = 90;
/// One refusal a second for as long as the rates look back; a single one may be chance.
const REFUSED_HIGH: u64 = 10;
/// Percent of the soft mark.
const BUFFERS_LOW: u128 = 90;
/// Fewer failures than this say nothing, however few connections ended besides.
const FAILED_HIGH: u64 = 10;
/// Percent of the connections that ended. Some peers always vanish without a word; a quarter is a network or an
/// application in trouble.
const FAILED_SHARE_HIGH: u64 = 25;
const FAILED_LOW: u64 = 5;
const FAILED_SHARE_LOW: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Budget;
    use crate::health::testing::facts;

    fn causes(judge: &mut Judge, facts: &Facts, recent: &Tally, secs: u64) -> Causes {
        judge.judge(facts, recent, Nanos::from_millis(secs * 1_000)).causes()
    }

    #[test]
    fn a_nearly_full_pool_is_degraded_at_once_and_healthy_again_after_ten_calm_seconds() {
        let mut judge = Judge::default();
        let none = Tally::default();
        let live = |live| Facts { live, ..facts() };
        assert_eq!(judge.judge(&live(94), &none, Nanos::ZERO), Verdict::Healthy);
        assert_eq!(causes(&mut judge, &live(95), &none, 0), only(Cause::NearlyFull));
        assert_eq!(causes(&mut judge, &live(90), &none, 100), only(Cause::NearlyFull), "between the marks");
        assert_eq!(causes(&mut judge, &live(89), &none, 101), only(Cause::NearlyFull));
        assert_eq!(causes(&mut judge, &live(89), &none, 110), only(Cause::NearlyFull));
        assert_eq!(causes(&mut judge, &live(89), &none, 111), Causes::NONE);
    }

    #[test]
    fn rising_between_the_marks_starts_the_calm_anew() {
        let mut judge = Judge::default();
        let none = Tally::default();
        let live = |live| Facts { live, ..facts() };
        for (secs, now_live, expected) in [
            (0, 100, only(Cause::NearlyFull)),
            (1, 10, only(Cause::NearlyFull)),
            (9, 91, only(Cause::NearlyFull)),
            (12, 10, only(Cause::NearlyFull)),
            (21, 10, only(Cause::NearlyFull)),
            (22, 10, Causes::NONE),
            (23, 91, Causes::NONE),
        ] {
            assert_eq!(causes(&mut judge, &live(now_live), &none, secs), expected, "at {secs} s");
        }
    }

    #[test]
    fn a_pool_shrunk_below_its_live_connections_is_nearly_full() {
        let crowded = Facts { live: 50, max_connections: 10, ..facts() };
        assert_eq!(causes(&mut Judge::default(), &crowded, &Tally::default(), 0), only(Cause::NearlyFull));
    }

    #[test]
    fn ten_refusals_for_want_of_room_degrade_and_one_keeps_it_so() {
        let mut judge = Judge::default();
        let refused = |crowded_out| Tally { crowded_out, ..Tally::default() };
        assert_eq!(causes(&mut judge, &facts(), &refused(9), 0), Causes::NONE);
        assert_eq!(causes(&mut judge, &facts(), &refused(10), 1), only(Cause::Refusing));
        assert_eq!(causes(&mut judge, &facts(), &refused(1), 60), only(Cause::Refusing));
        assert_eq!(causes(&mut judge, &facts(), &refused(0), 61), only(Cause::Refusing));
        assert_eq!(causes(&mut judge, &facts(), &refused(0), 71), Causes::NONE);
    }

    #[test]
    fn newcomers_left_in_the_backlog_degrade_at_once() {
        let waiting = Facts { waiting_in_backlog: true, ..facts() };
        assert_eq!(causes(&mut Judge::default(), &waiting, &Tally::default(), 0), only(Cause::Refusing));
    }

    #[test]
    fn want_of_descriptors_degrades_at_once() {
        let mut judge = Judge::default();
        let exhausted = Facts { descriptors_exhausted: true, ..facts() };
        assert_eq!(causes(&mut judge, &exhausted, &Tally::default(), 0), only(Cause::Descriptors));
        assert_eq!(causes(&mut judge, &facts(), &Tally::default(), 1), only(Cause::Descriptors));
        assert_eq!(causes(&mut judge, &facts(), &Tally::default(), 11), Causes::NONE);
    }

    #[test]
    fn buffers_are_weighed_against_the_soft_mark() {
        let budget = Some(Budget { soft_bytes: 1_000, most_bytes: 9_000 });
        let bytes = |buffer_bytes| Facts { buffer_bytes, budget, ..facts() };
        let mut judge = Judge::default();
        assert_eq!(causes(&mut judge, &bytes(999), &Tally::default(), 0), Causes::NONE);
        assert_eq!(causes(&mut judge, &bytes(1_000), &Tally::default(), 1), only(Cause::Buffers));
        assert_eq!(causes(&mut judge, &bytes(900), &Tally::default(), 60), only(Cause::Buffers));
        assert_eq!(causes(&mut judge, &bytes(899), &Tally::default(), 61), only(Cause::Buffers));
        assert_eq!(causes(&mut judge, &bytes(899), &Tally::default(), 71), Causes::NONE);
        let unbounded = Facts { buffer_bytes: usize::MAX, ..facts() };
        assert_eq!(causes(&mut Judge::default(), &unbounded, &Tally::default(), 0), Causes::NONE);
    }

    #[test]
    fn errors_need_a_number_and_a_share() {
        let ends = |failed, ended| Tally { failed, ended, ..Tally::default() };
        for (tally, expected) in [
            (ends(9, 9), Causes::NONE),
            (ends(10, 41), Causes::NONE),
            (ends(10, 40), only(Cause::Errors)),
            (ends(10, 10), only(Cause::Errors)),
        ] {
            assert_eq!(causes(&mut Judge::default(), &facts(), &tally, 0), expected, "{tally:?}");
        }
        for (tally, expected) in
            [(ends(5, 50), only(Cause::Errors)), (ends(5, 51), Causes::NONE), (ends(4, 4), Causes::NONE)]
        {
            let mut judge = Judge::default();
            causes(&mut judge, &facts(), &ends(10, 10), 0);
            causes(&mut judge, &facts(), &tally, 1);
            assert_eq!(causes(&mut judge, &facts(), &tally, 11), expected, "{tally:?}");
        }
    }

    #[test]
    fn a_drain_outranks_every_cause_and_causes_survive_it() {
        let mut judge = Judge::default();
        let full = Facts { live: 100, ..facts() };
        for (state, word) in [
            (State::Active, "degraded:nearly_full"),
            (State::Draining, "draining"),
            (State::Drained, "drained"),
        ] {
            let verdict = judge.judge(&Facts { state, ..full.clone() }, &Tally::default(), Nanos::ZERO);
            assert_eq!(verdict.to_string(), word);
            assert_eq!(verdict.is_serving(), state == State::Active);
            assert_eq!(verdict.causes().is_empty(), state != State::Active);
        }
    }

    #[test]
    fn causes_are_a_set_with_an_order() {
        let all: Causes = Cause::ALL.iter().copied().rev().collect();
        assert!(all.iter().eq(Cause::ALL.iter().copied()));
        assert_eq!(all.to_string(), "nearly_full,refusing,descriptors,buffers,errors");
        assert_eq!(format!("{:?}", Causes::NONE), "Causes(none)");
        for (place, &cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(cause as usize, place);
        }
    }

    fn only(cause: Cause) -> Causes {
        [cause].into_iter().collect()
    }
}
