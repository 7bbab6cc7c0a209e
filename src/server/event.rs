//! What a pool tells its application.

use crate::id::ConnId;
use crate::reason::Reason;

/// What [`SocketPool::next_event`](crate::SocketPool::next_event) returns.
///
/// The connection that an event other than `Closed` names is alive until the next call of `next_event`, `turn` or
/// `process`, whatever is done to it meanwhile, so [`SocketPool::conn`](crate::SocketPool::conn) cannot fail for it.
///
/// A connection that was accepted and ends before its first event is not told of at all: it shows in the counters.
///
/// ```
/// use socketpool::{Event, SocketPool};
/// use std::time::Duration;
///
/// let mut pool = SocketPool::<u32>::builder().build()?;
/// pool.turn(Some(Duration::ZERO))?;
/// while let Some(event) = pool.next_event() {
///     match event {
///         Event::Opened(id) => { pool.conn(id).set_userdata(0); }
///         Event::Readable(id) => { pool.conn(id).receive(); }
///         Event::Closed { id, reason, userdata } => println!("{id} ended: {reason} {userdata:?}"),
///         Event::Drained => break,
///         _ => {}
///     }
/// }
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<U> {
    /// A connection has been admitted. The first event of every connection that is told of.
    Opened(ConnId),
    /// Input has arrived that was not received yet: reported in every turn until it is received, as far as the
    /// connection is read from. Or the end of the stream is there to be found, of which `receive` brings nothing; or the
    /// application has asked for it by [`again`](crate::Connection::again), or a rate shows now what was received before.
    Readable(ConnId),
    /// Output is down to the low mark that had passed the high mark, or had left no room for something that was
    /// [`Refused`](crate::Sent::Refused).
    Writable(ConnId),
    /// The peer has sent its last byte. Told once, behind all that it has sent; a `Readable` may still follow, by
    /// [`again`](crate::Connection::again), for a rate that lets go, or because the socket has failed. If nothing is owed to
    /// the peer when this event has been handled, and it is not held, the connection ends; otherwise it ends when what
    /// is owed has left and it is released.
    ReadClosed(ConnId),
    /// A connection has ended. The last event of every connection that is told of, exactly once.
    Closed {
        /// Its id, which finds nothing any more.
        id: ConnId,
        /// Why.
        reason: Reason,
        /// What the application had hung on it.
        userdata: Option<U>,
    },
    /// The pool has drained: no connection is left and none will come. Told once, after the last `Closed`.
    Drained,
}

impl<U> Event<U> {
    /// The connection it is about; `None` for `Drained`.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// pool.kill(id);
    /// let end = pool.next_event().unwrap();
    /// assert_eq!(end.id(), Some(id));
    /// assert_eq!(Event::<()>::Drained.id(), None);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn id(&self) -> Option<ConnId> {
        match self {
            Self::Opened(id) | Self::Readable(id) | Self::Writable(id) | Self::ReadClosed(id) => Some(*id),
            Self::Closed { id, .. } => Some(*id),
            Self::Drained => None,
        }
    }
}
