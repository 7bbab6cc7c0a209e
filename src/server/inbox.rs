//! The input of the one connection that is being read from: in the pool's scratch buffer while it is fresh, in a ring
//! of its own when some of it stayed. Reads nothing itself.

use std::cell::Cell;
use std::collections::TryReserveError;

use crate::buffer::{ChunkStore, Lent, Ring};
use crate::id::ConnId;

/// Whose input is open, and where it lies: in the ring of its owner if it has one, else at the front of `scratch`.
///
/// What is used up is only counted, and taken off when the input is put back or added to.
///
/// Invariant: while a connection is the owner its record holds no ring; `rest` is what is left to it. Without
/// an owner there is neither ring nor input.
#[derive(Debug)]
pub(super) struct Inbox {
    scratch: Box<[u8]>,
    owner: Option<ConnId>,
    /// Bytes of input, those included that are used up.
    all: usize,
    /// Bytes that the owner may still receive in this turn.
    share: usize,
    /// The same for whoever comes next.
    turn_share: usize,
    ring: Option<Lent<Ring>>,
    taken: Taken,
    /// Whose input in `scratch` somebody looks at, so that nobody else's may come to lie there: until that is over, all others
    /// lie in rings.
    #[cfg(feature = "capi")]
    shown: Option<ConnId>,
}

/// Bytes from the front of the input that are used up.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) bytes: Cell<usize>,
    /// How many of them the record knows of.
    told: Cell<usize>,
    /// How much of what is left may be looked at.
    pub(super) shown: Cell<Shown>,
}

/// How much of the input may be looked at, where a rate holds messages back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shown {
    #[default]
    All,
    /// The message that has been answered already, which must be used up; nothing behind it.
    Answered,
    Nothing,
}

impl Taken {
    /// Whether the record is to be told; it counts as told from now on.
    #[inline]
    pub(super) fn tell(&self) -> bool {
        let news = self.told.get() != self.bytes.get();
        if news {
            self.told.set(self.bytes.get());
        }
        news
    }

    #[inline]
    fn reset(&self) {
        self.bytes.set(0);
        self.told.set(0);
    }
}

impl Inbox {
    pub(super) fn new() -> Result<Self, TryReserveError> {
        let mut scratch = Vec::new();
        scratch.try_reserve_exact(SCRATCH_BYTES)?;
        scratch.resize(SCRATCH_BYTES, 0);
        let scratch = scratch.into_boxed_slice();
        Ok(Self {
            scratch,
            owner: None,
            all: 0,
            share: 0,
            turn_share: SHARE_BYTES,
            ring: None,
            taken: Taken::default(),
            #[cfg(feature = "capi")]
            shown: None,
        })
    }

    /// The input of `id`, which is open, stays where it is until [`end_show`](Self::end_show), or until more is received for
    /// it.
    #[cfg(feature = "capi")]
    pub(super) fn show(&mut self, id: ConnId) {
        // What lies in a ring is safe there, and must not take the place of what does not.
        if self.ring.is_none() && self.len() > 0 {
            self.shown = Some(id);
        }
    }

    /// Nobody looks at any input any more.
    #[cfg(feature = "capi")]
    pub(super) fn end_show(&mut self) {
        self.shown = None;
    }

    /// Whether somebody looks at the input of another connection than the owner, in the scratch buffer.
    #[inline]
    fn is_occupied(&self) -> bool {
        #[cfg(feature = "capi")]
        return self.shown.is_some() && self.shown != self.owner;
        #[cfg(not(feature = "capi"))]
        false
    }

    /// A turn begins in which so many connections have something to tell.
    pub(super) fn begin_turn(&mut self, ready: usize) {
        self.turn_share = (TURN_BYTES / ready.max(1)).clamp(LEAST_SHARE, SHARE_BYTES);
    }

    #[inline]
    pub(super) fn owner(&self) -> Option<ConnId> {
        self.owner
    }

    /// Opens the input of `id`, which is what `kept` holds. The owner before must have been put back.
    #[inline]
    pub(super) fn open(&mut self, id: ConnId, kept: &mut Option<Lent<Ring>>) {
        debug_assert!(self.owner.is_none(), "the owner before was not put back");
        self.owner = Some(id);
        self.share = self.turn_share;
        if kept.is_some() {
            self.ring = kept.take();
            self.all = self.ring.as_ref().map_or(0, |ring| ring.len());
        }
    }

    /// Closes the owner's input. If something may be left of it, `keep` is asked for it before it is forgotten.
    #[inline]
    pub(super) fn put_back(&mut self, keep: impl FnOnce(&mut Self)) {
        self.owner = None;
        if self.ring.is_some() || self.taken.bytes.get() < self.all {
            keep(self);
        }
        self.all = 0;
        self.taken.reset();
    }

    /// What is left, in a ring, to be put back with its owner.
    pub(super) fn rest(&mut self, store: &mut ChunkStore) -> Result<Option<Lent<Ring>>, TryReserveError> {
        let ring = self.in_ring(store)?;
        if ring.is_empty() {
            store.give_back(ring);
            return Ok(None);
        }
        Ok(Some(ring))
    }

    /// Takes the input out, in a ring, without what is used up. If there is no memory for one, it stays where it is.
    fn in_ring(&mut self, store: &mut ChunkStore) -> Result<Lent<Ring>, TryReserveError> {
        let taken = self.taken.bytes.get();
        let ring = match self.ring.take() {
            Some(mut ring) => {
                ring.consume(taken);
                ring
            }
            None => {
                let rest = &self.scratch[taken..self.all];
                let mut ring = store.ring(rest.len())?;
                ring.push(rest);
                ring
            }
        };
        self.all = ring.len();
        self.taken.reset();
        Ok(ring)
    }

