//! Clients that ask and ask and never read an answer: they cost little memory, and are cut when they take nothing.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socketpool::{Builder, Clock, Reason, SocketPool};

use crate::real::server::Server;
use crate::real::{PATIENCE, alone, echo_turn};
use crate::side_by_side;

const PEERS: &[(&str, &str)] = &[
    ("nginx 1.22", "+0.1 MiB"),
    ("HAProxy 2.6", "+0.2 MiB"),
    ("memcached 1.6", "+0.1 MiB"),
    ("axum 0.8", "+2.0 MiB"),
    ("Go 1.19", "+5.8 MiB"),
    ("Node 20", "+47 MiB"),
    ("libevent evhttp", "+65 MiB"),
    ("libevent bufferevent", "+113 MiB"),
    ("Netty 4.1", "+364 MiB"),
    ("Redis 7.0", "+2183, +3150 MiB"),
];

const CLIENTS: usize = 4;
const MIB: u64 = 1 << 20;

#[test]
fn four_clients_that_never_read_cost_less_than_a_mebibyte_each() {
    let _alone = alone();
    let grown = growth(&[]);
    side_by_side(
        "4 clients send up to 64 MB of requests each and never read: growth of the server",
        PEERS,
        &format!("+{:.2} MiB", grown as f64 / MIB as f64),
    );
    assert!(grown <= CLIENTS as u64 * MIB, "{grown} bytes");
}

#[test]
fn control_without_the_marks_they_cost_more() {
    let _alone = alone();
    let most = (16 * MIB).to_string();
    let flags = ["--max-output", &most, "--output-high", &most, "--on-output-high", "report"];
    let grown = growth(&flags);
    println!("\ncontrol: marks and bound at their largest: +{:.1} MiB", grown as f64 / MIB as f64);
    assert!(grown > CLIENTS as u64 * MIB, "{grown} bytes: the bound says nothing");
}

#[test]
fn they_are_cut_by_the_default_write_stall() {
    let (reasons, live) = after_130_seconds(SocketPool::builder());
    assert_eq!(reasons, [Reason::WriteStall; CLIENTS]);
    assert_eq!(live, 0);
}

#[test]
fn control_without_write_stall_they_stay() {
    let (reasons, live) = after_130_seconds(SocketPool::builder().write_stall_timeout(None));
    assert_eq!((reasons, live), (Vec::new(), CLIENTS));
}

#[test]
fn the_write_stall_holds_on_the_machines_clock_too() {
    let _alone = alone();
    let server = Server::start(&["--write-stall", "0.5"], None);
    let mut clients = connect(server.address());
    for stream in &clients {
        // A fixed window is full soon; one that the kernel tunes lets a little through for seconds.
        socket2::SockRef::from(stream).set_recv_buffer_size(16 << 10).unwrap();
    }
    let start = Instant::now();
    while clients.iter_mut().any(|stream| !matches!(ask_without_reading(stream), Asked::Cut)) {
        assert!(start.elapsed() < PATIENCE, "not cut");
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("\nwrite stall of 500 ms in real time: all four cut after {:?}", start.elapsed());
    assert_eq!(server.drain().of("closed_write_stall"), CLIENTS as u64);
}

/// The most that four such clients add to the server's own memory while they are there.
fn growth(flags: &[&str]) -> u64 {
    let server = Server::start(flags, None);
    // The server has served before: what it needs once it has.
    crate::real::ask(&mut TcpStream::connect(server.address()).unwrap(), "hello\n", PATIENCE).unwrap();
    let before = server.private_bytes();
    let mut clients = connect(server.address());
    let mut sent = [0; CLIENTS];
    let (mut quiet_since, mut cpu, mut most) = (Instant::now(), server.cpu(), before);
    while quiet_since.elapsed() < Duration::from_millis(500) && most < before + ENOUGH {
        let mut moved = false;
        for (stream, sent) in clients.iter_mut().zip(&mut sent) {
            while *sent < 64_000_000
                && let Asked::Sent(n) = ask_without_reading(stream)
            {
                *sent += n;
                moved = true;
            }
        }
        most = most.max(server.private_bytes());
        if moved || server.cpu() - cpu > Duration::from_millis(5) {
            (quiet_since, cpu) = (Instant::now(), server.cpu());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(sent.iter().all(|sent| *sent > 100_000), "they did ask: {sent:?}");
    most - before
}

/// No bound is as high: what grows so far has shown enough.
const ENOUGH: u64 = 16 * MIB;

fn after_130_seconds(builder: Builder<()>) -> (Vec<Reason>, usize) {
    let (clock, hand) = Clock::manual();
    let mut pool = builder.clock(clock).build().unwrap();
    let address = pool.listen("127.0.0.1:0").unwrap().tcp().unwrap();
    let mut clients = connect(address);
    let mut reasons = Vec::new();
    // Until nothing moves any more: both kernels and the pool are full.
    let mut still = 0;
    while still < 50 {
        still += 1;
        for stream in &mut clients {
            if let Asked::Sent(_) = ask_without_reading(stream) {
                still = 0;
            }
        }
        reasons.extend(echo_turn(&mut pool, Duration::from_millis(1)));
    }
    assert_eq!((pool.len(), reasons.len()), (CLIENTS, 0), "no time has passed");
    for _ in 0..130 {
        hand.advance(Duration::from_secs(1));
        for _ in 0..2 {
            reasons.extend(echo_turn(&mut pool, Duration::ZERO));
        }
    }
    pool.assert_invariants();
    (reasons, pool.len())
}

fn connect(address: std::net::SocketAddr) -> Vec<TcpStream> {
    let streams = (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap());
    streams.inspect(|stream| stream.set_nonblocking(true).unwrap()).collect()
}

enum Asked {
    Sent(usize),
    Full,
    Cut,
}

fn ask_without_reading(stream: &mut TcpStream) -> Asked {
    let lines = [[b'x'; 4095].as_slice(), b"\n"].concat().repeat(16);
    match stream.write(&lines) {
        Ok(n) => Asked::Sent(n),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Asked::Full,
        Err(_) => Asked::Cut,
    }
}
