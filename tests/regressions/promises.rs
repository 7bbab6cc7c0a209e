//! What the documentation promised and the pool did not keep.

use socketpool::net::sim::{Call, End, Schedule};
use socketpool::{Config, ConnId, Event, OverRate, Phase, Rate, ReadStall, Reason, Sent};

use super::{SECOND, builder, connect};
use crate::support::{Pool, Rig, Seen};

#[test]
fn whoever_is_closed_when_done_after_his_end_is_not_read_again() {
    let (mut rig, mut seen, mut readable) = (Rig::new(builder()), Seen::default(), 0);
    let client = connect(&rig, 1);
    client.send(b"first\nsecond\n");
    client.finish();
    rig.settle(|pool, event| {
        seen.note(&event);
        if let Event::Readable(id) = event {
            let mut conn = pool.conn(id);
            conn.receive();
            conn.hold();
        }
    });
    assert_eq!((seen.read_closed, seen.reasons()), (1, vec![]));
    let mut conn = rig.pool.conn(seen.opened[0]);
    conn.close_when_done();
    conn.resume_reading();
    conn.again();
    rig.settle(|_, event| readable += usize::from(matches!(event, Event::Readable(_))));
    assert_eq!(readable, 0);
    rig.pool.conn(seen.opened[0]).release();
    rig.settle(seen.echo());
    assert_eq!(seen.reasons(), [Reason::Closed], "the application has asked for it");
}

#[test]
fn to_take_nothing_uses_up_nothing() {
    let own = builder().over_rate(OverRate::Delay).operation_rate(Rate::per_second(1));
    let mut rig = Rig::new(own);
    let client = connect(&rig, 1);
    client.send(b"1\n2\n");
    rig.settle(|pool, event| {
        let Event::Readable(id) = event else { return };
        let mut conn = pool.conn(id);
        conn.receive();
        let (mut input, mut output) = conn.split();
        for line in [b"1\n", b"2\n"] {
            let _ = output.send(line); // before it is taken; the second goes ahead of its turn
            assert_eq!(input.take(0), Some(&b""[..]));
            assert_eq!(input.take(2), Some(&line[..]));
        }
    });
}

#[test]
fn what_is_gathered_waits_for_whoever_asks() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    rig.settle(seen.echo());
    let mut conn = rig.pool.conn(seen.opened[0]);
    conn.prove();
    assert_eq!(conn.queue(b"news\n"), Sent::Queued);
    let info = conn.info();
    assert_eq!((conn.waiting_output(), info.waiting_out, info.state), (5, 5, Phase::Active));
    assert_eq!(rig.pool.connections().next().map(|info| info.waiting_out), Some(5));
    rig.settle(seen.echo());
    assert_eq!(client.take(), b"news\n");
    let info = rig.pool.conn(seen.opened[0]).info();
    assert_eq!((info.waiting_out, info.state), (0, Phase::Idle));
}

/// Finishes each line before it is used up.
fn finish_and_consume(pool: &mut Pool<()>, id: ConnId) {
    let mut conn = pool.conn(id);
    conn.receive();
    while let Some(end) = conn.input().iter().position(|byte| *byte == b'\n') {
        conn.finish_operation();
        conn.finish_operation(); // none is open any more
        conn.consume(end + 1);
    }
}

#[test]
fn what_is_finished_before_it_is_used_up_owes_nothing() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"note this\n");
    client.finish();
    rig.settle(|pool, event| {
        seen.note(&event);
        if let Event::Readable(id) = event {
            finish_and_consume(pool, id);
        }
    });
    assert_eq!((rig.pool.snapshot().counters.operations, seen.reasons()), (1, vec![Reason::Peer]));
}

#[test]
fn what_is_finished_before_it_is_used_up_takes_one_token() {
    let own = builder().over_rate(OverRate::Delay).operation_rate(Rate::per_second(1));
    let (mut rig, mut seen, mut lines) = (Rig::new(own), Seen::default(), Vec::new());
    let client = connect(&rig, 1);
    client.send(b"1\n2\n3\n");
    rig.pass(SECOND * 3 / 2, |pool, event| {
        seen.note(&event);
        let Event::Readable(id) = event else { return };
        let mut conn = pool.conn(id);
        conn.receive();
        while let Some(line) = conn.input().get(..2).map(<[u8]>::to_vec) {
            conn.finish_operation();
            conn.consume(line.len());
            conn.finish_operation(); // none is open any more
            lines.extend(line);
        }
    });
    assert_eq!(lines, b"1\n2\n", "the third waits for its token");
    assert_eq!(rig.pool.snapshot().counters.operations, 2);
    assert_eq!(rig.pool.snapshot().active, 1);
}

