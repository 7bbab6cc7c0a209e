//! Every limit of an accepted-connection pool: its name, unit, default and reason, and the one place that checks it.

use std::fmt;
use std::time::Duration;

use crate::admission::{Cidr, Limits, SynProtection};
use crate::bucket::{ByteRate, Rate};
use crate::error::Error;
use crate::health::Budget;
use crate::id::ConnId;

/// The limits of a pool. Made by the [`Builder`](crate::Builder), read with [`SocketPool::config`], changed while the
/// pool runs with [`SocketPool::reconfigure`].
///
/// `None` switches a limit off. Whatever a limit closes, refuses or delays is counted under a reason of its own.
///
/// [`SocketPool::config`]: crate::SocketPool::config
/// [`SocketPool::reconfigure`]: crate::SocketPool::reconfigure
///
/// ```
/// use socketpool::SocketPool;
/// use std::time::Duration;
///
/// let mut pool = SocketPool::<()>::builder().max_connections(500).build()?;
/// assert_eq!(pool.config().idle_timeout, Some(Duration::from_secs(300)));
/// pool.reconfigure(|config| config.idle_timeout = Some(Duration::from_secs(60)))?;
/// let error = pool.reconfigure(|config| config.max_output = 0).unwrap_err();
/// assert_eq!(error.to_string(), "max_output is 0, must be from 64 to 16777216");
/// assert_eq!(pool.config().idle_timeout, Some(Duration::from_secs(60)), "a refused change changes nothing");
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Connections at a time; 10,000, from 1 to 2^24. The table is reserved for so many when the pool is built: some
    /// 250 bytes each, of which the operating system gives only what is used. Set below the live count, it closes
    /// nobody: newcomers wait or are refused, as `when_full` says.
    pub max_connections: u32,
    /// Whether a full pool closes a connection that is not at work, unproven ones first, to let a newcomer in; on.
    pub eviction: Eviction,
    /// How long a newcomer is safe from eviction; 20 ms, enough for one round trip to a near client and for its first
    /// message. Under attack an honest client lives at least this long, and until the first bytes that have come from it
    /// were looked at, unless it is not read: for being delayed, for a suspicious address, or paused.
    pub eviction_grace: Duration,
    /// How long a proven connection with nothing in flight must have been idle before it can go for a newcomer, which
    /// it does after all that are unproven, the least recently active first; 20 ms. Attackers who complete one message
    /// and then hold their slot make every newcomer wait for about this long.
    pub eviction_idle: Duration,
    /// What happens to newcomers when nobody can be evicted; they wait.
    pub when_full: WhenFull,
    /// What proves a connection; an answer.
    pub proof: Proof,

    /// Time from accept to the first completed message (see [`Proof`]); 30 s. Arriving bytes do not extend it, so a
    /// dribbler gains nothing. A wait that the pool imposes, for a flood score or a rate of operations, puts it off; and
    /// whoever sends all that its byte rate lets through may go on until `max_input` is full.
    pub first_message_timeout: Option<Duration>,
    /// Time without a byte in either direction, or what else counts as [activity](crate::Connection::last_active); 300 s.
    /// An operation that takes the application longer is to be held ([`Connection::hold`](crate::Connection::hold)).
    pub idle_timeout: Option<Duration>,
    /// The longest life of a connection; off. One that is busy then finishes its operation first, for which it has a tenth
    /// of this time.
    pub lifetime: Option<Duration>,
    /// How far lifetimes are spread, in percent either way; 10, at most 50. Connections that came together do not
    /// leave together.
    pub lifetime_jitter_percent: u8,
    /// The least rate at which the bytes of an open message must arrive, while the connection is read and not held; off.
    pub read_stall: Option<ReadStall>,
    /// How long output may wait without the peer taking any of it; 30 s.
    pub write_stall_timeout: Option<Duration>,

    /// Most unread input kept for a connection, in bytes; 64 KiB, from 64 B to 16 MiB. A full buffer stops reading.
    /// No message longer than this can be seen whole.
    pub max_input: usize,
    /// Most unsent output kept for a connection, in bytes; 256 KiB, from 64 B to 16 MiB. What does not fit is refused.
    pub max_output: usize,
    /// Waiting output at which [`OutputHigh`] acts, in bytes; 64 KiB, at most `max_output`. It acts below, too, when
    /// something is refused for want of room.
    pub output_high: usize,
    /// Waiting output at which that ends, in bytes; 16 KiB, below `output_high`.
    pub output_low: usize,
    /// What happens at the high mark; reading stops.
    pub on_output_high: OutputHigh,
    /// Bytes of the buffers of all connections together, at least 64 KiB; off. Three quarters of it is the soft mark, from
    /// which connections that hold some are closed after a tenth of the idle timeout that they have, unless they are
    /// held; past the whole of it the largest are closed.
    pub max_buffer_bytes: Option<usize>,

    /// Operations of one connection; off.
    pub operation_rate: Option<Rate>,
    /// Operations of all connections together; off.
    pub pool_operation_rate: Option<Rate>,
    /// Who sees to the operation rates; the application, by [`check_operation`](crate::Connection::check_operation).
    pub over_rate: OverRate,
    /// Bytes received from one connection; off. Reading pauses while it is over, and TCP holds the sender back.
    pub received_rate: Option<ByteRate>,
    /// Bytes sent to one connection; off. Output waits while it is over.
    pub sent_rate: Option<ByteRate>,

    /// Connections accepted; off. What is over is closed at once.
    pub accept_rate: Option<Rate>,
    /// Connections of one address; off. Those who came while nothing was kept by address are not counted.
    pub max_per_ip: Option<u32>,
    /// Leading bits that make two IPv4 addresses one; 32.
    pub v4_prefix: u8,
    /// Leading bits that make two IPv6 addresses one; 64, since a /64 is what one customer gets.
    pub v6_prefix: u8,
    /// Only these may come; empty for everybody. A unix peer has no address and may always come.
    pub allow: Vec<Cidr>,
    /// These may not come, though they be allowed.
    pub deny: Vec<Cidr>,
    /// Scores for addresses that connect too often and never say anything; off.
    pub syn_protection: Option<SynProtection>,
}

