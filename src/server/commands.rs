//! What other threads ask of a pool: sent through a channel, carried out by the turn.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;

use super::SocketPool;
use super::sending::{self, Payload, Sent};
use crate::clock::Nanos;
use crate::id::ConnId;
use crate::net::{Net, OsWaker, Wake};
use crate::reason::Reason;

/// Calls a pool from other threads. Clones call the same pool.
///
/// Calls return at once; the pool does what they ask in its next turn, for which it is woken, up to 256 of them in a
/// turn. If the operating system fails to wake it, for which there is no reason that could be foreseen, that is logged, and
/// what was asked is done whenever the next turn comes.
///
/// What waits is bounded: 65,536 commands of all handles (5 MiB), and 64 MiB of bytes to be sent, a payload that is shared
/// counted each time. A broadcast counts until it has reached everybody. Whoever calls faster than the pool turns is told
/// so by [`CallError::Full`] and has his bytes back, so a thread that has run wild takes no more memory than that. It
/// cannot keep an operator out either: 1,024 more places are kept for calls that drain, close everything, pause or resume,
/// and while one of these waits a turn does 4,096 commands, so that it is done within 17 turns, and everything before it.
/// The channel takes its memory in the calling thread and, as the standard library does, aborts the process when there
/// is none.
///
/// ```
/// use socketpool::{Event, SocketPool};
/// use std::time::Duration;
///
/// let mut pool = SocketPool::<()>::builder().build()?;
/// let handle = pool.handle();
/// let other = std::thread::spawn(move || handle.drain(Some(Duration::from_secs(5))));
/// 'serving: loop {
///     pool.turn(None)?;
///     while let Some(event) = pool.next_event() {
///         if event == Event::Drained { break 'serving; }
///     }
/// }
/// other.join().unwrap().expect("the pool was there");
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Clone)]
pub struct Handle<W: Wake = OsWaker> {
    commands: Sender<Queued>,
    call: Arc<Call<W>>,
}

