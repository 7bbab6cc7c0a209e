//! Pools on a simulated world that share a protection.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::admission::{Protection, SynProtection};
use crate::clock::{Clock, Hand, Nanos};
use crate::net::Reactor;
use crate::net::sim::{Client, Sim, World};
use crate::reason::Refusal;
use crate::server::{Builder, SocketPool};

struct Rig {
    world: World,
    hand: Hand,
    reactor: Reactor<Sim>,
    pool: SocketPool<(), Sim>,
}

impl Rig {
    fn new(builder: Builder<()>) -> Self {
        let world = World::new();
        let (clock, hand) = Clock::manual();
        let mut reactor = Reactor::over(world.poller());
        let mut pool = builder.clock(clock).build_over(&mut reactor, world.clone()).unwrap();
        pool.listen("127.0.0.1:7000").unwrap();
        Self { world, hand, reactor, pool }
    }

    fn settle(&mut self) {
        for _ in 0..10 {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
            self.pool.process(&mut self.reactor);
            while self.pool.next_event().is_some() {}
        }
    }

    fn pass(&mut self, span: Duration) {
        self.hand.advance(span);
        self.settle();
    }

    fn connect(&mut self, ip: &str) -> Client {
        let client = self.world.connect(&format!("{ip}:4711"));
        self.settle();
        client
    }
}

fn protection(settings: SynProtection) -> Arc<Mutex<Protection>> {
    Arc::new(Mutex::new(Protection::new(settings, 10, 10, Nanos::ZERO).unwrap()))
}

fn builder() -> Builder<()> {
    SocketPool::builder().max_connections(100)
}

#[test]
fn a_flood_on_one_pool_is_blocked_at_the_other_too() {
    let shared = protection(SynProtection::default().max_attempts(10));
    let (mut one, mut other) = (Rig::new(builder()), Rig::new(builder()));
    let free_before = one.connect("198.51.100.1");
    for rig in [&mut one, &mut other] {
        rig.pool.share_protection(Some((&shared, Nanos::ZERO))).unwrap();
    }
    let crowd: Vec<Client> = (0..40).map(|_| one.connect("198.51.100.13")).collect();
    let inside = crowd.iter().filter(|client| client.end().is_none()).count();
    assert!(inside.abs_diff(10) <= 1, "{inside}");
    assert_eq!(one.pool.snapshot().refused(Refusal::Flood), 40 - inside as u64);
    assert!(other.connect("198.51.100.13").end().is_some());
    assert!(other.connect("192.0.2.1").end().is_none(), "others are not blocked");
    assert!(free_before.end().is_none());

    let without = Rig::new(builder());
    let mut control = without;
    let crowd: Vec<Client> = (0..40).map(|_| control.connect("198.51.100.13")).collect();
    assert!(crowd.iter().all(|client| client.end().is_none()), "without protection all get in");
}

#[test]
fn first_proofs_are_successes_and_ends_without_one_are_failures() {
    let shared = protection(SynProtection::default().max_attempts(10));
    let mut rig = Rig::new(builder());
    rig.pool.share_protection(Some((&shared, Nanos::ZERO))).unwrap();
    for _ in 0..200 {
        let client = rig.connect("192.0.2.1");
        assert!(client.end().is_none(), "whoever makes good may come as often as he likes");
        rig.pool.for_each(|connection| {
            connection.prove();
            connection.close();
        });
        rig.settle();
    }
    for _ in 0..4 {
        let _client = rig.connect("192.0.2.2");
        let id = rig.pool.connections().next().unwrap().id;
        assert!(rig.pool.kill(id));
        rig.settle();
    }
    let mut shared = shared.lock().unwrap();
    let told =
        |shared: &mut Protection, ip: &str| format!("{:?}", shared.sight(ip.parse().unwrap(), Nanos::ZERO));
    assert!(told(&mut shared, "192.0.2.1").contains("successes: 200, failures: 0"));
    assert!(told(&mut shared, "192.0.2.2").contains("successes: 0, failures: 4"));
    assert_eq!(shared.live(), 0);
}

#[test]
fn a_throttled_newcomer_is_read_from_later_and_nothing_waits_for_that() {
    let throttles = SynProtection::default().throttle_below(1.0).throttle_delay(Duration::from_millis(100));
    let shared = protection(throttles);
    let mut rig = Rig::new(builder());
    rig.pool.share_protection(Some((&shared, Nanos::ZERO))).unwrap();
    let client = rig.connect("192.0.2.1");
    client.send(b"hello\n");
    rig.settle();
    let received = |rig: &mut Rig| {
        let mut received = 0;
        rig.pool.for_each(|connection| received += connection.receive());
        received
    };
    assert_eq!((rig.pool.len(), rig.pool.snapshot().counters.delayed), (1, 1));
    assert_eq!(rig.pool.connections().next().unwrap().state, crate::health::Phase::Delayed);
    rig.pass(Duration::from_millis(100));
    assert_eq!(received(&mut rig), 6);
}

#[test]
fn a_protection_may_be_changed_taken_away_or_dropped_at_any_time() {
    let (first, second) =
        (protection(SynProtection::default()), protection(SynProtection::default().attempt_penalty(1.0)));
    let mut rig = Rig::new(builder());
    rig.pool.share_protection(Some((&first, Nanos::ZERO))).unwrap();
    let _held: Vec<Client> = (0..5).map(|_| rig.connect("192.0.2.1")).collect();
    rig.pool.share_protection(Some((&first, Nanos::ZERO))).unwrap();
    assert_eq!(first.lock().unwrap().live(), 5, "the same again changes nothing");
    rig.pool.share_protection(Some((&second, Nanos::ZERO))).unwrap();
    assert_eq!((first.lock().unwrap().live(), second.lock().unwrap().tracked()), (0, 0));
    assert!(rig.connect("192.0.2.1").end().is_some());
    rig.pool.share_protection(None).unwrap();
    assert!(rig.connect("192.0.2.1").end().is_none());
    rig.pool.share_protection(Some((&second, Nanos::ZERO))).unwrap();
    drop(second);
    assert!(rig.connect("192.0.2.1").end().is_none(), "one that is gone is none");
    rig.pool.force_close_all();
    rig.settle();
    assert!(rig.pool.is_empty());
}

#[test]
fn a_pool_that_is_dropped_holds_no_addresses() {
    let shared = protection(SynProtection::default());
    let mut rig = Rig::new(builder());
    rig.pool.share_protection(Some((&shared, Nanos::ZERO))).unwrap();
    let _held: Vec<Client> = (0..5).map(|n| rig.connect(&format!("192.0.2.{n}"))).collect();
    assert_eq!(shared.lock().unwrap().live(), 5);
    drop(rig);
    let shared = shared.lock().unwrap();
    assert_eq!((shared.live(), shared.tracked()), (0, 5));
}
