//! What once went wrong, a story for each.

use std::time::Duration;

use super::bench::{Bench, terms};
use crate::breaker::{BreakerConfig, BreakerState};
use crate::clock::Nanos;
use crate::lease::{
    Acquired, Claim, CloseReason, Command, Failure, Patience, Refusal, Return, Span, Terms, Want,
};

fn ms(millis: u64) -> Span {
    Span::from(Duration::from_millis(millis))
}

/// The first failure opens it for a second.
fn touchy(max_size: u32) -> Terms {
    let breaker = BreakerConfig {
        failures: 1,
        open_for: Duration::from_secs(1),
        jitter: 0.0,
        ..BreakerConfig::default()
    };
    Terms { breaker, ..terms(max_size) }
}

#[test]
fn a_drain_that_lasts_longer_than_a_health_check_comes_to_its_end() {
    let mut bench = Bench::new(Terms { health_check_interval: ms(100), ..terms(1) });
    let slot = bench.connect_and_lease();
    bench.core.begin_drain(Nanos::MAX, bench.now);
    // A check that stayed due kept the tick from ever ending.
    bench.pass(1_000);
    assert!(bench.core.next_deadline() > bench.now, "nothing is due any more");
    bench.release(slot, Return::Keep);
    bench.closed(slot);
    assert!(bench.commands().contains(&Command::Drained));
}

#[test]
fn a_round_of_checks_goes_on_behind_one_that_failed() {
    let mut bench = Bench::new(terms(6));
    let leases: Vec<_> = (0..6).map(|_| bench.connect_and_lease()).collect();
    for lease in &leases {
        bench.release(*lease, Return::Keep);
    }
    bench.core.check(bench.key, bench.now);
    assert_eq!(bench.commands(), leases[..4].iter().map(|slot| Command::Validate(*slot)).collect::<Vec<_>>());
    for (done, next) in [(0, 4), (1, 5)] {
        bench.validated(leases[done], Err(()));
        let close = Command::Close(leases[done], CloseReason::Invalid);
        assert_eq!(bench.commands(), [close, Command::Validate(leases[next])]);
    }
    for lease in &leases[2..] {
        bench.validated(*lease, Err(()));
    }
    assert_eq!(bench.commands().last(), Some(&Command::Checked(bench.key, 6)), "and is told to be over");
}

#[test]
fn who_was_given_a_broken_one_stands_before_those_of_the_other_line_too() {
    let mut bench = Bench::new(terms(1));
    let broken = bench.connect_and_lease();
    let wants_new = bench.wait_for_new();
    let claim = Claim { want: Want::Any, patience: Patience::Endless };
    let again = bench.core.acquire_again(broken, claim, Nanos::ZERO, bench.now);
    let Ok(Acquired::Wait(again)) = again else { panic!("{again:?} instead of a place in line") };
    bench.commands();
    bench.closed(broken);
    let next = bench.expect_connect();
    bench.connected(next, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(again, next)]);
    bench.release(next, Return::Discard);
    bench.closed(next);
    bench.commands();
    assert_eq!(bench.outcome(wants_new), None, "his turn is next");
}

#[test]
fn room_that_the_first_cannot_use_now_goes_to_the_next() {
    let backs_off =
        BreakerConfig { first_delay: Duration::from_secs(5), jitter: 0.0, ..BreakerConfig::default() };
    let (mut bench, [full, failing, well]) =
        Bench::of_keys(2, [terms(2), Terms { breaker: backs_off, ..terms(2) }, terms(1)]);
    let held = bench.under(full).connect_and_lease();
    // Two wait under this key. The connect of one fails when the pool is full again, and so the other rests as well.
    bench.under(failing).wait();
    let connecting = bench.expect_connect();
    bench.wait();
    let waiter = bench.under(well).wait();
    bench.connected(connecting, Err(()));
    let next = bench.expect_connect();
    bench.connected(next, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(waiter, next)], "nobody else can use the room now");
    bench.release(held, Return::Keep);
}

#[test]
fn who_wants_a_new_one_has_an_idle_one_of_his_key_closed_also_when_only_the_pool_is_full() {
    let (mut bench, [one, other]) = Bench::of_keys(2, [terms(5), terms(5)]);
    let slot = bench.under(one).connect_and_lease();
    bench.under(other).connect_and_lease();
    bench.release(slot, Return::Keep);
    let waiter = bench.under(one).wait_for_new();
    assert_eq!(bench.commands(), [Command::Close(slot, CloseReason::Room)]);
    bench.closed(slot);
    let next = bench.expect_connect();
    bench.connected(next, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(waiter, next)]);
}

