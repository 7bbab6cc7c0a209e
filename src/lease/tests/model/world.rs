//! What happens to a core: those who ask, those who carry out what it wants, and the clock. Tells the model first, then
//! the core, then lets the model hear what came of it.

use std::time::Duration;

use super::checks::deadline;
use super::dice::{DICE, terms};
use super::reference::{Got, Key, Model, State, Waiter};
use crate::breaker::{Breaker, Went};
use crate::clock::Nanos;
use crate::drain::DrainState;
use crate::lease::counts::Counts;
use crate::lease::{
    Acquired, Cancelled, Claim, CloseReason, Core, Patience, Refusal, Return, SlotId, Span, Terms, WaiterId,
    Want,
};

/// What happens, to whom, how.
pub(super) type Step = (u8, u8, u8);

pub(super) struct World {
    pub(super) core: Core,
    pub(super) model: Model,
    /// Names of what is gone.
    stale: Vec<SlotId>,
    stale_waiters: Vec<WaiterId>,
}

impl World {
    /// A core by the dice. Zeros mean one key without any limit but a size of one.
    pub(super) fn new(dice: &[u8; DICE]) -> Self {
        let terms: Vec<Terms> = dice[1..].chunks(13).take(1 + usize::from(dice[0] % 3)).map(terms).collect();
        let minimum: u32 = terms.iter().map(|terms| terms.min_size).sum();
        let max_total = (dice[0] >= 3).then_some(minimum + 1 + u32::from(dice[0] / 3 % 4));
        let mut core = Core::new(max_total, 7);
        let keys = terms.into_iter().map(|terms| Key {
            id: core.add_key(terms.clone(), Nanos::ZERO),
            breaker: Breaker::new(terms.breaker, 0),
            counts: Counts::default(),
            failing: None,
            releases: 0,
            warming: false,
            round: terms.health_check_interval != Span::NEVER,
            kept: false,
            tried: false,
            max_before: terms.max_size,
            terms,
        });
        let model = Model {
            now: Nanos::ZERO,
            max_total: max_total.map_or(usize::MAX, |most| most as usize),
            keys: keys.collect(),
            resources: Vec::new(),
            waiters: Vec::new(),
            drain: DrainState::Active,
            drain_deadline: Nanos::MAX,
            calls: 0,
        };
        Self { core, model, stale: Vec::new(), stale_waiters: Vec::new() }
    }

    pub(super) fn step(&mut self, (what, whom, how): Step) {
        let key = usize::from(whom) % self.model.keys.len();
        let after = |unit: u64| self.model.now + Duration::from_nanos(u64::from(how) * unit);
        match what % 64 {
            0..=5 => self.acquire(key, Want::Any, Patience::Endless),
            6..=8 => self.acquire(key, Want::Any, Patience::Until(after(200_000))),
            9 => self.acquire(key, Want::Any, Patience::None),
            10 => self.acquire(key, Want::New, Patience::Until(after(300_000))),
            11 | 12 => self.acquire(key, Want::New, Patience::Endless),
            13 => self.acquire(key, Want::New, Patience::None),
            14..=16 => self.acquire_idle(key),
            17 | 18 => self.acquire_again(whom, how),
            19 | 20 => self.release(whom, Return::Keep),
            21 | 22 => self.hand_on(whom, how),
            23 | 24 => self.release(whom, Return::Discard),
            25 | 26 => self.release_to_idle(whom),
            27 | 28 => self.cancel(whom),
            29..=31 => self.outcome(whom),
            32 => self.give_back_unused(whom),
            33..=38 => self.connected(whom, Ok(())),
            39..=42 => self.connected(whom, Err(())),
            43 | 44 => self.validated(whom, Ok(())),
            45 => self.validated(whom, Err(())),
            46..=49 => self.closed(whom),
            50 => self.resize(key, 1 + u32::from(how % 5)),
            51 => self.warm(key, how),
            52 => self.check(key),
            53 => self.reported(whom, if how % 2 == 0 { Went::Well } else { Went::Ill }),
            54 => self.queued(whom, how),
            55 => self.apart(key, how),
            56..=59 => self.pass(after(100_000)),
            60 => self.pass(after(1_000_000)),
            61 => self.oversleep(after(300_000)),
            62 if how < 40 => self.begin_drain(after(1_000_000)),
            62 if how < 60 => self.close_all(),
            _ => self.stale(whom),
        }
    }

