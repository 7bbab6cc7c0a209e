//! The command line.

use crate::cost::Scenario;
use crate::fairness::Queue;
use crate::roster::{Entry, Runtime};
use socketpool_peers::number_within;
use std::time::Duration;

/// What to measure, and how thoroughly.
#[derive(Debug)]
pub struct Options {
    pub sections: Vec<Section>,
    pub entries: Vec<Entry>,
    pub scenarios: Vec<Scenario>,
    pub queues: Vec<Queue>,
    pub rounds: usize,
    /// Length of one sample of a cost.
    pub time: Duration,
    pub fair_runs: usize,
    /// After which a run of a queue ends, however few have been served.
    pub fair_limit: Duration,
    /// How much longer than expected a sample may take before it counts as hanging.
    pub patience: Duration,
    pub json: bool,
}

/// One of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Cost,
    Fairness,
    Probes,
    Pairs,
}

impl Section {
    const ALL: [Self; 4] = [Self::Cost, Self::Fairness, Self::Probes, Self::Pairs];

    const fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Fairness => "fairness",
            Self::Probes => "probes",
            Self::Pairs => "pairs",
        }
    }
}

impl Options {
    /// `None` when help was asked for.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self::full();
        let mut runtimes = Runtime::ALL.to_vec();
        let mut pools = names(Entry::all().iter().map(|entry| entry.pool));
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut argument = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                // What `cargo bench` adds by itself.
                "--bench" => {}
                "--json" => options.json = true,
                "--quick" => {
                    options.rounds = 2;
                    options.time = Duration::from_millis(20);
                    options.fair_runs = 1;
                    options.fair_limit = Duration::from_millis(1_000);
                }
                "--rounds" => options.rounds = number_within(&word, &argument()?, 1..=999)?,
                "--millis" => options.time = millis(&word, &argument()?, 1, 60_000)?,
                "--fair-runs" => options.fair_runs = number_within(&word, &argument()?, 1..=99)?,
                // Below the 30 seconds after which most pools give up on a waiter.
                "--fair-limit" => options.fair_limit = millis(&word, &argument()?, 250, 25_000)?,
                "--patience" => options.patience = millis(&word, &argument()?, 1_000, 600_000)?,
                "--only" => options.sections = select(&word, &argument()?, &Section::ALL, Section::name)?,
                "--scenarios" => {
                    options.scenarios = select(&word, &argument()?, &Scenario::ALL, |s| s.name)?;
                }
                "--queues" => options.queues = select(&word, &argument()?, &Queue::ALL, |q| q.name)?,
                "--runtimes" => runtimes = select(&word, &argument()?, &Runtime::ALL, Runtime::name)?,
                "--pools" => pools = select(&word, &argument()?, &pools, |pool| pool)?,
                _ => return Err(format!("unknown option `{word}`; --help lists them")),
            }
        }
        // Without the baseline there is nothing to compare with.
        options.entries.retain(|entry| {
            entry.is_baseline() || (runtimes.contains(&entry.runtime) && pools.contains(&entry.pool))
        });
        Ok(Some(options))
    }

    fn full() -> Self {
        Self {
            sections: Section::ALL.to_vec(),
            entries: Entry::all(),
            scenarios: Scenario::ALL.to_vec(),
            queues: Queue::ALL.to_vec(),
            rounds: 7,
            time: Duration::from_millis(100),
            fair_runs: 3,
            fair_limit: Duration::from_secs(10),
            patience: Duration::from_secs(10),
            json: false,
        }
    }
}

pub const HELP: &str = "\
Client-side pools side by side.

  --only A,B         tables: cost fairness probes pairs (all)
  --pools A,B        pools: mutex-vec mutex-condvar r2d2 pingora-pool semaphore bb8 deadpool deadpool-wait
                     mobc fast_pool, and socketpool where it is built in (all; the first is always there)
  --runtimes A,B     threads; ct: tokio on one thread; mt2: tokio on two (all)
  --scenarios A,B    of cost: A B C D (all)
  --queues A,B       of fairness: io-64 io-8 busy-8 (all)
  --rounds N         rounds of cost, 1 to 999 (7)
  --millis N         length of one sample of cost, 1 to 60000 (100)
  --fair-runs N      runs of each queue, 1 to 99 (3)
  --fair-limit N     milliseconds after which a run ends in any case, 250 to 25000 (10000)
  --patience N       milliseconds beyond its length after which a sample counts as HANG, 1000 to 600000 (10000)
  --quick            a look, not a measurement: 2 rounds of 20 ms, one run of a second
  --json             one JSON object as the last line

Costs are ratios to `threads: mutex-vec` in the same round, median (lowest..highest).";

fn select<T: Copy>(
    option: &str,
    value: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<Vec<T>, String> {
    let find = |word| all.iter().copied().find(|item| name(*item) == word);
    let known = || all.iter().map(|item| name(*item)).collect::<Vec<_>>().join(", ");
    value
        .split(',')
        .map(|word| find(word).ok_or_else(|| format!("{option} {word}: must be one of {}", known())))
        .collect()
}

fn millis(option: &str, value: &str, least: u64, most: u64) -> Result<Duration, String> {
    Ok(Duration::from_millis(number_within(option, value, least..=most)?))
}

/// Each once, in order.
fn names(all: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut names = Vec::new();
    for name in all {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn baseline_is_measured_even_when_nobody_asks_for_it() {
        let options = parse("--pools bb8 --runtimes ct").unwrap().unwrap();
        let entries: Vec<_> = options.entries.iter().map(ToString::to_string).collect();
        assert_eq!(entries, ["threads: mutex-vec", "ct: bb8"]);
    }

    #[test]
    fn mistakes_are_told_with_option_value_and_bound() {
        for (line, words) in [
            ("--rounds", vec!["--rounds", "value"]),
            ("--rounds 0", vec!["--rounds", "0", "from 1 to 999"]),
            ("--millis x", vec!["--millis", "x", "from 1 to 60000"]),
            ("--fair-limit 30000", vec!["--fair-limit", "30000", "25000"]),
            ("--only cost,x", vec!["--only", "x", "one of cost, fairness"]),
            ("--pools x", vec!["--pools", "x", "r2d2"]),
            ("--what", vec!["--what"]),
        ] {
            let error = parse(line).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{line}: {error}");
            }
        }
    }

    #[test]
    fn help_lists_everything_that_can_be_chosen() {
        let pools = Entry::all().into_iter().map(|entry| entry.pool);
        let others = Section::ALL.iter().map(|s| s.name()).chain(Scenario::ALL.iter().map(|s| s.name));
        let others =
            others.chain(Queue::ALL.iter().map(|q| q.name)).chain(Runtime::ALL.iter().map(|r| r.name()));
        for name in pools.chain(others) {
            assert!(HELP.contains(name), "{name}");
        }
    }
}
