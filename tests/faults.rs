//! Every error that the kernel can answer with, injected at the seam of the net: once, at every second call, and from
//! now on. What passes costs nobody the connection or a byte; what does not ends one connection and leaks nothing.

mod support;

use std::cell::Cell;
use std::sync::Once;

use socketpool::net::sim::{Call, Client, Schedule};
use socketpool::{Builder, Event, Eviction, Peer, Reason, Refusal, Sent, SocketPool};
use support::{Rig, Seen, answer, ms};

const SHORTAGES: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
const ABORTED: [i32; 4] = [libc::ECONNABORTED, libc::EINTR, libc::EPROTO, libc::EPERM];

/// Failures that pass: the call would succeed later.
fn passing() -> Vec<(Call, i32)> {
    let accept = SHORTAGES.iter().chain(&ABORTED).map(|errno| (Call::Accept, *errno));
    let others = [
        (Call::Receive, libc::EAGAIN),
        (Call::Receive, libc::ENOMEM),
        (Call::Receive, libc::ENOBUFS),
        (Call::Send, libc::EAGAIN),
        (Call::Send, libc::ENOBUFS),
        (Call::Watch, libc::ENOSPC),
        (Call::Watch, libc::ENOMEM),
        (Call::WatchRoom, libc::ENOSPC),
        (Call::WatchRoom, libc::ENOMEM),
        (Call::Wait, libc::EINTR),
    ];
    accept.chain(others).collect()
}

/// Twenty clients that come one after the other and send four lines each, to a server whose calls fail.
struct Afternoon {
    rig: Rig<()>,
    clients: Vec<Client>,
    seen: Seen,
}

impl Afternoon {
    fn with(call: Call, errno: i32, schedule: Schedule, eviction: Eviction) -> Self {
        let builder = SocketPool::builder().max_connections(100).eviction(eviction);
        let rig = Rig::new(builder);
        // Few bytes fit at a time, so that every answer must wait for room once.
        rig.world.set_window(3);
        rig.world.fail_next(call, errno, schedule);
        let mut afternoon = Self { rig, clients: Vec::new(), seen: Seen::default() };
        for round in 0..20 {
            let port = 1000 + round;
            afternoon.clients.push(afternoon.rig.world.connect(&format!("192.0.2.1:{port}")));
            for (index, client) in afternoon.clients.iter().enumerate().filter(|(index, _)| round - index < 4)
            {
                client.send(format!("line {} of {index}\n", round - index).as_bytes());
            }
            afternoon.pass_some();
        }
        afternoon.rig.world.heal(call);
        for _ in 0..500 {
            afternoon.pass_some();
        }
        afternoon
    }

    /// Ten milliseconds of a loop that may never rest while something fails.
    fn pass_some(&mut self) {
        for client in &self.clients {
            client.set_window(5);
        }
        for _ in 0..4 {
            self.rig.step(self.seen.echo());
            self.rig.pool.assert_invariants();
        }
        self.rig.hand.advance(ms(10));
    }

    fn close(self) -> Seen {
        drop(self.rig.pool);
        drop(self.clients);
        self.rig.world.assert_all_closed();
        self.seen
    }
}

#[test]
fn what_passes_costs_nobody_the_connection_or_a_byte() {
    for (call, errno) in passing() {
        for schedule in [Schedule::Once, Schedule::Every(2), Schedule::FromNowOn] {
            // A shortage that lasts makes room by evicting, which is another story.
            let lasting = schedule == Schedule::FromNowOn && SHORTAGES.contains(&errno);
            let eviction = if lasting { Eviction::Off } else { Eviction::OldestUnproven };
            let afternoon = Afternoon::with(call, errno, schedule, eviction);
            let what = format!("{call:?} failing with {errno}, {schedule:?}");
            assert!(afternoon.rig.world.calls(call) > 2, "{what} was tried");
            assert_eq!(afternoon.seen.reasons(), [], "{what} closed somebody");
            for (index, client) in afternoon.clients.iter().enumerate() {
                let rounds = 4.min(20 - index);
                let lines: String = (0..rounds).map(|line| format!("line {line} of {index}\n")).collect();
                assert_eq!(String::from_utf8(client.take()).unwrap(), lines, "{what}, client {index}");
                assert_eq!(client.end(), None, "{what}");
            }
            let seen = afternoon.close();
            assert_eq!(seen.opened.len(), 20, "{what}");
        }
    }
}

