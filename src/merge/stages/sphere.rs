//! Methods that turn vectors on the sphere: each gives a sum of the vectors, whose coefficients follow from their inner
//! products alone.

use super::combine::cancels;
use super::gram::Gram;
use super::recipe::Combine;

/// The coefficients of the vectors in the result.
///
/// # Errors
/// Why there is no result: weights that sum to zero, directions that cancel each other.
pub fn coefficients(combine: &Combine, gram: &Gram) -> Result<Vec<f64>, &'static str> {
    match combine {
        Combine::Slerp { t } => Ok(slerp(*t, gram)),
        Combine::Nuslerp { weights, .. } => Ok(nuslerp(*weights, gram)),
        Combine::Multislerp { weights, normalize, epsilon } => {
            multislerp(weights, *normalize, *epsilon, gram)
        }
        Combine::Karcher { iterations, tolerance } => Ok(karcher(*iterations, *tolerance, gram)),
        Combine::ModelStock { .. } => Ok(model_stock(gram)),
        _ => Ok(vec![1.0; gram.size()]),
    }
}

/// sin((1 - t) a) / sin a and sin(t a) / sin a for the angle a between two vectors.
fn arc(t: f64, cosine: f64) -> Vec<f64> {
    let angle = cosine.acos();
    vec![((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin()]
}

fn slerp(t: f64, gram: &Gram) -> Vec<f64> {
    // A vector of no length has no direction.
    let norm = |i: usize| if gram.norm(i) <= 1e-8 { 1.0 } else { gram.norm(i) };
    let cosine = (gram.get(0, 1) / (norm(0) * norm(1))).clamp(-1.0, 1.0);
    if cosine.abs() > 0.9995 { vec![1.0 - t, t] } else { arc(t, cosine) }
}

fn nuslerp(weights: [f64; 2], gram: &Gram) -> Vec<f64> {
    let sum = weights[0] + weights[1];
    let t = if sum.abs() < 1e-6 { 0.5 } else { weights[1] / sum };
    let norm = |i: usize| gram.norm(i).max(1e-7);
    // In f32, where nearly parallel vectors are parallel.
    let cosine = (gram.get(0, 1) / (norm(0) * norm(1))).clamp(-1.0, 1.0) as f32;
    if 1.0 - cosine * cosine <= 1e-16 { vec![1.0 - t, t] } else { arc(t, f64::from(cosine)) }
}

fn multislerp(weights: &[f64], normalize: bool, epsilon: f64, gram: &Gram) -> Result<Vec<f64>, &'static str> {
    let size = gram.size();
    if size == 1 {
        return Ok(vec![1.0]);
    }
    let sum: f64 = weights.iter().sum();
    if (0..size).all(|i| gram.norm(i) == 0.0) {
        return Ok(vec![0.0; size]);
    }
    if normalize && cancels(weights) {
        return Err("the weights sum to 0: change one, or set normalize_weights to false");
    }
    let weights: Vec<f64> =
        weights.iter().map(|weight| if normalize { weight / sum } else { *weight }).collect();
    let unit = |i: usize| 1.0 / (gram.norm(i) + epsilon);
    let mut mean: Vec<f64> = (0..size).map(|i| weights[i] * unit(i)).collect();
    let length = gram.product(&mean, &mean).max(0.0).sqrt();
    if length < epsilon {
        return match size {
            2 => Ok(weights),
            _ => Err("the weighted directions cancel each other: change a weight"),
        };
    }
    for coefficient in &mut mean {
        *coefficient /= length;
    }
    let mut tangent = vec![0.0; size];
    for i in 0..size {
        let along = unit(i) * (0..size).map(|j| gram.get(i, j) * mean[j]).sum::<f64>();
        tangent[i] += weights[i] * unit(i);
        tangent.iter_mut().zip(&mean).for_each(|(tangent, mean)| *tangent -= weights[i] * along * mean);
    }
    let angle = gram.product(&tangent, &tangent).max(0.0).sqrt() + epsilon;
    let scale: f64 = (0..size).map(|i| gram.norm(i) * weights[i]).sum();
    let turned =
        mean.iter().zip(&tangent).map(|(mean, tangent)| mean * angle.cos() + tangent * angle.sin() / angle);
    Ok(turned.map(|coefficient| coefficient * scale).collect())
}

/// The mean that minimises the sum of squared angles, by steps along the mean of the logarithms.
fn karcher(iterations: usize, tolerance: f64, gram: &Gram) -> Vec<f64> {
    let size = gram.size();
    if size == 1 {
        return vec![1.0];
    }
    let valid: Vec<usize> = (0..size).filter(|i| gram.norm(*i) > tolerance).collect();
    if valid.is_empty() {
        return vec![0.0; size];
    }
    let share = 1.0 / valid.len() as f64;
    let length = |vector: &[f64]| gram.product(vector, vector).max(0.0).sqrt();
    let mut mean = vec![0.0; size];
    for i in &valid {
        mean[*i] = share / gram.norm(*i);
    }
    let norm = length(&mean);
    if norm < tolerance {
        mean.fill(0.0);
        mean[valid[0]] = 1.0 / gram.norm(valid[0]);
    } else {
        for coefficient in &mut mean {
            *coefficient /= norm;
        }
    }
    for _ in 0..iterations {
        let mut tangent = vec![0.0; size];
        for i in &valid {
            let along: f64 = (0..size).map(|j| gram.get(*i, j) * mean[j]).sum();
            let cosine = (along / gram.norm(*i)).clamp(-1.0, 1.0);
            let angle = cosine.acos();
            if angle < tolerance {
                continue;
            }
            let factor = share * angle / angle.sin();
            tangent[*i] += factor / gram.norm(*i);
            tangent.iter_mut().zip(&mean).for_each(|(tangent, mean)| *tangent -= factor * cosine * mean);
        }
        let angle = length(&tangent);
        if angle < tolerance {
            break;
        }
        for (mean, tangent) in mean.iter_mut().zip(&tangent) {
            *mean = *mean * angle.cos() + tangent * angle.sin() / angle;
        }
        let norm = length(&mean);
        if norm > tolerance {
            for coefficient in &mut mean {
                *coefficient /= norm;
            }
        }
    }
    let scale = (0..size).map(|i| gram.norm(i)).sum::<f64>() / size as f64;
    mean.into_iter().map(|coefficient| coefficient * scale).collect()
}

/// t k / (1 + (k - 1) c) of the mean difference, c the mean cosine between differences.
fn model_stock(gram: &Gram) -> Vec<f64> {
    let count = gram.size();
    let mut sum = 0.0;
    for i in 0..count {
        for j in 0..i {
            sum += (gram.get(i, j) / (gram.norm(i) * gram.norm(j)).max(1e-6)).clamp(-1.0, 1.0);
        }
    }
    let k = count as f64;
    let cosine = sum / (k * (k - 1.0) / 2.0);
    let below = 1.0 + (k - 1.0) * cosine;
    let t = if below.abs() < 1e-6 { 0.0 } else { k * cosine / below };
    vec![t / k; count]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gram(rows: &[&[f32]]) -> Gram {
        let mut gram = Gram::new(rows.len());
        gram.of(rows);
        gram
    }

    #[test]
    fn right_angles_by_hand() {
        let right = gram(&[&[2.0, 0.0], &[0.0, 4.0]]);
        let half = (0.5_f64).sqrt();
        let check = |combine: Combine, expected: [f64; 2]| {
            let found = coefficients(&combine, &right).unwrap();
            let close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6);
            assert!(close, "{combine:?}: {found:?}");
        };
        // sin 45 / sin 90 of both.
        check(Combine::Slerp { t: 0.5 }, [half, half]);
        // Unit vectors in the middle, times the mean norm 3.
        check(Combine::Karcher { iterations: 10, tolerance: 1e-5 }, [3.0 * half / 2.0, 3.0 * half / 4.0]);
        // No common direction: the base alone.
        check(Combine::ModelStock { along: super::super::recipe::Along::Tensor }, [0.0, 0.0]);
    }

    #[test]
    fn parallel_vectors_are_mixed_in_a_straight_line() {
        let parallel = gram(&[&[1.0, 1.0], &[2.0, 2.0]]);
        let found = coefficients(&Combine::Slerp { t: 0.25 }, &parallel).unwrap();
        assert_eq!(found, [0.75, 0.25]);
    }
}
