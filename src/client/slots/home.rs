//! What lies in the stack, and what the stack is part of. Does not know how it is put there.

use std::sync::Arc;

use super::Slots;
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
