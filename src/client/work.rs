//! What connector threads do for a pool, one job at a time: the calls of its manager, and what is reported of them.

use std::sync::Arc;

use super::backend::{Backend, Connected};
use super::connectors::Jobs;
use super::error::ConnectError;
use super::inner::{Enlisted, Job, Wake};
use super::shared::{Drive, Shared};
use crate::lease::{ConnectFailed, SlotId};

impl<B: Backend> Shared<B> {
    /// Does all jobs there are in this thread.
    pub(super) fn do_jobs(self: &Arc<Self>) {
        loop {
            let Some(job) = self.lock().next_job() else { return };
            self.carry_out(job);
        }
    }

    fn carry_out(self: &Arc<Self>, job: Job) {
        match job {
            Job::Connect(slot) => {
                let pool = Arc::clone(self);
                self.backend.begin_connect(self.timeouts(), move |result| pool.connected(slot, result));
            }
            Job::Validate(slot) => {
                let Some(connection) = self.lock().record(slot).connection.take() else { return };
                let pool = Arc::clone(self);
                self.backend.begin_validate(connection, self.timeouts(), move |connection, result| {
                    pool.validated(slot, connection, result);
                });
            }
            Job::Close(slot, reason) => {
                let connection = self.lock().record(slot).connection.take();
                log::debug!("closing connection {slot:?}: {reason:?}");
                let pool = Arc::clone(self);
                let done = move || {
                    let mut inner = pool.visit();
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
                let outcome = inner.outcome(waiter);
                self.leave(inner);
                if let Some((given, Wake::Callback(callback))) = outcome {
                    callback(given);
                }
            }
            Job::Tell(slot) => {
                let place = self.lock().record(slot).taken_at;
                let held = self.config.leak_threshold.unwrap_or_default();
                match place {
                    Some(place) => log::warn!(
                        "Possible connection leak: connection {slot:?} has been held for more than {held:?}, taken at {place}"
                    ),
                    None => log::warn!(
                        "Possible connection leak: connection {slot:?} has been held for more than {held:?}"
                    ),
                }
            }
        }
    }

    fn connected(self: &Arc<Self>, slot: SlotId, result: Connected<B>) {
        let mut inner = self.visit();
        inner.end_work(slot);
        let now = self.now();
        let old = match result {
            Ok(connection) => {
                inner.record(slot).connection = Some(connection);
                // A name that the core does not know any more would be a fault of ours.
                let known = inner.core.connected(slot, Ok(()), now);
                debug_assert!(known.is_ok(), "{slot:?} was not being connected");
                None
            }
            Err(error) => {
                log::warn!("Failed to create connection: {error}");
                inner.errors.count(error.kind());
                let known = inner.core.connected(slot, Err(ConnectFailed::Error), now);
                debug_assert!(known.is_ok(), "{slot:?} was not being connected");
                inner.last_error.replace(error)
            }
        };
        self.leave(inner);
        // An error of the application may do what it likes when it is dropped.
        drop(old);
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
            log::warn!("Removing unhealthy connection from pool: {error}");
            inner.errors.count(error.kind());
        }
        let known = inner.core.validated(slot, result.map_err(drop), self.now());
        debug_assert!(known.is_ok(), "{slot:?} was not being validated");
        self.leave(inner);
    }
}

impl<B: Backend> Jobs for Shared<B> {
    fn work(self: Arc<Self>) {
        let (job, more) = {
            let mut inner = self.lock();
            inner.enlisted = Enlisted::No;
            let job = inner.next_job();
            if job.is_some() {
                inner.at_work += 1;
            }
            (job, inner.enlist())
        };
        if let (Drive::Threads(process, _), true) = (self.driver(), more) {
            process.submit(Arc::clone(&self) as Arc<dyn Jobs>);
        }
        let Some(job) = job else { return };
        self.carry_out(job);
        let mut inner = self.lock();
        inner.at_work -= 1;
        let more = inner.enlist();
        drop(inner);
        if let (Drive::Threads(process, _), true) = (self.driver(), more) {
            process.submit(self);
        }
    }
}
