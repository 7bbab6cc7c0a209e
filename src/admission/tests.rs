//! The gate against a naive model, and one story for each thing it promises.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::*;

mod proofs;
mod sharing;

/// Cases of the model tests: `SOCKETPOOL_CASES`, else 1,024.
pub(super) fn cases() -> Config {
    let cases = std::env::var("SOCKETPOOL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_024);
    Config { cases, failure_persistence: None, ..Config::default() }
}

const NOBODY: &Peer = &Peer::UNIX; // Whose a permit is matters to a shared protection only.

fn peer(ip: impl Into<IpAddr>) -> Peer {
    Peer::from(SocketAddr::new(ip.into(), 4_711))
}

fn parsed(ip: &str) -> Peer {
    peer(ip.parse::<IpAddr>().unwrap())
}

fn gate(limits: Limits) -> Gate {
    Gate::new(limits, 1_000).unwrap()
}

fn knock(gate: &mut Gate, peer: &Peer, now: Nanos) -> Decision {
    gate.decide(peer, Origin::Accepted, Intake::Open, Room::Available, now)
}

/// The permit, if there is one.
fn enter(gate: &mut Gate, peer: &Peer, now: Nanos) -> Result<Permit, Refusal> {
    match knock(gate, peer, now) {
        Decision::Admit(permit) | Decision::Delay(permit, _) => Ok(permit),
        Decision::Refuse(refusal) => Err(refusal),
    }
}

fn leave(gate: &mut Gate, permit: Permit) {
    gate.release(permit, NOBODY, Proof::Proven, Nanos::ZERO);
}

fn per_ip(max: u32) -> Limits {
    Limits { max_per_ip: Some(max), ..Limits::default() }
}

fn syn(protection: SynProtection) -> Limits {
    Limits { syn: Some(protection), ..Limits::default() }
}

fn refusal(decision: &Decision) -> Option<Refusal> {
    match decision {
        Decision::Refuse(refusal) => Some(*refusal),
        Decision::Admit(_) | Decision::Delay(..) => None,
    }
}

#[test]
fn a_permit_takes_eight_bytes() {
    assert_eq!(size_of::<Permit>(), 8);
}

#[test]
fn the_first_limit_that_is_broken_names_the_refusal() {
    let cidr = |text: &str| text.parse::<Cidr>().unwrap();
    let everything = Limits {
        deny: vec![cidr("10.0.0.1")],
        max_per_ip: Some(1),
        accept_rate: Some(Rate::per_second(3)),
        syn: Some(SynProtection::default().blacklist(cidr("10.0.0.2"))),
        ..Limits::default()
    };
    let mut gate = gate(everything);
    let now = Nanos::ZERO;
    let denied = parsed("10.0.0.1");
    assert_eq!(
        refusal(&gate.decide(&denied, Origin::Accepted, Intake::Draining, Room::None, now)),
        Some(Refusal::Draining)
    );
    assert_eq!(
        refusal(&gate.decide(&denied, Origin::Accepted, Intake::Open, Room::None, now)),
        Some(Refusal::Full)
    );
    assert_eq!(
        refusal(&gate.decide(&denied, Origin::Accepted, Intake::Open, Room::Available, now)),
        Some(Refusal::Denied)
    );
    assert_eq!(enter(&mut gate, &parsed("10.0.0.2"), now).unwrap_err(), Refusal::Denied);
    let permits: Vec<Permit> =
        (3..6).map(|n| enter(&mut gate, &peer(Ipv4Addr::new(10, 0, 0, n)), now).unwrap()).collect();
    assert_eq!(enter(&mut gate, &parsed("10.0.0.3"), now).unwrap_err(), Refusal::PerIp);
    assert_eq!(enter(&mut gate, &parsed("10.0.0.6"), now).unwrap_err(), Refusal::AcceptRate);
    assert_eq!((gate.outstanding(), gate.tracked()), (3, 3), "the refused left nothing behind");
    permits.into_iter().for_each(|permit| leave(&mut gate, permit));
    gate.assert_invariants();
}

#[test]
fn an_allow_list_lets_in_nobody_else_and_a_deny_list_cuts_holes_in_it() {
    let cidrs = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let mut gate = gate(Limits {
        allow: cidrs(&["10.0.0.0/8", "2001:DB8::/32"]),
        deny: cidrs(&["10.1.0.0/16"]),
        ..Limits::default()
    });
    for (ip, expected) in [
        ("10.0.0.1", None),
        ("::ffff:10.0.0.1", None),
        ("2001:db8::1", None),
        ("10.1.0.1", Some(Refusal::Denied)),
        ("::ffff:10.1.0.1", Some(Refusal::Denied)),
        ("11.0.0.1", Some(Refusal::Denied)),
        ("::10.0.0.1", Some(Refusal::Denied)),
    ] {
        assert_eq!(refusal(&knock(&mut gate, &parsed(ip), Nanos::ZERO)), expected, "{ip}");
    }
    assert!(
        enter(&mut gate, &Peer::UNIX, Nanos::ZERO).is_ok(),
        "lists of addresses say nothing of unix sockets"
    );
}

#[test]
fn unix_sockets_are_neither_counted_nor_scored_but_paced() {
    let limits = Limits {
        max_per_ip: Some(1),
        accept_rate: Some(Rate::per_second(500)),
        syn: Some(SynProtection::default().max_attempts(1)),
        ..Limits::default()
    };
    let mut gate = gate(limits);
    for _ in 0..500 {
        assert!(matches!(knock(&mut gate, &Peer::UNIX, Nanos::ZERO), Decision::Admit(_)));
    }
    assert_eq!(enter(&mut gate, &Peer::UNIX, Nanos::ZERO).unwrap_err(), Refusal::AcceptRate);
    assert_eq!((gate.outstanding(), gate.tracked()), (500, 0));
}

#[test]
fn an_adopted_connection_is_held_to_all_but_the_accept_rate() {
    let mut gate = gate(Limits { accept_rate: Some(Rate::per_second(1)), ..per_ip(3) });
    let peer = parsed("10.0.0.1");
    let adopt = |gate: &mut Gate| {
        refusal(&gate.decide(&peer, Origin::Added, Intake::Open, Room::Available, Nanos::ZERO))
    };
    assert_eq!((adopt(&mut gate), adopt(&mut gate)), (None, None));
    assert!(enter(&mut gate, &peer, Nanos::ZERO).is_ok(), "the adopted took no token");
    assert_eq!(adopt(&mut gate), Some(Refusal::PerIp));
}

#[test]
fn a_place_given_back_is_a_place_for_the_next() {
    // The legacy pool never gave one back: limit 3, six connections one after the other, three served.
    let mut gate = gate(per_ip(3));
    for _ in 0..1_000 {
        let permit = enter(&mut gate, &parsed("10.0.0.1"), Nanos::ZERO).unwrap();
        leave(&mut gate, permit);
    }
    assert_eq!((gate.outstanding(), gate.tracked()), (0, 0));
}

#[test]
fn mapped_and_plain_addresses_share_a_count_and_two_v4_never_do() {
    let mut gate = gate(per_ip(2));
    let _plain = enter(&mut gate, &parsed("10.9.0.1"), Nanos::ZERO).unwrap();
    let _mapped = enter(&mut gate, &parsed("::ffff:10.9.0.1"), Nanos::ZERO).unwrap();
    assert_eq!(gate.tracked(), 1);
    assert_eq!(enter(&mut gate, &parsed("10.9.0.1"), Nanos::ZERO).unwrap_err(), Refusal::PerIp);
    for last in 2..=255 {
        let other = Ipv4Addr::new(10, 9, 0, last).to_ipv6_mapped();
        let _permit = enter(&mut gate, &peer(other), Nanos::ZERO).unwrap();
    }
    assert_eq!(gate.tracked(), 255);
}

#[test]
fn two_thousand_addresses_of_one_64_count_as_one() {
    let mut gate = gate(per_ip(10));
    let served = (0..2_000_u128).filter(|host| {
        let ip = Ipv6Addr::from_bits(
            0x2001_0db8 << 96 | host.wrapping_mul(0x9e37_79b9_7f4a_7c15) & u128::from(u64::MAX),
        );
        enter(&mut gate, &peer(ip), Nanos::ZERO).is_ok()
    });
    assert_eq!(served.count(), 10);
    assert_eq!(gate.tracked(), 1);
    assert!(
        enter(&mut gate, &parsed("2001:db8:0:1::"), Nanos::ZERO).is_ok(),
        "the next /64 is another address"
    );
}

#[test]
fn prefixes_say_what_counts_as_one_address() {
    let mut gate = gate(Limits { v4_prefix: 24, v6_prefix: 128, ..per_ip(1) });
    let _permit = enter(&mut gate, &parsed("10.0.0.1"), Nanos::ZERO).unwrap();
    assert!(enter(&mut gate, &parsed("10.0.0.2"), Nanos::ZERO).is_err());
    assert!(enter(&mut gate, &parsed("10.0.1.1"), Nanos::ZERO).is_ok());
    assert!(enter(&mut gate, &parsed("2001:db8::1"), Nanos::ZERO).is_ok());
    assert!(enter(&mut gate, &parsed("2001:db8::2"), Nanos::ZERO).is_ok());
}

#[test]
fn an_ipv6_network_whose_number_is_that_of_an_ipv4_address_is_another() {
    let mut gate = gate(per_ip(1));
    let _v4 = enter(&mut gate, &parsed("10.9.0.1"), Nanos::ZERO).unwrap();
    let _v6 = enter(&mut gate, &parsed("0:ffff:a09:1::7"), Nanos::ZERO).unwrap();
    assert_eq!(enter(&mut gate, &parsed("0:ffff:a09:1::8"), Nanos::ZERO).unwrap_err(), Refusal::PerIp);
    assert_eq!(gate.tracked(), 2);
    gate.assert_invariants();
}

#[test]
fn more_bits_of_an_address_count_from_now_on_and_fewer_again() {
    let mut gate = gate(per_ip(1));
    let prefix = |v6_prefix| Limits { v6_prefix, ..per_ip(1) };
    let mut permits = vec![enter(&mut gate, &parsed("2001:db8::1"), Nanos::ZERO).unwrap()];
    gate.set_limits(prefix(128)).unwrap();
    for ip in ["2001:db8::1", "2001:db8::2"] {
        permits.push(enter(&mut gate, &parsed(ip), Nanos::ZERO).unwrap());
        assert_eq!(enter(&mut gate, &parsed(ip), Nanos::ZERO).unwrap_err(), Refusal::PerIp);
    }
    gate.set_limits(prefix(64)).unwrap();
    assert_eq!(enter(&mut gate, &parsed("2001:db8::3"), Nanos::ZERO).unwrap_err(), Refusal::PerIp);
    gate.assert_invariants();
    permits.into_iter().for_each(|permit| leave(&mut gate, permit));
    assert_eq!((gate.tracked(), gate.addresses.live()), (0, 0));
    gate.assert_invariants();
}

#[test]
fn an_address_takes_the_memory_that_its_limits_need() {
    let bytes = |limits| Gate::new(limits, 1_023).unwrap().memory_bytes() / 1_024;
    let scored = syn(SynProtection::default().max_tracked(1));
    assert_eq!(bytes(per_ip(1)), 24);
    assert_eq!(bytes(scored.clone()), 44);
    assert_eq!(bytes(Limits { v6_prefix: 65, ..scored }), 52);
}

#[test]
fn a_blocked_address_takes_no_token_from_the_others() {
    let limits = Limits {
        accept_rate: Some(Rate::per_second(100)),
        syn: Some(SynProtection::default().max_attempts(10).max_global_per_second(100)),
        ..Limits::default()
    };
    let mut gate = gate(limits);
    let passed = (0..100_000).filter(|_| enter(&mut gate, &parsed("10.0.0.1"), Nanos::ZERO).is_ok()).count();
    assert!(passed.abs_diff(10) <= 1, "{passed}");
    let others =
        (0..200_u8).filter(|n| enter(&mut gate, &peer(Ipv4Addr::new(10, 1, 0, *n)), Nanos::ZERO).is_ok());
    assert_eq!(others.count(), 100 - passed);
}

#[test]
fn all_addresses_together_pass_no_faster_than_the_global_rate() {
    let mut gate = gate(syn(SynProtection::default().max_global_per_second(50)));
    let outcomes = (0..200_u8).map(|n| enter(&mut gate, &peer(Ipv4Addr::new(10, 1, 0, n)), Nanos::ZERO));
    let refused: Vec<Refusal> = outcomes.filter_map(Result::err).collect();
    assert_eq!(refused, [Refusal::AcceptRate; 150]);
}

#[test]
fn a_low_score_delays_and_a_lower_one_delays_for_longer_but_nothing_sleeps() {
    let protection = SynProtection::default()
        .throttle_delay(Duration::from_millis(70))
        .challenge_delay(Duration::from_secs(3_600));
    let mut gate = gate(syn(protection));
    let mut delays = Vec::new();
    let refused = loop {
        match knock(&mut gate, &parsed("10.0.0.1"), Nanos::ZERO) {
            Decision::Admit(_) => assert!(delays.is_empty()),
            Decision::Delay(_, delay) => delays.push(delay.as_millis()),
            Decision::Refuse(refusal) => break refusal,
        }
    };
    assert_eq!(refused, Refusal::Flood);
    assert!(delays.is_sorted());
    let throttled = delays.iter().filter(|delay| **delay == 70).count();
    assert!(throttled.abs_diff(25) <= 1, "{throttled}");
    assert_eq!(delays.last(), Some(&3_600_000));
    assert_eq!(gate.outstanding(), gate.addresses.live(), "the delayed have their permits");
}

#[test]
fn a_block_is_over_in_time_and_armed_again_if_the_flood_goes_on() {
    let mut gate = gate(syn(SynProtection::default().block(Duration::from_secs(30))));
    let flood = |gate: &mut Gate, seconds| {
        let now = Nanos::from_millis(seconds * 1_000);
        (0..100).filter(|_| enter(gate, &parsed("10.0.0.1"), now).is_ok()).count()
    };
    assert!(flood(&mut gate, 0).abs_diff(50) <= 1);
    for seconds in [1, 29, 30, 31, 59, 60, 61, 89] {
        assert_eq!(flood(&mut gate, seconds), 0, "after {seconds} s");
        assert_eq!(gate.blocked(Nanos::from_millis(seconds * 1_000)), 1);
    }
    assert_eq!(gate.blocked(Nanos::from_millis(200_000)), 0);
    assert!(enter(&mut gate, &parsed("10.0.0.1"), Nanos::from_millis(200_000)).is_ok());
}

#[test]
fn a_whitelisted_address_is_not_scored_but_counted_and_denied() {
    let trusted = SynProtection::default().max_attempts(1).max_global_per_second(1);
    let trusted =
        trusted.whitelist("2001:DB8::/64".parse().unwrap()).blacklist("2001:db8::/32".parse().unwrap());
    let mut gate = gate(Limits { max_per_ip: Some(100), ..syn(trusted) });
    let peer = parsed("2001:db8:0:0::1");
    let mut permits: Vec<Permit> = (0..100).map(|_| enter(&mut gate, &peer, Nanos::ZERO).unwrap()).collect();
    assert_eq!(enter(&mut gate, &peer, Nanos::ZERO).unwrap_err(), Refusal::PerIp);
    while let Some(permit) = permits.pop() {
        gate.release(permit, NOBODY, Proof::Unproven, Nanos::ZERO);
    }
    assert!(enter(&mut gate, &peer, Nanos::ZERO).is_ok(), "its failures were not scored either");
    assert_eq!(enter(&mut gate, &parsed("2001:db8:1::"), Nanos::ZERO).unwrap_err(), Refusal::Denied);
    let denied = Limits { deny: vec!["2001:db8::1".parse().unwrap()], ..gate.limits.clone() };
    gate.set_limits(denied).unwrap();
    assert_eq!(enter(&mut gate, &peer, Nanos::ZERO).unwrap_err(), Refusal::Denied);
}

#[test]
fn a_blacklisted_network_is_refused_in_every_spelling_until_its_time() {
    let until = Nanos::from_millis(60_000);
    let mut gate = gate(syn(SynProtection::default().blacklist_until("2001:DB8::1".parse().unwrap(), until)));
    for ip in ["2001:db8::1", "2001:0DB8:0:0:0:0:0:1"] {
        assert_eq!(enter(&mut gate, &parsed(ip), Nanos::ZERO).unwrap_err(), Refusal::Denied);
        assert!(enter(&mut gate, &parsed(ip), until).is_ok());
    }
}

#[test]
fn an_address_that_hammers_at_its_limit_is_blocked_and_keeps_what_it_has() {
    let mut gate = gate(Limits { max_per_ip: Some(2), ..syn(SynProtection::default()) });
    let peer = parsed("10.0.0.1");
    let permits = [(); 2].map(|()| enter(&mut gate, &peer, Nanos::ZERO).unwrap());
    for _ in 0..60 {
        assert_eq!(enter(&mut gate, &peer, Nanos::ZERO).unwrap_err(), Refusal::PerIp);
    }
    assert_eq!((gate.blocked(Nanos::ZERO), gate.outstanding()), (1, 2));
    permits.into_iter().for_each(|permit| gate.release(permit, NOBODY, Proof::Unproven, Nanos::ZERO));
    assert_eq!(enter(&mut gate, &peer, Nanos::ZERO).unwrap_err(), Refusal::Flood);
}

#[test]
fn proven_connections_keep_an_address_in_good_standing() {
    let mut gate = gate(syn(SynProtection::default().max_global_per_second(100_000)));
    for n in 0..10_000 {
        let now = Nanos::from_millis(n * 250);
        let Decision::Admit(permit) = knock(&mut gate, &parsed("10.0.0.1"), now) else {
            panic!("connection {n}")
        };
        gate.proven(&permit, NOBODY, now);
        gate.release(permit, NOBODY, Proof::Proven, now);
    }
    let fail = |gate: &mut Gate, n: u64| {
        let now = Nanos::from_millis(2_500_000 + n * 250);
        let permit = enter(gate, &parsed("10.0.0.1"), now)?;
        gate.release(permit, NOBODY, Proof::Unproven, now);
        Ok::<(), Refusal>(())
    };
    let failed = (0..100).take_while(|n| fail(&mut gate, *n).is_ok()).count();
    assert!((10..20).contains(&failed), "{failed}");
}

#[test]
fn limits_change_while_connections_live() {
    let mut gate = gate(per_ip(5));
    let peer = parsed("10.0.0.1");
    let mut permits: Vec<Permit> = (0..5).map(|_| enter(&mut gate, &peer, Nanos::ZERO).unwrap()).collect();
    gate.set_limits(Limits { max_per_ip: Some(2), ..syn(SynProtection::default()) }).unwrap();
    for _ in 0..3 {
        leave(&mut gate, permits.pop().unwrap());
        assert_eq!(enter(&mut gate, &peer, Nanos::ZERO).unwrap_err(), Refusal::PerIp);
    }
    leave(&mut gate, permits.pop().unwrap());
    permits.push(enter(&mut gate, &peer, Nanos::ZERO).unwrap());
    assert!(gate.set_limits(per_ip(0)).is_err());
    assert_eq!(gate.limits.max_per_ip, Some(2), "a bad change changes nothing");
    gate.set_limits(Limits::default()).unwrap();
    let uncounted = enter(&mut gate, &peer, Nanos::ZERO).unwrap();
    gate.set_limits(Limits { v4_prefix: 8, ..per_ip(1) }).unwrap();
    leave(&mut gate, uncounted);
    permits.push(enter(&mut gate, &parsed("10.0.0.2"), Nanos::ZERO).unwrap());
    permits.drain(..).for_each(|permit| gate.release(permit, NOBODY, Proof::Unproven, Nanos::ZERO));
    assert_eq!((gate.outstanding(), gate.tracked(), gate.addresses.live()), (0, 0, 0));
    gate.assert_invariants();
}

#[test]
fn scores_survive_a_change_of_limits_and_blocks_do_too() {
    let mut gate = gate(syn(SynProtection::default().max_attempts(5)));
    while enter(&mut gate, &parsed("10.0.0.1"), Nanos::ZERO).is_ok() {}
    gate.set_limits(Limits { max_per_ip: Some(9), ..syn(SynProtection::default()) }).unwrap();
    assert_eq!(enter(&mut gate, &parsed("10.0.0.1"), Nanos::ZERO).unwrap_err(), Refusal::Flood);
}

#[test]
fn more_connections_than_the_gate_was_made_for_are_refused_not_forgotten() {
    let mut gate = Gate::new(per_ip(1), 2).unwrap();
    for n in 0..3 {
        assert!(enter(&mut gate, &peer(Ipv4Addr::new(10, 0, 0, n)), Nanos::ZERO).is_ok());
    }
    assert_eq!(enter(&mut gate, &parsed("10.0.0.3"), Nanos::ZERO).unwrap_err(), Refusal::Full);
    gate.set_max_connections(3).unwrap();
    assert!(enter(&mut gate, &parsed("10.0.0.3"), Nanos::ZERO).is_ok());
    assert_eq!(enter(&mut gate, &parsed("10.0.0.0"), Nanos::ZERO).unwrap_err(), Refusal::PerIp);
    gate.assert_invariants();
}

#[test]
fn bad_limits_are_named() {
    let bad = [
        ("max_per_ip", per_ip(0)),
        ("v4_prefix", Limits { v4_prefix: 0, ..Limits::default() }),
        ("v4_prefix", Limits { v4_prefix: 33, ..Limits::default() }),
        ("v6_prefix", Limits { v6_prefix: 0, ..Limits::default() }),
        ("v6_prefix", Limits { v6_prefix: 129, ..Limits::default() }),
        ("accept_rate", Limits { accept_rate: Some(Rate::per_second(0)), ..Limits::default() }),
        ("syn_protection.window", syn(SynProtection::default().window(Duration::ZERO))),
    ];
    for (name, limits) in bad {
        let Err(Error::Config { field, .. }) = Gate::new(limits, 10) else { panic!("{name} was accepted") };
        assert_eq!(field, name);
    }
}

#[test]
fn without_limits_the_gate_holds_no_memory() {
    assert_eq!(gate(Limits::default()).memory_bytes(), 0);
}

/// Numbers that look random and are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }
}

