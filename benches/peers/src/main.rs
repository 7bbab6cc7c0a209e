//! Side-by-side benchmarks: a bare epoll server, a bare mio server and the pool under the same loads, in one run.
//!
//! The same program is runner, load and, started once more with other words, each of the servers. Servers take turns
//! in every round, and a ratio is always one of the same round, because the machine moves more than the servers differ.

mod child;
mod load;
mod options;
mod programs;
mod report;
mod rows;
mod server;
mod sys;
mod tools;

use options::Options;
use report::Outcome;
use rows::{Repeat, Row, Setup};
use std::env;
use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let result = match &words[..] {
        [word, role, capacity, core] if word == "server" => serve(role, capacity, core),
        _ => compare(words),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(role: &str, capacity: &str, core: &str) -> Result<(), Box<dyn Error>> {
    Ok(server::run(role.parse()?, capacity.parse()?, core.parse()?)?)
}

fn compare(words: Vec<String>) -> Result<(), Box<dyn Error>> {
    let Some(options) = Options::parse(words)? else {
        println!("{}", options::HELP);
        return Ok(());
    };
    let begin = Instant::now();
    programs::build(&options.roles)?;
    sys::pin(options.load_core)?;
    println!("{}", report::header(&options.roles));
    let mut outcomes = Vec::new();
    let mut skipped = Vec::new();
    for row in &options.rows {
        if let Some(obstacle) = row.obstacle() {
            println!("{:24} SKIPPED, NOT MEASURED: {obstacle}", row.name);
            skipped.push(row.name);
            continue;
        }
        let outcome = take(*row, &options)?;
        print!("{}", outcome.table());
        outcomes.push(outcome);
    }
    eprintln!("{:.0} s", begin.elapsed().as_secs_f64());
    println!("{}", report::json(options.rounds, &outcomes, &skipped));
    Ok(())
}

/// All samples of one row. Each round begins with another server, so that none is always the first.
fn take(row: Row, options: &Options) -> io::Result<Outcome> {
    let setup = Setup { time: options.time, peers: options.peers, server_core: options.server_core };
    let roles = &options.roles;
    let mut readings: Vec<_> = roles.iter().map(|role| (*role, Vec::new())).collect();
    let rounds = if row.repeat == Repeat::Rounds { options.rounds } else { 1 };
    for round in 0..rounds {
        for turn in 0..roles.len() {
            let index = (round + turn) % roles.len();
            let sample = row.sample(roles[index], &setup).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("{} of {}, round {round}: {error}", row.name, roles[index]),
                )
            })?;
            readings[index].1.push(sample);
        }
    }
    Ok(Outcome { row, readings })
}
