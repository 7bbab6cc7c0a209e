//! A protection that a program asks by itself.

use super::*;

fn protection(settings: SynProtection) -> Protection {
    Protection::new(settings, 10, 10, Nanos::ZERO).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const AT: Nanos = Nanos::from_millis(1_000);

fn known(protection: &mut Protection, text: &str) -> (f32, u16, u32, u32) {
    match protection.sight(ip(text), AT) {
        Sight::Known { reading, successes, failures, .. } => {
            (reading.score, reading.current, successes, failures)
        }
        other => panic!("{text} is {other:?}"),
    }
}

#[test]
fn the_legacy_penalty_gives_the_legacy_outcomes() {
    let mut protection = protection(SynProtection::default().attempt_penalty(0.02));
    let outcomes: Vec<Outcome> = (0..100).map(|_| protection.check(ip("192.0.2.7"), AT)).collect();
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    // Measured on the legacy pool: 5, 15, 10 and 70, one more or less for rounding.
    for (outcome, legacy) in
        [(Outcome::Allow, 5), (Outcome::Throttle, 15), (Outcome::Challenge, 10), (Outcome::Block, 70_usize)]
    {
        assert!(count(outcome).abs_diff(legacy) <= 1, "{outcomes:?}");
    }
    let totals = protection.totals();
    assert_eq!((totals.attempts, totals.blocked), (100, count(Outcome::Block) as u64));
    assert_eq!(protection.blocked(AT), 1);
}

#[test]
fn a_reported_success_takes_back_its_attempt_and_a_second_report_takes_back_none() {
    let mut protection = protection(SynProtection::default().attempt_penalty(0.1));
    let client = "192.0.2.7";
    for _ in 0..3 {
        protection.check(ip(client), AT);
    }
    assert_eq!(known(&mut protection, client).1, 3);
    protection.report_success(ip(client), AT);
    let (score, current, successes, _) = known(&mut protection, client);
    assert!((score - 0.65).abs() < 1e-5, "0.5, 0.1 given back, 0.05 earned: {score}");
    assert_eq!((current, successes), (2, 1));
    protection.report_failure(ip(client), AT);
    protection.report_success(ip(client), AT);
    protection.report_success(ip(client), AT);
    let (.., successes, failures) = known(&mut protection, client);
    assert_eq!(
        (successes, failures, known(&mut protection, client).1),
        (3, 1, 1),
        "the failed attempt counts"
    );
    protection.report_success(ip("192.0.2.8"), AT);
    assert_eq!(protection.sight(ip("192.0.2.8"), AT), Sight::Unknown, "nobody has seen it");
}

#[test]
fn honest_clients_that_are_reported_are_never_blocked() {
    let mut protection = protection(SynProtection::default());
    for n in 0..5_000 {
        let now = Nanos::from_millis(n * 10);
        assert_eq!(protection.check(ip("192.0.2.7"), now), Outcome::Allow, "connection {n}");
        protection.report_success(ip("192.0.2.7"), now);
    }
}

#[test]
fn the_lists_come_before_the_score_and_are_counted() {
    let mut protection = protection(SynProtection::default().attempt_penalty(1.0));
    protection.blacklist.add("192.0.2.0/24".parse().unwrap(), AT, Nanos::ZERO).unwrap();
    protection.whitelist.add("::ffff:192.0.2.7".parse().unwrap(), Nanos::MAX, Nanos::ZERO).unwrap();
    assert_eq!(protection.check(ip("192.0.2.7"), Nanos::ZERO), Outcome::Allow);
    assert_eq!(protection.check(ip("192.0.2.8"), Nanos::ZERO), Outcome::Block);
    assert_eq!(protection.sight(ip("192.0.2.8"), Nanos::ZERO), Sight::Blacklisted);
    assert_eq!(protection.sight(ip("192.0.2.8"), AT), Sight::Unknown, "it has expired, and was not scored");
    let totals = protection.totals();
    let expected =
        Totals { attempts: 2, allowed: 1, blocked: 1, whitelisted: 1, blacklisted: 1, ..Totals::default() };
    assert_eq!(totals, expected);
}

#[test]
fn too_many_of_all_together_are_held_against_nobody() {
    let mut protection = protection(SynProtection::default().max_global_per_second(2));
    let outcomes = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|text| protection.check(ip(text), AT));
    assert_eq!(outcomes, [Outcome::Allow, Outcome::Allow, Outcome::Block]);
    let (score, current, ..) = known(&mut protection, "192.0.2.3");
    assert!((score - 0.8).abs() < 1e-5 && current == 0 && protection.blocked(AT) == 0);
}

#[test]
fn the_table_is_bounded_and_shrinks_when_it_is_told_to() {
    let mut protection = protection(SynProtection::default().max_tracked(100));
    for n in 0..250_u8 {
        protection.check(IpAddr::from([10, 0, 0, n]), AT);
    }
    assert_eq!((protection.tracked(), protection.totals().evictions), (100, 150));
    assert_eq!(protection.sight(ip("10.0.0.149"), AT), Sight::Unknown);
    assert!(protection.sight(ip("10.0.0.150"), AT) != Sight::Unknown);
    protection.configure(SynProtection::default().max_tracked(10), AT).unwrap();
    assert_eq!((protection.tracked(), protection.totals().evictions), (10, 240));
    protection.configure(SynProtection::default().max_tracked(1_000), AT).unwrap();
    for n in 0..250_u8 {
        protection.check(IpAddr::from([10, 0, 0, n]), AT);
    }
    assert_eq!(protection.tracked(), 250);
    protection.forget_addresses(AT);
    assert_eq!((protection.tracked(), protection.blocked(AT)), (0, 0));
}

#[test]
fn a_bad_setting_changes_nothing() {
    let mut protection = protection(SynProtection::default().max_attempts(1));
    let bad = protection.configure(SynProtection::default().block_below(0.9), AT).unwrap_err();
    assert!(bad.to_string().starts_with("syn_protection.block_below is 0.9"));
    while protection.check(ip("192.0.2.7"), AT) != Outcome::Block {}
    assert!(protection.totals().attempts <= 3, "still one attempt a window");
}

#[test]
fn a_subscribers_v6_network_has_one_score() {
    let mut protection = protection(SynProtection::default());
    protection.check(ip("2001:db8::1"), AT);
    assert!(protection.sight(ip("2001:db8::2"), AT) != Sight::Unknown);
    assert_eq!(protection.sight(ip("2001:db8:0:1::1"), AT), Sight::Unknown);
    assert_eq!(protection.sight(ip("::1"), AT), Sight::Unknown);
}

#[test]
fn a_block_ends_and_comes_again_when_the_flood_goes_on() {
    let block = Duration::from_secs(60);
    let mut protection = protection(SynProtection::default().block(block).recovery_per_second(0.0));
    let mut now = AT;
    while protection.check(ip("192.0.2.7"), now) != Outcome::Block {}
    for _ in 0..3 {
        assert_eq!(protection.blocked(now), 1);
        now = now + block;
        assert_eq!(protection.blocked(now), 0, "it ends");
        assert_eq!(protection.check(ip("192.0.2.7"), now), Outcome::Block, "and begins anew");
    }
}
