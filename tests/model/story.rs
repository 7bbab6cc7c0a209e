//! One random story: what clients do, what the application does, and what must be true after every step.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use socketpool::net::sim::Call;
use socketpool::{
    Config, ConnId, Event, Eviction, Hand, Nanos, OverRate, Phase, Proof, Reason, Sent, State as PoolState,
};

use super::config;
use super::people::{Mode, Own, Person, State};
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
    /// The poller has had no memory for a newcomer, whose time for a first message began when it had.
    pub hears_late: bool,
    pub hand: Hand,
    /// Whether eviction was on at any time since the last turn.
    pub evicts: bool,
    /// Whether an operation rate closes at first: whoever was over it ends when his answers have left, whatever has become
    /// of the rate since.
    closes: bool,
    /// How long the next handler takes.
    pub slow: Duration,
    pub most_connections: usize,
    pub most_per_ip: Option<u32>,
}

impl Model {
    fn new(config: Config, hand: Hand) -> Self {
        Self {
            most_connections: config.max_connections as usize,
            most_per_ip: config.max_per_ip,
            closes: config.over_rate == OverRate::Close,
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
            hears_late: false,
            hand,
            evicts: true,
            slow: Duration::ZERO,
        }
    }

    /// Turns the loop until it would sleep, or a few times when somebody forgets to receive, and checks everything.
    fn turn(&mut self, rig: &mut Rig<usize>) {
        let mut began = rig.hand.now();
        for person in self.people.iter_mut().filter(|person| person.pushed) {
            person.pushed = false;
            if !person.waited {
                person.progress.1 = began;
            }
        }
        for _ in 0..8 {
            began = rig.hand.now();
            rig.turn();
            let now = began;
            while let Some(event) = rig.pool.next_event() {
                self.handle(&mut rig.pool, event, now);
            }
            rig.pool.assert_invariants();
            self.note_movement(now);
            if rig.is_at_rest() {
                break;
            }
        }
        self.check_deadlines(rig, began);
        self.evicts = self.config.eviction != Eviction::Off;
        assert_eq!(rig.pool.len(), self.live.len(), "live connections");
        assert_eq!(rig.pool.state() == PoolState::Drained, self.drained == 1, "drained once it is told");
    }

