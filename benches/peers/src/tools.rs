//! Counts that other programs take of a server: system calls by strace, user instructions by valgrind.
//!
//! Counts do not move with the load of the machine, so one sample says it all. Both tools slow the server down a lot:
//! it is saturated, every wait brings as many events as there are connections, and a call that is made once a wait
//! shows as a small fraction.

use crate::child::Child;
use crate::load::{self, Clients, Shape, Until};
use crate::rows::{CHURN_AT_ONCE, Reading, Setup};
use crate::server::Role;
use crate::sys;
use socketpool_peers::strace;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// System calls for a request, for sixteen pipelined requests, and for a short connection.
pub fn system_calls(role: Role, setup: &Setup) -> io::Result<Vec<Reading>> {
    let one = Shape { connections: 64, size: 64, depth: 1 };
    let sixteen = Shape { depth: 16, ..one };
    let mut readings = Vec::new();
    for shape in [one, sixteen] {
        let mut server = setup.spawn(role, shape.connections)?;
        server.serve()?;
        let mut clients = Clients::connect_and_greet(server.address(), shape, setup.peers)?;
        let trace = Trace::attach(server.id())?;
        let served = clients.run(shape, Until::Requests(CALLS_REQUESTS * shape.depth as u64))?;
        readings.push(reading(&trace.finish()?, served as f64 / shape.depth as f64));
    }
    let mut server = setup.spawn(role, 4 * CHURN_AT_ONCE)?;
    server.serve()?;
    load::churn(server.address(), CALLS_CONNECTIONS, CHURN_AT_ONCE, setup.peers)?;
    let trace = Trace::attach(server.id())?;
    load::churn(server.address(), CALLS_CONNECTIONS, CHURN_AT_ONCE, setup.peers)?;
    readings.push(reading(&trace.finish()?, CALLS_CONNECTIONS as f64));
    Ok(readings)
}

/// User instructions for a request and for a short connection: what N more of them add, so that start-up is not in it.
pub fn instructions(role: Role, setup: &Setup) -> io::Result<Vec<f64>> {
    let shape = Shape { connections: 64, size: 64, depth: 1 };
    let (few, few_served) = count_requests(role, setup, shape, INSTRUCTIONS_REQUESTS)?;
    let (many, many_served) = count_requests(role, setup, shape, 3 * INSTRUCTIONS_REQUESTS)?;
    let request = (many - few) as f64 / (many_served - few_served) as f64;
    let few = count_connections(role, setup, INSTRUCTIONS_CONNECTIONS)?;
    let many = count_connections(role, setup, 3 * INSTRUCTIONS_CONNECTIONS)?;
    Ok(vec![request, (many - few) as f64 / (2 * INSTRUCTIONS_CONNECTIONS) as f64])
}

fn count_requests(role: Role, setup: &Setup, shape: Shape, requests: u64) -> io::Result<(u64, u64)> {
    let counted = Counted::spawn(role, shape.connections, setup)?;
    let mut clients = Clients::connect_and_greet(counted.server.address(), shape, setup.peers)?;
    let served = clients.run(shape, Until::Requests(requests))?;
    Ok((counted.finish()?, served))
}

fn count_connections(role: Role, setup: &Setup, connections: u64) -> io::Result<u64> {
    let counted = Counted::spawn(role, 4 * CHURN_AT_ONCE, setup)?;
    load::churn(counted.server.address(), connections, CHURN_AT_ONCE, setup.peers)?;
    counted.finish()
}

/// A server below valgrind.
struct Counted {
    server: Child,
    log: PathBuf,
}

impl Counted {
    fn spawn(role: Role, capacity: usize, setup: &Setup) -> io::Result<Self> {
        let log = scratch("valgrind");
        let log_option = format!("--log-file={}", log.display());
        let prefix = [
            "valgrind",
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
            &log_option,
        ];
        let mut server = Child::spawn_under(&prefix, role, capacity, setup.server_core)?;
        server.serve()?;
        Ok(Self { server, log })
    }

    fn finish(self) -> io::Result<u64> {
        self.server.terminate()?;
        let log = fs::read_to_string(&self.log)?;
        fs::remove_file(&self.log)?;
        parse_instructions(&log)
            .ok_or_else(|| io::Error::other(format!("valgrind reported no count:\n{log}")))
    }
}

/// strace, attached to a running server and counting.
struct Trace {
    strace: std::process::Child,
    table: PathBuf,
}

impl Trace {
    fn attach(pid: u32) -> io::Result<Self> {
        let table = scratch("strace");
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-p", &pid.to_string(), "-o"]).arg(&table).stderr(Stdio::piped());
        let mut strace = command.spawn()?;
        let mut line = String::new();
        BufReader::new(strace.stderr.take().expect("stderr was asked for")).read_line(&mut line)?;
        if !line.contains("attached") {
            return Err(io::Error::other(format!("strace cannot attach: {}", line.trim_end())));
        }
        Ok(Self { strace, table })
    }

    fn finish(mut self) -> io::Result<BTreeMap<String, u64>> {
        sys::signal(self.strace.id(), libc::SIGINT)?;
        self.strace.wait()?;
        let table = fs::read_to_string(&self.table)?;
        fs::remove_file(&self.table)?;
        Ok(strace::parse(&table))
    }
}

fn reading(calls: &BTreeMap<String, u64>, n: f64) -> Reading {
    let total: u64 = calls.values().sum();
    let mut parts: Vec<_> = calls.iter().collect();
    parts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let parts = parts.into_iter().map(|(call, count)| format!("{call} {:.3}", *count as f64 / n));
    Reading { value: total as f64 / n, note: Some(parts.collect::<Vec<_>>().join(", ")) }
}

/// `==1== I   refs:      1,234` in older, `==1== I refs:  1,234` in newer versions.
fn parse_instructions(log: &str) -> Option<u64> {
    let line = log.lines().find(|line| line.contains(" I ") && line.contains("refs:"))?;
    line.rsplit(':').next()?.trim().replace(',', "").parse().ok()
}

fn scratch(kind: &str) -> PathBuf {
    env::temp_dir().join(format!("socketpool-peers-{kind}-{}", std::process::id()))
}

const CALLS_REQUESTS: u64 = 20_000;
const CALLS_CONNECTIONS: u64 = 2_000;
const INSTRUCTIONS_REQUESTS: u64 = 20_000;
const INSTRUCTIONS_CONNECTIONS: u64 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valgrind_count_is_read_from_old_and_new_versions() {
        assert_eq!(parse_instructions("==7== \n==7== I   refs:      1,234,567\n"), Some(1_234_567));
        assert_eq!(parse_instructions("==7== I refs:        42\n"), Some(42));
        assert_eq!(parse_instructions("==7== nothing\n"), None);
    }
}
