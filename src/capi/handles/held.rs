//! Sockets in use: whose descriptor is closed when, and by whom.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{Ordering, fence};

use super::super::alone;
use super::{
    Bad, GIVEN_UP, KIND_MASK, KIND_SHIFT, Kind, PINS_MASK, PLACE_MASK, Slot, USERS_MASK, find_with_state,
    free_slots, give_back_slot, hold, read, retire, view,
};
use crate::connection::Driver;
use crate::peer::Peer;

/// A socket whose descriptor is not closed before this is dropped.
#[derive(Debug)]
pub(in super::super) struct HeldSocket {
    slot: &'static Slot,
    place: u32,
    pub(in super::super) fd: RawFd,
}

impl AsFd for HeldSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: we do not close it before `self` is dropped. A program that closes it behind our back gets errors.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Drop for HeldSocket {
    #[inline]
    fn drop(&mut self) {
        let state = self.slot.state.load(Ordering::Acquire);
        let has_name = state >> KIND_SHIFT & KIND_MASK != 0;
        if alone::is_alone() && has_name && state & GIVEN_UP == 0 {
            // Nothing ends with this, and nobody is in the way.
            self.slot.state.store(state - 1, Ordering::Relaxed);
        } else {
            self.let_go();
        }
    }
}

impl HeldSocket {
    #[inline(never)]
    fn let_go(&self) {
        let mut state = self.slot.state.load(Ordering::Acquire);
        loop {
            let is_last = state & USERS_MASK == 1;
            if is_last && state & GIVEN_UP != 0 {
                // Before we let go, or the slot might be another one's.
                drop(take_descriptor(self.slot));
            }
            let let_go =
                self.slot.state.compare_exchange_weak(state, state - 1, Ordering::AcqRel, Ordering::Acquire);
            match let_go {
                Ok(_) if is_last && state >> KIND_SHIFT & KIND_MASK == 0 => {
                    return end_retired(self.slot, self.place);
                }
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }

    /// Whether a pool has taken it.
    #[inline]
    pub(in super::super) fn is_in_a_pool(&self) -> bool {
        self.slot.state.load(Ordering::Acquire) >> KIND_SHIFT & KIND_MASK == Kind::Connection as u64
    }

    /// Makes a socket that is in no pool a connection of one, whose descriptor is closed by its driver. Its name as a connection
    /// is another view of its slot. `socket` is its name so far; `None` if that is over.
    #[inline]
    pub(in super::super) fn join(
        &self,
        socket: u64,
        owner: u64,
        id: u64,
        now_ms: u64,
        driver: Driver,
    ) -> Option<u64> {
        let is_alone = alone::is_alone();
        // Of two who do this with one socket, one comes after the other.
        let _one_at_a_time = (!is_alone).then(free_slots);
        let slot = self.slot;
        let unpinned = view(socket, Kind::Socket) & !PINS_MASK;
        let state = slot.state.load(Ordering::Acquire);
        if state & !PINS_MASK != unpinned {
            return None;
        }
        // Its peer is written over: whoever has read that meanwhile, to add the socket as well, finds it gone afterwards.
        slot.accepted.store(false, Ordering::Relaxed);
        fence(Ordering::Release);
        slot.belong(owner, id, now_ms);
        if is_alone {
            slot.state.store(view(state, Kind::Connection), Ordering::Release);
        } else {
            let joined = slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state & !PINS_MASK == unpinned).then_some(view(state, Kind::Connection))
            });
            joined.ok()?;
        }
        if driver == Driver::Pool {
            slot.closes.store(false, Ordering::Relaxed);
        }
        Some(view(socket, Kind::Connection))
    }

    /// Where a socket comes from that is in no pool: at which listener it was accepted, which may be gone, and who is on the
    /// other side. `None`: we have not accepted it.
    #[inline]
    pub(in super::super) fn origin(&self) -> Option<(u64, Peer)> {
        if !self.slot.accepted.load(Ordering::Relaxed) {
            return None;
        }
        let listener = self.slot.owner.load(Ordering::Relaxed);
        let peer = Peer::from_words(self.slot.peer().map(|word| word.load(Ordering::Relaxed)));
        fence(Ordering::Acquire);
        // If a pool is taking it meanwhile, what was read may be something else.
        let kind = self.slot.state.load(Ordering::Relaxed) >> KIND_SHIFT & KIND_MASK;
        let is_still_so = kind == Kind::Socket as u64 && self.slot.accepted.load(Ordering::Relaxed);
        is_still_so.then_some((listener, peer))
    }
}

