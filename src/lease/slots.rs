//! The table of resources and, for each key, the stack of those that are idle. Knows in which phase each one is, not why.

use std::ops::{Index, IndexMut};

use super::apart::Lending;
use super::ids::SlotId;
use super::key::Cursor;
use super::protocol::Known;
use crate::breaker::Attempt;
use crate::clock::Nanos;

/// All resources of all keys.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// The first free place; the others follow by `older`.
    free: u32,
    /// How many are not free.
    live: u32,
}

/// Where a resource is on its way. See the diagram of the [module](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Free,
    Connecting,
    Idle,
    InUse,
    Validating,
    Closing,
    /// Its connect or validation has not come back in time. Whoever carries it out still holds the resource, so it counts
    /// as closing.
    Overdue,
}

/// What a resource is in its phase for, besides for those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    None,
    Warm,
    Check,
    /// Its lifetime is over, but it stays until its replacement is there.
    Retiring,
    /// It is closed to make room for whichever key needs it most.
    Room,
}

/// In the order of what is touched together: the first line of the cache changes with every lease.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) key: u32,
    pub(super) phase: Phase,
    pub(super) errand: Errand,
    /// Whether its connect, validation or close has begun.
    pub(super) work: Work,
    /// `Apart` from when it was given away until it comes back or a lease of it is known.
    pub(super) lending: Lending,
    /// Since when it has been idle, while it is idle or validated; else since when it has been in its phase.
    pub(super) since: Nanos,
    /// When it was last validated. That it was given back says the same of it: see [`Slot::known_to_work`].
    pub(super) checked: Nanos,
    /// What `since` was when it was granted, for a grant that nobody takes.
    pub(super) since_before: Nanos,
    /// The end of its lifetime.
    pub(super) ends: Nanos,
    /// How many leases it has served.
    pub(super) uses: u64,
    /// Until when it is handed out without being validated. Never after `ends`.
    pub(super) fresh_until: Nanos,
    /// In the idle stack the one that became idle after this one. Means nothing for the newest, and elsewhere.
    newer: u32,
    /// In the idle stack the one that became idle before this one, in the free list the next free place.
    older: u32,
    /// Its connect, as long as the breaker has to be told of it.
    pub(super) attempt: Option<Attempt>,
    /// Which of its leases was last told as lasting too long: the number that `uses` had.
    pub(super) told: u64,
}

/// Whether what was commanded for a slot goes on already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Begun,
    /// It stands in line for somebody who has time.
    Queued,
}

/// The idle ones of one key, the newest first.
#[derive(Debug)]
pub(super) struct IdleStack {
    pub(super) newest: u32,
    pub(super) oldest: u32,
    pub(super) len: u32,
}

impl Slot {
    /// The first half of a push; who is below has to [learn](Slots::put_above) it.
    #[inline(always)]
    pub(super) fn become_newest(&mut self, stack: &mut IdleStack, index: u32) -> u32 {
        self.phase = Phase::Idle;
        let below = std::mem::replace(&mut stack.newest, index);
        self.older = below;
        stack.len += 1;
        below
    }

    /// Leaves the stack, whose newest this must be. The one below keeps the index of what was above it: nobody asks
    /// the newest who is above.
    #[inline(always)]
    pub(super) fn leave_top(&self, stack: &mut IdleStack) {
        stack.len -= 1;
        stack.newest = self.older;
        if self.older == NONE {
            stack.oldest = NONE;
        }
    }

    /// When it was last known to work, for one that is idle or about to be.
    pub(super) fn known_to_work(&self) -> Nanos {
        self.checked.max(self.since)
    }
}

/// In place of an index: nothing.
pub(super) const NONE: u32 = u32::MAX;

impl Default for IdleStack {
    fn default() -> Self {
        Self { newest: NONE, oldest: NONE, len: 0 }
    }
}

