//! The whole pool on a simulated net against a small model: random clients, a random application, random limits, a
//! clock that jumps. `SOCKETPOOL_CASES` says how many stories are told, and `SOCKETPOOL_SEED` which: a number, the same
//! stories each time unless it is given, so that what a change breaks shows in the change; or `random`, for the search.

#![allow(unreachable_pub, reason = "its modules are no library")]

#[path = "model/acts.rs"]
mod acts;
#[path = "model/application.rs"]
mod application;
#[path = "support/cases.rs"]
mod cases;
#[path = "model/config.rs"]
mod config;
#[path = "model/deadlines.rs"]
mod deadlines;
#[path = "model/ending.rs"]
mod ending;
#[path = "model/hearing.rs"]
mod hearing;
#[path = "model/meter.rs"]
mod meter;
#[path = "model/people.rs"]
mod people;
#[path = "model/rates.rs"]
mod rates;
#[path = "model/reasons.rs"]
mod reasons;
#[path = "model/story.rs"]
mod story;
mod support;

use proptest::prelude::*;
use socketpool::net::sim::{Call, Schedule};

proptest! {
    #![proptest_config(cases::cases(1024))]

    #[test]
    fn a_pool_keeps_its_promises_whatever_happens(
        dice in any::<[u8; config::DICE]>(),
        steps in prop::collection::vec(any::<story::Step>(), 0..80),
    ) {
        story::run(&dice, &steps);
    }

    #[test]
    fn a_pool_without_limits_keeps_its_promises(steps in prop::collection::vec(any::<story::Step>(), 0..80)) {
        story::run(&[0; config::DICE], &steps);
    }
}

/// A model that misses what is wrong would be worth nothing: here connections end without a cause.
#[test]
#[should_panic(expected = "for error")]
fn the_model_notices_connections_that_are_lost() {
    let rig = support::Rig::new(config::limits(&[0; config::DICE]));
    rig.world.fail_next(Call::Send, libc::EPIPE, Schedule::Once);
    story::run_in(rig, &[(0, 0, 0), (4, 0, 5)]);
}

/// And here a descriptor is never closed.
#[test]
#[should_panic(expected = "were never closed")]
fn the_model_notices_a_descriptor_that_leaks() {
    let rig = support::Rig::new(config::limits(&[0; config::DICE]));
    let leaked = rig.world.pair("192.0.2.9:9");
    story::run_in(rig, &[(0, 0, 0), (4, 0, 5)]);
    drop(leaked);
}

/// And here the poller never tells what it has.
#[test]
#[should_panic(expected = "the loop goes in circles")]
fn the_model_notices_a_loop_that_gets_nowhere() {
    let rig = support::Rig::new(config::limits(&[0; config::DICE]));
    rig.world.fail_next(Call::Wait, libc::EINTR, Schedule::FromNowOn);
    story::run_in(rig, &[(0, 0, 0), (4, 0, 5)]);
}
