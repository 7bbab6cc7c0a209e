//! Deadlines that were counted from the wrong moment, or met by the wrong connection.

use std::time::Duration;

use socketpool::{ByteRate, Event, OverRate, Rate, ReadStall, Reason, Sent, SynProtection};

use super::{SECOND, builder, connect, hold, peer};
use crate::support::{Rig, Seen, answer, ms};

const STALL: ReadStall = ReadStall { bytes: 640, window: Duration::from_secs(10) };

#[test]
fn a_stream_added_after_a_quiet_hour_is_not_cut() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    rig.settle(seen.echo());
    rig.hand.advance(3600 * SECOND);
    let (stream, client) = rig.world.pair("192.0.2.1:1");
    client.send(b"hi\n");
    rig.pool.add_stream(stream, peer("192.0.2.1:1")).unwrap();
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.closed), (b"hi\n".to_vec(), vec![]));
}

#[test]
fn output_sent_after_a_quiet_hour_has_not_stalled() {
    let (mut rig, mut seen) = (Rig::new(builder().idle_timeout(None)), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"hi\n");
    rig.pass(60 * SECOND, seen.echo());
    rig.hand.advance(3600 * SECOND);
    client.set_window(5);
    let id = seen.opened[0];
    assert_eq!(rig.pool.conn(id).send(b"0123456789"), Sent::Queued);
    rig.settle(seen.echo());
    assert_eq!(seen.closed, []);
    rig.pass(40 * SECOND, seen.echo());
    assert_eq!(seen.closed, [(id, Reason::WriteStall)], "it stalls in its time");
}

#[test]
fn a_slow_handler_is_no_silence_of_its_client() {
    let (mut rig, mut seen) = (Rig::new(builder().idle_timeout(2 * SECOND)), Seen::default());
    let client = connect(&rig, 1);
    rig.settle(seen.echo());
    client.send(b"a\n");
    let hand = rig.hand.clone();
    rig.step(|pool, event| {
        if let Event::Readable(id) = event {
            hand.advance(3 * SECOND);
            answer(pool, id);
        }
    });
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.closed), (b"a\n".to_vec(), vec![]));
}

#[test]
fn the_time_to_sleep_counts_down_between_turns() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let _client = connect(&rig, 1);
    rig.settle(seen.echo());
    assert_eq!(rig.pool.next_timeout(), Some(30 * SECOND));
    rig.hand.advance(29 * SECOND);
    assert_eq!(rig.pool.next_timeout(), Some(SECOND));
}

#[test]
fn bytes_that_a_late_turn_finds_are_heard_before_the_idle_deadline() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"a\n");
    rig.settle(seen.echo());
    rig.hand.advance(299 * SECOND);
    client.send(b"b\n");
    rig.hand.advance(2 * SECOND);
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.reasons()), (b"a\nb\n".to_vec(), vec![]));
    rig.pass(301 * SECOND, seen.echo());
    assert_eq!(seen.reasons(), [Reason::Idle], "silence ends it as before");
}

#[test]
fn a_delayed_newcomer_keeps_its_time_for_the_first_message() {
    let syn = SynProtection::default()
        .throttle_delay(ms(1))
        .challenge_delay(40 * SECOND)
        .throttle_below(1.0)
        .challenge_below(1.0)
        .block_below(0.0);
    let (mut rig, mut seen) = (Rig::new(builder().syn_protection(syn)), Seen::default());
    let (client, _silent) = (connect(&rig, 1), connect(&rig, 2));
    rig.pass(45 * SECOND, seen.echo());
    assert_eq!((rig.pool.snapshot().counters.delayed, seen.closed.len()), (2, 0));
    client.send(b"hi\n");
    rig.pass(30 * SECOND, seen.echo());
    assert_eq!(
        (client.take(), seen.closed),
        (b"hi\n".to_vec(), vec![(seen.opened[1], Reason::FirstMessage)])
    );
}

