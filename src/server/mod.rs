//! `SocketPool`: accepted connections, admitted, driven, limited, measured and drained.
//! The parts: `listen` and `accept` let them in, `eviction` makes room, `turn` passes readiness on, `receiving` and
//! `sending` move bytes, `reap` keeps deadlines, `ending` closes, `draining` leaves nobody, `pressure` bounds memory,
//! `report` tells how things are.

mod accept;
mod audit;
mod builder;
mod charging;
mod commands;
mod config;
mod conn;
mod core;
mod draining;
#[cfg(feature = "capi")]
mod driven;
mod ending;
mod event;
mod eviction;
pub(crate) mod exhaustion;
mod inbox;
mod line;
mod listen;
mod policy;
mod pressure;
mod reap;
mod receiving;
mod report;
mod run_queue;
mod sending;
mod sharing;
#[cfg(feature = "capi")]
mod spaces;
mod split;
mod startup;
mod turn;

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

pub use builder::Builder;
pub use commands::{CallError, Handle, SendError};
pub use config::{Config, Eviction, OutputHigh, OverRate, Proof, ReadStall, WhenFull};
pub use conn::Connection;
#[cfg(feature = "capi")]
pub(crate) use driven::{Driven, Side};
pub use event::Event;
pub use sending::Sent;
pub use split::{Input, Sender};

use self::commands::Commands;
use self::core::Core;
use self::inbox::Inbox;
use self::listen::{Accepting, Listening};
use crate::admission::Origin;
use crate::clock::{Clock, Nanos};
use crate::connection::{Flags, Table};
use crate::drain::State;
use crate::error::{AddError, Error};
use crate::id::ConnId;
use crate::net::{Net, Os, OsStream, Place, Poller, Reactor, Registry};
use crate::peer::Peer;
use crate::reason::{Reason, Refusal};

/// A pool of accepted connections, each with userdata of type `U`.
///
/// The pool accepts, admits, buffers, times out, limits, measures and drains; the application says what the bytes
/// mean. It is driven by one thread: [`turn`](Self::turn) waits and works, [`next_event`](Self::next_event) tells what
/// happened, [`conn`](Self::conn) gives the connection to work with. It can be moved to another thread, and
/// [`handle`](Self::handle) lets other threads call.
///
/// ```
/// use socketpool::{Event, SocketPool};
/// use std::time::Duration;
///
/// let mut pool = SocketPool::<()>::builder().max_connections(100).build()?;
/// let address = pool.listen("127.0.0.1:0")?;
/// # let client = std::net::TcpStream::connect(address.tcp().unwrap()).unwrap();
/// # let mut opened = 0;
/// # while opened == 0 {
/// pool.turn(Some(Duration::from_millis(100)))?;
/// while let Some(event) = pool.next_event() {
///     if let Event::Opened(id) = event {
///         println!("{} came", pool.conn(id).peer());
/// #       opened += 1;
///     }
/// }
/// # }
/// # Ok::<(), socketpool::Error>(())
/// ```
pub struct SocketPool<U, N: Net = Os> {
    table: Table<N::Stream, U>,
    inbox: Inbox,
    core: Core<N>,
    listening: Vec<Listening<N>>,
    /// Ends that are carried out and not told yet: only evictions, which cannot wait for the application.
    closed: VecDeque<Event<U>>,
    /// Connections the application has had a handle of since they were last put in order, the one whose input is open
    /// left out; the event's own is first.
    touched: Vec<turn::Touched>,
    /// Whether this turn has nothing more to tell: calls come when the application likes, and the turn's time is past.
    between_turns: bool,
    commands: Commands<<N::Poller as Poller>::Waker>,
    accepting: Accepting,
    /// When accepting goes on: [`accept::AT_ONCE`], at a retry, or [`accept::WHEN_CALLED`].
    accept_at: Nanos,
    /// How many newcomers this turn may still take.
    accepts_left: usize,
    /// The listener that is first in line in the next turn.
    first_listener: usize,
    /// When the next complaint about accept may be logged.
    complain_at: Nanos,
    ground: N::Ground,
    /// Its own; none if it shares one.
    reactor: Option<Reactor<N>>,
    /// Its number at the reactor, for as long as it lives.
    place: Place,
    /// Who closes the stream of a connection on which something hangs, in place of the pool.
    closer: Option<fn(&U, N::Stream)>,
    /// What the application has an address of and may fill.
    #[cfg(feature = "capi")]
    spaces: spaces::Spaces,
    /// Calls since the last walk through everything.
    #[cfg(feature = "audit")]
    calls: u32,
}

