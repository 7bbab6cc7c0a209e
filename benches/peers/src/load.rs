//! The load: many connections in a closed loop, or many short ones after each other.
//!
//! Runs in the runner's own process on the other core. It never sleeps while replies are due, and drops the bytes of
//! replies unread, so that it keeps ahead of the server it drives; what replies *say* is checked when a connection is
//! new. It does not know which server it talks to and measures nothing.

use crate::sys::{self, Epoll, Events};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// What one connection sends at a time.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub connections: usize,
    /// Bytes of a request, and of its reply.
    pub size: usize,
    /// Requests that leave together, before the replies to them are awaited.
    pub depth: usize,
}

/// When a run ends. Replies that are still due are awaited in either case, so every request sent is a request served.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Elapsed(Duration),
    Requests(u64),
}

/// The client's side of the connections to one server.
pub struct Clients {
    connections: Vec<Connection>,
    epoll: Epoll,
    events: Events,
}

struct Connection {
    socket: OwnedFd,
    /// Bytes of replies that have not come yet.
    due: usize,
}

impl Clients {
    /// Connects without sending anything. The server need not accept them as long as the backlog has room.
    pub fn connect(target: SocketAddrV4, n: usize, peers: Peers) -> io::Result<Self> {
        let mut clients = Self::none()?;
        clients.connect_more(target, n, peers)?;
        Ok(clients)
    }

    /// Connects to a *serving* server and has one checked exchange on each connection, in steps that its backlog can hold.
    pub fn connect_and_greet(target: SocketAddrV4, shape: Shape, peers: Peers) -> io::Result<Self> {
        let mut clients = Self::none()?;
        while clients.connections.len() < shape.connections {
            let old = clients.connections.len();
            clients.connect_more(target, STEP.min(shape.connections - old), peers)?;
            clients.greet_from(old, shape.size)?;
        }
        Ok(clients)
    }

    pub fn connect_more(&mut self, target: SocketAddrV4, n: usize, peers: Peers) -> io::Result<()> {
        self.connections.reserve(n);
        for _ in 0..n {
            let socket = sys::connect(peers.address(self.connections.len()), target)?;
            sys::reset_on_close(socket.as_raw_fd())?;
            self.connections.push(Connection { socket, due: 0 });
        }
        Ok(())
    }

    /// One exchange on each connection, every byte of the reply compared.
    pub fn greet(&mut self, size: usize) -> io::Result<()> {
        self.greet_from(0, size)
    }

    /// The closed loop. Answers the number of requests served.
    pub fn run(&mut self, shape: Shape, until: Until) -> io::Result<u64> {
        self.watch()?;
        let request = line(b'r', shape.size).repeat(shape.depth);
        let begin = Instant::now();
        let mut served = 0;
        let mut busy = self.connections.len();
        for connection in &mut self.connections {
            connection.ask(&request)?;
        }
        let mut progress = begin;
        while busy > 0 {
            let events = self.epoll.wait(&mut self.events, 0)?;
            let now = Instant::now();
            if !events.is_empty() {
                progress = now;
            } else if now - progress > PATIENCE {
                return Err(io::Error::other(format!("no reply for {PATIENCE:?}, {busy} connections wait")));
            }
            for event in events {
                let connection = &mut self.connections[event.u64 as usize];
                if !connection.take_reply()? {
                    continue;
                }
                served += shape.depth as u64;
                if until.goes_on(now - begin, served) {
                    connection.ask(&request)?;
                } else {
                    busy -= 1;
                }
            }
        }
        Ok(served)
    }

    fn none() -> io::Result<Self> {
        Ok(Self { connections: Vec::new(), epoll: Epoll::new()?, events: Events::with_capacity(EVENTS) })
    }

