//! The tables and the JSON line.

use crate::cost::{Figure, Scenario};
use crate::fairness::{FIGURES, Queue};
use crate::probes::Probe;
use crate::roster::Entry;
use crate::sample::Answer;
use socketpool_peers::Spread;
use std::fmt::Write;

/// One scenario: the answers of all entries, by entry and then by round. The first entry is the baseline.
#[derive(Debug)]
pub struct Costs {
    pub scenario: Scenario,
    pub answers: Vec<(Entry, Vec<Answer>)>,
}

/// One queue: the answers by entry and then by run.
#[derive(Debug)]
pub struct Crowd {
    pub queue: Queue,
    pub answers: Vec<(Entry, Vec<Answer>)>,
}

/// The answers to all probes.
#[derive(Debug)]
pub struct Probed {
    pub entry: Entry,
    pub answers: Vec<(Probe, Answer)>,
}

/// What one pair takes, uncontended.
#[derive(Debug)]
pub struct Paired {
    pub entry: Entry,
    pub allocations: Answer,
    /// `None` if nothing counts them here.
    pub calls: Option<Answer>,
}

/// Everything that was measured; what was not is empty.
#[derive(Debug, Default)]
pub struct Report {
    pub costs: Vec<Costs>,
    pub crowds: Vec<Crowd>,
    pub probes: Vec<Probed>,
    pub pairs: Vec<Paired>,
}

impl Costs {
    /// Of the rounds in which both answered.
    fn ratios(&self, answers: &[Answer], figure: Figure) -> Spread {
        let rounds = self.answers[0].1.iter().zip(answers);
        let index = figure as usize;
        Spread::of(
            rounds.filter_map(|(base, answer)| Some(answer.figure(index)? / base.figure(index)?)).collect(),
        )
    }

    fn cell(&self, entry: &Entry, figure: Figure) -> String {
        let Some((_, answers)) =
            self.answers.iter().find(|(other, _)| other.to_string() == entry.to_string())
        else {
            return String::new();
        };
        let mut cell = if entry.is_baseline() {
            format!("1 ({:.0} ns)", median(answers, figure as usize))
        } else {
            let Spread { median, lowest, highest } = self.ratios(answers, figure);
            if median.is_nan() { String::new() } else { format!("{median:.2} ({lowest:.2}..{highest:.2})") }
        };
        append_trouble(&mut cell, answers);
        cell
    }
}

impl Report {
    pub fn cost_table(&self, figure: Figure, rounds: usize) -> String {
        let Some(first) = self.costs.first() else { return String::new() };
        let mut text = format!(
            "cost of a pair, {} time, ratio to the first row in the same round; {rounds} rounds\n{:24}",
            figure.name(),
            ""
        );
        for costs in &self.costs {
            let Scenario { name, workers, size, yields } = costs.scenario;
            let hold = if yields { ", yield" } else { "" };
            let _ = write!(text, "  {:>24}", format!("{name}: {workers} on {size}{hold}"));
        }
        text.push('\n');
        for (entry, _) in &first.answers {
            let _ = write!(text, "{entry:24}");
            for costs in &self.costs {
                let _ = write!(text, "  {:>24}", costs.cell(entry, figure));
            }
            text.push('\n');
        }
        text
    }

    pub fn probe_table(&self) -> String {
        let mut text = format!("cancellation, pool of 1\n{:24}", "");
        for probe in Probe::ALL {
            let _ = write!(text, "  {:>18}", probe.name());
        }
        text.push('\n');
        for Probed { entry, answers } in &self.probes {
            let _ = write!(text, "{entry:24}");
            for (probe, answer) in answers {
                let _ = write!(text, "  {:>18}", reading(*probe, answer));
            }
            text.push('\n');
        }
        text
    }

    pub fn pair_table(&self) -> String {
        let mut text = format!(
            "one pair, one worker, pool 4\n{:24}  {:>12}  {:>12}\n",
            "", "allocations", "system calls"
        );
        for Paired { entry, allocations, calls } in &self.pairs {
            let show = |answer: &Answer| match answer {
                // A count of nothing must not read as a negative one.
                Answer::Figures(figures) => format!("{:.3}", (figures[0] * 1e3).round() / 1e3 + 0.0),
                other => other.trouble().to_owned(),
            };
            let calls = calls.as_ref().map_or_else(|| "not counted".to_owned(), show);
            let _ = writeln!(text, "{entry:24}  {:>12}  {calls:>12}", show(allocations));
        }
        text
    }

