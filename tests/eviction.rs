//! Who has to go when the pool is full, and who waits (DECISIONS 3 and 10). Each attack has its control.

mod support;

use std::time::Duration;

use socketpool::net::sim::{Client, End};
use socketpool::{
    Builder, ConnId, Event, Eviction, Proof, Reason, Refusal, SocketPool, SynProtection, WhenFull,
};
use support::{Rig, Seen, ms};

fn tiny(most: u32) -> Builder<()> {
    SocketPool::builder().max_connections(most)
}

fn connect(rig: &Rig<()>, port: u16) -> Client {
    rig.world.connect(&format!("192.0.2.1:{port}"))
}

#[test]
fn the_oldest_that_has_proven_nothing_makes_room() {
    let (mut rig, mut seen) = (Rig::new(tiny(3)), Seen::default());
    let first = connect(&rig, 1);
    first.send(b"hello\n");
    rig.settle(seen.echo());
    let second = connect(&rig, 2);
    rig.pass(ms(1), seen.echo());
    let third = connect(&rig, 3);
    rig.pass(ms(30), seen.echo());
    let fourth = connect(&rig, 4);
    rig.settle(seen.echo());
    assert_eq!(seen.closed, [(seen.opened[1], Reason::Evicted)]);
    assert_eq!(
        (first.end(), second.end(), third.end(), fourth.end()),
        (None, Some(End::Finished), None, None)
    );
}

#[test]
fn nobody_goes_within_the_grace_and_the_newcomer_waits_for_it() {
    let (mut rig, mut seen) = (Rig::new(tiny(1)), Seen::default());
    let _first = connect(&rig, 1);
    rig.settle(seen.echo());
    let _second = connect(&rig, 2);
    rig.pass(ms(19), seen.echo());
    assert_eq!((seen.closed.len(), rig.world.waiting()), (0, 1));
    rig.pass(ms(1), seen.echo());
    assert_eq!(seen.closed, [(seen.opened[0], Reason::Evicted)]);
}

#[test]
fn a_client_that_answers_within_the_grace_is_safe() {
    let (mut rig, mut seen) = (Rig::new(tiny(1)), Seen::default());
    let first = connect(&rig, 1);
    rig.pass(ms(15), seen.echo());
    first.send(b"hello\n");
    let _second = connect(&rig, 2);
    rig.pass(ms(10), seen.echo());
    assert_eq!((seen.closed.len(), rig.world.waiting()), (0, 1));
}

#[test]
fn a_proven_one_goes_only_when_idle_and_the_least_active_first() {
    let (mut rig, mut seen) = (Rig::new(tiny(2)), Seen::default());
    let (first, second) = (connect(&rig, 1), connect(&rig, 2));
    for client in [&first, &second] {
        client.send(b"hello\n");
        rig.pass(ms(100), seen.echo());
    }
    first.send(b"half a message");
    rig.settle(seen.echo());
    let _third = connect(&rig, 3);
    rig.pass(ms(100), seen.echo());
    assert_eq!(seen.closed, [(seen.opened[1], Reason::Evicted)], "the first is older, and busy");
}

#[test]
fn when_nobody_can_go_a_newcomer_waits_in_the_backlog_or_is_refused() {
    for when_full in [WhenFull::Wait, WhenFull::Refuse] {
        let builder = tiny(1).eviction(Eviction::Off).when_full(when_full);
        let (mut rig, mut seen) = (Rig::new(builder), Seen::default());
        let first = connect(&rig, 1);
        rig.settle(seen.echo());
        let second = connect(&rig, 2);
        rig.pass(ms(1000), seen.echo());
        let refused = rig.pool.snapshot().refused(Refusal::Full);
        match when_full {
            WhenFull::Refuse => assert_eq!((refused, second.end()), (1, Some(End::Finished))),
            _ => {
                assert_eq!((refused, second.end(), rig.world.waiting()), (0, None, 1));
                drop(first);
                rig.settle(seen.echo());
                assert_eq!(
                    seen.opened.len(),
                    2,
                    "it comes in as soon as there is room, without another edge"
                );
            }
        }
    }
}

