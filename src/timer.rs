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

/// The deadline of one table slot, in ticks, and its neighbours in the list of its wheel slot. Table slots are below 2^24, so
/// each neighbour leaves seven bits, and with these the deadline has 46: more than `Nanos` can hold.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// The lowest 32 bits of the deadline, which is `NEVER` when not armed.
    due: u32,
    /// The table slot before this one, and above it the next seven bits of the deadline.
    prev: u32,
    /// The table slot behind this one, and above it the highest seven bits of the deadline.
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct WheelSlot {
    /// Invariant: not later than any deadline in the list. Exact until an entry is removed.
    earliest_ms: u64,
    /// The first entry; `NONE` when empty.
    head: u32,
}

impl Node {
    const UNARMED: Self = Self::new(NEVER, NONE, NONE);

    #[inline]
    const fn new(due_ms: u64, prev: u32, next: u32) -> Self {
        let middle = (due_ms >> 32) as u32;
        let high = (due_ms >> (32 + SPARE_BITS)) as u32;
        Self { due: due_ms as u32, prev: middle << SLOT_BITS | prev, next: high << SLOT_BITS | next }
    }

    #[inline]
    const fn due_ms(self) -> u64 {
        let (middle, high) = (self.prev >> SLOT_BITS, self.next >> SLOT_BITS);
        self.due as u64 | (middle as u64) << 32 | (high as u64) << (32 + SPARE_BITS)
    }

    /// No deadline that `Nanos` can hold has the highest seven bits set.
    #[inline]
    const fn is_armed(self) -> bool {
        self.next >> SLOT_BITS != (NEVER >> (32 + SPARE_BITS)) as u32
    }

    #[inline]
    const fn prev(self) -> u32 {
        self.prev & NONE
    }

    #[inline]
    const fn next(self) -> u32 {
        self.next & NONE
    }

    #[inline]
    const fn set_prev(&mut self, prev: u32) {
        self.prev = self.prev & !NONE | prev;
    }

    #[inline]
    const fn set_next(&mut self, next: u32) {
        self.next = self.next & !NONE | next;
    }
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
    #[inline]
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
    #[inline]
    pub(crate) fn disarm(&mut self, slot: u32) {
        if self.nodes.get(slot as usize).is_some_and(|node| node.is_armed()) {
            self.disarm_armed(slot);
        }
    }

    fn disarm_armed(&mut self, slot: u32) {
        let emptied = self.unlink(slot);
        self.nodes[slot as usize] = Node::UNARMED;
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
        let armed = self.nodes.iter().filter(|node| node.is_armed());
        assert!(armed.clone().all(|node| self.next <= Nanos::from_millis(node.due_ms())), "next is too late");
        assert_eq!((seen, armed.count()), (self.len, self.len), "entries in lists and entries armed");
        assert_eq!(self.next, self.earliest(), "cached next");
    }

    #[inline]
    fn due_ms(&self, slot: u32) -> u64 {
        self.nodes.get(slot as usize).map_or(NEVER, |node| node.due_ms())
    }

    fn arm_tick(&mut self, slot: u32, due_ms: u64) {
        debug_assert!(slot < NONE, "table slots are below 2^24");
        self.disarm(slot);
        if due_ms == NEVER {
            return;
        }
        if slot as usize >= self.nodes.len() {
            self.lengthen(slot);
        }
        self.len += 1;
        self.link(slot, due_ms);
        self.next = self.next.min(Nanos::from_millis(due_ms));
    }

    /// Makes nodes for the table slots up to `slot`, and for some more that were reserved, so that this is not done for each.
    #[cold]
    fn lengthen(&mut self, slot: u32) {
        let needed = slot as usize + 1;
        let len = needed.next_multiple_of(NODES_AT_ONCE).min(self.nodes.capacity());
        self.nodes.resize(len.max(needed), Node::UNARMED);
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
            self.link(slot, self.due_ms(slot));
        }
        self.next = self.earliest();
        true
    }

    /// Puts an entry at the front of the list in which it belongs.
    #[inline]
    fn link(&mut self, slot: u32, due_ms: u64) {
        let place = self.place(due_ms);
        let wheel_slot = &mut self.wheel[place];
        let next = std::mem::replace(&mut wheel_slot.head, slot);
        wheel_slot.earliest_ms = wheel_slot.earliest_ms.min(due_ms);
        self.nodes[slot as usize] = Node::new(due_ms, NONE, next);
        if next != NONE {
            self.nodes[next as usize].set_prev(slot);
            return;
        }
        self.occupied[place / WIDTH] |= 1 << (place % WIDTH);
        self.levels |= 1 << (place / WIDTH);
    }

    /// Takes an entry out of its list and says whether this emptied the list.
    #[inline]
    fn unlink(&mut self, slot: u32) -> bool {
        let node = self.nodes[slot as usize];
        let (prev, next) = (node.prev(), node.next());
        if next != NONE {
            self.nodes[next as usize].set_prev(prev);
        }
        if prev != NONE {
            self.nodes[prev as usize].set_next(next);
            return false;
        }
        if self.falling == slot {
            self.falling = next;
            return next == NONE;
        }
        let place = self.place(node.due_ms());
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
    #[inline]
    fn place(&self, due_ms: u64) -> usize {
        let at = due_ms.max(self.base);
        let level = ((at ^ self.base) | 1).ilog2() as usize / DIGIT_BITS;
        // Eight levels there are; the remainder only says so to the compiler.
        (level * WIDTH + (at >> (level * DIGIT_BITS)) as usize % WIDTH) % (LEVELS * WIDTH)
    }

    /// Checks one list and counts it.
    fn assert_list(&self, head: u32, belongs: impl Fn(u64) -> bool) -> usize {
        let (mut count, mut prev, mut slot) = (0, NONE, head);
        while slot != NONE {
            let node = &self.nodes[slot as usize];
            let due_ms = node.due_ms();
            assert!(due_ms != NEVER && belongs(due_ms), "{slot} (due at {due_ms}) is in the wrong list");
            assert_eq!(node.prev(), prev, "{slot} does not know what is before it");
            (count, prev, slot) = (count + 1, slot, node.next());
        }
        count
    }
}

/// The first tick not before `due`; `NEVER` for `Nanos::MAX` and for the last millisecond before it, which no clock
/// gets past.
fn tick(due: Nanos) -> u64 {
    due.as_nanos().checked_add(NANOS_PER_TICK - 1).map_or(NEVER, |nanos| nanos / NANOS_PER_TICK)
}

const NANOS_PER_TICK: u64 = 1_000_000;
const DIGIT_BITS: usize = 6;
/// Wheel slots on a level.
const WIDTH: usize = 1 << DIGIT_BITS;
/// Eight digits are 48 bits of milliseconds: more than `Nanos` can hold, so nothing lies beyond the wheel.
const LEVELS: usize = 8;
/// Entries that one call moves between levels at most: below a millisecond of work even when no cache holds them.
const MOVES: usize = 8_192;
/// Of a node's neighbour: enough for a table slot or `NONE`.
const SLOT_BITS: u32 = 25;
const SPARE_BITS: u32 = 32 - SLOT_BITS;
/// In place of a table slot: no entry.
const NONE: u32 = (1 << SLOT_BITS) - 1;
/// In place of a tick: not armed. As `Nanos` it is `Nanos::MAX`.
const NEVER: u64 = (1 << (32 + 2 * SPARE_BITS)) - 1;
const NODES_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests;
