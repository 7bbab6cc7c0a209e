//! Every pair of state and event, one story for each rule, and random histories against a model that knows for each
//! connect when it began.

use super::*;
use proptest::prelude::*;

const SEED: u64 = 7;
const OPEN_FOR: Duration = Duration::from_secs(30);

fn s(seconds: u64) -> Nanos {
    Nanos::from_millis(seconds * 1_000)
}

/// Three failures, two probes, no jitter.
fn config() -> BreakerConfig {
    BreakerConfig { failures: 3, probes: 2, jitter: 0.0, ..BreakerConfig::default() }
}

fn closed() -> Breaker {
    Breaker::new(config(), SEED)
}

/// A connect that fails at once.
fn fail(breaker: &mut Breaker, now: Nanos) -> bool {
    let attempt = breaker.begin(now);
    breaker.failed(attempt, now)
}

/// Opened at zero, until 30 s.
fn opened() -> Breaker {
    let mut breaker = closed();
    assert!(!fail(&mut breaker, s(0)) && !fail(&mut breaker, s(0)) && fail(&mut breaker, s(0)));
    breaker
}

#[test]
fn every_pair_of_state_and_event_goes_where_the_table_says() {
    #[derive(Debug)]
    enum Then {
        Stays,
        Closed,
        OpenUntil(Nanos),
        HalfOpen,
        Probing,
    }
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Begin,
        Succeeded,
        Failed,
        StaleSucceeded,
        StaleFailed,
        Abandoned,
        StaleAbandoned,
        ReportedWell,
        ReportedIll,
        Reset,
        Time,
    }
    use Event::*;
    // The state, a connect that counts if there is one, one that is over, and when it is.
    let start = |name: &str| -> (Breaker, Option<Attempt>, Attempt, Nanos) {
        let mut before = closed();
        let stale = before.begin(s(0));
        for _ in 0..3 {
            fail(&mut before, s(0));
        }
        match name {
            "closed" => {
                before.reset();
                let attempt = before.begin(s(0));
                (before, Some(attempt), stale, s(0))
            }
            "last but one" => {
                before.reset();
                fail(&mut before, s(0));
                fail(&mut before, s(0));
                let attempt = before.begin(s(0));
                (before, Some(attempt), stale, s(0))
            }
            "open" => {
                let attempt = before.begin(s(1));
                (before, Some(attempt), stale, s(1))
            }
            "rested" => (before, None, stale, s(30)),
            "probing" => {
                let attempt = before.begin(s(30));
                (before, Some(attempt), stale, s(30))
            }
            "half-open" => {
                let attempt = before.begin(s(30));
                assert!(!before.failed(attempt, s(30)));
                (before, Some(attempt), stale, s(30))
            }
            _ => {
                assert!(!fail(&mut before, s(30)));
                let attempt = before.begin(s(30));
                (before, Some(attempt), stale, s(30))
            }
        }
    };
    let all = [
        Begin,
        Succeeded,
        Failed,
        StaleSucceeded,
        StaleFailed,
        Abandoned,
        StaleAbandoned,
        ReportedWell,
        ReportedIll,
        Reset,
        Time,
    ];
    for name in ["closed", "last but one", "open", "rested", "probing", "half-open", "last probe"] {
        for event in all {
            let (mut breaker, attempt, stale, now) = start(name);
            let (phase, state, asked) = (breaker.phase, breaker.state(now), breaker.ask(now));
            let mut later = now;
            let mut opened = false;
            match event {
                Begin => drop(breaker.begin(now)),
                Succeeded => attempt.into_iter().for_each(|attempt| breaker.succeeded(attempt)),
                Failed => opened = attempt.is_some_and(|attempt| breaker.failed(attempt, now)),
                StaleSucceeded => breaker.succeeded(stale),
                StaleFailed => opened = breaker.failed(stale, now),
                Abandoned => attempt.into_iter().for_each(|attempt| breaker.abandoned(attempt)),
                StaleAbandoned => breaker.abandoned(stale),
                ReportedWell => opened = breaker.reported(Went::Well, now),
                ReportedIll => opened = breaker.reported(Went::Ill, now),
                Reset => breaker.reset(),
                Time => later = now + OPEN_FOR,
            }
            let then = match (name, event) {
                (_, Reset) => Then::Closed,
                ("closed", Failed | ReportedIll) => Then::Closed,
                ("last but one", Failed | ReportedIll) => Then::OpenUntil(s(30)),
                ("last but one", Succeeded | ReportedWell) => Then::Closed,
                ("open", Time) => Then::HalfOpen,
                ("rested", Begin) => Then::Probing,
                ("probing" | "last probe", Succeeded) => Then::Closed,
                ("probing" | "last probe", Abandoned) => Then::HalfOpen,
                ("probing", Failed) => Then::HalfOpen,
                ("half-open", Begin) => Then::Probing,
                ("last probe", Failed) => Then::OpenUntil(s(60)),
                _ => Then::Stays,
            };
            let is = (breaker.state(later), breaker.ask(later));
            let case = format!("{name} on {event:?}: {is:?}, expected {then:?}");
            assert_eq!(opened, matches!(then, Then::OpenUntil(_)), "{case}");
            match then {
                Then::Stays => {
                    assert_eq!(breaker.phase, phase, "{case}");
                    assert!(matches!(event, Time) || is == (state, asked), "{case}");
                }
                Then::Closed => assert_eq!(is.0, BreakerState::Closed, "{case}"),
                Then::OpenUntil(until) => {
                    assert_eq!(is, (BreakerState::Open { until }, Ask::Open(until)), "{case}");
                }
                Then::HalfOpen => assert_eq!(is, (BreakerState::HalfOpen, Ask::Go), "{case}"),
                Then::Probing => assert_eq!(is, (BreakerState::HalfOpen, Ask::Probing), "{case}"),
            }
        }
    }
}

