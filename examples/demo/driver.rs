//! The second process: one thread, one poller, all crowds.
//!
//! Seats clients on connections, tells them what happens and does what they want next. What a client says and
//! checks is the clients' own affair.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, SockRef, Socket, Type};

use crate::crowd::{Client, Crowd, Next, Visit};
use crate::link::{Order, Progress, Word, hear_orders};
use crate::machine;
use crate::plan::Plan;
use crate::tally::{Failure, Outcome, Tally};

/// Runs until the server's process says that it is over.
pub(crate) fn run(plan: &Plan, server: SocketAddr) -> io::Result<()> {
    let mut driver = Driver::new(plan, server)?;
    let waker = Waker::new(driver.poll.registry(), WAKE)?;
    let orders = hear_orders(move || drop(waker.wake()))?;
    driver.run(&orders)
}

struct Driver {
    poll: Poll,
    server: SocketAddr,
    seats: Vec<Seat>,
    queues: [Queue; Crowd::COUNT],
    tallies: [Tally; Crowd::COUNT],
    /// Moments that seats asked for; one counts only while its seat still says the same.
    moments: BinaryHeap<Reverse<(Instant, usize)>>,
    scratch: Box<[u8]>,
    stage: Stage,
    /// Failures that were told of one by one.
    told: u32,
    /// By how much it came too late at most to something that was due.
    late: Duration,
}

/// Attack → Hushed → Quiet → Over
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Attack,
    /// No request is begun any more; the moment at which that is said.
    Hushed(Instant),
    /// The server drains.
    Quiet,
    /// The server has drained: nobody comes back, and who is open at that moment has outlived the drain.
    Over(Instant),
}

/// A client and its present connection.
struct Seat {
    crowd: Crowd,
    client: Box<dyn Client>,
    phase: Phase,
    due: Option<Instant>,
}

enum Phase {
    Away,
    Connecting { stream: TcpStream, since: Instant },
    Connected { stream: TcpStream },
}

/// Clients of a crowd that want to connect, and how fast they may.
struct Queue {
    waiting: VecDeque<usize>,
    every: Duration,
    next: Instant,
}

impl Driver {
    fn new(plan: &Plan, server: SocketAddr) -> io::Result<Self> {
        let start = Instant::now();
        let mut seats = Vec::new();
        let queues = Crowd::ALL.map(|crowd| {
            let waiting: VecDeque<usize> =
                (seats.len()..seats.len() + plan.clients(crowd) as usize).collect();
            seats.extend((0..plan.clients(crowd)).map(|number| Seat {
                crowd,
                client: crowd.client(number, plan),
                phase: Phase::Away,
                due: None,
            }));
            let every = Duration::from_secs(1) / plan.connects_per_second(crowd).max(1);
            Queue { waiting, every, next: start + plan.arrival(crowd) }
        });
        Ok(Self {
            poll: Poll::new()?,
            server,
            seats,
            queues,
            tallies: Default::default(),
            moments: BinaryHeap::new(),
            scratch: vec![0; 16 << 10].into_boxed_slice(),
            stage: Stage::Attack,
            told: 0,
            late: Duration::ZERO,
        })
    }

