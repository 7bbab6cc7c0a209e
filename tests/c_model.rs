//! The functions for C against a small model: random calls with good handles and with bad ones, real sockets, and after
//! each call everything that can be asked. `SOCKETPOOL_CASES` says how many stories are told, and `SOCKETPOOL_SEED` which:
//! a number, the same stories each time unless it is given; or `random`, for the search.

#![allow(unsafe_code, reason = "it calls the functions for C")]
#![allow(unreachable_pub, reason = "its modules are no library")]

#[path = "c_model/calls.rs"]
mod calls;
#[path = "c_model/story.rs"]
mod story;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn cases() -> ProptestConfig {
    let cases = std::env::var("SOCKETPOOL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2048);
    let rng_seed = match std::env::var("SOCKETPOOL_SEED") {
        Ok(seed) => seed.parse().map_or(RngSeed::Random, RngSeed::Fixed),
        Err(_) => RngSeed::Fixed(0),
    };
    ProptestConfig {
        cases,
        rng_seed,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_call_does_what_it_says_and_nothing_else(
        steps in prop::collection::vec(any::<story::Step>(), 0..120),
    ) {
        story::run(&steps);
    }
}
