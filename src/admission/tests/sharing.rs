//! Gates that share a protection.

use std::sync::{Arc, Mutex};

use super::*;
use crate::admission::shared::Sight;

fn protection(settings: SynProtection) -> Arc<Mutex<Protection>> {
    Arc::new(Mutex::new(Protection::new(settings, 10, 10, Nanos::ZERO).unwrap()))
}

fn share(gate: &mut Gate, protection: &Arc<Mutex<Protection>>) {
    gate.share(Some(Shared::new(protection, 0, gate.max_connections).unwrap()));
}

fn sharing(protection: &Arc<Mutex<Protection>>, limits: Limits) -> Gate {
    let mut gate = gate(limits);
    share(&mut gate, protection);
    gate
}

/// Live connections, and addresses that are known.
fn sums(protection: &Mutex<Protection>) -> (usize, usize) {
    let protection = protection.lock().unwrap();
    (protection.live(), protection.tracked())
}

fn let_go(gate: &mut Gate, permit: Permit, peer: &Peer, proof: Proof) {
    gate.release(permit, peer, proof, Nanos::ZERO);
}

#[test]
fn what_one_gate_sees_the_other_knows() {
    let shared = protection(SynProtection::default().max_attempts(20));
    let (mut one, mut other) = (sharing(&shared, Limits::default()), sharing(&shared, Limits::default()));
    let flooder = parsed("192.0.2.7");
    let mut permits = Vec::new();
    while let Ok(permit) = enter(&mut one, &flooder, Nanos::ZERO) {
        permits.push(permit);
    }
    assert!(permits.len().abs_diff(20) <= 1, "{}", permits.len());
    assert_eq!(enter(&mut other, &flooder, Nanos::ZERO).unwrap_err(), Refusal::Flood);
    let honest = enter(&mut other, &parsed("192.0.2.8"), Nanos::ZERO).unwrap();
    assert_eq!((one.outstanding(), other.outstanding(), one.tracked()), (permits.len(), 1, 0));
    assert_eq!(shared.lock().unwrap().live(), permits.len() + 1);
    permits.drain(..).for_each(|permit| let_go(&mut one, permit, &flooder, Proof::Unproven));
    let_go(&mut other, honest, &parsed("192.0.2.8"), Proof::Proven);
    let mut shared = shared.lock().unwrap();
    assert_eq!((shared.live(), shared.tracked()), (0, 2));
    let sight = shared.sight("192.0.2.7".parse().unwrap(), Nanos::ZERO);
    assert!(matches!(sight, Sight::Known { failures: 19.., successes: 0, .. }), "{sight:?}");
}

#[test]
fn a_proof_takes_back_the_attempt_that_led_to_it() {
    let shared = protection(SynProtection::default().max_attempts(20));
    let mut gate = sharing(&shared, per_ip(50));
    let client = parsed("192.0.2.7");
    for n in 0..1_000 {
        let Decision::Admit(permit) = knock(&mut gate, &client, Nanos::ZERO) else {
            panic!("connection {n}")
        };
        gate.proven(&permit, &client, Nanos::ZERO);
        let_go(&mut gate, permit, &client, Proof::Proven);
    }
    assert_eq!(gate.tracked(), 0, "its own count was given back");
    gate.assert_invariants();
}

#[test]
fn the_lists_of_the_protection_are_honoured_and_a_refusal_leaves_nothing_behind() {
    let shared = protection(SynProtection::default().attempt_penalty(1.0));
    {
        let mut shared = shared.lock().unwrap();
        shared.blacklist.add("10.0.0.2".parse().unwrap(), Nanos::MAX, Nanos::ZERO).unwrap();
        shared.whitelist.add("10.0.0.3".parse().unwrap(), Nanos::MAX, Nanos::ZERO).unwrap();
    }
    let limits = Limits { accept_rate: Some(Rate::per_second(1)), ..per_ip(1) };
    let mut gate = sharing(&shared, Limits { deny: vec!["10.0.0.1".parse().unwrap()], ..limits });
    for (ip, refusal) in
        [("10.0.0.1", Refusal::Denied), ("10.0.0.2", Refusal::Denied), ("10.0.0.4", Refusal::Flood)]
    {
        assert_eq!(enter(&mut gate, &parsed(ip), Nanos::ZERO).unwrap_err(), refusal, "{ip}");
    }
    let trusted = parsed("10.0.0.3");
    let permit = enter(&mut gate, &trusted, Nanos::ZERO).unwrap();
    assert_eq!(enter(&mut gate, &trusted, Nanos::ZERO).unwrap_err(), Refusal::PerIp);
    assert_eq!((gate.outstanding(), gate.tracked()), (1, 1));
    let_go(&mut gate, permit, &trusted, Proof::Unproven);
    assert_eq!((gate.outstanding(), gate.tracked(), shared.lock().unwrap().live()), (0, 0, 0));
    assert!(
        enter(&mut gate, &Peer::UNIX, Nanos::from_millis(1_000)).is_ok(),
        "who has no address has no score"
    );
}

