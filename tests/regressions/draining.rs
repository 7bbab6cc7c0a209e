//! Drains that did not end.

use socketpool::net::sim::{Call, Client, Schedule};
use socketpool::{Address, Event, Reason, State};

use super::{SECOND, asked, builder, connect, peer};
use crate::support::{Pool, Rig, Seen, answer};

#[test]
fn what_is_closed_when_done_during_a_drain_ends_though_more_has_come() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"par");
    rig.settle(seen.echo());
    rig.pool.drain(10 * SECOND);
    rig.settle(seen.echo());
    client.send(b"QUIT\nrest");
    rig.settle(|pool, event| {
        seen.note(&event);
        if let Event::Readable(id) = event {
            answer(pool, id);
            pool.conn(id).close_when_done();
        }
    });
    assert_eq!((client.take(), seen.reasons()), (b"parQUIT\n".to_vec(), vec![Reason::Closed]));
    assert_eq!(rig.pool.state(), State::Drained);
}

#[test]
fn a_drain_ends_when_accepting_is_paused_during_the_last_call() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let _waiting: Vec<_> = (1..=100).map(|port| connect(&rig, port)).collect();
    rig.pool.drain(SECOND);
    rig.pool.pause_accepting();
    rig.pass(2 * SECOND, seen.echo());
    assert_eq!((rig.pool.state(), seen.drained, rig.pool.addresses().count()), (State::Drained, 1, 0));
}

#[test]
fn a_drain_does_not_wait_for_a_listener_that_is_left_alone() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    rig.settle(seen.echo());
    rig.world.fail_next(Call::Accept, libc::EBADF, Schedule::Once);
    let client = connect(&rig, 1);
    client.send(b"hi\n");
    rig.settle(seen.echo());
    rig.pool.drain(None);
    rig.settle(seen.echo());
    assert_eq!((rig.pool.state(), client.take()), (State::Drained, b"hi\n".to_vec()), "no time has passed");
}

#[test]
fn a_turn_that_a_drain_begins_in_takes_no_more_than_any_other() {
    for from_outside in [true, false] {
        let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
        let clients = asked(&rig, 1000, 900);
        if from_outside {
            rig.pool.handle().drain(None).unwrap();
            rig.step(seen.echo());
        } else {
            rig.step(seen.echo());
            rig.pool.drain(None);
        }
        assert_eq!(rig.pool.snapshot().counters.accepted, 256);
        rig.settle(seen.echo());
        assert!(clients.iter().all(|client| client.take() == b"a\n"), "and everybody has his turn");
        assert_eq!(rig.pool.state(), State::Drained);
    }
}

#[test]
fn a_crowd_at_one_listener_is_taken_for_no_more_than_were_there_however_many_listeners_there_are() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let address = rig.pool.addresses().next().unwrap().clone();
    for _ in 0..7 {
        rig.pool.listen("127.0.0.1:0").unwrap();
    }
    rig.settle(seen.echo());
    let mut crowd: Vec<_> = (1..=300).map_while(|port| come_to(&rig, &address, port)).collect();
    rig.pool.drain(None);
    for _ in 0..40 {
        crowd = (1..=300).map_while(|port| come_to(&rig, &address, port)).collect();
        rig.step(seen.echo());
    }
    drop(crowd);
    rig.settle(seen.echo());
    let accepted = rig.pool.snapshot().counters.accepted;
    assert!(accepted <= 1025, "{accepted} were taken in after the drain had begun");
    assert_eq!((rig.pool.state(), seen.drained), (State::Drained, 1));
}

fn come_to(rig: &Rig<()>, address: &Address, port: u16) -> Option<Client> {
    rig.world.connect_to(address, peer(&format!("192.0.2.1:{port}")))
}

#[test]
fn broadcasts_without_end_do_not_keep_a_drain_from_ending() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let _clients = asked(&rig, 1000, 600);
    rig.settle(seen.echo());
    let handle = rig.pool.handle();
    handle.broadcast("x".into()).unwrap();
    rig.step(seen.echo());
    rig.pool.drain(None);
    for _ in 0..100 {
        handle.broadcast("x".into()).unwrap();
        rig.step(seen.echo());
    }
    assert_eq!((rig.pool.state(), seen.drained), (State::Drained, 1));
}

#[test]
fn a_broadcast_proves_nobody() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"x");
    rig.settle(seen.echo());
    rig.pool.broadcast("news\n");
    rig.settle(seen.echo());
    assert_eq!(client.take(), b"news\n");
    assert!(!rig.pool.conn(seen.opened[0]).is_proven());
    rig.pass(30 * SECOND, seen.echo());
    assert_eq!(seen.reasons(), [Reason::FirstMessage]);
}

#[test]
fn whoever_is_closed_when_done_is_not_read_any_more_whoever_asked_for_it() {
    for from_outside in [true, false] {
        let (mut rig, mut seen, mut readable) = (Rig::new(builder()), Seen::default(), 0);
        let client = connect(&rig, 1);
        client.send(b"first\n");
        let mut handle = |pool: &mut Pool<()>, event: Event<()>| {
            seen.note(&event);
            if let Event::Readable(id) = event {
                readable += 1;
                let mut conn = pool.conn(id);
                conn.receive();
                conn.consume(usize::MAX); // the answer takes its time
            }
        };
        rig.settle(&mut handle);
        let id = rig.pool.ids().next().unwrap();
        if from_outside {
            rig.pool.handle().close_when_done(id).unwrap();
        } else {
            rig.pool.conn(id).close_when_done();
        }
        rig.settle(&mut handle);
        client.send(b"second\n");
        rig.settle(&mut handle);
        let _ = rig.pool.conn(id).send(b"answer\n");
        rig.settle(&mut handle);
        assert_eq!(
            (readable, client.take(), seen.reasons()),
            (1, b"answer\n".to_vec(), vec![Reason::Closed])
        );
    }
}
