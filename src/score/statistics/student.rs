//! Quantiles of Student's t: its distribution from the incomplete beta function, inverted by bisection.

use super::beta::incomplete_beta;

/// The value below which a t variable with `degrees` of freedom falls with probability `p`; NaN outside 0 < p < 1.
pub fn student_t_quantile(p: f64, degrees: f64) -> f64 {
    // The negated form also refuses NaN.
    if !(p > 0.0 && p < 1.0 && degrees > 0.0) {
        return f64::NAN;
    }
    if p < 0.5 {
        return -student_t_quantile(1.0 - p, degrees);
    }
    let mut high = 1.0;
    while cumulative(high, degrees) < p && high < 1e15 {
        high *= 2.0;
    }
    let mut low = 0.0;
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if cumulative(middle, degrees) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

fn cumulative(t: f64, degrees: f64) -> f64 {
    let tail = 0.5 * incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t));
    if t > 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(p: f64, degrees: f64, expected: f64) {
        let found = student_t_quantile(p, degrees);
        assert!((found - expected).abs() < 5e-4 * expected.abs().max(1.0), "t({p}, {degrees}) = {found}");
    }

    #[test]
    fn quantiles_of_the_printed_tables() {
        check(0.975, 1.0, 12.706);
        check(0.975, 2.0, 4.303);
        check(0.975, 9.0, 2.262);
        check(0.975, 29.0, 2.045);
        check(0.975, 100.0, 1.984);
        check(0.975, 1e6, 1.960);
        check(0.95, 10.0, 1.812);
        check(0.025, 29.0, -2.045);
        check(0.5, 7.0, 0.0);
        assert!(student_t_quantile(1.0, 3.0).is_nan() && student_t_quantile(0.9, 0.0).is_nan());
    }

    #[test]
    fn one_degree_is_cauchy() {
        for p in [0.6, 0.75, 0.9, 0.99] {
            let expected = (std::f64::consts::PI * (p - 0.5)).tan();
            assert!((student_t_quantile(p, 1.0) - expected).abs() < 1e-8 * expected.max(1.0));
        }
    }
}
