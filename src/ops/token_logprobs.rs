//! The log-probabilities of chosen tokens under a linear head, and the entropies of the distributions they are of, without the
//! logits of all rows at once.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

use super::packed_linear::{Term, input_gradient, product};
use super::parallel::SharedMut;
use super::real::{Real, largest, sum_of};
use super::rows::elements;
use super::tape::{self, Keeps, apply1};
use super::{PackedLinear, Workers, shape_error};

const OP: &str = "token_logprobs";
/// Logits in memory at once, 64 MiB.
const LOGITS_MAX: usize = 1 << 24;
/// Rows at once.
const ROWS: std::ops::RangeInclusive<usize> = 16..=512;

/// What a head says of a token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TokenScore {
    /// `logits[token] - logsumexp(logits)`, natural.
    pub logprob: f32,
    /// `-sum of p ln p` of the whole vocabulary, in nats.
    pub entropy: f32,
}

/// Of each `(row, token)`, ascending in rows or not. x f32 `[rows, in_features]`; the head has a row a token of the vocabulary.
/// Not differentiable: [`token_logprobs_with_gradients`] is. A score does not depend on the others.
///
/// # Errors
/// A row or a token that is not there, or shapes that do not fit.
pub fn token_logprobs(
    x: &Tensor,
    head: &Arc<PackedLinear>,
    tokens: &[(u32, u32)],
) -> Result<Vec<TokenScore>> {
    run(x, head, tokens, None)
}

/// The same, with what each log-probability's gradient with respect to its row of x is: a loss whose derivatives are known only when
/// all scores are goes through the head once.
///
/// # Errors
/// As `token_logprobs`; a head that learns, whose own gradient this is not.
pub fn token_logprobs_with_gradients(
    x: &Tensor,
    head: &Arc<PackedLinear>,
    tokens: &[(u32, u32)],
) -> Result<(Vec<TokenScore>, LogprobGradients)> {
    if head.is_trainable() {
        return Err(shape_error(OP, "the head learns: take the gradients of cross_entropy".to_owned()));
    }
    let mut gradients = Vec::with_capacity(tokens.len() * head.in_features());
    let scores = run(x, head, tokens, Some(&mut gradients))?;
    Ok((scores, LogprobGradients { rows: tokens.iter().map(|&(row, _)| row).collect(), gradients }))
}

/// Gradients of log-probabilities with respect to the rows they were computed from.
pub struct LogprobGradients {
    rows: Vec<u32>,
    /// `[tokens, in_features]`
    gradients: Vec<f32>,
}

impl LogprobGradients {
    /// A loss of this value whose derivative with respect to each log-probability is its weight, as a scalar to differentiate.
    /// x is what the log-probabilities were computed from.
    ///
    /// # Errors
    /// As many weights as log-probabilities are needed, and an x of the same shape.
    pub fn loss(self, x: &Tensor, value: f64, weights: &[f32]) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let fits = self.rows.iter().all(|&row| (row as usize) < rows);
        if weights.len() != self.rows.len() || self.gradients.len() != self.rows.len() * width || !fits {
            let detail = format!(
                "{} weights for {} log-probabilities, x is {:?}",
                weights.len(),
                self.rows.len(),
                x.dims()
            );
            return Err(shape_error(OP, detail));
        }
        let mut dx = vec![0.0; rows * width];
        let of_tokens = self.rows.iter().zip(self.gradients.chunks_exact(width.max(1))).zip(weights);
        for ((&row, gradient), &weight) in of_tokens {
            let sums = &mut dx[row as usize * width..][..width];
            sums.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += weight * gradient);
        }
        let dx = Tensor::from_vec(dx, (rows, width), &Device::Cpu)?;
        apply1(&tape::contiguous(x)?, Known { value, dx }, Keeps::NOTHING)
    }
}

/// A scalar whose gradient is known before it is asked for.
struct Known {
    value: f64,
    dx: Tensor,
}

impl CustomOp1 for Known {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![self.value as f32]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let scale = f64::from(gradient.to_scalar::<f32>()?);
        if scale == 1.0 { Ok(Some(self.dx.clone())) } else { self.dx.affine(scale, 0.0).map(Some) }
    }
}