impl<W: Wake> Handle<W> {
    /// See [`SocketPool::drain`].
    ///
    /// # Errors
    /// [`CallError`] if the pool was dropped, or too much waits already.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let handle = pool.handle();
    /// handle.drain(Some(Duration::from_secs(10))).unwrap();
    /// assert_eq!(pool.state(), State::Active, "it begins in the next turn");
    /// pool.turn(None)?; // which does not wait
    /// assert_ne!(pool.state(), State::Active);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn drain(&self, deadline: impl Into<Option<Duration>>) -> Result<(), CallError> {
        self.ask(Command::Drain(deadline.into()))
    }

    /// See [`SocketPool::force_close_all`].
    ///
    /// # Errors
    /// [`CallError`] if the pool was dropped, or too much waits already.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// pool.handle().force_close_all().unwrap();
    /// pool.turn(None)?;
    /// while pool.next_event().is_some() {}
    /// assert_eq!((pool.state(), pool.snapshot().closed(Reason::Forced)), (State::Drained, 1));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn force_close_all(&self) -> Result<(), CallError> {
        self.ask(Command::ForceCloseAll)
    }

    /// See [`Connection::close_when_done`](crate::Connection::close_when_done); an id that is gone is passed over.
    ///
    /// # Errors
    /// [`CallError`] if the pool was dropped, or too much waits already.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// let handle = pool.handle();
    /// # let mut got = [0; 8];
    /// handle.send(id, "bye\n".into()).unwrap();
    /// handle.close_when_done(id).unwrap();
    /// pool.turn(None)?;
    /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::Closed, .. })));
    /// assert_eq!(client.read(&mut got).unwrap(), 4, "calls are carried out in their order");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn close_when_done(&self, id: ConnId) -> Result<(), CallError> {
        self.ask(Command::CloseWhenDone(id))
    }

    /// See [`SocketPool::kill`]; an id that is gone is passed over.
    ///
    /// # Errors
    /// [`CallError`] if the pool was dropped, or too much waits already.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let handle = pool.handle();
    /// handle.kill(id).unwrap();
    /// handle.kill(id).unwrap(); // gone by then, which is no error
    /// pool.turn(None)?;
    /// while pool.next_event().is_some() {}
    /// assert_eq!(pool.snapshot().closed(Reason::Killed), 1);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn kill(&self, id: ConnId) -> Result<(), CallError> {
        self.ask(Command::Kill(id))
    }

    /// Sends `bytes` to one connection without copying them; passed over if it is gone or has no room for them. It is an
    /// answer, as what [`Connection::send_bytes`](crate::Connection::send_bytes) sends.
    ///
    /// # Errors
    /// [`SendError`], with the bytes in it, if the pool was dropped, or too much waits already.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// let handle = pool.handle();
    /// # let mut got = [0; 8];
    /// std::thread::spawn(move || handle.send(id, "42\n".into())).join().unwrap().unwrap(); // a worker's answer
    /// pool.turn(None)?;
    /// assert_eq!(client.read(&mut got).unwrap(), 3);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn send(&self, id: ConnId, bytes: Bytes) -> Result<(), SendError> {
        self.ask_to_send(Command::Send(id, bytes))
    }

    /// See [`SocketPool::broadcast`].
    ///
    /// # Errors
    /// [`SendError`], with the bytes in it, if the pool was dropped, or too much waits already.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # let mut got = [0; 8];
    /// pool.handle().broadcast("news\n".into()).unwrap();
    /// pool.turn(None)?;
    /// assert_eq!(client.read(&mut got).unwrap(), 5);
    /// assert!(!pool.get(id).unwrap().is_proven(), "it was no answer");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn broadcast(&self, bytes: Bytes) -> Result<(), SendError> {
        self.ask_to_send(Command::Broadcast(bytes))
    }

    /// See [`SocketPool::pause_accepting`].
    ///
    /// # Errors
    /// [`CallError`] if the pool was dropped, or too much waits already.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// let address = pool.listen("127.0.0.1:0")?;
    /// pool.handle().pause_accepting().unwrap();
    /// let client = std::net::TcpStream::connect(address.tcp().unwrap()).unwrap();
    /// pool.turn(None)?;
    /// assert!(pool.is_empty(), "it waits in the backlog");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn pause_accepting(&self) -> Result<(), CallError> {
        self.ask(Command::PauseAccepting)
    }

    /// See [`SocketPool::resume_accepting`].
    ///
    /// # Errors
    /// [`CallError`] if the pool was dropped, or too much waits already.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// let address = pool.listen("127.0.0.1:0")?;
    /// pool.pause_accepting();
    /// let client = std::net::TcpStream::connect(address.tcp().unwrap()).unwrap();
    /// # pool.turn(Some(Duration::from_secs(10)))?;
    /// pool.handle().resume_accepting().unwrap();
    /// pool.turn(None)?;
    /// # if pool.is_empty() { pool.turn(Some(Duration::from_secs(10)))?; }
    /// assert_eq!(pool.len(), 1);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn resume_accepting(&self) -> Result<(), CallError> {
        self.ask(Command::ResumeAccepting)
    }

    /// Makes the pool's turn return, the next one if none waits now.
    ///
    /// # Errors
    /// [`CallError::Gone`] if the pool was dropped.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// let handle = pool.handle();
    /// handle.wake().unwrap();
    /// pool.turn(None)?; // would wait for ever
    /// drop(pool);
    /// assert_eq!(handle.wake(), Err(CallError::Gone));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn wake(&self) -> Result<(), CallError> {
        // Who waits already has woken it, or could not.
        self.ask(Command::Wake).or_else(|error| match error {
            CallError::Full => Ok(()),
            gone @ CallError::Gone => Err(gone),
        })
    }

    fn ask(&self, command: Command) -> Result<(), CallError> {
        self.submit(command).map_err(|(_, reason)| reason)
    }

    fn ask_to_send(&self, command: Command) -> Result<(), SendError> {
        self.submit(command).map_err(|(command, reason)| SendError { bytes: command.into_bytes(), reason })
    }

    fn submit(&self, command: Command) -> Result<(), (Command, CallError)> {
        let Some(share) = self.call.load.take(&command) else { return Err((command, CallError::Full)) };
        self.commands.send(Queued { command, share }).map_err(|error| (error.0.command, CallError::Gone))?;
        self.call.tell();
        Ok(())
    }
}

