//! Who makes room, who never does, and what accepting does when there is none.

use std::time::Duration;

use socketpool::net::sim::{Call, Client, Schedule};
use socketpool::{Event, OverRate, Rate, Reason, Refusal, Verdict, WhenFull};

use super::{SECOND, asked, builder, connect, hold, peer};
use crate::support::{Rig, Seen, answer, echo, ms};

#[test]
fn whoever_ends_anyway_makes_room_before_a_living_one() {
    let crowded = builder().max_connections(300).idle_timeout(100 * SECOND);
    let (mut rig, mut seen) = (Rig::new(crowded), Seen::default());
    let _old = asked(&rig, 1000, 200);
    rig.settle(seen.echo());
    rig.pass(99 * SECOND + ms(900), seen.echo());
    let _young = asked(&rig, 3000, 100);
    rig.settle(seen.echo());
    rig.hand.advance(ms(100));
    let _new = asked(&rig, 5000, 50);
    rig.settle(seen.echo());
    assert_eq!(seen.reasons(), vec![Reason::Idle; 200]);
    assert_eq!(seen.opened.len(), 350);
}

#[test]
fn a_full_busy_pool_sleeps_when_nobody_waits() {
    let (mut rig, mut seen) = (Rig::new(builder().max_connections(2)), Seen::default());
    let _clients = asked(&rig, 1, 2);
    rig.settle(|pool, event| {
        seen.note(&event);
        if let Event::Readable(id) = event {
            answer(pool, id);
            pool.conn(id).hold();
        }
    });
    let before = rig.pool.snapshot().counters.turns;
    rig.pass(10 * SECOND, seen.echo());
    let counters = rig.pool.snapshot().counters;
    assert!(counters.turns - before < 10, "{} turns in ten seconds", counters.turns - before);
    assert_eq!(counters.deferred_accepts, 0);
}

#[test]
fn those_that_sit_on_half_a_message_make_room_for_an_honest_one() {
    let (mut rig, mut seen) = (Rig::new(builder().max_connections(50)), Seen::default());
    let hung: Vec<_> = (1000..1050).map(|port| connect(&rig, port)).collect();
    hung.iter().for_each(|client| client.send(b"a\nb"));
    rig.pass(290 * SECOND, seen.echo());
    hung.iter().for_each(|client| client.send(b"x"));
    rig.settle(seen.echo());
    assert_eq!((seen.closed.len(), rig.pool.len()), (0, 50));
    let honest = connect(&rig, 1);
    honest.send(b"hi\n");
    rig.pass(10 * SECOND, seen.echo());
    assert_eq!((honest.take(), seen.reasons()), (b"hi\n".to_vec(), vec![Reason::Evicted]));
}

#[test]
fn news_do_not_keep_those_their_place_who_sit_on_half_a_message() {
    let lonely = builder().max_connections(1).idle_timeout(None);
    let (mut rig, mut seen) = (Rig::new(lonely), Seen::default());
    let hung = connect(&rig, 1);
    hung.send(b"a\nb");
    rig.settle(seen.echo());
    rig.pool.handle().send(seen.opened[0], "news\n".into()).unwrap();
    rig.pass(60 * SECOND, seen.echo());
    let honest = connect(&rig, 2);
    honest.send(b"hi\n");
    rig.pass(SECOND, seen.echo());
    assert_eq!((honest.take(), seen.reasons()), (b"hi\n".to_vec(), vec![Reason::Evicted]));
}

#[test]
fn a_held_connection_is_not_evicted() {
    let (mut rig, mut seen) = (Rig::new(builder().max_connections(1)), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"work\n");
    rig.pass(SECOND, hold(&mut seen));
    let _second = connect(&rig, 2);
    rig.pass(SECOND, hold(&mut seen));
    assert_eq!((seen.closed.len(), rig.world.waiting()), (0, 1));
    rig.pool.conn(seen.opened[0]).release();
    rig.pass(SECOND, seen.echo());
    assert_eq!(seen.closed, [(seen.opened[0], Reason::Evicted)], "released, it is like any other");
}

#[test]
fn what_is_left_to_the_application_is_neither_evicted_nor_cut_for_silence() {
    for left in [true, false] {
        let lonely = builder().max_connections(1).idle_timeout(None);
        let (mut rig, mut seen) = (Rig::new(lonely), Seen::default());
        let (stream, _client) = rig.world.pair("192.0.2.1:1");
        let id = rig.pool.add_stream(stream, peer("192.0.2.1:1")).unwrap();
        if left {
            rig.pool.conn(id).leave_to_application();
        }
        rig.pass(20 * SECOND, seen.echo());
        let _second = connect(&rig, 2);
        rig.pass(600 * SECOND, seen.echo());
        let expected = if left { (false, 1) } else { (true, 0) };
        assert_eq!((seen.closed.contains(&(id, Reason::Evicted)), rig.world.waiting()), expected);
        assert_eq!(rig.pool.get(id).is_some(), left);
    }
}

