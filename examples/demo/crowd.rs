//! The crowds at the server's door, and what one client of each does with its connection.
//!
//! A client is told when its connection stands, when the socket may be ready and when the moment it asked for has
//! come; it answers what it wants next. It neither polls nor reads the clock nor connects: that is the driver's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::honest::Honest;
use crate::plan::Plan;
use crate::tally::{Failure, Tally};
use crate::wire::{Received, receive, send};

/// Who may be at the door. Each crowd comes from a network of its own, so that the server's books can tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowd {
    /// Sends lines and checks every byte of every reply.
    Honest,
    /// Slowloris: a byte now and then, never a whole line.
    Dribbler,
    /// Connects and never says a word.
    Silent,
    /// Sends lines and never reads a reply.
    Deaf,
    /// One address that connects as fast as it may and holds next to nothing.
    Flood,
}

impl Crowd {
    pub(crate) const ALL: [Self; 5] = [Self::Honest, Self::Dribbler, Self::Silent, Self::Deaf, Self::Flood];
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// The crowd whose network 127.x.0.0/16 the address lies in.
    pub(crate) fn of(ip: IpAddr) -> Option<Self> {
        let IpAddr::V4(ip) = ip else { return None };
        match ip.octets() {
            [127, network, ..] => Self::ALL.get(usize::from(network)).copied(),
            _ => None,
        }
    }

    /// One of the 65,000 addresses of the crowd's network.
    pub(crate) fn address(self, number: u32) -> Ipv4Addr {
        let host = 1 + number % 65_000;
        Ipv4Addr::from(0x7f00_0000 | (self as u32) << 16 | host)
    }

    /// The client with this number in the crowd.
    pub(crate) fn client(self, number: u32, plan: &Plan) -> Box<dyn Client> {
        match self {
            Self::Honest => Box::new(Honest::new(number, plan.seed)),
            Self::Dribbler => Box::new(Dribbler { hops: number * HOPS, every: plan.dribble_every() }),
            Self::Silent => Box::new(Silent { hops: number * HOPS }),
            Self::Deaf => Box::new(Deaf { number, lines: deaf_lines(), sent: 0 }),
            Self::Flood => Box::new(Flood),
        }
    }

    /// How long a client of this crowd waits for its connection to stand.
    pub(crate) fn patience(self) -> Duration {
        match self {
            Self::Honest => Duration::from_secs(1),
            _ => Duration::from_secs(5),
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::Dribbler => "slowloris",
            Self::Silent => "silent",
            Self::Deaf => "never_reads",
            Self::Flood => "flood",
        }
    }
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One client of a crowd; it outlives its connections.
pub(crate) trait Client {
    /// The address that its next connection comes from.
    fn source(&mut self) -> Ipv4Addr;

    /// The connection stands; it was begun at `since`.
    fn connected(&mut self, visit: &mut Visit<'_>, since: Instant) -> Next;

    /// The socket may have become readable or writable.
    fn ready(&mut self, visit: &mut Visit<'_>) -> Next;

    /// The moment it asked for with [`Next::At`] has come.
    fn due(&mut self, visit: &mut Visit<'_>) -> Next;

    /// The server is about to drain: from here on no request may be begun. The last one may be begun in this call.
    fn quiet(&mut self, _visit: &mut Visit<'_>) -> Next {
        Next::Wait
    }

    /// Is there a request without its whole reply?
    fn is_asking(&self) -> bool {
        false
    }

    /// Room that the kernel is told to keep for bytes unread and unsent; `None` leaves it at what the system gives.
    fn kernel_room(&self) -> Option<(usize, usize)> {
        None
    }

    /// Leaves with a reset instead of an orderly end.
    fn leaves_by_reset(&self) -> bool {
        false
    }
}

/// What a client may use while it is being called.
pub(crate) struct Visit<'a> {
    pub(crate) stream: &'a mut TcpStream,
    pub(crate) tally: &'a mut Tally,
    /// Where received bytes are put; holds nothing between two calls.
    pub(crate) scratch: &'a mut [u8],
    pub(crate) now: Instant,
    /// The server is about to drain or does so already.
    pub(crate) quiet: bool,
    /// It has drained.
    pub(crate) over: bool,
}

/// What a client wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// To be called when the socket is ready, or at the moment it has asked for before.
    Wait,
    /// The same, but at this moment.
    At(Instant),
    /// To close the connection and to come back.
    Leave,
    /// To come back: the server has closed the connection, which it was free to do.
    Cut,
    /// To come back: the server has done what it must not do to this client.
    Failed(Failure),
}

struct Dribbler {
    hops: u32,
    /// From one byte to the next.
    every: Duration,
}

impl Client for Dribbler {
    fn source(&mut self) -> Ipv4Addr {
        hop(Crowd::Dribbler, &mut self.hops)
    }

