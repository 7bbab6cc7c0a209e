//! The number under which the poller reports a descriptor: what kind of thing it is, whose it is, and which one.

use crate::id::ConnId;

/// What a token names.
///
/// ```
/// # fn show(party: socketpool::net::Party, token: socketpool::net::Token) {
/// use socketpool::net::{Kind, Token};
///
/// match token.class() {
///     class if class == Token::class_of(Kind::Listener, party) => println!("somebody comes"),
///     class if class == Token::class_of(Kind::Server, party) => println!("{:?} is ready", token.id(party)),
///     _ => println!("another party's"),
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A listening socket of a server pool.
    Listener = 1,
    /// An accepted connection.
    Server = 2,
    /// A connection to another server.
    Upstream = 3,
    /// A connection of the operator.
    Door = 4,
    /// The call of another thread.
    Waker = 5,
}

/// One of up to 32 users that a reactor has at a time. A reactor hands them out, and the number of one that has gone to
/// whoever comes next.
///
/// ```
/// assert_eq!(socketpool::net::Party::MAX, 32, "pools that can share one reactor");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    number: u8,
    /// What the generations in its tokens are changed by. Those that had the number before have had other marks: an event
    /// of theirs that is still on its way, or that a copy of a descriptor brings about for ever, shows a generation that
    /// nobody has.
    mark: u32,
}

impl Party {
    /// How many parties can share one reactor.
    pub const MAX: u8 = 32;

    /// The holder of `number` that comes after `before` others.
    pub(crate) const fn new(number: u8, before: u32) -> Self {
        // Generations count up from below, marks down from above: they meet when a slot has been used 2^16 times and a
        // number handed out 2^16 times, and even then must be exactly alike.
        Self { number, mark: before.reverse_bits() }
    }

    const fn mask(self) -> u64 {
        (self.mark as u64) << GENERATION_SHIFT
    }
}

/// Kind (3 bits), party (5 bits), generation (32 bits) and slot (24 bits), as one `mio::Token`.
///
/// The generation is what keeps an event of a closed descriptor from reaching the connection that got its slot, or the
/// slot of the same number in a pool that came after its own.
///
/// ```
/// # fn show(party: socketpool::net::Party, id: socketpool::ConnId) {
/// use socketpool::net::{Kind, Token};
///
/// let token = Token::connection(Kind::Server, party, id);
/// assert_eq!((token.class(), token.id(party)), (Token::class_of(Kind::Server, party), Some(id)));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(u64);

impl Token {
    /// The token of a connection.
    ///
    /// ```
    /// # fn show(party: socketpool::net::Party) {
    /// use socketpool::{ConnId, net::{Kind, Token}};
    ///
    /// let (before, after) = (ConnId::from_u64(1 << 24 | 7), ConnId::from_u64(2 << 24 | 7)); // one slot, twice
    /// let token = Token::connection(Kind::Server, party, before.unwrap());
    /// assert_eq!(token.id(party), before);
    /// assert_ne!(token, Token::connection(Kind::Server, party, after.unwrap()));
    /// # }
    /// ```
    #[must_use]
    #[inline]
    pub const fn connection(kind: Kind, party: Party, id: ConnId) -> Self {
        Self::pack(kind, party, id.as_u64() ^ party.mask())
    }

    /// The token of the listener in place `place`. A party closes its listeners all together, so a place is not
    /// used twice.
    ///
    /// ```
    /// # fn show(party: socketpool::net::Party) {
    /// use socketpool::net::{Kind, Token};
    ///
    /// let token = Token::listener(party, 3);
    /// assert_eq!((token.class(), token.listener_place()), (Token::class_of(Kind::Listener, party), 3));
    /// # }
    /// ```
    #[must_use]
    pub const fn listener(party: Party, place: u32) -> Self {
        Self::pack(Kind::Listener, party, place as u64)
    }

    pub(crate) const fn waker() -> Self {
        Self::pack(Kind::Waker, Party::new(0, 0), 0)
    }

    /// Kind and party in one byte: one compare tells whose an event is.
    ///
    /// ```
    /// # fn show(party: socketpool::net::Party, token: socketpool::net::Token) {
    /// use socketpool::net::{Kind, Token};
    ///
    /// let connections = Token::class_of(Kind::Server, party);
    /// if token.class() == connections {
    ///     println!("an event of {:?}", token.id(party));
    /// }
    /// # }
    /// ```
    #[must_use]
    #[inline]
    pub const fn class(self) -> u8 {
        (self.0 >> CLASS_SHIFT) as u8
    }

