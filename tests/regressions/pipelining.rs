//! Many messages in one piece against a rate that the pool enforces: each takes a token of its own, and whoever sends
//! them delays nobody but himself.

use socketpool::net::sim::Client;
use socketpool::{Builder, Config, Event, OverRate, Rate, Reason, Sent};

use super::{SECOND, asked, builder, connect};
use crate::support::{Pool, Rig, Seen, answer, ms};

fn delaying() -> Builder<()> {
    builder().over_rate(OverRate::Delay)
}

fn pipeline(client: &Client, lines: usize) {
    client.send(&b"x\n".repeat(lines));
}

#[test]
fn one_that_pipelines_locks_nobody_else_out() {
    let shared = delaying().pool_operation_rate(Rate::per_second(100).burst(10));
    let (mut rig, mut seen) = (Rig::new(shared), Seen::default());
    let (greedy, modest) = (connect(&rig, 1), connect(&rig, 2));
    pipeline(&greedy, 30_000);
    rig.pass(SECOND, seen.echo());
    for round in 0..20 {
        modest.send(b"hi\n");
        rig.pass(ms(25), seen.echo());
        assert_eq!(modest.take(), b"hi\n", "round {round}");
    }
    assert_eq!(seen.closed, []);
}

#[test]
fn a_thousand_that_pipeline_make_a_turn_no_longer_than_a_few_that_do() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let quiet = connect(&rig, 1);
    let greedy: Vec<_> = (1000..2000).map(|port| connect(&rig, port)).collect();
    rig.settle(seen.echo());
    greedy.iter().for_each(|client| client.send(&b"\n".repeat(20_000)));
    quiet.send(b"hi\n");
    rig.step(seen.echo());
    assert_eq!(quiet.take(), b"hi\n");
    let received = rig.pool.snapshot().counters.received_bytes;
    assert!(received <= 5 << 20, "{received} bytes in one turn, each of which may be a message");
    rig.settle(seen.echo());
    assert!(greedy.iter().all(|client| client.bytes_in() == 20_000), "they are served in full, too");
}

#[test]
fn pipelined_messages_pass_at_their_rate_and_none_is_lost() {
    let own = delaying().operation_rate(Rate::per_second(10).burst(5));
    let (mut rig, mut seen) = (Rig::new(own), Seen::default());
    let client = connect(&rig, 1);
    pipeline(&client, 105);
    rig.settle(seen.echo());
    assert_eq!(client.bytes_in(), 2 * 5, "the burst");
    rig.pass(5 * SECOND, seen.echo());
    assert_eq!(client.bytes_in(), 2 * 55);
    rig.pass(5 * SECOND, seen.echo());
    assert_eq!((client.bytes_in(), seen.reasons()), (2 * 105, vec![]));
}

#[test]
fn pipelined_messages_over_the_rate_close_where_that_is_asked_for() {
    for queued in [false, true] {
        let own = builder().over_rate(OverRate::Close).operation_rate(Rate::per_second(10).burst(5));
        let (mut rig, mut seen) = (Rig::new(own), Seen::default());
        let client = connect(&rig, 1);
        pipeline(&client, 100);
        rig.settle(|pool, event| {
            seen.note(&event);
            let Event::Readable(id) = event else { return };
            let mut conn = pool.conn(id);
            conn.receive();
            let (mut input, mut output) = conn.split();
            while let Some(line) = input.take_through(b'\n') {
                let _ = if queued { output.queue(line) } else { output.send(line) };
            }
        });
        assert_eq!((client.bytes_in(), seen.reasons()), (2 * 5, vec![Reason::Rate]), "queued: {queued}");
    }
}