#[test]
fn what_is_left_to_the_application_and_proven_keeps_its_place_while_it_is_touched() {
    let lonely = builder().max_connections(1).idle_timeout(None).eviction_idle(SECOND);
    let (mut rig, mut seen) = (Rig::new(lonely), Seen::default());
    let (stream, _client) = rig.world.pair("192.0.2.1:1");
    let id = rig.pool.add_stream(stream, peer("192.0.2.1:1")).unwrap();
    rig.pool.conn(id).leave_to_application();
    rig.pool.conn(id).prove();
    let _second = connect(&rig, 2);
    for _ in 0..10 {
        rig.pass(SECOND / 2, seen.echo());
        rig.pool.get(id).expect("it is in use").touch();
    }
    rig.pass(3 * SECOND, seen.echo());
    assert_eq!(seen.closed, [(id, Reason::Evicted)]);
}

#[test]
fn a_lowered_limit_lets_nobody_in_above_it() {
    let (mut rig, mut seen) = (Rig::new(builder().max_connections(20)), Seen::default());
    let clients = asked(&rig, 1000, 20);
    rig.pass(SECOND, seen.echo());
    rig.pool.reconfigure(|config| config.max_connections = 5).unwrap();
    let mut newcomers = Vec::new();
    for (port, client) in (5000..).zip(&clients[..14]) {
        client.finish();
        newcomers.extend(asked(&rig, port, 1));
        rig.pass(SECOND, seen.echo());
    }
    assert_eq!((rig.pool.len(), seen.opened.len()), (6, 20), "one still has to leave");
    clients[14].finish();
    clients[15].finish();
    rig.pass(SECOND, seen.echo());
    assert_eq!(rig.pool.len(), 5);
    assert!(seen.opened.len() > 20, "at the limit newcomers have their turn");
}

#[test]
fn a_pool_over_a_lowered_limit_sleeps_until_somebody_leaves() {
    let lasting = builder().max_connections(4).idle_timeout(None);
    let (mut rig, mut seen) = (Rig::new(lasting), Seen::default());
    let clients = asked(&rig, 1, 4);
    rig.settle(seen.echo());
    rig.pool.reconfigure(|config| config.max_connections = 2).unwrap();
    let newcomer = asked(&rig, 100, 1).remove(0);
    rig.settle(seen.echo());
    assert_eq!((rig.pool.next_timeout(), rig.world.waiting()), (None, 1), "nobody goes for him");
    clients[..2].iter().for_each(Client::finish);
    rig.pass(SECOND, seen.echo());
    assert_eq!((rig.pool.len(), newcomer.take()), (2, b"a\n".to_vec()));
}

#[test]
fn nobody_makes_room_for_those_whom_a_lowered_limit_refuses() {
    let refusing = builder().max_connections(6).when_full(WhenFull::Refuse);
    let (mut rig, mut seen) = (Rig::new(refusing), Seen::default());
    let _clients = asked(&rig, 1, 6);
    rig.pass(SECOND, seen.echo());
    rig.pool.reconfigure(|config| config.max_connections = 3).unwrap();
    rig.world.set_descriptor_limit(7);
    let _newcomers = asked(&rig, 100, 5);
    rig.pass(5 * SECOND, seen.echo());
    assert_eq!((seen.reasons(), rig.pool.len()), (vec![], 6));
    rig.world.set_descriptor_limit(100);
    rig.pass(5 * SECOND, seen.echo());
    assert_eq!(rig.pool.snapshot().refused(Refusal::Full), 5);
}

#[test]
fn a_broken_listener_does_not_delay_another() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let second = rig.pool.listen("127.0.0.1:7001").unwrap();
    rig.settle(seen.echo());
    rig.world.fail_next(Call::Accept, libc::EBADF, Schedule::Once);
    let first = connect(&rig, 1);
    first.send(b"one\n");
    rig.settle(seen.echo());
    let other = rig.world.connect_to(&second, peer("192.0.2.1:2")).unwrap();
    other.send(b"two\n");
    rig.settle(seen.echo());
    assert_eq!((first.take(), other.take()), (vec![], b"two\n".to_vec()));
    rig.pass(SECOND, seen.echo());
    assert_eq!(first.take(), b"one\n");
}

