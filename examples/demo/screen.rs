//! The result for people: a line that grows while it runs, and a table at the end. Colours and redrawing on a terminal,
//! plain lines elsewhere.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use socketpool::Reason;

use crate::crowd::Crowd;
use crate::link::Progress;
use crate::numbers::{grouped, millis, reasons};
use crate::plan::Plan;
use crate::report::{Promise, Report};
use crate::server::Books;
use crate::streams::say;
use crate::tally::Quantiles;

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
        say(format_args!("{}\n\n{heads}\n", header(plan)))?;
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
        if self.terminal { say(format_args!("\r{line}\x1b[K")) } else { say(format_args!("{line}\n")) }
    }

    /// The table and the promises.
    pub(crate) fn show(&self, report: &Report<'_>) -> io::Result<()> {
        let mut text = String::from(if self.terminal { "\n\n" } else { "\n" });
        text += &[crowds(report), latencies(report), figures(report)].join("\n");
        text.push('\n');
        for Promise { text: promise, kept } in report.promises() {
            text +=
                &format!("  {}  {promise}\n", self.coloured(kept, if kept { "ok    " } else { "FAILED" }));
        }
        text += &busy(report);
        let holds = report.holds();
        let verdict = if holds { "Every promise was kept." } else { "A promise was broken." };
        say(format_args!("{text}\n{}\n", self.coloured(holds, verdict)))
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

/// What to make of the times when the machine had other work to do.
fn busy(report: &Report<'_>) -> String {
    let waited = [report.waited, report.told.waited];
    if waited.iter().max() <= Some(&(report.plan.run() / BUSY)) {
        return String::new();
    }
    let [server, clients] = waited.map(|waited| waited.as_secs_f64());
    format!(
        "\n  The machine is busy with other work: the server waited {server:.1} s for a processor, the clients\n  \
         {clients:.1} s, and they came up to {} ms late to what was due.\n",
        report.told.late.as_millis()
    )
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
        "  {:<12} {:>7} {:>10} {:>10}   ended by the server's books\n",
        "crowd", "clients", "connected", "answered"
    );
    for crowd in Crowd::ALL {
        let clients = report.plan.clients(crowd);
        if clients == 0 {
            continue;
        }
        let counts = &report.told.outcomes[crowd as usize].counts;
        let mut ends = reasons(&report.books.ended[crowd as usize]);
        if crowd == Crowd::Flood {
            ends.push(("refused", report.refused()));
        }
        ends.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let ends: Vec<String> =
            ends.iter().map(|(name, count)| format!("{name} {}", grouped(*count))).collect();
        let [clients, connected, answered] = [clients.into(), counts.connected, counts.answered].map(grouped);
        let ends = ends.join(", ");
        let _ = writeln!(table, "  {crowd:<12} {clients:>7} {connected:>10} {answered:>10}   {ends}");
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
        report.idle.map_or("?".into(), |idle| idle.bytes.to_string()),
        report.idle.map_or("?".into(), |idle| grouped(idle.connections.into())),
        "drain",
        report.drain.took.map_or("never".into(), |took| took.as_millis().to_string()),
        "most at one time",
        grouped(report.books.peak),
        grouped(report.books.room)
    )
}

const REDRAW: Duration = Duration::from_millis(250);
const REPEAT: Duration = Duration::from_secs(1);
/// Waiting for a processor for more than this part of the run is worth a remark.
const BUSY: u32 = 5;