impl Slots {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: NONE, live: 0 }
    }

    /// Takes a free place for a resource of `key` whose connect begins now.
    pub(super) fn take(&mut self, key: u32, now: Nanos) -> u32 {
        if self.free == NONE {
            self.grow();
        }
        let index = self.free;
        let slot = &mut self.slots[index as usize];
        self.free = slot.older;
        self.live += 1;
        slot.key = key;
        slot.phase = Phase::Connecting;
        slot.errand = Errand::None;
        slot.since = now;
        slot.uses = 0;
        slot.told = 0;
        slot.lending = Lending::ByCore;
        index
    }

    /// Makes the place free; every name of what was there is stale from now on.
    pub(super) fn give_back(&mut self, index: u32) {
        let free = self.free;
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.phase = Phase::Free;
        slot.older = free;
        self.free = index;
        self.live -= 1;
    }

    /// Makes sure that as many places as `wanted` exist, so that none has to be made while somebody gives something back.
    pub(super) fn prepare(&mut self, wanted: usize) {
        while self.slots.len() < wanted {
            self.grow();
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)
    }

    #[inline]
    pub(super) fn find(&mut self, id: SlotId, phase: Phase) -> Option<&mut Slot> {
        self.slots.get_mut(id.index()).filter(|slot| slot.generation == id.generation && slot.phase == phase)
    }

    pub(super) fn phase(&self, id: SlotId) -> Option<Phase> {
        let slot = self.slots.get(id.index()).filter(|slot| slot.generation == id.generation)?;
        (slot.phase != Phase::Free).then_some(slot.phase)
    }

    pub(super) fn id(&self, index: u32) -> SlotId {
        SlotId { index, generation: self.slots[index as usize].generation }
    }

    pub(super) fn live(&self) -> u32 {
        self.live
    }

    /// How many places there are, free ones included.
    pub(super) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Makes `index` the newest of the idle ones.
    pub(super) fn push(&mut self, stack: &mut IdleStack, index: u32) {
        let below = self.slots[index as usize].become_newest(stack, index);
        self.put_above(stack, below, index);
    }

    /// The second half of a push: the one below learns who is above.
    #[inline(always)]
    pub(super) fn put_above(&mut self, stack: &mut IdleStack, below: u32, index: u32) {
        match self.slots.get_mut(below as usize) {
            Some(below) => below.newer = index,
            None => stack.oldest = index,
        }
    }

    /// Puts `index` where its age belongs, looking from `near` on if that one is idle, else from the oldest.
    pub(super) fn insert_by_age(&mut self, stack: &mut IdleStack, index: u32, near: u32) {
        let Slot { since, key, .. } = self.slots[index as usize];
        let of_stack = |slot: &&Slot| slot.phase == Phase::Idle && slot.key == key;
        let mut newer = match self.slots.get(near as usize).filter(of_stack) {
            Some(_) => near,
            None => stack.oldest,
        };
        while newer != NONE && self.slots[newer as usize].since < since {
            newer = self.newer(stack, newer);
        }
        if newer == NONE {
            self.push(stack, index);
            return;
        }
        while let Some(older) = self.slots.get(self.slots[newer as usize].older as usize) {
            if older.since < since {
                break;
            }
            newer = self.slots[newer as usize].older;
        }
        let older = std::mem::replace(&mut self.slots[newer as usize].older, index);
        stack.len += 1;
        let slot = &mut self.slots[index as usize];
        slot.phase = Phase::Idle;
        (slot.newer, slot.older) = (newer, older);
        match self.slots.get_mut(older as usize) {
            Some(older) => older.newer = index,
            None => stack.oldest = index,
        }
    }

    /// Takes any one out of the stack.
    pub(super) fn unlink(&mut self, stack: &mut IdleStack, index: u32) {
        let Slot { newer, older, .. } = self.slots[index as usize];
        stack.len -= 1;
        let newer = if stack.newest == index { NONE } else { newer };
        match self.slots.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => stack.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => stack.oldest = newer,
        }
    }

    /// The next newer one in the stack; `NONE` behind the newest.
    pub(super) fn newer(&self, stack: &IdleStack, index: u32) -> u32 {
        if stack.newest == index { NONE } else { self.slots[index as usize].newer }
    }

    /// The next older one in the stack; `NONE` behind the oldest, and for nothing.
    pub(super) fn get_older(&self, index: u32) -> u32 {
        self.slots.get(index as usize).map_or(NONE, |slot| slot.older)
    }

    /// What is to be known of a resource to lend it.
    pub(super) fn known(&self, index: u32) -> Known {
        let Slot { fresh_until, since, uses, ends, .. } = self.slots[index as usize];
        Known { fresh_until, since, uses, ends }
    }

    /// A mark at `index`, which is idle or nothing.
    pub(super) fn cursor(&self, index: u32) -> Cursor {
        Cursor { slot: index, since: self.slots.get(index as usize).map_or(Nanos::ZERO, |slot| slot.since) }
    }

    /// Whether what a mark was set at has been idle ever since.
    pub(super) fn is_still_idle(&self, cursor: Cursor) -> bool {
        let slot = self.slots.get(cursor.slot as usize);
        slot.is_some_and(|slot| slot.phase == Phase::Idle && slot.since == cursor.since)
    }

    #[cold]
    fn grow(&mut self) {
        let index = self.slots.len() as u32;
        self.slots.push(Slot {
            generation: 1,
            key: 0,
            phase: Phase::Free,
            errand: Errand::None,
            newer: NONE,
            older: self.free,
            since: Nanos::ZERO,
            checked: Nanos::ZERO,
            since_before: Nanos::ZERO,
            fresh_until: Nanos::ZERO,
            ends: Nanos::MAX,
            uses: 0,
            attempt: None,
            work: Work::Begun,
            told: 0,
            lending: Lending::ByCore,
        });
        self.free = index;
    }
}

impl Index<u32> for Slots {
    type Output = Slot;

    #[inline]
    fn index(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }
}

impl IndexMut<u32> for Slots {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize]
    }
}