#[test]
fn a_pool_made_smaller_closes_nobody() {
    let (mut rig, mut seen) = (Rig::new(tiny(4).eviction(Eviction::Off)), Seen::default());
    let mut clients: Vec<_> = (0..4).map(|port| connect(&rig, port + 1)).collect();
    rig.settle(seen.echo());
    rig.pool.reconfigure(|config| config.max_connections = 2).unwrap();
    let late = connect(&rig, 9);
    rig.pass(ms(500), seen.echo());
    assert_eq!((rig.pool.len(), rig.world.waiting()), (4, 1));
    clients.truncate(2);
    rig.settle(seen.echo());
    assert_eq!((rig.pool.len(), rig.world.waiting()), (2, 1));
    clients.truncate(1);
    rig.settle(seen.echo());
    assert_eq!((rig.pool.len(), rig.world.waiting()), (2, 0));
    drop(late);
}

#[test]
fn one_way_protocols_prove_themselves_by_what_is_used_up() {
    for (proof, evicted) in [(Proof::Answered, 1), (Proof::Consumed, 0)] {
        let (mut rig, mut seen) = (Rig::new(tiny(1).proof(proof).eviction_idle(ms(50))), Seen::default());
        let first = connect(&rig, 1);
        first.send(b"a measurement");
        let mut sink = |pool: &mut support::Pool<()>, event: Event<()>| {
            seen.note(&event);
            if let Event::Readable(id) = event {
                let mut conn = pool.conn(id);
                let n = conn.receive();
                conn.consume(n);
            }
        };
        rig.pass(ms(30), &mut sink);
        let _second = connect(&rig, 2);
        rig.pass(ms(5), &mut sink);
        assert_eq!(seen.closed.len(), evicted, "{proof}");
    }
}

#[test]
fn the_connection_whose_event_is_handled_is_not_evicted_by_an_add() {
    let (mut rig, mut seen) = (Rig::new(tiny(1).eviction_grace(Duration::ZERO)), Seen::default());
    let _first = connect(&rig, 1);
    rig.turn();
    let Some(Event::Opened(id)) = rig.pool.next_event() else { panic!("a newcomer is told of") };
    let (stream, _second) = rig.world.pair("192.0.2.1:2");
    let refused = rig.pool.add_stream(stream, socketpool::Peer::UNIX).unwrap_err();
    assert_eq!(refused.reason, Refusal::Full);
    assert_eq!(rig.pool.conn(id).id(), id, "the event's own id cannot be gone");
    drop(refused);
    rig.settle(seen.echo());
    assert_eq!(seen.closed.len(), 0);
}

#[test]
fn what_has_come_and_is_not_read_since_the_application_paused_keeps_a_place_for_nobody_but_a_hold_does() {
    for (held, evicted) in [(false, 1), (true, 0)] {
        let (mut rig, mut seen) = (Rig::new(tiny(1)), Seen::default());
        let first = connect(&rig, 1);
        first.send(b"hello\n");
        rig.settle(seen.echo());
        let mut conn = rig.pool.conn(seen.opened[0]);
        conn.pause_reading();
        if held {
            conn.hold();
        }
        first.send(b"are you there?\n");
        rig.pass(ms(2000), seen.echo());
        let _second = connect(&rig, 2);
        rig.pass(ms(10), seen.echo());
        assert_eq!((seen.closed.len(), rig.world.waiting()), (evicted, 1 - evicted), "held: {held}");
    }
}

#[test]
fn what_a_suspect_has_sent_during_its_delay_keeps_it_no_place() {
    let everybody = SynProtection::default().throttle_below(1.0).throttle_delay(ms(1000));
    for (suspects, evicted) in [(Some(everybody), 1), (None, 0)] {
        let builder = tiny(1).eviction_idle(ms(1000)).syn_protection(suspects);
        let (mut rig, mut seen) = (Rig::new(builder), Seen::default());
        let first = connect(&rig, 1);
        first.send(b"hello\n");
        rig.pass(ms(30), seen.echo());
        let _second = connect(&rig, 2);
        rig.pass(ms(10), seen.echo());
        assert_eq!(seen.closed.len(), evicted, "{:?}", rig.pool.config().syn_protection);
    }
}

/// Whom honest clients meet: 2,000 attackers at 1,024 slots, each of whom comes again as soon as it is closed.
struct Siege {
    rig: Rig<()>,
    attackers: Vec<Client>,
    /// What each attacker says when it comes, and every half second.
    first_words: &'static [u8],
    then: &'static [u8],
    port: u32,
}

const ATTACKERS: usize = 2000;

