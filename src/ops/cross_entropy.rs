//! Cross-entropy of a linear head over a large vocabulary, without the logits of all rows: the head is applied to a few
//! rows at a time, whose logits become the gradient at once. Memory is flat in the number of rows and in the vocabulary.
//!
//! `loss = sum over rows of weight * (logsumexp(logits) - logits[target])`; the gradient of the logits is
//! `weight * (softmax(logits) - onehot(target))`, times the head it is that of x. Known as the linear cross-entropy of Cut
//! your losses (arXiv:2411.09009) and of Liger Kernel (arXiv:2410.10989).

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, WithDType};

use super::packed_linear::{Term, doubles, input_gradient, product};
use super::parallel::SharedMut;
use super::real::{Real, largest, sum_of};
use super::rows::{contiguous, contiguous_f32, elements};
use super::tape::{self, Keeps, apply1, is_tracked};
use super::{PackedLinear, Workers, shape_error};

const OP: &str = "cross_entropy";
/// Logits in memory at once, 64 MiB.
const LOGITS_MAX: usize = 1 << 24;
/// Rows at once: enough to lay a tile of the head out for, and no more than pays.
const ROWS: std::ops::RangeInclusive<usize> = 16..=512;

/// What each row of x is to predict.
#[derive(Debug, Clone)]
pub struct Targets {
    /// A token id a row. That of a row without weight is not read.
    pub ids: Vec<u32>,
    /// What the row counts in the loss, such as 1 / targets of the batch; 0 for none.
    pub weights: Vec<f32>,
}

/// The weighted sum of the rows' cross-entropies, a scalar in f32. x f32 `[rows, in_features]`; the head has a row a token
/// of the vocabulary. Where x is tracked, the gradient is computed with the loss and kept, as large as x; that of a trainable
/// head is added to the head's at once, so that such a loss must be what is differentiated, times 1.
///
/// # Errors
/// A target outside of the vocabulary, or shapes that do not fit.
pub fn cross_entropy(x: &Tensor, head: &Arc<PackedLinear>, targets: &Targets) -> Result<Tensor> {
    let op = CrossEntropy {
        head: Arc::clone(head),
        targets: targets.clone(),
        is_wanted: is_tracked(x),
        kept: Mutex::new(None),
    };
    apply1(&tape::contiguous(x)?, op, Keeps::NOTHING)
}

/// Each row's `logsumexp(logits) - logits[target]`, 0 for rows without weight.
///
/// # Errors
/// As `cross_entropy`.
pub fn token_losses(x: &Tensor, head: &Arc<PackedLinear>, targets: &Targets) -> Result<Vec<f32>> {
    let x = x.detach().contiguous()?;
    let rows = x.dim(0)?;
    Rows { head, targets }.check(rows)?.run(&elements(&x)?, None)
}

struct CrossEntropy {
    head: Arc<PackedLinear>,
    targets: Targets,
    /// The gradient of x is asked for.
    is_wanted: bool,
    /// It, from the forward pass to the backward pass.
    kept: Mutex<Option<Tensor>>,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let &[rows, width] = layout.dims() else {
            return Err(shape_error(OP, format!("x must be [rows, features], it is {:?}", layout.dims())));
        };
        if width != self.head.in_features() {
            return Err(shape_error(
                OP,
                format!("x of shape {:?} does not fit {:?}", layout.dims(), self.head),
            ));
        }
        let all = Rows { head: &self.head, targets: &self.targets }.check(rows)?;
        if let CpuStorage::F64(_) = storage {
            return self.forward_f64(contiguous(OP, "x", storage, layout)?, rows);
        }
        let x = contiguous_f32(OP, "x", storage, layout)?;
        let mut dx = self.is_wanted.then(|| vec![0.0; x.len()]);
        let losses = all.run(x, dx.as_deref_mut())?;
        self.keep(dx, layout.shape())?;
        let terms = losses.iter().zip(&self.targets.weights).filter(|&(_, &weight)| weight != 0.0);
        let loss: f64 = terms.map(|(&loss, &weight)| f64::from(loss) * f64::from(weight)).sum();
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(kept) = kept else {
            return Err(shape_error(OP, "its gradient was taken already"));
        };
        let scale = gradient.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if scale == 1.0 {
            return Ok(Some(kept));
        }
        if self.head.is_trainable() {
            let detail = format!("the gradient of the head was added for a factor of 1, it is {scale}");
            return Err(shape_error(OP, detail));
        }
        kept.affine(scale, 0.0).map(Some)
    }
}

