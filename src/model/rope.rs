//! Rotary position embeddings: the inverse frequencies and the attention scale of every supported scaling,
//! as transformers' `modeling_rope_utils.py` computes them (f32 tensors, f64 scalars). Not the rotation
//! itself: that is `ops::rope`.
//!
//! Papers: RoPE <https://arxiv.org/abs/2104.09864>, YaRN <https://arxiv.org/abs/2309.00071>.

use std::f64::consts::PI;

use super::ModelError;

#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// The base of the wavelengths (`rope_theta`).
    pub theta: f64,
    pub scaling: RopeScaling,
    /// The part of a head's dimensions that turns; the others stay as they are.
    pub partial_rotary_factor: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    Default,
    /// All positions divided by `factor`.
    Linear {
        factor: f64,
    },
    /// Llama 3.1: long wavelengths divided by `factor`, short ones kept, a ramp between them.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_max_position_embeddings: usize,
    },
    Yarn(YarnScaling),
    LongRope(LongRopeScaling),
}

#[derive(Debug, Clone, PartialEq)]
pub struct YarnScaling {
    pub factor: f64,
    pub original_max_position_embeddings: usize,
    /// Overrides the scale that follows from `factor`, `mscale` and `mscale_all_dim`.
    pub attention_factor: Option<f64>,
    pub beta_fast: f64,
    pub beta_slow: f64,
    pub mscale: Option<f64>,
    pub mscale_all_dim: Option<f64>,
    /// Rounds the correction range to whole dimensions.
    pub truncate: bool,
}

/// LongRoPE: each frequency divided by a number of its own, one list for contexts up to the pretraining's, another for
/// longer ones. <https://arxiv.org/abs/2402.13753>
///
/// transformers takes the long list as soon as a sequence is longer than the pretraining's context, and turns keys that it
/// cached before no further: what a token sees then depends on how the text was cut into calls. A server cannot turn the keys
/// in its cache either, so the list is chosen once, by the longest context that a table is made for (`max_model_len`), as
/// vLLM does. A sequence of any length within it agrees with transformers on a sequence of that length's kind.
#[derive(Debug, Clone, PartialEq)]
pub struct LongRopeScaling {
    /// `[rotary_dim / 2]`
    pub short_factor: Vec<f32>,
    /// `[rotary_dim / 2]`
    pub long_factor: Vec<f32>,
    pub original_max_position_embeddings: usize,
    /// How much longer the context became; the attention scale follows from it.
    pub factor: f64,
    /// Overrides that scale.
    pub attention_factor: Option<f64>,
}

/// What `ops::RopeTable` is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeFrequencies {
    /// Radians a position, a pair of dimensions. `[rotary_dim / 2]`
    pub inverse_frequencies: Vec<f32>,
    /// Multiplies both cosine and sine.
    pub attention_scale: f32,
}

impl RopeConfig {
    /// Dimensions of a head that turn, the first of it.
    pub fn rotary_dim(&self, head_dim: usize) -> usize {
        (head_dim as f64 * self.partial_rotary_factor) as usize
    }

    /// Refuses what the head size is at odds with.
    pub(super) fn check(&self, head_dim: usize) -> Result<(), ModelError> {
        let turns = self.rotary_dim(head_dim);
        if turns == 0 || turns > head_dim || !turns.is_multiple_of(2) {
            return Err(ModelError::contradiction(
                format!(
                    "`partial_rotary_factor` = {} turns {turns} of the {head_dim} dimensions of a head",
                    self.partial_rotary_factor
                ),
                "RoPE turns pairs of them, and some; take it from the original config",
            ));
        }
        let lists = match &self.scaling {
            RopeScaling::LongRope(scaling) => {
                vec![("short_factor", &scaling.short_factor), ("long_factor", &scaling.long_factor)]
            }
            _ => Vec::new(),
        };
        for (key, factors) in lists {
            if factors.len() != turns / 2 {
                return Err(ModelError::contradiction(
                    format!(
                        "`{key}` has {} numbers, RoPE turns {} pairs of dimensions",
                        factors.len(),
                        turns / 2
                    ),
                    "it has one a pair: `head_dim` times `partial_rotary_factor`, halved; take all from the original config",
                ));
            }
        }
        let is_finite =
            |context| self.frequencies(head_dim, context).inverse_frequencies.iter().all(|f| f.is_finite());
        if ![0, usize::MAX].into_iter().all(is_finite) {
            return Err(ModelError::contradiction(
                "RoPE's frequencies are no finite numbers",
                "a factor of its scaling is too close to 0; take all from the original config",
            ));
        }
        Ok(())
    }

    /// For a longest context of so many tokens.
    pub fn frequencies(&self, head_dim: usize, context: usize) -> RopeFrequencies {
        let wavelengths = wavelengths(self.theta, self.rotary_dim(head_dim));
        let plain: Vec<f32> = wavelengths.iter().map(|w| 1.0 / w).collect();
        let (inverse_frequencies, attention_scale) = match &self.scaling {
            RopeScaling::Default => (plain, 1.0),
            RopeScaling::Linear { factor } => (plain.iter().map(|f| f / *factor as f32).collect(), 1.0),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let ramp = Llama3Ramp {
                    factor: *factor as f32,
                    low: *low_freq_factor,
                    high: *high_freq_factor,
                    original_context: *original_max_position_embeddings as f64,
                };
                (plain.iter().map(|f| ramp.scale(*f)).collect(), 1.0)
            }
            RopeScaling::Yarn(yarn) => {
                (yarn.inverse_frequencies(&wavelengths, self.theta), yarn.attention_scale())
            }
            RopeScaling::LongRope(long) => {
                let factors = long.factors(context).iter().zip(&wavelengths);
                (factors.map(|(factor, w)| 1.0 / (factor * w)).collect(), long.attention_scale())
            }
        };
        RopeFrequencies { inverse_frequencies, attention_scale }
    }
}

