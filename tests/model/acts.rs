//! What can happen in a story: what clients and the application do, one step at a time.

use std::time::Duration;

use socketpool::net::sim::{Call, Client, Schedule};
use socketpool::{Config, Nanos, Peer, Sent};

use super::config;
use super::people::{Mode, Person};
use super::reasons::Allowed;
use super::story::{Model, Step};
use crate::support::{Rig, ms};

impl Model {
    pub fn act(&mut self, rig: &mut Rig<usize>, (kind, who, n): Step) {
        let n = usize::from(n);
        let now = rig.hand.now();
        if kind % 32 < 4 || self.people.is_empty() {
            return self.connect(rig, who, n);
        }
        let index = usize::from(who) % self.people.len();
        match kind % 32 {
            4 | 5 => self.people[index].say(index, n % 40, true),
            6 => self.people[index].say(index, n % 70, false),
            7 => (0..n % 30).for_each(|i| self.people[index].say(index, i, true)),
            8 => self.client_leaves(index, n),
            9 => self.open_window(index, [0, usize::MAX, 10, 1][n % 4]),
            10 => rig.hand.advance(ms([1, 7, 30, 60, 130, 600][n % 6])),
            11 => self.people[index].say(index, n % 5000, !n.is_multiple_of(3)),
            12 => self.slow = ms([1, 7, 30, 60, 130, 600][n % 6]),
            13 => self.set_mode(rig, index, Mode::ALL[n % Mode::ALL.len()]),
            14 => self.end(rig, index, n),
            15 => self.hold_or_release(rig, index, now),
            16 => self.pause_or_resume(rig, index),
            17 => self.push(rig, index, n),
            18 => self.set_own(rig, index, n),
            19 | 20 => self.reconfigure(rig, |config| config::change(config, n)),
            21 => self.broadcast(rig),
            22 if n.is_multiple_of(8) => {
                self.drain(rig, [None, Some(ms(100)), Some(Duration::ZERO)][n / 8 % 3]);
            }
            22 if n % 8 < 3 => self.pause_or_resume_accepting(rig),
            22 | 23 => self.add(rig, who, n),
            24..27 => self.pass(rig, ms([1, 7, 30, 60, 130, 600][n % 6])),
            27 => self.fault(rig, n),
            28 => self.shortage(rig, n),
            29 => self.say_of(rig, index, n),
            30 => self.command(rig, index, n),
            _ => self.people[index].say(index, n % 3, true),
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

    fn meet(&mut self, client: Client, address: u8, n: usize, now: Nanos) -> usize {
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
        person.done.reset |= !n.is_multiple_of(3);
    }

    pub fn open_window(&mut self, index: usize, window: usize) {
        let person = &mut self.people[index];
        person.window = window;
        person.window_since = person.client.as_ref().map_or(0, Client::bytes_in);
        if let Some(client) = &person.client {
            client.set_window(window);
        }
    }

    pub fn set_mode(&mut self, rig: &mut Rig<usize>, index: usize, mode: Mode) {
        self.people[index].mode = mode;
        self.people[index].has_changed = true;
        if let Some(id) = self.people[index].id
            && rig.pool.get(id).is_some()
            && self.live.contains_key(&id)
        {
            self.serve(&mut rig.pool, id, rig.hand.now());
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
            2 if n.is_multiple_of(2) => {
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

    pub fn hold_or_release(&mut self, rig: &mut Rig<usize>, index: usize, now: Nanos) {
        let Some(mut conn) = self.people[index].id.and_then(|id| rig.pool.get(id)) else { return };
        let person = &mut self.people[index];
        if person.held && person.read_closed && person.waits_for_answers() {
            // The peer has finished: only the hold keeps the connection until all is answered.
            return;
        }
        if person.held {
            conn.release();
            person.let_go = now;
            person.moved = now;
        } else {
            conn.hold();
        }
        person.held = !person.held;
    }

    pub fn pause_or_resume(&mut self, rig: &mut Rig<usize>, index: usize) {
        let Some(mut conn) = self.people[index].id.and_then(|id| rig.pool.get(id)) else { return };
        let person = &mut self.people[index];
        if person.paused {
            conn.resume_reading();
            // Whoever was left to the application begins anew when something is read of it.
            person.is_left = false;
        } else {
            conn.pause_reading();
        }
        person.paused = !person.paused;
    }

    /// The application says something of its own accord.
    fn push(&mut self, rig: &mut Rig<usize>, index: usize, n: usize) {
        let Some(id) = self.people[index].id.filter(|id| self.live.contains_key(id)) else { return };
        let Some(mut conn) = rig.pool.get(id) else { return };
        if conn.waiting_output() == 0 {
            self.people[index].progress = (rig.hand.now(), rig.hand.now());
        }
        let person = &mut self.people[index];
        if !person.owed.is_empty() {
            // What is owed is in the middle of a line.
            return;
        }
        let line = format!(">{n}\n");
        let sent = if n.is_multiple_of(2) { conn.send(line.as_bytes()) } else { conn.queue(line.as_bytes()) };
        // What is put aside leaves, and waits for room, from the next turn on.
        person.pushed |= !n.is_multiple_of(2);
        if sent != Sent::Refused {
            person.took(line.as_bytes());
        }
        self.look_on(&mut conn, index, rig.hand.now());
    }

    /// What the application says of a connection.
    fn say_of(&mut self, rig: &mut Rig<usize>, index: usize, n: usize) {
        let Some(mut conn) = self.people[index].id.and_then(|id| rig.pool.get(id)) else { return };
        let person = &mut self.people[index];
        match n % 4 {
            0 => {
                conn.touch();
                person.pending = false;
                person.moved = rig.hand.now();
            }
            1 => {
                conn.prove();
                person.proven = true;
            }
            2 => conn.again(),
            _ if person.received.is_empty() && !conn.is_proven() => {
                conn.leave_to_application();
                (person.is_left, person.was_left, person.paused) = (true, true, true);
            }
            _ => {}
        }
    }

    /// What other threads ask for; it is done in the next turn.
    fn command(&mut self, rig: &mut Rig<usize>, index: usize, n: usize) {
        let person = &mut self.people[index];
        let Some(id) = person.id.filter(|id| rig.pool.get(*id).is_some()) else { return };
        let handle = rig.pool.handle();
        match n % 8 {
            0 => {
                handle.kill(id).unwrap();
                person.done.killed = true;
            }
            1 => handle.wake().unwrap(),
            _ => {
                person.pushed = true;
                self.broadcasts += 1;
                handle.send(id, format!("!{}\n", self.broadcasts).into()).unwrap();
            }
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

    pub fn reconfigure(&mut self, rig: &mut Rig<usize>, change: impl FnOnce(&mut Config)) {
        rig.pool.reconfigure(change).unwrap();
        let before = std::mem::replace(&mut self.config, rig.pool.config().clone());
        self.allowed.widen(&Allowed::by(&self.config));
        self.ledger.change(&self.config, &mut self.people);
        self.most_connections = self.most_connections.max(self.config.max_connections as usize);
        // A limit that was off has counted nobody until now.
        self.most_per_ip = match (self.most_per_ip, self.config.max_per_ip) {
            (Some(before), Some(now)) => Some(before.max(now)),
            _ => None,
        };
        if before.max_buffer_bytes != self.config.max_buffer_bytes {
            self.largest_buffers = None;
        }
        let largest = config::largest_buffers(&self.config);
        self.largest_buffers = self.largest_buffers.map(|before| before.max(largest));
    }

    fn broadcast(&mut self, rig: &mut Rig<usize>) {
        // It leaves, and waits for room, from the next turn on.
        self.people.iter_mut().for_each(|person| person.pushed = true);
        self.broadcasts += 1;
        let line = format!("!{}\n", self.broadcasts);
        if self.broadcasts.is_multiple_of(2) {
            rig.pool.handle().broadcast(line.into()).unwrap();
        } else {
            rig.pool.broadcast(line);
        }
    }

    pub fn drain(&mut self, rig: &mut Rig<usize>, deadline: Option<Duration>) {
        rig.pool.drain(deadline);
        self.draining = true;
        self.allowed.forced_at = deadline.map(|deadline| rig.hand.now() + deadline);
    }

    pub fn pause_or_resume_accepting(&mut self, rig: &mut Rig<usize>) {
        if self.accepting {
            rig.pool.pause_accepting();
        } else {
            rig.pool.resume_accepting();
        }
        self.accepting = !self.accepting;
    }

    /// A failure that passes: it must not cost anybody the connection.
    fn fault(&mut self, rig: &Rig<usize>, n: usize) {
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
        self.heal(rig);
        rig.world.fail_next(call, errno, Schedule::Once);
        self.allowed.hears_late |= call == Call::Watch;
        if matches!(call, Call::Receive | Call::Send | Call::WatchRoom) {
            self.short_of = Some(call);
        }
    }

    /// One that lasts for a while. It ends with the next, or with the story.
    fn shortage(&mut self, rig: &Rig<usize>, n: usize) {
        let shortages = [
            (Call::Accept, libc::EMFILE),
            (Call::Receive, libc::ENOBUFS),
            (Call::Send, libc::ENOBUFS),
            (Call::Watch, libc::ENOSPC),
            (Call::WatchRoom, libc::ENOMEM),
        ];
        shortages.iter().for_each(|(call, _)| rig.world.heal(*call));
        self.ends_shortage();
        if let Some((call, errno)) = shortages.get(n % 8) {
            rig.world.fail_next(*call, *errno, [Schedule::FromNowOn, Schedule::Every(2)][n / 8 % 2]);
            self.allowed.hears_late |= *call == Call::Watch;
            if matches!(call, Call::Receive | Call::Send | Call::WatchRoom) {
                self.is_short_for_long = true;
            }
        }
    }

    /// What lasted for a while is over.
    pub fn ends_shortage(&mut self) {
        self.short_until = self.hand.now() + A_WHILE;
        (self.short_of, self.is_short_for_long) = (None, false);
    }

    /// A failure that passes has passed, whether it has hit anybody or not.
    pub fn heal(&mut self, rig: &Rig<usize>) {
        if let Some(call) = self.short_of.take() {
            rig.world.heal(call);
            self.short_until = rig.hand.now() + A_WHILE;
        }
    }

    /// Whether the kernel lacks memory, or has until a moment ago: a pool tries again after a while.
    pub fn is_short(&self) -> bool {
        self.is_short_for_long || self.short_of.is_some() || self.hand.now() < self.short_until
    }
}

/// A timer that is set meanwhile puts off the next attempt.
const A_WHILE: Duration = ms(100);
