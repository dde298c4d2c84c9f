//! The sixteen lanes as plain arrays, for any processor. Multiplies and adds are not fused.

use super::{Kernel, LANES, Simd};

#[derive(Clone, Copy)]
pub struct Portable;

/// Runs a kernel.
#[inline(never)]
pub unsafe fn run<K: Kernel>(kernel: K) {
    // SAFETY: every processor has these lanes; the caller vouches for the rest.
    unsafe { kernel.run::<Portable>() }
}

type F = [f32; LANES];
type B = [u8; LANES];

#[inline(always)]
fn zip(a: F, b: F, f: impl Fn(f32, f32) -> f32) -> F {
    let mut out = [0.0; LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane], b[lane]);
    }
    out
}

#[inline(always)]
fn widen(bytes: B, f: impl Fn(u8) -> f32) -> F {
    let mut out = [0.0; LANES];
    for lane in 0..LANES {
        out[lane] = f(bytes[lane]);
    }
    out
}

/// Folds the lanes in the order that the vector units do: i with i + 8, then 4, 2, 1.
#[inline(always)]
fn fold(mut x: F, f: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            x[lane] = f(x[lane], x[lane + half]);
        }
    }
    x[0]
}

impl Simd for Portable {
    type F = F;
    type B = B;
    type Quads = [[i8; 4]; LANES];
    type Sums = [i64; LANES];
    const QUAD_COLUMNS: usize = LANES;
    const QUAD_ROWS: usize = 2;
    const TILE_ROWS: usize = 2;
    const TILE_PANELS: usize = 1;
    const ATTENTION_ROWS: usize = 1;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) {
        // SAFETY: passes on what the caller vouches for.
        unsafe { run(kernel) }
    }

    #[inline(always)]
    unsafe fn prefetch<T>(_: *const T) {}
    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> F {
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { from.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u16) -> [F; 2] {
        // SAFETY: valid for sixteen pairs by the trait's contract.
        let pairs = unsafe { from.cast::<[[u16; 2]; LANES]>().read_unaligned() };
        [0, 1].map(|at| pairs.map(|pair| f32::from_bits(u32::from(pair[at]) << 16)))
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: F) {
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { to.cast::<F>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        let mut out = c;
        for lane in 0..LANES {
            out[lane] += a[lane] * b[lane];
        }
        out
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn round(x: F) -> F {
        // Adding and taking away 1.5 * 2^23 rounds to an integer in the current mode, nearest even.
        const SHIFT: f32 = 12_582_912.0;
        x.map(|x| (x + SHIFT) - SHIFT)
    }
    #[inline(always)]
    unsafe fn exp2_integral(n: F) -> F {
        n.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn within(x: F, other: F, first: usize, end: usize) -> F {
        let mut out = other;
        for lane in 0..LANES {
            if lane >= first && lane < end {
                out[lane] = x[lane];
            }
        }
        out
    }
    #[inline(always)]
    unsafe fn sum(x: F) -> f32 {
        fold(x, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn max_lane(x: F) -> f32 {
        fold(x, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> B {
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { from.cast::<B>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn bits(bytes: B, shift: u32, mask: u8) -> B {
        bytes.map(|byte| (byte >> shift) & mask)
    }
    #[inline(always)]
    unsafe fn or_shifted(a: B, b: B, shift: u32) -> B {
        let mut out = a;
        for lane in 0..LANES {
            out[lane] |= b[lane] << shift;
        }
        out
    }
    #[inline(always)]
    unsafe fn unsigned(bytes: B) -> F {
        widen(bytes, f32::from)
    }
    #[inline(always)]
    unsafe fn signed(bytes: B) -> F {
        widen(bytes, |byte| f32::from(byte as i8))
    }
    #[inline(always)]
    unsafe fn load_halves(from: *const u8) -> F {
        // SAFETY: valid for sixteen elements by the trait's contract.
        let halves = unsafe { from.cast::<[[u8; 2]; LANES]>().read_unaligned() };
        halves.map(|half| half::f16::from_le_bytes(half).to_f32())
    }
    #[inline(always)]
    unsafe fn load_byte_of_quads(from: *const u8, index: usize) -> B {
        // SAFETY: valid for sixteen quads by the trait's contract.
        let quads = unsafe { from.cast::<[[u8; 4]; LANES]>().read_unaligned() };
        quads.map(|quad| quad[index])
    }

    #[inline(always)]
    unsafe fn store_signed(to: *mut u8, x: F) {
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { to.cast::<B>().write_unaligned(x.map(|x| x as i8 as u8)) }
    }
    #[inline(always)]
    unsafe fn store_words(to: *mut i16, x: F) {
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { to.cast::<[i16; LANES]>().write_unaligned(x.map(|x| x as i16)) }
    }
    #[inline(always)]
    unsafe fn load_quads(from: *const u8) -> Self::Quads {
        // SAFETY: valid for sixteen quads by the trait's contract.
        unsafe { from.cast::<[[i8; 4]; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn zero_sums() -> Self::Sums {
        [0; LANES]
    }
    #[inline(always)]
    unsafe fn dot_quads(mut sums: Self::Sums, x: [i16; 4], w: Self::Quads) -> Self::Sums {
        for lane in 0..LANES {
            for at in 0..4 {
                sums[lane] += i64::from(i32::from(x[at]) * i32::from(w[lane][at]));
            }
        }
        sums
    }
    #[inline(always)]
    unsafe fn store_parts(high: *mut i32, low: *mut i32, sums: Self::Sums, add: bool) {
        for (lane, sum) in sums.into_iter().enumerate() {
            // SAFETY: valid for sixteen elements by the trait's contract.
            unsafe {
                let (high, low) = (high.add(lane), low.add(lane));
                let before = if add { (high.read(), low.read()) } else { (0, 0) };
                high.write(before.0 + (sum >> 8) as i32);
                low.write(before.1 + (sum & 0xff) as i32);
            }
        }
    }
    #[inline(always)]
    unsafe fn join_parts(high: *const i32, low: *const i32) -> F {
        let mut out = [0.0; LANES];
        for (lane, out) in out.iter_mut().enumerate() {
            // SAFETY: valid for sixteen elements by the trait's contract.
            let (high, low) = unsafe { (high.add(lane).read(), low.add(lane).read()) };
            *out = (256 * i64::from(high) + i64::from(low)) as f32;
        }
        out
    }
}
