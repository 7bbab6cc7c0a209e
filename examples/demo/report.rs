//! What is shown: a line while it runs, the table and the promises at the end, and the same as JSON.
//! Judges by what both processes have counted; counts nothing itself.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, Instant};

use socketpool::{Reason, Refusal};

use crate::crowd::Crowd;
use crate::link::{Outcome, Progress};
use crate::plan::{DRAIN_DEADLINE, IDLE_CONNECTIONS, Plan};
use crate::server::Books;
use crate::tally::{Failure, Quantiles};

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
    pub(crate) idle_bytes: Option<i64>,
}

/// What the driver has told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) outcomes: [Outcome; Crowd::COUNT],
    /// How long it had to wait for a processor.
    pub(crate) waited: Duration,
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
struct Promise {
    text: String,
    kept: bool,
}

impl Report<'_> {
    pub(crate) fn holds(&self) -> bool {
        self.idle_bytes.is_some() && self.promises().iter().all(|promise| promise.kept)
    }

    /// One line, one object; every key is a plain word, so nothing needs escaping.
    pub(crate) fn json(&self) -> String {
        let honest = self.honest();
        let named = |pairs: Vec<(&'static str, u64)>| {
            object(pairs.into_iter().map(|(name, count)| (name, count.to_string())))
        };
        let crowds = Crowd::ALL.map(|crowd| {
            let outcome = &self.told.outcomes[crowd as usize];
            let fields = [
                ("clients", self.plan.clients(crowd).to_string()),
                ("connected", outcome.connected.to_string()),
                ("answered", outcome.answered.to_string()),
                ("cut", outcome.cut.to_string()),
                ("left", outcome.left.to_string()),
                ("kept", outcome.kept.to_string()),
                ("ended", named(reasons(&self.books.ended[crowd as usize]))),
            ];
            (crowd.as_str(), object(fields))
        });
        let failures = Failure::ALL.map(|failure| (failure.as_str(), honest.failed[failure as usize]));
        object([
            ("passed", self.holds().to_string()),
            ("honest_requests", honest.asked.to_string()),
            ("honest_answered", honest.answered.to_string()),
            ("honest_failures", honest.failures().to_string()),
            ("failures_by_kind", named(failures.into())),
            ("refused", self.refused().to_string()),
            ("refused_by_reason", named(refusals(&self.books.refused))),
            ("opened", self.books.opened.to_string()),
            ("closed", self.books.closed.to_string()),
            ("closed_by_reason", named(reasons(&self.closed_by_reason()))),
            ("p50_us", honest.reply.p50_us.to_string()),
            ("p90_us", honest.reply.p90_us.to_string()),
            ("p99_us", honest.reply.p99_us.to_string()),
            ("p999_us", honest.reply.p999_us.to_string()),
            ("max_us", honest.reply.max_us.to_string()),
            ("connect_p50_us", honest.first_reply.p50_us.to_string()),
            ("connect_p99_us", honest.first_reply.p99_us.to_string()),
            ("bytes_per_idle_connection", self.idle_bytes.map_or("null".into(), |bytes| bytes.to_string())),
            ("drain_ms", self.drain.took.map_or("null".into(), |took| took.as_millis().to_string())),
            ("drained", (self.drain.times > 0).to_string()),
            ("server_waited_ms", self.waited.as_millis().to_string()),
            ("clients_waited_ms", self.told.waited.as_millis().to_string()),
            ("crowds", object(crowds)),
        ])
    }

    /// Everything that has to hold, in the order in which it is worth reading.
    fn promises(&self) -> Vec<Promise> {
        let mut all = vec![self.all_answered()];
        all.extend(Crowd::ALL.into_iter().filter_map(|crowd| self.stopped(crowd)));
        all.extend([self.balanced(), self.drained_once(), self.nobody_left(), self.descriptors_back()]);
        all
    }

    fn all_answered(&self) -> Promise {
        let honest = self.honest();
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
        let met = self.told.outcomes[crowd as usize].connected;
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
        let Books { opened, closed, live, .. } = self.books;
        let reported: u64 = self.closed_by_reason().iter().sum();
        let text = format!(
            "opened - closed = live after the drain: {} - {} = {}; ends reported {}",
            grouped(opened),
            grouped(closed),
            grouped(live),
            grouped(reported)
        );
        Promise { text, kept: live == 0 && opened == closed && reported == closed }
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
        let kept: u64 = self.told.outcomes.iter().map(|outcome| outcome.kept).sum();
        Promise { text: format!("no connection outlived the drain: {}", grouped(kept)), kept: kept == 0 }
    }

    fn descriptors_back(&self) -> Promise {
        let Descriptors { start, end } = self.descriptors;
        Promise { text: format!("descriptors are back to the start: {start}, {end}"), kept: start == end }
    }

    fn honest(&self) -> &Outcome {
        &self.told.outcomes[Crowd::Honest as usize]
    }

    fn refused(&self) -> u64 {
        self.books.refused.iter().sum()
    }

    fn closed_by_reason(&self) -> [u64; Reason::COUNT] {
        let mut all = self.books.strangers;
        for crowd in &self.books.ended {
            all.iter_mut().zip(crowd).for_each(|(sum, count)| *sum += count);
        }
        all
    }
}

