//! The one thread of the process that knows what is due when in every pool, and calls `tick` then. It never connects,
//! validates, resolves, closes or calls back, so a pool whose server hangs delays nobody else's deadlines. It also makes
//! connector threads, which a release must not.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::connectors::{Connectors, Hands, Jobs};
use crate::clock::{Clock, Nanos};
use crate::net::sys;

/// Somebody who has deadlines.
pub(super) trait Ticks: Send + Sync {
    /// Does what is due and says when something is due next.
    fn tick(self: Arc<Self>) -> Nanos;
}

/// What the pools of one process share.
pub(super) struct Process {
    pub(super) connectors: Connectors,
    state: Mutex<State>,
    changed: Condvar,
    clock: Clock,
}

#[derive(Default)]
struct State {
    pools: Vec<Entry>,
    /// Connector threads that are to be made.
    wanted: usize,
    thread: ThreadIs,
    next_name: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ThreadIs {
    #[default]
    Gone,
    Running,
}

struct Entry {
    name: u64,
    due: Nanos,
    pool: Weak<dyn Ticks>,
}

/// The name under which a pool has its deadlines here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name(u64);

impl Process {
    /// Of this process: a child that was forked begins with one of its own, for it has none of its parent's threads and
    /// cannot know which of its locks were taken.
    pub(super) fn current() -> Option<&'static Self> {
        static OF: [OnceLock<Process>; MOST_FORKS] = [const { OnceLock::new() }; MOST_FORKS];
        let of = OF.get(sys::forks() as usize)?;
        Some(of.get_or_init(|| Self {
            connectors: Connectors::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            clock: Clock::showing(sys::monotonic_nanos),
        }))
    }

    /// Begins to watch over a pool, which has nothing due yet.
    pub(super) fn enter(&'static self, pool: Weak<dyn Ticks>) -> Name {
        let mut state = self.lock();
        state.next_name += 1;
        let name = state.next_name;
        state.pools.push(Entry { name, due: Nanos::MAX, pool });
        let pools = state.pools.len();
        drop(state);
        self.connectors.prepare(pools);
        Name(name)
    }

    /// Stops watching over a pool.
    pub(super) fn leave(&self, name: Name) {
        let mut state = self.lock();
        state.pools.retain(|entry| entry.name != name.0);
        if state.pools.is_empty() {
            self.changed.notify_all();
        }
    }

    /// Something is due in a pool earlier than it was known here.
    pub(super) fn rearm(&'static self, name: Name, due: Nanos) {
        let mut state = self.lock();
        self.begin(&mut state);
        let earliest = state.earliest();
        if let Ok(place) = state.pools.binary_search_by_key(&name.0, |entry| entry.name) {
            state.pools[place].due = state.pools[place].due.min(due);
        }
        if due < earliest {
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Puts a pool in line for connector threads. Neither allocates nor makes a thread.
    pub(super) fn submit(&'static self, jobs: Arc<dyn Jobs>) {
        self.see_to(self.connectors.submit(jobs));
    }

    /// A connector thread is stuck: another may have to do what waits.
    pub(super) fn count_stuck(&'static self) {
        self.see_to(self.connectors.count_stuck());
    }

    fn see_to(&'static self, hands: Hands) {
        if hands == Hands::OneMore {
            let mut state = self.lock();
            state.wanted += 1;
            self.begin(&mut state);
            self.changed.notify_all();
        }
    }

    /// Makes the thread, with the first thing that it is needed for: that is somebody who waits, so no release makes it.
    fn begin(&'static self, state: &mut State) {
        if state.thread == ThreadIs::Running {
            return;
        }
        match thread::Builder::new().name("socketpool-deadlines".into()).spawn(|| self.run()) {
            Ok(_) => state.thread = ThreadIs::Running,
            // The next call tries again.
            Err(error) => log::error!("no thread can be made for deadlines: {error}"),
        }
    }

    fn run(&'static self) {
        let mut state = self.lock();
        loop {
            if state.wanted > 0 {
                state.wanted -= 1;
                drop(state);
                self.connectors.spawn();
                state = self.lock();
                continue;
            }
            if state.pools.is_empty() {
                state.thread = ThreadIs::Gone;
                return;
            }
            let now = self.clock.now();
            if let Some(entry) = state.pools.iter_mut().find(|entry| entry.due <= now) {
                // Whatever comes up while it ticks is told here and then counts.
                entry.due = Nanos::MAX;
                let (name, pool) = (Name(entry.name), entry.pool.upgrade());
                drop(state);
                let next = pool.map_or(Nanos::MAX, Ticks::tick);
                state = self.lock();
                if let Ok(place) = state.pools.binary_search_by_key(&name.0, |entry| entry.name) {
                    state.pools[place].due = state.pools[place].due.min(next);
                }
                continue;
            }
            let earliest = state.earliest();
            state = if earliest == Nanos::MAX {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                let span = earliest.since(now).min(LONGEST_WAIT);
                self.changed.wait_timeout(state, span).unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn earliest(&self) -> Nanos {
        self.pools.iter().map(|entry| entry.due).min().unwrap_or(Nanos::MAX)
    }
}

/// How deep forks of forks may use pools.
const MOST_FORKS: usize = 256;
/// A wait of this length more or less costs nothing, and no clock arithmetic can overflow.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
