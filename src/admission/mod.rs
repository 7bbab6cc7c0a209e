//! Decides whether a newcomer may come in: one function, the cheapest check first. Does not accept, close, evict or wait, and
//! knows the connections only as permits: whoever is let in carries one, and whatever ends the connection gives it back.
//!
//! `cidr` compares networks, `addresses` counts by address, `syn` keeps each address's flood score, `protection` holds its
//! settings. `shared` is flood scores and lists (`listed`) that are nobody's own, and `sharing` is a gate that asks those.

use std::time::Duration;

use crate::bucket::{Bucket, Level, Moment, Rate};
use crate::clock::Nanos;
use crate::error::Error;
use crate::hash::FoldedState;
use crate::peer::Peer;
use crate::reason::Refusal;

mod addresses;
mod cidr;
#[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "only C programs make one"))]
mod listed;
mod protection;
#[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "only C programs make one"))]
mod shared;
#[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "only C programs make one"))]
mod sharing;
mod syn;

use addresses::{Addresses, Features, Key, NONE, OnceIdle, Spot};
use cidr::{Address, CidrSet, V4_PREFIX, mask};
pub use cidr::{Cidr, ParseCidrError};
pub use protection::SynProtection;
pub(crate) use shared::Protection;
#[cfg(feature = "capi")]
pub(crate) use shared::{Outcome, Reputation, Sight};
pub(crate) use sharing::Shared;
use syn::{Rules, Verdict, Window};

/// What newcomers are held to. `None` and empty lists mean no limit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limits {
    /// If not empty, only these may come in.
    pub(crate) allow: Vec<Cidr>,
    /// These may not, even if they are allowed above.
    pub(crate) deny: Vec<Cidr>,
    /// Connections that one address may have at a time.
    pub(crate) max_per_ip: Option<u32>,
    /// Addresses that agree in so many bits count as one.
    pub(crate) v4_prefix: u8,
    pub(crate) v6_prefix: u8,
    pub(crate) accept_rate: Option<Rate>,
    pub(crate) syn: Option<SynProtection>,
}

impl Default for Limits {
    /// No limits. An IPv6 /64 is what one subscriber gets, so it counts as one address.
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            max_per_ip: None,
            v4_prefix: 32,
            v6_prefix: 64,
            accept_rate: None,
            syn: None,
        }
    }
}

impl Limits {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.max_per_ip == Some(0) {
            return Err(Error::config("max_per_ip", 0, "at least 1 (use None for no limit)"));
        }
        if !(1..=32).contains(&self.v4_prefix) {
            return Err(Error::config("v4_prefix", self.v4_prefix, "from 1 to 32"));
        }
        if !(1..=128).contains(&self.v6_prefix) {
            return Err(Error::config("v6_prefix", self.v6_prefix, "from 1 to 128"));
        }
        self.accept_rate.map_or(Ok(()), |rate| rate.validate("accept_rate"))?;
        self.syn.as_ref().map_or(Ok(()), SynProtection::validate)
    }

    /// Whether connections are counted by address.
    fn counts_addresses(&self) -> bool {
        self.max_per_ip.is_some() || self.syn.is_some()
    }
}

/// How a newcomer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From a listener of the pool.
    Accepted,
    /// From the application, which has it from elsewhere. The accept rate does not concern it.
    Added,
    /// The same, and the application goes on to drive it.
    #[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "C programs do"))]
    Lent,
}

/// Whether the pool takes newcomers at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    Open,
    Draining,
}

/// What the table has for a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// A free slot, or that of a connection that would go.
    Available,
    None,
}

/// What becomes of a newcomer.
#[derive(Debug)]
#[must_use]
pub(crate) enum Decision {
    Admit(Permit),
    /// Admitted, but it is not to be read from before so much time has passed.
    Delay(Permit, Duration),
    Refuse(Refusal),
}

/// How a connection stood when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Proven,
    /// It never proved itself, which counts against its address.
    Unproven,
}

/// The right to one place in the pool. Given out by [`Gate::decide`] and taken back by [`Gate::release`], once: it can
/// be neither copied nor made elsewhere.
#[derive(Debug)]
#[must_use = "a permit that is dropped is never given back"]
pub(crate) struct Permit {
    /// Where the address stands that this connection is counted at, or [`NONE`]; the top bit says that a shared protection
    /// counts it too, and then `attempt` is of that one.
    place: u32,
    /// The window in which the address's score has counted this connection's attempt; `None` if it takes no notice of it.
    attempt: Option<Window>,
}

