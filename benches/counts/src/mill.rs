//! A net whose every call costs a few instructions: each connection that is made ready has one request of 64 bytes, and
//! sends go nowhere. Keeps nothing for a connection, so a million of them can be had.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use socketpool::net::{
    Address, ListenOptions, Listener, Net, Poller, Readiness, Registry, Stream, Token, Wake,
};
use socketpool::{Error, Peer};

use crate::{READY_A_TURN, REQUEST_BYTES};

/// The mill's family of sockets.
#[derive(Debug)]
pub enum Mill {}

/// What all parts of one mill share. Clones are the same mill.
#[derive(Clone, Debug, Default)]
pub struct Works(Rc<State>);

#[derive(Debug, Default)]
struct State {
    /// The connections watched first, at most 64, and the events they bring when they are ready.
    watched: RefCell<Vec<(Token, Readiness)>>,
    listener: Cell<Option<Token>>,
    /// Newcomers in the backlog.
    waiting: Cell<u32>,
    /// Connections that there have ever been; also the descriptor and the address of the next one.
    made: Cell<u32>,
    are_ready: Cell<bool>,
    slept: Cell<Option<Duration>>,
}

impl Works {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn poller(&self) -> MillPoller {
        MillPoller { works: self.clone(), events: Vec::with_capacity(READY_A_TURN + 1) }
    }

    /// The connections watched first have a request each in the next turn.
    pub fn make_ready(&self) {
        self.0.are_ready.set(true);
    }

    /// So many newcomers stand in the backlog.
    pub fn queue_newcomers(&self, count: u32) {
        self.0.waiting.set(count);
    }

    /// How long the last wait was allowed to take; `None` for ever.
    #[must_use]
    pub fn slept(&self) -> Option<Duration> {
        self.0.slept.get()
    }

    /// A stream that somebody has accepted, from an address that nobody else has.
    pub fn newcomer(&self) -> (MillStream, Peer) {
        let number = self.0.made.get() + 1;
        self.0.made.set(number);
        let ip = Ipv4Addr::from(0x0a00_0000 + number);
        (MillStream { fd: number as i32 }, Peer::from(SocketAddr::from((ip, 4711))))
    }
}

impl Net for Mill {
    type Stream = MillStream;
    type Listener = MillListener;
    type Poller = MillPoller;
    type Registry = Works;
    type Ground = Works;

    fn listen(works: &Works, address: &Address, _: &ListenOptions) -> Result<MillListener, Error> {
        Ok(MillListener { works: works.clone(), address: address.clone() })
    }
}

/// A descriptor and nothing else.
#[derive(Debug)]
pub struct MillStream {
    fd: i32,
}

impl Stream for MillStream {
    #[inline]
    fn fd(&self) -> i32 {
        self.fd
    }

    #[inline]
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        into[..REQUEST_BYTES].fill(7);
        Ok(REQUEST_BYTES)
    }

    #[inline]
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn has_unread(&self) -> bool {
        false
    }

    fn part(&self, _: &mut [u8]) {}
}

/// A backlog that is as long as the bench says.
#[derive(Debug)]
pub struct MillListener {
    works: Works,
    address: Address,
}

impl Listener for MillListener {
    type Stream = MillStream;

    fn accept(&self) -> io::Result<(MillStream, Peer)> {
        match self.works.0.waiting.get() {
            0 => Err(ErrorKind::WouldBlock.into()),
            waiting => {
                self.works.0.waiting.set(waiting - 1);
                Ok(self.works.newcomer())
            }
        }
    }

    fn has_waiting(&self) -> bool {
        self.works.0.waiting.get() > 0
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn backlog(&self) -> u32 {
        u32::MAX
    }
}

/// Tells what the bench has made ready; never sleeps.
#[derive(Debug)]
pub struct MillPoller {
    works: Works,
    events: Vec<(Token, Readiness)>,
}

impl Poller for MillPoller {
    type Registry = Works;
    type Waker = NoWaker;

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let state = &self.works.0;
        state.slept.set(timeout);
        self.events.clear();
        if state.are_ready.take() {
            self.events.extend_from_slice(&state.watched.borrow());
        }
        if state.waiting.get() > 0 {
            self.events.extend(state.listener.get().map(|token| (token, Readiness::READABLE)));
        }
        Ok(())
    }

    #[inline]
    fn events(&self) -> impl Iterator<Item = (Token, Readiness)> {
        self.events.iter().copied()
    }

    fn registry(&self) -> io::Result<Works> {
        Ok(self.works.clone())
    }

    fn waker(&self) -> NoWaker {
        NoWaker
    }
}

impl Registry<Mill> for Works {
    #[inline]
    fn watch(&self, _: &MillStream, token: Token) -> io::Result<()> {
        let mut watched = self.0.watched.borrow_mut();
        if watched.len() < READY_A_TURN {
            watched.push((token, Readiness::READABLE));
        }
        Ok(())
    }

    fn watch_room(&self, _: &MillStream, _: Token) -> io::Result<()> {
        Ok(())
    }

    fn forget(&self, _: &MillStream) {}

    fn watch_listener(&self, _: &MillListener, token: Token) -> io::Result<()> {
        self.0.listener.set(Some(token));
        Ok(())
    }

    fn forget_listener(&self, _: &MillListener) {}
}

/// Nobody calls from another thread.
#[derive(Clone, Debug)]
pub struct NoWaker;

impl Wake for NoWaker {
    fn wake(&self) -> io::Result<()> {
        Ok(())
    }
}