/// `theta^(2i / rotary_dim)`: the wavelength of each pair of dimensions over 2 pi. `[rotary_dim / 2]`
fn wavelengths(theta: f64, rotary_dim: usize) -> Vec<f32> {
    (0..rotary_dim / 2).map(|i| (theta as f32).powf((2 * i) as f32 / rotary_dim as f32)).collect()
}

struct Llama3Ramp {
    factor: f32,
    low: f64,
    high: f64,
    original_context: f64,
}

impl Llama3Ramp {
    fn scale(&self, frequency: f32) -> f32 {
        let wavelength = 2.0 * PI as f32 / frequency;
        if wavelength > (self.original_context / self.low) as f32 {
            return frequency / self.factor;
        }
        if wavelength < (self.original_context / self.high) as f32 {
            return frequency;
        }
        let rotations = self.original_context as f32 / wavelength;
        let smooth = (rotations - self.low as f32) / (self.high - self.low) as f32;
        (1.0 - smooth) * frequency / self.factor + smooth * frequency
    }
}

impl YarnScaling {
    fn attention_scale(&self) -> f32 {
        let scale = |mscale: f64| {
            if self.factor <= 1.0 { 1.0 } else { 0.1 * mscale * self.factor.ln() + 1.0 }
        };
        let given = |mscale: Option<f64>| mscale.filter(|m| *m != 0.0);
        let inferred = match (given(self.mscale), given(self.mscale_all_dim)) {
            (Some(mscale), Some(all)) => scale(mscale) / scale(all),
            _ => scale(1.0),
        };
        self.attention_factor.unwrap_or(inferred) as f32
    }

    /// Short wavelengths are kept (extrapolation), long ones divided (interpolation), a ramp between them.
    fn inverse_frequencies(&self, wavelengths: &[f32], theta: f64) -> Vec<f32> {
        let (low, high) = self.correction_range(2 * wavelengths.len(), theta);
        let high = if low == high { high + 0.001 } else { high };
        let ramp = |i: usize| ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
        wavelengths
            .iter()
            .enumerate()
            .map(|(i, wavelength)| {
                let keep = 1.0 - ramp(i);
                1.0 / (self.factor as f32 * wavelength) * (1.0 - keep) + 1.0 / wavelength * keep
            })
            .collect()
    }

    /// Between which pairs of dimensions the ramp lies.
    fn correction_range(&self, head_dim: usize, theta: f64) -> (f64, f64) {
        let dim = head_dim as f64;
        let context = self.original_max_position_embeddings as f64;
        let correction = |rotations: f64| dim * (context / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln());
        let (low, high) = (correction(self.beta_fast), correction(self.beta_slow));
        let (low, high) = if self.truncate { (low.floor(), high.ceil()) } else { (low, high) };
        (low.max(0.0), high.min(dim - 1.0))
    }
}

impl LongRopeScaling {
    /// Whether a context of so many tokens is computed with the long factors.
    pub fn is_long(&self, context: usize) -> bool {
        context > self.original_max_position_embeddings
    }

    fn factors(&self, context: usize) -> &[f32] {
        if self.is_long(context) { &self.long_factor } else { &self.short_factor }
    }

    fn attention_scale(&self) -> f32 {
        let inferred = if self.factor <= 1.0 {
            1.0
        } else {
            (1.0 + self.factor.ln() / (self.original_max_position_embeddings as f64).ln()).sqrt()
        };
        self.attention_factor.unwrap_or(inferred) as f32
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::model::families::rope_from_config;

    /// Against the frequencies transformers computes for real models' settings (`make_model_fixtures.py`).
    /// 1e-6 relative is eight units in the last place: the two `powf` are not the same function.
    #[test]
    fn frequencies_agree_with_transformers() {
        let cases: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/models/rope.json")).unwrap();
        for (name, case) in cases.as_object().unwrap() {
            let rope = rope_from_config(case).unwrap();
            let number = |key: &str| case[key].as_u64().map(|number| number as usize);
            let positions = number("positions").or(number("max_position_embeddings")).unwrap();
            let found = rope.frequencies(number("head_dim").unwrap(), positions);
            let expected: Vec<f32> = case["inverse_frequencies"]
                .as_array()
                .unwrap()
                .iter()
                .map(|f| f.as_f64().unwrap() as f32)
                .collect();
            assert_eq!(found.inverse_frequencies.len(), expected.len(), "{name}");
            for (found, expected) in found.inverse_frequencies.iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-6 * expected, "{name}: {found} is not {expected}");
            }
            let scale = case["attention_scale"].as_f64().unwrap() as f32;
            assert!((found.attention_scale - scale).abs() <= 1e-7, "{name}: {}", found.attention_scale);
        }
    }
}
