//! The entries of a poll by their descriptors: some fifty bytes for each.

use std::collections::TryReserveError;
use std::os::fd::RawFd;

use slab::Slab;

use super::set::Entry;
use crate::connection::Descriptors;

#[derive(Debug)]
pub(super) struct Entries {
    slots: Slab<Entry>,
    by_fd: Descriptors,
}

impl Entries {
    pub(super) fn new() -> Self {
        Self { slots: Slab::new(), by_fd: Descriptors::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn get(&self, fd: RawFd) -> Option<&Entry> {
        self.slots.get(self.by_fd.get(fd)? as usize)
    }

    pub(super) fn get_mut(&mut self, fd: RawFd) -> Option<&mut Entry> {
        self.slots.get_mut(self.by_fd.get(fd)? as usize)
    }

    /// Adds an entry for a descriptor that has none. `false`, and nothing has changed, without memory.
    pub(super) fn insert(&mut self, fd: RawFd, entry: Entry) -> bool {
        let slot = self.slots.vacant_key();
        let has_room = slot < self.slots.capacity() || self.grow().is_ok();
        let noted = has_room && u32::try_from(slot).is_ok_and(|slot| self.by_fd.insert(fd, slot).is_ok());
        if noted {
            self.slots.insert(entry);
        }
        noted
    }

    /// `Slab` has no fallible way to grow, so the memory that it is about to ask for is asked for before.
    fn grow(&mut self) -> Result<(), TryReserveError> {
        let more = self.slots.len().max(LEAST);
        Vec::<Option<Entry>>::new().try_reserve_exact(self.slots.len() + more)?;
        self.slots.reserve_exact(more);
        Ok(())
    }

    pub(super) fn remove(&mut self, fd: RawFd) -> Option<Entry> {
        let slot = self.by_fd.get(fd)?;
        self.by_fd.remove(fd);
        self.slots.try_remove(slot as usize)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.slots.iter_mut().map(|(_, entry)| entry)
    }
}

const LEAST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Option<Entry>>() <= 40, "{}", size_of::<Option<Entry>>());
    }
}
