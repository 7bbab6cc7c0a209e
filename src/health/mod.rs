//! What is going on? Counts what happens, remembers how long operations took and how often things went wrong
//! lately, and says in one word whether the pool is well.
//!
//! Leaves acting on it to others: no limit is enforced here and nothing is closed. Facts that another room knows
//! better (how many live, how many bytes wait) are handed in at the moment of asking.

mod counters;
mod latency;
mod listing;
mod recent;
mod snapshot;
mod verdict;

use std::time::Duration;

pub use self::counters::Counters;
pub use self::latency::Quantiles;
pub use self::listing::{ConnectionInfo, Phase};
pub use self::snapshot::{Gauge, Memory, Snapshot};
pub use self::verdict::{Cause, Causes, Verdict};

use self::latency::Latency;
use self::recent::Recent;
use self::verdict::Judge;
use crate::clock::Nanos;
use crate::drain::State;
use crate::reason::{Reason, Refusal};

/// The pool's memory of itself. One for each pool; about 83 KB, none of it for a single connection.
///
/// `now` must not go backwards; it may stand still.
#[derive(Debug)]
pub(crate) struct Health {
    /// The pool counts here directly whatever no method below counts for it.
    pub(crate) counters: Counters,
    latency: Latency,
    recent: Recent,
    /// `counters.operations` when the running second of `recent` was last brought up to date.
    operations_noted: u64,
    judge: Judge,
    /// The most connections that were live at one time.
    peak_live: usize,
    start: Nanos,
}

/// What the pool knows at the moment of asking.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) state: State,
    /// Connections in the table.
    pub(crate) live: usize,
    /// Of those, busy (DECISIONS 7).
    pub(crate) active: usize,
    pub(crate) max_connections: usize,
    pub(crate) proven: usize,
    /// Bytes of all buffers that are in use, and the most that these have been.
    pub(crate) buffer_bytes: usize,
    pub(crate) peak_buffer_bytes: usize,
    pub(crate) budget: Option<Budget>,
    /// `health` is filled in here.
    pub(crate) memory: Memory,
    /// Accepting is paused for want of descriptors or memory, right now.
    pub(crate) descriptors_exhausted: bool,
    /// Accepting is paused because the table is full, right now.
    pub(crate) waiting_in_backlog: bool,
    pub(crate) drain_remaining: Option<Duration>,
    /// Addresses of which a count or a score is kept.
    pub(crate) tracked_addresses: usize,
}

/// The marks that waiting bytes are held against, where there is a limit on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// From here on connections that hold some are closed sooner.
    pub(crate) soft_bytes: usize,
    /// Past these the largest are closed.
    pub(crate) most_bytes: usize,
}

impl Health {
    pub(crate) fn new(now: Nanos) -> Self {
        Self {
            counters: Counters::default(),
            latency: Latency::new(now),
            recent: Recent::new(now),
            operations_noted: 0,
            judge: Judge::default(),
            peak_live: 0,
            start: now,
        }
    }

    /// One operation that began at `since` was completed.
    #[inline]
    pub(crate) fn operation(&mut self, since: Nanos, now: Nanos) {
        self.advance(now);
        self.latency.record(now.as_nanos().saturating_sub(since.as_nanos()));
        self.counters.operations += 1;
    }

    /// A connection got a slot; `live` counts it.
    #[inline]
    pub(crate) fn opened(&mut self, live: usize) {
        self.counters.opened += 1;
        self.peak_live = self.peak_live.max(live);
    }

    /// A connection ended.
    #[inline]
    pub(crate) fn closed(&mut self, reason: Reason, now: Nanos) {
        self.advance(now);
        self.counters.closed[reason as usize] += 1;
        let recent = self.recent.current();
        recent.ended += 1;
        recent.failed += u64::from(is_failure(reason));
    }

    /// A newcomer was turned away.
    pub(crate) fn refused(&mut self, refusal: Refusal, now: Nanos) {
        self.advance(now);
        self.counters.refused[refusal as usize] += 1;
        self.recent.current().crowded_out += u64::from(is_want_of_room(refusal));
    }

