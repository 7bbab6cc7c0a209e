//! Client pools over connections that are real: to a redis server that is taken away and brought back while many use the
//! pool, and to managers that panic. Where there is no `redis-server`, only what stands in for it is talked to.

mod real;
#[path = "../examples/shared/redis.rs"]
#[allow(dead_code, reason = "the example uses more of it")]
mod redis;

#[path = "resources/away.rs"]
mod away;
#[path = "resources/over_threads.rs"]
mod over_threads;
#[path = "resources/over_tokio.rs"]
mod over_tokio;
#[path = "resources/panics.rs"]
mod panics;

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::{Kind, Server};
use socketpool::{Backend, BreakerConfig, Pool, PoolConfig, State};

use real::proc::descriptors;
use real::{alone, wait_until};

/// Connections there may be, and far more callers than that.
const SIZE: u32 = 4;
const CALLERS: usize = 32;

/// For a server that is restarted, and comes back soon.
fn settings() -> PoolConfig {
    let breaker = BreakerConfig {
        failures: u32::MAX,
        max_delay: Duration::from_millis(100),
        ..BreakerConfig::default()
    };
    PoolConfig {
        max_size: SIZE,
        op_timeout: Some(Duration::from_secs(2)),
        breaker: Some(breaker),
        ..PoolConfig::default()
    }
}

/// The servers that can be had here.
fn servers() -> Vec<Kind> {
    let found = Kind::found();
    if found == Kind::StandIn {
        // Past what the harness keeps of a test that passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED: redis-server is not here, a thread stands in for it");
        return vec![found];
    }
    vec![Kind::StandIn, found]
}

/// What callers saw.
#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Seen {
    fn count<T, E>(&self, result: Result<T, E>) {
        let counter = if result.is_ok() { &self.answered } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// With the callers at work: the server goes, is missed and comes back. A connection that it cut costs one caller one
/// request, nobody else notices anything but a wait, and it goes on at once.
fn restart<B: Backend>(server: &mut Server, pool: &Pool<B>, seen: &Seen) {
    wait_until("the callers to be served", || seen.answered() > 1_000);
    let alive = pool.stats().total_connections;
    assert_eq!((alive, seen.failed()), (SIZE, 0));

    server.take_away();
    wait_until("a connect to fail", || pool.stats().connection_errors.connect > 1);
    wait_until("those to notice who were at work", || pool.stats().active_connections == 0);
    let (before, failed) = (seen.answered(), seen.failed());
    server.bring_back().expect("its port is still free");
    let back = Instant::now();
    wait_until("an answer", || seen.answered() > before);
    assert!(back.elapsed() <= Duration::from_secs(1), "the first answer took {:?}", back.elapsed());

    let enough = seen.answered() + 1_000;
    wait_until("the callers to be served again", || seen.answered() > enough);
    assert_eq!(seen.failed(), failed, "nothing fails any more");
    assert!(failed <= u64::from(alive), "{failed} failed with {alive} connections");
}

/// Drains with the callers still at work: whoever stands in line is served, and nothing is left.
fn drain<B: Backend>(pool: &Pool<B>, seen: &Seen) {
    let failed = seen.failed();
    assert_eq!(pool.drain(Duration::from_secs(5)), State::Drained);
    let stats = pool.stats();
    assert_eq!((stats.total_connections, stats.pending_requests), (0, 0));
    assert_eq!((seen.failed(), stats.broken_identity()), (failed, None), "{stats}");
}

/// Runs a story with each server that there is, and sees that it leaves no descriptor behind.
fn with_each_server(mut story: impl FnMut(&mut Server)) {
    let _alone = alone();
    for kind in servers() {
        let before = descriptors();
        let mut server = Server::start(kind).expect("a server starts");
        story(&mut server);
        drop(server);
        // What the stand-in has accepted is closed by its threads, when they look.
        wait_until("what was opened to be closed", || descriptors() == before);
    }
}
