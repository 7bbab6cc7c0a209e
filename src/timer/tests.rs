//! The wheel against a map of deadlines, and one story for each thing it promises.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(ms: u64) -> Nanos {
    Nanos::from_millis(ms)
}

fn armed(deadlines: &[(u32, u64)]) -> Timers {
    let mut timers = Timers::new();
    for (slot, ms) in deadlines {
        timers.arm(*slot, at(*ms));
    }
    timers.assert_invariants();
    timers
}

/// Every slot that is due, sorted.
fn due(timers: &mut Timers, now: Nanos) -> Vec<u32> {
    let mut slots: Vec<u32> = std::iter::from_fn(|| timers.expired(now)).collect();
    timers.assert_invariants();
    slots.sort_unstable();
    slots
}

#[test]
fn a_node_takes_twelve_bytes_and_holds_every_deadline() {
    assert_eq!((size_of::<Node>(), Nanos::from_millis(NEVER)), (12, Nanos::MAX));
    for due_ms in [0, 1, u64::from(u32::MAX) + 1, Nanos::MAX.as_millis(), NEVER] {
        let mut node = Node::new(due_ms, 5, NONE);
        node.set_next(1 << 24);
        node.set_prev(NONE);
        assert_eq!((node.due_ms(), node.prev(), node.next()), (due_ms, NONE, 1 << 24));
        assert_eq!(node.is_armed(), due_ms != NEVER);
    }
}

#[test]
fn nothing_ends_before_its_deadline() {
    let mut timers = Timers::new();
    timers.arm(3, Nanos::new(5_000_001));
    assert_eq!((timers.due(3), timers.next()), (Some(at(6)), at(6)));
    assert_eq!(timers.expired(Nanos::new(5_999_999)), None);
    assert_eq!(timers.expired(at(6)), Some(3));
    assert_eq!((timers.expired(at(6)), timers.due(3), timers.len()), (None, None, 0));
}

#[test]
fn an_idle_loop_sleeps_until_the_real_deadline() {
    for ms in [1, 63, 64, 65, 4095, 4096, 300_000, 1 << 40] {
        let timers = armed(&[(0, ms), (1, ms + 1), (2, ms * 2)]);
        assert_eq!(timers.next(), at(ms));
    }
    assert_eq!(Timers::new().next(), Nanos::MAX);
}

#[test]
fn next_stays_exact_when_entries_move_down() {
    let mut timers = armed(&[(0, 300_000), (1, 300_007), (2, 301_000)]);
    assert_eq!(due(&mut timers, at(300_000)), [0]);
    assert_eq!(timers.next(), at(300_007));
    assert_eq!(due(&mut timers, at(300_007)), [1]);
    assert_eq!(timers.next(), at(301_000));
}

#[test]
fn a_removed_deadline_wakes_the_loop_at_most_once() {
    let mut timers = armed(&[(0, 100_000), (1, 100_900)]);
    timers.disarm(0);
    assert_eq!(timers.next(), at(100_000));
    assert_eq!(due(&mut timers, at(100_000)), []);
    assert_eq!(timers.next(), at(100_900));
}

#[test]
fn years_pass_in_one_step() {
    const YEAR: u64 = 365 * 24 * 3_600_000;
    let mut timers = armed(&[(0, 10), (1, YEAR), (2, 100 * YEAR), (3, 584 * YEAR)]);
    assert_eq!(due(&mut timers, at(99 * YEAR)), [0, 1]);
    assert_eq!(due(&mut timers, at(583 * YEAR)), [2]);
    timers.arm(4, at(583 * YEAR + 1));
    assert_eq!(due(&mut timers, Nanos::MAX), [3, 4]);
}

#[test]
fn a_deadline_in_the_past_is_due_at_once() {
    let mut timers = armed(&[(0, 5_000), (1, 6_000)]);
    assert_eq!(due(&mut timers, at(5_500)), [0]);
    timers.arm(2, at(1_000));
    timers.arm(3, at(5_500));
    timers.arm(4, Nanos::ZERO);
    timers.assert_invariants();
    timers.disarm(4);
    assert_eq!(due(&mut timers, at(5_500)), [2, 3]);
}

#[test]
fn never_is_not_armed() {
    let mut timers = armed(&[(0, 5), (1, 6)]);
    timers.arm(0, Nanos::MAX);
    timers.arm_by(1, Nanos::MAX);
    timers.arm_by(2, Nanos::MAX);
    timers.arm(3, Nanos::new(u64::MAX - 1));
    assert_eq!((timers.due(0), timers.due(1), timers.due(2), timers.due(3)), (None, Some(at(6)), None, None));
    assert_eq!(timers.len(), 1);
}

#[test]
fn arm_by_only_brings_a_deadline_nearer() {
    let mut timers = armed(&[(0, 500)]);
    timers.arm_by(0, at(900));
    assert_eq!(timers.due(0), Some(at(500)));
    timers.arm_by(0, at(100));
    assert_eq!(timers.due(0), Some(at(100)));
    timers.arm_by(1, at(700));
    assert_eq!(timers.due(1), Some(at(700)));
}

