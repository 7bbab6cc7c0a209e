//! What must be true of a core, believed from its commands alone: everything in vectors, everything found by looking at
//! all of it. Decides nothing; it panics when the core has done what it must not.

use crate::breaker::{Ask, Attempt, Breaker};
use crate::clock::Nanos;
use crate::drain::DrainState;
use crate::lease::counts::Counts;
use crate::lease::line::Standing;
use crate::lease::{
    CloseReason, Command, Core, Failure, KeyId, Patience, SlotId, Span, Terms, WaiterId, Want,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Idle,
    Lent,
    Validating,
    /// Of connects (`false`) and validations (`true`) that are late.
    Overdue(bool),
    /// It is to be closed for this reason before the call is over.
    Doomed(CloseReason),
    Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoomFor {
    Nobody,
    /// Only for one under its own key, which is at its limit.
    OwnKey,
    /// Whichever key needs it most.
    Any,
    /// One of these: nothing that can be seen tells which.
    AnyOrOwnKey,
}

#[derive(Debug)]
pub(super) struct Resource {
    pub(super) id: SlotId,
    pub(super) key: usize,
    pub(super) state: State,
    /// Since when it is in its state; validations do not interrupt idleness.
    pub(super) since: Nanos,
    pub(super) begun: Nanos,
    pub(super) checked: Nanos,
    /// What `since` was before its present lease.
    since_before: Nanos,
    /// Who has it had to wait for it.
    pub(super) was_granted: bool,
    pub(super) ends: Nanos,
    pub(super) uses: u64,
    pub(super) attempt: Option<Attempt>,
    pub(super) queued: bool,
    /// Its present lease was told as too long.
    told: bool,
    /// It came free in this call.
    just: bool,
    /// For whom its close makes room.
    room: RoomFor,
    /// Its close was told to take too long.
    pub(super) hangs: bool,
    /// When it was first seen idle after the end of its lifetime.
    expired: Option<Nanos>,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) id: WaiterId,
    pub(super) key: usize,
    pub(super) want: Want,
    pub(super) asked: Nanos,
    pub(super) deadline: Nanos,
    pub(super) got: Got,
    /// In this call, by an open breaker.
    pub(super) turned_away: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Nothing,
    Lease(SlotId),
    Failure(Failure),
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) id: KeyId,
    pub(super) terms: Terms,
    /// What `max_size` was when the call began, which may have changed it.
    pub(super) max_before: u32,
    pub(super) breaker: Breaker,
    pub(super) counts: Counts,
    pub(super) failing: Option<Nanos>,
    pub(super) releases: u64,
    pub(super) warming: bool,
    pub(super) round: bool,
    /// It had its minimum once, so it keeps it.
    pub(super) kept: bool,
    /// Somebody who would not wait asked in this call.
    pub(super) tried: bool,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) now: Nanos,
    pub(super) max_total: usize,
    pub(super) keys: Vec<Key>,
    pub(super) resources: Vec<Resource>,
    /// In the order in which they are to be served.
    pub(super) waiters: Vec<Waiter>,
    pub(super) drain: DrainState,
    pub(super) drain_deadline: Nanos,
    /// How many calls there were.
    pub(super) calls: usize,
}

impl Resource {
    /// Whether its place may be for whichever key needs it most.
    pub(super) fn is_room(&self) -> bool {
        self.state == State::Closing && matches!(self.room, RoomFor::Any | RoomFor::AnyOrOwnKey)
    }
}

impl Model {
    /// Somebody was told to wait.
    pub(super) fn enters(&mut self, waiter: Waiter, first: bool) {
        self.waiters.insert(if first { 0 } else { self.waiters.len() }, waiter);
    }

