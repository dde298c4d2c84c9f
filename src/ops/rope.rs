//! Rotary position embedding, the half-rotation form of Llama (arXiv:2104.09864, laid out as in transformers):
//! dimension i turns with dimension i + rotary_dim / 2 by position * inverse_frequency[i]. Dimensions of a head from
//! rotary_dim on stay as they are (partial rotation).
//!
//! Scalings (llama3, linear, yarn, longrope) are not known here: they arrive as inverse frequencies and a factor.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};

use super::parallel::{output, share};
use super::rows::{StridedRows, contiguous, rows_are_contiguous};
use super::simd::{Kernel, LANES, Simd, load_some, store_some};
use super::tape::{self, Keeps, apply1};
use super::{Workers, shape_error};

const OP: &str = "rope";
/// Elements that are worth handing to a thread.
const PART_ELEMENTS: usize = 1 << 14;

/// Cosines and sines of every position.
pub struct RopeTable {
    /// `[max_positions][cos | sin][rotary_dim / 2]`
    values: Vec<f32>,
    half: usize,
}

impl std::fmt::Debug for RopeTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RopeTable({} positions, {} dimensions)", self.positions(), 2 * self.half)
    }
}

impl RopeTable {
    /// `inverse_frequencies` has rotary_dim / 2 entries; cosines and sines are multiplied by `attention_scale`
    /// (1 but for yarn and longrope). Angles are f32 products, as in transformers. The caller bounds `max_positions`:
    /// the table takes rotary_dim floats a position.
    pub fn new(inverse_frequencies: &[f32], attention_scale: f32, max_positions: usize) -> Arc<Self> {
        let half = inverse_frequencies.len();
        let mut values = Vec::with_capacity(max_positions * 2 * half);
        for position in 0..max_positions {
            let angles = inverse_frequencies.iter().map(|&frequency| f64::from(position as f32 * frequency));
            values.extend(angles.clone().map(|angle| angle.cos() as f32 * attention_scale));
            values.extend(angles.map(|angle| angle.sin() as f32 * attention_scale));
        }
        Arc::new(Self { values, half })
    }

    /// Positions 0 to this, exclusive, can be turned.
    pub fn positions(&self) -> usize {
        self.values.len().checked_div(2 * self.half).unwrap_or(0)
    }
}

/// x f32 `[tokens, heads, head_dim]`, one position a token, its tokens contiguous or slices of wider rows; the result
/// has x's shape.
pub fn rope(
    x: &Tensor,
    table: &Arc<RopeTable>,
    positions: &Arc<Vec<u32>>,
    workers: &Arc<Workers>,
) -> Result<Tensor> {
    let op = Rope {
        table: Arc::clone(table),
        positions: Arc::clone(positions),
        back: false,
        workers: Arc::clone(workers),
    };
    let as_it_is = x.dtype() == DType::F32 && rows_are_contiguous(x.layout());
    let x = if as_it_is { x.clone() } else { tape::contiguous(x)? };
    apply1(&x, op, Keeps::NOTHING)
}

struct Rope {
    table: Arc<RopeTable>,
    positions: Arc<Vec<u32>>,
    /// The other way round, as gradients turn.
    back: bool,
    workers: Arc<Workers>,
}

impl Rope {
    /// The number of heads and their size, once everything fits.
    fn check(&self, shape: &[usize]) -> Result<[usize; 2]> {
        let &[tokens, heads, head_dim] = shape else {
            return Err(shape_error(OP, format!("x must be [tokens, heads, head_dim], it is {shape:?}")));
        };
        let fits = head_dim > 0 && self.table.half > 0 && head_dim >= 2 * self.table.half;
        if !fits || tokens != self.positions.len() {
            let detail = format!(
                "x of shape {shape:?} does not fit {} positions and {:?}",
                self.positions.len(),
                self.table
            );
            return Err(shape_error(OP, detail));
        }
        match self.positions.iter().find(|&&position| position as usize >= self.table.positions()) {
            Some(position) => {
                Err(shape_error(OP, format!("position {position} is outside of {:?}", self.table)))
            }
            None => Ok([heads, head_dim]),
        }
    }
}

