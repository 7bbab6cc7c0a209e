//! How quickly leases go from hand to hand. Where that goes on and on, a thread that sleeps until its turn comes costs more
//! than its turn: so the next in line is called up before, and is awake when it comes.
//!
//! The idea is that of a lock whose waiters spin for a while before they sleep, as long as whoever has it is quick; here
//! only the first in line does, for nobody else is served before him.

use std::time::Duration;

use crate::clock::Nanos;

/// Of one pool.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When one lease last followed another.
    last: Nanos,
    /// How many times in a row that was soon.
    quick: u32,
}

/// What becomes of whoever is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Sleeps,
    /// It is soon his turn.
    IsCalledUp,
}

impl Pace {
    /// One lease follows another.
    #[inline]
    pub(super) fn step(&mut self, now: Nanos) -> Next {
        let is_soon = now.since(self.last) < SOON;
        self.quick = if is_soon { self.quick.saturating_add(1) } else { 0 };
        self.last = now;
        if self.quick > QUICK { Next::IsCalledUp } else { Next::Sleeps }
    }
}

/// What is no longer than to put a thread to sleep and to wake it.
const SOON: Duration = Duration::from_micros(30);
/// For so long somebody looks who was called up, between turns of others: his own may take its time once, and he must not
/// look for ever.
pub(super) const LOOK_FOR: Duration = Duration::from_micros(120);
/// So often it has to be soon before it counts: several connections that come back together are no pace. Models do not count
/// that far.
const QUICK: u32 = if cfg!(all(test, loom)) { 0 } else { 16 };

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_next_is_called_up_when_it_goes_on_and_on_and_not_after_a_pause() {
        let (mut pace, mut now) = (Pace::default(), Nanos::from_millis(1));
        let mut step = |micros| {
            now = now + Duration::from_micros(micros);
            pace.step(now)
        };
        assert_eq!(step(1_000), Next::Sleeps);
        let steps: Vec<Next> = (0..20).map(|_| step(29)).collect();
        assert_eq!(steps.iter().position(|next| *next == Next::IsCalledUp), Some(QUICK as usize));
        assert_eq!((step(30), step(1)), (Next::Sleeps, Next::Sleeps), "from the beginning");
    }
}
