//! A connection in two halves, so that answers are made from the input while it lies where it is: what came in, and the
//! way out. Leaves receiving, and everything else about a connection, to `conn`.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use super::core::Core;
use super::inbox::{Shown, Taken};
use super::receiving;
use super::sending::{self, Payload, Sent};
use crate::connection::{Operation, Record};
use crate::id::ConnId;
use crate::net::{Net, Os};

/// The input of a connection while its output is open too; see [`Connection::split`](crate::Connection::split).
///
/// Dereferences to what is left of it, as far as it may be seen: nothing while the next message has to wait for an
/// operation rate, nor once something that is sent has been refused because the connection is about to end.
///
/// ```
/// # fn handle(mut conn: socketpool::Connection<'_, ()>) {
/// let (mut input, mut output) = conn.split();
/// // Frames of four bytes:
/// while let Some(frame) = input.take(4) {
///     let _ = output.queue(frame);
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Input<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) taken: &'a Taken,
}

impl<'a> Input<'a> {
    /// Uses up `n` bytes and returns them; `None`, and nothing used up, if there are fewer, or none to be seen.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"\x03abc\x05de").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// let mut conn = pool.conn(id);
    /// conn.receive();
    /// let (mut input, _) = conn.split();
    /// while let Some(&length) = input.first() {
    ///     if input.len() <= length.into() { break; } // the frame is not whole yet
    ///     let frame = input.take(1 + usize::from(length)).unwrap();
    ///     assert_eq!(frame, b"\x03abc");
    /// }
    /// assert_eq!(input.take(4), None, "there are three");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[inline]
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        if self.taken.shown.get() == Shown::Nothing {
            return None;
        }
        let (head, rest) = self.bytes.split_at_checked(n)?;
        if n > 0 && self.taken.shown.get() == Shown::Answered {
            self.taken.shown.set(Shown::Nothing);
        }
        self.bytes = rest;
        self.taken.bytes.set(self.taken.bytes.get() + n);
        Some(head)
    }

    /// Uses up everything to the first `delimiter`, that included, and returns it; `None`, and nothing used up, if
    /// there is no delimiter, or nothing to be seen.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"one\ntw").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// let mut conn = pool.conn(id);
    /// conn.receive();
    /// let (mut input, _) = conn.split();
    /// assert_eq!(input.take_through(b'\n'), Some(&b"one\n"[..]));
    /// assert_eq!(input.take_through(b'\n'), None);
    /// assert_eq!(&*input, b"tw");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[inline]
    pub fn take_through(&mut self, delimiter: u8) -> Option<&'a [u8]> {
        let end = self.bytes.iter().position(|byte| *byte == delimiter)?;
        self.take(end + 1)
    }
}

impl Deref for Input<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        if self.taken.shown.get() == Shown::Nothing { &[] } else { self.bytes }
    }
}

/// The way out of a connection while its input is open too; see [`Connection::split`](crate::Connection::split).
///
/// ```
/// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
/// # let mut pool = SocketPool::<()>::builder().build()?;
/// # let (ours, mut client) = UnixStream::pair().unwrap();
/// # client.set_nonblocking(true).unwrap();
/// # let id = pool.add(ours).unwrap();
/// # client.write_all(b"ping").unwrap();
/// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
/// let mut conn = pool.conn(id);
/// conn.receive();
/// let (mut input, mut output) = conn.split();
/// let answer = input.take(4).unwrap(); // borrowed from the input while it is sent
/// assert_eq!(output.send(answer), Sent::Now);
/// # Ok::<(), socketpool::Error>(())
/// ```
pub struct Sender<'a, U, N: Net = Os> {
    pub(super) id: ConnId,
    pub(super) record: &'a mut Record<N::Stream, U>,
    pub(super) core: &'a mut Core<N>,
    pub(super) taken: &'a Taken,
    /// Bytes of input, those included that are used up.
    pub(super) all: usize,
}

impl<U, N: Net> Sender<'_, U, N> {
    /// See [`Connection::send`](crate::Connection::send).
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"ping").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// let mut conn = pool.conn(id);
    /// conn.receive();
    /// let (mut input, mut output) = conn.split();
    /// assert_eq!(output.send(input.take(4).unwrap()), Sent::Now, "no copy on the way");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) -> Sent {
        let left = self.settle();
        let sent = sending::send(self.core, self.id, self.record, Payload::Copied(bytes), left);
        self.stop_if_over_rate();
        sent
    }

    /// See [`Connection::send_bytes`](crate::Connection::send_bytes).
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"index").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// let mut conn = pool.conn(id);
    /// conn.receive();
    /// let page = bytes::Bytes::from_static(b"a page that many ask for");
    /// let (input, mut output) = conn.split();
    /// if input.starts_with(b"index") {
    ///     assert_ne!(output.send_bytes(page.clone()), Sent::Refused);
    /// }
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn send_bytes(&mut self, bytes: Bytes) -> Sent {
        let left = self.settle();
        let sent = sending::send(self.core, self.id, self.record, Payload::Shared(bytes), left);
        self.stop_if_over_rate();
        sent
    }

    /// See [`Connection::queue`](crate::Connection::queue).
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"one\ntwo\n").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// let mut conn = pool.conn(id);
    /// conn.receive();
    /// let (mut input, mut output) = conn.split();
    /// while let Some(line) = input.take_through(b'\n') {
    ///     assert_eq!(output.queue(line), Sent::Queued); // both answers leave by one system call
    /// }
    /// # pool.next_event();
    /// # let mut got = [0; 16];
    /// # assert_eq!(client.read(&mut got).unwrap(), 8);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[inline]
    pub fn queue(&mut self, bytes: &[u8]) -> Sent {
        let left = self.settle();
        let sent = sending::queue(self.core, self.id, self.record, bytes, left);
        self.stop_if_over_rate();
        sent
    }

    /// Tells the record what was taken from the input since it was last told. Returns how much is left.
    #[inline]
    fn settle(&mut self) -> usize {
        let left = self.all - self.taken.bytes.get();
        if self.taken.tell() {
            receiving::consumed(self.core, self.id, self.record, left);
        }
        left
    }

    /// Shows nothing more while a rate holds messages back, but for the one that was answered when it began to.
    #[inline]
    fn stop_if_over_rate(&self) {
        if self.record.hides_input() {
            let is_answered = self.record.operation == Operation::Answered && !self.record.is_ending();
            let was_shown = self.taken.shown.get() != Shown::Nothing;
            self.taken.shown.set(if is_answered && was_shown { Shown::Answered } else { Shown::Nothing });
        }
    }
}

impl<U, N: Net> fmt::Debug for Sender<'_, U, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({})", self.id)
    }
}
