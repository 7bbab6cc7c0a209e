//! Operations and bytes a second, asked for and enforced (DECISIONS 2 and 11).

mod support;

use std::time::Duration;

use socketpool::net::sim::Client;
use socketpool::{Builder, ByteRate, Event, OverRate, Rate, Reason, SocketPool};
use support::{Rig, Seen, ms};

fn server() -> Builder<()> {
    SocketPool::builder().idle_timeout(None).first_message_timeout(None)
}

fn crowd(builder: Builder<()>, count: u16) -> (Rig<()>, Vec<Client>, Seen) {
    let (mut rig, mut seen) = (Rig::new(builder), Seen::default());
    let clients = (0..count).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    rig.settle(seen.echo());
    (rig, clients, seen)
}

#[test]
fn an_operation_takes_a_token_of_the_connection_and_one_of_the_pool_or_none() {
    let (mut rig, _clients, seen) =
        crowd(server().operation_rate(Rate::per_second(2)).pool_operation_rate(Rate::per_second(3)), 2);
    let (first, second) = (seen.opened[0], seen.opened[1]);
    assert!(rig.pool.conn(first).check_operation().is_ok());
    assert!(rig.pool.conn(first).check_operation().is_ok());
    assert!(rig.pool.conn(first).check_operation().is_err(), "its own two are used");
    assert!(rig.pool.conn(second).check_operation().is_ok(), "the pool has lost only two");
    let wait = rig.pool.conn(second).check_operation().unwrap_err();
    assert!(wait > Duration::ZERO && wait <= ms(334), "{wait:?}");
    rig.hand.advance(wait);
    rig.settle(|_, _| {});
    assert!(
        rig.pool.conn(second).check_operation().is_ok(),
        "its own second one was not lost to the refusal"
    );
    assert_eq!(rig.pool.snapshot().counters.operations_denied, 2);
}

#[test]
fn a_burst_and_then_the_rate() {
    let (mut rig, _clients, seen) = crowd(server().operation_rate(Rate::per_second(10).burst(5)), 1);
    let id = seen.opened[0];
    let mut allowed = 0;
    for _ in 0..10_000 {
        allowed += u32::from(rig.pool.conn(id).check_operation().is_ok());
        rig.hand.advance(ms(1));
        rig.step(|_, _| {});
    }
    assert!((104..=105).contains(&allowed), "{allowed} in ten seconds");
}

/// How many of 20 lines, sent one after the other as each is answered, are answered in a second; and the ends.
fn flood(builder: Builder<()>) -> (usize, Vec<Reason>) {
    let (mut rig, clients, mut seen) = crowd(builder, 1);
    clients[0].send(b"hello\n");
    let mut answers = 0;
    for _ in 0..1000 {
        rig.pass(ms(1), seen.echo());
        let came = clients[0].take().len() / 6;
        answers += came;
        (0..came).for_each(|_| clients[0].send(b"hello\n"));
    }
    (answers, seen.reasons())
}

#[test]
fn the_pool_can_delay_what_is_over_the_rate() {
    let (answers, reasons) =
        flood(server().operation_rate(Rate::per_second(20).burst(5)).over_rate(OverRate::Delay));
    assert!((24..=26).contains(&answers), "{answers}");
    assert_eq!(reasons, []);
}

#[test]
fn the_pool_can_close_who_is_over_the_rate() {
    let (answers, reasons) =
        flood(server().operation_rate(Rate::per_second(20).burst(5)).over_rate(OverRate::Close));
    assert_eq!((answers, reasons), (5, vec![Reason::Rate]));
}

#[test]
fn without_enforcement_nobody_is_delayed() {
    let (answers, _) = flood(server().operation_rate(Rate::per_second(20).burst(5)));
    assert!(answers >= 990, "{answers}");
}

