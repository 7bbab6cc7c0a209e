//! One connection as a line of a list. Does not collect the list; the pool walks its own table.

use std::fmt;
use std::time::Duration;

use crate::id::ConnId;
use crate::peer::Peer;

/// One connection at one moment, as `connections()` lists them.
///
/// `Display` writes one line of `key=value` words without spaces in them, times in seconds, sizes in bytes:
/// `id=7.3 addr=10.0.0.9:5511 age=12.250 idle=0.031 state=idle in=640 out=640 qin=0 qout=0 ops=10 denied=0`.
/// Readers should skip words that they do not know.
///
/// ```
/// use socketpool::{ConnectionInfo, Phase};
///
/// fn hoarders(list: &[ConnectionInfo]) -> impl Iterator<Item = &ConnectionInfo> {
///     list.iter().filter(|info| info.state == Phase::Active && info.waiting_out > 64 * 1024)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its name.
    pub id: ConnId,
    /// Who is on the other side.
    pub peer: Peer,
    /// How long it has been in the pool.
    pub age: Duration,
    /// How long it has not been [active](crate::Connection::last_active).
    pub idle: Duration,
    /// What it is doing, and why it is not read from if it is not.
    pub state: Phase,
    /// Bytes received from the peer.
    pub bytes_in: u64,
    /// Bytes that the kernel took for the peer.
    pub bytes_out: u64,
    /// Bytes received that the application has not consumed.
    pub waiting_in: usize,
    /// Bytes sent by the application that the kernel has not taken.
    pub waiting_out: usize,
    /// Operations completed.
    pub operations: u64,
    /// Operations that a rate did not allow.
    pub denied: u64,
}

impl fmt::Display for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "id={} addr={} age={:.3} idle={:.3} state={} in={} out={} qin={} qout={} ops={} denied={}",
            self.id,
            self.peer,
            self.age.as_secs_f64(),
            self.idle.as_secs_f64(),
            self.state,
            self.bytes_in,
            self.bytes_out,
            self.waiting_in,
            self.waiting_out,
            self.operations,
            self.denied,
        )
    }
}

/// What a connection is doing right now: with the phases behind [`Active`](Self::Active), what it waits for. Where
/// several hold, the one that stands last here is shown.
///
/// It says more than whether something is in flight: what [`Snapshot`](crate::Snapshot) counts as active may be in any
/// phase but `Idle` and `Unproven`.
///
/// ```
/// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
/// # let mut pool = SocketPool::<()>::builder().build()?;
/// # let (ours, mut client) = UnixStream::pair().unwrap();
/// # client.set_nonblocking(true).unwrap();
/// # let id = pool.add(ours).unwrap();
/// // Whoever complains that nobody answers him:
/// pool.conn(id).pause_reading();
/// let unread: Vec<_> = pool.connections().filter(|info| info.state == Phase::Paused).collect();
/// assert_eq!((unread.len(), unread[0].id), (1, id));
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Proven, and nothing is in flight.
    Idle,
    /// No first message yet.
    Unproven,
    /// Busy: unread input, unsent output, an open operation, or held.
    Active,
    /// Not read, since [`max_input`](crate::Config::max_input) bytes have arrived that the application has not consumed.
    InputFull,
    /// Not read, since its output is past [`output_high`](crate::Config::output_high), or has left no room for more, and
    /// has not come down to [`output_low`](crate::Config::output_low) since: its peer takes its answers too slowly.
    /// With [`OutputHigh::Report`](crate::OutputHigh::Report) such a connection is read, and active.
    OutputHigh,
    /// Not read, since the application has [paused](crate::Connection::pause_reading) it.
    Paused,
    /// It waits for its rate, or the pool's: of operations, of bytes received, or of bytes sent. Or, for some
    /// milliseconds, for the kernel to have memory to send.
    Throttled,
    /// Let in, but reading has been put off because its address looked like a flood: see
    /// [`SynProtection`](crate::SynProtection). Or, for some milliseconds, until the kernel has memory for its bytes.
    Delayed,
    /// The application reads it [itself](crate::Connection::leave_to_application).
    Unobserved,
    /// The poller had no memory to watch it, so it is not heard. That is tried again, at least once a second, and
    /// nobody else is accepted meanwhile.
    Unwatched,
    /// It will be closed: as soon as what is in flight or owed to its peer is done, or at once.
    Closing,
}

impl Phase {
    /// The phase as a word for lists and metrics, never changed.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// assert_eq!(pool.conn(id).info().state.as_str(), "unproven");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Unproven => "unproven",
            Self::Active => "active",
            Self::InputFull => "input_full",
            Self::OutputHigh => "output_high",
            Self::Paused => "paused",
            Self::Throttled => "throttled",
            Self::Delayed => "delayed",
            Self::Unobserved => "unobserved",
            Self::Unwatched => "unwatched",
            Self::Closing => "closing",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn a_connection_is_one_line() {
        let info = ConnectionInfo {
            id: ConnId::new(7, 3).unwrap(),
            peer: Peer::from(SocketAddr::from(([10, 0, 0, 9], 5511))),
            age: Duration::from_millis(12_250),
            idle: Duration::from_millis(31),
            state: Phase::Idle,
            bytes_in: 640,
            bytes_out: 641,
            waiting_in: 1,
            waiting_out: 2,
            operations: 10,
            denied: 4,
        };
        assert_eq!(
            info.to_string(),
            "id=7.3 addr=10.0.0.9:5511 age=12.250 idle=0.031 state=idle in=640 out=641 qin=1 qout=2 ops=10 denied=4"
        );
        assert!(ConnectionInfo { peer: Peer::UNIX, ..info }.to_string().contains(" addr=unix "));
    }
}