#[test]
fn slots_that_were_never_seen_have_no_deadline() {
    let mut timers = Timers::new();
    timers.disarm(7);
    assert_eq!((timers.due(7), timers.len()), (None, 0));
    timers.arm(7, at(1));
    timers.disarm(6);
    assert_eq!((timers.due(6), timers.len()), (None, 1));
}

#[test]
fn reserved_slots_are_armed_in_place() {
    let mut timers = Timers::new();
    timers.try_reserve(1000).unwrap();
    let memory = timers.memory_bytes();
    (0..1000).for_each(|slot| timers.arm(slot, at(5)));
    assert_eq!(timers.memory_bytes(), memory);
    assert!(timers.try_reserve(usize::MAX).is_err());
}

#[test]
fn a_crowd_that_falls_together_is_spread_over_calls() {
    let crowd = 3 * MOVES as u32;
    let mut timers = Timers::new();
    (0..crowd).for_each(|slot| timers.arm(slot, at(300_000 + u64::from(slot % 1000))));
    let now = at(300_999);
    assert_eq!(timers.expired(now), None, "the first call only moves");
    assert!(timers.next() <= now, "and asks to be called again");
    timers.disarm(0);
    timers.arm(1, at(1));
    timers.assert_invariants();
    let mut slots = Vec::new();
    while timers.next() <= now {
        slots.extend(timers.expired(now));
    }
    slots.sort_unstable();
    assert!(slots.into_iter().eq(1..crowd));
}

/// The deadline that is kept; `None` for "never".
fn rounded(due: Nanos) -> Option<Nanos> {
    let nanos = due.as_nanos().div_ceil(1_000_000).checked_mul(1_000_000)?;
    Some(Nanos::new(nanos))
}

#[derive(Clone, Debug)]
enum Step {
    Arm(u32, u64),
    ArmBy(u32, u64),
    Disarm(u32),
    Advance(u64),
}

/// Spans of all magnitudes: each has as many bits as any other.
fn span() -> impl Strategy<Value = u64> {
    (0..60_u32, any::<u64>()).prop_map(|(bits, random)| random & ((1 << bits) - 1))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let nearby = || prop_oneof![span(), 0..200_000_000_u64];
    let step = prop_oneof![
        8 => (0..24_u32, nearby()).prop_map(|(slot, ns)| Step::Arm(slot, ns)),
        4 => (0..24_u32, nearby()).prop_map(|(slot, ns)| Step::ArmBy(slot, ns)),
        3 => (0..24_u32).prop_map(Step::Disarm),
        4 => nearby().prop_map(Step::Advance),
    ];
    proptest::collection::vec(step, 0..96)
}

proptest! {
    #![proptest_config(model_config())]

    #[test]
    fn timers_are_a_map_of_deadlines(steps in steps(), moves in 1..6_usize) {
        let mut timers = Timers::new();
        let mut model: BTreeMap<u32, Nanos> = BTreeMap::new();
        let mut now = Nanos::ZERO;
        for step in steps {
            // Deadlines are counted from a little before now: some are in the past.
            let deadline = |ns| Nanos::new(now.as_nanos().saturating_sub(20_000_000)) + Duration::from_nanos(ns);
            match step {
                Step::Arm(slot, ns) => {
                    timers.arm(slot, deadline(ns));
                    model.remove(&slot);
                    model.extend(rounded(deadline(ns)).map(|due| (slot, due)));
                }
                Step::ArmBy(slot, ns) => {
                    timers.arm_by(slot, deadline(ns));
                    let due = model.remove(&slot).into_iter().chain(rounded(deadline(ns))).min();
                    model.extend(due.map(|due| (slot, due)));
                }
                Step::Disarm(slot) => {
                    timers.disarm(slot);
                    model.remove(&slot);
                }
                Step::Advance(ns) => {
                    now = now + Duration::from_nanos(ns);
                    // One part of what falls, so that later steps meet entries on their way down, or all of it.
                    let rest = ns % 2 == 0;
                    while let Some(slot) = timers.expired_within(now, moves) {
                        prop_assert!(model.remove(&slot).is_some_and(|due| due <= now), "{} early", slot);
                    }
                    while rest && timers.next() <= now {
                        if let Some(slot) = timers.expired_within(now, moves) {
                            prop_assert!(model.remove(&slot).is_some_and(|due| due <= now), "{} early", slot);
                        }
                    }
                    prop_assert!(!rest || model.values().all(|due| *due > now), "something due was kept");
                }
            }
            timers.assert_invariants();
            prop_assert_eq!(timers.len(), model.len());
            for slot in 0..24 {
                prop_assert_eq!(timers.due(slot), model.get(&slot).copied());
            }
        }
    }

    #[test]
    fn next_is_the_earliest_deadline_when_nothing_was_moved(spans in proptest::collection::vec(span(), 1..40)) {
        let mut timers = Timers::new();
        for (slot, ns) in (0..).zip(&spans) {
            timers.arm(slot, Nanos::new(*ns));
        }
        while timers.len() > 0 {
            let earliest = (0..40).filter_map(|slot| timers.due(slot)).min();
            prop_assert_eq!(Some(timers.next()), earliest);
            prop_assert!(timers.expired(timers.next()).is_some());
        }
        prop_assert_eq!(timers.next(), Nanos::MAX);
    }
}

fn model_config() -> ProptestConfig {
    let cases = std::env::var("SOCKETPOOL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1024);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