#[test]
fn a_delay_for_a_rate_is_neither_a_read_stall_nor_a_late_first_message() {
    let slow = builder().read_stall(STALL).over_rate(OverRate::Delay).operation_rate(Rate::per_minute(1));
    let (mut rig, mut seen) = (Rig::new(slow), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"a\nb");
    rig.settle(seen.echo());
    client.send(&[b'b'; 1000]);
    client.send(b"\n");
    rig.pass(30 * SECOND, seen.echo());
    assert_eq!(seen.closed, []);

    let paced = builder().received_rate(ByteRate::per_second(100).burst(100));
    let (mut rig, mut seen) = (Rig::new(paced), Seen::default());
    let client = connect(&rig, 1);
    client.send(&[b'x'; 4000]);
    client.send(b"\n");
    rig.pass(60 * SECOND, seen.echo());
    assert_eq!((client.take().len(), seen.closed), (4001, vec![]));
}

#[test]
fn a_read_stall_switched_on_reaches_the_messages_that_are_open_and_no_others() {
    let (mut rig, mut seen) = (Rig::new(builder().first_message_timeout(None)), Seen::default());
    let (open, complete) = (connect(&rig, 1), connect(&rig, 2));
    open.send(b"half a message");
    complete.send(b"a\n");
    rig.settle(seen.echo());
    rig.pool.reconfigure(|config| config.read_stall = Some(STALL)).unwrap();
    rig.pass(60 * SECOND, seen.echo());
    assert_eq!(seen.closed, [(seen.opened[0], Reason::ReadStall)]);
}

#[test]
fn a_window_from_before_a_read_stall_was_switched_off_is_forgotten() {
    let (mut rig, mut seen) = (Rig::new(builder().read_stall(STALL)), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"a\nb");
    rig.settle(seen.echo());
    rig.pool.reconfigure(|config| config.read_stall = None).unwrap();
    rig.settle(seen.echo());
    client.send(b"\n");
    rig.pass(60 * SECOND, seen.echo());
    rig.pool.reconfigure(|config| config.read_stall = Some(STALL)).unwrap();
    rig.pass(60 * SECOND, seen.echo());
    assert_eq!(seen.closed, []);
}

#[test]
fn a_held_connection_has_no_deadline_and_is_active() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"work\n");
    rig.pass(600 * SECOND, hold(&mut seen));
    assert_eq!((seen.closed.len(), rig.pool.snapshot().active), (0, 1));
    assert_eq!(rig.pool.conn(seen.opened[0]).send(b"done\n"), Sent::Now);
    rig.settle(hold(&mut seen));
    assert_eq!(rig.pool.snapshot().active, 1, "though nothing else is in flight");
    rig.pool.conn(seen.opened[0]).release();
    rig.pass(301 * SECOND, hold(&mut seen));
    assert_eq!(seen.reasons(), [Reason::Idle]);
}

#[test]
fn a_connection_that_is_let_go_unanswered_has_its_first_time_again() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"work\n");
    rig.pass(600 * SECOND, hold(&mut seen));
    rig.pool.conn(seen.opened[0]).release();
    rig.pass(29 * SECOND, |_, event| seen.note(&event));
    assert_eq!(seen.closed, []);
    rig.pass(2 * SECOND, |_, event| seen.note(&event));
    assert_eq!(seen.reasons(), [Reason::FirstMessage]);
}

#[test]
fn a_connection_that_comes_back_from_the_application_has_its_first_time_again() {
    for idle in [None, Some(100 * SECOND)] {
        let (mut rig, mut seen) = (Rig::new(builder().idle_timeout(idle)), Seen::default());
        let client = connect(&rig, 1);
        rig.settle(seen.echo());
        rig.pool.conn(seen.opened[0]).leave_to_application();
        rig.pass(99 * SECOND, seen.echo());
        rig.pool.conn(seen.opened[0]).resume_reading();
        client.send(b"half a message");
        rig.pass(29 * SECOND, seen.echo());
        assert_eq!(seen.closed, []);
        rig.pass(2 * SECOND, seen.echo());
        assert_eq!(seen.reasons(), [Reason::FirstMessage]);
    }
}

