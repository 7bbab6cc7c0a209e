//! The one poller of a loop, which several parties share, and mio behind it. Tells who is ready; calls nobody.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};

use super::token::{Party, Token};
use super::{Net, Os, OsListener, OsStream, Poller, Readiness, Registry, Wake};
use crate::error::Error;

/// The poller of a loop that several parties share: server pools, client pools, the operator's door.
///
/// A [`SocketPool`](crate::SocketPool) that is alone in its loop has one inside and is driven by
/// [`turn`](crate::SocketPool::turn). Parties on a shared reactor are driven in three steps: sleep at most until the
/// earliest of their deadlines, let each one take what is its own, then pull events from each.
///
/// ```
/// use socketpool::{Reactor, SocketPool};
/// use std::time::Duration;
///
/// let mut reactor = Reactor::new()?;
/// let mut front = SocketPool::<()>::builder().build_on(&mut reactor)?;
/// let mut back = SocketPool::<()>::builder().build_on(&mut reactor)?;
/// front.listen("127.0.0.1:0")?;
/// back.listen("127.0.0.1:0")?;
/// // One pass of the loop:
/// let sleep = front.next_timeout().into_iter().chain(back.next_timeout()).min();
/// reactor.turn(sleep.or(Some(Duration::ZERO)))?;
/// front.process(&mut reactor);
/// back.process(&mut reactor);
/// while let Some(event) = front.next_event() { /* … */ }
/// while let Some(event) = back.next_event() { /* … */ }
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Debug)]
pub struct Reactor<N: Net = Os> {
    poller: N::Poller,
    /// Numbers of parties that are in use, a bit each; a party that goes clears its own, whatever thread it is on.
    taken: Arc<AtomicU32>,
    /// How often each number has been handed out.
    holders: [u32; Party::MAX as usize],
}

impl Reactor {
    /// A reactor on the operating system's poller.
    ///
    /// # Errors
    /// When the operating system gives no descriptor for it.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let mut reactor = Reactor::new()?;
    /// let mut pool = SocketPool::<()>::builder().build_on(&mut reactor)?;
    /// let turned_alone = pool.turn(Some(Duration::ZERO));
    /// assert!(matches!(turned_alone, Err(Error::State { .. })), "the reactor is turned, for all of its parties");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn new() -> Result<Self, Error> {
        OsPoller::new().map(Self::over).map_err(|error| Error::io("make a poller", error))
    }
}

impl<N: Net> Reactor<N> {
    /// A reactor on `poller`.
    ///
    /// ```
    /// # #[cfg(feature = "sim")] {
    /// use socketpool::net::sim::{Sim, World};
    /// # use socketpool::{Reactor, SocketPool};
    ///
    /// let world = World::new();
    /// let mut reactor = Reactor::<Sim>::over(world.poller());
    /// let pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// # }
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn over(poller: N::Poller) -> Self {
        Self { poller, taken: Arc::default(), holders: [0; Party::MAX as usize] }
    }

    /// Sleeps until a descriptor of any party is ready, a handle calls, or `timeout` has passed; `None` is for ever.
    /// A signal ends the sleep early.
    ///
    /// # Errors
    /// When the operating system's poller fails, which no peer can bring about.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let mut reactor = Reactor::new()?;
    /// let mut pool = SocketPool::<()>::builder().build_on(&mut reactor)?;
    /// pool.handle().wake().unwrap();
    /// reactor.turn(None)?; // returns at once: somebody has called
    /// pool.process(&mut reactor);
    /// assert_eq!(pool.next_event(), None);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn turn(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.poller.wait(timeout).map_err(|error| Error::io("wait for readiness", error))
    }

    /// A number for one more user of this reactor, until its place is dropped.
    pub(crate) fn join(&mut self) -> Result<Place, Error> {
        let number = self.taken.load(Ordering::Acquire).trailing_ones();
        let Some(holders) = self.holders.get_mut(number as usize) else {
            return Err(Error::State { what: "join the reactor", why: "32 parties share it already" });
        };
        let party = Party::new(number as u8, *holders);
        *holders = holders.wrapping_add(1);
        let bit = 1 << number;
        self.taken.fetch_or(bit, Ordering::AcqRel);
        Ok(Place { party, bit, taken: self.taken.clone() })
    }

    pub(crate) fn poller(&self) -> &N::Poller {
        &self.poller
    }
}

impl<N: Net> AsRawFd for Reactor<N>
where
    N::Poller: AsRawFd,
{
    /// The descriptor of the poller, for nesting this loop in another one: watch it there level-triggered for input.
    fn as_raw_fd(&self) -> RawFd {
        self.poller.as_raw_fd()
    }
}

/// A party's place at a reactor, which is another's when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    party: Party,
    bit: u32,
    taken: Arc<AtomicU32>,
}

impl Place {
    pub(crate) fn party(&self) -> Party {
        self.party
    }

    /// Whether it is a place at this reactor: another's events may bear the same tokens.
    pub(crate) fn is_at<N: Net>(&self, reactor: &Reactor<N>) -> bool {
        Arc::ptr_eq(&self.taken, &reactor.taken)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_and(!self.bit, Ordering::AcqRel);
    }
}

/// mio's poller, edge-triggered.
///
/// ```
/// use socketpool::{Reactor, SocketPool};
/// use std::os::fd::AsRawFd;
///
/// let reactor = Reactor::new()?; // has one inside, whose descriptor it shows for nesting
/// assert!(reactor.as_raw_fd() >= 0);
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Debug)]
pub struct OsPoller {
    poll: Poll,
    events: Events,
    waker: OsWaker,
}

impl OsPoller {
    fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = OsWaker(Arc::new(mio::Waker::new(poll.registry(), Token::waker().to_mio())?));
        Ok(Self { poll, events: Events::with_capacity(EVENTS_A_TURN), waker })
    }
}