impl Rope {
    fn turn_f64(&self, x: &[f64], [heads, head_dim]: [usize; 2]) -> Vec<f64> {
        let half = self.table.half;
        let mut out = x.to_vec();
        for (index, (x, out)) in x.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)).enumerate() {
            let turn = &self.table.values[self.positions[index / heads] as usize * 2 * half..][..2 * half];
            for i in 0..half {
                let (cos, sin) = (f64::from(turn[i]), f64::from(turn[half + i]));
                let sin = if self.back { -sin } else { sin };
                out[i] = x[i] * cos - x[half + i] * sin;
                out[half + i] = x[half + i] * cos + x[i] * sin;
            }
        }
        out
    }
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let [heads, head_dim] = self.check(layout.shape().dims())?;
        if let CpuStorage::F64(_) = storage {
            let out = self.turn_f64(contiguous(OP, "x", storage, layout)?, [heads, head_dim]);
            return Ok((CpuStorage::F64(out), layout.shape().clone()));
        }
        let x = StridedRows::new(OP, "x", storage, layout)?;
        let token = heads * head_dim;
        let elements = layout.shape().elem_count();
        let parts = (elements / PART_ELEMENTS).clamp(1, self.workers.threads());
        // SAFETY: the parts' tokens cover all, and `Turn` writes its tokens whole.
        let out = unsafe {
            output(elements, |out| {
                self.workers.run(parts, &|part| {
                    let tokens = share(self.positions.len(), parts, part);
                    let kernel = Turn {
                        x,
                        heads,
                        head_dim,
                        positions: &self.positions[tokens.clone()],
                        first: tokens.start,
                        table: &self.table,
                        direction: if self.back { -1.0 } else { 1.0 },
                        out: out.start().add(tokens.start * token),
                    };
                    self.workers.isa().dispatch(kernel);
                });
            })
        };
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let op = Rope {
            table: Arc::clone(&self.table),
            positions: Arc::clone(&self.positions),
            back: !self.back,
            workers: Arc::clone(&self.workers),
        };
        gradient.contiguous()?.apply_op1_no_bwd(&op).map(Some)
    }
}

/// The tokens of `positions`, each inside the table, from row `first` of x on; `out` takes them one after the other.
struct Turn<'a> {
    x: StridedRows<'a>,
    first: usize,
    heads: usize,
    /// Twice the table's half, or more.
    head_dim: usize,
    positions: &'a [u32],
    table: &'a RopeTable,
    /// 1, or -1 for the other way round.
    direction: f32,
    out: *mut f32,
}