    fn acquire(&mut self, key: usize, want: Want, patience: Patience) {
        let (id, now) = (self.model.keys[key].id, self.model.now);
        self.model.keys[key].tried = patience == Patience::None;
        let answer = self.core.acquire(id, Claim { want, patience }, now);
        self.answered(key, (want, patience, now, false), answer);
    }

    fn acquire_idle(&mut self, key: usize) {
        let slot = self.core.acquire_idle(self.model.keys[key].id, self.model.now);
        match slot {
            Some(slot) => {
                assert_eq!(self.model.waiters(key), 0, "a newcomer passes those who wait");
                self.model.leased_at_once(slot, key, Patience::Endless, false);
            }
            None => {
                let fresh = (0..self.model.resources.len()).filter(|at| {
                    let resource = &self.model.resources[*at];
                    (resource.key, resource.state) == (key, State::Idle)
                });
                let fresh: Vec<bool> = fresh.map(|at| self.model.now < self.model.fresh_until(at)).collect();
                assert!(
                    self.model.waiters(key) > 0 || fresh.contains(&false) || fresh.is_empty(),
                    "one is idle"
                );
            }
        }
        self.listen();
    }

    fn acquire_again(&mut self, whom: u8, how: u8) {
        let Some(broken) = self.pick(whom, |state| state == State::Lent) else { return };
        let (key, now) = (self.key_of(broken), self.model.now);
        let want = if how.is_multiple_of(2) { Want::Any } else { Want::New };
        let patience = match how / 2 % 4 {
            0 => Patience::None,
            1 => Patience::Until(now + Duration::from_nanos(u64::from(how) * 300_000)),
            _ => Patience::Endless,
        };
        let asked = Nanos::new(now.as_nanos().saturating_sub(u64::from(how) * 400_000));
        self.model.doom(broken, CloseReason::Discarded);
        self.model.keys[key].tried = patience == Patience::None;
        let answer = self.core.acquire_again(broken, Claim { want, patience }, asked, now);
        self.answered(key, (want, patience, asked, true), answer);
    }

    fn answered(
        &mut self,
        key: usize,
        (want, patience, asked, first): (Want, Patience, Nanos, bool),
        answer: Result<Acquired, Refusal>,
    ) {
        let now = self.model.now;
        let active = self.model.drain == DrainState::Active;
        match answer {
            Ok(Acquired::Lease(slot)) => {
                assert!(active, "the pool takes nobody");
                assert!(
                    want == Want::Any || self.model.resources[self.model.at(slot)].uses == 0,
                    "a new one"
                );
                self.model.leased_at_once(slot, key, patience, first);
                // Who got it because he stands before all others has been in line.
                let waited = now.as_nanos() - asked.as_nanos();
                self.model.keys[key].counts.waited_ns += waited * u64::from(patience != Patience::None);
            }
            Ok(Acquired::Wait(id)) => {
                assert!(active && patience != Patience::None, "nobody may wait here");
                let most = self.model.keys[key].terms.max_waiters as usize;
                assert!(first || self.model.waiters(key) < most, "too many wait");
                let deadline = deadline(patience);
                let (got, turned_away) = (Got::Nothing, false);
                self.model.enters(Waiter { id, key, want, asked, deadline, got, turned_away }, first);
            }
            Err(Refusal::Exhausted { in_use, max, waiters }) => {
                assert!(active, "it is closed");
                let of = &self.model.keys[key];
                let many = !first && waiters >= of.terms.max_waiters;
                assert!(patience == Patience::None || many, "he could have waited");
                assert_eq!(max, of.terms.max_size);
                assert_eq!(waiters as usize, self.model.waiters(key));
                assert_eq!(in_use as usize, self.model.of(key, State::Lent).count());
                let idle = self.model.of(key, State::Idle).any(|idle| now < idle.ends);
                assert!(many || waiters > 0 || want == Want::New || !idle, "he could have had one");
                self.model.keys[key].counts.refused += 1;
            }
            Err(Refusal::Unavailable { until }) => {
                assert!(active && patience != Patience::None, "only who would wait is told");
                // For the moment in which he was turned away he stood in line.
                let id = self.model.waiters.first().map_or_else(|| self.nobody(), |waiter| waiter.id);
                let (deadline, got, turned_away) = (Nanos::MAX, Got::Nothing, false);
                self.model.enters(Waiter { id, key, want, asked, deadline, got, turned_away }, first);
                self.model.unavailable(key, until);
                let place = if first { 0 } else { self.model.waiters.len() - 1 };
                self.model.waiters.remove(place);
            }
            Err(Refusal::Closed) => {
                assert!(!active, "it is not closed");
                self.model.keys[key].counts.refused += 1;
            }
        }
        self.listen();
    }

