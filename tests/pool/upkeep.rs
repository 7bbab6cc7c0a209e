//! What a pool does by itself as time goes by: it closes what is idle or old, checks what it keeps, and keeps its
//! minimum.

use std::time::Duration;

use socketpool::PoolConfig;

use crate::fake::{Call, Does};
use crate::scene::{Scene, ms, quiet, secs};

#[test]
fn what_is_idle_too_long_is_closed_and_not_a_moment_earlier() {
    let scene = Scene::new(PoolConfig { idle_timeout: Some(secs(300)), ..quiet(4) });
    let leases = scene.acquire_all(3);
    drop(leases);
    scene.pass(secs(300) - Duration::from_nanos(1));
    assert_eq!(scene.idle(), 3);
    scene.pass(Duration::from_nanos(1));
    assert_eq!(scene.total(), 0);
    scene.world.assert_all_closed();
}

#[test]
fn a_use_begins_idleness_anew() {
    let scene = Scene::new(PoolConfig { idle_timeout: Some(secs(100)), ..quiet(1) });
    scene.release(scene.acquire());
    scene.pass(secs(99));
    let lease = scene.acquire();
    scene.pass(secs(500));
    scene.release(lease);
    scene.pass(secs(99));
    assert_eq!(scene.idle(), 1, "being held is not being idle");
    scene.pass(secs(1));
    assert_eq!(scene.total(), 0);
}

#[test]
fn idleness_stops_at_the_minimum() {
    let config = PoolConfig { idle_timeout: Some(secs(10)), min_size: 2, ..quiet(5) };
    let scene = Scene::new(config);
    drop(scene.acquire_all(5));
    for _ in 0..50 {
        scene.pass(secs(1));
    }
    assert_eq!(scene.idle(), 2);
    assert_eq!(scene.world.count(Call::Connect), 5, "none was made anew");
}

#[test]
fn spare_ones_are_kept_and_made_again() {
    let scene = Scene::new(PoolConfig { idle_timeout: Some(secs(10)), min_idle: 2, ..quiet(5) });
    drop(scene.acquire_all(4));
    for _ in 0..50 {
        scene.pass(secs(1));
    }
    assert_eq!(scene.idle(), 2);
}

#[test]
fn a_lifetime_ends_a_connection_in_use_when_it_comes_back() {
    let config = PoolConfig { max_lifetime: Some(secs(60)), lifetime_jitter: 0.0, ..quiet(2) };
    let scene = Scene::new(config);
    let (old, idle) = (scene.acquire(), scene.acquire());
    scene.release(idle);
    scene.pass(secs(60));
    assert_eq!((scene.total(), scene.world.live()), (1, 1), "the idle one has gone, the other is held");
    scene.release(old);
    scene.tick();
    assert_eq!(scene.total(), 0);
    scene.world.assert_all_closed();
}

#[test]
fn what_the_minimum_needs_is_replaced_before_its_lifetime_ends_it() {
    let config = PoolConfig { max_lifetime: Some(secs(60)), lifetime_jitter: 0.0, min_size: 1, ..quiet(2) };
    let scene = Scene::new(config);
    scene.release(scene.acquire());
    scene.world.set(Call::Connect, Does::Fail);
    scene.pass(secs(60));
    assert_eq!(scene.idle(), 1, "the replacement could not be made, so the old one stays a while");
    assert_eq!(scene.world.count(Call::Close), 0);
    scene.world.set(Call::Connect, Does::Work);
    scene.pass(secs(60));
    scene.pass(secs(1));
    assert_eq!(scene.idle(), 1);
    assert_eq!(scene.acquire().number, 2, "the new one");
}

#[test]
fn a_replacement_comes_first_and_the_old_one_goes_then() {
    let config = PoolConfig { max_lifetime: Some(secs(60)), lifetime_jitter: 0.0, min_size: 1, ..quiet(2) };
    let scene = Scene::new(config);
    scene.release(scene.acquire());
    scene.pass(secs(60));
    let order: Vec<Call> = scene.world.calls().iter().map(|called| called.call).collect();
    assert_eq!(order, [Call::Connect, Call::Connect, Call::Close]);
    assert_eq!((scene.idle(), scene.total()), (1, 1));
}

#[test]
fn lifetimes_differ_by_their_jitter() {
    let config = PoolConfig { max_lifetime: Some(secs(1_000)), lifetime_jitter: 0.5, ..quiet(50) };
    let scene = Scene::new(config);
    drop(scene.acquire_all(50));
    let mut left = Vec::new();
    for _ in 0..100 {
        scene.pass(secs(10));
        left.push(scene.total());
    }
    assert_eq!(left[48], 50, "none goes before half of the lifetime");
    assert_eq!(left[99], 0, "none stays longer than its lifetime");
    left.dedup();
    assert!(left.len() > 10, "they do not go at once: {left:?}");
}

