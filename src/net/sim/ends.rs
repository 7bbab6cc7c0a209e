//! The ends that a pool holds: its streams, listeners, poller, registry and waker in a simulated world.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::faults::Call;
use super::{Sim, World};
use crate::error::Error;
use crate::net::{Address, ListenOptions, Listener, Net, Poller, Registry, Stream, Token, Wake};
use crate::peer::Peer;
use crate::readiness::Readiness;

impl Net for Sim {
    type Stream = SimStream;
    type Listener = SimListener;
    type Poller = SimPoller;
    type Registry = SimRegistry;
    type Ground = World;

    fn listen(world: &World, address: &Address, options: &ListenOptions) -> Result<SimListener, Error> {
        let backlog = options.asked_backlog();
        let listening = world.change().listen(address, backlog as usize);
        let (fd, address) = listening.map_err(|error| Error::io(format!("listen on {address}"), error))?;
        Ok(SimListener { world: world.clone(), fd, address, backlog })
    }
}

/// The server's end of a simulated connection; closed when dropped.
///
/// ```
/// use socketpool::net::{Stream, sim::World};
///
/// let (stream, client) = World::new().pair("192.0.2.7:4711");
/// client.send(b"hello\n");
/// assert!(stream.has_unread() && client.server_fd() == Some(stream.fd()));
/// ```
pub struct SimStream {
    world: World,
    fd: i32,
    wire: usize,
}

impl SimStream {
    pub(super) fn new(world: World, fd: i32, wire: usize) -> Self {
        Self { world, fd, wire }
    }
}

impl Stream for SimStream {
    fn fd(&self) -> i32 {
        self.fd
    }

    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        self.world.change().receive(self.wire, into)
    }

    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.world.change().send(self.wire, slices)
    }

    fn has_unread(&self) -> bool {
        self.world.change().has_unread(self.wire)
    }

    fn part(&self, scratch: &mut [u8]) {
        self.world.change().part(self.wire, scratch.len());
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.world.change().close_stream(self.fd);
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStream({})", self.fd)
    }
}

/// A simulated listening socket; closed when dropped.
///
/// ```
/// use socketpool::net::{Listener, Net, sim::{Sim, World}};
///
/// let world = World::new();
/// let listener = Sim::listen(&world, &"127.0.0.1:0".parse()?, &Default::default())?;
/// let client = world.connect("unix");
/// assert!(listener.has_waiting() && listener.accept().is_ok() && listener.accept().is_err());
/// # Ok::<(), socketpool::Error>(())
/// ```
pub struct SimListener {
    world: World,
    fd: i32,
    address: Address,
    backlog: u32,
}

impl Listener for SimListener {
    type Stream = SimStream;

    fn accept(&self) -> io::Result<(SimStream, Peer)> {
        let mut ground = self.world.change();
        let (fd, wire) = ground.accept(self.fd)?;
        let peer = ground.wires[wire].peer;
        drop(ground);
        Ok((SimStream::new(self.world.clone(), fd, wire), peer))
    }

    fn has_waiting(&self) -> bool {
        self.world.look().waiting(self.fd) > 0
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn backlog(&self) -> u32 {
        self.backlog
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.world.change().close_listener(self.fd);
    }
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimListener({} on {})", self.fd, self.address)
    }
}

/// The poller of a simulated world. It never sleeps: time is the test's to turn.
///
/// ```
/// use socketpool::net::{Poller, sim::World};
///
/// let mut poller = World::new().poller();
/// poller.wait(None).unwrap(); // returns at once
/// assert_eq!(poller.events().count(), 0);
/// ```
#[derive(Debug)]
pub struct SimPoller {
    world: World,
    events: Vec<(Token, Readiness)>,
    slept: Option<Duration>,
}

impl SimPoller {
    pub(super) fn new(world: World) -> Self {
        Self { world, events: Vec::with_capacity(EVENTS_A_WAIT), slept: Some(Duration::ZERO) }
    }

