//! What is said between a core and whoever drives it: what is asked for and reported, and what is answered and commanded.

use super::ids::{KeyId, SlotId, WaiterId};
use super::line::Want;
use crate::clock::Nanos;

/// What whoever drives the core has to do. What comes of it is reported with the function that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Make a resource: [`Core::connected`](super::Core::connected).
    Connect(SlotId),
    /// See whether an idle one still works: [`Core::validated`](super::Core::validated).
    Validate(SlotId),
    /// Close it: [`Core::closed`](super::Core::closed).
    Close(SlotId, CloseReason),
    /// Wake who waits, there is something for him: [`Core::outcome`](super::Core::outcome).
    Grant(WaiterId, SlotId),
    /// Wake who waits, he gets nothing: [`Core::outcome`](super::Core::outcome).
    Fail(WaiterId),
    /// The connect, validation or close has not come back in time: nobody expects anything of it any more, but it is still
    /// to be reported.
    Late(SlotId),
    /// The lease has lasted longer than it should. Told once.
    Overdue(SlotId),
    /// What [`Core::warm`](super::Core::warm) began is over; so many connects failed or could not begin.
    Warmed(KeyId, u32),
    /// The drain is over: nothing is left and nobody waits.
    Drained,
    /// What [`Core::check`](super::Core::check) began is over; so many did not work.
    Checked(KeyId, u32),
}

/// Why a resource is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// Whoever had it said that it must not be used again.
    Discarded,
    /// It did not pass its validation, or that did not come back in time.
    Invalid,
    /// It was idle for too long.
    Idle,
    /// Its lifetime is over.
    Lifetime,
    /// It has served as many leases as one may.
    Uses,
    /// There are more than there may be.
    Surplus,
    /// Its place is needed: by a waiter who wants a new one, or by another key.
    Room,
    /// Nobody knows any more what it was made for.
    Late,
    /// The pool drains or is closed.
    Closing,
}

/// What an acquisition came to at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    Lease(SlotId),
    Wait(WaiterId),
}

/// Why an acquisition got nothing, not even a place in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// All are in use and the caller would not wait, or too many wait already.
    Exhausted { in_use: u32, max: u32, waiters: u32 },
    /// The breaker is open and nothing is idle.
    Unavailable { until: Nanos },
    /// The pool drains or is closed, or the key was forgotten.
    Closed,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) want: Want,
    pub(crate) patience: Patience,
}

/// How long somebody is ready to stand in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all: also an idle one that should be validated first is taken as it is.
    None,
    Until(Nanos),
    Endless,
}

/// What is to become of what is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    Keep,
    Discard,
}

/// What became of one who gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// He stood in line and stands there no more.
    Left,
    /// He had been granted this one, and it has been passed on.
    PassedOn(SlotId),
    /// He had failed already, or was never there.
    Gone,
}

/// A report or a call about a resource that is not, or no longer, in the phase for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stale;

/// What is known of a resource that can be lent without asking the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Until when it is lent without being validated.
    pub(crate) fresh_until: Nanos,
    /// When it was last lent or taken back.
    pub(crate) since: Nanos,
    /// How many leases it has served.
    pub(crate) uses: u64,
    /// The end of its lifetime.
    pub(crate) ends: Nanos,
}

/// How many resources of a key are in which phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gauges {
    pub(crate) total: u32,
    pub(crate) active: u32,
    pub(crate) idle: u32,
    pub(crate) connecting: u32,
    pub(crate) validating: u32,
    pub(crate) closing: u32,
    pub(crate) waiters: u32,
    pub(crate) max: u32,
}
