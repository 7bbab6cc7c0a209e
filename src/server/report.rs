//! How things are: the snapshot, and the list of connections.

use super::SocketPool;
use super::core::Core;
use super::event::Event;
use crate::clock::Nanos;
use crate::connection::{Flags, Muted, Record, Stage, Standing};
#[cfg(feature = "capi")]
use crate::health::Counters;
use crate::health::{ConnectionInfo, Facts, Memory, Phase, Snapshot, Verdict};
use crate::id::ConnId;
use crate::net::Net;

impl<U, N: Net> SocketPool<U, N> {
    /// Everything that is known of the pool, at this moment: a plain struct that costs about a microsecond and keeps
    /// nothing borrowed. Its `Display` is one line.
    ///
    /// ```
    /// let mut pool = socketpool::SocketPool::<()>::builder().build()?;
    /// let snapshot = pool.snapshot();
    /// assert_eq!(snapshot.connections.limit, Some(10_000));
    /// println!("{snapshot}");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn snapshot(&mut self) -> Snapshot {
        let now = self.core.this_moment();
        let facts = self.facts(now);
        self.core.health.snapshot(facts, now)
    }

    /// What has happened, and how many connections are busy now and how many are not.
    #[cfg(feature = "capi")]
    pub(crate) fn tally(&self) -> (&Counters, usize, usize) {
        let active = self.core.busy;
        (&self.core.health.counters, active, self.table.len().saturating_sub(active))
    }

    /// Whether the pool is well, for a load balancer: see [`Verdict`].
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// assert_eq!(pool.verdict(), Verdict::Healthy);
    /// pool.drain(None);
    /// assert_eq!(pool.verdict(), Verdict::Drained, "nobody was there");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn verdict(&mut self) -> Verdict {
        let now = self.core.this_moment();
        let facts = self.facts(now);
        self.core.health.judge(&facts, now)
    }

    /// Every live connection as a line of a list, in order of slots.
    ///
    /// ```
    /// # let mut pool = socketpool::SocketPool::<()>::builder().build()?;
    /// for info in pool.connections() {
    ///     println!("{info}");
    /// }
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn connections(&self) -> impl Iterator<Item = ConnectionInfo> + '_ {
        let now = self.core.this_moment();
        self.table.iter().map(move |(id, record)| {
            let open = self.inbox.owner() == Some(id);
            let waiting_in = if open { self.inbox.len() } else { record.waiting_in() };
            info(&self.core, id, record, waiting_in, now)
        })
    }

    fn facts(&self, now: Nanos) -> Facts {
        let core = &self.core;
        let config = core.config();
        let full = self.table.len() >= config.max_connections as usize;
        let waiting =
            self.listening.iter().any(|listening| listening.backlog == super::listen::Backlog::Waiting);
        let deadline = core.drain.deadline;
        Facts {
            state: core.drain.state.state(),
            live: self.table.len(),
            active: core.busy,
            max_connections: config.max_connections as usize,
            proven: core.proven,
            buffer_bytes: core.pressure.held_bytes(),
            peak_buffer_bytes: core.pressure.peak_bytes(),
            budget: config.budget(),
            memory: self.memory(),
            descriptors_exhausted: core.exhaustion.pauses_accepting(),
            waiting_in_backlog: full && waiting,
            tracked_addresses: core.gate.tracked(),
            drain_remaining: (deadline != Nanos::MAX).then(|| deadline.since(now)),
        }
    }

    fn memory(&self) -> Memory {
        let core = &self.core;
        let queues = core.run.memory_bytes() + core.ending.capacity() * size_of::<ConnId>();
        let events = self.closed.capacity() * size_of::<Event<U>>();
        Memory {
            table: self.table.memory_bytes() + core.order.memory_bytes() + core.line.memory_bytes(),
            timers: core.timers.memory_bytes(),
            admission: core.gate.memory_bytes(),
            buffers_lent: core.store.lent_bytes(),
            buffers_free: core.store.free_bytes(),
            other: queues
                + events
                + self.inbox.memory_bytes()
                + core.pressure.memory_bytes()
                + core.stage.bytes.capacity(),
            ..Memory::default()
        }
    }
}

/// A connection as a line of a list.
pub(super) fn info<N: Net, U>(
    core: &Core<N>,
    id: ConnId,
    record: &Record<N::Stream, U>,
    waiting_in: usize,
    now: Nanos,
) -> ConnectionInfo {
    ConnectionInfo {
        id,
        peer: record.peer,
        age: now.since(record.created),
        idle: now.since(record.last_active),
        state: phase(core, id, record, waiting_in),
        bytes_in: record.received_bytes,
        bytes_out: record.sent_bytes,
        waiting_in,
        waiting_out: record.waiting_out() + core.staged(id),
        operations: record.operations,
        denied: u64::from(record.denied),
    }
}

/// The last of the phases that holds. Nothing is kept for it: it is worked out for whoever asks.
fn phase<N: Net, U>(core: &Core<N>, id: ConnId, record: &Record<N::Stream, U>, waiting_in: usize) -> Phase {
    let muted = record.muted;
    // While it is handled its input is open, and output may be gathered, of which the record does not know.
    let busy = record.is_busy() || waiting_in > 0 || core.staged(id) > 0;
    // The flag stays until its timer fires, though the output may have left meanwhile.
    let paced = record.flags.has(Flags::SEND_PACED) && record.output.is_some();
    let waits_for_rate = muted.has(Muted::OPERATIONS) && !record.flags.has(Flags::ASIDE);
    if record.stage != Stage::Open {
        Phase::Closing
    } else if core.is_unwatched(id, record) {
        Phase::Unwatched
    } else if record.standing == Standing::Unobserved {
        Phase::Unobserved
    } else if muted.has(Muted::DELAYED) && !waits_for_rate {
        Phase::Delayed
    } else if paced || waits_for_rate || muted.has(Muted::BYTES) {
        Phase::Throttled
    } else if muted.has(Muted::APPLICATION) {
        Phase::Paused
    } else if muted.has(Muted::BACK_PRESSURE) {
        Phase::OutputHigh
    } else if muted.has(Muted::FULL) {
        Phase::InputFull
    } else if busy {
        Phase::Active
    } else if record.standing == Standing::Unproven {
        Phase::Unproven
    } else {
        Phase::Idle
    }
}
