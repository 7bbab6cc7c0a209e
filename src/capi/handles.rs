//! The names by which C programs call things: one table for the whole process, whose slots carry a generation, so that a
//! handle that is stale, doubled, foreign or made up is recognised and never followed.
//!
//! A handle looks like a pointer and is none: 32 bits of generation, 4 of kind, 28 of slot. What a connection's getters
//! read lies in the slot itself, in atomics, so that they need no lock: they check the slot, read, and check again.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::pool::Shared;

/// What a handle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Kind {
    Pool = 1,
    Connection = 2,
}

/// Why a handle names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    Null,
    /// It names something of another kind.
    Kind,
    /// What it named is gone, or it never named anything.
    Stale,
    /// It was made before this process was forked off.
    Forked,
}

impl Bad {
    pub(super) fn reason(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::Null, _) => "is NULL",
            (Self::Kind, Kind::Pool) => "is no pool",
            (Self::Kind, Kind::Connection) => "is no connection",
            (Self::Stale, _) => "is stale: it was freed, or never was a handle",
            (Self::Forked, _) => "belongs to the process that forked this one",
        }
    }
}

/// One thing that has a name.
///
/// `state` is the generation, the kind, and how many calls are using it at this moment. Whoever retires it takes the kind
/// away; whoever is the last to let go of it then, frees what it holds.
#[derive(Debug)]
struct Slot {
    state: AtomicU64,
    /// The pool itself, for a slot of that kind.
    pool: AtomicPtr<Shared>,
    /// The handle of the pool to which a connection belongs.
    owner: AtomicU64,
    /// The connection's id in its pool.
    id: AtomicU64,
    userdata: AtomicPtr<std::ffi::c_void>,
    created_ms: AtomicU64,
    fd: AtomicU32,
}

impl Slot {
    const fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            pool: AtomicPtr::new(ptr::null_mut()),
            owner: AtomicU64::new(0),
            id: AtomicU64::new(0),
            userdata: AtomicPtr::new(ptr::null_mut()),
            created_ms: AtomicU64::new(0),
            fd: AtomicU32::new(0),
        }
    }
}

/// What a connection's slot says about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) owner: u64,
    pub(super) id: u64,
    pub(super) created_ms: u64,
    pub(super) fd: i32,
}

/// Slots that were used and are free, and the first that was never used.
#[derive(Debug)]
struct Free {
    slots: Vec<u32>,
    unused: u32,
}

static SEGMENTS: [OnceLock<Box<[Slot]>>; MOST_SLOTS / SEGMENT] =
    [const { OnceLock::new() }; MOST_SLOTS / SEGMENT];
static FREE: Mutex<Free> = Mutex::new(Free { slots: Vec::new(), unused: 0 });

/// Which process of a chain of forks this is.
static FORKS: AtomicU32 = AtomicU32::new(0);

fn free_slots() -> MutexGuard<'static, Free> {
    // Nothing that holds it can panic half way.
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn slot(place: u32) -> Option<&'static Slot> {
    SEGMENTS.get(place as usize / SEGMENT)?.get()?.get(place as usize % SEGMENT)
}

/// Takes a free slot out, with the generation that its next handle will have.
fn take_slot() -> Option<(u32, &'static Slot)> {
    let mut free = free_slots();
    if let Some(place) = free.slots.pop() {
        return Some((place, slot(place).expect("it was used before")));
    }
    let place = free.unused;
    let segment = SEGMENTS.get(place as usize / SEGMENT)?;
    if segment.get().is_none() {
        // As many as there are slots in it can be given back without an allocation.
        let room = free.unused as usize + SEGMENT - free.slots.len();
        free.slots.try_reserve(room).ok()?;
        let mut slots = Vec::new();
        slots.try_reserve_exact(SEGMENT).ok()?;
        slots.resize_with(SEGMENT, Slot::new);
        let _ = segment.set(slots.into_boxed_slice());
    }
    free.unused += 1;
    Some((place, slot(place).expect("its segment has just been made")))
}

/// Makes the slot name something from now on. Whatever it holds must have been stored before.
fn publish(place: u32, slot: &Slot, kind: Kind) -> u64 {
    let generation = (slot.state.load(Ordering::Relaxed) >> GENERATION_SHIFT) + 1;
    slot.state.store(generation << GENERATION_SHIFT | (kind as u64) << KIND_SHIFT, Ordering::Release);
    generation << GENERATION_SHIFT | (kind as u64) << KIND_SHIFT | u64::from(place)
}

/// Gives a pool its name. `None` if there is no room for another.
pub(super) fn name_pool(pool: Box<Shared>) -> Option<u64> {
    let (place, slot) = take_slot()?;
    slot.pool.store(Box::into_raw(pool), Ordering::Relaxed);
    Some(publish(place, slot, Kind::Pool))
}

/// Gives a connection its name. `None` if there is no room for another.
pub(super) fn name_connection(facts: Facts) -> Option<u64> {
    let (place, slot) = take_slot()?;
    slot.owner.store(facts.owner, Ordering::Relaxed);
    slot.id.store(facts.id, Ordering::Relaxed);
    slot.created_ms.store(facts.created_ms, Ordering::Relaxed);
    slot.fd.store(facts.fd.cast_unsigned(), Ordering::Relaxed);
    slot.userdata.store(ptr::null_mut(), Ordering::Relaxed);
    Some(publish(place, slot, Kind::Connection))
}

/// Whether `handle` names something of this kind at this moment; then, where.
fn find(handle: u64, kind: Kind) -> Result<&'static Slot, Bad> {
    if handle == 0 {
        return Err(Bad::Null);
    }
    let slot = slot(handle as u32 & PLACE_MASK).ok_or(Bad::Stale)?;
    match check(slot, handle) {
        true if handle >> KIND_SHIFT & KIND_MASK == kind as u64 => Ok(slot),
        true => Err(Bad::Kind),
        false => Err(Bad::Stale),
    }
}

