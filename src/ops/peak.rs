//! What this machine can do at most: multiply-adds a second on operands in registers, and bytes read a second. The
//! limits that a kernel's speed is held against, measured where it runs, since cores under one name differ.
//!
//! Every thread works on its own chains of products, as many side by side as a matrix tile has sums, so that the
//! latency of one is hidden behind the others. The best of several short measurements counts: whatever else ran on
//! the machine only ever made one slower. A multiply-add is two operations.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::aligned::AlignedBuffer;
use super::parallel::share;
use super::simd::{Kernel, LANES, Simd, unroll};
use super::{OpsError, Workers};

/// Seconds that one measurement takes at least: the start of the threads must not count.
const LEAST_SECONDS: f64 = 0.02;
const MEASUREMENTS: usize = 10;

/// The limits of a pool's threads together, on its instruction set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    pub f32_gflops: f64,
    /// Products of bf16 pairs with f32 sums. `None`: no instruction for them, so they cost what f32 does.
    pub bf16_gflops: Option<f64>,
    /// Products of bytes with i32 sums. `None`: no instruction for them.
    pub int8_gops: Option<f64>,
    /// From memory, 10^9 bytes a second.
    pub read_gbs: f64,
}

impl Peak {
    /// Takes some seconds. `read_bytes` is the memory that is read; it must be far beyond the caches.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn measure(workers: &Workers, read_bytes: usize) -> Result<Self, OpsError> {
        Ok(Self {
            f32_gflops: f32_rate(workers) / 1e9,
            bf16_gflops: bf16_rate(workers).map(|rate| rate / 1e9),
            int8_gops: int8_rate(workers).map(|rate| rate / 1e9),
            read_gbs: read_rate(workers, read_bytes)? / 1e9,
        })
    }
}

/// The best number of operations a second. `chains` does so many rounds of products, and says how many operations
/// they were.
fn best_rate(workers: &Workers, chains: &(dyn Fn(u64) -> u64 + Sync)) -> f64 {
    let measure = |rounds| {
        let operations = AtomicU64::new(0);
        let started = Instant::now();
        workers.run(workers.threads(), &|_| {
            operations.fetch_add(chains(rounds), Ordering::Relaxed);
        });
        (operations.into_inner() as f64, started.elapsed().as_secs_f64())
    };
    let mut rounds = 1 << 10;
    while measure(rounds).1 < LEAST_SECONDS {
        rounds *= 2;
    }
    let rates = (0..MEASUREMENTS).map(|_| measure(rounds)).map(|(operations, seconds)| operations / seconds);
    rates.fold(0.0, f64::max)
}

fn f32_rate(workers: &Workers) -> f64 {
    best_rate(workers, &|rounds| {
        let mut operations = 0;
        // SAFETY: the kernel takes no pointer.
        unsafe { workers.isa().dispatch(FmaChains { rounds, operations: &mut operations }) };
        operations
    })
}

struct FmaChains<'a> {
    rounds: u64,
    operations: &'a mut u64,
}

impl Kernel for FmaChains<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (rows, panels) = (S::TILE_ROWS, S::TILE_PANELS);
        // SAFETY: the dispatch vouches for the instruction set; the operations touch no memory.
        unsafe {
            // The compiler knows neither factor, so it cannot do the products beforehand.
            let (a, b) = (S::splat(black_box(1.0)), S::splat(black_box(1e-3)));
            let mut sums = [[S::splat(0.0); 16]; 16];
            for _ in 0..self.rounds {
                unroll!(row < rows, {
                    unroll!(panel < panels, {
                        sums[row][panel] = S::fma(a, b, sums[row][panel]);
                    });
                });
            }
            let mut total = S::splat(0.0);
            unroll!(row < rows, {
                unroll!(panel < panels, {
                    total = S::add(total, sums[row][panel]);
                });
            });
            black_box(S::sum(total));
        }
        *self.operations = self.rounds * (2 * LANES * rows * panels) as u64;
    }
}

