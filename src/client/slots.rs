//! A stack of idle connections that is pushed and popped without a lock, and that can be shut: then all are sent to the
//! lock. Whether somebody waits and what is on top stand in one word: no waiter falls between "nobody waits" and a push.
//!
//! After Treiber, "Systems programming: coping with parallelism" (IBM, 1986), with indices in place of pointers, a tag
//! against reuse, and a bit that shuts it. What is written before a push is read after the pop that takes it: pushes release,
//! pops acquire, and as every change of the word is a read-modify-write, those in between do not part the two.
//!
//! Each connection brings a share in the home of the stack and takes it along, so that lending one counts no references.
//! While any is in the stack its home lives on: who wants the home gone shuts the stack first.

mod home;
mod place;

use std::mem::MaybeUninit;

use super::facts::{Facts, Reuse};
use super::sync::Ordering::{Acquire, Relaxed, Release};
use super::sync::{AtomicU32, AtomicU64, Ordering, UnsafeCell};
use super::word::{NONE, SHUT, Word};

pub(super) use home::{Home, Parked};
pub(super) use place::Place;

/// The stack. Whatever happens to it, a connection is in it, or with whoever has its [`Place`].
pub(super) struct Slots<C, P> {
    /// A [`Word`].
    top: Line,
    places: Box<[Entry<C, P>]>,
    reuse: Reuse,
}

/// Apart from what is only read; machines fetch cache lines in pairs.
#[repr(align(128))]
struct Line(AtomicU64);

/// On cache lines of its own, since each is one thread's at a time.
#[repr(align(64))]
struct Entry<C, P> {
    /// What stands beside the value, and which place is below while this one is in the stack. Written by whoever has the
    /// place, read by everybody.
    facts: Facts,
    /// Full exactly while the place is in the stack.
    value: UnsafeCell<MaybeUninit<Parked<C, P>>>,
}

// SAFETY: values go from thread to thread, each with one at a time: a `Place` is one thread's, and so is what it popped.
unsafe impl<C, P> Sync for Slots<C, P> where Parked<C, P>: Send {}

impl<C, P: Home<Connection = C>> Slots<C, P> {
    /// A stack of so many places that is shut, and the rights to them.
    pub(super) fn new(places: usize, reuse: Reuse) -> (Self, Vec<Place>) {
        let entry = |_| Entry { facts: Facts::new(), value: UnsafeCell::new(MaybeUninit::uninit()) };
        let places = places.min(NONE as usize) as u32;
        let top = Line(AtomicU64::new(Word::NEW.bits()));
        let stack = Self { top, places: (0..places).map(entry).collect(), reuse };
        let rights = (0..places).map(|index| stack.right(index)).collect();
        (stack, rights)
    }

    /// The top, unless the stack is shut or empty or what is on top is too old.
    #[inline(always)]
    pub(super) fn pop(home: &P) -> Option<(Place, u32, Parked<C, P>)> {
        let (stack, now) = (home.slots(), home.now());
        let mut word = Word::from_bits(stack.top.0.load(Acquire));
        while !word.is_shut_or_empty() {
            let top = word.top();
            let entry = &stack.places[top as usize];
            if !entry.facts.is_fresh(now) {
                return None;
            }
            // As it was pushed, for the word was acquired; whoever took the top meanwhile has moved the tag on.
            let below = entry.facts.below.load(Relaxed);
            match change(&stack.top.0, word, word.with_top(below), Acquire, Acquire) {
                Ok(()) => {
                    let generation = entry.facts.lend(now);
                    return Some((stack.right(top), generation, Self::read(entry)));
                }
                Err(changed) => word = changed,
            }
        }
        None
    }