fn check(slot: &Slot, handle: u64) -> bool {
    slot.state.load(Ordering::Acquire) & !PINS_MASK == handle & !u64::from(PLACE_MASK)
}

/// A pool that is not freed before this is dropped.
#[derive(Debug)]
pub(super) struct Pinned {
    slot: &'static Slot,
    place: u32,
    shared: &'static Shared,
}

impl std::ops::Deref for Pinned {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        self.shared
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let before = self.slot.state.fetch_sub(1, Ordering::AcqRel);
        if before & PINS_MASK == 1 && before >> KIND_SHIFT & KIND_MASK == 0 {
            free_pool(self.slot, self.place);
        }
    }
}

/// Takes hold of a pool.
pub(super) fn pin(handle: u64) -> Result<Pinned, Bad> {
    let slot = find(handle, Kind::Pool)?;
    let wanted = handle & !u64::from(PLACE_MASK);
    let pinned = slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
        (state & !PINS_MASK == wanted && state & PINS_MASK < PINS_MASK).then_some(state + 1)
    });
    if pinned.is_err() {
        return Err(Bad::Stale);
    }
    // SAFETY: the slot named a pool when its count of users was raised, so `pool` came from `Box::into_raw`, and whoever
    // retires it leaves it alone until the count is zero, which `Pinned` sees to.
    let shared = unsafe { &*slot.pool.load(Ordering::Acquire) };
    let pinned = Pinned { slot, place: handle as u32 & PLACE_MASK, shared };
    if shared.forks != FORKS.load(Ordering::Relaxed) {
        return Err(Bad::Forked);
    }
    Ok(pinned)
}

/// Ends the name of a pool. It is dropped by the last call that uses it, which may be this one.
pub(super) fn retire_pool(handle: u64) -> Result<(), Bad> {
    let pinned = pin(handle)?;
    let wanted = handle & !u64::from(PLACE_MASK);
    let retired = pinned.slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
        (state & !PINS_MASK == wanted).then_some(state & !(KIND_MASK << KIND_SHIFT))
    });
    // Somebody else was faster.
    retired.map(drop).map_err(|_| Bad::Stale)
}

fn free_pool(slot: &Slot, place: u32) {
    let shared = slot.pool.swap(ptr::null_mut(), Ordering::AcqRel);
    give_back_slot(slot, place);
    // SAFETY: it came from `Box::into_raw` in `name_pool`, its name is gone and nobody uses it any more; the swap gives it
    // to one caller only.
    drop(unsafe { Box::from_raw(shared) });
}

/// Ends the name of a connection.
pub(super) fn retire_connection(handle: u64) {
    let Ok(slot) = find(handle, Kind::Connection) else { return };
    slot.state.fetch_and(!(KIND_MASK << KIND_SHIFT), Ordering::AcqRel);
    give_back_slot(slot, handle as u32 & PLACE_MASK);
}

fn give_back_slot(slot: &Slot, place: u32) {
    // One whose generations are used up names nothing again.
    if slot.state.load(Ordering::Relaxed) >> GENERATION_SHIFT < u64::from(u32::MAX) {
        free_slots().slots.push(place);
    }
}

/// What a connection's slot says, without a lock.
pub(super) fn facts(handle: u64) -> Result<Facts, Bad> {
    read(handle, |slot| Facts {
        owner: slot.owner.load(Ordering::Relaxed),
        id: slot.id.load(Ordering::Relaxed),
        created_ms: slot.created_ms.load(Ordering::Relaxed),
        fd: slot.fd.load(Ordering::Relaxed).cast_signed(),
    })
}

pub(super) fn userdata(handle: u64) -> Result<*mut std::ffi::c_void, Bad> {
    read(handle, |slot| slot.userdata.load(Ordering::Acquire))
}

/// Whoever calls this holds the lock of the connection's pool, so that its name does not end meanwhile.
pub(super) fn set_userdata(handle: u64, userdata: *mut std::ffi::c_void) -> Result<(), Bad> {
    find(handle, Kind::Connection).map(|slot| slot.userdata.store(userdata, Ordering::Release))
}

/// Reads what belongs together: what was read counts only if the slot still names the same connection afterwards.
fn read<T>(handle: u64, read: impl FnOnce(&Slot) -> T) -> Result<T, Bad> {
    let slot = find(handle, Kind::Connection)?;
    let value = read(slot);
    fence(Ordering::Acquire);
    if check(slot, handle) { Ok(value) } else { Err(Bad::Stale) }
}

/// Which process of a chain of forks this is, for a pool to remember.
pub(super) fn this_process() -> u32 {
    static WATCHED: OnceLock<()> = OnceLock::new();
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    type Handler = Option<extern "C" fn()>;
    unsafe extern "C" {
        fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> std::ffi::c_int;
    }
    WATCHED.get_or_init(|| {
        // SAFETY: the handler only counts, in an atomic. Where it cannot be set, nobody notices a fork.
        unsafe { pthread_atfork(None, None, Some(in_child)) };
    });
    FORKS.load(Ordering::Relaxed)
}

const MOST_SLOTS: usize = 1 << 28;
/// Slots are made so many at a time.
const SEGMENT: usize = 4096;
const PLACE_MASK: u32 = (1 << KIND_SHIFT) - 1;
/// The lower bits of a state count its users; of a handle they are its place.
const PINS_MASK: u64 = PLACE_MASK as u64;
const KIND_SHIFT: u32 = 28;
const KIND_MASK: u64 = 0xf;
const GENERATION_SHIFT: u32 = 32;
