//! One random story: what clients do, what the application does, and what must be true after every step.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use socketpool::net::sim::{Call, Schedule};
use socketpool::{
    Config, ConnId, Event, Eviction, Nanos, OverRate, Peer, Proof, Reason, Sent, State as PoolState,
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
    let mut model = Model::new(rig.pool.config().clone());
    for step in steps {
        model.act(&mut rig, *step);
        model.turn(&mut rig);
    }
    model.everything_is_answered_when_nothing_stands_against_it(&mut rig);
    model.the_pool_drains(&mut rig);
    drop(rig.pool);
    model.people.clear();
    rig.world.assert_all_closed();
}

struct Model {
    config: Config,
    people: Vec<Person>,
    live: HashMap<ConnId, usize>,
    ever: HashSet<ConnId>,
    closed: HashMap<Reason, u64>,
    opened: u64,
    accepting: bool,
    draining: bool,
    drained: u32,
    broadcasts: u32,
    most_connections: usize,
    most_per_address: Option<u32>,
}

impl Model {
    fn new(config: Config) -> Self {
        Self {
            most_connections: config.max_connections as usize,
            most_per_address: config.max_per_address,
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
        }
    }

    fn act(&mut self, rig: &mut Rig<usize>, (kind, who, n): Step) {
        let n = usize::from(n);
        let now = rig.hand.now();
        if kind % 24 < 4 || self.people.is_empty() {
            return self.connect(rig, who, n);
        }
        let index = usize::from(who) % self.people.len();
        match kind % 24 {
            4 | 5 => self.people[index].say(index, n % 40, true),
            6 => self.people[index].say(index, n % 70, false),
            7 => (0..n % 30).for_each(|i| self.people[index].say(index, i, true)),
            8 => self.client_leaves(index, n),
            9 => self.open_window(index, [0, usize::MAX, 10, 1][n % 4]),
            10..=12 => rig.hand.advance(ms([1, 7, 30, 60, 130, 600][n % 6])),
            13 => self.set_mode(rig, index, Mode::ALL[n % Mode::ALL.len()]),
            14 => self.end(rig, index, n),
            15 => self.hold_or_release(rig, index, now),
            16 => self.pause_or_resume(rig, index),
            17 => self.push(rig, index, n),
            18 => self.set_own(rig, index, n),
            19 => self.reconfigure(rig, n),
            20 => fault(rig, n),
            21 => self.broadcast(rig),
            22 if n % 8 == 0 => self.drain(rig, [None, Some(ms(100)), Some(Duration::ZERO)][n / 8 % 3]),
            22 if n % 8 < 3 => self.pause_or_resume_accepting(rig),
            _ => self.add(rig, who, n),
        }
    }

    fn connect(&mut self, rig: &mut Rig<usize>, who: u8, n: usize) {
        let (address, peer) = self.newcomer(who);
        let Some(listening) = rig.pool.addresses().next().cloned() else { return };
        let Some(client) = rig.world.connect_to(&listening, peer) else { return };
        self.meet(client, address, n, rig.hand.now());
    }

    /// A stream that somebody else has accepted.
    fn add(&mut self, rig: &mut Rig<usize>, who: u8, n: usize) {
        let (address, peer) = self.newcomer(who);
        let (stream, client) = rig.world.pair(&peer.to_string());
        let index = self.meet(client, address, n, rig.hand.now());
        if let Ok(id) = rig.pool.add_stream(stream, peer) {
            self.people[index].id = Some(id);
            assert_eq!(
                rig.pool.conn(id).set_userdata(index),
                None,
                "a newcomer has nothing of its predecessor's"
            );
        }
    }

    fn newcomer(&self, who: u8) -> (u8, Peer) {
        let address = who % 4;
        let port = u16::try_from(1000 + self.people.len()).unwrap();
        (address, Peer::from(std::net::SocketAddr::from(([192, 0, 2, address], port))))
    }

    fn meet(&mut self, client: socketpool::net::sim::Client, address: u8, n: usize, now: Nanos) -> usize {
        let window = [usize::MAX, usize::MAX, 0, 10][n % 4];
        let index = self.people.len();
        self.people.push(Person::new(client, address, window, now));
        if n & 4 != 0 {
            self.people[index].say(index, n % 30, n & 8 == 0);
        }
        index
    }

