//! A net without an operating system: sockets, listeners and an edge-triggered poller in memory, for tests and benches
//! of whole pools. Makes no system call, sleeps never, and does nothing that a test has not asked for.
//!
//! It behaves as Linux does where a pool could tell the difference:
//!
//! * The poller tells edges: one for each arrival of bytes, of a newcomer, of an end, of a reset, and one for room after
//!   a send that was refused or cut short. Several before a wait are told as one, and at the wait each descriptor is
//!   looked at once more. Watching a descriptor tells what is ready already. Closing one takes it out, but events that
//!   a wait has collected before stay collected.
//! * Descriptors are the lowest free numbers, used again at once. At the limit `accept` fails, with an empty backlog too.
//! * Closing with unread bytes resets the connection, and what the peer has not taken yet is lost.
//! * A full backlog lets nobody in. A closed listener resets who waits in it.
//!
//! ```
//! use socketpool::net::sim::{Sim, World};
//! use socketpool::{Clock, Event, Reactor, SocketPool};
//! use std::time::Duration;
//!
//! let world = World::new();
//! let (clock, _hand) = Clock::manual();
//! let mut reactor = Reactor::<Sim>::over(world.poller());
//! let mut pool = SocketPool::<()>::builder().clock(clock).build_over(&mut reactor, world.clone())?;
//! pool.listen("127.0.0.1:0")?;
//!
//! let client = world.connect("192.0.2.7:4711");
//! client.send(b"hello\n");
//! for _ in 0..2 {
//!     reactor.turn(Some(Duration::ZERO))?;
//!     pool.process(&mut reactor);
//!     while let Some(event) = pool.next_event() {
//!         if let Event::Readable(id) = event {
//!             let mut conn = pool.conn(id);
//!             conn.receive();
//!             let (mut input, mut output) = conn.split();
//!             while let Some(line) = input.take_through(b'\n') {
//!                 let _ = output.send(line);
//!             }
//!         }
//!     }
//! }
//! assert_eq!(client.take(), b"hello\n");
//! drop(pool);
//! world.assert_all_closed();
//! # Ok::<(), socketpool::Error>(())
//! ```

mod ends;
mod faults;
mod ground;
mod wire;

use std::cell::{Ref, RefCell, RefMut};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use self::ends::{SimListener, SimPoller, SimRegistry, SimStream, SimWaker};
pub use self::faults::{Call, Schedule};

use self::ground::Ground;
use self::wire::Side;
use crate::net::Address;
use crate::peer::Peer;

/// The simulated family of sockets, listeners and pollers.
#[derive(Debug)]
pub enum Sim {}

/// One simulated machine: what its clients do and what its calls answer is up to the test. Clones are the same world.
///
/// A world has one poller, which any number of pools may share on one reactor.
#[derive(Clone)]
pub struct World {
    ground: Rc<RefCell<Ground>>,
    called: Arc<AtomicBool>,
}

impl World {
    /// An empty world without limits.
    #[must_use]
    pub fn new() -> Self {
        Self { ground: Rc::new(RefCell::new(Ground::new())), called: Arc::default() }
    }

    /// Makes room for so many connections, so that none of them allocates.
    pub fn reserve(&self, connections: usize) {
        self.change().reserve(connections);
    }

    /// The poller, for [`Reactor::over`](crate::Reactor::over).
    #[must_use]
    pub fn poller(&self) -> SimPoller {
        SimPoller::new(self.clone())
    }

    /// A client that connects from `peer` to the listener that was opened first.
    ///
    /// # Panics
    /// If nobody listens, or the backlog is full.
    #[track_caller]
    #[must_use = "a client that is dropped closes its end"]
    pub fn connect(&self, peer: &str) -> Client {
        let listener = self.look().any_listener().expect("somebody listens");
        self.knock(listener, parse(peer)).expect("there is room in the backlog")
    }

    /// A client that connects from `peer` to `address`; `None` if nobody listens there or the backlog is full.
    #[must_use = "a client that is dropped closes its end"]
    pub fn connect_to(&self, address: &Address, peer: Peer) -> Option<Client> {
        let listener = self.look().listener_at(address)?;
        self.knock(listener, peer)
    }

    /// A connection that somebody else has accepted, for [`SocketPool::add_stream`](crate::SocketPool::add_stream).
    ///
    /// # Panics
    /// If the limit of descriptors is reached.
    #[must_use]
    pub fn pair(&self, peer: &str) -> (SimStream, Client) {
        let mut ground = self.change();
        let wire = ground.wire(parse(peer));
        let fd = ground.attach(wire).expect("a descriptor for the server's end");
        drop(ground);
        (SimStream::new(self.clone(), fd, wire), Client { world: self.clone(), wire })
    }

