//! Where buffers get their memory from and bring it back to.

use std::collections::TryReserveError;

use super::{Lent, Output, Ring};

/// Lends storage to buffers while bytes wait in them; keeps what comes back for the next one, up to a bound.
///
/// Whatever was lent must be given back, to the same store: the sums only know what they are told.
#[derive(Debug)]
pub(crate) struct ChunkStore {
    /// Free rings by class.
    rings: [Vec<Lent<Ring>>; CLASSES],
    outputs: Vec<Lent<Output>>,
    /// Where addresses of waiting bytes are given out: rings that came back since the turn began, and are lent to nobody
    /// before the next.
    resting: Option<Vec<Lent<Ring>>>,
    /// Invariant: free_bytes <= retain_bytes.
    retain_bytes: usize,
    /// Invariant: the capacity of all rings in `rings`.
    free_bytes: usize,
    /// Invariant: the capacity of all rings that were lent and are not back.
    lent_bytes: usize,
    allocate: Allocate,
}

/// Gives so many bytes that are zero, of which none was touched yet if that can be had; `None` without memory.
pub(crate) type Allocate = fn(usize) -> Option<Box<[u8]>>;

impl ChunkStore {
    /// A store that keeps at most `retain_bytes` of free rings; with 0 everything goes straight back to the allocator.
    pub(crate) fn new(retain_bytes: usize) -> Self {
        Self {
            rings: [const { Vec::new() }; CLASSES],
            outputs: Vec::new(),
            resting: None,
            retain_bytes,
            free_bytes: 0,
            lent_bytes: 0,
            allocate: |capacity| touched(capacity).ok(),
        }
    }

    /// Has what is lent allocated like this: a large ring in which little ever waits then takes little memory.
    pub(crate) fn allocate_by(&mut self, allocate: Allocate) {
        self.allocate = allocate;
    }

    /// Allocates rings of the smallest class and outputs until `count` of each are free, and one ring of each larger class
    /// up to what is received at a time, or as many as the store may keep. Lending up to that many of them, moving what
    /// waits in one to a larger one, and taking them back then does not allocate.
    pub(crate) fn prepare(&mut self, count: usize) -> Result<(), TryReserveError> {
        for (class, capacity) in
            (0..CLASSES).zip(capacities()).take_while(|(_, capacity)| *capacity <= COARSE)
        {
            let wanted = if class == 0 { count } else { count.min(1) };
            let room = (self.retain_bytes - self.free_bytes) / capacity;
            self.prepare_rings(class, capacity, wanted.saturating_sub(self.rings[class].len()).min(room))?;
        }
        let outputs = count.min(self.most_outputs()).saturating_sub(self.outputs.len());
        self.outputs.try_reserve(outputs)?;
        for _ in 0..outputs {
            self.outputs.push(Lent::try_new(Output::new()?)?);
        }
        Ok(())
    }

    fn prepare_rings(&mut self, class: usize, capacity: usize, count: usize) -> Result<(), TryReserveError> {
        self.rings[class].try_reserve(count)?;
        for _ in 0..count {
            let ring = self.allocate(capacity)?;
            self.rings[class].push(ring);
            self.free_bytes += capacity;
        }
        Ok(())
    }

    /// Lends an empty ring of the smallest class in which `room` bytes fit.
    #[inline]
    pub(crate) fn ring(&mut self, room: usize) -> Result<Lent<Ring>, TryReserveError> {
        let capacity = fitting(room);
        let ring = match self.rings.get_mut(class(capacity)).and_then(Vec::pop) {
            Some(ring) => {
                self.free_bytes -= capacity;
                ring
            }
            None => self.allocate(capacity)?,
        };
        self.lent_bytes += capacity;
        Ok(ring)
    }

