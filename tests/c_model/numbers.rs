//! What a pool counts and lists, and the operations that its rates let through.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use socketpool::capi::*;

use super::story::{Handle, Pool, Pooled, Story, handle};

unsafe extern "C-unwind" fn is_any(connection: Connection_T, userdata: *mut c_void) -> c_int {
    assert_eq!(userdata, null_mut());
    assert_eq!(Connection_isactive(connection), 1, "one that is listed answers");
    1
}

/// The connections of a pool, as it lists them.
pub fn listed(pool: Handle) -> Vec<Handle> {
    let mut found = [null_mut(); 16];
    // SAFETY: there is room for so many.
    let n =
        unsafe { SocketPool_filter(handle(pool), Some(is_any), null_mut(), found.as_mut_ptr(), found.len()) };
    let mut all: Vec<_> = found[..n].iter().map(|connection| connection.addr()).collect();
    all.sort_unstable();
    all
}

/// Everything that a pool counts.
/// There are `count` connections in it.
pub fn look(story: &Story, at: usize, count: usize) {
    let pool = &story.pools[at];
    let its = story.sockets.iter().filter_map(|socket| Some((socket, socket.in_pool.as_ref()?)));
    let its = its.filter(|(_, pooled)| pooled.pool == pool.handle && !pooled.is_over());
    let (mut may, mut must) = (Vec::new(), Vec::new());
    for (socket, Pooled { connection, by_pool, .. }) in its {
        may.push(*connection);
        let might_end = by_pool.as_ref().is_some_and(|by_pool| by_pool.is_over || socket.peer.is_none());
        if !(might_end || pool.turned && pool.draining) {
            must.push(*connection);
        }
    }
    let listed = listed(pool.handle);
    assert!(listed.is_sorted_by(|one, other| one < other), "each of them once");
    assert!(listed.iter().all(|connection| may.contains(connection)), "one that has not ended");
    assert!(must.iter().all(|connection| listed.contains(connection)), "everybody is listed");
    let mut stats = MaybeUninit::<SocketPool_Stats>::uninit();
    // SAFETY: it points at a local, which is written if the call says so.
    let stats = unsafe {
        assert_eq!(SocketPool_get_stats(handle(pool.handle), stats.as_mut_ptr()), 0);
        stats.assume_init()
    };
    assert_eq!(stats.total_added, pool.added);
    assert_eq!(stats.total_removed, pool.added - count as u64);
    assert_eq!(stats.current_active + stats.current_idle, count);
    assert_eq!((stats.max_connections, stats.total_idle_cleanups), (pool.most, 0));
    assert_eq!(stats.bytes_received, pool.moved.0);
    if !pool.turned {
        assert_eq!(stats.bytes_sent, pool.moved.1);
    }
}

impl Pool {
    pub fn drains(&mut self) {
        self.may_tell_drained |= !self.draining;
        self.tells_drained |= self.turned && !self.draining;
        self.draining = true;
    }
}

impl Story {
    /// Limits operations, so that none comes back while the story lasts; or the pool's no more.
    pub fn set_rates(&mut self, which: usize, how: usize, much: usize) {
        let Some(at) = Self::pick(&self.pools, which) else { return };
        let (own, all) = (how % 5 + 1, much % 3 + 1);
        let pool = &mut self.pools[at];
        let name = handle(pool.handle);
        match &mut pool.rates {
            None => {
                let (one, other) = (c_int::try_from(own).unwrap(), c_int::try_from(all).unwrap());
                assert_eq!(SocketPool_setconnrate(name, one, A_FORTNIGHT), 0);
                assert_eq!(SocketPool_set_global_rate(name, other, A_FORTNIGHT), 0);
                pool.rates = Some((own as u32, Some(all as u32)));
            }
            Some((_, all)) => {
                assert_eq!(SocketPool_set_global_rate(name, 0, 0), 0);
                *all = None;
            }
        }
        self.listen();
    }

    /// Asks for some operations. One that either rate denies costs nothing of the other.
    pub fn check_rate(&mut self, which: usize, how: usize, much: usize) {
        let pooled = self.sockets.iter_mut().filter_map(|socket| socket.in_pool.as_mut());
        let mut pooled: Vec<_> = pooled.collect();
        let (Some(at), Some(pool)) = (Self::pick(&pooled, which), Self::pick(&self.pools, how)) else {
            return;
        };
        let (pooled, pool) = (&mut pooled[at], &mut self.pools[pool]);
        let is_its = pooled.pool == pool.handle && !pooled.refuses() && pooled.by_pool.is_none();
        for _ in 0..=much % 6 {
            let has_one = match &pool.rates {
                Some((own, all)) => pooled.operations < *own && all.is_none_or(|all| all > 0),
                None => true,
            };
            let may = SocketPool_check_rate(handle(pool.handle), handle(pooled.connection));
            assert_eq!(may, c_int::from(is_its && has_one));
            if let (1, Some((_, all))) = (may, &mut pool.rates) {
                pooled.operations += 1;
                all.iter_mut().for_each(|all| *all -= 1);
            }
        }
        self.listen();
    }
}

const A_FORTNIGHT: c_int = 14 * 86_400_000;
