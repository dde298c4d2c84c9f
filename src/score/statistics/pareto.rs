//! Accuracy against language following: which points no other beats in both.

use serde::{Deserialize, Serialize};

/// What a run reached in a language; shares.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub accuracy: f64,
    pub following: f64,
}

/// Shares nearer than this are equal.
const SAME: f64 = 1e-12;

impl Point {
    /// At least as good in both, and better in one.
    pub fn dominates(self, other: Self) -> bool {
        let least = (self.accuracy - other.accuracy).min(self.following - other.following);
        let most = (self.accuracy - other.accuracy).max(self.following - other.following);
        least >= -SAME && most > SAME
    }
}

/// Whether each point is on the Pareto front: dominated by none of the others.
pub fn pareto_front(points: &[Point]) -> Vec<bool> {
    points.iter().map(|point| !points.iter().any(|other| other.dominates(*point))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fronts() {
        let check = |points: &[(f64, f64)], expected: &[bool]| {
            let points: Vec<Point> = points
                .iter()
                .map(|(accuracy, following)| Point { accuracy: *accuracy, following: *following })
                .collect();
            assert_eq!(pareto_front(&points), expected, "{points:?}");
        };
        check(&[(0.5, 0.9), (0.6, 0.8), (0.4, 0.8)], &[true, true, false]);
        // Equal points do not dominate each other, and rounding makes no difference.
        check(&[(0.5, 0.3), (0.5, 0.1 + 0.2)], &[true, true]);
        check(&[(0.5, 0.3), (0.5, 0.4)], &[false, true]);
        check(&[], &[]);
    }
}