    fn client_leaves(&mut self, index: usize, n: usize) {
        let person = &mut self.people[index];
        let Some(client) = &person.client else { return };
        match n % 3 {
            0 => client.finish(),
            1 => client.reset(),
            // Dropped with bytes unread it is a reset, else a FIN.
            _ => person.client = None,
        }
        person.done.finished |= n % 3 != 1;
        person.done.reset |= n % 3 != 0;
    }

    fn open_window(&mut self, index: usize, window: usize) {
        let person = &mut self.people[index];
        person.window = window;
        if let Some(client) = &person.client {
            client.set_window(window);
        }
    }

    fn set_mode(&mut self, rig: &mut Rig<usize>, index: usize, mode: Mode) {
        self.people[index].mode = mode;
        if let Some(id) = self.people[index].id
            && rig.pool.get(id).is_some()
            && self.live.contains_key(&id)
        {
            self.serve(&mut rig.pool, id);
        }
    }

    fn end(&mut self, rig: &mut Rig<usize>, index: usize, n: usize) {
        let Some(id) = self.people[index].id else { return };
        let lives = rig.pool.get(id).is_some();
        let done = &mut self.people[index].done;
        match n % 3 {
            0 => {
                assert_eq!(rig.pool.kill(id), lives);
                done.killed |= lives;
            }
            1 if lives => {
                rig.pool.conn(id).close();
                done.closed = true;
            }
            // As another thread asks for it: carried out in the next turn, if it is still there.
            2 if n % 2 == 0 => {
                rig.pool.handle().close_when_done(id).unwrap();
                done.closed_when_done = lives;
            }
            2 if lives => {
                rig.pool.conn(id).close_when_done();
                done.closed_when_done = true;
            }
            _ => {}
        }
    }

    fn hold_or_release(&mut self, rig: &mut Rig<usize>, index: usize, now: Nanos) {
        let Some(mut conn) = self.people[index].id.and_then(|id| rig.pool.get(id)) else { return };
        let person = &mut self.people[index];
        if person.held && person.read_closed && person.waits_for_answers() {
            // The peer has finished: only the hold keeps the connection until all is answered.
            return;
        }
        if person.held {
            conn.release();
            person.moved = now;
        } else {
            conn.hold();
        }
        person.held = !person.held;
    }

    fn pause_or_resume(&mut self, rig: &mut Rig<usize>, index: usize) {
        let Some(mut conn) = self.people[index].id.and_then(|id| rig.pool.get(id)) else { return };
        let person = &mut self.people[index];
        if person.paused {
            conn.resume_reading();
        } else {
            conn.pause_reading();
        }
        person.paused = !person.paused;
    }

    /// The application says something of its own accord.
    fn push(&mut self, rig: &mut Rig<usize>, index: usize, n: usize) {
        let Some(mut conn) = self.people[index].id.and_then(|id| rig.pool.get(id)) else { return };
        let line = format!(">{n}\n");
        let sent = if n % 2 == 0 { conn.send(line.as_bytes()) } else { conn.queue(line.as_bytes()) };
        if sent != Sent::Refused {
            self.people[index].answered.extend(line.bytes());
        }
    }

    fn set_own(&mut self, rig: &mut Rig<usize>, index: usize, n: usize) {
        let Some(mut conn) = self.people[index].id.and_then(|id| rig.pool.get(id)) else { return };
        let timeout = [None, Some(ms(20)), Some(ms(200))][n / 4 % 3];
        let own = &mut self.people[index].own;
        match n % 4 {
            0 => (own.first = Some(timeout), conn.set_first_message_timeout(timeout)).1,
            1 => (own.idle = Some(timeout), conn.set_idle_timeout(timeout)).1,
            2 => (own.lifetime = Some(timeout), conn.set_lifetime(timeout)).1,
            _ => (own.stall = Some(timeout), conn.set_write_stall_timeout(timeout)).1,
        }
        .unwrap();
    }