#[test]
fn an_accept_error_that_takes_nobody_off_the_backlog_does_not_spin() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    rig.settle(seen.echo());
    rig.world.fail_next(Call::Accept, libc::EPERM, Schedule::FromNowOn);
    let client = connect(&rig, 1);
    client.send(b"hi\n");
    rig.settle(seen.echo());
    let calls = rig.world.calls(Call::Accept);
    rig.settle(seen.echo());
    assert_eq!(rig.world.calls(Call::Accept), calls, "it is left alone for a while");
    rig.world.heal(Call::Accept);
    rig.pass(SECOND, seen.echo());
    assert_eq!(client.take(), b"hi\n");
}

#[test]
fn a_shortage_of_descriptors_is_over_when_they_are_there_again() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    rig.world.set_descriptor_limit(4);
    let clients = [asked(&rig, 1, 3), asked(&rig, 4, 2)];
    rig.pass(SECOND, seen.echo());
    assert_eq!(rig.pool.verdict().to_string(), "degraded:descriptors");
    drop(clients);
    rig.pass(SECOND, seen.echo());
    assert!(!rig.pool.snapshot().descriptors_exhausted, "though nobody has come to use them");
    rig.pass(10 * SECOND, seen.echo());
    assert_eq!(rig.pool.verdict(), Verdict::Healthy);
}

#[test]
fn a_shortage_of_descriptors_is_over_when_an_accept_finds_nobody() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    rig.settle(seen.echo());
    rig.world.fail_next(Call::Accept, libc::EMFILE, Schedule::Once);
    let _client = connect(&rig, 1);
    rig.settle(seen.echo());
    assert!(rig.pool.snapshot().descriptors_exhausted);
    // Another process that has the listener as well is faster.
    rig.world.fail_next(Call::Accept, libc::EAGAIN, Schedule::Once);
    rig.pass(SECOND, seen.echo());
    assert!(!rig.pool.snapshot().descriptors_exhausted);
}

#[test]
fn a_request_that_waits_in_the_socket_keeps_its_connection_from_going() {
    let (mut rig, mut seen) = (Rig::new(builder().max_connections(50)), Seen::default());
    let proven = asked(&rig, 1000, 50);
    rig.pass(10 * SECOND, seen.echo());
    proven.iter().for_each(|client| client.send(b"b\n"));
    let _newcomers = asked(&rig, 3000, 50);
    rig.settle(seen.echo());
    assert!(proven.iter().all(|client| client.take() == b"a\nb\n"), "{:?}", seen.reasons());
}

#[test]
fn a_byte_each_sent_all_at_once_costs_no_proven_one_the_place() {
    for (loud, silent) in [(100, 100), (600, 100)] {
        let (mut rig, mut seen) = (Rig::new(builder().max_connections(1000)), Seen::default());
        let crowd: Vec<_> = (1000..1000 + loud + silent).map(|port| connect(&rig, port)).collect();
        let proven = asked(&rig, 3000, 1000 - loud - silent);
        rig.pass(SECOND, seen.echo());
        crowd[..usize::from(loud)].iter().for_each(|client| client.send(b"x"));
        let newcomers = asked(&rig, 5000, 50);
        rig.pass(ms(10), seen.echo());
        assert!(newcomers.iter().all(|client| client.take() == b"a\n"), "{loud} loud ones");
        assert!(proven.iter().all(|client| client.end().is_none()), "{loud} loud ones");
    }
}

#[test]
fn whoever_is_kept_waiting_by_a_rate_is_not_evicted_for_it() {
    let slow = builder().over_rate(OverRate::Delay).operation_rate(Rate::new(1, 60 * SECOND));
    let (mut rig, mut seen) = (Rig::new(slow.max_connections(1)), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"a\n");
    rig.settle(seen.echo());
    client.send(b"b\n");
    rig.settle(seen.echo());
    let _second = connect(&rig, 2);
    rig.pass(61 * SECOND, seen.echo());
    assert_eq!(client.take(), b"a\nb\n");
}

#[test]
fn a_stream_that_was_added_is_told_of_though_it_makes_room_before_its_turn() {
    let brief = builder().max_connections(1).first_message_timeout(ms(50));
    let (mut rig, mut seen) = (Rig::new(brief), Seen::default());
    let (stream, _client) = rig.world.pair("192.0.2.1:1");
    let id = rig.pool.add_stream(stream, peer("192.0.2.1:1")).unwrap();
    rig.hand.advance(SECOND);
    let _newcomer = connect(&rig, 2);
    rig.settle(seen.echo());
    assert_eq!((seen.opened[0], seen.closed[0]), (id, (id, Reason::FirstMessage)));
}

