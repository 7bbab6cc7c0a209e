//! Leaving nobody behind: who goes at once, who may finish, who is forced, and what is told (DECISIONS 7).

mod support;

use std::time::Duration;

use socketpool::net::sim::{Client, End};
use socketpool::{Event, Reason, Sent, SocketPool, State};
use support::{Rig, Seen, answer, echo, ms};

fn server() -> Rig<()> {
    Rig::new(SocketPool::builder().max_connections(5000))
}

fn crowd(rig: &mut Rig<()>, count: usize, seen: &mut Seen) -> Vec<Client> {
    let mut clients = Vec::new();
    for index in 0..count {
        clients.push(rig.world.connect(&format!("192.0.2.1:{}", 1000 + index)));
        if index % 256 == 255 {
            rig.settle(seen.echo());
        }
    }
    rig.settle(seen.echo());
    clients
}

#[test]
fn idle_and_silent_clients_go_at_once_in_slices_with_a_fin_and_the_busy_finish() {
    let (mut rig, mut seen) = (server(), Seen::default());
    let idle = crowd(&mut rig, 500, &mut seen);
    idle.iter().for_each(|client| client.send(b"hello\n"));
    rig.settle(seen.echo());
    let silent = crowd(&mut rig, 500, &mut seen);
    let busy = crowd(&mut rig, 20, &mut seen);
    busy.iter().for_each(|client| client.send(b"half a li"));
    rig.settle(seen.echo());

    rig.pool.drain(Duration::from_secs(10));
    let (mut turns, mut longest) = (0, 0);
    while rig.pool.len() > 20 {
        let before = seen.closed.len();
        rig.step(seen.echo());
        (turns, longest) = (turns + 1, longest.max(seen.closed.len() - before));
    }
    println!("1,000 closed in {turns} turns, at most {longest} in one");
    assert!(turns <= 1000 / 64 + 3, "{turns} turns");
    assert!(longest <= 64, "{longest} closes in one turn");
    assert!(idle.iter().chain(&silent).all(|client| client.end() == Some(End::Finished)), "by FIN");

    busy.iter().for_each(|client| client.send(b"ne\n"));
    rig.settle(seen.echo());
    assert!(busy.iter().all(|client| client.take() == b"half a line\n"), "the busy got their answers");
    assert!(busy.iter().all(|client| client.end() == Some(End::Finished)));
    assert_eq!(seen.reasons(), vec![Reason::Drained; 1020]);
    assert_eq!((seen.drained, rig.pool.state()), (1, State::Drained));
}

#[test]
fn an_empty_pool_drains_at_once_and_tells_it_once() {
    let mut rig = server();
    rig.pool.drain(None);
    assert_eq!(rig.pool.state(), State::Drained);
    assert_eq!(rig.pool.next_event(), Some(Event::Drained));
    rig.pool.drain(Duration::ZERO);
    rig.settle(|_, event| panic!("{event:?} after the end"));
    assert!(rig.pool.listen("127.0.0.1:7001").is_err());
}

#[test]
fn what_is_left_at_the_deadline_is_forced_and_no_sooner() {
    let (mut rig, mut seen) = (server(), Seen::default());
    let busy = crowd(&mut rig, 300, &mut seen);
    busy.iter().for_each(|client| client.send(b"never a whole li"));
    rig.settle(seen.echo());
    rig.pool.drain(ms(500));
    rig.pass(ms(499), seen.echo());
    assert_eq!((seen.closed.len(), rig.pool.state()), (0, State::Draining));
    rig.hand.advance(ms(1));
    let mut longest = 0;
    while seen.drained == 0 {
        let before = seen.closed.len();
        rig.step(seen.echo());
        longest = longest.max(seen.closed.len() - before);
    }
    assert!((1..=64).contains(&longest), "forcing goes in slices too: {longest}");
    assert_eq!(seen.reasons(), vec![Reason::Forced; 300]);
}

#[test]
fn a_second_drain_only_moves_the_deadline() {
    let (mut rig, mut seen) = (server(), Seen::default());
    let busy = crowd(&mut rig, 1, &mut seen);
    busy[0].send(b"never a whole li");
    rig.settle(seen.echo());
    rig.pool.drain(ms(500));
    rig.pass(ms(400), seen.echo());
    rig.pool.drain(ms(500));
    rig.pass(ms(499), seen.echo());
    assert_eq!(seen.closed.len(), 0, "the later deadline holds");
    rig.pass(ms(1), seen.echo());
    assert_eq!((seen.reasons(), seen.drained), (vec![Reason::Forced], 1));
}