    /// Somebody who asked just now was given an idle one at once.
    pub(super) fn leased_at_once(&mut self, slot: SlotId, key: usize, patience: Patience, first: bool) {
        let (now, at) = (self.now, self.at(slot));
        let resource = &self.resources[at];
        assert_eq!((resource.state, resource.key), (State::Idle, key), "{slot:?} can be lent");
        assert!(now < resource.ends && resource.uses < self.keys[key].terms.max_uses, "it is not over");
        // One that was idle for longer may have been validated later than one that must be validated again.
        let lendable = |at: &usize| match patience {
            Patience::None => now < self.resources[*at].ends,
            Patience::Until(_) | Patience::Endless => now < self.fresh_until(*at),
        };
        let idle = (0..self.resources.len()).filter(|at| {
            let other = &self.resources[*at];
            (other.key, other.state) == (key, State::Idle)
        });
        let newest = idle.filter(lendable).map(|at| self.resources[at].since).max();
        assert_eq!(Some(resource.since), newest, "the newest that can be lent is lent");
        assert!(patience == Patience::None || now < self.fresh_until(at), "it must be validated first");
        let overtaken = self.waiting(key).any(|other| other.want == Want::Any);
        assert!(first || !overtaken, "a newcomer passes those who wait");
        self.lend(slot);
    }

    pub(super) fn lend(&mut self, slot: SlotId) {
        let (now, at) = (self.now, self.at(slot));
        let resource = &mut self.resources[at];
        assert_eq!(resource.state, State::Idle, "only idle ones are lent");
        (resource.state, resource.told, resource.was_granted) = (State::Lent, false, false);
        resource.since_before = std::mem::replace(&mut resource.since, now);
        resource.uses += 1;
        let counts = &mut self.keys[resource.key].counts;
        counts.acquisitions += 1;
        counts.misses += u64::from(resource.uses == 1);
    }

    /// A resource came free and works.
    pub(super) fn place(&mut self, slot: SlotId) {
        let (now, at) = (self.now, self.at(slot));
        let resource = &mut self.resources[at];
        if resource.state != State::Validating {
            resource.since = now;
        }
        self.keys[resource.key].releases += u64::from(resource.state == State::Lent);
        (resource.state, resource.checked, resource.just, resource.expired) = (State::Idle, now, true, None);
    }

    /// A resource came back that was granted and that nobody used: nothing was learnt of it.
    pub(super) fn place_unused(&mut self, slot: SlotId) {
        let at = self.at(slot);
        let Resource { checked, since_before, .. } = self.resources[at];
        self.place(slot);
        (self.resources[at].checked, self.resources[at].since) = (checked, since_before);
    }

    /// Whether nothing keeps a lent resource, if it comes back now, from whoever waits first under its key.
    pub(super) fn is_for_the_first(&self, slot: SlotId) -> bool {
        let resource = &self.resources[self.at(slot)];
        let (key, terms) = (resource.key, &self.keys[resource.key].terms);
        let is_fit = self.now < resource.ends && resource.uses < terms.max_uses;
        let is_theirs = self.waiters(key) > 0 && self.waiting(key).all(|waiter| waiter.want == Want::Any);
        let is_calm = self.max_total == usize::MAX && self.drain == DrainState::Active;
        is_fit && is_theirs && is_calm && self.staying(key) <= terms.max_size as usize
    }

    pub(super) fn doom(&mut self, slot: SlotId, reason: CloseReason) {
        let at = self.at(slot);
        let resource = &mut self.resources[at];
        self.keys[resource.key].releases += u64::from(resource.state == State::Lent);
        resource.state = State::Doomed(reason);
    }

    /// What is to be done with it waits for somebody who does it.
    pub(super) fn queued(&mut self, slot: SlotId) {
        let at = self.at(slot);
        self.resources[at].queued = true;
    }

    /// Somebody does it now, and a close has its time from here on.
    pub(super) fn begun(&mut self, slot: SlotId) {
        let at = self.at(slot);
        let resource = &mut self.resources[at];
        resource.queued = false;
        if resource.state == State::Closing {
            resource.begun = self.now;
        }
    }

    /// A connect has worked.
    pub(super) fn connected(&mut self, slot: SlotId) {
        let at = self.at(slot);
        let resource = &mut self.resources[at];
        let key = &mut self.keys[resource.key];
        key.breaker.succeeded(resource.attempt.take().expect("its connect has begun"));
        key.failing = None;
        resource.ends = key.terms.max_lifetime.after(self.now);
        self.place(slot);
    }