#[test]
fn those_who_wait_for_the_pool_are_served_in_turn() {
    let shared = delaying().pool_operation_rate(Rate::per_second(100).burst(1));
    let (mut rig, mut seen) = (Rig::new(shared), Seen::default());
    let clients: Vec<Client> = (1..=7).map(|port| connect(&rig, port)).collect();
    clients.iter().for_each(|client| pipeline(client, 1_000));
    rig.pass(7 * SECOND, seen.echo());
    let served: Vec<u64> = clients.iter().map(|client| client.bytes_in() / 2).collect();
    assert!(served.iter().all(|count| (99..=102).contains(count)), "{served:?}");
}

#[test]
fn whoever_leaves_the_line_leaves_his_place_to_the_next() {
    let shared = delaying().pool_operation_rate(Rate::per_second(1));
    let (mut rig, mut seen) = (Rig::new(shared), Seen::default());
    let clients: Vec<Client> = (1..=50).map(|port| connect(&rig, port)).collect();
    clients.iter().for_each(|client| client.send(b"x\n"));
    rig.settle(seen.echo());
    clients.iter().for_each(Client::reset);
    rig.settle(seen.echo());
    let patient = connect(&rig, 100);
    patient.send(b"hi\n");
    rig.pass(2 * SECOND, seen.echo());
    assert_eq!(patient.take(), b"hi\n");
}

#[test]
fn places_that_are_left_make_no_burst() {
    let shared = delaying().pool_operation_rate(Rate::per_second(10).burst(1)).max_connections(2000);
    let (mut rig, mut seen) = (Rig::new(shared), Seen::default());
    let (mut waiting, mut served) = (Vec::new(), Vec::new());
    for round in 0..9 {
        waiting.extend(asked(&rig, 1 + 100 * round, 100));
        rig.settle(seen.echo());
        let leaves = waiting.split_off(waiting.len() - 90);
        leaves.iter().for_each(Client::reset);
        rig.settle(seen.echo());
    }
    for _ in 0..10 {
        let before: u64 = waiting.iter().map(Client::bytes_in).sum();
        rig.pass(SECOND, seen.echo());
        served.push((waiting.iter().map(Client::bytes_in).sum::<u64>() - before) / 2);
    }
    assert_eq!(served, [[10; 8].as_slice(), &[9, 0]].concat(), "90 stayed, one of whom was served at once");
}

#[test]
fn whoever_waits_for_its_own_rate_stands_in_line_only_then() {
    let both =
        delaying().operation_rate(Rate::per_second(1)).pool_operation_rate(Rate::per_second(2).burst(1));
    let (mut rig, mut seen) = (Rig::new(both), Seen::default());
    let (greedy, modest) = (connect(&rig, 1), connect(&rig, 2));
    pipeline(&greedy, 10);
    rig.settle(seen.echo());
    modest.send(b"x\n");
    rig.pass(ms(600), seen.echo());
    assert_eq!(
        (greedy.bytes_in(), modest.bytes_in()),
        (2, 2),
        "its own rate keeps the first from the pool's"
    );
    rig.pass(9 * SECOND, seen.echo());
    assert_eq!(greedy.bytes_in(), 2 * 10);
}

#[test]
fn a_line_of_a_mode_that_is_over_lets_go() {
    for over in [OverRate::Ask, OverRate::Close] {
        let (mut rig, mut seen, served) = line_of_ten();
        rig.pool.reconfigure(|config| (config.over_rate, config.pool_operation_rate) = (over, None)).unwrap();
        rig.settle(seen.echo());
        assert_eq!((served(), seen.reasons()), (10, vec![]));
    }
    let (mut rig, mut seen, served) = line_of_ten();
    rig.pool.reconfigure(|config| config.over_rate = OverRate::Close).unwrap();
    rig.settle(seen.echo());
    assert_eq!((served(), seen.reasons()), (1, vec![Reason::Rate; 9]));
}

