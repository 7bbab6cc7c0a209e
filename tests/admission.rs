//! Who may come in: lists, counts by address, rates, flood scores, streams that others accepted, and pauses.

mod support;

use std::net::SocketAddr;

use socketpool::net::sim::{Client, End};
use socketpool::{AddError, Builder, Event, Peer, Phase, Rate, Reason, Refusal, SocketPool, SynProtection};
use support::{Rig, Seen, ms};

fn server() -> Builder<()> {
    SocketPool::builder()
}

/// Connects from each of the addresses in turn and returns whose connection stands afterwards.
fn admitted(builder: Builder<()>, peers: &[&str]) -> Vec<bool> {
    let (mut rig, mut seen) = (Rig::new(builder), Seen::default());
    let clients: Vec<_> = peers.iter().map(|peer| rig.world.connect(peer)).collect();
    rig.settle(seen.echo());
    clients.iter().map(|client| client.end().is_none()).collect()
}

#[test]
fn denied_and_not_allowed_addresses_are_refused_and_counted() {
    let builder = server().allow(["10.0.0.0/8".parse().unwrap()]).deny(["10.9.0.0/16".parse().unwrap()]);
    let peers =
        ["10.1.2.3:1", "10.9.2.3:1", "192.0.2.1:1", "[::ffff:10.1.2.3]:2", "[::ffff:10.9.2.3]:2", "unix"];
    assert_eq!(admitted(builder, &peers), [true, false, false, true, false, true]);
}

#[test]
fn one_address_has_only_so_many_and_a_mapped_one_is_the_same() {
    let peers = ["192.0.2.1:1", "[::ffff:192.0.2.1]:2", "192.0.2.1:3", "192.0.2.2:1"];
    assert_eq!(admitted(server().max_per_ip(2), &peers), [true, true, false, true]);
    assert_eq!(admitted(server(), &peers), [true; 4], "without the limit");
}

#[test]
fn a_v6_network_of_one_subscriber_counts_as_one_unless_told_otherwise() {
    let peers = ["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8:0:1::1]:1"];
    assert_eq!(admitted(server().max_per_ip(1), &peers), [true, false, true]);
    assert_eq!(admitted(server().max_per_ip(1).v6_prefix(128), &peers), [true, true, true]);
    assert_eq!(admitted(server().max_per_ip(1).v6_prefix(48), &peers), [true, false, false]);
}

#[test]
fn a_place_of_an_address_is_given_back_however_the_connection_ends() {
    let mut rig = Rig::<()>::new(server().max_per_ip(1));
    for round in 0..100 {
        let mut seen = Seen::default();
        let client = rig.world.connect("192.0.2.1:1");
        rig.settle(seen.echo());
        assert_eq!(seen.opened.len(), 1, "round {round}");
        match round % 4 {
            0 => drop(client),
            1 => client.reset(),
            2 => rig.pool.conn(seen.opened[0]).close(),
            _ => assert!(rig.pool.kill(seen.opened[0])),
        }
        rig.settle(seen.echo());
        assert!(rig.pool.is_empty(), "round {round}");
    }
}

#[test]
fn accepts_over_the_rate_are_refused_and_those_within_it_are_not() {
    let (mut rig, mut seen) =
        (Rig::<()>::new(server().accept_rate(Rate::per_second(10).burst(5))), Seen::default());
    let mut clients = Vec::new();
    for round in 0..100 {
        clients.push(rig.world.connect(&format!("192.0.2.1:{}", 1000 + round)));
        rig.pass(ms(20), seen.echo());
    }
    let refused = rig.pool.snapshot().refused(Refusal::AcceptRate);
    assert!((24..=25).contains(&seen.opened.len()), "{} in two seconds", seen.opened.len());
    assert_eq!(refused + seen.opened.len() as u64, 100);
}