    /// A connect has not worked, or was too late.
    pub(super) fn connect_failed(&mut self, slot: SlotId) {
        let at = self.at(slot);
        let resource = &mut self.resources[at];
        let key = &mut self.keys[resource.key];
        let attempt = resource.attempt.take().expect("its connect has begun");
        if resource.queued {
            return key.breaker.abandoned(attempt);
        }
        key.breaker.failed(attempt, self.now);
        key.failing.get_or_insert(self.now);
    }

    pub(super) fn gone(&mut self, slot: SlotId) {
        let at = self.at(slot);
        let resource = self.resources.swap_remove(at);
        self.keys[resource.key].counts.destroyed += 1;
    }

    /// What the core wants done.
    pub(super) fn hear(&mut self, command: Command, core: &Core) {
        match command {
            Command::Connect(slot) => self.connect_begins(slot, core.slots[slot.index() as u32].key as usize),
            Command::Validate(slot) => {
                let (now, at) = (self.now, self.at(slot));
                let resource = &mut self.resources[at];
                assert_eq!(resource.state, State::Idle, "only idle ones are validated");
                (resource.state, resource.begun, resource.queued) = (State::Validating, now, false);
                let (key, since) = (resource.key, resource.since);
                let fresh = now < self.fresh_until(at);
                assert!(
                    !fresh || self.keys[key].round,
                    "{slot:?} need not be validated, idle since {since:?}"
                );
                if self.keys[key].round {
                    let validating = self.of(key, State::Validating).count();
                    assert!(validating <= 4 + self.waiters(key), "at most four of a round at a time");
                } else {
                    let validating = self.of(key, State::Validating).count();
                    assert!(validating <= self.waiters(key), "nobody waits for {slot:?}");
                    let mut idle = (0..self.resources.len()).filter(|at| {
                        let other = &self.resources[*at];
                        (other.key, other.state) == (key, State::Idle)
                    });
                    let fresh = idle.find(|at| now < self.fresh_until(*at));
                    assert_eq!(fresh, None, "whoever waits can have that at once");
                }
            }
            Command::Close(slot, reason) => self.close_begins(slot, reason),
            Command::Grant(waiter, slot) => self.granted(waiter, slot),
            Command::Fail(waiter) => self.failed(waiter, core),
            Command::Late(slot) => {
                let at = self.at(slot);
                let resource = &self.resources[at];
                let (state, key) = (resource.state, resource.key);
                let due = self.keys[key].terms.connect_timeout.after(resource.begun);
                assert!(self.now >= due, "{slot:?} is late only after its time");
                if state == State::Closing {
                    let told = std::mem::replace(&mut self.resources[at].hangs, true);
                    assert!(!told && !self.resources[at].queued, "it is told once, of one that has begun");
                    return;
                }
                match state {
                    State::Connecting => self.connect_failed(slot),
                    State::Validating => {}
                    other => panic!("{slot:?} is late while {other:?}"),
                }
                self.resources[at].state = State::Overdue(state == State::Validating);
            }
            Command::Overdue(slot) => {
                let at = self.at(slot);
                let resource = &mut self.resources[at];
                assert_eq!((resource.state, resource.told), (State::Lent, false), "told once for each lease");
                let due = self.keys[resource.key].terms.leak_threshold.after(resource.since);
                assert!(self.now >= due, "{slot:?} is not held for too long");
                resource.told = true;
            }
            Command::Warmed(id, _) => {
                let key = &mut self.keys[id.index()];
                assert!(std::mem::take(&mut key.warming), "nobody warms");
            }
            Command::Checked(id, _) => {
                let key = &mut self.keys[id.index()];
                let by_itself = key.terms.health_check_interval != Span::NEVER;
                assert!(std::mem::replace(&mut key.round, by_itself), "nobody checks");
            }
            Command::Drained => {
                assert!(!matches!(self.drain, DrainState::Active | DrainState::Drained), "told once");
                assert!(self.resources.is_empty(), "something is left");
                let waits = self.waiters.iter().any(|waiter| waiter.got == Got::Nothing);
                assert!(!waits, "somebody waits");
                (self.drain, self.drain_deadline) = (DrainState::Drained, Nanos::MAX);
            }
        }
    }

