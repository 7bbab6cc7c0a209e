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
