//! Calls from other threads: what waits is bounded, whatever calls, and what is not taken comes back.

mod support;

use socketpool::net::sim::Client;
use socketpool::{Bytes, CallError, ConnId, Reason, SendError, SocketPool, State};
use support::{Rig, Seen};

fn served(count: usize) -> (Rig<()>, Vec<Client>, Vec<ConnId>) {
    let (mut rig, mut seen) = (Rig::new(SocketPool::builder()), Seen::default());
    let clients = (0..count).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    rig.settle(seen.echo());
    (rig, clients, seen.opened)
}

#[test]
fn a_thread_that_sends_without_end_is_told_that_the_pool_is_full_and_has_its_bytes_back() {
    let (mut rig, clients, ids) = served(1);
    let handle = rig.pool.handle();
    let mut taken = 0;
    let unsent = loop {
        match handle.send(ids[0], "x".into()) {
            Ok(()) => taken += 1,
            Err(unsent) => break unsent,
        }
    };
    assert_eq!((taken, unsent), (65_536, SendError { bytes: "x".into(), reason: CallError::Full }));
    assert_eq!(handle.clone().kill(ids[0]), Err(CallError::Full), "the same bound for all handles");
    rig.turn();
    assert!((0..256).all(|_| handle.send(ids[0], "y".into()).is_ok()), "a turn makes room for 256");
    handle.send(ids[0], "y".into()).unwrap_err();
    rig.settle(Seen::default().echo());
    assert_eq!(clients[0].take().len(), 65_536 + 256, "what was taken is done, and nothing else");
}

#[test]
fn a_thread_that_has_run_wild_keeps_no_operator_out() {
    let (mut rig, _clients, ids) = served(1);
    let handle = rig.pool.handle();
    while handle.send(ids[0], "x".into()).is_ok() {}
    assert_eq!((handle.wake(), handle.pause_accepting(), handle.drain(None)), (Ok(()), Ok(()), Ok(())));
    let drains = (0..10_000).take_while(|_| handle.drain(None).is_ok()).count();
    assert!(drains < 1_024, "nor has it a way to memory by that: {drains}");
    assert_eq!(handle.wake(), Ok(()), "it wakes anyway");
    let mut seen = Seen::default();
    rig.settle(seen.echo());
    assert_eq!((rig.pool.state(), seen.reasons()), (State::Drained, vec![Reason::Drained]));
}

#[test]
fn whoever_drains_waits_few_turns_behind_a_thread_that_has_run_wild() {
    let (mut rig, clients, ids) = served(1);
    let handle = rig.pool.handle();
    let send_all_you_can = || while handle.send(ids[0], Bytes::from_static(b"x")).is_ok() {};
    send_all_you_can();
    rig.turn();
    assert_eq!(clients[0].take().len(), 256, "in a hurry is only who has a reason");
    handle.drain(None).unwrap();
    let mut turns = 0;
    while rig.pool.state() == State::Active {
        rig.turn();
        send_all_you_can();
        turns += 1;
    }
    assert_eq!(turns, 16);
    assert_eq!(clients[0].take().len(), 65_536 - 256, "what was asked for before is done before");
}

#[test]
fn a_thread_that_wakes_without_end_keeps_no_operator_out() {
    let (mut rig, _clients, _) = served(1);
    let handle = rig.pool.handle();
    assert!((0..70_000).all(|_| handle.wake().is_ok()));
    assert_eq!((handle.pause_accepting(), handle.drain(None)), (Ok(()), Ok(())));
    rig.settle(Seen::default().echo());
    assert_eq!(rig.pool.state(), State::Drained);
}

#[test]
fn a_broadcast_counts_until_it_has_reached_everybody() {
    let (mut rig, _clients, _) = served(1000);
    let handle = rig.pool.handle();
    let news = Bytes::from(vec![b'x'; 16 << 20]);
    (0..4).for_each(|_| handle.broadcast(news.clone()).unwrap());
    assert_eq!(handle.broadcast(news.clone()).unwrap_err().reason, CallError::Full, "64 MiB wait");
    rig.turn();
    assert_eq!(handle.broadcast("y".into()).unwrap_err().reason, CallError::Full, "they are under way");
    rig.settle(Seen::default().echo());
    (0..4).for_each(|_| handle.broadcast(news.clone()).unwrap());
    assert_eq!(handle.broadcast(news).unwrap_err().reason, CallError::Full);
    drop(rig.pool);
    assert_eq!(handle.broadcast("z".into()).unwrap_err().reason, CallError::Gone);
}

#[test]
fn what_a_draining_pool_does_not_broadcast_takes_no_room() {
    let (mut rig, _clients, ids) = served(1);
    let handle = rig.pool.handle();
    rig.pool.conn(ids[0]).hold();
    rig.pool.drain(None);
    for _ in 0..10 {
        handle.broadcast(Bytes::from(vec![b'x'; 64 << 20])).unwrap();
        rig.turn();
    }
}
