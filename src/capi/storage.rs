//! The bytes of a buffer that belongs to no connection: always in one piece, and so is the room behind them.

use super::buffer::Bytes;
use super::status::Failure;
use crate::net::sys::zeroed;

/// Bytes that wait, in an area of twice the size that may wait: they are moved to its front only after as many have been
/// consumed as fit, so that looking costs nothing and writing is paid for by what was consumed.
#[derive(Debug)]
pub(super) struct Storage {
    area: Box<[u8]>,
    /// Where the first byte is that waits. Invariant: start <= end, and both are 0 when nothing waits.
    start: usize,
    /// Invariant: end - start <= capacity, which is half of the area.
    end: usize,
    /// Behind this nothing has ever been written.
    used: usize,
}

impl Storage {
    /// Room for `capacity` bytes, which must not be 0; `None` if there is no memory for it. The system gives the memory when
    /// something is written there.
    pub(super) fn new(capacity: usize) -> Option<Self> {
        let area = capacity.checked_mul(2).and_then(zeroed)?;
        Some(Self { area, start: 0, end: 0, used: 0 })
    }

    /// Moves what waits to the front if otherwise the free space would not be in one piece behind it.
    fn make_room(&mut self) {
        if self.start > self.capacity() {
            self.area.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    fn free(&self) -> usize {
        self.capacity() - self.len()
    }

    fn wipe_used(&mut self) {
        let used = &mut self.area[..self.used];
        used.fill(0);
        // Nobody may conclude that it is not needed because the memory is given back.
        std::hint::black_box(used);
        self.used = 0;
    }
}

impl Bytes for Storage {
    fn capacity(&self) -> usize {
        self.area.len() / 2
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    fn waiting(&mut self) -> &[u8] {
        &self.area[self.start..self.end]
    }

    fn space(&mut self) -> Result<&mut [u8], Failure> {
        self.make_room();
        let until = self.end + self.free();
        // Whoever is shown it may write to all of it.
        self.used = self.used.max(until);
        Ok(&mut self.area[self.end..until])
    }

    fn commit(&mut self, count: usize) -> Result<(), Failure> {
        // A program that has filled space was shown it; one that has not, gets what lies there.
        self.make_room();
        self.end += count.min(self.free());
        self.used = self.used.max(self.end);
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        self.make_room();
        let count = bytes.len().min(self.free());
        self.area[self.end..self.end + count].copy_from_slice(&bytes[..count]);
        self.commit(count)?;
        Ok(count)
    }

    fn consume(&mut self, count: usize) {
        self.start += count.min(self.len());
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    fn wipe(&mut self) {
        (self.start, self.end) = (0, 0);
        self.wipe_used();
    }

    fn grow(&mut self, capacity: usize) -> Result<(), Failure> {
        let mut larger = Self::new(capacity).ok_or_else(|| Failure::memory("a larger buffer"))?;
        larger.push(self.waiting())?;
        self.wipe();
        *self = larger;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_used_is_zero_after_a_wipe() {
        let mut storage = Storage::new(64).unwrap();
        for _ in 0..5 {
            storage.push(b"a secret of some length").unwrap();
            storage.consume(20);
        }
        storage.space().unwrap()[0] = 7;
        storage.wipe();
        assert!(storage.area.iter().all(|byte| *byte == 0) && storage.len() == 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Fill(usize),
        Consume(usize),
        Grow(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..100_usize).prop_map(Step::Push),
            4 => (0..100_usize).prop_map(Step::Fill),
            8 => (0..100_usize).prop_map(Step::Consume),
            1 => (0..40_usize).prop_map(Step::Grow),
        ];
        proptest::collection::vec(step, 0..64)
    }

    proptest! {
        #![proptest_config(crate::model_cases())]

        #[test]
        fn bytes_come_out_as_they_went_in(steps in steps()) {
            let (mut storage, mut model) = (Storage::new(64).unwrap(), VecDeque::new());
            let mut next = 0_u8;
            let mut make = |count: usize| -> Vec<u8> {
                (0..count).map(|_| { next = next.wrapping_add(1); next }).collect()
            };
            for step in steps {
                match step {
                    Step::Push(count) => {
                        let bytes = make(count);
                        let taken = storage.push(&bytes).unwrap();
                        model.extend(&bytes[..taken]);
                    }
                    Step::Fill(count) => {
                        let space = storage.space().unwrap();
                        let bytes = make(count.min(space.len()));
                        space[..bytes.len()].copy_from_slice(&bytes);
                        storage.commit(bytes.len()).unwrap();
                        model.extend(&bytes);
                    }
                    Step::Consume(count) => {
                        storage.consume(count);
                        model.drain(..count.min(model.len()));
                    }
                    Step::Grow(more) => storage.grow(storage.capacity() + more).unwrap(),
                }
                prop_assert_eq!(storage.waiting(), model.make_contiguous());
                let free = storage.capacity() - model.len();
                prop_assert_eq!(storage.space().unwrap().len(), free);
            }
        }
    }
}
