//! The names by which C programs call things: one table for the whole process, whose slots carry a generation, so that a
//! handle that is stale, doubled, foreign or made up is recognised and never followed.
//!
//! A handle looks like a pointer and is none: 32 bits of generation, 4 of kind, 28 of slot. What a connection's getters
//! read lies in the slot itself, in atomics, so that they need no lock: they check the slot, read, and check again.

mod held;
mod slots;

use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use slots::{Slot, free_slots, give_back_slot, slot, take_slot};

use super::alone;
pub(super) use held::{HeldSocket, closes_descriptor, free_socket, give_up, hold_socket};

use crate::peer::Peer;

/// What a handle names. A slot is of one kind; some kinds of handle are other views of the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Kind {
    Pool = 1,
    /// A socket in a pool.
    Connection = 2,
    /// The socket of a connection, or one that is in no pool.
    Socket = 3,
    /// What a connection has received.
    Input = 4,
    /// What a connection is to send.
    Output = 5,
    /// What a pool says of its health.
    Health = 6,
    /// A buffer that belongs to no connection.
    Buffer = 7,
    Poll = 8,
    Arena = 9,
    Protection = 10,
}

impl Kind {
    /// What the program calls it.
    pub(super) const fn noun(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Connection => "connection",
            Self::Socket => "socket",
            Self::Input | Self::Output | Self::Buffer => "buffer",
            Self::Health => "health of a pool",
            Self::Poll => "poll",
            Self::Arena => "arena",
            Self::Protection => "protection against connection floods",
        }
    }

    const fn of_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Pool,
            2 => Self::Connection,
            3 => Self::Socket,
            4 => Self::Input,
            5 => Self::Output,
            6 => Self::Health,
            7 => Self::Buffer,
            8 => Self::Poll,
            9 => Self::Arena,
            10 => Self::Protection,
            _ => return None,
        })
    }

    /// Of which kind the slots are that handles of this kind name. A socket's may be a connection as well.
    #[inline]
    const fn of_slot(self) -> Self {
        match self {
            Self::Input | Self::Output => Self::Connection,
            Self::Health => Self::Pool,
            kind => kind,
        }
    }
}

/// Why a handle names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    Null,
    /// It names something of another kind.
    Kind,
    /// What it named is gone, or it never named anything.
    Stale,
    /// Its name answers, and its descriptor is closed.
    Closed,
    /// It was made before this process was forked off.
    Forked,
}

impl Bad {
    pub(super) fn reason(self, kind: Kind) -> String {
        match self {
            Self::Null => "is NULL".to_owned(),
            Self::Kind => format!("is no {}", kind.noun()),
            Self::Stale => "is stale: it was freed, or never was a handle".to_owned(),
            Self::Closed => "was closed by its pool".to_owned(),
            Self::Forked => "belongs to the process that forked this one".to_owned(),
        }
    }
}

/// Something that a slot owns, and that is dropped by the last call that uses it. Each kind belongs to one type.
pub(super) trait Object: Send + Sync + 'static {
    const KIND: Kind;
}

/// What a connection's slot says about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) owner: u64,
    pub(super) id: u64,
    pub(super) created_ms: u64,
    pub(super) fd: i32,
}

/// Makes the slot name something from now on. Whatever it holds must have been stored before.
fn publish(place: u32, slot: &Slot, kind: Kind, closes: bool) -> u64 {
    slot.closes.store(closes, Ordering::Relaxed);
    let generation = (slot.state.load(Ordering::Relaxed) >> GENERATION_SHIFT) + 1;
    let named = generation << GENERATION_SHIFT | (kind as u64) << KIND_SHIFT;
    slot.state.store(named, Ordering::Release);
    named | u64::from(place)
}

/// Gives something its name. `None` if there is no room for another.
pub(super) fn name<T: Object>(object: Box<T>) -> Option<u64> {
    let (place, slot) = take_slot()?;
    slot.object.store(Box::into_raw(object).cast(), Ordering::Relaxed);
    Some(publish(place, slot, T::KIND, false))
}

/// Gives a connection its name whose descriptor the pool closes. `None` if there is no room for another.
pub(super) fn name_connection(facts: Facts) -> Option<u64> {
    let (place, slot) = take_slot()?;
    slot.belong(facts.owner, facts.id, facts.created_ms);
    slot.fd.store(facts.fd, Ordering::Relaxed);
    Some(publish(place, slot, Kind::Connection, false))
}

/// Gives a socket its name, with which it is closed. The descriptor comes back if there is no room for another.
pub(super) fn name_socket(fd: OwnedFd) -> Result<u64, OwnedFd> {
    name_with_origin(fd, 0, None)
}