#[test]
fn a_wait_that_we_impose_is_no_idleness() {
    let slow = delaying().operation_rate(Rate::new(1, 600 * SECOND)).idle_timeout(60 * SECOND);
    let (mut rig, mut seen) = (Rig::new(slow), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"one\n");
    rig.settle(seen.echo());
    client.send(b"two\n");
    rig.pass(601 * SECOND, seen.echo());
    assert_eq!((client.take(), seen.reasons()), (b"one\ntwo\n".to_vec(), vec![]));
    rig.pass(61 * SECOND, seen.echo());
    assert_eq!(seen.reasons(), [Reason::Idle]);
}

#[test]
fn a_rate_that_is_lifted_lets_go_of_those_in_line() {
    let shared = delaying().pool_operation_rate(Rate::new(1, 3600 * SECOND));
    let (mut rig, mut seen) = (Rig::new(shared), Seen::default());
    let clients: Vec<Client> = (1..=20).map(|port| connect(&rig, port)).collect();
    clients.iter().for_each(|client| pipeline(client, 2));
    rig.settle(seen.echo());
    rig.pool.reconfigure(|config| config.pool_operation_rate = Some(Rate::per_second(1000))).unwrap();
    rig.pass(SECOND, seen.echo());
    assert!(clients.iter().all(|client| client.bytes_in() == 4));
}

#[test]
fn a_full_buffer_of_messages_goes_on_when_its_rate_allows() {
    let tight = delaying().max_input(64).operation_rate(Rate::per_second(1));
    let mut rig = Rig::new(tight);
    let client = connect(&rig, 1);
    client.send(&b"0123456\n".repeat(20));
    let mut owed = Vec::new();
    // The answer to the line before goes out first; what is left fills the buffer.
    rig.pass(30 * SECOND, |pool, event| {
        let Event::Readable(id) = event else { return };
        let mut conn = pool.conn(id);
        conn.receive();
        loop {
            if !owed.is_empty() {
                assert_eq!(conn.send(&owed), Sent::Now);
                owed.clear();
            }
            let Some(end) = conn.input().iter().position(|byte| *byte == b'\n') else { return };
            owed = conn.input()[..=end].to_vec();
            conn.consume(end + 1);
        }
    });
    assert_eq!(client.bytes_in(), 8 * 20);
}

#[test]
fn a_message_behind_which_the_end_is_seen_keeps_its_token() {
    let shared = builder().over_rate(OverRate::Close).pool_operation_rate(Rate::new(2, 3600 * SECOND));
    let (mut rig, mut answers) = (Rig::new(shared), Vec::new());
    for port in 1..=2 {
        let client = connect(&rig, port);
        pipeline(&client, 2);
        client.finish();
        rig.settle(|pool, event| {
            let Event::Readable(id) = event else { return };
            let mut conn = pool.conn(id);
            conn.receive();
            let (mut input, mut output) = conn.split();
            let _ = input.take_through(b'\n').map(|line| output.send(line));
            answer(pool, id);
        });
        answers.push(client.take());
    }
    assert_eq!(answers, [b"x\nx\n".to_vec(), vec![]], "the first has used both");
}

#[test]
fn what_is_held_back_is_answered_though_the_end_behind_it_has_been_seen() {
    let own = delaying().operation_rate(Rate::per_second(1));
    let (mut rig, mut seen) = (Rig::new(own), Seen::default());
    let client = connect(&rig, 1);
    pipeline(&client, 3);
    client.finish();
    rig.pass(5 * SECOND, |pool, event| {
        seen.note(&event);
        if let Event::Readable(id) = event {
            while pool.conn(id).receive() > 0 {}
            answer(pool, id);
        }
    });
    assert_eq!((client.bytes_in(), seen.read_closed, seen.reasons()), (2 * 3, 1, vec![Reason::Peer]));
}

/// A pool of one operation a minute, 10 clients that ask once, and how many of them have been served.
fn line_of_ten() -> (Rig<()>, Seen, impl Fn() -> u64) {
    let shared = delaying().pool_operation_rate(Rate::per_minute(1).burst(1));
    let (mut rig, mut seen) = (Rig::new(shared), Seen::default());
    let clients = asked(&rig, 1, 10);
    rig.settle(seen.echo());
    (rig, seen, move || clients.iter().map(|client| client.bytes_in() / 2).sum())
}