#[test]
fn a_drain_without_a_deadline_waits_for_a_held_connection() {
    let (mut rig, mut seen) = (server(), Seen::default());
    let clients = crowd(&mut rig, 2, &mut seen);
    let held = seen.opened[0];
    rig.pool.conn(held).hold();
    rig.pool.conn(held).prove();
    rig.pool.drain(None);
    rig.pass(Duration::from_secs(3600), seen.echo());
    assert_eq!(seen.reasons(), [Reason::Drained], "the one that was not held");
    rig.pool.conn(held).release();
    rig.settle(seen.echo());
    assert_eq!((seen.reasons().len(), seen.drained), (2, 1));
    drop(clients);
}

#[test]
fn output_that_waits_leaves_before_the_end() {
    let (mut rig, mut seen) = (server(), Seen::default());
    rig.world.set_window(10);
    let clients = crowd(&mut rig, 1, &mut seen);
    clients[0].send(b"a line that is longer than the window\n");
    rig.settle(seen.echo());
    rig.pool.drain(None);
    rig.settle(seen.echo());
    assert_eq!(seen.closed.len(), 0, "output waits");
    clients[0].set_window(usize::MAX);
    rig.settle(seen.echo());
    assert_eq!(clients[0].take(), b"a line that is longer than the window\n");
    assert_eq!((seen.reasons(), seen.drained), (vec![Reason::Drained], 1));
}

#[test]
fn a_request_that_nobody_has_read_yet_is_answered_before_the_end() {
    let (mut rig, mut seen) = (server(), Seen::default());
    let clients = crowd(&mut rig, 1, &mut seen);
    clients[0].send(b"just in time\n");
    rig.pool.drain(ms(1000));
    rig.settle(seen.echo());
    assert_eq!(clients[0].take(), b"just in time\n");
    assert_eq!(clients[0].end(), Some(End::Finished));
    assert_eq!((seen.reasons(), seen.drained), (vec![Reason::Drained], 1));
}

#[test]
fn the_answer_of_a_client_that_sends_more_behind_it_is_not_lost_to_a_reset() {
    let (mut rig, mut seen) = (server(), Seen::default());
    let clients = crowd(&mut rig, 1, &mut seen);
    clients[0].send(b"first\n");
    rig.pool.drain(ms(1000));
    rig.turn();
    while let Some(event) = rig.pool.next_event() {
        seen.note(&event);
        if let Event::Readable(id) = event {
            answer(&mut rig.pool, id);
            // It is on its way when the answer to the first is sent.
            clients[0].send(b"second\n");
        }
    }
    rig.settle(seen.echo());
    assert!(clients[0].take().starts_with(b"first\n"));
    assert_eq!((clients[0].end(), seen.drained), (Some(End::Finished), 1));
}

#[test]
fn force_close_all_does_not_wait_for_anybody() {
    let (mut rig, mut seen) = (server(), Seen::default());
    let _clients = crowd(&mut rig, 200, &mut seen);
    seen.opened.iter().for_each(|id| rig.pool.conn(*id).hold());
    rig.pool.force_close_all();
    rig.settle(seen.echo());
    assert_eq!((seen.reasons(), seen.drained), (vec![Reason::Forced; 200], 1));
    rig.pool.force_close_all();
    assert_eq!(rig.pool.next_timeout(), None, "nobody is left to look for");
}

#[test]
fn nothing_is_read_after_close_when_done_whoever_asked_for_it() {
    for by_handle in [false, true] {
        let (mut rig, mut seen) = (Rig::<()>::new(SocketPool::builder()), Seen::default());
        let client = rig.world.connect("192.0.2.1:1");
        rig.settle(seen.echo());
        let id = seen.opened[0];
        rig.pool.conn(id).hold();
        if by_handle {
            rig.pool.handle().close_when_done(id).unwrap();
            rig.settle(seen.echo());
        } else {
            rig.pool.conn(id).close_when_done();
        }
        client.send(b"not heard\n");
        rig.pool.conn(id).resume_reading();
        rig.settle(seen.echo());
        assert_eq!((rig.pool.conn(id).receive(), client.bytes_in()), (0, 0), "by handle: {by_handle}");
        rig.pool.conn(id).release();
        rig.settle(seen.echo());
        assert_eq!((seen.reasons(), client.take()), (vec![Reason::Closed], vec![]));
    }
}

