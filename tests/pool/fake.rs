//! A resource that is made, checked and closed as a test wants it: its manager works, fails, panics or hangs. Every one
//! that was made is counted until it is closed, and closing one twice, or dropping one that was not closed, fails the
//! test.
#![allow(dead_code, reason = "not every test binary uses all of it")]

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use socketpool::{AsyncManager, BoxFuture, Manager, Timeouts};

/// What a call of the manager does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    Work,
    Fail,
    Panic,
    /// Comes back when it does something else.
    Hang,
}

/// A call of the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Connect,
    Validate,
    Close,
}

/// One call that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Called {
    pub(crate) call: Call,
    /// Which resource it was about; 0 for a connect that made none.
    pub(crate) number: u64,
    pub(crate) thread: ThreadId,
}

/// The test's hold on the managers and on all resources that they made.
#[derive(Clone, Default)]
pub(crate) struct World {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// What `is_broken` does; apart, for it is asked very often.
    looks: AtomicU8,
    /// What the resources have counted that are gone.
    ops: AtomicU64,
}

#[derive(Default)]
struct Inner {
    switches: BTreeMap<Call, Does>,
    /// What the next connects do, before the switch counts.
    script: VecDeque<Does>,
    calls: Vec<Called>,
    /// How often a switch has been set: what a script let hang hangs until then.
    sets: u64,
    /// Calls that have not come back.
    at_work: u32,
    /// Of them, those that hang now.
    hanging: u32,
    wakers: Vec<Waker>,
    made: u64,
    closed: u64,
    /// Threads in which a resource was dropped that had not been closed.
    lost: Vec<ThreadId>,
}

/// What is pooled.
pub(crate) struct Resource {
    pub(crate) number: u64,
    /// Counted by whoever holds it, without any lock.
    pub(crate) ops: u64,
    broken: AtomicBool,
    /// After so many more looks it is found broken.
    looks_left: AtomicU64,
    closed: bool,
    world: World,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault;

/// The manager of a pool: blocking as it is, by futures in an [`Async`](socketpool::Async).
pub(crate) struct Fake(pub World);

/// The same by futures.
pub(crate) struct FakeAsync(pub World);

impl World {
    pub(crate) fn manager(&self) -> Fake {
        Fake(self.clone())
    }

    pub(crate) fn async_manager(&self) -> FakeAsync {
        FakeAsync(self.clone())
    }

