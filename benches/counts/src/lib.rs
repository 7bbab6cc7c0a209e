//! What the benches share: pools with every protection on or off, and a net that costs next to nothing, so that what is
//! counted is the pool.

mod mill;
pub mod ratios;

/// The library's lower rooms, compiled from their sources, since they are not public. They look for each other at the
/// root of their crate. This is not done in a bench because those are compiled with `cfg(test)`.
#[path = "../../../src"]
#[allow(dead_code, unused_imports, unreachable_pub)]
mod rooms {
    pub mod admission;
    pub mod bucket;
    pub mod buffer;
    pub mod clock;
    pub mod error;
    pub mod hash;
    pub mod peer;
    pub mod reason;
    pub mod timer;
}
use rooms::{admission, bucket, buffer, clock, error, hash, peer, reason, timer};

use std::time::Duration;

use socketpool::net::Net;
use socketpool::{
    Builder, ByteRate, Clock, Event, Eviction, OverRate, Rate, Reactor, ReadStall, SocketPool, SynProtection,
};

pub use mill::{Mill, MillStream, Works};

/// Which of a pool's protections are on. Counters and the latency histogram cannot be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protections {
    /// All of them.
    On,
    /// All but the rates of bytes.
    WithoutByteRates,
    /// None.
    Off,
}

impl Protections {
    /// A builder with so many slots.
    pub fn builder(self, capacity: u32) -> Builder<()> {
        let bare = SocketPool::<()>::builder().max_connections(capacity);
        if self == Self::Off {
            return bare
                .first_message_timeout(None)
                .idle_timeout(None)
                .write_stall_timeout(None)
                .eviction(Eviction::Off);
        }
        // As many as it takes to bring in a million at once.
        let syn = SynProtection::default()
            .max_global_per_second(1_000_000)
            // The real sockets of a bench all come from one address.
            .whitelist("127.0.0.0/8".parse().expect("a network"));
        let guarded = bare
            .idle_timeout(Duration::from_secs(60))
            .lifetime(Duration::from_secs(3600))
            .read_stall(ReadStall::default())
            .max_buffer_bytes(64 << 20)
            .operation_rate(Rate::per_second(1_000).burst(10_000))
            // Never full again once it has been used, as in a server with something to do.
            .pool_operation_rate(Rate::per_second(10_000).burst(100_000_000))
            .over_rate(OverRate::Delay)
            .accept_rate(Rate::per_second(100_000).burst(10_000_000))
            .max_per_ip(1_000_000)
            .deny([
                "198.51.100.0/24".parse().expect("a network"),
                "2001:db8::/32".parse().expect("a network"),
            ])
            .syn_protection(syn);
        if self == Self::WithoutByteRates {
            return guarded;
        }
        guarded
            .received_rate(ByteRate::per_second(10_000_000).burst(1 << 20))
            .sent_rate(ByteRate::per_second(10_000_000).burst(1 << 20))
    }
}

/// Hands out what a turn has found and echoes it, as an application would. Returns how many requests it answered.
///
/// Generic, so it is compiled with the bench; the benches wrap it in functions that are not inlined and count those.
#[inline(always)]
pub fn echo<N: Net>(pool: &mut SocketPool<(), N>) -> usize {
    let mut answered = 0;
    while let Some(event) = pool.next_event() {
        if let Event::Readable(id) = event {
            let mut conn = pool.conn(id);
            conn.receive();
            let (mut input, mut output) = conn.split();
            if let Some(request) = input.take(REQUEST_BYTES) {
                let _ = output.send(request);
                answered += 1;
            }
        }
    }
    answered
}

/// A pool on the mill, with its reactor.
#[derive(Debug)]
pub struct Plant {
    pub pool: SocketPool<(), Mill>,
    pub reactor: Reactor<Mill>,
    pub works: Works,
}

impl Plant {
    /// A pool for `capacity` connections, of which `live` are open. Those that answer to a turn are the first 64.
    #[must_use]
    pub fn new(protections: Protections, live: u32, capacity: u32) -> Self {
        // Valgrind takes a minute to bring a million in; for the pool it is a second, which refills its buckets.
        let (clock, hand) = Clock::manual();
        let works = Works::new();
        let mut reactor = Reactor::over(works.poller());
        let mut pool = protections
            .builder(capacity)
            .clock(clock)
            .build_over(&mut reactor, works.clone())
            .expect("limits of a bench are valid");
        pool.listen("127.0.0.1:0").expect("the mill listens on anything");
        let mut plant = Self { pool, reactor, works };
        for _ in 0..live {
            plant.add();
        }
        hand.advance(Duration::from_secs(1));
        plant.settle();
        plant
    }

    /// One more connection, from an address of its own.
    pub fn add(&mut self) -> socketpool::ConnId {
        let (stream, peer) = self.works.newcomer();
        self.pool.add_stream(stream, peer).expect("there is room")
    }

    /// Turns until nothing is left to tell.
    pub fn settle(&mut self) {
        loop {
            self.reactor.turn(Some(Duration::ZERO)).expect("the mill does not fail");
            self.pool.process(&mut self.reactor);
            let mut told = 0;
            while self.pool.next_event().is_some() {
                told += 1;
            }
            if told == 0 {
                return;
            }
        }
    }
}

/// The size of a request and of its answer.
pub const REQUEST_BYTES: usize = 64;
/// How many connections have a request in each turn.
pub const READY_A_TURN: usize = 64;
