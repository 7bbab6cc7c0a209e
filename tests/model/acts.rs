//! What can happen in a story: what clients and the application do, one step at a time.

use std::time::Duration;

use socketpool::net::sim::{Call, Client, Schedule};
use socketpool::{Config, Eviction, Nanos, Peer, Sent};

use super::people::{Mode, Person};
use super::story::{Model, Step};
use crate::support::{Rig, ms};

impl Model {
    pub fn act(&mut self, rig: &mut Rig<usize>, (kind, who, n): Step) {
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
            10 | 11 => rig.hand.advance(ms([1, 7, 30, 60, 130, 600][n % 6])),
            12 => self.slow = ms([1, 7, 30, 60, 130, 600][n % 6]),
            13 => self.set_mode(rig, index, Mode::ALL[n % Mode::ALL.len()]),
            14 => self.end(rig, index, n),
            15 => self.hold_or_release(rig, index, now),
            16 => self.pause_or_resume(rig, index),
            17 => self.push(rig, index, n),
            18 => self.set_own(rig, index, n),
            19 => self.reconfigure(rig, n),
            20 => self.fault(rig, n),
            21 => self.broadcast(rig),
            22 if n.is_multiple_of(8) => {
                self.drain(rig, [None, Some(ms(100)), Some(Duration::ZERO)][n / 8 % 3]);
            }
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
        if let Some(client) = &person.client {
            client.set_window(window);
        }
    }

    pub fn set_mode(&mut self, rig: &mut Rig<usize>, index: usize, mode: Mode) {
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
        } else {
            conn.pause_reading();
        }
        person.paused = !person.paused;
    }

    /// The application says something of its own accord.
    fn push(&mut self, rig: &mut Rig<usize>, index: usize, n: usize) {
        let Some(mut conn) = self.people[index].id.and_then(|id| rig.pool.get(id)) else { return };
        if conn.waiting_output() == 0 {
            self.people[index].progress = (rig.hand.now(), rig.hand.now());
        }
        let line = format!(">{n}\n");
        let sent = if n.is_multiple_of(2) { conn.send(line.as_bytes()) } else { conn.queue(line.as_bytes()) };
        // What is put aside leaves, and waits for room, from the next turn on.
        self.people[index].pushed |= !n.is_multiple_of(2);
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
            4 => config.max_per_ip = [None, Some(1), Some(3)][n / 6 % 3],
            _ => config.write_stall_timeout = [None, Some(ms(40)), Some(ms(400))][n / 6 % 3],
        };
        rig.pool.reconfigure(change).unwrap();
        self.config = rig.pool.config().clone();
        self.evicts |= self.config.eviction != Eviction::Off;
        self.most_connections = self.most_connections.max(self.config.max_connections as usize);
        // A limit that was off has counted nobody until now.
        self.most_per_ip = match (self.most_per_ip, self.config.max_per_ip) {
            (Some(before), Some(now)) => Some(before.max(now)),
            _ => None,
        };
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
        rig.world.fail_next(call, errno, Schedule::Once);
        self.hears_late |= call == Call::Watch;
    }
}
