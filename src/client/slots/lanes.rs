//! Where the tops of the stack stand: the first one, and lanes beside it for a crowd. Each is a stack of its own with a
//! cache line of its own, and can be shut. Decides who goes where; does not touch what lies there.
//!
//! Two cores that change one word wait for its cache line most of the time. So whoever finds that somebody else was faster
//! at the first top says that it is crowded, and then each thread puts what it gives back into a lane and takes its own last
//! one from there; who meets somebody in a lane goes by the next one from then on. Only who finds nothing where he goes looks
//! everywhere. From time to time somebody says that there is no crowd any more: if there is one, that shows at once. While
//! there is none, all stand on the first top, so that the newest is lent first and what is not needed grows old below.
//!
//! To get out of the way where a top is contended is the idea of Hendler, Shavit, Yerushalmi, "A scalable lock-free stack
//! algorithm" (SPAA 2004). There two who meet elsewhere exchange what they have; here a thread meets itself.

use std::cell::Cell;
use std::thread::available_parallelism;

use super::super::sync::Ordering::{Relaxed, Release};
use super::super::sync::{AtomicU32, AtomicU64, Ordering, thread_local};
use super::super::word::{CROWDED, SHUT, Word};

/// The tops of one stack, each a [`Word`].
pub(super) struct Tops {
    first: Line,
    /// A power of two of them, or none. They are never crowded.
    lanes: Box<[Line]>,
}

/// Machines fetch cache lines in pairs.
#[repr(align(128))]
struct Line(AtomicU64);

thread_local! {
    /// By which lane this thread goes, of every stack; counted round and round.
    static LANE: Cell<usize> = const { Cell::new(0) };
    /// How often this thread has looked aside.
    static TURNS: Cell<u32> = const { Cell::new(0) };
}

impl Tops {
    /// All of them shut.
    pub(super) fn new(lanes: usize) -> Self {
        debug_assert!(lanes == 0 || lanes.is_power_of_two(), "{lanes}");
        Self { first: Line::new(), lanes: (0..lanes).map(|_| Line::new()).collect() }
    }

    /// Lets everybody in.
    pub(super) fn open(&self) {
        for top in self.lanes().chain([self.first()]) {
            top.fetch_and(!SHUT, Release);
        }
    }

    #[inline(always)]
    pub(super) const fn first(&self) -> &AtomicU64 {
        &self.first.0
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = &AtomicU64> {
        self.lanes.iter().map(|line| &line.0)
    }

    /// Where this thread goes in a crowd.
    #[inline(always)]
    pub(super) fn own(&self) -> &AtomicU64 {
        let lane = LANE.with(Cell::get) & self.lanes.len().wrapping_sub(1);
        self.lanes.get(lane).map_or(self.first(), |line| &line.0)
    }

    /// Somebody else was faster. Either that makes a crowd, or this thread goes elsewhere in it from now on.
    #[cold]
    #[inline(never)]
    pub(super) fn met_another(&self) {
        let first = Word::from_bits(self.first().load(Relaxed));
        if first.is_crowded() {
            move_on();
        } else if !first.is_shut() {
            self.crowd();
        }
    }

    /// Sends everybody to the lanes, if there are any. A stack that was shut meanwhile may be crowded when it is opened.
    pub(super) fn crowd(&self) {
        if !self.lanes.is_empty() {
            self.first().fetch_or(CROWDED, Relaxed);
        }
    }

    /// Counts who looks aside, and lets all try from time to time whether it is still crowded.
    #[inline(always)]
    pub(super) fn count_turn(&self) {
        let turns = TURNS.with(Cell::get).wrapping_add(1);
        TURNS.with(|cell| cell.set(turns));
        if turns.is_multiple_of(TURNS_OF_CROWD) {
            self.first().fetch_and(!CROWDED, Relaxed);
        }
    }
}

impl Line {
    fn new() -> Self {
        Self(AtomicU64::new(Word::NEW.bits()))
    }
}

/// Puts a place that is full on top, or says what the word is now.
#[inline(always)]
pub(super) fn put_on(top: &AtomicU64, word: Word, below: &AtomicU32, index: u32) -> Result<(), Word> {
    below.store(word.top(), Relaxed);
    change(top, word, word.with_top(index), Release, Relaxed)
}

/// Changes the word, or says what it is now.
#[inline(always)]
pub(super) fn change(
    top: &AtomicU64,
    from: Word,
    to: Word,
    done: Ordering,
    failed: Ordering,
) -> Result<(), Word> {
    let result = top.compare_exchange(from.bits(), to.bits(), done, failed);
    result.map(drop).map_err(Word::from_bits)
}

/// Has this thread go by the next lane from now on.
pub(in super::super) fn move_on() {
    LANE.with(|lane| lane.set(lane.get().wrapping_add(1)));
}

/// How many lanes a stack of so many places has. None if it has one place, since nobody can have another one meanwhile, and
/// none where no two threads run at the same time.
pub(super) fn lanes_for(places: usize) -> usize {
    let cores = if cfg!(all(test, loom)) { 2 } else { cores() };
    if places <= 1 || cores <= 1 { 0 } else { cores.next_power_of_two().min(MOST_LANES) }
}

/// The system is asked once, or a few times at the beginning, for it reads files to find out. Not by a cell that somebody
/// fills: a fork may find it half full, for ever.
fn cores() -> usize {
    static CORES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    match CORES.load(Relaxed) {
        0 => {
            let cores = available_parallelism().map_or(1, usize::from);
            CORES.store(cores, Relaxed);
            cores
        }
        cores => cores,
    }
}

/// Each visit to the lock shuts them all.
const MOST_LANES: usize = 8;
/// So often a thread looks aside before it lets all try again: what that costs is little beside so many turns, and a crowd
/// that is gone does not matter for so short a time. Models do not count that far.
const TURNS_OF_CROWD: u32 = if cfg!(all(test, loom)) { 2 } else { 1 << 10 };

#[cfg(all(test, not(loom)))]
mod tests {
    use std::ptr;
    use std::thread;

