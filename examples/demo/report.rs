//! All that is known at the end, and whether every promise was kept. Judges by what both processes have counted; counts
//! nothing itself.

use std::fmt::Write;
use std::time::Duration;

use socketpool::{Reason, Refusal};

use crate::crowd::Crowd;
use crate::memory::Idle;
use crate::numbers::grouped;
use crate::plan::{DRAIN_DEADLINE, Plan};
use crate::server::Books;
use crate::tally::{Failure, Outcome};

/// All that is known when it is over.
pub(crate) struct Report<'a> {
    pub(crate) plan: &'a Plan,
    /// The clients' view.
    pub(crate) told: Told,
    /// The server's view.
    pub(crate) books: Books,
    pub(crate) drain: Drain,
    /// How long the server had to wait for a processor.
    pub(crate) waited: Duration,
    pub(crate) descriptors: Descriptors,
    /// `None` if it could not be measured.
    pub(crate) idle: Option<Idle>,
}

/// What the driver has told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) outcomes: [Outcome; Crowd::COUNT],
    /// How long it had to wait for a processor.
    pub(crate) waited: Duration,
    /// By how much it came too late at most to something that was due.
    pub(crate) late: Duration,
}

/// How the drain went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drain {
    /// Replies that were due when it began.
    pub(crate) owed: u64,
    /// From the order to the end; `None` if there was no end.
    pub(crate) took: Option<Duration>,
    /// How often its end was reported.
    pub(crate) times: u32,
}

/// Open descriptors before the server stood and after it was gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// One promise, with the figures that show whether it was kept.
pub(crate) struct Promise {
    pub(crate) text: String,
    pub(crate) kept: bool,
}

impl Report<'_> {
    pub(crate) fn holds(&self) -> bool {
        self.promises().iter().all(|promise| promise.kept)
    }

    /// Everything that has to hold, in the order in which it is worth reading.
    pub(crate) fn promises(&self) -> Vec<Promise> {
        let mut all = vec![self.all_answered()];
        all.extend(Crowd::ALL.into_iter().filter_map(|crowd| self.stopped(crowd)));
        all.extend([
            self.balanced(),
            self.told_once(),
            self.drained_once(),
            self.nobody_left(),
            self.descriptors_back(),
        ]);
        if self.idle.is_none() {
            all.push(Promise { text: "the memory of an idle connection was measured".into(), kept: false });
        }
        all
    }

    fn all_answered(&self) -> Promise {
        let honest = &self.honest().counts;
        let mut text = format!(
            "every honest request was answered: {} of {}",
            grouped(honest.answered),
            grouped(honest.asked)
        );
        for failure in Failure::ALL {
            let count = honest.failed[failure as usize];
            if count > 0 {
                let _ = write!(text, ", {failure} {}", grouped(count));
            }
        }
        Promise { text, kept: honest.failures() == 0 && honest.asked > 0 && honest.answered == honest.asked }
    }

    /// A hostile crowd met the protection that is there for it, and nothing that is not.
    fn stopped(&self, crowd: Crowd) -> Option<Promise> {
        let ended = &self.books.ended[crowd as usize];
        let at = |reason: Reason| ended[reason as usize];
        let (stopped, how) = match crowd {
            Crowd::Honest => return None,
            Crowd::Dribbler => (at(Reason::Evicted), "evicted"),
            Crowd::Silent => (at(Reason::FirstMessage), "first_message"),
            Crowd::Deaf => (at(Reason::WriteStall), "write_stall"),
            Crowd::Flood => (self.books.refused[Refusal::Flood as usize], "refused"),
        };
        let met = self.told.outcomes[crowd as usize].counts.connected;
        if self.plan.clients(crowd) == 0 || crowd == Crowd::Flood && met < LEAST_FLOOD {
            return None;
        }
        let expected = |reason: Reason| match reason {
            Reason::Evicted | Reason::Drained | Reason::Forced => true,
            Reason::FirstMessage => crowd != Crowd::Deaf,
            Reason::WriteStall => crowd == Crowd::Deaf,
            Reason::Peer | Reason::Error => crowd == Crowd::Flood,
            _ => false,
        };
        let mut text = format!("{crowd} was stopped: {how} {}", grouped(stopped));
        let mut kept = stopped > 0;
        for reason in Reason::ALL.iter().copied().filter(|&reason| !expected(reason) && at(reason) > 0) {
            kept = false;
            let _ = write!(text, ", but {reason} {}", grouped(at(reason)));
        }
        Some(Promise { text, kept })
    }

    fn balanced(&self) -> Promise {
        let Books { opened, closed, live, .. } = &self.books;
        let closed: u64 = closed.iter().sum();
        let text = format!(
            "opened - closed = live after the drain: {} - {} = {}",
            grouped(*opened),
            grouped(closed),
            grouped(*live)
        );
        Promise { text, kept: *live == 0 && *opened == closed }
    }

    fn told_once(&self) -> Promise {
        let Books { told, ended, .. } = &self.books;
        let ends = ended.iter().flatten().sum();
        let text = format!(
            "the server was told of every end of those it knew: {} of {}",
            grouped(ends),
            grouped(*told)
        );
        Promise { text, kept: *told == ends }
    }

    fn drained_once(&self) -> Promise {
        let Drain { owed, took, times } = self.drain;
        let deadline = DRAIN_DEADLINE.as_millis();
        let text = match took {
            Some(took) => format!(
                "drained {} in {} ms, {} replies owed, deadline {deadline} ms",
                if times == 1 { "once".into() } else { format!("{times} times") },
                took.as_millis(),
                grouped(owed)
            ),
            None => format!("drained {times} times, deadline {deadline} ms"),
        };
        Promise { text, kept: times == 1 && took.is_some_and(|took| took <= DRAIN_DEADLINE + DRAIN_LEEWAY) }
    }

    fn nobody_left(&self) -> Promise {
        let kept: u64 = self.told.outcomes.iter().map(|outcome| outcome.counts.open).sum();
        Promise { text: format!("no connection outlived the drain: {}", grouped(kept)), kept: kept == 0 }
    }

    fn descriptors_back(&self) -> Promise {
        let Descriptors { start, end } = self.descriptors;
        Promise { text: format!("descriptors are back to the start: {start}, {end}"), kept: start == end }
    }

    pub(crate) fn honest(&self) -> &Outcome {
        &self.told.outcomes[Crowd::Honest as usize]
    }

    pub(crate) fn refused(&self) -> u64 {
        self.books.refused.iter().sum()
    }
}

/// What comes less often is no flood.
const LEAST_FLOOD: u64 = 100;
/// What the end of a drain may come late on a busy machine.
const DRAIN_LEEWAY: Duration = Duration::from_millis(500);
