//! The client that all this is for: it sends lines of any size, checks every byte of every reply, thinks, and comes
//! back on a new connection now and then, so that it has to be admitted while others attack.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::crowd::{Client, Crowd, Next, Visit};
use crate::tally::Failure;
use crate::wire::{Ended, Received, receive, send};

/// An honest client. Its lines follow from the seed, its number and the line's number alone.
pub(crate) struct Honest {
    number: u32,
    seed: u64,
    /// Drives pauses and lifetimes; the lines have their own.
    random: Random,
    /// Lines begun so far, on all its connections.
    lines: u64,
    /// Lines still to be sent before it leaves and comes back.
    left: u64,
    /// When the present connection was begun, until its first reply is there.
    arrived: Option<Instant>,
    request: Option<Request>,
    line: Vec<u8>,
}

/// A line on its way. Invariant: `echoed <= sent <= hold <= line.len()`.
struct Request {
    sent: usize,
    echoed: usize,
    /// Bytes that may leave now; the rest waits for the moment the client has asked for.
    hold: usize,
    /// When the last held part was let go: latency counts from here.
    since: Instant,
    deadline: Instant,
}

impl Honest {
    pub(crate) fn new(number: u32, seed: u64) -> Self {
        let random = Random::new(seed, number.into(), u64::MAX);
        Self { number, seed, random, lines: 0, left: 0, arrived: None, request: None, line: Vec::new() }
    }

    /// Begins the next line; of some a part is held back for a while, as slow networks do.
    fn ask(&mut self, visit: &mut Visit<'_>) -> Next {
        self.next_line();
        let whole = self.line.len();
        if self.random.below(8) > 0 {
            return self.begin(visit, whole, Duration::ZERO);
        }
        let hold = 1 + self.random.below(whole as u64) as usize;
        let pause = self.random.between(Duration::from_millis(1), Duration::from_millis(20));
        self.begin(visit, hold, pause)
    }

    fn begin(&mut self, visit: &mut Visit<'_>, hold: usize, pause: Duration) -> Next {
        let resume = visit.now + pause;
        let deadline = resume + REPLY_WITHIN;
        self.request = Some(Request { sent: 0, echoed: 0, hold, since: visit.now, deadline });
        self.left -= 1;
        visit.tally.counts.asked += 1;
        match self.push(visit) {
            Ok(()) if hold < self.line.len() => Next::At(resume),
            Ok(()) => Next::At(deadline),
            Err(Ended) => self.ended(),
        }
    }

    fn push(&mut self, visit: &mut Visit<'_>) -> Result<(), Ended> {
        let Some(request) = &mut self.request else { return Ok(()) };
        while request.sent < request.hold {
            match send(visit.stream, &self.line[request.sent..request.hold])? {
                0 => break,
                n => request.sent += n,
            }
        }
        Ok(())
    }

    /// Reads until nothing is left, so that the poller reports the next bytes.
    fn pull(&mut self, visit: &mut Visit<'_>) -> Next {
        let mut next = Next::Wait;
        loop {
            match receive(visit.stream, visit.scratch) {
                Received::Bytes(n) => match self.check(n, visit) {
                    Next::Wait => {}
                    Next::At(moment) => next = Next::At(moment),
                    over => return over,
                },
                Received::Nothing => return next,
                Received::Ended => return self.ended(),
            }
        }
    }

    /// Compares what came with what was sent; a reply that is whole ends the request.
    fn check(&mut self, received: usize, visit: &mut Visit<'_>) -> Next {
        let Some(request) = &mut self.request else { return self.fail(Failure::WrongByte) };
        let until = request.echoed + received;
        if until > request.sent || self.line[request.echoed..until] != visit.scratch[..received] {
            return self.fail(Failure::WrongByte);
        }
        request.echoed = until;
        if until < self.line.len() {
            return Next::Wait;
        }
        let since = request.since;
        self.request = None;
        self.answered(visit, since)
    }

    fn answered(&mut self, visit: &mut Visit<'_>, since: Instant) -> Next {
        let now = Instant::now();
        visit.tally.counts.answered += 1;
        visit.tally.reply.record(now - since);
        if let Some(arrived) = self.arrived.take() {
            visit.tally.first_reply.record(now - arrived);
        }
        if self.left == 0 && !visit.quiet {
            return Next::Leave;
        }
        Next::At(now + self.random.between(THINK_MIN, THINK_MAX))
    }

