//! Bounds on bytes and rates that counted the wrong thing, or were not looked at again.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use socketpool::net::sim::Client;
use socketpool::{
    Builder, Config, Event, Eviction, OutputHigh, OverRate, Phase, Proof, Rate, Reason, Refusal, SocketPool,
};

use super::{SECOND, builder, connect};
use crate::support::{self, Pool, Rig, Seen};

#[test]
fn a_full_buffer_goes_on_when_the_input_is_looked_at_after_taking_from_it() {
    let mut rig = Rig::new(builder().max_input(64));
    let client = connect(&rig, 1);
    client.send(&[b'x'; 64]);
    let (mut full, mut total) = (false, 0);
    for _ in 0..10 {
        rig.step(|pool, event| {
            let Event::Readable(id) = event else { return };
            let mut conn = pool.conn(id);
            conn.receive();
            if !full {
                full = true;
                client.send(&[b'y'; 10]);
                return;
            }
            let (mut input, _) = conn.split();
            total += input.take(input.len()).map_or(0, <[u8]>::len);
            assert_eq!(conn.input(), b"");
        });
    }
    assert_eq!(total, 74);
}

#[test]
fn another_readable_comes_for_those_who_ask_again() {
    for (ask, expected) in [(true, &b"a\nb\nc\n"[..]), (false, &b"a\n"[..])] {
        let mut rig = Rig::new(builder());
        let client = connect(&rig, 1);
        client.send(b"a\nb\nc\n");
        rig.pass(SECOND, |pool, event| {
            let Event::Readable(id) = event else { return };
            let mut conn = pool.conn(id);
            conn.receive();
            let (mut input, mut output) = conn.split();
            if let Some(line) = input.take_through(b'\n') {
                let _ = output.send(line);
                if ask {
                    conn.again();
                }
            }
        });
        assert_eq!(client.take(), expected, "asking: {ask}");
    }
}

#[test]
fn the_end_of_a_stream_takes_no_operation() {
    for over in [OverRate::Close, OverRate::Delay] {
        let strict = builder().over_rate(over).operation_rate(Rate::per_minute(1));
        let (mut rig, mut seen) = (Rig::new(strict), Seen::default());
        let client = connect(&rig, 1);
        client.send(b"hi\n");
        rig.settle(seen.echo());
        client.finish();
        rig.settle(seen.echo());
        assert_eq!((client.take(), seen.reasons()), (b"hi\n".to_vec(), vec![Reason::Peer]), "{over}");
        assert_eq!(rig.pool.snapshot().counters.operations_denied, 0);
    }
}

#[test]
fn a_rate_of_ten_for_the_pool_serves_ten_that_ask_once_and_leave() {
    let shared = builder().over_rate(OverRate::Close).pool_operation_rate(Rate::new(10, 3600 * SECOND));
    let (mut rig, mut seen) = (Rig::new(shared), Seen::default());
    for port in 1..=11 {
        let client = connect(&rig, port);
        rig.settle(seen.echo());
        client.send(b"hi\n");
        rig.settle(seen.echo());
        assert_eq!(client.take().is_empty(), port == 11, "client {port}");
        client.finish();
        rig.settle(seen.echo());
    }
    assert_eq!((&seen.reasons()[..10], seen.reasons()[10]), (&[Reason::Peer; 10][..], Reason::Rate));
}

#[test]
fn output_is_charged_by_the_memory_it_holds() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    rig.world.set_window(1);
    let client = connect(&rig, 1);
    rig.settle(seen.echo());
    let _ = rig.pool.conn(seen.opened[0]).send(&vec![1; 256 << 10]);
    rig.settle(seen.echo());
    client.set_window((256 << 10) - 3);
    rig.settle(seen.echo());
    assert_eq!(rig.pool.connections().next().expect("it lives").waiting_out, 2);
    let snapshot = rig.pool.snapshot();
    assert!(snapshot.memory.buffers_lent > 2);
    assert_eq!(snapshot.buffers.now, snapshot.memory.buffers_lent);
}

#[test]
fn the_soft_mark_reaches_a_small_one_behind_many_larger() {
    let tight = builder().max_connections(500).max_buffer_bytes(500_000).first_message_timeout(None);
    let (mut rig, mut seen) = (Rig::new(tight), Seen::default());
    let active: Vec<_> = (1000..1100).map(|port| connect(&rig, port)).collect();
    active.iter().for_each(|client| client.send(&[b'x'; 2000]));
    rig.settle(seen.echo());
    let stalled = connect(&rig, 1);
    stalled.send(&[b'x'; 300]);
    rig.settle(seen.echo());
    for _ in 0..20 {
        rig.pass(5 * SECOND, seen.echo());
        active.iter().for_each(|client| client.send(b"x"));
        rig.settle(seen.echo());
    }
    assert_eq!(seen.closed, [(seen.opened[100], Reason::Memory)]);
}