    fn reconfigure(&mut self, rig: &mut Rig<usize>, n: usize) {
        let change = |config: &mut Config| match n % 6 {
            0 => config.max_connections = [1, 3, 20][n / 6 % 3],
            1 => config.idle_timeout = [None, Some(ms(40)), Some(ms(400))][n / 6 % 3],
            2 => config.first_message_timeout = [None, Some(ms(40)), Some(ms(400))][n / 6 % 3],
            3 => config.eviction = [Eviction::Off, Eviction::OldestUnproven][n / 6 % 2],
            4 => config.max_per_address = [None, Some(1), Some(3)][n / 6 % 3],
            _ => config.write_stall_timeout = [None, Some(ms(40)), Some(ms(400))][n / 6 % 3],
        };
        rig.pool.reconfigure(change).unwrap();
        self.config = rig.pool.config().clone();
        self.most_connections = self.most_connections.max(self.config.max_connections as usize);
        // A limit that was off has counted nobody until now.
        self.most_per_address = match (self.most_per_address, self.config.max_per_address) {
            (Some(before), Some(now)) => Some(before.max(now)),
            _ => None,
        };
    }

    fn broadcast(&mut self, rig: &mut Rig<usize>) {
        self.broadcasts += 1;
        let line = format!("!{}\n", self.broadcasts);
        if self.broadcasts % 2 == 0 {
            rig.pool.handle().broadcast(line.into()).unwrap();
        } else {
            rig.pool.broadcast(line);
        }
    }

    fn drain(&mut self, rig: &mut Rig<usize>, deadline: Option<Duration>) {
        rig.pool.drain(deadline);
        self.draining = true;
    }

    fn pause_or_resume_accepting(&mut self, rig: &mut Rig<usize>) {
        if self.accepting {
            rig.pool.pause_accepting();
        } else {
            rig.pool.resume_accepting();
        }
        self.accepting = !self.accepting;
    }

    /// Turns the loop until it would sleep, or a few times when somebody forgets to receive, and checks everything.
    fn turn(&mut self, rig: &mut Rig<usize>) {
        for _ in 0..8 {
            rig.turn();
            let now = rig.hand.now();
            while let Some(event) = rig.pool.next_event() {
                self.handle(&mut rig.pool, event, now);
            }
            rig.pool.assert_invariants();
            self.note_movement(now);
            if rig.is_at_rest() {
                break;
            }
        }
        self.check_deadlines(rig);
        assert_eq!(rig.pool.len(), self.live.len(), "live connections");
        assert_eq!(rig.pool.state() == PoolState::Drained, self.drained == 1, "drained once it is told");
    }

