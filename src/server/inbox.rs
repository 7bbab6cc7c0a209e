//! The input of the one connection that is being read from: in the pool's scratch buffer while it is fresh, in a ring
//! of its own when some of it stayed. Reads nothing itself.

use std::cell::Cell;

use crate::buffer::{ChunkStore, Ring};
use crate::id::ConnId;

/// Whose input is open, and where it lies.
///
/// Invariant: while a connection is the owner its record holds no ring; `put_back` returns what is left to it.
#[derive(Debug)]
pub(super) struct Inbox {
    scratch: Box<[u8]>,
    owner: Option<ConnId>,
    place: Place,
    pub(super) taken: Taken,
}

/// Bytes from the front of the input that were used up through an [`Input`](super::Input) and not taken off yet.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) bytes: Cell<usize>,
    /// How many of them the record knows of.
    told: Cell<usize>,
}

impl Taken {
    /// Whether the record is to be told; it counts as told from now on.
    #[inline]
    pub(super) fn tell(&self) -> bool {
        self.told.replace(self.bytes.get()) < self.bytes.get()
    }
}

#[derive(Debug)]
enum Place {
    /// `scratch[start..end]`.
    Scratch { start: usize, end: usize },
    /// The connection's own ring, borrowed from its record.
    Ring(Box<Ring>),
}

impl Inbox {
    pub(super) fn new() -> Self {
        let scratch = vec![0; SCRATCH_BYTES].into_boxed_slice();
        Self { scratch, owner: None, place: EMPTY, taken: Taken::default() }
    }

    #[inline]
    pub(super) fn owner(&self) -> Option<ConnId> {
        self.owner
    }

    /// Opens the input of `id`, which is what `kept` holds. The owner before must have been put back.
    #[inline]
    pub(super) fn open(&mut self, id: ConnId, kept: &mut Option<Box<Ring>>) {
        debug_assert!(self.owner.is_none(), "the owner before was not put back");
        self.owner = Some(id);
        self.place = match kept.take() {
            Some(ring) => Place::Ring(ring),
            None => EMPTY,
        };
    }

    /// Closes the owner's input; what is left of it is kept in a ring.
    #[inline]
    pub(super) fn put_back(&mut self, kept: &mut Option<Box<Ring>>, store: &mut ChunkStore) {
        self.settle();
        self.owner = None;
        match std::mem::replace(&mut self.place, EMPTY) {
            Place::Scratch { start, end } if start == end => {}
            Place::Scratch { start, end } => {
                let mut ring = store.ring(end - start);
                ring.push(&self.scratch[start..end]);
                *kept = Some(ring);
            }
            Place::Ring(ring) if ring.is_empty() => store.give_back(ring),
            Place::Ring(ring) => *kept = Some(ring),
        }
    }

    /// Where up to `most` more bytes can be received, at least one of them. `most` is not 0.
    #[inline]
    pub(super) fn space(&mut self, most: usize, store: &mut ChunkStore) -> &mut [u8] {
        self.settle();
        if let Place::Scratch { start, end } = &mut self.place {
            if start == end {
                (*start, *end) = (0, 0);
                let most = most.min(SCRATCH_BYTES);
                return &mut self.scratch[..most];
            }
            // What the application left is being added to: from here on it needs a place of its own.
            let mut ring = store.ring(*end - *start);
            ring.push(&self.scratch[*start..*end]);
            self.place = Place::Ring(ring);
        }
        let Place::Ring(ring) = &mut self.place else { unreachable!("it has just been made one") };
        if ring.free() < most.min(LEAST_READ) {
            // Four times what waits, so that a long message is moved a logarithmic number of times.
            store.grow(ring, (ring.len() * 3).clamp(LEAST_READ, SCRATCH_BYTES).min(most));
        }
        let most = most.min(ring.free());
        &mut ring.space()[..most]
    }

    /// `n` bytes of the space were filled.
    #[inline]
    pub(super) fn commit(&mut self, n: usize) {
        match &mut self.place {
            Place::Scratch { end, .. } => *end += n,
            Place::Ring(ring) => ring.commit(n),
        }
    }

    /// All waiting bytes, and the counter of how many from the front are used up.
    #[inline]
    pub(super) fn open_view(&mut self) -> (&[u8], &Taken) {
        self.settle();
        let bytes = match &mut self.place {
            Place::Scratch { start, end } => &self.scratch[*start..*end],
            Place::Ring(ring) => ring.contiguous(),
        };
        (bytes, &self.taken)
    }

    #[inline]
    pub(super) fn consume(&mut self, n: usize) {
        self.settle();
        self.taken.bytes.set(n);
        self.settle();
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        let waiting = match &self.place {
            Place::Scratch { start, end } => end - start,
            Place::Ring(ring) => ring.len(),
        };
        waiting - self.taken.bytes.get()
    }

    /// The scratch buffer, for reading into what nobody wants to see. Its owner must have been put back.
    pub(super) fn scratch(&mut self) -> &mut [u8] {
        debug_assert!(self.owner.is_none(), "somebody's input lies there");
        &mut self.scratch
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.scratch.len()
    }

    #[inline]
    fn settle(&mut self) {
        self.taken.told.set(0);
        let taken = self.taken.bytes.replace(0);
        match &mut self.place {
            Place::Scratch { start, end } => *start = (*start + taken).min(*end),
            Place::Ring(ring) => ring.consume(taken.min(ring.len())),
        }
    }
}

/// The most that is received at a time. One connection's share of a turn, so that it delays the others by no more
/// than the handling of so many bytes; large enough that a system call is a small part of moving them.
pub(super) const SCRATCH_BYTES: usize = 64 << 10;

/// The least room that is worth a system call.
const LEAST_READ: usize = 1024;

const EMPTY: Place = Place::Scratch { start: 0, end: 0 };