#[test]
fn another_limit_may_change_without_letting_those_in_line_through() {
    let (mut rig, mut seen, served) = line_of_ten();
    for _ in 0..10 {
        rig.pool.reconfigure(|config| config.max_input += 1).unwrap();
        rig.settle(seen.echo());
    }
    assert_eq!(served(), 1);
    rig.pass(60 * SECOND, seen.echo());
    assert_eq!(served(), 2, "nor do they lose their place");
}

#[test]
fn another_rate_holds_for_those_in_line() {
    let (mut rig, mut seen, served) = line_of_ten();
    rig.pool.reconfigure(|config| config.pool_operation_rate = Some(Rate::per_minute(2).burst(1))).unwrap();
    rig.settle(seen.echo());
    assert_eq!(served(), 1);
    rig.pass(90 * SECOND, seen.echo());
    assert_eq!(served(), 4);
}

#[test]
fn whoever_leaves_while_rates_change_gives_back_nothing_that_was_forgotten() {
    let (mut rig, mut seen, served) = line_of_ten();
    rig.pool.reconfigure(|config| config.pool_operation_rate = Some(Rate::per_minute(1))).unwrap();
    for id in &seen.opened[2..] {
        rig.pool.kill(*id);
    }
    while rig.pool.next_event().is_some() {}
    rig.settle(seen.echo());
    assert_eq!(served(), 1);
}

#[test]
fn a_token_that_an_earlier_rate_gave_buys_nothing_later() {
    let own = delaying().operation_rate(Rate::new(1, 3600 * SECOND));
    let (mut rig, mut seen) = (Rig::new(own), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"a");
    rig.settle(seen.echo());
    for (over, sent) in [(OverRate::Ask, &b"\n"[..]), (OverRate::Delay, b"b\n")] {
        rig.pool.reconfigure(|config| config.over_rate = over).unwrap();
        rig.settle(seen.echo());
        client.send(sent);
        rig.settle(seen.echo());
    }
    assert_eq!(client.take(), b"a\n");
}

#[test]
fn whoever_asks_for_an_operation_upsets_no_line() {
    let (mut rig, mut seen, served) = line_of_ten();
    let wait = rig.pool.conn(seen.opened[0]).check_operation();
    assert_eq!(wait, Err(600 * SECOND), "nine are before it");
    let late = connect(&rig, 100);
    late.send(b"x\n");
    rig.pass(120 * SECOND, seen.echo());
    assert_eq!((served(), late.take()), (3, vec![]));
}

#[test]
fn what_is_held_back_is_not_finished_by_a_touch() {
    let own = delaying().operation_rate(Rate::new(1, 60 * SECOND)).idle_timeout(None);
    let (mut rig, mut seen) = (Rig::new(own), Seen::default());
    let client = connect(&rig, 1);
    pipeline(&client, 3);
    for _ in 0..12 {
        rig.pass(10 * SECOND, seen.echo());
        rig.pool.conn(seen.opened[0]).touch();
    }
    assert_eq!(client.bytes_in(), 2 * 3);
    assert_eq!(rig.pool.snapshot().counters.operations, 3);
}

#[test]
fn pipelined_messages_that_are_answered_before_they_are_used_up_leave_nothing_owed() {
    let (mut rig, mut seen) = (Rig::new(builder()), Seen::default());
    let client = connect(&rig, 1);
    for lines in 1..=4 {
        pipeline(&client, lines);
        rig.settle(|pool, event| {
            seen.note(&event);
            let Event::Readable(id) = event else { return };
            let mut conn = pool.conn(id);
            conn.receive();
            while !conn.input().is_empty() {
                assert_eq!(conn.send(b"y\n"), Sent::Now);
                conn.consume(2);
            }
        });
    }
    let info = rig.pool.connections().next().expect("it lives");
    assert_eq!((info.operations, client.bytes_in()), (10, 20));
    client.finish();
    rig.settle(seen.echo());
    assert_eq!(seen.reasons(), [Reason::Peer]);
}

