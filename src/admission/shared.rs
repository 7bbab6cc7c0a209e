//! Flood scores and lists that belong to no pool: several pools may ask them (see `sharing`), and a program may ask and report
//! by itself. Scores are those of `syn`; here they get addresses, lists, what was reported, and counts. Knows no clock: every
//! time that comes in is of one and the same, whoever brings it.

use std::net::IpAddr;
use std::time::Duration;

use crate::bucket::Level;
use crate::clock::Nanos;
use crate::error::Error;
use crate::hash::FoldedState;
use crate::reason::Refusal;

use super::addresses::{Addresses, Features, Key, OnceIdle};
use super::cidr::{Address, mask};
use super::listed::Listed;
use super::protection::SynProtection;
use super::syn::{Reading, Verdict, Window};
use super::{Proof, Syn};

/// A protection that several may use.
///
/// Addresses count as one as they do by default in a pool: IPv4 by itself, IPv6 by /64. At most `max_tracked` are
/// remembered, or one more than all pools that share it may have connections; the one is forgotten first that was not heard of
/// for longest, if possible one that is not blocked, and never one with live connections in a pool.
pub(crate) struct Protection {
    settings: SynProtection,
    syn: Syn,
    global_level: Level,
    addresses: Addresses,
    /// What was heard of the address at each place. Invariant: as many as places that were ever used.
    heard: Vec<Heard>,
    pub(crate) whitelist: Listed,
    pub(crate) blacklist: Listed,
    totals: Totals,
    began: Nanos,
    /// Connections that the pools may have that share it.
    pledged: usize,
}

/// What was heard of an address besides its score.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    last_attempt: Nanos,
    successes: u32,
    failures: u32,
    /// Attempts that a program let in and has not reported on.
    unreported: u32,
}

/// What has happened since the beginning, or since the counts were reset.
///
/// Each attempt is in one of `allowed`, `throttled`, `challenged` and `blocked`; `whitelisted` are a part of the first
/// and `blacklisted` of the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) attempts: u64,
    pub(crate) allowed: u64,
    pub(crate) throttled: u64,
    pub(crate) challenged: u64,
    pub(crate) blocked: u64,
    pub(crate) whitelisted: u64,
    pub(crate) blacklisted: u64,
    /// Addresses that were forgotten to make room.
    pub(crate) evictions: u64,
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Allow,
    Throttle,
    Challenge,
    Block,
}

/// The same with what a pool needs to know of it.
pub(super) enum Attempt {
    /// In the whitelist.
    Trusted,
    /// In the blacklist.
    Denied,
    Refused(Refusal),
    /// Let in, and counted in this window at this place.
    Counted(u32, Window, Verdict),
    /// Let in, and counted nowhere: every place is taken by an address with live connections.
    Uncounted,
}

/// How an address stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sight {
    Whitelisted,
    Blacklisted,
    Unknown,
    Known { reading: Reading, reputation: Reputation, last_attempt: Nanos, successes: u32, failures: u32 },
}

/// What a score is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reputation {
    Trusted,
    Neutral,
    /// It is delayed.
    Suspect,
    /// It is blocked.
    Hostile,
}

impl Protection {
    /// A protection by these settings, whose own lists must be empty, with room for so many entries in its lists.
    pub(crate) fn new(
        settings: SynProtection,
        most_whitelisted: usize,
        most_blacklisted: usize,
        now: Nanos,
    ) -> Result<Self, Error> {
        settings.validate()?;
        let mut protection = Self {
            syn: Syn::new(&settings, Window::FIRST),
            settings,
            global_level: Level::full(),
            addresses: Addresses::new(FoldedState::default()),
            heard: Vec::new(),
            whitelist: Listed::new(most_whitelisted),
            blacklist: Listed::new(most_blacklisted),
            totals: Totals::default(),
            began: now,
            pledged: 0,
        };
        protection.try_reserve(protection.settings.max_tracked, 0)?;
        Ok(protection)
    }

    /// Changes every setting; scores and lists go on. Changes nothing on error.
    pub(crate) fn configure(&mut self, settings: SynProtection, now: Nanos) -> Result<(), Error> {
        settings.validate()?;
        self.try_reserve(settings.max_tracked, self.pledged)?;
        self.syn = Syn::new(&settings, self.syn.rules.this_window());
        self.settings = settings;
        while self.addresses.len() > self.most_tracked() && self.addresses.forget_oldest(now) {
            self.totals.evictions += 1;
        }
        Ok(())
    }

    /// Says what a program is to do with a newcomer of this address, and counts that.
    pub(crate) fn check(&mut self, ip: IpAddr, now: Nanos) -> Outcome {
        match self.attempt(ip.into(), now) {
            Attempt::Trusted => Outcome::Allow,
            Attempt::Denied | Attempt::Refused(_) => Outcome::Block,
            Attempt::Uncounted => Outcome::Throttle,
            Attempt::Counted(place, _, verdict) => {
                self.addresses.refresh(place);
                self.heard[place as usize].unreported += 1;
                match verdict {
                    Verdict::Allow => Outcome::Allow,
                    Verdict::Throttle => Outcome::Throttle,
                    Verdict::Challenge => Outcome::Challenge,
                    Verdict::Block => Outcome::Block,
                }
            }
        }
    }

