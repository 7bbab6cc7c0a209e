//! What has happened since the pool was made, as numbers that only grow.
//! Leaves the meaning of them (rates, marks, verdicts) to the other files of this room.

use crate::reason::{Reason, Refusal};

/// Events since the pool was made. Every number only grows.
///
/// Taken at one moment they fit together: `opened − closed_total()` is the number of live connections.
///
/// ```
/// use socketpool::{Counters, Reason};
///
/// let counters = Counters::default();
/// assert_eq!(counters.closed(Reason::Idle), 0);
/// assert_eq!(counters.opened, counters.closed_total());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections that the pool's own listeners handed over, admitted or not.
    pub accepted: u64,
    /// Streams that came in through `add`, admitted or not.
    pub adopted: u64,
    /// Connections that got a slot.
    pub opened: u64,
    /// Operations completed.
    pub operations: u64,
    /// Operations that a rate did not allow.
    pub operations_denied: u64,
    /// Newcomers that were let in, but with reading put off because their address looked like a flood.
    pub delayed: u64,
    /// Times that newcomers were left in a listener's backlog because the pool was full.
    pub deferred_accepts: u64,
    /// Accepts that failed for want of descriptors or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM) or because the listener
    /// does not work, and newcomers that the poller had no memory to watch, each time.
    pub accept_failures: u64,
    /// Accepts of connections that were already gone (ECONNABORTED and the like), or that a signal interrupted; nothing
    /// was lost by them.
    pub accept_aborted: u64,
    /// Bytes read from peers.
    pub received_bytes: u64,
    /// Bytes that the kernel took for peers.
    pub sent_bytes: u64,
    /// Events of the poller for connections that were already gone; dropped.
    pub stale_events: u64,
    /// Passes of the loop.
    pub turns: u64,
    /// By reason, in the order of [`Refusal::ALL`]. Invariant: sum = newcomers that were turned away.
    pub(crate) refused: [u64; Refusal::COUNT],
    /// By reason, in the order of [`Reason::ALL`]. Invariant: sum = opened − live.
    pub(crate) closed: [u64; Reason::COUNT],
}

impl Counters {
    /// Newcomers that were turned away for this reason.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().max_connections(1).eviction(Eviction::Off).build()?;
    /// for _ in 0..3 {
    ///     let _ = pool.add(UnixStream::pair().unwrap().0); // into a pool with room for one
    /// }
    /// let counters = pool.snapshot().counters;
    /// assert_eq!((counters.opened, counters.refused(Refusal::Full)), (1, 2));
    /// assert_eq!(counters.refused(Refusal::Flood), 0);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize]
    }

    /// Newcomers that were turned away.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().max_connections(1).eviction(Eviction::Off).build()?;
    /// for _ in 0..3 {
    ///     let _ = pool.add(UnixStream::pair().unwrap().0); // into a pool with room for one
    /// }
    /// let counters = pool.snapshot().counters;
    /// let by_reason: u64 = Refusal::ALL.iter().map(|reason| counters.refused(*reason)).sum();
    /// assert_eq!(counters.refused_total(), by_reason);
    /// assert_eq!(counters.accepted + counters.adopted, counters.opened + counters.refused_total());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// Connections that ended for this reason.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// pool.kill(id);
    /// assert_eq!(pool.snapshot().counters.closed(Reason::Killed), 0, "decided, not carried out");
    /// pool.turn(Some(Duration::ZERO))?;
    /// while pool.next_event().is_some() {}
    /// assert_eq!(pool.snapshot().counters.closed(Reason::Killed), 1);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn closed(&self, reason: Reason) -> u64 {
        self.closed[reason as usize]
    }

    /// Connections that ended.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.kill(id);
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # while pool.next_event().is_some() {}
    /// let counters = pool.snapshot().counters;
    /// let by_reason: u64 = Reason::ALL.iter().map(|reason| counters.closed(*reason)).sum();
    /// assert_eq!(counters.closed_total(), by_reason);
    /// assert_eq!(counters.opened - counters.closed_total(), pool.len() as u64);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn closed_total(&self) -> u64 {
        self.closed.iter().sum()
    }
}