#[test]
fn a_message_that_stays_when_it_is_finished_is_the_next_operation() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"half");
    rig.settle(|pool, event| {
        seen.note(&event);
        if let Event::Readable(id) = event {
            pool.conn(id).receive();
            pool.conn(id).touch();
        }
    });
    assert_eq!((rig.pool.snapshot().counters.operations, rig.pool.snapshot().active), (1, 1));
    client.send(b" and half\n");
    client.finish();
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.reasons()), (b"half and half\n".to_vec(), vec![Reason::Peer]));
    assert_eq!(rig.pool.snapshot().counters.operations, 2);
}

#[test]
fn whoever_is_received_from_in_a_loop_has_one_share_of_the_turn() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let (source, target) = (connect(&rig, 1), connect(&rig, 2));
    rig.settle(seen.echo());
    let [from, to] = seen.opened[..] else { panic!("two were opened") };
    source.send(&[b'x'; 1 << 20]);
    let (mut total, mut most) = (0, 0);
    rig.settle(|pool, event| {
        let (Event::Readable(id), mut passed) = (event, 0) else { return };
        assert_eq!(id, from);
        loop {
            let mut conn = pool.conn(from);
            let n = conn.receive();
            if n == 0 {
                break;
            }
            let piece = conn.input().to_vec();
            conn.consume(n);
            assert_eq!(pool.conn(to).send(&piece), Sent::Now);
            passed += n;
        }
        total += passed;
        most = most.max(passed);
    });
    assert_eq!((total, most), (1 << 20, 64 << 10));
    assert_eq!(target.bytes_in(), 1 << 20);
}

#[test]
fn a_snapshot_between_turns_is_of_this_moment() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let _client = connect(&rig, 1);
    rig.settle(seen.echo());
    rig.pool.conn(seen.opened[0]).hold();
    rig.settle(seen.echo());
    rig.pool.drain(SECOND * 100);
    rig.hand.advance(SECOND * 60);
    let snapshot = rig.pool.snapshot();
    assert_eq!((snapshot.uptime, snapshot.drain_remaining), (SECOND * 60, Some(SECOND * 40)));
    let line = rig.pool.connections().next().expect("one is there");
    assert_eq!((line.age, line.idle), (SECOND * 60, SECOND * 60));
}

#[test]
fn no_bytes_always_have_room() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    rig.world.set_window(0);
    let _client = connect(&rig, 1);
    rig.settle(seen.echo());
    let id = seen.opened[0];
    assert_eq!(rig.pool.conn(id).send(&[0; 1_000]), Sent::Queued);
    let lower = |config: &mut Config| {
        (config.max_output, config.output_high, config.output_low) = (100, 50, 10);
    };
    rig.pool.reconfigure(lower).unwrap();
    assert_eq!((rig.pool.conn(id).send(b""), rig.pool.conn(id).send(b"x")), (Sent::Now, Sent::Refused));
}

#[test]
fn work_that_goes_on_elsewhere_is_no_read_stall() {
    for held in [true, false] {
        let (mut rig, mut seen) = (Rig::new(builder().read_stall(ReadStall::default())), Seen::default());
        let client = connect(&rig, 1);
        client.send(b"a whole request");
        let mut handle = |pool: &mut Pool<()>, event: Event<()>| {
            seen.note(&event);
            if let Event::Readable(id) = event {
                let mut conn = pool.conn(id);
                conn.receive(); // a worker is at it, and the input stays where it is
                if held {
                    conn.hold();
                }
            }
        };
        rig.pass(60 * SECOND, &mut handle);
        let expected = if held { vec![] } else { vec![Reason::ReadStall] };
        assert_eq!(seen.reasons(), expected, "held: {held}");
    }
}

#[test]
fn what_is_left_to_the_application_can_be_read_again() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    rig.settle(|pool, event| {
        seen.note(&event);
        if let Event::Opened(id) = event {
            pool.conn(id).leave_to_application();
        }
    });
    client.send(b"hello\n");
    rig.pass(60 * SECOND, seen.echo());
    assert_eq!((client.take(), seen.reasons()), (vec![], vec![]));
    rig.pool.conn(seen.opened[0]).resume_reading();
    rig.settle(seen.echo());
    assert_eq!(client.take(), b"hello\n");
    assert!(rig.pool.conn(seen.opened[0]).is_proven());
}