    fn release(&mut self, whom: u8, what: Return) {
        let Some(slot) = self.pick(whom, |state| state == State::Lent) else { return };
        self.release_one(slot, what);
    }

    pub(super) fn release_one(&mut self, slot: SlotId, what: Return) {
        match what {
            Return::Keep => self.model.place(slot),
            Return::Discard => self.model.doom(slot, CloseReason::Discarded),
        }
        self.core.release(slot, what, self.model.now).expect("it was lent");
        self.listen();
    }

    fn hand_on(&mut self, whom: u8, how: u8) {
        let Some(slot) = self.pick(whom, |state| state == State::Lent) else { return };
        let (may, must) = (how >= 64, self.model.is_for_the_first(slot));
        match self.core.hand_on(slot, self.model.now, |_| may) {
            Some(waiter) => {
                assert!(may, "he may not have it");
                self.model.place(slot);
                self.model.granted(waiter, slot);
                self.model.waiters.retain(|other| other.id != waiter);
                self.stale_waiters.push(waiter);
            }
            None => assert!(!(may && must), "the first in line can have it"),
        }
        self.listen();
    }

    fn give_back_unused(&mut self, whom: u8) {
        let waited_for = |slot: &SlotId| self.model.resources[self.model.at(*slot)].was_granted;
        let Some(slot) = self.pick(whom, |state| state == State::Lent).filter(waited_for) else { return };
        self.model.place_unused(slot);
        self.core.give_back_unused(slot, self.model.now);
        self.listen();
    }

    fn release_to_idle(&mut self, whom: u8) {
        let Some(slot) = self.pick(whom, |state| state == State::Lent) else { return };
        if self.core.release_to_idle(slot, self.model.now) {
            self.model.place(slot);
            let resource = &self.model.resources[self.model.at(slot)];
            assert!(
                self.model.now < resource.ends && self.model.waiters(resource.key) == 0,
                "it is for others"
            );
            assert!(resource.uses < self.model.keys[resource.key].terms.max_uses, "it is used up");
        }
        self.listen();
    }

    fn cancel(&mut self, whom: u8) {
        let Some(at) = place(whom, self.model.waiters.len()) else { return };
        let waiter = self.model.waiters.remove(at);
        let expected = match waiter.got {
            Got::Nothing => Cancelled::Left,
            Got::Lease(slot) => {
                self.model.place_unused(slot);
                Cancelled::PassedOn(slot)
            }
            Got::Failure(_) => Cancelled::Gone,
        };
        assert_eq!(self.core.cancel(waiter.id, self.model.now), expected);
        self.stale_waiters.push(waiter.id);
        self.listen();
    }

    fn outcome(&mut self, whom: u8) {
        let Some(at) = place(whom, self.model.waiters.len()) else { return };
        self.outcome_at(at);
    }

    pub(super) fn outcome_at(&mut self, at: usize) {
        let Waiter { id, got, .. } = self.model.waiters[at];
        let expected = match got {
            Got::Nothing => None,
            Got::Lease(slot) => Some(Ok(slot)),
            Got::Failure(failure) => Some(Err(failure)),
        };
        assert_eq!(self.core.outcome(id), expected, "{id:?}");
        if expected.is_some() {
            self.model.waiters.remove(at);
            self.stale_waiters.push(id);
        }
        self.listen();
    }

    fn connected(&mut self, whom: u8, result: Result<(), ()>) {
        let connects = |state| matches!(state, State::Connecting | State::Overdue(false));
        let Some(slot) = self.pick(whom, connects) else { return };
        self.connected_one(slot, result);
    }

