//! The stack alone, and its lanes: nothing is in two hands, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use loom::thread;

use super::super::facts::Reuse;
use super::super::slots::{Home, Parked, Place, Slots, move_on};
use super::{INTERRUPTIONS, MOST, explore};
use crate::clock::Nanos;
use crate::lease::{Known, Span};

/// One thread pops and pushes while another one takes all there is and brings part of it back in another order.
#[test]
fn push_and_pop() {
    explore("push_and_pop", INTERRUPTIONS, || {
        let stack = Stack::holding(2);
        let other = Arc::clone(&stack);
        let thread = thread::spawn(move || {
            let held = other.pop();
            let below = other.pop();
            held.map(|held| other.push(held));
            below
        });
        let held = stack.pop();
        held.map(|held| stack.push(held));
        let below = thread.join().unwrap();
        below.map(|below| stack.push(below));
        assert_eq!(stack.empty(), 2);
    });
}

/// Both push, so that one of them finds the other one's place on top.
#[test]
fn push_and_push() {
    explore("push_and_push", INTERRUPTIONS, || {
        let stack = Stack::holding(2);
        let (first, second) = (stack.pop(), stack.pop());
        let other = Arc::clone(&stack);
        let thread = thread::spawn(move || {
            second.map(|second| other.push(second));
            other.pop().map(|any| other.push(any));
        });
        first.map(|first| stack.push(first));
        stack.pop().map(|any| stack.push(any));
        thread.join().unwrap();
        assert_eq!(stack.empty(), 2);
    });
}

/// The lock's side takes all out, fills it again and opens it, while somebody pops and pushes.
#[test]
fn push_and_shut() {
    explore("push_and_shut", INTERRUPTIONS, || {
        let stack = Stack::holding(2);
        let other = Arc::clone(&stack);
        let thread = thread::spawn(move || other.pop().and_then(|held| other.push(held)));
        let mut taken = Vec::new();
        stack.slots.shut(|place, value| taken.push((place, value)));
        stack.refill(taken);
        stack.take_back(thread.join().unwrap());
    });
}

/// The lock's side takes all out and opens the stack again while somebody takes from it and gives back to his lane.
#[test]
fn lane_push_and_shut() {
    explore("lane_push_and_shut", INTERRUPTIONS, || {
        let stack = Stack::holding(2);
        stack.slots.crowd();
        stack.pop().map(|held| stack.push(held));
        let other = Arc::clone(&stack);
        let thread = thread::spawn(move || {
            let held = other.pop();
            held.and_then(|held| other.push(held))
        });
        let mut taken = Vec::new();
        stack.slots.shut(|place, value| taken.push((place, value)));
        let late = stack.pop();
        assert!(late.is_none(), "nothing is left, and nothing comes back");
        stack.refill(taken);
        stack.take_back(thread.join().unwrap());
    });
}

/// The one that is left lies in the lane of a thread that wants it back, while somebody else finds nothing in his own.
#[test]
fn lane_pop_and_thief() {
    explore("lane_pop_and_thief", INTERRUPTIONS, || {
        let stack = Stack::holding(2);
        stack.slots.crowd();
        let apart = stack.pop();
        stack.pop().map(|held| stack.push(held));
        let other = Arc::clone(&stack);
        let thief = thread::spawn(move || {
            move_on();
            let stolen = other.pop();
            stolen.map(|stolen| other.push(stolen))
        });
        let own = stack.pop();
        own.map(|own| stack.push(own));
        thief.join().unwrap();
        apart.map(|apart| stack.push(apart));
        assert_eq!(stack.empty(), 2);
    });
}

/// Both give back to one lane, and one of them goes by another from then on.
#[test]
fn lane_push_and_push() {
    explore("lane_push_and_push", INTERRUPTIONS, || {
        let stack = Stack::holding(2);
        let (first, second) = (stack.pop(), stack.pop());
        stack.slots.crowd();
        let other = Arc::clone(&stack);
        let thread = thread::spawn(move || {
            second.map(|second| other.push(second));
            other.pop().map(|any| other.push(any));
        });
        first.map(|first| stack.push(first));
        stack.pop().map(|any| stack.push(any));
        thread.join().unwrap();
        assert_eq!(stack.empty(), 2);
    });
}

/// The stack alone.
struct Stack {
    slots: Slots<u32, Self>,
    held: [AtomicBool; MOST],
}

impl Home for Stack {
    type Connection = u32;

    fn slots(&self) -> &Slots<u32, Self> {
        &self.slots
    }

    fn now(&self) -> Nanos {
        Nanos::ZERO
    }
}

/// One out of the stack.
struct Out(Place, Parked<u32, Stack>);

impl Stack {
    /// As the lock's side fills it again with what it took, and opens it.
    fn refill(&self, taken: Vec<(Place, Parked<u32, Self>)>) {
        for (place, parked) in taken {
            let facts = self.slots.facts(place.index() as usize);
            facts.note(1, facts.known());
            self.slots.fill(place, parked);
        }
        self.slots.open();
    }

    /// What was refused while it was shut goes back, and then both are there.
    fn take_back(&self, refused: Option<Out>) {
        refused.map(|refused| self.push(refused));
        assert_eq!(self.empty(), 2);
    }

    /// Of so many places, all full, the first one on top.
    fn holding(places: usize) -> Arc<Self> {
        let (slots, rights) = Slots::new(places, Reuse::new(Span::from(None), u64::MAX));
        let stack = Arc::new(Self { slots, held: Default::default() });
        for place in rights.into_iter().rev() {
            let (index, known) = (place.index(), Known { uses: 0, ..FRESH });
            stack.slots.facts(index as usize).note(1, known);
            stack.slots.fill(place, Parked { connection: index, home: Arc::clone(&stack) });
        }
        stack.slots.open();
        stack
    }

    fn pop(&self) -> Option<Out> {
        let (place, generation, parked) = Slots::pop(self)?;
        let value = parked.connection;
        assert_eq!((value, generation), (place.index(), 1), "what was put there");
        assert!(!self.held[value as usize].swap(true, Ordering::Relaxed), "two have {value}");
        Some(Out(place, parked))
    }

    /// Gives it back when the stack is shut.
    fn push(&self, out: Out) -> Option<Out> {
        let Out(place, parked) = out;
        let value = parked.connection;
        self.held[value as usize].store(false, Ordering::Relaxed);
        let (place, back) = Slots::push(place, parked).err()?;
        assert_eq!(back.connection, value);
        self.held[value as usize].store(true, Ordering::Relaxed);
        Some(Out(place, back))
    }

    /// Takes everything out, and says how many that were.
    fn empty(&self) -> usize {
        let all: Vec<Out> = std::iter::from_fn(|| self.pop()).collect();
        all.len()
    }
}

const FRESH: Known = Known { fresh_until: Nanos::MAX, since: Nanos::ZERO, uses: 0, ends: Nanos::MAX };