/// The gate: every limit on newcomers and all that must be remembered for them.
pub(crate) struct Gate {
    limits: Limits,
    max_connections: u32,
    allow: CidrSet,
    deny: CidrSet,
    accept: Option<Bucket>,
    accept_level: Level,
    syn: Option<Syn>,
    /// What is asked in place of `syn`.
    shared: Option<Shared>,
    /// The last window in which attempts were counted under flood scores that are not in force any more.
    last_window: Window,
    global_level: Level,
    addresses: Addresses,
    /// Whether connections are counted by address.
    counts: bool,
    /// Whether there is a list that can keep an address out, its own or of a shared protection.
    lists: bool,
    /// The bits of an address that count.
    v4_mask: u64,
    v6_mask: u128,
    /// Permits out. Invariant: at least the live connections of all addresses.
    outstanding: usize,
}

/// What is made of [`SynProtection`].
struct Syn {
    rules: Rules,
    whitelist: CidrSet,
    blacklist: CidrSet,
    global: Bucket,
    throttle_delay: Duration,
    challenge_delay: Duration,
}

impl Gate {
    /// A gate for at most `max_connections` permits at a time; reserves all the memory it will ever use.
    pub(crate) fn new(limits: Limits, max_connections: u32) -> Result<Self, Error> {
        let mut gate = Self {
            limits: Limits::default(),
            max_connections,
            allow: CidrSet::default(),
            deny: CidrSet::default(),
            accept: None,
            accept_level: Level::full(),
            syn: None,
            shared: None,
            last_window: Window::FIRST,
            global_level: Level::full(),
            addresses: Addresses::new(FoldedState::default()),
            counts: false,
            lists: false,
            v4_mask: 0,
            v6_mask: 0,
            outstanding: 0,
        };
        gate.set_limits(limits)?;
        Ok(gate)
    }

    /// Whether a newcomer may stay: state, capacity, lists, connections of the address, accept rate, flood score. The last
    /// two take a token only from who passes both; whatever refuses it leaves no count and no token behind.
    #[inline]
    pub(crate) fn decide(
        &mut self,
        peer: &Peer,
        origin: Origin,
        intake: Intake,
        room: Room,
        now: Nanos,
    ) -> Decision {
        if intake == Intake::Draining {
            return Decision::Refuse(Refusal::Draining);
        }
        if room == Room::None {
            return Decision::Refuse(Refusal::Full);
        }
        match Address::of(peer) {
            Some(address) if self.counts || self.lists => self.judge_address(address, origin, now),
            // No address, or nothing that depends on it.
            _ if !self.take_accept(origin, now) => Decision::Refuse(Refusal::AcceptRate),
            _ => Decision::Admit(self.permit(NONE, None)),
        }
    }

    /// The connection of this peer proved itself for the first time.
    #[inline]
    pub(crate) fn proven(&mut self, permit: &Permit, peer: &Peer, now: Nanos) {
        if permit.place & SHARED != 0 {
            return self.proven_in_shared(permit, peer, now);
        }
        if let (Some(attempt), Some(syn)) = (permit.attempt, &mut self.syn) {
            self.addresses.score_mut(permit.place).success(&mut syn.rules, attempt, now);
        }
    }

    /// The connection of this peer ended.
    #[inline]
    pub(crate) fn release(&mut self, mut permit: Permit, peer: &Peer, proof: Proof, now: Nanos) {
        debug_assert!(self.outstanding > 0, "a permit from another gate");
        self.outstanding = self.outstanding.saturating_sub(1);
        if permit.place & SHARED != 0 {
            self.leave_shared(&mut permit, peer, proof, now);
        }
        if permit.place == NONE {
            return;
        }
        if let (Some(_), Proof::Unproven, Some(syn)) = (permit.attempt, proof, &mut self.syn) {
            self.addresses.score_mut(permit.place).failure(&mut syn.rules, now);
        }
        let once_idle = if self.syn.is_some() { OnceIdle::Keep } else { OnceIdle::Forget };
        self.addresses.close(permit.place, once_idle);
        self.check_sums();
    }

    /// Changes every limit. Live counts, scores and rates go on; connections that came in while addresses were not counted
    /// stay uncounted, and after a change of prefix those already there are counted under the old one. Changes nothing
    /// on error.
    pub(crate) fn set_limits(&mut self, limits: Limits) -> Result<(), Error> {
        limits.validate()?;
        self.addresses.try_reserve(addresses_for(&limits, self.max_connections), features_for(&limits))?;
        let forever = |networks: &[Cidr]| CidrSet::new(networks.iter().map(|network| (*network, Nanos::MAX)));
        (self.allow, self.deny) = (forever(&limits.allow), forever(&limits.deny));
        self.accept = limits.accept_rate.map(Bucket::new);
        self.last_window = self.syn.as_ref().map_or(self.last_window, |syn| syn.rules.this_window());
        self.syn = limits.syn.as_ref().map(|protection| Syn::new(protection, self.last_window));
        let masks = (mask(V4_PREFIX + limits.v4_prefix) as u64, mask(limits.v6_prefix));
        if self.syn.is_none() || masks != (self.v4_mask, self.v6_mask) {
            self.addresses.forget_idle();
        }
        (self.v4_mask, self.v6_mask) = masks;
        self.counts = limits.counts_addresses();
        self.limits = limits;
        self.look_for_lists();
        Ok(())
    }

