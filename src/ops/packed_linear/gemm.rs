//! Matrix kernels in lanes of f32: tiles of R rows by P panels, one accumulator an output element. They serve f32
//! weights everywhere, block weights, and bf16 weights where the processor has no product of bf16 pairs.
//!
//! The invariant: an output is `fma(x[k], w[k], ..)` from k = 0 up in one chain, started at 0. Tile sizes only choose
//! how many chains run side by side. Block weights go in chunks of the row, and the chain rests in the output between
//! two chunks, which loses no bit.

use std::ops::Range;

use super::blocks::{self, BlockFormat, CHUNK};
use super::{PANELS_MAX, PanelElement, Panels};
use crate::ops::simd::{Element, Kernel, LANES, Simd, peek, unroll};

const PAIR: usize = 2;
/// From here on tiles are of so many rows and two panels, where there are registers for it (`Isa::gemm_panels`).
pub const FULL_ROWS: usize = 8;

/// Some rows of x times some panels.
pub struct Gemm<'a> {
    /// `[rows, in_features]`
    pub x: &'a [f32],
    pub in_features: usize,
    pub weight: &'a Panels,
    /// At most `PANELS_MAX`.
    pub panels: Range<usize>,
    /// Takes `[rows, PANELS_MAX * 16]`, of which the kernel writes the columns of its panels.
    pub out: *mut f32,
}

impl Kernel for Gemm<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the operation has checked the shapes: `x` and the panels are whole, and `out` takes the result.
        unsafe {
            match self.weight {
                Panels::F32(panels) => self.dense::<S, f32>(panels),
                Panels::Bf16(panels) => self.dense::<S, u16>(panels),
                Panels::Blocks { format, bytes } => self.blocks::<S>(*format, bytes),
                Panels::Int8(_) | Panels::F64(_) => unreachable!("these panels have kernels of their own"),
            }
        }
    }
}

impl Gemm<'_> {
    fn rows(&self) -> usize {
        self.x.len() / self.in_features
    }

    #[inline(always)]
    unsafe fn dense<S: Simd, W: PanelElement + Element>(&self, panels: &[W]) {
        let stride = W::panel_elements(self.in_features);
        let strip = Strip {
            x: self.x.as_ptr(),
            x_stride: self.in_features,
            rows: self.rows(),
            k: self.in_features,
            weight: panels[self.panels.start * stride..self.panels.end * stride].as_ptr(),
            panel_stride: stride,
            out: self.out,
            first: true,
        };
        // SAFETY: the slice above holds the panels whole, and `out` takes their columns.
        unsafe { strip.run::<S>(self.panels.len()) };
    }

    #[inline(always)]
    unsafe fn blocks<S: Simd>(&self, format: BlockFormat, bytes: &[u8]) {
        let mut scratch = std::mem::MaybeUninit::<[f32; PANELS_MAX * CHUNK * LANES]>::uninit();
        let scratch = scratch.as_mut_ptr().cast::<f32>();
        let stride = format.row_bytes(self.in_features) * LANES;
        for start in (0..self.in_features).step_by(CHUNK) {
            let k = CHUNK.min(self.in_features - start);
            // SAFETY: the chunk's blocks are inside the weight, the scratch takes `PANELS_MAX` panels of a chunk, and
            // the panels' columns are inside the output.
            unsafe {
                for (i, panel) in self.panels.clone().enumerate() {
                    let from = panel * stride + format.row_bytes(start) * LANES;
                    let to = scratch.add(i * CHUNK * LANES);
                    blocks::widen::<S>(
                        format,
                        bytes.as_ptr().add(from),
                        k.next_multiple_of(format.block_size()),
                        to,
                    );
                }
                let strip = Strip {
                    x: self.x.as_ptr().add(start),
                    x_stride: self.in_features,
                    rows: self.rows(),
                    k,
                    weight: scratch.cast_const(),
                    panel_stride: CHUNK * LANES,
                    out: self.out,
                    first: start == 0,
                };
                strip.run::<S>(self.panels.len());
            }
        }
    }
}

/// All rows against a few neighbouring panels.
#[derive(Clone, Copy)]
struct Strip<W> {
    x: *const f32,
    x_stride: usize,
    rows: usize,
    k: usize,
    weight: *const W,
    panel_stride: usize,
    out: *mut f32,
    /// Start the chains at 0 instead of where the output stands.
    first: bool,
}

