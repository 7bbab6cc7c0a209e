//! The one bounded table of addresses: how many connections each has, and its flood score. Knows neither limits nor verdicts.
//!
//! Fixed capacity, reserved at start. An entry without live connections stands in a list by age and gives way, oldest first,
//! when room is needed; one with live connections never does, so its place in the table is its name as long as they live. With
//! room for more addresses than there can be connections, a newcomer always finds a place.
//!
//! What not every pool needs stands beside the entries, in arrays that are empty until it is asked for: scores, and the lower
//! halves of IPv6 addresses.

use std::collections::TryReserveError;

use crate::clock::Nanos;
use crate::error::Error;
use crate::hash::FoldedState;

use super::syn::Score;

/// Addresses by key.
pub(super) struct Addresses {
    hash: FoldedState,
    /// First entry of each chain. Invariant: a power of two of them, at least as many as `capacity`; none for capacity 0.
    heads: Vec<u32>,
    /// Invariant: never longer than `capacity`, which was reserved.
    entries: Vec<Entry>,
    /// The flood score of each entry. Invariant: as many as entries if `features.scores`, else none.
    scores: Vec<Score>,
    /// The part of each key that does not fit into its entry. Invariant: as many as entries if `features.rests`, else none.
    rests: Vec<u64>,
    features: Features,
    capacity: usize,
    /// Entries without live connections, newest and oldest.
    newest: u32,
    oldest: u32,
    /// Entries in that list.
    idle: usize,
    /// Entries that stand for nothing, chained by `chain`.
    free: u32,
    unused: usize,
    /// Invariant: the sum of `live` over all entries.
    live: usize,
}

/// What is kept for each address besides its count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features {
    pub(super) scores: bool,
    /// Keys of more than 64 bits.
    pub(super) rests: bool,
}

/// What becomes of an address without connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnceIdle {
    /// It is kept for its score, as long as there is room.
    Keep,
    Forget,
}

/// What counts as one address: IPv4, or the upper and the lower half of IPv6, each without the bits that do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    word: u64,
    rest: u64,
    v4: bool,
}

/// Where a key was looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// Its chain.
    head: u32,
    /// Its place, or [`NONE`].
    place: u32,
}

/// One address in twenty bytes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The key's word in two halves: a `u64` would be aligned, and the entry four bytes longer.
    word: [u32; 2],
    /// The next entry with the same head, or [`NONE`]; the top bit says that the key is IPv4.
    chain: u32,
    /// Live connections if `older` is [`LIVE`]; else the newer neighbour in the list by age, or [`NONE`].
    newer: u32,
    /// The older neighbour, or [`NONE`]; [`LIVE`] while the entry stands in no list because it has connections.
    older: u32,
}

impl Key {
    #[inline]
    pub(super) const fn v4(bits: u64) -> Self {
        Self { word: bits, rest: 0, v4: true }
    }

    #[inline]
    pub(super) const fn v6(bits: u128) -> Self {
        Self { word: (bits >> 64) as u64, rest: bits as u64, v4: false }
    }
}

impl Spot {
    /// Where the address stands, if it does.
    #[inline]
    pub(super) fn place(self) -> Option<u32> {
        (self.place != NONE).then_some(self.place)
    }
}

impl Entry {
    /// An address that has neither connections nor a place in the list; `next` comes behind it in its chain.
    #[inline]
    fn new(key: Key, next: u32) -> Self {
        let chain = next | if key.v4 { IS_V4 } else { 0 };
        Self { word: [key.word as u32, (key.word >> 32) as u32], chain, newer: 0, older: LIVE }
    }

    #[inline]
    fn word(&self) -> u64 {
        u64::from(self.word[1]) << 32 | u64::from(self.word[0])
    }

    #[inline]
    fn is_v4(&self) -> bool {
        self.chain & IS_V4 != 0
    }

    #[inline]
    fn next(&self) -> u32 {
        self.chain & !IS_V4
    }

    #[inline]
    fn set_next(&mut self, next: u32) {
        self.chain = self.chain & IS_V4 | next;
    }

    #[inline]
    fn live(&self) -> u32 {
        if self.older == LIVE { self.newer } else { 0 }
    }
}

