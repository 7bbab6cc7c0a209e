//! A hundred thousand connections come and go in every way there is, and nothing of them stays: no memory, no
//! descriptor, no permit. `SOCKETPOOL_LIFECYCLES` raises the number.

mod real;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use real::{echo_turn, proc};
use socket2::SockRef;
use socketpool::{Reason, SocketPool};

#[test]
fn a_hundred_thousand_lifecycles_leave_nothing_behind() {
    let wanted = std::env::var("SOCKETPOOL_LIFECYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let mut pool = SocketPool::builder().max_connections(1_000).max_per_ip(500).build().unwrap();
    let address = pool.listen("127.0.0.1:0").unwrap().tcp().unwrap();
    let mut crowd = Crowd::default();
    for _ in 0..WARM_UP / BATCH {
        crowd.live_and_die(&mut pool, address);
    }

    let (memory, descriptors) = (proc::private_bytes(std::process::id()), proc::descriptors());
    for _ in 0..wanted / BATCH {
        crowd.live_and_die(&mut pool, address);
    }
    let grown = proc::private_bytes(std::process::id()).saturating_sub(memory);

    let snapshot = pool.snapshot();
    println!("{wanted} lifecycles: +{grown} bytes; {snapshot}");
    assert_eq!(proc::descriptors(), descriptors);
    assert!(grown <= 64 << 10, "{grown} bytes grown");
    let lived = (WARM_UP / BATCH + wanted / BATCH) * BATCH;
    assert_eq!((snapshot.counters.opened, snapshot.closed_total()), (lived as u64, lived as u64));
    for reason in [Reason::Peer, Reason::Error, Reason::Closed, Reason::Killed] {
        assert!(snapshot.closed(reason) > 0, "nobody ended by {reason}");
    }
    assert_eq!(snapshot.buffers.now, 0);
    // Permits are back, timers are gone, lists are empty, for each address and in sum.
    pool.assert_invariants();
}

/// Clients at a time.
const BATCH: usize = 50;
const WARM_UP: usize = 5_000;
const WAYS: usize = 5;

/// A batch of clients that is used again and again, so that it costs no memory of its own.
#[derive(Default)]
struct Crowd {
    tcp: Vec<TcpStream>,
    unix: Vec<UnixStream>,
}

impl Crowd {
    /// A batch comes, does its business, and is gone, each in its way.
    fn live_and_die(&mut self, pool: &mut SocketPool<u64>, address: SocketAddr) {
        for _ in 0..BATCH / 2 {
            let stream = TcpStream::connect(address).unwrap();
            // The close is a reset: no port is kept from being used again.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            self.tcp.push(stream);
            let (ours, theirs) = UnixStream::pair().unwrap();
            self.unix.push(theirs);
            let id = pool.add(ours).unwrap();
            pool.get(id).unwrap().set_userdata(7);
        }
        while pool.len() < BATCH {
            turn(pool);
        }
        for (place, stream) in self.tcp.iter_mut().enumerate() {
            stream.write_all(OPENINGS[place % WAYS]).unwrap();
        }
        for (place, stream) in self.unix.iter_mut().enumerate() {
            stream.write_all(OPENINGS[place % WAYS]).unwrap();
        }
        turn(pool);
        turn(pool);
        for stream in self.tcp.iter_mut().step_by(WAYS) {
            expect_answer(stream, pool);
        }
        for stream in self.unix.iter_mut().step_by(WAYS) {
            expect_answer(stream, pool);
        }
        let mut place = 0;
        pool.for_each(|conn| {
            place += 1;
            if place % WAYS == 0 {
                conn.close();
            }
        });
        let first = pool.ids().next().unwrap();
        pool.kill(first);
        self.tcp.clear();
        self.unix.clear();
        while !pool.is_empty() {
            turn(pool);
        }
    }
}

/// A whole line, half of one, nothing, several, and one with an unfinished one behind it.
const OPENINGS: [&[u8]; WAYS] = [b"hello\n", b"hel", b"", b"one\ntwo\nthree\n", b"one\ntw"];

fn expect_answer(stream: &mut impl Read, pool: &mut SocketPool<u64>) {
    turn(pool);
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello\n");
}

fn turn(pool: &mut SocketPool<u64>) {
    echo_turn(pool, Duration::ZERO);
}