    /// Everything in one line, for programs.
    pub fn json(&self) -> String {
        let costs = self.costs.iter().flat_map(|costs| {
            costs.answers.iter().map(|(entry, answers)| {
                let figures = Figure::ALL.map(|figure| {
                    let name = figure.name();
                    let ratio = spread(costs.ratios(answers, figure));
                    format!(r#""{name}_ns":{},"{name}_ratio":{ratio}"#, spread(all(answers, figure as usize)))
                });
                format!(
                    r#"{{{},"scenario":"{}",{},"hangs":{}}}"#,
                    identity(entry),
                    costs.scenario.name,
                    figures.join(","),
                    hangs(answers)
                )
            })
        });
        let crowds = self.crowds.iter().flat_map(|crowd| {
            crowd.answers.iter().map(|(entry, answers)| {
                let figures = FIGURES.iter().enumerate();
                let figures =
                    figures.map(|(index, name)| format!(r#""{name}":{}"#, value(median(answers, index))));
                let figures = figures.collect::<Vec<_>>().join(",");
                let queue = crowd.queue.name;
                format!(r#"{{{},"queue":"{queue}",{figures},"hangs":{}}}"#, identity(entry), hangs(answers))
            })
        });
        let probes = self.probes.iter().map(|Probed { entry, answers }| {
            let answers = answers.iter();
            let answers = answers.map(|(p, answer)| format!(r#""{}":"{}""#, p.name(), reading(*p, answer)));
            format!("{{{},{}}}", identity(entry), answers.collect::<Vec<_>>().join(","))
        });
        let pairs = self.pairs.iter().map(|Paired { entry, allocations, calls }| {
            let calls = calls.as_ref().and_then(|calls| calls.figure(0));
            let allocations = allocations.figure(0);
            format!(
                r#"{{{},"allocations":{},"system_calls":{}}}"#,
                identity(entry),
                value(allocations.unwrap_or(f64::NAN)),
                value(calls.unwrap_or(f64::NAN))
            )
        });
        format!(
            r#"{{"cost":[{}],"fairness":[{}],"probes":[{}],"pairs":[{}]}}"#,
            costs.collect::<Vec<_>>().join(","),
            crowds.collect::<Vec<_>>().join(","),
            probes.collect::<Vec<_>>().join(","),
            pairs.collect::<Vec<_>>().join(",")
        )
    }
}

impl Crowd {
    pub fn table(&self) -> String {
        let mut text = format!(
            "fairness {}: {}\n{:24}  {:>11}  {:>11}  {:>11}  {:>15}  {:>7}  {:>7}  {:>9}\n",
            self.queue.name,
            self.queue.about,
            "",
            "wait p50",
            "p99",
            "max",
            "overtaken (max)",
            "slowest",
            "fastest",
            "ops/s"
        );
        for (entry, answers) in &self.answers {
            let _ = write!(text, "{entry:24}");
            let figure = |index| median(answers, index);
            if !figure(0).is_nan() {
                for index in 0..3 {
                    let _ = write!(text, "  {:>11}", duration(figure(index)));
                }
                let _ = write!(
                    text,
                    "  {:>15}  {:>7.2}  {:>7.2}  {:>9.0}",
                    format!("{:.0} ({:.0})", figure(3), figure(4)),
                    figure(5),
                    figure(6),
                    figure(7)
                );
            }
            append_trouble(&mut text, answers);
            text.push('\n');
        }
        text
    }
}

impl Answer {
    fn figure(&self, index: usize) -> Option<f64> {
        match self {
            Self::Figures(figures) => figures.get(index).copied(),
            Self::Hang | Self::Failed(_) => None,
        }
    }

    fn trouble(&self) -> &'static str {
        match self {
            Self::Figures(_) => "",
            Self::Hang => "HANG",
            Self::Failed(words) if words.contains("panicked") => "PANIC",
            Self::Failed(_) => "FAILED",
        }
    }
}

fn append_trouble(text: &mut String, answers: &[Answer]) {
    for trouble in ["HANG", "PANIC", "FAILED"] {
        let count = answers.iter().filter(|answer| answer.trouble() == trouble).count();
        if count > 0 {
            let _ = write!(text, " {trouble} {count}/{}", answers.len());
        }
    }
}

fn reading(probe: Probe, answer: &Answer) -> &'static str {
    let (good, bad) = probe.answers();
    match answer.figure(0) {
        Some(1.0) => good,
        Some(_) => bad,
        None => answer.trouble(),
    }
}

/// One figure of those that have it.
fn all(answers: &[Answer], index: usize) -> Spread {
    Spread::of(answers.iter().filter_map(|answer| answer.figure(index)).collect())
}

fn median(answers: &[Answer], index: usize) -> f64 {
    all(answers, index).median
}

fn hangs(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| **answer == Answer::Hang).count()
}

fn identity(entry: &Entry) -> String {
    format!(r#""pool":"{}","runtime":"{}""#, entry.pool, entry.runtime.name())
}

fn spread(Spread { median, lowest, highest }: Spread) -> String {
    format!(r#"{{"median":{},"min":{},"max":{}}}"#, value(median), value(lowest), value(highest))
}

/// JSON knows no NaN.
fn value(number: f64) -> String {
    if number.is_finite() { format!("{number:.4}") } else { "null".to_owned() }
}

fn duration(micros: f64) -> String {
    if micros < 1_000.0 { format!("{micros:.1} us") } else { format!("{:.1} ms", micros / 1_000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::Runtime;

    fn answers(figures: &[f64]) -> Vec<Answer> {
        figures.iter().map(|figure| Answer::Figures(vec![*figure, 7.0])).collect()
    }

    fn costs(others: Vec<Answer>) -> (Costs, Entry) {
        let base = Entry::find("mutex-vec", Runtime::Threads).unwrap();
        let other = Entry::find("bb8", Runtime::CurrentThread).unwrap();
        let answers = vec![(base, answers(&[10.0, 20.0, 40.0])), (other, others)];
        (Costs { scenario: Scenario::ALL[0], answers }, other)
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let (costs, other) = costs(answers(&[11.0, 22.0, 44.0]));
        assert_eq!(costs.cell(&other, Figure::Wall), "1.10 (1.10..1.10)");
        assert_eq!(costs.cell(&other, Figure::Cpu), "1.00 (1.00..1.00)");
    }

    #[test]
    fn hangs_are_told_and_do_not_count_as_figures() {
        let mut others = answers(&[20.0, 40.0]);
        others.insert(1, Answer::Hang);
        let (costs, other) = costs(others);
        assert_eq!(costs.cell(&other, Figure::Wall), "1.50 (1.00..2.00) HANG 1/3");
        let report = Report { costs: vec![costs], ..Report::default() };
        assert!(report.json().contains(r#""hangs":1"#), "{}", report.json());
    }
}
