//! Sixteen lanes of f32 on whatever instruction set the machine has: the one vocabulary of every kernel here.
//!
//! A kernel is written once, generic over `Simd`, and compiled for each instruction set by `Isa::dispatch`,
//! which calls it inside a function that has the features enabled. Everything in between is
//! `#[inline(always)]`: a vector operation that is not inlined into such a function is a slow call.
//! Within one instruction set results are equal bit for bit whatever the shapes; between sets they differ by
//! rounding (the portable lanes do not fuse multiply and add).

#[cfg(target_arch = "x86_64")]
pub(super) mod amx;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
mod element;
pub(super) mod math;
mod portable;

use std::fmt;

pub(super) use element::Element;

/// The number of lanes, and of columns in a panel.
pub(super) const LANES: usize = 16;

/// Sixteen f32 lanes (`F`) and sixteen bytes (`B`).
///
/// # Safety
/// Every method needs the instruction set of the implementor, which `Isa::dispatch` vouches for; pointers must
/// be valid for sixteen elements, at any alignment.
pub(super) trait Simd: Copy + 'static {
    type F: Copy;
    type B: Copy;
    /// `QUAD_COLUMNS` times four signed bytes, widened to what `dot_quads` multiplies.
    type Quads: Copy;
    /// As many sums.
    type Sums: Copy;
    /// Columns of integer sums at once, sixteen or a half of it.
    const QUAD_COLUMNS: usize;
    /// Rows of x that meet a vector of quads together at most.
    const QUAD_ROWS: usize;
    /// Rows of a matrix tile for the highest throughput; smaller tiles take the rest.
    const TILE_ROWS: usize;
    /// Panels of a matrix tile of several rows.
    const TILE_PANELS: usize;
    /// Query rows that attention takes against a KV tile at once.
    const ATTENTION_ROWS: usize;

    /// Runs a kernel in a function of its own, with registers of its own.
    unsafe fn call<K: Kernel>(kernel: K);

    /// Asks for the line at any address, into the second-level cache.
    unsafe fn prefetch<T>(from: *const T);

    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(from: *const f32) -> Self::F;
    /// Sixteen pairs of bf16: the first of each pair, and the second.
    unsafe fn load_bf16_pairs(from: *const u16) -> [Self::F; 2];
    unsafe fn store(to: *mut f32, x: Self::F);
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, fused where the instruction set fuses.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The smaller; `b` where either is NaN.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// The larger; `b` where either is NaN.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// To the nearest integer, ties to even, for |x| < 2^22.
    unsafe fn round(x: Self::F) -> Self::F;
    /// 2^n for integral n in -126..=127.
    unsafe fn exp2_integral(n: Self::F) -> Self::F;
    /// `x` in the lanes first..end, `other` elsewhere.
    unsafe fn within(x: Self::F, other: Self::F, first: usize, end: usize) -> Self::F;
    /// The sum of the lanes, halving: lane i + lane i + 8, then 4, 2, 1.
    unsafe fn sum(x: Self::F) -> f32;
    /// The largest lane.
    unsafe fn max_lane(x: Self::F) -> f32;

    unsafe fn load_bytes(from: *const u8) -> Self::B;
    /// `(bytes >> shift) & mask`, byte by byte.
    unsafe fn bits(bytes: Self::B, shift: u32, mask: u8) -> Self::B;
    /// `a | (b << shift)`, byte by byte; the bits of `b` that would leave their byte are 0.
    unsafe fn or_shifted(a: Self::B, b: Self::B, shift: u32) -> Self::B;
    unsafe fn unsigned(bytes: Self::B) -> Self::F;
    unsafe fn signed(bytes: Self::B) -> Self::F;
    /// Sixteen IEEE halves.
    unsafe fn load_halves(from: *const u8) -> Self::F;
    /// Byte `index` of each of sixteen quads of bytes.
    unsafe fn load_byte_of_quads(from: *const u8, index: usize) -> Self::B;

    /// Integral lanes in -128..=127 as signed bytes; NaN as 0.
    unsafe fn store_signed(to: *mut u8, x: Self::F);
    /// Integral lanes in -32,767..=32,767; NaN as any number.
    unsafe fn store_words(to: *mut i16, x: Self::F);
    unsafe fn load_quads(from: *const u8) -> Self::Quads;
    unsafe fn zero_sums() -> Self::Sums;
    /// `sums + x w` in exact integers, x four numbers of sixteen bits that meet each quad of w. An i32 may hold the sum
    /// of half of the products.
    unsafe fn dot_quads(sums: Self::Sums, x: [i16; 4], w: Self::Quads) -> Self::Sums;
    /// The sums as `256 high + low`, added to what is there if so asked. Pointers are valid for `QUAD_COLUMNS`.
    unsafe fn store_parts(high: *mut i32, low: *mut i32, sums: Self::Sums, add: bool);
    /// Sixteen times `256 high + low`, rounded once.
    unsafe fn join_parts(high: *const i32, low: *const i32) -> Self::F;
}

/// A value at any alignment. Access through this type compiles to the bare load or store in a development build
/// too, where `read_unaligned` and the intrinsics check their pointers against a copy on the stack.
#[derive(Clone, Copy)]
#[repr(C, packed)]
pub(super) struct Unaligned<T: Copy>(T);

/// The `T` in the memory behind `from`.
#[inline(always)]
pub(super) unsafe fn peek<T: Copy, U>(from: *const U) -> T {
    // SAFETY: the caller vouches that the memory holds a T.
    unsafe { (*from.cast::<Unaligned<T>>()).0 }
}

/// Writes a `T` as `peek` reads it.
#[inline(always)]
pub(super) unsafe fn poke<T: Copy, U>(to: *mut U, value: T) {
    // SAFETY: the caller vouches for room for the value.
    unsafe { *to.cast::<Unaligned<T>>() = Unaligned(value) }
}

