//! Nobody lives past a deadline and nobody is cut before one: first message, idle, lifetime, stalls.

mod support;

use std::time::Duration;

use socketpool::net::sim::Client;
use socketpool::{Builder, ConnId, Event, ReadStall, Reason, SocketPool};
use support::{Rig, Seen, ms};

const SECOND: Duration = Duration::from_secs(1);

/// A pool without any deadline, and one client in it.
fn alone(builder: Builder<()>) -> (Rig<()>, Client, Seen) {
    let mut rig = Rig::new(builder);
    let client = rig.world.connect("192.0.2.1:1000");
    let mut seen = Seen::default();
    rig.settle(seen.echo());
    (rig, client, seen)
}

fn no_deadlines() -> Builder<()> {
    SocketPool::builder().first_message_timeout(None).idle_timeout(None).write_stall_timeout(None)
}

/// Passes time until the first end, and returns when it was and why.
fn until_closed(rig: &mut Rig<()>, seen: &mut Seen, most: Duration) -> Option<(u64, Reason)> {
    let start = rig.hand.now();
    rig.settle(seen.echo());
    while seen.closed.is_empty() && rig.hand.now().since(start) < most {
        let left = most - rig.hand.now().since(start);
        let sleep = rig.pool.next_timeout().map_or(left, |timeout| timeout.min(left));
        rig.hand.advance(sleep);
        rig.settle(seen.echo());
    }
    seen.closed.first().map(|(_, reason)| (rig.hand.now().as_millis(), *reason))
}

#[test]
fn a_silent_client_is_cut_at_the_first_message_deadline() {
    let (mut rig, _client, mut seen) = alone(SocketPool::builder());
    assert_eq!(until_closed(&mut rig, &mut seen, 60 * SECOND), Some((30_000, Reason::FirstMessage)));
}

#[test]
fn without_a_first_message_deadline_a_silent_client_stays() {
    let (mut rig, _client, mut seen) = alone(no_deadlines());
    assert_eq!(until_closed(&mut rig, &mut seen, 3600 * SECOND), None);
}

#[test]
fn dribbled_bytes_do_not_move_the_first_message_deadline() {
    let (mut rig, client, mut seen) = alone(SocketPool::builder());
    for _ in 0..29 {
        client.send(b"x");
        rig.pass(SECOND, seen.echo());
    }
    assert_eq!(until_closed(&mut rig, &mut seen, 60 * SECOND), Some((30_000, Reason::FirstMessage)));
}

#[test]
fn a_first_message_in_time_ends_its_deadline() {
    let (mut rig, client, mut seen) = alone(SocketPool::builder().idle_timeout(100 * SECOND));
    rig.pass(ms(29_999), seen.echo());
    client.send(b"at last\n");
    assert_eq!(until_closed(&mut rig, &mut seen, 200 * SECOND), Some((129_999, Reason::Idle)));
}

#[test]
fn a_connection_that_the_application_proves_has_no_first_message_deadline() {
    let (mut rig, _client, mut seen) = alone(SocketPool::builder().idle_timeout(None));
    rig.pool.conn(seen.opened[0]).prove();
    assert_eq!(until_closed(&mut rig, &mut seen, 3600 * SECOND), None);
}

#[test]
fn each_byte_in_either_direction_starts_the_idle_time_anew() {
    let (mut rig, client, mut seen) = alone(no_deadlines().idle_timeout(10 * SECOND));
    for _ in 0..5 {
        rig.pass(9 * SECOND, seen.echo());
        client.send(b"x");
        rig.settle(seen.echo());
    }
    rig.pass(9 * SECOND, seen.echo());
    let _ = rig.pool.conn(seen.opened[0]).send(b"still there?\n");
    rig.settle(seen.echo());
    assert_eq!(until_closed(&mut rig, &mut seen, 60 * SECOND), Some((64_000, Reason::Idle)));
}

#[test]
fn a_held_connection_is_not_idle_and_its_time_starts_at_the_release() {
    let (mut rig, _client, mut seen) = alone(no_deadlines().idle_timeout(10 * SECOND));
    rig.pool.conn(seen.opened[0]).hold();
    assert_eq!(until_closed(&mut rig, &mut seen, 1000 * SECOND), None);
    rig.pool.conn(seen.opened[0]).release();
    assert_eq!(until_closed(&mut rig, &mut seen, 60 * SECOND), Some((1_010_000, Reason::Idle)));
}

#[test]
fn lifetimes_end_within_their_jitter_and_not_together() {
    let mut rig = Rig::<()>::new(no_deadlines().lifetime(100 * SECOND));
    let _clients: Vec<_> =
        (0..200).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    let mut ends = Vec::new();
    for _ in 0..120 {
        let now = rig.hand.now().as_millis() / 1000;
        rig.pass(SECOND, |_, event| {
            if let Event::Closed { reason, .. } = event {
                assert_eq!(reason, Reason::Lifetime);
                ends.push(now);
            }
        });
    }
    assert_eq!(ends.len(), 200);
    assert!(ends.iter().all(|second| (89..=110).contains(second)), "{ends:?}");
    let busiest = (89..=110).map(|second| ends.iter().filter(|end| **end == second).count()).max().unwrap();
    assert!(busiest < 60, "{busiest} of 200 in one second of twenty");
}

