//! Those who wait: a table of waiters and, for each key, two lines in the order of arrival, one for those who take
//! anything and one for those who want a new connection. Does not decide who is served.

use super::ids::{SlotId, WaiterId};
use super::slots::NONE;
use crate::clock::Nanos;

/// What a waiter is content with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Whatever works.
    Any,
    /// A connection that has served nobody yet and was found to work just now: nothing that is idle will do.
    New,
}

/// Why somebody who stood in line gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The deadline passed, and all there may be were in use.
    Timeout { waited_ns: u64 },
    /// The deadline passed while there was room for a connection and none could be made.
    Connect { waited_ns: u64 },
    /// The breaker is open.
    Unavailable { until: Nanos },
    /// The pool was closed, or the key forgotten.
    Closed,
}

/// How it stands with a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Gone,
    Waiting,
    Granted(SlotId),
    Failed(Failure),
}

/// On a line of the cache of its own: whoever comes into line and whoever is served are often on different processors.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Waiter {
    pub(super) generation: u32,
    pub(super) key: u32,
    pub(super) standing: Standing,
    pub(super) want: Want,
    before: u32,
    behind: u32,
    /// When it asked.
    pub(super) asked: Nanos,
    /// Its place in the order of arrival, over both lines of all keys.
    pub(super) ticket: u64,
}

/// One line: the first is served first.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) len: u32,
}

impl Default for Line {
    fn default() -> Self {
        Self { first: NONE, last: NONE, len: 0 }
    }
}

/// Where in a line somebody is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind all others.
    Last,
    /// Before all others: what it was served with did not work.
    First,
}

/// All waiters of all keys. It changes with each of them, and what stands beside it in the core is mostly only read.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Waiters {
    waiters: Vec<Waiter>,
    free: u32,
    next_ticket: u64,
    /// For the next one who is put first: below all others, also those in the other line of his key.
    first_ticket: u64,
}

impl Waiters {
    pub(super) fn new() -> Self {
        Self { waiters: Vec::new(), free: NONE, next_ticket: FIRST_TICKET, first_ticket: FIRST_TICKET - 1 }
    }

    /// Puts a new waiter into `line`.
    pub(super) fn enter(
        &mut self,
        line: &mut Line,
        key: u32,
        want: Want,
        asked: Nanos,
        place: Place,
    ) -> WaiterId {
        let index = self.take();
        let ticket = match place {
            Place::Last => self.next_ticket,
            Place::First => self.first_ticket,
        };
        match place {
            Place::Last => self.next_ticket += 1,
            Place::First => self.first_ticket -= 1,
        }
        let (before, behind) = match place {
            Place::Last => (line.last, NONE),
            Place::First => (NONE, line.first),
        };
        let waiter = &mut self.waiters[index as usize];
        waiter.key = key;
        waiter.standing = Standing::Waiting;
        waiter.want = want;
        (waiter.before, waiter.behind) = (before, behind);
        (waiter.asked, waiter.ticket) = (asked, ticket);
        let id = WaiterId { index, generation: waiter.generation };
        match self.waiters.get_mut(before as usize) {
            Some(before) => before.behind = index,
            None => line.first = index,
        }
        match self.waiters.get_mut(behind as usize) {
            Some(behind) => behind.before = index,
            None => line.last = index,
        }
        line.len += 1;
        id
    }

    /// Takes a waiter out of its line and notes what has become of it.
    pub(super) fn leave(&mut self, line: &mut Line, index: u32, standing: Standing) {
        let waiter = &mut self.waiters[index as usize];
        debug_assert_eq!(waiter.standing, Standing::Waiting, "stands in line");
        waiter.standing = standing;
        let (before, behind) = (waiter.before, waiter.behind);
        line.len -= 1;
        if line.first == index {
            line.first = behind;
            // Nobody asks the first who is before him, so he need not be touched.
            if behind == NONE {
                line.last = NONE;
            }
            return;
        }
        self.waiters[before as usize].behind = behind;
        match self.waiters.get_mut(behind as usize) {
            Some(behind) => behind.before = before,
            None => line.last = before,
        }
    }

    /// Makes the place of a waiter free that is in no line; its name is stale from now on.
    pub(super) fn give_back(&mut self, index: u32) {
        let free = self.free;
        let waiter = &mut self.waiters[index as usize];
        debug_assert_ne!(waiter.standing, Standing::Waiting, "stands in no line");
        waiter.generation = waiter.generation.wrapping_add(1);
        waiter.standing = Standing::Gone;
        waiter.behind = free;
        self.free = index;
    }

    pub(super) fn find(&self, id: WaiterId) -> Option<&Waiter> {
        let waiter = self.waiters.get(id.index())?;
        (waiter.generation == id.generation && waiter.standing != Standing::Gone).then_some(waiter)
    }

    pub(super) fn at(&self, index: u32) -> &Waiter {
        &self.waiters[index as usize]
    }

    pub(super) fn id(&self, index: u32) -> WaiterId {
        WaiterId { index, generation: self.at(index).generation }
    }

    /// The ticket of who stands there; `None` for nobody.
    pub(super) fn ticket(&self, index: u32) -> Option<u64> {
        self.waiters.get(index as usize).map(|waiter| waiter.ticket)
    }

    /// Who stands behind; `NONE` for nobody.
    #[cfg(test)]
    pub(super) fn behind(&self, index: u32) -> u32 {
        self.at(index).behind
    }

    /// How many places there are, free ones included.
    pub(super) fn places(&self) -> usize {
        self.waiters.len()
    }

    fn take(&mut self) -> u32 {
        if self.free != NONE {
            let index = self.free;
            self.free = self.waiters[index as usize].behind;
            return index;
        }
        self.waiters.push(Waiter {
            generation: 1,
            key: 0,
            standing: Standing::Gone,
            want: Want::Any,
            before: NONE,
            behind: NONE,
            asked: Nanos::ZERO,
            ticket: 0,
        });
        self.waiters.len() as u32 - 1
    }
}

/// Of the first who comes. Tickets of those who are put before all others go down from here.
const FIRST_TICKET: u64 = 1 << 63;
