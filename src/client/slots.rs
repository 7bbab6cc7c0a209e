//! A stack of idle connections that is pushed and popped without a lock, and that can be shut: then all are sent to the
//! lock. Whether somebody waits and what is on top stand in one word: no waiter falls between "nobody waits" and a push.
//! Where several push and pop at the same time there are more such words, the [`lanes`]; each can be shut, and the stack is
//! when all are: then nothing can be put anywhere without the lock, and all that was there has been taken out.
//!
//! After Treiber, "Systems programming: coping with parallelism" (IBM, 1986), with indices in place of pointers, a tag
//! against reuse, and a bit that shuts it. What is written before a push is read after the pop that takes it: pushes release,
//! pops acquire, and as every change of the word is a read-modify-write, those in between do not part the two.
//!
//! Each connection brings a share in the home of the stack and takes it along, so that lending one counts no references.
//! While any is in the stack its home lives on: who wants the home gone shuts the stack first.

mod home;
mod lanes;
mod place;

use std::mem::MaybeUninit;

use super::facts::{Facts, Reuse};
use super::sync::Ordering::{Acquire, Relaxed};
use super::sync::{AtomicU64, UnsafeCell};
use super::word::{NONE, Word};
use crate::clock::Nanos;
use home::{Miss, Missed};
use lanes::{Tops, change, put_on};

pub(super) use home::{Home, Parked};
#[cfg(test)]
pub(super) use lanes::move_on;
pub(super) use place::Place;

