//! Counts and times as text.

use socketpool::{Reason, Refusal};

/// 1234567 as 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn millis(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1_000.0)
}

/// The reasons that occurred, as their words.
pub(crate) fn reasons(counts: &[u64; Reason::COUNT]) -> Vec<(&'static str, u64)> {
    let all = Reason::ALL.iter().map(|reason| reason.as_str()).zip(counts.iter().copied());
    all.filter(|&(_, count)| count > 0).collect()
}

pub(crate) fn refusals(counts: &[u64; Refusal::COUNT]) -> Vec<(&'static str, u64)> {
    let all = Refusal::ALL.iter().map(|refusal| refusal.as_str()).zip(counts.iter().copied());
    all.filter(|&(_, count)| count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
