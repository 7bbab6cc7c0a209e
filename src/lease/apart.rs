//! Idle resources that somebody else lends and takes back for a while, without telling the core of each time: a stack
//! beside the lock. To the core they are in use. It gets them back, with what has happened to them, before anything is
//! decided; so nothing here may be called while it has given some away and not got them back, but [`Core::catch_up`].

use super::core::Core;
use super::ids::{KeyId, SlotId};
use super::protocol::Known;
use super::slots::{NONE, Phase};
use crate::clock::Nanos;

impl Core {
    /// Gives away the newest idle ones, up to `most`, the oldest of them first, as far as their places are below `places`.
    /// Says whether whatever is given back may go there too: that is so while nothing but lending and taking back can
    /// happen.
    pub(crate) fn give_away(
        &mut self,
        id: KeyId,
        most: u32,
        places: u32,
        mut each: impl FnMut(SlotId, Known),
    ) -> Lending {
        let calm = self.unrest == 0;
        let Some(key) = self.keys.get_mut(id.index()).filter(|key| calm && key.generation == id.generation)
        else {
            return Lending::ByCore;
        };
        if !key.is_calm() || key.errands.round.is_some() || key.retiring > 0 {
            return Lending::ByCore;
        }
        let mut slot = key.idle.newest;
        for _ in 1..most {
            match self.slots.get_older(slot) {
                NONE => break,
                older => slot = older,
            }
        }
        while slot != NONE {
            let newer = self.slots.newer(&key.idle, slot);
            if slot < places {
                self.slots.unlink(&mut key.idle, slot);
                self.slots[slot].phase = Phase::InUse;
                self.slots[slot].lending = Lending::Apart;
                each(self.slots.id(slot), self.slots.known(slot));
            }
            slot = newer;
        }
        Lending::Apart
    }

    /// Gets one back that is idle. Several come in the order in which they became idle.
    pub(crate) fn get_back(&mut self, index: u32, known: Known) {
        self.catch_up(index, known);
        let slot = &mut self.slots[index];
        debug_assert_eq!(slot.phase, Phase::InUse, "it was given away");
        slot.fresh_until = known.fresh_until;
        slot.lending = Lending::ByCore;
        let since = slot.since;
        let key = &mut self.keys[slot.key as usize];
        let newest = key.idle.newest;
        if newest == NONE || self.slots[newest].since <= since {
            self.slots.push(&mut key.idle, index);
        } else {
            self.slots.insert_by_age(&mut key.idle, index, newest);
        }
    }

    /// Learns what has happened to one that was given away, whether it is lent now or not.
    pub(crate) fn catch_up(&mut self, index: u32, known: Known) {
        let slot = &mut self.slots[index];
        if slot.phase != Phase::InUse {
            return;
        }
        // It may also have come back from a lease that the core knows.
        slot.since = slot.since.max(known.since);
        if known.uses > slot.uses {
            let key = &mut self.keys[slot.key as usize];
            key.counts.acquisitions += known.uses - slot.uses;
            key.counts.misses += u64::from(slot.uses == 0);
            slot.uses = known.uses;
            slot.lending = Lending::ByCore;
        }
    }

    /// The same for one that is not among those that came back at `now`: if it was given away, somebody has it, whether
    /// he has written it down yet or not. Else it would be in use without ever having been lent.
    pub(crate) fn catch_up_lent(&mut self, index: u32, known: Known, now: Nanos) {
        let slot = &self.slots[index];
        let is_unwritten = slot.lending == Lending::Apart && known.uses <= slot.uses;
        let first = Known { uses: slot.uses + 1, since: now, ..known };
        self.catch_up(index, if is_unwritten { first } else { known });
    }

    /// What whoever lends a resource must know of it.
    pub(crate) fn known(&self, id: SlotId) -> Known {
        self.slots.known(id.index)
    }
}

/// Who lends what is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lending {
    /// Whoever got it from [`Core::give_away`].
    Apart,
    /// Only the core.
    ByCore,
}
