//! The one thread of the process that knows what is due when in every pool, and calls `tick` then. It never connects,
//! validates, resolves, closes or calls back, so a pool whose server hangs delays nobody else's deadlines. It also makes
//! connector threads, which a release must not. It lives as long as any pool that it watches over.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use log::Level;

use super::backend::note;
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
    make: Make,
}

/// Makes a thread of this name.
type Make = fn(&'static str, Box<dyn FnOnce() + Send>) -> io::Result<()>;

#[derive(Default)]
struct State {
    pools: Vec<Entry>,
    /// Connector threads that are to be made.
    wanted: usize,
    making: Making,
    thread: ThreadIs,
    next_name: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ThreadIs {
    #[default]
    Gone,
    Running,
}

/// Whether connector threads can be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Making {
    #[default]
    Works,
    /// The last one could not, and it is tried again then.
    Fails { again: Nanos },
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
        Some(of.get_or_init(|| Self::new(Clock::showing(sys::monotonic_nanos), make_thread)))
    }

    fn new(clock: Clock, make: Make) -> Self {
        Self {
            connectors: Connectors::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            clock,
            make,
        }
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
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Makes the thread unless it runs. Comes after [`enter`](Self::enter), and before anything else.
    pub(super) fn begin(&'static self) -> io::Result<()> {
        let mut state = self.lock();
        if state.thread == ThreadIs::Gone {
            (self.make)("socketpool-deadlines", Box::new(|| self.run()))?;
            state.thread = ThreadIs::Running;
        }
        Ok(())
    }

    fn run(&'static self) {
        let mut state = self.lock();
        loop {
            if state.wanted > 0 {
                state.wanted -= 1;
                drop(state);
                let made = (self.make)("socketpool-connect", Box::new(|| self.connectors.run()));
                state = self.settle_making(made);
                continue;
            }
            if state.pools.is_empty() {
                state.thread = ThreadIs::Gone;
                return;
            }
            let now = self.clock.now();
            if state.making_again() <= now {
                state.making = Making::Fails { again: Nanos::MAX };
                drop(state);
                let hands = self.connectors.look_again();
                state = self.lock();
                state.wanted += usize::from(hands == Hands::OneMore);
                continue;
            }
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

    /// What waits for a thread that could not be made would wait until somebody asks for another: so it is tried again
    /// for as long as something waits.
    fn settle_making(&self, made: io::Result<()>) -> MutexGuard<'_, State> {
        let now = self.clock.now();
        if made.is_err() {
            self.connectors.count_unmade();
        }
        let mut state = self.lock();
        match (made, state.making) {
            (Ok(()), Making::Works) => {}
            (Ok(()), Making::Fails { .. }) => {
                state.making = Making::Works;
                // Others may be missing that could not be made before it.
                if self.connectors.look_again() == Hands::OneMore {
                    state.wanted += 1;
                }
            }
            (Err(error), before) => {
                state.making = Making::Fails { again: now + PAUSE };
                if before == Making::Works {
                    drop(state);
                    let text = format_args!("no thread can be made to connect, it is tried again: {error}");
                    note(Level::Error, text);
                    state = self.lock();
                }
            }
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn earliest(&self) -> Nanos {
        let due = self.pools.iter().map(|entry| entry.due).min().unwrap_or(Nanos::MAX);
        due.min(self.making_again())
    }

    const fn making_again(&self) -> Nanos {
        match self.making {
            Making::Works => Nanos::MAX,
            Making::Fails { again } => again,
        }
    }
}

fn make_thread(name: &'static str, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(body).map(drop)
}

/// How deep forks of forks may use pools.
const MOST_FORKS: usize = 256;
/// A wait of this length more or less costs nothing, and no clock arithmetic can overflow.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Before a thread is tried again that could not be made.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// So many threads to connect cannot be made yet.
    static LACKING: AtomicU32 = AtomicU32::new(0);

    fn make_after_some(name: &'static str, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let fewer = |lacking: u32| lacking.checked_sub(1);
        let is_connector = name == "socketpool-connect";
        if is_connector && LACKING.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        make_thread(name, body)
    }

    struct Idle;

    impl Ticks for Idle {
        fn tick(self: Arc<Self>) -> Nanos {
            Nanos::MAX
        }
    }

    struct Told(Sender<u32>, u32);

    impl Jobs for Told {
        fn work(self: Arc<Self>) {
            self.0.send(self.1).expect("the test waits");
        }
    }

    #[test]
    fn a_thread_that_is_refused_is_asked_for_again_by_the_next_pool() {
        let process = Process::new(Clock::showing(sys::monotonic_nanos), make_after_one);
        let process: &'static Process = Box::leak(Box::new(process));
        let pool: Arc<dyn Ticks> = Arc::new(Idle);
        let name = process.enter(Arc::downgrade(&pool));
        assert!(process.begin().is_err());
        process.begin().expect("the second is made");
        process.leave(name);
    }

    fn make_after_one(name: &'static str, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        match ASKED.fetch_add(1, Ordering::SeqCst) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => make_thread(name, body),
        }
    }

    #[test]
    fn what_waits_for_a_thread_that_cannot_be_made_waits_until_one_can() {
        let process = Process::new(Clock::showing(sys::monotonic_nanos), make_after_some);
        let process: &'static Process = Box::leak(Box::new(process));
        let pool: Arc<dyn Ticks> = Arc::new(Idle);
        let name = process.enter(Arc::downgrade(&pool));
        process.begin().expect("that one can be made");
        LACKING.store(4, Ordering::SeqCst);
        let (sender, told) = channel();
        for number in [1, 2] {
            process.submit(Arc::new(Told(sender.clone(), number)));
        }
        let mut numbers = [told.recv(), told.recv()].map(|number| number.expect("it is done"));
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2]);
        assert_eq!(LACKING.load(Ordering::SeqCst), 0, "nobody asked again");
        process.leave(name);
    }
}
