//! What happens by itself, a story for each rule: a size that follows the load, checks, lifetimes, leaks, minimum; and
//! what happens at the edges of patience and of time.

use std::time::Duration;

use super::bench::{Bench, terms};
use crate::breaker::{BreakerConfig, BreakerState};
use crate::clock::Nanos;
use crate::lease::{
    Acquired, AdaptiveTerms, Cancelled, Claim, CloseReason, Command, Failure, Patience, Refusal, Return,
    SlotId, Span, Terms, Want,
};

fn ms(millis: u64) -> Span {
    Span::from(Duration::from_millis(millis))
}

/// The numbers of the documents: every 10 s, at least ten acquisitions, up by a fifth, down by a fifth.
fn adaptive(ceiling: u32) -> AdaptiveTerms {
    AdaptiveTerms {
        interval: ms(10_000),
        min_acquisitions: 10,
        wait_high: ms(100),
        grow: 1.2,
        idle_high: 0.5,
        shrink: 0.8,
        ceiling,
    }
}

fn max(bench: &Bench) -> u32 {
    bench.core.gauges(bench.key).expect("it is there").max
}

/// What there is, idle.
fn idle(bench: &mut Bench, count: usize) -> Vec<SlotId> {
    let leases: Vec<_> = (0..count).map(|_| bench.connect_and_lease()).collect();
    for lease in &leases {
        bench.release(*lease, Return::Keep);
    }
    leases
}

/// Ten seconds in which so many are held and twenty are lent besides, each to one who has waited for so long.
fn interval(bench: &mut Bench, held: usize, wait_ms: u64) {
    let mut leases: Vec<_> = (0..held).map(|_| lease_anyhow(bench)).collect();
    for _ in 0..20 {
        if wait_ms == 0 {
            let slot = lease_anyhow(bench);
            bench.release(slot, Return::Keep);
            continue;
        }
        // All are in use, so whoever comes waits.
        let waiter = bench.wait();
        bench.pass(wait_ms);
        bench.release(leases.remove(0), Return::Keep);
        leases.push(bench.outcome(waiter).expect("it was given back").expect("and he got it"));
        bench.commands();
    }
    let end = (bench.now.as_millis() / 10_000 + 1) * 10_000;
    bench.pass(end - bench.now.as_millis());
    for lease in leases {
        bench.release(lease, Return::Keep);
    }
    let closes = bench.commands();
    for command in closes {
        if let Command::Close(slot, _) = command {
            bench.closed(slot);
        }
    }
    bench.commands();
}

/// Something idle, validated if it must be, or something new.
fn lease_anyhow(bench: &mut Bench) -> SlotId {
    let waiter = match bench.ask(Want::Any, Patience::Endless) {
        Ok(Acquired::Lease(slot)) => return slot,
        Ok(Acquired::Wait(waiter)) => waiter,
        Err(refusal) => panic!("{refusal:?}"),
    };
    for command in bench.commands() {
        match command {
            Command::Connect(slot) => bench.connected(slot, Ok(())),
            Command::Validate(slot) => bench.validated(slot, Ok(())),
            other => panic!("{other:?}"),
        }
    }
    bench.commands();
    bench.outcome(waiter).expect("it has come").expect("and he got it")
}

#[test]
fn intervals_with_few_acquisitions_move_no_limit() {
    let mut bench = Bench::new(Terms { adaptive: Some(adaptive(40)), ..terms(1) });
    let slot = bench.connect_and_lease();
    let waiter = bench.wait();
    bench.pass(9_000);
    bench.release(slot, Return::Keep);
    assert_eq!(bench.outcome(waiter), Some(Ok(slot)));
    bench.pass(100_000);
    assert_eq!(max(&bench), 1, "one who waited long is not ten");
}

#[test]
fn a_limit_grows_by_one_at_least_and_to_the_ceiling_at_most() {
    let mut bench = Bench::new(Terms { adaptive: Some(adaptive(4)), ..terms(1) });
    let mut sizes = Vec::new();
    let mut slot = bench.connect_and_lease();
    for _ in 0..5 {
        for _ in 0..10 {
            let waiter = bench.wait();
            bench.commands();
            bench.pass(200);
            bench.release(slot, Return::Keep);
            slot = bench.outcome(waiter).expect("it was given back").expect("and he got it");
        }
        bench.pass(8_000);
        bench.commands();
        sizes.push(max(&bench));
    }
    assert_eq!(sizes, [2, 3, 4, 4, 4]);
}

#[test]
fn a_limit_shrinks_to_what_is_in_use_and_to_the_minimum() {
    let mut bench = Bench::new(Terms { adaptive: Some(adaptive(40)), min_size: 2, ..terms(10) });
    idle(&mut bench, 10);
    let mut sizes = Vec::new();
    for _ in 0..8 {
        interval(&mut bench, 1, 0);
        sizes.push(max(&bench));
    }
    assert_eq!(sizes, [8, 7, 6, 5, 4, 3, 2, 2]);
    assert_eq!(bench.core.gauges(bench.key).expect("it is there").total, 2, "what is too many is closed");
}

