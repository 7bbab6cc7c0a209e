//! Arenas of C programs.

use super::status::Failure;

/// An arena. A pointer to it is a name, not an address.
#[derive(Debug)]
pub struct sp_arena;

/// An arena; NULL stands for the whole process.
pub type Arena_T = *mut sp_arena;

/// Puts what a handle names into an arena.
#[allow(clippy::unnecessary_wraps, reason = "not every arena takes everything")]
pub(super) fn adopt(_arena: Arena_T, _handle: u64) -> Result<(), Failure> {
    Ok(())
}