    /// Makes sure that `room` more bytes fit into `ring`: if they do not, what waits in it moves to a larger one and
    /// the old one comes back. If there is no memory for a larger one, nothing has changed.
    pub(crate) fn grow(&mut self, ring: &mut Lent<Ring>, room: usize) -> Result<(), TryReserveError> {
        if ring.free() >= room {
            return Ok(());
        }
        let mut larger = self.ring(ring.len().saturating_add(room))?;
        let (first, second) = ring.as_slices();
        larger.push(first);
        larger.push(second);
        self.give_back(std::mem::replace(ring, larger));
        Ok(())
    }

    /// From now on nothing of a ring that came back is touched before `begin_turn`.
    #[cfg(feature = "capi")]
    pub(crate) fn let_rest(&mut self) {
        self.resting.get_or_insert_default();
    }

    /// A turn begins: what came back in the one before may be lent again.
    pub(crate) fn begin_turn(&mut self) {
        if let Some(rested) = self.resting.as_mut().filter(|resting| !resting.is_empty()).map(std::mem::take)
        {
            rested.into_iter().for_each(|ring| self.keep(ring));
        }
    }

    /// Takes a ring back. What waited in it is forgotten.
    pub(crate) fn give_back(&mut self, ring: Lent<Ring>) {
        debug_assert!(ring.capacity() <= self.lent_bytes, "a ring came back that was not lent here");
        self.lent_bytes = self.lent_bytes.saturating_sub(ring.capacity());
        if let Some(resting) = &mut self.resting
            && resting.try_reserve(1).is_ok()
        {
            return resting.push(ring);
        }
        self.keep(ring);
    }

    /// Keeps a ring for whoever needs one next, if there is room.
    fn keep(&mut self, mut ring: Lent<Ring>) {
        let capacity = ring.capacity();
        // Without memory to remember it by, it goes to the allocator.
        if self.make_room(capacity) && self.rings[class(capacity)].try_reserve(1).is_ok() {
            ring.clear();
            self.free_bytes += capacity;
            self.rings[class(capacity)].push(ring);
        }
    }

    /// Lends an output in which nothing waits.
    pub(crate) fn output(&mut self) -> Result<Lent<Output>, TryReserveError> {
        self.outputs.pop().map_or_else(|| Lent::try_new(Output::default()), Ok)
    }

    /// Takes an output back. Whatever still waits in it is dropped.
    pub(crate) fn give_back_output(&mut self, mut output: Lent<Output>) {
        output.clear(self);
        if self.outputs.len() < self.most_outputs() && self.outputs.try_reserve(1).is_ok() {
            output.shrink();
            self.outputs.push(output);
        }
    }

    /// The capacity of the rings that are out.
    pub(crate) fn lent_bytes(&self) -> usize {
        self.lent_bytes
    }

    /// The capacity of the rings kept for the next buffers.
    pub(crate) fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    /// A ring that nobody has had before.
    fn allocate(&self, capacity: usize) -> Result<Lent<Ring>, TryReserveError> {
        // Where there is no memory, asking for it once more is what says so.
        let storage = (self.allocate)(capacity).map_or_else(|| touched(capacity), Ok)?;
        Lent::try_new(Ring::new(storage))
    }

    /// Whether a free ring of `capacity` may be kept. At the bound larger free rings make room for smaller ones:
    /// most buffers are small, and a burst of large ones must not fill the store for ever.
    fn make_room(&mut self, capacity: usize) -> bool {
        let own = class(capacity);
        if capacity > self.retain_bytes || own >= CLASSES {
            return false;
        }
        let mut larger = CLASSES;
        while self.free_bytes + capacity > self.retain_bytes {
            if larger == own + 1 {
                return false;
            }
            match self.rings[larger - 1].pop() {
                Some(ring) => self.free_bytes -= ring.capacity(),
                None => larger -= 1,
            }
        }
        true
    }

    /// As many outputs are kept as smallest rings could be: one has no use without the other.
    fn most_outputs(&self) -> usize {
        self.retain_bytes / SMALLEST
    }
}