#[test]
fn after_so_many_uses_another_is_made() {
    let scene = Scene::new(PoolConfig { max_uses: Some(3), ..quiet(1) });
    let numbers: Vec<u64> = (0..7).map(|_| scene.acquire().number).collect();
    assert_eq!(numbers, [1, 1, 1, 2, 2, 2, 3]);
    let uses: Vec<u64> = (0..2).map(|_| scene.acquire().use_count()).collect();
    assert_eq!(uses, [2, 3]);
}

#[test]
fn who_was_idle_for_a_while_is_validated_before_it_is_lent() {
    let scene = Scene::new(PoolConfig { validate_after: Some(ms(500)), ..quiet(1) });
    scene.release(scene.acquire());
    scene.pass(ms(499));
    scene.release(scene.acquire());
    assert_eq!(scene.world.count(Call::Validate), 0, "it was used a moment ago");
    scene.pass(ms(500));
    scene.release(scene.acquire());
    assert_eq!(scene.world.count(Call::Validate), 1);
    scene.release(scene.acquire());
    assert_eq!(scene.world.count(Call::Validate), 1, "and that counts for the next one");
}

#[test]
fn who_does_not_pass_its_validation_is_replaced_for_the_one_who_asked() {
    let scene = Scene::new(PoolConfig { validate_after: Some(ms(500)), ..quiet(1) });
    scene.release(scene.acquire());
    scene.pass(ms(500));
    scene.world.set(Call::Validate, Does::Fail);
    let lease = scene.acquire();
    assert_eq!(lease.number, 2);
    assert_eq!((scene.total(), scene.world.live()), (1, 1));
}

#[test]
fn an_attempt_without_patience_takes_what_is_there_without_validation() {
    let scene = Scene::new(PoolConfig { validate_after: Some(ms(500)), ..quiet(1) });
    scene.release(scene.acquire());
    scene.pass(secs(5));
    assert!(scene.pool.try_acquire().is_some());
    assert_eq!(scene.world.count(Call::Validate), 0);
}

#[test]
fn health_checks_visit_what_is_idle_and_leave_alone_what_is_in_use() {
    let scene = Scene::new(PoolConfig { health_check_interval: Some(secs(30)), ..quiet(8) });
    let mut leases = scene.acquire_all(8);
    leases.truncate(2);
    scene.pass(secs(30));
    let mut visited: Vec<u64> = numbers(&scene, Call::Validate);
    visited.sort_unstable();
    assert_eq!(visited, [3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_health_check_removes_what_does_not_work_and_refills_to_the_minimum() {
    let config = PoolConfig { health_check_interval: Some(secs(30)), min_size: 3, ..quiet(8) };
    let scene = Scene::new(config);
    drop(scene.acquire_all(6));
    scene.world.set(Call::Validate, Does::Fail);
    scene.pass(secs(30));
    scene.tick();
    assert_eq!(scene.world.count(Call::Close), 6);
    assert_eq!((scene.idle(), scene.total()), (3, 3));
}

#[test]
fn a_check_by_hand_counts_what_did_not_work() {
    for number in [1, 4, 5, 20] {
        let scene = Scene::new(quiet(20));
        drop(scene.acquire_all(number));
        scene.world.set(Call::Validate, Does::Fail);
        assert_eq!(scene.pool.check_health() as usize, number);
        scene.tick();
        assert_eq!(scene.total(), 0);
        assert_eq!(scene.pool.check_health(), 0, "of nothing everything works");
    }
}

#[test]
fn a_smaller_limit_closes_the_longest_idle_now_and_the_others_when_they_come_back() {
    let scene = Scene::new(quiet(5));
    let mut leases = scene.acquire_all(5);
    let held = leases.split_off(3);
    for lease in leases {
        scene.pass(secs(1));
        scene.release(lease);
    }
    scene.pool.resize(3).unwrap();
    scene.tick();
    assert_eq!(numbers(&scene, Call::Close), [1, 2], "the longest idle of 1, 2, 3");
    scene.pool.resize(1).unwrap();
    scene.tick();
    assert_eq!(numbers(&scene, Call::Close), [1, 2, 3]);
    drop(held);
    scene.tick();
    assert_eq!((scene.total(), scene.idle()), (1, 1));
}

#[test]
fn the_time_to_the_next_call_is_exact() {
    let scene = Scene::new(PoolConfig { idle_timeout: Some(secs(300)), ..quiet(1) });
    assert_eq!(scene.tick(), None, "nothing is there and nothing is due");
    scene.release(scene.acquire());
    assert_eq!(scene.tick(), Some(secs(300)));
    scene.pass(secs(299));
    assert_eq!(scene.tick(), Some(secs(1)));
}

fn numbers(scene: &Scene, call: Call) -> Vec<u64> {
    scene.world.calls().iter().filter(|called| called.call == call).map(|called| called.number).collect()
}