    /// Weighs the facts anew. Cheap, but a scan of ten seconds: once a second is often enough.
    pub(crate) fn judge(&mut self, facts: &Facts, now: Nanos) -> Verdict {
        self.advance(now);
        self.note_operations();
        self.judge.judge(facts, &self.recent.total(), now)
    }

    /// Everything at once, judged anew. Some 12,000 instructions (1 µs); allocates nothing.
    pub(crate) fn snapshot(&mut self, facts: Facts, now: Nanos) -> Snapshot {
        let verdict = self.judge(&facts, now);
        let recent = self.recent.total();
        Snapshot {
            state: facts.state,
            verdict,
            uptime: now.since(self.start),
            drain_remaining: facts.drain_remaining,
            connections: Gauge { now: facts.live, peak: self.peak_live, limit: Some(facts.max_connections) },
            active: facts.active,
            idle: facts.live.saturating_sub(facts.active),
            proven: facts.proven,
            buffers: Gauge {
                now: facts.buffer_bytes,
                peak: facts.peak_buffer_bytes,
                limit: facts.budget.map(|budget| budget.most_bytes),
            },
            memory: Memory { health: self.memory_bytes(), ..facts.memory },
            descriptors_exhausted: facts.descriptors_exhausted,
            waiting_in_backlog: facts.waiting_in_backlog,
            tracked_addresses: facts.tracked_addresses,
            ops_rate: self.recent.per_second(recent.operations, now),
            error_rate: self.recent.per_second(recent.failed, now),
            latency: self.latency.quantiles(now),
            counters: self.counters.clone(),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.latency.memory_bytes()
    }

    /// Lets go of what is too long ago. One comparison unless a second has ended: the windows of the latencies are
    /// whole numbers of seconds and began at the same moment, so none of them can end within a second.
    #[inline]
    fn advance(&mut self, now: Nanos) {
        if self.recent.is_over(now) {
            self.advance_second(now);
        }
    }

    #[cold]
    fn advance_second(&mut self, now: Nanos) {
        self.note_operations();
        self.recent.advance(now);
        self.latency.advance(now);
    }

    /// Counts the operations since the last time in the running second, so that each one is counted only once.
    fn note_operations(&mut self) {
        self.recent.current().operations += self.counters.operations - self.operations_noted;
        self.operations_noted = self.counters.operations;
    }
}

/// Ends that mean trouble, not a decision of anybody.
const fn is_failure(reason: Reason) -> bool {
    matches!(reason, Reason::Error | Reason::ReadStall | Reason::WriteStall)
}

/// Refusals that an honest newcomer would meet too. The others are protection at work.
const fn is_want_of_room(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::Full | Refusal::AcceptRate | Refusal::Register)
}

#[cfg(test)]
mod tests {
    use super::testing::facts;
    use super::*;

    #[test]
    fn rates_look_back_ten_seconds_and_counters_for_ever() {
        let mut health = Health::new(Nanos::ZERO);
        for _ in 0..20 {
            health.operation(Nanos::ZERO, Nanos::from_millis(500));
        }
        let now = Nanos::from_millis(5_000);
        let early = health.snapshot(facts(), now);
        assert_eq!((early.ops_rate, early.counters.operations, early.latency.count), (4.0, 20, 20));
        let late = health.snapshot(facts(), Nanos::from_millis(11_000));
        assert_eq!((late.ops_rate, late.counters.operations, late.latency.count), (0.0, 20, 20));
    }

    #[test]
    fn errors_and_stalls_make_the_error_rate_and_no_other_end_does() {
        for &reason in Reason::ALL {
            let mut health = Health::new(Nanos::ZERO);
            health.closed(reason, Nanos::ZERO);
            let shown = health.snapshot(facts(), Nanos::from_millis(1_000));
            let counts = matches!(reason, Reason::Error | Reason::ReadStall | Reason::WriteStall);
            assert_eq!(shown.error_rate, if counts { 1.0 } else { 0.0 }, "{reason}");
            assert_eq!((shown.closed(reason), shown.closed_total()), (1, 1));
        }
    }