#[test]
fn bytes_that_arrive_too_fast_stay_with_the_sender_and_none_is_lost() {
    let (mut rig, clients, mut seen) =
        crowd(server().received_rate(ByteRate::per_second(1000).burst(100)), 1);
    let lines = b"123456789\n".repeat(500);
    clients[0].send(&lines);
    rig.pass(ms(2000), seen.echo());
    let answered = clients[0].bytes_in();
    assert!((2000..=2110).contains(&answered), "{answered} bytes in two seconds");
    rig.pass(ms(3100), seen.echo());
    assert_eq!(clients[0].take(), lines);
}

#[test]
fn bytes_leave_no_faster_than_their_rate_and_none_is_lost() {
    let (mut rig, clients, mut seen) = crowd(server().sent_rate(ByteRate::per_second(1000).burst(100)), 1);
    let lines = b"123456789\n".repeat(500);
    clients[0].send(&lines);
    rig.pass(ms(2000), seen.echo());
    let answered = clients[0].bytes_in();
    assert!((2000..=2110).contains(&answered), "{answered} bytes in two seconds");
    rig.pass(ms(3100), seen.echo());
    assert_eq!(clients[0].take(), lines);
}

#[test]
fn a_loop_that_waits_for_a_rate_sleeps_meanwhile() {
    let (mut rig, clients, mut seen) =
        crowd(server().received_rate(ByteRate::per_second(1000).burst(100)), 1);
    clients[0].send(&b"123456789\n".repeat(500));
    let before = rig.pool.snapshot().counters.turns;
    rig.pass(ms(1000), seen.echo());
    let turns = rig.pool.snapshot().counters.turns - before;
    assert!(turns < 1000, "{turns} turns in a second");
}

#[test]
fn rates_can_be_changed_and_switched_off_while_running() {
    let (mut rig, clients, mut seen) = crowd(server().received_rate(ByteRate::per_second(100).burst(10)), 1);
    clients[0].send(&b"123456789\n".repeat(1000));
    rig.pass(ms(1000), seen.echo());
    assert!(clients[0].bytes_in() < 200);
    rig.pool.reconfigure(|config| config.received_rate = Some(ByteRate::per_second(1000).burst(10))).unwrap();
    rig.pass(ms(1000), seen.echo());
    assert!((900..1300).contains(&clients[0].bytes_in()), "{}", clients[0].bytes_in());
    rig.pool.reconfigure(|config| config.received_rate = None).unwrap();
    rig.settle(seen.echo());
    assert_eq!(clients[0].bytes_in(), 10_000);
}

#[test]
fn pipelined_messages_are_as_many_operations_as_are_finished() {
    let (mut rig, clients, _) = crowd(server(), 1);
    clients[0].send(b"one\ntwo\nthree\n");
    rig.settle(|pool, event| {
        if let Event::Readable(id) = event {
            let mut conn = pool.conn(id);
            conn.receive();
            let lines = conn.input().iter().filter(|byte| **byte == b'\n').count();
            for _ in 0..lines {
                let end = conn.input().iter().position(|byte| *byte == b'\n').unwrap();
                let line = conn.input()[..=end].to_vec();
                conn.consume(line.len());
                let _ = conn.send(&line);
            }
        }
    });
    assert_eq!(rig.pool.snapshot().counters.operations, 3);
}

#[test]
fn checking_an_operation_is_not_an_operation_and_touching_completes_one() {
    let (mut rig, clients, seen) = crowd(server().operation_rate(Rate::per_second(10)), 1);
    rig.pool.conn(seen.opened[0]).check_operation().unwrap();
    assert_eq!(rig.pool.snapshot().counters.operations, 0);
    clients[0].send(b"no answer to this\n");
    rig.settle(|pool, event| {
        if let Event::Readable(id) = event {
            let mut conn = pool.conn(id);
            let n = conn.receive();
            conn.consume(n);
            conn.touch();
        }
    });
    assert_eq!(rig.pool.snapshot().counters.operations, 1);
}