#[test]
fn whoever_was_added_hears_of_its_end_even_if_its_place_is_wanted() {
    let (mut rig, mut seen) = (Rig::new(builder().max_connections(1)), Seen::default());
    let (stream, _client) = rig.world.pair("192.0.2.1:1");
    let first = rig.pool.add_stream(stream, peer("192.0.2.1:1")).unwrap();
    rig.pool.kill(first);
    let newcomer = connect(&rig, 2);
    newcomer.send(b"hi\n");
    rig.settle(seen.echo());
    assert_eq!((seen.opened[0], seen.closed), (first, vec![(first, Reason::Killed)]));
    assert_eq!(newcomer.take(), b"hi\n", "the place is free when it has been told");
}

#[test]
fn whoever_comes_back_from_the_application_can_make_room() {
    let (mut rig, mut seen) = (Rig::new(builder().max_connections(1)), Seen::default());
    let client = connect(&rig, 1);
    rig.settle(seen.echo());
    let id = seen.opened[0];
    rig.pool.conn(id).leave_to_application();
    let newcomer = connect(&rig, 2);
    newcomer.send(b"hi\n");
    rig.pass(SECOND, seen.echo());
    rig.pool.conn(id).resume_reading();
    client.send(b"back\n");
    rig.pass(2 * SECOND, seen.echo());
    assert_eq!((client.take(), newcomer.take()), (b"back\n".to_vec(), b"hi\n".to_vec()));
}

#[test]
fn a_message_that_the_application_keeps_waiting_costs_nobody_the_place() {
    for paused in [true, false] {
        let (mut rig, mut seen) = (Rig::new(builder().max_connections(1)), Seen::default());
        let client = connect(&rig, 1);
        client.send(b"a\nb");
        rig.settle(seen.echo());
        if paused {
            rig.pool.conn(seen.opened[0]).pause_reading();
        }
        let _newcomer = connect(&rig, 2);
        rig.pass(40 * SECOND, seen.echo());
        assert_eq!(seen.closed.is_empty(), paused, "{:?}", seen.closed);
    }
}

/// The order of eviction remembers 32 bits of a time in milliseconds, which come round after 49.7 days.
#[test]
fn nobody_who_has_been_silent_for_weeks_shields_the_others() {
    const ROUND: Duration = Duration::from_millis(1 << 32);
    for speaks_once in [false, true] {
        let crowded = builder().max_connections(2).idle_timeout(None).eviction_idle(10 * SECOND);
        let (mut rig, mut seen) = (Rig::new(crowded), Seen::default());
        let first = asked(&rig, 1, 1).remove(0);
        rig.pass(SECOND, seen.echo());
        let _second = asked(&rig, 2, 1);
        rig.settle(seen.echo());
        rig.hand.advance(ROUND * 2 / 3);
        if speaks_once {
            first.send(b"a\n");
            rig.settle(seen.echo());
        }
        rig.hand.advance(ROUND / 3);
        let newcomer = asked(&rig, 3, 1).remove(0);
        rig.settle(seen.echo());
        assert_eq!(newcomer.take(), b"a\n", "at once");
        let goes = seen.opened[usize::from(speaks_once)];
        assert_eq!(seen.closed, [(goes, Reason::Evicted)], "whoever has been silent longest");
    }
}

#[test]
fn those_at_work_do_not_shield_those_who_say_nothing() {
    let (mut rig, mut seen) = (Rig::new(builder().max_connections(200)), Seen::default());
    let _working = asked(&rig, 1000, 100);
    rig.settle(hold(&mut seen));
    let _silent: Vec<_> = (3000..3100).map(|port| connect(&rig, port)).collect();
    rig.pass(SECOND, seen.echo());
    let honest = connect(&rig, 1);
    honest.send(b"hi\n");
    rig.pass(SECOND, seen.echo());
    assert_eq!((honest.take(), seen.closed.len()), (b"hi\n".to_vec(), 1));
    assert!(seen.opened[100..].contains(&seen.closed[0].0), "one of the silent went");
}

#[test]
fn whoever_was_served_slowly_is_not_taken_for_silent_since() {
    let (mut rig, mut seen) = (Rig::new(builder().max_connections(2)), Seen::default());
    let clients = asked(&rig, 1, 2);
    rig.settle(seen.echo());
    rig.hand.advance(ms(100));
    clients[0].send(b"b\n");
    let hand = rig.hand.clone();
    rig.settle(|pool, event| {
        hand.advance(ms(5));
        echo(pool, &event);
    });
    rig.hand.advance(ms(100));
    let newcomer = connect(&rig, 3);
    newcomer.send(b"a\n");
    rig.settle(seen.echo());
    assert_eq!(seen.closed, [(seen.opened[1], Reason::Evicted)], "the least recently active one goes");
    assert_eq!(newcomer.bytes_in(), 2);
}