/// A pool past the soft mark of its budget: each of its clients has half a message of 2 KB in it.
fn past_the_soft_mark(builder: Builder<()>, handle: fn(&mut Pool<()>, Event<()>)) -> (Rig<()>, Vec<Client>) {
    let mut rig = Rig::new(builder.max_buffer_bytes(64 << 10).first_message_timeout(None));
    let clients: Vec<_> = (1000..1014).map(|port| connect(&rig, port)).collect();
    for client in &clients {
        client.send(b"a\n");
        client.send(&[b'x'; 2000]);
    }
    rig.settle(handle);
    let buffers = rig.pool.snapshot().buffers;
    assert!((48 << 10..64 << 10).contains(&buffers.now), "{buffers}");
    (rig, clients)
}

#[test]
fn the_soft_mark_takes_nobody_for_idle_who_is_not() {
    let echo = |pool: &mut Pool<()>, event| support::echo(pool, &event);
    let hold = |pool: &mut Pool<()>, event| {
        if let Event::Readable(id) = event {
            pool.conn(id).receive();
            pool.conn(id).hold();
        }
    };
    let slow = builder().over_rate(OverRate::Delay).operation_rate(Rate::new(1, 60 * SECOND));
    let patient = |pool: &mut Pool<()>, event: Event<()>| {
        support::echo(pool, &event);
        if let Event::Opened(id) = event {
            pool.conn(id).set_idle_timeout(Some(600 * SECOND)).unwrap();
        }
    };
    let (mut busy, held) = past_the_soft_mark(builder(), hold);
    let (mut delaying, delayed) = past_the_soft_mark(slow, echo);
    let (mut allowing, allowed) = past_the_soft_mark(builder(), patient);
    let (mut late, talking) = past_the_soft_mark(builder(), echo);
    for rig in [&mut busy, &mut delaying, &mut allowing] {
        rig.pass(31 * SECOND, echo);
    }
    late.hand.advance(31 * SECOND);
    talking.iter().for_each(|client| client.send(b"\n"));
    late.settle(echo);
    for (rig, clients) in [(busy, held), (delaying, delayed), (allowing, allowed), (late, talking)] {
        assert_eq!(rig.pool.len(), clients.len());
    }

    let (mut rig, clients) = past_the_soft_mark(builder(), echo);
    rig.pass(31 * SECOND, echo);
    assert!(rig.pool.len() < clients.len(), "whoever is idle goes");
}

#[test]
fn a_budget_that_is_lifted_leaves_no_alarm_behind() {
    let tight = builder().max_buffer_bytes(500_000).first_message_timeout(None);
    let (mut rig, mut seen) = (Rig::new(tight), Seen::default());
    let clients: Vec<_> = (1000..1200).map(|port| connect(&rig, port)).collect();
    clients.iter().for_each(|client| client.send(&[b'x'; 2000]));
    rig.settle(seen.echo());
    rig.pool.reconfigure(|config| config.max_buffer_bytes = None).unwrap();
    rig.pass(SECOND, seen.echo());
    assert!(rig.is_at_rest());
}

#[test]
fn a_full_connection_reads_on_when_there_may_be_more_input() {
    let (mut rig, mut seen) = (Rig::new(builder().max_input(64)), Seen::default());
    let client = connect(&rig, 1);
    client.send(&[b'x'; 100]);
    client.send(b"\n");
    rig.settle(seen.echo());
    assert_eq!(client.take(), b"");
    rig.pool.reconfigure(|config| config.max_input = 1024).unwrap();
    rig.settle(seen.echo());
    assert_eq!(client.take().len(), 101);
}

#[test]
fn a_refused_stream_comes_back_as_it_was() {
    let mut pool = SocketPool::<()>::builder().max_connections(1).eviction(Eviction::Off).build().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    pool.add(ours).unwrap();
    for (nonblocking, cloexec) in [(false, false), (true, false), (false, true), (true, true)] {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(nonblocking).unwrap();
        SockRef::from(&ours).set_cloexec(cloexec).unwrap();
        let refused = pool.add(ours).unwrap_err();
        assert_eq!(refused.reason, Refusal::Full);
        assert_eq!(SockRef::from(&refused.stream).nonblocking().unwrap(), nonblocking);
        assert_eq!(is_left_to_children(&refused.stream), !cloexec, "an inetd runs its servers with it");
    }
}