    fn handle(&mut self, pool: &mut Pool<usize>, event: Event<usize>, now: Nanos) {
        assert_eq!(self.drained, 0, "{event:?} came after Drained");
        match event {
            Event::Opened(id) => self.opened(pool, id, now),
            Event::Readable(id) => self.serve(pool, id),
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
        (person.created, person.progress) = (conn.created(), conn.created());
        person.moved = person.moved.max(conn.created());
        assert!(person.created <= now);
        self.opened += 1;
        self.live.insert(id, index);
        assert!(self.live.len() <= self.most_connections, "more connections than there may be");
        let (people, address) = (&self.people, self.people[index].address);
        let of_address = self.live.values().filter(|other| people[**other].address == address).count();
        assert!(self.most_per_address.is_none_or(|most| of_address <= most as usize));
    }

    /// Receives, and answers every complete line.
    fn serve(&mut self, pool: &mut Pool<usize>, id: ConnId) {
        let index = self.live[&id];
        let person = &mut self.people[index];
        if person.mode == Mode::Forget {
            return;
        }
        let mut conn = pool.conn(id);
        assert_eq!(conn.userdata(), Some(&index));
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
            Reason::Drained => !person.done.reset,
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
                !proven && due(person.own.first, config.first_message_timeout, person.created)
            }
            Reason::Idle => !person.held && due(person.own.idle, config.idle_timeout, person.moved),
            // One that was busy when its life was over ends later, whatever has become of the limit since.
            Reason::Lifetime => person.is_old || person.is_past_lifetime(config.lifetime, now),
            Reason::ReadStall => {
                let window = config.read_stall.map(|stall| stall.window);
                person.said.len() > person.used && due(None, window, person.created)
            }
            Reason::WriteStall => due(person.own.stall, config.write_stall_timeout, person.progress),
            Reason::Rate => config.over_rate == OverRate::Close,
            Reason::Evicted => {
                let unproven = now >= person.created + config.eviction_grace;
                config.eviction != Eviction::Off && (unproven || now >= person.moved + ms(1000))
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
                (person.moved, person.progress) = (now, now);
            }
        }
    }

    /// Nobody lives longer than a millisecond past a deadline.
    fn check_deadlines(&mut self, rig: &mut Rig<usize>) {
        let now = rig.hand.now();
        let config = &self.config;
        let is_timed = config.syn_protection.is_some() || config.over_rate == OverRate::Delay;
        for info in rig.pool.connections() {
            let person = &mut self.people[self.live[&info.id]];
            if info.waiting_out == 0 {
                person.progress = now;
            }
            person.moved = person.moved.max(Nanos::new((now.as_nanos()).saturating_sub(nanos(info.idle))));
            let late = |own: Option<Option<Duration>>, pool: Option<Duration>, since: Nanos| {
                own.unwrap_or(pool).is_some_and(|timeout| now > since + timeout + ms(1))
            };
            person.is_old |= person.is_past_lifetime(config.lifetime, now);
            let silent = info.state == socketpool::Phase::Unproven && person.used == 0;
            let paced = config.sent_rate.is_some() || config.received_rate.is_some() || is_timed;
            assert!(
                is_timed || !silent || !late(person.own.first, config.first_message_timeout, person.created),
                "{person:?} is past its first message at {now:?}: {info}"
            );
            assert!(
                paced || person.held || !late(person.own.idle, config.idle_timeout, person.moved),
                "{person:?} is past its idle time at {now:?}: {info}"
            );
            assert!(
                paced || !late(person.own.stall, config.write_stall_timeout, person.progress),
                "{person:?} is past its write stall at {now:?}: {info}"
            );
            // Spread by a tenth, and one that is busy has another tenth to finish.
            let lifetime = person.own.lifetime.unwrap_or(config.lifetime).map(|time| time.mul_f64(1.2));
            // Whoever finishes for another reason first ends for that one.
            let finishes = self.draining || person.read_closed || person.done.closed_when_done;
            assert!(
                finishes || !late(None, lifetime, person.created),
                "{person:?} is past its lifetime at {now:?}: {info}"
            );
        }
    }

    /// With every limit lifted and every window open, all that was asked is answered and nobody is left waiting.
    fn everything_is_answered_when_nothing_stands_against_it(&mut self, rig: &mut Rig<usize>) {
        lift_limits(rig);
        self.config = rig.pool.config().clone();
        self.most_connections = usize::MAX;
        self.most_per_address = None;
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
            config.max_connections = 10_000;
            config.first_message_timeout = None;
            config.idle_timeout = None;
            config.lifetime = None;
            config.write_stall_timeout = None;
            config.read_stall = None;
            config.max_buffer_bytes = None;
            config.max_per_address = None;
            config.proof = Proof::Answered;
            if config.over_rate == OverRate::Close {
                config.over_rate = OverRate::Ask;
            }
        })
        .unwrap();
}

/// A failure that passes: it must not cost anybody the connection.
fn fault(rig: &Rig<usize>, n: usize) {
    let (call, errno) = [
        (Call::Accept, libc::ECONNABORTED),
        (Call::Accept, libc::EMFILE),
        (Call::Accept, libc::EINTR),
        (Call::Receive, libc::EAGAIN),
        (Call::Send, libc::EAGAIN),
        (Call::Send, libc::ENOBUFS),
        (Call::Watch, libc::ENOSPC),
        (Call::WatchRoom, libc::ENOMEM),
        (Call::Wait, libc::EINTR),
    ][n % 9];
    rig.world.fail_next(call, errno, Schedule::Once);
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap()
}
