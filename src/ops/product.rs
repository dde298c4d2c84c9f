//! `C = A B` or `C += A B` of small pieces that lie in memory: what backward passes and dense attention are made of.
//! B is in panels of sixteen columns, as packed weights are.
//!
//! An element of C is one chain of fused sums over k, ascending; it may rest in C between two pieces of k, which loses
//! no bit. So it does not depend on how many rows and panels are taken at once.

use super::real::Real;
use super::simd::{Kernel, LANES, Simd, peek, unroll};

/// The pointers are valid for what the fields say, and C overlaps neither A nor B.
#[derive(Clone, Copy)]
pub struct Product<T> {
    /// `[rows, k]`, the rows `a_stride` apart, the elements of a row `a_step`.
    pub a: *const T,
    pub a_stride: usize,
    pub a_step: usize,
    pub rows: usize,
    pub k: usize,
    /// `[panels][k][16]`, the panels `b_stride` apart.
    pub b: *const T,
    pub b_stride: usize,
    pub panels: usize,
    /// Sixteen columns a row and panel; the rows `c_stride` apart, the panels `c_panel`.
    pub c: *mut T,
    pub c_stride: usize,
    pub c_panel: usize,
    /// Start the sums at 0 instead of at what C holds.
    pub first: bool,
}

pub(super) struct ProductKernel(pub Product<f32>);

impl Kernel for ProductKernel {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let product = &self.0;
        let mut panel = 0;
        while panel < product.panels {
            let left = product.panels - panel;
            // SAFETY: the caller vouches for `panels` panels. The comparisons with constants leave only the tiles that the
            // instruction set uses.
            panel += unsafe {
                if S::TILE_PANELS >= 3 && left >= 3 {
                    all_rows::<S, 3>(product, panel)
                } else if S::TILE_PANELS >= 2 && left >= 2 {
                    all_rows::<S, 2>(product, panel)
                } else {
                    all_rows::<S, 1>(product, panel)
                }
            };
        }
    }
}

#[inline(always)]
unsafe fn all_rows<S: Simd, const P: usize>(product: &Product<f32>, panel: usize) -> usize {
    let mut row = 0;
    while row < product.rows {
        let left = product.rows - row;
        // SAFETY: the tile's rows are inside A and C.
        unsafe {
            row += match left {
                8.. if S::TILE_ROWS >= 8 => tile::<S, 8, P>(product, row, panel),
                5.. if S::TILE_ROWS == 5 => tile::<S, 5, P>(product, row, panel),
                4.. if S::TILE_ROWS >= 4 => tile::<S, 4, P>(product, row, panel),
                2.. => tile::<S, 2, P>(product, row, panel),
                _ => tile::<S, 1, P>(product, row, panel),
            };
        }
    }
    P
}

/// R rows from `row` by P panels from `panel`; returns R.
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const P: usize>(
    product: &Product<f32>,
    row: usize,
    panel: usize,
) -> usize {
    // SAFETY: the caller vouches for R rows and P panels behind the pointers.
    unsafe { S::call(Tile::<R, P> { product, row, panel }) };
    R
}

struct Tile<'a, const R: usize, const P: usize> {
    product: &'a Product<f32>,
    row: usize,
    panel: usize,
}

