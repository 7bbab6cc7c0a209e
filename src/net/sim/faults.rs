//! Calls of the simulated net: how often each was made, and which of them fail. Knows nothing of sockets.

use std::io;

/// A call that a pool makes of its net. Each stands for one system call.
///
/// ```
/// use socketpool::net::{Stream, sim::{Call, World}};
///
/// let world = World::new();
/// let (stream, client) = world.pair("unix");
/// let _ = stream.receive(&mut [0; 16]);
/// assert_eq!((world.calls(Call::Receive), world.calls(Call::Send)), (1, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Call {
    /// `accept4`.
    Accept,
    /// `recv`.
    Receive,
    /// `sendmsg`.
    Send,
    /// `epoll_ctl` with a descriptor that is new to the poller: a connection or a listener.
    Watch,
    /// `epoll_ctl` that asks for room to write.
    WatchRoom,
    /// `epoll_wait`.
    Wait,
    /// `epoll_ctl` that takes a descriptor out.
    Forget,
    /// A look at what has arrived that leaves it where it is.
    Peek,
    /// `shutdown`, and reading what is left.
    Part,
    /// `close`.
    Close,
}

impl Call {
    pub(super) const COUNT: usize = Self::Close as usize + 1;
}

/// When a call fails.
///
/// ```
/// use socketpool::net::{Stream, sim::{Call, Schedule, World}};
///
/// let world = World::new();
/// let (stream, client) = world.pair("unix");
/// world.fail_next(Call::Receive, 104, Schedule::Every(2)); // ECONNRESET
/// client.send(b"abc");
/// let got = [(); 3].map(|()| stream.receive(&mut [0; 1]).ok());
/// assert_eq!(got, [Some(1), None, Some(1)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// The next one.
    Once,
    /// Every so many: with 2 the second, the fourth, and so on. 0 is never.
    Every(u32),
    /// Each one, until [`World::heal`](super::World::heal).
    FromNowOn,
}

/// Counts calls and says which of them fail.
#[derive(Debug, Default)]
pub(super) struct Faults {
    counts: [u64; Call::COUNT],
    planned: [Option<Fault>; Call::COUNT],
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    errno: i32,
    schedule: Schedule,
    /// Calls since it was planned.
    seen: u32,
}

impl Faults {
    pub(super) fn plan(&mut self, call: Call, errno: i32, schedule: Schedule) {
        self.planned[call as usize] = Some(Fault { errno, schedule, seen: 0 });
    }

    pub(super) fn heal(&mut self, call: Call) {
        self.planned[call as usize] = None;
    }

    pub(super) fn count(&self, call: Call) -> u64 {
        self.counts[call as usize]
    }

    /// Counts a call that cannot fail.
    #[inline]
    pub(super) fn note(&mut self, call: Call) {
        self.counts[call as usize] += 1;
    }

    /// Counts a call and fails it if that is planned.
    #[inline]
    pub(super) fn call(&mut self, call: Call) -> io::Result<()> {
        self.note(call);
        match &self.planned[call as usize] {
            None => Ok(()),
            Some(_) => self.fail(call),
        }
    }

    #[cold]
    fn fail(&mut self, call: Call) -> io::Result<()> {
        let place = &mut self.planned[call as usize];
        let Some(fault) = place else { return Ok(()) };
        fault.seen += 1;
        let fails = match fault.schedule {
            Schedule::Once | Schedule::FromNowOn => true,
            Schedule::Every(0) => false,
            Schedule::Every(n) => fault.seen.is_multiple_of(n),
        };
        if !fails {
            return Ok(());
        }
        let errno = fault.errno;
        if fault.schedule == Schedule::Once {
            *place = None;
        }
        Err(io::Error::from_raw_os_error(errno))
    }
}
