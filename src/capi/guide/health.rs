//! `SocketPoolHealth_…` and `SocketPool_get_stats`: how a pool is, in numbers.

use std::ffi::c_int;
use std::ptr::{null_mut, without_provenance_mut};

use super::super::handles::{self, Kind};
use super::super::shared::Shared;
use super::super::status::{Failure, answer, store};
use super::super::telling;
use super::count;
use super::pool::SocketPool_T;
use crate::health::Snapshot;
use crate::reason::Reason;

/// How a pool was when it was asked.
#[derive(Debug)]
pub struct sp_health;

/// How a pool is. It belongs to the pool, is NULL for a bad handle, and shows what the last `SocketPool_health` found.
pub type SocketPoolHealth_T = *mut sp_health;

/// Looks how a pool is. Costs the same however many connections there are.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_health(pool: SocketPool_T) -> SocketPoolHealth_T {
    telling::answer_and_tell("SocketPool_health", pool, null_mut(), |inner| {
        inner.do_what_is_due();
        let snapshot = inner.pool.snapshot();
        match &mut inner.snapshot {
            Some(before) => **before = snapshot,
            none => *none = Some(Box::new(snapshot)),
        }
        Ok(without_provenance_mut(handles::view(pool.addr() as u64, Kind::Health) as usize))
    })
}

/// Answers from what the last `SocketPool_health` of the pool found.
fn ask<T>(function: &str, health: SocketPoolHealth_T, otherwise: T, ask: impl FnOnce(&Snapshot) -> T) -> T {
    answer(function, otherwise, || {
        let pool = handles::pin_view::<Shared>(health.addr() as u64, Kind::Health)
            .map_err(|bad| Failure::handle("health", Kind::Health, bad))?;
        let inner = pool.lock()?;
        let snapshot = inner.snapshot.as_deref();
        snapshot.map(ask).ok_or_else(|| Failure::state("SocketPool_health has not been called"))
    })
}

/// Connections that are busy: with unread input, unsent output, or an operation that is open. 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoolHealth_active_count(health: SocketPoolHealth_T) -> c_int {
    ask("SocketPoolHealth_active_count", health, 0, |snapshot| count(snapshot.active))
}

/// Connections that are not busy. 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoolHealth_idle_count(health: SocketPoolHealth_T) -> c_int {
    ask("SocketPoolHealth_idle_count", health, 0, |snapshot| count(snapshot.idle))
}

/// All connections: the busy and the idle ones. 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoolHealth_total_count(health: SocketPoolHealth_T) -> c_int {
    ask("SocketPoolHealth_total_count", health, 0, |snapshot| count(snapshot.active + snapshot.idle))
}

/// Operations completed a second, over the last ten seconds. 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoolHealth_ops_rate(health: SocketPoolHealth_T) -> f64 {
    ask("SocketPoolHealth_ops_rate", health, 0.0, |snapshot| snapshot.ops_rate)
}

/// Connections ended by an error or a stall a second, over the last ten seconds. 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoolHealth_error_rate(health: SocketPoolHealth_T) -> f64 {
    ask("SocketPoolHealth_error_rate", health, 0.0, |snapshot| snapshot.error_rate)
}

/// Half of the operations of the last minute took no longer, in microseconds. 0 without operations, and for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoolHealth_latency_p50(health: SocketPoolHealth_T) -> u64 {
    ask("SocketPoolHealth_latency_p50", health, 0, |snapshot| micros(snapshot.latency.p50))
}

/// 90 in a hundred operations took no longer; as `SocketPoolHealth_latency_p50`.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoolHealth_latency_p90(health: SocketPoolHealth_T) -> u64 {
    ask("SocketPoolHealth_latency_p90", health, 0, |snapshot| micros(snapshot.latency.p90))
}

/// 99 in a hundred operations took no longer; as `SocketPoolHealth_latency_p50`.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoolHealth_latency_p99(health: SocketPoolHealth_T) -> u64 {
    ask("SocketPoolHealth_latency_p99", health, 0, |snapshot| micros(snapshot.latency.p99))
}

/// Bytes of memory that the pool has taken, connections and buffers. 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoolHealth_memory_bytes(health: SocketPoolHealth_T) -> usize {
    ask("SocketPoolHealth_memory_bytes", health, 0, |snapshot| snapshot.memory.total())
}

fn micros(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// What has happened in a pool since it was made, and how it is now.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SocketPool_Stats {
    /// Connections that were added or accepted.
    pub total_added: u64,
    /// Connections that have ended.
    pub total_removed: u64,
    /// Newcomers that were turned away.
    pub total_refused: u64,
    /// Operations completed.
    pub total_operations: u64,
    /// Operations denied by a rate.
    pub total_denied: u64,
    /// Connections ended for being idle.
    pub total_idle_cleanups: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Connections that are busy now.
    pub current_active: usize,
    /// Connections that are not.
    pub current_idle: usize,
    /// Connections there may be.
    pub max_connections: usize,
}

/// Stores what has happened in a pool and how it is. Costs the same however many connections there are. 0 is returned, or
/// -1 for a bad argument.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn SocketPool_get_stats(
    pool: SocketPool_T,
    stats: *mut SocketPool_Stats,
) -> c_int {
    telling::answer_and_tell("SocketPool_get_stats", pool, -1, |inner| {
        inner.do_what_is_due();
        let max_connections = inner.pool.config().max_connections as usize;
        let (counters, current_active, current_idle) = inner.pool.tally();
        let found = SocketPool_Stats {
            total_added: counters.opened,
            total_removed: counters.closed_total(),
            total_refused: counters.refused_total(),
            total_operations: counters.operations,
            total_denied: counters.operations_denied,
            total_idle_cleanups: counters.closed[Reason::Idle as usize],
            bytes_received: counters.received_bytes,
            bytes_sent: counters.sent_bytes,
            current_active,
            current_idle,
            max_connections,
        };
        // SAFETY: as the caller promises.
        unsafe { store("stats", stats, found) }?;
        Ok(0)
    })
}
