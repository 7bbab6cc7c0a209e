//! What the core does, one story for each rule.

use std::time::Duration;

use super::bench::{Bench, terms};
use crate::lease::{
    Acquired, Cancelled, CloseReason, Command, Failure, Patience, Phase, Refusal, Return, Span, Terms, Want,
};

#[test]
fn the_first_waits_for_a_connect_and_the_next_gets_what_he_gave_back() {
    let mut bench = Bench::new(terms(2));
    let first = bench.connect_and_lease();
    bench.release(first, Return::Keep);
    assert_eq!(bench.lease(), first);
    assert_eq!(bench.commands(), []);
}

#[test]
fn those_who_wait_are_served_in_the_order_in_which_they_came() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    let line = [bench.wait(), bench.wait(), bench.wait()];
    assert_eq!(bench.commands(), [], "there may be no second one");
    for waiter in line {
        bench.release(slot, Return::Keep);
        assert_eq!(bench.commands(), [Command::Grant(waiter, slot)]);
        assert_eq!(bench.outcome(waiter), Some(Ok(slot)));
    }
}

#[test]
fn a_waiter_who_goes_leaves_his_place_to_the_next() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    let (one, other) = (bench.wait(), bench.wait());
    assert_eq!(bench.core.cancel(one, bench.now), Cancelled::Left);
    bench.release(slot, Return::Keep);
    assert_eq!(bench.commands(), [Command::Grant(other, slot)]);
    let third = bench.wait();
    assert_eq!(bench.core.cancel(other, bench.now), Cancelled::PassedOn(slot), "he had it and did not look");
    assert_eq!(bench.commands(), [Command::Grant(third, slot)]);
}

#[test]
fn what_is_discarded_is_replaced_for_whoever_waits() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    let waiter = bench.wait();
    bench.release(slot, Return::Discard);
    assert_eq!(
        bench.commands(),
        [Command::Close(slot, CloseReason::Discarded)],
        "no room before it is closed"
    );
    bench.closed(slot);
    let next = bench.expect_connect();
    bench.connected(next, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(waiter, next)]);
}

#[test]
fn a_failed_connect_is_tried_again_until_the_breaker_opens() {
    let mut bench = Bench::new(terms(4));
    let waiter = bench.wait();
    let mut gaps = Vec::new();
    for _ in 0..4 {
        let begun = bench.now;
        let slot = bench.expect_connect();
        bench.connected(slot, Err(()));
        while bench.core.has_commands() || bench.core.next_deadline() != crate::clock::Nanos::MAX {
            if bench.core.has_commands() {
                break;
            }
            bench.pass(1);
        }
        gaps.push(bench.now.since(begun).as_millis());
    }
    assert_eq!(gaps, [100, 200, 400, 800]);
    let slot = bench.expect_connect();
    bench.connected(slot, Err(()));
    assert_eq!(bench.commands(), [Command::Fail(waiter)]);
    let until = bench.now + Duration::from_secs(30);
    assert_eq!(bench.outcome(waiter), Some(Err(Failure::Unavailable { until })));
    assert_eq!(bench.ask(Want::Any, Patience::Endless), Err(Refusal::Unavailable { until }));
}

#[test]
fn a_deadline_tells_whether_all_were_in_use_or_none_could_be_made() {
    let mut bench = Bench::new(terms(1));
    let patience = Patience::Until(bench.now + Duration::from_millis(50));
    let Ok(Acquired::Wait(failing)) = bench.ask(Want::Any, patience) else { panic!("nothing is there") };
    let slot = bench.expect_connect();
    bench.connected(slot, Err(()));
    bench.pass(50);
    assert_eq!(bench.outcome(failing), Some(Err(Failure::Connect { waited_ns: 50_000_000 })));
    bench.pass(100);
    bench.commands();
    let held = bench.connect_and_lease();
    let patience = Patience::Until(bench.now + Duration::from_millis(50));
    let Ok(Acquired::Wait(late)) = bench.ask(Want::Any, patience) else { panic!("it is in use") };
    bench.pass(50);
    assert_eq!(bench.outcome(late), Some(Err(Failure::Timeout { waited_ns: 50_000_000 })));
    bench.release(held, Return::Keep);
}