    fn connect_begins(&mut self, id: SlotId, key: usize) {
        let now = self.now;
        let (connecting, waiters) = (self.of(key, State::Connecting).count(), self.waiters(key));
        let of = &self.keys[key];
        assert!(self.live(key) < of.terms.max_size.max(of.max_before) as usize, "more than max_size");
        assert!(self.resources.len() < self.max_total, "more than max_total");
        assert!(matches!(self.drain, DrainState::Active | DrainState::Draining), "the pool is closed");
        let spare = self.of(key, State::Idle).count()
            + self.of(key, State::Validating).count()
            + connecting.saturating_sub(waiters);
        let terms = &self.keys[key].terms;
        let kept = self.staying(key) < terms.min_size as usize || spare < terms.min_idle as usize;
        let replaced = self.of(key, State::Idle).any(|idle| now >= idle.ends);
        let ahead = kept || replaced || (self.keys[key].tried && connecting == 0);
        let waited_for = waiters > connecting || self.wanting_new(key) > connecting;
        assert!(waited_for || (ahead && self.drain == DrainState::Active), "nobody needs {id:?}");
        let key_of = &mut self.keys[key];
        assert_eq!(key_of.breaker.ask(now), Ask::Go, "the breaker does not let {id:?}");
        key_of.counts.created += 1;
        let attempt = Some(key_of.breaker.begin(now));
        self.resources.push(Resource {
            id,
            key,
            state: State::Connecting,
            since: now,
            begun: now,
            checked: now,
            since_before: now,
            was_granted: false,
            ends: Nanos::MAX,
            uses: 0,
            attempt,
            queued: false,
            told: false,
            just: false,
            room: RoomFor::Nobody,
            hangs: false,
            expired: None,
        });
    }

    fn close_begins(&mut self, slot: SlotId, reason: CloseReason) {
        let (now, at) = (self.now, self.at(slot));
        let resource = &self.resources[at];
        let key = resource.key;
        let terms = &self.keys[key].terms;
        let staying = self.staying(key);
        let (is_in_the_way, [max, max_before]) = (self.is_in_the_way(key), self.max(key));
        let room = match reason {
            CloseReason::Room if !is_in_the_way => RoomFor::Any,
            CloseReason::Room if resource.just || max != max_before => RoomFor::AnyOrOwnKey,
            CloseReason::Room => RoomFor::OwnKey,
            _ => RoomFor::Nobody,
        };
        if resource.state != State::Doomed(reason) {
            assert_eq!(resource.state, State::Idle, "{slot:?} is closed for {reason:?}");
            let may = match reason {
                CloseReason::Idle => {
                    let idle = self.of(key, State::Idle).count();
                    now >= terms.idle_timeout.after(resource.since)
                        && staying > terms.min_size as usize
                        && idle > terms.min_idle as usize
                }
                CloseReason::Lifetime => now >= resource.ends,
                CloseReason::Uses => resource.uses >= terms.max_uses,
                CloseReason::Surplus => staying > terms.max_size.min(self.keys[key].max_before) as usize,
                CloseReason::Closing => self.drain != DrainState::Active,
                CloseReason::Room => self.may_make_room(key, at),
                CloseReason::Discarded | CloseReason::Invalid | CloseReason::Late => false,
            };
            assert!(may, "{slot:?} is closed for {reason:?}");
        }
        let resource = &mut self.resources[at];
        (resource.state, resource.since, resource.begun) = (State::Closing, now, now);
        (resource.queued, resource.hangs) = (false, false);
        resource.room = room;
    }

