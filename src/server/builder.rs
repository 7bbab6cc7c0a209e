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
        max_connections(max_connections: u32) = max_connections;
        /// See [`Config::eviction`].
        eviction(eviction: Eviction) = eviction;
        /// See [`Config::eviction_grace`].
        eviction_grace(eviction_grace: Duration) = eviction_grace;
        /// See [`Config::eviction_idle`].
        eviction_idle(eviction_idle: Duration) = eviction_idle;
        /// See [`Config::when_full`].
        when_full(when_full: WhenFull) = when_full;
        /// See [`Config::proof`].
        proof(proof: Proof) = proof;
        /// See [`Config::first_message_timeout`]. Takes a duration, or `None` for no limit.
        first_message_timeout(first_message_timeout: impl Into<Option<Duration>>) = first_message_timeout.into();
        /// See [`Config::idle_timeout`]. Takes a duration, or `None` for no limit.
        idle_timeout(idle_timeout: impl Into<Option<Duration>>) = idle_timeout.into();
        /// See [`Config::lifetime`]. Takes a duration, or `None` for no limit.
        lifetime(lifetime: impl Into<Option<Duration>>) = lifetime.into();
        /// See [`Config::lifetime_jitter_percent`].
        lifetime_jitter_percent(lifetime_jitter_percent: u8) = lifetime_jitter_percent;
        /// See [`Config::read_stall`]. Takes a [`ReadStall`], or `None` for no limit.
        read_stall(read_stall: impl Into<Option<ReadStall>>) = read_stall.into();
        /// See [`Config::write_stall_timeout`]. Takes a duration, or `None` for no limit.
        write_stall_timeout(write_stall_timeout: impl Into<Option<Duration>>) = write_stall_timeout.into();
        /// See [`Config::max_input`].
        max_input(max_input: usize) = max_input;
        /// See [`Config::output_high`].
        output_high(output_high: usize) = output_high;
        /// See [`Config::output_low`].
        output_low(output_low: usize) = output_low;
        /// See [`Config::on_output_high`].
        on_output_high(on_output_high: OutputHigh) = on_output_high;
        /// See [`Config::max_buffer_bytes`]. Takes bytes, or `None` for no limit.
        max_buffer_bytes(max_buffer_bytes: impl Into<Option<usize>>) = max_buffer_bytes.into();
        /// See [`Config::operation_rate`]. Takes a [`Rate`], or `None` for no limit.
        operation_rate(operation_rate: impl Into<Option<Rate>>) = operation_rate.into();
        /// See [`Config::pool_operation_rate`]. Takes a [`Rate`], or `None` for no limit.
        pool_operation_rate(pool_operation_rate: impl Into<Option<Rate>>) = pool_operation_rate.into();
        /// See [`Config::over_rate`].
        over_rate(over_rate: OverRate) = over_rate;
        /// See [`Config::received_rate`]. Takes a [`ByteRate`], or `None` for no limit.
        received_rate(received_rate: impl Into<Option<ByteRate>>) = received_rate.into();
        /// See [`Config::sent_rate`]. Takes a [`ByteRate`], or `None` for no limit.
        sent_rate(sent_rate: impl Into<Option<ByteRate>>) = sent_rate.into();
        /// See [`Config::accept_rate`]. Takes a [`Rate`], or `None` for no limit.
        accept_rate(accept_rate: impl Into<Option<Rate>>) = accept_rate.into();
        /// See [`Config::max_per_address`]. Takes a number, or `None` for no limit.
        max_per_ip(max_per_address: impl Into<Option<u32>>) = max_per_address.into();
        /// See [`Config::v4_prefix`].
        v4_prefix(v4_prefix: u8) = v4_prefix;
        /// See [`Config::v6_prefix`].
        v6_prefix(v6_prefix: u8) = v6_prefix;
        /// See [`Config::allow`].
        allow(allow: impl IntoIterator<Item = Cidr>) = allow.into_iter().collect();
        /// See [`Config::deny`].
        deny(deny: impl IntoIterator<Item = Cidr>) = deny.into_iter().collect();
        /// See [`Config::syn_protection`]. Takes a [`SynProtection`], or `None` for none.
        syn_protection(syn_protection: impl Into<Option<SynProtection>>) = syn_protection.into();
    }

    /// See [`Config::max_output`]. Marks that would not lie below it follow: to a quarter and a sixteenth of it.
    pub fn max_output(mut self, max_output: usize) -> Self {
        self.config.max_output = max_output;
        if self.config.output_high > max_output {
            self.config.output_high = max_output / 4;
            self.config.output_low = max_output / 16;
        }
        self
    }

    /// Another clock than the machine's, for tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// All limits at once, as [`SocketPool::config`] gave them.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// A pool with a poller of its own, driven by [`turn`](SocketPool::turn).
    ///
    /// # Errors
    /// [`Error::Config`] for a limit that cannot hold, [`Error::Memory`] if what the limits need cannot be reserved,
    /// [`Error::Io`] if the operating system gives no poller.
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
    /// As [`build`](Self::build); [`Error::State`] if the reactor has 32 parties already.
    pub fn build_on(self, reactor: &mut Reactor) -> Result<SocketPool<U>, Error> {
        self.build_over::<Os>(reactor, ())
    }

    /// A pool on another kind of net than the operating system's.
    ///
    /// # Errors
    /// As [`build_on`](Self::build_on).
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
