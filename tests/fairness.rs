//! Nobody starves: neither a quiet connection beside a busy one, nor one listener beside another, nor the loop itself.

mod support;

use std::net::SocketAddr;

use socketpool::net::sim::Call;
use socketpool::{Address, Event, Sent, SocketPool};
use support::{Rig, Seen, answer, ms};

#[test]
fn a_busy_sender_does_not_delay_a_quiet_one_by_more_than_a_turn() {
    let (mut rig, mut seen) = (Rig::<()>::new(SocketPool::builder()), Seen::default());
    let (busy, quiet) = (rig.world.connect("192.0.2.1:1"), rig.world.connect("192.0.2.1:2"));
    rig.settle(seen.echo());
    busy.send(&b"x".repeat(63).iter().chain(b"\n").copied().collect::<Vec<_>>().repeat(160_000));
    rig.step(seen.echo());
    quiet.send(b"hello\n");
    let before = busy.bytes_in();
    rig.step(seen.echo());
    assert_eq!(quiet.take(), b"hello\n", "in the very next turn");
    let share = busy.bytes_in() - before;
    assert!(share <= 64 << 10, "{share} bytes for the busy one in that turn");
    rig.settle(seen.echo());
    assert_eq!(busy.bytes_in(), 64 * 160_000, "the busy one is served in full, too");
}

#[test]
fn each_of_many_busy_connections_has_its_share_of_each_turn() {
    let (mut rig, mut seen) = (Rig::<()>::new(SocketPool::builder()), Seen::default());
    let clients: Vec<_> =
        (0..20).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    rig.settle(seen.echo());
    clients.iter().for_each(|client| client.send(&b"12345678901234567890123456789 0\n".repeat(20_000)));
    for turn in 1..=5 {
        rig.step(seen.echo());
        let served: Vec<u64> = clients.iter().map(socketpool::net::sim::Client::bytes_in).collect();
        let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
        assert!(*least > 0 && most - least <= 64 << 10, "after turn {turn}: {least} to {most}");
    }
}

#[test]
fn what_was_not_received_is_reported_again_in_every_turn() {
    let mut rig = Rig::<()>::new(SocketPool::builder());
    let client = rig.world.connect("192.0.2.1:1");
    rig.settle(|_, _| {});
    client.send(b"hello\n");
    for _ in 0..5 {
        let mut reports = 0;
        rig.step(|_, event| reports += usize::from(matches!(event, Event::Readable(_))));
        assert_eq!(reports, 1, "to the application the pool is level-triggered");
    }
    rig.settle(|pool, event| support::echo(pool, &event));
    rig.step(|_, event| panic!("{event:?} after everything was received"));
    assert_eq!(client.take(), b"hello\n");
}

#[test]
fn events_that_were_not_pulled_are_kept_and_the_loop_does_not_sleep_over_them() {
    let (mut rig, mut seen) = (Rig::<()>::new(SocketPool::builder()), Seen::default());
    let clients: Vec<_> =
        (0..50).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    rig.turn();
    while seen.opened.len() < 50 {
        if let Some(event) = rig.pool.next_event() {
            seen.note(&event);
        }
        assert!(seen.opened.len() == 50 || rig.pool.next_timeout() == Some(std::time::Duration::ZERO));
        rig.turn();
    }
    clients.iter().for_each(|client| client.send(b"hello\n"));
    rig.settle(seen.echo());
    assert!(clients.iter().all(|client| client.take() == b"hello\n"));
}

#[test]
fn a_crowd_at_one_listener_does_not_keep_another_waiting() {
    let (mut rig, mut seen) = (Rig::<()>::new(SocketPool::builder()), Seen::default());
    let other = rig.pool.listen("127.0.0.1:7001").unwrap();
    let crowd: Vec<_> =
        (0..1000).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    let peer = "192.0.2.2:1".parse::<SocketAddr>().unwrap().into();
    let single = rig.world.connect_to(&other, peer).unwrap();
    single.send(b"hello\n");
    rig.step(seen.echo());
    let accepted = rig.world.calls(Call::Accept);
    rig.step(seen.echo());
    assert_eq!(single.take(), b"hello\n", "served while the crowd still waits");
    assert!(accepted <= 256, "{accepted} accepts in one turn");
    rig.settle(seen.echo());
    assert_eq!(seen.opened.len(), 1001);
    drop(crowd);
}

