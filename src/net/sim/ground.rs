//! What a kernel keeps: descriptors, the bytes between two ends, backlogs, and who is ready. One flat vector by
//! descriptor and one by connection, so that a million idle ones cost little.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, ErrorKind, IoSlice};

use slab::Slab;

use super::faults::{Call, Faults};
use super::wire::{Side, Wire};
use crate::net::{Address, Token};
use crate::peer::Peer;
use crate::readiness::Readiness;

/// The state of one simulated world.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) faults: Faults,
    /// By descriptor; the first three are somebody else's.
    slots: Vec<Slot>,
    free: BinaryHeap<Reverse<i32>>,
    open: usize,
    pub(super) limit: usize,
    pub(super) wires: Slab<Wire>,
    /// Descriptors that may have something to tell, in the order in which it happened.
    ready: VecDeque<Ready>,
    /// Events of closed descriptors, of which somebody holds a copy.
    ghosts: Vec<(Token, Readiness)>,
    pub(super) copies_are_held: bool,
    /// What a new connection lets the server send.
    pub(super) window: usize,
    next_port: u16,
}

/// What a descriptor stands for, and how it is watched.
#[derive(Debug, Default)]
struct Slot {
    holds: Holds,
    /// How often the descriptor has been given out.
    serial: u32,
    /// Invariant: true if and only if it stands in `ready` with this serial.
    queued: bool,
    interest: Readiness,
    token: Option<Token>,
}

#[derive(Debug, Default)]
enum Holds {
    #[default]
    Nothing,
    Stream(usize),
    Listener(Box<Backlog>),
}

#[derive(Debug)]
struct Backlog {
    address: Address,
    most: usize,
    waiting: VecDeque<usize>,
}

#[derive(Debug)]
struct Ready {
    fd: i32,
    serial: u32,
}

impl Ground {
    pub(super) fn new() -> Self {
        let slots = (0..FIRST_FD).map(|_| Slot::default()).collect();
        Self {
            faults: Faults::default(),
            slots,
            free: BinaryHeap::new(),
            open: 0,
            limit: usize::MAX,
            wires: Slab::new(),
            ready: VecDeque::new(),
            ghosts: Vec::new(),
            copies_are_held: false,
            window: usize::MAX,
            next_port: 40_000,
        }
    }

    pub(super) fn reserve(&mut self, connections: usize) {
        self.slots.reserve(connections);
        self.wires.reserve(connections);
        self.ready.reserve(connections);
    }

    /// Descriptors that are open now.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// A new connection, with nobody at the server's end yet.
    pub(super) fn wire(&mut self, peer: Peer) -> usize {
        self.wires.insert(Wire::new(peer, self.window))
    }

