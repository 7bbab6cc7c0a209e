//! Tokens of a rate that the pool enforces which were taken for nothing, kept for later, or not taken at all.

use socketpool::net::sim::{Call, Schedule};
use socketpool::{Builder, ByteRate, Event, OverRate, Rate, Reason};

use super::{SECOND, builder, connect};
use crate::support::{Pool, Rig, Seen, answer, echo, ms};

const A_TENTH: Rate = Rate::new(1, ms(100)).burst(2);

fn delaying() -> Builder<()> {
    builder().over_rate(OverRate::Delay)
}

#[test]
fn a_late_turn_lets_no_more_through_than_the_burst() {
    let (mut rig, mut seen) = (Rig::new(delaying().operation_rate(A_TENTH)), Seen::default());
    let client = connect(&rig, 1);
    client.send(&b"x\n".repeat(9));
    rig.settle(seen.echo());
    assert_eq!(client.bytes_in(), 2 * 2, "the burst");
    rig.hand.advance(10 * SECOND);
    rig.settle(seen.echo());
    assert_eq!(client.bytes_in(), 2 * 4, "the burst once more, and not the one that was waiting besides");
}

#[test]
fn a_token_for_a_message_that_did_not_come_adds_nothing_to_a_later_burst() {
    let (mut rig, mut seen) = (Rig::new(delaying().operation_rate(A_TENTH)), Seen::default());
    let client = connect(&rig, 1);
    rig.settle(seen.echo());
    rig.pool.conn(seen.opened[0]).again();
    rig.settle(seen.echo());
    rig.hand.advance(10 * SECOND);
    client.send(&b"x\n".repeat(9));
    rig.settle(seen.echo());
    assert_eq!(client.bytes_in(), 2 * 2);
}

#[test]
fn those_who_are_paused_in_line_gather_no_burst() {
    let shared = delaying().pool_operation_rate(Rate::new(1, ms(100)).burst(1));
    let (mut rig, mut seen) = (Rig::new(shared), Seen::default());
    let clients: Vec<_> = (1..=9).map(|port| connect(&rig, port)).collect();
    rig.settle(seen.echo());
    clients.iter().for_each(|client| client.send(b"x\n"));
    rig.settle(seen.echo());
    seen.opened.iter().for_each(|id| rig.pool.conn(*id).pause_reading());
    rig.pass(10 * SECOND, seen.echo());
    seen.opened.iter().for_each(|id| rig.pool.conn(*id).resume_reading());
    rig.settle(seen.echo());
    let answered = || clients.iter().filter(|client| client.bytes_in() > 0).count();
    assert_eq!(answered(), 2, "one at first, and one now");
    rig.pass(ms(700), seen.echo());
    assert_eq!(answered(), 9, "all of them at the rate");
}

#[test]
fn what_is_received_with_another_event_takes_its_token_too() {
    let shared = delaying().pool_operation_rate(Rate::new(1, SECOND).burst(1));
    let mut rig = Rig::new(shared.max_output(64).output_high(2).output_low(1));
    let mut seen = Seen::default();
    rig.world.set_window(0);
    let client = connect(&rig, 1);
    client.send(b"one\n");
    rig.settle(seen.echo());
    client.send(b"two\n");
    rig.settle(seen.echo());
    client.set_window(usize::MAX);
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.writable), (b"one\n".to_vec(), 1));
    rig.pass(SECOND, seen.echo());
    assert_eq!(client.take(), b"two\n");
}

#[test]
fn a_message_that_waits_for_the_kernels_memory_keeps_no_token() {
    let (mut rig, mut seen) = (Rig::new(delaying().operation_rate(A_TENTH)), Seen::default());
    let client = connect(&rig, 1);
    rig.settle(seen.echo());
    rig.world.fail_next(Call::Receive, libc::ENOBUFS, Schedule::FromNowOn);
    client.send(&b"x\n".repeat(9));
    rig.pass(10 * SECOND, seen.echo());
    rig.world.heal(Call::Receive);
    rig.pass(ms(10), seen.echo());
    assert_eq!(client.bytes_in(), 2 * 2);
}

#[test]
fn a_message_that_waits_for_its_byte_rate_keeps_no_token() {
    let own = delaying().operation_rate(A_TENTH).received_rate(ByteRate::per_second(2).burst(2));
    let (mut rig, mut seen) = (Rig::new(own), Seen::default());
    let client = connect(&rig, 1);
    rig.settle(seen.echo());
    client.send(b"x\n");
    rig.settle(seen.echo());
    client.send(&b"x\n".repeat(9));
    rig.settle(seen.echo());
    rig.pool.reconfigure(|config| config.received_rate = None).unwrap();
    rig.hand.advance(10 * SECOND);
    rig.settle(seen.echo());
    assert_eq!(client.bytes_in(), 2 + 2 * 2);
}