#[test]
fn states_have_words() {
    let states = [BreakerState::Closed, BreakerState::Open { until: s(1) }, BreakerState::HalfOpen];
    assert_eq!(states.map(|state| state.to_string()), ["closed", "open", "half-open"]);
}

#[test]
fn each_failure_in_a_row_doubles_the_wait_and_a_success_forgets_it() {
    let mut breaker =
        Breaker::new(BreakerConfig { failures: 12, jitter: 0.0, ..BreakerConfig::default() }, SEED);
    let mut waits = Vec::new();
    for _ in 0..11 {
        fail(&mut breaker, s(0));
        let Ask::NotBefore(at) = breaker.ask(s(0)) else { panic!("no back-off") };
        assert_eq!(breaker.ask(at), Ask::Go, "the wait is over");
        waits.push(at.as_millis());
    }
    assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
    let attempt = breaker.begin(s(0));
    breaker.succeeded(attempt);
    assert_eq!(breaker.ask(s(0)), Ask::Go);
    fail(&mut breaker, s(0));
    assert_eq!(breaker.ask(s(0)), Ask::NotBefore(Nanos::from_millis(100)), "counted from the beginning");
}

#[test]
fn without_a_first_delay_there_is_no_back_off() {
    let mut breaker = Breaker::new(BreakerConfig { first_delay: Duration::ZERO, ..config() }, SEED);
    fail(&mut breaker, s(5));
    assert_eq!(breaker.ask(s(5)), Ask::Go);
}

#[test]
fn a_success_between_failures_keeps_it_closed() {
    let mut breaker = closed();
    for _ in 0..10 {
        assert!(!fail(&mut breaker, s(0)) && !fail(&mut breaker, s(0)));
        let attempt = breaker.begin(s(0));
        breaker.succeeded(attempt);
    }
    assert_eq!(breaker.state(s(0)), BreakerState::Closed);
}

#[test]
fn ten_connects_that_fail_together_open_it_once() {
    let mut breaker = closed();
    let attempts: Vec<Attempt> = (0..10).map(|_| breaker.begin(s(0))).collect();
    let opened =
        attempts.into_iter().enumerate().filter(|&(at, attempt)| breaker.failed(attempt, s(at as u64)));
    assert_eq!(opened.map(|(at, _)| at).collect::<Vec<_>>(), [2]);
    assert_eq!(breaker.state(s(9)), BreakerState::Open { until: s(2) + OPEN_FOR }, "not opened anew");
}

