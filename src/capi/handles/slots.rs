//! Where names stand: slots that are used again, in segments that stay. A process that was forked off finds none of those that
//! its parent has made.

use std::ffi::c_void;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::super::alone;
use super::super::common::{self, Common};
use super::super::lock::{Guard, Lock};
use super::GENERATION_SHIFT;

/// One thing that has a name.
///
/// `state` is the generation, the kind, and how many calls are using it at this moment. Whoever retires it takes the kind
/// away; whoever is the last to let go of it then, frees what it holds.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: AtomicU64,
    /// What it owns, if its kind is one of an [`Object`](super::Object). Of a connection, the slot of the pool to which it belongs.
    pub(super) object: AtomicPtr<c_void>,
    /// The handle of the pool to which a connection belongs.
    pub(super) owner: AtomicU64,
    /// The connection's id in its pool.
    pub(super) id: AtomicU64,
    pub(super) userdata: AtomicPtr<c_void>,
    pub(super) created_ms: AtomicU64,
    pub(super) active_ms: AtomicU64,
    /// While it is free: the slot that was given back before, or [`NONE`].
    pub(super) fd: AtomicI32,
    /// Whether the slot closes `fd`.
    pub(super) closes: AtomicBool,
    /// Whether it is a socket that we have accepted ourselves and no pool has taken: then its peer is known, see [`Slot::peer`].
    pub(super) accepted: AtomicBool,
}

impl Slot {
    const fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            object: AtomicPtr::new(ptr::null_mut()),
            owner: AtomicU64::new(0),
            id: AtomicU64::new(0),
            userdata: AtomicPtr::new(ptr::null_mut()),
            created_ms: AtomicU64::new(0),
            active_ms: AtomicU64::new(0),
            fd: AtomicI32::new(-1),
            closes: AtomicBool::new(false),
            accepted: AtomicBool::new(false),
        }
    }
}

/// Slots that were used and are free, the first that was never used, and how many forks ago that was noted.
#[derive(Debug)]
pub(super) struct Free {
    /// The slot that was given back last, or [`NONE`]; each knows the one before: see [`Slot::fd`].
    last: i32,
    unused: u32,
    forks: u32,
}

/// Those that are made stay for as long as the process.
static SEGMENTS: [AtomicPtr<[Slot; SEGMENT]>; MOST_SLOTS / SEGMENT] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MOST_SLOTS / SEGMENT];
/// Segments of the processes from which this one was forked off, so that what looks for leaks finds them.
static HIDDEN: [AtomicPtr<[Slot; SEGMENT]>; MOST_SLOTS / SEGMENT] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MOST_SLOTS / SEGMENT];
static FREE: Common<Lock<Free>> = Common::short(Free { last: NONE, unused: 0, forks: 0 });

/// Slots below this were made by the processes from which this one was forked off, and are not to be found.
static INHERITED: AtomicU32 = AtomicU32::new(0);
/// Slots below this have been made.
static MADE: AtomicU32 = AtomicU32::new(0);
/// Which process of a chain of forks this is.
static FORKS: AtomicU32 = AtomicU32::new(0);

#[inline(always)] // All but two of its instructions are those of a call.
pub(super) fn free_slots() -> Guard<'static, Free> {
    let mut free = FREE.lock().expect("nothing that holds it can panic half way, or be called again");
    let forks = FORKS.load(Ordering::Relaxed);
    if free.forks != forks {
        free.begin_anew(forks);
    }
    free
}

impl Free {
    #[cold]
    fn begin_anew(&mut self, forks: u32) {
        self.forks = forks;
        self.last = NONE;
        self.unused = INHERITED.load(Ordering::Relaxed);
    }
}

#[inline]
pub(super) fn slot(place: u32) -> Option<&'static Slot> {
    let segment = SEGMENTS.get(place as usize / SEGMENT)?.load(Ordering::Acquire);
    // SAFETY: it is null, or `take_slot` has leaked it.
    let segment = unsafe { segment.as_ref() }?;
    Some(&segment[place as usize % SEGMENT])
}

/// Takes a free slot out, with the generation that its next handle will have.
pub(super) fn take_slot() -> Option<(u32, &'static Slot)> {
    let mut free = free_slots();
    if let Ok(place) = u32::try_from(free.last) {
        let slot = slot(place).expect("it was used before");
        free.last = slot.fd.load(Ordering::Relaxed);
        return Some((place, slot));
    }
    let place = free.unused;
    let segment = SEGMENTS.get(place as usize / SEGMENT)?;
    if segment.load(Ordering::Acquire).is_null() {
        get_ready();
        let mut slots = Vec::new();
        slots.try_reserve_exact(SEGMENT).ok()?;
        slots.resize_with(SEGMENT, Slot::new);
        let slots: Box<[Slot; SEGMENT]> = slots.into_boxed_slice().try_into().ok()?;
        segment.store(Box::into_raw(slots), Ordering::Release);
        MADE.store(place + SEGMENT as u32, Ordering::Relaxed);
    }
    free.unused += 1;
    Some((place, slot(place).expect("its segment has just been made")))
}

/// Whoever used it last is done with it.
#[inline]
pub(super) fn give_back_slot(slot: &Slot, place: u32) {
    if is_inherited(place) {
        // A call that was in it when the process was forked off.
        return;
    }
    // One whose generations are used up names nothing again.
    if slot.state.load(Ordering::Relaxed) >> GENERATION_SHIFT < u64::from(u32::MAX) {
        let mut free = free_slots();
        // Places are below 2^28.
        slot.fd.store(free.last, Ordering::Relaxed);
        free.last = place.cast_signed();
        free.release();
    }
}

/// Whether the slot belongs to a process from which this one was forked off.
#[inline]
pub(super) fn is_inherited(place: u32) -> bool {
    place < INHERITED.load(Ordering::Relaxed)
}

/// What must be known before there is a first handle: who is alone, and when a process is forked off. In the child the
/// handles of its parent name nothing any more.
fn get_ready() {
    static READY: OnceLock<()> = OnceLock::new();
    extern "C" fn in_child() {
        let made = MADE.load(Ordering::Relaxed);
        for place in INHERITED.load(Ordering::Relaxed) as usize / SEGMENT..made as usize / SEGMENT {
            let segment = SEGMENTS[place].swap(ptr::null_mut(), Ordering::Relaxed);
            HIDDEN[place].store(segment, Ordering::Relaxed);
        }
        INHERITED.store(made, Ordering::Relaxed);
        FORKS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: this is the one thread of the child, and the program's functions are not called under these locks.
        unsafe {
            FREE.in_child(Free { last: NONE, unused: 0, forks: 0 });
            common::in_child();
        }
    }
    type Handler = Option<extern "C" fn()>;
    unsafe extern "C" {
        fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> std::ffi::c_int;
    }
    READY.get_or_init(|| {
        alone::find_out();
        // SAFETY: the handler only stores, and tries locks. Where it cannot be set, nobody notices a fork.
        unsafe { pthread_atfork(None, None, Some(in_child)) };
    });
}

const MOST_SLOTS: usize = 1 << 28;
/// Slots are made so many at a time.
const SEGMENT: usize = 4096;
/// In place of a slot.
const NONE: i32 = -1;