    use super::*;

    #[test]
    fn who_meets_another_at_the_first_top_makes_a_crowd() {
        let tops = open(2);
        assert!(!is_crowded(&tops));
        tops.met_another();
        assert!(is_crowded(&tops));
        assert!(!ptr::eq(tops.own(), tops.first()));
    }

    #[test]
    fn who_meets_another_in_a_crowd_goes_by_the_next_lane_and_then_the_first_again() {
        let tops = open(2);
        tops.crowd();
        let one = ptr::from_ref(tops.own());
        tops.met_another();
        let other = ptr::from_ref(tops.own());
        tops.met_another();
        assert!(!ptr::eq(one, other) && ptr::eq(one, tops.own()));
    }

    #[test]
    fn a_thread_that_moves_on_moves_nobody_else() {
        let tops = open(4);
        let own = || ptr::from_ref(tops.own()).addr();
        let of_another = || thread::scope(|scope| scope.spawn(own).join().unwrap());
        let (before, others) = (own(), of_another());
        move_on();
        assert_ne!(own(), before);
        assert_eq!(of_another(), others);
    }

    #[test]
    fn a_stack_without_lanes_is_never_crowded() {
        let tops = open(0);
        tops.met_another();
        assert!(!is_crowded(&tops));
        assert!(ptr::eq(tops.own(), tops.first()));
        assert_eq!(lanes_for(1), 0);
    }

    #[test]
    fn a_stack_that_is_shut_is_not_crowded() {
        let tops = Tops::new(2);
        tops.met_another();
        assert!(!is_crowded(&tops), "whoever shut it was faster, and that is no crowd");
    }

    #[test]
    fn a_crowd_is_over_after_so_many_turns() {
        let tops = open(2);
        let turns = || {
            tops.crowd();
            (1..).find(|_| {
                tops.count_turn();
                !is_crowded(&tops)
            })
        };
        assert!(turns() <= Some(TURNS_OF_CROWD), "this thread may have turned before");
        assert_eq!(turns(), Some(TURNS_OF_CROWD));
    }

    #[test]
    fn there_are_as_many_lanes_as_cores_and_not_more_than_are_shut_quickly() {
        let lanes = lanes_for(100);
        assert!(lanes == 0 && cores() == 1 || lanes.is_power_of_two() && lanes <= MOST_LANES);
        assert!(lanes >= cores().min(MOST_LANES) || lanes == 0);
    }

    fn open(lanes: usize) -> Tops {
        let tops = Tops::new(lanes);
        tops.open();
        tops
    }

    fn is_crowded(tops: &Tops) -> bool {
        Word::from_bits(tops.first().load(Relaxed)).is_crowded()
    }
}