    fn look_for_lists(&mut self) {
        let has_blacklist = self.syn.as_ref().is_some_and(|syn| !syn.blacklist.is_empty());
        let has_own = has_blacklist || !self.allow.is_empty() || !self.deny.is_empty();
        self.lists = has_own || self.shared.is_some();
    }

    /// Makes room to count the addresses of so many connections. Never gives memory back. Changes nothing on error.
    pub(crate) fn set_max_connections(&mut self, max_connections: u32) -> Result<(), Error> {
        let places = addresses_for(&self.limits, max_connections);
        self.addresses.try_reserve(places, features_for(&self.limits))?;
        self.shared.as_mut().map_or(Ok(()), |shared| shared.pledge(max_connections))?;
        self.max_connections = max_connections;
        Ok(())
    }

    /// Permits that are out.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Addresses that are remembered: those with live connections, and with flood scores those that had some.
    pub(crate) fn tracked(&self) -> usize {
        self.addresses.len()
    }

    /// Addresses that are blocked at `now`.
    #[cfg(test)]
    pub(crate) fn blocked(&self, now: Nanos) -> usize {
        if self.syn.is_none() { 0 } else { self.addresses.blocked(now) }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let syn =
            self.syn.as_ref().map_or(0, |syn| syn.whitelist.memory_bytes() + syn.blacklist.memory_bytes());
        self.addresses.memory_bytes() + self.allow.memory_bytes() + self.deny.memory_bytes() + syn
    }

    pub(crate) fn assert_invariants(&self) {
        self.check_sums();
        self.addresses.assert_invariants();
    }

    fn judge_address(&mut self, address: Address, origin: Origin, now: Nanos) -> Decision {
        if self.shared.is_some()
            && let Some(decision) = self.judge_by_shared(address, origin, now)
        {
            return decision;
        }
        if self.lists && self.is_denied(address, now) {
            return Decision::Refuse(Refusal::Denied);
        }
        if !self.counts {
            if !self.take_accept(origin, now) {
                return Decision::Refuse(Refusal::AcceptRate);
            }
            return Decision::Admit(self.permit(NONE, None));
        }
        let key = self.key(address);
        let spot = self.addresses.find(key);
        if self.is_at_limit(spot) {
            self.note_attempt(address, spot, now);
            return Decision::Refuse(Refusal::PerIp);
        }
        if !self.take_accept(origin, now) {
            return Decision::Refuse(Refusal::AcceptRate);
        }
        let decision = self.judge_score(address, key, spot, now);
        if matches!(decision, Decision::Refuse(_)) {
            self.give_back_accept(origin);
        }
        decision
    }

    /// The flood score, and the place that the connection is counted at.
    #[inline(always)]
    fn judge_score(&mut self, address: Address, key: Key, spot: Spot, now: Nanos) -> Decision {
        // Every place is taken by a live address only if there are more connections than the gate was made for.
        let place = match spot.place() {
            Some(place) => place,
            None => match self.addresses.insert(key, spot, now) {
                Some(place) => place,
                None => return Decision::Refuse(Refusal::Full),
            },
        };
        let Some(syn) = self.syn.as_mut().filter(|syn| !syn.is_trusted(address, now)) else {
            return Decision::Admit(self.permit(place, None));
        };
        match syn.attempt(&mut self.addresses, place, &self.global_level, now) {
            Ok((attempt, verdict)) => match syn.delay(verdict) {
                Some(delay) => Decision::Delay(self.permit(place, Some(attempt)), delay),
                None => Decision::Admit(self.permit(place, Some(attempt))),
            },
            Err(refusal) => Decision::Refuse(refusal),
        }
    }

    #[inline(always)]
    fn permit(&mut self, place: u32, attempt: Option<Window>) -> Permit {
        if place != NONE {
            self.addresses.open(place);
        }
        self.outstanding += 1;
        self.check_sums();
        Permit { place, attempt }
    }

    /// What counts as the address.
    #[inline]
    fn key(&self, address: Address) -> Key {
        if address.v4 {
            Key::v4(address.bits as u64 & self.v4_mask)
        } else {
            Key::v6(address.bits & self.v6_mask)
        }
    }

