//! A gate that asks a protection which it shares with others, in place of flood scores of its own. Where that one is gone, or
//! has failed, the gate is as if it had never been given one.

use std::sync::{Arc, Mutex, Weak};

use crate::clock::Nanos;
use crate::error::Error;
use crate::peer::Peer;
use crate::reason::Refusal;

use super::cidr::Address;
use super::shared::{Attempt, Protection};
use super::{Decision, Gate, NONE, Origin, Permit, Proof, SHARED};

/// What a gate has of a protection that it shares.
pub(crate) struct Shared {
    /// Whoever made it may drop it while pools use it.
    protection: Weak<Mutex<Protection>>,
    /// What must be added to the pool's time to make it the protection's, in nanoseconds.
    ahead: i64,
    /// Connections that the pool may have, or might have had since it shares.
    pledged: u32,
}

impl Shared {
    /// For a pool of at most `max_connections`. The protection's time is so many nanoseconds ahead of the pool's.
    pub(crate) fn new(
        protection: &Arc<Mutex<Protection>>,
        ahead: i64,
        max_connections: u32,
    ) -> Result<Self, Error> {
        let mut shared = Self { protection: Arc::downgrade(protection), ahead, pledged: 0 };
        shared.pledge(max_connections)?;
        Ok(shared)
    }

    /// Calls what is given with the protection and its time, if it still is there.
    fn with<T>(&self, now: Nanos, call: impl FnOnce(&mut Protection, Nanos) -> T) -> Option<T> {
        let protection = self.protection.upgrade()?;
        let mut protection = protection.lock().ok()?;
        Some(call(&mut protection, self.its_time(now)))
    }

    /// What time it is for the protection.
    #[inline]
    fn its_time(&self, now: Nanos) -> Nanos {
        Nanos::new(now.as_nanos().saturating_add_signed(self.ahead))
    }

    /// The pool may have so many connections from now on. Never takes back what was pledged: those that it has stay.
    pub(super) fn pledge(&mut self, max_connections: u32) -> Result<(), Error> {
        if max_connections > self.pledged {
            let more = (max_connections - self.pledged) as usize;
            self.with(Nanos::ZERO, |protection, _| protection.pledge(more, 0)).unwrap_or(Ok(()))?;
            self.pledged = max_connections;
        }
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let pledged = self.pledged as usize;
        // Less room always is there.
        let _ = self.with(Nanos::ZERO, |protection, _| protection.pledge(0, pledged));
    }
}

impl Gate {
    /// Asks this protection from now on, in place of flood scores of its own; with `None` its own again. Every permit
    /// that is out must have been told to [`part`](Self::part).
    pub(crate) fn share(&mut self, shared: Option<Shared>) {
        self.shared = shared;
        self.look_for_lists();
    }

    /// Whether there is a shared protection, be it gone.
    pub(crate) fn shares(&self) -> bool {
        self.shared.is_some()
    }

    /// Whether it is this one.
    pub(crate) fn shares_this(&self, protection: &Arc<Mutex<Protection>>) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.protection.as_ptr() == Arc::as_ptr(protection))
    }

    /// The shared protection counts this peer's connection no more, which goes on.
    pub(crate) fn part(&mut self, permit: &mut Permit, peer: &Peer, now: Nanos) {
        if permit.place & SHARED != 0 {
            // It has neither failed nor made good.
            self.leave_shared(permit, peer, Proof::Proven, now);
        }
    }

    /// What the shared protection makes of a newcomer whom the pool's own limits let in; `None` if it is gone. The order is
    /// that of the gate's own protection, but for the blacklist, which comes with the score.
    #[cold]
    pub(super) fn judge_by_shared(
        &mut self,
        address: Address,
        origin: Origin,
        now: Nanos,
    ) -> Option<Decision> {
        let shared = self.shared.as_ref()?;
        let its_now = shared.its_time(now);
        let protection = shared.protection.upgrade()?;
        let mut protection = protection.lock().ok()?;
        let decision = self.judge_with(&mut protection, its_now, address, origin, now);
        if matches!(decision, Decision::Refuse(Refusal::PerIp)) {
            // As with scores of the gate's own: else the address could hammer at the gate for nothing.
            protection.note_attempt(address, its_now);
        }
        Some(decision)
    }

    #[inline]
    fn judge_with(
        &mut self,
        protection: &mut Protection,
        its_now: Nanos,
        address: Address,
        origin: Origin,
        now: Nanos,
    ) -> Decision {
        if self.is_unwelcome(address, now) {
            return Decision::Refuse(Refusal::Denied);
        }
        let key = self.key(address);
        let spot = self.addresses.find(key);
        if self.is_at_limit(spot) {
            return Decision::Refuse(Refusal::PerIp);
        }
        if !self.take_accept(origin, now) {
            return Decision::Refuse(Refusal::AcceptRate);
        }
        let attempt = protection.attempt(address, its_now);
        let refusal = match attempt {
            Attempt::Denied => Some(Refusal::Denied),
            Attempt::Refused(refusal) => Some(refusal),
            Attempt::Trusted | Attempt::Uncounted | Attempt::Counted(..) => None,
        };
        // The pool counts its connections of each address for itself.
        let place = match spot.place() {
            _ if refusal.is_some() || !self.counts => Some(NONE),
            Some(place) => Some(place),
            None => self.addresses.insert(key, spot, now),
        };
        let refusal = if place.is_none() { Some(Refusal::Full) } else { refusal };
        if let Some(refusal) = refusal {
            if let Attempt::Counted(place, window, _) = attempt {
                protection.take_back(place, window, its_now);
            }
            self.give_back_accept(origin);
            return Decision::Refuse(refusal);
        }
        let permit = self.permit(place.unwrap_or(NONE), None);
        match attempt {
            Attempt::Counted(its_place, window, verdict) => {
                protection.open(its_place);
                let permit = Permit { place: permit.place | SHARED, attempt: Some(window) };
                match protection.delay(verdict) {
                    Some(delay) => Decision::Delay(permit, delay),
                    None => Decision::Admit(permit),
                }
            }
            _ => Decision::Admit(permit),
        }
    }

    /// A connection that the shared protection counts proved itself.
    #[cold]
    pub(super) fn proven_in_shared(&mut self, permit: &Permit, peer: &Peer, now: Nanos) {
        if let (Some(shared), Some(address), Some(attempt)) =
            (&self.shared, Address::of(peer), permit.attempt)
        {
            shared.with(now, |protection, now| protection.proven(address, attempt, now));
        }
    }

    /// A connection that the shared protection counts is not its business any more.
    #[cold]
    pub(super) fn leave_shared(&mut self, permit: &mut Permit, peer: &Peer, proof: Proof, now: Nanos) {
        if let (Some(shared), Some(address)) = (&self.shared, Address::of(peer)) {
            shared.with(now, |protection, now| protection.close(address, proof, now));
        }
        *permit = Permit { place: permit.place & !SHARED, attempt: None };
    }
}