impl Addresses {
    /// A table without room.
    pub(super) fn new(hash: FoldedState) -> Self {
        Self {
            hash,
            heads: Vec::new(),
            entries: Vec::new(),
            scores: Vec::new(),
            rests: Vec::new(),
            features: Features::default(),
            capacity: 0,
            newest: NONE,
            oldest: NONE,
            idle: 0,
            free: NONE,
            unused: 0,
            live: 0,
        }
    }

    /// Makes room for `capacity` addresses with what `features` asks for; never less than there was, because places are
    /// names. Changes nothing on error.
    pub(super) fn try_reserve(&mut self, capacity: usize, features: Features) -> Result<(), Error> {
        let capacity = capacity.max(self.capacity);
        let features = Features {
            scores: features.scores || self.features.scores,
            rests: features.rests || self.features.rests,
        };
        if (capacity, features) == (self.capacity, self.features) {
            return Ok(());
        }
        let heads = self
            .try_reserve_all(capacity, features)
            .map_err(|_| Error::Memory { what: "the table of addresses" })?;
        self.features = features;
        // Addresses that were there before they had a score or a longer key begin with what every address begins with.
        if features.scores {
            self.scores.resize(self.entries.len(), Score::new(Nanos::ZERO));
        }
        if features.rests {
            self.rests.resize(self.entries.len(), 0);
        }
        if capacity > self.capacity {
            self.capacity = capacity;
            self.spread(heads);
        }
        Ok(())
    }

    fn try_reserve_all(&mut self, capacity: usize, features: Features) -> Result<Vec<u32>, TryReserveError> {
        let mut heads = Vec::new();
        if capacity > self.capacity {
            heads.try_reserve_exact(capacity.next_power_of_two())?;
            self.entries.try_reserve_exact(capacity - self.entries.len())?;
        }
        if features.scores {
            self.scores.try_reserve_exact(capacity - self.scores.len())?;
        }
        if features.rests {
            self.rests.try_reserve_exact(capacity - self.rests.len())?;
        }
        Ok(heads)
    }

    /// Spreads all entries over so many new chains.
    fn spread(&mut self, mut heads: Vec<u32>) {
        heads.resize(self.capacity.next_power_of_two(), NONE);
        let before = std::mem::replace(&mut self.heads, heads);
        for mut place in before {
            while place != NONE {
                let next = self.entry(place).next();
                let behind = self.put_first(place, self.head(self.key(place)));
                self.entry_mut(place).set_next(behind);
                place = next;
            }
        }
    }

    /// Looks for an address.
    #[inline]
    pub(super) fn find(&self, key: Key) -> Spot {
        let head = self.head(key);
        let mut place = self.heads.get(head as usize).copied().unwrap_or(NONE);
        while place != NONE {
            let entry = self.entry(place);
            let is_same = entry.word() == key.word && entry.is_v4() == key.v4;
            if is_same && (!self.features.rests || self.rests[place as usize] == key.rest) {
                break;
            }
            place = entry.next();
        }
        Spot { head, place }
    }

    /// Gives an address that was not found a place, without live connections and in no list yet: [`open`](Self::open) or
    /// [`refresh`](Self::refresh) must follow. Another may be forgotten for it; `None` if every place is taken by an address
    /// with live connections.
    #[inline]
    pub(super) fn insert(&mut self, key: Key, spot: Spot, now: Nanos) -> Option<u32> {
        debug_assert!(self.find(key).place == NONE, "the address has a place");
        if self.free == NONE && self.entries.len() < self.capacity {
            let place = self.entries.len() as u32;
            let next = self.put_first(place, spot.head);
            self.entries.push(Entry::new(key, next));
            if self.features.scores {
                self.scores.push(Score::new(now));
            }
            if self.features.rests {
                self.rests.push(key.rest);
            }
            return Some(place);
        }
        self.insert_again(key, spot, now)
    }

    /// Inserts at a place that was used before.
    #[inline(never)]
    fn insert_again(&mut self, key: Key, spot: Spot, now: Nanos) -> Option<u32> {
        if self.free == NONE {
            let place = self.victim(now)?;
            self.unlist(place);
            self.forget(place);
        }
        let place = self.free;
        self.free = self.entry(place).next();
        self.unused -= 1;
        let next = self.put_first(place, spot.head);
        *self.entry_mut(place) = Entry::new(key, next);
        if self.features.scores {
            self.scores[place as usize] = Score::new(now);
        }
        if self.features.rests {
            self.rests[place as usize] = key.rest;
        }
        Some(place)
    }