/// Something to run on an instruction set.
pub(super) trait Kernel {
    /// # Safety
    /// The processor has the instruction set `S`, and what the kernel itself demands of its pointers holds.
    unsafe fn run<S: Simd>(self);
}

/// A kernel written for one instruction set, which the function that runs it has enabled.
#[cfg(target_arch = "x86_64")]
pub(super) trait DotKernel {
    /// # Safety
    /// The processor has the instructions, and what the kernel itself demands of its pointers holds.
    unsafe fn run(self);
}

/// The body for each index below a constant of at most 16, written out: an array of vectors stays in registers
/// only when every index into it is a constant, and the compiler does not unroll loops this large by itself.
macro_rules! unroll {
    ($index:ident < $count:ident, $body:block) => {
        unroll!($index, $count, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($index:ident, $count:ident, $body:block, $($value:literal)*) => {
        $(if $value < $count {
            let $index: usize = $value;
            $body
        })*
    };
}
pub(super) use unroll;

/// The first `count` of sixteen floats, the rest 0.
#[inline(always)]
pub(super) unsafe fn load_some<S: Simd>(from: *const f32, count: usize) -> S::F {
    // SAFETY: the caller vouches for `count` readable elements and for the instruction set.
    unsafe {
        if count >= LANES {
            return S::load(from);
        }
        let mut lanes = [0.0; LANES];
        std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
        S::load(lanes.as_ptr())
    }
}

/// Stores the first `count` lanes.
#[inline(always)]
pub(super) unsafe fn store_some<S: Simd>(to: *mut f32, x: S::F, count: usize) {
    // SAFETY: the caller vouches for `count` writable elements and for the instruction set.
    unsafe {
        if count >= LANES {
            return S::store(to, x);
        }
        let mut lanes = [0.0; LANES];
        S::store(lanes.as_mut_ptr(), x);
        std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
    }
}

/// An instruction set that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Set);

/// Ordered: what a set has, the later ones have too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni => "avx512vnni",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Bf16 => "avx512bf16",
            #[cfg(target_arch = "x86_64")]
            Set::Amx => "amx",
        })
    }
}

impl Isa {
    /// The fastest present.
    pub fn detect() -> Self {
        let is_slow = |isa: &&Self| {
            #[cfg(target_arch = "x86_64")]
            return isa.0 == Set::Avx512Bf16 && avx512::multiplies_bf16_slowly();
            #[cfg(not(target_arch = "x86_64"))]
            return false;
        };
        Self::available().iter().rfind(|isa| !is_slow(isa)).copied().unwrap_or(Self(Set::Portable))
    }

    /// All that are present, the slowest first. The portable one is always there.
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self(Set::Portable)];
        #[cfg(target_arch = "x86_64")]
        found.extend(present_sets().into_iter().map_while(|(set, present)| present.then_some(Self(set))));
        found
    }

    /// Whether bf16 pairs are multiplied and summed by one instruction (VDPBF16PS).
    pub(super) fn has_bf16_dot(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 >= Set::Avx512Bf16;
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Whether four bytes are multiplied and summed by one instruction (VPDPBUSD).
    pub(super) fn has_byte_dot(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 >= Set::Avx512Vnni;
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Whether there are exact products of bytes worth rounding x to bytes for.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn multiplies_bytes(self) -> bool {
        self.0 >= Set::Avx2
    }

    /// Whether there are tiles (`amx`).
    pub(super) fn has_tiles(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 >= Set::Amx;
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Rows for which more panels at once pay, since one row of a panel gives one chain only.
    pub(super) fn few_rows(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Amx => amx::ROWS,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => 3,
            _ => 1,
        }
    }

    /// Panels of a matrix tile of several rows, the unit in which columns are handed out.
    pub(super) fn tile_panels(self) -> usize {
        match self.0 {
            Set::Portable => portable::Portable::TILE_PANELS,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => avx2::Avx2::TILE_PANELS,
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 | Set::Avx512Vnni | Set::Avx512Bf16 => avx512::Avx512::TILE_PANELS,
            #[cfg(target_arch = "x86_64")]
            Set::Amx => 2,
        }
    }

    /// The same for `Gemm`, where rows fill a tile: a third panel and fetching ahead do not fit the registers together.
    pub(super) fn gemm_panels(self) -> usize {
        self.tile_panels().min(2)
    }

    /// Runs the kernel on this instruction set.
    ///
    /// # Safety
    /// What the kernel demands of its pointers.
    #[inline]
    pub(super) unsafe fn dispatch<K: Kernel>(self, kernel: K) {
        // SAFETY: an `Isa` other than the portable one comes only out of `available`, which found the features;
        // the caller vouches for the kernel's pointers.
        unsafe {
            match self.0 {
                Set::Portable => portable::run(kernel),
                #[cfg(target_arch = "x86_64")]
                Set::Avx2 => avx2::run(kernel),
                #[cfg(target_arch = "x86_64")]
                Set::Avx512 | Set::Avx512Vnni | Set::Avx512Bf16 | Set::Amx => avx512::run(kernel),
            }
        }
    }
}

/// The sets of this architecture, the slowest first, and whether the processor has them.
#[cfg(target_arch = "x86_64")]
fn present_sets() -> [(Set, bool); 5] {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    [
        (Set::Avx2, avx2),
        (Set::Avx512, avx512),
        (Set::Avx512Vnni, is_x86_feature_detected!("avx512vnni")),
        (Set::Avx512Bf16, is_x86_feature_detected!("avx512bf16")),
        (Set::Amx, amx::available()),
    ]
}