/// The stack. Whatever happens to it, a connection is in it, or with whoever has its [`Place`].
pub(super) struct Slots<C, P> {
    tops: Tops,
    places: Box<[Entry<C, P>]>,
    reuse: Reuse,
}

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
        let tops = Tops::new(lanes::lanes_for(places as usize));
        let stack = Self { tops, places: (0..places).map(entry).collect(), reuse };
        let rights = (0..places).map(|index| stack.right(index)).collect();
        (stack, rights)
    }

    /// The newest one, in a crowd that of this thread if there is one; unless the stack is shut or empty, or what is there is
    /// too old.
    #[inline(always)]
    pub(super) fn pop(home: &P) -> Option<(Place, u32, Parked<C, P>)> {
        let stack = home.slots();
        let first = stack.tops.first();
        let word = Word::from_bits(first.load(Acquire));
        if word.is_quiet() {
            let now = home.now();
            if let Ok(taken) = stack.take_off(first, word, now) {
                return Some(stack.lend(taken, now));
            }
        }
        Self::look_aside(home)
    }

    /// Takes what lies where this thread goes in a crowd, else what lies anywhere. Misses what is moved meanwhile: who goes to
    /// the lock then gets it there.
    #[inline(never)]
    fn look_aside(home: &P) -> Option<(Place, u32, Parked<C, P>)> {
        let stack = home.slots();
        // The first is shut last and opened last.
        if Word::from_bits(stack.tops.first().load(Relaxed)).is_shut() {
            return None;
        }
        stack.tops.count_turn();
        let now = home.now();
        let own = stack.take_from(stack.tops.own(), now);
        let taken = own
            .or_else(|| stack.take_from(stack.tops.first(), now))
            .or_else(|| stack.tops.lanes().find_map(|lane| stack.take_from(lane, now)))?;
        Some(stack.lend(taken, now))
    }

    #[inline(always)]
    fn lend(&self, (entry, index): (&Entry<C, P>, u32), now: Nanos) -> (Place, u32, Parked<C, P>) {
        let generation = entry.facts.lend(now);
        (self.right(index), generation, Self::read(entry))
    }

    fn take_from(&self, top: &AtomicU64, now: Nanos) -> Option<(&Entry<C, P>, u32)> {
        let mut word = Word::from_bits(top.load(Acquire));
        while !word.is_shut_or_empty() {
            match self.take_off(top, word, now) {
                Ok(taken) => return Some(taken),
                Err(None) => return None,
                Err(Some(changed)) => word = changed,
            }
        }
        None
    }

    /// Takes the place off that is on top, unless it is too old, or somebody else was faster: then says what is there now.
    #[inline(always)]
    fn take_off(&self, top: &AtomicU64, word: Word, now: Nanos) -> Result<(&Entry<C, P>, u32), Option<Word>> {
        let entry = &self.places[word.top() as usize];
        if !entry.facts.is_fresh(now) {
            return Err(None);
        }
        // As it was pushed, for the word was acquired; whoever took the top meanwhile has moved the tag on.
        let below = entry.facts.below.load(Relaxed);
        match change(top, word, word.with_top(below), Acquire, Acquire) {
            Ok(()) => Ok((entry, word.top())),
            Err(changed) => {
                self.tops.met_another();
                Err(Some(changed))
            }
        }
    }

    /// Puts a connection on top of the stack of its home; gives it back when that is shut, or when it must not be used again.
    #[inline(always)]
    pub(super) fn push(place: Place, parked: Parked<C, P>) -> Result<(), (Place, Parked<C, P>)> {
        match Self::put(Tops::first, place, parked) {
            Ok(()) => Ok(()),
            Err((place, parked, Miss::Shut | Miss::Worn)) => Err((place, parked)),
            Err(missed) => Self::push_aside(missed),
        }
    }

    /// The same where this thread goes in a crowd.
    #[inline(never)]
    fn push_aside((mut place, mut parked, mut miss): Missed<C, P>) -> Result<(), (Place, Parked<C, P>)> {
        loop {
            if let Miss::Late = miss {
                parked.home.slots().tops.met_another();
            }
            match Self::put(Tops::own, place, parked) {
                Ok(()) => return Ok(()),
                Err((back, held, Miss::Shut | Miss::Worn)) => return Err((back, held)),
                Err(missed) => (place, parked, miss) = missed,
            }
        }
    }

    /// Puts a connection on one of the tops, if nobody else puts or takes one there at the same time.
    #[inline(always)]
    fn put(
        top_of: impl Fn(&Tops) -> &AtomicU64,
        place: Place,
        parked: Parked<C, P>,
    ) -> Result<(), Missed<C, P>> {
        let stack: *const Self = parked.home.slots();
        // SAFETY: what is pushed has a share in the home of the stack. It may be the last, and gone with whoever pops it: so
        // nothing of the stack is touched once others see it, and `put_on` has references to nothing but cells of it.
        let stack = unsafe { &*stack };
        let (entry, top) = (stack.entry_of(&place), top_of(&stack.tops));
        let word = Word::from_bits(top.load(Relaxed));
        if word.is_shut_or_crowded() {
            let miss = if word.is_shut() { Miss::Shut } else { Miss::Crowded };
            return Err((place, parked, miss));
        }
        let now = parked.home.now();
        if !entry.facts.take_back(stack.reuse, now) {
            return Err((place, parked, Miss::Worn));
        }
        Self::write(entry, parked);
        if put_on(top, word, &entry.facts.below, place.index()).is_err() {
            entry.facts.go_on(now);
            return Err((place, Self::read(entry), Miss::Late));
        }
        Ok(())
    }

    /// Puts a connection on top of a stack that is shut, for whoever comes when it is opened.
    pub(super) fn fill(&self, place: Place, parked: Parked<C, P>) {
        let entry = self.entry_of(&place);
        Self::write(entry, parked);
        let top = self.tops.first();
        let mut word = Word::from_bits(top.load(Relaxed));
        while let Err(changed) = put_on(top, word, &entry.facts.below, place.index()) {
            word = changed;
        }
    }

    /// Shuts the stack and takes out all that is in it: from each lane, then from the first top, the newest one first.
    pub(super) fn shut(&self, mut each: impl FnMut(Place, Parked<C, P>)) {
        for top in self.tops.lanes().chain([self.tops.first()]) {
            self.shut_one(top, &mut each);
        }
    }

    /// Shuts one of the tops and takes out all that is there, the top first.
    fn shut_one(&self, top: &AtomicU64, mut each: impl FnMut(Place, Parked<C, P>)) {
        let mut word = Word::from_bits(top.load(Acquire));
        let mut index = loop {
            if word.is_shut() {
                return;
            }
            match change(top, word, word.shut(), Acquire, Acquire) {
                Ok(()) => break word.top(),
                Err(changed) => word = changed,
            }
        };
        while index != NONE {
            // Nobody else can reach what is below: it was all taken at once.
            let entry = &self.places[index as usize];
            let this = std::mem::replace(&mut index, entry.facts.below.load(Relaxed));
            each(self.right(this), Self::read(entry));
        }
    }

    /// Lets everybody in again.
    pub(super) fn open(&self) {
        self.tops.open();
    }

    /// As if several had met.
    #[cfg(test)]
    pub(super) fn crowd(&self) {
        self.tops.crowd();
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