    /// Where up to `most` more bytes can be received, at least one of them, or none if there is no memory for them: then the
    /// input is as it was. `most` is not 0, and no more than the share. Whatever was used up has been told.
    #[inline]
    pub(super) fn space(&mut self, most: usize, store: &mut ChunkStore) -> &mut [u8] {
        if self.ring.is_none() && self.taken.bytes.get() == self.all && !self.is_occupied() {
            self.all = 0;
            self.taken.reset();
            return &mut self.scratch[..most];
        }
        self.space_or_none(most, store)
    }

    #[cold]
    fn space_or_none(&mut self, most: usize, store: &mut ChunkStore) -> &mut [u8] {
        self.space_in_ring(most, store).unwrap_or_default()
    }

    /// What the application left is being added to: from here on it needs a place of its own.
    fn space_in_ring(&mut self, most: usize, store: &mut ChunkStore) -> Result<&mut [u8], TryReserveError> {
        let ring = match self.ring.is_none() && self.len() == 0 {
            true => {
                self.all = 0;
                self.taken.reset();
                store.ring(most.min(LEAST_READ))?
            }
            false => self.in_ring(store)?,
        };
        let ring = self.ring.insert(ring);
        if ring.free() < most.min(LEAST_READ) {
            // Four times what waits, so that a long message is moved a logarithmic number of times.
            let more = (ring.len() * 3).clamp(LEAST_READ, SCRATCH_BYTES).min(most);
            store.grow(ring, more)?;
        }
        let most = most.min(ring.free());
        Ok(&mut ring.space()[..most])
    }

    /// `n` bytes of the space were filled.
    #[inline]
    pub(super) fn commit(&mut self, n: usize) {
        self.all += n;
        self.share -= n;
        if let Some(ring) = &mut self.ring {
            ring.commit(n);
        }
    }

    /// All waiting bytes, and the counter of how many from the front are used up.
    #[inline]
    pub(super) fn open_view(&mut self) -> (&[u8], &Taken) {
        let all = match &mut self.ring {
            None => &self.scratch[..self.all],
            Some(ring) => ring.contiguous(),
        };
        (&all[self.taken.bytes.get()..], &self.taken)
    }

    /// Uses up `n` bytes, of no more than there are.
    #[inline]
    pub(super) fn consume(&mut self, n: usize) {
        let taken = self.taken.bytes.get_mut();
        *taken += n;
    }

    /// Whether the record is to be told of what was used up.
    #[inline]
    pub(super) fn tell(&self) -> bool {
        self.taken.tell()
    }

    /// Bytes that wait and those before them that are used up and not taken off yet.
    #[inline]
    pub(super) fn len_with_taken(&self) -> usize {
        self.all
    }

    /// Bytes that wait.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.all - self.taken.bytes.get()
    }

    /// Bytes that the owner may still receive in this turn.
    #[inline]
    pub(super) fn share(&self) -> usize {
        self.share
    }

    /// The owner is opened again: this much is left of what it may receive.
    pub(super) fn keep_share(&mut self, share: usize) {
        self.share = share;
    }

    /// The scratch buffer, for reading into what nobody wants to see, unless somebody looks at it. Its owner must have been put
    /// back.
    pub(super) fn scratch(&mut self) -> Option<&mut [u8]> {
        debug_assert!(self.owner.is_none(), "somebody's input lies there");
        if self.is_occupied() { None } else { Some(&mut self.scratch) }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.scratch.len()
    }
}

/// The most that is received at a time. One connection's share of a turn, so that it delays the others by no more
/// than the handling of so many bytes; large enough that a system call is a small part of moving them.
pub(super) const SCRATCH_BYTES: usize = 64 << 10;

/// One connection's share of a turn at most, in bytes received: what it can send at once without delaying the others by
/// more than the handling of one full scratch buffer.
const SHARE_BYTES: usize = SCRATCH_BYTES;

/// What all of them share in a turn, as far as each has its least: one by one the delays are short, and those of a
/// thousand are not. As messages of one byte, which are the dearest, these take some 80 ms.
const TURN_BYTES: usize = 2 << 20;

/// The least share, for which a system call is still worth while: room for a message of 4 KiB and more, so that its read
/// is short and needs no second one.
const LEAST_SHARE: usize = 5 << 10;

/// The least room that is worth a system call.
const LEAST_READ: usize = 1024;

#[cfg(all(test, feature = "capi"))]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnId {
        ConnId::new(slot, 1).expect("a generation that is not 0")
    }

    #[test]
    fn what_is_shown_stays_whoever_else_is_looked_at_before_he_receives() {
        let mut store = ChunkStore::new(1 << 20);
        let mut inbox = Inbox::new().unwrap();
        inbox.open(id(1), &mut None);
        inbox.space(3, &mut store)[..3].copy_from_slice(b"one");
        inbox.commit(3);
        inbox.show(id(1));
        let shown = inbox.open_view().0.as_ptr();
        let mut kept = None;
        inbox.put_back(|inbox| kept = inbox.rest(&mut store).unwrap());

        inbox.open(id(2), &mut None);
        inbox.show(id(2));
        assert!(inbox.open_view().0.is_empty(), "nothing of his is there");
        assert_ne!(inbox.space(3, &mut store).as_ptr(), shown, "the first one's lies there");
        assert_eq!(&inbox.scratch[..3], b"one");
    }
}