/// Capacity of the smallest class: an ordinary request that arrived in two parts.
const SMALLEST: usize = 256;
/// Up to here a class is four times the one below, from here on twice.
const COARSE: usize = 64 * 1024;
/// Classes of which free rings are kept; the last is 2 GiB.
const CLASSES: usize = 5 + 15;

/// Bytes that are zero because each was written. What the standard library leaves untouched, `vec![0; n]`, aborts without
/// memory.
fn touched(capacity: usize) -> Result<Box<[u8]>, TryReserveError> {
    let mut storage = Vec::new();
    storage.try_reserve_exact(capacity)?;
    storage.resize(capacity, 0);
    Ok(storage.into_boxed_slice())
}

/// The capacity of the smallest class that holds `room` bytes.
fn fitting(room: usize) -> usize {
    let power = room.max(SMALLEST).checked_next_power_of_two().unwrap_or(room);
    // 256 is 2^8: the coarse classes are the even powers of two.
    if power < COARSE && power.trailing_zeros() % 2 == 1 { power * 2 } else { power }
}

/// The capacity of each class, the smallest first.
fn capacities() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(SMALLEST), |capacity| Some(fitting(capacity + 1)))
}

/// The place of the class with this `capacity`, which may lie beyond the classes that are kept.
fn class(capacity: usize) -> usize {
    let power = capacity.trailing_zeros() as usize;
    if capacity <= COARSE { (power - 8) / 2 } else { power - 12 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_smallest_class_that_fits_is_lent() {
        let mut store = ChunkStore::new(0);
        let table = [
            (0, 256),
            (256, 256),
            (257, 1024),
            (1025, 4096),
            (4097, 16_384),
            (16_385, 65_536),
            (65_537, 131_072),
            (131_073, 262_144),
            (1_000_000, 1_048_576),
        ];
        for (room, capacity) in table {
            assert_eq!(store.ring(room).unwrap().capacity(), capacity, "for {room}");
        }
    }

    #[test]
    fn classes_are_numbered_without_gaps() {
        let mut capacity = SMALLEST;
        for number in 0..CLASSES {
            assert_eq!(class(capacity), number);
            capacity = fitting(capacity + 1);
        }
        assert_eq!(class(capacity), CLASSES);
    }

    #[test]
    fn what_comes_back_is_lent_again() {
        let mut store = ChunkStore::new(1 << 20);
        let mut ring = store.ring(5000).unwrap();
        ring.push(b"secret");
        let storage = ring.as_slices().0.as_ptr();
        store.give_back(ring);
        let mut ring = store.ring(4097).unwrap();
        assert!(ring.is_empty());
        ring.push(b"x");
        assert_eq!(ring.as_slices().0.as_ptr(), storage);
    }

    #[test]
    fn a_ring_that_grows_keeps_its_bytes_and_gives_its_storage_back() {
        let mut store = ChunkStore::new(1 << 20);
        let mut ring = store.ring(0).unwrap();
        ring.push(&[1; 250]);
        ring.consume(100);
        ring.push(&[2; 100]);
        store.grow(&mut ring, 6).unwrap();
        assert_eq!(ring.capacity(), 256, "there was room");
        store.grow(&mut ring, 7).unwrap();
        assert_eq!(ring.contiguous(), [[1; 150].as_slice(), &[2; 100]].concat());
        assert_eq!((store.lent_bytes(), store.free_bytes()), (1024, 256));
    }

    #[test]
    fn a_ring_that_cannot_be_had_changes_nothing() {
        let mut store = ChunkStore::new(1 << 20);
        let mut ring = store.ring(0).unwrap();
        ring.push(b"kept");
        assert!(store.grow(&mut ring, 1 << 62).is_err());
        assert!(store.ring(1 << 62).is_err());
        assert_eq!((ring.contiguous(), store.lent_bytes(), store.free_bytes()), (&b"kept"[..], 256, 0));
    }

    #[test]
    fn prepared_memory_is_bounded_by_what_the_store_may_keep() {
        let mut store = ChunkStore::new(1000);
        store.prepare(2).unwrap();
        store.prepare(2).unwrap();
        assert_eq!((store.free_bytes(), store.outputs.len()), (512, 2));
        store.prepare(1_000_000).unwrap();
        assert_eq!((store.free_bytes(), store.outputs.len()), (768, 3));
    }

    #[test]
    fn large_free_rings_make_room_for_small_ones_and_not_the_other_way_round() {
        let mut store = ChunkStore::new(20_000);
        let [small, medium, large] = [256, 4096, 16_384].map(|room| store.ring(room).unwrap());
        store.give_back(large);
        store.give_back(medium);
        assert_eq!(store.free_bytes(), 4096, "the large one went to the allocator");
        store.give_back(small);
        let large = store.ring(16_384).unwrap();
        store.give_back(large);
        assert_eq!(store.free_bytes(), 256 + 4096, "the large one did not displace anything");
    }

    #[test]
    fn an_output_that_held_many_payloads_is_trimmed() {
        let mut store = ChunkStore::new(1 << 20);
        let mut output = store.output().unwrap();
        for _ in 0..10_000 {
            output.push_shared(bytes::Bytes::from_static(&[b'x'; 100]), &mut store).unwrap();
        }
        store.give_back_output(output);
        assert!(store.output().unwrap().payload_room() < 100);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Lend(usize),
        Grow(usize, usize),
        Return(usize),
        Prepare(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let room = || prop_oneof![4 => 0..300_usize, 4 => 0..20_000_usize, 1 => 0..300_000_usize];
        let step = prop_oneof![
            4 => room().prop_map(Step::Lend),
            4 => (any::<usize>(), room()).prop_map(|(which, room)| Step::Grow(which, room)),
            4 => any::<usize>().prop_map(Step::Return),
            1 => (0..100_usize).prop_map(Step::Prepare),
        ];
        proptest::collection::vec(step, 0..64)
    }

    fn assert_sums(store: &ChunkStore, lent: &[Lent<Ring>]) {
        assert_eq!(store.lent_bytes(), lent.iter().map(|ring| ring.capacity()).sum::<usize>());
        assert_eq!(
            store.free_bytes(),
            store.rings.iter().flatten().map(|ring| ring.capacity()).sum::<usize>()
        );
        assert!(store.free_bytes() <= store.retain_bytes);
        for (number, rings) in store.rings.iter().enumerate() {
            assert!(rings.iter().all(|ring| ring.is_empty() && class(ring.capacity()) == number));
        }
    }

    proptest! {
        #![proptest_config(crate::buffer::model_config())]

        #[test]
        fn the_sums_tell_what_exists(retain in 0..100_000_usize, steps in steps()) {
            let mut store = ChunkStore::new(retain);
            let mut lent: Vec<Lent<Ring>> = Vec::new();
            for step in steps {
                match step {
                    Step::Lend(room) => {
                        let mut ring = store.ring(room).unwrap();
                        prop_assert!(ring.is_empty() && ring.free() >= room);
                        prop_assert!(ring.capacity() <= SMALLEST.max(room * 4));
                        ring.push(&vec![7; room / 2]);
                        lent.push(ring);
                    }
                    Step::Grow(which, room) if !lent.is_empty() => {
                        let place = which % lent.len();
                        let before = lent[place].contiguous().to_vec();
                        store.grow(&mut lent[place], room).unwrap();
                        prop_assert!(lent[place].free() >= room);
                        prop_assert_eq!(lent[place].contiguous(), before);
                    }
                    Step::Return(which) if !lent.is_empty() => {
                        store.give_back(lent.swap_remove(which % lent.len()));
                    }
                    Step::Prepare(count) => store.prepare(count).unwrap(),
                    _ => {}
                }
                assert_sums(&store, &lent);
            }
            lent.drain(..).for_each(|ring| store.give_back(ring));
            assert_sums(&store, &lent);
            prop_assert_eq!(store.lent_bytes(), 0);
        }
    }
}
