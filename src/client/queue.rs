//! What a pool wants done by others, in the order in which it came up. Closes stand in a line of their own and take up
//! only some of the hands: nobody waits for a close, and one that hangs must not keep a connect from its thread.

use std::collections::VecDeque;

use crate::lease::{CloseReason, SlotId, WaiterId};

/// What is to be done and how much of it is being done.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: VecDeque<Numbered>,
    closes: VecDeque<Numbered>,
    /// How many have come so far.
    numbers: u64,
    /// Connector threads that are at work for this pool, those that are stuck not counted.
    at_work: u32,
    /// Of them, those that close something.
    closing: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    Connect(SlotId),
    Validate(SlotId),
    Close(SlotId, CloseReason),
    /// Call back for a waiter.
    Call(WaiterId),
    /// Log that a lease lasts too long.
    Tell(SlotId),
}

#[derive(Debug)]
struct Numbered {
    number: u64,
    job: Job,
}

impl Queue {
    /// A queue in which so many of each kind find room without allocating.
    pub(super) fn new(room: usize) -> Self {
        Self {
            jobs: VecDeque::with_capacity(room),
            closes: VecDeque::with_capacity(room),
            numbers: 0,
            at_work: 0,
            closing: 0,
        }
    }

    pub(super) fn push(&mut self, job: Job) {
        self.numbers += 1;
        let line = if job.is_close() { &mut self.closes } else { &mut self.jobs };
        line.push_back(Numbered { number: self.numbers, job });
    }

    /// The one that came first of those that may be done now.
    pub(super) fn pop(&mut self) -> Option<Job> {
        let job = self.jobs.front().map(|first| first.number);
        let close = self.closes.front().filter(|_| self.may_close()).map(|first| first.number);
        let line = match (job, close) {
            (Some(job), Some(close)) if close < job => &mut self.closes,
            (None, Some(_)) => &mut self.closes,
            _ => &mut self.jobs,
        };
        line.pop_front().map(|first| first.job)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.closes.is_empty()
    }

    /// Whether there is something for another thread, and it may work for this pool.
    pub(super) fn wants_hands(&self) -> bool {
        let may_be_done = !self.jobs.is_empty() || (!self.closes.is_empty() && self.may_close());
        self.at_work < MOST_AT_WORK && may_be_done
    }

    /// A connector thread is at work on this.
    pub(super) fn begin(&mut self, job: Job) {
        self.at_work += 1;
        self.closing += u32::from(job.is_close());
    }

    /// It is no more: because it is done, or because it is stuck and counts no longer.
    pub(super) fn end(&mut self, job: Job) {
        self.at_work -= 1;
        self.closing -= u32::from(job.is_close());
    }

    fn may_close(&self) -> bool {
        self.closing < MOST_CLOSING
    }
}

impl Job {
    const fn is_close(self) -> bool {
        matches!(self, Self::Close(..))
    }
}

/// Connector threads that one pool keeps busy, so that two whose servers hang do not keep all.
const MOST_AT_WORK: u32 = 4;
/// Those of them that close, so that there is always one for whoever waits.
const MOST_CLOSING: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn close(index: u32) -> Job {
        Job::Close(SlotId::of(index, 1), CloseReason::Discarded)
    }

    fn connect(index: u32) -> Job {
        Job::Connect(SlotId::of(index, 1))
    }

    #[test]
    fn jobs_are_done_in_the_order_in_which_they_came() {
        let mut queue = Queue::new(4);
        let jobs = [close(1), connect(2), connect(3), close(4), connect(5)];
        jobs.into_iter().for_each(|job| queue.push(job));
        assert_eq!(std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), jobs);
        assert!(queue.is_empty());
    }

    #[test]
    fn closes_leave_hands_for_connects() {
        let mut queue = Queue::new(4);
        (0..5).for_each(|index| queue.push(close(index)));
        while queue.wants_hands() {
            let job = queue.pop().expect("there is one");
            queue.begin(job);
        }
        assert_eq!((queue.at_work, queue.closes.len()), (2, 3));
        queue.push(connect(9));
        assert!(queue.wants_hands());
        assert_eq!(queue.pop(), Some(connect(9)), "it passes the closes that may not be done yet");
        assert!(!queue.wants_hands() && queue.pop().is_none() && !queue.is_empty());
        queue.end(close(0));
        assert!(queue.wants_hands());
        assert_eq!(queue.pop(), Some(close(2)));
    }
}
