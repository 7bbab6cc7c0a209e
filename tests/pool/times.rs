//! What a lease knows of its connection's past: how old it is, how long it lay idle, how long it was held. The same by
//! whichever way it was lent and given back.

use std::time::Duration;

use socketpool::PoolConfig;

use crate::scene::{Lease, Scene, ms, quiet, secs};

/// Age, idleness before, and what was held, in seconds.
fn of(lease: &Lease) -> [u64; 3] {
    [lease.age(), lease.idle_before(), lease.held_total()].map(|time| time.as_secs())
}

#[test]
fn one_that_was_made_for_this_lease_has_no_past() {
    let scene = Scene::new(quiet(1));
    scene.pass(secs(100));
    let lease = scene.acquire();
    assert_eq!(of(&lease), [0, 0, 0]);
    scene.pass(secs(3));
    assert_eq!(of(&lease), [3, 0, 3]);
}

#[test]
fn one_that_was_made_before_anybody_asked_has_been_idle_since() {
    let scene = Scene::new(PoolConfig { min_size: 1, ..quiet(1) });
    scene.pool.warm().unwrap();
    scene.pass(secs(7));
    assert_eq!(of(&scene.acquire()), [7, 7, 0]);
}

#[test]
fn leases_and_pauses_add_up_by_every_way() {
    // From where the pool keeps idle ones for everybody, and from those for whom there is no room there.
    let ways: [fn(&Scene) -> Lease; 2] = [Scene::acquire, |scene| {
        scene.pool.resize(2).unwrap();
        let first = scene.acquire();
        let second = scene.acquire();
        let (mine, other) = if first.number == 2 { (first, second) } else { (second, first) };
        scene.release(other);
        mine
    }];
    for (way, take) in ways.into_iter().enumerate() {
        let scene = Scene::new(quiet(1));
        let mut held = 0;
        let lease = take(&scene);
        let made = lease.number;
        scene.pass(secs(5));
        scene.release(lease);
        held += 5;
        for turn in 1..=4 {
            // Idle for so long, whatever the pool does with it meanwhile.
            scene.pass(secs(turn));
            scene.pass(secs(1));
            let lease = take(&scene);
            assert_eq!((lease.number, lease.use_count()), (made, turn + 1), "way {way}");
            assert_eq!(lease.idle_before(), secs(turn + 1), "way {way}");
            scene.pass(secs(10));
            held += 10;
            assert_eq!((lease.held_total(), lease.idle_before()), (secs(held), secs(turn + 1)), "way {way}");
            scene.release(lease);
        }
        assert_eq!(of(&take(&scene))[0], 5 + 4 * 11 + 10, "way {way}");
    }
}

#[test]
fn one_that_goes_from_hand_to_hand_was_never_idle() {
    let scene = Scene::new(quiet(1));
    let mut lease = scene.acquire();
    for turn in 1..=3 {
        let mut next = scene.in_line();
        scene.pass(secs(2));
        scene.release(lease);
        scene.pass(ms(500)); // granted, and not yet picked up
        lease = next.get().unwrap();
        assert_eq!(lease.idle_before(), Duration::ZERO);
        assert_eq!(lease.held_total(), secs(2) * turn + ms(500) * turn);
    }
}

#[test]
fn a_lease_that_nobody_looked_at_was_none() {
    let scene = Scene::new(quiet(1));
    let lease = scene.acquire();
    let ignored = scene.in_line();
    scene.pass(secs(3));
    scene.release(lease);
    scene.pass(secs(2));
    drop(ignored);
    let lease = scene.acquire();
    assert_eq!((lease.idle_before(), lease.held_total()), (secs(2), secs(3)));
    assert_eq!(lease.use_count(), 3, "but it is counted");
}

#[test]
fn a_validation_in_the_background_does_not_end_idleness() {
    let config = PoolConfig { health_check_interval: Some(secs(30)), ..quiet(1) };
    let scene = Scene::new(config);
    scene.release(scene.acquire());
    for _ in 0..5 {
        scene.pass(secs(20));
    }
    assert_eq!(of(&scene.acquire()), [100, 100, 0]);
}

#[test]
fn the_next_at_the_same_place_begins_anew() {
    let scene = Scene::new(quiet(1));
    let lease = scene.acquire();
    scene.pass(secs(5));
    lease.discard();
    scene.tick();
    scene.pass(secs(5));
    assert_eq!(of(&scene.acquire()), [0, 0, 0]);
}

#[test]
fn on_the_machines_clock_a_lease_is_never_older_than_its_connection() {
    let (world, pool) = crate::closing::threaded(quiet(1));
    for _ in 0..1_000 {
        let lease = pool.acquire().unwrap();
        let (idle, held) = (lease.idle_before(), lease.held_total());
        // The clock of a lease may be late by a tick of the machine's.
        assert!(held + idle <= lease.age() + ms(20), "{held:?} held and {idle:?} idle of {:?}", lease.age());
    }
    drop(pool);
    world.assert_all_closed();
}
