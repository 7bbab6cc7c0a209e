//! One random story: what clients do, what the application does, and what must be true after every step.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use socketpool::net::sim::Call;
use socketpool::{Config, ConnId, Event, Hand, Nanos, Reason, State as PoolState};

use super::config;
use super::people::{Mode, Person, State};
use super::rates::Ledger;
use super::reasons::Allowed;
use crate::support::{Pool, Rig, ms};

/// What happens: a kind, whom it happens to, and how much of it.
pub type Step = (u8, u8, u16);

pub fn run(dice: &[u8; config::DICE], steps: &[Step]) {
    run_in(Rig::new(config::limits(dice)), steps);
}

/// Tells a story in a world that may have been prepared for it.
pub fn run_in(mut rig: Rig<usize>, steps: &[Step]) {
    let mut model = Model::new(rig.pool.config().clone(), rig.hand.clone());
    for step in steps {
        let now = rig.hand.now();
        model.act(&mut rig, *step);
        model.note_movement(now);
        // Every fourth time something else happens before the loop turns again, and time may pass.
        if step.2 < 0xc000 {
            model.turn(&mut rig);
        }
    }
    model.turn(&mut rig);
    model.everything_is_answered_when_nothing_stands_against_it(&mut rig);
    model.the_pool_drains(&mut rig);
    drop(rig.pool);
    model.people.clear();
    rig.world.assert_all_closed();
}

pub struct Model {
    pub config: Config,
    pub people: Vec<Person>,
    pub live: HashMap<ConnId, usize>,
    pub ever: HashSet<ConnId>,
    pub closed: HashMap<Reason, u64>,
    pub opened: u64,
    pub accepting: bool,
    pub draining: bool,
    pub drained: u32,
    pub broadcasts: u32,
    pub hand: Hand,
    /// What was allowed at any time since the last turn.
    pub allowed: Allowed,
    /// How long the next handler takes.
    pub slow: Duration,
    pub most_connections: usize,
    pub most_per_ip: Option<u32>,
    pub ledger: Ledger,
    /// What the buffers of one connection may hold, while the budget is the one that it was at first.
    pub largest_buffers: Option<usize>,
    /// Of what the kernel lacks memory until the next turn is over.
    pub short_of: Option<Call>,
    pub short_until: Nanos,
    pub is_short_for_long: bool,
    /// Turns in a row that had nothing to tell and did not want to sleep.
    idle_turns: u32,
}

impl Model {
    fn new(config: Config, hand: Hand) -> Self {
        Self {
            most_connections: config.max_connections as usize,
            most_per_ip: config.max_per_ip,
            allowed: Allowed::by(&config),
            ledger: Ledger::new(&config),
            largest_buffers: Some(config::largest_buffers(&config)),
            config,
            people: Vec::new(),
            live: HashMap::new(),
            ever: HashSet::new(),
            closed: HashMap::new(),
            opened: 0,
            accepting: true,
            draining: false,
            drained: 0,
            broadcasts: 0,
            hand,
            slow: Duration::ZERO,
            idle_turns: 0,
            short_of: None,
            short_until: Nanos::ZERO,
            is_short_for_long: false,
        }
    }

    /// Turns the loop until it would sleep, or a few times when somebody forgets to receive, and checks everything.
    pub fn turn(&mut self, rig: &mut Rig<usize>) {
        let mut began = rig.hand.now();
        for person in self.people.iter_mut().filter(|person| person.pushed) {
            person.pushed = false;
            person.had_news = true;
            if !person.waited {
                person.progress.1 = began;
            }
        }
        for _ in 0..8 {
            began = rig.hand.now();
            self.one_turn(rig, began);
            if rig.is_at_rest() {
                break;
            }
        }
        self.check_deadlines(rig, began);
        self.heal(rig);
        self.allowed = Allowed::by(&self.config).or_still(&self.allowed);
        assert_eq!(rig.pool.len(), self.live.len(), "live connections");
        assert_eq!(rig.pool.state() == PoolState::Drained, self.drained == 1, "drained once it is told");
    }

    fn one_turn(&mut self, rig: &mut Rig<usize>, now: Nanos) {
        rig.turn();
        self.idle_turns += 1;
        while let Some(event) = rig.pool.next_event() {
            self.idle_turns = 0;
            self.handle(&mut rig.pool, event, now);
        }
        rig.pool.assert_invariants();
        self.note_movement(now);
        if rig.is_at_rest() {
            self.idle_turns = 0;
        }
        assert!(self.idle_turns < 6, "the loop goes in circles at {now:?}: {:?}", rig.pool.next_timeout());
        let infos: Vec<_> = rig.pool.connections().map(|info| (self.live[&info.id], info)).collect();
        self.note_waits(&infos, now);
        let is_short = self.is_short();
        self.ledger.look_at_line(&mut self.people, &infos, is_short);
        if rig.is_at_rest() && self.hand.now() == now {
            self.nobody_is_forgotten(&infos);
        }
        self.budget_is_kept(rig);
    }