/// The same for one that was accepted at this listener.
pub(super) fn name_accepted(fd: OwnedFd, listener: u64, peer: Peer) -> Result<u64, OwnedFd> {
    name_with_origin(fd, listener, Some(peer))
}

fn name_with_origin(fd: OwnedFd, listener: u64, peer: Option<Peer>) -> Result<u64, OwnedFd> {
    let Some((place, slot)) = take_slot() else { return Err(fd) };
    slot.fd.store(fd.into_raw_fd(), Ordering::Relaxed);
    slot.owner.store(listener, Ordering::Relaxed);
    slot.accepted.store(peer.is_some(), Ordering::Relaxed);
    let words = peer.map_or([0; 3], Peer::to_words);
    for (place, word) in slot.peer().into_iter().zip(words) {
        place.store(word, Ordering::Relaxed);
    }
    Ok(publish(place, slot, Kind::Socket, true))
}

impl Slot {
    /// Where the peer of a socket is kept that was accepted: what a connection keeps there, one that is in no pool has not.
    const fn peer(&self) -> [&AtomicU64; 3] {
        [&self.id, &self.created_ms, &self.active_ms]
    }

    #[inline]
    fn belong(&self, owner: u64, id: u64, created_ms: u64) {
        self.owner.store(owner, Ordering::Relaxed);
        let place = slot(owner as u32 & PLACE_MASK).map_or(ptr::null(), ptr::from_ref);
        self.object.store(place.cast_mut().cast(), Ordering::Relaxed);
        self.id.store(id, Ordering::Relaxed);
        self.created_ms.store(created_ms, Ordering::Relaxed);
        self.active_ms.store(created_ms, Ordering::Relaxed);
        self.userdata.store(ptr::null_mut(), Ordering::Relaxed);
    }
}

/// Notes which pool gets what a listener accepts.
pub(super) fn feed(listener: u64, pool: u64) {
    if let Ok(slot) = find(listener, Kind::Socket) {
        slot.owner.store(pool, Ordering::Relaxed);
    }
}

/// Which pool got what a listener has accepted last.
pub(super) fn fed_by(listener: u64) -> Option<u64> {
    let pool = find(listener, Kind::Socket).ok()?.owner.load(Ordering::Relaxed);
    find(pool, Kind::Pool).is_ok().then_some(pool)
}

/// Whether it names a pool that has not been freed.
#[inline]
pub(super) fn is_pool(handle: u64) -> bool {
    slot(handle as u32 & PLACE_MASK)
        .is_some_and(|slot| is_named(slot.state.load(Ordering::Acquire), handle, Kind::Pool))
}

/// The same slot under another kind.
pub(super) const fn view(handle: u64, kind: Kind) -> u64 {
    handle & !(KIND_MASK << KIND_SHIFT) | (kind as u64) << KIND_SHIFT
}

/// What a handle says that it names, which may not be so.
#[inline]
pub(super) const fn kind(handle: u64) -> Option<Kind> {
    Kind::of_number(handle >> KIND_SHIFT & KIND_MASK)
}

/// Whether a handle names something at this moment.
pub(super) fn lives(handle: u64) -> bool {
    kind(handle).is_some_and(|kind| find(handle, kind).is_ok())
}

/// Whether `handle` names something of this kind at this moment; then, where.
#[inline]
fn find(handle: u64, kind: Kind) -> Result<&'static Slot, Bad> {
    find_with_state(handle, kind).map(|(slot, _)| slot)
}

/// The same, and the state in which it was found.
#[inline]
fn find_with_state(handle: u64, kind: Kind) -> Result<(&'static Slot, u64), Bad> {
    if let Some(slot) = slot(handle as u32 & PLACE_MASK) {
        let state = slot.state.load(Ordering::Acquire);
        if is_named(state, handle, kind) {
            return Ok((slot, state));
        }
    }
    Err(why_not(handle, kind))
}

/// Whether `handle` names something of this kind at this moment.
#[inline]
pub(super) fn check(handle: u64, kind: Kind) -> Result<(), Bad> {
    find(handle, kind).map(|_| ())
}

/// Whether a handle says that it names something of this kind.
#[inline]
const fn handle_is(handle: u64, kind: Kind) -> bool {
    handle >> KIND_SHIFT & KIND_MASK == kind as u64
}

