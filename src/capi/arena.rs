//! An arena owns how long things live that are made in it: when it is disposed of, so are they. It lends no memory.

use std::sync::{Mutex, PoisonError};

use super::buffer;
use super::handles::{self, Bad, Kind, Object};
use super::pool;
use super::status::{Failure, answer};

/// An arena. A pointer to it is a name, not an address.
#[derive(Debug)]
pub struct sp_arena;

/// The name of an arena.
pub type Arena_T = *mut sp_arena;

/// What was made in an arena, the newest last. Some of it may have been freed.
#[derive(Debug, Default)]
pub(super) struct Arena(Mutex<Vec<u64>>);

impl Object for Arena {
    const KIND: Kind = Kind::Arena;
}

impl Drop for Arena {
    /// Whoever adds something while an arena is disposed of holds it, so that nothing comes after this.
    fn drop(&mut self) {
        let made = std::mem::take(self.0.get_mut().unwrap_or_else(PoisonError::into_inner));
        for handle in made.into_iter().rev() {
            free(handle);
        }
    }
}

/// Frees what was made in an arena, if it is still there.
fn free(handle: u64) {
    // What was freed before is stale, and that is all right.
    let _ = match handles::kind(handle) {
        Some(Kind::Pool) => pool::free_named(handle),
        Some(Kind::Buffer) => buffer::free_named(handle),
        _ => Ok(()),
    };
}

fn bad(reason: Bad) -> Failure {
    Failure::handle("arena", Kind::Arena, reason)
}

/// Makes an arena own what `handle` names. NULL is the process, which frees nothing. If this fails, whoever has made the
/// thing frees it.
pub(super) fn adopt(arena: Arena_T, handle: u64) -> Result<(), Failure> {
    if arena.is_null() {
        return Ok(());
    }
    let pinned = handles::pin::<Arena>(arena.addr() as u64).map_err(bad)?;
    let mut made = pinned.0.lock().unwrap_or_else(PoisonError::into_inner);
    if made.len() == made.capacity() {
        // What was freed earlier is forgotten before the list grows, and it grows by as much as lives.
        made.retain(|handle| handles::lives(*handle));
        let more = made.len().max(16);
        made.try_reserve_exact(more).map_err(|_| Failure::memory("the list of an arena"))?;
    }
    made.push(handle);
    Ok(())
}

/// Makes an arena: whatever is made in it is freed with it. NULL if there is no memory for it.
#[unsafe(no_mangle)]
pub extern "C" fn Arena_new() -> Arena_T {
    answer("Arena_new", std::ptr::null_mut(), || {
        let name = handles::name(Box::new(Arena::default())).ok_or_else(|| Failure::memory("a handle"))?;
        Ok(std::ptr::without_provenance_mut(name as usize))
    })
}

/// Frees an arena and what was made in it and still lives, the newest first, and sets the handle to NULL. What it freed need
/// not be freed any more; doing so sets those handles to NULL and nothing else. NULL, or a pointer to NULL, is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Arena_dispose(arena: *mut Arena_T) {
    answer("Arena_dispose", (), || {
        if arena.is_null() {
            return Ok(());
        }
        // SAFETY: not NULL, and the caller promises that it may be read and written.
        let name = unsafe { arena.replace(std::ptr::null_mut()) };
        if !name.is_null() {
            handles::free::<Arena>(name.addr() as u64).map_err(bad)?;
        }
        Ok(())
    });
}
