//! A pool on a simulated world, and ways to let its loop run.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::time::Duration;

use socketpool::net::sim::{Sim, World};
use socketpool::{Builder, Clock, ConnId, Event, Hand, Reactor, Reason, Sent, SocketPool};

pub type Pool<U> = SocketPool<U, Sim>;

/// A pool, the world it is in, and the hand that turns its clock.
pub struct Rig<U> {
    pub world: World,
    pub hand: Hand,
    pub reactor: Reactor<Sim>,
    pub pool: Pool<U>,
}

/// Turns until a loop that never rests is given up on.
const MOST_TURNS: usize = 10_000;

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl<U> Rig<U> {
    /// A pool that listens.
    pub fn new(builder: Builder<U>) -> Self {
        let world = World::new();
        let (clock, hand) = Clock::manual();
        let mut reactor = Reactor::over(world.poller());
        let mut pool = builder.clock(clock).build_over(&mut reactor, world.clone()).unwrap();
        pool.listen("127.0.0.1:7000").unwrap();
        Self { world, hand, reactor, pool }
    }

    /// One turn of the loop; the events are not pulled.
    pub fn turn(&mut self) {
        self.reactor.turn(self.pool.next_timeout()).unwrap();
        self.pool.process(&mut self.reactor);
    }

    /// One turn of the loop with all its events.
    pub fn step(&mut self, mut handle: impl FnMut(&mut Pool<U>, Event<U>)) {
        self.turn();
        while let Some(event) = self.pool.next_event() {
            handle(&mut self.pool, event);
        }
    }

    /// Whether the next turn would sleep.
    pub fn is_at_rest(&self) -> bool {
        self.pool.next_timeout() != Some(Duration::ZERO) && !self.world.has_events()
    }

    /// Turns the loop until it would sleep, without any time passing.
    #[track_caller]
    pub fn settle(&mut self, mut handle: impl FnMut(&mut Pool<U>, Event<U>)) {
        for _ in 0..MOST_TURNS {
            self.step(&mut handle);
            if self.is_at_rest() {
                return;
            }
        }
        panic!("the loop never comes to rest");
    }

    /// Lets `span` pass as a sleeping loop would see it: from one of the pool's deadlines to the next.
    #[track_caller]
    pub fn pass(&mut self, span: Duration, mut handle: impl FnMut(&mut Pool<U>, Event<U>)) {
        let end = self.hand.now() + span;
        self.settle(&mut handle);
        loop {
            let left = end.since(self.hand.now());
            let sleep = self.pool.next_timeout().map_or(left, |timeout| timeout.min(left));
            self.hand.advance(sleep);
            self.settle(&mut handle);
            if self.hand.now() >= end {
                return;
            }
        }
    }
}

/// Answers every complete line with itself.
pub fn echo<U>(pool: &mut Pool<U>, event: &Event<U>) {
    if let Event::Readable(id) | Event::Writable(id) = event {
        answer(pool, *id);
    }
}

/// Receives what has come and answers every complete line with itself.
pub fn answer<U>(pool: &mut Pool<U>, id: ConnId) {
    let mut conn = pool.conn(id);
    conn.receive();
    let (mut input, mut output) = conn.split();
    while let Some(line) = input.take_through(b'\n') {
        if output.send(line) == Sent::Refused {
            return;
        }
    }
}

/// What a handler has seen, for a look at the end of a story.
#[derive(Debug, Default)]
pub struct Seen {
    pub opened: Vec<ConnId>,
    pub closed: Vec<(ConnId, Reason)>,
    pub writable: usize,
    pub read_closed: usize,
    pub drained: usize,
}

impl Seen {
    /// Notes an event.
    pub fn note<U>(&mut self, event: &Event<U>) {
        match event {
            Event::Opened(id) => self.opened.push(*id),
            Event::Closed { id, reason, .. } => self.closed.push((*id, *reason)),
            Event::Writable(_) => self.writable += 1,
            Event::ReadClosed(_) => self.read_closed += 1,
            Event::Drained => self.drained += 1,
            _ => {}
        }
    }

    /// A handler that notes everything and answers lines.
    pub fn echo<U>(&mut self) -> impl FnMut(&mut Pool<U>, Event<U>) + '_ {
        |pool, event| {
            self.note(&event);
            echo(pool, &event);
        }
    }

    pub fn reasons(&self) -> Vec<Reason> {
        self.closed.iter().map(|(_, reason)| *reason).collect()
    }
}