fn run(
    x: &Tensor,
    head: &Arc<PackedLinear>,
    tokens: &[(u32, u32)],
    mut gradients: Option<&mut Vec<f32>>,
) -> Result<Vec<TokenScore>> {
    let x = x.detach().contiguous()?;
    let (rows, width) = x.dims2()?;
    let vocabulary = head.out_features();
    if width != head.in_features() {
        return Err(shape_error(OP, format!("x of shape {:?} does not fit {head:?}", x.dims())));
    }
    if let Some((row, token)) =
        tokens.iter().find(|&&(row, token)| row as usize >= rows || token as usize >= vocabulary)
    {
        let detail = format!("token {token} of row {row}: there are {rows} rows and {vocabulary} tokens");
        return Err(shape_error(OP, detail));
    }
    let x = elements(&x)?;
    let mut scores = Vec::with_capacity(tokens.len());
    for tokens in tokens.chunks((LOGITS_MAX / vocabulary).clamp(*ROWS.start(), *ROWS.end())) {
        let rows = tokens.iter().flat_map(|&(row, _)| &x[row as usize * width..][..width]);
        let rows: Vec<f32> = rows.copied().collect();
        let mut logits = product(&rows, tokens.len(), head)?;
        scores.extend(scored(&mut logits, vocabulary, tokens, gradients.is_some(), head.workers()));
        if let Some(gradients) = gradients.as_deref_mut() {
            let term = Term { weight: head, dy: &logits, width: vocabulary, offset: 0 };
            gradients.extend(input_gradient(&[term], tokens.len())?);
        }
    }
    Ok(scores)
}

