//! The connector threads of the process: they make, check and close connections for all pools that block, and call what
//! was passed to `acquire_with`. Made on demand, at most [`MOST`] that work, gone when there has been nothing to do for a while.
//! What a pool wants done is the pool's to know: here stand only the pools that want something.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::backend::tell;

/// Somebody who has jobs for connector threads.
pub(super) trait Jobs: Send + Sync {
    /// Does one job, if there is one, and says whether there are more. Another thread may be called for those while this
    /// one is at work: `more` is for that, to be called before the job is done.
    fn work(self: Arc<Self>);
}

/// The pools that have jobs, in the order in which they came, and the threads.
#[derive(Default)]
pub(super) struct Connectors {
    state: Mutex<State>,
    /// A thread that has nothing to do waits here.
    work: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<dyn Jobs>>,
    /// Threads that wait for work.
    resting: usize,
    /// All threads, those included that have been asked for.
    threads: usize,
    /// Of them, those that are stuck in a call of which nobody expects anything any more.
    stuck: usize,
}

/// What is missing to have the work done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hands {
    Enough,
    /// A thread is to be made: by somebody who may.
    OneMore,
}

impl Connectors {
    /// Makes room for one more pool, so that [`submit`](Self::submit) need not allocate.
    pub(super) fn prepare(&self, pools: usize) {
        let mut state = self.lock();
        let missing = pools.saturating_sub(state.waiting.len());
        state.waiting.reserve(missing);
    }

    /// Puts a pool in line. Whoever has jobs is here once at most.
    pub(super) fn submit(&self, jobs: Arc<dyn Jobs>) -> Hands {
        let mut state = self.lock();
        state.waiting.push_back(jobs);
        let hands = state.hands();
        if hands == Hands::Enough && state.resting > 0 {
            drop(state);
            self.work.notify_one();
        }
        hands
    }

    /// The thread that was asked for could not be made.
    pub(super) fn count_unmade(&self) {
        self.lock().threads -= 1;
    }

    /// Whether a thread is missing for what waits, after one could not be made.
    pub(super) fn look_again(&self) -> Hands {
        self.lock().hands()
    }

    /// A job has taken longer than anybody waits for: its thread does not count until it is back, and another may take up
    /// what waits.
    pub(super) fn count_stuck(&self) -> Hands {
        let mut state = self.lock();
        state.stuck += 1;
        state.hands()
    }

    /// What was counted as stuck is back.
    pub(super) fn count_freed(&self) {
        self.lock().stuck -= 1;
    }

    /// What a thread does that [`submit`](Self::submit) or another of these asked for.
    pub(super) fn run(&self) {
        while let Some(jobs) = self.next() {
            // A pool may end here, and with it its manager, which is the application's.
            tell("a pool at its end", catch_unwind(AssertUnwindSafe(|| jobs.work())));
        }
    }

    /// The next pool that wants something; `None` when there has been none for a while.
    fn next(&self) -> Option<Arc<dyn Jobs>> {
        let mut state = self.lock();
        loop {
            if let Some(jobs) = state.waiting.pop_front() {
                return Some(jobs);
            }
            if state.threads - state.stuck > MOST {
                // It was stuck, and another was made in its place.
                state.threads -= 1;
                return None;
            }
            state.resting += 1;
            let (back, waited) = self.work.wait_timeout(state, REST).unwrap_or_else(PoisonError::into_inner);
            state = back;
            state.resting -= 1;
            if waited.timed_out() && state.waiting.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of the application runs under this lock, so nothing panics there.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether everything that waits has a thread, or will get the next one that is done; counts the thread that is
    /// missing. One that rests may have been woken for something already.
    fn hands(&mut self) -> Hands {
        let may_more = self.threads - self.stuck < MOST && self.threads < MOST_WITH_STUCK;
        if self.waiting.len() <= self.resting || !may_more {
            return Hands::Enough;
        }
        self.threads += 1;
        Hands::OneMore
    }
}

/// Threads that work at the same time.
const MOST: usize = 8;
/// Threads altogether, however many are stuck in calls that do not come back.
const MOST_WITH_STUCK: usize = 64;
/// How long a thread without work stays.
const REST: Duration = Duration::from_secs(10);
