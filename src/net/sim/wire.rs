//! One simulated connection between its two ends. Decides nothing; `ground` moves the bytes.

use std::collections::VecDeque;

use crate::peer::Peer;

/// A connection: the bytes on their way in both directions, and what each end has said.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) peer: Peer,
    /// The server's descriptor, once it is accepted.
    pub(super) fd: Option<i32>,
    pub(super) to_server: VecDeque<u8>,
    pub(super) to_client: Vec<u8>,
    /// Bytes that the server may still send.
    pub(super) window: usize,
    /// Whether the server has been told that there is no room, and not yet that there is.
    pub(super) blocked: bool,
    pub(super) client: Side,
    pub(super) server: Side,
    /// The error that the server's socket has and nobody has been told of.
    pub(super) error: Option<i32>,
    /// Whether the test still holds its end.
    pub(super) held: bool,
    /// Bytes that the client has ever been sent.
    pub(super) arrived: u64,
    /// Bytes that the client has ever sent.
    pub(super) departed: u64,
}

impl Wire {
    pub(super) fn new(peer: Peer, window: usize) -> Self {
        Self {
            peer,
            fd: None,
            to_server: VecDeque::new(),
            to_client: Vec::new(),
            window,
            blocked: false,
            client: Side::Open,
            server: Side::Open,
            error: None,
            held: true,
            arrived: 0,
            departed: 0,
        }
    }
}

/// What one end of a connection has said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Open,
    /// No more bytes will come; it still reads.
    Finished,
    /// It is closed: bytes sent to it are answered with a reset.
    Closed,
    Reset,
}