#[test]
fn an_open_breaker_turns_nobody_away_for_whom_something_is_on_its_way() {
    let mut bench = Bench::new(touchy(4));
    let idle = bench.connect_and_lease();
    bench.release(idle, Return::Keep);
    bench.pass(600);
    let first = bench.wait();
    assert_eq!(bench.commands(), [Command::Validate(idle)]);
    let second = bench.wait();
    let connecting = bench.expect_connect();
    let third = bench.wait();
    let other = bench.expect_connect();
    bench.connected(connecting, Err(()));
    let until = bench.now + Duration::from_secs(1);
    assert_eq!(bench.commands(), [Command::Fail(third)], "the last who came");
    assert_eq!(bench.outcome(third), Some(Err(Failure::Unavailable { until })));
    let newcomer = bench.ask(Want::Any, Patience::Endless);
    assert_eq!(newcomer, Err(Refusal::Unavailable { until }), "and nobody else because he asks");
    bench.validated(idle, Ok(()));
    bench.connected(other, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(first, idle), Command::Grant(second, other)]);
}

#[test]
fn those_who_are_turned_away_are_told_in_the_order_in_which_they_came() {
    let mut bench = Bench::new(touchy(1));
    let slot = bench.connect_and_lease();
    let line = [bench.wait(), bench.wait_for_new(), bench.wait()];
    bench.core.report(slot, crate::breaker::Went::Ill, bench.now);
    assert_eq!(bench.commands(), [], "they wait for one that is in use");
    bench.release(slot, Return::Discard);
    bench.commands();
    bench.closed(slot);
    assert_eq!(bench.commands(), line.map(Command::Fail));
}

#[test]
fn the_minimum_is_tried_again_when_its_connect_has_failed() {
    let mut bench = Bench::new(Terms { min_size: 2, ..touchy(2) });
    bench.core.warm(bench.key, 2, 0, bench.now);
    let connects = bench.commands();
    let [Command::Connect(one), Command::Connect(other)] = connects[..] else { panic!("{connects:?}") };
    bench.connected(one, Err(()));
    bench.connected(other, Err(()));
    assert_eq!(bench.commands(), [Command::Warmed(bench.key, 2)]);
    assert_eq!(bench.core.next_deadline(), bench.now + Duration::from_secs(1), "when the breaker lets it");
    bench.pass(1_000);
    let probe = bench.expect_connect();
    assert_eq!(bench.core.breaker(bench.key, bench.now), Some(BreakerState::HalfOpen));
    bench.connected(probe, Ok(()));
    let second = bench.expect_connect();
    bench.connected(second, Ok(()));
    assert_eq!(bench.core.gauges(bench.key).expect("it is there").idle, 2);
}

#[test]
fn the_minimum_is_tried_again_when_its_connect_was_late() {
    let mut bench = Bench::new(Terms { min_size: 1, ..terms(2) });
    bench.core.warm(bench.key, 1, 0, bench.now);
    let hanging = bench.expect_connect();
    bench.pass(5_000);
    assert_eq!(bench.commands(), [Command::Warmed(bench.key, 1), Command::Late(hanging)]);
    bench.pass(100);
    bench.expect_connect();
}

#[test]
fn who_joins_in_warming_does_not_shorten_the_gap() {
    let mut bench = Bench::new(Terms { min_size: 4, ..terms(4) });
    bench.core.warm(bench.key, 1, 100_000_000, bench.now);
    bench.expect_connect();
    bench.core.warm(bench.key, 1, 100_000_000, bench.now);
    assert_eq!(bench.commands(), [], "the next batch is not due");
    bench.pass(100);
    bench.expect_connect();
}

#[test]
fn nobody_looks_for_leaks_in_a_pool_that_is_drained() {
    let mut bench = Bench::new(Terms { leak_threshold: ms(100), ..terms(1) });
    let slot = bench.connect_and_lease();
    bench.core.close_all(bench.now);
    bench.release(slot, Return::Keep);
    bench.closed(slot);
    assert_eq!(bench.core.next_deadline(), Nanos::MAX);
}

#[test]
fn nothing_is_warmed_in_a_drain() {
    let mut bench = Bench::new(Terms { min_size: 2, ..terms(4) });
    let held = bench.connect_and_lease();
    bench.core.begin_drain(Nanos::MAX, bench.now);
    bench.core.warm(bench.key, 5, 0, bench.now);
    assert_eq!(bench.commands(), [Command::Warmed(bench.key, 1)], "one could not begin");
    bench.core.close_all(bench.now);
    bench.core.warm(bench.key, 5, 0, bench.now);
    assert_eq!(bench.commands(), [Command::Warmed(bench.key, 1)], "and this is told");
    bench.release(held, Return::Keep);
}

