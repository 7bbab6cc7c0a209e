//! Hostile clients against the C examples: the guide's flow, in which the program accepts, polls, reads and writes, and
//! the pool's own loop. Each test has a control, in which the protection is off or the server is one without any.
//!
//! A time or a share of a processor is printed; a test fails on one only at ten times the bound. Run with
//! `--nocapture` to see the figures.

mod c_programs;
mod real;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use c_programs::{LINK, Running, compile};
use real::crowd::{Crowd, Manner, Tally};
use real::{Honest, PATIENCE, alone, ask, connect_from, proc, read_to_fin, wait_until};

const GUIDE: &str = "examples/c/guide_server.c";
const ECHO: &str = "examples/c/echo.c";
const BOTH: [&str; 2] = [GUIDE, ECHO];
/// A server without any protection.
const NAIVE: &str = "tests/c/naive.c";

const CROWD: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 1);
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 2);
const MIB: u64 = 1 << 20;

/// The program of a source, which is compiled once. Tests come one after the other.
fn program(source: &str) -> PathBuf {
    static COMPILED: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, program)) = compiled.iter().find(|(known, _)| known == source) {
        return program.clone();
    }
    // It stays: every test of this file may want it.
    let program = ManuallyDrop::new(compile("gcc", "c99", source, LINK)).to_path_buf();
    compiled.push((source.to_owned(), program.clone()));
    program
}

/// A server of lines, killed when dropped.
struct Server {
    running: Running,
    address: SocketAddr,
}

impl Server {
    /// Starts it with what it takes behind the port: the most connections, and the milliseconds of the deadlines for a
    /// first message and for output that nobody takes.
    fn start(source: &str, arguments: &[&str], descriptors: u32) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")]).arg(program(source));
        command.arg("0").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut running = Running(command.spawn().unwrap());
        let mut said = BufReader::new(running.0.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("it tells where").parse().unwrap();
        // So that it never waits for somebody to read what else it says.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { running, address }
    }

    fn id(&self) -> u32 {
        self.running.0.id()
    }

    fn cpu(&self) -> Duration {
        proc::cpu(self.id())
    }

    fn private_bytes(&self) -> u64 {
        proc::private_bytes(self.id())
    }