/// Whether the slot with this state is what the handle names as this kind.
#[inline]
fn is_named(state: u64, handle: u64, kind: Kind) -> bool {
    let is_a_slot_of = |of| (state ^ view(handle, of)) >> KIND_SHIFT == 0;
    handle_is(handle, kind)
        && (is_a_slot_of(kind.of_slot()) || kind == Kind::Socket && is_a_slot_of(Kind::Connection))
}

#[cold]
fn why_not(handle: u64, kind: Kind) -> Bad {
    if handle == 0 {
        return Bad::Null;
    }
    let place = handle as u32 & PLACE_MASK;
    let Some(slot) = slot(place) else {
        return if slots::is_inherited(place) { Bad::Forked } else { Bad::Stale };
    };
    let state = slot.state.load(Ordering::Acquire);
    let is_there = (state ^ handle) >> GENERATION_SHIFT == 0 && state >> KIND_SHIFT & KIND_MASK != 0;
    if is_there && !handle_is(handle, kind) { Bad::Kind } else { Bad::Stale }
}

/// Raises the count of those who use a slot.
#[inline(always)]
fn hold(handle: u64, kind: Kind) -> Result<&'static Slot, Bad> {
    let (slot, state) = find_with_state(handle, kind)?;
    if alone::is_alone() && state & USERS_MASK < USERS_MASK {
        slot.state.store(state + 1, Ordering::Relaxed);
        return Ok(slot);
    }
    hold_among_threads(slot, handle, kind)
}

/// Not inlined, for it would make every call larger.
#[inline(never)]
fn hold_among_threads(slot: &'static Slot, handle: u64, kind: Kind) -> Result<&'static Slot, Bad> {
    raise(slot, handle, kind)
}

#[inline(always)]
fn raise(slot: &'static Slot, handle: u64, kind: Kind) -> Result<&'static Slot, Bad> {
    let held = slot.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| {
        (is_named(state, handle, kind) && state & USERS_MASK < USERS_MASK).then_some(state + 1)
    });
    held.map(|_| slot).map_err(|_| Bad::Stale)
}

/// Takes the kind away from a slot that is held and of this kind itself: from now on it names nothing. A socket that a pool
/// has taken meanwhile is a connection, and ends as one.
fn retire(slot: &Slot, handle: u64, kind: Kind) -> Result<(), Bad> {
    let retired = slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
        let own = view(handle, kind) & !u64::from(PLACE_MASK);
        (state & !PINS_MASK == own).then_some(state & !(KIND_MASK << KIND_SHIFT))
    });
    // Somebody else was faster.
    retired.map(|_| ()).map_err(|_| Bad::Stale)
}

/// Lets go of a slot; `true` for the last one after it has been retired.
#[inline]
fn let_go(slot: &Slot) -> bool {
    let before = match alone::is_alone() {
        true => {
            let state = slot.state.load(Ordering::Relaxed);
            slot.state.store(state - 1, Ordering::Relaxed);
            state
        }
        false => slot.state.fetch_sub(1, Ordering::AcqRel),
    };
    was_last(before)
}

/// Whether a slot in this state has been retired and had one user.
#[inline]
const fn was_last(state: u64) -> bool {
    state & PINS_MASK == 1 && state >> KIND_SHIFT & KIND_MASK == 0
}

/// Something that is not freed before this is dropped.
#[derive(Debug)]
pub(super) struct Pinned<T: Object> {
    slot: &'static Slot,
    place: u32,
    object: PhantomData<&'static T>,
}

impl<T: Object> std::ops::Deref for Pinned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the slot was of the kind that belongs to `T` when it was held, so `object` came from a `Box<T>`, which
        // stays until the last one lets go.
        unsafe { &*self.slot.object.load(Ordering::Relaxed).cast::<T>() }
    }
}

impl<T: Object> Drop for Pinned<T> {
    #[inline]
    fn drop(&mut self) {
        if let_go(self.slot) {
            self.drop_object();
        }
    }
}

impl<T: Object> Pinned<T> {
    /// Lets go of one that was taken hold of among threads.
    #[inline(always)]
    pub(super) fn let_go_among_threads(self) {
        let pinned = ManuallyDrop::new(self);
        if was_last(pinned.slot.state.fetch_sub(1, Ordering::AcqRel)) {
            pinned.drop_object();
        }
    }

    #[cold]
    fn drop_object(&self) {
        let object = self.slot.object.swap(ptr::null_mut(), Ordering::AcqRel);
        give_back_slot(self.slot, self.place);
        // SAFETY: it came from a `Box<T>`, as in `deref`; its name is gone and nobody uses it any more.
        drop(unsafe { Box::from_raw(object.cast::<T>()) });
    }
}