#[test]
fn what_does_not_pass_ends_the_connection_it_befell_and_leaks_nothing() {
    let fatal = [
        (Call::Receive, libc::ECONNRESET),
        (Call::Receive, libc::ETIMEDOUT),
        (Call::Send, libc::EPIPE),
        (Call::Send, libc::ECONNRESET),
    ];
    for (call, errno) in fatal {
        for (schedule, ends) in
            [(Schedule::Once, 1..=1), (Schedule::Every(2), 2..=20), (Schedule::FromNowOn, 20..=20)]
        {
            let afternoon = Afternoon::with(call, errno, schedule, Eviction::Off);
            let reasons = afternoon.seen.reasons();
            assert!(ends.contains(&reasons.len()), "{call:?} {errno} {schedule:?} ended {}", reasons.len());
            assert!(reasons.iter().all(|reason| *reason == Reason::Error), "{reasons:?}");
            let left = afternoon.clients.iter().filter(|client| client.end().is_none()).count();
            assert_eq!(left, 20 - reasons.len(), "nobody else is touched");
            let seen = afternoon.close();
            let mut ids: Vec<_> = seen.closed.iter().map(|(id, _)| *id).collect();
            ids.dedup();
            assert_eq!(ids.len(), seen.closed.len(), "each end is told once");
        }
    }
}

#[test]
fn a_newcomer_that_can_never_be_watched_is_refused_and_counted() {
    for (schedule, refused) in [(Schedule::Once, 1), (Schedule::Every(2), 10), (Schedule::FromNowOn, 20)] {
        let mut afternoon = Afternoon::with(Call::Watch, libc::EPERM, schedule, Eviction::OldestUnproven);
        let snapshot = afternoon.rig.pool.snapshot();
        assert_eq!(snapshot.refused(Refusal::Register), refused, "{schedule:?}");
        let ended = afternoon.clients.iter().filter(|client| client.end().is_some()).count() as u64;
        assert_eq!((ended, snapshot.closed_total()), (refused, 0), "nobody else is touched");
        afternoon.close();
    }
}

#[test]
fn a_read_for_which_the_kernel_has_no_memory_is_tried_again_and_the_loop_rests_meanwhile() {
    for errno in [libc::ENOMEM, libc::ENOBUFS] {
        let timeouts = SocketPool::builder().first_message_timeout(ms(2000)).idle_timeout(ms(2000));
        let (mut rig, mut seen) = (Rig::<()>::new(timeouts), Seen::default());
        let client = rig.world.connect("192.0.2.1:1000");
        rig.settle(seen.echo());
        rig.world.fail_next(Call::Receive, errno, Schedule::FromNowOn);
        client.send(b"hello\n");
        let before = rig.world.calls(Call::Receive);
        for _ in 0..10 {
            // A loop that does not rest makes this panic.
            rig.pass(ms(1000), seen.echo());
            rig.pool.assert_invariants();
        }
        let tries = rig.world.calls(Call::Receive) - before;
        assert!((100..=1001).contains(&tries), "{tries} tries in ten seconds");
        assert_eq!(seen.reasons(), [], "that it is not heard is not held against it");

        rig.world.heal(Call::Receive);
        rig.pass(ms(20), seen.echo());
        assert_eq!(client.take(), b"hello\n", "no edge told that there was memory again");
    }
}

#[test]
fn whoever_leaves_while_the_kernel_has_no_memory_to_hear_it_is_still_heard() {
    let (mut rig, mut seen) = (Rig::<()>::new(SocketPool::builder()), Seen::default());
    let client = rig.world.connect("192.0.2.1:1000");
    rig.settle(seen.echo());
    rig.world.fail_next(Call::Receive, libc::ENOMEM, Schedule::FromNowOn);
    client.send(b"last words\n");
    client.finish();
    rig.settle(seen.echo());
    assert_eq!((seen.read_closed, client.take()), (0, vec![]));
    rig.world.heal(Call::Receive);
    rig.pass(ms(20), seen.echo());
    assert_eq!((seen.read_closed, client.take()), (1, b"last words\n".to_vec()));
    assert_eq!(seen.reasons(), [Reason::Peer]);
}

