//! Everything that is known at one moment, as plain values. Takes part in nothing: it is what operators read.

use std::fmt;
use std::time::Duration;

use super::{Counters, Quantiles, Verdict};
use crate::drain::State;
use crate::reason::{Reason, Refusal};

/// The pool at one moment: a plain value that can be kept, sent to another thread and printed.
///
/// `Display` writes one line of `key=value` words; reasons that never occurred are left out, words may be added in
/// later versions and their order may change.
///
/// ```
/// use socketpool::{Reason, Snapshot};
///
/// fn worth_a_page(now: &Snapshot, before: &Snapshot) -> bool {
///     let stalled = now.closed(Reason::WriteStall) - before.closed(Reason::WriteStall);
///     !now.verdict.is_serving() || stalled > 100 || now.error_rate > now.ops_rate
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Active, draining or drained.
    pub state: State,
    /// The pool's health in one word, with causes.
    pub verdict: Verdict,
    /// How long the pool has existed.
    pub uptime: Duration,
    /// How much is left of the drain before what remains is forced; `None` when there is no deadline, or it has passed.
    pub drain_remaining: Option<Duration>,
    /// Connections in the pool, and how many there may be.
    pub connections: Gauge,
    /// Of those, busy: unread input, unsent output, an open operation, or held.
    pub active: usize,
    /// Of those, not busy. Always `connections.now − active`.
    pub idle: usize,
    /// Of those, proven: they completed a first exchange and are no longer the first to make room.
    pub proven: usize,
    /// Bytes of the buffers in which something waits, a payload that is shared counted for each, and the budget for them.
    pub buffers: Gauge,
    /// Bytes of memory by part.
    pub memory: Memory,
    /// Whether accepting is paused for want of descriptors or memory.
    pub descriptors_exhausted: bool,
    /// Whether newcomers are left in the backlog because the pool is full.
    pub waiting_in_backlog: bool,
    /// Addresses of which a count or a flood score is kept.
    pub tracked_addresses: usize,
    /// Operations completed a second, over the last ten seconds.
    pub ops_rate: f64,
    /// Connections ended by error or stall a second, over the last ten seconds.
    pub error_rate: f64,
    /// How long operations took, over the last minute.
    pub latency: Quantiles,
    /// What has happened since the pool was made.
    pub counters: Counters,
}

impl Snapshot {
    /// Newcomers that were turned away for this reason, since the pool was made.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// pool.drain(None);
    /// let (late, _client) = UnixStream::pair().unwrap();
    /// assert!(pool.add(late).is_err());
    /// assert_eq!(pool.snapshot().refused(Refusal::Draining), 1);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn refused(&self, refusal: Refusal) -> u64 {
        self.counters.refused(refusal)
    }

    /// Newcomers that were turned away, since the pool was made.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// let before = pool.snapshot();
    /// // … a minute later:
    /// let refused = pool.snapshot().refused_total() - before.refused_total();
    /// assert_eq!(refused, 0, "numbers only grow, so a difference is what happened in between");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.counters.refused_total()
    }

    /// Connections that ended for this reason, since the pool was made.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// drop(client);
    /// for _ in 0..3 {
    ///     pool.turn(Some(Duration::ZERO))?;
    ///     while let Some(event) = pool.next_event() {
    ///         if let Event::Readable(id) = event { pool.conn(id).receive(); } // finds the end of the stream
    ///     }
    /// }
    /// assert_eq!(pool.snapshot().closed(Reason::Peer), 1);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn closed(&self, reason: Reason) -> u64 {
        self.counters.closed(reason)
    }

    /// Connections that ended, since the pool was made.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// pool.force_close_all();
    /// pool.turn(Some(Duration::ZERO))?;
    /// while pool.next_event().is_some() {}
    /// let snapshot = pool.snapshot();
    /// assert_eq!(snapshot.closed_total(), snapshot.counters.opened);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn closed_total(&self) -> u64 {
        self.counters.closed_total()
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "verdict={} uptime={:.3}", self.verdict, self.uptime.as_secs_f64())?;
        if let Some(left) = self.drain_remaining {
            write!(f, " drain_remaining={:.3}", left.as_secs_f64())?;
        }
        write!(
            f,
            " connections={} active={} idle={} proven={}",
            self.connections, self.active, self.idle, self.proven
        )?;
        write!(
            f,
            " buffers={} memory={} addresses={}",
            self.buffers,
            self.memory.total(),
            self.tracked_addresses
        )?;
        write!(f, " ops_rate={:.1} error_rate={:.1} {}", self.ops_rate, self.error_rate, self.latency)?;
        write_counters(&self.counters, f)
    }
}