/// The descriptor of a slot that nobody else uses, if the slot is to close it.
fn take_descriptor(slot: &Slot) -> Option<OwnedFd> {
    let closes = slot.closes.load(Ordering::Relaxed) && slot.closes.swap(false, Ordering::AcqRel);
    // SAFETY: the slot took it from its owner with that mark, which is taken away by one caller only.
    closes.then(|| unsafe { OwnedFd::from_raw_fd(slot.fd.load(Ordering::Relaxed)) })
}

/// Takes hold of a socket, or of a connection, by a handle of that kind. One whose descriptor was given up is as good as
/// gone: the number may be somebody else's.
#[inline]
pub(in super::super) fn hold_socket(handle: u64, kind: Kind) -> Result<HeldSocket, Bad> {
    let (slot, state) = find_with_state(handle, kind)?;
    // Neither given up nor in use by as many as can be counted.
    if alone::is_alone() && state & PINS_MASK < USERS_MASK {
        slot.state.store(state + 1, Ordering::Relaxed);
        let fd = slot.fd.load(Ordering::Relaxed);
        return Ok(HeldSocket { slot, place: handle as u32 & PLACE_MASK, fd });
    }
    hold_among_threads(handle, kind)
}

#[inline(never)]
fn hold_among_threads(handle: u64, kind: Kind) -> Result<HeldSocket, Bad> {
    let held = hold_name(handle, kind)?;
    match held.slot.state.load(Ordering::Acquire) & GIVEN_UP {
        0 => Ok(held),
        _ => Err(Bad::Closed),
    }
}

fn hold_name(handle: u64, kind: Kind) -> Result<HeldSocket, Bad> {
    let slot = hold(handle, kind)?;
    Ok(HeldSocket { slot, place: handle as u32 & PLACE_MASK, fd: slot.fd.load(Ordering::Relaxed) })
}

/// Closes the descriptor of a connection as soon as nobody uses it. Its name goes on answering, the number included; from now
/// on nobody takes hold of it.
pub(in super::super) fn give_up(connection: u64, descriptor: OwnedFd) {
    // Without a name nobody can be using it.
    let Ok(held) = hold_name(connection, Kind::Connection) else { return };
    held.slot.state.fetch_or(GIVEN_UP, Ordering::AcqRel);
    held.slot.fd.store(descriptor.into_raw_fd(), Ordering::Relaxed);
    held.slot.closes.store(true, Ordering::Release);
}

/// Ends the name of a socket or a connection, and closes its descriptor, unless that is the pool's, as soon as nobody uses
/// it.
#[inline]
pub(in super::super) fn free_socket(handle: u64, kind: Kind) -> Result<(), Bad> {
    let (slot, state) = find_with_state(handle, kind)?;
    if alone::is_alone() && state == view(handle, kind) & !PINS_MASK {
        // Nobody uses it, and nobody comes between.
        slot.state.store(state & !(KIND_MASK << KIND_SHIFT), Ordering::Release);
        end_retired(slot, handle as u32 & PLACE_MASK);
    } else {
        free_among_users(handle, kind)?;
    }
    super::super::shortage::descriptor_is_free();
    Ok(())
}

#[inline(never)]
fn free_among_users(handle: u64, kind: Kind) -> Result<(), Bad> {
    retire(hold_name(handle, kind)?.slot, handle, kind)
}

