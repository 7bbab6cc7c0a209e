//! The name of a connection: a slot of the table and how often that slot has been used.
//! Makes no promise about what the slot holds; that is the table's to say.

use std::fmt;
use std::num::NonZeroU64;

/// The name of one connection, for ever: a slot of the table (24 bits) and the slot's generation (32 bits).
///
/// When the connection ends its name goes stale, and no later connection in the same slot, nor one with the same
/// descriptor, ever answers to it. Ids are plain values: copy them, send them to other threads, keep them in maps.
///
/// ```
/// use socketpool::ConnId;
///
/// let id: ConnId = "7.3".parse()?;
/// assert_eq!((id.slot(), id.generation()), (7, 3));
/// assert_eq!(id.to_string(), "7.3");
/// assert_eq!(ConnId::from_u64(id.as_u64()), Some(id));
/// # Ok::<(), socketpool::ParseIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(NonZeroU64);

impl ConnId {
    /// Bits of an id that name the slot; the generation stands above them.
    pub(crate) const SLOT_BITS: u32 = 24;
    /// Most connections that can be told apart at one time.
    pub const MAX_SLOTS: u32 = 1 << Self::SLOT_BITS;

    /// `None` for a slot over 24 bits and for generation 0, which no connection ever has.
    pub(crate) const fn new(slot: u32, generation: u32) -> Option<Self> {
        if slot >= Self::MAX_SLOTS || generation == 0 {
            return None;
        }
        match NonZeroU64::new((generation as u64) << Self::SLOT_BITS | slot as u64) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// The slot of the table; used again by later connections under other generations.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// // Slots are small numbers, each held by one connection at a time: an index for tables beside the pool.
    /// let mut names = vec![None; pool.config().max_connections as usize];
    /// names[id.slot() as usize] = Some((id, "alice"));
    /// assert_eq!(names[id.slot() as usize].filter(|(of, _)| *of == id), Some((id, "alice")));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub const fn slot(self) -> u32 {
        (self.0.get() & (Self::MAX_SLOTS as u64 - 1)) as u32
    }

    /// How many connections the slot has held, this one included.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// pool.kill(id);
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # while pool.next_event().is_some() {}
    /// let (ours, _client) = UnixStream::pair().unwrap();
    /// let next = pool.add(ours).unwrap();
    /// assert_eq!((next.slot(), next.generation()), (id.slot(), id.generation() + 1));
    /// assert!(pool.get(id).is_none() && pool.get(next).is_some());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub const fn generation(self) -> u32 {
        (self.0.get() >> Self::SLOT_BITS) as u32
    }

    /// The id as one number, below 2^56 and never 0, for protocols and foreign code.
    ///
    /// ```
    /// let id: socketpool::ConnId = "7.3".parse()?;
    /// assert_eq!(id.as_u64(), 3 << 24 | 7);
    /// assert!(id.as_u64() < 1 << 56);
    /// # Ok::<(), socketpool::ParseIdError>(())
    /// ```
    #[must_use]
    #[inline]
    pub const fn as_u64(self) -> u64 {
        self.0.get()
    }

    /// The id that [`as_u64`](Self::as_u64) gave; `None` for a number that cannot have come from there.
    ///
    /// ```
    /// use socketpool::ConnId;
    ///
    /// let id: ConnId = "7.3".parse()?;
    /// assert_eq!(ConnId::from_u64(id.as_u64()), Some(id));
    /// assert_eq!(ConnId::from_u64(0), None);
    /// assert_eq!(ConnId::from_u64(7), None, "generation 0 is nobody's");
    /// # Ok::<(), socketpool::ParseIdError>(())
    /// ```
    #[must_use]
    #[inline]
    pub const fn from_u64(bits: u64) -> Option<Self> {
        if bits >> (Self::SLOT_BITS + 32) != 0 {
            return None;
        }
        Self::new((bits & (Self::MAX_SLOTS as u64 - 1)) as u32, (bits >> Self::SLOT_BITS) as u32)
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot(), self.generation())
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnId({self})")
    }
}

impl std::str::FromStr for ConnId {
    type Err = ParseIdError;

    /// Reads what `Display` writes: `slot.generation`.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let (slot, generation) = text.split_once('.').ok_or(ParseIdError)?;
        let slot = slot.parse().map_err(|_| ParseIdError)?;
        let generation = generation.parse().map_err(|_| ParseIdError)?;
        Self::new(slot, generation).ok_or(ParseIdError)
    }
}

/// A text that is no [`ConnId`]: not `slot.generation`, or a number out of range.
///
/// ```
/// let error = "7".parse::<socketpool::ConnId>().unwrap_err();
/// assert!(error.to_string().starts_with("not a connection id (slot.generation"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseIdError;

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a connection id (slot.generation, slot below 2^24, generation from 1)")
    }
}

impl std::error::Error for ParseIdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_comes_back_from_its_number_and_its_text() {
        for slot in [0, 1, 77, ConnId::MAX_SLOTS - 1] {
            for generation in [1, 2, u32::MAX] {
                let id = ConnId::new(slot, generation).unwrap();
                assert_eq!((id.slot(), id.generation()), (slot, generation));
                assert_eq!(ConnId::from_u64(id.as_u64()), Some(id));
                assert_eq!(id.to_string().parse(), Ok(id));
            }
        }
    }

    #[test]
    fn numbers_that_name_nothing_are_refused() {
        assert_eq!(ConnId::new(ConnId::MAX_SLOTS, 1), None);
        assert_eq!(ConnId::new(0, 0), None);
        for bits in [0, 5, 1 << 56, u64::MAX] {
            assert_eq!(ConnId::from_u64(bits), None, "{bits:#x}");
        }
        for text in ["", ".", "1", "1.0", "-1.1", "16777216.1", "1.4294967296", "1.1.1", "1.1 "] {
            assert_eq!(text.parse::<ConnId>(), Err(ParseIdError), "{text:?}");
        }
    }

    #[test]
    fn an_absent_id_costs_no_space() {
        assert_eq!(size_of::<Option<ConnId>>(), 8);
    }
}
