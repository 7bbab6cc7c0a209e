//! Clients that never say anything, or never finish saying it: cut at the first message's deadline, which their bytes
//! do not move.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socketpool::{Builder, Clock, Reason, SocketPool};

use crate::real::server::Server;
use crate::real::{PATIENCE, alone, echo_turn};
use crate::side_by_side;

const PEERS: &[(&str, &str)] = &[
    ("nginx 1.22", "silent cut after 60 s, dripping after 60 s"),
    ("Node 20", "silent cut after 85 s, dripping after 85 s"),
    ("HAProxy 2.6", "never, never (no timeouts set)"),
    ("Redis, memcached", "never, never"),
    ("Go, axum", "never, never"),
    ("libevent, Netty", "never, never"),
];

#[test]
fn silent_and_dribbling_clients_are_cut_at_the_default_deadline() {
    let watched = Watched::over(SocketPool::builder());
    let show = |cut: &Option<u64>| cut.map_or("never".into(), |seconds| format!("after {seconds} s"));
    side_by_side(
        "nothing sent, or one byte in 5 s, watched for 130 s",
        PEERS,
        &format!(
            "silent cut {}, dripping {} (by a clock turned by hand)",
            show(&watched.silent),
            show(&watched.dribbling)
        ),
    );
    assert_eq!((watched.silent, watched.dribbling), (Some(30), Some(30)));
    assert_eq!(watched.reasons, vec![Reason::FirstMessage; 2 * CLIENTS]);
    assert!(watched.honest, "a client that has said something stays");
}

#[test]
fn control_without_the_deadline_they_stay() {
    let watched = Watched::over(SocketPool::builder().first_message_timeout(None));
    println!("\ncontrol: first-message deadline off: nobody is cut in 130 s");
    assert_eq!((watched.silent, watched.dribbling), (None, None));
    assert!(watched.reasons.is_empty(), "{:?}", watched.reasons);
}

#[test]
fn the_deadline_holds_on_the_machines_clock_too() {
    let _alone = alone();
    let server = Server::start(&["--first-message", "0.5"], None);
    let start = Instant::now();
    let mut silent = TcpStream::connect(server.address()).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut dribbling = TcpStream::connect(server.address()).unwrap();
    dribbling.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut byte = [0];
    let dribbling_cut = loop {
        let _ = dribbling.write(b"x");
        match dribbling.read(&mut byte) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => break start.elapsed(),
        }
        assert!(start.elapsed() < PATIENCE, "the dribbler is not cut");
    };
    assert_eq!(silent.read(&mut byte).unwrap(), 0, "by FIN");
    let silent_cut = start.elapsed();
    println!(
        "\ndeadline of 500 ms in real time: dribbling cut after {dribbling_cut:?}, silent within {silent_cut:?}"
    );
    assert!(dribbling_cut >= Duration::from_millis(500) && dribbling_cut < Duration::from_secs(5));
    assert_eq!(server.drain().of("closed_first_message"), 2);
}

const CLIENTS: usize = 20;

/// What became of silent and of dribbling clients in 130 s.
struct Watched {
    /// The second in which the last of them was cut, if all were.
    silent: Option<u64>,
    dribbling: Option<u64>,
    reasons: Vec<Reason>,
    honest: bool,
}

impl Watched {
    fn over(builder: Builder<()>) -> Self {
        let (clock, hand) = Clock::manual();
        let mut pool = builder.clock(clock).build().unwrap();
        let address = pool.listen("127.0.0.1:0").unwrap().tcp().unwrap();
        let connect = || -> Vec<TcpStream> {
            let streams = (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap());
            streams.inspect(|stream| stream.set_nonblocking(true).unwrap()).collect()
        };
        let (mut silent, mut dribbling) = (connect(), connect());
        let mut honest = TcpStream::connect(address).unwrap();
        honest.write_all(b"hello\n").unwrap();
        settle(&mut pool, &mut Vec::new());
        assert_eq!(pool.len(), 2 * CLIENTS + 1);

        let mut watched = Self { silent: None, dribbling: None, reasons: Vec::new(), honest: false };
        for second in 1..=130 {
            if second % 5 == 0 {
                for stream in &mut dribbling {
                    // To one that was cut this fails, as it should.
                    let _ = stream.write(b"x");
                }
                settle(&mut pool, &mut watched.reasons);
            }
            hand.advance(Duration::from_secs(1));
            settle(&mut pool, &mut watched.reasons);
            let all_cut = |crowd: &mut Vec<TcpStream>| crowd.iter_mut().all(is_over);
            if watched.silent.is_none() && all_cut(&mut silent) {
                watched.silent = Some(second);
            }
            if watched.dribbling.is_none() && all_cut(&mut dribbling) {
                watched.dribbling = Some(second);
            }
        }
        watched.honest = !is_over(&mut honest);
        pool.assert_invariants();
        watched
    }
}

/// Turns the pool until nothing more happens.
fn settle(pool: &mut SocketPool<()>, reasons: &mut Vec<Reason>) {
    for _ in 0..4 {
        reasons.extend(echo_turn(pool, Duration::from_millis(1)));
    }
}

fn is_over(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut bytes = [0; 64];
    match stream.read(&mut bytes) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}