#[test]
fn a_destination_that_is_down_takes_nothing_from_others() {
    let (mut bench, [well, down]) = Bench::of_keys(1, [terms(2), touchy(2)]);
    bench.under(down).wait();
    let connecting = bench.expect_connect();
    bench.connected(connecting, Err(()));
    bench.commands();
    let slot = bench.under(well).connect_and_lease();
    bench.release(slot, Return::Keep);
    let until = bench.now + Duration::from_secs(1);
    let refused = bench.under(down).ask(Want::Any, Patience::Endless);
    assert_eq!(refused, Err(Refusal::Unavailable { until }));
    assert_eq!(bench.commands(), [], "it could not have used the place");
    assert_eq!(bench.under(well).lease(), slot);
}

#[test]
fn one_who_waits_for_room_takes_one_place_and_not_each_that_becomes_free() {
    let (mut bench, [rich, poor]) = Bench::of_keys(3, [terms(3), terms(3)]);
    let leases = [(); 3].map(|()| bench.under(rich).connect_and_lease());
    bench.under(poor).wait();
    for lease in leases {
        bench.release(lease, Return::Keep);
    }
    assert_eq!(bench.commands(), [Command::Close(leases[0], CloseReason::Room)]);
    assert_eq!(bench.core.gauges(rich).expect("it is there").idle, 2);
}

#[test]
fn what_does_not_suit_those_of_its_own_key_is_not_kept_from_others() {
    let (mut bench, [one, other]) = Bench::of_keys(2, [terms(3), terms(1)]);
    let leases = [(); 2].map(|()| bench.under(one).connect_and_lease());
    bench.wait_for_new();
    bench.under(other).wait();
    bench.release(leases[0], Return::Keep);
    assert_eq!(bench.commands(), [Command::Close(leases[0], CloseReason::Room)]);
    bench.closed(leases[0]);
    bench.expect_connect();
    // The new one is on its way, so this one is of no use to who waits for a new one.
    bench.release(leases[1], Return::Keep);
    assert_eq!(bench.commands(), [Command::Close(leases[1], CloseReason::Room)]);
}

#[test]
fn an_idle_one_is_closed_for_others_as_soon_as_its_key_has_more_than_its_minimum() {
    let (mut bench, [one, other]) = Bench::of_keys(2, [Terms { min_size: 1, ..terms(3) }, terms(1)]);
    let leases = [(); 2].map(|()| bench.under(one).connect_and_lease());
    bench.wait_for_new();
    bench.under(other).wait();
    bench.release(leases[0], Return::Keep);
    bench.release(leases[1], Return::Keep);
    assert_eq!(bench.commands(), [Command::Close(leases[0], CloseReason::Room)], "the other is its minimum");
    bench.closed(leases[0]);
    let commands = bench.commands();
    assert!(matches!(commands[0], Command::Connect(_)), "{commands:?}");
    assert_eq!(commands[1..], [Command::Close(leases[1], CloseReason::Room)]);
}

#[test]
fn a_grant_that_nobody_took_says_nothing_of_whether_it_works() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    let (gone, next) = (bench.wait(), bench.wait());
    bench.release(slot, Return::Keep);
    assert_eq!(bench.commands(), [Command::Grant(gone, slot)]);
    bench.pass(500);
    bench.core.cancel(gone, bench.now);
    assert_eq!(bench.commands(), [Command::Validate(slot)], "it is known to have worked half a second ago");
    bench.validated(slot, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(next, slot)]);
    bench.pass(499);
    bench.core.cancel(next, bench.now);
    assert_eq!(bench.lease(), slot, "it passed its validation a moment ago");
}

#[test]
fn a_grant_that_nobody_took_ends_no_idleness() {
    let mut bench = Bench::new(terms(1));
    let slot = bench.connect_and_lease();
    let gone = bench.wait();
    bench.release(slot, Return::Keep);
    bench.commands();
    bench.pass(350_000);
    bench.core.cancel(gone, bench.now);
    bench.pass(1);
    assert_eq!(bench.commands(), [Command::Close(slot, CloseReason::Idle)]);
}

#[test]
fn who_waits_while_other_keys_have_all_places_is_not_told_that_connects_fail() {
    let (mut bench, [own, other]) = Bench::of_keys(1, [terms(2), terms(2)]);
    bench.under(own).wait();
    let failed = bench.expect_connect();
    bench.connected(failed, Err(()));
    bench.pass(50);
    let held = bench.under(other).connect_and_lease();
    let patience = Patience::Until(bench.now + Duration::from_millis(500));
    let Ok(Acquired::Wait(late)) = bench.under(own).ask(Want::Any, patience) else { panic!("it is full") };
    bench.pass(500);
    assert_eq!(bench.outcome(late), Some(Err(Failure::Timeout { waited_ns: 500_000_000 })));
    bench.release(held, Return::Keep);
}

