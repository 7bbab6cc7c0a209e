//! The core beside a naive model, for random histories: everything that can be asked of it and reported to it, in any
//! order, and time that passes. `SOCKETPOOL_CASES` says how many histories.

mod checks;
mod dice;
mod reference;
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
