//! The matrix kernels: tiles of R rows by P panels, one accumulator an output element.
//!
//! The invariant: an output is `fma(x[k], w[k], ..)` from k = 0 up in one chain, started at 0, with the bias added
//! last. Tile sizes only choose how many chains run side by side. Block weights go in chunks of the row, and the
//! chain rests in the output between two chunks, which loses no bit.

use std::ops::Range;

use super::Panels;
use super::blocks::{self, BlockFormat, CHUNK};
use crate::ops::simd::{Element, Kernel, LANES, Simd, load_some, peek, store_some, unroll};

/// Block panels that are widened side by side; the scratch of a thread is this many times 16 KiB on its stack.
const SCRATCH_PANELS: usize = 4;

/// `rows` rows of x times the given panels.
pub struct Gemm<'a> {
    pub x: &'a [f32],
    pub rows: usize,
    pub in_features: usize,
    pub out_features: usize,
    pub weight: &'a Panels,
    pub bias: Option<&'a [f32]>,
    pub panels: Range<usize>,
    /// `[rows, out_features]`; the kernel writes the columns of its panels.
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
            }
        }
    }
}

impl Gemm<'_> {
    /// Panels of the next group: many for a single row, where each gives one chain only.
    #[inline(always)]
    fn group<S: Simd>(&self, left: usize, most: usize) -> usize {
        if self.rows > 1 {
            return if left >= S::TILE_PANELS && most >= S::TILE_PANELS { S::TILE_PANELS } else { 1 };
        }
        let mut group = S::ROW_PANELS.min(most);
        while group > left {
            group /= 2;
        }
        group
    }

    #[inline(always)]
    unsafe fn dense<S: Simd, W: Element>(&self, panels: &[W]) {
        let stride = self.in_features * LANES;
        let mut panel = self.panels.start;
        while panel < self.panels.end {
            let group = self.group::<S>(self.panels.end - panel, usize::MAX);
            // SAFETY: the group's panels and columns are inside the weight and the output.
            unsafe {
                let strip = Strip {
                    x: self.x.as_ptr(),
                    x_stride: self.in_features,
                    rows: self.rows,
                    k: self.in_features,
                    weight: panels.as_ptr().add(panel * stride),
                    panel_stride: stride,
                    out: self.out.add(panel * LANES),
                    out_stride: self.out_features,
                    columns: self.out_features - panel * LANES,
                    first: true,
                    bias: self.bias.map(|bias| bias.as_ptr().add(panel * LANES)),
                };
                strip.run::<S>(group);
            }
            panel += group;
        }
    }

    #[inline(always)]
    unsafe fn blocks<S: Simd>(&self, format: BlockFormat, bytes: &[u8]) {
        let mut scratch = std::mem::MaybeUninit::<[f32; SCRATCH_PANELS * CHUNK * LANES]>::uninit();
        let scratch = scratch.as_mut_ptr().cast::<f32>();
        let stride = format.row_bytes(self.in_features) * LANES;
        let mut panel = self.panels.start;
        while panel < self.panels.end {
            let group = self.group::<S>(self.panels.end - panel, SCRATCH_PANELS);
            for start in (0..self.in_features).step_by(CHUNK) {
                let k = CHUNK.min(self.in_features - start);
                let last = start + k == self.in_features;
                // SAFETY: the chunk's blocks are inside the weight, the scratch takes four panels of a chunk, and
                // the group's columns are inside the output.
                unsafe {
                    for i in 0..group {
                        let from = (panel + i) * stride + format.row_bytes(start) * LANES;
                        let to = scratch.add(i * CHUNK * LANES);
                        blocks::widen::<S>(format, bytes.as_ptr().add(from), k, to);
                    }
                    let bias = self.bias.filter(|_| last);
                    let strip = Strip {
                        x: self.x.as_ptr().add(start),
                        x_stride: self.in_features,
                        rows: self.rows,
                        k,
                        weight: scratch.cast_const(),
                        panel_stride: CHUNK * LANES,
                        out: self.out.add(panel * LANES),
                        out_stride: self.out_features,
                        columns: self.out_features - panel * LANES,
                        first: start == 0,
                        bias: bias.map(|bias| bias.as_ptr().add(panel * LANES)),
                    };
                    strip.run::<S>(group);
                }
            }
            panel += group;
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
    out_stride: usize,
    /// Columns that exist from here on; the last panel may have fewer than sixteen.
    columns: usize,
    /// Start the chains at 0 instead of where the output stands.
    first: bool,
    /// Added when the chains end.
    bias: Option<*const f32>,
}

impl<W: Element> Strip<W> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, panels: usize) {
        // SAFETY: the caller vouches for `panels` panels behind the pointers. The comparisons with constants leave
        // only the tiles that the instruction set uses.
        unsafe {
            if self.rows == 1 {
                match panels {
                    8 if S::ROW_PANELS >= 8 => self.tile::<S, 1, 8>(0),
                    4 if S::ROW_PANELS >= 4 => self.tile::<S, 1, 4>(0),
                    2 => self.tile::<S, 1, 2>(0),
                    _ => self.tile::<S, 1, 1>(0),
                };
            } else if S::TILE_PANELS == 3 && panels == 3 {
                self.rows::<S, 3>();
            } else {
                self.rows::<S, 1>();
            }
        }
    }

    #[inline(always)]
    unsafe fn rows<S: Simd, const P: usize>(&self) {
        let mut row = 0;
        while row < self.rows {
            let left = self.rows - row;
            // SAFETY: the tile's rows are inside x and the output.
            row += unsafe {
                if S::TILE_ROWS >= 8 && left >= 8 {
                    self.tile::<S, 8, P>(row)
                } else if S::TILE_ROWS == 6 && left >= 6 {
                    self.tile::<S, 6, P>(row)
                } else if S::TILE_ROWS >= 4 && left >= 4 {
                    self.tile::<S, 4, P>(row)
                } else if left >= 2 {
                    self.tile::<S, 2, P>(row)
                } else {
                    self.tile::<S, 1, P>(row)
                }
            };
        }
    }

    /// R rows from `row` by P panels; returns R.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const P: usize>(&self, row: usize) -> usize {
        // SAFETY: the caller vouches for R rows and P panels behind the pointers.
        unsafe { S::call(Tile::<W, R, P> { strip: self, row }) };
        R
    }
}

