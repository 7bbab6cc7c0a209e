//! The whole of `socketpool` in one command: an echo server on the pool, attacked from a second process while honest
//! clients check every byte, then drained under load.
//!
//! This process is the server and the judge. It starts itself once more as the driver, which plays all clients, and
//! after the run twice more to measure memory. See `--help` for the flags.
//!
//! **What counts as an honest failure.** A connection that is refused or takes more than a second to stand; a wrong
//! byte; a reply that is not there within five seconds; an end of the connection while a reply is due. An end between
//! two requests is the server's right.
//!
//! **And during the drain?** A request sent into a connection that is just being closed for idleness is nobody's
//! fault, so such races are ruled out: the driver is told first, begins no request from then on, waits until what it
//! has sent is in the server's kernel, and says so. Only then the pool drains. What is outstanding at that moment,
//! and that is much, for a quarter of the clients has just sent half a line, the server owes in full; new attackers
//! knock all the while.

#[path = "../shared/command_line.rs"]
mod command_line;
mod crowd;
mod driver;
mod honest;
mod json;
#[path = "../shared/lines.rs"]
mod lines;
mod link;
mod machine;
mod memory;
mod numbers;
mod plan;
mod report;
mod screen;
mod server;
#[path = "../shared/streams.rs"]
mod streams;
mod tally;
mod wire;

use std::error::Error;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::link::{Link, Order, Progress, Word};
use crate::plan::{DRAIN_DEADLINE, HELP, IDLE_CONNECTIONS, Options, Plan, Role, SPARE_DESCRIPTORS};
use crate::report::{Descriptors, Drain, Report, Told};
use crate::screen::Screen;
use crate::server::{Books, Server, Settings};
use crate::streams::{complain, say};
use crate::tally::Failure;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            complain(format_args!("demo: {wrong}"));
            return ExitCode::from(2);
        }
    };
    let held = match options.role {
        Role::Server if options.help => say(HELP).map(|()| true).map_err(Into::into),
        Role::Server => judge(&options),
        Role::Driver(server) => driver::run(&options.plan, server).map(|()| true).map_err(Into::into),
        Role::Idle(room) => memory::serve(room).map(|()| true),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            complain(format_args!("demo: {e}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs everything and says whether all of it held.
fn judge(options: &Options) -> Result<bool, Box<dyn Error>> {
    let plan = &options.plan;
    let for_idle = u64::from(IDLE_CONNECTIONS) + SPARE_DESCRIPTORS;
    let allowed = machine::make_room_for_descriptors(plan.descriptors(), for_idle)?;
    let mut screen = Screen::new(plan)?;
    let start = machine::open_descriptors()?;
    let before = machine::waited_for_processor();
    let (told, books, drain) = attack(plan, &mut screen)?;
    let waited = machine::waited_for_processor() - before;
    let descriptors = Descriptors { start, end: machine::open_descriptors()? };
    // Without it the rest is still worth being shown.
    let idle = memory::of_idle_connections(allowed).inspect_err(|e| complain(format_args!("demo: {e}"))).ok();
    let report = Report { plan, told, books, drain, waited, descriptors, idle };
    screen.show(&report)?;
    if options.json {
        say(format_args!("{}\n", json::of(&report)))?;
    }
    Ok(report.holds())
}

/// From the first connection to the last word of the driver.
fn attack(plan: &Plan, screen: &mut Screen) -> Result<(Told, Books, Drain), Box<dyn Error>> {
    let mut server = Server::start(&Settings::of(plan))?;
    let address = SocketAddr::from(([127, 0, 0, 1], server.port()));
    let flags = [plan.flags(), Role::Driver(address).flags()].concat();
    let mut run = Run {
        link: Link::start(&flags, server.waker())?,
        stage: Stage::Attack,
        until: Instant::now() + plan.run(),
        progress: Progress::default(),
        told: Told::default(),
        drain: Drain::default(),
    };
    while run.stage != Stage::Over {
        let now = Instant::now();
        let wait = run.until.min(screen.next_draw()).saturating_duration_since(now);
        server.turn(wait)?;
        while let Some(word) = run.link.heard()? {
            run.hear(word, &mut server)?;
            if run.stage == Stage::Over {
                break;
            }
        }
        run.step(&mut server, Instant::now())?;
        if screen.next_draw() <= Instant::now() {
            screen.draw(&run.progress, &server.books(), run.stage != Stage::Attack)?;
        }
    }
    run.drain.times = server.drained();
    Ok((run.told, server.books(), run.drain))
}

struct Run {
    link: Link,
    stage: Stage,
    /// When the stage ends by itself.
    until: Instant,
    progress: Progress,
    told: Told,
    drain: Drain,
}

/// Attack --time--> Announced --quiet--> Draining --drained--> Closing --end--> Over
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Attack,
    /// The driver knows that a drain comes, and has not yet said that nothing new is begun.
    Announced,
    Draining(Instant),
    /// The driver says how it went.
    Closing,
    Over,
}

impl Run {
    fn hear(&mut self, word: Word, server: &mut Server) -> io::Result<()> {
        match word {
            Word::Progress(progress) => self.progress = progress,
            Word::Quiet { outstanding } => {
                self.drain.owed = outstanding;
                let now = Instant::now();
                server.drain(DRAIN_DEADLINE);
                self.enter(Stage::Draining(now), DRAIN_DEADLINE + OVERDUE);
            }
            Word::Failed { client, failure, errno } => blame(client, failure, errno),
            Word::Crowd(crowd, outcome) => self.told.outcomes[crowd as usize] = outcome,
            Word::End { waited_us, late_us } => {
                self.told.waited = Duration::from_micros(waited_us);
                self.told.late = Duration::from_micros(late_us);
                self.stage = Stage::Over;
            }
            Word::Listening { .. } | Word::Memory { .. } => {
                return Err(io::Error::other("the driver said something out of turn"));
            }
        }
        Ok(())
    }

    fn step(&mut self, server: &mut Server, now: Instant) -> io::Result<()> {
        let late = now >= self.until;
        match self.stage {
            Stage::Attack if late => {
                self.link.order(Order::Quiet)?;
                self.enter(Stage::Announced, OVERDUE);
            }
            Stage::Draining(since) if server.drained() > 0 || late => {
                self.drain.took = (server.drained() > 0).then(|| now - since);
                self.link.order(Order::Finish)?;
                self.enter(Stage::Closing, OVERDUE);
            }
            Stage::Announced | Stage::Closing if late => {
                return Err(io::Error::other("the driver does not answer any more"));
            }
            _ => {}
        }
        Ok(())
    }

    fn enter(&mut self, stage: Stage, at_most: Duration) {
        self.stage = stage;
        self.until = Instant::now() + at_most;
    }
}

/// Says in words what befell a client, on a line of its own where the progress is being redrawn.
fn blame(client: u64, failure: Failure, errno: u64) {
    let line = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    let why = match errno {
        0 => String::new(),
        errno => format!(": {}", io::Error::from_raw_os_error(errno as i32)),
    };
    complain(format_args!("{line}demo: client {client} of the honest crowd: {failure}{why}"));
}

/// What takes this much longer than it may is given up.
const OVERDUE: Duration = Duration::from_secs(5);