impl Config {
    /// Checks every limit, in the order of the fields.
    pub(super) fn validate(&self) -> Result<(), Error> {
        within("max_connections", self.max_connections, 1, ConnId::MAX_SLOTS)?;
        span("eviction_grace", Some(self.eviction_grace), Duration::ZERO)?;
        short_span("eviction_idle", self.eviction_idle)?;
        let timeouts = [
            ("first_message_timeout", self.first_message_timeout),
            ("idle_timeout", self.idle_timeout),
            ("lifetime", self.lifetime),
            ("write_stall_timeout", self.write_stall_timeout),
        ];
        for (field, timeout) in timeouts {
            span(field, timeout, SHORTEST_TIMEOUT)?;
        }
        within("lifetime_jitter_percent", self.lifetime_jitter_percent, 0, 50)?;
        if let Some(stall) = self.read_stall {
            within("read_stall.bytes", stall.bytes, 1, u32::MAX)?;
            short_span("read_stall.window", stall.window)?;
        }
        within("max_input", self.max_input, SMALLEST_BUFFER, LARGEST_BUFFER)?;
        within("max_output", self.max_output, SMALLEST_BUFFER, LARGEST_BUFFER)?;
        within("output_high", self.output_high, 2, self.max_output)?;
        within("output_low", self.output_low, 1, self.output_high - 1)?;
        if let Some(budget) = self.max_buffer_bytes {
            within("max_buffer_bytes", budget, SMALLEST_BUDGET, usize::MAX / 2)?;
        }
        let rates =
            [("operation_rate", self.operation_rate), ("pool_operation_rate", self.pool_operation_rate)];
        for (field, rate) in rates {
            rate.map_or(Ok(()), |rate| rate.validate(field))?;
        }
        for (field, rate) in [("received_rate", self.received_rate), ("sent_rate", self.sent_rate)] {
            rate.map_or(Ok(()), |rate| rate.validate(field))?;
        }
        self.admission().validate()
    }

    /// The part that the gate checks and keeps.
    pub(super) fn admission(&self) -> Limits {
        Limits {
            allow: self.allow.clone(),
            deny: self.deny.clone(),
            max_per_ip: self.max_per_ip,
            v4_prefix: self.v4_prefix,
            v6_prefix: self.v6_prefix,
            accept_rate: self.accept_rate,
            syn: self.syn_protection.clone(),
        }
    }

    /// What operations are held to, and by whom.
    pub(super) fn operation_rates(&self) -> (Option<Rate>, Option<Rate>, OverRate) {
        (self.operation_rate, self.pool_operation_rate, self.over_rate)
    }

    /// How many may have to stand in line for the pool's own rate.
    pub(super) fn most_in_line(&self) -> usize {
        let waits = self.over_rate == OverRate::Delay && self.pool_operation_rate.is_some();
        if waits { self.max_connections as usize } else { 0 }
    }

