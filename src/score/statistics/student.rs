//! Quantiles of Student's t: the regularised incomplete beta function by Lentz's continued fraction, inverted by
//! bisection. Follows Numerical Recipes, section 6.4; accurate to about 1e-10, which intervals do not need.

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

/// I_x(a, b)
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * continued_fraction(a, b, x) / a
    } else {
        1.0 - front * continued_fraction(b, a, 1.0 - x) / b
    }
}

fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            result *= d * c;
        }
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    result
}

/// Lanczos' approximation, g = 7, for positive arguments.
fn ln_gamma(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let series = COEFFICIENTS
        .iter()
        .enumerate()
        .fold(0.999_999_999_999_809_9, |sum, (i, coefficient)| sum + coefficient / (x + i as f64 + 1.0));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + series.ln()
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