impl CrossEntropy {
    /// The gradient of x for the backward pass, if there is one.
    fn keep<T: WithDType>(&self, dx: Option<Vec<T>>, shape: &Shape) -> Result<()> {
        let dx = dx.map(|dx| Tensor::from_vec(dx, shape, &Device::Cpu)).transpose()?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = dx;
        Ok(())
    }

    /// Of checked rows, all at once: what is in f64 is small.
    fn forward_f64(&self, x: &[f64], rows: usize) -> Result<(CpuStorage, Shape)> {
        let Targets { ids, weights } = &self.targets;
        let head = std::slice::from_ref(&self.head);
        let mut logits = doubles::forward(head, x, rows, None)?;
        // The id of a row without weight is not read.
        let read =
            ids.iter().zip(weights).map(|(&id, &weight)| if weight == 0.0 { (0, 0.0) } else { (id, weight) });
        let of_rows: Vec<(u32, f32)> = read.collect();
        let losses = softmax_gradients(&mut logits, self.head.out_features(), &of_rows, self.head.workers());
        let loss = losses.iter().zip(weights).map(|(loss, &weight)| loss * f64::from(weight)).sum();
        let dx = self.is_wanted.then(|| doubles::backward(head, x, &logits, rows)).transpose()?;
        self.keep(dx, &Shape::from((rows, self.head.in_features())))?;
        Ok((CpuStorage::F64(vec![loss]), Shape::from(())))
    }
}

struct Rows<'a> {
    head: &'a Arc<PackedLinear>,
    targets: &'a Targets,
}

impl Rows<'_> {
    fn check(self, rows: usize) -> Result<Self> {
        let Targets { ids, weights } = self.targets;
        if ids.len() != rows || weights.len() != rows {
            let detail = format!("{} targets and {} weights for {rows} rows", ids.len(), weights.len());
            return Err(shape_error(OP, detail));
        }
        let vocabulary = self.head.out_features();
        let outside = ids.iter().zip(weights).position(|(&id, &w)| w != 0.0 && id as usize >= vocabulary);
        match outside {
            Some(row) => Err(shape_error(
                OP,
                format!("target {} of row {row} is outside of the vocabulary of {vocabulary}", ids[row]),
            )),
            None => Ok(self),
        }
    }

    /// The rows' losses; their gradients into `dx`, which is 0 and as large as x.
    fn run(&self, x: &[f32], mut dx: Option<&mut [f32]>) -> Result<Vec<f32>> {
        let (vocabulary, width) = (self.head.out_features(), self.head.in_features());
        let Targets { ids, weights } = self.targets;
        let counted: Vec<usize> = (0..ids.len()).filter(|&row| weights[row] != 0.0).collect();
        let mut losses = vec![0.0; ids.len()];
        for rows in counted.chunks((LOGITS_MAX / vocabulary).clamp(*ROWS.start(), *ROWS.end())) {
            let taken: Vec<f32> = rows.iter().flat_map(|&row| &x[row * width..][..width]).copied().collect();
            let mut logits = product(&taken, rows.len(), self.head)?;
            let of_rows: Vec<(u32, f32)> = rows.iter().map(|&row| (ids[row], weights[row])).collect();
            let found = softmax_gradients(&mut logits, vocabulary, &of_rows, self.head.workers());
            for (&row, loss) in rows.iter().zip(found) {
                losses[row] = loss;
            }
            let Some(dx) = dx.as_deref_mut() else { continue };
            if self.head.is_trainable() {
                self.head.accumulate(&taken, &logits, vocabulary, 0).map_err(candle_core::Error::wrap)?;
            }
            let term = Term { weight: self.head, dy: &logits, width: vocabulary, offset: 0 };
            let gradient = input_gradient(&[term], rows.len())?;
            for (&row, gradient) in rows.iter().zip(gradient.chunks_exact(width)) {
                dx[row * width..][..width].copy_from_slice(gradient);
            }
        }
        Ok(losses)
    }
}

