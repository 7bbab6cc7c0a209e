//! What is measured: the rows of the table, and how one sample of each is taken.
//!
//! A sample starts a new server process, so that no layout of memory favours one server through all rounds. Which
//! server comes when, and what the figures say, is left to `main` and `report`.

use crate::child::Child;
use crate::load::{self, Clients, Peers, Shape, Until};
use crate::server::Role;
use crate::tools;
use socketpool_peers::missing;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// One row of the plan. It yields one reading for each of its figures.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub figures: &'static [Figure],
    pub repeat: Repeat,
    kind: Kind,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
    pub compare: Compare,
}

/// What of a figure is worth printing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// As a ratio to the bare server in the same round.
    Ratio,
    /// As it is.
    Value,
}

/// How often a row is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// In every round: it is a time.
    Rounds,
    /// Once: it is a count.
    Once,
}

/// One figure of one sample, and a remark where the figure alone does not say enough.
#[derive(Clone, Debug)]
pub struct Reading {
    pub value: f64,
    pub note: Option<String>,
}

/// What all samples have in common.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// How long one closed loop is measured; a quarter of it goes before, unmeasured.
    pub time: Duration,
    pub peers: Peers,
    pub server_core: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Echo(Shape),
    Churn,
    Accept,
    Drain,
    Memory,
    Calls,
    Instructions,
}

impl Row {
    pub fn sample(&self, role: Role, setup: &Setup) -> io::Result<Vec<Reading>> {
        let values = match self.kind {
            Kind::Echo(shape) => echo(shape, role, setup)?,
            Kind::Churn => churn(role, setup)?,
            Kind::Accept => accept(role, setup)?,
            Kind::Drain => drain(role, setup)?,
            Kind::Memory => memory(role, setup)?,
            Kind::Calls => return tools::system_calls(role, setup),
            Kind::Instructions => tools::instructions(role, setup)?,
        };
        Ok(values.into_iter().map(Reading::from).collect())
    }

    /// Whether its servers are told when to accept and when to close, which programs that echo from the start are not.
    pub const fn commands(&self) -> bool {
        matches!(self.kind, Kind::Accept | Kind::Drain)
    }

    /// Why the row cannot be taken on this machine.
    pub fn obstacle(&self) -> Option<String> {
        match self.kind {
            Kind::Calls => missing("strace"),
            Kind::Instructions => missing("valgrind"),
            _ => None,
        }
    }
}

impl From<f64> for Reading {
    fn from(value: f64) -> Self {
        Self { value, note: None }
    }
}

impl Setup {
    pub fn spawn(&self, role: Role, capacity: usize) -> io::Result<Child> {
        Child::spawn(role, capacity, self.server_core)
    }
}

fn echo(shape: Shape, role: Role, setup: &Setup) -> io::Result<Vec<f64>> {
    let mut server = setup.spawn(role, shape.connections)?;
    server.serve()?;
    let mut clients = Clients::connect_and_greet(server.address(), shape, setup.peers)?;
    clients.run(shape, Until::Elapsed(setup.time / 4))?;
    let (cpu, clock) = (server.cpu()?, Instant::now());
    let served = clients.run(shape, Until::Elapsed(setup.time))? as f64;
    let (cpu, elapsed) = (server.cpu()? - cpu, clock.elapsed());
    Ok(vec![
        cpu.as_nanos() as f64 / served,
        served / elapsed.as_secs_f64(),
        100.0 * cpu.as_secs_f64() / elapsed.as_secs_f64(),
    ])
}

fn churn(role: Role, setup: &Setup) -> io::Result<Vec<f64>> {
    let mut server = setup.spawn(role, 4 * CHURN_AT_ONCE)?;
    server.serve()?;
    load::churn(server.address(), CHURN_TOTAL / 4, CHURN_AT_ONCE, setup.peers)?;
    let (cpu, clock) = (server.cpu()?, Instant::now());
    load::churn(server.address(), CHURN_TOTAL, CHURN_AT_ONCE, setup.peers)?;
    let (cpu, elapsed) = (server.cpu()? - cpu, clock.elapsed());
    Ok(vec![cpu.as_nanos() as f64 / CHURN_TOTAL as f64, CHURN_TOTAL as f64 / elapsed.as_secs_f64()])
}

fn accept(role: Role, setup: &Setup) -> io::Result<Vec<f64>> {
    let mut server = setup.spawn(role, MANY)?;
    let _clients = Clients::connect(server.address(), BACKLOG, setup.peers)?;
    let work = server.accept(BACKLOG)?;
    Ok(vec![work.cpu.as_nanos() as f64 / BACKLOG as f64])
}

fn drain(role: Role, setup: &Setup) -> io::Result<Vec<f64>> {
    let mut server = setup.spawn(role, MANY)?;
    let _clients = connect_silent(&mut server, setup)?;
    let work = server.drain()?;
    Ok(vec![work.cpu.as_nanos() as f64 / MANY as f64, work.longest.as_nanos() as f64 / 1_000.0])
}