#[test]
fn after_a_million_steps_every_count_is_back_at_zero() {
    let protection = SynProtection::default().max_tracked(300).max_global_per_second(100_000);
    let mut gate = Gate::new(Limits { max_per_ip: Some(4), ..syn(protection) }, 200).unwrap();
    let memory = gate.memory_bytes();
    let (mut dice, mut permits, mut now) = (Dice(77), Vec::new(), Nanos::ZERO);
    let mut admitted = 0;
    for step in 0..1_000_000 {
        now = now + Duration::from_micros(dice.roll(2_000));
        if dice.roll(2) == 0 && permits.len() < 200 {
            let peer = peer(Ipv4Addr::from_bits(dice.roll(1_000) as u32));
            if let Ok(permit) = enter(&mut gate, &peer, now) {
                admitted += 1;
                if dice.roll(2) == 0 {
                    gate.proven(&permit, NOBODY, now);
                }
                permits.push(permit);
            }
        } else if !permits.is_empty() {
            let permit = permits.swap_remove(dice.roll(permits.len() as u64) as usize);
            let proof = if dice.roll(4) == 0 { Proof::Unproven } else { Proof::Proven };
            gate.release(permit, NOBODY, proof, now);
        }
        assert!(gate.tracked() <= gate.addresses.capacity());
        if step % 4_096 == 0 {
            gate.assert_invariants();
        }
    }
    assert!(admitted > 300_000, "{admitted}");
    permits.into_iter().for_each(|permit| gate.release(permit, NOBODY, Proof::Proven, now));
    assert_eq!((gate.outstanding(), gate.addresses.live(), gate.memory_bytes()), (0, 0, memory));
    gate.assert_invariants();
}

