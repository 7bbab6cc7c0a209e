//! Events of a connection that has gone never reach the one that has its slot and its descriptor now: the
//! two-events-in-one-batch case, a thousand rounds in each of the ways in which it can come about.

mod support;

use socketpool::net::Party;
use socketpool::{ConnId, Error, Event, Peer, Reason, SocketPool};
use support::{Pool, Rig, ms};

const ROUNDS: u64 = 1000;

/// One slot for two connections: `pool` has room for the listener's first two, and the second makes way for a third.
fn rig() -> Rig<&'static str> {
    let builder = SocketPool::builder().max_connections(2).idle_timeout(None).first_message_timeout(None);
    Rig::new(builder)
}

#[test]
fn what_was_queued_for_one_does_not_reach_its_successor_in_the_next_turn() {
    let mut rig = rig();
    for round in 0..ROUNDS {
        let (first, second) = (rig.world.connect("192.0.2.1:1"), rig.world.connect("192.0.2.1:2"));
        let mut ids = Vec::new();
        rig.settle(|_, event| ids.extend(matches!(event, Event::Opened(_)).then(|| event.id().unwrap())));
        let (a, b) = (ids[0], ids[1]);
        let descriptor = second.server_fd();

        // Both are in one batch; while the first is handled the second is killed, and a third takes its place.
        first.send(b"x");
        second.finish();
        let third = rig.world.connect("192.0.2.1:3");
        rig.turn();
        assert_eq!(rig.pool.next_event(), Some(Event::Readable(a)));
        rig.pool.conn(a).receive();
        rig.pool.kill(b);
        let mut events = Vec::new();
        rig.settle(|_, event| events.push(event));
        let (Some(Event::Closed { id: gone, reason: Reason::Killed, .. }), rest) =
            (events.first(), &events[1..])
        else {
            panic!("{events:?}");
        };
        assert_eq!(*gone, b);
        let [Event::Opened(c)] = rest else { panic!("the newcomer hears what was not its own: {rest:?}") };
        assert_ne!(*c, b);
        // A token of the slot alone would have named the newcomer.
        assert_eq!((c.slot(), third.server_fd()), (b.slot(), descriptor), "round {round}");
        clear(&mut rig);
    }
}

/// A shared reactor collects events for its parties before they look, and meanwhile the application goes on.
#[test]
fn what_the_reactor_has_collected_does_not_reach_a_successor_that_came_before_the_pool_looked() {
    let mut rig = rig();
    let mut would_be_misled = 0;
    for _ in 0..ROUNDS {
        let (_first, second) = (rig.world.connect("192.0.2.1:1"), rig.world.connect("192.0.2.1:2"));
        let mut ids = Vec::new();
        rig.settle(|_, event| ids.extend(matches!(event, Event::Opened(_)).then(|| event.id().unwrap())));
        let b = ids[1];

        second.finish();
        rig.pool.kill(b);
        rig.reactor.turn(None).unwrap();
        let closed = rig.pool.next_event();
        assert!(matches!(closed, Some(Event::Closed { id, .. }) if id == b), "{closed:?}");
        let (stream, third) = rig.world.pair("192.0.2.1:3");
        let c = rig
            .pool
            .add_stream(stream, "192.0.2.1:3".parse::<std::net::SocketAddr>().unwrap().into())
            .unwrap();
        would_be_misled += u64::from(c.slot() == b.slot());
        rig.pool.process(&mut rig.reactor);
        assert_eq!(told(&mut rig), [Event::Opened(c)]);
        third.send(b"y");
        rig.turn();
        assert_eq!(told(&mut rig), [Event::Readable(c)], "its own events do reach it");
        clear(&mut rig);
    }
    let stale = rig.pool.snapshot().counters.stale_events;
    assert_eq!(
        (stale, would_be_misled),
        (ROUNDS, ROUNDS),
        "each round had its stale event, for a slot in use"
    );
}

/// While somebody else holds a copy of a descriptor, the kernel goes on telling of it after we have closed ours.
#[test]
fn what_is_told_of_a_closed_descriptor_reaches_nobody() {
    let mut rig = rig();
    rig.world.hold_copies(true);
    let mut would_be_misled = 0;
    for _ in 0..ROUNDS {
        let (_first, second) = (rig.world.connect("192.0.2.1:1"), rig.world.connect("192.0.2.1:2"));
        let mut ids = Vec::new();
        rig.settle(|_, event| ids.extend(matches!(event, Event::Opened(_)).then(|| event.id().unwrap())));
        let b = ids[1];

        rig.pool.kill(b);
        rig.turn();
        second.finish();
        assert_eq!(told(&mut rig).len(), 1, "the second is closed with an edge untold");
        let third = rig.world.connect("192.0.2.1:3");
        let mut opened: Option<ConnId> = None;
        rig.settle(|_, event| match event {
            Event::Opened(id) => opened = Some(id),
            other => panic!("{other:?} is nobody's"),
        });
        would_be_misled += u64::from(opened.unwrap().slot() == b.slot());
        drop(third);
        rig.world.hold_copies(false);
        clear(&mut rig);
        rig.world.hold_copies(true);
    }
    let stale = rig.pool.snapshot().counters.stale_events;
    assert_eq!(
        (stale, would_be_misled),
        (ROUNDS, ROUNDS),
        "each round had its stale event, for a slot in use"
    );
}

