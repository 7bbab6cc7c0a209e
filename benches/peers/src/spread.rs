//! Median, lowest and highest of some numbers.

/// What a row says of its rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Spread {
    /// Of at least one number; of none it is all NaN.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let n = values.len();
        Self {
            median: (at(n.saturating_sub(1) / 2) + at(n / 2)) / 2.0,
            lowest: at(0),
            highest: at(n.saturating_sub(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_lies_between_the_two_middle_ones() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Spread { median: 2.0, lowest: 1.0, highest: 3.0 });
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 9.0]), Spread { median: 3.0, lowest: 1.0, highest: 9.0 });
        assert_eq!(Spread::of(vec![5.0]), Spread { median: 5.0, lowest: 5.0, highest: 5.0 });
    }
}
