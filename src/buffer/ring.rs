//! A ring of bytes in one piece of storage that a store lends and takes back.

/// Bytes waiting in the order in which they came.
///
/// Storage is not wiped between uses. Nothing here shows stale bytes except [`space`](Self::space), which is for
/// receiving into.
#[derive(Debug)]
pub(crate) struct Ring {
    storage: Box<[u8]>,
    /// Where the first waiting byte is. Invariant: below the capacity, and 0 when nothing waits.
    head: usize,
    /// How many bytes wait. Invariant: len <= capacity.
    len: usize,
}

impl Ring {
    /// An empty ring over `storage`; all of it is capacity.
    pub(super) fn new(storage: Box<[u8]>) -> Self {
        Self { storage, head: 0, len: 0 }
    }

    /// All waiting bytes as one slice. Bytes that wrap are moved so that they no longer do: a caller that looks
    /// again before anything is pushed pays nothing.
    pub(crate) fn contiguous(&mut self) -> &[u8] {
        if self.wraps() {
            self.unwrap_around();
        }
        &self.storage[self.head..self.head + self.len]
    }

    /// All free space as one slice, to receive into and then [`commit`](Self::commit). Waiting bytes are moved to
    /// the front if free space lies on both sides of them.
    ///
    /// The slice may show bytes of earlier connections: hand it to a read call or to code that only writes.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        let tail = self.head + self.len;
        if tail >= self.capacity() {
            // The bytes reach the end or wrap: what is free is one piece already.
            let start = tail - self.capacity();
            return &mut self.storage[start..self.head];
        }
        if self.head > 0 {
            self.storage.copy_within(self.head..tail, 0);
            self.head = 0;
        }
        &mut self.storage[self.len..]
    }

    /// Makes the first `n` bytes of [`space`](Self::space), filled in the meantime, wait behind the others.
    pub(crate) fn commit(&mut self, n: usize) {
        debug_assert!(n <= self.free(), "{n} bytes committed into {} free", self.free());
        self.len += n.min(self.free());
    }

    /// Copies as much of `bytes` as fits behind what waits, and says how much that was.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.free());
        let tail = self.wrapped(self.head + self.len);
        let first = n.min(self.capacity() - tail);
        self.storage[tail..tail + first].copy_from_slice(&bytes[..first]);
        self.storage[..n - first].copy_from_slice(&bytes[first..n]);
        self.len += n;
        n
    }

    /// Forgets the first `n` waiting bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.len, "{n} bytes consumed of {}", self.len);
        let n = n.min(self.len);
        self.len -= n;
        // Starting over at the front when empty keeps the next bytes in one piece.
        self.head = if self.len == 0 { 0 } else { self.wrapped(self.head + n) };
    }

    /// Forgets everything that waits.
    pub(crate) fn clear(&mut self) {
        self.head = 0;
        self.len = 0;
    }

    /// Overwrites what waits, and what lay there before, with zeros.
    #[cfg(feature = "capi")]
    pub(crate) fn wipe(&mut self) {
        self.storage.fill(0);
        // Nobody may conclude that it is not needed because it is forgotten next.
        std::hint::black_box(&mut self.storage);
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes can wait at most.
    pub(crate) fn capacity(&self) -> usize {
        self.storage.len()
    }

    /// How many more bytes fit.
    pub(crate) fn free(&self) -> usize {
        self.capacity() - self.len
    }

    /// All waiting bytes, the second slice behind the first. The second is empty unless they wrap.
    pub(crate) fn as_slices(&self) -> (&[u8], &[u8]) {
        self.range(0, self.len)
    }

    /// `count` waiting bytes from the `start`th on, as [`as_slices`](Self::as_slices). Both are within what waits.
    pub(super) fn range(&self, start: usize, count: usize) -> (&[u8], &[u8]) {
        debug_assert!(start + count <= self.len, "{count} bytes from {start} of {}", self.len);
        let begin = self.wrapped(self.head + start);
        let first = count.min(self.capacity() - begin);
        (&self.storage[begin..begin + first], &self.storage[..count - first])
    }

    fn wraps(&self) -> bool {
        self.head + self.len > self.capacity()
    }

    /// `place` brought back into the storage. `place` is less than twice the capacity.
    fn wrapped(&self, place: usize) -> usize {
        if place >= self.capacity() { place - self.capacity() } else { place }
    }

    /// Moves bytes that wrap into one piece, through the free space if the shorter part fits there.
    fn unwrap_around(&mut self) {
        let front = self.capacity() - self.head;
        let back = self.len - front;
        if front <= self.free() {
            self.storage.copy_within(..back, front);
            self.storage.copy_within(self.head.., 0);
            self.head = 0;
        } else if back <= self.free() {
            self.storage.copy_within(self.head.., back);
            self.storage.copy_within(..back, self.len);
            self.head = back;
        } else {
            self.storage.rotate_left(self.head);
            self.head = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn ring(capacity: usize) -> Ring {
        Ring::new(vec![0xEE; capacity].into_boxed_slice())
    }

    /// A ring of eight whose waiting bytes start at `head`.
    fn ring_at(head: usize, bytes: &[u8]) -> Ring {
        let mut ring = ring(8);
        ring.push(&vec![0; head + 1]);
        ring.consume(head);
        ring.push(&bytes[..bytes.len().min(7 - head)]);
        ring.consume(1);
        ring.push(&bytes[bytes.len().min(7 - head)..]);
        ring
    }

    #[test]
    fn bytes_that_wrap_become_one_slice_from_every_place() {
        for head in 0..7 {
            for count in 0..=8 {
                let bytes: Vec<u8> = (1..=count).collect();
                let mut ring = ring_at(head, &bytes);
                assert_eq!(ring.contiguous(), bytes, "{count} bytes from {head}");
                assert!(!ring.wraps());
                assert_eq!(ring.contiguous(), bytes);
            }
        }
    }

    #[test]
    fn all_free_space_is_one_slice_from_every_place() {
        for head in 0..7 {
            for count in 0..=8 {
                let bytes: Vec<u8> = (1..=count).collect();
                let mut ring = ring_at(head, &bytes);
                let free = 8 - usize::from(count);
                ring.space().copy_from_slice(&[9, 8, 7, 6, 5, 4, 3, 2][..free]);
                ring.commit(free);
                let whole = [&bytes[..], &[9, 8, 7, 6, 5, 4, 3, 2][..free]].concat();
                assert_eq!(ring.contiguous(), whole, "{count} bytes from {head}");
            }
        }
    }

    #[test]
    fn an_emptied_ring_starts_over_at_the_front() {
        let mut ring = ring(8);
        ring.push(b"abcdef");
        ring.consume(6);
        assert_eq!(ring.push(b"12345678"), 8);
        assert_eq!(ring.as_slices(), (&b"12345678"[..], &b""[..]));
    }

    #[test]
    fn what_does_not_fit_is_not_taken() {
        let mut ring = ring(4);
        assert_eq!(ring.push(b"abcdef"), 4);
        assert_eq!(ring.push(b"g"), 0);
        assert!(ring.space().is_empty());
        assert_eq!(ring.contiguous(), b"abcd");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(Vec<u8>),
        Receive(Vec<u8>),
        Consume(usize),
        Contiguous,
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..48);
        let step = prop_oneof![
            4 => bytes().prop_map(Step::Push),
            2 => bytes().prop_map(Step::Receive),
            4 => (0..48_usize).prop_map(Step::Consume),
            2 => Just(Step::Contiguous),
            1 => Just(Step::Clear),
        ];
        proptest::collection::vec(step, 0..64)
    }

    proptest! {
        #![proptest_config(crate::buffer::model_config())]

        #[test]
        fn a_ring_is_a_bounded_queue_of_bytes(capacity in 1..64_usize, steps in steps()) {
            let mut ring = ring(capacity);
            let mut model = VecDeque::new();
            for step in steps {
                match step {
                    Step::Push(bytes) => {
                        let n = ring.push(&bytes);
                        prop_assert_eq!(n, bytes.len().min(capacity - model.len()));
                        model.extend(&bytes[..n]);
                    }
                    Step::Receive(bytes) => {
                        let space = ring.space();
                        prop_assert_eq!(space.len(), capacity - model.len());
                        let n = space.len().min(bytes.len());
                        space[..n].copy_from_slice(&bytes[..n]);
                        ring.commit(n);
                        model.extend(&bytes[..n]);
                    }
                    Step::Consume(n) => {
                        let n = n.min(model.len());
                        ring.consume(n);
                        model.drain(..n);
                    }
                    Step::Contiguous => prop_assert_eq!(ring.contiguous(), model.make_contiguous()),
                    Step::Clear => {
                        ring.clear();
                        model.clear();
                    }
                }
                let (first, second) = ring.as_slices();
                prop_assert!([first, second].concat().iter().eq(&model));
                prop_assert!(second.is_empty() != ring.wraps() && (ring.len > 0 || ring.head == 0));
                prop_assert_eq!((ring.len(), ring.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!((ring.capacity(), ring.free()), (capacity, capacity - model.len()));
            }
        }
    }
}