    #[test]
    fn refusals_of_attackers_do_not_degrade() {
        for &refusal in Refusal::ALL {
            let mut health = Health::new(Nanos::ZERO);
            for _ in 0..1_000 {
                health.refused(refusal, Nanos::ZERO);
            }
            let shown = health.snapshot(facts(), Nanos::ZERO);
            let wanted_in = matches!(refusal, Refusal::Full | Refusal::AcceptRate | Refusal::Register);
            assert_eq!(shown.verdict.causes().contains(Cause::Refusing), wanted_in, "{refusal}");
            assert_eq!((shown.refused(refusal), shown.refused_total()), (1_000, 1_000));
        }
    }

    #[test]
    fn peaks_stay_when_what_made_them_is_gone() {
        let mut health = Health::new(Nanos::ZERO);
        for live in [1, 2, 3, 2] {
            health.opened(live);
        }
        let budget = Some(Budget { soft_bytes: 800, most_bytes: 900 });
        let buffers = Facts { peak_buffer_bytes: 700, budget, ..facts() };
        let shown = health.snapshot(Facts { live: 1, ..buffers }, Nanos::ZERO);
        assert_eq!(shown.connections, Gauge { now: 1, peak: 3, limit: Some(100) });
        assert_eq!(shown.buffers, Gauge { now: 0, peak: 700, limit: Some(900) });
        assert_eq!(shown.counters.opened, 4);
    }

    #[test]
    fn a_pool_made_late_on_its_clock_starts_from_nothing() {
        let start = Nanos::from_millis(123_456_789);
        let mut health = Health::new(start);
        health.operation(Nanos::ZERO, start);
        let shown = health.snapshot(facts(), start + Duration::from_secs(1));
        assert_eq!((shown.ops_rate, shown.uptime), (1.0, Duration::from_secs(1)));
    }

    #[test]
    fn time_that_stands_still_loses_nothing() {
        let mut health = Health::new(Nanos::ZERO);
        let now = Nanos::from_millis(10_000);
        for _ in 0..100 {
            health.operation(Nanos::ZERO, now);
        }
        let shown = health.snapshot(facts(), now);
        assert_eq!((shown.latency.count, shown.counters.operations), (100, 100));
        assert!(shown.ops_rate > 10.0);
    }

    #[test]
    fn a_now_from_before_the_last_one_is_taken_for_the_present() {
        let mut health = Health::new(Nanos::ZERO);
        health.operation(Nanos::ZERO, Nanos::from_millis(20_500));
        health.operation(Nanos::ZERO, Nanos::from_millis(9_000));
        health.closed(Reason::Error, Nanos::ZERO);
        let shown = health.snapshot(facts(), Nanos::from_millis(20_500));
        assert_eq!((shown.latency.count, shown.counters.operations), (2, 2));
        assert!(shown.ops_rate > 0.0 && shown.error_rate > 0.0);
    }

    #[test]
    fn memory_is_what_ten_kib_histograms_make_it() {
        let mut health = Health::new(Nanos::ZERO);
        let memory = health.snapshot(facts(), Nanos::ZERO).memory;
        assert_eq!(memory.total(), health.memory_bytes());
        assert!((60_000..90_000).contains(&memory.health), "{memory}");
    }
}

#[cfg(test)]
mod testing {
    use proptest::test_runner::Config;

    use super::*;

    /// Nothing is wrong: an empty pool for a hundred.
    pub(super) fn facts() -> Facts {
        Facts {
            state: State::Active,
            live: 0,
            active: 0,
            max_connections: 100,
            proven: 0,
            buffer_bytes: 0,
            peak_buffer_bytes: 0,
            budget: None,
            memory: Memory::default(),
            descriptors_exhausted: false,
            waiting_in_backlog: false,
            drain_remaining: None,
            tracked_addresses: 0,
        }
    }

    /// As many cases as `SOCKETPOOL_CASES` says, up to what these slow models bear; nothing is written to disk.
    pub(super) fn config() -> Config {
        let cases =
            std::env::var("SOCKETPOOL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1024).min(8_192);
        Config { cases, failure_persistence: None, ..Config::default() }
    }
}