#[test]
fn who_waits_while_another_key_has_one_to_spare_is_told_that_connects_fail() {
    let backs_off =
        BreakerConfig { first_delay: Duration::from_secs(5), jitter: 0.0, ..BreakerConfig::default() };
    let (mut bench, [own, other]) = Bench::of_keys(1, [Terms { breaker: backs_off, ..terms(2) }, terms(2)]);
    bench.under(own).wait();
    let failed = bench.expect_connect();
    bench.connected(failed, Err(()));
    let held = bench.under(other).connect_and_lease();
    bench.release(held, Return::Keep);
    let patience = Patience::Until(bench.now + Duration::from_millis(500));
    let Ok(Acquired::Wait(late)) = bench.under(own).ask(Want::Any, patience) else { panic!("it rests") };
    bench.pass(500);
    let told = Some(Err(Failure::Connect { waited_ns: 500_000_000 }));
    assert_eq!(bench.outcome(late), told, "nothing but the failure kept it from a place");
}

#[test]
fn nothing_is_validated_for_one_who_can_have_another_at_once() {
    let mut bench = Bench::new(terms(2));
    let leases = [(); 2].map(|()| bench.connect_and_lease());
    for lease in leases {
        bench.release(lease, Return::Keep);
        bench.pass(100);
    }
    bench.pass(400);
    bench.core.check(bench.key, bench.now);
    assert_eq!(bench.commands(), leases.map(Command::Validate));
    bench.validated(leases[1], Ok(()));
    bench.pass(300);
    bench.validated(leases[0], Ok(()));
    assert_eq!(bench.commands(), [Command::Checked(bench.key, 0)]);
    bench.pass(200);
    assert_eq!(bench.lease(), leases[0], "idle for longer and validated later");
    assert_eq!(bench.commands(), [], "nobody needs the other one");
}

#[test]
fn a_minimum_that_there_was_no_room_for_is_made_up_when_there_is() {
    let (mut bench, [own, other]) = Bench::of_keys(2, [Terms { min_size: 1, ..terms(2) }, terms(2)]);
    let lost = bench.under(own).connect_and_lease();
    let held = bench.under(other).connect_and_lease();
    let waiter = bench.wait();
    bench.release(lost, Return::Discard);
    bench.commands();
    bench.closed(lost);
    let next = bench.expect_connect();
    bench.connected(next, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(waiter, next)], "those who wait come first");
    bench.release(held, Return::Discard);
    bench.commands();
    bench.closed(held);
    let kept = bench.expect_connect();
    bench.connected(kept, Ok(()));
    assert_eq!(bench.core.gauges(own).expect("it is there").idle, 1);
}

#[test]
fn what_could_not_be_warmed_for_want_of_room_is_made_when_there_is() {
    let (mut bench, [own, other]) = Bench::of_keys(1, [Terms { min_size: 1, ..terms(2) }, terms(2)]);
    let held = bench.under(other).connect_and_lease();
    bench.core.warm(own, 1, 0, bench.now);
    assert_eq!(bench.commands(), [Command::Warmed(own, 0)]);
    bench.release(held, Return::Discard);
    bench.commands();
    bench.closed(held);
    let kept = bench.expect_connect();
    bench.connected(kept, Ok(()));
    assert_eq!(bench.core.gauges(own).expect("it is there").idle, 1);
}

#[test]
fn what_a_key_closes_at_its_own_limit_is_no_room_for_others() {
    let [own, others] = [Terms { min_size: 1, ..terms(1) }, terms(2)];
    let (mut bench, [own, rich, poor]) = Bench::of_keys(3, [own, others, terms(1)]);
    let used = bench.under(own).connect_and_lease();
    let leases = [(); 2].map(|()| bench.under(rich).connect_and_lease());
    let wants_new = bench.under(own).wait_for_new();
    let starves = bench.under(poor).wait();
    bench.release(used, Return::Keep);
    assert_eq!(bench.commands(), [Command::Close(used, CloseReason::Room)], "for who wants a new one");
    bench.release(leases[0], Return::Keep);
    assert_eq!(bench.commands(), [Command::Close(leases[0], CloseReason::Room)], "for who starves");
    bench.closed(used);
    let first = bench.expect_connect();
    bench.closed(leases[0]);
    let second = bench.expect_connect();
    bench.connected(first, Ok(()));
    bench.connected(second, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(starves, first), Command::Grant(wants_new, second)]);
    bench.release(leases[1], Return::Keep);
}

#[test]
fn who_waits_for_a_pause_connects_as_soon_as_somebody_says_that_all_is_well() {
    let mut bench = Bench::new(terms(2));
    let held = bench.connect_and_lease();
    let waiter = bench.wait();
    let failed = bench.expect_connect();
    bench.connected(failed, Err(()));
    assert_eq!(bench.commands(), [], "the next connect waits");
    bench.core.report(held, crate::breaker::Went::Well, bench.now);
    let made = bench.expect_connect();
    bench.connected(made, Ok(()));
    assert_eq!(bench.commands(), [Command::Grant(waiter, made)]);
}