#[test]
fn a_busy_connection_finishes_its_operation_before_its_life_ends() {
    let (mut rig, client, mut seen) = alone(no_deadlines().lifetime(100 * SECOND).lifetime_jitter_percent(0));
    rig.pass(99 * SECOND, seen.echo());
    client.send(b"in the middle of a li");
    rig.pass(5 * SECOND, seen.echo());
    assert_eq!(seen.closed.len(), 0, "busy");
    client.send(b"ne\n");
    rig.settle(seen.echo());
    assert_eq!(client.take(), b"in the middle of a line\n");
    assert_eq!(seen.reasons(), [Reason::Lifetime]);
}

#[test]
fn a_client_that_takes_nothing_is_cut_by_the_write_stall() {
    let (mut rig, client, mut seen) = alone(no_deadlines().write_stall_timeout(30 * SECOND));
    client.set_window(5);
    client.send(b"more than five bytes\n");
    rig.pass(10 * SECOND, seen.echo());
    assert_eq!(until_closed(&mut rig, &mut seen, 60 * SECOND), Some((30_000, Reason::WriteStall)));
}

#[test]
fn without_a_write_stall_a_client_that_takes_nothing_stays() {
    let (mut rig, client, mut seen) = alone(no_deadlines());
    client.set_window(5);
    client.send(b"more than five bytes\n");
    assert_eq!(until_closed(&mut rig, &mut seen, 3600 * SECOND), None);
}

#[test]
fn progress_and_only_progress_puts_the_write_stall_off() {
    let (mut rig, client, mut seen) = alone(no_deadlines().write_stall_timeout(30 * SECOND));
    client.set_window(5);
    client.send(b"more than five bytes\n");
    rig.pass(20 * SECOND, seen.echo());
    client.set_window(1);
    rig.pass(20 * SECOND, seen.echo());
    assert_eq!(seen.closed.len(), 0, "a byte left at 20 s");
    // Bytes that arrive, and output that is added, are no progress.
    client.send(b"and more\n");
    assert_eq!(until_closed(&mut rig, &mut seen, 60 * SECOND), Some((50_000, Reason::WriteStall)));
}

#[test]
fn a_message_that_arrives_too_slowly_is_a_read_stall() {
    let stall = ReadStall { bytes: 640, window: 10 * SECOND };
    let (mut rig, client, mut seen) = alone(no_deadlines().read_stall(stall));
    rig.pass(100 * SECOND, seen.echo());
    assert_eq!(seen.closed.len(), 0, "no message is open");
    for _ in 0..30 {
        client.send(&[b'x'; 70]);
        rig.pass(SECOND, seen.echo());
    }
    assert_eq!(seen.closed.len(), 0, "70 bytes a second are enough");
    client.send(&[b'x'; 30]);
    let (at, reason) = until_closed(&mut rig, &mut seen, 60 * SECOND).unwrap();
    assert_eq!(reason, Reason::ReadStall);
    assert!((135_000..=150_000).contains(&at), "{at}");
}

#[test]
fn without_a_read_stall_a_slow_message_may_take_for_ever() {
    let (mut rig, client, mut seen) = alone(no_deadlines());
    client.send(b"x");
    assert_eq!(until_closed(&mut rig, &mut seen, 3600 * SECOND), None);
}

#[test]
fn deadlines_of_one_connection_alone_go_before_the_pool_s_and_can_lie_in_the_past() {
    let (mut rig, client, mut seen) =
        alone(no_deadlines().idle_timeout(100 * SECOND).lifetime(1000 * SECOND));
    rig.pass(50 * SECOND, seen.echo());
    rig.pool.conn(seen.opened[0]).set_idle_timeout(None).unwrap();
    rig.pass(100 * SECOND, seen.echo());
    assert_eq!(seen.closed.len(), 0);
    assert!(rig.pool.conn(seen.opened[0]).set_lifetime(Some(Duration::ZERO)).is_err());
    rig.pool.conn(seen.opened[0]).set_lifetime(Some(10 * SECOND)).unwrap();
    rig.settle(seen.echo());
    assert_eq!(seen.reasons(), [Reason::Lifetime], "150 s old already");
    drop(client);
}

#[test]
fn limits_that_change_while_running_hold_for_those_who_are_there() {
    let (mut rig, _client, mut seen) = alone(no_deadlines());
    rig.pass(50 * SECOND, seen.echo());
    rig.pool.reconfigure(|config| config.idle_timeout = Some(60 * SECOND)).unwrap();
    assert_eq!(until_closed(&mut rig, &mut seen, 100 * SECOND), Some((60_000, Reason::Idle)));
}

#[test]
fn a_loop_with_nothing_due_sleeps_until_the_next_deadline() {
    let (rig, _client, _seen) = alone(SocketPool::builder());
    assert_eq!(rig.pool.next_timeout(), Some(30 * SECOND));
    let (rig, _client, _seen) = alone(no_deadlines());
    assert_eq!(rig.pool.next_timeout(), None, "for ever");
}

/// Ten connections are ready together, and each one's handler takes 5 ms.
#[test]
fn the_time_that_handlers_take_is_in_the_latency_of_those_who_wait_for_them() {
    let mut rig = Rig::<()>::new(SocketPool::builder());
    let clients: Vec<_> =
        (0..10).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    rig.settle(|_, _| {});
    clients.iter().for_each(|client| client.send(b"hello\n"));
    let hand = rig.hand.clone();
    let mut handled: Vec<ConnId> = Vec::new();
    rig.settle(|pool, event| {
        if let Event::Readable(id) = event {
            hand.advance(ms(5));
            support::answer(pool, id);
            handled.push(id);
        }
    });
    let latency = rig.pool.snapshot().latency;
    println!("{latency}");
    assert_eq!(handled.len(), 10);
    assert!(latency.p99 >= ms(45), "{latency}");
}
