//! How far one model's distributions over the next token are from another's. In f64: the differences are small.

/// Over the positions of some text.
#[derive(Debug, Clone, Default)]
pub(super) struct Comparison {
    /// Of the reference from the tested one, at each position.
    kl: Vec<f64>,
    /// -log p of the tokens that followed, summed.
    surprise: f64,
    reference_surprise: f64,
    /// Positions where both have the same likeliest token.
    agreed: usize,
}

impl Comparison {
    /// Adds a position: the logits of both models there, and the token that follows.
    pub fn position(&mut self, logits: &[f32], reference: &[f32], next: u32) {
        let (total, reference_total) = (log_total(logits), log_total(reference));
        // KL(p || q) = sum of p log(p / q), where p is the reference.
        let terms = reference.iter().zip(logits).map(|(&p, &q)| {
            let (log_p, log_q) = (f64::from(p) - reference_total, f64::from(q) - total);
            log_p.exp() * (log_p - log_q)
        });
        self.kl.push(terms.sum());
        self.surprise += total - f64::from(logits[next as usize]);
        self.reference_surprise += reference_total - f64::from(reference[next as usize]);
        self.agreed += usize::from(argmax(logits) == argmax(reference));
    }

    pub fn add(&mut self, other: &Self) {
        self.kl.extend(&other.kl);
        self.surprise += other.surprise;
        self.reference_surprise += other.reference_surprise;
        self.agreed += other.agreed;
    }

    pub fn positions(&self) -> usize {
        self.kl.len()
    }

    pub fn perplexity(&self) -> f64 {
        (self.surprise / self.positions() as f64).exp()
    }

    pub fn reference_perplexity(&self) -> f64 {
        (self.reference_surprise / self.positions() as f64).exp()
    }

    /// In nats.
    pub fn mean_kl(&self) -> f64 {
        self.kl.iter().sum::<f64>() / self.positions() as f64
    }

    /// The divergence that this share of the positions stays within.
    pub fn kl_quantile(&self, share: f64) -> f64 {
        let mut sorted = self.kl.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(at.max(1) - 1).copied().unwrap_or(f64::NAN)
    }

    pub fn agreement(&self) -> f64 {
        self.agreed as f64 / self.positions() as f64
    }
}

/// The logarithm of the sum of all weights.
fn log_total(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest + logits.iter().map(|&x| (f64::from(x) - largest).exp()).sum::<f64>().ln()
}

fn argmax(logits: &[f32]) -> Option<usize> {
    let better = |best: Option<usize>, at: usize| match best {
        Some(best) if logits[best] >= logits[at] => Some(best),
        _ => Some(at),
    };
    (0..logits.len()).fold(None, better)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// p = (1/2, 1/4, 1/4) against q = (1/4, 1/2, 1/4): KL = ln 2 / 2 - ln 2 / 4, perplexities 4 and 2.
    #[test]
    fn formulas_by_hand() {
        let row = |weights: [f32; 3]| weights.map(|weight| weight.ln() + 7.0);
        let mut comparison = Comparison::default();
        comparison.position(&row([1.0, 2.0, 1.0]), &row([2.0, 1.0, 1.0]), 0);
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        near(comparison.mean_kl(), std::f64::consts::LN_2 / 4.0);
        near(comparison.perplexity(), 4.0);
        near(comparison.reference_perplexity(), 2.0);
        near(comparison.agreement(), 0.0);

        let mut both = comparison.clone();
        both.position(&row([3.0, 1.0, 1.0]), &row([3.0, 1.0, 1.0]), 1);
        near(both.mean_kl(), std::f64::consts::LN_2 / 8.0);
        near(both.perplexity(), (4.0_f64 * 5.0).sqrt());
        near(both.agreement(), 0.5);
        near(both.kl_quantile(0.5), 0.0);
        near(both.kl_quantile(0.99), std::f64::consts::LN_2 / 4.0);
        comparison.add(&Comparison::default());
        assert_eq!(comparison.positions(), 1);
    }
}
