//! What connector threads do for a pool, one job at a time: the calls of its manager, and what is reported of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use log::Level;

use super::backend::{Backend, Connected, note, tell};
use super::connectors::Jobs;
use super::error::{ConnectError, ConnectPhase};
use super::facts::Times;
use super::inner::{Enlisted, Wake};
use super::queue::Job;
use super::shared::{Drive, Shared};
use crate::lease::{Phase, SlotId};

impl<B: Backend> Shared<B> {
    /// Does all jobs there are in this thread.
    pub(super) fn do_jobs(self: &Arc<Self>) {
        loop {
            let now = self.now();
            let Some(job) = self.lock().next_job(now) else { return };
            self.carry_out(job);
        }
    }

    fn carry_out(self: &Arc<Self>, job: Job) {
        match job {
            Job::Connect(slot) if self.is_late(slot) => {
                self.connected(slot, Err(self.too_late(ConnectPhase::Connect)));
            }
            Job::Connect(slot) => {
                let pool = Arc::clone(self);
                self.backend.begin_connect(self.timeouts(), move |result| pool.connected(slot, result));
            }
            Job::Validate(slot) => {
                let is_late = self.is_late(slot);
                let Some(connection) = self.lock().record(slot).connection.take() else { return };
                if is_late {
                    return self.validated(slot, connection, Err(self.too_late(ConnectPhase::Validate)));
                }
                let pool = Arc::clone(self);
                self.backend.begin_validate(connection, self.timeouts(), move |connection, result| {
                    pool.validated(slot, connection, result);
                });
            }
            Job::Close(slot, reason) => {
                let connection = self.lock().record(slot).connection.take();
                note(Level::Debug, format_args!("closing connection {slot:?}: {reason:?}"));
                let pool = Arc::clone(self);
                let done = move || {
                    let mut inner = pool.visit();
                    inner.end_work(slot);
                    let _ = inner.core.closed(slot, pool.now());
                    pool.leave(inner);
                };
                match connection {
                    Some(connection) => self.backend.begin_close(connection, done),
                    None => done(),
                }
            }
            Job::Call(waiter) => {
                let mut inner = self.lock();
                let wake = std::mem::replace(inner.wake(waiter), Wake::Nobody);
                let outcome = inner.outcome(waiter);
                self.leave(inner);
                if let (Wake::Callback(callback), Some(outcome)) = (wake, outcome) {
                    callback(outcome);
                }
            }
            Job::Tell(slot) => {
                let place = self.lock().record(slot).taken_at;
                let held = self.config.leak_threshold.unwrap_or_default();
                let leak = format_args!(
                    "Possible connection leak: connection {slot:?} has been held for more than {held:?}"
                );
                match place {
                    Some(place) => note(Level::Warn, format_args!("{leak}, taken at {place}")),
                    None => note(Level::Warn, leak),
                }
            }
        }
    }

    /// Whether a connect or validation was given up before a thread had time for it. Beginning it then would keep that
    /// thread from what somebody waits for, and nothing would count it as stuck.
    fn is_late(&self, slot: SlotId) -> bool {
        self.lock().core.phase(slot) == Some(Phase::Overdue)
    }

    fn too_late(&self, phase: ConnectPhase) -> ConnectError<B::Error> {
        ConnectError::timed_out(phase, self.config.connect_timeout.unwrap_or_default())
    }

    fn connected(self: &Arc<Self>, slot: SlotId, result: Connected<B>) {
        let failed = result.as_ref().err().cloned();
        let mut inner = self.visit();
        inner.end_work(slot);
        let now = self.now();
        let old = match result {
            Ok(connection) => {
                let record = inner.record(slot);
                record.connection = Some(connection);
                record.times = Times::made(now);
                // A name that the core does not know any more would be a fault of ours.
                let known = inner.core.connected(slot, Ok(()), now);
                debug_assert!(known.is_ok(), "{slot:?} was not being connected");
                (None, None)
            }
            Err(error) => {
                inner.count_error(slot, error.kind());
                let known = inner.core.connected(slot, Err(()), now);
                debug_assert!(known.is_ok(), "{slot:?} was not being connected");
                (inner.last_error.replace(error), inner.replaced_error.take())
            }
        };
        self.leave(inner);
        // An error of the application may do what it likes when it is shown or dropped.
        drop(old);
        if let Some(error) = failed {
            note(Level::Warn, format_args!("Failed to create connection: {error}"));
        }
    }

    fn validated(
        self: &Arc<Self>,
        slot: SlotId,
        connection: B::Connection,
        result: Result<(), ConnectError<B::Error>>,
    ) {
        let mut inner = self.visit();
        inner.end_work(slot);
        inner.record(slot).connection = Some(connection);
        if let Err(error) = &result {
            inner.count_error(slot, error.kind());
        }
        let outcome = result.as_ref().map(drop).map_err(drop);
        let known = inner.core.validated(slot, outcome, self.now());
        debug_assert!(known.is_ok(), "{slot:?} was not being validated");
        self.leave(inner);
        if let Err(error) = result {
            note(Level::Warn, format_args!("Removing unhealthy connection from pool: {error}"));
        }
    }
}

impl<B: Backend> Jobs for Shared<B> {
    fn work(self: Arc<Self>) {
        let now = self.now();
        let (job, more) = {
            let mut inner = self.lock();
            inner.enlisted = Enlisted::No;
            let job = inner.next_job(now);
            if let Some(job) = job {
                inner.queue.begin(job);
            }
            (job, inner.enlist())
        };
        if let (Drive::Threads(process, _), true) = (self.driver(), more) {
            process.submit(Arc::clone(&self) as Arc<dyn Jobs>);
        }
        let Some(job) = job else { return };
        // An error of the application's that is dropped may panic as well, and then this job is over too.
        tell("a connector thread", catch_unwind(AssertUnwindSafe(|| self.carry_out(job))));
        let mut inner = self.lock();
        inner.queue.end(job);
        let more = inner.enlist();
        drop(inner);
        if let (Drive::Threads(process, _), true) = (self.driver(), more) {
            process.submit(self);
        }
    }
}