fn pool_at(rig: &mut Rig<&'static str>, limit: u32) -> Result<Pool<()>, Error> {
    SocketPool::builder().max_connections(limit).build_over(&mut rig.reactor, rig.world.clone())
}

#[test]
fn pools_that_come_and_go_at_a_reactor_give_their_places_back() {
    let mut rig = rig();
    for _ in 0..100 {
        pool_at(&mut rig, 1).unwrap();
        pool_at(&mut rig, 0).unwrap_err();
    }
    let others: Vec<_> = (1..Party::MAX).map(|_| pool_at(&mut rig, 1).unwrap()).collect();
    assert!(matches!(pool_at(&mut rig, 1), Err(Error::State { .. })), "32 at a time");
    drop(others);
    pool_at(&mut rig, 1).unwrap();
}

/// Two pools that had the same number at the reactor, and a connection in the same slot of the same generation.
#[test]
fn what_was_collected_for_a_pool_that_was_dropped_does_not_reach_the_next_one() {
    for copies_are_held in [false, true] {
        let mut rig = rig();
        let peer = "192.0.2.1:1".parse::<std::net::SocketAddr>().unwrap().into();
        for _ in 0..ROUNDS {
            let (mut before, (stream, client)) =
                (pool_at(&mut rig, 1).unwrap(), rig.world.pair("192.0.2.1:1"));
            let gone = before.add_stream(stream, peer).unwrap();
            client.reset();
            if copies_are_held {
                rig.world.hold_copies(true);
                drop(before);
                rig.world.hold_copies(false);
                rig.reactor.turn(None).unwrap();
            } else {
                rig.reactor.turn(None).unwrap();
                drop(before);
            }
            let (mut after, (stream, _other)) =
                (pool_at(&mut rig, 1).unwrap(), rig.world.pair("192.0.2.1:2"));
            let id = after.add_stream(stream, peer).unwrap();
            assert_eq!(id, gone, "the token would be the same");
            after.process(&mut rig.reactor);
            assert_eq!(after.next_event(), Some(Event::Opened(id)));
            rig.reactor.turn(None).unwrap();
            after.process(&mut rig.reactor);
            assert_eq!(after.next_event(), None);
        }
    }
}

#[test]
fn a_pool_that_is_dropped_leaves_nothing_at_a_reactor_it_has_shared() {
    let mut rig = rig();
    rig.world.hold_copies(true);
    let mut before = pool_at(&mut rig, 1).unwrap();
    let address = before.listen("127.0.0.1:7001").unwrap();
    let (stream, client) = rig.world.pair("unix");
    before.add_stream(stream, Peer::UNIX).unwrap();
    client.send(b"x");
    let _waiting = rig.world.connect_to(&address, Peer::UNIX);
    drop(before);
    assert!(!rig.world.has_events());
}

#[test]
fn an_id_whose_connection_is_gone_finds_nothing_for_ever() {
    let mut rig = rig();
    let mut past: Vec<ConnId> = Vec::new();
    for _ in 0..ROUNDS {
        let client = rig.world.connect("192.0.2.1:1");
        rig.settle(|pool, event| {
            if let Event::Opened(id) = event {
                assert_eq!(pool.conn(id).userdata(), None, "a newcomer has nothing of its predecessor's");
                pool.conn(id).set_userdata("mine");
                assert!(
                    past.iter().rev().take(50).all(|gone| pool.get(*gone).is_none() && !pool.kill(*gone))
                );
                past.push(id);
            }
        });
        drop(client);
        rig.pass(ms(1), |pool, event| {
            if let Event::Readable(id) = event {
                pool.conn(id).receive();
            }
        });
        assert!(rig.pool.is_empty());
    }
    let distinct: std::collections::HashSet<_> = past.iter().collect();
    assert_eq!((past.len(), distinct.len()), (1000, 1000));
    assert!(past.iter().all(|id| id.slot() == past[0].slot()), "they all had one slot");
}

/// Pulls the events of this turn.
fn told(rig: &mut Rig<&'static str>) -> Vec<Event<&'static str>> {
    std::iter::from_fn(|| rig.pool.next_event()).collect()
}

/// Ends everybody.
fn clear(rig: &mut Rig<&'static str>) {
    let ids: Vec<_> = rig.pool.ids().collect();
    for id in ids {
        rig.pool.kill(id);
    }
    rig.settle(|_, _| {});
    assert!(rig.pool.is_empty());
}
