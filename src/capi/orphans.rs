//! Ends of connections that are still to be told when their pool is gone. A pool goes before the first of them is told: a
//! function of the program's that jumps away leaves nothing of it behind, and the next call with a pool, in that thread or by
//! the old name, goes on with the telling.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::callback::{Callback, Telling};
use super::common::Common;
use super::nesting::this_thread;
use super::shared::{Inner, Name, PARTING_TIME, end_name};
use super::telling::End;
use super::{handles, limbo};
use crate::clock::Nanos;
use crate::net::sys;

/// What is to be told of a pool that is gone.
#[derive(Debug)]
pub(super) struct Orphans {
    pool: u64,
    /// Which thread has freed it. Others may not know that its function is still called.
    thread: usize,
    callback: Callback,
    ends: VecDeque<End>,
}

pub(super) static ALL: Common<Mutex<Vec<Orphans>>> = Common::<Mutex<_>>::new(Vec::new());
/// Whether there are any: nobody else has to ask.
static ANY: AtomicBool = AtomicBool::new(false);

/// Lock order: a pool, this, all others.
fn all() -> MutexGuard<'static, Vec<Orphans>> {
    ALL.lock()
}

/// Takes over what there is to be told of a pool that is about to go.
pub(super) fn take_over(inner: &mut Inner) {
    // One whose end is being told further up the stack answers until that is over.
    let (told_now, parting) = mem::take(&mut inner.parting)
        .into_iter()
        .partition::<VecDeque<_>, _>(|(_, name)| inner.is_telling(*name));
    inner.parting = told_now;
    let names: Vec<Name> =
        parting.into_iter().map(|(_, name)| name).chain(inner.told_closed.take()).collect();
    for name in names {
        inner.close(name);
    }
    let ends = mem::take(&mut inner.untold);
    match inner.close_callback {
        Some(callback) if !ends.is_empty() => {
            let orphans = Orphans { pool: inner.own_name, thread: this_thread(), callback, ends };
            let mut all = all();
            all.push(orphans);
            ANY.store(true, Ordering::Release);
        }
        _ => ends.into_iter().for_each(|end| end_name(end.name)),
    }
}

/// Whether there is something to tell of a pool that is gone.
#[inline]
pub(super) fn are_there() -> bool {
    ANY.load(Ordering::Acquire)
}

/// A pool that is gone and of which this thread has something to tell, if there is one.
pub(super) fn of_this_thread() -> Option<u64> {
    if !are_there() {
        return None;
    }
    let here = this_thread();
    all().iter().find(|orphans| orphans.thread == here).map(|orphans| orphans.pool)
}

/// The next end to be told of a pool that is gone.
pub(super) fn next(pool: u64) -> Option<Telling> {
    if !are_there() {
        return None;
    }
    let mut all = all();
    let place = all.iter().position(|orphans| orphans.pool == pool)?;
    while let Some(End { name, reason, .. }) = all[place].ends.pop_front() {
        // After a fork the parent tells its ends itself.
        let Some(reason) = reason.filter(|_| handles::lives(name.get())) else {
            end_name(name);
            continue;
        };
        // If the function never returns, its time is over soon all the same.
        limbo::put(Nanos::new(sys::monotonic_nanos()) + PARTING_TIME, name.get());
        return Some(Telling::new(all[place].callback, name, reason));
    }
    all.swap_remove(place);
    ANY.store(!all.is_empty(), Ordering::Release);
    None
}
