//! Rotary scaling in GGUF metadata to `rope_scaling` of a config.json.
//!
//! Linear and YaRN scaling are metadata keys. Llama 3's is not: llama.cpp's converter evaluates its formula and writes
//! one divisor a frequency as the tensor `rope_freqs.weight`. The parameters are found again by evaluating the
//! formula for every published set of them. LongRoPE's two lists of factors are tensors as they are.

use serde_json::{Value, json};

use super::metadata::Metadata;
use crate::weights::WeightsError;

/// Training contexts that Llama 3 scaling has been published with.
const ORIGINAL_CONTEXTS: [u32; 6] = [8192, 4096, 2048, 16_384, 32_768, 131_072];
/// The divisors were computed in f32.
const TOLERANCE: f64 = 1e-3;

/// The tensors that say how RoPE is scaled, as far as a file has them.
#[derive(Debug, Default)]
pub struct RotaryTensors {
    /// `rope_freqs.weight`
    pub frequencies: Option<Vec<f32>>,
    /// `rope_factors_short.weight` and `rope_factors_long.weight`
    pub short_and_long: Option<[Vec<f32>; 2]>,
}

/// The value of `rope_scaling`, `Null` for none.
pub fn scaling(
    metadata: &Metadata,
    prefix: &str,
    rope_theta: f64,
    head_dim: u32,
    tensors: &RotaryTensors,
) -> Result<Value, WeightsError> {
    if let Some([short, long]) = &tensors.short_and_long {
        let mut scaling = json!({ "rope_type": "longrope", "short_factor": short, "long_factor": long });
        let key = |name: &str| format!("{prefix}.rope.scaling.{name}");
        if let Some(original) = metadata.count(&key("original_context_length"))? {
            scaling["original_max_position_embeddings"] = json!(original);
        }
        if let Some(factor) = metadata.float(&key("attn_factor"))? {
            scaling["attention_factor"] = json!(factor);
        }
        return Ok(scaling);
    }
    if let Some(factors) = &tensors.frequencies {
        return llama3(factors, rope_theta, head_dim).ok_or_else(|| WeightsError::UnsupportedType {
            path: metadata.path().to_owned(),
            name: "rope_freqs.weight".into(),
            dtype: "of rotary factors that do not follow Llama 3's formula".into(),
            supported: "factors of Llama 3's formula with low 1 and high 4, linear and yarn scaling",
        });
    }
    let key = |name: &str| format!("{prefix}.rope.{name}");
    if let Some(factor) = metadata.float(&key("scale_linear"))?.filter(|factor| *factor != 1.0) {
        return Ok(json!({ "rope_type": "linear", "factor": factor }));
    }
    let type_key = key("scaling.type");
    let kind = metadata.string(&type_key)?.unwrap_or("none");
    if kind == "none" {
        return Ok(Value::Null);
    }
    let factor_key = key("scaling.factor");
    let factor = metadata.float(&factor_key)?.ok_or_else(|| metadata.error(&factor_key, "is missing"))?;
    if factor <= 0.0 {
        return Err(metadata.error(&factor_key, format!("must be positive, it is {factor}")));
    }
    match kind {
        "linear" => Ok(json!({ "rope_type": "linear", "factor": factor })),
        "yarn" => yarn(metadata, &key, factor),
        other => Err(metadata.error(&type_key, format!("is `{other}`; linear and yarn are supported"))),
    }
}

fn yarn(metadata: &Metadata, key: &dyn Fn(&str) -> String, factor: f64) -> Result<Value, WeightsError> {
    let mut scaling = json!({ "rope_type": "yarn", "factor": factor });
    if let Some(original) = metadata.count(&key("scaling.original_context_length"))? {
        scaling["original_max_position_embeddings"] = json!(original);
    }
    for (gguf, name) in [("scaling.yarn_beta_fast", "beta_fast"), ("scaling.yarn_beta_slow", "beta_slow")] {
        if let Some(beta) = metadata.float(&key(gguf))? {
            scaling[name] = json!(beta);
        }
    }
    for gguf in ["scaling.attn_factor", "scaling.yarn_attn_factor"] {
        if let Some(attention) = metadata.float(&key(gguf))?.filter(|attention| *attention != 1.0) {
            // llama.cpp multiplies YaRN's own magnitude scale by it; Hugging Face states the product.
            scaling["attention_factor"] = json!(attention * (0.1 * factor.ln() + 1.0));
        }
    }
    Ok(scaling)
}

/// The parameters whose divisors `factors` are; `Null` when they are all 1.
fn llama3(factors: &[f32], rope_theta: f64, head_dim: u32) -> Option<Value> {
    if factors.len() != head_dim as usize / 2 {
        return None;
    }
    let factor = factors.iter().copied().fold(1.0_f32, f32::max);
    if factors.iter().all(|divisor| *divisor == 1.0) {
        return Some(Value::Null);
    }
    let matches = |original: &u32| {
        let expected = llama3_divisors(rope_theta, head_dim, f64::from(factor), f64::from(*original));
        expected
            .zip(factors)
            .all(|(expected, found)| (expected - f64::from(*found)).abs() <= TOLERANCE * expected)
    };
    let original = ORIGINAL_CONTEXTS.into_iter().find(matches)?;
    Some(json!({
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": original,
    }))
}

/// llama.cpp's `generate_extra_tensors` for Llama 3: 1 for short waves, `factor` for long ones, smooth between.
fn llama3_divisors(rope_theta: f64, head_dim: u32, factor: f64, original: f64) -> impl Iterator<Item = f64> {
    let (low, high) = (1.0, 4.0);
    (0..head_dim / 2).map(move |at| {
        let wave_length = std::f64::consts::TAU * rope_theta.powf(f64::from(2 * at) / f64::from(head_dim));
        if wave_length < original / high {
            1.0
        } else if wave_length > original / low {
            factor
        } else {
            let smooth = (original / wave_length - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_parameters_are_recovered() {
        for (theta, head_dim, factor, original) in
            [(500_000.0, 128, 8.0, 8192), (500_000.0, 64, 32.0, 8192), (100_000.0, 64, 4.0, 4096)]
        {
            let factors: Vec<f32> = llama3_divisors(theta, head_dim, factor, f64::from(original))
                .map(|divisor| divisor as f32)
                .collect();
            let scaling = llama3(&factors, theta, head_dim).expect("it follows the formula");
            assert_eq!(scaling["factor"], factor);
            assert_eq!(scaling["original_max_position_embeddings"], original);
        }
    }

    #[test]
    fn other_factors_are_refused() {
        assert_eq!(llama3(&[1.0; 32], 1e4, 64), Some(Value::Null));
        assert_eq!(llama3(&[1.0; 31], 1e4, 64), None);
        assert_eq!(llama3(&[3.0; 32], 1e4, 64), None);
        assert_eq!(llama3(&[f32::NAN; 32], 1e4, 64), None);
    }
}