    fn run(&mut self, orders: &Receiver<Order>) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        let mut report_at = Instant::now();
        loop {
            let wait = self.next_moment(report_at).saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(wait)) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
            for event in events.iter().filter(|event| event.token() != WAKE) {
                self.ready(event.token().0);
            }
            let now = Instant::now();
            self.moments_past(now);
            self.connect_waiting(now);
            for order in orders.try_iter() {
                self.obey(order, now);
            }
            if report_at <= now {
                report_at = now + REPORT_EVERY;
                Word::Progress(self.progress()).say()?;
            }
            match self.stage {
                Stage::Hushed(until) if until <= now => {
                    self.stage = Stage::Quiet;
                    Word::Quiet { outstanding: self.outstanding() }.say()?;
                }
                Stage::Over(until) if until <= now || self.open() == 0 => return self.say_outcome(),
                _ => {}
            }
        }
    }

    fn next_moment(&self, report_at: Instant) -> Instant {
        let seats = self.moments.peek().map(|Reverse((moment, _))| *moment);
        let queues = self.queues.iter().filter(|queue| !queue.waiting.is_empty()).map(|queue| queue.next);
        let stage = match self.stage {
            Stage::Hushed(until) | Stage::Over(until) => Some(until),
            Stage::Attack | Stage::Quiet => None,
        };
        queues.chain(seats).chain(stage).fold(report_at, Instant::min)
    }

    fn obey(&mut self, order: Order, now: Instant) {
        match order {
            Order::Quiet => {
                self.stage = Stage::Hushed(now + HUSH);
                for at in 0..self.seats.len() {
                    self.call(at, |client, visit| client.quiet(visit));
                }
            }
            Order::Finish => {
                self.stage = Stage::Over(now + LAST_ENDS);
                self.queues.iter_mut().for_each(|queue| queue.waiting.clear());
                for at in 0..self.seats.len() {
                    self.call(at, |client, visit| client.ready(visit));
                }
            }
            Order::Measure => {}
        }
    }

    fn ready(&mut self, at: usize) {
        match &self.seats[at].phase {
            Phase::Away => {}
            Phase::Connecting { stream, .. } => match stands(stream) {
                Ok(true) => self.connected(at),
                Ok(false) => {}
                Err(e) => self.not_connected(at, Failure::Connect, &e),
            },
            Phase::Connected { .. } => self.call(at, |client, visit| client.ready(visit)),
        }
    }

    fn moments_past(&mut self, now: Instant) {
        while let Some(&Reverse((moment, at))) = self.moments.peek() {
            if moment > now {
                return;
            }
            self.moments.pop();
            if self.seats[at].due != Some(moment) {
                continue;
            }
            self.seats[at].due = None;
            self.late = self.late.max(now - moment);
            match &self.seats[at].phase {
                // It may stand, and the driver be the one that is late.
                Phase::Connecting { stream, .. } if stands(stream).unwrap_or(false) => self.connected(at),
                Phase::Connecting { .. } => {
                    self.not_connected(at, Failure::SlowConnect, &io::ErrorKind::TimedOut.into());
                }
                _ => self.call(at, |client, visit| client.due(visit)),
            }
        }
    }

    /// Lets a bounded number connect, so that thousands of attackers do not delay the honest by the driver's own work.
    fn connect_waiting(&mut self, now: Instant) {
        for place in 0..self.queues.len() {
            self.queues[place].catch_up(now);
            for _ in 0..CONNECTS_AT_ONCE {
                let Some(at) = self.queues[place].take(now) else { break };
                self.connect(at, now);
            }
        }
    }

    fn connect(&mut self, at: usize, now: Instant) {
        let seat = &mut self.seats[at];
        match begin(&mut *seat.client, self.server) {
            Ok(mut stream) => {
                let interest = Interest::READABLE | Interest::WRITABLE;
                if let Err(e) = self.poll.registry().register(&mut stream, Token(at), interest) {
                    return self.not_connected(at, Failure::Connect, &e);
                }
                seat.phase = Phase::Connecting { stream, since: now };
                let patience = now + seat.crowd.patience();
                self.set_moment(at, patience);
            }
            Err(e) => self.not_connected(at, Failure::Connect, &e),
        }
    }

    fn connected(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        let Phase::Connecting { stream, since } = std::mem::replace(&mut seat.phase, Phase::Away) else {
            return;
        };
        seat.phase = Phase::Connected { stream };
        seat.due = None;
        let counts = &mut self.tallies[seat.crowd as usize].counts;
        counts.connected += 1;
        counts.open += 1;
        self.call(at, |client, visit| client.connected(visit, since));
        // What was reported together with the connection's success is not reported again.
        self.call(at, |client, visit| client.ready(visit));
    }

    /// Once the drain is announced the server may refuse whom it likes.
    fn not_connected(&mut self, at: usize, failure: Failure, why: &io::Error) {
        let seat = &mut self.seats[at];
        seat.phase = Phase::Away;
        seat.due = None;
        let counts = &mut self.tallies[seat.crowd as usize].counts;
        counts.unconnected += 1;
        if self.stage == Stage::Attack {
            if seat.crowd == Crowd::Honest {
                counts.failed[failure as usize] += 1;
                self.tell(at, failure, why.raw_os_error());
            }
            self.come_back(at);
        }
    }

    /// Calls the client, if its connection stands, and does what it wants next.
    fn call(&mut self, at: usize, what: impl FnOnce(&mut dyn Client, &mut Visit<'_>) -> Next) {
        let seat = &mut self.seats[at];
        let Phase::Connected { stream } = &mut seat.phase else { return };
        let mut visit = Visit {
            stream,
            tally: &mut self.tallies[seat.crowd as usize],
            scratch: &mut self.scratch,
            now: Instant::now(),
            quiet: self.stage != Stage::Attack,
            over: matches!(self.stage, Stage::Over(_)),
        };
        let next = what(&mut *seat.client, &mut visit);
        match next {
            Next::Wait => {}
            Next::At(moment) => self.set_moment(at, moment),
            Next::Leave | Next::Cut | Next::Failed(_) => self.ended(at, next),
        }
    }

    fn ended(&mut self, at: usize, how: Next) {
        let seat = &mut self.seats[at];
        let Phase::Connected { stream } = std::mem::replace(&mut seat.phase, Phase::Away) else { return };
        seat.due = None;
        let counts = &mut self.tallies[seat.crowd as usize].counts;
        counts.open -= 1;
        match how {
            Next::Leave => {
                counts.left += 1;
                if seat.client.leaves_by_reset() {
                    // Without it the end is only an orderly one.
                    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                }
            }
            Next::Failed(failure) => {
                counts.failed[failure as usize] += 1;
                // These two leave by their own decision; the others were cut.
                match failure {
                    Failure::WrongByte | Failure::NoReply => counts.left += 1,
                    _ => counts.cut += 1,
                }
                self.tell(at, failure, None);
            }
            _ => counts.cut += 1,
        }
        drop(stream);
        self.come_back(at);
    }

    /// The honest stay away once the server is about to drain; attackers go on until they find the door shut.
    fn come_back(&mut self, at: usize) {
        let crowd = self.seats[at].crowd;
        let may = match self.stage {
            Stage::Attack => true,
            Stage::Hushed(_) | Stage::Quiet => crowd != Crowd::Honest,
            Stage::Over(_) => false,
        };
        if may {
            self.queues[crowd as usize].waiting.push_back(at);
        }
    }

    fn set_moment(&mut self, at: usize, moment: Instant) {
        self.seats[at].due = Some(moment);
        self.moments.push(Reverse((moment, at)));
    }

    fn outstanding(&self) -> u64 {
        self.seats.iter().filter(|seat| seat.client.is_asking()).count() as u64
    }

    fn open(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.counts.open).sum()
    }

    fn progress(&self) -> Progress {
        let Tally { counts, reply, .. } = &self.tallies[Crowd::Honest as usize];
        Progress {
            answered: counts.answered,
            failures: counts.failures(),
            hostile_open: self.open() - counts.open,
            p99_us: reply.quantiles().p99_us,
        }
    }

    fn say_outcome(&self) -> io::Result<()> {
        for (crowd, tally) in Crowd::ALL.into_iter().zip(&self.tallies) {
            Word::Crowd(crowd, Outcome::of(tally)).say()?;
        }
        let [waited_us, late_us] =
            [machine::waited_for_processor(), self.late].map(|time| time.as_micros() as u64);
        Word::End { waited_us, late_us }.say()
    }

    /// Tells of the first few failures one by one, for whoever has to find out why.
    fn tell(&mut self, at: usize, failure: Failure, errno: Option<i32>) {
        self.told += 1;
        if self.told <= TOLD_MAX {
            let errno = errno.map_or(0, i32::unsigned_abs).into();
            // If nobody hears it, the next word that has to be heard says so.
            let _ = Word::Failed { client: at as u64, failure, errno }.say();
        }
    }
}

