//! A pool of fake resources that is driven by hand on a clock that is turned by hand. What is always true of a pool's
//! numbers is looked at after every step.
#![allow(dead_code, reason = "not every test binary uses all of it")]

use std::fmt::Debug;
use std::time::Duration;

use socketpool::{Clock, Hand, Pool, PoolConfig, PoolStats, PooledConnection, State};

use crate::fake::{Fake, World};
use crate::waiters::ByHand;

pub(crate) type Lease = PooledConnection<Fake>;

/// One pool, its clock and its resources.
pub(crate) struct Scene {
    pub(crate) pool: Pool<Fake>,
    pub(crate) hand: Hand,
    pub(crate) world: World,
}

impl Scene {
    #[track_caller]
    pub(crate) fn new(config: PoolConfig) -> Self {
        let world = World::default();
        let (clock, hand) = Clock::manual();
        let pool = Pool::builder(world.manager()).config(config).clock(clock).driven_by_hand().build();
        Self { pool: pool.expect("a config that holds"), hand, world }
    }

    /// Turns the clock and lets the pool do what is due.
    #[track_caller]
    pub(crate) fn pass(&self, span: Duration) {
        self.hand.advance(span);
        self.tick();
    }

    #[track_caller]
    pub(crate) fn tick(&self) -> Option<Duration> {
        let next = self.pool.tick();
        self.check();
        next
    }

    #[track_caller]
    pub(crate) fn acquire(&self) -> Lease {
        let lease = self.pool.acquire().expect("there is one");
        self.check();
        lease
    }

    /// So many at the same time.
    #[track_caller]
    pub(crate) fn acquire_all(&self, number: usize) -> Vec<Lease> {
        (0..number).map(|_| self.acquire()).collect()
    }

    #[track_caller]
    pub(crate) fn release(&self, lease: Lease) {
        lease.release();
        self.check();
    }

    /// A future that stands in line.
    #[track_caller]
    pub(crate) fn in_line(&self) -> ByHand<Fake> {
        let waiter = ByHand::in_line(self.pool.acquire_async().into_owned());
        self.check();
        waiter
    }

    /// Nothing is lent any more, what there is can be lent unless the pool is closed, and at the end all is closed.
    #[track_caller]
    pub(crate) fn assert_nothing_lost(self, how: impl Debug) {
        assert_eq!(self.check().active_connections, 0, "{how:?}");
        if self.pool.state() == State::Active {
            assert!(self.acquire().use_count() > 0, "{how:?}");
        }
        let world = self.world.clone();
        drop(self);
        world.assert_all_closed();
    }

    #[track_caller]
    pub(crate) fn check(&self) -> PoolStats {
        let stats = self.pool.stats();
        assert_identities(&stats);
        // Those that are being closed are still there, those that are being made are not yet.
        let counted = u64::from(stats.idle_connections + stats.active_connections);
        assert!(self.world.live() >= counted, "{stats:?} of {} that there are", self.world.live());
        stats
    }

    pub(crate) fn idle(&self) -> u32 {
        self.check().idle_connections
    }

    pub(crate) fn total(&self) -> u32 {
        self.check().total_connections
    }

    /// The numbers of those that were made.
    pub(crate) fn made(&self) -> u64 {
        self.world.live() + self.world.count(crate::fake::Call::Close) as u64
    }
}

/// What is true of a pool's numbers whenever nobody is at work in it.
#[track_caller]
pub(crate) fn assert_identities(stats: &PoolStats) {
    if let Some(identity) = stats.broken_identity() {
        panic!("not so: {identity}, of {stats:?}");
    }
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Nothing happens by itself, and so many at most.
pub(crate) fn quiet(max_size: u32) -> PoolConfig {
    PoolConfig {
        max_size,
        idle_timeout: None,
        max_lifetime: None,
        validate_after: None,
        health_check_interval: None,
        ..PoolConfig::default()
    }
}
