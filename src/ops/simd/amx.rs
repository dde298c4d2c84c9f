//! Intel AMX: eight tile registers of sixteen rows by 64 bytes, and products of tiles.
//!
//! `dot_bf16`: c[m][n] += sum over pairs of a[m][2p..] * b[p][n][..], f32 sums in the one order the processor has,
//! row by row, so a row's bits do not depend on the rows beside it. `dot_i8` is the same for signed bytes in groups
//! of four, exact in i32. A right-hand tile is sixteen rows of sixteen columns of four bytes (two bf16 or four
//! bytes of one column, neighbours along the reduction): 1 KiB, just as panels and KV tiles keep it.
//! Reference: Intel 64 and IA-32 Architectures Software Developer's Manual, TDPBF16PS and TDPBSSD.
//!
//! The compiler has no stable intrinsics for these, so they are single instructions in `asm!`. Tile registers are
//! unknown to the compiler, hence live across statements; every user keeps to one function with no call between.
//! Rows that do not exist are zeros, since a product takes about the same time for one row as for sixteen.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::sync::OnceLock;

/// Rows of a tile.
pub const ROWS: usize = 16;
/// Bytes of a tile's row.
pub const ROW_BYTES: usize = 64;

/// Whether the processor has bf16 and int8 tiles and the system lets this process use them.
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| present() && permitted())
}

fn present() -> bool {
    const BF16_TILE_INT8: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    const TILE_STATE: u64 = 1 << 17 | 1 << 18;
    if !is_x86_feature_detected!("xsave") || __cpuid_count(0, 0).eax < 7 {
        return false;
    }
    // SAFETY: xsave was found above, and the system enables it before it reports it.
    let enabled = unsafe { xgetbv() };
    __cpuid_count(7, 0).edx & BF16_TILE_INT8 == BF16_TILE_INT8 && enabled & TILE_STATE == TILE_STATE
}

#[target_feature(enable = "xsave")]
unsafe fn xgetbv() -> u64 {
    // SAFETY: register 0 exists wherever xsave does.
    unsafe { _xgetbv(0) }
}

/// Linux gives tile data to processes that ask. The answer holds for every thread, later ones too.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const REQUEST_PERMISSION: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: this call reads two integers and touches no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// The tile registers of this thread, configured; released when dropped, so that a context switch is cheap again.
pub struct Tiles(());

#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Left sides (4, 5) of `depth` bytes a row, right sides (6, 7) of as many rows as meet them, all else whole.
    const fn depth(depth: usize) -> Self {
        let mut configuration =
            Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let mut tile = 0;
        while tile < 8 {
            let (left, right) = (tile / 2 == 2, tile / 2 == 3);
            configuration.row_bytes[tile] = (if left { depth } else { ROW_BYTES }) as u16;
            configuration.rows[tile] = (if right { depth / 4 } else { ROWS }) as u8;
            tile += 1;
        }
        configuration
    }
}

/// How far a product of tiles reaches along the reduction.
#[derive(Clone, Copy)]
pub enum Depth {
    Bytes16,
    Bytes32,
}

#[expect(clippy::unused_self, reason = "`self` is the proof that the tiles are configured")]
impl Tiles {
    /// All tiles whole.
    ///
    /// # Safety
    /// `available()`; no other `Tiles` lives on this thread.
    #[inline(always)]
    pub unsafe fn configure() -> Self {
        static WHOLE: Configuration = Configuration::depth(ROW_BYTES);
        // SAFETY: the caller's word.
        unsafe { Self::load_configuration(&WHOLE) }
    }

    /// Tiles 0 to 3 whole; 4 and 5, for left sides, of so many bytes a row, and 6 and 7, for right sides, of as many
    /// rows as meet them.
    ///
    /// # Safety
    /// That of `configure`.
    #[inline(always)]
    pub unsafe fn configure_depth(depth: Depth) -> Self {
        static BYTES_16: Configuration = Configuration::depth(16);
        static BYTES_32: Configuration = Configuration::depth(32);
        // SAFETY: the caller's word.
        unsafe {
            Self::load_configuration(match depth {
                Depth::Bytes16 => &BYTES_16,
                Depth::Bytes32 => &BYTES_32,
            })
        }
    }

    #[inline(always)]
    unsafe fn load_configuration(configuration: &'static Configuration) -> Self {
        // SAFETY: reads 64 bytes that are there.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const *configuration, options(nostack, preserves_flags, readonly));
        }
        Self(())
    }

    /// Tile T becomes 0.
    #[inline(always)]
    pub fn zero<const T: usize>(&self) {
        // SAFETY: `self` says that the tiles are configured.
        unsafe { asm!("tilezero tmm{}", const T, options(nostack, preserves_flags, nomem)) };
    }

    /// Sixteen rows of 64 bytes, `stride` bytes apart.
    ///
    /// # Safety
    /// They are readable.
    #[inline(always)]
    pub unsafe fn load<const T: usize>(&self, from: *const u8, stride: usize) {
        // SAFETY: the caller's word.
        unsafe {
            asm!("tileloadd tmm{}, [{} + {}*1]", const T, in(reg) from, in(reg) stride, options(nostack, preserves_flags, readonly));
        };
    }

    /// # Safety
    /// Sixteen rows of 64 bytes, `stride` bytes apart, are writable.
    #[inline(always)]
    pub unsafe fn store<const T: usize>(&self, to: *mut u8, stride: usize) {
        // SAFETY: the caller's word.
        unsafe {
            asm!("tilestored [{} + {}*1], tmm{}", in(reg) to, in(reg) stride, const T, options(nostack, preserves_flags));
        };
    }

    /// C += A B: f32 sums of bf16 pairs. Denormals count as 0; no exception is raised.
    #[inline(always)]
    pub fn dot_bf16<const C: usize, const A: usize, const B: usize>(&self) {
        // SAFETY: `self` says that the tiles are configured.
        unsafe {
            asm!("tdpbf16ps tmm{}, tmm{}, tmm{}", const C, const A, const B, options(nostack, preserves_flags, nomem));
        };
    }

    /// C += A B: i32 sums of four products of signed bytes.
    #[inline(always)]
    pub fn dot_i8<const C: usize, const A: usize, const B: usize>(&self) {
        // SAFETY: `self` says that the tiles are configured.
        unsafe {
            asm!("tdpbssd tmm{}, tmm{}, tmm{}", const C, const A, const B, options(nostack, preserves_flags, nomem));
        };
    }
}

impl Drop for Tiles {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the tiles exist, or there would be no `Tiles`.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
    }
}
