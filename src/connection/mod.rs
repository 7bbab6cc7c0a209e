//! Who is here: the record of one connection, and the table and lists that hold them.
//! Generic over the stream; makes no system call, reads no clock and decides nothing about anybody's fate.

mod lists;
mod table;

pub(crate) use lists::Lists;
#[cfg(feature = "capi")]
pub(crate) use table::Descriptors;
pub(crate) use table::{Duplicate, Table};

use crate::admission::Permit;
use crate::bucket::Level;
use crate::buffer::{Lent, Output, Ring};
use crate::clock::Nanos;
use crate::peer::Peer;
use crate::readiness::Readiness;
use crate::reason::Reason;

/// One accepted connection. What a request touches stands first, and what it asks about together in one word: see
/// [`facts`](Self::facts).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Record<S, U> {
    pub(crate) stream: S,
    /// The generation in its id; with the slot it stands in, the whole of it.
    pub(crate) generation: u32,
    /// What the poller has told and nobody has used up yet.
    pub(crate) ready: Readiness,
    /// Why it is not read from at the moment.
    pub(crate) muted: Muted,
    pub(crate) reading: Reading,
    pub(crate) stage: Stage,
    pub(crate) operation: Operation,
    pub(crate) standing: Standing,
    pub(crate) flags: Flags,
    /// When bytes last moved, or it was touched.
    pub(crate) last_active: Nanos,
    /// When the open operation's first byte was there to be read.
    pub(crate) operation_since: Nanos,
    /// Its operations against its rate.
    pub(crate) level: Level,
    /// Bytes that arrived and were not consumed; none for an idle connection.
    pub(crate) input: Option<Lent<Ring>>,
    /// Bytes that wait to be sent; none for an idle connection.
    pub(crate) output: Option<Lent<Output>>,
    pub(crate) operations: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_level: Level,
    pub(crate) sent_level: Level,
    /// When it was put at its place in the order of eviction, in milliseconds, cut to 32 bits.
    pub(crate) ranked_ms: u32,
    /// Buffer bytes that are charged to it.
    pub(crate) held_bytes: u32,
    pub(crate) created: Nanos,
    /// When reading goes on after a delay.
    pub(crate) resume_at: Nanos,
    /// Start of the window in which arriving bytes are counted against the least read rate, in milliseconds, cut to 32
    /// bits; means something while the flag `WINDOW` is there.
    pub(crate) window_since_ms: u32,
    pub(crate) window_bytes: u32,
    pub(crate) permit: Permit,
    pub(crate) peer: Peer,
    pub(crate) denied: u32,
    /// Why it ends, once `stage` says that it does.
    reason: Reason,
    /// Who moves its bytes.
    pub(crate) driver: Driver,
    pub(crate) userdata: Option<U>,
    /// Deadlines of its own, where they differ from the pool's.
    pub(crate) own: Option<Lent<Deadlines>>,
}

impl<S, U> Record<S, U> {
    #[inline]
    pub(crate) fn new(
        stream: S,
        generation: u32,
        peer: Peer,
        permit: Permit,
        standing: Standing,
        now: Nanos,
    ) -> Self {
        Self {
            stream,
            generation,
            ready: Readiness::NONE,
            muted: Muted::UNANNOUNCED,
            reading: Reading::Open,
            stage: Stage::Open,
            operation: Operation::None,
            standing,
            flags: Flags::NONE,
            last_active: now,
            operation_since: now,
            level: Level::full(),
            input: None,
            output: None,
            operations: 0,
            received_bytes: 0,
            sent_bytes: 0,
            received_level: Level::full(),
            sent_level: Level::full(),
            ranked_ms: now.as_millis() as u32,
            held_bytes: 0,
            created: now,
            resume_at: now,
            window_since_ms: 0,
            window_bytes: 0,
            permit,
            peer,
            denied: 0,
            reason: Reason::Closed,
            driver: Driver::Pool,
            userdata: None,
            own: None,
        }
    }

    /// What the way of a request depends on, as one word: the usual questions are one `and` and one compare with what
    /// [`facts`] makes.
    #[inline]
    pub(crate) const fn facts(&self) -> u32 {
        facts(self.ready, self.muted, self.reading as u8, self.stage as u8)
    }

