//! Bytes that wait: input the application has not consumed, output the kernel has not taken.
//! Memory is lent by a [`ChunkStore`] only while bytes wait, so an idle connection holds none of it.
//! Memory that cannot be had is an error here, and whose bytes they were is the caller's to know.
//! Sends and receives nothing and enforces no limit; whoever pushes asks first how much may wait.

mod lent;
mod output;
mod ring;
mod store;

pub(crate) use lent::Lent;
pub(crate) use output::Output;
pub(crate) use ring::Ring;
pub(crate) use store::ChunkStore;

/// How the model tests of this room run: `SOCKETPOOL_CASES` cases each.
#[cfg(test)]
fn model_config() -> proptest::test_runner::Config {
    let cases = std::env::var("SOCKETPOOL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1024);
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}