    /// Makes `call` fail with `errno`; what was planned for it before is off.
    pub fn fail_next(&self, call: Call, errno: i32, schedule: Schedule) {
        self.change().faults.plan(call, errno, schedule);
    }

    /// Lets `call` succeed again.
    pub fn heal(&self, call: Call) {
        self.change().faults.heal(call);
    }

    /// How often `call` was made, failed ones included.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.look().faults.count(call)
    }

    /// At most so many descriptors may be open from now on; those that are stay.
    pub fn set_descriptor_limit(&self, limit: usize) {
        self.change().limit = limit;
    }

    /// Whether the next wait has something to tell, or somebody has called: a real one would not sleep.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.called.load(Ordering::Acquire) || self.look().has_events()
    }

    /// Descriptors that are open now.
    #[must_use]
    pub fn open_descriptors(&self) -> usize {
        self.look().open()
    }

    /// How many bytes the server may send to a client that connects from now on; without limit at first.
    pub fn set_window(&self, bytes: usize) {
        self.change().window = bytes;
    }

    /// Newcomers in all backlogs.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let ground = self.look();
        ground.any_listener().map_or(0, |listener| ground.waiting(listener))
    }

    /// Whether somebody else, a forked child perhaps, holds a copy of each descriptor. Then edges that nobody was told
    /// of when a descriptor was closed are told afterwards, under its old token.
    pub fn hold_copies(&self, held: bool) {
        self.change().copies_are_held = held;
    }

    /// Checks that every descriptor that was given out has been closed, once.
    ///
    /// # Panics
    /// If that is not so.
    #[track_caller]
    pub fn assert_all_closed(&self) {
        self.look().assert_all_closed();
    }

    fn knock(&self, listener: i32, peer: Peer) -> Option<Client> {
        let wire = self.change().knock(listener, peer)?;
        Some(Client { world: self.clone(), wire })
    }

    fn look(&self) -> Ref<'_, Ground> {
        self.ground.borrow()
    }

    fn change(&self) -> RefMut<'_, Ground> {
        self.ground.borrow_mut()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("open_descriptors", &self.open_descriptors()).finish_non_exhaustive()
    }
}

/// The client's end of a connection. Dropping it closes it: with a FIN, or with a reset if bytes from the server were
/// not taken. A client that merely falls silent is one that is kept.
pub struct Client {
    world: World,
    wire: usize,
}

impl Client {
    /// Sends bytes; the server's end takes as many as there are. Without effect after an end of its own.
    pub fn send(&self, bytes: &[u8]) {
        self.world.change().arrive(self.wire, bytes);
    }

    /// Takes all bytes that have come.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.world.change().wires[self.wire].to_client)
    }

    /// Takes all bytes that have come, behind what is in `into`, and keeps the memory for the next ones.
    pub fn take_into(&self, into: &mut Vec<u8>) {
        into.append(&mut self.world.change().wires[self.wire].to_client);
    }

    /// Lets the server send so many bytes from now on, none with 0; `usize::MAX` is without limit.
    pub fn set_window(&self, bytes: usize) {
        self.world.change().open_window(self.wire, bytes);
    }

    /// Says with a FIN that it sends no more; it still receives.
    pub fn finish(&self) {
        self.world.change().finish(self.wire, Side::Finished);
    }

    /// Resets the connection.
    pub fn reset(&self) {
        self.world.change().reset(self.wire);
    }

    /// How the server has ended the connection; `None` while it has not.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        match self.world.look().wires[self.wire].server {
            Side::Open => None,
            Side::Finished | Side::Closed => Some(End::Finished),
            Side::Reset => Some(End::Reset),
        }
    }

    /// The descriptor of the server's end; `None` in the backlog and after its close.
    #[must_use]
    pub fn server_fd(&self) -> Option<i32> {
        self.world.look().wires[self.wire].fd
    }

    /// Bytes that the server has ever sent.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.world.look().wires[self.wire].arrived
    }

    /// Bytes that were ever sent to the server.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.world.look().wires[self.wire].departed
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.world.change().let_go(self.wire);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ground = self.world.look();
        let wire = &ground.wires[self.wire];
        f.debug_struct("Client")
            .field("peer", &wire.peer)
            .field("client", &wire.client)
            .field("server", &wire.server)
            .finish_non_exhaustive()
    }
}

/// How a server's end of a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a FIN, after everything that was sent.
    Finished,
    /// With a reset. What was on its way is lost.
    Reset,
}

/// The peer of a text: an address with a port, or `unix`.
#[track_caller]
fn parse(peer: &str) -> Peer {
    match peer {
        "unix" => Peer::UNIX,
        address => Peer::from(address.parse::<SocketAddr>().expect("an address with a port, or unix")),
    }
}