#[test]
fn a_drain_does_not_keep_a_paused_connection_from_being_read_again() {
    let (mut rig, mut seen) = (Rig::<()>::new(SocketPool::builder()), Seen::default());
    let client = rig.world.connect("192.0.2.1:1");
    rig.settle(seen.echo());
    client.send(b"half ");
    rig.settle(seen.echo());
    rig.pool.conn(seen.opened[0]).pause_reading();
    rig.pool.drain(None);
    client.send(b"whole\n");
    rig.settle(seen.echo());
    rig.pool.conn(seen.opened[0]).resume_reading();
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.reasons()), (b"half whole\n".to_vec(), vec![Reason::Drained]));
}

#[test]
fn close_when_done_sends_what_waits_and_kill_does_not() {
    let (mut rig, mut seen) = (server(), Seen::default());
    rig.world.set_window(4);
    let clients = crowd(&mut rig, 2, &mut seen);
    for id in seen.opened.clone() {
        assert_eq!(rig.pool.conn(id).send(b"good bye"), Sent::Queued);
    }
    rig.pool.conn(seen.opened[0]).close_when_done();
    rig.pool.kill(seen.opened[1]);
    rig.settle(seen.echo());
    assert_eq!(seen.closed, [(seen.opened[1], Reason::Killed)]);
    clients.iter().for_each(|client| client.set_window(100));
    rig.settle(seen.echo());
    assert_eq!(seen.closed[1], (seen.opened[0], Reason::Closed));
    assert_eq!((clients[0].take(), clients[1].take()), (b"good bye".to_vec(), b"good".to_vec()));
    assert_eq!(clients[0].end(), Some(End::Finished));
}

#[test]
fn newcomers_find_nobody_listening_once_the_drain_has_begun() {
    let (mut rig, mut seen) = (server(), Seen::default());
    let early = rig.world.connect("192.0.2.1:1");
    early.send(b"before the drain\n");
    rig.turn();
    let held = crowd(&mut rig, 1, &mut seen);
    held[0].send(b"half a li");
    rig.settle(seen.echo());
    let listening = rig.pool.addresses().next().cloned().unwrap();
    rig.pool.drain(None);
    rig.settle(|pool, event| echo(pool, &event));
    let late =
        rig.world.connect_to(&listening, "192.0.2.1:2".parse::<std::net::SocketAddr>().unwrap().into());
    assert!(late.is_none(), "the listener is closed");
    assert_eq!(early.take(), b"before the drain\n");
}

#[test]
fn another_thread_can_ask_for_a_drain_a_close_a_send_and_a_broadcast() {
    let (mut rig, mut seen) = (server(), Seen::default());
    let clients = crowd(&mut rig, 3, &mut seen);
    let (handle, ids) = (rig.pool.handle(), seen.opened.clone());
    std::thread::spawn(move || {
        handle.broadcast("to all\n".into()).unwrap();
        handle.send(ids[0], "to one\n".into()).unwrap();
        handle.kill(ids[1]).unwrap();
        handle.close_when_done(ids[1]).unwrap();
        handle.wake().unwrap();
    })
    .join()
    .unwrap();
    assert_eq!(rig.pool.next_timeout(), Some(Duration::ZERO), "the loop does not sleep over a call");
    rig.settle(seen.echo());
    assert_eq!(clients[2].take(), b"to all\n");
    let first = clients[0].take();
    assert!(first == b"to one\nto all\n" || first == b"to all\nto one\n", "{first:?}");
    assert_eq!(seen.closed, [(seen.opened[1], Reason::Killed)]);

    let handle = rig.pool.handle();
    std::thread::spawn(move || handle.drain(None).unwrap()).join().unwrap();
    rig.settle(seen.echo());
    assert_eq!(seen.drained, 1);
    let handle = rig.pool.handle();
    drop(rig.pool);
    assert!(handle.wake().is_err(), "the pool is gone");
}
