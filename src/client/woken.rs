//! Who is to be woken, and what he is to be given, when the lock has been let go: wakers are the executor's code.

use std::sync::Arc;

use super::backend::Backend;
use super::inner::{Given, Lent};
use super::seat::{Call, Seat};

/// One who is to be woken when the lock has been let go.
pub(super) enum Called<B: Backend> {
    /// After he has been given this.
    Seated(Arc<Seat<B>>, Given<B>),
    Call(Call),
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

    /// Gives all of them what is for them, before any is woken: a waker may take its time. What was for somebody who has
    /// left goes to `unused`.
    pub(super) fn give(&mut self, mut unused: impl FnMut(Lent<B::Connection>)) {
        for called in &mut self.called[..self.len] {
            *called = match called.take() {
                Some(Called::Seated(seat, given)) => match seat.give(given) {
                    Ok(call) => Some(Called::Call(call)),
                    Err(given) => {
                        given.ok().into_iter().for_each(|granted| unused(granted.lent));
                        None
                    }
                },
                other => other,
            };
        }
    }

    /// Wakes them all, threads first.
    pub(super) fn wake(mut self) {
        let called = &mut self.called[..self.len];
        for is_first in [true, false] {
            let turn = |called: &mut Option<Called<B>>| {
                called.take_if(|called| matches!(called, Called::Call(Call::Thread(_))) == is_first)
            };
            called.iter_mut().filter_map(turn).for_each(|called| match called {
                Called::Call(call) => call.wake(),
                Called::Seated(..) => unreachable!("he was given it"),
            });
        }
    }
}

/// Those who are woken for one visit to the lock; more take another visit, which models see with few who wait.
const WOKEN_AT_ONCE: usize = if cfg!(all(test, loom)) { 1 } else { 4 };
