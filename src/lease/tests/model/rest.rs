//! A story from its first step until nothing is left: what was begun is ended, and then the core is closed.

use super::reference::{Got, State};
use super::world::{Step, World};
use crate::clock::Nanos;
use crate::drain::DrainState;
use crate::lease::{Return, Span};

impl World {
    pub(super) fn run(mut self, steps: &[Step]) {
        for step in steps {
            self.step(*step);
        }
        self.settle();
        if self.model.drain == DrainState::Active {
            self.rest();
            match steps.len() % 2 {
                0 => self.close_all(),
                _ => self.begin_drain(Nanos::MAX),
            }
            self.settle();
        }
        assert_eq!(self.model.drain, DrainState::Drained, "it is over");
        assert!(self.model.resources.is_empty(), "all was closed");
    }

    /// Everybody gives back what he has and all is reported, until nothing happens any more but what is due.
    fn settle(&mut self) {
        for round in 0..2_000 {
            let over = self.model.drain == DrainState::Drained;
            let waits = (0..self.model.keys.len()).any(|key| self.model.waiters(key) > 0);
            if !self.report_all() {
                let errands = self.model.keys.iter().any(|key| key.warming);
                if over || (!waits && !errands && self.model.drain == DrainState::Active) {
                    return;
                }
                let next = self.core.next_deadline();
                assert_ne!(next, Nanos::MAX, "somebody waits for nothing, in round {round}");
                self.model.now = self.model.now.max(next);
                self.tick();
            }
        }
        panic!("it does not come to rest");
    }

    /// Whether there was anything.
    fn report_all(&mut self) -> bool {
        let mut any = false;
        while let Some(at) = self.model.waiters.iter().position(|waiter| waiter.got != Got::Nothing) {
            self.outcome_at(at);
            any = true;
        }
        let pending: Vec<_> =
            self.model.resources.iter().map(|resource| (resource.id, resource.state)).collect();
        for (slot, state) in pending {
            any |= state != State::Idle;
            // What was reported for one may have changed another.
            let now = self.model.resources.iter().find(|resource| resource.id == slot);
            match now.map(|resource| resource.state) {
                Some(State::Connecting | State::Overdue(false)) => self.connected_one(slot, Ok(())),
                Some(State::Validating | State::Overdue(true)) => self.validated_one(slot, Ok(())),
                Some(State::Lent) if !self.is_granted(slot) => self.release_one(slot, Return::Keep),
                Some(State::Closing) => self.closed_one(slot),
                _ => {}
            }
        }
        any
    }

    /// A long time in which nobody wants anything.
    fn rest(&mut self) {
        let timeouts = self.model.keys.iter().map(|key| key.terms.idle_timeout);
        let longest = timeouts.filter(|timeout| *timeout != Span::NEVER).max();
        let Some(longest) = longest else { return self.model.agree_at_rest() };
        let until = (0..4).fold(self.model.now, |then, _| longest.after(then));
        for _ in 0..2_000 {
            if !self.report_all() {
                let next = self.core.next_deadline();
                if next > until {
                    return self.model.agree_at_rest();
                }
                self.model.now = self.model.now.max(next);
                self.tick();
            }
        }
        panic!("it does not come to rest");
    }
}