/// A server that has one client, and for whose next newcomer the poller has no memory.
fn without_memory_to_watch(builder: Builder<()>) -> (Rig<()>, Client, Vec<Client>, Seen) {
    let (mut rig, mut seen) = (Rig::new(builder), Seen::default());
    let first = rig.world.connect("192.0.2.1:1000");
    rig.settle(seen.echo());
    rig.world.fail_next(Call::Watch, libc::ENOSPC, Schedule::FromNowOn);
    let newcomers: Vec<_> =
        (0..5).map(|port| rig.world.connect(&format!("192.0.2.2:{}", 1000 + port))).collect();
    newcomers.iter().for_each(|client| client.send(b"hello\n"));
    rig.settle(seen.echo());
    (rig, first, newcomers, seen)
}

#[test]
fn while_newcomers_cannot_be_watched_they_wait_and_the_loop_rests() {
    count_complaints();
    COMPLAINTS.set(0);
    let timeouts = SocketPool::builder().first_message_timeout(ms(2000)).idle_timeout(ms(2000));
    let (mut rig, first, newcomers, mut seen) = without_memory_to_watch(timeouts);
    let before = rig.world.calls(Call::Watch);
    for _ in 0..10 {
        first.send(b"still here\n");
        rig.pass(ms(1000), seen.echo());
        assert_eq!(first.take(), b"still here\n", "the others are served");
    }
    let tries = rig.world.calls(Call::Watch) - before;
    assert!((10..=20).contains(&tries), "{tries} tries in ten seconds");
    assert!((1..=11).contains(&COMPLAINTS.get()), "{} complaints", COMPLAINTS.get());
    assert_eq!((rig.pool.len(), rig.world.waiting()), (2, 4), "one has his slot, the others wait");
    assert_eq!(seen.reasons(), [], "that he is not heard is not held against him");

    rig.world.heal(Call::Watch);
    rig.pass(ms(1000), seen.echo());
    assert!(newcomers.iter().all(|client| client.take() == b"hello\n"), "nobody is lost");
    assert_eq!(rig.pool.snapshot().refused(Refusal::Register), 0);
    rig.pool.assert_invariants();
}

#[test]
fn a_close_ends_the_wait_for_memory_at_once() {
    let (mut rig, first, newcomers, mut seen) = without_memory_to_watch(SocketPool::builder());
    rig.pass(ms(3000), seen.echo());
    rig.world.heal(Call::Watch);
    first.reset();
    rig.settle(seen.echo());
    assert!(newcomers.iter().all(|client| client.take() == b"hello\n"), "and no time has passed");
}

#[test]
fn a_newcomer_who_leaves_unwatched_holds_up_nobody() {
    let (mut rig, _first, newcomers, mut seen) = without_memory_to_watch(SocketPool::builder());
    let unwatched = seen.opened[1];
    assert!(rig.pool.kill(unwatched));
    rig.world.heal(Call::Watch);
    rig.settle(seen.echo());
    assert_eq!(seen.closed, [(unwatched, Reason::Killed)]);
    assert!(newcomers[1..].iter().all(|client| client.take() == b"hello\n"));
}

#[test]
fn output_that_waits_brings_an_unwatched_newcomer_under_the_eyes_of_the_poller() {
    let (mut rig, _first, newcomers, mut seen) = without_memory_to_watch(SocketPool::builder());
    let unwatched = seen.opened[1];
    newcomers[0].set_window(3);
    assert_eq!(rig.pool.conn(unwatched).send(b"welcome\n"), Sent::Queued);
    rig.settle(seen.echo());
    newcomers[0].set_window(100);
    rig.settle(seen.echo());
    assert_eq!(newcomers[0].take(), b"welcome\nhello\n", "he is heard although he could not be watched");
    rig.pass(ms(1000), seen.echo());
    assert_eq!(seen.reasons(), []);
}

#[test]
fn a_drain_does_not_wait_for_memory() {
    let (mut rig, _first, newcomers, mut seen) = without_memory_to_watch(SocketPool::builder());
    rig.pool.drain(None);
    rig.settle(seen.echo());
    assert_eq!(newcomers[0].take(), b"hello\n", "what he has asked is answered");
    assert_eq!((seen.reasons(), seen.drained), (vec![Reason::Drained; 2], 1));
}

