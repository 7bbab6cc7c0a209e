//! What must be true between two calls, of a core and of the model that believes to know it.

use super::reference::{Got, Model, Resource, State};
use super::whole;
use crate::breaker::Ask;
use crate::clock::Nanos;
use crate::drain::DrainState;
use crate::lease::counts::Counts;
use crate::lease::{Core, Patience, Span, Want};

impl Model {
    pub(super) fn agree(&mut self, core: &Core) {
        self.calls += 1;
        if self.calls.is_multiple_of(16) {
            core.assert_invariants(self.now);
        } else {
            core.assert_rules(self.now);
        }
        assert!(!core.has_commands(), "all was heard");
        assert_eq!(core.drain_state(), self.drain);
        for key in 0..self.keys.len() {
            self.agree_on_numbers(core, key);
            self.nobody_waits_for_nothing(core, key);
            self.minimum_is_kept(core, key);
        }
        let next = core.next_deadline();
        for waiter in self.waiters.iter().filter(|waiter| waiter.got == Got::Nothing) {
            assert!(next <= whole(waiter.deadline), "{:?} is not looked after", waiter.id);
        }
        for resource in &self.resources {
            if self.is_timed(resource) {
                let due = self.keys[resource.key].terms.connect_timeout.after(resource.begun);
                assert!(next <= whole(due), "{:?} may take for ever", resource.id);
            }
        }
        assert!(next <= self.drain_deadline, "the drain may take for ever");
    }

    fn agree_on_numbers(&self, core: &Core, key: usize) {
        let of = &self.keys[key];
        let gauges = core.gauges(of.id).expect("it is there");
        let count = |state| self.of(key, state).count() as u32;
        let late = count(State::Overdue(false)) + count(State::Overdue(true));
        let states = [gauges.idle, gauges.active, gauges.connecting, gauges.validating, gauges.closing];
        let believed =
            [State::Idle, State::Lent, State::Connecting, State::Validating, State::Closing].map(count);
        assert_eq!(states, [believed[0], believed[1], believed[2], believed[3], believed[4] + late]);
        assert_eq!((gauges.total, gauges.waiters), (self.live(key) as u32, self.waiters(key) as u32));
        let counts = &core.key(of.id).expect("it is there").counts;
        assert_eq!(row(counts), row(&of.counts), "counters of {key}");
        assert_eq!(of.counts.acquisitions - of.releases, u64::from(gauges.active), "lent and not given back");
        assert_eq!(of.counts.created - of.counts.destroyed, u64::from(gauges.total), "made and not closed");
        assert_eq!(core.breaker(of.id, self.now), Some(of.breaker.state(self.now)), "breaker of {key}");
        assert_eq!(core.failing_since(of.id), of.failing, "since when connects fail");
        for resource in &self.resources {
            assert_eq!(core.uses(resource.id), Some(resource.uses), "leases of {:?}", resource.id);
        }
    }

    /// For everybody who waits something is on its way, or it is known when it will be, or there is no room.
    fn nobody_waits_for_nothing(&self, core: &Core, key: usize) {
        let terms = &self.keys[key].terms;
        let count = |state| self.of(key, state).count();
        let takes_any = self.waiting(key).any(|waiter| waiter.want == Want::Any);
        let idle = (0..self.resources.len()).filter(|at| self.resources[*at].key == key);
        let idle = idle.filter(|at| self.resources[*at].state == State::Idle);
        let mut fresh = idle.filter(|at| self.now < self.fresh_until(*at));
        assert!(!takes_any || fresh.next().is_none(), "he could have it");
        let new = self.wanting_new(key);
        let validating = count(State::Validating);
        let counted_on =
            if self.keys[key].round { validating } else { validating.min(self.waiters(key) - new) };
        let lacks =
            self.waiters(key) > count(State::Connecting) + counted_on || new > count(State::Connecting);
        if !lacks || self.drain == DrainState::Forcing {
            return;
        }
        let closing = |key: usize| self.live(key) - self.staying(key);
        let full = self.resources.len() >= self.max_total;
        if full || self.live(key) >= terms.max_size as usize {
            let elsewhere = (0..self.keys.len()).map(closing).sum::<usize>();
            // They come one by one, and each time it is looked again.
            let coming = if self.live(key) < terms.max_size as usize { elsewhere } else { closing(key) };
            let makes_room = new <= count(State::Connecting) || coming > 0;
            assert!(
                makes_room || count(State::Idle) == 0 || self.rests(core, key),
                "a used one is in the way"
            );
        }
        if self.live(key) >= terms.max_size as usize {
            return;
        }
        if full {
            let spare = self.has_spare_elsewhere(key);
            let coming = self.resources.iter().any(Resource::is_room);
            assert!(!spare || coming || self.rests(core, key), "another key has one to spare");
            return;
        }
        assert!(self.rests(core, key), "nothing is on its way under {key}");
    }

