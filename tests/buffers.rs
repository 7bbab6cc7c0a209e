//! Bytes that wait: bounded both ways, marks, back-pressure, one call for many answers, and the budget over all
//! connections (DECISIONS 1, 8, 10).

mod support;

use bytes::Bytes;
use socketpool::net::sim::{Call, Client};
use socketpool::{Builder, Event, OutputHigh, Reason, Sent, SocketPool};
use support::{Pool, Rig, Seen, ms};

fn alone(builder: Builder<()>) -> (Rig<()>, Client, Seen) {
    let mut rig = Rig::new(builder);
    let client = rig.world.connect("192.0.2.1:1000");
    let mut seen = Seen::default();
    rig.settle(seen.echo());
    (rig, client, seen)
}

/// Receives and uses nothing up.
fn hoard(pool: &mut Pool<()>, event: Event<()>) {
    if let Event::Readable(id) = event {
        pool.conn(id).receive();
    }
}

#[test]
fn sixteen_pipelined_answers_that_are_queued_leave_by_one_call() {
    let (mut rig, client, _) = alone(SocketPool::builder());
    let request: String = (0..16).map(|n| format!("request {n}\n")).collect();
    client.send(request.as_bytes());
    let before = rig.world.calls(Call::Send);
    rig.settle(|pool, event| {
        if let Event::Readable(id) = event {
            let mut conn = pool.conn(id);
            conn.receive();
            let (mut input, mut output) = conn.split();
            while let Some(line) = input.take_through(b'\n') {
                assert_eq!(output.queue(line), Sent::Queued);
            }
        }
    });
    assert_eq!(client.take(), request.as_bytes());
    assert_eq!(rig.world.calls(Call::Send) - before, 1);
    assert_eq!(rig.pool.snapshot().counters.operations, 16);
}

#[test]
fn sixteen_answers_that_are_sent_one_by_one_take_sixteen_calls() {
    let (mut rig, client, mut seen) = alone(SocketPool::builder());
    client.send(&b"request\n".repeat(16));
    let before = rig.world.calls(Call::Send);
    rig.settle(seen.echo());
    assert_eq!(rig.world.calls(Call::Send) - before, 16);
}

#[test]
fn a_request_costs_one_receive_and_one_send_and_no_registration() {
    let (mut rig, client, mut seen) = alone(SocketPool::builder());
    let calls = |rig: &Rig<()>| {
        [Call::Receive, Call::Send, Call::Watch, Call::WatchRoom].map(|call| rig.world.calls(call))
    };
    let before = calls(&rig);
    for _ in 0..100 {
        client.send(b"hello\n");
        rig.settle(seen.echo());
    }
    let made: Vec<u64> = calls(&rig).iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(made, [100, 100, 0, 0]);
}

#[test]
fn output_is_taken_whole_or_not_at_all() {
    let (mut rig, client, seen) = alone(SocketPool::builder().max_output(100).output_high(80).output_low(20));
    client.set_window(0);
    let mut conn = rig.pool.conn(seen.opened[0]);
    assert_eq!(conn.send(&[b'a'; 60]), Sent::Queued);
    assert_eq!(conn.send(&[b'b'; 41]), Sent::Refused);
    assert_eq!(conn.send(&[b'c'; 40]), Sent::Queued);
    assert_eq!((conn.waiting_output(), conn.send(b"d")), (100, Sent::Refused));
    client.set_window(usize::MAX);
    rig.settle(|_, _| {});
    assert_eq!(client.take(), [[b'a'; 60].as_slice(), &[b'c'; 40]].concat());
}

#[test]
fn output_past_the_high_mark_stops_reading_until_it_is_down_to_the_low_one() {
    for (on_high, received) in [(OutputHigh::StopReading, 0), (OutputHigh::Report, 6)] {
        let builder =
            SocketPool::builder().max_output(200).output_high(100).output_low(40).on_output_high(on_high);
        let (mut rig, client, mut seen) = alone(builder);
        let id = seen.opened[0];
        client.set_window(0);
        assert_eq!(rig.pool.conn(id).send(&[b'a'; 120]), Sent::Queued);
        client.send(b"hello\n");
        rig.settle(hoard);
        assert_eq!(rig.pool.conn(id).info().bytes_in, received, "{on_high}");
        client.set_window(79);
        rig.settle(seen.echo());
        assert_eq!((seen.writable, rig.pool.conn(id).waiting_output()), (0, 41));
        client.set_window(7);
        rig.settle(seen.echo());
        assert_eq!(seen.writable, 1, "told once, at the low mark: {on_high}");
        client.set_window(usize::MAX);
        rig.settle(seen.echo());
        assert!(client.take().ends_with(b"hello\n"), "and what came meanwhile is answered");
        assert_eq!(seen.writable, 1);
    }
}

