//! A level-triggered set of descriptors, for programs that read and write their sockets themselves (mio has no level mode).
//! Tells what the kernel says; does not remember what is in the set, and owns none of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::sys;

/// There is something to read, or the stream has ended.
pub(crate) const READ: u32 = 1;
/// There is room to write.
pub(crate) const WRITE: u32 = 2;
/// The socket has failed. Told whether wished for or not.
pub(crate) const ERROR: u32 = 4;
/// Nothing will come any more, and nothing can be sent. Told whether wished for or not.
pub(crate) const HANGUP: u32 = 8;

/// The set.
#[derive(Debug)]
pub(crate) struct Epoll {
    set: OwnedFd,
    /// In the set as well: whoever writes to it ends a wait.
    bell: File,
}

/// What a wait finds, and for how much there is room.
#[derive(Debug)]
pub(crate) struct Found {
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An empty set.
    pub(crate) fn new() -> io::Result<Self> {
        let set = sys::epoll_create()?;
        let bell = File::from(sys::event_counter()?);
        sys::epoll_ctl(set.as_fd(), libc::EPOLL_CTL_ADD, bell.as_raw_fd(), libc::EPOLLIN as u32, BELL)?;
        Ok(Self { set, bell })
    }

    /// Puts a descriptor into the set, from which its close takes it out if nobody has a copy. If the kernel has it already,
    /// since it was closed and there is a copy, its old place becomes this one.
    pub(crate) fn add(&self, fd: RawFd, token: u64, wish: u32) -> io::Result<()> {
        match self.change(libc::EPOLL_CTL_ADD, fd, token, wish) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => self.set(fd, token, wish),
            result => result,
        }
    }

    /// Changes what is wished for. `NotFound` if what this descriptor is now has not been added.
    pub(crate) fn set(&self, fd: RawFd, token: u64, wish: u32) -> io::Result<()> {
        self.change(libc::EPOLL_CTL_MOD, fd, token, wish)
    }

    /// Takes a descriptor out. `NotFound` as above.
    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.change(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn change(&self, operation: i32, fd: RawFd, token: u64, wish: u32) -> io::Result<()> {
        // The numbers of ours may have been others' before, who are taken out late.
        if fd == self.set.as_raw_fd() || fd == self.bell.as_raw_fd() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut events = 0;
        if wish & READ != 0 {
            events |= libc::EPOLLIN as u32;
        }
        if wish & WRITE != 0 {
            events |= libc::EPOLLOUT as u32;
        }
        sys::epoll_ctl(self.set.as_fd(), operation, fd, events, token)
    }

    /// Waits, at most so many milliseconds (-1: for ever), until something is ready or somebody rings.
    pub(crate) fn wait(&self, found: &mut Found, timeout_ms: i32) -> io::Result<()> {
        sys::epoll_wait(self.set.as_fd(), &mut found.events, timeout_ms)?;
        if found.events.iter().any(|event| event.u64 == BELL) {
            // It stays in the set; one that somebody else has read meanwhile is silent.
            let _ = (&self.bell).read(&mut [0; 8]);
        }
        Ok(())
    }

    /// Ends the wait that goes on, or else the next one, at once.
    pub(crate) fn ring(&self) {
        // It fails only when the counter is full, and then it rings.
        let _ = (&self.bell).write(&1_u64.to_ne_bytes());
    }
}

impl Found {
    /// With room for so many descriptors; `None` without memory for them.
    pub(crate) fn with_room(most: usize) -> Option<Self> {
        let mut events = Vec::new();
        // No more: what is found and not told would lose its turn, for the kernel puts it behind the others.
        events.try_reserve_exact(most).ok()?;
        Some(Self { events })
    }

    /// The tokens of the descriptors that are ready, and what for.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        self.events.iter().filter(|event| event.u64 != BELL).map(|event| (event.u64, told(event.events)))
    }
}

