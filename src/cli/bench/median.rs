//! Medians, of which every figure of a report is one. Knows nothing of what is in the middle.

/// The middle of some values; of an even number of them, between the two.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some((values.get(low)? + values.get(high)?) / 2.0)
}

/// The median of one figure of all.
pub(super) fn median_of<T>(all: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    median(all.iter().map(figure).collect()).unwrap_or_default()
}

/// The same where it is not always known.
pub(super) fn median_known<T>(all: &[T], figure: impl Fn(&T) -> Option<f64>) -> Option<f64> {
    median(all.iter().filter_map(figure).collect())
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
