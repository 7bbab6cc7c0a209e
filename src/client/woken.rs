//! Who is to be woken, and what he is to be given, when the lock has been let go: wakers are the executor's code.

use std::sync::Arc;
use std::task::Waker;

use super::backend::Backend;
use super::inner::{Given, Lent};
use super::seat::{Call, Seat};

/// One who is to be woken when the lock has been let go.
pub(super) enum Called<B: Backend> {
    /// After he has been given this.
    Seated(Arc<Seat<B>>, Given<B>),
    Paused(Waker),
}

/// All who are.
pub(super) struct Woken<B: Backend> {
    called: [Option<Called<B>>; WOKEN_AT_ONCE],
    len: usize,
    /// Whether those who wait for the end of something have to look.
    pub(super) settled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    More,
    Full,
}

impl<B: Backend> Called<B> {
    /// Gives back what was for somebody who has left.
    fn wake(self) -> Option<Lent<B::Connection>> {
        match self {
            Self::Seated(seat, given) => match seat.give(given) {
                Ok(call) => call.wake(),
                Err(given) => return given.ok().map(|granted| granted.lent),
            },
            Self::Paused(waker) => Call::Waker(waker).wake(),
        }
        None
    }
}

impl<B: Backend> Woken<B> {
    pub(super) fn new() -> Self {
        Self { called: [const { None }; WOKEN_AT_ONCE], len: 0, settled: false }
    }

    /// Takes one more, and says whether there is room for another.
    pub(super) fn push(&mut self, called: Called<B>) -> Room {
        self.called[self.len] = Some(called);
        self.len += 1;
        if self.len == WOKEN_AT_ONCE { Room::Full } else { Room::More }
    }

    /// Wakes them all; what was for somebody who has left remains.
    pub(super) fn wake(&mut self) -> impl Iterator<Item = Lent<B::Connection>> {
        let len = std::mem::take(&mut self.len);
        self.called[..len].iter_mut().filter_map(Option::take).filter_map(Called::wake)
    }
}

/// Those who are woken for one visit to the lock; more take another visit, which models see with few who wait.
const WOKEN_AT_ONCE: usize = if cfg!(all(test, loom)) { 1 } else { 4 };
