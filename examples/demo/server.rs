//! The line echo server on the pool, and its books: how many connections of which crowd ended for which reason.
//!
//! A line goes back when it is whole. Everything else that a server on the open net has to do, the pool does.

use std::time::Duration;

use socketpool::{Error, Event, Eviction, ListenOptions, Reason, Refusal, SocketPool, SynProtection};

use crate::crowd::Crowd;
use crate::lines;
use crate::plan::{LINE_MAX, Plan};

/// The limits that a run sets; all others stay at their defaults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    max_connections: u32,
    first_message: Option<Duration>,
    write_stall: Option<Duration>,
    eviction: Eviction,
    /// Scores and counts addresses.
    guarded: bool,
}

impl Settings {
    pub(crate) fn of(plan: &Plan) -> Self {
        let guarded = !plan.unprotected;
        Self {
            max_connections: plan.max_connections(),
            first_message: guarded.then(|| plan.first_message()),
            write_stall: guarded.then(|| plan.write_stall()),
            eviction: if guarded { Eviction::OldestUnproven } else { Eviction::Off },
            guarded,
        }
    }

    /// Every protection on, and times at which nothing happens within a measurement.
    pub(crate) fn idle(room: u32) -> Self {
        let timeout = Some(Duration::from_secs(60));
        Self {
            max_connections: room,
            first_message: timeout,
            write_stall: timeout,
            eviction: Eviction::OldestUnproven,
            guarded: true,
        }
    }
}

/// What the server knows at some moment.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    pub(crate) opened: u64,
    pub(crate) closed: [u64; Reason::COUNT],
    pub(crate) live: u64,
    pub(crate) peak: u64,
    pub(crate) room: u64,
    pub(crate) refused: [u64; Refusal::COUNT],
    /// Connections that the server was told of. One that ends before its turn comes is opened and closed, and not told.
    pub(crate) told: u64,
    /// Ends that it was told of, by crowd.
    pub(crate) ended: Ends,
}

pub(crate) type Ends = [[u64; Reason::COUNT]; Crowd::COUNT];

/// The server.
pub(crate) struct Server {
    pool: SocketPool<Crowd>,
    port: u16,
    told: u64,
    ended: Ends,
    drained: u32,
}

impl Server {
    pub(crate) fn start(settings: &Settings) -> Result<Self, Error> {
        let mut pool = SocketPool::builder()
            .max_connections(settings.max_connections)
            .first_message_timeout(settings.first_message)
            .write_stall_timeout(settings.write_stall)
            .eviction(settings.eviction)
            .max_per_ip(settings.guarded.then_some(MOST_OF_AN_ADDRESS))
            .syn_protection(
                settings.guarded.then(|| SynProtection::default().max_global_per_second(GLOBAL_CONNECTS)),
            )
            .build()?;
        let address = pool.listen_with("127.0.0.1:0", ListenOptions::default().backlog(BACKLOG))?;
        let port = address.port().expect("it is no unix socket");
        Ok(Self { pool, port, told: 0, ended: Default::default(), drained: 0 })
    }

    /// Waits for something to happen, at most so long, and deals with it.
    pub(crate) fn turn(&mut self, wait: Duration) -> Result<(), Error> {
        self.pool.turn(Some(wait))?;
        while let Some(event) = self.pool.next_event() {
            self.handle(event);
        }
        Ok(())
    }

    pub(crate) fn drain(&mut self, deadline: Duration) {
        self.pool.drain(deadline);
    }

    /// How often the end of the drain was reported.
    pub(crate) fn drained(&self) -> u32 {
        self.drained
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Makes a turn return, from any thread.
    pub(crate) fn waker(&self) -> impl Fn() + Send + 'static {
        let handle = self.pool.handle();
        move || {
            // When the pool is gone there is nobody to wake.
            let _ = handle.wake();
        }
    }

    pub(crate) fn books(&mut self) -> Books {
        let snapshot = self.pool.snapshot();
        Books {
            opened: snapshot.counters.opened,
            closed: std::array::from_fn(|reason| snapshot.closed(Reason::ALL[reason])),
            live: snapshot.connections.now as u64,
            peak: snapshot.connections.peak as u64,
            room: snapshot.connections.limit.unwrap_or_default() as u64,
            refused: std::array::from_fn(|refusal| snapshot.refused(Refusal::ALL[refusal])),
            told: self.told,
            ended: self.ended,
        }
    }

    fn handle(&mut self, event: Event<Crowd>) {
        match event {
            Event::Opened(id) => {
                self.told += 1;
                let mut conn = self.pool.conn(id);
                if let Some(crowd) = conn.peer().ip().and_then(Crowd::of) {
                    conn.set_userdata(crowd);
                }
            }
            Event::Readable(id) => lines::echo(&mut self.pool.conn(id), LINE_MAX),
            // Who has no crowd is no client of ours, and is missed in the books.
            Event::Closed { reason, userdata: Some(crowd), .. } => {
                self.ended[crowd as usize][reason as usize] += 1;
            }
            Event::Drained => self.drained += 1,
            _ => {}
        }
    }
}

/// The crowds come all at once: what does not find room here is only tried again after a second.
const BACKLOG: u32 = 4_096;
/// A household; the flood alone comes near it.
const MOST_OF_AN_ADDRESS: u32 = 64;
/// Well above what all crowds do together, so that each address is judged by what it does itself.
const GLOBAL_CONNECTS: u32 = 10_000;
