//! Room that keys share when the core may hold no more: who waits for it, and what is closed to make some. A key starves
//! while only the limit of all keeps it from a connect.

use super::core::Core;
use super::key::{Key, Room};
use super::line::Want;
use super::protocol::CloseReason;
use super::slots::{Errand, NONE};
use crate::clock::Nanos;
use crate::drain::DrainState;

impl Core {
    /// Has a resource closed so that somebody can connect who cannot because the core is full.
    pub(super) fn close_for_room(&mut self, index: u32, now: Nanos) {
        self.close(index, CloseReason::Room, now);
        self.slots[index].errand = Errand::Room;
        self.room_coming += 1;
    }

    /// Has a used resource closed for one under its own key who wants a new one. If what keeps him from it is the limit
    /// of the key, this is no room that those can count on who wait for some in the core.
    pub(super) fn close_in_the_way(&mut self, index: u32, now: Nanos) {
        let key = &self.keys[self.slots[index].key as usize];
        if key.live >= key.terms.max_size {
            self.close(index, CloseReason::Room, now);
        } else {
            self.close_for_room(index, now);
        }
    }

    /// Whether a used resource keeps the place that the first in line needs for a new one.
    pub(super) fn stands_in_the_way(&self, index: u32) -> bool {
        let key = &self.keys[index as usize];
        let first = self.first_of(key.any.first, key.new.first);
        let full = key.live >= key.terms.max_size
            || (self.slots.live() >= self.max_total && !self.is_room_coming(index));
        first != NONE
            && self.waiters.at(first).want == Want::New
            && key.new.len > key.connecting + key.closing
            && full
    }

    /// Whether somebody under another key, which cannot connect because the pool is full, has more of a right to the
    /// place of a resource of this key than the `waiter` whom it suits.
    pub(super) fn is_wanted_elsewhere(&self, index: u32, waiter: u32) -> bool {
        if self.starving == 0 || self.room_coming >= self.room_wished_for() {
            return false;
        }
        let own = &self.keys[index as usize];
        let Some(asked) = self.longest_starving(index).map(|other| self.head_asked(other)) else {
            return false;
        };
        if waiter == NONE {
            return own.staying() > own.terms.min_size;
        }
        asked + HEAD_START <= self.waiters.at(waiter).asked
    }

    /// When the first in line of a key asked.
    fn head_asked(&self, index: u32) -> Nanos {
        let key = &self.keys[index as usize];
        match self.first_of(key.any.first, key.new.first) {
            NONE => Nanos::MAX,
            first => self.waiters.at(first).asked,
        }
    }

    /// The starving key whose first in line has waited longest, other than `but`.
    fn longest_starving(&self, but: u32) -> Option<u32> {
        if self.starving == 0 {
            return None;
        }
        let starving = |index: &u32| *index != but && self.keys[*index as usize].room == Room::Starving;
        (0..self.keys.len() as u32).filter(starving).min_by_key(|index| self.head_asked(*index))
    }

    /// Whether as many places are becoming free as the key and those that starve could use.
    fn is_room_coming(&self, index: u32) -> bool {
        let key = &self.keys[index as usize];
        let not_counted = if key.room == Room::Starving { 0 } else { key.wishes() };
        self.room_coming >= self.room_wished_for().saturating_add(not_counted)
    }

    /// How many places those keys could use that starve.
    fn room_wished_for(&self) -> u32 {
        let starving = self.keys.iter().filter(|key| key.room == Room::Starving);
        starving.map(Key::wishes).fold(0, u32::saturating_add)
    }

    /// Closes the longest idle resource: of the key itself if a new one is to take its place, else of another key that has
    /// more than its minimum.
    pub(super) fn make_room(&mut self, index: u32, now: Nanos) {
        let key = &self.keys[index as usize];
        if key.live < key.terms.max_size && self.is_room_coming(index) {
            return;
        }
        if key.has_one_in_the_way() {
            let oldest = key.idle.oldest;
            self.take_from_idle(oldest);
            self.close_in_the_way(oldest, now);
            return;
        }
        if let Some(victim) = self.longest_idle_elsewhere(index) {
            self.take_from_idle(victim);
            self.close_for_room(victim, now);
        }
    }

    /// The longest idle resource of another key that has more than its minimum.
    fn longest_idle_elsewhere(&self, index: u32) -> Option<u32> {
        let spare = |key: &&Key| key.idle.oldest != NONE && key.staying() > key.terms.min_size;
        let others = self.keys.iter().enumerate().filter(|(other, _)| *other != index as usize);
        let oldest = others.map(|(_, key)| key).filter(spare).map(|key| key.idle.oldest);
        oldest.min_by_key(|slot| self.slots[*slot].since)
    }

    /// Whether there is a place for a connect, or will be when all that closes has closed, or could be made.
    pub(super) fn could_have_room(&self, index: u32) -> bool {
        let key = &self.keys[index as usize];
        let has_place = self.slots.live() - self.closing < self.max_total;
        key.staying() < key.terms.max_size && (has_place || self.longest_idle_elsewhere(index).is_some())
    }

    /// There is room again: those connect who have waited for it longest.
    pub(super) fn serve_starving(&mut self, now: Nanos) {
        while self.starving > 0 && self.slots.live() < self.max_total {
            let Some(index) = self.longest_starving(NONE) else { return };
            // Whether it connects or cannot now, it does not starve any more while there is room.
            self.provide(index, now);
        }
    }

    /// With what has begun a key may have risen above its minimum and have one to spare. And who counted on the place
    /// that others have taken now may have one in the way that only he may close.
    pub(super) fn go_on_making_room(&mut self, now: Nanos) {
        let Some(longest) = self.longest_starving(NONE) else { return };
        self.make_room(longest, now);
        // If it found none elsewhere, only it can have one to spare: then that is for whoever is next.
        if let Some(next) = self.longest_starving(longest) {
            self.make_room(next, now);
        }
        for index in 0..self.keys.len() as u32 {
            let key = &self.keys[index as usize];
            if key.room == Room::Starving && key.has_one_in_the_way() {
                self.make_room(index, now);
            }
        }
    }

    /// Sums up whether anything but lending and taking back can happen.
    pub(super) fn note_unrest(&mut self) {
        self.unrest = self.starving + u32::from(self.drain != DrainState::Active);
    }

    /// Writes down whether a key waits for room that other keys have.
    pub(super) fn note_room(&mut self, index: u32, room: Room) {
        if std::mem::replace(&mut self.keys[index as usize].room, room) == room {
            return;
        }
        match room {
            Room::Starving => self.starving += 1,
            Room::Enough => self.starving -= 1,
        }
        self.note_unrest();
    }
}

/// By so much longer must somebody under another key have waited to be given a place that this key could use.
const HEAD_START: std::time::Duration = std::time::Duration::from_millis(50);