impl Poller for OsPoller {
    type Registry = OsRegistry;
    type Waker = OsWaker;

    #[inline]
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            // A wait that fails has cleared the events before.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    #[inline]
    fn events(&self) -> impl Iterator<Item = (Token, Readiness)> {
        self.events.iter().map(|event| {
            let mut readiness = Readiness::NONE;
            if event.is_readable() {
                readiness = readiness.with(Readiness::READABLE);
            }
            if event.is_writable() {
                readiness = readiness.with(Readiness::WRITABLE);
            }
            if event.is_read_closed() {
                readiness = readiness.with(Readiness::READ_CLOSED);
            }
            if event.is_error() {
                readiness = readiness.with(Readiness::FAILED);
            }
            if event.is_priority() {
                readiness = readiness.with(Readiness::URGENT);
            }
            (Token::from_mio(event.token()), readiness)
        })
    }

    fn registry(&self) -> io::Result<OsRegistry> {
        self.poll.registry().try_clone().map(OsRegistry)
    }

    fn waker(&self) -> OsWaker {
        self.waker.clone()
    }
}

impl AsRawFd for OsPoller {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

/// mio's registry.
///
/// ```
/// // Each pool has one, made when it joins a reactor.
/// fn of<N: socketpool::net::Net>(poller: &N::Poller) -> std::io::Result<N::Registry> {
///     socketpool::net::Poller::registry(poller)
/// }
/// # let _ = of::<socketpool::net::Os>;
/// ```
#[derive(Debug)]
pub struct OsRegistry(mio::Registry);

impl Registry<Os> for OsRegistry {
    #[inline]
    fn watch(&self, stream: &OsStream, token: Token) -> io::Result<()> {
        self.0.register(&mut SourceFd(&stream.as_raw_fd()), token.to_mio(), INPUT)
    }

    fn watch_room(&self, stream: &OsStream, token: Token) -> io::Result<()> {
        let both = INPUT.add(Interest::WRITABLE);
        let (fd, token) = (stream.as_raw_fd(), token.to_mio());
        match self.0.reregister(&mut SourceFd(&fd), token, both) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.0.register(&mut SourceFd(&fd), token, both)
            }
            result => result,
        }
    }

    fn forget(&self, stream: &OsStream) {
        // It fails only when the descriptor is not registered, which is what is wanted.
        let _ = self.0.deregister(&mut SourceFd(&stream.as_raw_fd()));
    }

    fn watch_listener(&self, listener: &OsListener, token: Token) -> io::Result<()> {
        self.0.register(&mut SourceFd(&listener.as_raw_fd()), token.to_mio(), Interest::READABLE)
    }

    fn forget_listener(&self, listener: &OsListener) {
        let _ = self.0.deregister(&mut SourceFd(&listener.as_raw_fd()));
    }
}

/// mio's waker; clones wake the same poller.
///
/// ```
/// use socketpool::{Handle, SocketPool, net::OsWaker};
///
/// let pool = SocketPool::<()>::builder().build()?;
/// let handle: Handle<OsWaker> = pool.handle(); // what `Handle` means when it says no more
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OsWaker(Arc<mio::Waker>);

impl Wake for OsWaker {
    fn wake(&self) -> io::Result<()> {
        self.0.wake()
    }
}

/// Input of a connection, urgent data included: who does not ask for it is not told why a read stopped short.
const INPUT: Interest = Interest::READABLE.add(Interest::PRIORITY);

/// Events taken from the kernel at a time: 12 KiB. More wait there, and the kernel hands them out in fair order.
const EVENTS_A_TURN: usize = 1024;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::id::ConnId;
    use crate::net::{Kind, Stream};

    /// A poller with one end of a pair, and the other end.
    fn pair() -> (OsPoller, OsRegistry, OsStream, UnixStream) {
        let poller = OsPoller::new().unwrap();
        let registry = poller.registry().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        (poller, registry, OsStream::adopt(ours).unwrap(), theirs)
    }

    fn told(poller: &mut OsPoller) -> Readiness {
        poller.wait(Some(Duration::ZERO)).unwrap();
        poller.events().fold(Readiness::NONE, |all, (token, readiness)| {
            assert_eq!(token, TOKEN);
            all.with(readiness)
        })
    }

    const TOKEN: Token = Token::connection(Kind::Server, Party::new(0, 0), ConnId::new(7, 1).unwrap());

    #[test]
    fn a_stream_that_was_never_watched_can_be_watched_for_room_and_is_for_input_too() {
        let (mut poller, registry, stream, mut theirs) = pair();
        theirs.write_all(b"hello").unwrap();
        registry.watch_room(&stream, TOKEN).unwrap();
        let told = told(&mut poller);
        assert!(told.has(Readiness::READABLE) && told.has(Readiness::WRITABLE), "{told:?}");
    }

    #[test]
    fn edges_are_told_once_and_the_end_with_them() {
        let (mut poller, registry, stream, mut theirs) = pair();
        registry.watch(&stream, TOKEN).unwrap();
        assert_eq!(told(&mut poller), Readiness::NONE);
        theirs.write_all(b"hello").unwrap();
        assert_eq!(told(&mut poller), Readiness::READABLE);
        assert_eq!(told(&mut poller), Readiness::NONE, "nothing new");
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(told(&mut poller), Readiness::READABLE.with(Readiness::READ_CLOSED));
        let mut bytes = [0; 8];
        assert_eq!(stream.receive(&mut bytes).unwrap(), 5);
        registry.forget(&stream);
        drop(stream);
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        assert_eq!(told(&mut poller), Readiness::NONE, "it is forgotten");
    }
}
