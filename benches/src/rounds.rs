//! Measuring on a machine that does other things too: contenders take turns, and the least disturbed turn counts.

/// The indexes 0 to `count`, beginning at another one each `turn`, so that none always follows the same neighbour.
pub(crate) fn rotation(count: usize, turn: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |offset| (turn + offset) % count)
}

/// What one contender took for one thing, turn by turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The sample that a share of all samples is at or under, the share from 0 to 1; NaN without samples.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of samples"
        )]
        let place = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
        sorted.get(place).copied().unwrap_or(f64::NAN)
    }

    /// NaN without samples.
    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// NaN without samples.
    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    /// The middle one; NaN without samples.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_has_its_turn_first() {
        let orders: Vec<Vec<usize>> = (0..3).map(|turn| rotation(3, turn).collect()).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
    }

    #[test]
    fn minimum_and_median_are_among_the_samples() {
        let samples = Samples(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!((samples.min(), samples.median(), samples.quantile(0.99)), (1.0, 3.0, 4.0));
        assert!(Samples::default().min().is_nan() && Samples::default().median().is_nan());
    }
}
