//! Over all connections of a pool. Nothing is locked or held while the program's function runs: it may add, remove, free
//! the pool, throw, or jump out of it. Who comes meanwhile may be met or not; who goes is not met any more.

use std::ffi::{c_int, c_void};
use std::ptr::{null_mut, without_provenance_mut};

use super::super::shared;
use super::super::status::{Failure, answer};
use super::pool::{Connection_T, SocketPool_T};

/// Called with a connection and what was given with the function.
pub type SocketPool_Visitor = Option<unsafe extern "C-unwind" fn(Connection_T, *mut c_void)>;
/// The same, and says with anything but 0 that it is the one.
pub type SocketPool_Predicate = Option<unsafe extern "C-unwind" fn(Connection_T, *mut c_void) -> c_int>;

/// A place among the connections of a pool.
#[derive(Clone, Copy)]
struct Walk {
    function: &'static str,
    pool: SocketPool_T,
    next: u32,
    end: u32,
}

impl Walk {
    fn over(function: &'static str, pool: SocketPool_T, has_visitor: bool) -> Option<Self> {
        answer(function, None, || {
            if !has_visitor {
                return Err(Failure::argument("function", "is NULL"));
            }
            let end = shared::with(pool, |inner| Ok(inner.pool.slots()))?;
            Ok(Some(Self { function, pool, next: 0, end }))
        })
    }

    /// The next connection; NULL when there is none.
    fn next(&mut self) -> Connection_T {
        let (next, end) = (self.next, self.end);
        let found = shared::pin(self.pool).and_then(|pool| {
            let inner = pool.lock()?;
            Ok((next..end).find_map(|slot| Some((slot, *inner.pool.userdata_at(slot)?))))
        });
        // That the pool was freed meanwhile is no error.
        match found {
            Ok(Some((slot, name))) => {
                self.next = slot + 1;
                without_provenance_mut(name.get() as usize)
            }
            _ => null_mut(),
        }
    }
}

/// Calls `function(connection, argument)` with every connection of a pool, in no order. It may call anything, this pool too:
/// who is removed meanwhile is left out, who is added may be, and when the pool is freed the rest is. With a bad handle or a NULL
/// function nothing is called, and `Socket_GetLastError` says why.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn SocketPool_foreach(
    pool: SocketPool_T,
    function: SocketPool_Visitor,
    argument: *mut c_void,
) {
    let Some(mut walk) = Walk::over("SocketPool_foreach", pool, function.is_some()) else { return };
    let Some(function) = function else { return };
    loop {
        let connection = walk.next();
        if connection.is_null() {
            return;
        }
        // SAFETY: the program gave the function for this, and vouches for what it does.
        unsafe { function(connection, argument) };
    }
}

/// The first connection for which `predicate(connection, argument)` is not 0; NULL if there is none, or for a bad handle.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn SocketPool_find(
    pool: SocketPool_T,
    predicate: SocketPool_Predicate,
    argument: *mut c_void,
) -> Connection_T {
    let Some(mut walk) = Walk::over("SocketPool_find", pool, predicate.is_some()) else { return null_mut() };
    let Some(predicate) = predicate else { return null_mut() };
    loop {
        let connection = walk.next();
        // SAFETY: as above.
        if connection.is_null() || unsafe { predicate(connection, argument) } != 0 {
            return connection;
        }
    }
}

/// Stores the connections for which `predicate(connection, argument)` is not 0, at most `most` of them, and returns how
/// many; 0 for a bad argument.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn SocketPool_filter(
    pool: SocketPool_T,
    predicate: SocketPool_Predicate,
    argument: *mut c_void,
    found: *mut Connection_T,
    most: usize,
) -> usize {
    let walk = Walk::over("SocketPool_filter", pool, predicate.is_some());
    let (Some(mut walk), Some(predicate)) = (walk, predicate) else { return 0 };
    if found.is_null() && most > 0 {
        return answer(walk.function, 0, || Err(Failure::argument("found", "is NULL")));
    }
    let mut count = 0;
    while count < most {
        let connection = walk.next();
        if connection.is_null() {
            break;
        }
        // SAFETY: as above.
        if unsafe { predicate(connection, argument) } != 0 {
            // SAFETY: not NULL, and the caller promises room for `most` of them.
            unsafe { found.add(count).write(connection) };
            count += 1;
        }
    }
    count
}