    /// Whether the breaker keeps a key from connecting, and the core knows until when.
    fn rests(&self, core: &Core, key: usize) -> bool {
        match self.keys[key].breaker.ask(self.now) {
            // It may have become so just now, by the clock or because a lease went well: the core looks again when it said.
            Ask::Go => core.keys[key].times.connect <= self.now + self.keys[key].terms.breaker.max_delay,
            Ask::NotBefore(then) => core.next_deadline() <= whole(then),
            Ask::Probing => self.of(key, State::Connecting).count() > 0,
            Ask::Open(_) => false,
        }
    }

    fn minimum_is_kept(&mut self, core: &Core, key: usize) {
        let staying = self.staying(key);
        let (live, full) = (self.live(key), self.resources.len() >= self.max_total);
        let of = &mut self.keys[key];
        of.kept |= staying >= of.terms.min_size as usize;
        let short = of.kept && staying < of.terms.min_size as usize && self.drain == DrainState::Active;
        if short && staying == live && live < of.terms.max_size as usize && !full {
            // It was told to wait, and what has worked since makes this no shorter.
            let told = self.now + of.terms.breaker.max_delay;
            let until = match of.breaker.ask(self.now) {
                Ask::Go | Ask::NotBefore(_) => told,
                Ask::Open(then) => told.max(then),
                Ask::Probing => Nanos::MAX,
            };
            assert!(core.keys[key].times.connect <= until, "the minimum of {key} is not kept");
        }
    }

    /// What is due has been done.
    pub(super) fn agree_after_tick(&mut self, core: &Core) {
        let now = self.now;
        assert!(core.next_deadline() > now, "{now:?}: something is still due");
        for at in 0..self.resources.len() {
            let resource = &self.resources[at];
            if self.is_timed(resource) {
                let due = self.keys[resource.key].terms.connect_timeout.after(resource.begun);
                assert!(now < whole(due), "{:?} is late and nobody says so", resource.id);
            }
            assert!(!self.outlives(at), "{:?} outlives its lifetime", self.resources[at].id);
        }
        for waiter in self.waiters.iter().filter(|waiter| waiter.got == Got::Nothing) {
            assert!(now < whole(waiter.deadline), "{:?} waits for too long", waiter.id);
        }
    }

    /// Whether something is told when it has taken too long. A close that has not begun takes no time of anybody's.
    fn is_timed(&self, resource: &Resource) -> bool {
        match resource.state {
            State::Connecting | State::Validating => true,
            State::Closing => !resource.queued && !resource.hangs,
            _ => false,
        }
    }

    /// Nothing has happened for long.
    pub(super) fn agree_at_rest(&self) {
        for (index, key) in self.keys.iter().enumerate() {
            let (staying, idle) = (self.staying(index), self.of(index, State::Idle).count());
            assert_eq!((self.waiters(index), idle), (0, self.live(index)), "under {index}");
            let surplus = staying > key.terms.min_size as usize && idle > key.terms.min_idle as usize;
            assert!(!surplus || key.terms.idle_timeout == Span::NEVER, "{index} keeps more than its minimum");
            assert!(!key.warming, "nobody was told that {index} is warm");
            let checks = key.terms.health_check_interval == Span::NEVER;
            assert!(!(key.round && checks), "nobody was told that {index} is checked");
        }
    }
}

/// How long somebody waits at the most.
pub(super) fn deadline(patience: Patience) -> Nanos {
    match patience {
        Patience::Until(deadline) => deadline,
        Patience::None | Patience::Endless => Nanos::MAX,
    }
}

fn row(counts: &Counts) -> [u64; 7] {
    let Counts { acquisitions, misses, created, destroyed, timeouts, refused, waited_ns } = *counts;
    [acquisitions, misses, created, destroyed, timeouts, refused, waited_ns]
}
