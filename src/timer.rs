//! Deadlines by table slot, at most one for each: a hierarchical timing wheel (Varghese and Lauck, "Hashed and
//! Hierarchical Timing Wheels", SOSP 1987) over nodes that stand in an array, so that arming never allocates.
//! Knows neither what a deadline is for nor the clock: `now` comes in with every question.
//!
//! A deadline stands on the level of the highest 6-bit digit in which it differs from `base`, in the wheel slot that
//! this digit names. So whatever is on a lower level is due earlier, and in a level the slots are in order: the
//! earliest is found by two bit scans. When a slot above level 0 becomes due, `base` moves to the earliest deadline in
//! it and everything in it moves down at least one level. Slots know that earliest deadline exactly, so nobody has
//! to wake up just to move things.

use std::collections::TryReserveError;

use crate::clock::Nanos;

/// The deadlines of all table slots.
#[derive(Debug)]
pub(crate) struct Timers {
    nodes: Vec<Node>,
    wheel: Box<[WheelSlot; LEVELS * WIDTH]>,
    /// Bit n of a level is set when wheel slot n of it is not empty.
    occupied: [u64; LEVELS],
    /// Bit n is set when level n is not empty.
    levels: u32,
    /// Entries that are on their way down: taken out of their wheel slot, not yet in another one.
    falling: u32,
    /// The tick to which the places of all entries refer. Invariant: not after any deadline, except those that
    /// were in the past when they were armed; they stand on level 0 as if due at `base`, so `base` cannot leave them.
    base: u64,
    /// When something may be due. Invariant: not later than any deadline.
    next: Nanos,
    len: usize,
}