    /// Why it finishes, if that is where it stands.
    pub(crate) fn finishes_for(&self) -> Option<Reason> {
        (self.stage == Stage::Finishing).then_some(self.reason)
    }

    /// Whether none of the messages will be handled that wait behind the one under way.
    pub(crate) fn hears_no_more(&self) -> bool {
        self.is_ending() || matches!(self.finishes_for(), Some(Reason::Closed | Reason::Rate))
    }

    /// Whether input that waits is not shown: the message that comes next is over an operation rate that the pool enforces,
    /// or nobody will handle it.
    #[inline]
    pub(crate) fn hides_input(&self) -> bool {
        let ends_unheard = self.stage == Stage::Ending || self.reason == Reason::Rate;
        self.muted.has(Muted::OPERATIONS) || (self.stage != Stage::Open && ends_unheard)
    }

    /// Why its end was decided, if it was.
    pub(crate) fn ends_for(&self) -> Option<Reason> {
        self.is_ending().then_some(self.reason)
    }

    /// It comes to `stage`, for this reason.
    pub(crate) fn advance_to(&mut self, stage: Stage, reason: Reason) {
        (self.stage, self.reason) = (stage, reason);
    }

    /// Bytes that wait to be sent.
    #[inline]
    pub(crate) fn waiting_out(&self) -> usize {
        self.output.as_ref().map_or(0, |output| output.waiting())
    }

    /// Bytes that arrived and were not consumed, those of the connection that is being read from left out.
    pub(crate) fn waiting_in(&self) -> usize {
        self.input.as_ref().map_or(0, |ring| ring.len())
    }

    /// Whether something is in flight: unread input, unsent output, an open operation, or a hold (DECISIONS 7).
    pub(crate) fn is_busy(&self) -> bool {
        self.operation != Operation::None
            || self.input.is_some()
            || self.output.is_some()
            || self.flags.has(Flags::HELD)
    }

    /// Whether an answer is owed or on its way: busy, but for input of which no message will ever come.
    pub(crate) fn owes(&self) -> bool {
        self.operation == Operation::Consumed || self.output.is_some() || self.flags.has(Flags::HELD)
    }

    /// Whether the application, which has added it, has not been told of it. It hears of its end, so it must hear of its
    /// beginning before.
    pub(crate) fn is_added_and_untold(&self) -> bool {
        self.flags.has(Flags::SHARED) && self.muted.has(Muted::UNANNOUNCED)
    }

    /// Whether its end has been decided.
    #[inline]
    pub(crate) fn is_ending(&self) -> bool {
        self.stage as u8 == Stage::Ending as u8
    }
}

/// A word as [`Record::facts`] has it, of the bits that matter to a question, or that its answer must show.
#[inline]
pub(crate) const fn facts(ready: Readiness, muted: Muted, reading: u8, stage: u8) -> u32 {
    u32::from_le_bytes([ready.bits(), muted.0, reading, stage])
}

/// Who reads and writes a connection's descriptor, watches it and closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Driver {
    Pool,
    /// The application, by calls that tell the pool.
    #[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "C programs do"))]
    Application,
}

/// How far a connection has come in life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// It lives.
    Open = 0,
    /// It ends as soon as nothing is owed.
    Finishing = 1,
    /// Its end is decided and will be carried out when no event of it is being handled.
    Ending = 2,
}

/// Whether it has shown that it is a client and not just a socket (DECISIONS 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Standing {
    /// The application reads the descriptor itself; the pool has seen nothing and concludes nothing.
    Unobserved,
    /// It has not completed a first message.
    Unproven,
    /// It has been served once.
    Proven,
}

/// Where its current operation stands (DECISIONS 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Operation {
    /// None is open.
    None = 0,
    /// Input has arrived.
    Open,
    /// Some input was consumed: the next byte sent completes it.
    Consumed,
    /// Something was sent while none of the input was consumed: consuming completes it. If that has not come by the end
    /// of the event, what was sent was no answer but news, or the word to go on with the rest, and it is open again.
    Answered,
    /// The application has said that it is complete while none of its input was consumed. Consuming that belongs to it;
    /// if it has not come by the end of the event, the input is taken for the next message.
    Finished,
}

/// Whether more input can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reading {
    /// It can.
    Open = 0,
    /// The peer has sent its last byte; the application does not know yet.
    Ended,
    /// The application knows.
    Reported,
}

