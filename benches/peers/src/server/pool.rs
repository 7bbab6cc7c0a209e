//! The echo server on the pool: with everything on that it has against bad peers, or with everything off.
//!
//! *On* means that every check runs and no limit fires (DECISIONS 43): each limit lies just above what a row can reach,
//! never at a value that would let the pool skip the check.

use super::{BACKLOG, Server};
use crate::sys;
use socketpool::{
    Builder, ByteRate, Cidr, Event, Eviction, ListenOptions, OverRate, Rate, ReadStall, Sent, SocketPool,
    SynProtection,
};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub struct Pool {
    pool: SocketPool<()>,
    address: SocketAddr,
}

impl Pool {
    pub fn protected(capacity: usize) -> io::Result<Self> {
        let deny: Vec<Cidr> =
            DENIED.iter().map(|cidr| cidr.parse().expect("the list is well-formed")).collect();
        Self::start(
            builder(capacity)
                .eviction(Eviction::OldestUnproven)
                .first_message_timeout(LONG)
                .idle_timeout(LONG)
                .lifetime(LONG)
                .read_stall(ReadStall::default())
                .write_stall_timeout(LONG)
                .max_buffer_bytes(1 << 30)
                .operation_rate(OFTEN)
                .pool_operation_rate(OFTEN)
                .over_rate(OverRate::Delay)
                .received_rate(WIDE)
                .sent_rate(WIDE)
                .accept_rate(OFTEN)
                .max_per_ip(65_535)
                .deny(deny)
                .syn_protection(
                    SynProtection::default()
                        .max_attempts(10_000)
                        .max_global_per_second(1_000_000)
                        .attempt_penalty(0.000_001),
                ),
        )
    }

    pub fn unprotected(capacity: usize) -> io::Result<Self> {
        Self::start(
            builder(capacity)
                .eviction(Eviction::Off)
                .first_message_timeout(None)
                .idle_timeout(None)
                .write_stall_timeout(None),
        )
    }

    fn start(builder: Builder<()>) -> io::Result<Self> {
        let mut pool = builder.build().map_err(io::Error::other)?;
        let address = pool
            .listen_with("127.0.0.1:0", ListenOptions::default().backlog(BACKLOG))
            .map_err(io::Error::other)?;
        let address = address.tcp().expect("a TCP address was asked for");
        Ok(Self { pool, address })
    }

    /// One turn and all its events.
    fn turn(&mut self, timeout: Option<Duration>) -> io::Result<Seen> {
        self.pool.turn(timeout).map_err(io::Error::other)?;
        let mut seen = Seen::default();
        while let Some(event) = self.pool.next_event() {
            match event {
                Event::Readable(id) => {
                    let mut conn = self.pool.conn(id);
                    // Nothing comes from a peer that has reset its connection; its end is told later.
                    let n = conn.receive();
                    if n > 0 {
                        let (mut input, mut output) = conn.split();
                        let bytes = input.take(n).expect("what was received is there");
                        if output.send(bytes) == Sent::Refused {
                            // It has reset its connection, or does not read what it asked for; the load sees it.
                            conn.close();
                        }
                    }
                }
                Event::Opened(_) => seen.opened += 1,
                Event::Drained => seen.drained = true,
                _ => {}
            }
        }
        Ok(seen)
    }
}

/// What the events of a turn amounted to.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    opened: usize,
    drained: bool,
}

impl Server for Pool {
    fn address(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn accept(&mut self, n: usize) -> io::Result<()> {
        let mut opened = 0;
        while opened < n {
            match self.turn(Some(PATIENCE))?.opened {
                0 => return Err(io::Error::other(format!("{opened} of {n} connections were let in"))),
                more => opened += more,
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> io::Result<Duration> {
        self.pool.drain(None);
        let mut longest = Duration::ZERO;
        loop {
            let begin = sys::own_cpu()?;
            let drained = self.turn(Some(PATIENCE))?.drained;
            longest = longest.max(sys::own_cpu()? - begin);
            if drained {
                return Ok(longest);
            }
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            self.turn(None)?;
        }
    }
}

fn builder(capacity: usize) -> Builder<()> {
    SocketPool::builder().max_connections(u32::try_from(capacity).expect("rows stay below 2^32"))
}

const LONG: Duration = Duration::from_secs(600);

/// The most that a rate can be: well above what one core serves.
const OFTEN: Rate = Rate::per_second(1_000_000);

const WIDE: ByteRate = ByteRate::per_second(10_000_000_000).burst(1_000_000_000);

/// Networks that no row connects from.
const DENIED: [&str; 4] = ["10.0.0.0/8", "192.0.2.0/24", "198.51.100.7", "2001:db8::/32"];

/// No turn of a row waits for so long, if the pool does what it should.
const PATIENCE: Duration = Duration::from_secs(5);