#[test]
fn a_stream_that_is_added_comes_back_when_there_is_no_memory_to_watch_it() {
    let (mut rig, _first, _newcomers, mut seen) = without_memory_to_watch(SocketPool::builder());
    let peer = Peer::from("192.0.2.3:1000".parse::<std::net::SocketAddr>().unwrap());
    let (stream, client) = rig.world.pair("192.0.2.3:1000");
    let refused = rig.pool.add_stream(stream, peer).unwrap_err();
    assert_eq!(refused.reason, Refusal::Register);
    assert_eq!(client.end(), None, "it is as it was");
    rig.world.heal(Call::Watch);
    rig.pool.add_stream(refused.stream, peer).expect("and can be added again");
    client.send(b"hello\n");
    rig.settle(seen.echo());
    assert_eq!(client.take(), b"hello\n");
}

/// A server without a descriptor to spare, held by three clients that are busy, and five that wait.
fn without_descriptors() -> (Rig<()>, Vec<Client>, Vec<Client>) {
    let mut rig = Rig::new(SocketPool::builder().idle_timeout(None));
    rig.world.set_descriptor_limit(4);
    let holders: Vec<_> =
        (0..3).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    rig.settle(|pool, event| {
        if let Event::Opened(id) = event {
            pool.conn(id).hold();
            pool.conn(id).prove();
        }
    });
    let waiting = (0..5).map(|port| rig.world.connect(&format!("192.0.2.2:{}", 1000 + port))).collect();
    (rig, holders, waiting)
}

#[test]
fn a_waiting_client_is_served_as_soon_as_a_descriptor_of_the_pool_is_freed() {
    let (mut rig, mut holders, waiting) = without_descriptors();
    let mut seen = Seen::default();
    waiting.iter().for_each(|client| client.send(b"hello\n"));
    rig.pass(ms(3000), seen.echo());
    assert_eq!((rig.world.waiting(), seen.opened.len()), (5, 0), "nobody can be let in");
    // No further edge comes, and no time passes.
    holders.pop().unwrap().reset();
    rig.settle(seen.echo());
    assert_eq!((rig.world.waiting(), waiting[0].take()), (4, b"hello\n".to_vec()));
}

#[test]
fn nobody_is_stranded_when_descriptors_come_free_elsewhere() {
    let (mut rig, _holders, waiting) = without_descriptors();
    let mut seen = Seen::default();
    waiting.iter().for_each(|client| client.send(b"hello\n"));
    rig.pass(ms(5000), seen.echo());
    rig.world.set_descriptor_limit(100);
    rig.pass(ms(1000), seen.echo());
    assert_eq!(rig.world.waiting(), 0, "no edge told of it");
    assert!(waiting.iter().all(|client| client.take() == b"hello\n"));
}

#[test]
fn a_shortage_that_no_close_ends_costs_ever_fewer_their_place() {
    let (mut rig, mut seen) = (Rig::new(SocketPool::<()>::builder()), Seen::default());
    let holders: Vec<_> =
        (0..500).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    holders.iter().for_each(|client| client.send(b"hello\n"));
    rig.settle(seen.echo());
    assert_eq!(seen.opened.len(), 500);
    // The machine has none, whoever gives one back.
    rig.world.fail_next(Call::Accept, libc::ENFILE, Schedule::FromNowOn);
    let waiting = rig.world.connect("192.0.2.2:1000");
    waiting.send(b"hello\n");
    rig.pass(ms(60_000), seen.echo());
    println!("{} went in a minute", seen.closed.len());
    assert!((1..=70).contains(&seen.closed.len()), "{} went in a minute", seen.closed.len());
    rig.world.heal(Call::Accept);
    rig.pass(ms(1000), seen.echo());
    assert_eq!(waiting.take(), b"hello\n");
}

#[test]
fn a_lasting_shortage_fails_few_accepts_and_complains_once_a_second() {
    count_complaints();
    let (mut rig, _holders, _waiting) = without_descriptors();
    COMPLAINTS.set(0);
    let before = rig.world.calls(Call::Accept);
    rig.pass(ms(1000), |_, _| {});
    let in_the_first_second = rig.world.calls(Call::Accept) - before;
    rig.pass(ms(9000), |_, _| {});
    let in_ten_seconds = rig.world.calls(Call::Accept) - before;
    let complaints = COMPLAINTS.get();
    println!(
        "failing accepts: {in_the_first_second} in 1 s, {in_ten_seconds} in 10 s; {complaints} complaints"
    );
    assert!((1..=20).contains(&in_the_first_second));
    assert!(in_ten_seconds - in_the_first_second <= 9 * 20);
    assert!((1..=10).contains(&complaints), "{complaints} complaints in ten seconds");
    assert!(rig.pool.snapshot().descriptors_exhausted);
}