impl<U> SocketPool<U> {
    /// Starts a pool with every limit at its default.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let pool = SocketPool::<()>::builder().build()?;
    /// assert_eq!((pool.config().max_connections, pool.len()), (10_000, 0));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn builder() -> Builder<U> {
        Builder::new()
    }

    /// Adds a stream that somebody else accepted, subject to every check but the accept rate. The pool owns it from
    /// now on: it is made non-blocking and read by the pool. `Event::Opened` follows.
    ///
    /// # Errors
    /// The stream comes back with the reason when it is refused. When the pool is full, a connection is evicted for it
    /// as for any newcomer; if nobody can be, it is refused whatever [`WhenFull`] says, since it is in no backlog.
    ///
    /// ```
    /// use socketpool::{Refusal, SocketPool};
    ///
    /// let mut pool = SocketPool::<()>::builder().max_connections(1).build()?;
    /// let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    /// let id = pool.add(ours).unwrap();
    /// assert!(pool.conn(id).peer().is_unix());
    ///
    /// let (second, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    /// let refused = pool.add(second).unwrap_err();
    /// assert_eq!(refused.reason, Refusal::Full);
    /// drop(refused.stream); // still ours, still open until now
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn add(
        &mut self,
        stream: impl Into<std::os::fd::OwnedFd>,
    ) -> Result<ConnId, AddError<std::os::fd::OwnedFd>> {
        let (stream, before) = match OsStream::adopt_as_it_was(stream) {
            Ok(adopted) => adopted,
            Err((stream, _)) => return Err(self.turn_away(stream)),
        };
        let Some(peer) = stream.connected_peer() else {
            // Taken for a unix peer, whoever resets soon enough would come past every list and limit for addresses.
            return Err(self.turn_away(stream.restore(before)));
        };
        self.add_stream(stream, peer)
            .map_err(|refused| AddError { stream: refused.stream.restore(before), reason: refused.reason })
    }

    /// It is no connected stream socket.
    fn turn_away(&mut self, stream: std::os::fd::OwnedFd) -> AddError<std::os::fd::OwnedFd> {
        self.core.health.counters.adopted += 1;
        self.core.health.refused(Refusal::Register, self.core.now);
        AddError { stream, reason: Refusal::Register }
    }
}

impl<U, N: Net> SocketPool<U, N> {
    fn assemble(
        config: Config,
        clock: Clock,
        reactor: &mut Reactor<N>,
        ground: N::Ground,
    ) -> Result<Self, Error> {
        let capacity = config.max_connections as usize;
        let table = Table::new(capacity)?;
        let commands = Commands::new(reactor.poller().waker());
        let place = reactor.join()?;
        let core = Core::new(config, clock, reactor, place.party())?;
        let inbox = Inbox::new().map_err(|_| Error::Memory { what: "buffers" })?;
        startup::announce(core.config());
        Ok(Self {
            table,
            inbox,
            core,
            listening: Vec::new(),
            closed: VecDeque::with_capacity(accept::MOST_A_TURN),
            touched: Vec::with_capacity(turn::MOST_TOUCHED),
            between_turns: true,
            commands,
            accepting: Accepting::Open,
            accept_at: accept::AT_ONCE,
            accepts_left: accept::MOST_A_TURN,
            first_listener: 0,
            complain_at: Nanos::ZERO,
            ground,
            reactor: None,
            place,
            closer: None,
            #[cfg(feature = "capi")]
            spaces: spaces::Spaces::new(),
            #[cfg(feature = "audit")]
            calls: 0,
        })
    }

    /// From now on the address of a connection's waiting bytes can be given out: they stay where they are until that
    /// connection is asked for something or a turn begins.
    #[cfg(feature = "capi")]
    pub(crate) fn lend_addresses(&mut self) {
        self.core.store.let_rest();
    }

    /// Addresses of inputs that were given out mean nothing any more.
    #[cfg(feature = "capi")]
    pub(crate) fn end_show(&mut self) {
        self.inbox.end_show();
    }

    /// What hangs on a connection.
    #[cfg(feature = "capi")]
    pub(crate) fn userdata_of(&self, id: ConnId) -> Option<&U> {
        self.table.get(id)?.userdata.as_ref()
    }

    fn own_reactor(&mut self, reactor: Reactor<N>) {
        self.reactor = Some(reactor);
    }

