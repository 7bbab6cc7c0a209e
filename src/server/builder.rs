//! Builds a pool: collects the limits, checks them once, reserves what they need.

use std::time::Duration;

use super::SocketPool;
use super::config::{Config, Eviction, OutputHigh, OverRate, Proof, ReadStall, WhenFull};
use crate::admission::{Cidr, SynProtection};
use crate::bucket::{ByteRate, Rate};
use crate::clock::Clock;
use crate::error::Error;
use crate::net::{Net, Os, Reactor, sys};

/// Builds a [`SocketPool`]; what each limit is for and its default stand at the fields of [`Config`].
///
/// Nothing is checked before [`build`](Self::build), and there everything is, once.
///
/// ```
/// use socketpool::{Rate, SocketPool, SynProtection};
/// use std::time::Duration;
///
/// let pool = SocketPool::<String>::builder()
///     .max_connections(2_000)
///     .idle_timeout(Duration::from_secs(30))
///     .operation_rate(Rate::per_second(100).burst(200))
///     .max_per_ip(64)
///     .syn_protection(SynProtection::default())
///     .build()?;
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder<U> {
    config: Config,
    clock: Option<Clock>,
    userdata: std::marker::PhantomData<fn() -> U>,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($field:ident: $type:ty) = $value:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $field: $type) -> Self {
            self.config.$field = $value;
            self
        }
    )*};
}

impl<U> Builder<U> {
    pub(super) fn new() -> Self {
        Self { config: Config::default(), clock: None, userdata: std::marker::PhantomData }
    }

