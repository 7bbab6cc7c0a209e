//! One connection, as the application holds it while it handles an event.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;

use super::config;
use super::core::Core;
use super::inbox::{Inbox, Taken};
use super::sending::{self, Payload};
use super::{receiving, report};
use crate::clock::Nanos;
use crate::connection::{Deadlines, Flags, Muted, Operation, Record, Standing};
use crate::error::Error;
use crate::health::ConnectionInfo;
use crate::id::ConnId;
use crate::net::{Net, Os, Stream};
use crate::peer::Peer;
use crate::readiness::Readiness;
use crate::reason::Reason;

pub use super::sending::Sent;

/// One connection of a pool, borrowed from [`SocketPool::conn`](crate::SocketPool::conn) or
/// [`get`](crate::SocketPool::get).
///
/// No call on it fails for what the peer does: a socket that fails ends the connection, and `Event::Closed` tells so.
///
/// ```
/// use socketpool::{Event, Sent, SocketPool};
///
/// fn serve(pool: &mut SocketPool<()>) {
///     while let Some(event) = pool.next_event() {
///         if let Event::Readable(id) = event {
///             let mut conn = pool.conn(id);
///             conn.receive();
///             let (mut input, mut output) = conn.split();
///             while let Some(line) = input.take_through(b'\n') {
///                 if output.send(line) == Sent::Refused { break; }
///             }
///         }
///     }
/// }
/// # let mut pool = SocketPool::<()>::builder().build()?;
/// # serve(&mut pool);
/// # Ok::<(), socketpool::Error>(())
/// ```
pub struct Connection<'a, U, N: Net = Os> {
    pub(super) id: ConnId,
    pub(super) record: &'a mut Record<N::Stream, U>,
    pub(super) inbox: &'a mut Inbox,
    pub(super) core: &'a mut Core<N>,
}