#[test]
fn whoever_closes_his_half_behind_a_pipeline_gets_all_his_answers() {
    let limits = [
        delaying().operation_rate(Rate::per_second(10).burst(5)),
        delaying().pool_operation_rate(Rate::per_second(10).burst(5)),
        delaying().operation_rate(Rate::per_second(10).burst(5)).max_input(64),
    ];
    for limited in limits {
        let (mut rig, mut seen) = (Rig::new(limited), Seen::default());
        let client = connect(&rig, 1);
        pipeline(&client, 45);
        client.finish();
        rig.pass(SECOND, seen.echo());
        assert_eq!(
            (client.bytes_in(), seen.read_closed),
            (2 * 15, 0),
            "the end is told after the last input"
        );
        rig.pass(3 * SECOND, seen.echo());
        assert_eq!((client.bytes_in(), seen.reasons()), (2 * 45, vec![Reason::Peer]));
    }
}

#[test]
fn half_a_message_behind_a_pipeline_does_not_keep_its_sender() {
    let own = delaying().operation_rate(Rate::per_second(10).burst(5));
    let (mut rig, mut seen) = (Rig::new(own), Seen::default());
    let client = connect(&rig, 1);
    client.send(&[&b"x\n".repeat(10)[..], b"half"].concat());
    client.finish();
    rig.pass(SECOND, seen.echo());
    assert_eq!((client.bytes_in(), seen.reasons()), (2 * 10, vec![Reason::Peer]));
}

#[test]
fn a_change_of_limits_lets_nobody_past_the_line() {
    let changes: [fn(&mut Config); 2] = [
        |config| config.idle_timeout = Some(60 * SECOND),
        |config| config.operation_rate = Some(Rate::per_second(1000)),
    ];
    for change in changes {
        let shared = delaying().pool_operation_rate(Rate::per_second(10).burst(1));
        let (mut rig, mut seen) = (Rig::new(shared), Seen::default());
        let clients: Vec<Client> = (1..=50).map(|port| connect(&rig, port)).collect();
        clients.iter().for_each(|client| client.send(b"x\n"));
        rig.settle(seen.echo());
        rig.pool.reconfigure(change).unwrap();
        rig.settle(seen.echo());
        let served = || clients.iter().filter(|client| client.bytes_in() > 0).count();
        assert_eq!(served(), 1);
        rig.pass(2 * SECOND, seen.echo());
        assert_eq!(served(), 21);
        rig.pass(3 * SECOND, seen.echo());
        assert_eq!((served(), seen.reasons()), (50, vec![]));
    }
}

#[test]
fn whoever_answers_before_he_takes_answers_each_message_once() {
    let mut rig = Rig::new(delaying().operation_rate(Rate::per_second(1)));
    let client = connect(&rig, 1);
    let lines: Vec<u8> = (0..6).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    client.send(&lines);
    rig.pass(10 * SECOND, |pool, event| {
        let Event::Readable(id) = event else { return };
        let mut conn = pool.conn(id);
        conn.receive();
        let (mut input, mut output) = conn.split();
        while input.len() >= 2 {
            let line = [input[0], input[1]];
            assert_eq!(output.send(&line), Sent::Now);
            assert_eq!(input.take(2), Some(&line[..]), "what is answered can be used up");
        }
    });
    assert_eq!(client.take(), lines);
    assert_eq!(rig.pool.snapshot().counters.operations, 6);
}