/// Whether a program that this process runs has the descriptor too.
fn is_left_to_children(fd: &OwnedFd) -> bool {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let shown = Command::new("readlink").arg(link).output().expect("readlink is there");
    shown.stdout.starts_with(b"socket:")
}

/// Whose a socket was that has been reset, the kernel does not tell; it still gives out what came before.
#[test]
fn whoever_resets_before_he_is_added_comes_past_no_list() {
    let mut pool = SocketPool::<()>::builder().deny(["127.0.0.0/8".parse().unwrap()]).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for (resets, reason) in [(false, Refusal::Denied), (true, Refusal::Register)] {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        client.write_all(b"a request\n").unwrap();
        if resets {
            SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
            drop(client);
            while accepted.peer_addr().is_ok() {
                std::thread::yield_now();
            }
        }
        assert_eq!(pool.add(accepted).unwrap_err().reason, reason);
    }
}

#[test]
fn what_is_connected_to_nobody_is_not_added() {
    let mut pool = SocketPool::<()>::builder().build().unwrap();
    let nobodys = |domain| OwnedFd::from(Socket::new(domain, Type::STREAM, None).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for socket in [nobodys(Domain::IPV4), nobodys(Domain::UNIX), listener.into()] {
        assert_eq!(pool.add(socket).unwrap_err().reason, Refusal::Register);
    }
    let snapshot = pool.snapshot();
    assert_eq!((pool.len(), snapshot.refused(Refusal::Register)), (0, 3));
    assert_eq!(snapshot.counters.adopted, 3, "whoever comes is opened or refused");
}

#[test]
fn asking_again_after_the_end_of_the_stream_does_not_spin() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"half a message");
    client.finish();
    rig.settle(|pool, event| {
        seen.note(&event);
        if let Event::Readable(id) | Event::ReadClosed(id) = event {
            let mut conn = pool.conn(id);
            if conn.receive() > 0 || seen.read_closed == 1 {
                conn.again();
                conn.hold();
                seen.read_closed += 1;
            }
        }
    });
    assert_eq!(seen.closed, []);
}

#[test]
fn another_rate_holds_at_once_for_whoever_asks() {
    let (mut rig, mut seen) =
        (Rig::new(builder().operation_rate(Rate::new(1, 3600 * SECOND))), Seen::default());
    let _client = connect(&rig, 1);
    rig.settle(seen.echo());
    let id = seen.opened[0];
    rig.pool.conn(id).check_operation().unwrap();
    rig.pool.reconfigure(|config| config.operation_rate = Some(Rate::per_second(1))).unwrap();
    assert_eq!(rig.pool.conn(id).check_operation(), Err(SECOND));
}

#[test]
fn a_message_that_fills_the_buffer_is_one_operation() {
    for over in [OverRate::Close, OverRate::Delay] {
        let strict = builder().over_rate(over).operation_rate(Rate::new(1, 3600 * SECOND)).max_input(64);
        let (mut rig, mut seen) = (Rig::new(strict), Seen::default());
        let client = connect(&rig, 1);
        client.send(&[&[b'x'; 63][..], b"\n"].concat());
        rig.settle(seen.echo());
        assert_eq!((client.take().len(), seen.reasons()), (64, vec![]), "{over}");
        assert_eq!(rig.pool.snapshot().counters.operations_denied, 0, "{over}");
    }
}

/// A connection of which more output waits than the high mark allows, and which has more to say.
fn past_the_high_mark(what: OutputHigh) -> (Rig<()>, Seen, Client) {
    let marks = builder().output_high(64).output_low(32).on_output_high(what);
    let (mut rig, mut seen) = (Rig::new(marks), Seen::default());
    rig.world.set_window(1);
    let client = connect(&rig, 1);
    rig.settle(seen.echo());
    let _ = rig.pool.conn(seen.opened[0]).send(&[b'x'; 100]);
    rig.settle(seen.echo());
    client.send(b"more");
    (rig, seen, client)
}