/// Private memory with 10,000 idle connections, less that of the same program with none
/// and room for one, divided by 10,000. Once as connected, once after each has had a request answered.
fn memory(role: Role, setup: &Setup) -> io::Result<Vec<f64>> {
    let mut empty = setup.spawn(role, 1)?;
    empty.serve()?;
    let mut server = setup.spawn(role, MANY)?;
    let mut clients = connect_silent(&mut server, setup)?;
    let silent = server.private_bytes()?;
    server.serve()?;
    clients.greet(64)?;
    let each =
        |bytes: u64| -> io::Result<f64> { Ok((bytes as f64 - empty.private_bytes()? as f64) / MANY as f64) };
    Ok(vec![each(silent)?, each(server.private_bytes()?)?])
}

/// 10,000 connections that have said nothing, accepted by command in steps that the backlog holds.
fn connect_silent(server: &mut Child, setup: &Setup) -> io::Result<Clients> {
    let mut clients = Clients::connect(server.address(), 0, setup.peers)?;
    let mut left = MANY;
    while left > 0 {
        let n = left.min(BACKLOG);
        let before = server.descriptors()?;
        clients.connect_more(server.address(), n, setup.peers)?;
        if server.takes_commands() {
            server.accept(n)?;
        } else {
            await_descriptors(server, before + n)?;
        }
        left -= n;
    }
    Ok(clients)
}

/// Waits until a server that accepts by itself has done so.
fn await_descriptors(server: &Child, n: usize) -> io::Result<()> {
    let begin = Instant::now();
    while server.descriptors()? < n {
        if begin.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("{} of {n} descriptors", server.descriptors()?)));
        }
        thread::sleep(Duration::from_millis(10));
    }
    // The last ones are put in order.
    thread::sleep(Duration::from_millis(100));
    Ok(())
}

const fn echo_row(name: &'static str, figures: &'static [Figure], connections: usize, size: usize) -> Row {
    row(name, figures, Repeat::Rounds, Kind::Echo(Shape { connections, size, depth: 1 }))
}

const fn row(name: &'static str, figures: &'static [Figure], repeat: Repeat, kind: Kind) -> Row {
    Row { name, figures, repeat, kind }
}

const fn ratio(name: &'static str, unit: &'static str) -> Figure {
    Figure { name, unit, compare: Compare::Ratio }
}

const fn value(name: &'static str, unit: &'static str) -> Figure {
    Figure { name, unit, compare: Compare::Value }
}

const ECHO: &[Figure] =
    &[ratio("cpu", "ns/request"), ratio("rate", "requests/s"), value(BUSY, "% of a core")];

/// The figure that tells whether a server had its core for itself.
pub const BUSY: &str = "busy";

pub const ROWS: &[Row] = &[
    echo_row("echo-64", ECHO, 64, 64),
    echo_row("echo-1k", ECHO, 1_000, 64),
    echo_row("echo-10k", ECHO, MANY, 64),
    echo_row("echo-1k-4kib", ECHO, 1_000, 4_096),
    echo_row("echo-10k-4kib", ECHO, MANY, 4_096),
    row("pipeline", ECHO, Repeat::Rounds, Kind::Echo(Shape { connections: 64, size: 64, depth: 16 })),
    row(
        "churn",
        &[ratio("cpu", "ns/connection"), ratio("rate", "connections/s")],
        Repeat::Rounds,
        Kind::Churn,
    ),
    row("accept", &[ratio("cpu", "ns/connection")], Repeat::Rounds, Kind::Accept),
    row(
        "drain",
        &[ratio("cpu", "ns/connection"), value("longest", "us in one go")],
        Repeat::Rounds,
        Kind::Drain,
    ),
    row(
        "memory",
        &[value("silent", "bytes/connection"), value("served", "bytes/connection")],
        Repeat::Once,
        Kind::Memory,
    ),
    row(
        "calls",
        &[
            value("request", "system calls/request"),
            value("sixteen", "system calls/16 requests"),
            value("connection", "system calls/connection"),
        ],
        Repeat::Once,
        Kind::Calls,
    ),
    row(
        "instructions",
        &[value("request", "instructions/request"), value("connection", "instructions/connection")],
        Repeat::Once,
        Kind::Instructions,
    ),
];

/// The rows in which the programs in C are compared.
pub const C_ROWS: &str = "echo-64,echo-1k,churn,memory,calls,instructions";

/// A server that lets newcomers wait for so long has stopped.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest crowd: as many descriptors in each process, below the usual limit of 20,000.
const MANY: usize = 10_000;

/// A backlog that is full but for a margin: the kernel's own bound is 4,096.
const BACKLOG: usize = 3_900;

/// Short connections in one sample. 15 rounds of four servers stay near the number of TIME_WAITs the kernel remembers.
const CHURN_TOTAL: u64 = 2_000;

/// Short connections open at the same time.
pub const CHURN_AT_ONCE: usize = 64;
