//! What an operation takes of the rates that the pool enforces: a token of its connection's own and one of the pool's, for
//! each message that is shown; what happens to whoever has none, and to a token of a message that did not come.

use super::config::OverRate;
use super::core::Core;
use crate::clock::Nanos;
use crate::connection::{Flags, Muted, Operation, Record, Stage};
use crate::id::ConnId;
use crate::net::{Net, Stream};
use crate::readiness::Readiness;
use crate::reason::Reason;

impl<N: Net> Core<N> {
    /// Takes the tokens of the next operation, where the pool itself sees to the rates, and says whether it may run.
    /// `left` bytes of it have been received.
    #[inline(always)] // See `complete_operation`.
    pub(super) fn charge<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, left: usize) -> bool {
        if self.config().over_rate == OverRate::Close {
            return self.charge_or_close(id, record, left);
        }
        let own = self.policy.reserve(record, self.moment);
        record.flags.insert(Flags::CHARGED);
        match own {
            Ok(()) if self.passes_line() => true,
            own => !self.hold_back(id, record, left, own.err()),
        }
    }

    fn charge_or_close<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, left: usize) -> bool {
        if self.policy.check(record, &self.pool_level, self.moment).is_ok() {
            record.flags.insert(Flags::CHARGED);
        } else if !has_nothing_to_operate_on(record, left) {
            self.deny(record);
            record.muted.insert(Muted::APPLICATION);
            record.advance_to(Stage::Finishing, Reason::Rate);
            // What was answered within the rate leaves, and while it is being handled the rest of an answer may follow.
            if !record.flags.has(Flags::TOUCHED) {
                self.end_if_finished(id, record);
            }
            return false;
        }
        true
    }

    /// The token of its own counts only from `counts_from` on, or there is none of the pool's. Returns whether there is
    /// something to hold back until there are both.
    #[cold]
    fn hold_back<U>(
        &mut self,
        id: ConnId,
        record: &mut Record<N::Stream, U>,
        left: usize,
        counts_from: Option<Nanos>,
    ) -> bool {
        if has_nothing_to_operate_on(record, left) || record.is_ending() {
            record.flags.remove(Flags::CHARGED);
            self.policy.give_back(record);
            return false;
        }
        self.deny(record);
        if record.muted.has(Muted::OPERATIONS) {
            // The message before went ahead of its turn, as one does that is answered before it is taken.
            self.policy.take_ahead(&self.pool_level, self.moment);
        }
        // What waits may all have been received already: no edge will tell of it, and that there is no room for more must
        // not keep it from being told.
        record.ready = record.ready.with(Readiness::READABLE);
        record.muted.remove(Muted::FULL);
        record.flags.remove(Flags::ASIDE);
        match counts_from {
            Some(at) => {
                if self.line.has(id.slot()) {
                    // For its own rate it waits elsewhere.
                    self.line.remove(id.slot());
                    record.resume_at = self.now;
                }
                self.mute_until(id, record, Muted::OPERATIONS, at);
            }
            None => self.join_line(id, record),
        }
        true
    }

    /// Puts back what was taken for an operation that did not come.
    pub(super) fn give_back_tokens<U>(&self, record: &mut Record<N::Stream, U>) {
        record.flags.remove(Flags::CHARGED);
        self.policy.give_back(record);
        if let Some(bucket) = &self.policy.pool_operation {
            bucket.give_back(&self.pool_level);
        }
    }

    #[cold]
    pub(super) fn deny<U>(&mut self, record: &mut Record<N::Stream, U>) {
        record.denied = record.denied.saturating_add(1);
        self.health.counters.operations_denied += 1;
    }

    /// Whoever was told of a message and has received none, since there was none: its token goes back. Kept, it would let
    /// one more through with a later burst.
    pub(super) fn settle_token<U>(&self, record: &mut Record<N::Stream, U>) {
        let waits_to_be_told = record.muted.has(Muted::OPERATIONS) || record.flags.has(Flags::QUEUED);
        let has_come = matches!(record.operation, Operation::Consumed | Operation::Finished);
        // Of one that ends nobody knows any more.
        let is_known = !waits_to_be_told && !has_come && !record.is_ending();
        if is_known && has_nothing_to_operate_on(record, 0) {
            self.give_back_tokens(record);
        }
    }
}

/// Whether there is nothing that an operation could be: only the end of the stream, or not even that, after a read that
/// took exactly what had come. `left` bytes wait in the open input.
fn has_nothing_to_operate_on<S: Stream, U>(record: &Record<S, U>, left: usize) -> bool {
    left == 0 && record.input.is_none() && !record.stream.has_unread()
}
