//! How many random stories a test tells, and which: `SOCKETPOOL_CASES` and `SOCKETPOOL_SEED`.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// `usually` as many stories, and the same ones each time, so that what a change breaks shows in the change.
pub fn cases(usually: u32) -> ProptestConfig {
    let cases =
        std::env::var("SOCKETPOOL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usually);
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
