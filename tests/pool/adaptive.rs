//! A limit that follows the load: it grows when leases are waited for and shrinks when most connections are idle, and a
//! single spike does not make it swing.

use socketpool::{AdaptiveConfig, PoolConfig};

use crate::scene::{Scene, ms, quiet, secs};
use crate::waiters::ByHand;

fn adaptive(max_size: u32) -> PoolConfig {
    PoolConfig { adaptive: Some(AdaptiveConfig::default()), ..quiet(max_size) }
}

/// How many may be in use now.
fn limit(scene: &Scene) -> u32 {
    let mut leases = Vec::new();
    loop {
        match scene.pool.acquire_timeout(std::time::Duration::ZERO) {
            Ok(lease) => leases.push(lease),
            Err(socketpool::PoolError::Exhausted { in_use, max, .. }) if in_use == max => return max,
            Err(socketpool::PoolError::Exhausted { .. }) => drop(scene.tick()),
            Err(error) => panic!("{error}"),
        }
    }
}

/// An interval in which so many are asked for at once, and each is held for a while.
fn load(scene: &Scene, number: usize) {
    let mut waiters: Vec<_> =
        (0..number).map(|_| ByHand::new(scene.pool.acquire_async().into_owned())).collect();
    for _ in 0..20 {
        let mut leases = Vec::new();
        waiters.retain_mut(|waiter| match waiter.poll() {
            Some(got) => {
                leases.push(got.expect("in time"));
                false
            }
            None => true,
        });
        scene.tick();
        scene.pass(ms(400));
        drop(leases);
    }
    scene.tick();
    scene.pass(ms(2_000));
}

#[test]
fn waiting_makes_it_grow_by_a_fifth() {
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(secs(60)), ..adaptive(10) });
    load(&scene, 60);
    assert_eq!(limit(&scene), 12);
}

#[test]
fn too_few_acquisitions_change_nothing() {
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(secs(60)), ..adaptive(1) });
    load(&scene, 5);
    assert_eq!(limit(&scene), 1);
}

#[test]
fn one_spike_is_over_within_twenty_intervals_with_one_reversal() {
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(secs(600)), min_size: 10, ..adaptive(10) });
    let mut limits = vec![limit(&scene)];
    for interval in 0..25 {
        load(&scene, if interval < 3 { 200 } else { 10 });
        limits.push(limit(&scene));
    }
    let highest = *limits.iter().max().unwrap();
    assert!((11..=40).contains(&highest), "it grows, up to its ceiling: {limits:?}");
    let peak = limits.iter().position(|limit| *limit == highest).unwrap();
    let (up, down) = limits.split_at(peak);
    assert!(up.is_sorted() && down.is_sorted_by(|one, other| one >= other), "one reversal: {limits:?}");
    assert_eq!(
        limits.iter().skip(peak + 20).max(),
        Some(&10).filter(|_| peak + 20 < limits.len()),
        "{limits:?}"
    );
}
