//! Bounds the buffer memory of all connections together. Knows how much each one holds by size class, so that the
//! largest, and among those the one that has been so longest, is found without a scan.

use std::collections::TryReserveError;
use std::time::Duration;

use super::SocketPool;
use super::core::Core;
use crate::clock::Nanos;
use crate::connection::Lists;
use crate::health::Budget;
use crate::net::Net;
use crate::reason::Reason;

/// What all buffers hold, and who holds how much.
///
/// Invariant: a connection that holds bytes stands in the list of its class, one that holds none stands in none.
#[derive(Debug)]
pub(super) struct Pressure {
    held: usize,
    peak: usize,
    /// One list for each power of two.
    classes: Lists<CLASSES>,
    /// When to look for those that hold bytes for too long; `MAX` below the soft mark.
    pub(super) look_at: Nanos,
}

impl Pressure {
    pub(super) fn new() -> Self {
        Self { held: 0, peak: 0, classes: Lists::new(), look_at: Nanos::MAX }
    }

    pub(super) fn try_reserve(&mut self, slots: usize) -> Result<(), TryReserveError> {
        self.classes.try_reserve(slots)
    }

    /// A connection that held `before` bytes holds `after` now.
    pub(super) fn change(&mut self, slot: u32, before: u32, after: u32) {
        self.held = self.held + after as usize - before as usize;
        self.peak = self.peak.max(self.held);
        match after {
            0 => self.classes.remove(slot),
            after if self.classes.list_of(slot) == Some(class_of(after)) => {}
            after => self.classes.push_back(class_of(after), slot),
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held
    }

    pub(super) fn peak_bytes(&self) -> usize {
        self.peak
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.classes.memory_bytes()
    }

    /// Who holds most, to within a factor of two; of several the one that has done so longest.
    fn largest(&self) -> Option<u32> {
        (0..CLASSES).rev().find_map(|class| self.classes.first(class))
    }

    pub(super) fn assert_invariants(&self) {
        self.classes.assert_invariants();
        assert!(self.held <= self.peak, "peak of held bytes");
    }
}

impl<U, N: Net> SocketPool<U, N> {
    /// Whether buffers hold so much that somebody may have to go, and nobody has looked yet.
    #[inline]
    pub(super) fn is_under_pressure(&self) -> bool {
        let pressure = &self.core.pressure;
        let past_soft = |budget: Budget| pressure.held > budget.soft_bytes && pressure.look_at == Nanos::MAX;
        self.core.is_over_budget() || self.core.config().budget().is_some_and(past_soft)
    }

    /// Closes the largest as soon as buffers hold too much, so that however many grow in one turn, all of them together
    /// hold no more than one of them beyond the budget.
    #[inline]
    pub(super) fn keep_to_budget(&mut self) {
        if self.core.is_over_budget() {
            self.close_largest();
        }
    }

    /// Closes who holds too much, if all hold too much together: past the hard mark the largest, past the soft mark
    /// those that are idle for a tenth of the time that they may be.
    pub(super) fn relieve_pressure(&mut self) {
        let Some(budget) = self.core.config().budget() else {
            // The budget may have been lifted while a look was due: the loop would never sleep again.
            self.core.pressure.look_at = Nanos::MAX;
            return;
        };
        self.keep_to_budget();
        if self.core.pressure.held <= budget.soft_bytes {
            self.core.pressure.look_at = Nanos::MAX;
        } else if self.core.pressure.look_at == Nanos::MAX || self.core.now >= self.core.pressure.look_at {
            self.close_stalled();
            self.core.pressure.look_at = self.core.now + LOOK_EVERY;
        }
    }

    #[cold]
    fn close_largest(&mut self) {
        for _ in 0..MOST_AT_A_TIME {
            if !self.core.is_over_budget() {
                return;
            }
            let Some((id, _)) = self.core.pressure.largest().and_then(|slot| self.table.at(slot)) else {
                return;
            };
            self.end(id, Reason::Memory);
        }
    }

    /// Goes on in each class behind where the last look ended.
    fn close_stalled(&mut self) {
        for class in (0..CLASSES).rev() {
            let mut looked_first = None;
            for _ in 0..MOST_AT_A_TIME {
                let Some(slot) = self.core.pressure.classes.first(class) else { break };
                if looked_first == Some(slot) {
                    break;
                }
                looked_first.get_or_insert(slot);
                self.core.pressure.classes.push_back(class, slot);
                let Some((id, _)) = self.table.at(slot) else { continue };
                let Some(record) = self.table.get_mut(id) else { continue };
                if self.core.idles(id, record, SHORTENED) {
                    self.core.end(id, record, Reason::Memory);
                }
            }
        }
    }
}

impl<N: Net> Core<N> {
    #[inline]
    fn is_over_budget(&self) -> bool {
        self.pressure.held > self.policy.most_buffer_bytes
    }
}

const fn class_of(bytes: u32) -> usize {
    bytes.ilog2() as usize
}

/// A connection holds less than 2^27 bytes: two buffers of at most 16 MiB and their size classes.
const CLASSES: usize = 27;
/// Connections looked at for one relief; the next follows in the next turn.
const MOST_AT_A_TIME: usize = 64;
/// By how much the soft mark shortens the idle timeout.
const SHORTENED: u32 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(100);