/// What the kernel says, in the words of this room. A peer that sends no more may still read: that is an end of the stream
/// to be read, and no hang-up.
const fn told(events: u32) -> u32 {
    let mut told = 0;
    if events & libc::EPOLLIN as u32 != 0 {
        told |= READ;
    }
    if events & libc::EPOLLOUT as u32 != 0 {
        told |= WRITE;
    }
    if events & libc::EPOLLERR as u32 != 0 {
        told |= ERROR;
    }
    if events & libc::EPOLLHUP as u32 != 0 {
        told |= HANGUP;
    }
    told
}

/// The token of the bell, which no descriptor may have.
const BELL: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn look(epoll: &Epoll) -> Vec<(u64, u32)> {
        let mut found = Found::with_room(8).unwrap();
        epoll.wait(&mut found, 0).unwrap();
        found.iter().collect()
    }

    #[test]
    fn its_own_descriptors_are_nobody_elses() {
        let epoll = Epoll::new().unwrap();
        for own in [epoll.set.as_raw_fd(), epoll.bell.as_raw_fd()] {
            assert!(epoll.add(own, 1, READ).is_err() && epoll.set(own, 1, READ).is_err());
            assert!(epoll.remove(own).is_err());
        }
        epoll.ring();
        // It would wait for ever otherwise.
        epoll.wait(&mut Found::with_room(1).unwrap(), -1).unwrap();
    }

    #[test]
    fn what_is_ready_is_told_until_it_is_not() {
        let epoll = Epoll::new().unwrap();
        let (mut near, mut far) = UnixStream::pair().unwrap();
        epoll.add(near.as_raw_fd(), 7, READ).unwrap();
        assert_eq!(look(&epoll), []);
        far.write_all(b"two").unwrap();
        assert_eq!(look(&epoll), [(7, READ)]);
        near.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(look(&epoll), [(7, READ)], "a part of it is still there");
        near.read_exact(&mut [0; 1]).unwrap();
        assert_eq!(look(&epoll), []);
        epoll.set(near.as_raw_fd(), 8, READ | WRITE).unwrap();
        assert_eq!(look(&epoll), [(8, WRITE)]);
        epoll.set(near.as_raw_fd(), 8, 0).unwrap();
        assert_eq!(look(&epoll), []);
        drop(far);
        assert_eq!(look(&epoll), [(8, HANGUP)], "that is told unasked");
        epoll.remove(near.as_raw_fd()).unwrap();
        assert_eq!(look(&epoll), []);
        assert_eq!(epoll.remove(near.as_raw_fd()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_peer_that_sends_no_more_has_not_hung_up() {
        let epoll = Epoll::new().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        epoll.add(near.as_raw_fd(), 7, READ).unwrap();
        far.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(look(&epoll), [(7, READ)]);
    }

    #[test]
    fn the_bell_is_heard_once_and_is_nobody() {
        let epoll = Epoll::new().unwrap();
        epoll.ring();
        epoll.ring();
        let mut found = Found::with_room(1).unwrap();
        epoll.wait(&mut found, -1).unwrap();
        assert_eq!(found.iter().count(), 0);
        assert_eq!(found.events.len(), 1);
        epoll.wait(&mut found, 0).unwrap();
        assert!(found.events.is_empty());
        for own in [epoll.set.as_raw_fd(), epoll.bell.as_raw_fd()] {
            assert_eq!(epoll.add(own, 1, READ).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        }
    }

    #[test]
    fn a_copy_of_what_was_closed_is_added_again_under_its_new_name() {
        let epoll = Epoll::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        epoll.add(near.as_raw_fd(), 7, READ).unwrap();
        epoll.add(near.as_raw_fd(), 9, READ).unwrap();
        far.write_all(b"x").unwrap();
        assert_eq!(look(&epoll), [(9, READ)]);
        assert!(epoll.add(-1, 1, READ).is_err());
    }
}
