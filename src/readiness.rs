//! What a descriptor is ready for, as a poller tells it.

use std::fmt::{self, Debug};

/// What a descriptor is ready for: a set of the constants.
///
/// ```
/// use socketpool::net::Readiness;
///
/// let told = Readiness::READABLE.with(Readiness::READ_CLOSED);
/// assert!(told.has(Readiness::READABLE) && !told.has(Readiness::WRITABLE));
/// assert_eq!(format!("{told:?}"), r#"{"readable", "read closed"}"#);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness(u8);

impl Readiness {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Input, or a newcomer, has arrived.
    pub const READABLE: Self = Self(1);
    /// There is room to write again.
    pub const WRITABLE: Self = Self(2);
    /// The peer has sent its last byte.
    pub const READ_CLOSED: Self = Self(4);
    /// The socket has failed, or both sides are closed.
    pub const FAILED: Self = Self(8);
    /// The peer has sent urgent data, at whose mark a read stops short.
    pub const URGENT: Self = Self(16);
    /// No poller tells it: the pool notes it here of a stream on which a read may stop short, where the questions of a
    /// request ask for it in passing.
    pub(crate) const STOPS_SHORT: Self = Self(32);

    /// The set as bits.
    #[inline]
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// Whether any of `other` is in this set.
    ///
    /// ```
    /// use socketpool::net::Readiness;
    ///
    /// let hung_up = Readiness::READABLE.with(Readiness::READ_CLOSED);
    /// assert!(hung_up.has(Readiness::READ_CLOSED));
    /// assert!(hung_up.has(Readiness::READABLE.with(Readiness::FAILED)), "any of them is enough");
    /// assert!(!hung_up.has(Readiness::NONE));
    /// ```
    #[must_use]
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    ///
    /// ```
    /// use socketpool::net::Readiness;
    ///
    /// let both = Readiness::READABLE.with(Readiness::WRITABLE);
    /// assert!(both.has(Readiness::READABLE) && both.has(Readiness::WRITABLE));
    /// assert_eq!(both.with(Readiness::WRITABLE), both);
    /// ```
    #[must_use]
    #[inline]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without `other`.
    ///
    /// ```
    /// use socketpool::net::Readiness;
    ///
    /// let both = Readiness::READABLE.with(Readiness::WRITABLE);
    /// assert_eq!(both.without(Readiness::WRITABLE), Readiness::READABLE);
    /// assert_eq!(Readiness::NONE.without(both), Readiness::NONE, "what is not there need not go");
    /// ```
    #[must_use]
    #[inline]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::READABLE, "readable"),
            (Self::WRITABLE, "writable"),
            (Self::READ_CLOSED, "read closed"),
            (Self::FAILED, "failed"),
            (Self::URGENT, "urgent"),
            (Self::STOPS_SHORT, "stops short"),
        ];
        f.debug_set().entries(names.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| name)).finish()
    }
}