    fn connected(&mut self, visit: &mut Visit<'_>, _since: Instant) -> Next {
        self.due(visit)
    }

    fn ready(&mut self, visit: &mut Visit<'_>) -> Next {
        listen(visit)
    }

    fn due(&mut self, visit: &mut Visit<'_>) -> Next {
        match send(visit.stream, b"x") {
            Ok(_) => Next::At(visit.now + self.every),
            Err(_) => Next::Cut,
        }
    }
}

struct Silent {
    hops: u32,
}

impl Client for Silent {
    fn source(&mut self) -> Ipv4Addr {
        hop(Crowd::Silent, &mut self.hops)
    }

    fn connected(&mut self, _visit: &mut Visit<'_>, _since: Instant) -> Next {
        Next::Wait
    }

    fn ready(&mut self, visit: &mut Visit<'_>) -> Next {
        listen(visit)
    }

    fn due(&mut self, _visit: &mut Visit<'_>) -> Next {
        Next::Wait
    }
}

struct Deaf {
    number: u32,
    /// What it sends over and over.
    lines: Vec<u8>,
    /// Bytes of them that have left in this round.
    sent: usize,
}

impl Client for Deaf {
    fn source(&mut self) -> Ipv4Addr {
        Crowd::Deaf.address(self.number)
    }

    fn connected(&mut self, visit: &mut Visit<'_>, _since: Instant) -> Next {
        self.sent = 0;
        self.due(visit)
    }

    /// It never reads, and what it can send can wait for the next moment.
    fn ready(&mut self, visit: &mut Visit<'_>) -> Next {
        if visit.over { self.due(visit) } else { Next::Wait }
    }

    /// In the end it reads after all: with its window shut its kernel would not take the news that it is the end.
    fn due(&mut self, visit: &mut Visit<'_>) -> Next {
        if visit.over {
            return listen(visit);
        }
        for _ in 0..DEAF_SENDS_AT_ONCE {
            match send(visit.stream, &self.lines[self.sent..]) {
                Ok(0) => break,
                Ok(n) => self.sent = (self.sent + n) % self.lines.len(),
                Err(_) => return Next::Cut,
            }
        }
        Next::At(visit.now + DEAF_EVERY)
    }

    fn kernel_room(&self) -> Option<(usize, usize)> {
        Some((DEAF_UNREAD, DEAF_UNSENT))
    }
}

struct Flood;

impl Client for Flood {
    fn source(&mut self) -> Ipv4Addr {
        Crowd::Flood.address(0)
    }

    fn connected(&mut self, visit: &mut Visit<'_>, _since: Instant) -> Next {
        Next::At(visit.now + FLOOD_HOLD)
    }

    fn ready(&mut self, visit: &mut Visit<'_>) -> Next {
        listen(visit)
    }

    fn due(&mut self, _visit: &mut Visit<'_>) -> Next {
        Next::Leave
    }

    /// Else its ports would stand in TIME_WAIT for a minute and the flood would dry up.
    fn leaves_by_reset(&self) -> bool {
        true
    }
}

fn deaf_lines() -> Vec<u8> {
    let mut line = [b'd'; DEAF_LINE];
    line[DEAF_LINE - 1] = b'\n';
    line.repeat(DEAF_LINES)
}

/// Waits for the end and throws away what comes before it.
fn listen(visit: &mut Visit<'_>) -> Next {
    loop {
        match receive(visit.stream, visit.scratch) {
            Received::Bytes(_) => {}
            Received::Nothing => return Next::Wait,
            Received::Ended => return Next::Cut,
        }
    }
}

/// An attacker who owns many addresses takes another one each time, so that no score of an address stops it.
fn hop(crowd: Crowd, hops: &mut u32) -> Ipv4Addr {
    *hops = hops.wrapping_add(1);
    crowd.address(*hops)
}

/// Addresses that a hopping client moves on by before it meets those of the next client.
const HOPS: u32 = 97;
const DEAF_LINE: usize = 4_096;
const DEAF_LINES: usize = 16;
/// Some 5 MB a second, so that the megabytes which the server's kernel keeps of unsent replies are full soon.
const DEAF_SENDS_AT_ONCE: usize = 4;
const DEAF_EVERY: Duration = Duration::from_millis(50);
/// Small, so that its replies pile up at the server and not in its own kernel.
const DEAF_UNREAD: usize = 4_096;
/// An attacker's kernel is another machine's. Here it is the server's too, and with megabytes unsent for each of
/// hundreds it would come to want of memory, and drop what the honest send.
const DEAF_UNSENT: usize = 64 << 10;
const FLOOD_HOLD: Duration = Duration::from_millis(20);
