//! The only room that makes system calls, and the seam at which a test puts something else in their place.
//! Knows sockets, listeners and readiness; decides nothing about who may come in, who must go, or when.

mod address;
#[cfg(feature = "capi")]
pub(crate) mod epoll;
mod listener;
pub(crate) mod machine;
mod path;
mod reactor;
#[cfg(feature = "sim")]
pub mod sim;
mod stream;
pub(crate) mod sys;
mod token;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::time::Duration;

pub use address::{Address, Families, ListenOptions, PortSharing};
pub use listener::OsListener;
pub(crate) use listener::{AcceptFailure, classify};
pub(crate) use reactor::Place;
pub use reactor::{OsPoller, OsRegistry, OsWaker, Reactor};
pub use stream::OsStream;
pub(crate) use stream::is_shortage;
pub use token::{Kind, Party, Token};

use crate::error::Error;
use crate::peer::Peer;
pub use crate::readiness::Readiness;

/// A family of sockets, listeners and pollers that belong together: [`Os`], or one that a test makes up.
///
/// Programs do not name this: [`SocketPool<U>`](crate::SocketPool) means the operating system's. It is public so that
/// whole turns of a pool can be run without a socket (feature `sim`).
///
/// ```
/// use socketpool::{SocketPool, net::Net};
///
/// /// Serves the operating system's connections, and in tests simulated ones.
/// fn serve<N: Net>(pool: &mut SocketPool<(), N>) -> usize {
///     std::iter::from_fn(|| pool.next_event()).count()
/// }
/// # Ok::<(), socketpool::Error>(())
/// ```
pub trait Net: Debug + Sized + 'static {
    /// A connected socket.
    type Stream: Stream;
    /// A listening socket.
    type Listener: Listener<Stream = Self::Stream>;
    /// What waits for readiness.
    type Poller: Poller<Registry = Self::Registry>;
    /// What puts descriptors under the poller's eyes; outlives a borrow of the poller.
    type Registry: Registry<Self>;
    /// Where listeners come from; `()` for the operating system.
    type Ground: Debug;

    /// Opens a listening socket.
    ///
    /// # Errors
    /// When the address is no address, is in use, or is not this machine's.
    fn listen(
        ground: &Self::Ground,
        address: &Address,
        options: &ListenOptions,
    ) -> Result<Self::Listener, Error>;
}

/// The operating system's sockets, through mio.
///
/// ```
/// use socketpool::{SocketPool, net::Os};
///
/// let pool: SocketPool<(), Os> = SocketPool::<()>::builder().build()?;
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Debug)]
pub enum Os {}

impl Net for Os {
    type Stream = OsStream;
    type Listener = OsListener;
    type Poller = OsPoller;
    type Registry = OsRegistry;
    type Ground = ();

    fn listen((): &(), address: &Address, options: &ListenOptions) -> Result<OsListener, Error> {
        OsListener::bind(address, options)
    }
}

/// What a pool needs of a connected, non-blocking socket.
///
/// ```
/// use socketpool::net::Stream;
/// use std::io::{ErrorKind, Result};
///
/// /// Reads until nothing is there, and says whether the stream has ended.
/// fn empty(stream: &impl Stream, into: &mut Vec<u8>) -> Result<bool> {
///     let mut piece = [0; 4096];
///     loop {
///         match stream.receive(&mut piece) {
///             Ok(0) => return Ok(true),
///             Ok(n) => into.extend_from_slice(&piece[..n]),
///             Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
///             Err(error) => return Err(error),
///         }
///     }
/// }
/// ```
pub trait Stream: Debug {
    /// The descriptor: the key under which calls that come with one find the connection.
    fn fd(&self) -> i32;

    /// Reads what has arrived; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived, else what the socket said. Never `Interrupted`.
    fn receive(&self, into: &mut [u8]) -> io::Result<usize>;

    /// Whether a read may stop before all that has arrived is read, with no new edge for the rest: on a unix socket it
    /// does behind a message that came with descriptors. Asked once, and never of an internet peer that was accepted;
    /// `receive_some` is then called in place of `receive`.
    fn stops_short(&self) -> bool {
        false
    }

    /// Reads as `receive`, and tells whether it has stopped short, so that there may be more. What came with the bytes,
    /// descriptors above all, is not taken in.
    ///
    /// # Errors
    /// As `receive`.
    fn receive_some(&self, into: &mut [u8]) -> io::Result<Received> {
        self.receive(into).map(Received::plainly)
    }

    /// Sends from the front of `slices` as much as the socket takes, in one system call and without SIGPIPE.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing now, else what the socket said. Never `Interrupted`.
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether bytes have arrived that nobody has read.
    fn has_unread(&self) -> bool;

    /// Says goodbye with a FIN: no more is sent, and what has arrived is read and dropped, since closing a socket
    /// with unread bytes makes the kernel send a RST, which may overtake our last reply. `scratch` is where it goes.
    fn part(&self, scratch: &mut [u8]);
}

