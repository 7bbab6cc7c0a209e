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
///
/// ```
/// use socketpool::{Clock, Reactor, SocketPool, net::sim::{Sim, World}};
///
/// let world = World::new();
/// let mut reactor = Reactor::<Sim>::over(world.poller());
/// let pool: SocketPool<(), Sim> = SocketPool::<()>::builder().build_over(&mut reactor, world)?;
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Debug)]
pub enum Sim {}

/// One simulated machine: what its clients do and what its calls answer is up to the test. Clones are the same world.
///
/// A world has one poller, which any number of pools may share on one reactor.
///
/// ```
/// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
/// # let world = World::new();
/// # let mut reactor = Reactor::<Sim>::over(world.poller());
/// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
/// # pool.listen("127.0.0.1:0")?;
/// let client = world.connect("192.0.2.7:4711");
/// assert_eq!((world.waiting(), world.open_descriptors()), (1, 1));
/// drop(pool);
/// world.assert_all_closed();
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Clone)]
pub struct World {
    ground: Rc<RefCell<Ground>>,
    called: Arc<AtomicBool>,
}

impl World {
    /// An empty world without limits.
    ///
    /// ```
    /// let world = socketpool::net::sim::World::new();
    /// assert_eq!(world.open_descriptors(), 0);
    /// let same = world.clone();
    /// let (_stream, _client) = same.pair("unix");
    /// assert_eq!(world.open_descriptors(), 1);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self { ground: Rc::new(RefCell::new(Ground::new())), called: Arc::default() }
    }

    /// Makes room for so many connections, so that none of them allocates.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// world.reserve(10_000); // before allocations are counted
    /// let clients: Vec<_> = (0..100).map(|_| world.connect("192.0.2.7:4711")).collect();
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn reserve(&self, connections: usize) {
        self.change().reserve(connections);
    }

    /// The poller, for [`Reactor::over`](crate::Reactor::over).
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// use socketpool::net::sim::{Sim, World};
    ///
    /// let world = World::new();
    /// let mut reactor = Reactor::<Sim>::over(world.poller());
    /// reactor.turn(None)?; // for ever, if it slept
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn poller(&self) -> SimPoller {
        SimPoller::new(self.clone())
    }

    /// A client that connects from `peer`, an address with a port or `unix`, to the listener with the lowest descriptor: of
    /// several the first that was opened, unless a later one got the number of something that was closed before. Where that
    /// matters, [`connect_to`](Self::connect_to) names the listener.
    ///
    /// # Panics
    /// If nobody listens, the backlog is full, or `peer` is no peer.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// let client = world.connect("192.0.2.7:4711");
    /// # reactor.turn(Some(Duration::ZERO))?;
    /// # pool.process(&mut reactor);
    /// let Some(Event::Opened(id)) = pool.next_event() else { panic!("it is the first") };
    /// assert_eq!(pool.conn(id).peer().to_string(), "192.0.2.7:4711");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a client that is dropped closes its end"]
    pub fn connect(&self, peer: &str) -> Client {
        let listener = self.look().lowest_listener().expect("somebody listens");
        self.knock(listener, parse(peer)).expect("there is room in the backlog")
    }

    /// A client that connects from `peer` to `address`; `None` if nobody listens there or the backlog is full.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// let admin = pool.listen_with("127.0.0.1:0", ListenOptions::default().backlog(1))?;
    /// let client = world.connect_to(&admin, Peer::UNIX);
    /// assert!(client.is_some());
    /// assert!(world.connect_to(&admin, Peer::UNIX).is_none(), "one waits already, and the backlog is 1");
    /// assert!(world.connect_to(&"127.0.0.1:1".parse()?, Peer::UNIX).is_none(), "nobody listens there");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use = "a client that is dropped closes its end"]
    pub fn connect_to(&self, address: &Address, peer: Peer) -> Option<Client> {
        let listener = self.look().listener_at(address)?;
        self.knock(listener, peer)
    }

    /// A connection that somebody else has accepted, for [`SocketPool::add_stream`](crate::SocketPool::add_stream).
    ///
    /// # Panics
    /// If the limit of descriptors is reached.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// let (stream, client) = world.pair("192.0.2.7:4711");
    /// let id = pool.add_stream(stream, "192.0.2.7:4711".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    /// let _ = pool.conn(id).send(b"welcome\n");
    /// assert_eq!(client.take(), b"welcome\n");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn pair(&self, peer: &str) -> (SimStream, Client) {
        let mut ground = self.change();
        let wire = ground.wire(parse(peer));
        let fd = ground.attach(wire).expect("a descriptor for the server's end");
        drop(ground);
        (SimStream::new(self.clone(), fd, wire), Client { world: self.clone(), wire })
    }

    /// Makes `call` fail with the operating system's error number `errno`; what was planned for it before is off. Calls that
    /// cannot fail ([`Call::Forget`], [`Call::Peek`], [`Call::Part`], [`Call::Close`]) are only counted.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// let (stream, client) = world.pair("unix");
    /// let id = pool.add_stream(stream, Peer::UNIX).unwrap();
    /// world.fail_next(Call::Send, 104, Schedule::Once); // ECONNRESET
    /// assert_eq!(pool.conn(id).send(b"hello\n"), Sent::Refused);
    /// # reactor.turn(Some(Duration::ZERO))?;
    /// # pool.process(&mut reactor);
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::Error, .. })));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn fail_next(&self, call: Call, errno: i32, schedule: Schedule) {
        self.change().faults.plan(call, errno, schedule);
    }

    /// Lets `call` succeed again.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// world.fail_next(Call::Wait, 12, Schedule::FromNowOn); // ENOMEM
    /// assert!(reactor.turn(None).is_err() && reactor.turn(None).is_err());
    /// world.heal(Call::Wait);
    /// assert!(reactor.turn(None).is_ok());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn heal(&self, call: Call) {
        self.change().faults.heal(call);
    }

    /// How often `call` was made, failed ones included.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// let client = world.connect("unix");
    /// # reactor.turn(Some(Duration::ZERO))?;
    /// # pool.process(&mut reactor);
    /// assert_eq!(world.calls(Call::Accept), 2, "one newcomer, and one look whether there is another");
    /// assert_eq!(world.calls(Call::Receive), 0);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.look().faults.count(call)
    }

    /// At most so many descriptors may be open from now on, listeners included; those that are stay.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// world.set_descriptor_limit(2); // the listener has one
    /// let (first, second) = (world.connect("unix"), world.connect("unix"));
    /// # reactor.turn(Some(Duration::ZERO))?;
    /// # pool.process(&mut reactor);
    /// assert_eq!((pool.len(), world.waiting()), (1, 1));
    /// assert!(pool.snapshot().descriptors_exhausted);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn set_descriptor_limit(&self, limit: usize) {
        self.change().limit = limit;
    }

    /// Whether the next wait has something to tell, or somebody has called: a real one would not sleep.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// assert!(!world.has_events());
    /// let client = world.connect("unix");
    /// assert!(world.has_events());
    /// reactor.turn(Some(Duration::ZERO))?;
    /// assert!(!world.has_events(), "an edge is told once");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.called.load(Ordering::Acquire) || self.look().has_events()
    }

    /// Descriptors that are open now.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// assert_eq!(world.open_descriptors(), 1, "the listener");
    /// let client = world.connect("unix");
    /// assert_eq!(world.open_descriptors(), 1, "who waits in a backlog has none yet");
    /// # reactor.turn(Some(Duration::ZERO))?;
    /// # pool.process(&mut reactor);
    /// assert_eq!(world.open_descriptors(), 2);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn open_descriptors(&self) -> usize {
        self.look().open()
    }

    /// How many bytes the server may send to a client that connects from now on; without limit at first.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// world.set_window(4);
    /// let (stream, client) = world.pair("unix");
    /// let id = pool.add_stream(stream, Peer::UNIX).unwrap();
    /// assert_eq!(pool.conn(id).send(b"0123456789"), Sent::Queued);
    /// assert_eq!((client.take(), pool.conn(id).waiting_output()), (b"0123".to_vec(), 6));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn set_window(&self, bytes: usize) {
        self.change().window = bytes;
    }

    /// Newcomers in the backlog of the listener that [`connect`](Self::connect) goes to; 0 when nobody listens.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// let client = world.connect("unix");
    /// assert_eq!(world.waiting(), 1);
    /// # reactor.turn(Some(Duration::ZERO))?;
    /// # pool.process(&mut reactor);
    /// assert_eq!(world.waiting(), 0);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn waiting(&self) -> usize {
        let ground = self.look();
        ground.lowest_listener().map_or(0, |listener| ground.waiting(listener))
    }

    /// Whether somebody else, a forked child perhaps, holds a copy of each descriptor. Then edges that nobody was told
    /// of when a descriptor was closed are told afterwards, under its old token.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// world.hold_copies(true);
    /// let client = world.connect("unix");
    /// for _ in 0..2 {
    ///     reactor.turn(Some(Duration::ZERO))?;
    ///     pool.process(&mut reactor);
    ///     while let Some(event) = pool.next_event() {
    ///         if let Event::Opened(id) = event {
    ///             pool.kill(id);
    ///             client.send(b"an edge that nobody is told of before the close");
    ///         }
    ///     }
    /// }
    /// assert_eq!(pool.snapshot().counters.stale_events, 1, "told afterwards, and dropped");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn hold_copies(&self, held: bool) {
        self.change().copies_are_held = held;
    }

    /// Checks that every descriptor that was given out has been closed, once.
    ///
    /// # Panics
    /// If that is not so.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// let client = world.connect("unix");
    /// drop(pool);
    /// world.assert_all_closed();
    /// # Ok::<(), socketpool::Error>(())
    /// ```
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
///
/// ```
/// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
/// # let world = World::new();
/// # let mut reactor = Reactor::<Sim>::over(world.poller());
/// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
/// # pool.listen("127.0.0.1:0")?;
/// # let (stream, client) = world.pair("unix");
/// # let id = pool.add_stream(stream, Peer::UNIX).unwrap();
/// client.send(b"hello\n");
/// drop(client); // a FIN
/// # for _ in 0..2 { reactor.turn(None)?; pool.process(&mut reactor); pool.next_event(); }
/// assert_eq!(pool.conn(id).receive(), 6, "what it has sent before can be read");
/// # Ok::<(), socketpool::Error>(())
/// ```
pub struct Client {
    world: World,
    wire: usize,
}

