//! Holm's step-down correction (Holm 1979): p-values of one family, adjusted so that the chance of any false
//! rejection stays below the level, whatever their dependence.

/// Adjusted p-values, in the order given.
pub fn holm(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut adjusted = vec![1.0; values.len()];
    let mut least = 0.0_f64;
    for (rank, place) in order.into_iter().enumerate() {
        let tests_left = (values.len() - rank) as f64;
        least = least.max((values[place] * tests_left).min(1.0));
        adjusted[place] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_p_adjust_of_r() {
        let check = |values: &[f64], expected: &[f64]| {
            let found = holm(values);
            let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(near && found.len() == expected.len(), "{values:?}: {found:?}");
        };
        // p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
        check(&[0.01, 0.04, 0.03, 0.005], &[0.03, 0.06, 0.06, 0.02]);
        check(&[0.2], &[0.2]);
        check(&[0.5, 0.6, 0.7], &[1.0, 1.0, 1.0]);
        check(&[0.02, 0.02], &[0.04, 0.04]);
        check(&[], &[]);
    }
}
