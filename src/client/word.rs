//! The word of the stack without a lock: what is on top, whether the stack is shut, whether it is crowded, and a tag against
//! reuse, in 64 bits that change together. Does not know how it is shared.

/// One state of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

impl Word {
    /// Of a stack that is empty and shut.
    pub(super) const NEW: Self = Self(SHUT | NONE as u64);

    #[inline(always)]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// What is on top, for those who may come in; [`NONE`] if nothing is.
    #[inline(always)]
    pub(super) const fn top(self) -> u32 {
        (self.0 & NONE as u64) as u32
    }

    #[inline(always)]
    pub(super) const fn is_shut(self) -> bool {
        self.0 & SHUT != 0
    }

    #[inline(always)]
    pub(super) const fn is_crowded(self) -> bool {
        self.0 & CROWDED != 0
    }

    /// Whether who comes without the lock has to look elsewhere for a place.
    #[inline(always)]
    pub(super) const fn is_shut_or_crowded(self) -> bool {
        self.0 & (SHUT | CROWDED) != 0
    }

    /// Whether something is there, for whoever comes without the lock, and not many do.
    #[inline(always)]
    pub(super) const fn is_quiet(self) -> bool {
        self.0 & (SHUT | CROWDED | NONE as u64) < NONE as u64
    }

    /// Whether there is nothing for those who come without the lock.
    #[inline(always)]
    pub(super) const fn is_shut_or_empty(self) -> bool {
        self.0 & (SHUT | NONE as u64) >= NONE as u64
    }

    /// The next state, with something else on top, as open and as crowded as this one.
    #[inline(always)]
    pub(super) const fn with_top(self, top: u32) -> Self {
        Self((self.0 & !(NONE as u64)).wrapping_add(TAG) | top as u64)
    }

    /// The next state, in which nothing is there and nobody comes in.
    pub(super) const fn shut(self) -> Self {
        Self(self.with_top(NONE).0 & !CROWDED | SHUT)
    }
}

/// In place of an index: nothing. There are never so many places.
pub(super) const NONE: u32 = (1 << 20) - 1;
/// Set while everybody has to go by the lock.
pub(super) const SHUT: u64 = 1 << 20;
/// Set while several are at it at once: then they go by lanes of their own.
pub(super) const CROWDED: u64 = 1 << 21;
/// The lowest bit of the tag. It takes a multiple of 2^42 changes during one pop to be mistaken: hours of nothing else.
const TAG: u64 = 1 << 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_the_top_is_a_new_word() {
        let open = Word::from_bits(Word::NEW.bits() & !SHUT);
        let (there, back) = (open.with_top(3), open.with_top(3).with_top(NONE));
        assert_eq!((there.top(), back.top()), (3, NONE));
        assert_ne!(back, open, "it looks the same and is not");
    }

    #[test]
    fn the_tag_begins_anew_without_touching_what_stands_beside_it() {
        let last = Word::from_bits(!(TAG - 1) | 7);
        assert_eq!(last.with_top(5), Word::from_bits(5));
        assert_eq!(Word::from_bits(last.bits() | SHUT).with_top(5), Word::from_bits(SHUT | 5));
        assert_eq!(last.shut(), Word::NEW);
        assert_eq!(Word::from_bits(last.bits() | CROWDED).shut(), Word::NEW, "nobody is there any more");
    }

    #[test]
    fn a_stack_that_is_shut_has_nothing_for_anybody() {
        assert!(Word::NEW.is_shut_or_empty() && Word::NEW.is_shut());
        assert!(Word::NEW.with_top(0).is_shut_or_empty(), "it was filled and not opened");
        assert!(!Word::from_bits(0).is_shut_or_empty(), "the first place is on top");
        assert!(Word::from_bits(u64::from(NONE)).is_shut_or_empty());
    }

    #[test]
    fn a_stack_is_quiet_while_one_after_the_other_finds_something() {
        assert!(Word::from_bits(0).is_quiet(), "the first place is on top");
        for other in [SHUT, CROWDED, SHUT | CROWDED, u64::from(NONE), CROWDED | u64::from(NONE)] {
            assert!(!Word::from_bits(other).is_quiet(), "{other:#x}");
        }
        assert!(Word::from_bits(CROWDED).with_top(5).is_crowded(), "it stays so");
    }
}