#[test]
fn a_connect_from_before_the_opening_is_not_taken_for_the_probe() {
    let mut breaker = closed();
    let (late, later) = (breaker.begin(s(0)), breaker.begin(s(0)));
    assert_eq!([0; 3].map(|_| fail(&mut breaker, s(0))), [false, false, true]);
    let probe = breaker.begin(s(30));
    assert!(!breaker.failed(late, s(31)));
    assert_eq!(breaker.ask(s(31)), Ask::Probing, "still waited for");
    breaker.succeeded(later);
    assert_eq!(breaker.state(s(31)), BreakerState::HalfOpen, "an old success is no proof");
    breaker.succeeded(probe);
    assert_eq!(breaker.state(s(31)), BreakerState::Closed);
}

#[test]
fn a_probe_that_is_abandoned_is_tried_again_and_not_counted() {
    let mut breaker = opened();
    for _ in 0..5 {
        let attempt = breaker.begin(s(30));
        breaker.abandoned(attempt);
        assert_eq!(breaker.ask(s(30)), Ask::Go);
    }
    assert!(!fail(&mut breaker, s(30)), "the first that counts");
    assert!(fail(&mut breaker, s(30)), "the second and last");
}

#[test]
fn jitter_stays_within_its_share_and_is_the_same_for_the_same_seed() {
    let waits = |seed| -> Vec<u64> {
        let mut jitter = Jitter::new(seed);
        (0..1_000).map(|_| jitter.around(Duration::from_nanos(1_000), 0.25).as_nanos() as u64).collect()
    };
    let first = waits(1);
    assert!(first.iter().all(|wait| (750..=1_250).contains(wait)));
    assert!(
        first.iter().any(|&wait| wait < 800) && first.iter().any(|&wait| wait > 1_200),
        "all of it is used"
    );
    assert_eq!(first, waits(1));
    assert_ne!(first, waits(2));
}

