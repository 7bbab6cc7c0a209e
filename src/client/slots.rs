//! A stack of idle connections that is pushed and popped without a lock, and that can be shut: then everybody is sent to the
//! lock. Whether somebody waits and what is on top stand in one word, so between "nobody waits" and a push there
//! is no gap into which a waiter could fall.
//!
//! After Treiber, "Systems programming: coping with parallelism" (IBM, 1986), with indices in place of pointers, a tag
//! against reuse, and a bit that shuts it. What is written into a place before a push is read after the pop that takes it.

use std::mem::MaybeUninit;
use std::num::NonZeroU32;

use super::facts::Facts;
use super::sync::{AtomicU32, AtomicU64, Ordering, UnsafeCell};
use crate::clock::Nanos;
use crate::lease::{Known, Span};

/// The stack. Whatever happens to it, a value is in it, or with whoever has its [`Place`].
pub(super) struct Slots<T> {
    /// The index of the top, [`SHUT`], and a tag that every change moves on.
    word: AtomicU64,
    places: Box<[Entry<T>]>,
}

/// The right to one place of the stack: who has it, and nobody else, may put something there. There is one for each.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place(NonZeroU32);

struct Entry<T> {
    /// The place below, while this one is in the stack.
    below: AtomicU32,
    /// What stands beside the value. Written by whoever has the place, read by everybody.
    facts: Facts,
    /// Full exactly while the place is in the stack.
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: values go from thread to thread, each with one at a time: a `Place` is one thread's, and so is what it popped.
unsafe impl<T: Send> Sync for Slots<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Slots<T> {}

impl<T> Slots<T> {
    /// A stack of so many places that is shut, and the rights to them.
    pub(super) fn new(places: usize) -> (Self, Vec<Place>) {
        let entry = |_| Entry {
            below: AtomicU32::new(NONE),
            facts: Facts::new(),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        };
        let places = places.min(NONE as usize) as u32;
        let stack =
            Self { word: AtomicU64::new(SHUT | u64::from(NONE)), places: (0..places).map(entry).collect() };
        (stack, (0..places).map(Place::of).collect())
    }

    /// The top, unless the stack is shut or empty or what is on top is too old at `now`.
    #[inline(always)]
    pub(super) fn pop(&self, now: Nanos) -> Option<(Place, u32, T)> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word & (SHUT | u64::from(NONE)) >= u64::from(NONE) {
                return None;
            }
            let top = (word & u64::from(NONE)) as u32;
            let entry = self.entry(top);
            if !entry.facts.is_fresh(now) {
                return None;
            }
            // Whoever took it meanwhile has moved the tag on, so a wrong answer here does not get into the word.
            let below = entry.below.load(Ordering::Relaxed);
            match self.word.compare_exchange_weak(
                word,
                next(word, below),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    let generation = entry.facts.lend(now);
                    return Some((Place::of(top), generation, Self::read(entry)));
                }
                Err(changed) => word = changed,
            }
        }
    }

    /// Puts a value on top; gives it back when the stack is shut, or when it must not be used again.
    #[inline(always)]
    pub(super) fn push(
        &self,
        place: Place,
        value: T,
        span: Span,
        max_uses: u64,
        now: Nanos,
    ) -> Result<(), (Place, T)> {
        let entry = self.entry(place.index());
        let mut word = self.word.load(Ordering::Relaxed);
        if word & SHUT != 0 || !entry.facts.take_back(span, max_uses, now) {
            return Err((place, value));
        }
        Self::write(entry, value);
        loop {
            entry.below.store((word & u64::from(NONE)) as u32, Ordering::Relaxed);
            match self.word.compare_exchange_weak(
                word,
                next(word, place.index()),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(changed) if changed & SHUT != 0 => {
                    let value = Self::read(entry);
                    return Err((place, value));
                }
                Err(changed) => word = changed,
            }
        }
    }

    /// Shuts the stack and takes out all that is in it, the top first.
    pub(super) fn shut(&self, mut each: impl FnMut(Place, T)) {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word & SHUT != 0 {
                return;
            }
            let shut = next(word, NONE) | SHUT;
            match self.word.compare_exchange_weak(word, shut, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => break,
                Err(changed) => word = changed,
            }
        }
        let mut top = (word & u64::from(NONE)) as u32;
        while top != NONE {
            // Nobody else can reach what is below: it was all taken at once.
            let entry = self.entry(top);
            let below = entry.below.load(Ordering::Relaxed);
            each(Place::of(top), Self::read(entry));
            top = below;
        }
    }

    /// Puts a value on top of a stack that is shut, for whoever comes when it is opened.
    pub(super) fn fill(&self, place: Place, value: T) {
        let entry = self.entry(place.index());
        Self::write(entry, value);
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            entry.below.store((word & u64::from(NONE)) as u32, Ordering::Relaxed);
            let filled = next(word, place.index()) | word & SHUT;
            match self.word.compare_exchange_weak(word, filled, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => word = changed,
            }
        }
    }

    /// Lets everybody in again.
    pub(super) fn open(&self) {
        self.word.fetch_and(!SHUT, Ordering::Release);
    }

    /// What is known of the place that one has the right to.
    pub(super) fn known(&self, place: &Place) -> Known {
        self.entry(place.index()).facts.known()
    }

    /// What is known of somebody else's place; it may be changing.
    pub(super) fn known_at(&self, index: usize) -> Known {
        self.places[index].facts.known()
    }

    /// Writes down what is known of the place that one has the right to.
    pub(super) fn note(&self, place: &Place, generation: u32, known: Known) {
        self.entry(place.index()).facts.note(generation, known);
    }

    #[inline(always)]
    fn entry(&self, index: u32) -> &Entry<T> {
        &self.places[index as usize]
    }

    /// Takes the value out of a place that has just left the stack, or was not let in.
    #[inline(always)]
    fn read(entry: &Entry<T>) -> T {
        // SAFETY: full while in the stack, and whoever took it out is the only one with a right to it.
        entry.value.with_mut(|value| unsafe { (*value).assume_init_read() })
    }

    /// Puts a value into a place that is not in the stack.
    #[inline(always)]
    fn write(entry: &Entry<T>, value: T) {
        // SAFETY: the caller has the one right to this place, so nobody else looks at it before it is in the stack.
        entry.value.with_mut(|place| unsafe { (*place).write(value) });
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        self.word.fetch_and(!SHUT, Ordering::Relaxed);
        self.shut(|_, value| drop(value));
    }
}

impl Place {
    /// Indices are below [`NONE`], so one more is never zero.
    #[inline(always)]
    const fn of(index: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(index))
    }

    #[inline(always)]
    pub(super) const fn index(&self) -> u32 {
        self.0.get() - 1
    }
}

/// The word after a change of the top.
#[inline(always)]
const fn next(word: u64, top: u32) -> u64 {
    (word & !(SHUT | NONE as u64)).wrapping_add(TAG) | top as u64
}

/// In place of an index: the stack is empty.
const NONE: u32 = (1 << 24) - 1;
/// Set while everybody has to go by the lock.
const SHUT: u64 = 1 << 24;
/// The lowest bit of the tag. It takes 2^39 changes during one pop to be mistaken.
const TAG: u64 = 1 << 25;