#[test]
fn a_protection_that_is_gone_counts_as_none() {
    let shared = protection(SynProtection::default().attempt_penalty(1.0));
    let mut gate = sharing(&shared, per_ip(1));
    let peer = parsed("192.0.2.7");
    assert_eq!(enter(&mut gate, &peer, Nanos::ZERO).unwrap_err(), Refusal::Flood);
    drop(shared);
    let permit = enter(&mut gate, &peer, Nanos::ZERO).unwrap();
    assert_eq!(enter(&mut gate, &peer, Nanos::ZERO).unwrap_err(), Refusal::PerIp, "its own limits stay");
    let_go(&mut gate, permit, &peer, Proof::Unproven);
}

#[test]
fn permits_of_a_protection_that_is_gone_count_for_no_other() {
    let shared = protection(SynProtection::default());
    let own = SynProtection::default().failure_penalty(1.0);
    let mut gate = sharing(&shared, syn(own));
    let peer = parsed("192.0.2.7");
    let permit = enter(&mut gate, &peer, Nanos::ZERO).unwrap();
    drop(shared);
    gate.proven(&permit, &peer, Nanos::ZERO);
    let_go(&mut gate, permit, &peer, Proof::Unproven);
    let permit = enter(&mut gate, &peer, Nanos::ZERO).expect("the failure was not of its own score");
    let_go(&mut gate, permit, &peer, Proof::Unproven);
    assert_eq!(enter(&mut gate, &peer, Nanos::ZERO).unwrap_err(), Refusal::Flood, "this one is");
}

#[test]
fn addresses_with_connections_in_any_pool_are_never_forgotten() {
    let shared = protection(SynProtection::default().max_tracked(1).max_global_per_second(1_000_000));
    let mut gates = [(); 3].map(|()| sharing(&shared, Limits::default()));
    let mut permits = Vec::new();
    for n in 0..3_000_u32 {
        let peer = peer(Ipv4Addr::from(0x0a00_0000 + n));
        permits.push((enter(&mut gates[n as usize % 3], &peer, Nanos::ZERO).unwrap(), peer));
    }
    // All pools are full; a crowd passes by.
    for n in 0..10_000_u32 {
        shared.lock().unwrap().check(Ipv4Addr::from(0x0b00_0000 + n).into(), Nanos::ZERO);
    }
    assert_eq!(sums(&shared), (3_000, 3_001));
    for (n, (permit, peer)) in permits.into_iter().enumerate() {
        gates[n % 3].proven(&permit, &peer, Nanos::ZERO);
        let_go(&mut gates[n % 3], permit, &peer, Proof::Proven);
    }
    drop(gates);
    let mut shared = shared.lock().unwrap();
    shared.configure(SynProtection::default().max_tracked(5), Nanos::ZERO).unwrap();
    assert_eq!(shared.tracked(), 5, "the room that the pools asked for is not theirs any more");
}

#[test]
fn a_gate_that_parts_leaves_nothing_behind_and_asks_the_next_one() {
    let (first, second) = (protection(SynProtection::default()), protection(SynProtection::default()));
    let mut gate = sharing(&first, Limits::default());
    let peer = parsed("192.0.2.7");
    let mut permit = enter(&mut gate, &peer, Nanos::ZERO).unwrap();
    gate.part(&mut permit, &peer, Nanos::ZERO);
    share(&mut gate, &second);
    assert_eq!((first.lock().unwrap().live(), second.lock().unwrap().tracked()), (0, 0));
    gate.proven(&permit, &peer, Nanos::ZERO);
    let_go(&mut gate, permit, &peer, Proof::Unproven);
    assert_eq!(second.lock().unwrap().sight("192.0.2.7".parse().unwrap(), Nanos::ZERO), Sight::Unknown);
}