    /// The class that [`class`](Self::class) gives for tokens of `kind` and `party`.
    ///
    /// ```
    /// # fn show(ours: socketpool::net::Party, theirs: socketpool::net::Party) {
    /// use socketpool::net::{Kind, Token};
    ///
    /// assert_ne!(Token::class_of(Kind::Listener, ours), Token::class_of(Kind::Server, ours));
    /// assert_ne!(Token::class_of(Kind::Server, ours), Token::class_of(Kind::Server, theirs));
    /// # }
    /// ```
    #[must_use]
    pub const fn class_of(kind: Kind, party: Party) -> u8 {
        (kind as u8) << 5 | party.number
    }

    /// The connection, of a token that is `party`'s; `None` if the bits are no id. Of a party that had the number before
    /// it is an id that no connection has.
    ///
    /// ```
    /// # fn show(party: socketpool::net::Party, before: socketpool::net::Party, id: socketpool::ConnId) {
    /// use socketpool::net::{Kind, Token};
    ///
    /// assert_eq!(Token::connection(Kind::Server, party, id).id(party), Some(id));
    /// assert_ne!(Token::connection(Kind::Server, before, id).id(party), Some(id));
    /// # }
    /// ```
    #[must_use]
    #[inline]
    pub const fn id(self, party: Party) -> Option<ConnId> {
        ConnId::from_u64(self.0 & ((1 << CLASS_SHIFT) - 1) ^ party.mask())
    }

    /// The place of a listener.
    ///
    /// ```
    /// # fn show(party: socketpool::net::Party) {
    /// use socketpool::net::Token;
    ///
    /// assert_eq!(Token::listener(party, 5).listener_place(), 5);
    /// # }
    /// ```
    #[must_use]
    pub const fn listener_place(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(crate) const fn to_mio(self) -> mio::Token {
        mio::Token(self.0 as usize)
    }

    #[inline]
    pub(crate) const fn from_mio(token: mio::Token) -> Self {
        Self(token.0 as u64)
    }

    const fn pack(kind: Kind, party: Party, bits: u64) -> Self {
        Self((Self::class_of(kind, party) as u64) << CLASS_SHIFT | bits)
    }
}

const CLASS_SHIFT: u32 = 56;
const GENERATION_SHIFT: u32 = 24;

// Tokens need all 64 bits of a `usize`: on a 32-bit machine generations would be cut off in silence.
const _: () = assert!(usize::BITS >= 64, "socketpool needs a 64-bit target");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_token_gives_back_its_id_and_class() {
        for party in [Party::new(0, 0), Party::new(Party::MAX - 1, 1), Party::new(3, u32::MAX)] {
            for id in [ConnId::new(0, 1).unwrap(), ConnId::new(ConnId::MAX_SLOTS - 1, u32::MAX).unwrap()] {
                let token = Token::from_mio(Token::connection(Kind::Server, party, id).to_mio());
                assert_eq!(token.id(party), Some(id));
                assert_eq!(token.class(), Token::class_of(Kind::Server, party));
            }
        }
    }

    #[test]
    fn the_next_party_of_a_number_finds_nobody_in_the_tokens_of_those_before() {
        for before in 0..1000 {
            let (old, new) = (Party::new(3, before), Party::new(3, before + 1));
            assert_eq!(Token::class_of(Kind::Server, old), Token::class_of(Kind::Server, new));
            for generation in [1, 2, 3, before + 1, 0xffff] {
                let token = Token::connection(Kind::Server, old, ConnId::new(7, generation).unwrap());
                assert!(token.id(new).is_none_or(|id| id.generation() > 0xffff), "{token:?}");
            }
        }
    }

    #[test]
    fn classes_of_kinds_and_parties_never_meet() {
        let mut seen = std::collections::HashSet::new();
        for kind in [Kind::Listener, Kind::Server, Kind::Upstream, Kind::Door, Kind::Waker] {
            for party in 0..Party::MAX {
                assert!(seen.insert(Token::class_of(kind, Party::new(party, 0))));
            }
        }
    }

    #[test]
    fn a_listener_token_gives_back_its_place() {
        let token = Token::listener(Party::new(3, 7), 5);
        assert_eq!(token.listener_place(), 5);
        assert_eq!(token.class(), Token::class_of(Kind::Listener, Party::new(3, 7)));
    }
}
