//! Client-side pools side by side: what a pair of acquire and release costs, who waits how long, what cancellation does.
//!
//! The same program is runner and, started once more with other words, the process that takes a sample. Pools take turns
//! in every round, and a ratio is always one of the same round, because the machine moves more than the pools differ.

mod adapters;
mod allocations;
mod cost;
mod fairness;
mod options;
mod pairs;
mod probes;
mod report;
mod roster;
mod sample;

use options::{Options, Section};
use probes::Probe;
use report::{Costs, Crowd, Paired, Probed, Report};
use roster::Entry;
use sample::{Answer, Question, SAMPLE};
use socketpool_peers::missing;
use std::env;
use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let result = if words.first().is_some_and(|word| word == SAMPLE) {
        Question::answer(&words).map_err(Box::from)
    } else {
        compare(words)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(words: Vec<String>) -> Result<(), Box<dyn Error>> {
    let Some(options) = Options::parse(words)? else {
        println!("{}", options::HELP);
        return Ok(());
    };
    let begin = Instant::now();
    let mut report = Report::default();
    for section in &options.sections {
        match section {
            Section::Cost => {
                report.costs = costs(&options)?;
                for figure in cost::Figure::ALL {
                    println!("{}", report.cost_table(figure, options.rounds));
                }
            }
            Section::Fairness => {
                for queue in &options.queues {
                    let crowd = crowd(*queue, &options)?;
                    println!("{}", crowd.table());
                    report.crowds.push(crowd);
                }
            }
            Section::Probes => {
                report.probes = probes(&options)?;
                println!("{}", report.probe_table());
            }
            Section::Pairs => {
                report.pairs = pairs(&options)?;
                println!("{}", report.pair_table());
            }
        }
    }
    eprintln!("{:.0} s", begin.elapsed().as_secs_f64());
    if options.json {
        println!("{}", report.json());
    }
    Ok(())
}

fn costs(options: &Options) -> io::Result<Vec<Costs>> {
    let scenarios = options.scenarios.iter().map(|scenario| {
        let question = Question::Cost(*scenario, options.time);
        let answers = rounds(question, &options.entries, options.rounds, options)?;
        Ok(Costs { scenario: *scenario, answers })
    });
    scenarios.collect()
}

fn crowd(queue: fairness::Queue, options: &Options) -> io::Result<Crowd> {
    let entries: Vec<_> =
        options.entries.iter().copied().filter(|entry| queue.suits(entry.runtime)).collect();
    let question = Question::Fairness(queue, options.fair_limit);
    Ok(Crowd { queue, answers: rounds(question, &entries, options.fair_runs, options)? })
}

/// All samples of one question. Each round begins with another entry, so that none is always the first.
fn rounds(
    question: Question,
    entries: &[Entry],
    rounds: usize,
    options: &Options,
) -> io::Result<Vec<(Entry, Vec<Answer>)>> {
    let mut answers: Vec<_> = entries.iter().map(|entry| (*entry, Vec::new())).collect();
    for round in 0..rounds {
        for turn in 0..entries.len() {
            let (entry, answers) = &mut answers[(round + turn) % entries.len()];
            let answer = question.ask(entry, options.patience)?;
            if let Answer::Failed(words) = &answer {
                eprintln!("{entry}, {question:?}: {words}");
            }
            answers.push(answer);
        }
    }
    Ok(answers)
}

fn probes(options: &Options) -> io::Result<Vec<Probed>> {
    let able = options.entries.iter().filter(|entry| entry.measures.probe.is_some());
    let probed = able.map(|entry| {
        let answers = Probe::ALL.into_iter();
        let answers = answers.map(|probe| Ok((probe, Question::Probe(probe).ask(entry, options.patience)?)));
        Ok(Probed { entry: *entry, answers: answers.collect::<io::Result<_>>()? })
    });
    probed.collect()
}

fn pairs(options: &Options) -> io::Result<Vec<Paired>> {
    let obstacle = missing("strace");
    if let Some(obstacle) = &obstacle {
        eprintln!("system calls are not counted: {obstacle}");
    }
    let paired = options.entries.iter().map(|entry| {
        let allocations = Question::Pairs(COUNTED_PAIRS).ask(entry, options.patience)?;
        let calls = if obstacle.is_none() { Some(calls(entry, options)?) } else { None };
        Ok(Paired { entry: *entry, allocations, calls })
    });
    paired.collect()
}

/// System calls for a pair: what more pairs add, so that the start is not in it.
fn calls(entry: &Entry, options: &Options) -> io::Result<Answer> {
    let mut totals = [0.0; 2];
    for (total, pairs) in totals.iter_mut().zip([0, COUNTED_PAIRS]) {
        match Question::Pairs(pairs).count_calls(entry, options.patience)? {
            Ok(calls) => *total = calls as f64,
            Err(trouble) => return Ok(trouble),
        }
    }
    Ok(Answer::Figures(vec![(totals[1] - totals[0]) / COUNTED_PAIRS as f64]))
}

/// Enough for a thousandth of a call to show, few enough for strace.
const COUNTED_PAIRS: u64 = 10_000;