/// Each row's score. The logits become the gradient of its log-probability, `onehot(token) - softmax`, where that is wanted.
fn scored(
    logits: &mut [f32],
    vocabulary: usize,
    tokens: &[(u32, u32)],
    is_wanted: bool,
    workers: &Workers,
) -> Vec<TokenScore> {
    let mut scores = vec![TokenScore::default(); tokens.len()];
    let (logits, scores_shared) = (SharedMut::new(logits), SharedMut::new(&mut scores));
    workers.run(tokens.len(), &|row| {
        // SAFETY: each part takes its own row.
        let (logits, score) =
            unsafe { (logits.slice(row * vocabulary, vocabulary), scores_shared.slice(row, 1)) };
        let largest = largest(logits, f32::NEG_INFINITY);
        for x in logits.iter_mut() {
            *x -= largest;
        }
        let wanted = logits[tokens[row].1 as usize];
        // In parts: in f32 a chain over a whole vocabulary loses digits.
        let (mut sum, mut weighted) = (0.0f32, 0.0f32);
        let mut shifted = [0.0; 1024];
        for part in logits.chunks_mut(shifted.len()) {
            let shifted = &mut shifted[..part.len()];
            shifted.copy_from_slice(part);
            f32::exp_all(workers.isa(), part);
            sum += sum_of(part);
            for (shifted, &weight) in shifted.iter_mut().zip(&*part) {
                // What weighs nothing may be infinitely far away.
                *shifted = if weight == 0.0 { 0.0 } else { *shifted * weight };
            }
            weighted += sum_of(shifted);
        }
        score[0] = TokenScore { logprob: wanted - sum.ln(), entropy: sum.ln() - weighted / sum };
        if is_wanted {
            let scale = -1.0 / sum;
            for x in logits.iter_mut() {
                *x *= scale;
            }
            logits[tokens[row].1 as usize] += 1.0;
        }
    });
    scores
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bits, numbers};
    use super::super::{Storage, Targets, WeightData, cross_entropy, token_losses};
    use super::*;
    use candle_core::Var;

    fn head(vocabulary: usize, width: usize, threads: usize) -> Arc<PackedLinear> {
        let (values, workers) = (numbers(1, vocabulary * width), Workers::new(threads));
        PackedLinear::pack(WeightData::F32(&values), vocabulary, width, None, Storage::F32, &workers).unwrap()
    }

    fn x(rows: usize, width: usize) -> Tensor {
        Tensor::from_vec(numbers(2, rows * width), (rows, width), &Device::Cpu).unwrap()
    }

    /// Written out in f64.
    #[test]
    fn scores_are_those_of_the_softmax() {
        let (rows, width, vocabulary) = (5, 8, 3000);
        let head = head(vocabulary, width, 2);
        let (x, weight) = (x(rows, width), head.to_rows().unwrap());
        let tokens = [(0, 7), (3, 2999), (3, 0), (1, 1500)];
        let rows = x.to_vec2::<f32>().unwrap();
        for (score, (row, token)) in token_logprobs(&x, &head, &tokens).unwrap().iter().zip(tokens) {
            let logit = |token: usize| -> f64 {
                let pairs = rows[row as usize].iter().zip(&weight[token * width..]);
                pairs.map(|(&x, &w)| f64::from(x) * f64::from(w)).sum()
            };
            let logits: Vec<f64> = (0..vocabulary).map(logit).collect();
            let log_sum = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
            let entropy: f64 = logits.iter().map(|x| -(x - log_sum).exp() * (x - log_sum)).sum();
            assert!(
                (f64::from(score.logprob) - (logits[token as usize] - log_sum)).abs() < 2e-6,
                "{score:?}"
            );
            assert!((f64::from(score.entropy) - entropy).abs() < 4e-6, "{score:?} {entropy}");
        }
    }

    #[test]
    fn logprobs_are_the_losses_and_do_not_depend_on_the_rest() {
        let (rows, width, vocabulary) = (700, 8, 50);
        let x = x(rows, width);
        let tokens: Vec<(u32, u32)> = (0..rows as u32).map(|row| (row, row % 50)).collect();
        let all = token_logprobs(&x, &head(vocabulary, width, 1), &tokens).unwrap();
        let targets =
            Targets { ids: tokens.iter().map(|&(_, token)| token).collect(), weights: vec![1.0; rows] };
        let losses = token_losses(&x, &head(vocabulary, width, 2), &targets).unwrap();
        assert!(all.iter().zip(losses).all(|(score, loss)| (score.logprob + loss).abs() < 1e-6));
        let logprobs = |scores: &[TokenScore]| bits(&scores.iter().map(|x| x.logprob).collect::<Vec<_>>());
        let some = token_logprobs(&x, &head(vocabulary, width, 3), &tokens[650..]).unwrap();
        assert_eq!(logprobs(&some), logprobs(&all[650..]));
    }

    /// The gradients of the cross-entropy with the same weights, by another way.
    #[test]
    fn gradients_are_those_of_the_cross_entropy() {
        let (rows, width, vocabulary) = (40, 8, 50);
        let head = head(vocabulary, width, 2);
        let tokens: Vec<(u32, u32)> = (3..rows as u32).map(|row| (row, row % 50)).collect();
        let weights = numbers(5, tokens.len());
        let x = Var::from_tensor(&x(rows, width)).unwrap();
        let (scores, gradients) = token_logprobs_with_gradients(&x, &head, &tokens).unwrap();
        let alone = token_logprobs(&x, &head, &tokens).unwrap();
        assert_eq!(scores, alone);
        let loss = gradients.loss(&x, 0.5, &weights).unwrap();
        assert_eq!(loss.to_scalar::<f32>().unwrap(), 0.5);
        let found = loss.backward().unwrap().get(&x).unwrap().to_vec2::<f32>().unwrap();
        let mut targets = Targets { ids: vec![0; rows], weights: vec![0.0; rows] };
        for (&(row, token), weight) in tokens.iter().zip(&weights) {
            (targets.ids[row as usize], targets.weights[row as usize]) = (token, -weight);
        }
        let entropy = cross_entropy(&x, &head, &targets).unwrap();
        let wanted = entropy.backward().unwrap().get(&x).unwrap().to_vec2::<f32>().unwrap();
        for (found, wanted) in found.iter().flatten().zip(wanted.iter().flatten()) {
            assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
        }
    }

    #[test]
    fn a_head_that_learns_and_wrong_counts_are_errors() {
        let mut learns = head(50, 8, 1);
        Arc::get_mut(&mut learns).unwrap().set_trainable().unwrap();
        assert!(token_logprobs_with_gradients(&x(2, 8), &learns, &[(0, 1)]).is_err());
        let (_, gradients) = token_logprobs_with_gradients(&x(2, 8), &head(50, 8, 1), &[(0, 1)]).unwrap();
        assert!(gradients.loss(&x(2, 8), 0.0, &[1.0, 1.0]).is_err());
    }

    #[test]
    fn what_is_not_there_is_told() {
        let (x, head) = (x(2, 8), head(50, 8, 1));
        let error = |token| token_logprobs(&x, &head, &[token]).unwrap_err().to_string();
        assert!(error((2, 0)).contains("row 2") && error((1, 50)).contains("token 50"));
        assert!(token_logprobs(&x, &head, &[]).unwrap().is_empty());
    }
}
