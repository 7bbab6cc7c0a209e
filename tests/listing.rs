//! What a list of connections says each of them is doing, and how it comes out of that again: one story for each phase.

mod support;

use socketpool::net::sim::{Call, Client, Schedule};
use socketpool::{
    Builder, ByteRate, ConnId, Event, OutputHigh, OverRate, Phase, Rate, SocketPool, SynProtection,
};
use support::{Rig, Seen, ms};

fn server() -> Builder<()> {
    SocketPool::builder().max_output(200).output_high(100).output_low(40)
}

/// A server and its one client, of whom the application has heard.
fn alone(builder: Builder<()>) -> (Rig<()>, Client, ConnId) {
    let (mut rig, mut seen) = (Rig::new(builder), Seen::default());
    let client = rig.world.connect("192.0.2.1:1000");
    rig.settle(seen.echo());
    (rig, client, seen.opened[0])
}

/// What the list says of a connection, and its own line with it.
#[track_caller]
fn phase(rig: &mut Rig<()>, id: ConnId) -> Phase {
    let listed = rig.pool.connections().find(|info| info.id == id).expect("it lives").state;
    let own = rig.pool.conn(id).info();
    assert_eq!(own.state, listed, "both say the same");
    assert!(own.to_string().contains(&format!(" state={listed} ")), "{own}");
    listed
}

/// An application that receives what comes and does nothing with it.
fn hoard(pool: &mut support::Pool<()>, event: Event<()>) {
    if let Event::Readable(id) = event {
        pool.conn(id).receive();
    }
}

fn echo(pool: &mut support::Pool<()>, event: Event<()>) {
    support::echo(pool, &event);
}

#[test]
fn a_client_is_unproven_then_active_and_idle_once_it_is_served() {
    let (mut rig, client, id) = alone(server());
    assert_eq!(phase(&mut rig, id), Phase::Unproven);
    client.send(b"hel");
    rig.settle(echo);
    assert_eq!(phase(&mut rig, id), Phase::Active, "half a message is more than none");
    client.send(b"lo\n");
    rig.settle(echo);
    assert_eq!(phase(&mut rig, id), Phase::Idle);
    rig.pool.conn(id).hold();
    assert_eq!(phase(&mut rig, id), Phase::Active, "work on it goes on elsewhere");
    rig.pool.conn(id).release();
    assert_eq!(phase(&mut rig, id), Phase::Idle);
}

#[test]
fn an_input_of_which_nothing_is_consumed_is_full() {
    let (mut rig, client, id) = alone(server().max_input(100));
    client.send(&[b'x'; 250]);
    rig.settle(hoard);
    assert_eq!(phase(&mut rig, id), Phase::InputFull);
    rig.pool.conn(id).consume(30);
    assert_eq!(phase(&mut rig, id), Phase::Active);
    rig.settle(hoard);
    assert_eq!(phase(&mut rig, id), Phase::InputFull, "more had come");
}

#[test]
fn an_output_past_its_high_mark_is_told_from_one_that_is_only_reported() {
    for (on_high, expected) in
        [(OutputHigh::StopReading, Phase::OutputHigh), (OutputHigh::Report, Phase::Active)]
    {
        let (mut rig, client, id) = alone(server().on_output_high(on_high));
        client.set_window(0);
        let _ = rig.pool.conn(id).send(&[b'a'; 99]);
        assert_eq!(phase(&mut rig, id), Phase::Active, "below the mark");
        let _ = rig.pool.conn(id).send(b"b");
        assert_eq!(phase(&mut rig, id), expected, "{on_high}");
        client.set_window(59);
        rig.settle(echo);
        assert_eq!(phase(&mut rig, id), expected, "the low mark counts: {on_high}");
        client.set_window(1);
        rig.settle(echo);
        assert_eq!(phase(&mut rig, id), Phase::Active, "{on_high}");
    }
}

