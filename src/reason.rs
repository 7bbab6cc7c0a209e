//! Why a newcomer was refused and why a connection ended. Everything that counts, logs or reports uses these words.

use std::fmt;

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every reason, in the order in which counters hold them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The reason as a word for logs, metrics and tables: lower case, `_` between words, never changed.
            ///
            /// ```
            #[doc = concat!("use socketpool::", stringify!($name), ";")]
            #[doc = concat!("for reason in ", stringify!($name), "::ALL {")]
            ///     assert_eq!(reason.as_str(), reason.to_string());
            ///     assert!(reason.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            /// }
            /// ```
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

reasons! {
    /// Why a newcomer was not admitted.
    ///
    /// ```
    /// use socketpool::Refusal;
    /// assert_eq!(Refusal::PerIp.as_str(), "per_ip");
    /// assert_eq!(Refusal::ALL.len(), Refusal::COUNT);
    /// ```
    Refusal {
        /// The pool is draining or drained.
        Draining = "draining",
        /// Every slot is taken and nobody could be evicted.
        Full = "full",
        /// The address is in the deny list, or there is an allow list and it is not in it.
        Denied = "denied",
        /// The address already has as many connections as one address may have.
        PerIp = "per_ip",
        /// More accepts a second than the pool allows.
        AcceptRate = "accept_rate",
        /// The flood score of the address is too low, or it is still blocked.
        Flood = "flood",
        /// The descriptor is in the pool already.
        Duplicate = "duplicate",
        /// The poller would not take the descriptor, or it is no connected stream socket.
        Register = "register",
    }
}

reasons! {
    /// Why a connection ended.
    ///
    /// ```
    /// use socketpool::Reason;
    /// assert_eq!(Reason::WriteStall.to_string(), "write_stall");
    /// ```
    Reason {
        /// The peer closed its side and nothing was left to do.
        Peer = "peer",
        /// The socket failed: reset by the peer, timed out by the kernel, and so on.
        Error = "error",
        /// The application closed it, at once or when its output had left.
        Closed = "closed",
        /// `kill` was called.
        Killed = "killed",
        /// No first message was completed in time.
        FirstMessage = "first_message",
        /// It was not active for as long as the idle timeout.
        Idle = "idle",
        /// It reached the longest life a connection may have.
        Lifetime = "lifetime",
        /// A message was open and its bytes came too slowly.
        ReadStall = "read_stall",
        /// Output waited and the peer took none of it.
        WriteStall = "write_stall",
        /// It asked for more operations than its rate, or the pool's, allows, and the pool was told to close for that.
        Rate = "rate",
        /// It made room for a newcomer.
        Evicted = "evicted",
        /// All buffers together passed their hard mark and this connection held the most; or they were past their soft
        /// mark and it held some for a tenth of its idle timeout; or there was no memory for its bytes.
        Memory = "memory",
        /// The pool drained and it was not busy, or had finished.
        Drained = "drained",
        /// The drain's deadline passed, or `force_close_all` was called.
        Forced = "forced",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_its_own_place_in_all() {
        for (place, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
        }
        for (place, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*refusal as usize, place);
        }
    }

    #[test]
    fn words_are_distinct_and_fit_for_metrics() {
        let words: Vec<&str> =
            Reason::ALL.iter().map(|r| r.as_str()).chain(Refusal::ALL.iter().map(|r| r.as_str())).collect();
        for (place, word) in words.iter().enumerate() {
            assert!(!words[..place].contains(word), "{word} stands twice");
            assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{word}");
        }
    }
}