    /// One more connection of this address.
    #[inline]
    pub(super) fn open(&mut self, place: u32) {
        self.live += 1;
        let entry = self.entry_mut(place);
        if entry.older == LIVE {
            entry.newer += 1;
            return;
        }
        self.unlist(place);
        let entry = self.entry_mut(place);
        (entry.newer, entry.older) = (1, LIVE);
    }

    /// One connection less.
    #[inline]
    pub(super) fn close(&mut self, place: u32, once_idle: OnceIdle) {
        let entry = self.entry_mut(place);
        debug_assert!(entry.live() > 0, "a connection ends twice");
        entry.newer = entry.newer.saturating_sub(1);
        let is_live = entry.newer > 0;
        self.live -= 1;
        match once_idle {
            _ if is_live => {}
            OnceIdle::Keep => self.push_newest(place),
            OnceIdle::Forget => self.forget(place),
        }
    }

    /// An address without live connections was heard of: it becomes the newest.
    pub(super) fn refresh(&mut self, place: u32) {
        let entry = self.entry(place);
        if entry.older != LIVE {
            self.unlist(place);
        } else if entry.newer > 0 {
            return;
        }
        self.push_newest(place);
    }

    /// Forgets every address without live connections.
    pub(super) fn forget_idle(&mut self) {
        while self.oldest != NONE {
            let place = self.oldest;
            self.unlist(place);
            self.forget(place);
        }
    }

    /// Forgets the address that would give way to the next one; `false` if every address has live connections.
    pub(super) fn forget_oldest(&mut self, now: Nanos) -> bool {
        let Some(place) = self.victim(now) else { return false };
        self.unlist(place);
        self.forget(place);
        true
    }

    /// Gives every address the score that it began with.
    pub(super) fn reset_scores(&mut self, now: Nanos) {
        self.scores.fill(Score::new(now));
    }

    /// Live connections of the address at `place`.
    #[inline]
    pub(super) fn live_at(&self, place: u32) -> u32 {
        self.entry(place).live()
    }

    /// The score of the address at `place`, of which there is one only if the table was made with scores.
    #[inline]
    pub(super) fn score_mut(&mut self, place: u32) -> &mut Score {
        &mut self.scores[place as usize]
    }

    /// Live connections of all addresses.
    #[inline]
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Addresses that are known.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.unused
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Addresses that are blocked at `now`. Looks at every score.
    pub(super) fn blocked(&self, now: Nanos) -> usize {
        self.scores.iter().filter(|score| score.is_blocked(now)).count()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.scores.capacity() * size_of::<Score>()
            + self.rests.capacity() * size_of::<u64>()
            + self.heads.capacity() * size_of::<u32>()
    }

    /// Every entry is live, idle or free; each is found under its key; the sums are right.
    pub(super) fn assert_invariants(&self) {
        assert!(self.entries.len() <= self.capacity && self.heads.len() >= self.capacity);
        let beside = |is_kept| if is_kept { self.entries.len() } else { 0 };
        assert_eq!(self.scores.len(), beside(self.features.scores), "scores");
        assert_eq!(self.rests.len(), beside(self.features.rests), "lower halves of keys");
        let sum: usize = self.entries.iter().map(|entry| entry.live() as usize).sum();
        assert_eq!(sum, self.live, "live connections");
        let unused = self.walk(self.free, Entry::next);
        let older = self.walk(self.newest, |entry| entry.older);
        let newer = self.walk(self.oldest, |entry| entry.newer);
        assert_eq!((unused.len(), older.len()), (self.unused, self.idle));
        assert!(older.iter().eq(newer.iter().rev()), "the list by age reads alike from both ends");
        let live = self.entries.iter().filter(|entry| entry.live() > 0).count();
        assert_eq!(live + self.idle + self.unused, self.entries.len());
        let chained: Vec<u32> = self.heads.iter().flat_map(|head| self.walk(*head, Entry::next)).collect();
        assert_eq!(chained.len(), self.len(), "every known address is in one chain");
        for place in chained {
            assert_eq!(self.find(self.key(place)).place, place);
        }
    }