    /// Adds a stream of the pool's net with the peer it comes from; see [`add`](SocketPool::add).
    ///
    /// # Errors
    /// The stream comes back with the reason when it is refused.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// // A proxy in front has accepted it, and has told whose it is: limits of an address count for him, not for the proxy.
    /// let peer = Peer::from("192.0.2.7:4711".parse::<SocketAddr>().unwrap());
    /// let id = pool.add_stream(OsStream::adopt(ours).unwrap(), peer).unwrap();
    /// assert_eq!(pool.conn(id).peer(), peer);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn add_stream(&mut self, stream: N::Stream, peer: Peer) -> Result<ConnId, AddError<N::Stream>> {
        self.core.read_clock();
        let seat = self.seat();
        self.admit(stream, peer, Origin::Added, seat, None)
    }

    /// The connection `id`. For the id of the event that is being handled this cannot fail, unless that is its `Closed`;
    /// use [`get`](Self::get) for any other.
    ///
    /// # Panics
    /// If the connection is gone.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// pool.turn(Some(Duration::ZERO))?;
    /// while let Some(event) = pool.next_event() {
    ///     if let Event::Opened(id) = event {
    ///         pool.kill(id);
    ///         let _ = pool.conn(id).peer(); // still there, until the next event
    ///     }
    /// }
    /// assert!(pool.get(id).is_none(), "here conn(id) would panic");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn conn(&mut self, id: ConnId) -> Connection<'_, U, N> {
        self.get(id).expect("the id of an event lives until the next next_event; for any other id use get")
    }

    /// The connection `id`; `None` if it is gone, for ever.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// let subscribers = [id, ConnId::from_u64(1 << 24 | 7).unwrap()]; // kept by the application
    /// for id in subscribers {
    ///     let Some(mut conn) = pool.get(id) else { continue }; // gone in the meantime
    ///     let _ = conn.send(b"news\n");
    /// }
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[inline]
    pub fn get(&mut self, id: ConnId) -> Option<Connection<'_, U, N>> {
        if self.inbox.owner() != Some(id) || self.between_turns {
            self.open_input(id)?;
        }
        let record = self.table.get_mut(id)?;
        Some(Connection { id, record, inbox: &mut self.inbox, core: &mut self.core })
    }

    /// The id of the connection with descriptor `fd`; `None` if no connection of this pool has it. For foreign code that
    /// knows descriptors only; they are used again at once, so what is to be kept is the id.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let fd = pool.conn(id).fd();
    /// assert_eq!(pool.id_of_fd(fd), Some(id));
    /// assert_eq!(pool.id_of_fd(-1), None);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn id_of_fd(&self, fd: i32) -> Option<ConnId> {
        self.table.id_by_fd(fd)
    }

    /// Every live connection's id, in order of slots.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let now: Vec<ConnId> = pool.ids().collect();
    /// now.into_iter().for_each(|id| assert!(pool.kill(id)));
    /// assert_eq!(pool.ids().count(), 1, "its end is decided, and carried out with the events of the next turn");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn ids(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.table.iter().map(|(id, _)| id)
    }

    /// Calls `each` with every live connection, those included of which no event has told yet. What it does takes effect as
    /// it does in an event, closing included.
    ///
    /// ```
    /// # let mut pool = socketpool::SocketPool::<u32>::builder().build()?;
    /// pool.for_each(|conn| { conn.set_userdata(0); });
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn for_each(&mut self, mut each: impl FnMut(&mut Connection<'_, U, N>)) {
        for slot in 0..self.table.slots_used() {
            let Some((id, _)) = self.table.at(slot) else { continue };
            if let Some(mut connection) = self.get(id) {
                each(&mut connection);
            }
        }
    }

    /// Connections that have been opened and whose end has not been carried out.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// assert_eq!(pool.len(), 1, "from the moment it is admitted, before it is told");
    /// pool.kill(id);
    /// pool.turn(Some(Duration::ZERO))?;
    /// while pool.next_event().is_some() {}
    /// assert_eq!(pool.len(), 0);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no connection is open.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// assert!(pool.is_empty());
    /// let (ours, _client) = UnixStream::pair().unwrap();
    /// pool.add(ours).unwrap();
    /// assert!(!pool.is_empty());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// The limits that are in force.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// assert_eq!(pool.config().first_message_timeout, Some(Duration::from_secs(30)));
    /// pool.reconfigure(|config| config.first_message_timeout = None)?;
    /// assert_eq!(pool.config().first_message_timeout, None);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn config(&self) -> &Config {
        self.core.config()
    }

    /// Changes limits while the pool runs. They hold from now on, for connections that are open too, whose deadlines
    /// are gone over in the next turns. Counts, scores and the tokens that were used stay.
    ///
    /// # Errors
    /// As when building; nothing is changed then.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// pool.reconfigure(|config| config.max_connections = 1)?; // nobody is closed for it
    /// assert!(pool.get(id).is_some());
    /// let error = pool.reconfigure(|config| config.max_connections = 0).unwrap_err();
    /// assert!(matches!(error, Error::Config { field: "max_connections", .. }));
    /// assert_eq!(pool.config().max_connections, 1, "a refused change changes nothing");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut Config)) -> Result<(), Error> {
        let mut config = self.core.config().clone();
        change(&mut config);
        config.validate()?;
        self.table.try_reserve(config.max_connections as usize)?;
        self.core.set_config(config)?;
        self.wake_accepting();
        Ok(())
    }

    /// Whether the pool is active, draining or drained, in this order and never back.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// assert_eq!(pool.state(), State::Active);
    /// pool.drain(None);
    /// assert_eq!(pool.state(), State::Draining, "somebody is there");
    /// pool.turn(Some(Duration::ZERO))?;
    /// while pool.next_event().is_some() {}
    /// assert_eq!(pool.state(), State::Drained);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn state(&self) -> State {
        self.core.drain.state.state()
    }

    /// Ends `id` at once, whatever it is doing, with [`Reason::Killed`]; `Event::Closed` tells when that is carried out,
    /// if it has been told of. `false` if it is gone already. If its end was decided before, that reason stands.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// assert!(pool.kill(id));
    /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::Killed, .. })));
    /// assert!(!pool.kill(id), "gone");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn kill(&mut self, id: ConnId) -> bool {
        self.end(id, Reason::Killed)
    }

    /// A handle with which other threads send, close, kill, drain, pause and wake.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let handle = pool.handle();
    /// std::thread::spawn(move || handle.kill(id)).join().unwrap().expect("the pool is there");
    /// pool.turn(Some(Duration::ZERO))?;
    /// while pool.next_event().is_some() {}
    /// assert!(pool.is_empty());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn handle(&self) -> Handle<<N::Poller as Poller>::Waker> {
        self.commands.handle()
    }

    /// How long a foreign loop may sleep before this pool wants to be turned; `None` for as long as it likes. Zero
    /// when something is left to do, of which the pool's descriptor says nothing.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// assert_eq!(pool.next_timeout(), Some(Duration::ZERO), "there is something to tell");
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// while pool.next_event().is_some() {}
    /// hand.advance(Duration::from_secs(10));
    /// assert!(pool.next_timeout().unwrap() <= Duration::from_secs(20), "until its first message is due");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        self.sleep_at_most(None)
    }

    /// Decides the end of a connection; it is carried out when no event of it is being handled.
    fn end(&mut self, id: ConnId, reason: Reason) -> bool {
        let Some(record) = self.table.get_mut(id) else { return false };
        self.core.end(id, record, reason);
        true
    }
}