#[test]
fn whoever_the_application_does_not_want_to_hear_is_paused() {
    let (mut rig, client, id) = alone(server());
    client.send(b"hello\n");
    rig.settle(echo);
    rig.pool.conn(id).pause_reading();
    assert_eq!(phase(&mut rig, id), Phase::Paused);
    client.send(b"hello?\n");
    rig.settle(echo);
    assert_eq!(phase(&mut rig, id), Phase::Paused);
    rig.pool.conn(id).resume_reading();
    rig.settle(echo);
    assert_eq!((phase(&mut rig, id), client.take()), (Phase::Idle, b"hello\nhello?\n".to_vec()));
}

#[test]
fn whoever_waits_for_a_rate_is_throttled_until_its_turn_comes() {
    let once = Rate::per_second(1);
    let few = ByteRate::per_second(6).burst(6);
    let cases = [
        ("its operations", server().operation_rate(once).over_rate(OverRate::Delay)),
        ("the pool's operations", server().pool_operation_rate(once).over_rate(OverRate::Delay)),
        ("bytes received", server().received_rate(few)),
        ("bytes sent", server().sent_rate(few)),
    ];
    for (what, builder) in cases {
        let (mut rig, client, id) = alone(builder);
        client.send(b"first\nother\n");
        rig.pass(ms(500), echo);
        assert_eq!(phase(&mut rig, id), Phase::Throttled, "{what}");
        rig.pass(ms(1000), echo);
        assert_eq!((phase(&mut rig, id), client.take()), (Phase::Idle, b"first\nother\n".to_vec()), "{what}");
    }
}

#[test]
fn a_rate_that_the_application_sees_to_throttles_nobody() {
    let (mut rig, client, id) = alone(server().operation_rate(Rate::per_second(1)));
    client.send(b"first\nother\n");
    rig.settle(hoard);
    while rig.pool.conn(id).check_operation().is_ok() {}
    assert_eq!(phase(&mut rig, id), Phase::Active);
}

#[test]
fn whoever_waits_for_the_kernel_s_memory_is_shown_to_wait() {
    for (call, waits) in [(Call::Receive, Phase::Delayed), (Call::Send, Phase::Throttled)] {
        let (mut rig, client, id) = alone(server());
        rig.world.fail_next(call, libc::ENOMEM, Schedule::FromNowOn);
        client.send(b"hello\n");
        rig.settle(echo);
        assert_eq!(phase(&mut rig, id), waits, "{call:?}");
        rig.world.heal(call);
        rig.pass(ms(20), echo);
        assert_eq!((phase(&mut rig, id), client.take()), (Phase::Idle, b"hello\n".to_vec()), "{call:?}");
    }
}

#[test]
fn a_suspect_is_delayed_and_then_a_newcomer_like_others() {
    let suspicious = SynProtection::default().throttle_below(1.0).throttle_delay(ms(100));
    let (mut rig, client, id) = alone(server().syn_protection(suspicious));
    client.send(b"hello\n");
    rig.pass(ms(99), echo);
    assert_eq!(phase(&mut rig, id), Phase::Delayed);
    rig.pass(ms(1), echo);
    assert_eq!((phase(&mut rig, id), client.take()), (Phase::Idle, b"hello\n".to_vec()));
}

#[test]
fn whoever_the_application_reads_itself_is_unobserved_until_the_pool_receives_something() {
    let (mut rig, client, id) = alone(server());
    rig.pool.conn(id).leave_to_application();
    client.send(b"hello\n");
    rig.settle(echo);
    assert_eq!(phase(&mut rig, id), Phase::Unobserved);
    rig.pool.conn(id).resume_reading();
    assert_eq!(phase(&mut rig, id), Phase::Unobserved, "nothing has been seen yet");
    rig.settle(echo);
    assert_eq!(phase(&mut rig, id), Phase::Idle);
}

