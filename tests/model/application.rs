//! What the application does with the lines of a connection, in every way in which one may: answers before or after it
//! takes, in pieces, all together, not at all. Keeps account of what it was shown and of what it sent.

use socketpool::net::sim::Sim;
use socketpool::{ConnId, Connection, Nanos, OverRate, Proof, Sent};

use super::people::{Mode, Person};
use super::rates::Ledger;
use super::story::Model;
use crate::support::Pool;

type Conn<'a> = Connection<'a, usize, Sim>;

/// How far the application has got with what there was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Got {
    /// All whole lines are used up.
    Through,
    /// It leaves some: for lack of room, for a rate, or of its own will.
    Stuck,
    /// It has closed the connection.
    Closed,
}

impl Model {
    /// Receives, and does with every complete line what this person's mode says.
    pub fn serve(&mut self, pool: &mut Pool<usize>, id: ConnId, now: Nanos) {
        let index = self.live[&id];
        let person = &mut self.people[index];
        if person.is_left {
            return;
        }
        person.is_stuck = true;
        if person.mode == Mode::Forget {
            return;
        }
        if !person.owed.is_empty() {
            // Since when the message behind it could be looked at is not known: that one is not counted.
            person.shown = Some(person.used);
        }
        let mut conn = pool.conn(id);
        assert_eq!(conn.userdata(), Some(&index));
        if conn.waiting_output() == 0 {
            // What is answered now waits since now, however long ago it was asked.
            person.progress = (self.hand.now(), self.hand.now());
            // What is put aside leaves, and waits for room, when the connection is put in order.
            person.pushed |= person.mode == Mode::Queue;
        }
        let received = conn.receive();
        person.note_received(received, now);
        self.ledger.received(person, received, now);
        if self.config.over_rate == OverRate::Ask || !conn.input().is_empty() {
            let ask = self.config.over_rate == OverRate::Ask && person.mode == Mode::Asking;
            let most = (self.config.max_input, self.config.max_output);
            let got = answer(&mut conn, person, &mut self.ledger, most, ask, now);
            person.is_stuck = got == Got::Stuck;
            person.done.closed |= got == Got::Closed;
        } else if person.mode != Mode::Hoard {
            // Nothing is shown; what is owed is not held back by that.
            person.is_stuck = pay(&mut conn, person) == Got::Stuck;
        }
        self.look_on(&mut conn, index, now);
        let person = &mut self.people[index];
        if person.read_closed && person.held && !person.waits_for_answers() && !person.done.closed {
            conn.release();
            person.let_go = self.hand.now();
            person.moved = self.hand.now();
            person.held = false;
        }
    }

    /// What the application sees when it has done something: the next message, if it is shown.
    pub fn look_on(&mut self, conn: &mut Conn<'_>, index: usize, now: Nanos) {
        let person = &mut self.people[index];
        person.proven |= conn.is_proven();
        if person.owed.is_empty() && !person.mode.leaves_operations_open() && !conn.input().is_empty() {
            self.ledger.shown(person, now);
        }
        if person.mode.leaves_operations_open() {
            // What this takes no operation for is not counted, nor what comes behind it.
            person.shown = Some(person.used);
        }
        // The end of an event completes what was used up.
        person.pending &= self.config.proof == Proof::Answered;
    }

    pub fn read_closed(&mut self, pool: &mut Pool<usize>, id: ConnId, now: Nanos) {
        let index = self.live[&id];
        assert!(self.people[index].done.finished || self.people[index].done.reset, "{id} has not finished");
        assert!(!self.people[index].read_closed, "the end of {id} is told twice");
        self.people[index].read_closed = true;
        self.serve(pool, id, now);
        if self.people[index].waits_for_answers() && !self.people[index].done.closed {
            self.people[index].held = true;
            pool.conn(id).hold();
        }
    }
}

/// Answers whole lines as `person.mode` says.
fn answer(
    conn: &mut Conn<'_>,
    person: &mut Person,
    ledger: &mut Ledger,
    (max_input, max_output): (usize, usize),
    ask: bool,
    now: Nanos,
) -> Got {
    if person.mode == Mode::Hoard {
        ledger.shown(person, now);
        return Got::Stuck;
    }
    let mut lines = 0;
    loop {
        if pay(conn, person) == Got::Stuck {
            return Got::Stuck;
        }
        let seen = conn.input();
        let unused = &person.said[person.used..];
        assert!(unused.starts_with(seen), "input is out of order: {person:?}");
        let Some(end) = whole(seen, person.mode) else { break };
        if person.mode == Mode::OneByOne && lines == 1 {
            conn.again();
            return Got::Stuck;
        }
        if end > max_output && !person.mode.is_silent() {
            // Its answer would never fit.
            conn.close();
            return Got::Closed;
        }
        let line = seen[..end].to_vec();
        if ask && !ledger.asked(conn, person, now) {
            return Got::Stuck;
        }
        ledger.shown(person, now);
        if !one(conn, person, line) {
            return Got::Stuck;
        }
        lines += 1;
    }
    if conn.input().len() >= max_input {
        conn.close();
        return Got::Closed;
    }
    Got::Through
}

/// Where what is taken next ends: a line, or as many as there are.
fn whole(seen: &[u8], mode: Mode) -> Option<usize> {
    let is_end = |byte: &u8| *byte == b'\n';
    let end =
        if mode == Mode::TakeAll { seen.iter().rposition(is_end) } else { seen.iter().position(is_end) };
    end.map(|end| end + 1)
}

/// Handles one line. Returns whether it was taken.
fn one(conn: &mut Conn<'_>, person: &mut Person, line: Vec<u8>) -> bool {
    let sent = match person.mode {
        Mode::Queue => conn.queue(&line),
        Mode::Shared => conn.send_bytes(line.clone().into()),
        Mode::Split => {
            let (mut input, mut output) = conn.split();
            assert_eq!(input.take_through(b'\n'), Some(&line[..]));
            let sent = output.send(&line);
            person.used += line.len();
            if sent == Sent::Refused {
                person.owed = line;
                return false;
            }
            person.took(&line);
            return true;
        }
        Mode::ConsumeFirst | Mode::Pieces | Mode::TakeAll | Mode::Silent | Mode::Finish => {
            conn.consume(line.len());
            person.used += line.len();
            match person.mode {
                Mode::Silent => person.pending = true,
                Mode::Finish => conn.finish_operation(),
                _ => person.owed = line,
            }
            return true;
        }
        _ => conn.send(&line),
    };
    if sent == Sent::Refused {
        return false;
    }
    conn.consume(line.len());
    person.used += line.len();
    person.took(&line);
    true
}

/// Sends what is owed for lines that are used up.
fn pay(conn: &mut Conn<'_>, person: &mut Person) -> Got {
    while !person.owed.is_empty() {
        let piece = match person.mode {
            // Where all of it fits, so that no news come between the pieces.
            Mode::Pieces if conn.waiting_output() == 0 => person.owed.len().div_ceil(2),
            _ => person.owed.len(),
        };
        if conn.send(&person.owed[..piece]) == Sent::Refused {
            return Got::Stuck;
        }
        let rest = person.owed.split_off(piece);
        let sent = std::mem::replace(&mut person.owed, rest);
        person.took(&sent);
    }
    Got::Through
}