#[test]
fn the_limit_itself_is_no_shortage_while_nobody_waits() {
    let mut rig = Rig::<()>::new(SocketPool::builder());
    rig.world.set_descriptor_limit(4);
    let mut seen = Seen::default();
    let clients: Vec<_> =
        (0..3).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    rig.pass(ms(5000), seen.echo());
    assert_eq!(
        seen.reasons(),
        [],
        "accept fails at the limit with an empty backlog too, and nobody need go for that"
    );
    assert!(!rig.pool.snapshot().descriptors_exhausted);
    drop(clients);
}

/// Silent clients hold every descriptor; honest ones come after them. How many of those are served within a second.
fn honest_served_among_holders(eviction: Eviction) -> usize {
    let mut rig = Rig::<()>::new(SocketPool::builder().eviction(eviction));
    rig.world.set_descriptor_limit(65);
    let holders: Vec<_> =
        (0..400).map(|port| rig.world.connect(&format!("192.0.2.1:{}", 1000 + port))).collect();
    rig.pass(ms(100), |pool, event| support::echo(pool, &event));
    let mut served = 0;
    for port in 0..50 {
        let client = rig.world.connect(&format!("192.0.2.2:{}", 1000 + port));
        client.send(b"hello\n");
        rig.pass(ms(1000), |pool, event| support::echo(pool, &event));
        served += usize::from(client.take() == b"hello\n");
    }
    drop(holders);
    served
}

#[test]
fn four_hundred_holders_at_the_descriptor_limit_keep_no_honest_client_out() {
    assert_eq!(honest_served_among_holders(Eviction::OldestUnproven), 50);
}

#[test]
fn without_eviction_holders_at_the_descriptor_limit_keep_everybody_out() {
    assert_eq!(honest_served_among_holders(Eviction::Off), 0);
}

#[test]
fn a_poller_that_fails_says_so_and_the_pool_goes_on_afterwards() {
    let mut rig = Rig::<()>::new(SocketPool::builder());
    let client = rig.world.connect("192.0.2.1:1000");
    client.send(b"hello\n");
    rig.world.fail_next(Call::Wait, libc::EBADF, Schedule::Once);
    rig.reactor.turn(None).unwrap_err();
    rig.pool.process(&mut rig.reactor);
    assert_eq!(rig.pool.next_event(), None, "nothing comes of a wait that failed");
    rig.settle(|pool, event| support::echo(pool, &event));
    assert_eq!(client.take(), b"hello\n");
}

#[test]
fn a_reset_is_one_error_even_for_a_connection_whose_output_waits() {
    let mut rig = Rig::<()>::new(SocketPool::builder());
    rig.world.set_window(2);
    let client = rig.world.connect("192.0.2.1:1000");
    client.send(b"hello\nagain\n");
    let mut seen = Seen::default();
    rig.settle(seen.echo());
    client.reset();
    rig.settle(seen.echo());
    assert_eq!(seen.reasons(), [Reason::Error]);
    assert_eq!(seen.read_closed, 0);
}

#[test]
fn what_came_before_a_reset_is_still_heard() {
    let mut rig = Rig::<()>::new(SocketPool::builder());
    let client = rig.world.connect("192.0.2.1:1000");
    client.send(b"last words\n");
    client.reset();
    let mut heard = Vec::new();
    let mut seen = Seen::default();
    rig.settle(|pool, event| {
        seen.note(&event);
        if let Event::Readable(id) = event {
            pool.conn(id).receive();
            heard.extend_from_slice(pool.conn(id).input());
            answer(pool, id);
        }
    });
    assert_eq!(heard, b"last words\n");
    assert_eq!(seen.reasons(), [Reason::Error]);
}

thread_local! {
    static COMPLAINTS: Cell<u32> = const { Cell::new(0) };
}

/// Counts what each test's own thread complains about.
struct Counting;

impl log::Log for Counting {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            COMPLAINTS.set(COMPLAINTS.get() + 1);
        }
    }

    fn flush(&self) {}
}

fn count_complaints() {
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&Counting).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
}