/// R rows from `row` by P panels.
struct Tile<'a, W, const R: usize, const P: usize> {
    strip: &'a Strip<W>,
    row: usize,
}

impl<W: Element, const R: usize, const P: usize> Kernel for Tile<'_, W, R, P> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Strip { x, x_stride, k, weight, panel_stride, out, out_stride, columns, first, bias, .. } =
            *self.strip;
        // SAFETY: the caller vouches for R rows and P panels behind the pointers.
        unsafe {
            let x = x.add(self.row * x_stride);
            let out = out.add(self.row * out_stride);
            let mut sums = [[S::splat(0.0); P]; R];
            if !first {
                unroll!(r < R, {
                    unroll!(p < P, {
                        sums[r][p] = load_some::<S>(out.add(r * out_stride + p * LANES), columns - p * LANES);
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
                panels[p] = weight.wrapping_add(p * panel_stride);
            });
            for k in 0..k {
                let mut w = [S::splat(0.0); P];
                unroll!(p < P, {
                    w[p] = W::load::<S>(panels[p]);
                    panels[p] = panels[p].wrapping_add(LANES);
                });
                unroll!(r < R, {
                    let x = S::splat(peek(rows[r].wrapping_add(k)));
                    unroll!(p < P, {
                        sums[r][p] = S::fma(x, w[p], sums[r][p]);
                    });
                });
            }
            unroll!(p < P, {
                let columns = columns - p * LANES;
                let bias = bias.map(|bias| load_some::<S>(bias.add(p * LANES), columns));
                unroll!(r < R, {
                    let sum = match bias {
                        Some(bias) => S::add(sums[r][p], bias),
                        None => sums[r][p],
                    };
                    store_some::<S>(out.add(r * out_stride + p * LANES), sum, columns);
                });
            });
        }
    }
}
