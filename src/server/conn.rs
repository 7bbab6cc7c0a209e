//! One connection, as the application holds it while it handles an event.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::config;
use super::core::Core;
use super::inbox::{Inbox, Shown};
use super::sending::{self, Payload, Sent};
use super::split::{Input, Sender};
use super::{receiving, report};
use crate::buffer::Lent;
use crate::clock::Nanos;
use crate::connection::{Deadlines, Flags, Muted, Record, Standing};
use crate::error::Error;
use crate::health::ConnectionInfo;
use crate::id::ConnId;
use crate::net::{Net, Os, Stream};
use crate::peer::Peer;
use crate::readiness::Readiness;
use crate::reason::Reason;

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
///                 if output.send(line) == Sent::Refused {
///                     conn.close(); // it does not read what it asked for
///                     break;
///                 }
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
    /// Receives what has arrived and returns how many bytes came. They are in [`input`](Self::input), behind what was
    /// there. While one event is handled, or between two turns, a connection receives at most 64 KiB, or less while very
    /// many send at once, however often it is asked: the rest is told by another `Event::Readable`.
    ///
    /// 0 when nothing came: nothing has arrived, the stream is at its end (`Event::ReadClosed` follows), the share is
    /// used up, the input is full, reading is paused, delayed or over a rate, the connection is about to end, or there
    /// was no memory or the socket failed (`Event::Closed` follows).
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"half a mes").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// let mut conn = pool.conn(id); // in Event::Readable(id)
    /// assert_eq!(conn.receive(), 10);
    /// assert_eq!(conn.receive(), 0, "nothing more has arrived");
    /// assert_eq!(conn.input(), b"half a mes");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[inline]
    pub fn receive(&mut self) -> usize {
        self.settle();
        receiving::receive(self.core, self.id, self.record, self.inbox)
    }

    /// All input that waits, in one piece. None of it while the connection is over an operation rate that the pool
    /// enforces ([`OverRate`](crate::OverRate)): if it is delayed for that, `Event::Readable` tells when it may be handled.
    /// Nor any once its end is decided.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"half a mes").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// pool.conn(id).receive();
    /// assert!(!pool.conn(id).input().contains(&b'\n'), "no whole line: it is left where it is");
    /// client.write_all(b"sage\n").unwrap();
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert_eq!(pool.next_event(), Some(Event::Readable(id)));
    /// pool.conn(id).receive();
    /// assert_eq!(pool.conn(id).input(), b"half a message\n");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[inline]
    pub fn input(&mut self) -> &[u8] {
        self.settle();
        if self.record.hides_input() {
            return &[];
        }
        self.inbox.open_view().0
    }

    /// Something was refused, and will be sent when there is room: that is told as [`Event::Writable`](super::Event::Writable),
    /// and nothing is read before, if something waits that will make room.
    #[cfg(feature = "capi")]
    pub(crate) fn await_room(&mut self) {
        if self.record.waiting_out() > 0 && self.core.staged(self.id) == 0 && !self.record.is_ending() {
            sending::pass_high(self.core, self.record);
        }
    }

    /// Bytes of input that wait, whether a rate lets them be seen or not.
    #[cfg(feature = "capi")]
    pub(crate) fn input_len(&self) -> usize {
        self.inbox.len()
    }

    /// The same as [`input`](Self::input) for somebody who keeps its address until this connection is asked for something or the next event is.
    #[cfg(feature = "capi")]
    pub(crate) fn show_input(&mut self) -> &[u8] {
        self.inbox.show(self.id);
        self.input()
    }

    /// Uses up the first `n` bytes of the input, whether a rate lets them be seen or not; all of it if there is less. What
    /// is left stays and is there again, behind it what comes then, when more has arrived: take everything that is
    /// complete, or ask to be told [`again`](Self::again).
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
    /// conn.consume(4);
    /// assert_eq!(conn.input(), b"two\n");
    /// conn.consume(1_000);
    /// assert!(conn.input().is_empty());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
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
    /// there is none, the input shows nothing more until there is, but for a message that has been answered already and
    /// is still to be taken.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"one\ntwo\nthr").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// let mut conn = pool.conn(id);
    /// conn.receive();
    /// let (mut input, mut output) = conn.split();
    /// while let Some(line) = input.take_through(b'\n') {
    ///     assert_ne!(output.queue(line), Sent::Refused, "it fits");
    /// }
    /// assert_eq!(conn.input(), b"thr", "what was not taken is left");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[inline]
    pub fn split(&mut self) -> (Input<'_>, Sender<'_, U, N>) {
        self.settle();
        let all = self.inbox.len_with_taken();
        let (bytes, taken) = self.inbox.open_view();
        taken.shown.set(if self.record.hides_input() { Shown::Nothing } else { Shown::All });
        let input = Input { bytes, taken };
        let sender = Sender { id: self.id, record: self.record, core: self.core, taken, all };
        (input, sender)
    }

    /// Sends `bytes`: straight to the socket if nothing waits before them, and what it does not take leaves when there
    /// is room. All of them or none are taken: none if they do not fit into the output buffer.
    ///
    /// To a connection that is about to end nothing is sent: [`Sent::Refused`], for no bytes at all too, which are
    /// otherwise [`Sent::Now`].
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let mut conn = pool.conn(id);
    /// assert_eq!(conn.send(b"hello\n"), Sent::Now);
    /// assert_eq!(conn.send(&[0; 300_000]), Sent::Refused, "more than max_output, 256 KiB by default");
    /// assert_eq!(conn.waiting_output(), 0, "of what is refused nothing is sent");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) -> Sent {
        self.settle();
        sending::send(self.core, self.id, self.record, Payload::Copied(bytes), self.inbox.len())
    }

    /// Sends as [`send`](Self::send), but what waits is not copied, unless it is so small that a copy costs less: one
    /// payload may wait for many connections.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # let (ours, mut other) = UnixStream::pair().unwrap();
    /// # pool.add(ours).unwrap();
    /// let news = bytes::Bytes::from_static(b"the same for everybody\n");
    /// pool.for_each(|conn| assert_ne!(conn.send_bytes(news.clone()), Sent::Refused));
    /// # let mut got = [0; 32];
    /// assert_eq!(client.read(&mut got).unwrap(), news.len());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn send_bytes(&mut self, bytes: Bytes) -> Sent {
        self.settle();
        sending::send(self.core, self.id, self.record, Payload::Shared(bytes), self.inbox.len())
    }

    /// Puts `bytes` aside to leave with whatever else is queued for this connection, by one system call, when its
    /// event has been handled or another connection is worked with: for answers made of many small pieces.
    /// [`Sent::Queued`] if they are taken; if with them more than 64 KiB would be put aside, all of it is sent at once,
    /// as by [`send`](Self::send).
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"GET /").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// # let mut got = [0; 32];
    /// let mut conn = pool.conn(id);
    /// # conn.receive();
    /// assert_eq!(conn.queue(b"HTTP/1.1 204 No Content\r\n"), Sent::Queued);
    /// assert_eq!(conn.queue(b"\r\n"), Sent::Queued);
    /// assert!(client.read(&mut got).is_err(), "nothing has left");
    /// pool.next_event(); // its event has been handled
    /// assert_eq!(client.read(&mut got).unwrap(), 27);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn queue(&mut self, bytes: &[u8]) -> Sent {
        self.settle();
        sending::queue(self.core, self.id, self.record, bytes, self.inbox.len())
    }

    /// Completes the open operation, where no byte sent does it: an answer without bytes, or the second of several
    /// messages answered together. Without effect if none is open.
    ///
    /// A byte does it that is sent once some of the message is used up; one that is sent before, if the message is used up in
    /// the same event. To a message that stays, what was sent is no answer: it was news, or the word to go on with the rest.
    ///
    /// If none of its message is used up yet, the next [`consume`](Self::consume) belongs to it and opens no other; a
    /// message that is still there when its event has been handled is the next operation.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"no answer, please\n").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// let mut conn = pool.conn(id);
    /// let n = conn.receive();
    /// conn.consume(n);
    /// assert_eq!(conn.info().operations, 0, "open until it is answered");
    /// conn.finish_operation();
    /// conn.finish_operation(); // none is open any more
    /// assert_eq!(conn.info().operations, 1);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn finish_operation(&mut self) {
        self.settle();
        self.core.finish_operation(self.id, self.record, self.inbox.len());
    }

    /// Takes one operation from the connection's rate and the pool's, or from neither. Always `Ok` without a rate.
    ///
    /// # Errors
    /// How long until there is one again. The refusal is counted.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().operation_rate(Rate::per_second(10).burst(1)).clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let mut conn = pool.conn(id); // of a pool with Rate::per_second(10).burst(1)
    /// assert_eq!(conn.check_operation(), Ok(()));
    /// assert_eq!(conn.check_operation(), Err(Duration::from_millis(100)), "say so, close it, or read it later");
    /// assert_eq!(conn.info().denied, 1);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn check_operation(&mut self) -> Result<(), Duration> {
        if self.core.look.is_to_forget_rates_of(self.id.slot()) {
            self.core.policy.forgive(self.record, self.core.moment);
        }
        self.core.check_operation(self.record).map_err(|at| at.since(self.core.now))
    }

    /// Says that this is a client, for protocols in which no answer proves it (DECISIONS 3): it is safe from the first
    /// message's deadline, and evicted only when idle, or when a message has been open for as long as a first one may.
    ///
    /// One that was [left to the application](Self::leave_to_application) may be evicted as idle from then on. The pool still
    /// sees nothing of it but that it is [touched](Self::touch); [`hold`](Self::hold) keeps it its place without that.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// pool.conn(id).prove();
    /// hand.advance(Duration::from_secs(60));
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert!(pool.get(id).unwrap().is_proven(), "it lives on without a first message");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn prove(&mut self) {
        self.core.prove(self.id, self.record);
    }

    /// Counts as activity, and completes the open operation as [`finish_operation`](Self::finish_operation) does.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let sixty = Duration::from_secs(60);
    /// # let builder = SocketPool::<()>::builder().first_message_timeout(None).idle_timeout(sixty);
    /// # let mut pool = builder.clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// hand.advance(Duration::from_secs(59));
    /// pool.conn(id).touch();
    /// hand.advance(Duration::from_secs(59));
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert!(pool.get(id).is_some(), "with an idle timeout of 60 s");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn touch(&mut self) {
        self.touch_now();
        self.finish_operation();
    }

    /// Asks for another `Event::Readable` in the next turn though nothing may have arrived by then, nor could if the input is
    /// full: for handlers that take only part of what is complete.
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
    /// conn.consume(4); // one message an event, to be fair to the others
    /// conn.again();
    /// pool.turn(None)?;
    /// assert_eq!(pool.next_event(), Some(Event::Readable(id)));
    /// assert_eq!((pool.conn(id).receive(), pool.conn(id).input()), (0, &b"two\n"[..]));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn again(&mut self) {
        self.record.ready = self.record.ready.with(Readiness::READABLE);
        if self.record.muted.has(Muted::FULL) {
            // Whoever asks can make room.
            self.core.unmute(self.id, self.record, Muted::FULL);
        }
    }

    /// Says that the application reads and writes the descriptor itself and that the pool sees nothing of it
    /// (DECISIONS 3): it does not read, and concludes nothing from silence. No first-message deadline, no eviction, unless it
    /// is [proven](Self::prove) afterwards; [`touch`](Self::touch) is what keeps it from being idle, and
    /// [`resume_reading`](Self::resume_reading) has the pool read it again. For a connection that has received nothing yet
    /// and is not proven; without effect on any other.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// pool.conn(id).leave_to_application(); // in Event::Opened(id)
    /// client.write_all(b"for a TLS library that reads the descriptor itself").unwrap();
    /// hand.advance(Duration::from_secs(60));
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert_eq!(pool.next_event(), None, "neither readable nor too late with its first message");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn leave_to_application(&mut self) {
        if self.record.received_bytes == 0 && self.record.standing == Standing::Unproven {
            self.record.standing = Standing::Unobserved;
            self.record.muted.insert(Muted::APPLICATION);
            self.core.order.remove(self.id.slot());
            self.core.arm(self.id, self.record);
        }
    }

    /// Keeps the connection from being idle, from the first-message deadline, from a read stall, from eviction and from
    /// being finished, by a drain, its lifetime, the end of what its peer sends or
    /// [`close_when_done`](Self::close_when_done), until [`release`](Self::release): for work that goes on elsewhere. The
    /// deadline of a drain and a tenth of the lifetime beyond it end it all the same, and so does output that stalls.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"a long question\n").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// let mut conn = pool.conn(id);
    /// conn.receive();
    /// conn.hold(); // a worker thread looks for the answer
    /// hand.advance(Duration::from_secs(3600));
    /// pool.turn(Some(Duration::ZERO))?;
    /// let mut conn = pool.get(id).expect("neither idle nor late with its first message");
    /// let _ = conn.send(b"42\n");
    /// conn.release();
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn hold(&mut self) {
        self.record.flags.insert(Flags::HELD);
    }

    /// Ends a [`hold`](Self::hold). The idle time starts anew, and so does the time for a first message.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().idle_timeout(Duration::from_secs(60)).clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// # pool.conn(id).prove();
    /// pool.conn(id).hold();
    /// hand.advance(Duration::from_secs(3600));
    /// pool.conn(id).release();
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert!(pool.get(id).is_some(), "an idle timeout of 60 s begins now");
    /// hand.advance(Duration::from_secs(60));
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::Idle, .. })));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn release(&mut self) {
        if self.record.flags.has(Flags::HELD) {
            self.record.flags.remove(Flags::HELD);
            let now = self.touch_now();
            self.record.resume_at = self.record.resume_at.max(now);
            self.core.arm(self.id, self.record);
        }
    }

    /// Closes the connection once this event has been handled; output that waits is dropped, and input.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// let mut conn = pool.conn(id);
    /// conn.close();
    /// assert_eq!(conn.send(b"too late"), Sent::Refused);
    /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::Closed, .. })));
    /// assert!(pool.get(id).is_none());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn close(&mut self) {
        self.record.flags.insert(Flags::PARTING);
        self.core.end(self.id, self.record, Reason::Closed);
    }

    /// Closes the connection when its output has left, what it has used up of its input is answered, and it is not held.
    /// Nothing is read any more, and [`resume_reading`](Self::resume_reading) does not change that.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"quit\n").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// # let mut got = [0; 8];
    /// let mut conn = pool.conn(id);
    /// let n = conn.receive();
    /// conn.consume(n);
    /// let _ = conn.queue(b"bye\n");
    /// conn.close_when_done();
    /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::Closed, .. })));
    /// assert_eq!(client.read(&mut got).unwrap(), 4);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn close_when_done(&mut self) {
        self.settle();
        self.core.close_when_done(self.id, self.record);
    }

    /// Stops reading, so that TCP holds the peer back, until [`resume_reading`](Self::resume_reading). The
    /// timeouts for a first message and for being idle, and eviction, take it for silent meanwhile, whatever it has sent;
    /// [`hold`](Self::hold) keeps it from them.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// pool.conn(id).pause_reading(); // nothing to do with it just now
    /// client.write_all(b"more\n").unwrap();
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert_eq!(pool.next_event(), None);
    /// assert_eq!(pool.conn(id).receive(), 0, "nor is it read on the side");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn pause_reading(&mut self) {
        self.record.muted.insert(Muted::APPLICATION);
    }

    /// Reads again, as far as no limit stands against it. Without effect after
    /// [`close_when_done`](Self::close_when_done).
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// # pool.conn(id).pause_reading();
    /// client.write_all(b"more\n").unwrap(); // while it is paused
    /// # pool.turn(Some(Duration::ZERO))?;
    /// pool.conn(id).resume_reading();
    /// pool.turn(None)?;
    /// assert_eq!(pool.next_event(), Some(Event::Readable(id)), "what came meanwhile is told");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn resume_reading(&mut self) {
        // Every other end waits for the message that is under way, or for one that a rate holds back.
        if !self.record.hears_no_more() {
            self.core.unmute(self.id, self.record, Muted::APPLICATION);
        }
    }

    /// What the application has hung on the connection.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<u32>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let mut conn = pool.conn(id);
    /// assert_eq!(conn.userdata(), None, "nothing hangs on it at first");
    /// conn.set_userdata(7);
    /// assert_eq!(conn.userdata(), Some(&7));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn userdata(&self) -> Option<&U> {
        self.record.userdata.as_ref()
    }

    /// What the application has hung on the connection, to change it.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<u32>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let mut conn = pool.conn(id);
    /// conn.set_userdata(0);
    /// if let Some(messages) = conn.userdata_mut() {
    ///     *messages += 1;
    /// }
    /// assert_eq!(conn.userdata(), Some(&1));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn userdata_mut(&mut self) -> Option<&mut U> {
        self.record.userdata.as_mut()
    }

    /// Hangs something on the connection and returns what hung there. It comes back with `Event::Closed`, or is dropped with
    /// a connection of which no event has told.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<u32>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// assert_eq!(pool.conn(id).set_userdata(1), None);
    /// assert_eq!(pool.conn(id).set_userdata(2), Some(1));
    /// pool.kill(id);
    /// let end = Event::Closed { id, reason: Reason::Killed, userdata: Some(2) };
    /// assert_eq!(pool.next_event(), Some(end));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn set_userdata(&mut self, userdata: U) -> Option<U> {
        self.record.userdata.replace(userdata)
    }

    /// A first-message deadline for this connection alone, from its accept on, or from the end of a hold or a wait that the
    /// pool imposed; `None` for none.
    ///
    /// # Errors
    /// If the time is shorter than a millisecond or longer than ten years.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// let mut conn = pool.conn(id);
    /// conn.set_first_message_timeout(Some(Duration::from_secs(5)))?;
    /// assert!(conn.set_first_message_timeout(Some(Duration::ZERO)).is_err(), "for none it is None");
    /// hand.advance(Duration::from_secs(5));
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::FirstMessage, .. })));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn set_first_message_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.set_deadline("first_message_timeout", timeout, |own| &mut own.first_message)
    }

    /// An idle timeout for this connection alone; `None` for none.
    ///
    /// # Errors
    /// If the time is shorter than a millisecond or longer than ten years.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// let mut conn = pool.conn(id);
    /// conn.prove();
    /// conn.set_idle_timeout(None)?; // it subscribes to something and may be silent
    /// hand.advance(Duration::from_secs(86_400));
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert!(pool.get(id).is_some());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn set_idle_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.set_deadline("idle_timeout", timeout, |own| &mut own.idle)
    }

    /// A longest life for this connection alone, from its accept on, spread as the pool's; `None` for none.
    ///
    /// # Errors
    /// If the time is shorter than a millisecond or longer than ten years.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// # pool.conn(id).prove();
    /// pool.conn(id).set_lifetime(Some(Duration::from_secs(100)))?; // 90 to 110 s, with a jitter of 10 %
    /// hand.advance(Duration::from_secs(110));
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::Lifetime, .. })));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn set_lifetime(&mut self, lifetime: Option<Duration>) -> Result<(), Error> {
        self.set_deadline("lifetime", lifetime, |own| &mut own.lifetime)
    }

    /// A write-stall timeout for this connection alone; `None` for none.
    ///
    /// # Errors
    /// If the time is shorter than a millisecond or longer than ten years.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// let mut conn = pool.conn(id);
    /// conn.set_write_stall_timeout(Some(Duration::from_secs(1)))?;
    /// # for _ in 0..1_000 { let _ = conn.send(&[0; 64 << 10]); } // until nothing fits any more
    /// hand.advance(Duration::from_secs(1)); // output waits, and the peer has taken none of it
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::WriteStall, .. })));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn set_write_stall_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.set_deadline("write_stall_timeout", timeout, |own| &mut own.write_stall)
    }

    /// Its id.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let mut unproven = Vec::new();
    /// pool.for_each(|conn| if !conn.is_proven() { unproven.push(conn.id()) });
    /// assert_eq!(unproven, [id]);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Who is on the other side.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// match pool.conn(id).peer().addr() {
    ///     Some(addr) => println!("from {addr}"),
    ///     None => println!("from a process of this machine"),
    /// }
    /// # assert!(pool.conn(id).peer().is_unix());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.record.peer
    }

    /// Its descriptor. It stays the pool's: it is not to be closed, and not to be read from unless the connection was left
    /// to the application.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let fd = pool.conn(id).fd();
    /// assert_eq!(pool.id_of_fd(fd), Some(id));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn fd(&self) -> i32 {
        self.record.stream.fd()
    }

    /// When it was opened, by the pool's clock.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().clock(clock.clone()).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// hand.advance(Duration::from_secs(3));
    /// assert_eq!(clock.now().since(pool.conn(id).created()), Duration::from_secs(3));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn created(&self) -> Nanos {
        self.record.created
    }

    /// When bytes last moved, or it was touched or released, or an operation was completed, by the pool's clock: for bytes
    /// that is the time of the turn.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().clock(clock.clone()).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// assert_eq!(pool.conn(id).last_active(), pool.conn(id).created(), "no bytes have moved yet");
    /// hand.advance(Duration::from_secs(3));
    /// pool.turn(Some(Duration::ZERO))?;
    /// let _ = pool.conn(id).send(b"hello\n");
    /// assert_eq!(pool.conn(id).last_active(), clock.now());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn last_active(&self) -> Nanos {
        self.record.last_active
    }

    /// Whether it has proven itself; see [`Proof`](crate::Proof).
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"hello\n").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// let mut conn = pool.conn(id);
    /// conn.receive();
    /// assert!(!conn.is_proven(), "anybody can send bytes");
    /// let _ = conn.send(b"hello yourself\n");
    /// assert!(conn.is_proven(), "it was answered");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.record.standing == Standing::Proven
    }

    /// Bytes that wait to be sent, those that are queued included.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let mut conn = pool.conn(id);
    /// # for _ in 0..1_000 { let _ = conn.send(&[0; 4 << 10]); } // until nothing fits any more
    /// // To a peer that has stopped reading:
    /// assert!(conn.waiting_output() > 0 && conn.waiting_output() <= 256 << 10, "max_output bounds it");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn waiting_output(&self) -> usize {
        self.record.waiting_out() + self.core.staged(self.id)
    }

    /// The connection as a line of a list.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"hello\n").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// pool.conn(id).receive();
    /// let info = pool.conn(id).info();
    /// assert_eq!((info.bytes_in, info.waiting_in, info.state), (6, 6, Phase::Active));
    /// println!("{info}");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn info(&self) -> ConnectionInfo {
        report::info(self.core, self.id, self.record, self.inbox.len(), self.core.this_moment())
    }

    /// Tells the record what an [`Input`] has used up since it was last told.
    #[inline(always)] // See `complete_operation`.
    fn settle(&mut self) {
        if self.inbox.tell() {
            receiving::consumed(self.core, self.id, self.record, self.inbox.len());
        }
    }

    /// Counts as activity at this moment, which may be long after the turn began.
    fn touch_now(&mut self) -> Nanos {
        let now = self.core.this_moment();
        self.record.last_active = self.record.last_active.max(now);
        now
    }

    fn set_deadline(
        &mut self,
        field: &'static str,
        value: Option<Duration>,
        place: impl Fn(&mut Deadlines) -> &mut Option<Option<Duration>>,
    ) -> Result<(), Error> {
        config::timeout(field, value)?;
        let own = match &mut self.record.own {
            Some(own) => own,
            none => none.insert(
                Lent::try_new(Deadlines::default()).map_err(|_| Error::Memory { what: "deadlines" })?,
            ),
        };
        *place(own) = Some(value);
        self.core.arm(self.id, self.record);
        Ok(())
    }
}

impl<U, N: Net> fmt::Debug for Connection<'_, U, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.info())
    }
}