/// A server for whose newcomer the poller has no memory.
fn unwatched() -> (Rig<()>, Client, ConnId) {
    let (mut rig, mut seen) = (Rig::new(server()), Seen::default());
    rig.world.fail_next(Call::Watch, libc::ENOSPC, Schedule::FromNowOn);
    let client = rig.world.connect("192.0.2.1:1000");
    client.send(b"hello\n");
    rig.settle(seen.echo());
    (rig, client, seen.opened[0])
}

#[test]
fn whoever_the_poller_has_no_memory_for_is_unwatched_until_it_has() {
    let (mut rig, client, id) = unwatched();
    rig.pass(ms(5000), echo);
    assert_eq!(phase(&mut rig, id), Phase::Unwatched);
    rig.world.heal(Call::Watch);
    rig.pass(ms(1000), echo);
    assert_eq!((phase(&mut rig, id), client.take()), (Phase::Idle, b"hello\n".to_vec()));
}

#[test]
fn whoever_output_has_brought_under_the_eyes_of_the_poller_is_not_unwatched() {
    let (mut rig, client, id) = unwatched();
    client.set_window(3);
    let _ = rig.pool.conn(id).send(b"welcome\n");
    assert_eq!(phase(&mut rig, id), Phase::Active);
}

#[test]
fn whoever_ends_when_its_answer_has_left_is_closing() {
    let (mut rig, client, id) = alone(server());
    client.set_window(0);
    let _ = rig.pool.conn(id).send(b"bye\n");
    rig.pool.conn(id).close_when_done();
    rig.settle(echo);
    assert_eq!(phase(&mut rig, id), Phase::Closing);
    client.set_window(usize::MAX);
    rig.settle(echo);
    assert_eq!(rig.pool.connections().count(), 0);
}

#[test]
fn whoever_a_drain_waits_for_is_closing_and_so_is_whoever_goes_in_this_turn() {
    let (mut rig, _client, id) = alone(server());
    rig.pool.conn(id).hold();
    rig.pool.drain(None);
    rig.settle(echo);
    assert_eq!(phase(&mut rig, id), Phase::Closing);
    assert!(rig.pool.kill(id));
    let listed: Vec<_> = rig.pool.connections().map(|info| info.state).collect();
    assert!(listed.iter().all(|state| *state == Phase::Closing), "{listed:?}");
}

#[test]
fn of_several_things_that_hold_a_connection_up_the_one_behind_the_others_shows() {
    let (mut rig, client, id) = alone(server().sent_rate(ByteRate::per_second(100).burst(1)));
    let _ = rig.pool.conn(id).send(&[b'a'; 150]);
    rig.pool.conn(id).pause_reading();
    assert_eq!(phase(&mut rig, id), Phase::Throttled, "that its output is high comes of its rate");
    client.set_window(0);
    rig.pass(ms(20), echo);
    assert_eq!(phase(&mut rig, id), Phase::Paused, "it is the peer who takes nothing now");
    rig.pool.conn(id).resume_reading();
    assert_eq!(phase(&mut rig, id), Phase::OutputHigh);
    client.set_window(usize::MAX);
    rig.pass(ms(2000), echo);
    assert_eq!(phase(&mut rig, id), Phase::Unproven, "it has asked nothing");
}

#[test]
fn phases_are_words_without_spaces() {
    let all = [
        (Phase::Idle, "idle"),
        (Phase::Unproven, "unproven"),
        (Phase::Active, "active"),
        (Phase::InputFull, "input_full"),
        (Phase::OutputHigh, "output_high"),
        (Phase::Paused, "paused"),
        (Phase::Throttled, "throttled"),
        (Phase::Delayed, "delayed"),
        (Phase::Unobserved, "unobserved"),
        (Phase::Unwatched, "unwatched"),
        (Phase::Closing, "closing"),
    ];
    for (phase, word) in all {
        assert_eq!((phase.as_str(), format!("{phase:>12}")), (word, format!("{word:>12}")));
    }
}
