//! Byte rates: GCRA in sixteenths of a nanosecond, with exact multiplication instead of a rounded time for each byte.
//! Spends after the fact, because nobody knows before a read how many bytes it will bring.

use std::cell::Cell;
use std::fmt;

use super::{LONGEST, Level};
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
        } else if u128::from(self.burst) * SECOND / u128::from(self.bytes) >= u128::from(LONGEST / 2) {
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
    /// Time units a byte, times 2^[`PRICE_BITS`].
    price: u64,
    /// Bytes a time unit, times 2^[`GAIN_BITS`].
    gain: u64,
    /// Time units from empty to full.
    span: u64,
    /// Time units from empty to an amount that is worth waking up for.
    useful: u64,
    /// The part of a time unit that the last spend left over, for the next one to pay, whichever level that is: so the sum
    /// of all prices is exact, and a single one off by less than a unit. Invariant: below 2^[`PRICE_BITS`].
    carry: Cell<u64>,
    rate: ByteRate,
}

impl ByteBucket {
    /// The bucket for a rate that [`ByteRate::validate`] found good.
    pub(crate) fn new(rate: ByteRate) -> Self {
        debug_assert!(rate.validate("rate").is_ok(), "{rate} was not validated");
        let bytes = u128::from(rate.bytes.clamp(1, FASTEST));
        let burst = u128::from(rate.burst.max(1));
        let gain = (bytes << GAIN_BITS) / SECOND;
        let units = |amount: u128| (amount << GAIN_BITS).div_ceil(gain).min(u128::from(LONGEST - 1)) as u64;
        Self {
            price: ((SECOND << PRICE_BITS) / bytes) as u64,
            gain: gain as u64,
            span: units(burst),
            useful: units(burst.min(bytes / USEFUL_PART).max(1)),
            carry: Cell::new(CARRY_MASK / 2),
            rate,
        }
    }

    /// Bytes that may move now; 0 in debt.
    #[inline]
    pub(crate) fn allowance(&self, level: &Level, now: Nanos) -> u64 {
        let now = units(now);
        if level.0.get() <= now {
            // Full, the usual case.
            return self.rate.burst;
        }
        let empty = now + self.span;
        let room = empty.saturating_sub(level.tat(empty).max(now));
        let bytes = (u128::from(room) * u128::from(self.gain)) >> GAIN_BITS;
        (bytes as u64).min(self.rate.burst)
    }

    /// Takes `bytes` that have moved, allowed or not; what is missing is a debt, to be refilled before anything else.
    #[inline]
    pub(crate) fn spend(&self, level: &Level, bytes: u64, now: Nanos) {
        let now = units(now);
        let empty = now + self.span;
        let exact = u128::from(bytes) * u128::from(self.price) + u128::from(self.carry.get());
        self.carry.set(exact as u64 & CARRY_MASK);
        let price = u64::try_from(exact >> PRICE_BITS).unwrap_or(u64::MAX);
        level.set(level.tat(empty).max(now).saturating_add(price), empty);
    }

    /// When it is worth looking again: 5 ms worth of bytes are there, or the whole burst if that is less. `now` if so already.
    #[inline]
    pub(crate) fn ready_at(&self, level: &Level, now: Nanos) -> Nanos {
        let early = self.span - self.useful;
        let tat = level.tat(units(now) + self.span);
        now.max(Nanos::new(tat.saturating_sub(early).div_ceil(UNITS_PER_NANO)))
    }
}

/// `now` in time units, so early that adding a span leaves the debt mark alone. After 9 years time stands still.
#[inline]
fn units(now: Nanos) -> u64 {
    now.as_nanos().min(LONGEST / UNITS_PER_NANO - 1) * UNITS_PER_NANO
}

/// Fine enough for one price, at 100 GB/s and 1,460 bytes within 0.5 %; the carry makes the sum exact.
const UNITS_PER_NANO: u64 = 16;
/// Time units in a second.
const SECOND: u128 = 1_000_000_000 * UNITS_PER_NANO as u128;
const FASTEST: u64 = 100_000_000_000;
/// 1/200 of a second.
const USEFUL_PART: u128 = 200;
/// As many as fit: at 1 B/s the price of a byte is just below 2^64.
const PRICE_BITS: u32 = 30;
/// As many as fit: at the fastest rate the gain of a unit is just below 2^63.
const GAIN_BITS: u32 = 60;
const CARRY_MASK: u64 = (1 << PRICE_BITS) - 1;