/// Deadlines that one connection has for itself. `None` within `Some` switches one off.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deadlines {
    pub(crate) first_message: Option<Option<std::time::Duration>>,
    pub(crate) idle: Option<Option<std::time::Duration>>,
    pub(crate) lifetime: Option<Option<std::time::Duration>>,
    pub(crate) write_stall: Option<Option<std::time::Duration>>,
}

macro_rules! bit_set {
    ($(#[$meta:meta])* $name:ident($bits:ty) { $($(#[$doc:meta])* $bit:ident = $value:expr,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct $name($bits);

        impl $name {
            $($(#[$doc])* pub(crate) const $bit: Self = Self($value);)*

            #[inline]
            pub(crate) const fn has(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            #[allow(dead_code, reason = "not every set needs it")]
            pub(crate) const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            #[inline]
            pub(crate) const fn insert(&mut self, other: Self) {
                self.0 |= other.0;
            }

            #[inline]
            pub(crate) const fn remove(&mut self, other: Self) {
                self.0 &= !other.0;
            }
        }
    };
}

bit_set! {
    /// Why a connection is not read from: several parties may want it, and the last one to let go wakes it.
    Muted(u8) {
        NOTHING = 0,
        /// Its input buffer is full.
        FULL = 1,
        /// Its output is past the high mark.
        BACK_PRESSURE = 2,
        /// Its operations outran their rate.
        OPERATIONS = 4,
        /// Its bytes outran their rate.
        BYTES = 8,
        /// Admitted with a delay, or the kernel has no memory to read its bytes just now.
        DELAYED = 16,
        /// The application asked.
        APPLICATION = 32,
        /// The application does not know of it yet.
        UNANNOUNCED = 64,
        /// Any of them. One bit stays free: of a whole byte the compiler makes two questions instead of one.
        ANYTHING = 127,
    }
}

impl Muted {
    #[inline]
    pub(crate) const fn is_nothing(self) -> bool {
        self.0 == 0
    }

    /// Whether there is no reason but `other`, if that.
    pub(crate) const fn is_at_most(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The waits that end at `resume_at`.
    pub(crate) const TIMED: Self = Self(Self::OPERATIONS.0 | Self::DELAYED.0);
    /// The waits that we impose.
    pub(crate) const IMPOSED: Self = Self(Self::TIMED.0 | Self::BYTES.0);
}

bit_set! {
    /// Small facts about a connection that are each true or not.
    Flags(u16) {
        NONE = 0,
        /// It stands in the run queue.
        QUEUED = 1,
        /// The application holds it: neither idle nor finished until released.
        HELD = 2,
        /// Its output passed the high mark and has not come down to the low one since.
        HIGH = 4,
        /// Somebody else may hold a copy of its descriptor, so a close alone does not take it from the poller.
        SHARED = 8,
        /// The operation that is open has taken its token.
        CHARGED = 16,
        /// Sending waits for its byte rate.
        SEND_PACED = 32,
        /// It is counted among the busy ones.
        BUSY = 64,
        /// The application has had a handle of it since it was last put in order.
        TOUCHED = 128,
        /// The last message was answered before it was used up, and more of them came with it.
        ANSWERS_FIRST = 256,
        /// Its last answer may be on its way: unread bytes are dropped before it closes, so that no RST overtakes it.
        PARTING = 512,
        /// The time for its first message was over when the pool came to read it. That is overlooked once in a life:
        /// bytes that dribble in are always there.
        HEARD_LATE = 1024,
        /// Its time was over when the pool found something unread, and nothing has been read since.
        SPARED = 2048,
        /// The poller tells when there is room to write.
        ROOM_WATCHED = 4096,
        /// Arriving bytes are counted against the least read rate.
        WINDOW = 8192,
        /// It is on the list of those to be put in order.
        LISTED = 16384,
        /// Its turn to pass a rate of operations came while it was not read from for another reason: it has taken no token
        /// of the pool's, and stands in line again when it is read from.
        ASIDE = 32768,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_takes_176_bytes_and_what_a_request_touches_the_first_of_them() {
        assert_eq!(size_of::<Option<Record<i32, ()>>>(), 176);
        assert!(std::mem::offset_of!(Record<i32, ()>, sent_level) < 128);
    }
}