    /// Only now, and only here: a socket in an epoll set makes the server's sends and closes dearer.
    fn watch(&mut self) -> io::Result<()> {
        for (tag, connection) in self.connections.iter().enumerate() {
            match self.epoll.add(connection.socket.as_raw_fd(), EDGE, tag as u64) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn greet_from(&self, first: usize, size: usize) -> io::Result<()> {
        let mut reply = vec![0; size];
        for (n, connection) in self.connections.iter().enumerate().skip(first) {
            let mut request: Vec<u8> = (0..size).map(|i| b'a' + ((i + n) % 26) as u8).collect();
            request[size - 1] = b'\n';
            exchange(connection.socket.as_raw_fd(), &request, &mut reply)?;
        }
        Ok(())
    }
}

impl Connection {
    fn ask(&mut self, request: &[u8]) -> io::Result<()> {
        let sent = sys::send(self.socket.as_raw_fd(), request)?;
        if sent != request.len() {
            return Err(io::Error::other("a request did not fit into the socket buffer"));
        }
        self.due = sent;
        Ok(())
    }

    /// True when nothing is due any more.
    fn take_reply(&mut self) -> io::Result<bool> {
        match sys::discard(self.socket.as_raw_fd()) {
            Ok(0) => Err(io::Error::other("the server closed a connection that was in use")),
            Ok(n) if n > self.due => Err(io::Error::other("the server sent more than it was asked for")),
            Ok(n) => {
                self.due -= n;
                Ok(self.due == 0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Until {
    fn goes_on(self, elapsed: Duration, served: u64) -> bool {
        match self {
            Self::Elapsed(limit) => elapsed < limit,
            Self::Requests(limit) => served < limit,
        }
    }
}

/// The source addresses that clients connect from, in turn.
#[derive(Clone, Copy, Debug)]
pub struct Peers(u32);

impl Peers {
    /// At most 65,000 addresses, from 127.1.0.1 on.
    pub fn new(addresses: u32) -> Result<Self, String> {
        if (1..=65_000).contains(&addresses) {
            Ok(Self(addresses))
        } else {
            Err(format!("{addresses} source addresses: 1 to 65,000 are possible"))
        }
    }

    fn address(self, n: usize) -> Ipv4Addr {
        Ipv4Addr::from_bits(FIRST_PEER.to_bits() + n as u32 % self.0)
    }
}

/// Short connections: connect, one request, its reply, close; `at_once` of them at any time, `total` in all.
///
/// The client closes first and in the ordinary way (FIN), so the server's path is the one that real peers take and
/// TIME_WAIT stays on the client's side, where each source address has ports of its own. The kernel remembers
/// 131,072 of them (net.ipv4.tcp_max_tw_buckets) for a minute, which bounds how many a row should make.
pub fn churn(target: SocketAddrV4, total: u64, at_once: usize, peers: Peers) -> io::Result<()> {
    let epoll = Epoll::new()?;
    let mut events = Events::with_capacity(EVENTS);
    let mut open: Vec<Option<Connection>> = Vec::new();
    let mut started = 0;
    let mut start = |place: usize| -> io::Result<Option<Connection>> {
        if started == total {
            return Ok(None);
        }
        let socket = sys::connect(peers.address(started as usize), target)?;
        started += 1;
        epoll.add(socket.as_raw_fd(), EDGE, place as u64)?;
        let mut connection = Connection { socket, due: 0 };
        connection.ask(&line(b'c', CHURN_SIZE))?;
        Ok(Some(connection))
    };
    for place in 0..at_once {
        open.push(start(place)?);
    }
    let mut served = 0;
    let mut progress = Instant::now();
    while served < total {
        let ready = epoll.wait(&mut events, 0)?;
        if !ready.is_empty() {
            progress = Instant::now();
        } else if progress.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("no reply for {PATIENCE:?} after {served} connections")));
        }
        for event in ready {
            let place = event.u64 as usize;
            let Some(connection) = &mut open[place] else { continue };
            if connection.take_reply()? {
                served += 1;
                open[place] = None;
                open[place] = start(place)?;
            }
        }
    }
    Ok(())
}

/// Requests are lines, since some servers answer nothing else.
fn line(letter: u8, size: usize) -> Vec<u8> {
    let mut line = vec![letter; size];
    line[size - 1] = b'\n';
    line
}

fn exchange(fd: i32, request: &[u8], reply: &mut [u8]) -> io::Result<()> {
    sys::receive_timeout(fd, PATIENCE)?;
    sys::send(fd, request)?;
    let mut have = 0;
    while have < reply.len() {
        match sys::recv(fd, &mut reply[have..])? {
            0 => return Err(io::Error::other("the server closed a new connection")),
            n => have += n,
        }
    }
    if reply == request { Ok(()) } else { Err(io::Error::other("a reply differs from its request")) }
}

const EDGE: u32 = (libc::EPOLLIN | libc::EPOLLET) as u32;
const EVENTS: usize = 1_024;

/// Connections made before the server is known to have accepted them: well below its backlog of 4,096.
const STEP: usize = 1_000;

/// A server that is silent for so long has lost a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of the one request that a short connection makes.
const CHURN_SIZE: usize = 64;

/// Everything below 127/8 is this machine. 127.0.0.1 is the server's.
const FIRST_PEER: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