    pub(super) fn connected_one(&mut self, slot: SlotId, result: Result<(), ()>) {
        let late = self.model.resources[self.model.at(slot)].state == State::Overdue(false);
        match result {
            Ok(()) if late => self.model.doom(slot, CloseReason::Late),
            Ok(()) => self.model.connected(slot),
            Err(()) => {
                if !late {
                    self.model.connect_failed(slot);
                }
                self.model.gone(slot);
                self.stale.push(slot);
            }
        }
        self.core.connected(slot, result, self.model.now).expect("it was being made");
        self.listen();
    }

    fn validated(&mut self, whom: u8, result: Result<(), ()>) {
        let validates = |state| matches!(state, State::Validating | State::Overdue(true));
        let Some(slot) = self.pick(whom, validates) else { return };
        self.validated_one(slot, result);
    }

    pub(super) fn validated_one(&mut self, slot: SlotId, result: Result<(), ()>) {
        let late = self.model.resources[self.model.at(slot)].state == State::Overdue(true);
        match result {
            _ if late => self.model.doom(slot, CloseReason::Late),
            Ok(()) => self.model.place(slot),
            Err(()) => self.model.doom(slot, CloseReason::Invalid),
        }
        self.core.validated(slot, result, self.model.now).expect("it was being validated");
        self.listen();
    }

    fn closed(&mut self, whom: u8) {
        let Some(slot) = self.pick(whom, |state| state == State::Closing) else { return };
        self.closed_one(slot);
    }

    pub(super) fn closed_one(&mut self, slot: SlotId) {
        self.model.gone(slot);
        self.stale.push(slot);
        self.core.closed(slot, self.model.now).expect("it was being closed");
        self.listen();
    }

    fn resize(&mut self, key: usize, max_size: u32) {
        let of = &mut self.model.keys[key];
        (of.terms.max_size, of.kept) = (max_size, false);
        self.core.resize(of.id, max_size, self.model.now);
        self.listen();
        let idle = self.model.of(key, State::Idle).count();
        assert!(self.model.staying(key) <= max_size as usize || idle == 0, "surplus ones are idle");
    }

    fn warm(&mut self, key: usize, how: u8) {
        self.model.keys[key].warming = true;
        let (batch, gap) = (1 + u32::from(how % 3), u64::from(how / 3) * 100_000);
        self.core.warm(self.model.keys[key].id, batch, gap, self.model.now);
        self.listen();
    }

    fn check(&mut self, key: usize) {
        self.model.keys[key].round = true;
        self.core.check(self.model.keys[key].id, self.model.now);
        self.listen();
    }

    fn reported(&mut self, whom: u8, went: Went) {
        let Some(slot) = self.pick(whom, |state| state == State::Lent) else { return };
        let key = self.key_of(slot);
        self.model.keys[key].breaker.reported(went, self.model.now);
        self.core.report(slot, went, self.model.now);
        self.listen();
    }

    fn queued(&mut self, whom: u8, how: u8) {
        let is_work = |state| matches!(state, State::Connecting | State::Validating | State::Closing);
        let Some(slot) = self.pick(whom, is_work) else { return };
        if how < 128 {
            self.model.queued(slot);
            self.core.queued(slot);
        } else {
            self.model.begun(slot);
            self.core.begun(slot, self.model.now);
        }
        self.listen();
    }

    /// Somebody lends and takes back what is idle, and the core learns of it afterwards.
    fn apart(&mut self, key: usize, how: u8) {
        let mut given = Vec::new();
        let most = 1 + u32::from(how % 3);
        self.core.give_away(self.model.keys[key].id, most, u32::MAX, |slot, known| given.push((slot, known)));
        let now = self.model.now;
        let (validate_after, max_uses) =
            (self.model.keys[key].terms.validate_after, self.model.keys[key].terms.max_uses);
        let mut returned = Vec::new();
        for (place, (slot, mut known)) in given.into_iter().enumerate() {
            let fate = how >> (2 + 2 * (place % 3)) & 3;
            if fate < 2 || now >= known.fresh_until {
                self.core.get_back(slot.index() as u32, known);
                continue;
            }
            (known.uses, known.since) = (known.uses + 1, now);
            self.model.lend(slot);
            if fate == 2 && known.uses < max_uses {
                known.fresh_until = validate_after.after(now).min(known.ends);
                returned.push((slot, known));
            } else {
                self.core.catch_up(slot.index() as u32, known);
            }
        }
        for (slot, known) in returned {
            self.core.get_back(slot.index() as u32, known);
            self.model.place(slot);
        }
        self.listen();
    }