impl Kernel for Turn<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (half, head_dim) = (self.table.half, self.head_dim);
        // SAFETY: dispatch vouches for the instruction set.
        let direction = unsafe { S::splat(self.direction) };
        for (token, &position) in self.positions.iter().enumerate() {
            let turn = &self.table.values[position as usize * 2 * half..][..2 * half];
            let (cos, sin) = turn.split_at(half);
            for head in 0..self.heads {
                let x = &self.x.row(self.first + token)[head * head_dim..][..head_dim];
                // SAFETY: i < half, so i + half is inside the head, in x and in the output, and so is what lies behind
                // 2 half.
                unsafe {
                    let out = self.out.add((token * self.heads + head) * head_dim);
                    let rest = head_dim - 2 * half;
                    std::ptr::copy_nonoverlapping(x.as_ptr().add(2 * half), out.add(2 * half), rest);
                    let mut i = 0;
                    while i < half {
                        let count = half - i;
                        let c = load_some::<S>(cos.as_ptr().add(i), count);
                        let s = S::mul(direction, load_some::<S>(sin.as_ptr().add(i), count));
                        let a = load_some::<S>(x.as_ptr().add(i), count);
                        let b = load_some::<S>(x.as_ptr().add(half + i), count);
                        store_some::<S>(out.add(i), S::sub(S::mul(a, c), S::mul(b, s)), count);
                        store_some::<S>(out.add(half + i), S::add(S::mul(b, c), S::mul(a, s)), count);
                        i += LANES;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::super::testing::{Golden, bits, numbers};
    use super::*;
    use candle_core::Device;

    fn frequencies(half: usize) -> Vec<f32> {
        (0..half).map(|i| 10_000f32.powf(-(i as f32) / half as f32)).collect()
    }

    fn check(tokens: usize, heads: usize, head_dim: usize, rotary_dim: usize) {
        let half = rotary_dim / 2;
        let table = RopeTable::new(&frequencies(half), 1.5, 500);
        let positions: Arc<Vec<u32>> = Arc::new((0..tokens as u32).map(|i| (i * 37 + 3) % 500).collect());
        let x = numbers(3, tokens * heads * head_dim);
        let input = Tensor::from_slice(&x, (tokens, heads, head_dim), &Device::Cpu).unwrap();
        for isa in Isa::available() {
            let workers = Workers::with_isa(3, isa);
            let out = rope(&input, &table, &positions, &workers).unwrap();
            let out = out.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (at, &y) in out.iter().enumerate() {
                let (token, i) = (at / (heads * head_dim), at % head_dim);
                if i >= rotary_dim {
                    assert_eq!(y.to_bits(), x[at].to_bits(), "{isa} at {at}");
                    continue;
                }
                let angle = f64::from(positions[token] as f32 * frequencies(half)[i % half]);
                let (own, other) = (
                    f64::from(x[at]),
                    if i < half { -f64::from(x[at + half]) } else { f64::from(x[at - half]) },
                );
                let exact = 1.5 * (own * angle.cos() + other * angle.sin());
                assert!((f64::from(y) - exact).abs() < 5e-7, "{isa} at {at}: {y} {exact}");
            }
            let wide = Tensor::cat(&[&input, &input], 1).unwrap().narrow(1, heads, heads).unwrap();
            let sliced = rope(&wide, &table, &positions, &workers).unwrap();
            assert_eq!(bits(&sliced.flatten_all().unwrap().to_vec1::<f32>().unwrap()), bits(&out), "{isa}");
            let last = input.narrow(0, tokens - 1, 1).unwrap();
            let alone = rope(&last, &table, &Arc::new(vec![positions[tokens - 1]]), &workers).unwrap();
            let alone = alone.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(bits(&alone), bits(&out[out.len() - heads * head_dim..]));
        }
    }

    #[test]
    fn follows_f64_and_a_token_is_the_same_alone() {
        for (tokens, heads, head_dim) in [(1, 1, 2), (3, 2, 10), (70, 9, 64), (5, 3, 80)] {
            check(tokens, heads, head_dim, head_dim);
        }
        for (tokens, heads, head_dim, rotary_dim) in [(3, 2, 10, 4), (9, 3, 128, 96), (2, 1, 80, 32)] {
            check(tokens, heads, head_dim, rotary_dim);
        }
    }

    #[test]
    fn views_of_nothing_are_nothing() {
        let workers = Workers::new(1);
        let table = RopeTable::new(&frequencies(4), 1.0, 10);
        let wide = Tensor::zeros((0, 3, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
        let part = wide.narrow(1, 2, 1).unwrap();
        assert_eq!(rope(&part, &table, &Arc::new(vec![]), &workers).unwrap().dims(), [0, 1, 8]);
        let weight = Tensor::ones(8, candle_core::DType::F32, &Device::Cpu).unwrap();
        let normed = super::super::rms_norm(&part, &weight, 1e-5, &workers).unwrap();
        assert_eq!(normed.dims(), [0, 1, 8]);
    }

    #[test]
    fn wrong_operands_are_errors() {
        let workers = Workers::new(1);
        let table = RopeTable::new(&frequencies(4), 1.0, 10);
        let x = Tensor::zeros((2, 1, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
        let cases = [(vec![0, 10], "position 10"), (vec![0], "1 positions")];
        for (positions, expected) in cases {
            let message = rope(&x, &table, &Arc::new(positions), &workers).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert!(rope(&x.narrow(2, 0, 6).unwrap(), &table, &Arc::new(vec![0, 1]), &workers).is_err());
    }

    /// A rotation keeps lengths: turned there and back, what it is multiplied by comes back, and what is not turned is
    /// passed on.
    #[test]
    fn a_partial_rotation_has_its_gradient() {
        let table = RopeTable::new(&frequencies(3), 1.0, 20);
        let (workers, positions) = (Workers::new(2), Arc::new(vec![4, 19]));
        let values: Vec<f64> = numbers(1, 2 * 3 * 10).iter().map(|&x| f64::from(x)).collect();
        for dtype in [DType::F32, DType::F64] {
            let x = Tensor::from_slice(&values, (2, 3, 10), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            let x = candle_core::Var::from_tensor(&x).unwrap();
            let y = rope(x.as_tensor(), &table, &positions, &workers).unwrap();
            let squares = (y.sqr().unwrap().sum_all().unwrap() * 0.5).unwrap();
            let gradient = squares.backward().unwrap().remove(x.as_tensor()).unwrap();
            let gradient = gradient.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>();
            for (found, expected) in gradient.unwrap().iter().zip(&values) {
                assert!((found - expected).abs() < 1e-6, "{dtype:?}: {found} {expected}");
            }
        }
    }

    #[test]
    fn gradients_follow_pytorch() {
        let golden = Golden::new("rope");
        let inverse: Vec<f32> = (0..4).map(|i| 10f32.powi(-i)).collect();
        let positions: Vec<u32> = golden.integers("positions").iter().map(|&p| p as u32).collect();
        let table = RopeTable::new(&inverse, 1.0, 1 + *positions.iter().max().unwrap() as usize);
        let x = golden.var("x");
        let y = rope(x.as_tensor(), &table, &Arc::new(positions), &Workers::new(2)).unwrap();
        golden.check(&y, &[("x", &x)]);
    }
}