    /// Whether the place of an idle one can be needed: for a new one under its own key, or under another key.
    fn may_make_room(&self, key: usize, at: usize) -> bool {
        if self.is_in_the_way(key) {
            // What comes free under other keys does not help, whether somebody still needs it or not.
            return true;
        }
        let connecting = |key| self.of(key, State::Connecting).count();
        let (max, staying) = (|key| self.max(key), self.staying(key));
        let wishes = |key| {
            let most = max(key).into_iter().fold(0, u32::max) as usize;
            let missing = self.waiters(key).saturating_sub(connecting(key));
            missing.min(most.saturating_sub(self.staying(key)))
        };
        let coming = self.resources.iter().filter(|resource| resource.room == RoomFor::Any).count();
        assert!(coming < (0..self.keys.len()).map(wishes).sum(), "one place for each who can use one");
        let full = self.resources.len() >= self.max_total;
        let own = self.wanting_new(key) > 0 && full;
        let other = (0..self.keys.len()).any(|other| {
            let waits = other != key && self.waiters(other) > connecting(other);
            waits && full && self.live(other) < self.keys[other].terms.max_size as usize
        });
        let spare = staying > self.keys[key].terms.min_size as usize;
        own || (other && (spare || (self.resources[at].just && self.waiters(key) > 0)))
    }

    /// Whether somebody wants a new one under a key that is at its limit, with a used one to close for him.
    fn is_in_the_way(&self, key: usize) -> bool {
        let (live, staying) = (self.live(key), self.staying(key));
        let at_its_limit = self.max(key).iter().any(|max| live >= *max as usize);
        at_its_limit && self.wanting_new(key) > self.of(key, State::Connecting).count() + live - staying
    }

    /// Limits that follow the load may have moved before or after this.
    fn max(&self, key: usize) -> [u32; 2] {
        [self.keys[key].terms.max_size, self.keys[key].max_before]
    }

    pub(super) fn granted(&mut self, id: WaiterId, slot: SlotId) {
        let (now, at) = (self.now, self.at(slot));
        let resource = &self.resources[at];
        let (key, unused) = (resource.key, resource.uses == 0 && resource.just);
        assert!(now < resource.ends && resource.uses < self.keys[key].terms.max_uses, "{slot:?} is over");
        let known = resource.just && resource.checked == now;
        assert!(known || now < self.fresh_until(at), "{slot:?} was not validated");
        let first = self.waiting(key).find(|waiter| unused || waiter.want == Want::Any);
        assert_eq!(first.map(|waiter| waiter.id), Some(id), "{slot:?} is for the first whom it suits");
        self.lend(slot);
        self.resources[at].was_granted = true;
        let waiter = self.waiters.iter_mut().find(|waiter| waiter.id == id).expect("he waits");
        waiter.got = Got::Lease(slot);
        self.keys[key].counts.waited_ns += now.as_nanos().saturating_sub(waiter.asked.as_nanos());
    }

    fn failed(&mut self, id: WaiterId, core: &Core) {
        let Some(Standing::Failed(failure)) = core.waiters.find(id).map(|waiter| waiter.standing) else {
            panic!("{id:?} was told to have failed and has not")
        };
        let at = self.waiters.iter().position(|waiter| waiter.id == id).expect("he was there");
        let Waiter { key, deadline, asked, got, .. } = self.waiters[at];
        assert_eq!(got, Got::Nothing, "{id:?} has one outcome");
        match failure {
            Failure::Timeout { waited_ns } | Failure::Connect { waited_ns } => {
                assert!(self.now >= deadline, "{id:?} fails before his time");
                assert_eq!(waited_ns, self.now.as_nanos() - asked.as_nanos());
                // A limit that follows the load moves only afterwards.
                let room = self.staying(key) < self.keys[key].max_before as usize;
                let staying: usize = (0..self.keys.len()).map(|key| self.staying(key)).sum();
                let places = staying < self.max_total || self.has_spare_elsewhere(key);
                let connects_failed = room && places && self.keys[key].failing.is_some();
                assert_eq!(
                    matches!(failure, Failure::Connect { .. }),
                    connects_failed,
                    "why {id:?} timed out"
                );
                let counts = &mut self.keys[key].counts;
                counts.timeouts += u64::from(!connects_failed);
                counts.refused += u64::from(connects_failed);
            }
            Failure::Unavailable { until } => self.unavailable(key, until),
            Failure::Closed => {
                if self.now >= self.drain_deadline {
                    self.drain = DrainState::Forcing;
                }
                assert!(matches!(self.drain, DrainState::Forcing | DrainState::Drained), "it is not closed");
                let first = self.waiting(key).next().map(|waiter| waiter.id);
                assert_eq!(first, Some(id), "in the order in which they came");
                self.keys[key].counts.refused += 1;
            }
        }
        let waiter = &mut self.waiters[at];
        (waiter.got, waiter.turned_away) =
            (Got::Failure(failure), matches!(failure, Failure::Unavailable { .. }));
    }