#[cfg(target_arch = "x86_64")]
fn bf16_rate(workers: &Workers) -> Option<f64> {
    let isa = workers.isa();
    if isa.has_tiles() {
        return Some(best_rate(workers, &dot::bf16_tiles));
    }
    isa.has_bf16_dot().then(|| best_rate(workers, &dot::bf16_vectors))
}

#[cfg(target_arch = "x86_64")]
fn int8_rate(workers: &Workers) -> Option<f64> {
    let isa = workers.isa();
    if isa.has_tiles() {
        return Some(best_rate(workers, &dot::int8_tiles));
    }
    isa.has_byte_dot().then(|| best_rate(workers, &dot::int8_vectors))
}

#[cfg(not(target_arch = "x86_64"))]
fn bf16_rate(_: &Workers) -> Option<f64> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn int8_rate(_: &Workers) -> Option<f64> {
    None
}

/// Chains of dot products. Each is called only where its instructions were found (`Isa`), takes the rounds and
/// says the operations.
#[cfg(target_arch = "x86_64")]
mod dot {
    use std::arch::x86_64::{
        __m512bh, _mm512_add_epi32, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_dpbusd_epi32,
        _mm512_reduce_add_epi32, _mm512_reduce_add_ps, _mm512_set1_epi32, _mm512_setzero_ps,
        _mm512_setzero_si512,
    };
    use std::hint::black_box;

    use crate::ops::simd::DotKernel;
    use crate::ops::simd::amx::{ROW_BYTES, ROWS, Tiles};
    use crate::ops::simd::avx512::{run_bf16_dot, run_byte_dot};

    /// Independent sums of the vector chains: two a cycle, four to six cycles each, fit in.
    const CHAINS: usize = 16;

    struct Bf16(u64);
    struct Bytes(u64);

    impl DotKernel for Bf16 {
        #[inline(always)]
        unsafe fn run(self) {
            // SAFETY: the caller has found the instructions; 0x3f80 is 1.0, and any bits are a vector.
            unsafe {
                let a: __m512bh = std::mem::transmute(_mm512_set1_epi32(black_box(0x3f80_3f80)));
                let b: __m512bh = std::mem::transmute(_mm512_set1_epi32(black_box(0x3f80_3f80)));
                let mut sums = [_mm512_setzero_ps(); CHAINS];
                for _ in 0..self.0 {
                    for sum in &mut sums {
                        *sum = _mm512_dpbf16_ps(*sum, a, b);
                    }
                }
                let total =
                    sums.into_iter().fold(_mm512_setzero_ps(), |total, sum| _mm512_add_ps(total, sum));
                black_box(_mm512_reduce_add_ps(total));
            }
        }
    }

    impl DotKernel for Bytes {
        #[inline(always)]
        unsafe fn run(self) {
            // SAFETY: the caller has found the instructions.
            unsafe {
                let a = _mm512_set1_epi32(black_box(0x0101_0101));
                let b = _mm512_set1_epi32(black_box(0x0101_0101));
                let mut sums = [_mm512_setzero_si512(); CHAINS];
                for _ in 0..self.0 {
                    for sum in &mut sums {
                        *sum = _mm512_dpbusd_epi32(*sum, a, b);
                    }
                }
                let total =
                    sums.into_iter().fold(_mm512_setzero_si512(), |total, sum| _mm512_add_epi32(total, sum));
                black_box(_mm512_reduce_add_epi32(total));
            }
        }
    }

    pub fn bf16_vectors(rounds: u64) -> u64 {
        // SAFETY: called only where `Isa::has_bf16_dot`.
        unsafe { run_bf16_dot(Bf16(rounds)) };
        rounds * (CHAINS * 16 * 2 * 2) as u64
    }

    pub fn int8_vectors(rounds: u64) -> u64 {
        // SAFETY: called only where `Isa::has_byte_dot`.
        unsafe { run_byte_dot(Bytes(rounds)) };
        rounds * (CHAINS * 16 * 4 * 2) as u64
    }