    /// Puts a connection on top of the stack of its home; gives it back when that is shut, or when it must not be used again.
    #[inline(always)]
    pub(super) fn push(place: Place, parked: Parked<C, P>) -> Result<(), (Place, Parked<C, P>)> {
        let stack: *const Self = parked.home.slots();
        // SAFETY: what is pushed has a share in the home of the stack. It may be the last, and gone with whoever pops it: so
        // nothing of the stack is touched once others see it, and `put_on` has references to nothing but cells of it.
        let stack = unsafe { &*stack };
        let (entry, top) = (stack.entry_of(&place), &stack.top.0);
        let mut word = Word::from_bits(top.load(Relaxed));
        if word.is_shut() {
            return Err((place, parked));
        }
        let now = parked.home.now();
        if !entry.facts.take_back(stack.reuse, now) {
            return Err((place, parked));
        }
        Self::write(entry, parked);
        while let Err(changed) = put_on(top, word, &entry.facts.below, place.index()) {
            if changed.is_shut() {
                entry.facts.go_on(now);
                return Err((place, Self::read(entry)));
            }
            word = changed;
        }
        Ok(())
    }

    /// Puts a connection on top of a stack that is shut, for whoever comes when it is opened.
    pub(super) fn fill(&self, place: Place, parked: Parked<C, P>) {
        let entry = self.entry_of(&place);
        Self::write(entry, parked);
        let mut word = Word::from_bits(self.top.0.load(Relaxed));
        while let Err(changed) = put_on(&self.top.0, word, &entry.facts.below, place.index()) {
            word = changed;
        }
    }

    /// Shuts the stack and takes out all that is in it, the top first.
    pub(super) fn shut(&self, mut each: impl FnMut(Place, Parked<C, P>)) {
        let mut word = Word::from_bits(self.top.0.load(Acquire));
        let mut top = loop {
            if word.is_shut() {
                return;
            }
            match change(&self.top.0, word, word.shut(), Acquire, Acquire) {
                Ok(()) => break word.top(),
                Err(changed) => word = changed,
            }
        };
        while top != NONE {
            // Nobody else can reach what is below: it was all taken at once.
            let entry = &self.places[top as usize];
            let index = std::mem::replace(&mut top, entry.facts.below.load(Relaxed));
            each(self.right(index), Self::read(entry));
        }
    }

    /// Lets everybody in again.
    pub(super) fn open(&self) {
        self.top.0.fetch_and(!SHUT, Release);
    }

    /// What stands beside the value of a place; it may be changing unless one has the right to it.
    pub(super) fn facts(&self, index: usize) -> &Facts {
        &self.places[index].facts
    }

    #[inline(always)]
    fn entry_of(&self, place: &Place) -> &Entry<C, P> {
        place.assert_of(self.places.as_ptr().addr());
        &self.places[place.index() as usize]
    }

    #[inline(always)]
    fn right(&self, index: u32) -> Place {
        Place::new(index, self.places.as_ptr().addr())
    }

    /// Takes the value out of a place that has just left the stack, or was not let in.
    #[inline(always)]
    fn read(entry: &Entry<C, P>) -> Parked<C, P> {
        // SAFETY: full while in the stack, and whoever took it out is the only one with a right to it.
        entry.value.with_mut(|value| unsafe { (*value).assume_init_read() })
    }

    /// Puts a value into a place that is not in the stack.
    #[inline(always)]
    fn write(entry: &Entry<C, P>, parked: Parked<C, P>) {
        // SAFETY: the caller has the one right to this place, so nobody else looks at it before it is in the stack.
        entry.value.with_mut(|place| unsafe { (*place).write(parked) });
    }
}

/// Puts a place that is full on top, or says what the word is now.
#[inline(always)]
fn put_on(top: &AtomicU64, word: Word, below: &AtomicU32, index: u32) -> Result<(), Word> {
    below.store(word.top(), Relaxed);
    change(top, word, word.with_top(index), Release, Relaxed)
}

/// Changes the word, or says what it is now; may also fail for no reason.
#[inline(always)]
fn change(top: &AtomicU64, from: Word, to: Word, done: Ordering, failed: Ordering) -> Result<(), Word> {
    let result = top.compare_exchange_weak(from.bits(), to.bits(), done, failed);
    result.map(drop).map_err(Word::from_bits)
}