    /// What all buffers may hold, and the soft mark below.
    pub(super) fn budget(&self) -> Option<Budget> {
        self.max_buffer_bytes.map(|most_bytes| Budget { soft_bytes: most_bytes / 4 * 3, most_bytes })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            eviction: Eviction::OldestUnproven,
            eviction_grace: Duration::from_millis(20),
            eviction_idle: Duration::from_millis(20),
            when_full: WhenFull::Wait,
            proof: Proof::Answered,
            first_message_timeout: Some(Duration::from_secs(30)),
            idle_timeout: Some(Duration::from_secs(300)),
            lifetime: None,
            lifetime_jitter_percent: 10,
            read_stall: None,
            write_stall_timeout: Some(Duration::from_secs(30)),
            max_input: 64 << 10,
            max_output: 256 << 10,
            output_high: 64 << 10,
            output_low: 16 << 10,
            on_output_high: OutputHigh::StopReading,
            max_buffer_bytes: None,
            operation_rate: None,
            pool_operation_rate: None,
            over_rate: OverRate::Ask,
            received_rate: None,
            sent_rate: None,
            accept_rate: None,
            max_per_ip: None,
            v4_prefix: 32,
            v6_prefix: 64,
            allow: Vec::new(),
            deny: Vec::new(),
            syn_protection: None,
        }
    }
}

impl fmt::Display for Config {
    /// One line with what is on, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "max={} in<={} out<={}", self.max_connections, self.max_input, self.max_output)?;
        let timeouts = [
            ("first_message", self.first_message_timeout),
            ("idle", self.idle_timeout),
            ("lifetime", self.lifetime),
            ("write_stall", self.write_stall_timeout),
        ];
        for (name, timeout) in timeouts {
            match timeout {
                Some(timeout) => write!(f, " {name}={timeout:?}")?,
                None => write!(f, " {name}=off")?,
            }
        }
        if let Some(ReadStall { bytes, window }) = self.read_stall {
            write!(f, " read_stall={bytes} B per {window:?}")?;
        }
        write!(f, " eviction={} when_full={}", self.eviction, self.when_full)?;
        if let Some(most) = self.max_per_ip {
            write!(f, " max_per_ip={most}")?;
        }
        let rates = [
            ("accept_rate", self.accept_rate),
            ("operation_rate", self.operation_rate),
            ("pool_operation_rate", self.pool_operation_rate),
        ];
        for (name, rate) in rates {
            if let Some(rate) = rate {
                write!(f, " {name}={rate}")?;
            }
        }
        for (name, rate) in [("received_rate", self.received_rate), ("sent_rate", self.sent_rate)] {
            if let Some(rate) = rate {
                write!(f, " {name}={rate}")?;
            }
        }
        for (name, networks) in [("allow", &self.allow), ("deny", &self.deny)] {
            if !networks.is_empty() {
                write!(f, " {name}={} networks", networks.len())?;
            }
        }
        if let Some(budget) = self.max_buffer_bytes {
            write!(f, " buffers<={budget}")?;
        }
        write!(f, " syn={}", if self.syn_protection.is_some() { "on" } else { "off" })
    }
}

macro_rules! choices {
    ($($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $text,)* })
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            /// Reads what `Display` writes.
            fn from_str(text: &str) -> Result<Self, Error> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    other => Err(Error::config(stringify!($name), format!("{other:?}"), concat!("one of", $(" ", $text),*))),
                }
            }
        }
    )*};
}