impl<const R: usize, const P: usize> Kernel for Tile<'_, R, P> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Product { a, a_stride, a_step, k, b, b_stride, c, c_stride, c_panel, first, .. } = *self.product;
        // SAFETY: the caller vouches for R rows and P panels behind the pointers.
        unsafe {
            let c = c.add(self.row * c_stride + self.panel * c_panel);
            let mut sums = [[S::splat(0.0); P]; R];
            if !first {
                unroll!(r < R, {
                    unroll!(p < P, {
                        sums[r][p] = S::load(c.add(r * c_stride + p * c_panel));
                    });
                });
            }
            // Wrapping offsets and unaligned reads: the plain ones carry checks in a development build.
            let mut a = a.wrapping_add(self.row * a_stride);
            let mut panels = [b; P];
            unroll!(p < P, {
                panels[p] = b.wrapping_add((self.panel + p) * b_stride);
            });
            let mut left = k;
            while left >= 2 {
                step::<S, R, P>(a, a_stride, &panels, 0, &mut sums);
                step::<S, R, P>(a.wrapping_add(a_step), a_stride, &panels, LANES, &mut sums);
                a = a.wrapping_add(2 * a_step);
                unroll!(p < P, {
                    panels[p] = panels[p].wrapping_add(2 * LANES);
                });
                left -= 2;
            }
            if left == 1 {
                step::<S, R, P>(a, a_stride, &panels, 0, &mut sums);
            }
            unroll!(r < R, {
                unroll!(p < P, {
                    S::store(c.add(r * c_stride + p * c_panel), sums[r][p]);
                });
            });
        }
    }
}

/// One element of each row times one row of each panel, which lies at `offset`.
#[inline(always)]
unsafe fn step<S: Simd, const R: usize, const P: usize>(
    a: *const f32,
    a_stride: usize,
    panels: &[*const f32; P],
    offset: usize,
    sums: &mut [[S::F; P]; R],
) {
    // SAFETY: the caller vouches for the elements.
    unsafe {
        let mut w = [S::splat(0.0); P];
        unroll!(p < P, {
            w[p] = S::load(panels[p].wrapping_add(offset));
        });
        unroll!(r < R, {
            let x = S::splat(peek(a.wrapping_add(r * a_stride)));
            unroll!(p < P, {
                sums[r][p] = S::fma(x, w[p], sums[r][p]);
            });
        });
    }
}

/// The same in plain loops.
///
/// # Safety
/// What `Product` demands of its pointers.
pub(super) unsafe fn plain_product<T: Real>(product: Product<T>) {
    let Product { a, a_stride, a_step, rows, k, b, b_stride, panels, c, c_stride, c_panel, first } = product;
    for (row, panel) in (0..rows).flat_map(|row| (0..panels).map(move |panel| (row, panel))) {
        // SAFETY: the row and the panel are inside, by the caller's word.
        let (w, c) = unsafe {
            (
                std::slice::from_raw_parts(b.add(panel * b_stride), k * LANES),
                std::slice::from_raw_parts_mut(c.add(row * c_stride + panel * c_panel), LANES),
            )
        };
        if first {
            c.fill(T::zero());
        }
        for (at, w) in w.chunks_exact(LANES).enumerate() {
            // SAFETY: as above.
            let x = unsafe { *a.add(row * a_stride + at * a_step) };
            for (c, &w) in c.iter_mut().zip(w) {
                *c = x.mul_add(w, *c);
            }
        }
    }
}

/// `[n, width]`, the rows `stride` apart, as B with k along the rows: `[width / 16][n][16]`, missing columns 0.
pub(super) fn panels_of_columns<T: Real>(from: &[T], n: usize, width: usize, stride: usize, to: &mut [T]) {
    for (panel, to) in to.chunks_exact_mut(n.max(1) * LANES).take(width.div_ceil(LANES)).enumerate() {
        let columns = panel * LANES..width.min((panel + 1) * LANES);
        for (row, to) in to.chunks_exact_mut(LANES).enumerate() {
            to[..columns.len()].copy_from_slice(&from[row * stride..][columns.clone()]);
            to[columns.len()..].fill(T::zero());
        }
    }
}

/// `[n, width]`, the rows `stride` apart, as B with k along the columns: `[n / 16][width][16]`, missing rows 0.
pub(super) fn panels_of_rows<T: Real>(from: &[T], n: usize, width: usize, stride: usize, to: &mut [T]) {
    for (panel, to) in to.chunks_exact_mut(width.max(1) * LANES).take(n.div_ceil(LANES)).enumerate() {
        for lane in 0..LANES {
            let row = panel * LANES + lane;
            for (column, to) in to.chunks_exact_mut(LANES).enumerate() {
                to[lane] = if row < n { from[row * stride + column] } else { T::zero() };
            }
        }
    }
}
