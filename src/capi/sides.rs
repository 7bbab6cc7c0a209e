//! The input and the output of a connection that the program drives, as buffers.

use super::buffer::Bytes;
use super::driven::{self, Conn};
use super::handles::{Kind, Member};
use super::poll;
use super::status::Failure;
use crate::server::Side;

/// Runs a call on a buffer of a connection, of this kind. In one that the pool has ended nothing waits, and
/// nothing has room. What is added to the output wants to be written: every poll that watches the connection says when.
pub(super) fn with_side<T>(
    member: Member,
    connection: u64,
    kind: Kind,
    run: impl FnOnce(&mut dyn Bytes) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let side = if kind == Kind::Input { Side::Input } else { Side::Output };
    let mut grew = None;
    let answer = driven::with_member(member, connection, |conn| {
        let Some(conn) = conn else { return run(&mut Nothing) };
        let before = conn.waiting(side);
        let answer = run(&mut SideOf { conn, side });
        grew = (side == Side::Output && conn.waiting(side) > before).then(|| conn.fd());
        answer
    });
    if let Some(fd) = grew {
        poll::want_write(fd);
    }
    answer
}

struct SideOf<'a, 'b> {
    conn: &'a mut Conn<'b>,
    side: Side,
}

fn no_memory<E>(_: E) -> Failure {
    Failure::memory("a buffer")
}

impl Bytes for SideOf<'_, '_> {
    fn capacity(&self) -> usize {
        self.conn.waiting(self.side) + self.conn.room(self.side)
    }

    fn len(&self) -> usize {
        self.conn.waiting(self.side)
    }

    fn waiting(&mut self) -> &[u8] {
        self.conn.bytes(self.side)
    }

    fn space(&mut self) -> Result<&mut [u8], Failure> {
        if self.conn.room(self.side) == 0 {
            return Ok(&mut []);
        }
        self.conn.space(self.side).map_err(no_memory)
    }

    fn commit(&mut self, count: usize) -> Result<(), Failure> {
        match self.conn.produce(self.side, count).map_err(no_memory)? {
            true => Ok(()),
            false => Err(Failure::state(
                "SocketBuf_writeptr has not been asked since the last SocketBuf_produce or wait",
            )),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let count = bytes.len().min(self.conn.room(self.side));
        if count > 0 {
            self.conn.append(self.side, &bytes[..count]).map_err(no_memory)?;
        }
        Ok(count)
    }

    fn consume(&mut self, count: usize) {
        self.conn.consume(self.side, count);
    }

    fn wipe(&mut self) {
        self.conn.wipe(self.side);
    }

    fn grow(&mut self, capacity: usize) -> Result<(), Failure> {
        match self.capacity() {
            has if has >= capacity => Ok(()),
            has => Err(Failure::argument(
                "length",
                format_args!(
                    "asks for a buffer of {capacity}, must be at most the {has} of SocketPool_set_bufsize"
                ),
            )),
        }
    }
}

/// The buffers of a connection that has ended.
pub(super) struct Nothing;

impl Bytes for Nothing {
    fn capacity(&self) -> usize {
        0
    }

    fn len(&self) -> usize {
        0
    }

    fn waiting(&mut self) -> &[u8] {
        &[]
    }

    fn space(&mut self) -> Result<&mut [u8], Failure> {
        Ok(&mut [])
    }

    fn commit(&mut self, _: usize) -> Result<(), Failure> {
        Ok(())
    }

    fn push(&mut self, _: &[u8]) -> Result<usize, Failure> {
        Ok(0)
    }

    fn consume(&mut self, _: usize) {}

    fn wipe(&mut self) {}

    fn grow(&mut self, _: usize) -> Result<(), Failure> {
        Err(Failure::state("the connection has ended"))
    }
}