/// Takes hold of what a handle names.
#[inline(always)]
pub(super) fn pin<T: Object>(handle: u64) -> Result<Pinned<T>, Bad> {
    let slot = hold(handle, T::KIND)?;
    Ok(Pinned { slot, place: handle as u32 & PLACE_MASK, object: PhantomData })
}

/// The same in a process with several threads, for one that is not inlined itself.
#[inline(always)]
pub(super) fn pin_among_threads<T: Object>(handle: u64) -> Result<Pinned<T>, Bad> {
    let slot = raise(find(handle, T::KIND)?, handle, T::KIND)?;
    Ok(Pinned { slot, place: handle as u32 & PLACE_MASK, object: PhantomData })
}

/// What was pinned by this handle and forgotten. `None` in a process that was forked off since.
///
/// # Safety
/// It was, and is taken up again once.
pub(super) unsafe fn pinned_before<T: Object>(handle: u64) -> Option<Pinned<T>> {
    let place = handle as u32 & PLACE_MASK;
    Some(Pinned { slot: slot(place)?, place, object: PhantomData })
}

/// Where the owner of a connection is, if it has not been freed. As [`object`].
#[inline(always)]
pub(super) fn owner_of<T: Object>(member: Member) -> Result<*const T, Bad> {
    // SAFETY: it is null, or the slot of the owner as `belong` has found it; slots stay.
    match unsafe { member.owner_slot.as_ref() } {
        Some(slot) if (slot.state.load(Ordering::Acquire) ^ member.owner) >> KIND_SHIFT == 0 => {
            Ok(slot.object.load(Ordering::Relaxed).cast_const().cast())
        }
        _ => Err(why_not(member.owner, T::KIND)),
    }
}

/// Where that is which a handle names. It stays there until its name is freed, and the caller has to know that nobody does that.
#[inline(always)]
pub(super) fn object<T: Object>(handle: u64) -> Result<*const T, Bad> {
    Ok(find(handle, T::KIND)?.object.load(Ordering::Relaxed).cast_const().cast())
}

/// The same as [`pin`] by a handle of another view of the slot.
pub(super) fn pin_view<T: Object>(handle: u64, kind: Kind) -> Result<Pinned<T>, Bad> {
    find(handle, kind)?;
    pin(view(handle, T::KIND))
}

/// Ends a name. What it named is dropped by the last call that uses it, which may be this one.
pub(super) fn free<T: Object>(handle: u64) -> Result<(), Bad> {
    let pinned = pin::<T>(handle)?;
    retire(pinned.slot, handle, T::KIND)
}

/// What a connection's slot says, without a lock, by any handle of it.
#[inline]
pub(super) fn facts(handle: u64, kind: Kind) -> Result<Facts, Bad> {
    read(handle, kind, |slot| Facts {
        owner: slot.owner.load(Ordering::Relaxed),
        id: slot.id.load(Ordering::Relaxed),
        created_ms: slot.created_ms.load(Ordering::Relaxed),
        fd: slot.fd.load(Ordering::Relaxed),
    })
}

/// Ids of connections that their pool does not know any more: it has ended them; or they are removed as well, and their
/// names only stay until that is told.
pub(super) const ENDED: u64 = u64::MAX;
pub(super) const REMOVED: u64 = u64::MAX - 1;

/// Makes one of these the id of a connection.
pub(super) fn set_left(connection: u64, how: u64) {
    if let Ok(slot) = find(connection, Kind::Connection) {
        slot.id.store(how, Ordering::Relaxed);
    }
}

/// Of which pool and connection a socket is, if of any; else only its descriptor is good.
#[inline]
pub(super) fn connection_of(socket: u64) -> Option<u64> {
    let state = find(socket, Kind::Socket).ok()?.state.load(Ordering::Acquire);
    let connection = view(socket, Kind::Connection);
    is_named(state, connection, Kind::Connection).then_some(connection)
}

/// The connection that a socket is, if `pool` has it.
#[inline]
pub(super) fn connection_in(pool: u64, socket: u64) -> Option<u64> {
    if let Some(slot) = slot(socket as u32 & PLACE_MASK)
        && handle_is(socket, Kind::Socket)
        && slot.owner.load(Ordering::Relaxed) == pool
    {
        fence(Ordering::Acquire);
        let connection = view(socket, Kind::Connection);
        let state = slot.state.load(Ordering::Relaxed);
        let is_there = is_named(state, connection, Kind::Connection) && is_pool(pool);
        return is_there.then_some(connection);
    }
    None
}

