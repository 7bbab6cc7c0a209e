//! What a program does with the socket of a connection that a pool has, and what the pool hears of it.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::net::Shutdown;

use super::status::Failure;

fn not_there() -> Failure {
    Failure::state("a pool has this socket, and sockets of pools cannot be used by themselves yet")
}

/// Receives from the socket of a connection. `None`: nothing has arrived.
pub(super) fn receive(
    _connection: u64,
    _into: &mut [MaybeUninit<u8>],
    _flags: c_int,
) -> Result<Option<usize>, Failure> {
    Err(not_there())
}

/// Sends to the socket of a connection. `None`: nothing could be sent now.
pub(super) fn send(_connection: u64, _bytes: &[u8], _flags: c_int) -> Result<Option<usize>, Failure> {
    Err(not_there())
}

/// Shuts the socket of a connection down.
pub(super) fn shut(_connection: u64, _how: Shutdown) -> Result<(), Failure> {
    Err(not_there())
}

/// Takes a connection out of its pool, which closes its socket.
pub(super) fn remove(_connection: u64) -> Result<(), Failure> {
    Err(not_there())
}