    /// Somebody is refused because the breaker is open. He is still among those who wait.
    pub(super) fn unavailable(&mut self, key: usize, until: Nanos) {
        assert_eq!(self.keys[key].breaker.ask(self.now), Ask::Open(until), "the breaker is open");
        let room = self.live(key) < self.keys[key].terms.max_size as usize;
        let makes_room = self.wanting_new(key) > 0 && self.of(key, State::Idle).count() > 0;
        assert!(room || makes_room, "there is no room for a connect");
        let connecting = self.of(key, State::Connecting).count();
        let validating = if self.keys[key].round { 0 } else { self.of(key, State::Validating).count() };
        let short = self.waiters(key) > connecting + validating || self.wanting_new(key) > connecting;
        assert!(short, "something is on its way for all who wait");
        self.keys[key].counts.refused += 1;
    }

    /// Where a resource stands.
    pub(super) fn at(&self, slot: SlotId) -> usize {
        self.resources.iter().position(|resource| resource.id == slot).expect("it is not gone")
    }

    pub(super) fn of(&self, key: usize, state: State) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(move |resource| resource.key == key && resource.state == state)
    }

    pub(super) fn waiting(&self, key: usize) -> impl Iterator<Item = &Waiter> {
        self.waiters.iter().filter(move |waiter| waiter.key == key && waiter.got == Got::Nothing)
    }

    pub(super) fn waiters(&self, key: usize) -> usize {
        self.waiting(key).count()
    }

    pub(super) fn wanting_new(&self, key: usize) -> usize {
        self.waiting(key).filter(|waiter| waiter.want == Want::New).count()
    }

    pub(super) fn live(&self, key: usize) -> usize {
        self.resources.iter().filter(|resource| resource.key == key).count()
    }

    /// Whether an idle one under another key can go for this one.
    pub(super) fn has_spare_elsewhere(&self, key: usize) -> bool {
        let above = |other: usize| self.staying(other) > self.keys[other].terms.min_size as usize;
        let idle = |other| self.of(other, State::Idle).count() > 0;
        (0..self.keys.len()).any(|other| other != key && above(other) && idle(other))
    }

    /// Those that are not being closed.
    pub(super) fn staying(&self, key: usize) -> usize {
        let stays = |resource: &&Resource| {
            let leaves = matches!(resource.state, State::Overdue(_) | State::Doomed(_) | State::Closing);
            resource.key == key && !leaves
        };
        self.resources.iter().filter(stays).count()
    }

    pub(super) fn fresh_until(&self, at: usize) -> Nanos {
        let resource = &self.resources[at];
        self.keys[resource.key].terms.validate_after.after(resource.checked).min(resource.ends)
    }

    /// The call is over: nothing in it may be left for later.
    pub(super) fn end_call(&mut self) {
        for resource in &mut self.resources {
            resource.just = false;
            assert!(!matches!(resource.state, State::Doomed(_)), "{:?} was not closed", resource.id);
        }
        for key in &mut self.keys {
            key.tried = false;
            key.max_before = key.terms.max_size;
        }
        for at in 0..self.waiters.len() {
            let Waiter { key, want, turned_away, .. } = self.waiters[at];
            let alike = |other: &Waiter| (other.key, other.want, other.got) == (key, want, Got::Nothing);
            assert!(
                !turned_away || !self.waiters[at..].iter().any(alike),
                "who came later is not turned away"
            );
            self.waiters[at].turned_away = false;
        }
    }

    /// Notes that a tick has seen what is idle after its lifetime, and says whether it stays for longer than a
    /// replacement may take.
    pub(super) fn outlives(&mut self, at: usize) -> bool {
        let now = self.now;
        let resource = &mut self.resources[at];
        if resource.state != State::Idle || now < super::whole(resource.ends) {
            return false;
        }
        let seen = *resource.expired.get_or_insert(now);
        now >= super::whole(self.keys[resource.key].terms.connect_timeout.after(seen))
    }
}