    /// Whether a list keeps the address out.
    fn is_denied(&self, address: Address, now: Nanos) -> bool {
        self.is_unwelcome(address, now)
            || self.syn.as_ref().is_some_and(|syn| syn.is_blacklisted(address, now))
    }

    /// Whether the lists of the pool itself keep the address out.
    fn is_unwelcome(&self, address: Address, now: Nanos) -> bool {
        self.deny.contains(address, now) || (!self.allow.is_empty() && !self.allow.contains(address, now))
    }

    #[inline]
    fn is_at_limit(&self, spot: Spot) -> bool {
        match (self.limits.max_per_ip, spot.place()) {
            (Some(most), Some(place)) => self.addresses.live_at(place) >= most,
            _ => false,
        }
    }

    /// A newcomer from an address that has all it may have is an attempt too: else the address could hammer at the gate for
    /// nothing. What it has stays as it is.
    fn note_attempt(&mut self, address: Address, spot: Spot, now: Nanos) {
        if let (Some(place), Some(syn)) = (spot.place(), &mut self.syn)
            && !syn.is_trusted(address, now)
        {
            self.addresses.score_mut(place).attempt(&mut syn.rules, now);
        }
    }

    /// A token of the accept rate, if there is such a rate and it concerns him.
    #[inline]
    fn take_accept(&self, origin: Origin, now: Nanos) -> bool {
        let accept = self.accept.as_ref().filter(|_| origin == Origin::Accepted);
        accept.is_none_or(|accept| accept.check(&self.accept_level, Moment::of(now)).is_ok())
    }

    /// Puts it back.
    #[inline]
    fn give_back_accept(&self, origin: Origin) {
        if let (Origin::Accepted, Some(accept)) = (origin, &self.accept) {
            accept.give_back(&self.accept_level);
        }
    }

    #[inline]
    fn check_sums(&self) {
        debug_assert!(self.addresses.live() <= self.outstanding, "more connections counted than permits out");
    }
}

impl Syn {
    fn new(protection: &SynProtection, last_window: Window) -> Self {
        Self {
            rules: Rules::new(protection, last_window),
            whitelist: CidrSet::new(protection.whitelist.iter().map(|network| (*network, Nanos::MAX))),
            blacklist: CidrSet::new(protection.blacklist.iter().copied()),
            global: Bucket::new(protection.global_rate()),
            throttle_delay: protection.throttle_delay,
            challenge_delay: protection.challenge_delay,
        }
    }

    /// Counts an attempt of the address at `place` and says what becomes of it. An address that is refused is the newest that
    /// was heard of; one that is let in has yet to be opened or refreshed.
    #[inline(always)]
    fn attempt(
        &mut self,
        addresses: &mut Addresses,
        place: u32,
        global: &Level,
        now: Nanos,
    ) -> Result<(Window, Verdict), Refusal> {
        let score = addresses.score_mut(place);
        let verdict = score.attempt(&mut self.rules, now);
        if verdict == Verdict::Block {
            addresses.refresh(place);
            return Err(Refusal::Flood);
        }
        let attempt = self.rules.this_window();
        if self.global.check(global, Moment::of(now)).is_err() {
            // That others are too many is no fault of this address.
            score.take_back(&mut self.rules, attempt, now);
            addresses.refresh(place);
            return Err(Refusal::AcceptRate);
        }
        Ok((attempt, verdict))
    }

    /// For how long a newcomer is not read from of whom that is said.
    #[inline(always)]
    fn delay(&self, verdict: Verdict) -> Option<Duration> {
        match verdict {
            Verdict::Throttle => Some(self.throttle_delay),
            Verdict::Challenge => Some(self.challenge_delay),
            Verdict::Allow | Verdict::Block => None,
        }
    }

    /// In the whitelist.
    #[inline]
    fn is_trusted(&self, address: Address, now: Nanos) -> bool {
        self.whitelist.contains(address, now)
    }

    #[inline]
    fn is_blacklisted(&self, address: Address, now: Nanos) -> bool {
        self.blacklist.contains(address, now) && !self.is_trusted(address, now)
    }
}

/// Places that the table of addresses needs: one more than can have live connections.
fn addresses_for(limits: &Limits, max_connections: u32) -> usize {
    if !limits.counts_addresses() {
        return 0;
    }
    let tracked = limits.syn.as_ref().map_or(0, |syn| syn.max_tracked as usize);
    tracked.max(max_connections as usize + 1)
}

/// What the table keeps for each address.
fn features_for(limits: &Limits) -> Features {
    Features { scores: limits.syn.is_some(), rests: limits.counts_addresses() && limits.v6_prefix > 64 }
}

/// The bit of a permit's place that says that a shared protection counts the connection. No place has it.
const SHARED: u32 = 1 << 31;

#[cfg(test)]
mod tests;