#[test]
fn whoever_was_refused_for_want_of_room_is_told_when_there_is_some() {
    let (mut rig, client, mut seen) =
        alone(SocketPool::builder().max_output(100).output_high(100).output_low(10));
    let id = seen.opened[0];
    client.set_window(0);
    assert_eq!(rig.pool.conn(id).send(&[b'a'; 60]), Sent::Queued);
    assert_eq!(rig.pool.conn(id).send(&[b'b'; 60]), Sent::Refused, "below the high mark, and yet too much");
    client.set_window(usize::MAX);
    rig.settle(seen.echo());
    assert_eq!(seen.writable, 1);
}

#[test]
fn queued_answers_that_fill_the_output_leave_to_make_room_for_more() {
    let (mut rig, client, seen) = alone(SocketPool::builder().max_output(100).output_high(80).output_low(20));
    let mut conn = rig.pool.conn(seen.opened[0]);
    for n in 0..50u8 {
        assert_eq!(conn.queue(&[n; 30]), Sent::Queued);
    }
    rig.settle(|_, _| {});
    let expected: Vec<u8> = (0..50u8).flat_map(|n| [n; 30]).collect();
    assert_eq!(client.take(), expected);
}

#[test]
fn a_full_input_stops_reading_and_goes_on_when_some_is_used_up() {
    let (mut rig, client, seen) = alone(SocketPool::builder().max_input(100));
    let id = seen.opened[0];
    client.send(&[b'x'; 250]);
    rig.settle(hoard);
    assert_eq!((rig.pool.conn(id).input().len(), rig.pool.conn(id).info().bytes_in), (100, 100));
    rig.pool.conn(id).consume(30);
    rig.settle(hoard);
    assert_eq!((rig.pool.conn(id).input().len(), rig.pool.conn(id).info().bytes_in), (100, 130));
    rig.pool.conn(id).consume(100);
    rig.settle(hoard);
    rig.pool.conn(id).consume(100);
    rig.settle(hoard);
    assert_eq!(rig.pool.conn(id).info().bytes_in, 250);
}

#[test]
fn reading_that_is_off_for_two_reasons_comes_back_with_the_last_of_them() {
    let builder = SocketPool::builder().max_output(200).output_high(100).output_low(40);
    let (mut rig, client, mut seen) = alone(builder);
    let id = seen.opened[0];
    client.set_window(0);
    assert_eq!(rig.pool.conn(id).send(&[b'a'; 120]), Sent::Queued);
    rig.pool.conn(id).pause_reading();
    client.send(b"hello\n");
    client.set_window(usize::MAX);
    rig.settle(seen.echo());
    assert_eq!((seen.writable, rig.pool.conn(id).info().bytes_in), (1, 0), "the application still says no");
    rig.pool.conn(id).resume_reading();
    rig.settle(seen.echo());
    assert!(client.take().ends_with(b"hello\n"));
}

#[test]
fn the_end_of_the_stream_is_told_once_after_everything_that_came_before() {
    let (mut rig, client, mut seen) = alone(SocketPool::builder());
    client.send(b"hello\nand half");
    client.finish();
    rig.settle(seen.echo());
    assert_eq!(
        (client.take(), seen.read_closed, seen.reasons()),
        (b"hello\n".to_vec(), 1, vec![Reason::Peer])
    );
}

#[test]
fn what_is_owed_at_the_end_of_the_stream_leaves_first() {
    let (mut rig, client, mut seen) = alone(SocketPool::builder());
    client.set_window(3);
    client.send(b"hello\n");
    client.finish();
    rig.settle(seen.echo());
    assert_eq!((seen.read_closed, seen.closed.len()), (1, 0));
    client.set_window(usize::MAX);
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.reasons()), (b"hello\n".to_vec(), vec![Reason::Peer]));
}