    setters! {
        /// See [`Config::max_connections`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// let mut pool = SocketPool::<()>::builder().max_connections(1).build()?;
        /// let (first, second) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        /// assert!(pool.add(first.0).is_ok());
        /// assert_eq!(pool.add(second.0).unwrap_err().reason, Refusal::Full);
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        max_connections(max_connections: u32) = max_connections;
        /// See [`Config::eviction`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// let off: Eviction = "off".parse()?; // as a flag gives it
        /// let pool = SocketPool::<()>::builder().eviction(off).build()?;
        /// assert_eq!(pool.config().eviction, Eviction::Off);
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        eviction(eviction: Eviction) = eviction;
        /// See [`Config::eviction_grace`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # let (clock, hand) = Clock::manual();
        /// let builder = SocketPool::<()>::builder().max_connections(1).eviction_grace(Duration::from_millis(50));
        /// # let mut pool = builder.clock(clock).build()?;
        /// # let [first, second, third] = [(); 3].map(|()| UnixStream::pair().unwrap());
        /// let id = pool.add(first.0).unwrap();
        /// # pool.turn(Some(Duration::ZERO))?;
        /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
        /// # pool.next_event();
        /// assert_eq!(pool.add(second.0).unwrap_err().reason, Refusal::Full);
        /// hand.advance(Duration::from_millis(50));
        /// assert!(pool.add(third.0).is_ok(), "the first has had its time, and goes");
        /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::Evicted, .. })));
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        eviction_grace(eviction_grace: Duration) = eviction_grace;
        /// See [`Config::eviction_idle`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// let never = SocketPool::<()>::builder().eviction_idle(Duration::ZERO).build();
        /// assert_eq!(never.unwrap_err().to_string(), "eviction_idle is 0ns, must be from 1ms to 1 hour");
        /// ```
        eviction_idle(eviction_idle: Duration) = eviction_idle;
        /// See [`Config::when_full`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// // Clients that have another server to go to are told at once.
        /// let pool = SocketPool::<()>::builder().when_full(WhenFull::Refuse).build()?;
        /// assert_eq!(pool.config().when_full.to_string(), "refuse");
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        when_full(when_full: WhenFull) = when_full;
        /// See [`Config::proof`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # let mut pool = SocketPool::<()>::builder().proof(Proof::Consumed).build()?;
        /// # let (ours, mut client) = UnixStream::pair().unwrap();
        /// # client.set_nonblocking(true).unwrap();
        /// # let id = pool.add(ours).unwrap();
        /// # client.write_all(b"a measurement, which nobody answers\n").unwrap();
        /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
        /// let mut conn = pool.conn(id); // of a pool with Proof::Consumed
        /// let n = conn.receive();
        /// conn.consume(n);
        /// assert!(conn.is_proven() && conn.info().operations == 1);
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        proof(proof: Proof) = proof;
        /// See [`Config::first_message_timeout`]. Takes a duration, or `None` for no limit.
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// let pool = SocketPool::<()>::builder().first_message_timeout(Duration::from_secs(5)).build()?;
        /// let none = SocketPool::<()>::builder().first_message_timeout(None).build()?;
        /// let error = SocketPool::<()>::builder().first_message_timeout(Duration::ZERO).build().unwrap_err();
        /// assert_eq!(error.to_string(), "first_message_timeout is 0ns, must be from 1ms to ten years");
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        first_message_timeout(first_message_timeout: impl Into<Option<Duration>>) = first_message_timeout.into();
        /// See [`Config::idle_timeout`]. Takes a duration, or `None` for no limit.
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # let (clock, hand) = Clock::manual();
        /// # let builder = SocketPool::<()>::builder().first_message_timeout(None).idle_timeout(Duration::from_secs(60));
        /// # let mut pool = builder.clock(clock).build()?;
        /// # let (ours, mut client) = UnixStream::pair().unwrap();
        /// # client.set_nonblocking(true).unwrap();
        /// # let id = pool.add(ours).unwrap();
        /// # pool.turn(Some(Duration::ZERO))?;
        /// # assert_eq!(pool.next_event(), Some(Event::Opened(id)));
        /// // In a pool with .idle_timeout(Duration::from_secs(60)):
        /// hand.advance(Duration::from_secs(60));
        /// pool.turn(Some(Duration::ZERO))?;
        /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::Idle, .. })));
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        idle_timeout(idle_timeout: impl Into<Option<Duration>>) = idle_timeout.into();
        /// See [`Config::lifetime`]. Takes a duration, or `None` for no limit.
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// // So that a load balancer's new distribution takes hold within the hour.
        /// let pool = SocketPool::<()>::builder().lifetime(Duration::from_secs(3600)).build()?;
        /// assert_eq!(pool.config().lifetime_jitter_percent, 10, "54 to 66 minutes each");
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        lifetime(lifetime: impl Into<Option<Duration>>) = lifetime.into();
        /// See [`Config::lifetime_jitter_percent`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// let exact = SocketPool::<()>::builder().lifetime(Duration::from_secs(3600)).lifetime_jitter_percent(0);
        /// assert!(exact.build().is_ok());
        /// let error = SocketPool::<()>::builder().lifetime_jitter_percent(51).build().unwrap_err();
        /// assert_eq!(error.to_string(), "lifetime_jitter_percent is 51, must be from 0 to 50");
        /// ```
        lifetime_jitter_percent(lifetime_jitter_percent: u8) = lifetime_jitter_percent;
        /// See [`Config::read_stall`]. Takes a [`ReadStall`], or `None` for no limit.
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # let (clock, hand) = Clock::manual();
        /// # let builder = SocketPool::<()>::builder().read_stall(ReadStall { bytes: 100, window: Duration::from_secs(1) });
        /// # let mut pool = builder.clock(clock).build()?;
        /// # let (ours, mut client) = UnixStream::pair().unwrap();
        /// # client.set_nonblocking(true).unwrap();
        /// # let id = pool.add(ours).unwrap();
        /// # client.write_all(b"half a mes").unwrap();
        /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
        /// // In a pool with .read_stall(ReadStall { bytes: 100, window: Duration::from_secs(1) }):
        /// pool.conn(id).receive(); // 10 bytes
        /// pool.turn(Some(Duration::ZERO))?;
        /// hand.advance(Duration::from_secs(1));
        /// pool.turn(Some(Duration::ZERO))?;
        /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::ReadStall, .. })));
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        read_stall(read_stall: impl Into<Option<ReadStall>>) = read_stall.into();
        /// See [`Config::write_stall_timeout`]. Takes a duration, or `None` for no limit.
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// let patient = SocketPool::<()>::builder().write_stall_timeout(Duration::from_secs(300)).build()?;
        /// let forever = SocketPool::<()>::builder().write_stall_timeout(None).build()?;
        /// assert_eq!(forever.config().write_stall_timeout, None, "a peer that never reads keeps its slot and 256 KiB");
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        write_stall_timeout(write_stall_timeout: impl Into<Option<Duration>>) = write_stall_timeout.into();
        /// See [`Config::max_input`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # let mut pool = SocketPool::<()>::builder().max_input(64).build()?;
        /// # let (ours, mut client) = UnixStream::pair().unwrap();
        /// # client.set_nonblocking(true).unwrap();
        /// # let id = pool.add(ours).unwrap();
        /// # client.write_all(&[b'x'; 100]).unwrap();
        /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); }
        /// let mut conn = pool.conn(id); // of a pool with .max_input(64); 100 bytes have come
        /// assert_eq!((conn.receive(), conn.receive()), (64, 0), "full");
        /// conn.consume(64);
        /// assert_eq!(conn.receive(), 36);
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        max_input(max_input: usize) = max_input;
        /// See [`Config::output_high`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// let error = SocketPool::<()>::builder().max_output(64 << 10).output_high(65 << 10).build().unwrap_err();
        /// assert_eq!(error.to_string(), "output_high is 66560, must be from 2 to 65536");
        /// ```
        output_high(output_high: usize) = output_high;
        /// See [`Config::output_low`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// let builder = SocketPool::<()>::builder().output_high(32 << 10);
        /// assert!(builder.clone().output_low(8 << 10).build().is_ok());
        /// let error = builder.output_low(32 << 10).build().unwrap_err();
        /// assert_eq!(error.to_string(), "output_low is 32768, must be from 1 to 32767");
        /// ```
        output_low(output_low: usize) = output_low;
        /// See [`Config::on_output_high`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// // A peer may go on asking while it does not read: the application is to look at `waiting_output` itself.
        /// let pool = SocketPool::<()>::builder().on_output_high(OutputHigh::Report).build()?;
        /// assert_eq!(pool.config().on_output_high, OutputHigh::Report);
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        on_output_high(on_output_high: OutputHigh) = on_output_high;
        /// See [`Config::max_buffer_bytes`]. Takes bytes, or `None` for no limit.
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// let mut pool = SocketPool::<()>::builder().max_buffer_bytes(64 << 20).build()?;
        /// assert_eq!(pool.snapshot().buffers.limit, Some(64 << 20));
        /// let error = SocketPool::<()>::builder().max_buffer_bytes(1_000).build().unwrap_err();
        /// assert!(error.to_string().starts_with("max_buffer_bytes is 1000, must be from 65536 to "));
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        max_buffer_bytes(max_buffer_bytes: impl Into<Option<usize>>) = max_buffer_bytes.into();
        /// See [`Config::operation_rate`]. Takes a [`Rate`], or `None` for no limit.
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # let (clock, hand) = Clock::manual();
        /// # let mut pool = SocketPool::<()>::builder().operation_rate(Rate::per_second(1)).clock(clock).build()?;
        /// # let (ours, mut client) = UnixStream::pair().unwrap();
        /// # client.set_nonblocking(true).unwrap();
        /// # let id = pool.add(ours).unwrap();
        /// # let (ours, _other) = UnixStream::pair().unwrap();
        /// # let other = pool.add(ours).unwrap();
        /// // In a pool with .operation_rate(Rate::per_second(1)):
        /// assert_eq!(pool.conn(id).check_operation(), Ok(()));
        /// assert_eq!(pool.conn(id).check_operation(), Err(Duration::from_secs(1)));
        /// assert_eq!(pool.conn(other).check_operation(), Ok(()), "each has its own");
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        operation_rate(operation_rate: impl Into<Option<Rate>>) = operation_rate.into();
        /// See [`Config::pool_operation_rate`]. Takes a [`Rate`], or `None` for no limit.
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # let (clock, hand) = Clock::manual();
        /// # let mut pool = SocketPool::<()>::builder().pool_operation_rate(Rate::per_second(1)).clock(clock).build()?;
        /// # let (ours, mut client) = UnixStream::pair().unwrap();
        /// # client.set_nonblocking(true).unwrap();
        /// # let id = pool.add(ours).unwrap();
        /// # let (ours, _other) = UnixStream::pair().unwrap();
        /// # let other = pool.add(ours).unwrap();
        /// // In a pool with .pool_operation_rate(Rate::per_second(1)):
        /// assert_eq!(pool.conn(id).check_operation(), Ok(()));
        /// assert_eq!(pool.conn(other).check_operation(), Err(Duration::from_secs(1)), "all share it");
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        pool_operation_rate(pool_operation_rate: impl Into<Option<Rate>>) = pool_operation_rate.into();
        /// See [`Config::over_rate`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # let (clock, hand) = Clock::manual();
        /// # let builder = SocketPool::<()>::builder().operation_rate(Rate::per_second(1)).over_rate(OverRate::Close);
        /// # let mut pool = builder.clock(clock).build()?;
        /// # let (ours, mut client) = UnixStream::pair().unwrap();
        /// # client.set_nonblocking(true).unwrap();
        /// # let id = pool.add(ours).unwrap();
        /// # client.write_all(b"one\n").unwrap();
        /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
        /// // In a pool with .operation_rate(Rate::per_second(1)).over_rate(OverRate::Close):
        /// let mut conn = pool.conn(id);
        /// let n = conn.receive();
        /// conn.consume(n);
        /// let _ = conn.send(b"answer\n");
        /// client.write_all(b"two\n").unwrap(); // too soon
        /// pool.turn(Some(Duration::ZERO))?;
        /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::Rate, .. })));
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        over_rate(over_rate: OverRate) = over_rate;
        /// See [`Config::received_rate`]. Takes a [`ByteRate`], or `None` for no limit.
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # let (clock, hand) = Clock::manual();
        /// # let builder = SocketPool::<()>::builder().received_rate(ByteRate::per_second(1_000).burst(4));
        /// # let mut pool = builder.clock(clock).build()?;
        /// # let (ours, mut client) = UnixStream::pair().unwrap();
        /// # client.set_nonblocking(true).unwrap();
        /// # let id = pool.add(ours).unwrap();
        /// # client.write_all(b"0123456789").unwrap();
        /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
        /// let mut conn = pool.conn(id); // of a pool with .received_rate(ByteRate::per_second(1_000).burst(4))
        /// assert_eq!((conn.receive(), conn.receive()), (4, 0));
        /// hand.advance(Duration::from_millis(4));
        /// pool.turn(Some(Duration::ZERO))?;
        /// assert_eq!(pool.next_event(), Some(Event::Readable(id)));
        /// assert_eq!(pool.conn(id).receive(), 4);
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        received_rate(received_rate: impl Into<Option<ByteRate>>) = received_rate.into();
        /// See [`Config::sent_rate`]. Takes a [`ByteRate`], or `None` for no limit.
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # let (clock, hand) = Clock::manual();
        /// # let mut pool = SocketPool::<()>::builder().sent_rate(ByteRate::per_second(1_000).burst(4)).clock(clock).build()?;
        /// # let (ours, mut client) = UnixStream::pair().unwrap();
        /// # client.set_nonblocking(true).unwrap();
        /// # let id = pool.add(ours).unwrap();
        /// let mut conn = pool.conn(id); // of a pool with .sent_rate(ByteRate::per_second(1_000).burst(4))
        /// assert_eq!(conn.send(b"0123456789"), Sent::Queued);
        /// assert_eq!(conn.waiting_output(), 6, "which leave by themselves, at their rate");
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        sent_rate(sent_rate: impl Into<Option<ByteRate>>) = sent_rate.into();
        /// See [`Config::accept_rate`]. Takes a [`Rate`], or `None` for no limit.
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// let mut pool = SocketPool::<()>::builder().accept_rate(Rate::per_minute(1)).build()?;
        /// let address = pool.listen("127.0.0.1:0")?.tcp().unwrap();
        /// let (first, second) = (std::net::TcpStream::connect(address), std::net::TcpStream::connect(address));
        /// # for _ in 0..10 {
        /// #     if pool.snapshot().counters.accepted == 2 { break; }
        /// pool.turn(Some(Duration::from_secs(1)))?;
        /// #     while pool.next_event().is_some() {}
        /// # }
        /// assert_eq!((pool.len(), pool.snapshot().refused(Refusal::AcceptRate)), (1, 1));
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        accept_rate(accept_rate: impl Into<Option<Rate>>) = accept_rate.into();
        /// See [`Config::max_per_ip`]. Takes a number, or `None` for no limit.
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
        /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
        /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
        /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
        /// #     Ok(pool.conn(id).info().state)
        /// # }
        /// let mut pool = SocketPool::<()>::builder().max_per_ip(1).build()?;
        /// assert!(connect(&mut pool, "192.0.2.7:1").is_ok());
        /// assert_eq!(connect(&mut pool, "192.0.2.7:2"), Err(Refusal::PerIp));
        /// assert!(connect(&mut pool, "192.0.2.8:1").is_ok(), "another address");
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        max_per_ip(max_per_ip: impl Into<Option<u32>>) = max_per_ip.into();
        /// See [`Config::v4_prefix`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
        /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
        /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
        /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
        /// #     Ok(pool.conn(id).info().state)
        /// # }
        /// let mut pool = SocketPool::<()>::builder().max_per_ip(1).v4_prefix(24).build()?;
        /// assert!(connect(&mut pool, "192.0.2.7:1").is_ok());
        /// assert_eq!(connect(&mut pool, "192.0.2.8:1"), Err(Refusal::PerIp), "of the same /24");
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        v4_prefix(v4_prefix: u8) = v4_prefix;
        /// See [`Config::v6_prefix`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
        /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
        /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
        /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
        /// #     Ok(pool.conn(id).info().state)
        /// # }
        /// let mut pool = SocketPool::<()>::builder().max_per_ip(1).v6_prefix(48).build()?;
        /// assert!(connect(&mut pool, "[2001:db8:1:1::1]:1").is_ok());
        /// assert_eq!(connect(&mut pool, "[2001:db8:1:2::1]:1"), Err(Refusal::PerIp), "another /64 of one /48");
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        v6_prefix(v6_prefix: u8) = v6_prefix;
        /// See [`Config::allow`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
        /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
        /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
        /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
        /// #     Ok(pool.conn(id).info().state)
        /// # }
        /// let mut pool = SocketPool::<()>::builder().allow(["10.0.0.0/8".parse().unwrap()]).build()?;
        /// assert!(connect(&mut pool, "10.1.2.3:4711").is_ok());
        /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Err(Refusal::Denied));
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        allow(allow: impl IntoIterator<Item = Cidr>) = allow.into_iter().collect();
        /// See [`Config::deny`].
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
        /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
        /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
        /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
        /// #     Ok(pool.conn(id).info().state)
        /// # }
        /// let builder = SocketPool::<()>::builder().allow(["10.0.0.0/8".parse().unwrap()]);
        /// let mut pool = builder.deny(["10.6.6.6".parse().unwrap()]).build()?;
        /// assert!(connect(&mut pool, "10.1.2.3:4711").is_ok());
        /// assert_eq!(connect(&mut pool, "10.6.6.6:4711"), Err(Refusal::Denied), "though it be allowed");
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        deny(deny: impl IntoIterator<Item = Cidr>) = deny.into_iter().collect();
        /// See [`Config::syn_protection`]. Takes a [`SynProtection`], or `None` for none.
        ///
        /// ```
        /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
        /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
        /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
        /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
        /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
        /// #     Ok(pool.conn(id).info().state)
        /// # }
        /// let mut pool = SocketPool::<()>::builder().syn_protection(SynProtection::default()).build()?;
        /// let admitted = (0..1_000).filter(|_| connect(&mut pool, "192.0.2.7:4711").is_ok()).count();
        /// assert!(admitted <= 51, "the rest has met a block: {admitted}");
        /// # Ok::<(), socketpool::Error>(())
        /// ```
        syn_protection(syn_protection: impl Into<Option<SynProtection>>) = syn_protection.into();
    }

    /// See [`Config::max_output`]. A high mark that lies above it follows, to a quarter of it, and takes the low mark
    /// along, to a sixteenth.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let pool = SocketPool::<()>::builder().max_output(16 << 10).build()?; // below the default high mark
    /// assert_eq!((pool.config().output_high, pool.config().output_low), (4 << 10, 1 << 10));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn max_output(mut self, max_output: usize) -> Self {
        self.config.max_output = max_output;
        if self.config.output_high > max_output {
            self.config.output_high = max_output / 4;
            self.config.output_low = max_output / 16;
        }
        self
    }

    /// Another clock than the machine's, for tests.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let (clock, hand) = Clock::manual();
    /// let mut pool = SocketPool::<()>::builder().clock(clock).build()?;
    /// hand.advance(Duration::from_secs(3600));
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert_eq!(pool.snapshot().uptime, Duration::from_secs(3600));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// All limits at once, as [`SocketPool::config`] gave them.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let front = SocketPool::<()>::builder().max_connections(500).max_per_ip(4).build()?;
    /// let back = SocketPool::<String>::builder().config(front.config().clone()).max_per_ip(None).build()?;
    /// assert_eq!((back.config().max_connections, back.config().max_per_ip), (500, None));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// A pool with a poller of its own, driven by [`turn`](SocketPool::turn).
    ///
    /// # Errors
    /// [`Error::Config`] for a limit that cannot hold, [`Error::Memory`] if what the limits need cannot be reserved,
    /// [`Error::Io`] if the operating system gives no poller.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let error = SocketPool::<()>::builder().max_connections(0).build().unwrap_err();
    /// assert!(matches!(error, Error::Config { field: "max_connections", .. }), "nothing is clamped in silence");
    /// let pool = SocketPool::<()>::builder().max_connections(1).build()?;
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn build(self) -> Result<SocketPool<U>, Error> {
        self.config.validate()?;
        let mut reactor = Reactor::new()?;
        let mut pool = self.build_over(&mut reactor, ())?;
        pool.own_reactor(reactor);
        Ok(pool)
    }

    /// A pool that shares `reactor` with others, driven by [`process`](SocketPool::process) after each turn of it.
    ///
    /// # Errors
    /// As [`build`](Self::build); [`Error::State`] if 32 parties share the reactor already.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let mut reactor = Reactor::new()?;
    /// let small = SocketPool::<()>::builder().max_connections(1);
    /// let mut pools = Vec::new();
    /// for _ in 0..Party::MAX {
    ///     pools.push(small.clone().build_on(&mut reactor)?);
    /// }
    /// assert!(matches!(small.clone().build_on(&mut reactor), Err(Error::State { .. })));
    /// pools.pop();
    /// assert!(small.build_on(&mut reactor).is_ok(), "whoever goes gives his place back");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn build_on(self, reactor: &mut Reactor) -> Result<SocketPool<U>, Error> {
        self.build_over::<Os>(reactor, ())
    }

    /// A pool on another kind of net than the operating system's.
    ///
    /// # Errors
    /// As [`build_on`](Self::build_on).
    ///
    /// ```
    /// # #[cfg(feature = "sim")] {
    /// use socketpool::net::sim::{Sim, World};
    /// # use socketpool::{Reactor, SocketPool};
    ///
    /// let world = World::new();
    /// let mut reactor = Reactor::<Sim>::over(world.poller());
    /// let mut pool = SocketPool::<()>::builder().build_over(&mut reactor, world.clone())?;
    /// pool.listen("127.0.0.1:0")?;
    /// let client = world.connect("192.0.2.7:4711"); // no socket
    /// reactor.turn(None)?;
    /// pool.process(&mut reactor);
    /// assert_eq!(pool.len(), 1);
    /// # }
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn build_over<N: Net>(
        self,
        reactor: &mut Reactor<N>,
        ground: N::Ground,
    ) -> Result<SocketPool<U, N>, Error> {
        self.config.validate()?;
        SocketPool::assemble(
            self.config,
            self.clock.unwrap_or_else(|| Clock::reading(sys::monotonic_nanos)),
            reactor,
            ground,
        )
    }
}
