//! The listeners of a pool: opened, paused, resumed and closed. Accepting from them is next door.

use super::{SocketPool, accept};
use crate::clock::Nanos;
use crate::error::Error;
use crate::net::{Address, ListenOptions, Listener, Net, OsListener, Registry, Token};

/// One listener and what is known of its backlog.
#[derive(Debug)]
pub(super) struct Listening<N: Net> {
    pub(super) listener: N::Listener,
    pub(super) backlog: Backlog,
    /// Until when it is left alone for not working.
    pub(super) broken_until: Nanos,
    /// Newcomers that were gone when they were accepted, since one was not.
    pub(super) aborted: u32,
    /// How many newcomers may still be taken while the pool drains: those who were there when the drain began.
    pub(super) last_call: u32,
    /// Whether it is accepted from once more in this turn.
    pub(super) in_line: bool,
}

/// What is known of a backlog. The poller tells each edge once, so what is not accepted now must be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backlog {
    /// Nobody waits; an edge will tell.
    Empty,
    /// Somebody may wait.
    Waiting,
}

/// Whether a pool takes newcomers from its listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepting {
    /// It does.
    Open,
    /// The application has paused it.
    Paused,
}

impl<U> SocketPool<U> {
    /// Takes newcomers from a socket that listens already, as a service manager or an older process hands one on.
    /// Returns the address it listens on.
    ///
    /// The socket is made non-blocking and gets TCP_NODELAY, which whoever else accepts from it notices: see
    /// [`OsListener::adopt`](crate::net::OsListener::adopt). The path of a unix socket is left to
    /// whoever made it.
    ///
    /// # Errors
    /// When it is no listening stream socket, or the pool drains. The descriptor is closed then.
    ///
    /// ```
    /// # let mut pool = socketpool::SocketPool::<()>::builder().build()?;
    /// let inherited = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let address = pool.listen_on(inherited)?;
    /// assert_ne!(address.port(), Some(0));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn listen_on(&mut self, listener: impl Into<std::os::fd::OwnedFd>) -> Result<Address, Error> {
        self.start_listening(OsListener::adopt(listener)?)
    }
}

impl<U, N: Net> SocketPool<U, N> {
    /// Listens on `address` (`HOST:PORT`, `[V6]:PORT`, `unix:PATH` or `unix:@NAME`), with a backlog of 1,024. May be
    /// called for several addresses. Returns the address with the port that the kernel chose for port 0.
    ///
    /// A unix path where something is already: the socket of a process that has died without removing it is replaced.
    /// A socket that somebody is bound to, whether he listens yet or not, and a file that is no socket are left alone,
    /// and the address is in use. Of several who start at once, one gets the path and the others are told that it is in
    /// use. When the pool closes its listener it removes the path, unless another process has the socket as well or
    /// something else stands there by now. Who may connect is said by [`ListenOptions::mode`], else by the umask; the
    /// directory should be one in which only those who are trusted may write.
    ///
    /// # Errors
    /// [`Error::Config`] when it is no address, [`Error::Io`] when the operating system refuses, [`Error::State`] when
    /// the pool drains.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// let address = pool.listen("127.0.0.1:0")?;
    /// assert_ne!(address.port(), Some(0));
    /// assert!(matches!(pool.listen(&address.to_string()), Err(Error::Io { .. })), "in use");
    /// assert!(matches!(pool.listen("7000"), Err(Error::Config { field: "address", .. })));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn listen(&mut self, address: &str) -> Result<Address, Error> {
        self.listen_with(address, ListenOptions::default())
    }

    /// Listens with other options than the default.
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// let many = ListenOptions::default().backlog(4_096); // for crowds that come all at once
    /// pool.listen_with("127.0.0.1:0", many)?;
    /// pool.drain(None);
    /// assert!(matches!(pool.listen_with("127.0.0.1:0", ListenOptions::default()), Err(Error::State { .. })));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn listen_with(&mut self, address: &str, options: ListenOptions) -> Result<Address, Error> {
        let address: Address = address.parse()?;
        if !self.core.drain.is_active() {
            return Err(DRAINS);
        }
        let listener = N::listen(&self.ground, &address, &options)?;
        let (given, asked) = (listener.backlog(), options.asked_backlog());
        if given < asked {
            log::warn!(
                "{}: backlog cut from {asked} to {given}; raise net.core.somaxconn",
                listener.address()
            );
        }
        self.start_listening(listener)
    }

    /// The addresses that the pool listens on.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// let (one, other) = (pool.listen("127.0.0.1:0")?, pool.listen("127.0.0.1:0")?);
    /// assert!(pool.addresses().eq([&one, &other]));
    /// pool.drain(None);
    /// assert_eq!(pool.addresses().count(), 0, "the listeners are closed");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn addresses(&self) -> impl Iterator<Item = &Address> + '_ {
        self.listening.iter().map(|listening| listening.listener.address())
    }

    /// Leaves newcomers in the backlogs until [`resume_accepting`](Self::resume_accepting). Connections that are open
    /// are not touched.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// let address = pool.listen("127.0.0.1:0")?;
    /// pool.pause_accepting(); // the database is gone: new clients may wait a little
    /// let client = std::net::TcpStream::connect(address.tcp().unwrap()).unwrap();
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert!(pool.is_empty());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn pause_accepting(&mut self) {
        self.accepting = Accepting::Paused;
        self.cancel_last_call();
    }

    /// Takes newcomers again, those first who came meanwhile. Without effect once the pool drains.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// let address = pool.listen("127.0.0.1:0")?;
    /// pool.pause_accepting();
    /// let client = std::net::TcpStream::connect(address.tcp().unwrap()).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// pool.resume_accepting();
    /// pool.turn(Some(Duration::from_secs(10)))?;
    /// assert_eq!(pool.len(), 1, "who came meanwhile");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn resume_accepting(&mut self) {
        self.accepting = Accepting::Open;
        self.wake_accepting();
    }

    fn start_listening(&mut self, listener: N::Listener) -> Result<Address, Error> {
        if !self.core.drain.is_active() {
            return Err(DRAINS);
        }
        let address = listener.address().clone();
        let place = u32::try_from(self.listening.len()).expect("every listener has a descriptor");
        let token = Token::listener(self.core.party, place);
        self.core
            .registry
            .watch_listener(&listener, token)
            .map_err(|error| Error::io(format!("watch the listener on {address}"), error))?;
        log::info!("listening on {address}, backlog {}", listener.backlog());
        self.listening.push(Listening {
            listener,
            backlog: Backlog::Empty,
            broken_until: Nanos::ZERO,
            aborted: 0,
            last_call: 0,
            in_line: false,
        });
        Ok(address)
    }

    /// The poller says that somebody has come. In a drain that is too late.
    pub(super) fn listener_is_ready(&mut self, place: u32) {
        if !self.core.drain.is_active() {
            return;
        }
        if let Some(listening) = self.listening.get_mut(place as usize) {
            listening.backlog = Backlog::Waiting;
            self.accept_at = accept::AT_ONCE;
        }
    }

    pub(super) fn close_listeners(&mut self) {
        for listening in self.listening.drain(..) {
            self.core.registry.forget_listener(&listening.listener);
        }
        self.accept_at = accept::WHEN_CALLED;
    }
}

const DRAINS: Error = Error::State { what: "listen", why: "the pool drains" };