#[derive(Clone, Debug)]
enum Step {
    Enter { ip: IpAddr, origin: Origin },
    Leave(usize),
    Limit(Option<u32>),
    Wait(u64),
}

/// Few addresses in both families, so that they meet: the third byte is host of v4, the v6 ones lie in three networks.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let v4 = (0..4_u8, any::<bool>()).prop_map(|(n, is_mapped)| {
        let ip = Ipv4Addr::new(10, 0, 0, n);
        if is_mapped { IpAddr::from(ip.to_ipv6_mapped()) } else { IpAddr::from(ip) }
    });
    let v6 = (0..3_u16, any::<u16>())
        .prop_map(|(net, host)| Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, host).into());
    let origin = prop_oneof![Just(Origin::Accepted), Just(Origin::Added)];
    let step = prop_oneof![
        6 => (prop_oneof![v4, v6], origin).prop_map(|(ip, origin)| Step::Enter { ip, origin }),
        4 => any::<usize>().prop_map(Step::Leave),
        1 => proptest::option::of(1..4_u32).prop_map(Step::Limit),
        2 => (0..40_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_gate_is_a_map_of_counts_and_a_bucket(steps in steps()) {
        const MOST: usize = 12;
        let rate = Rate::per_second(100).burst(8);
        let limits = |max| Limits { max_per_ip: max, accept_rate: Some(rate), ..Limits::default() };
        let mut gate = Gate::new(limits(Some(2)), MOST as u32).unwrap();
        let (mut max, mut now, mut tokens, mut remainder) = (Some(2), Nanos::ZERO, 8_u64, 0);
        let mut counts: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut permits: Vec<(Permit, Option<Vec<u8>>)> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(ms) => {
                    now = now + Duration::from_millis(ms);
                    tokens += (remainder + ms) / 10;
                    remainder = (remainder + ms) % 10;
                    if tokens >= 8 {
                        (tokens, remainder) = (8, 0);
                    }
                }
                Step::Limit(new) => {
                    max = new;
                    gate.set_limits(limits(max)).unwrap();
                }
                Step::Leave(n) if !permits.is_empty() => {
                    let (permit, key) = permits.swap_remove(n % permits.len());
                    gate.release(permit, NOBODY, Proof::Unproven, now);
                    if let Some(key) = key {
                        *counts.get_mut(&key).unwrap() -= 1;
                    }
                }
                Step::Leave(_) => {}
                Step::Enter { ip, origin } => {
                    let key = match ip.to_canonical() {
                        IpAddr::V4(v4) => v4.octets().to_vec(),
                        IpAddr::V6(v6) => v6.octets()[..8].to_vec(),
                    };
                    let room = if permits.len() < MOST { Room::Available } else { Room::None };
                    let expected = if room == Room::None {
                        Some(Refusal::Full)
                    } else if max.is_some_and(|max| counts.get(&key).is_some_and(|count| *count >= max)) {
                        Some(Refusal::PerIp)
                    } else if origin == Origin::Accepted && tokens == 0 {
                        Some(Refusal::AcceptRate)
                    } else {
                        None
                    };
                    let decision = gate.decide(&peer(ip), origin, Intake::Open, room, now);
                    prop_assert_eq!(refusal(&decision), expected);
                    if let Decision::Admit(permit) = decision {
                        tokens -= u64::from(origin == Origin::Accepted);
                        if max.is_some() {
                            *counts.entry(key.clone()).or_default() += 1;
                        }
                        permits.push((permit, max.map(|_| key)));
                    }
                }
            }
            gate.assert_invariants();
            prop_assert_eq!(gate.outstanding(), permits.len());
            prop_assert_eq!(gate.tracked(), counts.values().filter(|count| **count > 0).count());
        }
    }

    #[test]
    fn no_order_of_calls_breaks_the_table_under_flood_scores(
        steps in proptest::collection::vec((0..12_u32, 0..4_u8, any::<usize>(), 0..30_000_u64), 1..200),
    ) {
        let protection = SynProtection::default().max_attempts(5).max_tracked(6);
        let mut gate = Gate::new(Limits { max_per_ip: Some(2), ..syn(protection) }, 5).unwrap();
        let (mut permits, mut now) = (Vec::new(), Nanos::ZERO);
        for (ip, kind, n, wait) in steps {
            now = now + Duration::from_millis(if kind == 3 { wait } else { 0 });
            if kind < 2 {
                let room = if permits.len() < 5 { Room::Available } else { Room::None };
                match gate.decide(&peer(Ipv4Addr::from_bits(ip)), Origin::Accepted, Intake::Open, room, now) {
                    Decision::Admit(permit) | Decision::Delay(permit, _) => permits.push(permit),
                    Decision::Refuse(refusal) => prop_assert_eq!(refusal == Refusal::Full, room == Room::None),
                }
            } else if !permits.is_empty() {
                let permit = permits.swap_remove(n % permits.len());
                gate.release(permit, NOBODY, if n % 2 == 0 { Proof::Proven } else { Proof::Unproven }, now);
            }
            gate.assert_invariants();
            prop_assert_eq!(gate.outstanding(), permits.len());
            prop_assert_eq!(gate.addresses.live(), permits.len());
        }
    }
}
