//! The one bounded table of addresses: how many connections each has, and its flood score. Knows neither limits nor verdicts.
//!
//! Fixed capacity, reserved at start. An entry without live connections stands in a list by age and gives way, oldest first,
//! when room is needed; one with live connections never does, so its place in the table is its name as long as they live. With
//! room for more addresses than there can be connections, a newcomer always finds a place.

use crate::clock::Nanos;
use crate::error::Error;
use crate::hash::FoldedState;

use super::syn::Score;

/// Addresses by key, which is the address masked to the prefix that counts as one.
pub(super) struct Addresses {
    hash: FoldedState,
    /// First entry of each chain. Invariant: a power of two of them, at least as many as `capacity`; none for capacity 0.
    heads: Vec<u32>,
    /// Invariant: never longer than `capacity`, which was reserved.
    entries: Vec<Entry>,
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

/// One address: a cache line.
struct Entry {
    key: [u64; 2],
    live: u32,
    /// The next entry with the same head.
    chain: u32,
    /// Neighbours in the list by age, while `live` is 0.
    newer: u32,
    older: u32,
    score: Score,
}

impl Addresses {
    /// A table without room.
    pub(super) fn new(hash: FoldedState) -> Self {
        Self {
            hash,
            heads: Vec::new(),
            entries: Vec::new(),
            capacity: 0,
            newest: NONE,
            oldest: NONE,
            idle: 0,
            free: NONE,
            unused: 0,
            live: 0,
        }
    }

    /// Makes room for `capacity` addresses; never less than there was, because places are names. Changes nothing on error.
    pub(super) fn try_reserve(&mut self, capacity: usize) -> Result<(), Error> {
        if capacity <= self.capacity {
            return Ok(());
        }
        let memory = |_| Error::Memory { what: "the table of addresses" };
        let mut heads = Vec::new();
        heads.try_reserve_exact(capacity.next_power_of_two()).map_err(memory)?;
        self.entries.try_reserve_exact(capacity - self.entries.len()).map_err(memory)?;
        heads.resize(capacity.next_power_of_two(), NONE);
        let before = std::mem::replace(&mut self.heads, heads);
        for mut place in before {
            while place != NONE {
                let next = self.entry(place).chain;
                self.link(place);
                place = next;
            }
        }
        self.capacity = capacity;
        Ok(())
    }

    /// Where the address stands, if it does.
    #[inline]
    pub(super) fn find(&self, key: u128) -> Option<u32> {
        let mut place = *self.heads.get(self.head(key))?;
        while place != NONE {
            let entry = self.entry(place);
            if entry.key == halves(key) {
                return Some(place);
            }
            place = entry.chain;
        }
        None
    }

    /// Gives an address that has no place one, without live connections and in no list yet: [`open`](Self::open) or
    /// [`refresh`](Self::refresh) must follow. Another may be forgotten for it; `None` if every place is taken by an address with
    /// live connections.
    #[inline(never)]
    pub(super) fn insert(&mut self, key: u128, now: Nanos) -> Option<u32> {
        debug_assert!(self.find(key).is_none(), "the address has a place");
        let entry = Entry {
            key: halves(key),
            live: 0,
            chain: NONE,
            newer: UNLISTED,
            older: NONE,
            score: Score::new(now),
        };
        if self.free == NONE && self.entries.len() == self.capacity {
            let place = self.victim(now)?;
            self.forget(place);
        }
        let place = if self.free != NONE {
            let place = self.free;
            self.free = self.entry(place).chain;
            self.unused -= 1;
            *self.entry_mut(place) = entry;
            place
        } else {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        };
        self.link(place);
        Some(place)
    }

    /// One more connection of this address.
    #[inline(always)]
    pub(super) fn open(&mut self, place: u32) {
        self.live += 1;
        let entry = self.entry_mut(place);
        entry.live += 1;
        if entry.live == 1 {
            self.unlist(place);
        }
    }

    /// One connection less. Without any, the address is kept for its score if `keep`, else forgotten.
    #[inline]
    pub(super) fn close(&mut self, place: u32, keep: bool) {
        let entry = self.entry_mut(place);
        debug_assert!(entry.live > 0, "a connection ends twice");
        entry.live = entry.live.saturating_sub(1);
        let is_idle = entry.live == 0;
        self.live -= 1;
        if is_idle {
            self.push_newest(place);
            if !keep {
                self.forget(place);
            }
        }
    }

    /// An address without live connections was heard of: it becomes the newest.
    pub(super) fn refresh(&mut self, place: u32) {
        if self.entry(place).live == 0 {
            self.unlist(place);
            self.push_newest(place);
        }
    }