    /// Lets time pass as a loop sees it that sleeps for as long as it is told, and no longer.
    pub fn pass(&mut self, rig: &mut Rig<usize>, span: Duration) {
        let end = rig.hand.now() + span;
        let mut wakes = 0;
        self.turn(rig);
        while rig.hand.now() < end {
            let left = end.since(rig.hand.now());
            let sleep = rig.pool.next_timeout().map_or(left, |timeout| timeout.min(left));
            // Whoever forgets to receive is told again and again; time passes all the same.
            rig.hand.advance(if sleep.is_zero() { left.min(ms(1)) } else { sleep });
            self.turn(rig);
            wakes += 1;
        }
        let bound = 20 + 12 * span.as_millis();
        assert!(wakes <= bound, "{wakes} times awake in {span:?}");
    }

    fn handle(&mut self, pool: &mut Pool<usize>, event: Event<usize>, now: Nanos) {
        assert_eq!(self.drained, 0, "{event:?} came after Drained");
        match event {
            Event::Opened(id) => self.opened(pool, id, now),
            Event::Readable(id) => {
                self.hand.advance(std::mem::take(&mut self.slow));
                let person = &mut self.people[self.live[&id]];
                if person.mode == Mode::Forget && person.said.len() > person.used {
                    // It may look, whether it does or not.
                    self.ledger.shown(person, now);
                }
                self.serve(pool, id, now);
            }
            Event::Writable(id) => self.serve(pool, id, now),
            Event::ReadClosed(id) => self.read_closed(pool, id, now),
            Event::Closed { id, reason, userdata } => self.closed(id, reason, userdata, now),
            Event::Drained => {
                assert!(self.draining && self.live.is_empty(), "drained with {:?} live", self.live);
                self.drained += 1;
            }
            other => panic!("unknown event {other:?}"),
        }
    }

    fn opened(&mut self, pool: &mut Pool<usize>, id: ConnId, now: Nanos) {
        assert!(self.ever.insert(id), "{id} was there before");
        let mut conn = pool.conn(id);
        let index = usize::from(conn.peer().addr().unwrap().port()) - 1000;
        let person = &mut self.people[index];
        assert_eq!(person.state, State::Waiting, "{id} is opened twice");
        assert!(person.id.is_none_or(|added| added == id));
        // Whoever was added has had it since then.
        assert_eq!(conn.set_userdata(index), person.id.map(|_| index), "userdata of a newcomer");
        (person.id, person.state) = (Some(id), State::Live);
        person.created = conn.created();
        person.progress = (conn.created(), self.hand.now());
        person.moved = person.moved.max(conn.created());
        assert!(person.created <= now);
        self.opened += 1;
        self.live.insert(id, index);
        assert!(self.live.len() <= self.most_connections, "more connections than there may be");
        let (people, address) = (&self.people, self.people[index].address);
        let of_address = self.live.values().filter(|other| people[**other].address == address).count();
        assert!(self.most_per_ip.is_none_or(|most| of_address <= most as usize));
    }

    fn closed(&mut self, id: ConnId, reason: Reason, userdata: Option<usize>, now: Nanos) {
        let index = self.live.remove(&id).unwrap_or_else(|| panic!("{id} ends ({reason}) and was not live"));
        assert_eq!(userdata, Some(index), "userdata of {id}");
        *self.closed.entry(reason).or_default() += 1;
        self.check_reason(index, reason, now);
        let person = &mut self.people[index];
        person.state = State::Gone(reason);
        let nothing_is_lost = match reason {
            Reason::Peer => !person.done.reset,
            Reason::Closed => !person.done.closed && !person.done.reset,
            Reason::Drained | Reason::Rate => !person.done.reset,
            _ => false,
        };
        person.check_received(nothing_is_lost);
        if reason == Reason::Peer && nothing_is_lost && person.mode.is_diligent() {
            assert!(!person.waits_for_answers(), "{person:?} was left without answers");
        }
    }

    /// Sees from the clients' side which connections have moved bytes.
    pub fn note_movement(&mut self, now: Nanos) {
        for index in self.live.values() {
            let person = &mut self.people[*index];
            let Some(client) = &person.client else { continue };
            let bytes_in = client.bytes_in();
            if bytes_in != person.bytes_in {
                self.ledger.sent(person, bytes_in - person.bytes_in, now);
                person.bytes_in = bytes_in;
                (person.moved, person.progress) = (now, (now, self.hand.now()));
            }
        }
    }
}