#[test]
fn after_one_spike_a_limit_is_back_within_twenty_steps_with_one_reversal_at_the_most() {
    let base = 10;
    let mut bench = Bench::new(Terms { adaptive: Some(adaptive(4 * base)), min_size: base, ..terms(base) });
    idle(&mut bench, base as usize);
    interval(&mut bench, 6, 0);
    assert_eq!(max(&bench), base);
    let mut sizes = vec![base];
    interval(&mut bench, base as usize, 300);
    sizes.push(max(&bench));
    assert!(sizes[1] > base, "the spike grows it");
    for _ in 0..20 {
        interval(&mut bench, 2, 0);
        sizes.push(max(&bench));
    }
    assert_eq!(sizes.last(), Some(&base), "{sizes:?}");
    assert_eq!(sizes[1..5], [sizes[1]; 4], "not while the spike is near: {sizes:?}");
    let turns: Vec<i64> = sizes.windows(2).map(|pair| i64::from(pair[1]) - i64::from(pair[0])).collect();
    let turns: Vec<bool> = turns.into_iter().filter(|turn| *turn != 0).map(|turn| turn > 0).collect();
    let reversals = turns.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(reversals <= 1, "{sizes:?}");
}

#[test]
fn a_half_open_breaker_lets_one_connect_at_a_time_and_the_last_failure_opens_it_again() {
    let breaker = BreakerConfig { failures: 1, probes: 2, jitter: 0.0, ..BreakerConfig::default() };
    let mut bench = Bench::new(Terms { breaker, ..terms(4) });
    bench.wait();
    let slot = bench.expect_connect();
    bench.connected(slot, Err(()));
    bench.commands();
    bench.pass(30_000);
    assert_eq!(bench.core.breaker(bench.key, bench.now), Some(BreakerState::HalfOpen));
    let line = [bench.wait(), bench.wait(), bench.wait()];
    let first = bench.expect_connect();
    bench.connected(first, Err(()));
    let second = bench.expect_connect();
    bench.pass(5_000);
    let told = bench.commands();
    assert_eq!(told[0], Command::Late(second), "a probe that is late has failed");
    assert_eq!(told[1..], line.map(Command::Fail));
    let until = bench.now + Duration::from_secs(30);
    assert_eq!(bench.outcome(line[0]), Some(Err(Failure::Unavailable { until })));
}

#[test]
fn a_probe_that_succeeds_lets_all_others_connect() {
    let breaker = BreakerConfig { failures: 1, jitter: 0.0, ..BreakerConfig::default() };
    let mut bench = Bench::new(Terms { breaker, ..terms(4) });
    bench.wait();
    let slot = bench.expect_connect();
    bench.connected(slot, Err(()));
    bench.commands();
    bench.pass(30_000);
    let line = [bench.wait(), bench.wait(), bench.wait()];
    let probe = bench.expect_connect();
    bench.connected(probe, Ok(()));
    let commands = bench.commands();
    assert_eq!(commands[0], Command::Grant(line[0], probe));
    assert!(matches!(commands[1..], [Command::Connect(_), Command::Connect(_)]), "{commands:?}");
}

#[test]
fn lifetimes_are_shorter_by_a_share_that_is_drawn_for_each() {
    let lives =
        Terms { max_lifetime: ms(100_000), lifetime_jitter: 0.1, validate_after: Span::NEVER, ..terms(64) };
    let mut bench = Bench::new(lives);
    idle(&mut bench, 64);
    bench.pass(89_999);
    assert_eq!(bench.commands(), [], "none lives less than nine tenths");
    let mut deaths: Vec<u64> = Vec::new();
    for millis in 0..=10_001 {
        for command in bench.commands() {
            let Command::Close(slot, CloseReason::Lifetime) = command else { panic!("{command:?}") };
            bench.closed(slot);
            deaths.push(millis);
        }
        bench.pass(1);
    }
    assert_eq!(deaths.len(), 64, "none lives longer");
    let mut times = deaths;
    times.dedup();
    assert!(times.len() > 32, "they do not end together: {times:?}");
}

#[test]
fn a_lease_that_lasts_too_long_is_told_once_and_the_next_one_again() {
    let mut bench = Bench::new(Terms { leak_threshold: ms(1_000), ..terms(1) });
    let slot = bench.connect_and_lease();
    bench.pass(999);
    assert_eq!(bench.commands(), []);
    bench.pass(251);
    assert_eq!(bench.commands(), [Command::Overdue(slot)], "at most a quarter too late");
    bench.pass(60_000);
    assert_eq!(bench.commands(), [], "once");
    bench.release(slot, Return::Keep);
    assert_eq!(bench.lease(), slot);
    bench.pass(2_000);
    assert_eq!(bench.commands(), [Command::Overdue(slot)], "the next lease is another one");
}

