//! A pool for accepted connections on a single-threaded readiness loop.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod error;
mod hash;
mod id;
mod peer;
mod readiness;
mod reason;

mod bucket;
mod buffer;
mod drain;
mod timer;

mod admission;
mod health;

mod connection;

pub mod net;

mod server;

pub use admission::{Cidr, ParseCidrError, SynProtection};
pub use bucket::{ByteRate, Rate};
pub use clock::{Clock, Hand, Nanos};
pub use drain::State;
pub use error::{AddError, Error};
pub use health::{
    Cause, Causes, ConnectionInfo, Counters, Gauge, Memory, Phase, Quantiles, Snapshot, Verdict,
};
pub use id::{ConnId, ParseIdError};
pub use net::{Address, Families, ListenOptions, PortSharing, Reactor};
pub use peer::Peer;
pub use reason::{Reason, Refusal};
pub use server::{
    Builder, Config, Connection, Event, Eviction, Gone, Handle, Input, OutputHigh, OverRate, Proof,
    ReadStall, Sender, Sent, SocketPool, WhenFull,
};

/// How many cases a model test runs: `SOCKETPOOL_CASES`, or enough for an edit-and-run loop.
#[cfg(test)]
pub(crate) fn model_cases() -> proptest::test_runner::Config {
    let cases = std::env::var("SOCKETPOOL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1024);
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}