    /// What calls of this kind do from now on, those that hang included.
    pub(crate) fn set(&self, call: Call, does: Does) {
        let mut inner = self.lock();
        inner.switches.insert(call, does);
        inner.sets += 1;
        let wakers = std::mem::take(&mut inner.wakers);
        drop(inner);
        self.state.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// What the next connects do.
    pub(crate) fn script(&self, does: impl IntoIterator<Item = Does>) {
        self.lock().script.extend(does);
    }

    /// What `is_broken` does: `Fail` says that everything is.
    pub(crate) fn set_looks(&self, does: Does) {
        self.state.looks.store(does as u8, Ordering::SeqCst);
    }

    pub(crate) fn calls(&self) -> Vec<Called> {
        self.lock().calls.clone()
    }

    pub(crate) fn count(&self, call: Call) -> usize {
        self.lock().calls.iter().filter(|called| called.call == call).count()
    }

    /// Waits until all that was made is closed and freed, and so are the managers.
    #[track_caller]
    pub(crate) fn assert_freed(&self) {
        self.assert_all_closed();
        until("all is freed", || Arc::strong_count(&self.state) == 1);
    }

    pub(crate) fn hanging(&self) -> u32 {
        self.lock().hanging
    }

    /// How many resources there are.
    pub(crate) fn live(&self) -> u64 {
        let inner = self.lock();
        inner.made - inner.closed - inner.lost.len() as u64
    }

    /// What those counted that are gone.
    pub(crate) fn ops(&self) -> u64 {
        self.state.ops.load(Ordering::SeqCst)
    }

    /// Waits until every resource that was made is gone, and sees that each went by being closed.
    #[track_caller]
    pub(crate) fn assert_all_closed(&self) {
        until("every resource is closed", || {
            let inner = self.lock();
            inner.at_work == 0 && inner.made == inner.closed + inner.lost.len() as u64
        });
        let inner = self.lock();
        assert!(inner.lost.is_empty(), "{} were dropped without being closed", inner.lost.len());
        let mut closed: Vec<u64> = inner
            .calls
            .iter()
            .filter(|called| called.call == Call::Close)
            .map(|called| called.number)
            .collect();
        closed.sort_unstable();
        assert_eq!(closed, (1..=inner.made).collect::<Vec<_>>(), "each is closed once");
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that has begun, until this is dropped.
    fn at_work(&self) -> AtWork<'_> {
        self.lock().at_work += 1;
        AtWork(self)
    }

    fn make(&self, inner: &mut Inner) -> Resource {
        inner.made += 1;
        Resource {
            number: inner.made,
            ops: 0,
            broken: AtomicBool::new(false),
            looks_left: AtomicU64::new(u64::MAX),
            closed: false,
            world: self.clone(),
        }
    }

    /// Does what the switch says; `None` while that is to hang.
    fn act(inner: &Inner, call: Call, scripted: Option<Does>) -> Option<Result<(), Fault>> {
        let switch = inner.switches.get(&call).copied().unwrap_or(Does::Work);
        match scripted.unwrap_or(switch) {
            Does::Work => Some(Ok(())),
            Does::Fail => Some(Err(Fault)),
            Does::Panic => panic!("{call:?} panics as it was told"),
            Does::Hang => None,
        }
    }

    fn note(&self, call: Call, number: u64) -> Option<Does> {
        let mut inner = self.lock();
        inner.calls.push(Called { call, number, thread: thread::current().id() });
        if call == Call::Connect { inner.script.pop_front() } else { None }
    }

    fn block(&self, call: Call, number: u64) -> (MutexGuard<'_, Inner>, Result<(), Fault>) {
        let scripted = self.note(call, number);
        let mut inner = self.lock();
        let (mut hangs, sets) = (0, inner.sets);
        loop {
            let scripted = scripted.filter(|_| inner.sets == sets);
            if let Some(result) = Self::act(&inner, call, scripted) {
                inner.hanging -= hangs;
                return (inner, result);
            }
            inner.hanging += 1 - hangs;
            hangs = 1;
            self.state.changed.notify_all();
            inner = self.state.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    async fn wait(&self, call: Call, number: u64) -> Result<(), Fault> {
        let scripted = self.note(call, number);
        let (mut hangs, sets) = (0, self.lock().sets);
        std::future::poll_fn(move |context| {
            let mut inner = self.lock();
            let scripted = scripted.filter(|_| inner.sets == sets);
            if let Some(result) = Self::act(&inner, call, scripted) {
                inner.hanging -= hangs;
                return Poll::Ready(result);
            }
            inner.hanging += 1 - hangs;
            hangs = 1;
            inner.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn looks_broken(&self, resource: &Resource) -> bool {
        match self.state.looks.load(Ordering::Relaxed) {
            does if does == Does::Panic as u8 => panic!("is_broken panics as it was told"),
            does if does == Does::Fail as u8 => true,
            _ => {
                let left = resource.looks_left.load(Ordering::Relaxed);
                resource.looks_left.store(left.saturating_sub(u64::from(left < u64::MAX)), Ordering::Relaxed);
                left == 0 || resource.broken.load(Ordering::Relaxed)
            }
        }
    }
}

impl Resource {
    /// From now on it does not work any more.
    pub(crate) fn break_down(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// The same from the next but one look on: it is given back as if it worked, and found broken when it is lent.
    pub(crate) fn break_down_later(&self) {
        self.looks_left.store(1, Ordering::Relaxed);
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        self.world.state.ops.fetch_add(self.ops, Ordering::SeqCst);
        if !self.closed {
            self.world.lock().lost.push(thread::current().id());
        }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "resource {}", self.number)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("as it was told")
    }
}

impl std::error::Error for Fault {}

struct AtWork<'a>(&'a World);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.lock().at_work -= 1;
    }
}

impl Manager for Fake {
    type Connection = Resource;
    type Error = Fault;

    fn connect(&self, _: &Timeouts) -> Result<Resource, Fault> {
        let _at_work = self.0.at_work();
        let (mut inner, result) = self.0.block(Call::Connect, 0);
        result.map(|()| self.0.make(&mut inner))
    }

    fn validate(&self, resource: &mut Resource, _: &Timeouts) -> Result<(), Fault> {
        self.0.block(Call::Validate, resource.number).1
    }

    fn is_broken(&self, resource: &mut Resource) -> bool {
        self.0.looks_broken(resource)
    }

    fn close(&self, mut resource: Resource) {
        let _at_work = self.0.at_work();
        let closing = Closing { world: &self.0, resource: &mut resource };
        let (inner, _) = self.0.block(Call::Close, closing.resource.number);
        drop(inner);
        drop(closing);
    }
}

/// Closes at its end, also if that is a panic.
struct Closing<'a> {
    world: &'a World,
    resource: &'a mut Resource,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.resource.closed = true;
        self.world.lock().closed += 1;
    }
}

impl AsyncManager for FakeAsync {
    type Connection = Resource;
    type Error = Fault;

    fn connect<'a>(&'a self, _: &'a Timeouts) -> BoxFuture<'a, Result<Resource, Fault>> {
        Box::pin(async {
            let _at_work = self.0.at_work();
            self.0.wait(Call::Connect, 0).await?;
            Ok(self.0.make(&mut self.0.lock()))
        })
    }

    fn validate<'a>(
        &'a self,
        resource: &'a mut Resource,
        _: &'a Timeouts,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.0.wait(Call::Validate, resource.number))
    }

    fn is_broken(&self, resource: &mut Resource) -> bool {
        self.0.looks_broken(resource)
    }

    fn close<'a>(&'a self, mut resource: Resource) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let closing = Closing { world: &self.0, resource: &mut resource };
            let _ = self.0.wait(Call::Close, closing.resource.number).await;
            drop(closing);
        })
    }
}

/// Waits until something is so; a test in which it never is fails.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        thread::sleep(Duration::from_micros(500));
    }
}

/// Much longer than anything takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