#[test]
fn what_is_held_back_behind_the_end_is_told_to_one_that_was_paused() {
    let own = delaying().operation_rate(Rate::per_second(1));
    let (mut rig, mut seen) = (Rig::new(own), Seen::default());
    let client = connect(&rig, 1);
    let id = {
        rig.settle(seen.echo());
        seen.opened[0]
    };
    rig.pool.conn(id).hold();
    pipeline(&client, 3);
    client.finish();
    // The end is seen while nothing is used up, so what waits is in the buffer already.
    rig.settle(|pool, event| {
        if let Event::Readable(id) = event {
            while pool.conn(id).receive() > 0 {}
        }
    });
    rig.pool.conn(id).pause_reading();
    answer(&mut rig.pool, id);
    rig.pool.conn(id).resume_reading();
    rig.pass(5 * SECOND, seen.echo());
    assert_eq!(client.bytes_in(), 2 * 3);
}

#[test]
fn what_is_sent_meanwhile_is_no_answer_to_what_is_held_back() {
    let (mut rig, mut seen) = (Rig::new(delaying().operation_rate(Rate::per_second(1))), Seen::default());
    let client = connect(&rig, 1);
    pipeline(&client, 2);
    rig.settle(seen.echo());
    let id = seen.opened[0];
    assert_eq!(rig.pool.conn(id).send(b"news\n"), Sent::Now);
    // The answer is made elsewhere, and takes its time.
    rig.pass(SECOND, |pool, event| {
        if let Event::Readable(id) = event {
            pool.conn(id).receive();
            pool.conn(id).consume(2);
        }
    });
    rig.pool.drain(None);
    rig.settle(seen.echo());
    assert_eq!(rig.pool.conn(id).send(b"x\n"), Sent::Now);
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.reasons()), (b"x\nnews\nx\n".to_vec(), vec![Reason::Drained]));
}

#[test]
fn news_between_two_halves_of_a_message_let_no_pipeline_past_its_rate() {
    let (mut rig, mut seen) = (Rig::new(delaying().operation_rate(Rate::per_second(1))), Seen::default());
    let client = connect(&rig, 1);
    client.send(b"x");
    rig.settle(seen.echo());
    assert_eq!(rig.pool.conn(seen.opened[0]).send(b"news\n"), Sent::Now);
    client.send(b"\n");
    pipeline(&client, 20);
    rig.pass(10 * SECOND, seen.echo());
    let lines = (client.bytes_in() - 5) / 2;
    assert!((10..=12).contains(&lines), "{lines} in ten seconds");
}

/// Receives up to the end of the stream, and answers what may be answered.
fn read_to_the_end(pool: &mut Pool<()>, event: Event<()>) {
    if let Event::Readable(id) = event {
        while pool.conn(id).receive() > 0 {}
        answer(pool, id);
    }
}

#[test]
fn what_is_held_back_is_told_before_the_end_to_one_that_is_still_paused() {
    let mut rig = Rig::new(delaying().operation_rate(Rate::per_second(1)));
    let client = connect(&rig, 1);
    pipeline(&client, 3);
    client.finish();
    rig.settle(|pool, event| {
        if let Event::Readable(id) = event {
            read_to_the_end(pool, event);
            pool.conn(id).pause_reading();
        }
    });
    let id = rig.pool.ids().next().expect("it lives");
    rig.pass(2 * SECOND, read_to_the_end);
    rig.pool.conn(id).touch();
    rig.pass(2 * SECOND, read_to_the_end);
    rig.pool.conn(id).resume_reading();
    rig.pass(2 * SECOND, read_to_the_end);
    assert_eq!(client.bytes_in(), 2 * 3);
}

#[test]
fn what_is_held_back_is_told_before_the_end_to_one_whose_answers_leave_slowly() {
    let own = delaying().operation_rate(Rate::per_second(1)).output_high(64).output_low(32);
    let mut rig = Rig::new(own);
    rig.world.set_window(1);
    let client = connect(&rig, 1);
    client.send(&[&[b'x'; 39][..], b"\n"].concat().repeat(3));
    client.finish();
    rig.pass(3 * SECOND, read_to_the_end);
    for window in [1, usize::MAX] {
        client.set_window(window);
        rig.pass(SECOND, read_to_the_end);
    }
    assert_eq!(client.bytes_in(), 3 * 40);
}