#[test]
fn what_happens_at_the_high_mark_may_change_for_those_who_are_past_it() {
    use OutputHigh::{Report, StopReading};
    for (before, after) in [(StopReading, Report), (Report, StopReading)] {
        let (mut rig, mut seen, _client) = past_the_high_mark(before);
        rig.pool.reconfigure(|config| config.on_output_high = after).unwrap();
        rig.settle(seen.echo());
        let received = rig.pool.connections().next().unwrap().bytes_in;
        assert_eq!((received, seen.writable), (if after == Report { 4 } else { 0 }, 0), "{after}");
    }
}

#[test]
fn marks_may_rise_above_what_waits() {
    let (mut rig, mut seen, _client) = past_the_high_mark(OutputHigh::StopReading);
    let rise = |config: &mut Config| (config.output_high, config.output_low) = (1000, 500);
    rig.pool.reconfigure(rise).unwrap();
    rig.settle(seen.echo());
    assert_eq!((rig.pool.connections().next().unwrap().bytes_in, seen.writable), (4, 1));
}

/// Takes every complete line, answers none, and counts them.
fn collect(taken: &mut usize) -> impl FnMut(&mut Pool<()>, Event<()>) + '_ {
    |pool, event| {
        let Event::Readable(id) = event else { return };
        let mut conn = pool.conn(id);
        conn.receive();
        let (mut input, _) = conn.split();
        while input.take_through(b'\n').is_some() {
            *taken += 1;
        }
    }
}

#[test]
fn half_a_message_behind_one_that_is_never_answered_owes_nothing() {
    let mut rig = Rig::new(builder().proof(Proof::Consumed).idle_timeout(None));
    let client = connect(&rig, 1);
    client.send(b"one\nhalf");
    client.finish();
    rig.settle(collect(&mut 0));
    assert_eq!((rig.pool.len(), rig.pool.snapshot().closed(Reason::Peer)), (0, 1));
}

#[test]
fn half_a_message_behind_each_that_is_never_answered_hides_none_from_the_rate() {
    let strict = builder().proof(Proof::Consumed).over_rate(OverRate::Delay);
    let mut rig = Rig::new(strict.operation_rate(Rate::per_minute(1)));
    let (client, mut taken) = (connect(&rig, 1), 0);
    for _ in 0..10 {
        client.send(b"x\nx");
        rig.settle(collect(&mut taken));
    }
    assert_eq!(taken, 1);
}

#[test]
fn a_budget_holds_against_a_thousand_who_fill_it_in_the_same_turn() {
    let (mut rig, mut seen) = (Rig::new(builder().max_buffer_bytes(1_000_000)), Seen::default());
    let clients: Vec<_> = (1000..2000).map(|port| connect(&rig, port)).collect();
    rig.settle(seen.echo());
    clients.iter().for_each(|client| client.send(&[b'x'; 60_000]));
    rig.settle(seen.echo());
    let peak = rig.pool.snapshot().buffers.peak;
    assert!((1_000_000..1_070_000).contains(&peak), "{peak} bytes of 1,000,000, and one buffer");
    assert!(seen.reasons().iter().all(|reason| *reason == Reason::Memory), "{:?}", seen.reasons());
}

#[test]
fn a_budget_holds_against_a_broadcast() {
    let (mut rig, mut seen) = (Rig::new(builder().max_buffer_bytes(1_000_000)), Seen::default());
    let clients: Vec<_> = (1000..2000).map(|port| connect(&rig, port)).collect();
    rig.settle(seen.echo());
    clients.iter().for_each(|client| client.set_window(0));
    rig.pool.broadcast(vec![b'x'; 60_000]);
    rig.settle(seen.echo());
    let peak = rig.pool.snapshot().buffers.peak;
    assert!((1_000_000..1_070_000).contains(&peak), "{peak} bytes of 1,000,000, and one buffer");
}

#[test]
fn a_high_mark_may_sink_below_what_waits() {
    for what in [OutputHigh::StopReading, OutputHigh::Report] {
        let mut rig = Rig::new(builder().on_output_high(what));
        let mut seen = Seen::default();
        rig.world.set_window(0);
        let client = connect(&rig, 1);
        client.send(&[&[b'x'; 99][..], b"\n"].concat());
        rig.settle(seen.echo());
        rig.pool.reconfigure(|config| (config.output_high, config.output_low) = (50, 10)).unwrap();
        rig.settle(seen.echo());
        let stops = rig.pool.conn(seen.opened[0]).info().state == Phase::OutputHigh;
        assert_eq!(stops, what == OutputHigh::StopReading);
        client.set_window(usize::MAX);
        rig.settle(seen.echo());
        assert_eq!((client.bytes_in(), seen.writable), (100, 1));
    }
}
