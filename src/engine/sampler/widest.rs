//! Loops over a row of logits, compiled for the widest vectors of the processor.
//!
//! The bits are the same everywhere: plain multiplications and additions, no fused ones, and sums in fixed lanes.

#![expect(
    clippy::inline_always,
    reason = "a loop has the widest vectors only when inlined into a function with them"
)]

/// Runs `body` with the widest vectors there are. What it calls must be `#[inline(always)]` to profit.
#[inline(always)]
pub fn widest<T>(body: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
        {
            // SAFETY: the features were found.
            return unsafe { avx512(body) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was found.
            return unsafe { avx2(body) };
        }
    }
    body()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512vl,avx512dq,avx512bw")]
fn avx512<T>(body: impl FnOnce() -> T) -> T {
    body()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<T>(body: impl FnOnce() -> T) -> T {
    body()
}
