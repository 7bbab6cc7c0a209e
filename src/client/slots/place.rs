//! The right to put something into the stack without a lock, which only that stack makes. Does not know what lies there.

use std::num::NonZeroU32;

/// The right to one place of one stack: who has it, and nobody else, may put something there. There is one for each. It
/// comes back to its own stack: a pool has those of its stack, and a lease that has one holds the pool it came from.
/// Builds with assertions check this.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Place {
    one_more: NonZeroU32,
    #[cfg(debug_assertions)]
    stack: usize,
}

impl Place {
    /// For the stack whose places begin at this address.
    #[inline(always)]
    pub(super) fn new(index: u32, stack: usize) -> Self {
        #[cfg(not(debug_assertions))]
        let _ = stack;
        Self {
            one_more: NonZeroU32::MIN.saturating_add(index),
            #[cfg(debug_assertions)]
            stack,
        }
    }

    #[inline(always)]
    pub(in super::super) const fn index(&self) -> u32 {
        self.one_more.get() - 1
    }

    #[inline(always)]
    pub(super) fn assert_of(&self, stack: usize) {
        #[cfg(debug_assertions)]
        assert_eq!(self.stack, stack, "of another stack");
        #[cfg(not(debug_assertions))]
        let _ = stack;
    }
}