#[test]
fn whoever_ends_while_limits_change_does_not_come_back_into_line() {
    let shared = delaying().pool_operation_rate(Rate::per_second(1));
    let (mut rig, mut seen) =
        (Rig::new(shared.operation_rate(Rate::per_second(100).burst(1))), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"x\nx\n");
    rig.settle(seen.echo());
    assert_eq!(client.bytes_in(), 2, "the second waits for its own rate");
    rig.hand.advance(ms(500));
    rig.pool.kill(seen.opened[0]);
    rig.pool.reconfigure(|config| config.max_input -= 1).unwrap();
    rig.settle(seen.echo());
    rig.pool.assert_invariants();
    assert_eq!(seen.reasons(), [Reason::Killed]);
    let next = connect(&rig, 2);
    next.send(b"x\n");
    rig.pass(SECOND, seen.echo());
    assert_eq!(next.bytes_in(), 2);
}

#[test]
fn a_change_of_rates_shows_no_message_without_its_token() {
    let slow = delaying().operation_rate(Rate::new(1, 3600 * SECOND));
    let (mut rig, mut seen) = (Rig::new(slow.max_output(64).output_high(2).output_low(1)), Seen::default());
    rig.world.set_window(0);
    let client = connect(&rig, 1);
    client.send(b"one\ntwo\n");
    rig.settle(seen.echo());
    rig.pool.reconfigure(|config| config.operation_rate = Some(Rate::new(1, 600 * SECOND))).unwrap();
    rig.settle(seen.echo());
    client.set_window(usize::MAX);
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.writable), (b"one\n".to_vec(), 1));
    rig.pass(600 * SECOND, seen.echo());
    assert_eq!((client.take(), seen.reasons()), (b"two\n".to_vec(), vec![]));
}

#[test]
fn a_change_of_rates_shows_no_message_to_the_handler_of_another() {
    let slow = delaying().operation_rate(Rate::new(1, 3600 * SECOND));
    let (mut rig, mut seen) = (Rig::new(slow), Seen::default());
    let (client, other) = (connect(&rig, 1), connect(&rig, 2));
    client.send(b"one\ntwo\n");
    rig.settle(seen.echo());
    let id = seen.opened[0];
    rig.pool.reconfigure(|config| config.operation_rate = Some(Rate::new(1, 600 * SECOND))).unwrap();
    other.send(b"x\n");
    rig.settle(|pool, event| {
        answer(pool, id);
        echo(pool, &event);
    });
    assert_eq!((client.take(), other.take()), (b"one\n".to_vec(), b"x\n".to_vec()));
}

#[test]
fn a_rate_that_is_enforced_from_now_on_holds_for_what_waits_already() {
    let asking = builder().operation_rate(Rate::new(1, 600 * SECOND)).max_output(64);
    let (mut rig, mut seen) = (Rig::new(asking.output_high(2).output_low(1)), Seen::default());
    rig.world.set_window(0);
    let client = connect(&rig, 1);
    client.send(b"one\ntwo\n");
    let mut one_at_a_time = |pool: &mut Pool<()>, event: Event<()>| {
        seen.note(&event);
        let (Event::Readable(id) | Event::Writable(id)) = event else { return };
        let mut conn = pool.conn(id);
        conn.receive();
        let (mut input, mut output) = conn.split();
        if let Some(line) = input.take_through(b'\n') {
            let _ = output.send(line);
        }
    };
    rig.settle(&mut one_at_a_time);
    let id = rig.pool.ids().next().expect("it lives");
    rig.pool.conn(id).check_operation().unwrap();
    rig.pool.reconfigure(|config| config.over_rate = OverRate::Delay).unwrap();
    rig.settle(&mut one_at_a_time);
    client.set_window(usize::MAX);
    rig.settle(&mut one_at_a_time);
    assert_eq!(client.take(), b"one\n");
    rig.pass(600 * SECOND, &mut one_at_a_time);
    assert_eq!((client.take(), seen.reasons()), (b"two\n".to_vec(), vec![]));
}

#[test]
fn whoever_goes_on_ahead_of_his_turn_waits_for_his_own_rate_all_the_same() {
    let both = delaying().operation_rate(Rate::new(1, 10 * SECOND).burst(2));
    let mut rig = Rig::new(both.pool_operation_rate(Rate::per_second(1).burst(1)));
    let client = connect(&rig, 1);
    client.send(b"a\nb\nc\n");
    let mut two_at_a_time = |pool: &mut Pool<()>, event| {
        let Event::Readable(id) = event else { return };
        let mut conn = pool.conn(id);
        conn.receive();
        let lines = conn.input().len() / 2;
        for _ in 0..lines.min(2) {
            let _ = conn.send(b"y\n");
            conn.consume(2);
        }
    };
    rig.pass(9 * SECOND, &mut two_at_a_time);
    assert_eq!(client.bytes_in(), 2 * 2, "the burst of its own");
    rig.pass(SECOND, &mut two_at_a_time);
    assert_eq!(client.bytes_in(), 2 * 3);
}
