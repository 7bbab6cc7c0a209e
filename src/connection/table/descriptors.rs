//! Which slot a descriptor belongs to. Knows neither connections nor generations.
//!
//! The kernel gives out the lowest number that is free, so the descriptors of a process are a few more than it has open, and an
//! array by number is the smallest map there is: four bytes each, and one load to look. Numbers that nobody has been given but
//! somebody has chosen (`dup2`), beyond any that as many connections as there can be would need, are kept in a hash map.

use std::collections::{HashMap, TryReserveError};

use crate::hash::FoldedState;
use crate::id::ConnId;

/// Slots by descriptor.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// The slot of each descriptor below its length, or [`NONE`].
    near: Vec<u32>,
    /// The slots of descriptors from [`FAR`] on.
    far: HashMap<i32, u32, FoldedState>,
    len: usize,
}

impl Descriptors {
    pub(crate) fn new() -> Self {
        Self { near: Vec::new(), far: HashMap::with_hasher(FoldedState::default()), len: 0 }
    }

    /// Makes sure that the descriptors of `connections` are noted without allocating, in a process that has not many others.
    pub(super) fn try_reserve(&mut self, connections: usize) -> Result<(), TryReserveError> {
        let most = connections.saturating_add(connections / 16 + OTHERS).min(FAR);
        self.near.try_reserve_exact(most.saturating_sub(self.near.len()))
    }

    /// Notes a descriptor. Changes nothing and says so if it is noted already, or if there is no memory to note one that is
    /// higher than all before.
    #[inline]
    pub(crate) fn insert(&mut self, fd: i32, slot: u32) -> Result<(), Unfit> {
        debug_assert!(slot != NONE, "slots are below 2^24");
        let noted = match self.near.get_mut(fd as u32 as usize) {
            Some(noted) => noted,
            None => self.make_room(fd)?,
        };
        if *noted != NONE {
            return Err(Unfit);
        }
        *noted = slot;
        self.len += 1;
        Ok(())
    }

    /// Forgets a descriptor; fine when it was not noted.
    #[inline]
    pub(crate) fn remove(&mut self, fd: i32) {
        let was_noted = match self.near.get_mut(fd as u32 as usize) {
            Some(noted) => std::mem::replace(noted, NONE) != NONE,
            None => self.far.remove(&fd).is_some(),
        };
        self.len -= usize::from(was_noted);
    }

    #[inline]
    pub(crate) fn get(&self, fd: i32) -> Option<u32> {
        match self.near.get(fd as u32 as usize) {
            Some(slot) => Some(*slot).filter(|slot| *slot != NONE),
            None if self.far.is_empty() => None,
            None => self.far.get(&fd).copied(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.near.len() * size_of::<u32>() + self.far.capacity() * (size_of::<(i32, u32)>() + 1)
    }

    /// A place for a descriptor that is higher than all before.
    #[cold]
    fn make_room(&mut self, fd: i32) -> Result<&mut u32, Unfit> {
        let place = fd as u32 as usize;
        if place >= FAR {
            self.far.try_reserve(1).map_err(|_| Unfit)?;
            return Ok(self.far.entry(fd).or_insert(NONE));
        }
        self.near.try_reserve(place + 1 - self.near.len()).map_err(|_| Unfit)?;
        // A few at a time, so that this is not done for each, and no more memory is touched than is needed.
        let len = (place + 1).next_multiple_of(STEP).min(self.near.capacity());
        self.near.resize(len, NONE);
        Ok(&mut self.near[place])
    }
}

/// A descriptor that cannot be noted.
#[derive(Debug)]
pub(crate) struct Unfit;

/// Descriptors that a process may have besides those of its connections and a sixteenth of them, before the array grows.
const OTHERS: usize = 1_024;
/// The first descriptor that is not kept in the array, which therefore never takes more than 64 MiB.
const FAR: usize = ConnId::MAX_SLOTS as usize;
/// By so many entries the array is lengthened.
const STEP: usize = 256;
/// In place of a slot: not noted.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn descriptors_that_somebody_has_chosen_take_no_array() {
        let mut descriptors = Descriptors::new();
        for fd in [i32::MAX, FAR as i32, -1] {
            assert!(descriptors.get(fd).is_none() && descriptors.insert(fd, 7).is_ok());
            assert!(descriptors.insert(fd, 8).is_err(), "it is noted already");
            assert_eq!(descriptors.get(fd), Some(7));
        }
        assert!(descriptors.memory_bytes() < 1_000);
    }

    #[test]
    fn what_was_reserved_suffices() {
        let mut descriptors = Descriptors::new();
        descriptors.try_reserve(10_000).unwrap();
        let before = descriptors.near.capacity();
        (3..10_900).for_each(|fd| descriptors.insert(fd, 0).unwrap());
        assert_eq!((descriptors.near.capacity(), descriptors.len()), (before, 10_897));
    }

    proptest! {
        #![proptest_config(crate::model_cases())]

        #[test]
        fn descriptors_are_a_map(
            steps in prop::collection::vec((0..3_u8, prop_oneof![0..6_i32, 1_000..1_003_i32, FAR as i32 - 2..FAR as i32 + 2]), 0..60),
        ) {
            // Those just below `FAR` would have the array at its full length in every case.
            let near = |fd| if fd > 2_000 { fd + 2 } else { fd };
            let (mut descriptors, mut model) = (Descriptors::new(), HashMap::new());
            for (slot, (what, fd)) in (0..).zip(steps) {
                let fd = near(fd);
                if what < 2 {
                    let is_new = !model.contains_key(&fd);
                    prop_assert_eq!(descriptors.insert(fd, slot).is_ok(), is_new);
                    model.entry(fd).or_insert(slot);
                } else {
                    descriptors.remove(fd);
                    model.remove(&fd);
                }
                prop_assert_eq!(descriptors.len(), model.len());
                for fd in [0, 1, 2, 3, 4, 5, 1_000, 1_001, 1_002, FAR as i32, FAR as i32 + 1, FAR as i32 + 2, FAR as i32 + 3] {
                    prop_assert_eq!(descriptors.get(fd), model.get(&fd).copied());
                }
            }
        }
    }
}
