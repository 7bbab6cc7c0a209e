//! The table: slots with generations in a slab, and the map from descriptors to slots (`descriptors`).
//! Takes permits by value, so nobody gets in without one, and gives them back with the record.

use slab::Slab;

use super::{Record, Standing};
use crate::admission::Permit;
use crate::clock::Nanos;
use crate::error::Error;
use crate::id::ConnId;
use crate::peer::Peer;

mod descriptors;

pub(crate) use descriptors::Descriptors;

/// Every live connection, by id and by descriptor.
///
/// A slot is used again under the next generation, and never again once its generations are used up: an id whose
/// connection is gone finds nothing, for ever.
///
/// Invariant: `by_fd` names exactly the slots that hold a connection.
#[derive(Debug)]
pub(crate) struct Table<S, U> {
    slots: Slab<Option<Record<S, U>>>,
    /// The generation each slot had last.
    generations: Vec<u32>,
    by_fd: Descriptors,
    last_generation: u32,
    retired: usize,
}

/// What did not fit into the table, given back: its descriptor is that of another, or is so high that there is no memory to
/// note it.
#[derive(Debug)]
pub(crate) struct Duplicate<S> {
    pub(crate) stream: S,
    pub(crate) permit: Permit,
}

impl<S, U> Table<S, U> {
    /// A table with room for `capacity` connections, all of it reserved now.
    pub(crate) fn new(capacity: usize) -> Result<Self, Error> {
        let mut table = Self {
            slots: Slab::new(),
            generations: Vec::new(),
            by_fd: Descriptors::new(),
            last_generation: u32::MAX,
            retired: 0,
        };
        table.try_reserve(capacity)?;
        Ok(table)
    }

    /// Makes sure that `capacity` connections fit without another allocation.
    pub(crate) fn try_reserve(&mut self, capacity: usize) -> Result<(), Error> {
        let more = (capacity + self.retired).saturating_sub(self.slots.len());
        let failed = |_| Error::Memory { what: "the connection table" };
        // `Slab` has no reservation that can fail. A vector of the same size tells whether the memory is there.
        Vec::<Option<Record<S, U>>>::new().try_reserve_exact(capacity).map_err(failed)?;
        self.slots.reserve_exact(more);
        self.generations
            .try_reserve_exact(capacity.saturating_sub(self.generations.len()))
            .map_err(failed)?;
        self.by_fd.try_reserve(capacity).map_err(failed)
    }

    /// Gives `stream` a slot and a name.
    #[inline]
    pub(crate) fn insert(
        &mut self,
        fd: i32,
        stream: S,
        peer: Peer,
        permit: Permit,
        standing: Standing,
        now: Nanos,
    ) -> Result<(ConnId, &mut Record<S, U>), Duplicate<S>> {
        let entry = self.slots.vacant_entry();
        let slot = entry.key();
        if self.by_fd.insert(fd, slot as u32).is_err() {
            return Err(Duplicate { stream, permit });
        }
        if slot == self.generations.len() {
            self.generations.push(0);
        }
        let generation = self.generations[slot] + 1;
        self.generations[slot] = generation;
        let id = ConnId::new(slot as u32, generation).expect("live connections are bounded by 2^24");
        let record = entry.insert(Some(Record::new(stream, generation, peer, permit, standing, now)));
        Ok((id, record.as_mut().expect("it was inserted just now")))
    }

    /// Takes a connection out; `None` if it is gone already.
    #[inline]
    pub(crate) fn remove(&mut self, id: ConnId, fd: i32) -> Option<Record<S, U>> {
        self.get(id)?;
        let slot = id.slot() as usize;
        self.by_fd.remove(fd);
        if id.generation() == self.last_generation {
            self.retired += 1;
            return self.slots.get_mut(slot)?.take();
        }
        self.slots.try_remove(slot)?
    }

