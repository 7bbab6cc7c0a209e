//! Who goes for a newcomer when there is no room (DECISIONS 3), and when to look again if nobody can. Does not accept.

use std::time::Duration;

use super::core::{Core, PROVEN, UNPROVEN};
use super::turn::MOST_TOUCHED;
use super::{Eviction, SocketPool, accept};
use crate::clock::Nanos;
use crate::connection::{Flags, Muted, Record};
use crate::id::ConnId;
use crate::net::Net;
use crate::reason::Reason;

/// What the table has for a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// A free slot.
    Free,
    /// The slot of a connection that has to go.
    Of(ConnId),
    None,
}

impl<U, N: Net> SocketPool<U, N> {
    /// What there is for a newcomer.
    pub(super) fn seat(&mut self) -> Seat {
        let most = self.core.config().max_connections as usize;
        if self.table.len() < most {
            return Seat::Free;
        }
        if self.table.len() > most {
            return Seat::None;
        }
        self.next_to_go().map_or(Seat::None, Seat::Of)
    }

    /// Who goes for a newcomer: first whoever goes anyway, but nobody of whose end the application would not hear.
    pub(super) fn next_to_go(&mut self) -> Option<ConnId> {
        let free = |id: &&ConnId| {
            let record = self.table.get(**id);
            record.is_some_and(|record| !record.flags.has(Flags::TOUCHED) && !record.is_added_and_untold())
        };
        let ending = self.core.ending.iter().take(MOST_TOUCHED + 1).find(free).copied();
        ending.or_else(|| self.victim())
    }

    /// Closes the one that has to go for a newcomer, at once, so that its slot and its descriptor are free.
    pub(super) fn evict(&mut self, id: ConnId) {
        self.end(id, Reason::Evicted);
        self.carry_out_at_once(id);
    }

    /// When to look for a victim again if there is none now. Where nobody goes for a newcomer, only a close helps.
    pub(super) fn next_evictable(&self) -> Nanos {
        let now = self.core.now;
        let is_over_limit = self.table.len() > self.core.config().max_connections as usize;
        if self.core.config().eviction == Eviction::Off || is_over_limit {
            return accept::WHEN_CALLED;
        }
        let oldest = self.core.order.first(UNPROVEN).and_then(|slot| self.table.at(slot));
        let after_grace =
            oldest.map_or(Nanos::MAX, |(_, record)| record.created + self.core.config().eviction_grace);
        // The first in line is the next to have been idle long enough, unless something of it is in flight.
        let first = self.core.order.first(PROVEN).and_then(|slot| self.table.at(slot));
        let after_idle =
            first.map_or(Nanos::MAX, |(_, record)| record.last_active + self.core.config().eviction_idle);
        // Nobody tells when one comes back into line whom the application has read itself.
        after_grace.min(after_idle).clamp(now + LOOK_NO_SOONER, now + LOOK_NO_LATER)
    }

    /// Who has to go for a newcomer (DECISIONS 3): the oldest that is unproven and past its grace, else the proven one
    /// that has had nothing in flight longest. Never one of which the application has a handle or has not heard yet.
    ///
    /// Whoever is read from and has sent something that nobody has read is heard first: one that is proven, always, unless
    /// it has hung; another if nothing of it has been read. What lies unread because we do not read keeps nobody a place:
    /// the application that has paused a connection can hold it, and one that is delayed goes in its turn like any other
    /// that has proven nothing. But a proven one that waits for a rate is not idle.
    fn victim(&mut self) -> Option<ConnId> {
        if self.core.config().eviction == Eviction::Off {
            return None;
        }
        match self.unproven_victim() {
            Unproven::Goes(id) => Some(id),
            Unproven::Unheard => None,
            Unproven::Nobody => self.proven_victim(),
        }
    }

    fn unproven_victim(&mut self) -> Unproven {
        let youngest = self.core.config().eviction_grace;
        let mut place = self.core.order.first(UNPROVEN);
        let mut if_none_goes = Unproven::Nobody;
        for _ in 0..MOST_UNPROVEN {
            let Some(slot) = place else { return Unproven::Nobody };
            place = self.core.order.next(slot);
            let Some((id, _)) = self.table.at(slot) else { return Unproven::Nobody };
            let Some(record) = self.table.get_mut(id) else { return Unproven::Nobody };
            if self.core.now < record.created + youngest {
                return Unproven::Nobody;
            }
            if is_free(record) {
                // First bytes that have come are looked at in this turn: under load that may be after its grace.
                if record.received_bytes > 0 || self.core.is_quiet(id, record) {
                    return Unproven::Goes(id);
                }
                if_none_goes = Unproven::Unheard;
            }
            if record.flags.has(Flags::HELD) {
                // It may stay so for long. Any number of them at the front would shield whoever stands behind.
                self.core.order.push_back(UNPROVEN, slot);
            }
        }
        if_none_goes
    }

    fn proven_victim(&mut self) -> Option<ConnId> {
        let now_ms = self.core.now_ms();
        let idle = self.core.config().eviction_idle;
        for _ in 0..MOST_PASSED_OVER {
            let (id, record) = self.table.at(self.core.order.first(PROVEN)?)?;
            let stands_for = u128::from(now_ms.wrapping_sub(record.ranked_ms));
            if stands_for < idle.as_millis() && self.core.now.since(record.last_active) < RANKS_ARE_SURE {
                // Nobody behind it has been idle for longer than it has stood here.
                return None;
            }
            let record = self.table.get_mut(id)?;
            // Whoever waits because we make him wait is not idle.
            let waits = record.muted.has(Muted::IMPOSED) && !record.flags.has(Flags::ASIDE);
            let is_busy = record.is_busy() || waits;
            let is_idle = !is_busy && self.core.now >= record.last_active + idle;
            let done = |core: &mut Core<N>, record| is_idle && core.is_quiet(id, record);
            if is_free(record) && (self.core.has_hung(record) || done(&mut self.core, record)) {
                return Some(id);
            }
            // Busy, or active since it was put here: it goes to the back of the line.
            record.ranked_ms = now_ms;
            self.core.order.push_back(PROVEN, id.slot());
        }
        None
    }
}

/// What a search among the unproven has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unproven {
    /// This one goes.
    Goes(ConnId),
    /// So many have first bytes to be looked at in this turn that the search was given up. Nobody who is proven goes for
    /// that: a byte each, sent all at once, would be enough to have them go first.
    Unheard,
    Nobody,
}

/// Whether the application knows of a connection and has no use for it at this moment.
fn is_free<S, U>(record: &Record<S, U>) -> bool {
    let unavailable = record.flags.has(Flags::TOUCHED) || record.flags.has(Flags::HELD);
    !record.muted.has(Muted::UNANNOUNCED) && !unavailable
}

/// Unproven connections looked at in the search for one that can go: more than can have come in one turn.
const MOST_UNPROVEN: usize = 2 * accept::MOST_A_TURN;
/// Proven connections looked at in the search for one that can go.
const MOST_PASSED_OVER: usize = 64;
/// A rank wraps round after 49.7 days. Activity takes a new one, so that of one who has been silent for so long nobody
/// knows how long it has stood where it is, and it is looked at.
const RANKS_ARE_SURE: Duration = Duration::from_millis(u32::MAX as u64 / 2);
/// While nobody can go, the search for somebody is not repeated in every turn.
const LOOK_NO_SOONER: Duration = Duration::from_millis(5);
/// While somebody waits for a place, the search is repeated at least so often.
const LOOK_NO_LATER: Duration = Duration::from_secs(1);
