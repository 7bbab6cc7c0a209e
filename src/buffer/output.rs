//! What a connection has yet to send.

use std::collections::{TryReserveError, VecDeque};
use std::io::IoSlice;

use bytes::Bytes;

use super::{ChunkStore, Lent, Ring};
use crate::clock::Nanos;

/// What waits to be sent, in the order in which it was queued: copied bytes, all in one ring, and between them shared
/// payloads that are not copied.
///
/// Memory for copied bytes is lent by a store: always the same one, and it goes back by `advance` or `clear`.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// The copied bytes. Invariant: not empty; an empty ring goes back to the store.
    copied: Option<Lent<Ring>>,
    /// The shared payloads. Invariant: none is empty.
    shared: VecDeque<Payload>,
    /// How much of the first payload has left. Invariant: less than its length, 0 without a payload or while copied
    /// bytes stand before it.
    sent: usize,
    /// How many of the copied bytes stand behind the last payload. Invariant: tail + all `before` = bytes copied.
    tail: usize,
    /// How many bytes have yet to leave, copied or shared.
    waiting: usize,
    /// Since when none of it has left. The sender keeps it; here because it means something only while bytes wait.
    pub(crate) stalled_since: Nanos,
}

#[derive(Debug)]
struct Payload {
    /// How many copied bytes stand between this payload and the one before it.
    before: usize,
    bytes: Bytes,
}

impl Output {
    /// An empty output with room for a few shared payloads.
    pub(super) fn new() -> Result<Self, TryReserveError> {
        let mut output = Self::default();
        output.shared.try_reserve_exact(FEW_PAYLOADS)?;
        Ok(output)
    }

    /// Queues a copy of `bytes`. Takes all of them, or none if there is no memory for them; how much may wait is the
    /// caller's business.
    pub(crate) fn push(&mut self, bytes: &[u8], store: &mut ChunkStore) -> Result<(), TryReserveError> {
        if bytes.is_empty() {
            return Ok(());
        }
        match &mut self.copied {
            Some(ring) => store.grow(ring, bytes.len())?,
            none => *none = Some(store.ring(bytes.len())?),
        }
        self.copy(bytes);
        Ok(())
    }