impl<U, N: Net> Drop for SocketPool<U, N> {
    /// A shared reactor outlives the pool, and so may copies of descriptors that somebody else holds: it is told to forget
    /// them.
    fn drop(&mut self) {
        self.leave_protection();
        #[cfg(feature = "capi")]
        self.let_streams_go();
        if self.reactor.is_some() {
            return;
        }
        self.close_listeners();
        for (_, record) in self.table.iter().filter(|(_, record)| record.flags.has(Flags::SHARED)) {
            self.core.registry.forget(&record.stream);
        }
    }
}

impl<U, N: Net> fmt::Debug for SocketPool<U, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketPool")
            .field("state", &self.state())
            .field("connections", &self.len())
            .finish_non_exhaustive()
    }
}

impl<U, N: Net> AsRawFd for SocketPool<U, N>
where
    N::Poller: AsRawFd,
{
    /// The descriptor of the pool's poller, for nesting it in a foreign loop: watch it there level-triggered for
    /// input, sleep no longer than [`next_timeout`](Self::next_timeout), then [`turn`](Self::turn) with a zero timeout.
    ///
    /// # Panics
    /// If the pool shares a reactor: it has no descriptor of its own, nest the reactor's.
    fn as_raw_fd(&self) -> RawFd {
        self.reactor.as_ref().expect("a pool on a shared reactor has no descriptor of its own").as_raw_fd()
    }
}