/// Where it is shown: colours and a line that redraws itself on a terminal, plain lines elsewhere.
pub(crate) struct Screen {
    terminal: bool,
    colours: bool,
    start: Instant,
    next: Instant,
}

impl Screen {
    pub(crate) fn new(plan: &Plan) -> io::Result<Self> {
        let terminal = io::stdout().is_terminal();
        let colours = terminal && std::env::var_os("NO_COLOR").is_none();
        let heads = row("", ["answered", "failed", "p99", "attackers", "evicted", "timed out", "refused"]);
        writeln!(io::stdout(), "{}\n\n{heads}", header(plan))?;
        Ok(Self { terminal, colours, start: Instant::now(), next: Instant::now() })
    }

    /// When the line is to be drawn again.
    pub(crate) fn next_draw(&self) -> Instant {
        self.next
    }

    pub(crate) fn draw(&mut self, progress: &Progress, books: &Books, draining: bool) -> io::Result<()> {
        let now = Instant::now();
        self.next = now + if self.terminal { REDRAW } else { REPEAT };
        let hostile =
            |reason: Reason| books.ended[1..].iter().map(|crowd| crowd[reason as usize]).sum::<u64>();
        let time = format!("{:.1} s", (now - self.start).as_secs_f64());
        let line = row(
            if draining { "drain" } else { &time },
            [
                &grouped(progress.answered),
                &grouped(progress.failures),
                &millis(progress.p99_us),
                &grouped(progress.hostile_open),
                &grouped(hostile(Reason::Evicted)),
                &grouped(hostile(Reason::FirstMessage) + hostile(Reason::WriteStall)),
                &grouped(books.refused.iter().sum()),
            ],
        );
        let mut out = io::stdout();
        if self.terminal {
            write!(out, "\r{line}\x1b[K")?;
            out.flush()
        } else {
            writeln!(out, "{line}")
        }
    }

    /// The table and the promises.
    pub(crate) fn show(&self, report: &Report<'_>) -> io::Result<()> {
        let mut out = io::stdout();
        if self.terminal {
            writeln!(out)?;
        }
        write!(out, "\n{}\n{}\n{}\n", crowds(report), latencies(report), figures(report))?;
        for Promise { text, kept } in report.promises() {
            writeln!(out, "  {}  {text}", self.coloured(kept, if kept { "ok    " } else { "FAILED" }))?;
        }
        if report.waited.max(report.told.waited) > report.plan.run() / BUSY {
            let [server, clients] = [report.waited, report.told.waited].map(|waited| waited.as_secs_f64());
            writeln!(
                out,
                "\n  The machine is busy with other work: the server waited {server:.1} s for a processor, \
                 the clients {clients:.1} s."
            )?;
        }
        let holds = report.holds();
        let verdict = if holds { "Every promise was kept." } else { "A promise was broken." };
        writeln!(out, "\n{}", self.coloured(holds, verdict))
    }

    fn coloured(&self, good: bool, text: &str) -> String {
        match (self.colours, good) {
            (false, _) => text.into(),
            (true, true) => format!("\x1b[32m{text}\x1b[0m"),
            (true, false) => format!("\x1b[1;31m{text}\x1b[0m"),
        }
    }
}

fn header(plan: &Plan) -> String {
    let count = |crowd| grouped(plan.clients(crowd).into());
    let protections = if plan.unprotected { ", its protections OFF" } else { "" };
    let room = grouped(plan.max_connections().into());
    let mut text = format!(
        "An echo server with room for {room} connections{protections}; {} s, then a drain.\n{} honest clients",
        plan.seconds,
        count(Crowd::Honest)
    );
    if plan.hostile > 0.0 {
        let _ = write!(
            text,
            " against {} slowloris dribblers, {} that never speak,\n\
             {} that never read, and {} connects a second from one address.",
            count(Crowd::Dribbler),
            count(Crowd::Silent),
            count(Crowd::Deaf),
            grouped(plan.connects_per_second(Crowd::Flood).into())
        );
    } else {
        text.push_str(", and nobody attacks.");
    }
    text
}

