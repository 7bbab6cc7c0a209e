//! One sample, taken in a process of its own: a pool that hangs is killed, one that panics takes nobody along, and
//! none inherits another's memory layout.

use crate::cost::Scenario;
use crate::fairness::Queue;
use crate::probes::Probe;
use crate::roster::{Entry, Runtime};
use socketpool_peers::{number, strace};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// What is asked of an entry.
#[derive(Clone, Copy, Debug)]
pub enum Question {
    Cost(Scenario, Duration),
    Fairness(Queue, Duration),
    Probe(Probe),
    Pairs(u64),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Figures(Vec<f64>),
    Hang,
    /// It panicked or said nothing sensible; in its own words.
    Failed(String),
}

impl Question {
    /// Asks in another process, which has as long as it needs by itself and `patience` on top.
    pub fn ask(self, entry: &Entry, patience: Duration) -> io::Result<Answer> {
        run(&[env::current_exe()?.into()], &self.words(entry), self.length() + patience)
    }

    /// How many system calls the process makes on the whole.
    pub fn count_calls(self, entry: &Entry, patience: Duration) -> io::Result<Result<u64, Answer>> {
        let table = env::temp_dir().join(format!("socketpool-peers-pools-{}", std::process::id()));
        let program: Vec<OsString> = vec![
            "strace".into(),
            "-f".into(),
            "-c".into(),
            "-o".into(),
            table.clone().into(),
            env::current_exe()?.into(),
        ];
        let answer = run(&program, &self.words(entry), self.length() + patience)?;
        let text = fs::read_to_string(&table).unwrap_or_default();
        // It is not there when strace could not start.
        let _ = fs::remove_file(&table);
        Ok(match answer {
            Answer::Figures(_) => Ok(strace::parse(&text).values().sum()),
            other => Err(other),
        })
    }

    /// The other process: prints the figures and ends, whatever its threads are at.
    pub fn answer(words: &[String]) -> Result<(), String> {
        let (entry, question) = Self::read(words).ok_or_else(|| format!("no such sample: {words:?}"))?;
        let limit = question.length() + LONGEST;
        thread::spawn(move || {
            thread::sleep(limit);
            std::process::exit(1);
        });
        let measures = entry.measures;
        let figures = match question {
            Self::Cost(scenario, time) => (measures.cost)(entry.runtime, scenario, time),
            Self::Fairness(queue, limit) => (measures.fairness)(entry.runtime, queue, limit),
            Self::Probe(probe) => {
                let run = measures.probe.ok_or("threads cannot be cancelled")?;
                vec![run(entry.runtime, probe)]
            }
            Self::Pairs(pairs) => vec![(measures.pairs)(entry.runtime, pairs)],
        };
        let figures: Vec<_> = figures.iter().map(f64::to_string).collect();
        println!("{}", figures.join(" "));
        std::process::exit(0);
    }

    fn words(self, entry: &Entry) -> Vec<String> {
        let (kind, what, amount) = match self {
            Self::Cost(scenario, time) => ("cost", scenario.name, time.as_millis()),
            Self::Fairness(queue, limit) => ("fairness", queue.name, limit.as_millis()),
            Self::Probe(probe) => ("probe", probe.name(), 0),
            Self::Pairs(pairs) => ("pairs", "", u128::from(pairs)),
        };
        [SAMPLE, entry.pool, entry.runtime.name(), kind, what, &amount.to_string()].map(str::to_owned).into()
    }

    fn read(words: &[String]) -> Option<(Entry, Self)> {
        let [_, pool, runtime, kind, what, amount] = words else { return None };
        let amount = number("sample", amount).ok()?;
        let question = match kind.as_str() {
            "cost" => Self::Cost(Scenario::of(what)?, Duration::from_millis(amount)),
            "fairness" => Self::Fairness(Queue::of(what)?, Duration::from_millis(amount)),
            "probe" => Self::Probe(Probe::of(what)?),
            "pairs" => Self::Pairs(amount),
            _ => return None,
        };
        Some((Entry::find(pool, Runtime::of(runtime)?)?, question))
    }

    fn length(self) -> Duration {
        match self {
            Self::Cost(_, length) | Self::Fairness(_, length) => length,
            Self::Probe(_) | Self::Pairs(_) => Duration::ZERO,
        }
    }
}

fn run(program: &[OsString], words: &[String], limit: Duration) -> io::Result<Answer> {
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).args(words).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let output = collect(child.stdout.take().expect("stdout was asked for"));
    let complaints = collect(child.stderr.take().expect("stderr was asked for"));
    match output.recv_timeout(limit) {
        Ok(text) => {
            let good = child.wait()?.success();
            let figures: Option<Vec<f64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
            Ok(match figures {
                Some(figures) if good && !figures.is_empty() => Answer::Figures(figures),
                _ => Answer::Failed(complaints.recv_timeout(limit).unwrap_or_default()),
            })
        }
        Err(RecvTimeoutError::Timeout) => {
            end(&mut child)?;
            Ok(Answer::Hang)
        }
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the output of a sample cannot be read")),
    }
}

/// What comes out until the end, read by a thread so that no pipe fills and nobody waits for ever.
fn collect(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        if from.read_to_string(&mut text).is_ok() {
            // Nobody listens any more when the sample has been killed.
            let _ = sender.send(text.trim().to_owned());
        }
    });
    receiver
}

fn end(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// No sample outlives its length by more, not even one whose runner or strace has been killed. The most that can be asked
/// for as patience.
const LONGEST: Duration = Duration::from_secs(600);

/// The first word of a process that takes a sample.
pub const SAMPLE: &str = "sample";

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(program: &str, words: &[&str]) -> Answer {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        run(&[program.into()], &words, Duration::from_millis(300)).unwrap()
    }

    #[test]
    fn sample_that_says_nothing_in_time_hangs() {
        assert_eq!(outcome("sleep", &["60"]), Answer::Hang);
    }

    #[test]
    fn sample_that_fails_is_told_in_its_own_words() {
        assert_eq!(outcome("sh", &["-c", "echo 1; echo oh >&2; exit 3"]), Answer::Failed("oh".to_owned()));
        assert_eq!(outcome("echo", &["one", "2"]), Answer::Failed(String::new()));
        assert_eq!(outcome("echo", &["1.5", "2"]), Answer::Figures(vec![1.5, 2.0]));
    }

    #[test]
    fn other_process_understands_what_it_is_asked() {
        let entry = Entry::find("bb8", Runtime::MultiThread).unwrap();
        let asked = [
            Question::Cost(Scenario::ALL[3], Duration::from_millis(20)),
            Question::Fairness(Queue::ALL[1], Duration::from_millis(300)),
            Question::Probe(Probe::DroppedGrant),
            Question::Pairs(7),
        ];
        for question in asked {
            let (heard_by, heard) = Question::read(&question.words(&entry)).unwrap();
            assert_eq!(format!("{heard_by} {heard:?}"), format!("{entry} {question:?}"));
        }
    }
}