#[test]
fn a_first_message_that_waits_in_the_socket_is_heard_by_a_late_turn() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let (honest, dribbler) = (connect(&rig, 1), connect(&rig, 2));
    rig.settle(seen.echo());
    rig.hand.advance(29 * SECOND);
    honest.send(b"hi\n");
    dribbler.send(b"h");
    rig.hand.advance(2 * SECOND);
    rig.settle(seen.echo());
    assert_eq!((honest.take(), seen.reasons()), (b"hi\n".to_vec(), vec![]));
    dribbler.send(b"i");
    rig.pass(ms(1), seen.echo());
    assert_eq!(seen.reasons(), [Reason::FirstMessage], "half a message is heard once");
}

#[test]
fn output_that_the_peer_has_made_room_for_has_not_stalled_in_a_late_turn() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let (reader, stuck) = (connect(&rig, 1), connect(&rig, 2));
    for client in [&reader, &stuck] {
        client.set_window(3);
        client.send(b"0123456789\n");
    }
    rig.settle(seen.echo());
    rig.hand.advance(29 * SECOND);
    reader.set_window(5);
    rig.hand.advance(2 * SECOND);
    rig.settle(seen.echo());
    assert_eq!(seen.reasons(), [Reason::WriteStall]);
    reader.set_window(100);
    rig.settle(seen.echo());
    assert_eq!((reader.take(), seen.closed.len()), (b"0123456789\n".to_vec(), 1));
}

#[test]
fn whoever_takes_output_is_not_idle_in_a_late_turn() {
    for timeout in [20, 30] {
        let (mut rig, mut seen) = (Rig::new(builder().idle_timeout(timeout * SECOND)), Seen::default());
        let (reader, stuck) = (connect(&rig, 1), connect(&rig, 2));
        for client in [&reader, &stuck] {
            client.set_window(3);
            client.send(b"0123456789\n");
        }
        rig.settle(seen.echo());
        reader.set_window(5);
        rig.hand.advance(timeout * SECOND + SECOND);
        rig.settle(seen.echo());
        assert_eq!(seen.closed.len(), 1, "after {timeout} s");
        assert_eq!(seen.closed[0].0, seen.opened[1], "after {timeout} s");
        reader.set_window(100);
        rig.settle(seen.echo());
        assert_eq!(reader.take(), b"0123456789\n");
    }
}

#[test]
fn bytes_that_wait_in_the_socket_count_against_a_read_stall() {
    let (mut rig, mut seen) = (Rig::new(builder().read_stall(STALL)), Seen::default());
    let (steady, stalled) = (connect(&rig, 1), connect(&rig, 2));
    for client in [&steady, &stalled] {
        client.send(b"a\nb");
    }
    rig.settle(seen.echo());
    rig.hand.advance(9 * SECOND);
    steady.send(&[b'b'; 700]);
    stalled.send(&[b'b'; 7]);
    rig.hand.advance(2 * SECOND);
    rig.pass(ms(1), seen.echo());
    assert_eq!(seen.closed, [(seen.opened[1], Reason::ReadStall)]);
}

#[test]
fn a_request_that_waits_is_answered_at_the_end_of_a_life() {
    let (mut rig, mut seen) = (Rig::new(builder().lifetime(100 * SECOND)), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"a\n");
    rig.settle(seen.echo());
    rig.hand.advance(200 * SECOND);
    client.send(b"b\n");
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.reasons()), (b"a\nb\n".to_vec(), vec![Reason::Lifetime]));
}