    /// Queues `bytes` without copying them, except small ones for which there is room anyway, or of which there are
    /// more than a few: a copy of those costs less than to keep them apart. Empty ones vanish. As `push`, without
    /// memory it takes none.
    pub(crate) fn push_shared(
        &mut self,
        bytes: Bytes,
        store: &mut ChunkStore,
    ) -> Result<(), TryReserveError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let room = self.copied.as_ref().map_or(0, |ring| ring.free());
        if bytes.len() <= SMALL_PAYLOAD && (bytes.len() <= room || self.shared.len() >= FEW_PAYLOADS) {
            return self.push(&bytes, store);
        }
        self.shared.try_reserve(1)?;
        self.waiting += bytes.len();
        self.shared.push_back(Payload { before: std::mem::take(&mut self.tail), bytes });
        Ok(())
    }

    /// Forgets the first `n` bytes: they have left. Storage goes back as soon as it is empty.
    pub(crate) fn advance(&mut self, n: usize, store: &mut ChunkStore) {
        debug_assert!(n <= self.waiting, "{n} bytes left of {}", self.waiting);
        let mut left = n.min(self.waiting);
        self.waiting -= left;
        let mut copied = 0;
        while left > 0 {
            let Some(payload) = self.shared.front_mut() else {
                self.tail -= left;
                copied += left;
                break;
            };
            let before = left.min(payload.before);
            payload.before -= before;
            copied += before;
            let shared = (left - before).min(payload.bytes.len() - self.sent);
            self.sent += shared;
            left -= before + shared;
            if self.sent == payload.bytes.len() {
                self.shared.pop_front();
                self.sent = 0;
            }
        }
        self.forget_copied(copied, store);
    }

    /// Forgets everything that waits.
    pub(crate) fn clear(&mut self, store: &mut ChunkStore) {
        if let Some(ring) = self.copied.take() {
            store.give_back(ring);
        }
        self.shared.clear();
        self.sent = 0;
        self.tail = 0;
        self.waiting = 0;
    }

    /// How many bytes have yet to leave.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether everything has left.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// The memory to charge to the connection: the whole ring of what was copied, and the shared payloads, the first one
    /// in full because it is held until its last byte has left. A payload shared with others counts for each.
    pub(crate) fn held(&self) -> usize {
        let (capacity, copied) = self.copied.as_ref().map_or((0, 0), |ring| (ring.capacity(), ring.len()));
        capacity + (self.waiting - copied) + self.sent
    }

    /// Fills `slices` with what waits, from the front, and says how many were filled. Those bytes are in order but,
    /// when there are few slices, not all.
    pub(crate) fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut add = |bytes: &'a [u8]| {
            if !bytes.is_empty() && filled < slices.len() {
                slices[filled] = IoSlice::new(bytes);
                filled += 1;
            }
            filled < slices.len()
        };
        let mut start = 0;
        let mut skip = self.sent;
        for payload in &self.shared {
            let (first, second) = self.copied_range(start, payload.before);
            if !(add(first) && add(second) && add(&payload.bytes[skip..])) {
                return filled;
            }
            start += payload.before;
            skip = 0;
        }
        let (first, second) = self.copied_range(start, self.tail);
        let _ = add(first) && add(second);
        filled
    }

    /// The ring in which what waits lies, if no shared payloads are among it.
    #[cfg(feature = "capi")]
    pub(crate) fn ring(&mut self) -> Option<&mut Lent<Ring>> {
        self.copied.as_mut().filter(|_| self.shared.is_empty())
    }

    /// Takes a ring over that somebody has filled. Nothing waits here before.
    #[cfg(feature = "capi")]
    pub(crate) fn take_over(&mut self, ring: Lent<Ring>) {
        debug_assert!(self.is_empty(), "what waits already would be lost");
        self.committed(ring.len());
        self.copied = Some(ring);
    }

    /// Somebody has put `n` more bytes into the ring.
    #[cfg(feature = "capi")]
    pub(crate) fn committed(&mut self, n: usize) {
        self.tail += n;
        self.waiting += n;
    }

    /// Lets go of room for more payloads than are usual, before the output is kept, empty, for another connection.
    pub(super) fn shrink(&mut self) {
        if self.shared.capacity() > MANY_PAYLOADS {
            // To shrink it would be to allocate, and without memory not to return.
            self.shared = VecDeque::new();
        }
    }

    /// How many payloads fit without allocating.
    #[cfg(test)]
    pub(super) fn payload_room(&self) -> usize {
        self.shared.capacity()
    }

    /// Copies `bytes`, for which there is room in the ring.
    fn copy(&mut self, bytes: &[u8]) {
        let n = self.copied.as_mut().map_or(0, |ring| ring.push(bytes));
        debug_assert_eq!(n, bytes.len(), "the ring is smaller than was asked for");
        self.tail += n;
        self.waiting += n;
    }

    fn copied_range(&self, start: usize, count: usize) -> (&[u8], &[u8]) {
        self.copied.as_ref().map_or((&[], &[]), |ring| ring.range(start, count))
    }

    fn forget_copied(&mut self, n: usize, store: &mut ChunkStore) {
        let Some(mut ring) = self.copied.take() else {
            return;
        };
        ring.consume(n);
        if ring.is_empty() {
            store.give_back(ring);
        } else {
            self.copied = Some(ring);
        }
    }
}