/// Newcomers that wait at each of so many listeners, and how many of each were accepted in one turn.
fn accepted_in_a_turn(waiting: &[usize]) -> Vec<usize> {
    let mut rig = Rig::<()>::new(SocketPool::builder());
    let others = (1..waiting.len()).map(|index| format!("127.0.0.1:{}", 7000 + index));
    let mut addresses: Vec<Address> = rig.pool.addresses().cloned().collect();
    addresses.extend(others.map(|address| rig.pool.listen(&address).unwrap()));
    let mut crowds = Vec::new();
    for (index, (address, crowd)) in addresses.iter().zip(waiting).enumerate() {
        let peer = |port| SocketAddr::from(([192, 0, 2, index as u8], 1000 + port as u16)).into();
        crowds.extend((0..*crowd).map(|port| rig.world.connect_to(address, peer(port)).unwrap()));
    }
    rig.turn();
    let mut accepted = vec![0; waiting.len()];
    rig.pool.for_each(|conn| accepted[usize::from(conn.peer().to_string().as_bytes()[8] - b'0')] += 1);
    accepted
}

#[test]
fn a_listener_alone_has_all_the_accepts_of_a_turn() {
    assert_eq!(accepted_in_a_turn(&[1000]), [256]);
    assert_eq!(accepted_in_a_turn(&[1000, 0, 0]), [256, 0, 0], "nobody waits at the others");
}

#[test]
fn listeners_share_the_accepts_of_a_turn_equally() {
    assert_eq!(accepted_in_a_turn(&[1000; 4]), [64; 4]);
}

#[test]
fn what_one_listener_leaves_the_others_may_have() {
    // To find that a backlog is empty takes an accept, too.
    assert_eq!(accepted_in_a_turn(&[1000, 5, 1000, 0]), [125, 5, 125, 0]);
    assert_eq!(accepted_in_a_turn(&[5, 9, 1000]), [5, 9, 240]);
}

#[test]
fn a_broadcast_to_thousands_goes_out_in_slices_and_in_order() {
    let (mut rig, mut seen) = (Rig::<()>::new(SocketPool::builder()), Seen::default());
    let clients: Vec<_> =
        (0..1000).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    rig.settle(seen.echo());
    rig.pool.broadcast("first\n");
    rig.pool.broadcast("second\n");
    let (mut longest, mut before) = (0, rig.world.calls(Call::Send));
    while rig.pool.next_timeout() == Some(std::time::Duration::ZERO) {
        rig.step(seen.echo());
        longest = longest.max(rig.world.calls(Call::Send) - before);
        before = rig.world.calls(Call::Send);
    }
    assert!(longest <= 256, "{longest} sends in one turn");
    assert!(clients.iter().all(|client| client.take() == b"first\nsecond\n"));
}

#[test]
fn an_idle_server_sleeps_for_ever_and_does_nothing() {
    let builder = SocketPool::<()>::builder().idle_timeout(None).first_message_timeout(None);
    let (mut rig, mut seen) = (Rig::new(builder), Seen::default());
    let _clients: Vec<_> =
        (0..100).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    rig.settle(seen.echo());
    assert_eq!(rig.pool.next_timeout(), None);
    let turns = rig.pool.snapshot().counters.turns;
    rig.pass(ms(3_600_000), seen.echo());
    assert!(rig.pool.snapshot().counters.turns - turns <= 3, "an hour in three turns");
}

#[test]
fn other_connections_can_be_worked_with_while_an_event_is_handled() {
    let (mut rig, mut seen) = (Rig::<()>::new(SocketPool::builder()), Seen::default());
    let clients: Vec<_> =
        (0..100).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    rig.settle(seen.echo());
    clients.iter().for_each(|client| client.send(b"half "));
    rig.settle(seen.echo());
    clients[0].send(b"whole\n");
    let ids = seen.opened.clone();
    rig.settle(|pool, event| {
        if let Event::Readable(id) = event {
            answer(pool, id);
            // More than the pool keeps track of at a time, and back to the first.
            for other in &ids {
                assert_ne!(pool.conn(*other).queue(format!("from {id}\n").as_bytes()), Sent::Refused);
            }
            assert_eq!(pool.conn(id).id(), id);
        }
    });
    let told = format!("from {}\n", ids[0]);
    assert_eq!(clients[0].take(), format!("half whole\n{told}").as_bytes());
    assert!(clients[1..].iter().all(|client| client.take() == told.as_bytes()));
    clients[1..].iter().for_each(|client| client.send(b"whole\n"));
    rig.settle(seen.echo());
    assert!(clients[1..].iter().all(|client| client.take() == b"half whole\n"), "nobody's input was lost");
}
