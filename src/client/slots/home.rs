//! What lies in the stack, what the stack is part of, and why something is not put there. Does not know how it is.

use std::sync::Arc;

use super::{Place, Slots};
use crate::clock::Nanos;

/// A connection, and a share in the home of the stack that it comes back to.
pub(in super::super) struct Parked<C, P> {
    pub(in super::super) connection: C,
    pub(in super::super) home: Arc<P>,
}

/// What a stack is part of, and lives as long as.
pub(in super::super) trait Home: Sized {
    type Connection;

    fn slots(&self) -> &Slots<Self::Connection, Self>;

    /// May be a little late.
    fn now(&self) -> Nanos;
}

/// What could not be put there, and why.
pub(super) type Missed<C, P> = (Place, Parked<C, P>, Miss);

/// Why something could not be put somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    Shut,
    Crowded,
    /// It must not be used again.
    Worn,
    /// Somebody else was faster.
    Late,
}