    /// The places of a list, at most as many as there are entries and one.
    fn walk(&self, first: u32, next: impl Fn(&Entry) -> u32) -> Vec<u32> {
        let is_place = |place: &u32| *place != NONE;
        let step = |place: &u32| Some(next(self.entry(*place))).filter(is_place);
        let places = std::iter::successors(Some(first).filter(is_place), step);
        places.take(self.entries.len() + 1).collect()
    }

    /// The idle address to forget. Among the oldest few one that is not blocked, so that a block is not washed out by
    /// a crowd of passing addresses as easily as a good name.
    fn victim(&self, now: Nanos) -> Option<u32> {
        let oldest = Some(self.oldest).filter(|place| *place != NONE)?;
        if !self.features.scores {
            return Some(oldest);
        }
        let step = |place: &u32| Some(self.entry(*place).newer).filter(|newer| *newer != NONE);
        let mut few = std::iter::successors(Some(oldest), step).take(CANDIDATES);
        Some(few.find(|place| !self.scores[*place as usize].is_blocked(now)).unwrap_or(oldest))
    }

    /// Makes the place of an address free that has no connections and stands in no list.
    fn forget(&mut self, place: u32) {
        self.unlink(place);
        let free = std::mem::replace(&mut self.free, place);
        let entry = self.entry_mut(place);
        (entry.chain, entry.newer, entry.older) = (free, NONE, NONE);
        if self.features.scores {
            // Nobody is blocked there any more.
            self.scores[place as usize] = Score::new(Nanos::ZERO);
        }
        self.unused += 1;
    }

    /// Puts an entry at the start of a chain. Returns the one that comes behind it.
    #[inline]
    fn put_first(&mut self, place: u32, head: u32) -> u32 {
        std::mem::replace(&mut self.heads[head as usize], place)
    }

    /// Takes an entry out of its key's chain.
    #[inline]
    fn unlink(&mut self, place: u32) {
        let next = self.entry(place).next();
        let head = self.head(self.key(place)) as usize;
        let mut at = self.heads[head];
        if at == place {
            self.heads[head] = next;
            return;
        }
        while self.entry(at).next() != place {
            at = self.entry(at).next();
        }
        self.entry_mut(at).set_next(next);
    }

    #[inline]
    fn push_newest(&mut self, place: u32) {
        let second = self.newest;
        let entry = self.entry_mut(place);
        (entry.newer, entry.older) = (NONE, second);
        match second {
            NONE => self.oldest = place,
            _ => self.entry_mut(second).newer = place,
        }
        self.newest = place;
        self.idle += 1;
    }

    /// Takes an idle entry out of the list by age.
    fn unlist(&mut self, place: u32) {
        let Entry { newer, older, .. } = *self.entry(place);
        debug_assert!(older != LIVE, "it stands in no list");
        match newer {
            NONE => self.newest = older,
            _ => self.entry_mut(newer).older = older,
        }
        match older {
            NONE => self.oldest = newer,
            _ => self.entry_mut(older).newer = newer,
        }
        self.idle -= 1;
    }

    fn key(&self, place: u32) -> Key {
        let entry = self.entry(place);
        let rest = if self.features.rests { self.rests[place as usize] } else { 0 };
        Key { word: entry.word(), rest, v4: entry.is_v4() }
    }

    /// The chain of a key; out of range only for a table without room.
    #[inline]
    fn head(&self, key: Key) -> u32 {
        let bits = u128::from(key.rest) << 64 | u128::from(key.word);
        self.hash.hash_u128(bits) as u32 & (self.heads.len() as u32).wrapping_sub(1)
    }

    #[inline]
    fn entry(&self, place: u32) -> &Entry {
        &self.entries[place as usize]
    }

    #[inline]
    fn entry_mut(&mut self, place: u32) -> &mut Entry {
        &mut self.entries[place as usize]
    }
}

/// No place. Places are below 2^25: at most 2^24 addresses are tracked, or one more than the connections.
pub(super) const NONE: u32 = u32::MAX >> 1;
/// In place of the older neighbour: it stands in no list.
const LIVE: u32 = NONE - 1;
/// The bit of a chain that says that the key is IPv4.
const IS_V4: u32 = 1 << 31;
/// Oldest idle addresses that are looked at for one that is not blocked.
const CANDIDATES: usize = 8;

#[cfg(test)]
mod tests;