#[test]
fn one_that_was_idle_for_long_is_validated_before_it_is_lent() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    bench.release(slot, Return::Keep);
    bench.pass(499);
    let again = bench.lease();
    bench.release(again, Return::Keep);
    bench.pass(500);
    let waiter = bench.wait();
    assert_eq!(bench.commands(), [Command::Validate(slot)]);
    bench.validated(slot, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(waiter, slot)]);
}

#[test]
fn one_that_does_not_pass_its_validation_is_replaced() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    bench.release(slot, Return::Keep);
    bench.pass(1000);
    let waiter = bench.wait();
    assert_eq!(bench.commands(), [Command::Validate(slot)]);
    bench.validated(slot, Err(()));
    assert_eq!(bench.commands(), [Command::Close(slot, CloseReason::Invalid)]);
    bench.closed(slot);
    let next = bench.expect_connect();
    bench.connected(next, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(waiter, next)]);
}

#[test]
fn a_connect_that_hangs_keeps_its_place_and_is_closed_when_it_comes() {
    let mut bench = Bench::new(terms(1));
    let waiter = bench.wait();
    let slot = bench.expect_connect();
    bench.pass(5_000);
    assert_eq!(bench.commands(), [Command::Late(slot)]);
    assert_eq!(bench.core.phase(slot), Some(Phase::Overdue));
    bench.pass(60_000);
    assert_eq!(bench.commands(), [], "there may be no second one while the first may still come");
    bench.connected(slot, Ok(()));
    assert_eq!(bench.commands(), [Command::Close(slot, CloseReason::Late)]);
    bench.closed(slot);
    let next = bench.expect_connect();
    bench.connected(next, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(waiter, next)]);
}

#[test]
fn a_close_that_hangs_is_told_once_and_keeps_its_place() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    let waiter = bench.wait();
    bench.release(slot, Return::Discard);
    assert_eq!(bench.commands(), [Command::Close(slot, CloseReason::Discarded)]);
    bench.pass(4_999);
    assert_eq!(bench.commands(), []);
    bench.pass(1);
    assert_eq!(bench.commands(), [Command::Late(slot)]);
    bench.pass(60_000);
    assert_eq!(bench.commands(), [], "told once, and what is closed may still be there");
    bench.closed(slot);
    let next = bench.expect_connect();
    bench.connected(next, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(waiter, next)]);
}

#[test]
fn a_close_has_its_time_from_when_it_begins() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    bench.release(slot, Return::Discard);
    bench.commands();
    bench.core.queued(slot);
    bench.pass(7_000);
    assert_eq!(bench.commands(), [], "nobody is stuck in what has not begun");
    bench.core.begun(slot, bench.now);
    bench.pass(4_999);
    assert_eq!(bench.commands(), []);
    bench.pass(1);
    assert_eq!(bench.commands(), [Command::Late(slot)]);
}

#[test]
fn whoever_wants_a_new_one_gets_a_new_one_in_his_turn() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    let Ok(Acquired::Wait(wants_new)) = bench.ask(Want::New, Patience::Endless) else {
        panic!("it is in use")
    };
    let behind = bench.wait();
    bench.release(slot, Return::Keep);
    assert_eq!(bench.commands(), [Command::Close(slot, CloseReason::Room)]);
    bench.closed(slot);
    let fresh = bench.expect_connect();
    bench.connected(fresh, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(wants_new, fresh)]);
    bench.release(fresh, Return::Keep);
    assert_eq!(bench.commands(), [Command::Grant(behind, fresh)]);
}