choices! {
    /// Whom a full pool closes to let a newcomer in.
    ///
    /// ```
    /// use socketpool::Eviction;
    ///
    /// assert_eq!("oldest_unproven".parse::<Eviction>()?, Eviction::OldestUnproven);
    /// let error = "youngest".parse::<Eviction>().unwrap_err();
    /// assert_eq!(error.to_string(), "Eviction is \"youngest\", must be one of oldest_unproven off");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    Eviction {
        /// The oldest connection that has not proven itself and is past the grace; if there is none, the least
        /// recently active one (to within 25 ms) that has nothing in flight and has been idle for `eviction_idle`, or of
        /// which a message has been open for as long as a first one may.
        OldestUnproven = "oldest_unproven",
        /// Nobody.
        Off = "off",
    }

    /// What happens to a newcomer when the pool is full and nobody can be evicted.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let mut pool = SocketPool::<()>::builder().max_connections(1).when_full(WhenFull::Refuse).build()?;
    /// # pool.add(UnixStream::pair().unwrap().0).unwrap();
    /// let address = pool.listen("127.0.0.1:0")?.tcp().unwrap();
    /// let one_too_many = std::net::TcpStream::connect(address).unwrap();
    /// # for _ in 0..10 {
    /// #     if pool.snapshot().refused_total() == 1 { break; }
    /// pool.turn(Some(Duration::from_secs(1)))?;
    /// # }
    /// assert_eq!(pool.snapshot().refused(Refusal::Full), 1);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    WhenFull {
        /// It waits in the listener's backlog.
        Wait = "wait",
        /// It is accepted and closed at once.
        Refuse = "refuse",
    }

    /// What proves that a connection is a client, besides [`prove`](crate::Connection::prove).
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// // A server that only collects: what it has read is all that its clients ever get.
    /// let pool = SocketPool::<()>::builder().proof(Proof::Consumed).build()?;
    /// assert_eq!(Proof::Consumed.to_string(), "consumed");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    Proof {
        /// The first byte that is sent to it after some input has arrived. A broadcast answers nobody.
        Answered = "answered",
        /// That, or the first input that is consumed, for protocols that never answer. Consuming all input then also
        /// completes the operation, and so does the end of an event in which some was consumed.
        Consumed = "consumed",
    }

    /// What happens when a connection's waiting output reaches the high mark, or leaves no room for what is to be sent.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let builder = SocketPool::<()>::builder().max_output(1 << 20).output_high(64 << 10);
    /// # let mut pool = builder.sent_rate(ByteRate::per_second(1).burst(1)).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"a question\n").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// let mut conn = pool.conn(id);
    /// assert_eq!(conn.send(&[0; 100 << 10]), Sent::Queued); // past the high mark, and the peer takes little
    /// assert_eq!(conn.receive(), 0, "OutputHigh::StopReading");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    OutputHigh {
        /// It is not read from until the output is down to the low mark: it cannot ask for more than it takes.
        StopReading = "stop_reading",
        /// Nothing but the report: `Event::Writable` when the output is down to the low mark.
        Report = "report",
    }

    /// Who sees to the operation rates.
    ///
    /// ```
    /// use socketpool::{OverRate, Rate, SocketPool};
    ///
    /// // Nobody is refused and nobody is closed: who asks too fast waits.
    /// let builder = SocketPool::<()>::builder().operation_rate(Rate::per_second(100));
    /// let pool = builder.over_rate(OverRate::Delay).build()?;
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    OverRate {
        /// The application asks `check_operation` and does as it thinks best.
        Ask = "ask",
        /// The pool: an operation whose rate is used up is not reported as readable until it may run, and those that
        /// wait run one by one, each connection in its turn. Of several messages that came together, those behind the
        /// first are held back when they are taken and answered one at a time, as [`split`](crate::Connection::split)
        /// is made for; taken all at once they count as one operation.
        Delay = "delay",
        /// The pool: a connection that goes over its own rate, or finds the pool's used up, is closed when the answers to
        /// what was within the rate have left. Counts messages as `Delay` does.
        Close = "close",
    }
}

/// The least rate at which an open message must arrive: `bytes` in each `window`.
///
/// ```
/// use socketpool::{ReadStall, SocketPool};
/// use std::time::Duration;
///
/// // 64 bytes a second, looked at every 10 seconds.
/// let stall = ReadStall { bytes: 640, window: Duration::from_secs(10) };
/// let pool = SocketPool::<()>::builder().read_stall(stall).build()?;
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadStall {
    /// Bytes that must arrive in each window while a message is open.
    pub bytes: u32,
    /// The length of a window; from 1 ms to an hour.
    pub window: Duration,
}

impl Default for ReadStall {
    /// 64 bytes a second over 10 s.
    fn default() -> Self {
        Self { bytes: 640, window: Duration::from_secs(10) }
    }
}

/// The wheel counts milliseconds; a timeout of less would be none.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);
/// Some times are kept in milliseconds of 32 bits.
const LONGEST_SHORT_SPAN: Duration = Duration::from_secs(3600);
/// Ten years; beyond that somebody has mistaken the unit.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 86_400);
const SMALLEST_BUFFER: usize = 64;
const LARGEST_BUFFER: usize = 16 << 20;
/// Below this one connection's chunk would be over the mark.
const SMALLEST_BUDGET: usize = 64 << 10;

fn within<T: PartialOrd + fmt::Display>(
    field: &'static str,
    value: T,
    least: T,
    most: T,
) -> Result<(), Error> {
    if value < least || value > most {
        return Err(Error::config(field, &value, format!("from {least} to {most}")));
    }
    Ok(())
}

pub(super) fn span(field: &'static str, value: Option<Duration>, least: Duration) -> Result<(), Error> {
    match value {
        Some(value) if value < least || value > LONGEST_TIMEOUT => {
            Err(Error::config(field, format!("{value:?}"), format!("from {least:?} to ten years")))
        }
        _ => Ok(()),
    }
}

fn short_span(field: &'static str, value: Duration) -> Result<(), Error> {
    if value < SHORTEST_TIMEOUT || value > LONGEST_SHORT_SPAN {
        return Err(Error::config(field, format!("{value:?}"), "from 1ms to 1 hour"));
    }
    Ok(())
}

/// Checks a deadline that one connection has for itself.
pub(super) fn timeout(field: &'static str, value: Option<Duration>) -> Result<(), Error> {
    span(field, value, SHORTEST_TIMEOUT)
}