/// The deadline of one table slot and its neighbours in the list of its wheel slot.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// In ticks; `NEVER` when not armed.
    due_ms: u64,
    prev: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct WheelSlot {
    /// Invariant: not later than any deadline in the list. Exact until an entry is removed.
    earliest_ms: u64,
    /// The first entry; `NONE` when empty.
    head: u32,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            wheel: Box::new([WheelSlot { earliest_ms: NEVER, head: NONE }; LEVELS * WIDTH]),
            occupied: [0; LEVELS],
            levels: 0,
            falling: NONE,
            base: 0,
            next: Nanos::MAX,
            len: 0,
        }
    }

    /// Makes sure that deadlines for the table slots below `slots` can be armed without allocating.
    pub(crate) fn try_reserve(&mut self, slots: usize) -> Result<(), TryReserveError> {
        self.nodes.try_reserve_exact(slots.saturating_sub(self.nodes.len()))
    }

    /// Sets the deadline of `slot`, moving it if it has one. Rounded up to a millisecond, so that nothing ends early.
    /// A deadline in the past is due at once; `Nanos::MAX` disarms.
    pub(crate) fn arm(&mut self, slot: u32, due: Nanos) {
        self.arm_tick(slot, tick(due));
    }

    /// Makes sure that `slot` is due at `due` or before: does nothing if it is already.
    #[inline]
    pub(crate) fn arm_by(&mut self, slot: u32, due: Nanos) {
        let due_ms = tick(due);
        if self.due_ms(slot) > due_ms {
            self.arm_tick(slot, due_ms);
        }
    }

    /// Takes the deadline of `slot` away; fine when it has none.
    pub(crate) fn disarm(&mut self, slot: u32) {
        if self.due_ms(slot) == NEVER {
            return;
        }
        let emptied = self.unlink(slot);
        self.nodes[slot as usize].due_ms = NEVER;
        self.len -= 1;
        if emptied {
            self.next = self.earliest();
        }
    }

    /// One slot whose deadline is not after `now`, in no promised order; it is disarmed. `None` when nothing is due.
    /// `now` does not go back from one call to the next.
    ///
    /// A call moves at most [`MOVES`] entries between levels, so that a turn of the loop stays short however many
    /// deadlines fall together. When that is not enough it returns `None` with something due; [`next`](Self::next)
    /// is then not after `now`, so the loop does not sleep and the next call carries on.
    #[inline]
    pub(crate) fn expired(&mut self, now: Nanos) -> Option<u32> {
        if now < self.next {
            return None;
        }
        self.expired_within(now, MOVES)
    }

    /// The deadline of `slot`, as rounded.
    #[cfg(test)]
    pub(crate) fn due(&self, slot: u32) -> Option<Nanos> {
        let due_ms = self.due_ms(slot);
        (due_ms != NEVER).then(|| Nanos::from_millis(due_ms))
    }

    /// When [`expired`](Self::expired) next has something to look at: the earliest deadline, or an earlier point when
    /// an entry near it was moved or disarmed since. `Nanos::MAX` when nothing is armed.
    pub(crate) fn next(&self) -> Nanos {
        self.next
    }

    /// How many slots have a deadline.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The memory of all this.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.wheel) + self.nodes.capacity() * size_of::<Node>()
    }

    /// Walks everything and panics where a rule of this module does not hold.
    pub(crate) fn assert_invariants(&self) {
        let mut seen = self.assert_list(self.falling, |due_ms| due_ms >= self.base);
        for (place, wheel_slot) in self.wheel.iter().enumerate() {
            let (level, bit) = (place / WIDTH, place % WIDTH);
            assert_eq!(
                self.occupied[level] >> bit & 1 == 1,
                wheel_slot.head != NONE,
                "occupied bit of {place}"
            );
            seen += self.assert_list(wheel_slot.head, |due_ms| {
                self.place(due_ms) == place && wheel_slot.earliest_ms <= due_ms
            });
        }
        for (level, occupied) in self.occupied.iter().enumerate() {
            assert_eq!(self.levels >> level & 1 == 1, *occupied != 0, "bit of level {level}");
        }
        let armed = self.nodes.iter().filter(|node| node.due_ms != NEVER);
        assert!(armed.clone().all(|node| self.next <= Nanos::from_millis(node.due_ms)), "next is too late");
        assert_eq!((seen, armed.count()), (self.len, self.len), "entries in lists and entries armed");
        assert_eq!(self.next, self.earliest(), "cached next");
    }

    fn due_ms(&self, slot: u32) -> u64 {
        self.nodes.get(slot as usize).map_or(NEVER, |node| node.due_ms)
    }

    fn arm_tick(&mut self, slot: u32, due_ms: u64) {
        self.disarm(slot);
        if due_ms == NEVER {
            return;
        }
        let needed = slot as usize + 1;
        if self.nodes.len() < needed {
            self.nodes.resize(needed, Node { due_ms: NEVER, prev: NONE, next: NONE });
        }
        self.nodes[slot as usize].due_ms = due_ms;
        self.len += 1;
        self.link(slot);
        self.next = self.next.min(Nanos::from_millis(due_ms));
    }

    #[inline(never)] // Keeps the compare in `expired` small enough to stand in the caller's loop.
    fn expired_within(&mut self, now: Nanos, mut moves: usize) -> Option<u32> {
        while now >= self.next {
            if self.falling != NONE {
                if !self.fall(&mut moves) {
                    return None;
                }
                continue;
            }
            let place = self.first()?;
            if place < WIDTH {
                // All in one slot of level 0 are due together, or are overdue.
                let slot = self.wheel[place].head;
                self.disarm(slot);
                return Some(slot);
            }
            self.drop_slot(place);
        }
        None
    }

    /// Moves `base` to the earliest deadline of a wheel slot above level 0 and lets its entries fall. All lower levels
    /// are empty, so no other entry changes its place by this.
    fn drop_slot(&mut self, place: usize) {
        let WheelSlot { earliest_ms, head } = self.wheel[place];
        self.base = earliest_ms;
        self.falling = head;
        self.vacate(place);
    }

    /// Links falling entries into their new places, at most `moves` of them, and says whether all are.
    fn fall(&mut self, moves: &mut usize) -> bool {
        while self.falling != NONE {
            if *moves == 0 {
                return false;
            }
            *moves -= 1;
            let slot = self.falling;
            self.unlink(slot);
            self.link(slot);
        }
        self.next = self.earliest();
        true
    }

    /// Puts an entry at the front of the list in which it belongs.
    fn link(&mut self, slot: u32) {
        let due_ms = self.nodes[slot as usize].due_ms;
        let place = self.place(due_ms);
        let wheel_slot = &mut self.wheel[place];
        let next = std::mem::replace(&mut wheel_slot.head, slot);
        wheel_slot.earliest_ms = wheel_slot.earliest_ms.min(due_ms);
        self.occupied[place / WIDTH] |= 1 << (place % WIDTH);
        self.levels |= 1 << (place / WIDTH);
        let node = &mut self.nodes[slot as usize];
        node.prev = NONE;
        node.next = next;
        if next != NONE {
            self.nodes[next as usize].prev = slot;
        }
    }

    /// Takes an entry out of its list and says whether this emptied the list.
    fn unlink(&mut self, slot: u32) -> bool {
        let Node { due_ms, prev, next } = self.nodes[slot as usize];
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
        if prev != NONE {
            self.nodes[prev as usize].next = next;
            return false;
        }
        if self.falling == slot {
            self.falling = next;
            return next == NONE;
        }
        let place = self.place(due_ms);
        self.wheel[place].head = next;
        if next == NONE {
            self.vacate(place);
        }
        next == NONE
    }

    fn vacate(&mut self, place: usize) {
        self.wheel[place] = WheelSlot { earliest_ms: NEVER, head: NONE };
        let level = place / WIDTH;
        self.occupied[level] &= !(1 << (place % WIDTH));
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    /// The first wheel slot that is not empty; nothing in any other is due before what is in it.
    fn first(&self) -> Option<usize> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        Some(level * WIDTH + self.occupied[level].trailing_zeros() as usize)
    }

    /// What `next` must be.
    fn earliest(&self) -> Nanos {
        let falling = if self.falling == NONE { NEVER } else { self.base };
        let first = self.first().map_or(NEVER, |place| self.wheel[place].earliest_ms);
        Nanos::from_millis(falling.min(first))
    }

    /// Where a deadline belongs as long as `base` stays.
    fn place(&self, due_ms: u64) -> usize {
        let at = due_ms.max(self.base);
        let level = ((at ^ self.base) | 1).ilog2() as usize / DIGIT_BITS;
        level * WIDTH + (at >> (level * DIGIT_BITS)) as usize % WIDTH
    }

    /// Checks one list and counts it.
    fn assert_list(&self, head: u32, belongs: impl Fn(u64) -> bool) -> usize {
        let (mut count, mut prev, mut slot) = (0, NONE, head);
        while slot != NONE {
            let node = &self.nodes[slot as usize];
            assert!(node.due_ms != NEVER && belongs(node.due_ms), "{slot} ({node:?}) is in the wrong list");
            assert_eq!(node.prev, prev, "{slot} does not know what is before it");
            (count, prev, slot) = (count + 1, slot, node.next);
        }
        count
    }
}