    /// Forgets every address without live connections.
    pub(super) fn forget_idle(&mut self) {
        while self.oldest != NONE {
            self.forget(self.oldest);
        }
    }

    /// Live connections of the address at `place`.
    #[inline]
    pub(super) fn live_at(&self, place: u32) -> u32 {
        self.entry(place).live
    }

    #[inline]
    pub(super) fn score_mut(&mut self, place: u32) -> &mut Score {
        &mut self.entry_mut(place).score
    }

    /// Live connections of all addresses.
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

    /// Addresses that are blocked at `now`.
    #[cfg(test)]
    pub(super) fn blocked(&self, now: Nanos) -> usize {
        self.entries.iter().filter(|entry| entry.score.is_blocked(now)).count()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.heads.capacity() * size_of::<u32>()
    }

    /// Every entry is live, idle or free; each is found under its key; the sums are right.
    pub(super) fn assert_invariants(&self) {
        assert!(self.entries.len() <= self.capacity && self.heads.len() >= self.capacity);
        let sum: usize = self.entries.iter().map(|entry| entry.live as usize).sum();
        assert_eq!(sum, self.live, "live connections");
        let unused = self.walk(self.free, |entry| entry.chain);
        let older = self.walk(self.newest, |entry| entry.older);
        let newer = self.walk(self.oldest, |entry| entry.newer);
        assert_eq!((unused.len(), older.len()), (self.unused, self.idle));
        assert!(older.iter().eq(newer.iter().rev()), "the list by age reads alike from both ends");
        assert!(
            older.iter().all(|place| self.entry(*place).live == 0),
            "idle entries have no live connections"
        );
        let live = self.entries.iter().filter(|entry| entry.live > 0).count();
        assert_eq!(live + self.idle + self.unused, self.entries.len());
        let chained: Vec<u32> =
            self.heads.iter().flat_map(|head| self.walk(*head, |entry| entry.chain)).collect();
        assert_eq!(chained.len(), self.len(), "every known address is in one chain");
        for place in chained {
            assert_eq!(self.find(key(self.entry(place))), Some(place));
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
        let step = |place: &u32| Some(self.entry(*place).newer).filter(|newer| *newer != NONE);
        let oldest = Some(self.oldest).filter(|place| *place != NONE)?;
        let mut few = std::iter::successors(Some(oldest), step).take(CANDIDATES);
        Some(few.find(|place| !self.entry(*place).score.is_blocked(now)).unwrap_or(oldest))
    }

    /// Makes the place of an idle address free.
    fn forget(&mut self, place: u32) {
        self.unlist(place);
        self.unlink(place);
        self.entry_mut(place).score = Score::new(Nanos::ZERO);
        self.entry_mut(place).chain = self.free;
        self.free = place;
        self.unused += 1;
    }

    /// Puts an entry at the start of its key's chain.
    fn link(&mut self, place: u32) {
        let head = self.head(key(self.entry(place)));
        self.entry_mut(place).chain = self.heads[head];
        self.heads[head] = place;
    }

    /// Takes an entry out of its key's chain.
    fn unlink(&mut self, place: u32) {
        let Entry { chain: next, .. } = *self.entry(place);
        let head = self.head(key(self.entry(place)));
        let mut at = self.heads[head];
        if at == place {
            self.heads[head] = next;
            return;
        }
        while self.entry(at).chain != place {
            at = self.entry(at).chain;
        }
        self.entry_mut(at).chain = next;
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

    #[inline]
    fn unlist(&mut self, place: u32) {
        let Entry { newer, older, .. } = *self.entry(place);
        match newer {
            UNLISTED => return,
            NONE => self.newest = older,
            _ => self.entry_mut(newer).older = older,
        }
        match older {
            NONE => self.oldest = newer,
            _ => self.entry_mut(older).newer = newer,
        }
        self.idle -= 1;
    }

    /// The chain of a key; out of range only for a table without room.
    #[inline]
    fn head(&self, key: u128) -> usize {
        self.hash.hash_u128(key) as usize & self.heads.len().wrapping_sub(1)
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

/// A key in two halves, because a `u128` would make an entry 80 bytes instead of 64.
#[inline]
const fn halves(key: u128) -> [u64; 2] {
    [key as u64, (key >> 64) as u64]
}

#[inline]
fn key(entry: &Entry) -> u128 {
    u128::from(entry.key[1]) << 64 | u128::from(entry.key[0])
}

/// No place.
pub(super) const NONE: u32 = u32::MAX;
/// Stands in place of the newer neighbour of an entry that was just made.
const UNLISTED: u32 = u32::MAX - 1;
/// Oldest idle addresses that are looked at for one that is not blocked.
const CANDIDATES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn table(capacity: usize) -> Addresses {
        let mut table = Addresses::new(FoldedState::with_seed(1));
        table.try_reserve(capacity).unwrap();
        table
    }

    /// An address without connections.
    fn insert(table: &mut Addresses, key: u128) {
        let place = table.insert(key, Nanos::ZERO).unwrap();
        table.refresh(place);
    }

    /// Entries that are looked at to find `key`.
    fn probes(table: &Addresses, key: u128) -> usize {
        let chain = table.walk(table.heads[table.head(key)], |entry| entry.chain);
        chain.iter().position(|place| table.entry(*place).key == halves(key)).unwrap() + 1
    }

    /// The hash of the legacy pool, before it seeds.
    fn djb2(key: u128) -> u32 {
        key.to_be_bytes()
            .iter()
            .fold(5_381_u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(*byte)))
    }

    #[test]
    fn an_entry_is_a_cache_line() {
        assert_eq!(size_of::<Entry>(), 64);
    }

    #[test]
    fn keys_that_collide_under_djb2_are_found_as_fast_as_others() {
        const KEYS: usize = 65_536;
        // A byte up by one is a byte 33 down behind it: eight such pairs, four choices each.
        let colliding = (0..KEYS).map(|n| {
            let bytes = (0..8).flat_map(|pair| {
                let choice = (n >> (2 * pair) & 3) as u8;
                [100 + choice, 200 - 33 * choice]
            });
            u128::from_be_bytes(bytes.collect::<Vec<u8>>().try_into().unwrap())
        });
        let keys: Vec<u128> = colliding.collect();
        assert!(keys.iter().all(|key| djb2(*key) == djb2(keys[0])));
        for seed in 0..4 {
            let mut table = Addresses::new(FoldedState::with_seed(seed));
            table.try_reserve(KEYS).unwrap();
            for key in &keys {
                insert(&mut table, *key);
            }
            let all: Vec<usize> = keys.iter().map(|key| probes(&table, *key)).collect();
            let (sum, most) = (all.iter().sum::<usize>(), *all.iter().max().unwrap());
            // A random function gives 1.5 on average.
            assert!(sum < KEYS * 16 / 10 && most <= 12, "seed {seed}: {sum} in all, {most} at most");
        }
    }

    #[test]
    fn the_oldest_address_without_connections_gives_way_and_a_live_one_never_does() {
        let mut table = table(3);
        for key in 0..3 {
            insert(&mut table, key);
        }
        let live = table.find(0).unwrap();
        table.open(live);
        table.refresh(table.find(1).unwrap());
        insert(&mut table, 3);
        assert_eq!((table.find(2), table.len()), (None, 3));
        insert(&mut table, 4);
        assert_eq!((table.find(1), table.find(0)), (None, Some(live)));
        table.assert_invariants();
    }

    #[test]
    fn a_table_full_of_live_addresses_has_no_place_and_keeps_all() {
        let mut table = table(2);
        for key in 0..2 {
            let place = table.insert(key, Nanos::ZERO).unwrap();
            table.open(place);
        }
        assert_eq!(table.insert(2, Nanos::ZERO), None);
        table.assert_invariants();
        table.try_reserve(3).unwrap();
        insert(&mut table, 2);
        assert_eq!((table.find(0), table.find(1), table.find(2)), (Some(0), Some(1), Some(2)));
        table.assert_invariants();
    }

    #[test]
    fn a_table_without_room_finds_and_takes_nothing() {
        let mut table = Addresses::new(FoldedState::default());
        assert_eq!((table.find(7), table.insert(7, Nanos::ZERO), table.memory_bytes()), (None, None, 0));
        table.assert_invariants();
    }

    #[test]
    fn room_that_cannot_be_had_is_an_error() {
        let mut table = table(2);
        insert(&mut table, 7);
        assert!(matches!(table.try_reserve(usize::MAX / 128), Err(Error::Memory { .. })));
        assert_eq!((table.find(7), table.capacity()), (Some(0), 2));
        table.assert_invariants();
    }

    #[test]
    fn a_million_addresses_take_no_more_memory_than_was_reserved() {
        let mut table = table(1_000);
        let memory = table.memory_bytes();
        for key in 0..1_000_000 {
            let place = table.insert(key << 64, Nanos::ZERO).unwrap();
            table.open(place);
            table.close(place, key % 3 > 0);
        }
        assert!(table.len() <= 1_000);
        assert_eq!(table.memory_bytes(), memory);
        table.assert_invariants();
    }
}