#[test]
fn whoever_is_drained_while_he_asks_sees_an_end_and_no_reset() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    rig.settle(seen.echo());
    rig.pool.drain(None);
    rig.turn(); // nothing had come when it was looked at
    client.send(b"one more\n");
    rig.settle(seen.echo());
    assert_eq!((client.end(), seen.reasons()), (Some(End::Finished), vec![Reason::Drained]));
}

#[test]
fn what_is_taken_and_not_answered_yet_keeps_one_that_is_closed_when_done() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"last wish\n");
    rig.settle(|pool, event| {
        seen.note(&event);
        let Event::Readable(id) = event else { return };
        let mut conn = pool.conn(id);
        conn.receive();
        let (mut input, _) = conn.split();
        let line = input.take_through(b'\n').expect("it is complete").to_vec();
        conn.close_when_done();
        let _ = conn.send(&line);
    });
    assert_eq!((client.take(), seen.reasons()), (b"last wish\n".to_vec(), vec![Reason::Closed]));
}

#[test]
fn what_is_answered_and_finished_before_it_is_used_up_owes_nothing() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"x\nx\n");
    client.finish();
    rig.settle(|pool, event| {
        seen.note(&event);
        let Event::Readable(id) = event else { return };
        let mut conn = pool.conn(id);
        conn.receive();
        while !conn.input().is_empty() {
            let _ = conn.send(b"y\n");
            conn.touch();
            conn.consume(2);
        }
    });
    assert_eq!((client.bytes_in(), seen.reasons()), (4, vec![Reason::Peer]));
    assert_eq!(rig.pool.snapshot().counters.operations, 2);
}

#[test]
fn what_is_sent_before_the_rest_of_a_message_has_come_is_no_answer_to_it() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    let mut handle = |pool: &mut Pool<()>, event: Event<()>| {
        seen.note(&event);
        let Event::Readable(id) = event else { return };
        let mut conn = pool.conn(id);
        conn.receive();
        if conn.input().ends_with(b"\n") {
            conn.consume(usize::MAX); // a worker answers it
        } else if !conn.input().is_empty() {
            let _ = conn.send(b"continue\n");
        }
    };
    client.send(b"expect ");
    rig.settle(&mut handle);
    client.send(b"more\n");
    client.finish();
    rig.settle(&mut handle);
    assert_eq!(rig.pool.snapshot().counters.operations, 0, "it is not answered yet");
    let id = rig.pool.ids().next().expect("an answer is owed to it");
    rig.pool.handle().send(id, "42\n".into()).unwrap();
    rig.settle(&mut handle);
    assert_eq!((client.take(), seen.reasons()), (b"continue\n42\n".to_vec(), vec![Reason::Peer]));
    assert_eq!(rig.pool.snapshot().counters.operations, 1);
}

#[test]
fn whoever_asks_again_is_told_though_there_is_no_room_for_more() {
    let (mut rig, mut asked) = (Rig::new(builder().max_input(64)), 0);
    let client = connect(&rig, 1);
    client.send(&[b'x'; 65]);
    rig.settle(|pool, event| {
        let Event::Readable(id) = event else { return };
        pool.conn(id).receive();
        if asked < 3 {
            asked += 1;
            pool.conn(id).again();
        }
    });
    assert_eq!(asked, 3);
}

#[test]
fn whoever_waits_for_a_rate_is_not_listed_as_delayed_for_a_shortage_as_well() {
    let shared = builder().over_rate(OverRate::Delay).pool_operation_rate(Rate::new(1, 3600 * SECOND));
    let mut rig = Rig::new(shared.max_input(64));
    let (client, world) = (connect(&rig, 1), rig.world.clone());
    client.send(&b"x\n".repeat(40));
    rig.settle(|pool, event| {
        let Event::Readable(id) = event else { return };
        let mut conn = pool.conn(id);
        conn.receive();
        conn.consume(2);
        world.fail_next(Call::Receive, libc::ENOBUFS, Schedule::FromNowOn);
        assert_eq!(conn.receive(), 0);
        let _ = conn.send(b"x\n");
    });
    assert_eq!(rig.pool.connections().next().expect("it lives").state, Phase::Throttled);
}

#[test]
fn several_that_are_finished_before_they_are_used_up_are_as_many_operations() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"note this\nand this\nand that\n");
    client.finish();
    rig.settle(|pool, event| {
        seen.note(&event);
        let Event::Readable(id) = event else { return };
        let mut conn = pool.conn(id);
        conn.receive();
        while let Some(end) = conn.input().iter().position(|byte| *byte == b'\n') {
            conn.finish_operation();
            conn.consume(end + 1);
        }
    });
    assert_eq!((rig.pool.snapshot().counters.operations, seen.reasons()), (3, vec![Reason::Peer]));
}