/// One row of the progress, 79 columns wide, so that a terminal of the usual width can redraw it in place.
fn row(time: &str, figures: [&str; 7]) -> String {
    let [answered, failed, p99, attackers, evicted, timed_out, refused] = figures;
    format!(
        "{time:>8} {answered:>10} {failed:>7} {p99:>10} {attackers:>10} {evicted:>9} {timed_out:>10} {refused:>8}"
    )
}

/// One row for each crowd: the clients' counts, then the reasons in the server's books.
fn crowds(report: &Report<'_>) -> String {
    let mut table = format!(
        "  {:<12} {:>7} {:>10} {:>10} {:>8} {:>8}   ended by the server's books\n",
        "crowd", "clients", "connected", "answered", "cut", "left"
    );
    for crowd in Crowd::ALL {
        let clients = report.plan.clients(crowd);
        if clients == 0 {
            continue;
        }
        let outcome = &report.told.outcomes[crowd as usize];
        let mut ends = reasons(&report.books.ended[crowd as usize]);
        if crowd == Crowd::Flood {
            ends.push(("refused", report.refused()));
        }
        ends.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let ends: Vec<String> =
            ends.iter().map(|(name, count)| format!("{name} {}", grouped(*count))).collect();
        let _ = writeln!(
            table,
            "  {crowd:<12} {:>7} {:>10} {:>10} {:>8} {:>8}   {}",
            grouped(clients.into()),
            grouped(outcome.connected),
            grouped(outcome.answered),
            grouped(outcome.cut),
            grouped(outcome.left),
            ends.join(", ")
        );
    }
    table
}

fn latencies(report: &Report<'_>) -> String {
    let quantiles = |name: &str, q: Quantiles| {
        let [p50, p90, p99, p999, max] = [q.p50_us, q.p90_us, q.p99_us, q.p999_us, q.max_us].map(millis);
        format!("  {name:<20} {p50:>10} {p90:>10} {p99:>10} {p999:>10} {max:>10}\n")
    };
    let honest = report.honest();
    format!(
        "  {:<20} {:>10} {:>10} {:>10} {:>10} {:>10}\n{}{}",
        "honest latency",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        quantiles("request to reply", honest.reply),
        quantiles("connect to reply", honest.first_reply)
    )
}

fn figures(report: &Report<'_>) -> String {
    format!(
        "  {:<20} {:>10} bytes, at {} of them\n  {:<20} {:>10} ms\n  {:<20} {:>10} of {}\n",
        "an idle connection",
        report.idle_bytes.map_or("?".into(), |bytes| bytes.to_string()),
        grouped(IDLE_CONNECTIONS.into()),
        "drain",
        report.drain.took.map_or("never".into(), |took| took.as_millis().to_string()),
        "most at one time",
        grouped(report.books.peak),
        grouped(report.books.room)
    )
}

/// The reasons that occurred, as their words.
fn reasons(counts: &[u64; Reason::COUNT]) -> Vec<(&'static str, u64)> {
    let all = Reason::ALL.iter().map(|reason| reason.as_str()).zip(counts.iter().copied());
    all.filter(|&(_, count)| count > 0).collect()
}

fn refusals(counts: &[u64; Refusal::COUNT]) -> Vec<(&'static str, u64)> {
    let all = Refusal::ALL.iter().map(|refusal| refusal.as_str()).zip(counts.iter().copied());
    all.filter(|&(_, count)| count > 0).collect()
}

/// A JSON object of values that are JSON already, under keys that need no escapes.
fn object(fields: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn millis(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1_000.0)
}

const REDRAW: Duration = Duration::from_millis(250);
const REPEAT: Duration = Duration::from_secs(1);
/// What comes less often is no flood.
const LEAST_FLOOD: u64 = 100;
/// Waiting for a processor for more than this part of the run is worth a remark.
const BUSY: u32 = 5;
/// What the end of a drain may come late on a busy machine.
const DRAIN_LEEWAY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn objects_nest() {
        let inner = object([("a", "1".to_string())]);
        assert_eq!(object([("b", inner), ("c", "null".into())]), r#"{"b":{"a":1},"c":null}"#);
    }
}