    /// An end between two requests is the server's good right; one inside a request is not.
    fn ended(&mut self) -> Next {
        if self.is_asking() { self.fail(Failure::Cut) } else { Next::Cut }
    }

    fn fail(&mut self, failure: Failure) -> Next {
        self.request = None;
        Next::Failed(failure)
    }

    /// 1 B to 8 KiB, newline included; every power of two is as likely as the next.
    fn next_line(&mut self) {
        let mut content = Random::new(self.seed, self.number.into(), self.lines);
        self.lines += 1;
        let bits = content.below(LINE_BITS + 1);
        let whole = 1 + content.below(1 << bits) as usize;
        self.line.clear();
        while self.line.len() < whole - 1 {
            let word = content.next().to_le_bytes().map(|byte| if byte == b'\n' { b'_' } else { byte });
            let wanted = (whole - 1 - self.line.len()).min(word.len());
            self.line.extend_from_slice(&word[..wanted]);
        }
        self.line.push(b'\n');
    }
}

impl Client for Honest {
    fn source(&mut self) -> Ipv4Addr {
        Crowd::Honest.address(self.number / CLIENTS_AN_ADDRESS)
    }

    fn connected(&mut self, visit: &mut Visit<'_>, since: Instant) -> Next {
        self.request = None;
        self.arrived = Some(since);
        self.left = 4 + self.random.below(20);
        if visit.quiet { Next::Wait } else { self.ask(visit) }
    }

    fn ready(&mut self, visit: &mut Visit<'_>) -> Next {
        match self.push(visit) {
            Ok(()) => self.pull(visit),
            // The reply may have come before the end: only the read side knows.
            Err(Ended) => match self.pull(visit) {
                Next::Wait | Next::At(_) => self.ended(),
                over => over,
            },
        }
    }

    fn due(&mut self, visit: &mut Visit<'_>) -> Next {
        let Some(request) = &mut self.request else {
            return if visit.quiet { Next::Wait } else { self.ask(visit) };
        };
        if request.hold < self.line.len() {
            request.hold = self.line.len();
            request.since = visit.now;
            let deadline = request.deadline;
            return match self.push(visit) {
                Ok(()) => Next::At(deadline),
                Err(Ended) => self.ended(),
            };
        }
        if visit.now < request.deadline {
            return Next::At(request.deadline);
        }
        // The reply may be there, and the driver be the one that is late.
        match self.ready(visit) {
            Next::Wait => self.fail(Failure::NoReply),
            over => over,
        }
    }

    /// One in four begins a last line and holds its second half back until the drain has long begun: the drain has to
    /// wait for it.
    fn quiet(&mut self, visit: &mut Visit<'_>) -> Next {
        if self.is_asking() || !self.number.is_multiple_of(4) {
            return Next::Wait;
        }
        self.next_line();
        if self.line.len() < 2 {
            return Next::Wait;
        }
        self.left += 1;
        let pause = self.random.between(LAST_PAUSE_MIN, LAST_PAUSE_MAX);
        self.begin(visit, self.line.len() / 2, pause)
    }

    fn is_asking(&self) -> bool {
        self.request.is_some()
    }
}

/// Splitmix64: small, fast, and the same on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64, client: u64, line: u64) -> Self {
        let mut mixed = Self(seed ^ client.rotate_left(40));
        let first = mixed.next();
        Self(first ^ line)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `bound` - 1; the slight bias of the remainder does not matter here.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn between(&mut self, from: Duration, to: Duration) -> Duration {
        from + Duration::from_micros(self.below((to - from).as_micros() as u64))
    }
}

/// A reply that takes longer than this after the line has left is a failure.
const REPLY_WITHIN: Duration = Duration::from_secs(5);
/// Below the second after which a pool may take a proven connection for unused and give its slot away.
const THINK_MAX: Duration = Duration::from_millis(450);
const THINK_MIN: Duration = Duration::from_millis(50);
const LAST_PAUSE_MIN: Duration = Duration::from_millis(200);
const LAST_PAUSE_MAX: Duration = Duration::from_millis(700);
/// A line is at most 2 to this power bytes.
const LINE_BITS: u64 = 13;
/// A household behind one router.
const CLIENTS_AN_ADDRESS: u32 = 4;
