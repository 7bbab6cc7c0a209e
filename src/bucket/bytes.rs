//! Byte rates: GCRA in nanoseconds, with exact multiplication instead of a rounded time for each byte.
//! Says first how many bytes may move and is told afterwards how many did, because a read may bring fewer.

use std::cell::Cell;
use std::fmt;

use super::{LONGEST, Level, Moment};
use crate::clock::Nanos;
use crate::error::Error;

/// So many bytes a second, and how many of them at once.
///
/// Without [`burst`](Self::burst) one second's worth may pass at once. From 1 byte to 100,000,000,000 bytes (100 GB) a second;
/// the burst must be at least 1 byte and must refill within 4 years.
///
/// ```
/// use socketpool::ByteRate;
///
/// let rate = ByteRate::per_second(1_250_000_000).burst(256 * 1024);
/// assert_eq!(rate.to_string(), "1250000000 B/s, burst 262144 B");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRate {
    bytes: u64,
    burst: u64,
}

impl ByteRate {
    /// `bytes` a second, one second's worth at once if need be.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// assert_eq!(ByteRate::per_second(1_000_000).to_string(), "1000000 B/s, burst 1000000 B");
    /// let none = SocketPool::<()>::builder().sent_rate(ByteRate::per_second(0)).build().unwrap_err();
    /// assert!(none.to_string().ends_with("must be at least 1 B/s (use None for no limit)"));
    /// ```
    #[must_use]
    pub const fn per_second(bytes: u64) -> Self {
        Self { bytes, burst: bytes }
    }

    /// The same rate with at most `bytes` at once.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let (clock, hand) = Clock::manual();
    /// # let mut pool = SocketPool::<()>::builder().received_rate(ByteRate::per_second(1_000).burst(4)).clock(clock).build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # client.write_all(b"much at once").unwrap();
    /// # for _ in 0..2 { pool.turn(Some(Duration::ZERO))?; pool.next_event(); } // it is readable now
    /// let mut conn = pool.conn(id); // of a pool with ByteRate::per_second(1_000).burst(4)
    /// assert_eq!(conn.receive(), 4);
    /// assert_eq!(conn.receive(), 0, "the rest comes when the rate allows, by another event");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn burst(self, bytes: u64) -> Self {
        Self { burst: bytes, ..self }
    }

    /// Whether a [`ByteBucket`] can be made of it; if not, an error that names `field` and the bound.
    pub(crate) fn validate(&self, field: &'static str) -> Result<(), Error> {
        let bound = if self.bytes == 0 {
            "at least 1 B/s (use None for no limit)"
        } else if self.bytes > FASTEST {
            "at most 100000000000 B/s"
        } else if self.burst == 0 {
            "of a burst of at least 1 B"
        } else if u128::from(self.burst) * SECOND / u128::from(self.bytes) >= u128::from(LONGEST / 32) {
            "so that the burst refills within 4 years"
        } else {
            return Ok(());
        };
        Err(Error::config(field, self, bound))
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B/s, burst {} B", self.bytes, self.burst)
    }
}

/// One policy for bytes. Any number of levels can be held to it.
#[derive(Debug)]
pub(crate) struct ByteBucket {
    /// Nanoseconds a byte, times 2^`price_bits`. Invariant: below 2^[`PRICE_LIMIT_BITS`].
    price: u64,
    /// As many as the price has room for.
    price_bits: u32,
    /// `price_bits` ones.
    carry_mask: u64,
    /// Bytes a nanosecond, times 2^[`GAIN_BITS`].
    gain: u64,
    /// Nanoseconds from empty to full.
    span: u64,
    /// Nanoseconds from empty to an amount that is worth waking up for.
    useful: u64,
    /// The part of a nanosecond that the last spend left over, for the next one to pay, whichever level that is: so the
    /// sum of all prices is exact, and a single one off by less than a nanosecond. Invariant: below 2^`price_bits`.
    carry: Cell<u64>,
    burst: u64,
}

impl ByteBucket {
    /// The bucket for a rate that [`ByteRate::validate`] found good.
    pub(crate) fn new(rate: ByteRate) -> Self {
        debug_assert!(rate.validate("rate").is_ok(), "{rate} was not validated");
        let bytes = u128::from(rate.bytes.clamp(1, FASTEST));
        let burst = u128::from(rate.burst.max(1));
        let gain = (bytes << GAIN_BITS) / SECOND;
        let nanos = |amount: u128| (amount << GAIN_BITS).div_ceil(gain).min(u128::from(LONGEST - 1)) as u64;
        let price_bits = (PRICE_LIMIT_BITS - 1) - (SECOND / bytes).checked_ilog2().map_or(0, |bits| bits + 1);
        Self {
            price: ((SECOND << price_bits) / bytes) as u64,
            price_bits,
            carry_mask: (1 << price_bits) - 1,
            gain: gain as u64,
            span: nanos(burst),
            useful: nanos(burst.min(bytes / USEFUL_PART).max(1)),
            carry: Cell::new((1 << price_bits) / 2),
            burst: rate.burst,
        }
    }

    /// Bytes that may move now.
    #[inline]
    pub(crate) fn allowance(&self, level: &Level, now: Moment) -> u64 {
        if level.0.get() <= now.0 {
            // Full, the usual case.
            return self.burst;
        }
        let empty = now.0 + self.span;
        let room = empty - level.tat(empty).max(now.0);
        let bytes = (u128::from(room) * u128::from(self.gain)) >> GAIN_BITS;
        (bytes as u64).min(self.burst)
    }

    /// Takes `bytes` that have moved, no more than the allowance and than [`MOST_AT_ONCE`].
    #[inline]
    pub(crate) fn spend(&self, level: &Level, bytes: usize, now: Moment) {
        debug_assert!(bytes <= MOST_AT_ONCE, "{bytes} bytes moved at once");
        let exact = bytes as u64 * self.price + self.carry.get();
        self.carry.set(exact & self.carry_mask);
        let price = exact >> self.price_bits;
        level.0.set((level.0.get().max(now.0) + price).min(now.0 + self.span));
    }

    /// When it is worth looking again: 5 ms worth of bytes are there, or the whole burst if that is less. `now` if so already.
    #[inline]
    pub(crate) fn ready_at(&self, level: &Level, now: Moment) -> Nanos {
        let early = self.span - self.useful;
        Nanos::new(level.tat(now.0 + self.span).saturating_sub(early).max(now.0))
    }
}

/// The most bytes that move by one call: the largest output buffer, with what is sent on top of it.
pub(crate) const MOST_AT_ONCE: usize = 1 << 25;
const SECOND: u128 = 1_000_000_000;
const FASTEST: u64 = 100_000_000_000;
/// 1/200 of a second.
const USEFUL_PART: u128 = 200;
/// A price times [`MOST_AT_ONCE`], and a carry, fit into 64 bits.
const PRICE_LIMIT_BITS: u32 = 38;
/// As many as fit: at the fastest rate the gain of a nanosecond is just below 2^63.
const GAIN_BITS: u32 = 56;