impl<W: PanelElement + Element> Strip<W> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, panels: usize) {
        let mut panel = 0;
        while panel < panels {
            let left = panels - panel;
            // SAFETY: the caller vouches for `panels` panels behind the pointers. The comparisons with constants leave
            // only the tiles that the instruction set uses.
            panel += unsafe {
                if self.rows == 1 && left >= 4 {
                    self.tile::<S, 1, 4>(0, panel);
                    4
                } else if S::TILE_PANELS == 1 && S::TILE_ROWS == 5 && self.rows <= 3 && left >= 2 {
                    match self.rows {
                        3 => self.tile::<S, 3, 2>(0, panel),
                        2 => self.tile::<S, 2, 2>(0, panel),
                        _ => self.tile::<S, 1, 2>(0, panel),
                    };
                    2
                } else if S::TILE_PANELS >= 3 && left >= 3 && self.rows < FULL_ROWS {
                    self.all_rows::<S, 3>(panel)
                } else if S::TILE_PANELS >= 2 && left >= 2 {
                    self.all_rows::<S, 2>(panel)
                } else {
                    self.all_rows::<S, 1>(panel)
                }
            };
        }
    }

    #[inline(always)]
    unsafe fn all_rows<S: Simd, const P: usize>(&self, panel: usize) -> usize {
        let mut row = 0;
        while row < self.rows {
            let left = self.rows - row;
            // SAFETY: the tile's rows are inside x and the output.
            unsafe {
                row += if S::TILE_ROWS == 5 {
                    // Tiles of one panel have few chains, so none should be much smaller than the others.
                    match left.div_ceil(left.div_ceil(5)) {
                        5 => self.tile::<S, 5, P>(row, panel),
                        4 => self.tile::<S, 4, P>(row, panel),
                        3 => self.tile::<S, 3, P>(row, panel),
                        2 => self.tile::<S, 2, P>(row, panel),
                        _ => self.tile::<S, 1, P>(row, panel),
                    }
                } else {
                    match left {
                        8.. if S::TILE_ROWS >= 8 => self.tile::<S, 8, P>(row, panel),
                        4.. if S::TILE_ROWS >= 4 => self.tile::<S, 4, P>(row, panel),
                        2.. => self.tile::<S, 2, P>(row, panel),
                        _ => self.tile::<S, 1, P>(row, panel),
                    }
                };
            }
        }
        P
    }

    /// R rows from `row` by P panels from `panel`; returns R.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const P: usize>(&self, row: usize, panel: usize) -> usize {
        // SAFETY: the caller vouches for R rows and P panels behind the pointers.
        unsafe { S::call(Tile::<W, R, P> { strip: self, row, panel }) };
        R
    }
}

/// R rows from `row` by P panels from `panel`.
struct Tile<'a, W, const R: usize, const P: usize> {
    strip: &'a Strip<W>,
    row: usize,
    panel: usize,
}

impl<W: PanelElement + Element, const R: usize, const P: usize> Kernel for Tile<'_, W, R, P> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Strip { x, x_stride, k, weight, panel_stride, out, first, .. } = *self.strip;
        // SAFETY: the caller vouches for R rows and P panels behind the pointers.
        unsafe {
            let x = x.add(self.row * x_stride);
            let out = out.add(self.row * PANELS_MAX * LANES + self.panel * LANES);
            let mut sums = [[S::splat(0.0); P]; R];
            if !first {
                unroll!(r < R, {
                    unroll!(p < P, {
                        sums[r][p] = S::load(out.add((r * PANELS_MAX + p) * LANES));
                    });
                });
            }
            // Wrapping offsets and unaligned reads: the plain ones carry checks in a development build.
            let mut rows = [x; R];
            unroll!(r < R, {
                rows[r] = x.wrapping_add(r * x_stride);
            });
            let mut panels = [weight; P];
            unroll!(p < P, {
                panels[p] = weight.wrapping_add((self.panel + p) * panel_stride);
            });
            // While the first rows pass over a panel, the panels after it come into the second-level cache. One row alone
            // waits for memory anyway, and the processor looks ahead better.
            let ahead = if self.row == 0 { P * panel_stride } else { 0 };
            for pair in 0..k / 2 {
                let mut w = [[S::splat(0.0); 2]; P];
                unroll!(p < P, {
                    if R > 1 {
                        S::prefetch(panels[p].wrapping_add(ahead));
                    }
                    w[p] = W::load_two::<S>(panels[p]);
                    panels[p] = panels[p].wrapping_add(2 * LANES);
                });
                unroll!(at < PAIR, {
                    unroll!(r < R, {
                        let x = S::splat(peek(rows[r].wrapping_add(2 * pair + at)));
                        unroll!(p < P, {
                            sums[r][p] = S::fma(x, w[p][at], sums[r][p]);
                        });
                    });
                });
            }
            if k % 2 == 1 {
                unroll!(p < P, {
                    // A panel is padded to whole pairs.
                    let w = W::load_two::<S>(panels[p])[0];
                    unroll!(r < R, {
                        sums[r][p] = S::fma(S::splat(peek(rows[r].wrapping_add(k - 1))), w, sums[r][p]);
                    });
                });
            }
            unroll!(p < P, {
                unroll!(r < R, {
                    S::store(out.add((r * PANELS_MAX + p) * LANES), sums[r][p]);
                });
            });
        }
    }
}