/// An address that connects 200 times in a second and never says anything; and what others find meanwhile.
fn flood(builder: Builder<()>) -> (Rig<()>, usize, Seen) {
    let (mut rig, mut seen) = (Rig::new(builder.max_connections(1000)), Seen::default());
    let mut crowd = Vec::new();
    for round in 0..200 {
        crowd.push(rig.world.connect(&format!("198.51.100.13:{}", 1000 + round)));
        rig.pass(ms(5), seen.echo());
    }
    let inside = crowd.iter().filter(|client| client.end().is_none()).count();
    let honest = rig.world.connect("192.0.2.1:1");
    honest.send(b"hello\n");
    rig.settle(seen.echo());
    assert_eq!(honest.take(), b"hello\n", "others are served at once");
    (rig, inside, seen)
}

#[test]
fn a_flood_from_one_address_is_blocked_and_others_are_not() {
    let (mut rig, inside, mut seen) = flood(server().syn_protection(SynProtection::default()));
    let snapshot = rig.pool.snapshot();
    println!("{inside} of 200 inside, {} delayed", snapshot.counters.delayed);
    assert!(inside <= 51, "{inside}");
    assert_eq!(snapshot.refused(Refusal::Flood), 200 - inside as u64);
    // The block ends.
    rig.pass(ms(60_000), seen.echo());
    let late = rig.world.connect("198.51.100.13:9");
    rig.settle(seen.echo());
    assert_eq!(late.end(), None);
}

#[test]
fn without_protection_a_flood_gets_in() {
    assert_eq!(flood(server()).1, 200);
}

/// An address that connects twenty times a second for half a minute, each time with a line of which it hears the echo if
/// `speaks` says so; and how many of these connections were refused or delayed.
fn visits(builder: Builder<()>, speaks: impl Fn(usize) -> bool) -> (u64, u64) {
    let (mut rig, mut seen) = (Rig::new(builder), Seen::default());
    for round in 0..600 {
        let client = rig.world.connect(&format!("198.51.100.13:{}", 1000 + round));
        rig.settle(seen.echo());
        if speaks(round) {
            client.send(b"hello\n");
        }
        rig.pass(ms(25), seen.echo());
        drop(client);
        rig.pass(ms(25), seen.echo());
    }
    let snapshot = rig.pool.snapshot();
    (snapshot.refused(Refusal::Flood) + snapshot.refused(Refusal::AcceptRate), snapshot.counters.delayed)
}

#[test]
fn who_speaks_may_come_as_often_as_it_likes() {
    let protected = || server().syn_protection(SynProtection::default());
    assert_eq!(visits(protected(), |_| true), (0, 0));
    let (refused, delayed) = visits(protected(), |_| false);
    assert!(refused > 550 && delayed > 0, "who says nothing: {refused} refused, {delayed} delayed");
    assert_eq!(visits(server(), |_| false), (0, 0), "without protection");
}

#[test]
fn some_who_speak_do_not_cover_for_others_who_do_not() {
    let (refused, delayed) =
        visits(server().syn_protection(SynProtection::default()), |round| round % 2 == 0);
    assert!(refused > 450 && delayed > 0, "{refused} refused, {delayed} delayed");
    // Nor when the score has nothing to say, and only the count has.
    let counted = SynProtection::default().attempt_penalty(0.0).failure_penalty(0.0);
    let (refused, _) = visits(server().syn_protection(counted), |round| round % 2 == 0);
    assert!(refused > 400, "{refused} refused");
}

#[test]
fn a_throttled_newcomer_is_admitted_and_read_later_and_delays_nobody() {
    let protection = SynProtection::default().max_attempts(10).throttle_delay(ms(100));
    let (mut rig, mut seen) = (Rig::<()>::new(server().syn_protection(protection)), Seen::default());
    let mut suspect: Vec<Client> = Vec::new();
    while rig.pool.snapshot().counters.delayed == 0 {
        suspect.push(rig.world.connect(&format!("198.51.100.13:{}", 1000 + suspect.len())));
        rig.settle(seen.echo());
        assert!(suspect.len() < 10, "throttled before it is blocked");
    }
    let throttled = suspect.last().unwrap();
    throttled.send(b"hello\n");
    let honest = rig.world.connect("192.0.2.1:1");
    honest.send(b"hello\n");
    rig.settle(seen.echo());
    assert_eq!((honest.take(), throttled.take()), (b"hello\n".to_vec(), vec![]), "nobody waits for it");
    let id = *seen.opened.iter().rev().nth(1).unwrap();
    assert_eq!(rig.pool.conn(id).info().state, Phase::Delayed, "it has its slot and its permit");
    rig.pass(ms(99), seen.echo());
    assert_eq!(throttled.take(), b"");
    rig.pass(ms(1), seen.echo());
    assert_eq!(throttled.take(), b"hello\n");
}

