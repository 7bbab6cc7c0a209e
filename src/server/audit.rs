//! Checks what must always be true (DECISIONS 12): sums after each call in debug builds; everything, by walking the whole
//! pool, in tests and, under feature `audit`, at every 4,096th call.

use super::SocketPool;
use super::core::{Core, PROVEN, UNPROVEN};
use super::inbox::Inbox;
use crate::clock::Nanos;
use crate::connection::{Flags, Muted, Standing, Table};
use crate::net::{Net, Stream};

impl<U, N: Net> SocketPool<U, N> {
    /// Checks everything; panics if something is not as it must be. Walks the whole pool. For tests.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// pool.assert_invariants(); // after each step of a model test
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[doc(hidden)]
    pub fn assert_invariants(&self) {
        self.table.assert_invariants(Stream::fd);
        #[cfg(feature = "capi")]
        let to_fill = self.spaces.held_bytes();
        #[cfg(not(feature = "capi"))]
        let to_fill = 0;
        self.core.assert_invariants(&self.table, &self.inbox, to_fill);
    }

    /// What each call ends with.
    #[inline]
    pub(super) fn audit(&mut self) {
        #[cfg(debug_assertions)]
        self.core.assert_sums(self.table.len());
        #[cfg(feature = "audit")]
        {
            self.calls = self.calls.wrapping_add(1);
            if self.calls.is_multiple_of(CALLS_BETWEEN_WALKS) {
                self.assert_invariants();
            }
        }
    }
}

impl<N: Net> Core<N> {
    /// What can be checked without looking at any connection.
    fn assert_sums(&self, live: usize) {
        let counters = &self.health.counters;
        assert_eq!(counters.opened - counters.closed_total(), live as u64, "opened less closed");
        assert_eq!(self.gate.outstanding(), live, "permits that are out");
        assert!(self.busy <= live && self.proven <= live && self.ending.len() <= live, "parts of the whole");
        assert!(self.timers.len() <= live, "timers without a connection");
    }

    fn assert_invariants<U>(&self, table: &Table<N::Stream, U>, inbox: &Inbox, to_fill: usize) {
        self.assert_sums(table.len());
        let (mut busy, mut proven, mut held, mut queued, mut ending, mut in_line) = (0, 0, 0, 0, 0, 0);
        for (id, record) in table.iter() {
            busy += usize::from(record.flags.has(Flags::BUSY));
            proven += usize::from(record.standing == Standing::Proven);
            queued += usize::from(record.flags.has(Flags::QUEUED));
            ending += usize::from(record.is_ending());
            held += record.held_bytes as usize;
            let ranked = match (record.is_ending(), record.standing) {
                (true, _) | (_, Standing::Unobserved) => None,
                (_, Standing::Unproven) => Some(UNPROVEN),
                (_, Standing::Proven) => Some(PROVEN),
            };
            let waits_in_line = record.muted.has(Muted::OPERATIONS) && record.resume_at == Nanos::MAX;
            assert_eq!(self.line.has(id.slot()), waits_in_line && !record.is_ending(), "{id} in line");
            in_line += usize::from(self.line.has(id.slot()));
            assert_eq!(self.order.list_of(id.slot()), ranked, "place of {id} in the order of eviction");
            assert!(inbox.owner() != Some(id) || record.input.is_none(), "input of {id} lies in two places");
        }
        assert_eq!(self.busy, busy, "connections that are busy");
        assert_eq!(self.proven, proven, "connections that are proven");
        assert_eq!(self.ending.len(), ending, "connections whose end is decided");
        assert_eq!(self.line.len() as usize, in_line, "connections in line");
        assert_eq!(self.pressure.held_bytes(), held, "bytes charged to connections");
        assert!(self.run.len() >= queued, "connections that say they are queued");
        self.order.assert_invariants();
        self.line.assert_invariants();
        self.pressure.assert_invariants();
        self.timers.assert_invariants();
        self.gate.assert_invariants();
        self.assert_nothing_lent_to_nobody(table, inbox, to_fill);
    }

    /// Connections have what was lent, and `to_fill` bytes are the application's to fill.
    fn assert_nothing_lent_to_nobody<U>(&self, table: &Table<N::Stream, U>, inbox: &Inbox, to_fill: usize) {
        let holders = table.iter().any(|(_, record)| record.input.is_some() || record.output.is_some());
        if !holders && inbox.owner().is_none() {
            assert_eq!(self.store.lent_bytes(), to_fill, "bytes lent to nobody");
        }
    }
}

#[cfg(feature = "audit")]
const CALLS_BETWEEN_WALKS: u32 = 4096;