    pub(super) fn listen(&mut self, asked: &Address, most: usize) -> io::Result<(i32, Address)> {
        let address = match asked {
            Address::Tcp(addr) if addr.port() == 0 => {
                self.next_port += 1;
                Address::Tcp((addr.ip(), self.next_port).into())
            }
            other => other.clone(),
        };
        if self.listener_at(&address).is_some() {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        let backlog = Backlog { address: address.clone(), most, waiting: VecDeque::new() };
        let fd = self.give_out(Holds::Listener(Box::new(backlog)))?;
        Ok((fd, address))
    }

    /// The descriptor that listens on `address`.
    pub(super) fn listener_at(&self, address: &Address) -> Option<i32> {
        let place = self.slots.iter().position(
            |slot| matches!(&slot.holds, Holds::Listener(backlog) if backlog.address == *address),
        )?;
        i32::try_from(place).ok()
    }

    /// The lowest descriptor that listens.
    pub(super) fn lowest_listener(&self) -> Option<i32> {
        let place = self.slots.iter().position(|slot| matches!(slot.holds, Holds::Listener(_)))?;
        i32::try_from(place).ok()
    }

    /// Puts a newcomer into a backlog; `None` if that is full.
    pub(super) fn knock(&mut self, listener: i32, peer: Peer) -> Option<usize> {
        let backlog = self.backlog(listener);
        if backlog.waiting.len() >= backlog.most {
            return None;
        }
        let wire = self.wire(peer);
        self.backlog(listener).waiting.push_back(wire);
        self.edge(listener);
        Some(wire)
    }

    pub(super) fn waiting(&self, listener: i32) -> usize {
        match &self.slots[listener as usize].holds {
            Holds::Listener(backlog) => backlog.waiting.len(),
            _ => 0,
        }
    }

    /// As `accept4`: without a descriptor to give it fails before it looks whether anybody waits.
    pub(super) fn accept(&mut self, listener: i32) -> io::Result<(i32, usize)> {
        self.faults.call(Call::Accept)?;
        if self.open >= self.limit {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let Some(wire) = self.backlog(listener).waiting.pop_front() else {
            return Err(ErrorKind::WouldBlock.into());
        };
        Ok((self.attach(wire)?, wire))
    }

    /// Gives the server's end of a connection a descriptor.
    pub(super) fn attach(&mut self, wire: usize) -> io::Result<i32> {
        let fd = self.give_out(Holds::Stream(wire))?;
        self.wires[wire].fd = Some(fd);
        Ok(fd)
    }

    pub(super) fn receive(&mut self, place: usize, into: &mut [u8]) -> io::Result<usize> {
        self.may_fail(Call::Receive, place)?;
        let wire = &mut self.wires[place];
        if !wire.to_server.is_empty() {
            // What came before a reset can still be read.
            // The queue may lie in two pieces, and each read takes from one.
            let first = io::Read::read(&mut wire.to_server, into)?;
            return io::Read::read(&mut wire.to_server, &mut into[first..]).map(|second| first + second);
        }
        match (wire.error.take(), wire.client) {
            (Some(errno), _) => Err(io::Error::from_raw_os_error(errno)),
            (None, Side::Open) => Err(ErrorKind::WouldBlock.into()),
            (None, _) => Ok(0),
        }
    }

    pub(super) fn send(&mut self, place: usize, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.may_fail(Call::Send, place)?;
        let wire = &mut self.wires[place];
        if let Some(errno) = wire.error.take() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        if wire.client == Side::Reset || wire.server != Side::Open {
            return Err(io::Error::from_raw_os_error(libc::EPIPE));
        }
        let asked: usize = slices.iter().map(|slice| slice.len()).sum();
        if wire.client == Side::Closed {
            // The kernel takes them, and the other side answers with a reset.
            self.reset(place);
            return Ok(asked);
        }
        let taken = asked.min(wire.window);
        // A full socket and a short send both leave the kernel with a promise to tell of room.
        wire.blocked = taken < asked;
        if taken == 0 && asked > 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut left = taken;
        for slice in slices {
            let part = slice.len().min(left);
            wire.to_client.extend_from_slice(&slice[..part]);
            left -= part;
        }
        if wire.window != usize::MAX {
            wire.window -= taken;
        }
        wire.arrived += taken as u64;
        Ok(taken)
    }

    pub(super) fn has_unread(&mut self, wire: usize) -> bool {
        self.faults.note(Call::Peek);
        !self.wires[wire].to_server.is_empty()
    }

    pub(super) fn part(&mut self, wire: usize, most: usize) {
        self.faults.note(Call::Part);
        let wire = &mut self.wires[wire];
        wire.server = Side::Finished;
        let dropped = wire.to_server.len().min(most);
        wire.to_server.drain(..dropped);
    }

    /// The server closes its end: a FIN, or a reset if bytes are unread.
    pub(super) fn close_stream(&mut self, fd: i32) {
        let Holds::Stream(place) = self.take_back(fd) else { panic!("descriptor {fd} is no stream") };
        let wire = &mut self.wires[place];
        wire.fd = None;
        if wire.to_server.is_empty() && wire.error.is_none() {
            wire.server = Side::Closed;
        } else {
            // It may overtake what was sent before, so in this world it always does.
            wire.server = Side::Reset;
            wire.to_client.clear();
        }
        self.leave(place);
    }

    pub(super) fn close_listener(&mut self, fd: i32) {
        let Holds::Listener(backlog) = self.take_back(fd) else { panic!("descriptor {fd} does not listen") };
        for place in backlog.waiting {
            self.wires[place].server = Side::Reset;
            self.leave(place);
        }
    }

    /// The client sends.
    pub(super) fn arrive(&mut self, place: usize, bytes: &[u8]) {
        let wire = &mut self.wires[place];
        if wire.client != Side::Open || bytes.is_empty() {
            return;
        }
        wire.departed += bytes.len() as u64;
        if matches!(wire.server, Side::Open | Side::Finished) {
            wire.to_server.extend(bytes);
            self.edge_of(place);
        }
    }

    /// The client says that it sends no more, or closes.
    pub(super) fn finish(&mut self, place: usize, side: Side) {
        let wire = &mut self.wires[place];
        let before = wire.client;
        if before == Side::Reset || before == Side::Closed {
            return;
        }
        wire.client = side;
        if before == Side::Open {
            self.edge_of(place);
        }
    }

    /// The client is gone for good: its socket resets the connection.
    pub(super) fn reset(&mut self, place: usize) {
        let wire = &mut self.wires[place];
        if wire.client == Side::Reset {
            return;
        }
        wire.client = Side::Reset;
        wire.error = Some(libc::ECONNRESET);
        self.edge_of(place);
    }

    /// The client lets the server send so many bytes from now on.
    pub(super) fn open_window(&mut self, place: usize, window: usize) {
        let wire = &mut self.wires[place];
        wire.window = window;
        // The promise stands until a send finds room: the window may be closed again before anybody looks.
        if wire.blocked && window > 0 {
            self.edge_of(place);
        }
    }

    /// The test lets go of its end.
    pub(super) fn let_go(&mut self, place: usize) {
        let wire = &mut self.wires[place];
        wire.held = false;
        if wire.to_client.is_empty() {
            self.finish(place, Side::Closed);
        } else {
            self.reset(place);
        }
        self.leave(place);
    }

    /// Watches a descriptor. What is ready already is told by the next wait.
    pub(super) fn watch(&mut self, call: Call, fd: i32, token: Token, interest: Readiness) -> io::Result<()> {
        self.faults.call(call)?;
        let slot = &mut self.slots[fd as usize];
        if call == Call::Watch && slot.token.is_some() {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        (slot.token, slot.interest) = (Some(token), interest);
        self.edge(fd);
        Ok(())
    }

    pub(super) fn forget(&mut self, fd: i32) {
        self.faults.note(Call::Forget);
        self.slots[fd as usize].token = None;
    }

    /// Moves what is ready into `events`. As epoll, it looks at each descriptor once more: what is not ready any more
    /// is not told.
    pub(super) fn collect(&mut self, events: &mut Vec<(Token, Readiness)>, most: usize) {
        events.append(&mut self.ghosts);
        while events.len() < most {
            let Some(Ready { fd, serial }) = self.ready.pop_front() else { return };
            if self.slots[fd as usize].serial != serial {
                continue;
            }
            self.slots[fd as usize].queued = false;
            if let Some(event) = self.event(fd) {
                events.push(event);
            }
        }
    }

    /// Whether [`collect`](Self::collect) would find something.
    pub(super) fn has_events(&self) -> bool {
        let tells = |ready: &Ready| {
            self.slots[ready.fd as usize].serial == ready.serial && self.event(ready.fd).is_some()
        };
        !self.ghosts.is_empty() || self.ready.iter().any(tells)
    }

    /// Panics unless every descriptor that was given out has been closed.
    pub(super) fn assert_all_closed(&self) {
        let open: Vec<usize> =
            (0..self.slots.len()).filter(|fd| !matches!(self.slots[*fd].holds, Holds::Nothing)).collect();
        assert!(open.is_empty() && self.open == 0, "descriptors {open:?} were never closed");
        let given = self.slots.iter().map(|slot| u64::from(slot.serial)).sum::<u64>();
        assert_eq!(given, self.faults.count(Call::Close), "descriptors given out, and closes");
    }

    /// What the poller would tell of a descriptor now.
    fn event(&self, fd: i32) -> Option<(Token, Readiness)> {
        let slot = &self.slots[fd as usize];
        let token = slot.token?;
        let mut readiness = Readiness::NONE;
        match &slot.holds {
            Holds::Nothing => {}
            Holds::Listener(backlog) if backlog.waiting.is_empty() => {}
            Holds::Listener(_) => readiness = Readiness::READABLE,
            Holds::Stream(place) => {
                let wire = &self.wires[*place];
                if !wire.to_server.is_empty() || wire.client != Side::Open {
                    readiness = readiness.with(Readiness::READABLE);
                }
                if wire.client != Side::Open {
                    readiness = readiness.with(Readiness::READ_CLOSED);
                }
                if slot.interest.has(Readiness::WRITABLE) && (wire.window > 0 || wire.client == Side::Reset) {
                    readiness = readiness.with(Readiness::WRITABLE);
                }
                if wire.error.is_some() {
                    readiness = readiness.with(Readiness::FAILED);
                }
            }
        }
        (readiness != Readiness::NONE).then_some((token, readiness))
    }

    /// Fails a call if that is planned. A kernel that says "not now" tells when it will, so here an edge follows.
    fn may_fail(&mut self, call: Call, place: usize) -> io::Result<()> {
        let result = self.faults.call(call);
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.wires[place].blocked |= call == Call::Send;
            self.edge_of(place);
        }
        result
    }

    fn edge_of(&mut self, place: usize) {
        if let Some(fd) = self.wires[place].fd {
            self.edge(fd);
        }
    }

    fn edge(&mut self, fd: i32) {
        let slot = &mut self.slots[fd as usize];
        if slot.token.is_some() && !slot.queued {
            slot.queued = true;
            self.ready.push_back(Ready { fd, serial: slot.serial });
        }
    }

    /// Gives out the lowest descriptor that is free.
    fn give_out(&mut self, holds: Holds) -> io::Result<i32> {
        if self.open >= self.limit {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        self.open += 1;
        let fd = match self.free.pop() {
            Some(Reverse(fd)) => fd,
            None => {
                self.slots.push(Slot::default());
                i32::try_from(self.slots.len() - 1).expect("descriptors are 31 bits")
            }
        };
        let slot = &mut self.slots[fd as usize];
        *slot = Slot { holds, serial: slot.serial + 1, ..Slot::default() };
        Ok(fd)
    }

    fn take_back(&mut self, fd: i32) -> Holds {
        self.faults.note(Call::Close);
        if self.copies_are_held
            && self.slots[fd as usize].queued
            && let Some(event) = self.event(fd)
        {
            self.ghosts.push(event);
        }
        let slot = &mut self.slots[fd as usize];
        let holds = std::mem::take(&mut slot.holds);
        assert!(!matches!(holds, Holds::Nothing), "descriptor {fd} is closed twice");
        slot.token = None;
        // What stands in `ready` under the old serial finds nothing any more.
        slot.queued = false;
        self.open -= 1;
        self.free.push(Reverse(fd));
        holds
    }

    fn backlog(&mut self, fd: i32) -> &mut Backlog {
        match &mut self.slots[fd as usize].holds {
            Holds::Listener(backlog) => backlog,
            other => panic!("descriptor {fd} does not listen: {other:?}"),
        }
    }

    /// Forgets a connection when neither end is held any more.
    fn leave(&mut self, place: usize) {
        let wire = &self.wires[place];
        let server_gone = matches!(wire.server, Side::Closed | Side::Reset);
        if !wire.held && server_gone {
            self.wires.remove(place);
        }
    }
}

const FIRST_FD: usize = 3;
