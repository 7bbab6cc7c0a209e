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
    /// How long no bytes have moved.
    pub idle: Duration,
    /// What it is doing.
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

/// What a connection is doing. Where several hold, the one that stands last here is shown.
///
/// ```
/// use socketpool::Phase;
/// assert_eq!(Phase::Unproven.to_string(), "unproven");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Proven, and nothing is in flight.
    Idle,
    /// Busy: unread input, unsent output, an open operation, or held.
    Active,
    /// No first message yet.
    Unproven,
    /// Let in, but reading has been put off because its address looked like a flood.
    Delayed,
    /// It will be closed as soon as its output has left.
    Finishing,
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
            Self::Active => "active",
            Self::Unproven => "unproven",
            Self::Delayed => "delayed",
            Self::Finishing => "finishing",
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
