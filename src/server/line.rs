//! Who waits for the pool's own rate of operations: strictly first come, first served. A token is taken when its turn has
//! come and not before, so whoever leaves the line takes nothing along and no two meet at one token.

use std::collections::TryReserveError;

use super::SocketPool;
use super::core::Core;
use crate::bucket::Bucket;
use crate::clock::Nanos;
use crate::connection::{Flags, Lists, Muted, Record};
use crate::id::ConnId;
use crate::net::Net;

/// The slots of those who wait, in order of arrival. Everything is O(1), and memory goes with the capacity.
#[derive(Debug)]
pub(super) struct Line {
    slots: Lists<1>,
    len: u32,
}

impl Line {
    pub(super) fn new() -> Self {
        Self { slots: Lists::new(), len: 0 }
    }

    /// Makes sure that so many slots can stand in it without an allocation.
    pub(super) fn try_reserve(&mut self, slots: usize) -> Result<(), TryReserveError> {
        self.slots.try_reserve(slots)
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn has(&self, slot: u32) -> bool {
        self.slots.list_of(slot).is_some()
    }

    fn push_back(&mut self, slot: u32) {
        self.len += u32::from(!self.has(slot));
        self.slots.push_back(0, slot);
    }

    pub(super) fn remove(&mut self, slot: u32) {
        self.len -= u32::from(self.has(slot));
        self.slots.remove(slot);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.slots.memory_bytes()
    }

    pub(super) fn assert_invariants(&self) {
        self.slots.assert_invariants();
        assert_eq!(self.slots.iter(0).count(), self.len as usize, "length of the line");
    }
}

impl<U, N: Net> SocketPool<U, N> {
    /// Lets those go on for whom there are tokens now. If there is nothing to wait for any more, the look at new limits lets
    /// go of them.
    pub(super) fn serve_line(&mut self) {
        if self.core.config().most_in_line() == 0 {
            return;
        }
        for _ in 0..MOST_A_TURN {
            let Some(slot) = self.core.line.slots.first(0) else { return };
            // Taken only for one that can use it now.
            if self.core.pool_token_at(0) > self.core.now {
                return;
            }
            let (id, _) = self.table.at(slot).expect("whoever leaves the table has left the line");
            let record = self.table.get_mut(id).expect("it has just been looked up");
            if self.core.goes_aside(id, record) {
                continue;
            }
            let _ = self.core.takes_pool_token();
            self.core.policy.use_late(record, self.core.moment);
            self.core.leave_line(id, record);
        }
    }
}

impl<N: Net> Core<N> {
    /// Takes a token of the pool's own rate for whoever is first in line, or for a newcomer when nobody is in line.
    #[inline]
    fn takes_pool_token(&self) -> bool {
        match &self.policy.pool_operation {
            Some(bucket) => bucket.takes(&self.pool_level, self.moment),
            None => true,
        }
    }

    /// Takes a token of the pool's own rate for one that does not stand in line.
    #[inline]
    pub(super) fn passes_line(&self) -> bool {
        self.policy.pool_operation.is_none() || (self.line.len == 0 && self.takes_pool_token())
    }

    /// Puts a connection last in line. It is not read from until its turn comes, and no deadline is its fault meanwhile.
    pub(super) fn join_line<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        record.muted.insert(Muted::OPERATIONS);
        record.flags.remove(Flags::ASIDE);
        record.resume_at = Nanos::MAX;
        self.line.push_back(id.slot());
    }

    /// Its turn has come, or there is nothing to wait for any more.
    pub(super) fn leave_line<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        self.line.remove(id.slot());
        record.resume_at = self.now;
        self.unmute(id, record, Muted::TIMED);
        self.arm(id, record);
    }

    /// Whether one whose turn has come could not be shown its message: a token taken for it now, and used much later, would
    /// be one too many then.
    pub(super) fn goes_aside<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) -> bool {
        if record.muted.is_at_most(Muted::TIMED) {
            return false;
        }
        self.line.remove(id.slot());
        record.flags.insert(Flags::ASIDE);
        record.muted.remove(Muted::DELAYED);
        record.resume_at = self.now;
        self.arm(id, record);
        true
    }

    /// One that stood aside is read from again, but for the rate: the next turn sees to that, since it tells him.
    pub(super) fn comes_back<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        record.flags.remove(Flags::ASIDE);
        record.resume_at = self.now;
        self.timers.arm_by(id.slot(), self.now);
    }

    /// Takes a token for an operation of which the application asks, or says when there may be one: behind those in line.
    #[inline(always)]
    pub(super) fn check_operation<U>(&mut self, record: &mut Record<N::Stream, U>) -> Result<(), Nanos> {
        let checked = match self.line.len() {
            0 => self.policy.check(record, &self.pool_level, self.moment),
            others => Err(self.policy.ready_at(record, self.moment).max(self.pool_token_at(others))),
        };
        checked.inspect_err(|_| self.deny(record))
    }

    /// When the next in line goes on: `MAX` if nobody waits.
    pub(super) fn line_deadline(&self) -> Nanos {
        if self.line.len == 0 { Nanos::MAX } else { self.pool_token_at(0) }
    }

    /// When there will be a token of the pool's own rate that those in line do not take, nor `others` behind them.
    pub(super) fn pool_token_at(&self, others: u32) -> Nanos {
        let ready = |bucket: &Bucket| bucket.ready_after(&self.pool_level, others, self.moment);
        self.policy.pool_operation.as_ref().map_or(self.now, ready)
    }
}

/// Those who go on in one turn. What is left goes on in the next, which then does not sleep.
const MOST_A_TURN: usize = 1024;
