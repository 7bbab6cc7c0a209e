//! An arena owns how long things live that are made in it: when it is disposed of, so are they. It lends no memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::buffer;
use super::handles::{self, Bad, Kind, Object};
use super::pool;
use super::protection::Guarded;
use super::status::{Failure, answer};

/// An arena. A pointer to it is a name, not an address.
#[derive(Debug)]
pub struct sp_arena;

/// The name of an arena.
pub type Arena_T = *mut sp_arena;

/// What was made in an arena, the newest last. Some of it may have been freed.
#[derive(Debug)]
pub(super) struct Arena(Mutex<Made>);

#[derive(Debug)]
enum Made {
    Open(Vec<u64>),
    /// It is disposed of: nothing more is made in it.
    Closing(Vec<u64>),
}

impl Object for Arena {
    const KIND: Kind = Kind::Arena;
}

impl Arena {
    fn lock(&self) -> MutexGuard<'_, Made> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the newest thing out of an arena that is disposed of.
fn newest(arena: u64) -> Result<Option<u64>, Failure> {
    let pinned = handles::pin::<Arena>(arena).map_err(bad)?;
    let mut made = pinned.lock();
    let (Made::Open(handles) | Made::Closing(handles)) = &mut *made;
    let (newest, rest) = (handles.pop(), std::mem::take(handles));
    *made = Made::Closing(rest);
    Ok(newest)
}

/// Frees what was made in an arena, if it is still there.
fn free(handle: u64) {
    if !handles::lives(handle) {
        return;
    }
    match handles::kind(handle) {
        Some(Kind::Pool) => {
            let _ = pool::free_named("Arena_dispose", std::ptr::without_provenance_mut(handle as usize));
        }
        Some(Kind::Buffer) => {
            let _ = buffer::free_named(handle);
        }
        Some(Kind::Protection) => {
            let _ = handles::free::<Guarded>(handle);
        }
        _ => {}
    }
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
    let mut made = pinned.lock();
    let Made::Open(made) = &mut *made else { return Err(Failure::state("the arena is being disposed of")) };
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
        let name = handles::name(Box::new(Arena(Mutex::new(Made::Open(Vec::new())))))
            .ok_or_else(|| Failure::memory("a handle"))?;
        Ok(std::ptr::without_provenance_mut(name as usize))
    })
}

/// Frees an arena and what was made in it and still lives, the newest first, and sets the handle to NULL. What it freed need
/// not be freed any more; doing so sets those handles to NULL and nothing else. NULL, or a pointer to NULL, is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn Arena_dispose(arena: *mut Arena_T) {
    if arena.is_null() {
        return;
    }
    // SAFETY: not NULL, and the caller promises that it may be read and written.
    let name = unsafe { arena.replace(std::ptr::null_mut()) }.addr() as u64;
    // The ends of connections are told meanwhile: nothing is locked or held then.
    while let Some(handle) = answer("Arena_dispose", None, || if name == 0 { Ok(None) } else { newest(name) })
    {
        free(handle);
    }
    // What was told may have disposed of it as well, and a bad handle has been told.
    let _ = handles::free::<Arena>(name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capi::{SP_BAD_HANDLE, SP_OK, SocketBuf_new, sp_last_error, sp_pool_count, sp_pool_new};

    #[test]
    fn a_pool_ends_with_its_arena() {
        let mut arena = Arena_new();
        let (mut pool, mut count) = (std::ptr::null_mut(), 0);
        // SAFETY: the places are ours.
        assert_eq!(unsafe { sp_pool_new(10, 4096, &raw mut pool) }, SP_OK);
        adopt(arena, pool.addr() as u64).unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { sp_pool_count(pool, &raw mut count) }, SP_OK);
        // SAFETY: as above.
        unsafe { Arena_dispose(&raw mut arena) };
        assert!(arena.is_null());
        // SAFETY: as above.
        assert_eq!(unsafe { sp_pool_count(pool, &raw mut count) }, SP_BAD_HANDLE);
        assert!(adopt(arena, pool.addr() as u64).is_ok(), "the process owns everything");
        assert!(!sp_last_error().is_null());
    }

    #[test]
    fn the_list_is_no_longer_than_twice_what_lives() {
        let mut arena = Arena_new();
        let list = |arena: Arena_T| {
            let pinned = handles::pin::<Arena>(arena.addr() as u64).unwrap();
            match &*pinned.lock() {
                Made::Open(made) | Made::Closing(made) => made.capacity(),
            }
        };
        let kept: Vec<_> = (0..100).map(|_| SocketBuf_new(arena, 64)).collect();
        for _ in 0..10_000 {
            buffer::free_named(SocketBuf_new(arena, 64).addr() as u64).unwrap();
        }
        assert!(list(arena) <= 2 * 101 + 16, "{}", list(arena));
        assert!(kept.iter().all(|buffer| handles::lives(buffer.addr() as u64)));
        // SAFETY: the place is ours.
        unsafe { Arena_dispose(&raw mut arena) };
        assert!(!kept.iter().any(|buffer| handles::lives(buffer.addr() as u64)));
    }
}
