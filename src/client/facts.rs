//! What stands beside an idle connection in the stack without a lock: written by whoever has it, read by everybody. Of
//! what somebody else has, no two numbers belong together, but for a lease, which is counted after its time.

use super::sync::{AtomicU32, AtomicU64, Ordering};
use crate::clock::Nanos;
use crate::lease::{Known, Span};

#[derive(Debug)]
pub(super) struct Facts {
    generation: AtomicU32,
    /// Until when it may be lent.
    fresh_until: AtomicU64,
    /// When it was last lent or taken back.
    since: AtomicU64,
    /// How often it has been lent.
    uses: AtomicU64,
    /// From when on it must not be taken back.
    ends: AtomicU64,
}

/// What is allowed to one that is taken back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reuse {
    /// How long it may be lent again after it came back.
    pub(super) fresh_for: Span,
    pub(super) max_uses: u64,
}

impl Facts {
    pub(super) fn new() -> Self {
        Self {
            generation: AtomicU32::new(0),
            fresh_until: AtomicU64::new(0),
            since: AtomicU64::new(0),
            uses: AtomicU64::new(0),
            ends: AtomicU64::new(0),
        }
    }

    #[inline(always)]
    pub(super) fn is_fresh(&self, now: Nanos) -> bool {
        now.as_nanos() < self.fresh_until.load(Ordering::Relaxed)
    }

    /// It was lent; says under which generation.
    #[inline(always)]
    pub(super) fn lend(&self, now: Nanos) -> u32 {
        self.since.store(now.as_nanos(), Ordering::Relaxed);
        // Whoever sees one lease more must not see when the connection became idle: it would look as if held since then.
        self.uses.store(self.uses.load(Ordering::Relaxed) + 1, Ordering::Release);
        self.generation.load(Ordering::Relaxed)
    }

    /// It is to be taken back; says whether it may.
    #[inline(always)]
    pub(super) fn take_back(&self, reuse: Reuse, now: Nanos) -> bool {
        let ends = Nanos::new(self.ends.load(Ordering::Relaxed));
        if now >= ends || self.uses.load(Ordering::Relaxed) >= reuse.max_uses {
            return false;
        }
        self.fresh_until.store(reuse.fresh_for.after(now).min(ends).as_nanos(), Ordering::Relaxed);
        self.since.store(now.as_nanos(), Ordering::Relaxed);
        true
    }

    pub(super) fn known(&self) -> Known {
        let uses = self.uses.load(Ordering::Acquire);
        Known {
            fresh_until: Nanos::new(self.fresh_until.load(Ordering::Relaxed)),
            since: Nanos::new(self.since.load(Ordering::Relaxed)),
            uses,
            ends: Nanos::new(self.ends.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn note(&self, generation: u32, known: Known) {
        self.generation.store(generation, Ordering::Relaxed);
        self.fresh_until.store(known.fresh_until.as_nanos(), Ordering::Relaxed);
        self.since.store(known.since.as_nanos(), Ordering::Relaxed);
        self.uses.store(known.uses, Ordering::Relaxed);
        self.ends.store(known.ends.as_nanos(), Ordering::Relaxed);
    }
}