/// A number that goes up and down.
///
/// ```
/// use socketpool::Gauge;
///
/// let gauge = Gauge { now: 12, peak: 80, limit: Some(100) };
/// assert_eq!(gauge.to_string(), "12/80/100");
/// assert_eq!(Gauge { limit: None, ..gauge }.to_string(), "12/80/-");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// What it is.
    pub now: usize,
    /// The most it has been.
    pub peak: usize,
    /// The most it may be; `None` when nothing bounds it.
    pub limit: Option<usize>,
}

impl fmt::Display for Gauge {
    /// `now/peak/limit`, with `-` for no limit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/", self.now, self.peak)?;
        match self.limit {
            Some(limit) => write!(f, "{limit}"),
            None => f.write_str("-"),
        }
    }
}

/// Bytes of memory that the pool holds, by part. What userdata has on the heap is not in it, nor payloads that are shared,
/// what waits in the commands of other threads, and what the kernel keeps for its sockets.
///
/// ```
/// use socketpool::Memory;
/// assert_eq!(Memory::default().total(), 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Records of connections and the map from descriptors.
    pub table: usize,
    /// Deadlines.
    pub timers: usize,
    /// Counts and scores of addresses.
    pub admission: usize,
    /// Buffers in which bytes wait.
    pub buffers_lent: usize,
    /// Buffers that are kept for the next who needs one.
    pub buffers_free: usize,
    /// Histograms and counts.
    pub health: usize,
    /// Everything else: events, run queue, scratch.
    pub other: usize,
}

impl Memory {
    /// All parts together.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// let memory = pool.snapshot().memory;
    /// assert!(memory.total() >= memory.table + memory.timers && memory.buffers_lent == 0);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn total(&self) -> usize {
        self.table
            + self.timers
            + self.admission
            + self.buffers_lent
            + self.buffers_free
            + self.health
            + self.other
    }
}

impl fmt::Display for Memory {
    /// `key=value` words in bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "total={} table={} timers={} admission={} buffers_lent={} buffers_free={} health={} other={}",
            self.total(),
            self.table,
            self.timers,
            self.admission,
            self.buffers_lent,
            self.buffers_free,
            self.health,
            self.other,
        )
    }
}

fn write_counters(counters: &Counters, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        " accepted={} adopted={} opened={} operations={} denied={} delayed={} deferred={} accept_failures={}",
        counters.accepted,
        counters.adopted,
        counters.opened,
        counters.operations,
        counters.operations_denied,
        counters.delayed,
        counters.deferred_accepts,
        counters.accept_failures,
    )?;
    write!(f, " in={} out={}", counters.received_bytes, counters.sent_bytes)?;
    write!(f, " refused={}", counters.refused_total())?;
    for &refusal in Refusal::ALL.iter().filter(|&&refusal| counters.refused(refusal) != 0) {
        write!(f, " refused_{refusal}={}", counters.refused(refusal))?;
    }
    write!(f, " closed={}", counters.closed_total())?;
    for &reason in Reason::ALL.iter().filter(|&&reason| counters.closed(reason) != 0) {
        write!(f, " closed_{reason}={}", counters.closed(reason))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Nanos;
    use crate::health::testing::facts;
    use crate::health::{Facts, Health};

    #[test]
    fn a_snapshot_is_one_line_of_words_each_with_one_key() {
        let mut health = Health::new(Nanos::ZERO);
        health.opened(1);
        health.operation(Nanos::ZERO, Nanos::new(250_000));
        health.refused(Refusal::Flood, Nanos::ZERO);
        health.closed(Reason::Evicted, Nanos::ZERO);
        let draining = Facts {
            state: State::Draining,
            drain_remaining: Some(Duration::from_millis(1_500)),
            live: 3,
            active: 1,
            ..facts()
        };
        let line = health.snapshot(draining, Nanos::from_millis(2_000)).to_string();
        let words: Vec<&str> = line.split(' ').collect();
        for (place, word) in words.iter().enumerate() {
            let (key, value) = word.split_once('=').expect("key=value");
            assert!(!key.is_empty() && !value.is_empty(), "{word}");
            assert!(
                !words[..place].iter().any(|other| other.split_once('=').unwrap().0 == key),
                "{key} twice"
            );
        }
        for word in [
            "verdict=draining",
            "uptime=2.000",
            "drain_remaining=1.500",
            "connections=3/1/100",
            "active=1",
            "idle=2",
            "ops_rate=0.5",
            "timed=1",
            "p99_us=250",
            "refused=1",
            "refused_flood=1",
            "closed=1",
            "closed_evicted=1",
        ] {
            assert!(words.contains(&word), "{word} in {line}");
        }
        assert!(!line.contains("refused_full") && !line.contains("closed_idle"), "{line}");
    }

    #[test]
    fn memory_adds_up() {
        let memory = Memory {
            table: 1,
            timers: 2,
            admission: 4,
            buffers_lent: 8,
            buffers_free: 16,
            health: 32,
            other: 64,
        };
        assert_eq!(memory.total(), 127);
        assert!(memory.to_string().starts_with("total=127 table=1 "));
    }
}