fn closing() -> Builder<()> {
    builder().over_rate(OverRate::Close).operation_rate(Rate::per_minute(1))
}

#[test]
fn an_answer_of_several_pieces_leaves_whole_though_the_next_message_is_over_the_rate() {
    for queued in [false, true] {
        let (mut rig, mut seen) = (Rig::new(closing()), Seen::default());
        let client = connect(&rig, 1);
        pipeline(&client, 2);
        rig.settle(|pool, event| {
            seen.note(&event);
            let Event::Readable(id) = event else { return };
            let mut conn = pool.conn(id);
            conn.receive();
            let (mut input, mut output) = conn.split();
            while input.take_through(b'\n').is_some() {
                for piece in [&b"head "[..], b"body\n"] {
                    let sent = if queued { output.queue(piece) } else { output.send(piece) };
                    assert_ne!(sent, Sent::Refused);
                }
            }
        });
        assert_eq!(
            (client.take(), seen.reasons()),
            (b"head body\n".to_vec(), vec![Reason::Rate]),
            "{queued}"
        );
    }
}

#[test]
fn an_answer_that_leaves_slowly_leaves_whole_though_the_next_message_is_over_the_rate() {
    let (mut rig, mut seen) = (Rig::new(closing()), Seen::default());
    rig.world.set_window(1);
    let client = connect(&rig, 1);
    client.send(b"one\nanother\n");
    rig.settle(seen.echo());
    rig.pool.conn(seen.opened[0]).hold();
    rig.pool.conn(seen.opened[0]).resume_reading();
    client.send(b"more\n");
    rig.settle(seen.echo());
    assert_eq!(seen.reasons(), []);
    client.set_window(usize::MAX);
    rig.settle(seen.echo());
    assert_eq!((client.take(), seen.reasons()), (b"one\n".to_vec(), vec![Reason::Rate]));
    assert_eq!(rig.pool.snapshot().counters.operations_denied, 1);
}

#[test]
fn what_is_over_a_rate_that_closes_is_not_shown() {
    for split in [false, true] {
        let (mut rig, mut handled) = (Rig::new(closing()), 0);
        let client = connect(&rig, 1);
        pipeline(&client, 10);
        rig.settle(|pool, event| {
            let Event::Readable(id) = event else { return };
            let mut conn = pool.conn(id);
            conn.receive();
            loop {
                if split {
                    let (mut input, mut output) = conn.split();
                    let Some(line) = input.take_through(b'\n') else { return };
                    let _ = output.send(line);
                } else {
                    let Some(line) = conn.input().get(..2).map(<[u8]>::to_vec) else { return };
                    conn.consume(2);
                    let _ = conn.send(&line);
                }
                handled += 1;
            }
        });
        assert_eq!(handled, 1, "split: {split}");
    }
}

#[test]
fn whoever_is_closed_when_done_takes_no_operation_more() {
    for over in [OverRate::Close, OverRate::Delay] {
        let (mut rig, mut seen) = (Rig::new(closing().over_rate(over)), Seen::default());
        let client = connect(&rig, 1);
        pipeline(&client, 2);
        rig.settle(|pool, event| {
            seen.note(&event);
            let Event::Readable(id) = event else { return };
            let mut conn = pool.conn(id);
            conn.receive();
            conn.consume(2);
            conn.close_when_done();
            assert_eq!(conn.send(b"bye\n"), Sent::Now);
        });
        assert_eq!((client.take(), seen.reasons()), (b"bye\n".to_vec(), vec![Reason::Closed]), "{over}");
        assert_eq!(rig.pool.snapshot().counters.operations_denied, 0, "{over}");
    }
}