#[test]
fn the_pools_clock_is_not_the_protections() {
    let shared = protection(SynProtection::default().max_attempts(1).block(Duration::from_secs(300)));
    let (early, late) = (Nanos::from_millis(5), Nanos::from_millis(1_000_005));
    let mut one = gate(Limits::default());
    one.share(Some(Shared::new(&shared, 1_000_000_000_000, 10).unwrap()));
    let mut other = gate(Limits::default());
    other.share(Some(Shared::new(&shared, 0, 10).unwrap()));
    let peer = parsed("192.0.2.7");
    while enter(&mut one, &peer, early).is_ok() {}
    assert_eq!(enter(&mut other, &peer, late).unwrap_err(), Refusal::Flood, "the same moment");
    let later = late + Duration::from_secs(301);
    assert!(enter(&mut other, &peer, later).is_ok());
}

#[derive(Clone, Debug)]
enum Step {
    Knock(bool, u8),
    Prove(usize),
    Leave(usize, bool),
    Check(u8),
    Report(u8, bool),
    Forget,
    Configure(u32),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<bool>(), 0..40_u8).prop_map(|(which, ip)| Step::Knock(which, ip)),
        2 => any::<usize>().prop_map(Step::Prove),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(n, proven)| Step::Leave(n, proven)),
        4 => any::<u8>().prop_map(Step::Check),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(ip, good)| Step::Report(ip, good)),
        1 => Just(Step::Forget),
        1 => (1..50_u32).prop_map(Step::Configure),
        2 => (0..20_000_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_happens_the_protection_counts_what_is_live(steps in proptest::collection::vec(step(), 0..150)) {
        let shared = protection(SynProtection::default().max_tracked(8).max_attempts(5));
        let small = || {
            let mut gate = Gate::new(per_ip(3), 20).unwrap();
            share(&mut gate, &shared);
            gate
        };
        let mut gates = [small(), small()];
        let mut held: Vec<(usize, Permit, Peer)> = Vec::new();
        let mut now = Nanos::ZERO;
        for step in steps {
            match step {
                Step::Knock(which, ip) => {
                    let (which, peer) = (usize::from(which), peer([10, 0, 0, ip]));
                    let room = gates[which].outstanding() < 20;
                    if let Some(permit) = room.then(|| enter(&mut gates[which], &peer, now).ok()).flatten() {
                        held.push((which, permit, peer));
                    }
                }
                Step::Prove(n) if !held.is_empty() => {
                    let (which, permit, peer) = &held[n % held.len()];
                    gates[*which].proven(permit, peer, now);
                }
                Step::Leave(n, proven) if !held.is_empty() => {
                    let (which, permit, peer) = held.swap_remove(n % held.len());
                    let proof = if proven { Proof::Proven } else { Proof::Unproven };
                    gates[which].release(permit, &peer, proof, now);
                }
                Step::Prove(_) | Step::Leave(..) => {}
                Step::Check(ip) => drop(shared.lock().unwrap().check([10, 0, 0, ip].into(), now)),
                Step::Report(ip, true) => shared.lock().unwrap().report_success([10, 0, 0, ip].into(), now),
                Step::Report(ip, false) => shared.lock().unwrap().report_failure([10, 0, 0, ip].into(), now),
                Step::Forget => shared.lock().unwrap().forget_addresses(now),
                Step::Configure(tracked) => {
                    let settings = SynProtection::default().max_attempts(5).max_tracked(tracked);
                    shared.lock().unwrap().configure(settings, now).unwrap();
                }
                Step::Pass(millis) => now = now + Duration::from_millis(millis),
            }
            let shared = shared.lock().unwrap();
            prop_assert_eq!(shared.live(), held.len());
            prop_assert!(shared.tracked() <= 50);
            let totals = shared.totals();
            let sum = totals.allowed + totals.throttled + totals.challenged + totals.blocked;
            prop_assert_eq!(sum, totals.attempts);
            gates.iter().for_each(Gate::assert_invariants);
        }
    }
}
