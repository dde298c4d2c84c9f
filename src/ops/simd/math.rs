//! exp and what is made of it, in sixteen lanes, the same polynomial on every instruction set.
//!
//! exp: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial of degree 6 in r (Cephes, `expf`), times 2^n. Measured
//! against f64 on -87..88: relative error below 2e-7. Below -87.3 it stays at exp(-87.3), about 1.2e-38, and above
//! 88.3 at exp(88.3): the softmax and the logistic function want no infinities. NaN stays NaN.

use super::Simd;

const LOWEST: f32 = -87.3;
const HIGHEST: f32 = 88.3;
/// ln 2 in two parts, so that n times the first is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

#[inline(always)]
pub(in crate::ops) unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the caller vouches for the instruction set; no memory is touched.
    unsafe {
        // x comes second, which is what min and max return for a NaN.
        let x = S::max(S::splat(LOWEST), S::min(S::splat(HIGHEST), x));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-LN_2_HIGH), x);
        let r = S::fma(n, S::splat(-LN_2_LOW), r);
        let mut p = S::splat(1.987_569_1e-4);
        p = S::fma(p, r, S::splat(1.398_199_9e-3));
        p = S::fma(p, r, S::splat(8.333_452e-3));
        p = S::fma(p, r, S::splat(4.166_579_6e-2));
        p = S::fma(p, r, S::splat(1.666_666_5e-1));
        p = S::fma(p, r, S::splat(0.5));
        let p = S::fma(p, S::mul(r, r), S::add(r, S::splat(1.0)));
        S::mul(p, S::exp2_integral(n))
    }
}

/// x / (1 + exp(-x)), the SiLU.
#[inline(always)]
pub(in crate::ops) unsafe fn silu<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the caller vouches for the instruction set; no memory is touched.
    unsafe { times_logistic::<S>(x, x) }
}

/// x / (1 + exp(-z))
#[inline(always)]
pub(in crate::ops) unsafe fn times_logistic<S: Simd>(x: S::F, z: S::F) -> S::F {
    // SAFETY: the caller vouches for the instruction set; no memory is touched.
    unsafe {
        let one = S::splat(1.0);
        S::div(x, S::add(one, exp::<S>(S::sub(S::splat(0.0), z))))
    }
}

/// 1 - 2 / (exp(2x) + 1); the absolute error is below 3e-7, the relative one grows towards 0.
#[inline(always)]
pub(in crate::ops) unsafe fn tanh<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the caller vouches for the instruction set; no memory is touched.
    unsafe {
        let one = S::splat(1.0);
        let e = exp::<S>(S::add(x, x));
        S::sub(one, S::div(S::splat(2.0), S::add(e, one)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Isa, Kernel, LANES};
    use super::*;

    enum Function {
        Exp,
        Silu,
        Tanh,
    }

    struct Map<'a>(Function, &'a [f32], &'a mut [f32]);

    impl Kernel for Map<'_> {
        unsafe fn run<S: Simd>(self) {
            for at in (0..self.1.len()).step_by(LANES) {
                // SAFETY: the lengths are multiples of sixteen; dispatch vouches for the instruction set.
                unsafe {
                    let x = S::load(self.1[at..at + LANES].as_ptr());
                    let y = match self.0 {
                        Function::Exp => exp::<S>(x),
                        Function::Silu => silu::<S>(x),
                        Function::Tanh => tanh::<S>(x),
                    };
                    S::store(self.2[at..at + LANES].as_mut_ptr(), y);
                }
            }
        }
    }

    fn check(
        function: fn() -> Function,
        expected: fn(f64) -> f64,
        from: f32,
        to: f32,
        relative: f64,
        absolute: f64,
    ) {
        let count = 160_000;
        let inputs: Vec<f32> = (0..count).map(|i| from + (to - from) * i as f32 / count as f32).collect();
        for isa in Isa::available() {
            let mut outputs = vec![0.0; count];
            // SAFETY: the slices are as long as each other and a multiple of sixteen.
            unsafe { isa.dispatch(Map(function(), &inputs, &mut outputs)) };
            for (&x, &y) in inputs.iter().zip(&outputs) {
                let exact = expected(f64::from(x));
                let error = (f64::from(y) - exact).abs();
                assert!(error <= relative * exact.abs() + absolute, "{isa} at {x}: {y}, exact {exact}");
            }
        }
    }

    #[test]
    fn exp_is_within_two_ulp() {
        check(|| Function::Exp, f64::exp, -87.0, 88.0, 2e-7, 0.0);
        check(|| Function::Exp, f64::exp, -1.0, 1.0, 1.5e-7, 0.0);
        check(|| Function::Exp, f64::exp, -1e4, -87.0, 1.0, 2e-38);
    }

    #[test]
    fn silu_and_tanh_follow_f64() {
        check(|| Function::Silu, |x| x / (1.0 + (-x).exp()), -80.0, 80.0, 5e-7, 0.0);
        check(|| Function::Tanh, f64::tanh, -20.0, 20.0, 0.0, 3e-7);
    }

    #[test]
    fn zero_is_exact_and_nan_stays() {
        for isa in Isa::available() {
            let inputs = [[0.0; 8], [f32::NAN; 8]].concat();
            let mut outputs = vec![0.0; LANES];
            // SAFETY: both hold sixteen elements.
            unsafe { isa.dispatch(Map(Function::Exp, &inputs, &mut outputs)) };
            assert!(
                outputs[..8].iter().all(|&y| y == 1.0) && outputs[8..].iter().all(|y| y.is_nan()),
                "{isa}"
            );
        }
    }
}