    /// A program says that a connection of this address proved itself. Of an address that is not known nothing is kept.
    pub(crate) fn report_success(&mut self, ip: IpAddr, now: Nanos) {
        let Some(place) = self.place(ip.into()) else { return };
        let heard = &mut self.heard[place as usize];
        heard.successes = heard.successes.saturating_add(1);
        let score = self.addresses.score_mut(place);
        // Whoever reports each request takes back no attempts of other connections.
        match heard.unreported.checked_sub(1) {
            Some(left) => {
                heard.unreported = left;
                score.success_of_latest(&mut self.syn.rules, now);
            }
            None => score.success_again(&mut self.syn.rules, now),
        }
        self.addresses.refresh(place);
    }

    /// A program says that a connection of this address came to nothing.
    pub(crate) fn report_failure(&mut self, ip: IpAddr, now: Nanos) {
        let Some(place) = self.place(ip.into()) else { return };
        let heard = &mut self.heard[place as usize];
        heard.unreported = heard.unreported.saturating_sub(1);
        self.count_failure(place, now);
        self.addresses.refresh(place);
    }

    /// Forgets what was heard of all addresses; lists and counts stay. One with live connections begins anew.
    pub(crate) fn forget_addresses(&mut self, now: Nanos) {
        self.addresses.forget_idle();
        self.addresses.reset_scores(now);
        self.heard.fill(Heard::default());
    }

    /// Begins anew, settings apart.
    pub(crate) fn reset(&mut self, now: Nanos) {
        self.forget_addresses(now);
        self.whitelist.clear();
        self.blacklist.clear();
        self.global_level = Level::full();
        self.totals = Totals::default();
        self.began = now;
    }

    /// Begins to count anew, evictions apart.
    pub(crate) fn reset_totals(&mut self) {
        self.totals = Totals { evictions: self.totals.evictions, ..Totals::default() };
    }

    /// How an address stands, which changes nothing.
    pub(crate) fn sight(&mut self, ip: IpAddr, now: Nanos) -> Sight {
        let address = Address::from(ip);
        if self.whitelist.contains(address, now) {
            return Sight::Whitelisted;
        }
        if self.blacklist.contains(address, now) {
            return Sight::Blacklisted;
        }
        let Some(place) = self.place(address) else { return Sight::Unknown };
        let Heard { last_attempt, successes, failures, .. } = self.heard[place as usize];
        let reading = self.addresses.score_mut(place).reading(&mut self.syn.rules, now);
        let reputation = self.reputation(reading.score);
        Sight::Known { reading, reputation, last_attempt, successes, failures }
    }

    fn reputation(&self, score: f32) -> Reputation {
        match score {
            TRUSTED.. => Reputation::Trusted,
            _ if score >= self.settings.throttle_below => Reputation::Neutral,
            _ if score >= self.settings.block_below => Reputation::Suspect,
            _ => Reputation::Hostile,
        }
    }

    pub(crate) fn is_whitelisted(&self, ip: IpAddr, now: Nanos) -> bool {
        self.whitelist.contains(ip.into(), now)
    }

    pub(crate) fn is_blacklisted(&self, ip: IpAddr, now: Nanos) -> bool {
        self.blacklist.contains(ip.into(), now)
    }