    fn handle(&mut self, pool: &mut Pool<usize>, event: Event<usize>, now: Nanos) {
        assert_eq!(self.drained, 0, "{event:?} came after Drained");
        match event {
            Event::Opened(id) => self.opened(pool, id, now),
            Event::Readable(id) => {
                self.hand.advance(std::mem::take(&mut self.slow));
                self.serve(pool, id);
            }
            Event::Writable(id) => self.serve(pool, id),
            Event::ReadClosed(id) => self.read_closed(pool, id),
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

    /// Receives, and answers every complete line.
    pub fn serve(&mut self, pool: &mut Pool<usize>, id: ConnId) {
        let index = self.live[&id];
        let person = &mut self.people[index];
        if person.mode == Mode::Forget {
            return;
        }
        let mut conn = pool.conn(id);
        assert_eq!(conn.userdata(), Some(&index));
        if conn.waiting_output() == 0 {
            // What is answered now waits since now, however long ago it was asked.
            person.progress = (self.hand.now(), self.hand.now());
            // What is put aside leaves, and waits for room, when the connection is put in order.
            person.pushed |= person.mode == Mode::Queue;
        }
        conn.receive();
        if person.mode == Mode::Hoard {
            return;
        }
        loop {
            if !person.owed.is_empty() {
                if conn.send(&person.owed) == Sent::Refused {
                    return;
                }
                person.answered.append(&mut person.owed);
            }
            let Some(end) = conn.input().iter().position(|byte| *byte == b'\n') else { break };
            let line = conn.input()[..=end].to_vec();
            if line.len() > self.config.max_output {
                // Its answer would never fit.
                conn.close();
                person.done.closed = true;
                return;
            }
            assert_eq!(person.said[person.used..][..line.len()], line, "input of {id} is out of order");
            if person.mode == Mode::ConsumeFirst {
                conn.consume(line.len());
                person.used += line.len();
                person.owed = line;
                continue;
            }
            let sent = match person.mode {
                Mode::Queue => conn.queue(&line),
                Mode::Shared => conn.send_bytes(line.clone().into()),
                _ => conn.send(&line),
            };
            if sent == Sent::Refused {
                return;
            }
            conn.consume(line.len());
            person.used += line.len();
            person.answered.extend(line);
        }
        if conn.input().len() >= self.config.max_input {
            conn.close();
            person.done.closed = true;
        } else if person.read_closed && person.held && !person.waits_for_answers() {
            conn.release();
            person.let_go = person.moved;
            person.held = false;
        }
    }

    fn read_closed(&mut self, pool: &mut Pool<usize>, id: ConnId) {
        let index = self.live[&id];
        assert!(self.people[index].done.finished || self.people[index].done.reset, "{id} has not finished");
        assert!(!self.people[index].read_closed, "the end of {id} is told twice");
        self.people[index].read_closed = true;
        self.serve(pool, id);
        if self.people[index].waits_for_answers() {
            self.people[index].held = true;
            pool.conn(id).hold();
        }
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
        if reason == Reason::Peer && nothing_is_lost && matches!(person.mode, Mode::Send | Mode::Shared) {
            assert!(!person.waits_for_answers(), "{person:?} was left without answers");
        }
    }

    /// Whether this end was due: nobody is cut early, and nobody without a cause.
    fn check_reason(&self, index: usize, reason: Reason, now: Nanos) {
        let (person, config) = (&self.people[index], &self.config);
        let due = |own: Option<Option<Duration>>, pool: Option<Duration>, since: Nanos| {
            own.unwrap_or(pool).is_some_and(|timeout| now >= since + timeout)
        };
        let holds = match reason {
            Reason::Peer => person.done.finished,
            Reason::Error => person.done.reset || person.done.finished,
            Reason::Closed => person.done.closed || person.done.closed_when_done,
            Reason::Killed => person.done.killed,
            Reason::FirstMessage => {
                let proven = person.used > 0 && person.answered.len() >= person.used;
                !proven
                    && due(person.own.first, config.first_message_timeout, person.created.max(person.let_go))
            }
            Reason::Idle => !person.held && due(person.own.idle, config.idle_timeout, person.moved),
            // One that was busy when its life was over ends later, whatever has become of the limit since.
            Reason::Lifetime => person.is_old || person.is_past_lifetime(config.lifetime, now),
            Reason::ReadStall => {
                let window = config.read_stall.map(|stall| stall.window);
                person.said.len() > person.used && due(None, window, person.created)
            }
            Reason::WriteStall => due(person.own.stall, config.write_stall_timeout, person.progress.0),
            Reason::Rate => self.closes,
            Reason::Evicted => {
                let unproven = now >= person.created + config.eviction_grace;
                self.evicts && (unproven || now >= person.moved + ms(1000))
            }
            Reason::Memory => config.max_buffer_bytes.is_some(),
            Reason::Drained | Reason::Forced => self.draining,
            other => panic!("unknown reason {other}"),
        };
        assert!(holds, "{person:?} ended at {now:?} for {reason}");
    }

    /// Sees from the clients' side which connections have moved bytes.
    fn note_movement(&mut self, now: Nanos) {
        for index in self.live.values() {
            let person = &mut self.people[*index];
            let Some(client) = &person.client else { continue };
            if client.bytes_in() != person.bytes_in {
                person.bytes_in = client.bytes_in();
                (person.moved, person.progress) = (now, (now, self.hand.now()));
            }
        }
    }

    /// Nobody lives longer than a millisecond past a deadline, as the turn that began at `now` saw it.
    fn check_deadlines(&mut self, rig: &mut Rig<usize>, now: Nanos) {
        let config = &self.config;
        let is_timed = config.syn_protection.is_some() || config.over_rate == OverRate::Delay;
        for info in rig.pool.connections() {
            let person = &mut self.people[self.live[&info.id]];
            person.waited = info.waiting_out > 0;
            if info.waiting_out == 0 {
                person.progress = (now, now);
            }
            person.moved = person.moved.max(Nanos::new((now.as_nanos()).saturating_sub(nanos(info.idle))));
            let late = |own: Option<Option<Duration>>, pool: Option<Duration>, since: Nanos| {
                own.unwrap_or(pool).is_some_and(|timeout| now > since + timeout + ms(1))
            };
            person.is_old |= person.is_past_lifetime(config.lifetime, now);
            let silent = match info.state {
                Phase::Unproven => person.used == 0,
                // That nobody reads it spares it no deadline, unless it was heard before or something is in flight.
                Phase::Paused => info.bytes_in == 0 && info.waiting_out == 0 && !person.held,
                _ => false,
            };
            let first_since = person.created.max(person.let_go);
            let paced = config.sent_rate.is_some() || config.received_rate.is_some() || is_timed;
            let no_first =
                !is_timed && silent && late(person.own.first, config.first_message_timeout, first_since);
            assert!(
                person.spared_first.holds(no_first && !self.hears_late, first_since, now),
                "{person:?} is past its first message at {now:?}: {info}"
            );
            let idle = !paced && !person.held && late(person.own.idle, config.idle_timeout, person.moved);
            assert!(
                person.spared_idle.holds(idle, person.moved, now),
                "{person:?} is past its idle time at {now:?}: {info}"
            );
            assert!(
                paced || !late(person.own.stall, config.write_stall_timeout, person.progress.1),
                "{person:?} is past its write stall at {now:?}: {info}"
            );
            // Spread by a tenth, and one that is busy has another tenth to finish.
            let lifetime = person.own.lifetime.unwrap_or(config.lifetime).map(|time| time.mul_f64(1.2));
            // Whoever finishes for another reason first ends for that one.
            let is_over_rate = self.closes && info.denied > 0;
            let finishes =
                self.draining || person.read_closed || person.done.closed_when_done || is_over_rate;
            let old = !finishes && late(None, lifetime, person.created);
            assert!(
                person.spared_old.holds(old, person.created, now),
                "{person:?} is past its lifetime at {now:?}: {info}"
            );
        }
    }

    /// With every limit lifted and every window open, all that was asked is answered and nobody is left waiting.
    fn everything_is_answered_when_nothing_stands_against_it(&mut self, rig: &mut Rig<usize>) {
        lift_limits(rig);
        self.config = rig.pool.config().clone();
        self.most_connections = usize::MAX;
        self.most_per_ip = None;
        if !self.accepting {
            self.pause_or_resume_accepting(rig);
        }
        for index in 0..self.people.len() {
            self.people[index].own =
                Own { first: Some(None), idle: Some(None), lifetime: Some(None), stall: Some(None) };
            self.open_window(index, usize::MAX);
            if self.people[index].paused {
                self.pause_or_resume(rig, index);
            }
            if self.people[index].held {
                self.hold_or_release(rig, index, rig.hand.now());
            }
        }
        rig.pool.for_each(|conn| {
            conn.set_first_message_timeout(None).unwrap();
            conn.set_idle_timeout(None).unwrap();
            conn.set_lifetime(None).unwrap();
            conn.set_write_stall_timeout(None).unwrap();
        });
        self.turn(rig);
        for index in 0..self.people.len() {
            self.set_mode(rig, index, Mode::Send);
        }
        // Slow rates need many small steps; a pool that has forgotten somebody has no next step, or goes in circles.
        for _ in 0..5_000 {
            self.turn(rig);
            match rig.pool.next_timeout() {
                None => break,
                Some(timeout) => rig.hand.advance(timeout),
            }
        }
        for person in self.people.iter_mut().filter(|person| person.state == State::Live) {
            let silenced = person.done.closed_when_done || person.done.reset;
            let info = person.id.and_then(|id| rig.pool.get(id).map(|conn| conn.info()));
            let waits = person.waits_for_answers() && !silenced && !self.draining;
            assert!(!waits, "{person:?} waits for ever: {info:?}");
            person.check_received(!person.done.reset);
        }
        assert!(self.draining || rig.world.waiting() == 0, "somebody is stranded in the backlog");
    }

    fn the_pool_drains(&mut self, rig: &mut Rig<usize>) {
        self.drain(rig, Some(ms(100)));
        self.turn(rig);
        rig.hand.advance(ms(101));
        self.turn(rig);
        assert_eq!(self.drained, 1, "the drain ends at its deadline");
        let snapshot = rig.pool.snapshot();
        let counters = &snapshot.counters;
        assert_eq!((counters.closed_total(), snapshot.connections.now), (counters.opened, 0));
        // Whoever ended before the application had heard of it was opened and closed in silence.
        let silent = counters.opened - self.opened;
        let told = |reason: &Reason| self.closed.get(reason).copied().unwrap_or_default();
        let untold: u64 = Reason::ALL.iter().map(|reason| snapshot.closed(*reason) - told(reason)).sum();
        assert_eq!(untold, silent, "ends that were told");
        let came = counters.accepted + counters.adopted;
        assert_eq!(came, counters.opened + snapshot.refused_total(), "newcomers are opened or refused");
        let met = self.people.iter().filter(|person| person.state != State::Waiting).count() as u64;
        assert_eq!(met, self.opened);
        let added = self.people.iter().filter(|person| person.id.is_some());
        assert!(
            added.clone().all(|person| person.state != State::Waiting),
            "who was added hears of both ends"
        );
    }
}

fn lift_limits(rig: &mut Rig<usize>) {
    for call in [Call::Accept, Call::Receive, Call::Send, Call::Watch, Call::Wait] {
        rig.world.heal(call);
    }
    rig.pool
        .reconfigure(|config| {
            config.max_connections = 200;
            config.first_message_timeout = None;
            config.idle_timeout = None;
            config.lifetime = None;
            config.write_stall_timeout = None;
            config.read_stall = None;
            config.max_buffer_bytes = None;
            config.max_per_ip = None;
            config.proof = Proof::Answered;
            if config.over_rate == OverRate::Close {
                config.over_rate = OverRate::Ask;
            }
        })
        .unwrap();
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap()
}