impl<U, N: Net> Connection<'_, U, N> {
    /// Receives what has arrived, at most 64 KiB in a turn, and returns how many bytes came. They are in
    /// [`input`](Self::input), behind what was there.
    ///
    /// 0 when nothing came: nothing has arrived, the stream is at its end (`Event::ReadClosed` follows), the input is
    /// full, reading is paused or over its rate, or the socket failed (`Event::Closed` follows).
    #[inline]
    pub fn receive(&mut self) -> usize {
        self.settle();
        receiving::receive(self.core, self.id, self.record, self.inbox)
    }

    /// All input that waits, in one piece. None of it while the connection is over an operation rate that the pool
    /// enforces ([`OverRate`](crate::OverRate)): `Event::Readable` tells when it may be handled.
    #[inline]
    pub fn input(&mut self) -> &[u8] {
        self.settle();
        if self.record.muted.has(Muted::OPERATIONS) {
            return &[];
        }
        self.inbox.open_view().0
    }

    /// Uses up the first `n` bytes of the input; all of it if there is less. What is left stays and is there again,
    /// behind it what comes then, when more has arrived: take everything that is complete, or ask to be told
    /// [`again`](Self::again).
    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.settle();
        let n = n.min(self.inbox.len());
        if n > 0 {
            self.inbox.consume(n);
            self.settle();
        }
    }

    /// The input and the way out at the same time, so that answers can be made from input without copying it first.
    ///
    /// Where the pool enforces operation rates, each answer takes the token of the message that waits behind it; when
    /// there is none, the input shows nothing more until there is.
    #[inline]
    pub fn split(&mut self) -> (Input<'_>, Sender<'_, U, N>) {
        self.settle();
        let all = self.inbox.len_with_taken();
        let (bytes, taken) = self.inbox.open_view();
        taken.stopped.set(self.record.muted.has(Muted::OPERATIONS));
        let input = Input { bytes, taken };
        let sender = Sender { id: self.id, record: self.record, core: self.core, taken, all };
        (input, sender)
    }

    /// Sends `bytes`: straight to the socket if nothing waits before them, and what it does not take leaves when there
    /// is room. All of them or none are taken: none if they do not fit into the output buffer.
    ///
    /// To a connection that is about to end nothing is sent.
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) -> Sent {
        self.settle();
        sending::send(self.core, self.id, self.record, Payload::Copied(bytes), self.inbox.len())
    }

    /// Sends as [`send`](Self::send), but what waits is not copied: one payload may wait for many connections.
    pub fn send_bytes(&mut self, bytes: Bytes) -> Sent {
        self.settle();
        sending::send(self.core, self.id, self.record, Payload::Shared(bytes), self.inbox.len())
    }

    /// Puts `bytes` aside to leave with whatever else is queued for this connection, by one system call, when its
    /// event has been handled: for answers made of many small pieces. Never [`Sent::Now`].
    pub fn queue(&mut self, bytes: &[u8]) -> Sent {
        self.settle();
        sending::queue(self.core, self.id, self.record, bytes, self.inbox.len())
    }

    /// Completes the open operation, where no byte sent does it: an answer without bytes, or the second of several
    /// messages answered together. Without effect if none is open.
    pub fn finish_operation(&mut self) {
        self.settle();
        if self.record.operation != Operation::None {
            self.core.complete_operation(self.id, self.record, self.inbox.len());
        }
    }

    /// Takes one operation from the connection's rate and the pool's, or from neither.
    ///
    /// # Errors
    /// How long until there is one again. The refusal is counted.
    pub fn check_operation(&mut self) -> Result<(), Duration> {
        self.core.policy.check(self.record, &self.core.pool_level, self.core.moment).map_err(|at| {
            self.core.deny(self.record);
            at.since(self.core.now)
        })
    }

    /// Says that this is a client, for protocols in which no answer proves it (DECISIONS 3): it is safe from the first
    /// message's deadline, and evicted only when idle.
    pub fn prove(&mut self) {
        self.core.prove(self.id, self.record);
    }

    /// Counts as activity, and completes the open operation.
    pub fn touch(&mut self) {
        self.core.touch(self.record);
        self.finish_operation();
    }

    /// Asks for another `Event::Readable` in the next turn though nothing may have arrived by then: for handlers that
    /// take only part of what is complete.
    pub fn again(&mut self) {
        self.record.ready = self.record.ready.with(Readiness::READABLE);
    }

    /// Says that the application reads and writes the descriptor itself and that the pool sees nothing of it
    /// (DECISIONS 3): it does not read, and concludes nothing from silence. No first-message deadline, no eviction;
    /// [`touch`](Self::touch) is what keeps it from being idle. For a connection that has received nothing yet; without
    /// effect on any other.
    pub fn leave_to_application(&mut self) {
        if self.record.received_bytes == 0 && self.record.standing == Standing::Unproven {
            self.record.standing = Standing::Unobserved;
            self.record.muted.insert(Muted::APPLICATION);
            self.core.order.remove(self.id.slot());
            self.core.arm(self.id, self.record);
        }
    }

    /// Keeps the connection from being idle, from the first-message deadline, from eviction and from being finished by
    /// a drain, until [`release`](Self::release): for work that goes on elsewhere.
    pub fn hold(&mut self) {
        self.record.flags.insert(Flags::HELD);
    }

    /// Ends a [`hold`](Self::hold). The idle time starts anew, and so does the time for a first message.
    pub fn release(&mut self) {
        if self.record.flags.has(Flags::HELD) {
            self.record.flags.remove(Flags::HELD);
            self.record.resume_at = self.record.resume_at.max(self.core.now);
            self.core.touch(self.record);
            self.core.arm(self.id, self.record);
        }
    }

    /// Closes the connection once this event has been handled; output that waits is dropped.
    pub fn close(&mut self) {
        self.record.flags.insert(Flags::PARTING);
        self.core.end(self.id, self.record, Reason::Closed);
    }

    /// Closes the connection when its output has left and its operation is answered. Nothing is read any more.
    pub fn close_when_done(&mut self) {
        self.record.muted.insert(Muted::APPLICATION);
        if self.core.staged(self.id) > 0 {
            sending::flush_stage(self.core, self.id, self.record);
        }
        self.core.finish(self.id, self.record, Reason::Closed);
    }

    /// Stops reading, so that TCP holds the peer back, until [`resume_reading`](Self::resume_reading).
    pub fn pause_reading(&mut self) {
        self.record.muted.insert(Muted::APPLICATION);
    }

    /// Reads again, as far as no limit stands against it.
    pub fn resume_reading(&mut self) {
        self.core.unmute(self.id, self.record, Muted::APPLICATION);
    }

    /// What the application has hung on the connection.
    #[must_use]
    pub fn userdata(&self) -> Option<&U> {
        self.record.userdata.as_ref()
    }

    /// What the application has hung on the connection, to change it.
    pub fn userdata_mut(&mut self) -> Option<&mut U> {
        self.record.userdata.as_mut()
    }

    /// Hangs something on the connection and returns what hung there. It comes back with `Event::Closed`.
    pub fn set_userdata(&mut self, userdata: U) -> Option<U> {
        self.record.userdata.replace(userdata)
    }

    /// A first-message deadline for this connection alone, from its accept on; `None` for none.
    ///
    /// # Errors
    /// If the time is shorter than a millisecond or longer than ten years.
    pub fn set_first_message_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.set_deadline("first_message_timeout", timeout, |own| &mut own.first_message)
    }

    /// An idle timeout for this connection alone; `None` for none.
    ///
    /// # Errors
    /// If the time is shorter than a millisecond or longer than ten years.
    pub fn set_idle_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.set_deadline("idle_timeout", timeout, |own| &mut own.idle)
    }

    /// A longest life for this connection alone, from its accept on, spread as the pool's; `None` for none.
    ///
    /// # Errors
    /// If the time is shorter than a millisecond or longer than ten years.
    pub fn set_lifetime(&mut self, lifetime: Option<Duration>) -> Result<(), Error> {
        self.set_deadline("lifetime", lifetime, |own| &mut own.lifetime)
    }

    /// A write-stall timeout for this connection alone; `None` for none.
    ///
    /// # Errors
    /// If the time is shorter than a millisecond or longer than ten years.
    pub fn set_write_stall_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.set_deadline("write_stall_timeout", timeout, |own| &mut own.write_stall)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Who is on the other side.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.record.peer
    }

    /// Its descriptor.
    #[must_use]
    pub fn fd(&self) -> i32 {
        self.record.stream.fd()
    }

    /// When it was opened, by the pool's clock.
    #[must_use]
    pub fn created(&self) -> Nanos {
        self.record.created
    }

    /// When bytes last moved, by the pool's clock.
    #[must_use]
    pub fn last_active(&self) -> Nanos {
        self.record.last_active
    }

    /// Whether it has proven itself.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.record.standing == Standing::Proven
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn waiting_output(&self) -> usize {
        self.record.waiting_out() + self.core.staged(self.id)
    }

    /// The connection as a line of a list.
    #[must_use]
    pub fn info(&self) -> ConnectionInfo {
        report::info(self.id, self.record, self.inbox.len(), self.core.now)
    }

    /// Tells the record what an [`Input`] has used up since it was last told.
    #[inline]
    fn settle(&mut self) {
        if self.inbox.tell() {
            receiving::consumed(self.core, self.id, self.record, self.inbox.len());
        }
    }

    fn set_deadline(
        &mut self,
        field: &'static str,
        value: Option<Duration>,
        place: impl Fn(&mut Deadlines) -> &mut Option<Option<Duration>>,
    ) -> Result<(), Error> {
        config::timeout(field, value)?;
        *place(self.record.own.get_or_insert_default()) = Some(value);
        self.core.arm(self.id, self.record);
        Ok(())
    }
}