impl Queue {
    /// After a while with nobody waiting, or a busy one, the crowd may not make up for all of it at once.
    fn catch_up(&mut self, now: Instant) {
        if let Some(earliest) = now.checked_sub(BURST) {
            self.next = self.next.max(earliest);
        }
    }

    fn take(&mut self, now: Instant) -> Option<usize> {
        if self.next > now {
            return None;
        }
        let at = self.waiting.pop_front()?;
        self.next += self.every;
        Some(at)
    }
}

/// Begins to connect from the client's own address.
fn begin(client: &mut dyn Client, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some((unread, unsent)) = client.kernel_room() {
        socket.set_recv_buffer_size(unread)?;
        socket.set_send_buffer_size(unsent)?;
    }
    socket.bind(&SocketAddr::V4(SocketAddrV4::new(client.source(), 0)).into())?;
    match socket.connect(&server.into()) {
        Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Has the connection been made? `false` is "not yet".
fn stands(stream: &TcpStream) -> io::Result<bool> {
    if let Some(e) = stream.take_error()? {
        return Err(e);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(e) => Err(e),
    }
}

const WAKE: Token = Token(usize::MAX);
const REPORT_EVERY: Duration = Duration::from_millis(200);
/// What was sent before is in the server's kernel after this; then the drain may begin.
const HUSH: Duration = Duration::from_millis(50);
/// Time for the last ends to arrive when the server has drained.
const LAST_ENDS: Duration = Duration::from_secs(1);
const CONNECTS_AT_ONCE: u32 = 16;
const BURST: Duration = Duration::from_millis(50);
const TOLD_MAX: u32 = 5;
