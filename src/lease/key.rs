//! What the core knows of one key: its limits, its idle stack, its lines, and how many resources are in which phase.

use super::adaptive::Adaptive;
use super::counts::{Counts, Fill, Recent, Waits};
use super::line::Line;
use super::slots::{IdleStack, NONE};
use super::terms::Terms;
use crate::breaker::Breaker;
use crate::clock::Nanos;

/// In the order of what is touched together: the first two lines of the cache change with every lease that is waited for.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Key {
    /// Those who take anything.
    pub(super) any: Line,
    /// Those who want a new connection.
    pub(super) new: Line,
    pub(super) idle: IdleStack,
    /// How many stand in both lines.
    pub(super) waiting: u32,
    /// Resources in any phase. Invariant: idle, in use, connecting, validating and closing together.
    pub(super) live: u32,
    pub(super) connecting: u32,
    pub(super) validating: u32,
    /// Overdue ones included.
    pub(super) closing: u32,
    /// Idle ones that stay until their replacement is there.
    pub(super) retiring: u32,
    pub(super) generation: u32,
    pub(super) recent: Recent,
    pub(super) counts: Counts,
    /// Whether it wants to connect and the pool as a whole is full.
    pub(super) room: Room,
    /// The same for its minimum, for which nobody waits.
    pub(super) minimum_room: Room,
    pub(super) terms: Terms,
    /// Nothing idle but the newest is fresh after this.
    pub(super) fresh_below: Nanos,
    pub(super) breaker: Breaker,
    pub(super) waits: Waits,
    pub(super) errands: Errands,
    pub(super) times: Times,
    /// Whether the last connect or validation of a new one failed, and since when that has been so.
    pub(super) failing_since: Option<Nanos>,
    pub(super) adaptive: Adaptive,
}

/// Whether a key gets the room it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    /// The key has not reached its limit, but the pool has reached the one for all keys.
    Starving,
}

/// What is made or checked besides for those who wait.
#[derive(Debug, Default)]
pub(super) struct Errands {
    pub(super) warming: Option<Warming>,
    pub(super) round: Option<Round>,
}

/// Resources are made ahead, in batches.
#[derive(Debug)]
pub(super) struct Warming {
    /// Connects that are yet to begin.
    pub(super) left: u32,
    pub(super) batch: u32,
    pub(super) gap_ns: u64,
    /// When the next batch begins.
    pub(super) next: Nanos,
    /// Connects that are on their way.
    pub(super) flying: u32,
    pub(super) failed: u32,
}

/// Idle ones are validated, a few at a time, the longest idle first.
#[derive(Debug)]
pub(super) struct Round {
    /// Those that were known to work after this are left alone.
    pub(super) before: Nanos,
    /// The next one to look at, if it has been idle without a break.
    pub(super) cursor: Cursor,
    pub(super) flying: u32,
    pub(super) failed: u32,
}

/// A place in the idle stack that may be gone when it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) slot: u32,
    /// Since when it was idle then.
    pub(super) since: Nanos,
}

/// When which upkeep is due; `MAX` for never.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) connect: Nanos,
    pub(super) health_check: Nanos,
    pub(super) leak_check: Nanos,
    pub(super) adaptive: Nanos,
}

impl Key {
    pub(super) fn new(generation: u32, terms: Terms, seed: u64, now: Nanos) -> Self {
        let times = Times {
            connect: Nanos::MAX,
            health_check: terms.health_check_interval.after(now),
            leak_check: terms.leak_check_interval().after(now),
            adaptive: terms.adaptive.as_ref().map_or(Nanos::MAX, |adaptive| adaptive.interval.after(now)),
        };
        Self {
            generation,
            idle: IdleStack::default(),
            fresh_below: Nanos::ZERO,
            any: Line::default(),
            new: Line::default(),
            waiting: 0,
            live: 0,
            connecting: 0,
            validating: 0,
            closing: 0,
            retiring: 0,
            breaker: Breaker::new(terms.breaker, seed),
            recent: Recent::default(),
            counts: Counts::default(),
            waits: Waits::default(),
            errands: Errands::default(),
            times,
            failing_since: None,
            room: Room::Enough,
            minimum_room: Room::Enough,
            adaptive: Adaptive::new(),
            terms,
        }
    }

    pub(super) const fn waiters(&self) -> u32 {
        self.waiting
    }

    /// Resources that somebody holds.
    pub(super) const fn active(&self) -> u32 {
        self.live - self.idle.len - self.connecting - self.validating - self.closing
    }

    /// Resources that there will be when everything that closes has closed.
    pub(super) const fn staying(&self) -> u32 {
        self.live - self.closing
    }

    /// Whether what is given back may simply become idle.
    #[inline]
    pub(super) const fn is_calm(&self) -> bool {
        self.waiting == 0 && self.live <= self.terms.max_size
    }

    /// Validations that were begun for somebody who waits.
    pub(super) fn validating_for_waiters(&self) -> u32 {
        self.validating - self.errands.round.as_ref().map_or(0, |round| round.flying)
    }

    /// Whether as many are being validated as could be lent to those who wait.
    pub(super) fn is_covered(&self) -> bool {
        self.any.len <= self.validating_for_waiters()
    }

    /// Whether more wait than something is on its way for. A validation in the background is not counted on: it may
    /// take long.
    pub(super) fn lacks(&self) -> bool {
        self.missing() > 0
    }

    /// For how many who wait nothing is on its way.
    pub(super) fn missing(&self) -> u32 {
        let any = self.waiters().saturating_sub(self.connecting + self.validating_for_waiters());
        any.max(self.new.len.saturating_sub(self.connecting))
    }

    /// How many more the key could connect for those who wait, if the pool had room for them.
    pub(super) fn wishes(&self) -> u32 {
        self.missing().min(self.terms.max_size.saturating_sub(self.staying()))
    }

    /// Whether an idle one, which was used, keeps the place of a new one that somebody waits for.
    pub(super) const fn has_one_in_the_way(&self) -> bool {
        self.idle.oldest != NONE && self.new.len > self.connecting + self.closing
    }

    /// Whether one that is idle can go without falling below the minimum.
    pub(super) const fn may_shrink(&self) -> bool {
        self.staying() > self.terms.min_size && self.idle.len > self.terms.min_idle
    }

    /// How many connects are missing to the minimum.
    pub(super) fn below_minimum(&self) -> u32 {
        let room = self.terms.max_size.saturating_sub(self.live);
        let spare = self.idle.len + self.validating + self.connecting.saturating_sub(self.waiters());
        let missing = self.terms.min_size.saturating_sub(self.staying());
        missing.max(self.terms.min_idle.saturating_sub(spare)).min(room)
    }

    /// Somebody was served who had waited so long.
    #[inline]
    pub(super) fn note_wait(&mut self, waited_ns: u64) {
        self.counts.waited_ns += waited_ns;
        if self.recent.push(waited_ns) == Fill::Full {
            self.waits.add_recent(&mut self.recent);
        }
    }

    /// When this key next has something to do by itself.
    pub(super) fn due(&self) -> Nanos {
        let Times { connect, health_check, leak_check, adaptive } = self.times;
        let warming = self.errands.warming.as_ref().map_or(Nanos::MAX, |warming| match warming.left {
            0 => Nanos::MAX,
            _ => warming.next,
        });
        connect.min(health_check).min(leak_check).min(adaptive).min(warming)
    }
}