/// The first tick not before `due`; `NEVER` for `Nanos::MAX` and for the last millisecond before it, which no clock
/// gets past.
fn tick(due: Nanos) -> u64 {
    let due_ms = due.as_nanos().div_ceil(NANOS_PER_TICK);
    if due_ms > Nanos::MAX.as_millis() { NEVER } else { due_ms }
}

const NANOS_PER_TICK: u64 = 1_000_000;
const DIGIT_BITS: usize = 6;
/// Wheel slots on a level.
const WIDTH: usize = 1 << DIGIT_BITS;
/// Eight digits are 48 bits of milliseconds: more than `Nanos` can hold, so nothing lies beyond the wheel.
const LEVELS: usize = 8;
/// Entries that one call moves between levels at most: below a millisecond of work even when no cache holds them.
const MOVES: usize = 8_192;
/// In place of a table slot: no entry.
const NONE: u32 = u32::MAX;
/// In place of a tick: not armed.
const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Nanos {
        Nanos::from_millis(ms)
    }

    fn armed(deadlines: &[(u32, u64)]) -> Timers {
        let mut timers = Timers::new();
        for (slot, ms) in deadlines {
            timers.arm(*slot, at(*ms));
        }
        timers.assert_invariants();
        timers
    }

    /// Every slot that is due, sorted.
    fn due(timers: &mut Timers, now: Nanos) -> Vec<u32> {
        let mut slots: Vec<u32> = std::iter::from_fn(|| timers.expired(now)).collect();
        timers.assert_invariants();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn a_node_takes_sixteen_bytes() {
        assert_eq!(size_of::<Node>(), 16);
    }

    #[test]
    fn nothing_ends_before_its_deadline() {
        let mut timers = Timers::new();
        timers.arm(3, Nanos::new(5_000_001));
        assert_eq!((timers.due(3), timers.next()), (Some(at(6)), at(6)));
        assert_eq!(timers.expired(Nanos::new(5_999_999)), None);
        assert_eq!(timers.expired(at(6)), Some(3));
        assert_eq!((timers.expired(at(6)), timers.due(3), timers.len()), (None, None, 0));
    }

    #[test]
    fn an_idle_loop_sleeps_until_the_real_deadline() {
        for ms in [1, 63, 64, 65, 4095, 4096, 300_000, 1 << 40] {
            let timers = armed(&[(0, ms), (1, ms + 1), (2, ms * 2)]);
            assert_eq!(timers.next(), at(ms));
        }
        assert_eq!(Timers::new().next(), Nanos::MAX);
    }

    #[test]
    fn next_stays_exact_when_entries_move_down() {
        let mut timers = armed(&[(0, 300_000), (1, 300_007), (2, 301_000)]);
        assert_eq!(due(&mut timers, at(300_000)), [0]);
        assert_eq!(timers.next(), at(300_007));
        assert_eq!(due(&mut timers, at(300_007)), [1]);
        assert_eq!(timers.next(), at(301_000));
    }

    #[test]
    fn a_removed_deadline_wakes_the_loop_at_most_once() {
        let mut timers = armed(&[(0, 100_000), (1, 100_900)]);
        timers.disarm(0);
        assert_eq!(timers.next(), at(100_000));
        assert_eq!(due(&mut timers, at(100_000)), []);
        assert_eq!(timers.next(), at(100_900));
    }

    #[test]
    fn years_pass_in_one_step() {
        const YEAR: u64 = 365 * 24 * 3_600_000;
        let mut timers = armed(&[(0, 10), (1, YEAR), (2, 100 * YEAR), (3, 584 * YEAR)]);
        assert_eq!(due(&mut timers, at(99 * YEAR)), [0, 1]);
        assert_eq!(due(&mut timers, at(583 * YEAR)), [2]);
        timers.arm(4, at(583 * YEAR + 1));
        assert_eq!(due(&mut timers, Nanos::MAX), [3, 4]);
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once() {
        let mut timers = armed(&[(0, 5_000), (1, 6_000)]);
        assert_eq!(due(&mut timers, at(5_500)), [0]);
        timers.arm(2, at(1_000));
        timers.arm(3, at(5_500));
        timers.arm(4, Nanos::ZERO);
        timers.assert_invariants();
        timers.disarm(4);
        assert_eq!(due(&mut timers, at(5_500)), [2, 3]);
    }

    #[test]
    fn never_is_not_armed() {
        let mut timers = armed(&[(0, 5), (1, 6)]);
        timers.arm(0, Nanos::MAX);
        timers.arm_by(1, Nanos::MAX);
        timers.arm_by(2, Nanos::MAX);
        timers.arm(3, Nanos::new(u64::MAX - 1));
        assert_eq!(
            (timers.due(0), timers.due(1), timers.due(2), timers.due(3)),
            (None, Some(at(6)), None, None)
        );
        assert_eq!(timers.len(), 1);
    }

    #[test]
    fn arm_by_only_brings_a_deadline_nearer() {
        let mut timers = armed(&[(0, 500)]);
        timers.arm_by(0, at(900));
        assert_eq!(timers.due(0), Some(at(500)));
        timers.arm_by(0, at(100));
        assert_eq!(timers.due(0), Some(at(100)));
        timers.arm_by(1, at(700));
        assert_eq!(timers.due(1), Some(at(700)));
    }

    #[test]
    fn slots_that_were_never_seen_have_no_deadline() {
        let mut timers = Timers::new();
        timers.disarm(7);
        assert_eq!((timers.due(7), timers.len()), (None, 0));
        timers.arm(7, at(1));
        timers.disarm(6);
        assert_eq!((timers.due(6), timers.len()), (None, 1));
    }

    #[test]
    fn reserved_slots_are_armed_in_place() {
        let mut timers = Timers::new();
        timers.try_reserve(1000).unwrap();
        let memory = timers.memory_bytes();
        (0..1000).for_each(|slot| timers.arm(slot, at(5)));
        assert_eq!(timers.memory_bytes(), memory);
        assert!(timers.try_reserve(usize::MAX).is_err());
    }

    #[test]
    fn a_crowd_that_falls_together_is_spread_over_calls() {
        let crowd = 3 * MOVES as u32;
        let mut timers = Timers::new();
        (0..crowd).for_each(|slot| timers.arm(slot, at(300_000 + u64::from(slot % 1000))));
        let now = at(300_999);
        assert_eq!(timers.expired(now), None, "the first call only moves");
        assert!(timers.next() <= now, "and asks to be called again");
        timers.disarm(0);
        timers.arm(1, at(1));
        timers.assert_invariants();
        let mut slots = Vec::new();
        while timers.next() <= now {
            slots.extend(timers.expired(now));
        }
        slots.sort_unstable();
        assert!(slots.into_iter().eq(1..crowd));
    }

    /// The deadline that is kept; `None` for "never".
    fn rounded(due: Nanos) -> Option<Nanos> {
        let nanos = due.as_nanos().div_ceil(1_000_000).checked_mul(1_000_000)?;
        Some(Nanos::new(nanos))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u32, u64),
        ArmBy(u32, u64),
        Disarm(u32),
        Advance(u64),
    }

    /// Spans of all magnitudes: each has as many bits as any other.
    fn span() -> impl Strategy<Value = u64> {
        (0..60_u32, any::<u64>()).prop_map(|(bits, random)| random & ((1 << bits) - 1))
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let nearby = || prop_oneof![span(), 0..200_000_000_u64];
        let step = prop_oneof![
            8 => (0..24_u32, nearby()).prop_map(|(slot, ns)| Step::Arm(slot, ns)),
            4 => (0..24_u32, nearby()).prop_map(|(slot, ns)| Step::ArmBy(slot, ns)),
            3 => (0..24_u32).prop_map(Step::Disarm),
            4 => nearby().prop_map(Step::Advance),
        ];
        proptest::collection::vec(step, 0..96)
    }

    proptest! {
        #![proptest_config(model_config())]

        #[test]
        fn timers_are_a_map_of_deadlines(steps in steps(), moves in 1..6_usize) {
            let mut timers = Timers::new();
            let mut model: BTreeMap<u32, Nanos> = BTreeMap::new();
            let mut now = Nanos::ZERO;
            for step in steps {
                // Deadlines are counted from a little before now: some are in the past.
                let deadline = |ns| Nanos::new(now.as_nanos().saturating_sub(20_000_000)) + Duration::from_nanos(ns);
                match step {
                    Step::Arm(slot, ns) => {
                        timers.arm(slot, deadline(ns));
                        model.remove(&slot);
                        model.extend(rounded(deadline(ns)).map(|due| (slot, due)));
                    }
                    Step::ArmBy(slot, ns) => {
                        timers.arm_by(slot, deadline(ns));
                        let due = model.remove(&slot).into_iter().chain(rounded(deadline(ns))).min();
                        model.extend(due.map(|due| (slot, due)));
                    }
                    Step::Disarm(slot) => {
                        timers.disarm(slot);
                        model.remove(&slot);
                    }
                    Step::Advance(ns) => {
                        now = now + Duration::from_nanos(ns);
                        // One part of what falls, so that later steps meet entries on their way down, or all of it.
                        let rest = ns % 2 == 0;
                        while let Some(slot) = timers.expired_within(now, moves) {
                            prop_assert!(model.remove(&slot).is_some_and(|due| due <= now), "{} early", slot);
                        }
                        while rest && timers.next() <= now {
                            if let Some(slot) = timers.expired_within(now, moves) {
                                prop_assert!(model.remove(&slot).is_some_and(|due| due <= now), "{} early", slot);
                            }
                        }
                        prop_assert!(!rest || model.values().all(|due| *due > now), "something due was kept");
                    }
                }
                timers.assert_invariants();
                prop_assert_eq!(timers.len(), model.len());
                for slot in 0..24 {
                    prop_assert_eq!(timers.due(slot), model.get(&slot).copied());
                }
            }
        }

        #[test]
        fn next_is_the_earliest_deadline_when_nothing_was_moved(spans in proptest::collection::vec(span(), 1..40)) {
            let mut timers = Timers::new();
            for (slot, ns) in (0..).zip(&spans) {
                timers.arm(slot, Nanos::new(*ns));
            }
            while timers.len() > 0 {
                let earliest = (0..40).filter_map(|slot| timers.due(slot)).min();
                prop_assert_eq!(Some(timers.next()), earliest);
                prop_assert!(timers.expired(timers.next()).is_some());
            }
            prop_assert_eq!(timers.next(), Nanos::MAX);
        }
    }

    fn model_config() -> ProptestConfig {
        let cases = std::env::var("SOCKETPOOL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1024);
        ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
    }
}
