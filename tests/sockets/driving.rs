//! Ways to drive a pool: in a foreign loop, with others on one reactor, and called from other threads.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socketpool::{ConnId, Event, Reactor, Reason, Sent, SocketPool, State};

use super::{listening_pool, opened, served};
use crate::real::{PATIENCE, ask, echo_lines, echo_turn, read_to_fin, turn_until};

#[test]
fn a_pool_lives_in_a_foreign_loop() {
    let mut pool = SocketPool::<u32>::builder().idle_timeout(Duration::from_millis(50)).build().unwrap();
    let address = pool.listen("127.0.0.1:0").unwrap().tcp().unwrap();
    let mut foreign = Poll::new().unwrap();
    foreign.registry().register(&mut SourceFd(&pool.as_raw_fd()), Token(0), Interest::READABLE).unwrap();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        for _ in 0..10 {
            ask(&mut stream, "through two pollers\n", PATIENCE).unwrap();
        }
        read_to_fin(&mut stream)
    });
    let (mut events, start, mut ended) = (Events::with_capacity(8), Instant::now(), None);
    while ended.is_none() {
        assert!(start.elapsed() < PATIENCE, "{}", pool.snapshot());
        // A foreign loop in mio is edge-triggered: what the pool has left to do is in its timeout.
        foreign.poll(&mut events, pool.next_timeout().or(Some(PATIENCE))).unwrap();
        ended = echo_turn(&mut pool, Duration::ZERO).pop();
    }
    assert_eq!(ended, Some(Reason::Idle), "its deadline woke the foreign loop");
    assert_eq!(client.join().unwrap().unwrap(), b"");
    assert_eq!(pool.snapshot().counters.operations, 10);
}

/// Clients of the front pool talk to a server behind the back pool, as through a proxy.
#[test]
fn two_pools_on_one_reactor_pass_bytes_to_each_other() {
    let mut reactor = Reactor::new().unwrap();
    let mut front = SocketPool::<ConnId>::builder().build_on(&mut reactor).unwrap();
    let mut back = SocketPool::<ConnId>::builder().build_on(&mut reactor).unwrap();
    let address = front.listen("127.0.0.1:0").unwrap().tcp().unwrap();
    assert!(front.turn(Some(Duration::ZERO)).is_err(), "it is the reactor that is turned");
    let clients: Vec<_> = (0..5)
        .map(|number| {
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                for line in 0..20 {
                    ask(&mut stream, &format!("client {number} line {line}\n"), PATIENCE).unwrap();
                }
            })
        })
        .collect();

    let (start, mut gone) = (Instant::now(), 0);
    while gone < clients.len() {
        assert!(start.elapsed() < PATIENCE, "{} {}", front.snapshot(), back.snapshot());
        let sleep = front.next_timeout().into_iter().chain(back.next_timeout()).min();
        reactor.turn(sleep.or(Some(Duration::from_millis(100)))).unwrap();
        front.process(&mut reactor);
        back.process(&mut reactor);
        while let Some(event) = front.next_event() {
            match event {
                Event::Opened(id) => {
                    let (ours, server) = UnixStream::pair().unwrap();
                    std::thread::spawn(move || std::io::copy(&mut &server, &mut &server));
                    let upstream = back.add(ours).unwrap();
                    back.get(upstream).unwrap().set_userdata(id);
                    front.conn(id).set_userdata(upstream);
                }
                Event::Readable(id) => pass_on(&mut front, id, &mut back),
                Event::Closed { userdata, .. } => {
                    gone += 1;
                    back.kill(userdata.unwrap());
                }
                _ => {}
            }
        }
        while let Some(event) = back.next_event() {
            if let Event::Readable(id) = event {
                pass_on(&mut back, id, &mut front);
            }
        }
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    front.assert_invariants();
    back.assert_invariants();
    assert_eq!(back.snapshot().counters.received_bytes, front.snapshot().counters.received_bytes);
}