/// A client of a pool that lets 1,000 bytes in a second, which sends `bytes` each `every`, and how it ends within a minute
/// of its first message's 30 seconds.
fn ends_when_paced(bytes: usize, every: Duration) -> Vec<Reason> {
    let slow = builder().received_rate(ByteRate::per_second(1000).burst(10)).max_input(60_000);
    let (mut rig, mut seen) = (Rig::new(slow), Seen::default());
    let client = connect(&rig, 1);
    for _ in 0..90_000 / every.as_millis() {
        client.send(&vec![b'x'; bytes]);
        rig.pass(every, seen.echo());
    }
    seen.reasons()
}

#[test]
fn a_byte_rate_gives_dribbled_bytes_no_longer_than_any() {
    assert_eq!(ends_when_paced(25, 29 * SECOND), [Reason::FirstMessage]);
    assert_eq!(ends_when_paced(10, SECOND), [Reason::FirstMessage]);
}

#[test]
fn a_first_message_for_which_the_byte_rate_is_too_low_comes_to_its_end() {
    let slow = builder().received_rate(ByteRate::per_second(1000).burst(10)).max_input(64_000);
    let (mut rig, mut seen) = (Rig::new(slow), Seen::default());
    let client = connect(&rig, 1);
    client.send(&[[b'x'; 49_999].as_slice(), b"\n"].concat());
    rig.pass(60 * SECOND, seen.echo());
    assert_eq!((client.bytes_in(), seen.reasons()), (50_000, vec![]));
}

#[test]
fn one_that_was_added_before_a_late_turn_is_heard_before_it_is_idle() {
    let (mut rig, mut seen) = (Rig::new(builder().idle_timeout(SECOND)), Seen::default());
    rig.settle(seen.echo());
    let (stream, client) = rig.world.pair("192.0.2.1:1");
    client.send(b"hi\n");
    rig.pool.add_stream(stream, peer("192.0.2.1:1")).unwrap();
    rig.hand.advance(2 * SECOND);
    rig.step(seen.echo());
    rig.hand.advance(ms(1));
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.reasons()), (b"hi\n".to_vec(), vec![]));
    rig.pass(SECOND, seen.echo());
    assert_eq!(seen.reasons(), [Reason::Idle]);
}

#[test]
fn a_change_of_limits_in_a_late_turn_spares_whom_the_timers_have_spared() {
    let (mut rig, mut seen) = (Rig::new(builder().idle_timeout(SECOND)), Seen::default());
    let client = connect(&rig, 1);
    rig.settle(seen.echo());
    rig.hand.advance(2 * SECOND);
    client.send(b"hi\n");
    rig.pool.reconfigure(|config| config.max_per_ip = Some(7)).unwrap();
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.reasons()), (b"hi\n".to_vec(), vec![]));
}

#[test]
fn a_wait_that_is_lifted_puts_off_no_deadline() {
    let slow = builder().over_rate(OverRate::Delay).operation_rate(Rate::new(1, 3600 * SECOND));
    let (mut rig, mut seen) = (Rig::new(slow.idle_timeout(SECOND)), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"a\nb\n");
    rig.settle(seen.echo());
    rig.pool.reconfigure(|config| config.operation_rate = None).unwrap();
    rig.settle(seen.echo());
    assert_eq!(client.take(), b"a\nb\n");
    rig.pass(2 * SECOND, seen.echo());
    assert_eq!(seen.reasons(), [Reason::Idle]);
}

#[test]
fn a_life_is_over_for_one_that_is_held_after_its_peer_has_finished() {
    let short = builder().lifetime(100 * SECOND).lifetime_jitter_percent(0);
    let (mut rig, mut seen) = (Rig::new(short), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"a\n");
    client.finish();
    rig.pass(109 * SECOND, hold(&mut seen));
    assert_eq!((seen.read_closed, seen.reasons()), (1, vec![]));
    rig.pass(SECOND, hold(&mut seen));
    assert_eq!(seen.reasons(), [Reason::Lifetime]);
}