    fn terminate(&self) {
        let sent = Command::new("kill").args(["-s", "TERM", &self.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Drains it: it ends by itself, and well.
    fn drain(mut self) {
        self.terminate();
        wait_until("the server to end", || self.running.0.try_wait().unwrap().is_some());
        assert!(self.running.0.wait().unwrap().success());
    }
}

const ENOUGH_DESCRIPTORS: u32 = 4096;

/// The share of a processor that it takes in this time, in percent.
fn percent_over(server: &Server, watched: Duration) -> f64 {
    let (cpu, start) = (server.cpu(), Instant::now());
    std::thread::sleep(watched);
    100.0 * (server.cpu() - cpu).as_secs_f64() / start.elapsed().as_secs_f64()
}

/// 200 clients at 64 descriptors: those inside have been served once and then owe the rest of a line, so nobody of them
/// goes; the others wait, and the first of them has sent a line.
fn short_of_descriptors(server: &Server) -> (Vec<TcpStream>, Vec<TcpStream>) {
    let (mut inside, mut waiting) = (Vec::new(), Vec::new());
    for number in 0..200 {
        let mut stream = connect_from(CROWD, server.address, PATIENCE).unwrap();
        if inside.len() == number && ask(&mut stream, "hello\n", Duration::from_millis(300)).is_ok() {
            stream.write_all(b"half a li").unwrap();
            inside.push(stream);
        } else {
            waiting.push(stream);
        }
    }
    assert!((40..64).contains(&inside.len()), "{} of 200 came in with 64 descriptors", inside.len());
    (inside, waiting)
}

#[test]
fn without_descriptors_they_sleep_and_serve_the_next_when_one_comes_free() {
    let _alone = alone();
    for source in BOTH {
        let server = Server::start(source, &[], 64);
        let (mut inside, mut waiting) = short_of_descriptors(&server);
        let used = percent_over(&server, Duration::from_secs(2));
        // The first of those who wait has sent its line, so it is answered as it comes in.
        let mut first = waiting.remove(0);
        let freed = Instant::now();
        drop(inside.pop());
        first.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = [0; 6];
        first.read_exact(&mut answer).expect("it is served");
        let served_after = freed.elapsed();
        println!(
            "{source}: 64 descriptors, 200 clients: {used:.2} % CPU, next served after {served_after:?}"
        );
        assert!(used < 10.0 * 2.0, "{source}: {used} % of a processor for doing nothing");
        assert!(served_after < 10 * Duration::from_millis(50), "{source}: served after {served_after:?}");
        drop((inside, waiting, first));
        server.drain();
    }
}

#[test]
fn control_a_naive_loop_spins_when_descriptors_run_out() {
    let _alone = alone();
    let server = Server::start(NAIVE, &[], 64);
    let _crowd = short_of_descriptors(&server);
    let used = percent_over(&server, Duration::from_secs(1));
    println!("control: {used:.0} % CPU");
    assert!(used > 10.0 * 2.0, "{used} %: the bound says nothing");
}

/// Silent ones take every descriptor, but may be evicted: honest clients get in, and nobody spins.
#[test]
fn silent_crowds_at_the_descriptor_limit_keep_no_honest_client_out() {
    let _alone = alone();
    for source in BOTH {
        let server = Server::start(source, &[], 64);
        let crowd: Vec<_> =
            (0..200).map(|_| connect_from(CROWD, server.address, PATIENCE).unwrap()).collect();
        let used = percent_over(&server, Duration::from_secs(2));
        let pace = Duration::from_millis(10);
        let honest = Honest::run(HONEST, server.address, 100, pace, Duration::from_secs(1));
        println!(
            "{source}: 64 descriptors, 200 silent: {used:.2} % CPU, {:.1} % of honest clients served, p99 {:?}; failed: {:?}",
            honest.success_percent(),
            honest.percentile(99),
            honest.failures
        );
        assert!(used < 10.0 * 2.0, "{source}: {used} % of a processor");
        assert!(honest.success_percent() >= 99.0, "{source}: {:?}", honest.failures);
        drop(crowd);
        server.drain();
    }
}

#[test]
fn control_silent_crowds_keep_everybody_out_of_a_naive_server_without_descriptors() {
    let _alone = alone();
    let server = Server::start(NAIVE, &[], 64);
    let _crowd: Vec<_> = (0..200).map(|_| connect_from(CROWD, server.address, PATIENCE).unwrap()).collect();
    let honest =
        Honest::run(HONEST, server.address, 5, Duration::from_millis(10), Duration::from_millis(200));
    println!("control: {:.1} % of honest clients served", honest.success_percent());
    assert!(honest.success_percent() < 50.0, "the test shows nothing");
}

/// When a silent and a dribbling client were cut, if they were within `patience`; one that has said something stays.
fn watch_slow_ones(
    source: &str,
    first_message_ms: &str,
    patience: Duration,
) -> (Option<Duration>, Option<Duration>) {
    let server = Server::start(source, &["100", first_message_ms], ENOUGH_DESCRIPTORS);
    let start = Instant::now();
    let connect = || connect_from(CROWD, server.address, PATIENCE).unwrap();
    let (mut silent, mut dribbling, mut honest) = (connect(), connect(), connect());
    ask(&mut honest, "hello\n", PATIENCE).unwrap();
    silent.set_nonblocking(true).unwrap();
    dribbling.set_nonblocking(true).unwrap();
    let (mut silent_cut, mut dribbling_cut) = (None, None);
    while start.elapsed() < patience && (silent_cut.is_none() || dribbling_cut.is_none()) {
        std::thread::sleep(Duration::from_millis(20));
        if dribbling_cut.is_none() {
            // To one that was cut this fails, as it should.
            let _ = dribbling.write(b"x");
            dribbling_cut = is_over(&mut dribbling).map(|_| start.elapsed());
        }
        if silent_cut.is_none() {
            silent_cut = is_over(&mut silent).map(|by_fin| {
                assert!(by_fin, "{source}: not by RST");
                start.elapsed()
            });
        }
    }
    ask(&mut honest, "again\n", PATIENCE).expect("a client that has said something stays");
    // The dribbler owes the rest of a line, for which a drain would wait.
    drop((silent, dribbling, honest));
    server.drain();
    (silent_cut, dribbling_cut)
}

/// Whether a stream that does not block is over, and then whether by FIN.
fn is_over(stream: &mut TcpStream) -> Option<bool> {
    match stream.read(&mut [0; 64]) {
        Ok(0) => Some(true),
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(_) => Some(false),
    }
}

#[test]
fn silent_and_dribbling_clients_are_cut_at_the_first_messages_deadline() {
    let _alone = alone();
    for source in BOTH {
        let (silent, dribbling) = watch_slow_ones(source, "500", PATIENCE);
        println!("{source}: deadline of 500 ms: silent cut after {silent:?}, dribbling after {dribbling:?}");
        for cut in [silent.expect("cut"), dribbling.expect("cut")] {
            let early = cut < Duration::from_millis(500);
            assert!(!early && cut < Duration::from_secs(5), "{source}: {cut:?}");
        }
    }
}

#[test]
fn control_without_the_deadline_they_stay() {
    let _alone = alone();
    for source in BOTH {
        let cut = watch_slow_ones(source, "0", Duration::from_millis(1500));
        println!("control: {source}, deadline off: {cut:?}");
        assert_eq!(cut, (None, None), "{source}");
    }
}

struct People {
    server: Server,
    idle: Vec<TcpStream>,
    silent: Vec<TcpStream>,
    busy: Vec<TcpStream>,
}

impl People {
    fn come(source: &str) -> Self {
        let server = Server::start(source, &[], ENOUGH_DESCRIPTORS);
        let crowd = |last: u8, count: usize| -> Vec<TcpStream> {
            let from = Ipv4Addr::new(127, 0, 5, last);
            (0..count).map(|_| connect_from(from, server.address, PATIENCE).unwrap()).collect()
        };
        let (mut idle, silent, mut busy) = (crowd(1, 500), crowd(2, 500), crowd(3, 20));
        for stream in &mut idle {
            ask(stream, "hello\n", PATIENCE).unwrap();
        }
        for stream in &mut busy {
            ask(stream, "hello\n", PATIENCE).unwrap();
            stream.write_all(b"half").unwrap();
        }
        // Until it has read that.
        std::thread::sleep(Duration::from_millis(100));
        Self { server, idle, silent, busy }
    }
}

#[test]
fn a_drain_ends_the_idle_and_the_silent_at_once_and_lets_the_busy_finish() {
    let _alone = alone();
    for source in BOTH {
        let mut people = People::come(source);
        let start = Instant::now();
        people.server.terminate();
        for stream in people.idle.iter_mut().chain(&mut people.silent) {
            let rest = read_to_fin(stream).expect("FIN, not RST");
            assert!(rest.is_empty(), "nothing was owed");
        }
        let took = start.elapsed();
        println!("{source}: drain: 500 idle and 500 silent ended by FIN in {took:?}");
        assert!(took < 10 * Duration::from_millis(100), "{source}: {took:?}");
        assert!(TcpStream::connect(people.server.address).is_err(), "nobody comes in any more");
        for stream in &mut people.busy {
            stream.write_all(b" and the rest\n").unwrap();
            assert_eq!(read_to_fin(stream).unwrap(), b"half and the rest\n", "{source}");
        }
        let server = &mut people.server.running.0;
        wait_until("the server to end", || server.try_wait().unwrap().is_some());
        assert!(server.wait().unwrap().success());
    }
}

#[test]
fn control_without_a_drain_nobody_is_let_go() {
    let _alone = alone();
    for source in BOTH {
        let mut people = People::come(source);
        std::thread::sleep(Duration::from_millis(500));
        let gone = people.idle.iter_mut().chain(&mut people.silent).filter_map(|stream| {
            stream.set_nonblocking(true).unwrap();
            is_over(stream)
        });
        assert_eq!(gone.count(), 0, "{source}");
        println!("control: {source}, no drain: 0 of 1000 ended in half a second");
    }
}

/// Clients that ask and never read.
struct NeverRead {
    clients: Vec<TcpStream>,
    sent: [usize; 4],
}

impl NeverRead {
    fn come(server: &Server) -> Self {
        let clients = (0..4).map(|_| {
            let stream = connect_from(CROWD, server.address, PATIENCE).unwrap();
            // A fixed window is full soon; one that the kernel tunes lets a little through for seconds.
            socket2::SockRef::from(&stream).set_recv_buffer_size(16 << 10).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        });
        Self { clients: clients.collect(), sent: [0; 4] }
    }

    /// Asks as much as goes. How many are cut, and whether anything moved.
    fn ask(&mut self) -> (usize, bool) {
        let lines = [[b'x'; 4095].as_slice(), b"\n"].concat().repeat(16);
        let (mut cut, mut moved) = (0, false);
        for (stream, sent) in self.clients.iter_mut().zip(&mut self.sent) {
            // What is owed must end with a whole line.
            let from = *sent % lines.len();
            match stream.write(&lines[from..]) {
                Ok(n) if *sent < 64_000_000 => {
                    *sent += n;
                    moved = true;
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => cut += 1,
                _ => {}
            }
        }
        (cut, moved)
    }
}

/// The most that four such clients add to the server's own memory while they are there.
fn growth(source: &str) -> u64 {
    let server = Server::start(source, &[], ENOUGH_DESCRIPTORS);
    // The server has served before: what it needs once it has.
    ask(&mut TcpStream::connect(server.address).unwrap(), "hello\n", PATIENCE).unwrap();
    let before = server.private_bytes();
    let mut clients = NeverRead::come(&server);
    let (mut quiet_since, mut cpu, mut most) = (Instant::now(), server.cpu(), before);
    while quiet_since.elapsed() < Duration::from_millis(500) && most < before + 16 * MIB {
        let (_, moved) = clients.ask();
        most = most.max(server.private_bytes());
        if moved || server.cpu() - cpu > Duration::from_millis(5) {
            (quiet_since, cpu) = (Instant::now(), server.cpu());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(clients.sent.iter().all(|sent| *sent > 100_000), "they did ask: {:?}", clients.sent);
    most - before
}

#[test]
fn four_clients_that_never_read_cost_less_than_a_mebibyte_each() {
    let _alone = alone();
    for source in BOTH {
        let grown = growth(source);
        println!("{source}: 4 clients that never read: +{:.2} MiB", grown as f64 / MIB as f64);
        assert!(grown <= 4 * MIB, "{source}: {grown} bytes");
    }
}

#[test]
fn control_they_cost_a_naive_server_more() {
    let _alone = alone();
    let grown = growth(NAIVE);
    println!("control: +{:.1} MiB", grown as f64 / MIB as f64);
    assert!(grown > 4 * MIB, "{grown} bytes: the bound says nothing");
}

/// How many of four clients that never read are cut, and when all were.
fn cut_by_write_stall(source: &str, write_stall_ms: &str, patience: Duration) -> (usize, Duration) {
    let server = Server::start(source, &["100", "0", write_stall_ms], ENOUGH_DESCRIPTORS);
    let mut clients = NeverRead::come(&server);
    let start = Instant::now();
    loop {
        let (cut, _) = clients.ask();
        if cut == 4 || start.elapsed() > patience {
            return (cut, start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn clients_that_never_read_are_cut_by_the_write_stall() {
    let _alone = alone();
    for source in BOTH {
        let (cut, after) = cut_by_write_stall(source, "500", Duration::from_secs(5));
        println!("{source}: write stall of 500 ms: {cut} of 4 cut after {after:?}");
        assert_eq!(cut, 4, "{source}");
        assert!(after >= Duration::from_millis(500), "{source}: {after:?}");
    }
}

#[test]
fn control_without_the_write_stall_they_stay() {
    let _alone = alone();
    for source in BOTH {
        let (cut, _) = cut_by_write_stall(source, "0", Duration::from_millis(1500));
        println!("control: {source}, write stall off: {cut} of 4 cut");
        assert_eq!(cut, 0, "{source}");
    }
}

/// 128 of a crowd for 64 places, each back at once when it is cut: the honest clients that are served meanwhile.
fn among(manner: Manner, source: &str, tries: usize, patience: Duration) -> (Honest, Tally) {
    let server = Server::start(source, &["64", "60000"], ENOUGH_DESCRIPTORS);
    let crowd = Crowd::start(manner, 128, CROWD, server.address);
    // Until all places are taken.
    std::thread::sleep(Duration::from_millis(500));
    let honest = Honest::run(HONEST, server.address, tries, Duration::from_millis(10), patience);
    (honest, crowd.stop())
}

/// They take all places, and keep no honest client out of a server of either kind.
fn keep_nobody_out(manner: Manner) {
    for source in BOTH {
        let (honest, crowd) = among(manner, source, 200, Duration::from_secs(1));
        println!(
            "{source}: 64 places, 128 that {manner:?}: {:.1} % of honest clients served, p50 {:?}, p99 {:?}; {crowd:?}; failed: {:?}",
            honest.success_percent(),
            honest.percentile(50),
            honest.percentile(99),
            honest.failures
        );
        assert!(crowd.cuts > 0, "{source}: the pool was full");
        assert!(honest.success_percent() >= 99.0, "{source}: {:?}", honest.failures);
        assert!(honest.percentile(99) < 10 * Duration::from_millis(50), "{source}");
    }
}

fn control_keeps_everybody_out(manner: Manner) {
    let (honest, _) = among(manner, NAIVE, 5, Duration::from_millis(200));
    println!("control: {:.1} % of honest clients served", honest.success_percent());
    assert!(honest.success_percent() < 50.0, "the test shows nothing");
}

#[test]
fn dribblers_for_all_places_keep_no_honest_client_out() {
    let _alone = alone();
    keep_nobody_out(Manner::Dribble);
}

#[test]
fn control_dribblers_keep_everybody_out_of_a_naive_server() {
    let _alone = alone();
    control_keeps_everybody_out(Manner::Dribble);
}

#[test]
fn those_who_say_one_line_and_hold_all_places_keep_no_honest_client_out() {
    let _alone = alone();
    keep_nobody_out(Manner::LineThenHold);
}

#[test]
fn control_those_who_hold_keep_everybody_out_of_a_naive_server() {
    let _alone = alone();
    control_keeps_everybody_out(Manner::LineThenHold);
}
