//! A core with whoever drives it in one: commands are carried out when the test says so.

use crate::breaker::BreakerConfig;
use crate::clock::Nanos;
use crate::lease::{
    Acquired, Claim, Command, Core, Failure, KeyId, Patience, Refusal, Return, SlotId, Span, Terms, WaiterId,
    Want,
};

pub(super) struct Bench {
    pub(super) core: Core,
    pub(super) key: KeyId,
    pub(super) now: Nanos,
}

pub(super) fn terms(max_size: u32) -> Terms {
    Terms {
        max_size,
        min_size: 0,
        min_idle: 0,
        max_waiters: 1024,
        idle_timeout: Span::from(std::time::Duration::from_secs(300)),
        max_lifetime: Span::NEVER,
        lifetime_jitter: 0.0,
        max_uses: u64::MAX,
        connect_timeout: Span::from(std::time::Duration::from_secs(5)),
        validate_after: Span::from(std::time::Duration::from_millis(500)),
        health_check_interval: Span::NEVER,
        leak_threshold: Span::NEVER,
        adaptive: None,
        breaker: BreakerConfig { jitter: 0.0, ..BreakerConfig::default() },
    }
}

impl Bench {
    pub(super) fn new(terms: Terms) -> Self {
        let mut core = Core::new(None, 1);
        let key = core.add_key(terms, Nanos::ZERO);
        Self { core, key, now: Nanos::ZERO }
    }

    /// Several keys under a limit for all; `key` says which one is spoken of.
    pub(super) fn of_keys<const N: usize>(max_total: u32, terms: [Terms; N]) -> (Self, [KeyId; N]) {
        let mut core = Core::new(Some(max_total), 1);
        let keys = terms.map(|terms| core.add_key(terms, Nanos::ZERO));
        (Self { core, key: keys[0], now: Nanos::ZERO }, keys)
    }

    pub(super) fn under(&mut self, key: KeyId) -> &mut Self {
        self.key = key;
        self
    }

    /// A place in line for a new one.
    pub(super) fn wait_for_new(&mut self) -> WaiterId {
        match self.ask(Want::New, Patience::Endless) {
            Ok(Acquired::Wait(waiter)) => waiter,
            other => panic!("{other:?} instead of a place in line"),
        }
    }

    pub(super) fn ask(&mut self, want: Want, patience: Patience) -> Result<Acquired, Refusal> {
        let result = self.core.acquire(self.key, Claim { want, patience }, self.now);
        self.core.assert_invariants(self.now);
        result
    }

    /// A place in line.
    pub(super) fn wait(&mut self) -> WaiterId {
        match self.ask(Want::Any, Patience::Endless) {
            Ok(Acquired::Wait(waiter)) => waiter,
            other => panic!("{other:?} instead of a place in line"),
        }
    }

    /// Something idle.
    pub(super) fn lease(&mut self) -> SlotId {
        match self.ask(Want::Any, Patience::Endless) {
            Ok(Acquired::Lease(slot)) => slot,
            other => panic!("{other:?} instead of a lease"),
        }
    }

    /// A lease of a new connection, which is made at once.
    pub(super) fn connect_and_lease(&mut self) -> SlotId {
        let waiter = self.wait();
        let slot = self.expect_connect();
        self.connected(slot, Ok(()));
        assert_eq!(self.commands(), [Command::Grant(waiter, slot)]);
        assert_eq!(self.outcome(waiter), Some(Ok(slot)));
        slot
    }

    pub(super) fn release(&mut self, slot: SlotId, what: Return) {
        self.core.release(slot, what, self.now).expect("it was lent");
        self.core.assert_invariants(self.now);
    }

    pub(super) fn connected(&mut self, slot: SlotId, result: Result<(), ()>) {
        self.core.connected(slot, result, self.now).expect("it was being connected");
        self.core.assert_invariants(self.now);
    }

    pub(super) fn validated(&mut self, slot: SlotId, result: Result<(), ()>) {
        self.core.validated(slot, result, self.now).expect("it was being validated");
        self.core.assert_invariants(self.now);
    }

    pub(super) fn closed(&mut self, slot: SlotId) {
        self.core.closed(slot, self.now).expect("it was being closed");
        self.core.assert_invariants(self.now);
    }

    pub(super) fn outcome(&mut self, waiter: WaiterId) -> Option<Result<SlotId, Failure>> {
        self.core.outcome(waiter)
    }

    /// Lets time pass and does what is due, at each point at which something is.
    pub(super) fn pass(&mut self, millis: u64) {
        let end = self.now + std::time::Duration::from_millis(millis);
        while self.core.next_deadline() <= end {
            self.now = self.now.max(self.core.next_deadline());
            self.core.tick(self.now);
            self.core.assert_invariants(self.now);
        }
        self.now = end;
    }

    pub(super) fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.core.next_command()).collect()
    }

    pub(super) fn expect_connect(&mut self) -> SlotId {
        match self.commands()[..] {
            [Command::Connect(slot)] => slot,
            ref other => panic!("{other:?} instead of one connect"),
        }
    }
}
