//! Buckets against an exact reference, and one story for each thing they promise.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::Config;

const START: Moment = Moment(0);

fn at(nanos: u64) -> Moment {
    Moment::of(Nanos::new(nanos))
}

fn ms(millis: u64) -> Moment {
    Moment::of(Nanos::from_millis(millis))
}

/// Cases of the model tests: `SOCKETPOOL_CASES`, else 1,024.
fn cases() -> Config {
    let cases = std::env::var("SOCKETPOOL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_024);
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// A token bucket as the textbook has it: what is in it, topped up as time passes. In nanoseconds' worth of tokens.
struct Model {
    period: i128,
    span: i128,
    credit: i128,
    seen: u64,
}

impl Model {
    fn new(rate: Rate) -> Self {
        let period = rate.period() as i128;
        let span = period * i128::from(rate.burst);
        Self { period, span, credit: span, seen: 0 }
    }

    fn top_up(&mut self, now: u64) {
        self.credit = (self.credit + i128::from(now - self.seen)).min(self.span);
        self.seen = now;
    }

    /// Nanoseconds until a token is there.
    fn wait(&self) -> u64 {
        (self.period - self.credit).max(0) as u64
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Check,
    GiveBack,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3_000_000_000_u64).prop_map(Step::Wait),
        1 => (0..1_000_000_000_000_u64).prop_map(Step::Wait),
        6 => Just(Step::Check),
        1 => Just(Step::GiveBack),
    ];
    proptest::collection::vec(step, 1..100)
}

fn rates() -> impl Strategy<Value = Rate> {
    (1..2_000_u32, 1..100_000_u64, 1..100_u32)
        .prop_map(|(n, millis, burst)| Rate::new(n, Duration::from_millis(millis)).burst(burst))
        .prop_filter("a good rate", |rate| rate.validate("rate").is_ok())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_bucket_is_the_textbook_bucket(rate in rates(), steps in steps()) {
        let (bucket, level, mut model, mut now) = (Bucket::new(rate), Level::full(), Model::new(rate), 0);
        for step in steps {
            match step {
                Step::Wait(nanos) => now += nanos,
                Step::Check => {
                    model.top_up(now);
                    let due = now + model.wait();
                    let outcome = bucket.check(&level, at(now));
                    prop_assert_eq!(outcome, if due == now { Ok(()) } else { Err(Nanos::new(due)) });
                    if due == now {
                        model.credit -= model.period;
                    }
                }
                Step::GiveBack => {
                    model.top_up(now);
                    bucket.give_back(&level);
                    model.credit = (model.credit + model.period).min(model.span);
                }
            }
            model.top_up(now);
            let tokens = (model.credit / model.period) as u32;
            prop_assert_eq!(bucket.available(&level, at(now)), tokens);
            prop_assert_eq!(bucket.ready_at(&level, at(now)), Nanos::new(now + model.wait()));
        }
    }

    #[test]
    fn both_buckets_give_or_neither(own in rates(), pool in rates(), waits in proptest::collection::vec(0..3_000_000_000_u64, 1..100)) {
        let (own, pool) = (Bucket::new(own), Bucket::new(pool));
        let (own_level, pool_level, mut now) = (Level::full(), Level::full(), 0);
        for wait in waits {
            now += wait;
            let moment = at(now);
            let before = (own.available(&own_level, moment), pool.available(&pool_level, moment));
            let outcome = check_both(Some((&own, &own_level)), Some((&pool, &pool_level)), moment);
            let after = (own.available(&own_level, moment), pool.available(&pool_level, moment));
            match outcome {
                Ok(()) => prop_assert_eq!(after, (before.0 - 1, before.1 - 1)),
                Err(due) => {
                    prop_assert!(before.0 == 0 || before.1 == 0);
                    prop_assert_eq!(after, before);
                    let (due, sooner) = (at(due.as_nanos()), at(due.as_nanos() - 1));
                    prop_assert!(own.available(&own_level, due) > 0 && pool.available(&pool_level, due) > 0);
                    prop_assert!(own.available(&own_level, sooner) == 0 || pool.available(&pool_level, sooner) == 0);
                }
            }
        }
    }

    #[test]
    fn no_rate_that_is_accepted_overflows(
        n in prop_oneof![1..10_u32, any::<u32>()],
        nanos in any::<u64>(),
        burst in any::<u32>(),
        now in any::<u64>(),
    ) {
        let rate = Rate::new(n, Duration::from_nanos(nanos)).burst(burst);
        if rate.validate("rate").is_ok() {
            let (bucket, level) = (Bucket::new(rate), Level::full());
            for now in [0, now, u64::MAX, now] {
                let now = at(now);
                let _ = (bucket.check(&level, now), bucket.reserve(&level, now), bucket.reserve(&level, now));
                let _ = (bucket.available(&level, now), bucket.ready_at(&level, now), bucket.check(&level, now));
                bucket.give_back(&level);
            }
        }
    }

    #[test]
    fn no_byte_rate_that_is_accepted_overflows(
        rate in prop_oneof![1..100_u64, 1..=100_000_000_000_u64],
        burst in prop_oneof![1..100_u64, any::<u64>()],
        now in any::<u64>(),
        spent in 0..=bytes::MOST_AT_ONCE,
    ) {
        let rate = ByteRate::per_second(rate).burst(burst);
        if rate.validate("rate").is_ok() {
            let (bucket, level) = (ByteBucket::new(rate), Level::full());
            for now in [0, now, u64::MAX, now] {
                let moment = at(now);
                bucket.spend(&level, spent, moment);
                prop_assert!(bucket.allowance(&level, moment) <= burst);
                prop_assert!(Moment::of(bucket.ready_at(&level, moment)) == moment || bucket.ready_at(&level, moment).as_nanos() > moment.0);
            }
            let fresh = Level::full();
            prop_assert_eq!(bucket.allowance(&fresh, at(now)), burst);
        }
    }

    #[test]
    fn bytes_are_back_when_they_are_said_to_be(
        bytes in prop_oneof![1..10_000_u64, 1..=100_000_000_000_u64],
        burst in 1..1_000_000_u64,
        spends in proptest::collection::vec((0..100_000_usize, 0..50_000_000_u64), 1..50),
    ) {
        let rate = ByteRate::per_second(bytes).burst(burst);
        let (bucket, level) = (ByteBucket::new(rate), Level::full());
        let mut nanos = 0;
        for (spent, wait) in spends {
            let now = at(nanos);
            let before = bucket.allowance(&level, now);
            bucket.spend(&level, spent, now);
            let after = bucket.allowance(&level, now);
            let left = before.saturating_sub(spent as u64);
            prop_assert!(after.abs_diff(left) <= 2 + bytes / 500_000_000, "{after} for {left}");
            let ready = bucket.ready_at(&level, now);
            prop_assert!(bucket.allowance(&level, Moment::of(ready)) >= burst.min((bytes / 200).max(1)));
            nanos = if wait % 3 == 0 { ready.as_nanos() } else { nanos + wait };
        }
    }
}

#[test]
fn quotas_that_would_wrap_or_panic_in_governor_are_refused_by_name() {
    let hour = Duration::from_secs(3_600);
    let bad = [
        Rate::per_second(0),
        Rate::per_second(u32::MAX),
        Rate::per_second(1_000_001),
        Rate::per_second(10).burst(0),
        Rate::new(5, Duration::ZERO),
        Rate::new(1, Duration::MAX),
        Rate::new(u32::MAX, Duration::MAX),
        Rate::new(1, hour).burst(5_124_096),
        Rate::new(1, hour).burst(6_000_000),
        Rate::new(1, hour).burst(u32::MAX),
    ];
    for rate in bad {
        let error = rate.validate("operation_rate").unwrap_err();
        assert!(matches!(&error, Error::Config { field: "operation_rate", .. }), "{rate}");
        assert!(error.to_string().starts_with(&format!("operation_rate is {rate}, must be ")), "{error}");
    }
    for rate in [Rate::per_second(1_000_000), Rate::per_minute(1), Rate::new(1, hour).burst(1_000_000)] {
        assert!(rate.validate("operation_rate").is_ok(), "{rate}");
    }
    for rate in [
        ByteRate::per_second(0),
        ByteRate::per_second(u64::MAX),
        ByteRate::per_second(100_000_000_001),
        ByteRate::per_second(10).burst(0),
        ByteRate::per_second(1).burst(u64::MAX),
    ] {
        assert!(
            matches!(rate.validate("read_rate"), Err(Error::Config { field: "read_rate", .. })),
            "{rate}"
        );
    }
    assert!(ByteRate::per_second(100_000_000_000).validate("read_rate").is_ok());
    assert!(ByteRate::per_second(1).validate("read_rate").is_ok());
}

#[test]
fn a_burst_passes_at_once_and_the_rate_holds_from_then_on() {
    let (bucket, level) = (Bucket::new(Rate::per_second(100).burst(200)), Level::full());
    let passed = (0..1_000).filter(|_| bucket.check(&level, START).is_ok()).count();
    assert_eq!(passed, 200);
    assert_eq!(bucket.check(&level, START), Err(Nanos::from_millis(10)));
    let passed = (0..10_000).filter(|at| bucket.check(&level, ms(*at)).is_ok()).count();
    assert_eq!(passed, 999);
}

#[test]
fn a_bucket_refills_whole_however_long_it_was_left_alone() {
    let (bucket, level) = (Bucket::new(Rate::per_second(10).burst(100)), Level::full());
    while bucket.check(&level, START).is_ok() {}
    assert_eq!(bucket.available(&level, ms(3_000)), 30, "the legacy bucket stops at one second's worth");
    assert_eq!(bucket.available(&level, ms(3_600_000)), 100);
}

#[test]
fn the_rate_is_never_lower_and_at_most_a_thousandth_higher() {
    for n in [3, 7, 999, 123_457, 600_001, 999_999, 1_000_000] {
        let (bucket, level) = (Bucket::new(Rate::per_second(n).burst(1)), Level::full());
        let (mut passed, mut now) = (0_u32, 0);
        while now < 1_000_000_000 {
            match bucket.check(&level, at(now)) {
                Ok(()) => passed += 1,
                Err(due) => now = due.as_nanos(),
            }
        }
        assert!((n..=n + n / 1_000 + 1).contains(&passed), "{n}: {passed}");
    }
}

#[test]
fn a_level_filled_under_a_slow_policy_is_empty_under_a_fast_one_not_locked() {
    let slow = Bucket::new(Rate::new(1, Duration::from_secs(3_600)).burst(100));
    let level = Level::full();
    while slow.check(&level, START).is_ok() {}
    let fast = Bucket::new(Rate::per_second(1_000));
    assert_eq!(fast.available(&level, START), 0);
    assert_eq!(fast.check(&level, START), Err(Nanos::from_millis(1)));
    assert_eq!(fast.check(&level, ms(1)), Ok(()));
}

#[test]
fn reservations_are_kept_in_order_and_at_the_rate() {
    let (bucket, level) = (Bucket::new(Rate::per_second(10).burst(2)), Level::full());
    let reserve = || bucket.reserve(&level, ms(1000)).map_err(Nanos::as_millis);
    assert_eq!([reserve(), reserve(), reserve()], [Ok(()), Ok(()), Err(1100)]);
    assert_eq!([reserve(), reserve()], [Err(1200), Err(1300)]);
    bucket.give_back(&level);
    assert_eq!(bucket.reserve(&level, ms(1000)), Err(Nanos::from_millis(1300)));
    bucket.forgive(&level, ms(1000));
    assert_eq!(bucket.reserve(&level, ms(1000)), Err(Nanos::from_millis(1100)));
}

#[test]
fn without_own_bucket_or_pool_bucket_the_other_decides() {
    let (bucket, level) = (Bucket::new(Rate::per_second(1)), Level::full());
    assert_eq!(check_both(None, None, START), Ok(()));
    assert_eq!(check_both(None, Some((&bucket, &level)), START), Ok(()));
    assert!(check_both(None, Some((&bucket, &level)), START).is_err());
    assert!(check_both(Some((&bucket, &level)), None, START).is_err());
}

#[test]
fn byte_rates_are_met_within_one_in_ten_thousand() {
    for bytes in
        [1_000_000, 300_000_000, 600_000_000, 700_000_000, 1_250_000_000, 12_500_000_000, 100_000_000_000]
    {
        for chunk in [1_460, 16_384, 65_536] {
            let burst = bytes / 1_000;
            let bucket = ByteBucket::new(ByteRate::per_second(bytes).burst(burst));
            let (level, mut moved) = (Level::full(), 0);
            for tenth_of_ms in 0..=1_000 {
                let now = at(tenth_of_ms * 100_000);
                while let room @ 1.. = bucket.allowance(&level, now) {
                    let chunk = room.min(chunk);
                    bucket.spend(&level, chunk as usize, now);
                    moved += chunk;
                }
            }
            let due = bytes / 10 + burst;
            let off = due.abs_diff(moved) as f64 / due as f64;
            assert!(off < 1e-4, "{bytes} B/s in {chunk}: {moved} of {due}");
        }
    }
}

#[test]
fn the_price_of_bytes_does_not_drift() {
    for bytes in [1, 9_600, 300_000_000, 600_000_000, 1_250_000_000, 100_000_000_000_u64] {
        let chunk = (bytes / 10_000).max(1);
        let bucket = ByteBucket::new(ByteRate::per_second(bytes).burst(chunk * 10_000));
        let level = Level::full();
        for _ in 0..10_000 {
            bucket.spend(&level, chunk as usize, START);
        }
        // Ten thousand chunks are paid for after exactly so long.
        let due = u128::from(chunk) * 10_000 * 1_000_000_000 / u128::from(bytes);
        let paid = u128::from(level.0.get());
        let off = paid.abs_diff(due) as f64 / due as f64;
        assert!(off < 1e-7, "{bytes} B/s: {paid} ns for {due}");
    }
}

#[test]
fn an_empty_byte_bucket_is_worth_a_look_after_five_milliseconds() {
    let (bucket, level) = (ByteBucket::new(ByteRate::per_second(1_000_000).burst(10_000)), Level::full());
    assert_eq!(bucket.allowance(&level, START), 10_000);
    bucket.spend(&level, 10_000, START);
    assert_eq!(bucket.allowance(&level, START), 0);
    assert_eq!(bucket.ready_at(&level, START), Nanos::from_millis(5));
    assert_eq!(bucket.allowance(&level, ms(5)), 5_000);
}

#[test]
fn one_level_takes_eight_bytes() {
    assert_eq!(size_of::<Level>(), 8);
}