impl<U, N: Net> fmt::Debug for Connection<'_, U, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.info())
    }
}

/// The input of a connection while its output is open too; see [`Connection::split`]. Dereferences to what is left of
/// it.
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
    bytes: &'a [u8],
    taken: &'a Taken,
}

impl<'a> Input<'a> {
    /// Uses up `n` bytes and returns them; `None`, and nothing used up, if there are fewer, or if the next message has
    /// to wait for an operation rate.
    #[inline]
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        if self.taken.stopped.get() {
            return None;
        }
        let (head, rest) = self.bytes.split_at_checked(n)?;
        self.bytes = rest;
        self.taken.bytes.set(self.taken.bytes.get() + n);
        Some(head)
    }

    /// Uses up everything to the first `delimiter`, that included, and returns it; `None`, and nothing used up, if
    /// there is no delimiter, or if the next message has to wait for an operation rate.
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
        if self.taken.stopped.get() { &[] } else { self.bytes }
    }
}

/// The way out of a connection while its input is open too; see [`Connection::split`].
pub struct Sender<'a, U, N: Net = Os> {
    id: ConnId,
    record: &'a mut Record<N::Stream, U>,
    core: &'a mut Core<N>,
    taken: &'a Taken,
    /// Bytes of input, those included that are used up.
    all: usize,
}

impl<U, N: Net> Sender<'_, U, N> {
    /// See [`Connection::send`].
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) -> Sent {
        let left = self.settle();
        let sent = sending::send(self.core, self.id, self.record, Payload::Copied(bytes), left);
        self.stop_if_over_rate();
        sent
    }

    /// See [`Connection::send_bytes`].
    pub fn send_bytes(&mut self, bytes: Bytes) -> Sent {
        let left = self.settle();
        let sent = sending::send(self.core, self.id, self.record, Payload::Shared(bytes), left);
        self.stop_if_over_rate();
        sent
    }

    /// See [`Connection::queue`].
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

    #[inline]
    fn stop_if_over_rate(&self) {
        if self.record.muted.has(Muted::OPERATIONS) || self.record.is_ending() {
            self.taken.stopped.set(true);
        }
    }
}

impl<U, N: Net> fmt::Debug for Sender<'_, U, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({})", self.id)
    }
}