#[test]
fn a_round_of_checks_takes_four_at_a_time_and_leaves_alone_what_was_used_meanwhile() {
    let mut bench = Bench::new(Terms { validate_after: Span::NEVER, ..terms(8) });
    let slots = idle(&mut bench, 7);
    let held = bench.lease();
    assert_eq!(held, slots[6], "the newest");
    bench.pass(1);
    bench.core.check(bench.key, bench.now);
    assert_eq!(bench.commands(), slots[..4].iter().map(|slot| Command::Validate(*slot)).collect::<Vec<_>>());
    // Of the two that are left one is lent and comes back before it is its turn.
    let used = bench.lease();
    assert_eq!(used, slots[5]);
    bench.pass(1);
    bench.release(used, Return::Keep);
    let mut checked = slots[..4].to_vec();
    while let Some(slot) = checked.pop() {
        bench.validated(slot, Ok(()));
        for command in bench.commands() {
            match command {
                Command::Validate(next) => {
                    assert_ne!(next, used, "it is known to work");
                    assert_ne!(next, held, "somebody has it");
                    checked.push(next);
                }
                Command::Checked(_, failed) => assert_eq!((failed, checked.len()), (0, 0)),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(bench.core.gauges(bench.key).expect("it is there").idle, 7 - 1);
}

#[test]
fn a_round_of_checks_without_anything_idle_is_over_at_once() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    bench.core.check(bench.key, bench.now);
    assert_eq!(bench.commands(), [Command::Checked(bench.key, 0)]);
    bench.release(slot, Return::Keep);
}

#[test]
fn what_is_lent_for_a_round_while_others_wait_is_granted_when_it_passes() {
    let mut bench = Bench::new(terms(1));
    let slots = idle(&mut bench, 1);
    bench.core.check(bench.key, bench.now);
    bench.commands();
    let waiter = bench.wait();
    bench.validated(slots[0], Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(waiter, slots[0]), Command::Checked(bench.key, 0)]);
}

#[test]
fn a_validation_that_hangs_is_told_and_closed_when_it_comes_back() {
    for result in [Ok(()), Err(())] {
        let mut bench = Bench::new(terms(1));
        let slots = idle(&mut bench, 1);
        bench.core.check(bench.key, bench.now);
        bench.commands();
        bench.pass(5_000);
        assert_eq!(bench.commands(), [Command::Late(slots[0]), Command::Checked(bench.key, 1)]);
        bench.validated(slots[0], result);
        assert_eq!(bench.commands(), [Command::Close(slots[0], CloseReason::Late)]);
        bench.closed(slots[0]);
        assert!(bench.core.validated(slots[0], Ok(()), bench.now).is_err(), "it is gone");
    }
}

#[test]
fn a_connect_that_hung_and_then_fails_leaves_its_place_to_the_next() {
    let mut bench = Bench::new(terms(1));
    let waiter = bench.wait();
    let slot = bench.expect_connect();
    bench.pass(5_000);
    bench.commands();
    bench.pass(100);
    bench.connected(slot, Err(()));
    // It has failed once, when it was late: a second failure would have the next wait for longer.
    let next = bench.expect_connect();
    bench.connected(next, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(waiter, next)]);
}

#[test]
fn so_many_idle_ones_are_kept_as_min_idle_says() {
    let mut bench = Bench::new(Terms { min_idle: 2, ..terms(6) });
    idle(&mut bench, 5);
    bench.pass(700_000);
    assert_eq!(bench.core.gauges(bench.key).expect("it is there").idle, 2);
}

#[test]
fn what_was_lent_as_often_as_it_may_be_is_closed_when_it_comes_back() {
    let mut bench = Bench::new(Terms { max_uses: 2, ..terms(1) });
    let slot = bench.connect_and_lease();
    bench.release(slot, Return::Keep);
    assert_eq!(bench.lease(), slot);
    bench.release(slot, Return::Keep);
    assert_eq!(bench.commands(), [Command::Close(slot, CloseReason::Uses)]);
}

#[test]
fn the_longest_idle_of_another_key_is_closed_for_a_waiter_but_not_its_minimum() {
    let kept = Terms { min_size: 1, ..terms(2) };
    let (mut bench, [one, other, third]) = Bench::of_keys(3, [kept.clone(), terms(2), terms(2)]);
    let first = bench.under(one).connect_and_lease();
    bench.release(first, Return::Keep);
    for key in [other, third] {
        bench.pass(1);
        let slot = bench.under(key).connect_and_lease();
        bench.release(slot, Return::Keep);
    }
    let held = bench.under(third).lease();
    bench.wait();
    let commands = bench.commands();
    let [Command::Close(victim, CloseReason::Room)] = commands[..] else { panic!("{commands:?}") };
    assert_ne!(victim, first, "the longest idle is the minimum of its key");
    assert_ne!(victim, held);
}

