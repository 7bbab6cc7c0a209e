//! Connections with something to tell, in fair order. A turn serves those that were there when it began; whoever is put
//! in meanwhile waits for the next.

use std::collections::TryReserveError;

use crate::id::ConnId;

/// A queue in one vector: taking moves a mark, and what was taken is cleared away when a turn begins.
///
/// Invariant: `head <= turn_end <= ids.len()`.
#[derive(Debug, Default)]
pub(super) struct RunQueue {
    ids: Vec<ConnId>,
    /// The next to be served.
    head: usize,
    /// Behind the last that this turn serves.
    turn_end: usize,
}

impl RunQueue {
    /// Makes sure that so many can wait without an allocation.
    pub(super) fn try_reserve(&mut self, count: usize) -> Result<(), TryReserveError> {
        self.ids.try_reserve_exact(count.saturating_sub(self.ids.len()))
    }

    /// Puts `id` last.
    #[inline]
    pub(super) fn push(&mut self, id: ConnId) {
        if self.ids.len() == self.ids.capacity() {
            self.clear_away();
        }
        self.ids.push(id);
    }

    /// Takes the next one that this turn serves.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<ConnId> {
        if self.head == self.turn_end {
            return None;
        }
        let id = *self.ids.get(self.head)?;
        self.head += 1;
        Some(id)
    }

    /// A turn begins: it serves all that wait now.
    pub(super) fn begin_turn(&mut self) {
        self.clear_away();
        self.turn_end = self.ids.len();
    }

    /// How many wait, for this turn or a later one.
    pub(super) fn len(&self) -> usize {
        self.ids.len() - self.head
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.ids.capacity() * size_of::<ConnId>()
    }

    fn clear_away(&mut self) {
        self.ids.drain(..self.head);
        self.turn_end -= self.head;
        self.head = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::model_cases())]

        #[test]
        fn a_turn_serves_those_who_were_there_when_it_began(steps in prop::collection::vec(0u8..8, 0..200)) {
            let (mut queue, mut model, mut left) = (RunQueue::default(), VecDeque::new(), 0);
            queue.try_reserve(16).unwrap();
            for (n, step) in (0..).zip(steps) {
                let id = ConnId::new(n, 1).unwrap();
                match step {
                    0..4 => {
                        queue.push(id);
                        model.push_back(id);
                    }
                    4..7 => {
                        let expected = if left > 0 { model.pop_front() } else { None };
                        left -= usize::from(expected.is_some());
                        prop_assert_eq!(queue.pop(), expected);
                    }
                    _ => {
                        queue.begin_turn();
                        left = model.len();
                    }
                }
                prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }
}