/// Nobody has use for a slot any more that names nothing.
fn end_retired(slot: &Slot, place: u32) {
    let descriptor = take_descriptor(slot);
    give_back_slot(slot, place);
    drop(descriptor);
}

/// Whether the descriptor of a connection is closed with its name, and not by the pool.
pub(in super::super) fn closes_descriptor(connection: u64) -> bool {
    let closes = |slot: &Slot| {
        slot.closes.load(Ordering::Relaxed) && slot.state.load(Ordering::Relaxed) & GIVEN_UP == 0
    };
    read(connection, Kind::Connection, closes) == Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicU64;

    use super::super::{
        Facts, connection_of, kind, lives, name_accepted, name_connection, name_socket, view,
    };
    use super::*;

    fn join(socket: u64) -> u64 {
        let held = hold_socket(socket, Kind::Socket).unwrap();
        held.join(socket, 1, 2, 3, Driver::Application).unwrap()
    }

    #[test]
    fn a_socket_that_a_pool_has_taken_ends_as_its_connection() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let socket = name_socket(ours.into()).unwrap();
        assert!(lives(socket) && connection_of(socket).is_none());
        let connection = join(socket);
        assert_eq!(connection_of(socket), Some(connection));
        assert_eq!((kind(socket), kind(connection)), (Some(Kind::Socket), Some(Kind::Connection)));
        assert_eq!(free_socket(socket, Kind::Socket), Err(Bad::Stale), "the pool would not hear of it");
        assert!(lives(socket) && lives(view(socket, Kind::Input)));
        free_socket(connection, Kind::Connection).unwrap();
        assert!(!lives(socket) && !lives(connection));
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "it is closed");
        assert_eq!((kind(0), lives(0), kind(0xf << KIND_SHIFT)), (None, false, None));
    }

    #[test]
    fn a_descriptor_that_is_given_up_is_refused_and_closed_by_the_last_who_uses_it() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = OwnedFd::from(ours);
        let facts = Facts { owner: 1, id: 2, created_ms: 3, fd: ours.as_raw_fd() };
        let connection = name_connection(facts).unwrap();
        let in_use = hold_socket(connection, Kind::Connection).unwrap();
        give_up(connection, ours);
        assert_eq!(hold_socket(connection, Kind::Connection).err(), Some(Bad::Closed));
        assert_eq!(hold_socket(view(connection, Kind::Socket), Kind::Socket).err(), Some(Bad::Closed));
        assert!(lives(connection) && !closes_descriptor(connection));
        theirs.set_nonblocking(true).unwrap();
        assert_eq!(theirs.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it is in use");
        drop(in_use);
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "it is closed");
        free_socket(connection, Kind::Connection).unwrap();
        assert!(!lives(connection));

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        give_up(connection, ours.into());
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "nobody can be using it");
    }

    #[test]
    fn who_is_too_late_to_add_a_socket_hears_of_no_peer_that_never_was() {
        let socket = AtomicU64::new(0);
        let peer = Peer::v4(0x7f00_0001, 80);
        let hold = |socket| hold_socket(socket, Kind::Socket);
        let nobodys = std::thread::scope(|threads| {
            let late = threads.spawn(|| {
                let mut nobodys = 0;
                while socket.load(Ordering::Acquire) != u64::MAX {
                    let Ok(held) = hold(socket.load(Ordering::Acquire)) else { continue };
                    for _ in 0..20 {
                        nobodys += u32::from(held.origin().is_some_and(|(_, told)| told != peer));
                    }
                }
                nobodys
            });
            for _ in 0..50_000 {
                let accepted = name_accepted(File::open("/dev/null").unwrap().into(), 0, peer).unwrap();
                socket.store(accepted, Ordering::Release);
                let connection = join(accepted);
                free_socket(connection, Kind::Connection).unwrap();
            }
            socket.store(u64::MAX, Ordering::Release);
            late.join().unwrap()
        });
        assert_eq!(nobodys, 0);
    }
}
