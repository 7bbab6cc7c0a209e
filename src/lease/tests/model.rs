//! The core beside a naive model, for random histories: everything that can be asked of it and reported to it, in any
//! order, and time that passes. `SOCKETPOOL_CASES` says how many histories.

mod checks;
mod dice;
mod reference;
mod rest;
mod world;

use proptest::prelude::*;

use crate::clock::Nanos;
use crate::model_cases;

proptest! {
    #![proptest_config(model_cases())]

    #[test]
    fn the_core_keeps_its_promises_whatever_happens(
        dice in any::<[u8; dice::DICE]>(),
        steps in prop::collection::vec(any::<world::Step>(), 0..60),
    ) {
        world::World::new(&dice).run(&steps);
    }

    #[test]
    fn a_simple_core_keeps_its_promises(steps in prop::collection::vec(any::<world::Step>(), 0..60)) {
        world::World::new(&[0; dice::DICE]).run(&steps);
    }
}

/// When a timer that stands at `then` rings: timers know whole milliseconds.
fn whole(then: Nanos) -> Nanos {
    Nanos::from_millis(then.as_nanos().div_ceil(1_000_000))
}

/// Several starve, the longest has nothing to close, and behind it one has a used one of its own in the way.
#[test]
fn who_has_one_in_the_way_does_not_count_on_a_place_that_others_took() {
    let mut dice = [0; dice::DICE];
    dice[..16].copy_from_slice(&[92, 70, 21, 0, 0, 0, 0, 64, 0, 0, 0, 0, 20, 0, 13, 114]);
    dice[27..].copy_from_slice(&[31, 232, 0, 0, 0, 0, 96, 0, 0, 0, 0, 22, 159]);
    let begin = [(192, 53, 0), (64, 63, 0), (192, 8, 0), (64, 114, 0), (184, 0, 40), (225, 0, 0)];
    let fill = [(70, 63, 0), (161, 0, 0), (64, 20, 0), (0, 130, 0), (203, 11, 0), (64, 136, 0)];
    let wait = [(128, 220, 0), (252, 0, 50), (64, 47, 0), (192, 175, 0), (0, 189, 0), (192, 54, 0)];
    let close = [(74, 76, 0), (225, 0, 0), (192, 0, 0), (10, 47, 0), (103, 0, 0), (46, 42, 0), (46, 6, 0)];
    world::World::new(&dice).run(&[&begin[..], &fill, &wait, &close].concat());
}

/// One comes back that its own key would have to validate, for somebody for whom another is being validated.
#[test]
fn what_its_own_key_has_no_use_for_makes_room_for_one_that_starves() {
    let mut dice = [0; dice::DICE];
    dice[..22].copy_from_slice(&[172, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 1, 180, 0, 0, 42, 0, 0, 64]);
    let fill = [
        (0, 48, 0),
        (231, 0, 0),
        (219, 0, 0),
        (64, 151, 0),
        (161, 0, 0),
        (155, 0, 0),
        (10, 29, 0),
        (33, 0, 0),
    ];
    let wait = [(192, 187, 0), (0, 104, 0), (248, 0, 10), (91, 73, 0), (64, 43, 0), (0, 6, 0), (27, 15, 0)];
    world::World::new(&dice).run(&[&fill[..], &wait].concat());
}

/// A place that came free went to the key that starved longest, which has one to spare since.
#[test]
fn what_a_starving_key_has_to_spare_makes_room_for_the_next() {
    let mut dice = [0; dice::DICE];
    dice[..16].copy_from_slice(&[5, 9, 2, 0, 0, 105, 0, 0, 0, 60, 0, 0, 0, 0, 0, 69]);
    dice[27..].copy_from_slice(&[116, 13, 0, 0, 7, 0, 128, 0, 0, 0, 0, 143, 16]);
    let fill = [
        (0, 2, 0),
        (103, 0, 0),
        (120, 0, 30),
        (198, 1, 0),
        (64, 130, 0),
        (178, 77, 128),
        (97, 4, 0),
        (225, 55, 0),
    ];
    let wait = [
        (0, 45, 0),
        (192, 178, 0),
        (75, 47, 0),
        (107, 0, 0),
        (184, 0, 30),
        (13, 0, 0),
        (10, 2, 0),
        (0, 42, 0),
    ];
    world::World::new(&dice).run(&[&fill[..], &wait].concat());
}
