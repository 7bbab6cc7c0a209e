//! A crowd of hostile clients, driven by one thread: each connects, does what its manner says, and comes back at once
//! when it is cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

/// What each client of a crowd does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Sends an unfinished line, and one more byte of it each second.
    Dribble,
    /// Completes one line and then says nothing.
    LineThenHold,
}

impl Manner {
    const fn opening(self) -> &'static [u8] {
        match self {
            Self::Dribble => b"x",
            Self::LineThenHold => b"hello\n",
        }
    }
}

/// What a crowd has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) connects: u64,
    /// Connections that the server ended.
    pub(crate) cuts: u64,
    pub(crate) answers: u64,
}

/// A crowd at work in a thread of its own.
#[derive(Debug)]
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

impl Crowd {
    pub(crate) fn start(manner: Manner, count: usize, source: Ipv4Addr, target: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || Driver::new(manner, count, source, target).run(&seen));
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a crowd does not panic")
    }
}

struct Driver {
    manner: Manner,
    source: Ipv4Addr,
    target: SocketAddr,
    poll: Poll,
    clients: Vec<Option<Client>>,
    tally: Tally,
}

struct Client {
    stream: TcpStream,
    greeted: bool,
}

impl Client {
    /// Says its opening once it can; whether it has. A connection that is over shows that when it is read from.
    fn greet(&mut self, manner: Manner) -> bool {
        if !self.greeted {
            let waits = |error: &std::io::Error| {
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
            };
            self.greeted = !self.stream.write(manner.opening()).is_err_and(|error| waits(&error));
        }
        self.greeted
    }
}

impl Driver {
    fn new(manner: Manner, count: usize, source: Ipv4Addr, target: SocketAddr) -> Self {
        let clients = (0..count).map(|_| None).collect();
        let poll = Poll::new().expect("a poller");
        Self { manner, source, target, poll, clients, tally: Tally::default() }
    }

    fn run(mut self, stop: &AtomicBool) -> Tally {
        let mut events = Events::with_capacity(1024);
        let (start, mut nudged) = (Instant::now(), 0);
        for place in 0..self.clients.len() {
            self.come(place);
        }
        while !stop.load(Ordering::Relaxed) {
            self.poll.poll(&mut events, Some(Duration::from_millis(10))).expect("a working poller");
            for event in &events {
                self.serve(event.token().0);
            }
            // Everybody once a second, spread over it.
            let due = (start.elapsed().as_millis() as usize * self.clients.len()) / 1000;
            for nudge in nudged..due {
                self.nudge(nudge % self.clients.len());
            }
            nudged = due;
        }
        self.tally
    }

    fn come(&mut self, place: usize) {
        self.clients[place] = None;
        let Ok(stream) = self.connect() else { return };
        self.tally.connects += 1;
        let mut client = Client { stream, greeted: false };
        // On loopback it may be through already; who greets late is taken for a silent one.
        client.greet(self.manner);
        let both = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut client.stream, Token(place), both).is_ok() {
            self.clients[place] = Some(client);
        }
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from((self.source, 0)).into())?;
        match socket.connect(&self.target.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(TcpStream::from_std(socket.into())),
        }
    }

    fn serve(&mut self, place: usize) {
        let Some(client) = &mut self.clients[place] else { return };
        if !client.greet(self.manner) {
            return;
        }
        let mut bytes = [0; 64];
        match client.stream.read(&mut bytes) {
            Ok(1..) => self.tally.answers += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => self.cut(place),
        }
    }

    fn cut(&mut self, place: usize) {
        self.tally.cuts += 1;
        self.come(place);
    }

    fn nudge(&mut self, place: usize) {
        match &mut self.clients[place] {
            None => self.come(place),
            Some(client) if client.greeted && self.manner == Manner::Dribble => {
                if client.stream.write(b"x").is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
                    self.cut(place);
                }
            }
            Some(_) => {}
        }
    }
}
