//! Doubly linked lists through table slots: each slot stands in at most one of N lists. All steps are O(1).

use std::collections::TryReserveError;

/// N lists over the slots of a table, 9 bytes a slot.
///
/// Invariant: a slot's `member` names the list it is linked into, or `NOWHERE`.
#[derive(Debug)]
pub(crate) struct Lists<const N: usize> {
    links: Vec<Link>,
    member: Vec<u8>,
    ends: [Ends; N],
}

impl<const N: usize> Lists<N> {
    pub(crate) fn new() -> Self {
        const { assert!(N < NOWHERE as usize) };
        Self { links: Vec::new(), member: Vec::new(), ends: [Ends { first: NONE, last: NONE }; N] }
    }

    pub(crate) fn try_reserve(&mut self, slots: usize) -> Result<(), TryReserveError> {
        self.links.try_reserve_exact(slots.saturating_sub(self.links.len()))?;
        self.member.try_reserve_exact(slots.saturating_sub(self.member.len()))
    }

    /// Puts `slot` last in `list`, taking it out of the list it stood in.
    pub(crate) fn push_back(&mut self, list: usize, slot: u32) {
        self.remove(slot);
        let at = slot as usize;
        if at >= self.links.len() {
            self.links.resize(at + 1, Link { previous: NONE, next: NONE });
            self.member.resize(at + 1, NOWHERE);
        }
        let last = self.ends[list].last;
        self.links[at] = Link { previous: last, next: NONE };
        self.member[at] = list as u8;
        match last {
            NONE => self.ends[list].first = slot,
            last => self.links[last as usize].next = slot,
        }
        self.ends[list].last = slot;
    }

    /// Takes `slot` out of whatever list it stands in.
    pub(crate) fn remove(&mut self, slot: u32) {
        let Some(list) = self.list_of(slot) else { return };
        let Link { previous, next } = self.links[slot as usize];
        match previous {
            NONE => self.ends[list].first = next,
            previous => self.links[previous as usize].next = next,
        }
        match next {
            NONE => self.ends[list].last = previous,
            next => self.links[next as usize].previous = previous,
        }
        self.member[slot as usize] = NOWHERE;
    }

    /// The slot that has stood in `list` longest.
    pub(crate) fn first(&self, list: usize) -> Option<u32> {
        Some(self.ends[list].first).filter(|slot| *slot != NONE)
    }

    /// The slot behind `slot` in its list.
    pub(crate) fn next(&self, slot: u32) -> Option<u32> {
        Some(self.links[slot as usize].next).filter(|slot| *slot != NONE)
    }

    /// The list `slot` stands in.
    #[inline]
    pub(crate) fn list_of(&self, slot: u32) -> Option<usize> {
        self.member.get(slot as usize).filter(|list| **list != NOWHERE).map(|list| usize::from(*list))
    }

    pub(crate) fn iter(&self, list: usize) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(self.first(list), |slot| self.next(*slot))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.links.len() * size_of::<Link>() + self.member.len()
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
        let members = self.member.iter().filter(|list| **list != NOWHERE).count();
        assert_eq!(members, linked, "slots that say they stand in a list");
    }
}

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u32,
    last: u32,
}

const NONE: u32 = u32::MAX;
const NOWHERE: u8 = u8::MAX;

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