impl Client {
    /// Sends bytes; the server's end takes as many as there are. Without effect after an end of its own.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// let client = world.connect("unix");
    /// client.send(b"hello\n");
    /// client.finish();
    /// client.send(b"not sent: it has said that it sends no more");
    /// assert_eq!(client.bytes_out(), 6);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn send(&self, bytes: &[u8]) {
        self.world.change().arrive(self.wire, bytes);
    }

    /// Takes all bytes that have come.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// # let (stream, client) = world.pair("unix");
    /// # let id = pool.add_stream(stream, Peer::UNIX).unwrap();
    /// let _ = pool.conn(id).send(b"hello\n");
    /// assert_eq!(client.take(), b"hello\n");
    /// assert_eq!(client.take(), b"", "nothing has come since");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.world.change().wires[self.wire].to_client)
    }

    /// Takes all bytes that have come, behind what is in `into`, and keeps the memory for the next ones.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// # let (stream, client) = world.pair("unix");
    /// # let id = pool.add_stream(stream, Peer::UNIX).unwrap();
    /// let mut all = Vec::new();
    /// for line in ["one\n", "two\n"] {
    ///     let _ = pool.conn(id).send(line.as_bytes());
    ///     client.take_into(&mut all);
    /// }
    /// assert_eq!(all, b"one\ntwo\n");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn take_into(&self, into: &mut Vec<u8>) {
        into.append(&mut self.world.change().wires[self.wire].to_client);
    }

    /// Lets the server send so many bytes from now on, none with 0; `usize::MAX` is without limit.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// # let (stream, client) = world.pair("unix");
    /// # let id = pool.add_stream(stream, Peer::UNIX).unwrap();
    /// client.set_window(0); // it reads nothing
    /// assert_eq!(pool.conn(id).send(b"hello\n"), Sent::Queued);
    /// client.set_window(usize::MAX);
    /// for _ in 0..2 {
    ///     reactor.turn(Some(Duration::ZERO))?;
    ///     pool.process(&mut reactor);
    ///     while pool.next_event().is_some() {}
    /// }
    /// assert_eq!(client.take(), b"hello\n");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn set_window(&self, bytes: usize) {
        self.world.change().open_window(self.wire, bytes);
    }

    /// Says with a FIN that it sends no more; it still receives.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// # let (stream, client) = world.pair("unix");
    /// # let id = pool.add_stream(stream, Peer::UNIX).unwrap();
    /// client.finish();
    /// let _ = pool.conn(id).send(b"goodbye\n");
    /// assert_eq!(client.take(), b"goodbye\n", "it still receives");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn finish(&self) {
        self.world.change().finish(self.wire, Side::Finished);
    }

    /// Resets the connection.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// # let (stream, client) = world.pair("unix");
    /// # let id = pool.add_stream(stream, Peer::UNIX).unwrap();
    /// client.reset();
    /// assert_eq!(pool.conn(id).send(b"hello\n"), Sent::Refused);
    /// assert_eq!(client.take(), b"");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn reset(&self) {
        self.world.change().reset(self.wire);
    }

    /// How the server has ended the connection; `None` while it has not.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// # let (stream, client) = world.pair("unix");
    /// # let id = pool.add_stream(stream, Peer::UNIX).unwrap();
    /// assert_eq!(client.end(), None);
    /// pool.conn(id).close();
    /// # reactor.turn(Some(Duration::ZERO))?;
    /// # pool.process(&mut reactor);
    /// while pool.next_event().is_some() {}
    /// assert_eq!(client.end(), Some(End::Finished));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn end(&self) -> Option<End> {
        match self.world.look().wires[self.wire].server {
            Side::Open => None,
            Side::Finished | Side::Closed => Some(End::Finished),
            Side::Reset => Some(End::Reset),
        }
    }

    /// The descriptor of the server's end; `None` in the backlog and after its close.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// let client = world.connect("unix");
    /// assert_eq!(client.server_fd(), None, "in the backlog");
    /// # reactor.turn(Some(Duration::ZERO))?;
    /// # pool.process(&mut reactor);
    /// let fd = client.server_fd().unwrap();
    /// assert!(pool.id_of_fd(fd).is_some());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn server_fd(&self) -> Option<i32> {
        self.world.look().wires[self.wire].fd
    }

    /// Bytes that the server has ever sent.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// # let (stream, client) = world.pair("unix");
    /// # let id = pool.add_stream(stream, Peer::UNIX).unwrap();
    /// let _ = pool.conn(id).send(b"hello\n");
    /// let _ = client.take();
    /// assert_eq!(client.bytes_in(), 6, "taken or not");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.world.look().wires[self.wire].arrived
    }

    /// Bytes that were ever sent to the server.
    ///
    /// ```
    /// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
    /// # let world = World::new();
    /// # let mut reactor = Reactor::<Sim>::over(world.poller());
    /// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # pool.listen("127.0.0.1:0")?;
    /// # let (stream, client) = world.pair("unix");
    /// client.send(b"hello\n");
    /// assert_eq!(client.bytes_out(), 6, "read by the server or not");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
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
///
/// ```
/// # use {socketpool::{net::{sim::*, *}, *}, std::time::Duration};
/// # let world = World::new();
/// # let mut reactor = Reactor::<Sim>::over(world.poller());
/// # let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
/// # pool.listen("127.0.0.1:0")?;
/// # let (stream, client) = world.pair("unix");
/// # let id = pool.add_stream(stream, Peer::UNIX).unwrap();
/// client.send(b"nobody reads this");
/// drop(pool);
/// assert_eq!(client.end(), Some(End::Reset), "closed with unread bytes");
/// # Ok::<(), socketpool::Error>(())
/// ```
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
