//! What the two programs share: numbers from the command line, medians, and counts that strace takes. Knows neither
//! servers nor pools.

mod spread;
pub mod strace;

pub use spread::Spread;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::process::{Command, Stdio};
use std::str::FromStr;

/// The value of an option. The error names option and value.
pub fn number<T: FromStr<Err: Display>>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("{option} {value}: {error}"))
}

/// The value of an option that must lie within bounds. The error names option, value and bounds.
pub fn number_within<T>(option: &str, value: &str, bounds: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr<Err: Display> + PartialOrd + Display,
{
    let (least, most) = (bounds.start(), bounds.end());
    match value.parse() {
        Ok(number) if bounds.contains(&number) => Ok(number),
        Ok(_) => Err(format!("{option} {value}: must be from {least} to {most}")),
        Err(error) => Err(format!("{option} {value}: {error}; must be from {least} to {most}")),
    }
}

/// Why whatever needs `program` has to be skipped.
pub fn missing(program: &str) -> Option<String> {
    match Command::new(program).arg("--version").stdout(Stdio::null()).status() {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("`{program} --version` ended with {status}")),
        Err(error) => Some(format!("`{program}` cannot be run: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_with_option_value_and_bounds() {
        assert_eq!(number_within("--rounds", "7", 1..=9), Ok(7));
        for value in ["0", "10", "x", "-1"] {
            let error = number_within::<usize>("--rounds", value, 1..=9).unwrap_err();
            for word in ["--rounds", value, "from 1 to 9"] {
                assert!(error.contains(word), "{error}");
            }
        }
    }
}