#[test]
fn a_key_that_starves_gets_what_is_given_back_when_its_first_has_waited_50_ms_longer() {
    for (lead, goes_over) in [(49, false), (50, true)] {
        let (mut bench, [one, other]) = Bench::of_keys(1, [terms(1), terms(1)]);
        let slot = bench.under(one).connect_and_lease();
        bench.under(other).wait();
        bench.pass(lead);
        let own = bench.under(one).wait();
        bench.release(slot, Return::Keep);
        let expected = match goes_over {
            true => Command::Close(slot, CloseReason::Room),
            false => Command::Grant(own, slot),
        };
        assert_eq!(bench.commands(), [expected], "after {lead} ms");
    }
}

#[test]
fn who_would_not_wait_gets_what_is_idle_or_nothing_and_begins_one_connect() {
    let mut bench = Bench::new(terms(2));
    let refused = Refusal::Exhausted { in_use: 0, max: 2, waiters: 0 };
    assert_eq!(bench.ask(Want::Any, Patience::None), Err(refused));
    let slot = bench.expect_connect();
    assert_eq!(bench.ask(Want::Any, Patience::None), Err(refused));
    assert_eq!(bench.commands(), [], "one is on its way");
    bench.connected(slot, Ok(()));
    bench.pass(10_000);
    assert_eq!(bench.ask(Want::Any, Patience::None), Ok(Acquired::Lease(slot)), "also one to be validated");
    assert_eq!(
        bench.ask(Want::New, Patience::None),
        Err(Refusal::Exhausted { in_use: 1, max: 2, waiters: 0 })
    );
    assert_eq!(bench.commands(), []);
}

#[test]
fn no_more_than_max_waiters_stand_in_line_but_who_was_there_already() {
    let mut bench = Bench::new(Terms { max_waiters: 1, ..terms(1) });
    let slot = bench.connect_and_lease();
    bench.wait();
    let many = bench.ask(Want::Any, Patience::Endless);
    assert_eq!(many, Err(Refusal::Exhausted { in_use: 1, max: 1, waiters: 1 }));
    let claim = Claim { want: Want::Any, patience: Patience::Endless };
    let again = bench.core.acquire_again(slot, claim, bench.now, bench.now);
    assert!(matches!(again, Ok(Acquired::Wait(_))), "{again:?}");
}

#[test]
fn a_deadline_that_has_passed_ends_at_the_next_tick_and_the_end_of_time_never_comes() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    bench.pass(10);
    let past = bench.ask(Want::Any, Patience::Until(Nanos::ZERO));
    let far = bench.ask(Want::Any, Patience::Until(Nanos::new(u64::MAX - 1)));
    let (Ok(Acquired::Wait(past)), Ok(Acquired::Wait(far))) = (past, far) else { panic!("{past:?} {far:?}") };
    bench.core.tick(bench.now);
    assert_eq!(bench.commands(), [Command::Fail(past)]);
    assert_eq!(bench.outcome(past), Some(Err(Failure::Timeout { waited_ns: 0 })));
    bench.pass(1_000_000_000);
    assert_eq!(bench.outcome(far), None);
    bench.release(slot, Return::Keep);
    assert_eq!(bench.outcome(far), Some(Ok(slot)));
}

#[test]
fn nothing_is_ever_due_where_no_span_ends() {
    let never = Terms {
        idle_timeout: Span::NEVER,
        connect_timeout: Span::NEVER,
        validate_after: Span::NEVER,
        ..terms(2)
    };
    let mut bench = Bench::new(never);
    bench.now = Nanos::new(u64::MAX - 1_000);
    let slot = bench.connect_and_lease();
    bench.release(slot, Return::Keep);
    assert_eq!(bench.core.next_deadline(), Nanos::MAX);
    assert_eq!(bench.lease(), slot);
}

#[test]
fn the_order_holds_whoever_goes() {
    for gone in 0..32_u32 {
        let mut bench = Bench::new(terms(1));
        let slot = bench.connect_and_lease();
        let line = [(); 5].map(|()| bench.wait());
        let stays = |place: &usize| gone >> place & 1 == 0;
        for (place, waiter) in line.iter().enumerate().rev() {
            if !stays(&place) {
                assert_eq!(bench.core.cancel(*waiter, bench.now), Cancelled::Left);
            }
        }
        for place in (0..5).filter(stays) {
            bench.release(slot, Return::Keep);
            assert_eq!(bench.commands(), [Command::Grant(line[place], slot)], "without {gone:05b}");
        }
    }
}
