//! The entries of a poll by their descriptors: some forty bytes for each.

use std::os::fd::RawFd;

use super::set::Entry;
use crate::connection::Descriptors;

/// Entries, in pages that stay where they are: to move them all for one more would take their memory twice.
#[derive(Debug)]
pub(super) struct Entries {
    pages: Vec<Box<[Option<Entry>]>>,
    /// Places that are free, below `used`.
    free: Vec<u32>,
    used: u32,
    by_fd: Descriptors,
}

impl Entries {
    pub(super) fn new() -> Self {
        Self { pages: Vec::new(), free: Vec::new(), used: 0, by_fd: Descriptors::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.used as usize - self.free.len()
    }

    fn place(&mut self, place: u32) -> Option<&mut Option<Entry>> {
        self.pages.get_mut(place as usize / PAGE)?.get_mut(place as usize % PAGE)
    }

    pub(super) fn get(&self, fd: RawFd) -> Option<&Entry> {
        let place = self.by_fd.get(fd)? as usize;
        self.pages.get(place / PAGE)?.get(place % PAGE)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, fd: RawFd) -> Option<&mut Entry> {
        let place = self.by_fd.get(fd)?;
        self.place(place)?.as_mut()
    }

    /// Adds an entry for a descriptor that has none. `false`, and nothing has changed, without memory.
    pub(super) fn insert(&mut self, fd: RawFd, entry: Entry) -> bool {
        let place = self.free.last().copied().unwrap_or(self.used);
        let has_room = (place as usize) < self.pages.len() * PAGE || self.add_page().is_some();
        if !has_room || self.by_fd.insert(fd, place).is_err() {
            return false;
        }
        if self.free.pop().is_none() {
            self.used += 1;
        }
        if let Some(at) = self.place(place) {
            *at = Some(entry);
        }
        true
    }

    fn add_page(&mut self) -> Option<()> {
        self.pages.try_reserve(1).ok()?;
        // All that may be given back can be noted.
        self.free.try_reserve(self.used as usize + PAGE - self.free.len()).ok()?;
        let mut page = Vec::new();
        page.try_reserve_exact(PAGE).ok()?;
        page.resize_with(PAGE, || None);
        self.pages.push(page.into_boxed_slice());
        Some(())
    }

    pub(super) fn remove(&mut self, fd: RawFd) -> Option<Entry> {
        let place = self.by_fd.get(fd)?;
        self.by_fd.remove(fd);
        self.free.push(place);
        self.place(place)?.take()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.pages.iter_mut().flatten().filter_map(Option::as_mut)
    }
}

/// Entries in a page.
const PAGE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Option<Entry>>() <= 40, "{}", size_of::<Option<Entry>>());
    }
}
