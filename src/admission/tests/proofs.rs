//! What proofs do for the flood score of an address, and what they do not.

use super::*;

#[test]
fn proofs_make_no_room_for_those_who_prove_nothing() {
    // Two of three connections prove themselves: the score stays good, and still no more than 50 others come in.
    let mut gate = gate(syn(SynProtection::default().max_global_per_second(100_000)));
    let mut unproven = 0;
    for n in 0..3_000_u64 {
        let now = Nanos::from_millis(n * 3);
        let Ok(permit) = enter(&mut gate, &parsed("10.0.0.1"), now) else { break };
        if n % 3 > 0 {
            gate.proven(&permit, NOBODY, now);
            gate.release(permit, NOBODY, Proof::Proven, now);
        } else {
            unproven += 1;
        }
    }
    assert_eq!(unproven, 50);
}

#[test]
fn connections_that_are_held_and_proven_late_are_no_credit() {
    let mut gate = gate(syn(SynProtection::default().max_global_per_second(100_000)));
    let ip = parsed("10.0.0.1");
    // Forty in the first minute, none of them proven until the end.
    let at = |ms| Nanos::from_millis(ms);
    let held: Vec<Permit> = (0..40).map(|n| enter(&mut gate, &ip, at(n * 1_500)).unwrap()).collect();
    let now = at(100_000);
    held.iter().for_each(|permit| gate.proven(permit, NOBODY, now));
    let flood = (0..1_000).filter(|_| enter(&mut gate, &ip, now).is_ok()).count();
    assert_eq!(flood, 50);
}

#[test]
fn who_is_refused_because_others_are_too_many_is_not_blamed() {
    let mut gate = gate(syn(SynProtection::default().max_global_per_second(10)));
    let honest = parsed("10.0.0.1");
    let mut refused = 0;
    for n in 0..2_000_u32 {
        let now = Nanos::from_millis(u64::from(n) * 10);
        let _crowd = enter(&mut gate, &peer(Ipv4Addr::from_bits(0x0b00_0000 + n)), now);
        match enter(&mut gate, &honest, now) {
            Ok(permit) => {
                gate.proven(&permit, NOBODY, now);
                gate.release(permit, NOBODY, Proof::Proven, now);
            }
            Err(refusal) => {
                assert_eq!(refusal, Refusal::AcceptRate, "attempt {n}");
                refused += 1;
            }
        }
    }
    assert!(refused > 1_000, "{refused}");
    assert_eq!(gate.blocked(Nanos::from_millis(20_000)), 0);
}

/// One that is walked through quickly.
fn small_gate(protection: SynProtection) -> Gate {
    Gate::new(syn(protection.max_tracked(2)), 300).unwrap()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn attempts_count_until_they_are_proven_or_have_left_the_window(
        steps in proptest::collection::vec((0..8_u8, any::<usize>(), 0..1_500_u64), 1..200),
    ) {
        // Only the count can block here, so the model is a list of attempts.
        const WINDOW: u64 = 1_000;
        const MOST: u64 = 5;
        const BLOCK: u64 = 700;
        let protection = SynProtection::default()
            .window(Duration::from_millis(WINDOW))
            .max_attempts(MOST as u32)
            .block(Duration::from_millis(BLOCK))
            .attempt_penalty(0.0)
            .failure_penalty(0.0)
            .max_global_per_second(1_000_000);
        let mut gate = small_gate(protection);
        let (mut now, mut blocked_until) = (0, 0);
        // The windows of attempts that nobody has proven, and the permits with theirs.
        let mut attempts: Vec<u64> = Vec::new();
        let mut permits: Vec<(Permit, u64)> = Vec::new();
        for (kind, n, wait) in steps {
            let window = now / WINDOW;
            match kind {
                0..4 => {
                    attempts.push(window);
                    let count = |window| attempts.iter().filter(|other| **other == window).count() as u64;
                    let previous = window.checked_sub(1).map_or(0, count);
                    let effective = count(window) + previous * (WINDOW - now % WINDOW) / WINDOW;
                    let is_blocked = blocked_until > now || effective > MOST;
                    if is_blocked && blocked_until <= now {
                        blocked_until = now + BLOCK;
                    }
                    let entered = enter(&mut gate, &parsed("10.0.0.1"), Nanos::from_millis(now));
                    prop_assert_eq!(entered.is_err(), is_blocked);
                    permits.extend(entered.ok().map(|permit| (permit, window)));
                }
                4..6 if !permits.is_empty() => {
                    let (permit, attempt) = permits.swap_remove(n % permits.len());
                    gate.proven(&permit, NOBODY, Nanos::from_millis(now));
                    gate.release(permit, NOBODY, Proof::Proven, Nanos::from_millis(now));
                    let place = attempts.iter().position(|other| *other == attempt).unwrap();
                    attempts.remove(place);
                    blocked_until = 0;
                }
                6 if !permits.is_empty() => {
                    let (permit, _) = permits.swap_remove(n % permits.len());
                    gate.release(permit, NOBODY, Proof::Unproven, Nanos::from_millis(now));
                }
                _ => now += wait,
            }
            gate.assert_invariants();
        }
    }

    #[test]
    fn no_order_of_calls_lets_more_unproven_in_than_attempts_are_allowed(
        steps in proptest::collection::vec((0..8_u8, any::<usize>(), 0..3_000_u64), 1..300),
    ) {
        const MOST: usize = 8;
        let mut gate = small_gate(SynProtection::default().max_attempts(MOST as u32));
        let (mut now, mut permits): (_, Vec<(Permit, u64)>) = (Nanos::ZERO, Vec::new());
        let mut unproven: HashMap<u64, usize> = HashMap::new();
        for (kind, n, wait) in steps {
            let window = now.as_millis() / 10_000;
            match kind {
                0..4 => {
                    if let Ok(permit) = enter(&mut gate, &parsed("10.0.0.1"), now) {
                        permits.push((permit, window));
                        *unproven.entry(window).or_default() += 1;
                    }
                }
                4..6 if !permits.is_empty() => {
                    let (permit, attempt) = permits.swap_remove(n % permits.len());
                    gate.proven(&permit, NOBODY, now);
                    gate.release(permit, NOBODY, Proof::Proven, now);
                    *unproven.get_mut(&attempt).unwrap() -= 1;
                }
                6 if !permits.is_empty() => {
                    let (permit, _) = permits.swap_remove(n % permits.len());
                    gate.release(permit, NOBODY, Proof::Unproven, now);
                }
                _ => now = now + Duration::from_millis(wait),
            }
            prop_assert!(unproven.values().all(|count| *count <= MOST));
        }
    }
}
