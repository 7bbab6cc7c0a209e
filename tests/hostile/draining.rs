//! A drain under a thousand connections that will never end by themselves: they are let go at once, in good order, and
//! the busy finish.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use crate::real::server::Server;
use crate::real::{PATIENCE, alone, ask, connect_from, read_to_fin};
use crate::side_by_side;

const PEERS: &[(&str, &str)] = &[
    ("nginx 1.22", "50 idle 0.01 s, 50 silent > 40 s"),
    ("HAProxy 2.6", "50 idle 0.01 s, 50 silent > 40 s"),
    ("Node 20", "50 idle 0.01 s, 50 silent > 40 s"),
    ("Go 1.19", "50 idle < 0.01 s, 50 silent 4.7-5.3 s"),
    ("memcached 1.6", "50 idle 0.26-1.12 s, 50 silent 0.27 s"),
    ("Redis 7.0", "50 idle 0.03 s, 50 silent 0.07 s"),
    ("axum 0.8", "50 idle < 0.01 s, 50 silent < 0.01 s"),
    ("libevent, Netty", "no drain"),
];

#[test]
fn a_drain_ends_the_idle_and_the_silent_at_once_and_lets_the_busy_finish() {
    let _alone = alone();
    let mut people = People::come();
    let start = Instant::now();
    people.server.terminate();
    for stream in people.idle.iter_mut().chain(&mut people.silent) {
        let rest = read_to_fin(stream).expect("FIN, not RST");
        assert!(rest.is_empty(), "nothing was owed");
    }
    let took = start.elapsed();
    side_by_side(
        "drain with 500 idle, 500 silent and 20 busy",
        PEERS,
        &format!("500 idle and 500 silent {took:?}, all by FIN"),
    );
    assert!(took < 10 * Duration::from_millis(100), "{took:?}");
    assert!(TcpStream::connect(people.address).is_err(), "nobody comes in any more");

    for stream in &mut people.busy {
        stream.write_all(b" and the rest\n").unwrap();
        assert_eq!(read_to_fin(stream).unwrap(), b"half and the rest\n");
    }
    assert!(people.server.wait().success());
    let line = people.server.line_with("verdict=drained").expect("a last snapshot");
    assert!(line.contains("closed=1020 closed_drained=1020"), "{line}");
}

#[test]
fn control_without_a_drain_nobody_is_let_go() {
    let _alone = alone();
    let mut people = People::come();
    std::thread::sleep(Duration::from_secs(1));
    let mut bytes = [0];
    let gone = people
        .idle
        .iter_mut()
        .chain(&mut people.silent)
        .filter(|stream| {
            stream.set_nonblocking(true).unwrap();
            let mut stream: &TcpStream = stream;
            !stream.read(&mut bytes).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        })
        .count();
    println!("\ncontrol: no drain: {gone} of 1000 ended in a second");
    assert_eq!(gone, 0);
}

struct People {
    server: Server,
    address: std::net::SocketAddr,
    idle: Vec<TcpStream>,
    silent: Vec<TcpStream>,
    busy: Vec<TcpStream>,
}

impl People {
    fn come() -> Self {
        let server = Server::start(&[], None);
        let address = server.address();
        let crowd = |last: u8, count: usize| -> Vec<TcpStream> {
            let source = Ipv4Addr::new(127, 0, 2, last);
            (0..count).map(|_| connect_from(source, address, PATIENCE).unwrap()).collect()
        };
        let (mut idle, silent, mut busy) = (crowd(1, 500), crowd(2, 500), crowd(3, 20));
        for stream in &mut idle {
            ask(stream, "hello\n", PATIENCE).unwrap();
        }
        for stream in &mut busy {
            stream.write_all(b"half").unwrap();
        }
        Self { server, address, idle, silent, busy }
    }
}