    /// How long the last wait was allowed to take; `None` for ever.
    ///
    /// ```
    /// use socketpool::net::{Poller, sim::World};
    /// use std::time::Duration;
    ///
    /// let mut poller = World::new().poller();
    /// poller.wait(Some(Duration::from_secs(3600))).unwrap(); // returns at once
    /// assert_eq!(poller.last_timeout(), Some(Duration::from_secs(3600)));
    /// ```
    #[must_use]
    pub fn last_timeout(&self) -> Option<Duration> {
        self.slept
    }
}

impl Poller for SimPoller {
    type Registry = SimRegistry;
    type Waker = SimWaker;

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.slept = timeout;
        self.events.clear();
        self.world.called.store(false, Ordering::Release);
        let mut ground = self.world.change();
        match ground.faults.call(Call::Wait) {
            // A signal ends the wait with no events, as it does for the operating system's poller.
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                ground.collect(&mut self.events, EVENTS_A_WAIT);
                Ok(())
            }
        }
    }

    fn events(&self) -> impl Iterator<Item = (Token, Readiness)> {
        self.events.iter().copied()
    }

    fn registry(&self) -> io::Result<SimRegistry> {
        Ok(SimRegistry { world: self.world.clone() })
    }

    fn waker(&self) -> SimWaker {
        SimWaker(self.world.called.clone())
    }
}

/// The registry of a simulated world.
///
/// ```
/// use socketpool::net::{Poller, Registry, sim::World};
///
/// let world = World::new();
/// let (stream, client) = world.pair("unix");
/// let registry = world.poller().registry().unwrap();
/// registry.forget(&stream); // no error for what is not watched
/// ```
#[derive(Debug)]
pub struct SimRegistry {
    world: World,
}

impl Registry<Sim> for SimRegistry {
    fn watch(&self, stream: &SimStream, token: Token) -> io::Result<()> {
        self.world.change().watch(Call::Watch, stream.fd, token, Readiness::READABLE)
    }

    fn watch_room(&self, stream: &SimStream, token: Token) -> io::Result<()> {
        let both = Readiness::READABLE.with(Readiness::WRITABLE);
        self.world.change().watch(Call::WatchRoom, stream.fd, token, both)
    }

    fn forget(&self, stream: &SimStream) {
        self.world.change().forget(stream.fd);
    }

    fn watch_listener(&self, listener: &SimListener, token: Token) -> io::Result<()> {
        self.world.change().watch(Call::Watch, listener.fd, token, Readiness::READABLE)
    }

    fn forget_listener(&self, listener: &SimListener) {
        self.world.change().forget(listener.fd);
    }
}

/// Wakes a simulated poller, from any thread: it does not sleep, so this only shows in [`was_called`](Self::was_called).
///
/// ```
/// use socketpool::net::{Poller, Wake, sim::World};
///
/// let world = World::new();
/// world.poller().waker().wake().unwrap();
/// assert!(world.has_events(), "a real poller would not sleep now");
/// ```
#[derive(Clone, Debug)]
pub struct SimWaker(Arc<AtomicBool>);

impl SimWaker {
    /// Whether somebody has called since the last wait.
    ///
    /// ```
    /// use socketpool::net::{Poller, Wake, sim::World};
    ///
    /// let mut poller = World::new().poller();
    /// let waker = poller.waker();
    /// waker.wake().unwrap();
    /// assert!(waker.was_called());
    /// poller.wait(None).unwrap();
    /// assert!(!waker.was_called(), "the wait has taken the call in");
    /// ```
    #[must_use]
    pub fn was_called(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Wake for SimWaker {
    fn wake(&self) -> io::Result<()> {
        self.0.store(true, Ordering::Release);
        Ok(())
    }
}

/// As many as the operating system's poller takes at a time.
const EVENTS_A_WAIT: usize = 1024;