impl<W: Wake> fmt::Debug for Handle<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// Why a pool does not do what a [`Handle`] asks.
///
/// ```
/// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
/// # let mut pool = SocketPool::<()>::builder().build()?;
/// let handle = pool.handle();
/// drop(pool);
/// assert_eq!(handle.drain(None), Err(CallError::Gone));
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The pool was dropped.
    Gone,
    /// As much waits as may: see [`Handle`]. There is room again when the pool has turned.
    Full,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "the pool is gone",
            Self::Full => "too many commands wait for the pool",
        })
    }
}

impl std::error::Error for CallError {}

/// Bytes that a pool does not send for a [`Handle`], handed back with the reason.
///
/// ```
/// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
/// # let mut pool = SocketPool::<()>::builder().build()?;
/// let handle = pool.handle();
/// drop(pool);
/// let unsent = handle.broadcast("news\n".into()).unwrap_err();
/// assert_eq!((unsent.reason, &unsent.bytes[..]), (CallError::Gone, &b"news\n"[..]));
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendError {
    /// What was to be sent.
    pub bytes: Bytes,
    /// Why it is not.
    pub reason: CallError,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes not sent: {}", self.bytes.len(), self.reason)
    }
}

impl std::error::Error for SendError {}

/// The pool's end of its handles, and the broadcasts that are under way.
#[derive(Debug)]
pub(super) struct Commands<W: Wake> {
    receiver: Receiver<Queued>,
    sender: Sender<Queued>,
    call: Arc<Call<W>>,
    broadcasts: std::collections::VecDeque<Broadcast>,
}

impl<W: Wake> Commands<W> {
    pub(super) fn new(waker: W) -> Self {
        let (sender, receiver) = channel();
        let call = Call {
            waiting: AtomicBool::new(false),
            unwoken: AtomicBool::new(false),
            waker,
            load: Arc::default(),
        };
        let call = Arc::new(call);
        Self { receiver, sender, call, broadcasts: std::collections::VecDeque::new() }
    }

    pub(super) fn handle(&self) -> Handle<W> {
        Handle { commands: self.sender.clone(), call: self.call.clone() }
    }

    #[inline]
    pub(super) fn are_waiting(&self) -> bool {
        self.call.waiting.load(Ordering::Relaxed)
    }

    fn operators_wait(&self) -> bool {
        self.call.load.of_operators.load(Ordering::Relaxed) > 0
    }

    pub(super) fn is_broadcasting(&self) -> bool {
        !self.broadcasts.is_empty()
    }
}

