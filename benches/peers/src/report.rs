//! The table and the JSON line: medians, ratios of the same round, and how far they scatter.

use crate::rows::{BUSY, Compare, Figure, Reading, Row};
use crate::server::Role;
use socketpool_peers::Spread;
use std::fmt::Write;

/// Everything read in one row, one list of rounds for each server.
#[derive(Debug)]
pub struct Outcome {
    pub row: Row,
    /// Readings by server, then by round, then by figure.
    pub readings: Vec<(Role, Vec<Vec<Reading>>)>,
}

impl Outcome {
    /// The row's lines of the table, one for each figure.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (index, figure) in self.row.figures.iter().enumerate() {
            let title = format!("{} {}", self.row.name, figure.name);
            let _ = write!(text, "{title:24} {:>24}", figure.unit);
            for (role, _) in &self.readings {
                let _ = write!(text, "  {:>20}", self.cell(*role, index, figure));
            }
            text.push('\n');
            self.notes(index, &mut text);
            self.warn_if_not_quiet(index, figure, &mut text);
        }
        text
    }

    /// The load keeps a server busy all the time, unless other programs keep the load from running.
    fn warn_if_not_quiet(&self, index: usize, figure: &Figure, text: &mut String) {
        let Spread { median, .. } = Spread::of(self.values(self.baseline(), index));
        if figure.name == BUSY && median < QUIET {
            let _ = writeln!(
                text,
                "    THE MACHINE WAS NOT QUIET: {median:.0} % busy, {QUIET:.0} expected; do not quote this row"
            );
        }
    }

    fn cell(&self, role: Role, index: usize, figure: &Figure) -> String {
        if figure.compare == Compare::Ratio && role != self.baseline() {
            let Spread { median, lowest, highest } = self.ratios(role, index);
            return format!("{median:.3} ({lowest:.2}..{highest:.2})");
        }
        let Spread { median, .. } = Spread::of(self.values(role, index));
        format!("{median:.*}", if median.abs() < 100.0 { 3 } else { 0 })
    }

    /// The server that ratios are to: the first.
    fn baseline(&self) -> Role {
        self.readings.first().map_or(Role::Raw, |(role, _)| *role)
    }

    fn notes(&self, index: usize, text: &mut String) {
        for (role, rounds) in &self.readings {
            if let Some(note) = rounds.last().and_then(|round| round[index].note.as_ref()) {
                let _ = writeln!(text, "    {role}: {note}");
            }
        }
    }

    fn values(&self, role: Role, index: usize) -> Vec<f64> {
        let found = self.readings.iter().find(|(other, _)| *other == role);
        found.map_or_else(Vec::new, |(_, rounds)| rounds.iter().map(|round| round[index].value).collect())
    }

    fn ratios(&self, role: Role, index: usize) -> Spread {
        let bare = self.values(self.baseline(), index);
        Spread::of(self.values(role, index).iter().zip(bare).map(|(value, bare)| value / bare).collect())
    }

    fn json(&self, index: usize, figure: &Figure) -> String {
        let mut text = format!(
            r#"{{"row":"{}","figure":"{}","unit":"{}","servers":{{"#,
            self.row.name, figure.name, figure.unit
        );
        for (n, (role, _)) in self.readings.iter().enumerate() {
            let Spread { median, lowest, highest } = Spread::of(self.values(*role, index));
            let comma = if n == 0 { "" } else { "," };
            let _ = write!(text, r#"{comma}"{role}":{{"median":{median},"min":{lowest},"max":{highest}"#);
            if figure.compare == Compare::Ratio {
                let Spread { median, lowest, highest } = self.ratios(*role, index);
                let _ =
                    write!(text, r#","ratio":{median:.4},"ratio_min":{lowest:.4},"ratio_max":{highest:.4}"#);
            }
            text.push('}');
        }
        text + "}}"
    }
}

/// The line above the table.
pub fn header(roles: &[Role]) -> String {
    let mut text = format!("{:24} {:>24}", "row", "unit");
    for role in roles {
        let _ = write!(text, "  {role:>20}");
    }
    text
}

/// Everything in one line, for programs.
pub fn json(rounds: usize, outcomes: &[Outcome], skipped: &[&str]) -> String {
    let figures = outcomes.iter().flat_map(|outcome| {
        outcome.row.figures.iter().enumerate().map(|(index, figure)| outcome.json(index, figure))
    });
    let figures = figures.collect::<Vec<_>>().join(",");
    let skipped = skipped.iter().map(|row| format!(r#""{row}""#)).collect::<Vec<_>>().join(",");
    format!(r#"{{"rounds":{rounds},"figures":[{figures}],"skipped":[{skipped}]}}"#)
}

/// Per cent of its core that the bare server uses at least when nobody else wants the machine.
const QUIET: f64 = 80.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let round = |value: f64| vec![Reading::from(value), Reading::from(1.0), Reading::from(1.0)];
        let outcome = Outcome {
            row: crate::rows::ROWS[0],
            readings: vec![
                (Role::Raw, vec![round(10.0), round(20.0), round(40.0)]),
                (Role::Mio, vec![round(11.0), round(22.0), round(44.0)]),
            ],
        };
        let Spread { median, lowest, highest } = outcome.ratios(Role::Mio, 0);
        assert!([median, lowest, highest].iter().all(|ratio| (ratio - 1.1).abs() < 1e-9));
    }
}
