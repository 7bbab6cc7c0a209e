//! Doubly linked lists through table slots: each slot stands in at most one of N lists. All steps are O(1).

use std::collections::TryReserveError;

/// N lists over the slots of a table, 8 bytes a slot.
#[derive(Debug)]
pub(crate) struct Lists<const N: usize> {
    links: Vec<Link>,
    ends: [Ends; N],
}

impl<const N: usize> Lists<N> {
    pub(crate) fn new() -> Self {
        const { assert!(N < NOWHERE as usize) };
        Self { links: Vec::new(), ends: [Ends { first: NONE, last: NONE }; N] }
    }

    pub(crate) fn try_reserve(&mut self, slots: usize) -> Result<(), TryReserveError> {
        self.links.try_reserve_exact(slots.saturating_sub(self.links.len()))
    }

    /// Puts `slot` last in `list`, taking it out of the list it stood in.
    #[inline]
    pub(crate) fn push_back(&mut self, list: usize, slot: u32) {
        debug_assert!(slot < NONE, "slots are below 2^24");
        match self.links.get(slot as usize) {
            Some(link) if link.list() == NOWHERE => {}
            Some(_) => self.remove(slot),
            None => self.lengthen(slot),
        }
        let last = std::mem::replace(&mut self.ends[list].last, slot);
        self.links[slot as usize] = Link { previous: last, next: NONE | (list as u32) << LINK_BITS };
        match last {
            NONE => self.ends[list].first = slot,
            last => self.links[last as usize].set_next(slot),
        }
    }

    /// Takes `slot` out of whatever list it stands in.
    #[inline]
    pub(crate) fn remove(&mut self, slot: u32) {
        let Some(link) = self.links.get_mut(slot as usize) else { return };
        let (list, previous, next) = (link.list(), link.previous, link.next());
        if list == NOWHERE {
            return;
        }
        *link = Link::NOWHERE;
        match previous {
            NONE => self.ends[list as usize].first = next,
            previous => self.links[previous as usize].set_next(next),
        }
        match next {
            NONE => self.ends[list as usize].last = previous,
            next => self.links[next as usize].previous = previous,
        }
    }

    /// The slot that has stood in `list` longest.
    #[inline]
    pub(crate) fn first(&self, list: usize) -> Option<u32> {
        Some(self.ends[list].first).filter(|slot| *slot != NONE)
    }

    /// The slot behind `slot` in its list.
    #[inline]
    pub(crate) fn next(&self, slot: u32) -> Option<u32> {
        Some(self.links[slot as usize].next()).filter(|slot| *slot != NONE)
    }

    /// The list `slot` stands in.
    #[inline]
    pub(crate) fn list_of(&self, slot: u32) -> Option<usize> {
        let list = self.links.get(slot as usize)?.list();
        (list != NOWHERE).then_some(list as usize)
    }

    pub(crate) fn iter(&self, list: usize) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(self.first(list), |slot| self.next(*slot))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.links.len() * size_of::<Link>()
    }

    /// Walks everything.
    pub(crate) fn assert_invariants(&self) {
        let mut linked = 0;
        for list in 0..N {
            let mut previous = NONE;
            for slot in self.iter(list) {
                assert_eq!(self.list_of(slot), Some(list), "slot {slot} is linked into list {list}");
                assert_eq!(self.links[slot as usize].previous, previous, "links of slot {slot} disagree");
                previous = slot;
                linked += 1;
                assert!(linked <= self.links.len(), "list {list} runs in a circle");
            }
            assert_eq!(self.ends[list].last, previous, "list {list} ends elsewhere");
        }
        let members = self.links.iter().filter(|link| link.list() != NOWHERE).count();
        assert_eq!(members, linked, "slots that say they stand in a list");
    }

    /// Makes links for the slots up to `slot`, and for some more that were reserved, so that this is not done for each.
    #[cold]
    fn lengthen(&mut self, slot: u32) {
        let needed = slot as usize + 1;
        let len = needed.next_multiple_of(LINKS_AT_ONCE).min(self.links.capacity());
        self.links.resize(len.max(needed), Link::NOWHERE);
    }
}

/// Where a slot stands.
#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    /// The next slot in the lower bits; above them the number of the list, or `NOWHERE`.
    next: u32,
}

impl Link {
    const NOWHERE: Self = Self { previous: NONE, next: NONE | NOWHERE << LINK_BITS };

    #[inline]
    const fn list(self) -> u32 {
        self.next >> LINK_BITS
    }

    #[inline]
    const fn next(self) -> u32 {
        self.next & NONE
    }

    #[inline]
    const fn set_next(&mut self, next: u32) {
        self.next = self.next & !NONE | next;
    }
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u32,
    last: u32,
}

const LINKS_AT_ONCE: usize = 64;
/// Slots are below 2^24, so that this many bits hold one or `NONE`.
const LINK_BITS: u32 = 25;
const NONE: u32 = (1 << LINK_BITS) - 1;
/// In place of the number of a list: the highest that there is room for.
const NOWHERE: u32 = u32::MAX >> LINK_BITS;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #![proptest_config(crate::model_cases())]

        #[test]
        fn lists_behave_like_queues(steps in prop::collection::vec((0u8..3, 0usize..3, 0u32..12), 0..200)) {
            let mut lists = Lists::<3>::new();
            let mut model: [VecDeque<u32>; 3] = Default::default();
            for (what, list, slot) in steps {
                match what {
                    0 | 1 => {
                        lists.push_back(list, slot);
                        model.iter_mut().for_each(|queue| queue.retain(|other| *other != slot));
                        model[list].push_back(slot);
                    }
                    _ => {
                        lists.remove(slot);
                        model.iter_mut().for_each(|queue| queue.retain(|other| *other != slot));
                    }
                }
                lists.assert_invariants();
                for (list, queue) in model.iter().enumerate() {
                    prop_assert_eq!(&lists.iter(list).collect::<VecDeque<_>>(), queue);
                    prop_assert_eq!(lists.first(list), queue.front().copied());
                }
            }
        }
    }
}