/// What is wrong with a socket and a pool, and with which of the two, if anything is but that they do not belong together.
#[cold]
pub(super) fn check_both(pool: u64, socket: u64) -> Result<(), (Kind, Bad)> {
    check(socket, Kind::Socket).map_err(|bad| (Kind::Socket, bad))?;
    check(pool, Kind::Pool).map_err(|bad| (Kind::Pool, bad))
}

/// A connection, as its slot had it at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    slot: &'static Slot,
    /// The handle of the pool to which it belongs, and the slot of that.
    pub(super) owner: u64,
    owner_slot: *const Slot,
    /// What that knows it by.
    pub(super) id: u64,
}

impl Member {
    /// What its slot says now.
    pub(super) fn fd(&self) -> RawFd {
        self.slot.fd.load(Ordering::Relaxed)
    }

    /// Whether its descriptor is closed with its name, and not by the pool.
    pub(super) fn closes_descriptor(&self) -> bool {
        self.slot.closes.load(Ordering::Relaxed) && self.slot.state.load(Ordering::Relaxed) & GIVEN_UP == 0
    }

    /// What its owner knows it by now; `Err` if its name has ended since.
    pub(super) fn id_now(&self, connection: u64) -> Result<u64, Bad> {
        let id = self.slot.id.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let state = self.slot.state.load(Ordering::Relaxed);
        if is_named(state, connection, Kind::Connection) { Ok(id) } else { Err(Bad::Stale) }
    }

    /// When it was last active. Whoever calls this keeps its name from ending meanwhile, as all who change it do.
    pub(super) fn set_active_ms(&self, now_ms: u64) {
        self.slot.active_ms.store(now_ms, Ordering::Relaxed);
    }
}

/// To which pool a connection belongs, and what that knows it by.
#[inline(always)]
pub(super) fn member(connection: u64) -> Result<Member, Bad> {
    read(connection, Kind::Connection, |slot| {
        let owner_slot = slot.object.load(Ordering::Relaxed).cast_const().cast();
        let (owner, id) = (slot.owner.load(Ordering::Relaxed), slot.id.load(Ordering::Relaxed));
        Member { slot, owner, owner_slot, id }
    })
}

#[inline]
pub(super) fn userdata(connection: u64) -> Result<*mut c_void, Bad> {
    read(connection, Kind::Connection, |slot| slot.userdata.load(Ordering::Acquire))
}

/// The descriptor of a connection.
#[inline]
pub(super) fn descriptor(connection: u64) -> Result<RawFd, Bad> {
    read(connection, Kind::Connection, |slot| slot.fd.load(Ordering::Relaxed))
}

/// When it was made, in milliseconds.
#[inline]
pub(super) fn created_ms(connection: u64) -> Result<u64, Bad> {
    read(connection, Kind::Connection, |slot| slot.created_ms.load(Ordering::Relaxed))
}

/// When it was last active, in milliseconds.
#[inline]
pub(super) fn active_ms(connection: u64) -> Result<u64, Bad> {
    read(connection, Kind::Connection, |slot| slot.active_ms.load(Ordering::Relaxed))
}

/// Whoever calls this holds the lock of the connection's pool, so that its name does not end meanwhile.
pub(super) fn set_userdata(connection: u64, userdata: *mut c_void) -> Result<(), Bad> {
    find(connection, Kind::Connection).map(|slot| slot.userdata.store(userdata, Ordering::Release))
}

/// Reads what belongs together. What was read counts only if the slot names the thing afterwards: it did before, for whoever has
/// the handle has it from when that was published.
#[inline]
fn read<T>(handle: u64, kind: Kind, read: impl FnOnce(&'static Slot) -> T) -> Result<T, Bad> {
    if let Some(slot) = slot(handle as u32 & PLACE_MASK) {
        let value = read(slot);
        fence(Ordering::Acquire);
        if is_named(slot.state.load(Ordering::Relaxed), handle, kind) {
            return Ok(value);
        }
    }
    Err(why_not(handle, kind))
}

const PLACE_MASK: u32 = (1 << KIND_SHIFT) - 1;
/// The lower bits of a state count its users, and of a handle they are its place.
const PINS_MASK: u64 = PLACE_MASK as u64;
/// But for the highest of them, of a connection whose descriptor its pool has given up: see [`give_up`].
const GIVEN_UP: u64 = USERS_MASK + 1;
const USERS_MASK: u64 = PINS_MASK >> 1;
const KIND_SHIFT: u32 = 28;
const KIND_MASK: u64 = 0xf;
const GENERATION_SHIFT: u32 = 32;