#[test]
fn idle_ones_end_at_their_timeout_but_not_below_the_minimum() {
    let mut bench = Bench::new(Terms { min_size: 1, ..terms(3) });
    let leases = [bench.connect_and_lease(), bench.connect_and_lease(), bench.connect_and_lease()];
    for lease in leases {
        bench.release(lease, Return::Keep);
    }
    bench.pass(299_999);
    assert_eq!(bench.commands(), []);
    bench.pass(1);
    let closes = bench.commands();
    assert_eq!(closes.len(), 2, "{closes:?}");
    for command in closes {
        let Command::Close(slot, CloseReason::Idle) = command else { panic!("{command:?}") };
        bench.closed(slot);
    }
    bench.pass(1_000_000);
    assert_eq!(bench.commands(), []);
}

#[test]
fn a_lifetime_ends_with_the_replacement_first() {
    let lifetime = Span::from(Duration::from_secs(60));
    let mut bench = Bench::new(Terms { min_size: 1, max_lifetime: lifetime, ..terms(2) });
    let slot = bench.connect_and_lease();
    bench.release(slot, Return::Keep);
    bench.pass(60_000);
    let next = bench.expect_connect();
    bench.connected(next, Ok(()));
    assert_eq!(bench.commands(), [Command::Close(slot, CloseReason::Lifetime)]);
    assert_eq!(bench.lease(), next);
}

#[test]
fn twelve_are_warmed_five_five_two() {
    let mut bench = Bench::new(Terms { min_size: 12, ..terms(20) });
    bench.core.warm(bench.key, 5, 100_000_000, bench.now);
    let mut batches = Vec::new();
    let mut total = 0;
    loop {
        let slots: Vec<_> = bench.commands();
        let begun = slots.iter().filter(|command| matches!(command, Command::Connect(_))).count();
        if begun > 0 {
            batches.push((bench.now.as_millis(), begun));
            total += begun;
        }
        for command in slots {
            match command {
                Command::Connect(slot) => bench.connected(slot, Ok(())),
                Command::Warmed(_, failed) => {
                    assert_eq!((failed, total), (0, 12));
                    assert_eq!(batches, [(0, 5), (100, 5), (200, 2)]);
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
        if !bench.core.has_commands() {
            bench.pass(1);
        }
    }
}

#[test]
fn a_drain_serves_the_line_and_refuses_newcomers() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    let waiter = bench.wait();
    bench.core.begin_drain(crate::clock::Nanos::MAX, bench.now);
    assert_eq!(bench.ask(Want::Any, Patience::Endless), Err(Refusal::Closed));
    bench.release(slot, Return::Keep);
    assert_eq!(bench.commands(), [Command::Grant(waiter, slot)]);
    assert_eq!(bench.outcome(waiter), Some(Ok(slot)));
    bench.release(slot, Return::Keep);
    assert_eq!(bench.commands(), [Command::Close(slot, CloseReason::Closing)]);
    bench.closed(slot);
    assert_eq!(bench.commands(), [Command::Drained]);
}

#[test]
fn a_close_fails_all_who_wait_in_their_order() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    let (one, other) = (bench.wait(), bench.wait());
    bench.core.close_all(bench.now);
    assert_eq!(bench.commands(), [Command::Fail(one), Command::Fail(other)]);
    assert_eq!(bench.outcome(one), Some(Err(Failure::Closed)));
    bench.release(slot, Return::Keep);
    assert_eq!(bench.commands(), [Command::Close(slot, CloseReason::Closing)]);
    bench.closed(slot);
    assert_eq!(bench.commands(), [Command::Drained]);
}

#[test]
fn warming_what_is_closed_is_over_at_once() {
    let mut bench = Bench::new(Terms { min_size: 3, ..terms(5) });
    bench.core.close_all(bench.now);
    bench.commands();
    bench.core.warm(bench.key, 2, 100_000_000, bench.now);
    assert_eq!(bench.commands(), [Command::Warmed(bench.key, 3)]);
}

#[test]
fn a_round_whose_last_check_fails_is_over() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    bench.release(slot, Return::Keep);
    bench.core.check(bench.key, bench.now);
    assert_eq!(bench.commands(), [Command::Validate(slot)]);
    bench.validated(slot, Err(()));
    let told = [Command::Close(slot, CloseReason::Invalid), Command::Checked(bench.key, 1)];
    assert_eq!(bench.commands(), told);
}