#[test]
fn splitmix_gives_the_published_numbers() {
    // The first two of seed 0: 0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4.
    let mut jitter = Jitter::new(0);
    let unit = |mixed: u64| (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    assert_eq!(jitter.unit(), unit(0xE220_A839_7B1D_CDAF));
    assert_eq!(jitter.unit(), unit(0x6E78_9E6A_A1B9_65F4));
}

#[test]
fn the_longest_of_spans_and_times_do_not_overflow() {
    let config = BreakerConfig {
        failures: u32::MAX,
        open_for: Duration::MAX,
        first_delay: Duration::from_secs(1),
        max_delay: Duration::MAX,
        jitter: 1.0,
        ..BreakerConfig::default()
    };
    let mut breaker = Breaker::new(config, SEED);
    assert!((0..200).all(|_| !fail(&mut breaker, Nanos::MAX)));
    assert!(!fail(&mut breaker, s(0)));
    assert_eq!(doubled(Duration::MAX, u32::MAX), Duration::from_nanos(u64::MAX));
    assert_eq!(doubled(Duration::ZERO, 64), Duration::ZERO);
    let mut breaker = Breaker::new(BreakerConfig { failures: 1, ..config }, SEED);
    assert!(fail(&mut breaker, s(1)));
    assert_eq!(breaker.state(s(1_000_000)), BreakerState::Open { until: Nanos::MAX }, "for ever");
}

#[test]
fn every_setting_that_cannot_hold_is_named() {
    let good = BreakerConfig::default();
    assert_eq!(good.validate(), Ok(()));
    let wrong = [
        (BreakerConfig { failures: 0, ..good }, "breaker.failures is 0, must be at least 1"),
        (
            BreakerConfig { open_for: Duration::ZERO, ..good },
            "breaker.open_for is 0ns, must be longer than 0",
        ),
        (BreakerConfig { probes: 0, ..good }, "breaker.probes is 0, must be at least 1"),
        (
            BreakerConfig { max_delay: Duration::from_millis(99), ..good },
            "breaker.first_delay is 100ms, must be at most max_delay, 99ms",
        ),
        (BreakerConfig { jitter: 1.01, ..good }, "breaker.jitter is 1.01, must be from 0 to 1"),
        (BreakerConfig { jitter: -0.1, ..good }, "breaker.jitter is -0.1, must be from 0 to 1"),
        (BreakerConfig { jitter: f64::NAN, ..good }, "breaker.jitter is NaN, must be from 0 to 1"),
    ];
    for (config, text) in wrong {
        assert_eq!(config.validate().unwrap_err().to_string(), text);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Begin,
    Succeed(prop::sample::Index),
    Fail(prop::sample::Index),
    Abandon(prop::sample::Index),
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u64..40_000).prop_map(Step::Wait),
        6 => Just(Step::Begin),
        2 => any::<prop::sample::Index>().prop_map(Step::Succeed),
        6 => any::<prop::sample::Index>().prop_map(Step::Fail),
        1 => any::<prop::sample::Index>().prop_map(Step::Abandon),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(crate::model_cases())]

    /// Whatever comes in whatever order: at most one probe, an opening only by a failure that counts, open for exactly
    /// `open_for`, and nobody who keeps to the answers is shut out for good.
    #[test]
    fn no_history_confuses_it(
        steps in steps(), failures in 1_u32..5, probes in 1_u32..4, jitter in 0.0..=1.0_f64, seed: u64,
    ) {
        let config = BreakerConfig { failures, probes, jitter, ..BreakerConfig::default() };
        let mut breaker = Breaker::new(config, seed);
        let mut now = s(0);
        // What is on its way, and whether it began as a probe.
        let mut on_the_way: Vec<(Attempt, bool)> = Vec::new();
        let mut row = 0;
        for step in steps {
            let before = breaker.state(now);
            match step {
                Step::Wait(millis) => now = now + Duration::from_millis(millis),
                Step::Begin => if breaker.ask(now) == Ask::Go {
                    on_the_way.push((breaker.begin(now), before == BreakerState::HalfOpen));
                },
                Step::Succeed(index) => if !on_the_way.is_empty() {
                    let (attempt, probe) = on_the_way.swap_remove(index.index(on_the_way.len()));
                    let current = attempt.0 == breaker.era;
                    breaker.succeeded(attempt);
                    if current {
                        row = 0;
                        prop_assert_eq!(breaker.ask(now), Ask::Go, "all is forgotten");
                        prop_assert_eq!(breaker.state(now), BreakerState::Closed);
                        prop_assert_eq!(probe, before == BreakerState::HalfOpen);
                    } else {
                        prop_assert_eq!(breaker.state(now), before);
                    }
                },
                Step::Fail(index) => if !on_the_way.is_empty() {
                    let (attempt, _) = on_the_way.swap_remove(index.index(on_the_way.len()));
                    let current = attempt.0 == breaker.era;
                    let opened = breaker.failed(attempt, now);
                    row += u32::from(current && before == BreakerState::Closed);
                    prop_assert!(current || !opened);
                    if opened {
                        prop_assert!(before == BreakerState::HalfOpen || row == failures);
                        prop_assert_eq!(breaker.state(now), BreakerState::Open { until: now + config.open_for });
                        row = 0;
                    } else {
                        prop_assert_eq!(breaker.state(now), before);
                    }
                },
                Step::Abandon(index) => if !on_the_way.is_empty() {
                    breaker.abandoned(on_the_way.swap_remove(index.index(on_the_way.len())).0);
                    prop_assert_eq!(breaker.state(now), before);
                },
                Step::Reset => {
                    breaker.reset();
                    row = 0;
                }
            }
            let probes_that_count =
                on_the_way.iter().filter(|(attempt, probe)| *probe && attempt.0 == breaker.era).count();
            match breaker.ask(now) {
                Ask::Go => {}
                Ask::NotBefore(at) => {
                    prop_assert_eq!(breaker.state(now), BreakerState::Closed);
                    prop_assert!(at > now && at.since(now) <= config.max_delay * 2);
                    prop_assert_eq!(breaker.ask(at), Ask::Go);
                }
                Ask::Open(until) => {
                    prop_assert_eq!(breaker.state(now), BreakerState::Open { until });
                    prop_assert!(until > now && until.since(now) <= config.open_for);
                    prop_assert_eq!(breaker.ask(until), Ask::Go);
                }
                Ask::Probing => prop_assert_eq!(probes_that_count, 1, "somebody is there whose end will be told"),
            }
            match breaker.phase {
                Phase::Closed { failures: seen, .. } => prop_assert!(seen < failures && seen == row),
                Phase::Open { .. } => {}
                Phase::HalfOpen { tried, probing } => prop_assert!(tried < probes || probing && tried == probes),
            }
        }
    }
}