/// In both loops the first connection of the first pool bears the same token.
#[test]
fn what_another_reactor_has_found_is_not_taken_for_its_own() {
    let with_one = || {
        let mut reactor = Reactor::new().unwrap();
        let mut pool = SocketPool::<()>::builder().build_on(&mut reactor).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let id = pool.add(ours).unwrap();
        pool.process(&mut reactor);
        assert_eq!(pool.next_event(), Some(Event::Opened(id)));
        (reactor, pool, id, theirs)
    };
    let (mut reactor, mut first, first_id, mut client) = with_one();
    let (_other, mut second, second_id, _silent) = with_one();
    assert_eq!(first_id, second_id);
    client.write_all(b"hello\n").unwrap();
    reactor.turn(Some(PATIENCE)).unwrap();
    second.process(&mut reactor);
    assert_eq!(second.next_event(), None, "nobody has said anything here");
    first.process(&mut reactor);
    assert_eq!(first.next_event(), Some(Event::Readable(first_id)));
}

fn pass_on(from: &mut SocketPool<ConnId>, id: ConnId, to: &mut SocketPool<ConnId>) {
    let mut conn = from.conn(id);
    conn.receive();
    let other = *conn.userdata().unwrap();
    if let Some(mut target) = to.get(other) {
        assert_ne!(target.send(conn.input()), Sent::Refused);
    }
    conn.consume(usize::MAX);
}

#[test]
fn other_threads_broadcast_kill_and_drain() {
    let (mut pool, address) = listening_pool();
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(opened(&mut pool, address));
    }
    let (victim, victim_id) = clients.pop().unwrap();
    let handle = pool.handle();
    let other = std::thread::spawn(move || {
        handle.broadcast(Bytes::from_static(b"to everybody\n")).unwrap();
        handle.kill(victim_id).unwrap();
        handle.drain(PATIENCE).unwrap();
        handle
    });
    let (mut ends, mut drained) = (Vec::new(), 0);
    turn_until(&mut pool, |_, event| {
        match event {
            Event::Closed { id, reason, .. } => ends.push((id, reason)),
            Event::Drained => drained += 1,
            _ => {}
        }
        drained > 0
    });
    assert_eq!(ends.len(), 50);
    assert!(ends.contains(&(victim_id, Reason::Killed)));
    assert_eq!(ends.iter().filter(|(_, reason)| *reason == Reason::Drained).count(), 49);
    for (stream, _) in &mut clients {
        assert_eq!(read_to_fin(stream).unwrap(), b"to everybody\n");
    }
    drop(victim);
    assert_eq!(pool.state(), State::Drained);
    let handle = other.join().unwrap();
    drop(pool);
    assert!(handle.wake().is_err(), "the pool is gone");
}

#[test]
fn a_wake_ends_the_sleep_of_a_turn() {
    let (mut pool, _) = listening_pool();
    let handle = pool.handle();
    let (woken, told) = std::sync::mpsc::channel();
    let sleeper = std::thread::spawn(move || {
        pool.turn(None).unwrap();
        woken.send(()).unwrap();
        pool
    });
    handle.wake().unwrap();
    told.recv_timeout(PATIENCE).expect("the turn returns");
    sleeper.join().unwrap();
}

#[test]
fn one_payload_waits_for_many_without_a_copy() {
    let mut pool = SocketPool::<u32>::builder().max_output(16 << 20).build().unwrap();
    let address = pool.listen("127.0.0.1:0").unwrap().tcp().unwrap();
    let mut clients: Vec<TcpStream> = (0..20).map(|_| opened(&mut pool, address).0).collect();
    // More than both kernels take, so that some of it must wait.
    let payload = Bytes::from(vec![b'x'; 12 << 20]);
    let mut waiting = 0;
    pool.for_each(|conn| {
        waiting += usize::from(conn.send_bytes(payload.clone()) == Sent::Queued);
    });
    assert_eq!(waiting, clients.len());
    let snapshot = pool.snapshot();
    assert!(snapshot.buffers.now < 1 << 20, "{} bytes for 20 waiting payloads", snapshot.buffers.now);
    assert!(!payload.is_unique());

    let length = payload.len();
    served(&mut pool, move || {
        let mut bytes = vec![0; 1 << 20];
        for stream in &mut clients {
            let mut got = 0;
            while got < length {
                let n = stream.read(&mut bytes).unwrap();
                assert!(n > 0 && bytes[..n].iter().all(|byte| *byte == b'x'));
                got += n;
            }
            stream.write_all(b"thanks\n").unwrap();
        }
    });
    for _ in 0..20 {
        pool.turn(Some(Duration::from_millis(5))).unwrap();
        while let Some(event) = pool.next_event() {
            if let Event::Readable(id) = event {
                echo_lines(&mut pool.conn(id));
            }
        }
    }
    assert!(payload.is_unique(), "nobody holds it any more");
}
