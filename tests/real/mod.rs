//! What the tests on real sockets share: the `echo` example as a program of its own, clients that check what they get,
//! and what `/proc` says of a process. Everything is on loopback, port 0, and bounded in time.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod crowd;
pub(crate) mod server;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use socketpool::{Event, Reason, Sent, SocketPool};

/// Longer than anything here should take; what waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Tests that measure the machine do so one after the other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection from `source`, so that each crowd has an address of its own.
pub(crate) fn connect_from(
    source: Ipv4Addr,
    target: SocketAddr,
    patience: Duration,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&target.into(), patience)?;
    Ok(socket.into())
}

/// Sends a line and checks that it comes back, all within `patience`.
pub(crate) fn ask(stream: &mut TcpStream, line: &str, patience: Duration) -> io::Result<()> {
    let until = Instant::now() + patience;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(line.as_bytes())?;
    let mut answer = vec![0; line.len()];
    let mut got = 0;
    while got < answer.len() {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut answer[got..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => got += n,
            // Who was stopped and goes on finds this where a timeout is set: signal(7).
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if answer == line.as_bytes() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// What became of honest clients: each connects, asks one line, checks the answer and leaves.
#[derive(Debug, Default)]
pub(crate) struct Honest {
    pub(crate) tries: usize,
    /// Of the answered ones, shortest first.
    pub(crate) times: Vec<Duration>,
    /// What went wrong for the others.
    pub(crate) failures: Vec<String>,
}

impl Honest {
    /// `tries` clients one after the other, a new one every `pace`, each with `patience` from connect to answer.
    pub(crate) fn run(
        source: Ipv4Addr,
        target: SocketAddr,
        tries: usize,
        pace: Duration,
        patience: Duration,
    ) -> Self {
        let mut honest = Self { tries, ..Self::default() };
        for number in 0..tries {
            let start = Instant::now();
            let connected = connect_from(source, target, patience);
            let way = if connected.is_ok() { "ask" } else { "connect" };
            let served =
                connected.and_then(|mut stream| ask(&mut stream, &format!("honest {number}\n"), patience));
            let took = start.elapsed();
            match served {
                Ok(()) if took <= patience => honest.times.push(took),
                Ok(()) => honest.failures.push(format!("answered after {took:?}")),
                Err(error) => honest.failures.push(format!("{way} after {took:?}: {error}")),
            }
            std::thread::sleep(pace.saturating_sub(took));
        }
        honest.times.sort_unstable();
        honest
    }

    pub(crate) fn success_percent(&self) -> f64 {
        100.0 * self.times.len() as f64 / self.tries as f64
    }

    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        match self.times.len() {
            0 => Duration::MAX,
            count => self.times[(count * percent / 100).min(count - 1)],
        }
    }
}

/// Answers every whole line, as the `echo` example does.
pub(crate) fn echo_lines<U>(conn: &mut socketpool::Connection<'_, U>) {
    conn.receive();
    let (mut input, mut output) = conn.split();
    while let Some(line) = input.take_through(b'\n') {
        if output.queue(line) == Sent::Refused {
            return conn.close();
        }
    }
}

/// Turns a pool that echoes lines once, without waiting longer than `timeout`; returns the ends it told.
pub(crate) fn echo_turn<U>(pool: &mut SocketPool<U>, timeout: Duration) -> Vec<Reason> {
    let mut ends = Vec::new();
    pool.turn(Some(timeout)).expect("no peer can make a turn fail");
    while let Some(event) = pool.next_event() {
        match event {
            Event::Readable(id) => echo_lines(&mut pool.conn(id)),
            Event::Closed { reason, .. } => ends.push(reason),
            _ => {}
        }
    }
    ends
}

/// Turns `pool` until `done` says so.
///
/// # Panics
/// When it does not in time.
pub(crate) fn turn_until<U>(
    pool: &mut SocketPool<U>,
    mut done: impl FnMut(&mut SocketPool<U>, Event<U>) -> bool,
) {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "not done in {PATIENCE:?}: {}", pool.snapshot());
        pool.turn(Some(Duration::from_millis(10))).expect("no peer can make a turn fail");
        let mut over = false;
        while let Some(event) = pool.next_event() {
            over |= done(pool, event);
        }
        if over {
            return;
        }
    }
}

/// Waits until `done` says so.
///
/// # Panics
/// When it does not in time, saying what was waited for.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Reads to the end of the stream, which must be an orderly one; returns what came before it.
pub(crate) fn read_to_fin(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    Ok(all)
}

/// CPU time that all threads of a process have used, and the memory that is its own.
pub(crate) mod proc {
    use std::fs;
    use std::time::Duration;

    pub(crate) fn cpu(pid: u32) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
        tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|stat| stat.split(' ').next()?.parse().ok())
            .map(Duration::from_nanos)
            .sum()
    }

    pub(crate) fn private_bytes(pid: u32) -> u64 {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process lives");
        // Code that runs for the first time is a clean page more, and no growth.
        let private =
            rollup.lines().find(|line| line.starts_with("Private_Dirty:")).expect("every kernel tells");
        private.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// The descriptors of this process and what they are, in order.
    pub(crate) fn descriptors() -> Vec<String> {
        let mut all: Vec<String> = fs::read_dir("/proc/self/fd")
            .expect("proc is mounted")
            .flatten()
            .filter_map(|entry| {
                let target = fs::read_link(entry.path()).ok()?;
                Some(format!("{}={}", entry.file_name().to_string_lossy(), target.display()))
            })
            // The directory that is being read.
            .filter(|line| !line.contains("/fd"))
            .collect();
        all.sort();
        all
    }
}