#[test]
fn one_payload_waits_for_many_without_being_copied() {
    let mut rig = Rig::<()>::new(SocketPool::builder());
    rig.world.set_window(0);
    let clients: Vec<_> =
        (0..50).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    rig.settle(|_, _| {});
    let lent = rig.pool.snapshot().memory.buffers_lent;
    let payload = Bytes::from(vec![b'x'; 100_000]);
    rig.pool.broadcast(payload.clone());
    rig.settle(|_, _| {});
    assert_eq!(rig.pool.snapshot().memory.buffers_lent, lent, "nothing was copied");
    clients.iter().for_each(|client| client.set_window(usize::MAX));
    rig.settle(|_, _| {});
    assert!(clients.iter().all(|client| client.take() == payload));
    assert!(payload.is_unique(), "and nobody keeps it");
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let mut rig = Rig::<()>::new(SocketPool::builder());
    let clients: Vec<_> =
        (0..100).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    let mut seen = Seen::default();
    rig.settle(seen.echo());
    clients.iter().for_each(|client| client.send(b"half "));
    rig.settle(seen.echo());
    let snapshot = rig.pool.snapshot();
    assert!(snapshot.buffers.now > 0 && snapshot.memory.buffers_lent > 0, "halves of messages wait");
    clients.iter().for_each(|client| client.send(b"whole\n"));
    rig.settle(seen.echo());
    let snapshot = rig.pool.snapshot();
    assert_eq!((snapshot.buffers.now, snapshot.memory.buffers_lent), (0, 0));
}

/// Clients that each make the server hold `bytes` for them, the first the most.
fn hogs(builder: Builder<()>, bytes: &[usize]) -> (Rig<()>, Vec<Client>, Seen) {
    let (mut rig, mut seen) = (Rig::new(builder), Seen::default());
    rig.world.set_window(0);
    let clients: Vec<_> =
        (0..bytes.len()).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    rig.settle(|_, event| seen.note(&event));
    for (id, bytes) in seen.opened.iter().zip(bytes) {
        assert_eq!(rig.pool.conn(*id).send(&vec![b'x'; *bytes]), Sent::Queued);
    }
    (rig, clients, seen)
}

#[test]
fn past_the_hard_mark_the_largest_go_first() {
    let builder = SocketPool::builder().max_buffer_bytes(128 << 10);
    let (mut rig, _clients, mut seen) = hogs(builder, &[100 << 10, 3 << 10, 40 << 10, 1 << 10]);
    rig.settle(|_, event| seen.note(&event));
    assert_eq!(seen.closed, [(seen.opened[0], Reason::Memory)]);
    assert!(rig.pool.snapshot().buffers.now <= 128 << 10);
}

#[test]
fn without_a_budget_nobody_goes() {
    let (mut rig, _clients, mut seen) = hogs(SocketPool::builder(), &[100 << 10, 3 << 10, 40 << 10, 1 << 10]);
    rig.settle(|_, event| seen.note(&event));
    assert_eq!(seen.closed.len(), 0);
}

#[test]
fn past_the_soft_mark_those_go_that_have_moved_nothing_for_a_tenth_of_the_idle_time() {
    let builder = SocketPool::builder()
        .max_buffer_bytes(128 << 10)
        .write_stall_timeout(None)
        .first_message_timeout(None)
        .idle_timeout(ms(100_000));
    let (mut rig, clients, mut seen) = hogs(builder, &[60 << 10, 60 << 10]);
    // The first one takes a little now and then; the second nothing.
    for _ in 0..9 {
        clients[0].set_window(1);
        rig.pass(ms(1000), |_, event| seen.note(&event));
    }
    assert_eq!(seen.closed.len(), 0);
    clients[0].set_window(1);
    rig.pass(ms(1200), |_, event| seen.note(&event));
    assert_eq!(seen.closed, [(seen.opened[1], Reason::Memory)]);
    rig.pass(ms(50_000), |_, event| seen.note(&event));
    assert_eq!(seen.closed.len(), 1, "below the mark the idle time is what it was");
}