impl<U, N: Net> SocketPool<U, N> {
    /// Sends `bytes` to every connection that is open now, and perhaps to some that come in the same turn, as
    /// [`send_bytes`](crate::Connection::send_bytes) does, a slice of the table in each turn. A connection that has no room
    /// for them, or that is about to end, is passed over. It answers nothing: nobody is proven by it. A drain waits until
    /// everybody has been reached, unless its deadline passes before; once the pool drains, no more are taken. What is sent
    /// to one connection meanwhile may overtake it. If there is no memory to remember it by, it reaches nobody, and the log
    /// says so; a connection for which there is no memory to keep it ends with [`Reason::Memory`].
    ///
    /// ```
    /// # let mut pool = socketpool::SocketPool::<()>::builder().build()?;
    /// pool.broadcast("the server goes down in a minute\n");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn broadcast(&mut self, bytes: impl Into<Bytes>) {
        self.begin_broadcast(bytes.into(), None);
    }

    fn begin_broadcast(&mut self, bytes: Bytes, share: Option<Share>) {
        if bytes.is_empty() || !self.core.drain.is_active() {
            return;
        }
        let sent_at = self.core.now;
        if self.commands.broadcasts.try_reserve(1).is_err() {
            return self.complain_of_memory("a broadcast reaches nobody");
        }
        self.commands.broadcasts.push_back(Broadcast { bytes, cursor: 0, sent_at, _share: share });
    }

    #[inline]
    pub(super) fn run_commands(&mut self) {
        if self.commands.are_waiting() {
            self.run_waiting_commands();
        }
    }

    fn run_waiting_commands(&mut self) {
        // Cleared before looking: a command that comes while we look wakes us once more.
        // A swap on both sides: whoever comes second sees what the first has done.
        self.commands.call.waiting.swap(false, Ordering::AcqRel);
        let mut done = 0;
        while done < COMMANDS_A_TURN || (done < COMMANDS_IN_A_HURRY && self.commands.operators_wait()) {
            let Ok(queued) = self.commands.receiver.try_recv() else { return };
            self.run_command(queued);
            done += 1;
        }
        self.commands.call.waiting.store(true, Ordering::Release);
    }

    fn run_command(&mut self, Queued { command, share }: Queued) {
        match command {
            Command::Drain(deadline) => self.drain(deadline),
            Command::ForceCloseAll => self.force_close_all(),
            Command::Kill(id) => {
                self.end(id, Reason::Killed);
            }
            Command::CloseWhenDone(id) => {
                if let Some(record) = self.table.get_mut(id) {
                    self.core.close_when_done(id, record);
                }
            }
            Command::Send(id, bytes) => {
                let _ = self.send_to(id, bytes);
            }
            Command::Broadcast(bytes) => self.begin_broadcast(bytes, Some(share)),
            Command::PauseAccepting => self.pause_accepting(),
            Command::ResumeAccepting => self.resume_accepting(),
            Command::Wake => {}
        }
    }

    /// Goes on with the broadcasts: the oldest first, so that everybody gets them in the same order.
    pub(super) fn work_on_broadcasts(&mut self) {
        for _ in 0..SENDS_A_TURN {
            let Some(broadcast) = self.commands.broadcasts.front_mut() else { return };
            if broadcast.cursor >= self.table.slots_used() {
                self.commands.broadcasts.pop_front();
                continue;
            }
            let slot = broadcast.cursor;
            broadcast.cursor += 1;
            let (bytes, sent_at) = (broadcast.bytes.clone(), broadcast.sent_at);
            if let Some((id, record)) = self.table.at(slot)
                && record.created <= sent_at
            {
                self.announce_to(id, bytes);
            }
        }
    }

    fn send_to(&mut self, id: ConnId, bytes: Bytes) -> Sent {
        let Some(record) = self.table.get_mut(id) else { return Sent::Refused };
        let left = record.waiting_in();
        let sent = sending::send(&mut self.core, id, record, Payload::Shared(bytes), left);
        self.core.settle(id, record);
        self.keep_to_budget();
        sent
    }

    /// Sends what answers nothing: it neither proves a connection nor completes its operation.
    fn announce_to(&mut self, id: ConnId, bytes: Bytes) {
        if let Some(record) = self.table.get_mut(id) {
            let _ = sending::announce(&mut self.core, id, record, Payload::Shared(bytes));
            self.core.settle(id, record);
            self.keep_to_budget();
        }
    }
}

#[derive(Debug)]
struct Call<W> {
    /// Whether commands wait that the pool has not looked at yet.
    waiting: AtomicBool,
    /// Whether the last attempt to wake it has failed.
    unwoken: AtomicBool,
    waker: W,
    load: Arc<Load>,
}

impl<W: Wake> Call<W> {
    /// Makes the pool look: one wake-up is enough for all commands that come before it does.
    fn tell(&self) {
        let is_told = self.waiting.swap(true, Ordering::AcqRel);
        let was_unwoken = self.unwoken.load(Ordering::Acquire);
        if is_told && !was_unwoken {
            return;
        }
        let result = self.waker.wake();
        self.unwoken.store(result.is_err(), Ordering::Release);
        if let Err(error) = result
            && !was_unwoken
        {
            log::warn!("cannot wake the pool, commands wait for its next turn: {error}");
        }
    }
}

/// What waits of all handles: commands, and the bytes in them.
#[derive(Debug, Default)]
struct Load {
    commands: AtomicUsize,
    /// Those among them for which places are kept.
    of_operators: AtomicUsize,
    bytes: AtomicUsize,
}

