//! A pool for the connections a server has accepted, on a single-threaded readiness loop; and pools of those that a program
//! makes itself.
//!
//! [`SocketPool`] accepts connections, decides who may come in, buffers what waits, keeps deadlines and rates, closes
//! what must go, drains, and measures all of it. The application pulls events and says what the bytes mean:
//!
//! ```no_run
//! use socketpool::{Event, Sent, SocketPool};
//!
//! let mut pool = SocketPool::<()>::builder().max_connections(1_000).build()?;
//! pool.listen("127.0.0.1:7000")?;
//! loop {
//!     pool.turn(None)?;
//!     while let Some(event) = pool.next_event() {
//!         match event {
//!             Event::Readable(id) => {
//!                 let mut conn = pool.conn(id);
//!                 conn.receive();
//!                 let (mut input, mut output) = conn.split();
//!                 while let Some(line) = input.take_through(b'\n') {
//!                     if output.queue(line) == Sent::Refused {
//!                         conn.close(); // it does not read what it asked for
//!                         break;
//!                     }
//!                 }
//!             }
//!             Event::Drained => return Ok(()),
//!             _ => {}
//!         }
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), socketpool::Error>(())
//! ```
//!
//! # Client pools
//!
//! [`Pool`] is for the other direction: it lends connections that the program makes itself, to threads, futures and
//! callbacks, which stand in one line. A [`Manager`] says how one is made, checked and closed; [`PoolConfig`] has the
//! limits, [`PoolError`] what can come of an acquire, [`PoolStats`] what has happened. The guide is
//! `docs/CLIENT-POOLS.md`.
//!
//! # What to read next
//!
//! * [`Config`]: every limit, its unit, default and reason.
//! * [`Event`] and [`Connection`]: what happens and what can be done.
//! * [`SocketPool::drain`], [`SocketPool::snapshot`], [`SocketPool::handle`]: running it.
//! * [`Reactor`]: several pools, or a pool and something else, in one loop.
//!
//! # Words
//!
//! A *turn* is one pass of the loop. An *operation* is one unit of work on a connection, a request: it opens when input
//! arrives while none is open, and completes at the first byte sent once some of that input was consumed. A connection
//! is *proven* when it has been answered once, *busy* while something is in flight.
//!
//! # Features
//!
//! * `audit`: checks every invariant of a pool, walking all of it, at each 4,096th turn or pull. For test stages.
//! * `capi`: the functions for C programs: see `docs/C-API.md`.
//! * `sim`: a simulated net ([`net`]), for tests and benches that run whole turns without a socket.

mod clock;
mod error;
mod hash;
mod id;
mod peer;
mod readiness;
mod reason;

mod breaker;
mod bucket;
mod buffer;
mod drain;
mod timer;

mod admission;
mod health;
mod lease;

mod connection;

pub mod net;

mod client;
mod server;

#[cfg(feature = "capi")]
#[allow(unsafe_code, reason = "a C program is on the other side")]
pub mod capi;

pub use admission::{Cidr, ParseCidrError, SynProtection};
pub use breaker::{BreakerConfig, BreakerState, Went};
pub use bucket::{ByteRate, Rate};
pub use bytes::Bytes;
pub use client::{
    Acquire, AcquireOwned, AcquireRetry, AdaptiveConfig, Async, AsyncManager, Backend, BoxFuture,
    ConnectError, ConnectPhase, ConnectionStats, ErrorCounts, ErrorKind, Executor, Health, Manager, Pool,
    PoolBuilder, PoolConfig, PoolError, PoolSet, PoolStats, PooledConnection, RetryConfig, Timeouts,
    WaitTimes,
};
pub use clock::{Clock, Hand, Nanos};
pub use drain::State;
pub use error::{AddError, ConfigError, Error};
pub use health::{
    Cause, Causes, ConnectionInfo, Counters, Gauge, Memory, Phase, Quantiles, Snapshot, Verdict,
};
pub use id::{ConnId, ParseIdError};
#[cfg(feature = "sim")]
#[doc(hidden)]
pub use lease::LeasePairs;
pub use net::{Address, Families, ListenOptions, PortSharing, Reactor};
pub use peer::Peer;
pub use reason::{Reason, Refusal};
pub use server::{
    Builder, CallError, Config, Connection, Event, Eviction, Handle, Input, OutputHigh, OverRate, Proof,
    ReadStall, SendError, Sender, Sent, SocketPool, WhenFull,
};

/// How many cases a model test runs: `SOCKETPOOL_CASES`, or enough for an edit-and-run loop.
#[cfg(test)]
pub(crate) fn model_cases() -> proptest::test_runner::Config {
    let cases = std::env::var("SOCKETPOOL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1024);
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}

/// Compiles every Rust block of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles every Rust block of the guide to client pools.
#[cfg(doctest)]
#[doc = include_str!("../docs/CLIENT-POOLS.md")]
struct ClientPools;

/// Compiles every Rust block of what those read who come from another pool.
#[cfg(doctest)]
#[doc = include_str!("../docs/PORTING-POOLS.md")]
struct PortingPools;