    /// Two left tiles against two right ones, as a matrix kernel has them.
    pub fn bf16_tiles(rounds: u64) -> u64 {
        // SAFETY: called only where `Isa::has_tiles`, and no other tiles live on this thread.
        let tiles = unsafe { Tiles::configure() };
        zero(&tiles);
        for _ in 0..rounds {
            tiles.dot_bf16::<0, 4, 6>();
            tiles.dot_bf16::<1, 4, 7>();
            tiles.dot_bf16::<2, 5, 6>();
            tiles.dot_bf16::<3, 5, 7>();
        }
        rounds * (4 * ROWS * 16 * ROW_BYTES / 2 * 2) as u64
    }

    pub fn int8_tiles(rounds: u64) -> u64 {
        // SAFETY: as above.
        let tiles = unsafe { Tiles::configure() };
        zero(&tiles);
        for _ in 0..rounds {
            tiles.dot_i8::<0, 4, 6>();
            tiles.dot_i8::<1, 4, 7>();
            tiles.dot_i8::<2, 5, 6>();
            tiles.dot_i8::<3, 5, 7>();
        }
        rounds * (4 * ROWS * 16 * ROW_BYTES * 2) as u64
    }

    fn zero(tiles: &Tiles) {
        tiles.zero::<0>();
        tiles.zero::<1>();
        tiles.zero::<2>();
        tiles.zero::<3>();
        tiles.zero::<4>();
        tiles.zero::<5>();
        tiles.zero::<6>();
        tiles.zero::<7>();
    }
}

fn read_rate(workers: &Workers, bytes: usize) -> Result<f64, OpsError> {
    let mut buffer = AlignedBuffer::<f32>::zeroed("peak", bytes / size_of::<f32>())?;
    // Pages nobody has written are all one page of zeros, which lies in the cache.
    buffer.fill(1.0);
    let (data, threads) = (&*buffer, workers.threads());
    let measure = || {
        let started = Instant::now();
        workers.run(threads, &|part| {
            let data = &data[share(data.len(), threads, part)];
            // SAFETY: the kernel stays inside its slice.
            unsafe { workers.isa().dispatch(ReadAll { data }) };
        });
        size_of_val(data) as f64 / started.elapsed().as_secs_f64()
    };
    Ok((0..MEASUREMENTS).map(|_| measure()).fold(0.0, f64::max))
}

struct ReadAll<'a> {
    data: &'a [f32],
}

impl Kernel for ReadAll<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        /// Vectors that are summed side by side, so that the sums do not wait for each other.
        const WIDTH: usize = 4;
        // SAFETY: the dispatch vouches for the instruction set; a chunk has `WIDTH * LANES` elements.
        unsafe {
            let mut sums = [S::splat(0.0); 8];
            for chunk in self.data.chunks_exact(WIDTH * LANES) {
                unroll!(at < WIDTH, {
                    sums[at] = S::add(sums[at], S::load(chunk.as_ptr().add(at * LANES)));
                });
            }
            let mut total = S::splat(0.0);
            unroll!(at < WIDTH, {
                total = S::add(total, sums[at]);
            });
            black_box(S::sum(total));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Isa;

    #[test]
    fn every_instruction_set_has_its_limits() {
        for isa in Isa::available() {
            let peak = Peak::measure(&Workers::with_isa(2, isa), 1 << 20).unwrap();
            let known = [Some(peak.f32_gflops), peak.bf16_gflops, peak.int8_gops, Some(peak.read_gbs)];
            assert!(
                known.into_iter().flatten().all(|rate| rate.is_finite() && rate > 0.0),
                "{isa}: {peak:?}"
            );
        }
    }

    #[test]
    fn operations_are_counted() {
        let check = |operations: u64, expected: u64| assert_eq!(operations, expected);
        let mut operations = 0;
        let isa = Isa::available()[0];
        // SAFETY: the kernel takes no pointer.
        unsafe { isa.dispatch(FmaChains { rounds: 10, operations: &mut operations }) };
        // The portable tile has two rows of one panel.
        check(operations, 10 * 2 * 2 * 16);
        #[cfg(target_arch = "x86_64")]
        if Isa::detect().has_tiles() {
            check(dot::bf16_tiles(3), 3 * 4 * 16 * 16 * 32 * 2);
            check(dot::int8_tiles(3), 3 * 4 * 16 * 16 * 64 * 2);
        }
    }
}