impl Load {
    /// A share for one more command; `None` if that would be too much.
    fn take(self: &Arc<Self>, command: &Command) -> Option<Share> {
        let (bytes, kept) = match command {
            Command::Send(_, bytes) | Command::Broadcast(bytes) => (bytes.len(), 0),
            Command::Kill(_) | Command::CloseWhenDone(_) | Command::Wake => (0, 0),
            _ => (0, KEPT_FOR_OPERATORS),
        };
        let add = |place: &AtomicUsize, n: usize, most: usize| {
            let fits = |now: usize| now.checked_add(n).filter(|sum| *sum <= most);
            place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
        };
        if !add(&self.bytes, bytes, MOST_BYTES) {
            return None;
        }
        if !add(&self.commands, 1, MOST_COMMANDS + kept) {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        let is_operators = kept > 0;
        if is_operators {
            self.of_operators.fetch_add(1, Ordering::Relaxed);
        }
        Some(Share { load: self.clone(), bytes, is_operators })
    }
}

/// One command's share of what may wait, given back when it is dropped.
#[derive(Debug)]
struct Share {
    load: Arc<Load>,
    bytes: usize,
    is_operators: bool,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.load.commands.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if self.is_operators {
            self.load.of_operators.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
struct Queued {
    command: Command,
    share: Share,
}

#[derive(Debug)]
enum Command {
    Drain(Option<Duration>),
    ForceCloseAll,
    Kill(ConnId),
    CloseWhenDone(ConnId),
    Send(ConnId, Bytes),
    Broadcast(Bytes),
    PauseAccepting,
    ResumeAccepting,
    Wake,
}

impl Command {
    /// What it was to send.
    fn into_bytes(self) -> Bytes {
        match self {
            Self::Send(_, bytes) | Self::Broadcast(bytes) => bytes,
            _ => Bytes::new(),
        }
    }
}

/// One payload on its way to everybody who was there when it was sent.
#[derive(Debug)]
struct Broadcast {
    bytes: Bytes,
    cursor: u32,
    /// Whoever came in a later turn does not get it.
    sent_at: Nanos,
    /// It came from a handle, and still counts as what waits.
    _share: Option<Share>,
}

/// Commands that may wait: those of 256 turns.
const MOST_COMMANDS: usize = 65_536;
/// Places beyond those for calls that are rare and must get through.
const KEPT_FOR_OPERATORS: usize = 1_024;
/// Bytes that may wait in commands: several of the largest payloads that a connection can take.
const MOST_BYTES: usize = 64 << 20;
/// Commands carried out in a turn; the rest in the next.
const COMMANDS_A_TURN: usize = 256;
/// The same while an operator waits: some 3 µs each for a send.
const COMMANDS_IN_A_HURRY: usize = 4_096;
/// Slots that a broadcast reaches in a turn: some 3 µs each for a send.
const SENDS_A_TURN: usize = 256;

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// A waker that the operating system may refuse to serve.
    #[derive(Clone, Debug, Default)]
    struct Moody {
        refuses: Arc<AtomicBool>,
        woken: Arc<AtomicUsize>,
    }

    impl Wake for Moody {
        fn wake(&self) -> io::Result<()> {
            if self.refuses.load(Ordering::Relaxed) {
                return Err(io::Error::other("not now"));
            }
            self.woken.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn all_the_commands_that_may_wait_take_five_mib() {
        // The channel keeps a word of state beside each.
        assert!(
            MOST_COMMANDS * (size_of::<Queued>() + size_of::<usize>()) <= 5 << 20,
            "{}",
            size_of::<Queued>()
        );
    }

    #[test]
    fn a_command_that_could_not_wake_the_pool_is_taken_and_waits_for_its_next_turn() {
        let waker = Moody::default();
        let commands = Commands::new(waker.clone());
        let handle = commands.handle();
        waker.refuses.store(true, Ordering::Relaxed);
        assert_eq!(handle.drain(None), Ok(()), "it will run");
        assert!(commands.are_waiting(), "the next turn looks at it");
        assert_eq!(handle.force_close_all(), Ok(()));
        waker.refuses.store(false, Ordering::Relaxed);
        assert_eq!(handle.drain(None), Ok(()));
        assert_eq!(handle.drain(None), Ok(()));
        assert_eq!(waker.woken.load(Ordering::Relaxed), 1, "the first that can wakes it for all of them");
        assert_eq!(commands.receiver.try_iter().count(), 4, "in the order in which they were given");
    }
}
