//! Memory that the application fills, before it says what of it is to wait. It is as large as a buffer may become, so there is
//! mostly one: what was filled moves to where it waits, and the memory serves whoever asks next.

use std::collections::{HashMap, TryReserveError};

use super::driven::Side;
use crate::buffer::{ChunkStore, Lent, Ring};
use crate::hash::FoldedState;
use crate::id::ConnId;

/// Memory whose address the application has.
#[derive(Debug)]
pub(super) struct Space {
    id: ConnId,
    side: Side,
    /// Nothing waits in it.
    pub(super) ring: Lent<Ring>,
    /// Bytes of it that were filled and have moved to where they wait. From then on it may be anybody's.
    pub(super) taken: usize,
}

impl Space {
    fn is_of(&self, id: ConnId, side: Side) -> bool {
        self.id == id && self.side == side && self.taken != ALL
    }
}

/// What is taken of a space whose address is good no more.
const ALL: usize = usize::MAX;

/// The memory that was given out and is not back.
#[derive(Debug)]
pub(super) struct Spaces {
    last: Option<Space>,
    /// Those given out before, whose addresses are still good unless some of it was taken. Invariant: of none of them [`ALL`] is.
    others: HashMap<(ConnId, Side), Space, FoldedState>,
}

impl Spaces {
    pub(super) fn new() -> Self {
        Self { last: None, others: HashMap::default() }
    }

    /// The memory for a side of a connection, with room for so many bytes, of which none is taken.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(super) fn give(
        &mut self,
        id: ConnId,
        side: Side,
        room: usize,
        store: &mut ChunkStore,
    ) -> Result<&mut [u8], TryReserveError> {
        let mut space = match self.take(id, side) {
            Some(space) => space,
            None => {
                self.others.try_reserve(1)?;
                match self.last.take() {
                    Some(last) if last.taken > 0 => last,
                    last => {
                        if let Some(last) = last {
                            self.others.insert((last.id, last.side), last);
                        }
                        Space { id, side, ring: store.ring(room)?, taken: 0 }
                    }
                }
            }
        };
        (space.id, space.side, space.taken) = (id, side, 0);
        let grown = store.grow(&mut space.ring, room);
        self.put(space, store);
        grown?;
        let last = self.last.as_mut().expect("it was put there just now");
        Ok(&mut last.ring.space()[..room])
    }

    /// The memory that is given to a side of a connection.
    pub(super) fn get_mut(&mut self, id: ConnId, side: Side) -> Option<&mut Space> {
        match &mut self.last {
            Some(last) if last.is_of(id, side) => Some(last),
            _ if self.others.is_empty() => None,
            _ => self.others.get_mut(&(id, side)),
        }
    }

    /// Takes the memory out that is given to a side of a connection.
    pub(super) fn take(&mut self, id: ConnId, side: Side) -> Option<Space> {
        if self.last.as_ref().is_some_and(|last| last.is_of(id, side)) {
            return self.last.take();
        }
        if self.others.is_empty() { None } else { self.others.remove(&(id, side)) }
    }

    /// Puts memory that was taken out back, as the last that was given.
    pub(super) fn put(&mut self, space: Space, store: &mut ChunkStore) {
        match self.last.replace(space) {
            Some(last) if last.taken == ALL => store.give_back(last.ring),
            Some(last) => {
                self.others.insert((last.id, last.side), last);
            }
            None => {}
        }
    }

    /// Nobody will fill the memory that is given to a side of a connection.
    pub(super) fn release(&mut self, id: ConnId, side: Side, store: &mut ChunkStore) {
        match self.take(id, side) {
            Some(space) if self.last.is_none() => self.last = Some(Space { taken: ALL, ..space }),
            Some(space) => store.give_back(space.ring),
            None => {}
        }
    }

    /// No address is good any more. The last memory stays, for it would be needed at once.
    pub(super) fn end(&mut self, store: &mut ChunkStore) {
        self.others.drain().for_each(|(_, space)| store.give_back(space.ring));
        if let Some(last) = &mut self.last {
            last.taken = ALL;
        }
    }

    /// How large all of it is.
    pub(super) fn held_bytes(&self) -> usize {
        self.last.iter().chain(self.others.values()).map(|space| space.ring.capacity()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnId {
        ConnId::new(slot, 1).expect("a generation that is not 0")
    }

    #[test]
    fn what_was_filled_serves_the_next_and_what_was_not_stays() {
        let mut store = ChunkStore::new(1 << 20);
        let mut spaces = Spaces::new();
        let first = spaces.give(id(1), Side::Input, 1000, &mut store).unwrap().as_ptr();
        assert_eq!(spaces.give(id(1), Side::Input, 1000, &mut store).unwrap().as_ptr(), first);
        let second = spaces.give(id(2), Side::Input, 1000, &mut store).unwrap().as_ptr();
        let third = spaces.give(id(1), Side::Output, 1000, &mut store).unwrap().as_ptr();
        assert!(first != second && second != third && first != third, "nothing was taken of them");
        let mut filled = spaces.take(id(1), Side::Input).expect("it is there still");
        filled.taken = 10;
        spaces.put(filled, &mut store);
        assert_eq!(spaces.give(id(3), Side::Input, 500, &mut store).unwrap().as_ptr(), first);
        assert!(spaces.take(id(1), Side::Input).is_none(), "it is another's");
        assert_eq!(spaces.give(id(2), Side::Input, 4, &mut store).unwrap().as_ptr(), second);
        spaces.release(id(2), Side::Input, &mut store);
        assert_eq!(spaces.give(id(4), Side::Input, 4, &mut store).unwrap().as_ptr(), second, "it is free");
        spaces.release(id(1), Side::Output, &mut store);
        spaces.end(&mut store);
        assert_eq!(store.lent_bytes(), spaces.held_bytes());
        assert!(spaces.take(id(4), Side::Input).is_none(), "its address is good no more");
        assert_eq!(spaces.give(id(2), Side::Output, 4, &mut store).unwrap().as_ptr(), second, "one is kept");
    }
    #[test]
    fn what_nobody_will_fill_is_nobodys_whatever_is_filled_next() {
        let mut store = ChunkStore::new(1 << 20);
        let mut spaces = Spaces::new();
        for slot in [1, 2] {
            spaces.give(id(slot), Side::Input, 1000, &mut store).unwrap();
        }
        spaces.release(id(2), Side::Input, &mut store);
        let filled = spaces.take(id(1), Side::Input).expect("it is there still");
        spaces.put(filled, &mut store);
        assert!(spaces.take(id(2), Side::Input).is_none(), "he has sent his last byte");
        assert_eq!(store.lent_bytes(), spaces.held_bytes());
    }
}