impl Siege {
    fn new(eviction: Eviction, first_words: &'static [u8], then: &'static [u8]) -> Self {
        let minute = Duration::from_secs(60);
        let builder = tiny(1024).eviction(eviction).first_message_timeout(minute).idle_timeout(minute);
        let mut siege = Self { rig: Rig::new(builder), attackers: Vec::new(), first_words, then, port: 0 };
        siege
            .rig
            .pool
            .listen_with("127.0.0.1:7001", socketpool::ListenOptions::default().backlog(4096))
            .unwrap();
        for _ in 0..ATTACKERS {
            let attacker = siege.come(13);
            siege.attackers.push(attacker);
        }
        siege
    }

    fn come(&mut self, host: u8) -> Client {
        self.port += 1;
        let peer = std::net::SocketAddr::from(([198, 51, 100, host], (self.port % 60_000) as u16));
        let listening = self.rig.pool.addresses().nth(1).cloned().unwrap();
        let client = self.rig.world.connect_to(&listening, peer.into()).expect("room in the backlog");
        if host == 13 {
            client.send(self.first_words);
        }
        client
    }

    fn pass_ten_ms(&mut self, tick: u64) {
        for place in 0..self.attackers.len() {
            if self.attackers[place].end().is_some() {
                let attacker = self.come(13);
                self.attackers[place] = attacker;
            } else if tick.is_multiple_of(50) {
                self.attackers[place].send(self.then);
            }
        }
        self.rig.pass(ms(10), |pool, event| support::echo(pool, &event));
    }

    /// Of 200 honest clients, each of whom wants three answers within a second, how many get them; and how long they
    /// wait for the first, as percentile 99, in ticks of 10 ms.
    fn honest(mut self) -> (usize, u64) {
        (0..20).for_each(|tick| self.pass_ten_ms(tick));
        let (mut honest, mut served, mut waits) = (Vec::new(), 0, Vec::new());
        for tick in 0..300 {
            if tick < 200 {
                let client = self.come(1);
                client.send(b"first\n");
                honest.push((client, tick, 0));
            }
            self.pass_ten_ms(tick);
            honest.retain_mut(|(client, since, answers)| {
                if !client.take().is_empty() {
                    *answers += 1;
                    if *answers == 1 {
                        waits.push(tick + 1 - *since);
                    }
                    if *answers == 3 {
                        served += 1;
                        return false;
                    }
                    client.send(b"next\n");
                }
                client.end().is_none() && tick - *since < 100
            });
        }
        waits.sort_unstable();
        (served, waits.get(waits.len() * 99 / 100).copied().unwrap_or(u64::MAX))
    }
}

#[test]
fn two_thousand_dribblers_keep_no_honest_client_out() {
    let (served, p99) = Siege::new(Eviction::OldestUnproven, b"x", b"x").honest();
    println!("dribblers: {served} of 200 served, p99 {} ms", p99 * 10);
    assert!(served >= 198, "{served} of 200");
}

#[test]
fn without_eviction_dribblers_keep_everybody_out() {
    let (served, _) = Siege::new(Eviction::Off, b"x", b"x").honest();
    assert_eq!(served, 0);
}

#[test]
fn two_thousand_that_complete_one_line_and_hold_keep_no_honest_client_out() {
    let (served, p99) = Siege::new(Eviction::OldestUnproven, b"hello\n", b"").honest();
    println!("holders after one line: {served} of 200 served, p99 {} ms", p99 * 10);
    assert!(served >= 198, "{served} of 200");
}

#[test]
fn without_eviction_those_who_hold_after_one_line_keep_everybody_out() {
    let (served, _) = Siege::new(Eviction::Off, b"hello\n", b"").honest();
    assert_eq!(served, 0);
}

#[test]
fn whoever_the_application_has_not_heard_of_is_not_evicted_behind_its_back() {
    let (mut rig, mut opened) = (Rig::new(tiny(2).eviction_grace(Duration::ZERO)), Vec::<ConnId>::new());
    let _clients: Vec<_> = (0..6).map(|port| connect(&rig, port + 1)).collect();
    // Events are pulled late.
    for _ in 0..5 {
        rig.turn();
        rig.hand.advance(ms(10));
    }
    rig.pass(ms(100), |_, event| match event {
        Event::Opened(id) => opened.push(id),
        Event::Closed { id, .. } => assert!(opened.contains(&id), "{id} ends and has never begun"),
        _ => {}
    });
    assert_eq!(opened.len(), 6);
}
