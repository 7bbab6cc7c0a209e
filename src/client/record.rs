//! What the pool keeps beside a slot of the core: the connection while nobody has it, what is being done with it, and what
//! is known of it.

use std::panic::Location;
use std::time::Duration;

use super::facts::Times;
use super::guard::ConnectionStats;
use super::queue::Job;
use crate::lease::{CloseReason, SlotId};

/// Of one slot.
pub(super) struct Record<C> {
    pub(super) connection: Option<C>,
    /// Where the lease was taken.
    pub(super) taken_at: Option<&'static Location<'static>>,
    /// What is being done, if its slot is connecting, validating or closing.
    pub(super) task: Task,
    pub(super) work: WorkIs,
    pub(super) recorded: ConnectionStats,
    /// Up to date while the right to its place in the stack is here.
    pub(super) times: Times,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Connect,
    Validate,
    Close(CloseReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkIs {
    NotBegun,
    Running,
    /// Running for so long that its thread is not counted any more.
    Stuck,
}

impl Task {
    /// As it stands in the queue.
    pub(super) const fn of(self, slot: SlotId) -> Job {
        match self {
            Self::Connect => Job::Connect(slot),
            Self::Validate => Job::Validate(slot),
            Self::Close(reason) => Job::Close(slot, reason),
        }
    }
}

impl<C> Record<C> {
    pub(super) const fn new() -> Self {
        let recorded = ConnectionStats { ops: 0, op_time: Duration::ZERO };
        Self {
            connection: None,
            taken_at: None,
            task: Task::Connect,
            work: WorkIs::NotBegun,
            recorded,
            times: Times::NONE,
        }
    }
}