    /// Time passes, and what is due is done when it is.
    fn pass(&mut self, until: Nanos) {
        for _ in 0..10_000 {
            let next = self.core.next_deadline();
            if next > until {
                self.model.now = until;
                return;
            }
            self.model.now = self.model.now.max(next);
            self.tick();
        }
        panic!("the clock stands still");
    }

    /// Time passes, and only then what was due is done.
    fn oversleep(&mut self, until: Nanos) {
        self.model.now = until;
        self.tick();
    }

    pub(super) fn tick(&mut self) {
        self.core.tick(self.model.now);
        for key in &mut self.model.keys {
            let max = self.core.gauges(key.id).expect("it is there").max;
            if let Some(adaptive) = &key.terms.adaptive {
                key.kept &= max == key.terms.max_size;
                assert!(
                    max == key.terms.max_size || (1..=adaptive.ceiling).contains(&max),
                    "{max} at the most"
                );
                key.terms.max_size = max;
            }
        }
        self.hear();
        // It comes last: what else is due in the same tick is done as in a drain that goes on.
        if self.model.now >= self.model.drain_deadline {
            (self.model.drain, self.model.drain_deadline) = (DrainState::Forcing, Nanos::MAX);
        }
        self.listen();
        self.model.agree_after_tick(&self.core);
    }

    pub(super) fn begin_drain(&mut self, until: Nanos) {
        if self.model.drain == DrainState::Active {
            (self.model.drain, self.model.drain_deadline) = (DrainState::Draining, until);
        }
        if self.model.drain == DrainState::Draining {
            self.model.drain_deadline = until;
        }
        self.core.begin_drain(until, self.model.now);
        self.listen();
    }

    pub(super) fn close_all(&mut self) {
        if self.model.drain != DrainState::Drained {
            (self.model.drain, self.model.drain_deadline) = (DrainState::Forcing, Nanos::MAX);
        }
        self.core.close_all(self.model.now);
        self.listen();
    }

    /// What is said about those who are gone changes nothing.
    fn stale(&mut self, whom: u8) {
        let now = self.model.now;
        if let Some(at) = place(whom, self.stale.len()) {
            let slot = self.stale[at];
            assert!(self.core.connected(slot, Ok(()), now).is_err() && self.core.closed(slot, now).is_err());
            assert!(self.core.validated(slot, Err(()), now).is_err() && self.core.phase(slot).is_none());
            assert!(self.core.release(slot, Return::Keep, now).is_err());
            let claim = Claim { want: Want::Any, patience: Patience::Endless };
            assert_eq!(self.core.acquire_again(slot, claim, now, now), Err(Refusal::Closed));
        }
        if let Some(at) = place(whom, self.stale_waiters.len()) {
            assert_eq!(self.core.cancel(self.stale_waiters[at], now), Cancelled::Gone);
            assert!(matches!(self.core.outcome(self.stale_waiters[at]), Some(Err(_))), "it is over");
        }
        self.listen();
    }

    pub(super) fn is_granted(&self, slot: SlotId) -> bool {
        self.model.waiters.iter().any(|waiter| waiter.got == Got::Lease(slot))
    }

    /// The model hears all that the core wants, and both must agree.
    fn listen(&mut self) {
        self.hear();
        self.model.end_call();
        self.model.agree(&self.core);
    }

    fn hear(&mut self) {
        while let Some(command) = self.core.next_command() {
            self.model.hear(command, &self.core);
        }
    }

    /// One that is in such a state and not granted to somebody who has not looked yet.
    fn pick(&self, whom: u8, which: impl Fn(State) -> bool) -> Option<SlotId> {
        let resources = self.model.resources.iter();
        let fits = resources.filter(|resource| which(resource.state) && !self.is_granted(resource.id));
        let fits: Vec<SlotId> = fits.map(|resource| resource.id).collect();
        place(whom, fits.len()).map(|at| fits[at])
    }

    fn key_of(&self, slot: SlotId) -> usize {
        self.model.resources[self.model.at(slot)].key
    }

    /// The name of somebody who is not there.
    fn nobody(&self) -> WaiterId {
        WaiterId { index: u32::MAX, generation: 0 }
    }
}

fn place(whom: u8, of: usize) -> Option<usize> {
    (of > 0).then(|| usize::from(whom) % of)
}