/// Turns each row of logits into `weight * (softmax - onehot(target))`; the cross-entropies.
fn softmax_gradients<T: Real>(
    logits: &mut [T],
    vocabulary: usize,
    targets: &[(u32, f32)],
    workers: &Workers,
) -> Vec<T> {
    let mut losses = vec![T::zero(); targets.len()];
    let (logits, losses_shared) = (SharedMut::new(logits), SharedMut::new(&mut losses));
    workers.run(targets.len(), &|row| {
        // SAFETY: each part takes its own row.
        let (logits, loss) =
            unsafe { (logits.slice(row * vocabulary, vocabulary), losses_shared.slice(row, 1)) };
        let (target, weight) = (targets[row].0 as usize, T::of(f64::from(targets[row].1)));
        let largest = largest(logits, T::neg_infinity());
        let wanted = logits[target] - largest;
        for x in logits.iter_mut() {
            *x -= largest;
        }
        T::exp_all(workers.isa(), logits);
        // In parts: in f32 a chain over a whole vocabulary loses digits.
        let sum: T = logits.chunks(1024).map(sum_of).sum();
        loss[0] = sum.ln() - wanted;
        let scale = weight / sum;
        for x in logits.iter_mut() {
            *x *= scale;
        }
        logits[target] -= weight;
    });
    losses
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Golden, bits, check_gradient, doubles, numbers};
    use super::super::{Storage, WeightData};
    use super::*;

    fn head(values: &[f32], vocabulary: usize, workers: &Arc<Workers>) -> Arc<PackedLinear> {
        let width = values.len() / vocabulary;
        PackedLinear::pack(WeightData::F32(values), vocabulary, width, None, Storage::F32, workers).unwrap()
    }

    #[test]
    fn gradients_follow_finite_differences() {
        let targets = [(3, 0.5), (0, 2.0)];
        check_gradient(&doubles(1, 2 * 9), 1e-8, |logits| {
            let mut gradient = logits.to_vec();
            let losses = softmax_gradients(&mut gradient, 9, &targets, &Workers::new(2));
            (losses.iter().zip(targets).map(|(loss, (_, weight))| loss * f64::from(weight)).sum(), gradient)
        });
    }

    #[test]
    fn follows_pytorch() {
        let golden = Golden::new("linear_cross_entropy");
        let ids = golden.integers("targets");
        let counted = ids.iter().filter(|&&id| id >= 0).count() as f32;
        let targets = Targets {
            ids: ids.iter().map(|&id| id.max(0) as u32).collect(),
            weights: ids.iter().map(|&id| if id < 0 { 0.0 } else { 1.0 / counted }).collect(),
        };
        let (x, weight) = (golden.var("x"), golden.var("weight"));
        let weight =
            head(&weight.flatten_all().unwrap().to_vec1().unwrap(), weight.dim(0).unwrap(), &Workers::new(2));
        let loss = cross_entropy(x.as_tensor(), &weight, &targets).unwrap();
        golden.check(&loss, &[("x", &x)]);
        let alone = token_losses(x.as_tensor(), &weight, &targets).unwrap();
        let mean: f32 = alone.iter().sum::<f32>() / counted;
        assert!((mean - loss.to_scalar::<f32>().unwrap()).abs() < 1e-6);
    }

    #[test]
    fn rows_are_the_same_alone_and_on_any_number_of_threads() {
        let run = |rows: std::ops::Range<usize>, threads| {
            let x = numbers(2, 700 * 8)[rows.start * 8..rows.end * 8].to_vec();
            let x = Tensor::from_vec(x, (rows.len(), 8), &Device::Cpu).unwrap();
            let targets = Targets {
                ids: rows.clone().map(|row| row as u32 % 50).collect(),
                weights: rows.map(|row| (row % 3) as f32).collect(),
            };
            token_losses(&x, &head(&numbers(1, 50 * 8), 50, &Workers::new(threads)), &targets).unwrap()
        };
        let all = run(0..700, 1);
        assert_eq!(bits(&run(0..700, 3)), bits(&all));
        assert_eq!(bits(&run(100..101, 2)), bits(&all[100..101]));
        assert_eq!(all[3], 0.0);
    }

    #[test]
    fn wrong_targets_are_errors() {
        let head = head(&numbers(1, 50 * 8), 50, &Workers::new(1));
        let x = Tensor::zeros((2, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
        let error = |ids: &[u32], weights: &[f32]| {
            let targets = Targets { ids: ids.to_vec(), weights: weights.to_vec() };
            cross_entropy(&x, &head, &targets).unwrap_err().to_string()
        };
        assert!(error(&[1, 50], &[0.0, 1.0]).contains("target 50 of row 1"));
        assert!(error(&[1], &[1.0]).contains("1 targets and 1 weights for 2 rows"));
    }
}