/// What a read has brought.
///
/// ```
/// use socketpool::net::Received;
///
/// let plain = Received::plainly(5);
/// assert_eq!(plain, Received { bytes: 5, stopped_short: false });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many bytes; 0 is the end of the stream.
    pub bytes: usize,
    /// Whether the read has stopped where it need not, so that more may be there.
    pub stopped_short: bool,
}

impl Received {
    /// By a read that stops only where nothing more has arrived, or no more has room.
    ///
    /// ```
    /// use socketpool::net::Received;
    ///
    /// assert!(!Received::plainly(5).stopped_short);
    /// ```
    #[must_use]
    #[inline]
    pub const fn plainly(bytes: usize) -> Self {
        Self { bytes, stopped_short: false }
    }
}

/// What a pool needs of a listening, non-blocking socket.
///
/// ```
/// use socketpool::{Peer, net::Listener};
///
/// /// Who waits in the backlog; an error ends it, `WouldBlock` when it is empty.
/// fn take_all<L: Listener>(listener: &L) -> Vec<(L::Stream, Peer)> {
///     std::iter::from_fn(|| listener.accept().ok()).collect()
/// }
/// ```
pub trait Listener: Debug {
    /// What is accepted.
    type Stream;

    /// Takes the next connection from the backlog.
    ///
    /// # Errors
    /// What `accept4` said; `WouldBlock` when the backlog is empty.
    fn accept(&self) -> io::Result<(Self::Stream, Peer)>;

    /// Whether somebody waits in the backlog; asked when nobody can be accepted: when the pool is full, and when
    /// descriptors are exhausted, because `accept4` then fails before it looks.
    fn has_waiting(&self) -> bool;

    /// The address it listens on, with the port that the kernel chose for port 0.
    fn address(&self) -> &Address;

    /// How many may wait: the backlog that the kernel has really given.
    fn backlog(&self) -> u32;
}

/// Waits for readiness.
///
/// ```
/// use socketpool::net::{Poller, Readiness, Token};
///
/// fn look(poller: &mut impl Poller) -> std::io::Result<Vec<(Token, Readiness)>> {
///     poller.wait(Some(std::time::Duration::ZERO))?;
///     Ok(poller.events().collect())
/// }
/// ```
pub trait Poller: Debug {
    /// Puts descriptors under this poller.
    type Registry;
    /// Wakes this poller from other threads.
    type Waker: Wake;

    /// Sleeps until something is ready, somebody wakes it, or `timeout` has passed; `None` is for ever.
    ///
    /// # Errors
    /// What the operating system said. A signal is no error: it ends the wait with no events.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// What the last wait found.
    fn events(&self) -> impl Iterator<Item = (Token, Readiness)>;

    /// A registry of this poller.
    ///
    /// # Errors
    /// When the operating system gives no descriptor for it.
    fn registry(&self) -> io::Result<Self::Registry>;

    /// What wakes this poller.
    fn waker(&self) -> Self::Waker;
}

/// Puts descriptors under a poller. Edge-triggered: each edge is told once.
///
/// ```
/// use socketpool::net::{Net, Registry, Token};
///
/// /// A socket whose output does not go through is watched for room from then on.
/// fn watch<N: Net>(registry: &N::Registry, stream: &N::Stream, token: Token) -> std::io::Result<()> {
///     registry.watch(stream, token)?;
///     registry.watch_room(stream, token)
/// }
/// ```
pub trait Registry<N: Net>: Debug {
    /// Watches for input and for the end.
    ///
    /// # Errors
    /// What the operating system said.
    fn watch(&self, stream: &N::Stream, token: Token) -> io::Result<()>;

    /// Watches for room to write as well, from now on; and for input, if [`watch`](Self::watch) has not succeeded yet.
    /// If there is room already, the next wait says so.
    ///
    /// # Errors
    /// What the operating system said.
    fn watch_room(&self, stream: &N::Stream, token: Token) -> io::Result<()>;

    /// Stops watching. Only needed for a descriptor of which somebody else holds a copy: a close does the rest.
    fn forget(&self, stream: &N::Stream);

    /// Watches a listener.
    ///
    /// # Errors
    /// What the operating system said.
    fn watch_listener(&self, listener: &N::Listener, token: Token) -> io::Result<()>;

    /// Stops watching a listener.
    fn forget_listener(&self, listener: &N::Listener);
}

/// Wakes a poller, from any thread.
///
/// ```
/// use socketpool::net::Wake;
///
/// fn call_from_elsewhere(waker: &impl Wake) {
///     let waker = waker.clone();
///     std::thread::spawn(move || waker.wake());
/// }
/// ```
pub trait Wake: Clone + Debug + Send + Sync + 'static {
    /// Makes the current wait, or the next one, return at once.
    ///
    /// # Errors
    /// What the operating system said.
    fn wake(&self) -> io::Result<()>;
}