    #[inline]
    pub(crate) fn get(&self, id: ConnId) -> Option<&Record<S, U>> {
        let connection = self.slots.get(id.slot() as usize)?.as_ref()?;
        (connection.generation == id.generation()).then_some(connection)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Record<S, U>> {
        let connection = self.slots.get_mut(id.slot() as usize)?.as_mut()?;
        (connection.generation == id.generation()).then_some(connection)
    }

    /// The live connection in `slot`, whatever its generation.
    #[inline]
    pub(crate) fn at(&self, slot: u32) -> Option<(ConnId, &Record<S, U>)> {
        let connection = self.slots.get(slot as usize)?.as_ref()?;
        Some((ConnId::new(slot, connection.generation)?, connection))
    }

    #[inline]
    pub(crate) fn id_by_fd(&self, fd: i32) -> Option<ConnId> {
        self.at(self.by_fd.get(fd)?).map(|(id, _)| id)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.retired
    }

    /// Slots that have ever been used: every live one is below this.
    pub(crate) fn slots_used(&self) -> u32 {
        self.generations.len() as u32
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Record<S, U>)> {
        self.slots.iter().filter_map(|(slot, connection)| {
            let connection = connection.as_ref()?;
            Some((ConnId::new(slot as u32, connection.generation)?, connection))
        })
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let slot = size_of::<Option<Record<S, U>>>() + size_of::<u32>();
        self.generations.len() * slot + self.by_fd.memory_bytes()
    }

    /// Walks everything.
    pub(crate) fn assert_invariants(&self, fd_of: impl Fn(&S) -> i32) {
        assert_eq!(self.by_fd.len(), self.len(), "descriptors in the map, connections in the table");
        for (id, connection) in self.iter() {
            assert_eq!(self.by_fd.get(fd_of(&connection.stream)), Some(id.slot()), "descriptor of {id}");
            assert_eq!(self.generations[id.slot() as usize], id.generation(), "generation of {id}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Decision, Gate, Intake, Limits, Origin, Room};
    use proptest::prelude::*;

    type Tested = Table<i32, ()>;

    fn permit() -> Permit {
        let mut gate = Gate::new(Limits::default(), 1).unwrap();
        match gate.decide(&Peer::UNIX, Origin::Accepted, Intake::Open, Room::Available, Nanos::ZERO) {
            Decision::Admit(permit) => permit,
            other => panic!("nothing is limited: {other:?}"),
        }
    }

    fn insert(table: &mut Tested, fd: i32) -> Option<ConnId> {
        let inserted = table.insert(fd, fd, Peer::UNIX, permit(), Standing::Unproven, Nanos::ZERO);
        inserted.ok().map(|(id, _)| id)
    }

    #[test]
    fn a_gone_id_finds_nothing_though_slot_and_descriptor_are_used_again() {
        let mut table = Tested::new(4).unwrap();
        let old = insert(&mut table, 7).unwrap();
        table.remove(old, 7).unwrap();
        let new = insert(&mut table, 7).unwrap();
        assert_eq!(new.slot(), old.slot());
        assert!(table.get(old).is_none() && table.remove(old, 7).is_none());
        assert_eq!(table.id_by_fd(7), Some(new));
    }

    #[test]
    fn a_slot_retires_when_its_generations_are_used_up() {
        let mut table = Tested::new(4).unwrap();
        table.last_generation = 3;
        let ids: Vec<ConnId> = (0..10)
            .map(|_| {
                let id = insert(&mut table, 7).unwrap();
                table.remove(id, 7).unwrap();
                id
            })
            .collect();
        for (place, id) in ids.iter().enumerate() {
            assert!(!ids[..place].contains(id), "{id} was given twice");
        }
        assert_eq!((table.len(), table.retired), (0, 3));
        table.assert_invariants(|fd| *fd);
    }

    #[test]
    fn a_descriptor_that_is_in_the_table_is_handed_back() {
        let mut table = Tested::new(4).unwrap();
        insert(&mut table, 7).unwrap();
        let refused = table.insert(7, 7, Peer::UNIX, permit(), Standing::Unproven, Nanos::ZERO);
        assert_eq!(refused.unwrap_err().stream, 7);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_table_that_no_memory_can_hold_is_an_error() {
        assert!(matches!(Tested::new(usize::MAX / 1024), Err(Error::Memory { .. })));
    }

    proptest! {
        #![proptest_config(crate::model_cases())]

        #[test]
        fn the_table_behaves_like_a_list_of_pairs(steps in prop::collection::vec((any::<bool>(), 0i32..8), 0..200)) {
            let mut table = Tested::new(8).unwrap();
            table.last_generation = 5;
            let mut live: Vec<(i32, ConnId)> = Vec::new();
            let mut gone: Vec<ConnId> = Vec::new();
            for (add, fd) in steps {
                let place = live.iter().position(|(other, _)| *other == fd);
                match (add, place) {
                    (true, None) => live.push((fd, insert(&mut table, fd).unwrap())),
                    (true, Some(_)) => prop_assert!(insert(&mut table, fd).is_none()),
                    (false, Some(place)) => {
                        let (fd, id) = live.swap_remove(place);
                        prop_assert!(table.remove(id, fd).is_some());
                        gone.push(id);
                    }
                    (false, None) => prop_assert_eq!(table.id_by_fd(fd), None),
                }
                table.assert_invariants(|fd| *fd);
                prop_assert_eq!(table.len(), live.len());
                prop_assert!(live.iter().all(|(fd, id)| table.id_by_fd(*fd) == Some(*id) && table.get(*id).is_some()));
                prop_assert!(gone.iter().all(|id| table.get(*id).is_none()));
            }
        }
    }
}
