//! A core for benches, which stand outside of the crate: with one resource that is lent and taken back.

use super::{Acquired, Claim, Command, Core, KeyId, Patience, Return, Span, Terms, Want};
use crate::breaker::BreakerConfig;
use crate::clock::Nanos;

/// One idle resource under one key of a core with all its features.
#[doc(hidden)]
#[derive(Debug)]
pub struct LeasePairs {
    core: Core,
    key: KeyId,
    now: Nanos,
}

impl LeasePairs {
    #[doc(hidden)]
    #[must_use]
    pub fn new() -> Self {
        let mut core = Core::new(None, 1);
        let second = Span::from(std::time::Duration::from_secs(1));
        let terms = Terms {
            max_size: 4,
            min_size: 0,
            min_idle: 0,
            max_waiters: 1024,
            idle_timeout: second,
            max_lifetime: second,
            lifetime_jitter: 0.0,
            max_uses: u64::MAX,
            connect_timeout: second,
            validate_after: second,
            health_check_interval: second,
            leak_threshold: Span::NEVER,
            adaptive: None,
            breaker: BreakerConfig::default(),
        };
        let now = Nanos::ZERO;
        let key = core.add_key(terms, now);
        let mut pairs = Self { core, key, now };
        if let Ok(Acquired::Wait(waiter)) = pairs.ask()
            && let Some(Command::Connect(slot)) = pairs.core.next_command()
            && pairs.core.connected(slot, Ok(()), now).is_ok()
            && let Some(Ok(slot)) = pairs.core.outcome(waiter)
        {
            let _ = pairs.core.release(slot, Return::Keep, now);
        }
        while pairs.core.next_command().is_some() {}
        pairs
    }

    /// Lends it and takes it back; says whether it was there.
    #[doc(hidden)]
    #[inline]
    pub fn pair(&mut self) -> bool {
        let Ok(Acquired::Lease(slot)) = self.ask() else { return false };
        self.core.release(slot, Return::Keep, self.now).is_ok()
    }

    #[inline]
    fn ask(&mut self) -> Result<Acquired, super::Refusal> {
        let claim = Claim { want: Want::Any, patience: Patience::Endless };
        self.core.acquire(self.key, claim, self.now)
    }
}

impl Default for LeasePairs {
    fn default() -> Self {
        Self::new()
    }
}

#[test]
fn the_one_resource_is_there_every_time() {
    let mut pairs = LeasePairs::default();
    assert!((0..10).all(|_| pairs.pair()));
}