#[test]
fn a_stream_that_somebody_else_accepted_is_told_of_and_served() {
    let (mut rig, mut seen) = (Rig::<()>::new(server()), Seen::default());
    let (stream, client) = rig.world.pair("192.0.2.1:1");
    let id = rig.pool.add_stream(stream, peer("192.0.2.1:1")).unwrap();
    client.send(b"hello\n");
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.opened), (b"hello\n".to_vec(), vec![id]));
    assert_eq!(rig.pool.snapshot().counters.adopted, 1);
}

#[test]
fn an_added_stream_that_is_refused_comes_back_open_with_the_reason() {
    let cases = [
        (server().deny(["192.0.2.0/24".parse().unwrap()]), Refusal::Denied),
        (server().max_per_ip(1), Refusal::PerIp),
        (server().max_connections(1), Refusal::Full),
    ];
    for (builder, expected) in cases {
        let mut rig = Rig::<()>::new(builder);
        let (first, _first) = rig.world.pair("192.0.2.1:1");
        let kept = rig.pool.add_stream(first, peer("192.0.2.1:1"));
        let (second, client) = rig.world.pair("192.0.2.1:2");
        let AddError { stream, reason } = rig.pool.add_stream(second, peer("192.0.2.1:2")).unwrap_err();
        assert_eq!((reason, client.end()), (expected, None), "still open");
        drop(stream);
        assert_eq!(client.end(), Some(End::Finished));
        drop(kept);
    }
}

#[test]
fn who_added_a_stream_hears_of_both_its_ends_even_if_it_was_killed_at_once() {
    let mut rig = Rig::<&str>::new(SocketPool::builder());
    let (stream, _client) = rig.world.pair("192.0.2.1:1");
    let id = rig.pool.add_stream(stream, peer("192.0.2.1:1")).unwrap();
    rig.pool.conn(id).set_userdata("precious");
    rig.pool.kill(id);
    let mut events = Vec::new();
    rig.settle(|_, event| events.push(event));
    let closed = Event::Closed { id, reason: Reason::Killed, userdata: Some("precious") };
    assert_eq!(events, [Event::Opened(id), closed]);
}

#[test]
fn a_draining_pool_returns_the_stream() {
    let mut rig = Rig::<()>::new(server());
    let (held, _client) = rig.world.pair("192.0.2.1:1");
    let id = rig.pool.add_stream(held, peer("192.0.2.1:1")).unwrap();
    rig.pool.conn(id).hold();
    rig.pool.drain(None);
    rig.settle(|_, _| {});
    let (stream, client) = rig.world.pair("192.0.2.1:2");
    let refused = rig.pool.add_stream(stream, peer("192.0.2.1:2")).unwrap_err();
    assert_eq!((refused.reason, client.end()), (Refusal::Draining, None));
}

#[test]
fn a_paused_pool_leaves_newcomers_in_the_backlog_and_takes_them_afterwards() {
    let (mut rig, mut seen) = (Rig::<()>::new(server()), Seen::default());
    rig.pool.pause_accepting();
    let client = rig.world.connect("192.0.2.1:1");
    client.send(b"hello\n");
    rig.pass(ms(1000), seen.echo());
    assert_eq!((rig.world.waiting(), client.end()), (1, None));
    rig.pool.resume_accepting();
    rig.settle(seen.echo());
    assert_eq!(client.take(), b"hello\n", "no further edge comes");
}

fn peer(address: &str) -> Peer {
    Peer::from(address.parse::<SocketAddr>().unwrap())
}