/// Up to this many bytes are copied rather than kept as a payload: a place in the queue costs 40 bytes, an entry of
/// `sendmsg`'s list and two atomic counts.
const SMALL_PAYLOAD: usize = 64;
/// Room for payloads that a new output has.
const FEW_PAYLOADS: usize = 4;
/// Room for payloads that is not kept for the next connection when one has made more.
const MANY_PAYLOADS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `gather` finds with room for `count` slices.
    fn gathered(output: &Output, count: usize) -> Vec<u8> {
        let mut slices = vec![IoSlice::new(b"untouched"); count];
        let filled = output.gather(&mut slices);
        assert!(slices[..filled].iter().all(|slice| !slice.is_empty()));
        slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    fn long(text: &'static str) -> Bytes {
        Bytes::from(text.repeat(SMALL_PAYLOAD))
    }

    #[test]
    fn copies_and_payloads_leave_in_the_order_in_which_they_came() {
        let mut store = ChunkStore::new(0);
        let mut output = store.output().unwrap();
        output.push(b"head", &mut store).unwrap();
        output.push_shared(long("ab"), &mut store).unwrap();
        output.push(b"tail", &mut store).unwrap();
        let whole = [b"head", &long("ab")[..], b"tail"].concat();
        assert_eq!(gathered(&output, 8), whole);
        output.advance(6, &mut store);
        assert_eq!(gathered(&output, 8), &whole[6..]);
        assert_eq!(gathered(&output, 1), &long("ab")[2..]);
    }

    #[test]
    fn a_payload_is_sent_from_where_it_lies() {
        let payload = long("x");
        let mut store = ChunkStore::new(0);
        let mut output = store.output().unwrap();
        output.push_shared(payload.clone(), &mut store).unwrap();
        let mut slices = [IoSlice::new(&[])];
        assert_eq!(output.gather(&mut slices), 1);
        assert_eq!(slices[0].as_ptr(), payload.as_ptr());
    }

    #[test]
    fn a_small_payload_joins_the_copied_bytes_when_there_is_room() {
        let mut store = ChunkStore::new(0);
        let mut output = store.output().unwrap();
        output.push(b"a", &mut store).unwrap();
        output.push_shared(Bytes::from_static(b"b"), &mut store).unwrap();
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(output.gather(&mut slices), 1);
        assert_eq!(&*slices[0], b"ab");
    }

    #[test]
    fn many_small_payloads_take_hardly_more_memory_than_they_are_charged() {
        let mut store = ChunkStore::new(0);
        let mut output = store.output().unwrap();
        for _ in 0..10_000 {
            output.push_shared(Bytes::from_static(b"x"), &mut store).unwrap();
        }
        assert_eq!((output.waiting(), output.shared.len()), (10_000, FEW_PAYLOADS));
        assert_eq!(output.held(), store.lent_bytes() + FEW_PAYLOADS);
    }

    #[test]
    fn an_empty_payload_vanishes() {
        let mut store = ChunkStore::new(0);
        let mut output = store.output().unwrap();
        output.push_shared(Bytes::new(), &mut store).unwrap();
        assert!(output.is_empty() && output.shared.is_empty());
    }

    #[test]
    fn the_ring_goes_back_while_payloads_still_wait() {
        let mut store = ChunkStore::new(1 << 20);
        let mut output = store.output().unwrap();
        output.push(b"head", &mut store).unwrap();
        output.push_shared(long("xy"), &mut store).unwrap();
        output.advance(4, &mut store);
        assert_eq!((store.lent_bytes(), output.waiting()), (0, 2 * SMALL_PAYLOAD));
    }

    #[test]
    fn a_payload_is_charged_in_full_until_its_last_byte_has_left() {
        let mut store = ChunkStore::new(0);
        let mut output = store.output().unwrap();
        output.push_shared(long("xy"), &mut store).unwrap();
        let held = output.held();
        output.advance(held - 1, &mut store);
        assert_eq!((output.waiting(), output.held()), (1, held));
        output.advance(1, &mut store);
        assert_eq!(output.held(), 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(Vec<u8>),
        Share(Vec<u8>),
        Send(usize, usize),
        Clear,
        Replace,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let bytes = || {
            prop_oneof![
                3 => proptest::collection::vec(any::<u8>(), 0..80),
                1 => proptest::collection::vec(any::<u8>(), 200..1200),
            ]
        };
        let step = prop_oneof![
            8 => bytes().prop_map(Step::Push),
            8 => bytes().prop_map(Step::Share),
            8 => (0..5_usize, 0..600_usize).prop_map(|(slices, n)| Step::Send(slices, n)),
            1 => Just(Step::Clear),
            1 => Just(Step::Replace),
        ];
        proptest::collection::vec(step, 0..48)
    }

    fn assert_matches(output: &Output, model: &[u8], store: &ChunkStore) {
        assert_eq!((output.waiting(), output.is_empty()), (model.len(), model.is_empty()));
        assert_eq!(gathered(output, 256), model);
        let copied = output.copied.as_ref().map_or(0, |ring| ring.len());
        assert_eq!(output.tail + output.shared.iter().map(|payload| payload.before).sum::<usize>(), copied);
        let payloads = output.shared.iter().map(|payload| payload.bytes.len()).sum::<usize>();
        assert_eq!(output.held(), store.lent_bytes() + payloads);
        assert_eq!(store.lent_bytes(), output.copied.as_ref().map_or(0, |ring| ring.capacity()));
        assert_eq!(copied == 0, output.copied.is_none());
    }

    proptest! {
        #![proptest_config(crate::buffer::model_config())]

        #[test]
        fn an_output_is_a_queue_of_bytes(steps in steps()) {
            let mut store = ChunkStore::new(4096);
            let mut output = store.output().unwrap();
            let mut model = Vec::new();
            for step in steps {
                match step {
                    Step::Push(bytes) => {
                        output.push(&bytes, &mut store).unwrap();
                        model.extend(bytes);
                    }
                    Step::Share(bytes) => {
                        output.push_shared(Bytes::from(bytes.clone()), &mut store).unwrap();
                        model.extend(bytes);
                    }
                    Step::Send(slices, n) => {
                        let ready = gathered(&output, slices);
                        prop_assert!(model.starts_with(&ready));
                        prop_assert!(slices == 0 || model.is_empty() || !ready.is_empty());
                        let n = n.min(ready.len());
                        output.advance(n, &mut store);
                        model.drain(..n);
                    }
                    Step::Clear => {
                        output.clear(&mut store);
                        model.clear();
                    }
                    Step::Replace => {
                        store.give_back_output(output);
                        output = store.output().unwrap();
                        model.clear();
                    }
                }
                assert_matches(&output, &model, &store);
            }
        }
    }
}