    /// When it was made, or began anew.
    pub(crate) fn began(&self) -> Nanos {
        self.began
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// Addresses that are remembered.
    pub(crate) fn tracked(&self) -> usize {
        self.addresses.len()
    }

    /// Addresses that are blocked now. Looks at all of them.
    pub(crate) fn blocked(&self, now: Nanos) -> usize {
        self.addresses.blocked(now)
    }

    /// Pools that share it may have so many connections more, or less, and none of their addresses is to be forgotten.
    pub(super) fn pledge(&mut self, more: usize, less: usize) -> Result<(), Error> {
        let pledged = self.pledged.saturating_sub(less) + more;
        self.try_reserve(self.settings.max_tracked, pledged)?;
        self.pledged = pledged;
        Ok(())
    }

    /// Judges an attempt. One that is let in and counted has yet to be opened or refreshed.
    pub(super) fn attempt(&mut self, address: Address, now: Nanos) -> Attempt {
        let attempt = self.judge(address, now);
        self.totals.count(&attempt);
        attempt
    }

    fn judge(&mut self, address: Address, now: Nanos) -> Attempt {
        if self.whitelist.contains(address, now) {
            return Attempt::Trusted;
        }
        if self.blacklist.contains(address, now) {
            return Attempt::Denied;
        }
        let Some(place) = self.place_or_insert(address, now) else { return Attempt::Uncounted };
        self.heard[place as usize].last_attempt = now;
        match self.syn.attempt(&mut self.addresses, place, &self.global_level, now) {
            Ok((window, verdict)) => Attempt::Counted(place, window, verdict),
            Err(refusal) => Attempt::Refused(refusal),
        }
    }

    /// For how long a newcomer is not read from with whom it is like this.
    pub(super) fn delay(&self, verdict: Verdict) -> Option<Duration> {
        self.syn.delay(verdict)
    }

    /// An attempt that a pool refuses for a reason of its own is one nevertheless; of an address that is not known nothing is
    /// kept.
    pub(super) fn note_attempt(&mut self, address: Address, now: Nanos) {
        if self.whitelist.contains(address, now) {
            return;
        }
        if let Some(place) = self.place(address) {
            self.heard[place as usize].last_attempt = now;
            self.addresses.score_mut(place).attempt(&mut self.syn.rules, now);
            self.addresses.refresh(place);
        }
    }

    /// A pool has one more connection of the address at this place.
    pub(super) fn open(&mut self, place: u32) {
        self.addresses.open(place);
    }

    /// An attempt that was let in came to nothing through no fault of the address, before it was opened.
    pub(super) fn take_back(&mut self, place: u32, attempt: Window, now: Nanos) {
        self.addresses.score_mut(place).take_back(&mut self.syn.rules, attempt, now);
        self.syn.global.give_back(&self.global_level);
        self.addresses.refresh(place);
    }

    /// A pool's connection of this address proved itself.
    pub(super) fn proven(&mut self, address: Address, attempt: Window, now: Nanos) {
        if let Some(place) = self.place(address) {
            let heard = &mut self.heard[place as usize];
            heard.successes = heard.successes.saturating_add(1);
            self.addresses.score_mut(place).success(&mut self.syn.rules, attempt, now);
        }
    }

    /// A pool has one connection less of this address.
    pub(super) fn close(&mut self, address: Address, proof: Proof, now: Nanos) {
        let Some(place) = self.place(address) else {
            debug_assert!(false, "an address with connections was forgotten");
            return;
        };
        if proof == Proof::Unproven {
            self.count_failure(place, now);
        }
        self.addresses.close(place, OnceIdle::Keep);
    }

    #[cfg(test)]
    pub(crate) fn live(&self) -> usize {
        self.addresses.assert_invariants();
        self.addresses.live()
    }

    fn count_failure(&mut self, place: u32, now: Nanos) {
        let heard = &mut self.heard[place as usize];
        heard.failures = heard.failures.saturating_add(1);
        self.addresses.score_mut(place).failure(&mut self.syn.rules, now);
    }

    fn place(&self, address: Address) -> Option<u32> {
        self.addresses.find(key(address)).place()
    }

    fn place_or_insert(&mut self, address: Address, now: Nanos) -> Option<u32> {
        let key = key(address);
        let spot = self.addresses.find(key);
        if let Some(place) = spot.place() {
            return Some(place);
        }
        if self.addresses.len() >= self.most_tracked() && self.addresses.forget_oldest(now) {
            self.totals.evictions += 1;
        }
        let place = self.addresses.insert(key, spot, now)?;
        match self.heard.get_mut(place as usize) {
            Some(heard) => *heard = Heard::default(),
            None => self.heard.push(Heard::default()),
        }
        Some(place)
    }

    fn most_tracked(&self) -> usize {
        most_tracked(self.settings.max_tracked, self.pledged)
    }

    fn try_reserve(&mut self, max_tracked: u32, pledged: usize) -> Result<(), Error> {
        let most = most_tracked(max_tracked, pledged);
        let missing = most.saturating_sub(self.heard.len());
        self.heard
            .try_reserve_exact(missing)
            .map_err(|_| Error::Memory { what: "the table of addresses" })?;
        self.addresses.try_reserve(most, Features { scores: true, rests: false })
    }
}

impl Totals {
    fn count(&mut self, attempt: &Attempt) {
        self.attempts += 1;
        match attempt {
            Attempt::Trusted => {
                self.whitelisted += 1;
                self.allowed += 1;
            }
            Attempt::Denied => {
                self.blacklisted += 1;
                self.blocked += 1;
            }
            Attempt::Refused(_) | Attempt::Counted(.., Verdict::Block) => self.blocked += 1,
            Attempt::Uncounted | Attempt::Counted(.., Verdict::Throttle) => self.throttled += 1,
            Attempt::Counted(.., Verdict::Challenge) => self.challenged += 1,
            Attempt::Counted(.., Verdict::Allow) => self.allowed += 1,
        }
    }
}

/// Addresses that are remembered: one more than can have live connections, so that a newcomer always finds a place.
fn most_tracked(max_tracked: u32, pledged: usize) -> usize {
    (max_tracked as usize).max(pledged + 1)
}

/// What counts as the address.
fn key(address: Address) -> Key {
    if address.v4 { Key::v4(address.bits as u64) } else { Key::v6(address.bits & V6_MASK) }
}

/// A score from here on is called trusted.
const TRUSTED: f32 = 0.9;
/// An IPv6 /64 is what one subscriber gets.
const V6_MASK: u128 = mask(64);

#[cfg(test)]
mod tests;
