//! RoPE's config keys: `rope_parameters` (transformers 5) or `rope_theta` with `rope_scaling` (before it).
//! Follows `RotaryEmbeddingConfigMixin`, but where that warns of a key that has no effect, this refuses it:
//! it was meant to change the model.

use super::reader::Reader;
use crate::model::ModelError;
use crate::model::config::limits;
use crate::model::rope::{RopeConfig, RopeScaling, YarnScaling};

/// What transformers takes where a config of these families names no base.
const DEFAULT_THETA: f64 = 10_000.0;

/// RoPE, and the context that its scaling makes of `context`, the config's `max_position_embeddings`.
pub(super) fn read(config: &Reader, context: usize) -> Result<(RopeConfig, usize), ModelError> {
    let parameters = match (config.nested("rope_parameters.")?, config.nested("rope_scaling.")?) {
        (Some(_), Some(_)) => {
            return Err(ModelError::contradiction(
                "both `rope_parameters` and `rope_scaling` are given",
                "keep `rope_parameters` (transformers 5) and remove the other",
            ));
        }
        (parameters, scaling) => parameters.or(scaling),
    };
    let theta = theta(config, parameters.as_ref())?;
    let (scaling, context) = match parameters {
        None => (RopeScaling::Default, context),
        Some(parameters) => {
            let scaling = scaling(config, &parameters, context)?;
            let stretched = stretched(config, &parameters, &scaling, context)?;
            (scaling, stretched)
        }
    };
    Ok((RopeConfig { theta, scaling }, context))
}

/// As vLLM derives it: linear scaling and YaRN stretch the context of the pretraining by their factor. Where a config
/// states the stretched context itself, as Llama 3's all do, that counts.
fn stretched(
    config: &Reader,
    parameters: &Reader,
    scaling: &RopeScaling,
    context: usize,
) -> Result<usize, ModelError> {
    let (factor, original) = match scaling {
        RopeScaling::Default | RopeScaling::Llama3 { .. } => return Ok(context),
        RopeScaling::Linear { factor } => (*factor, original_context(config, parameters, context)?),
        RopeScaling::Yarn(yarn) => (yarn.factor, yarn.original_max_position_embeddings),
    };
    let stretched = (factor * original as f64) as usize;
    if stretched > limits::POSITIONS {
        return Err(ModelError::contradiction(
            format!("`{}` = {factor} makes a context of {stretched} tokens", parameters.name("factor")),
            format!("at most {} are supported; take it from the original config", limits::POSITIONS),
        ));
    }
    Ok(context.max(stretched))
}

fn theta(config: &Reader, parameters: Option<&Reader>) -> Result<f64, ModelError> {
    let outer = config.optional_positive("rope_theta")?;
    let inner = parameters.map(|p| p.optional_positive("rope_theta")).transpose()?.flatten();
    if let (Some(outer), Some(inner)) = (outer, inner)
        && outer != inner
    {
        return Err(ModelError::contradiction(
            format!("`rope_theta` is {outer} at the top level and {inner} in the RoPE parameters"),
            "keep the one of the original config",
        ));
    }
    let theta = inner.or(outer).unwrap_or(DEFAULT_THETA);
    if theta <= 1.0 {
        return Err(ModelError::contradiction(
            format!("`rope_theta` = {theta} is not above 1"),
            "it is the base of the wavelengths, usually 10000 or more",
        ));
    }
    Ok(theta)
}

fn scaling(config: &Reader, parameters: &Reader, context: usize) -> Result<RopeScaling, ModelError> {
    let kind = kind(parameters)?;
    let (scaling, own_keys): (_, &[&str]) = match kind {
        "default" => (RopeScaling::Default, &[]),
        "linear" => (RopeScaling::Linear { factor: parameters.positive("factor")? }, &["factor", ORIGINAL]),
        "llama3" => (
            llama3(config, parameters, context)?,
            &["factor", "low_freq_factor", "high_freq_factor", ORIGINAL],
        ),
        "yarn" => (
            RopeScaling::Yarn(yarn(config, parameters, context)?),
            &[
                "factor",
                ORIGINAL,
                "attention_factor",
                "beta_fast",
                "beta_slow",
                "mscale",
                "mscale_all_dim",
                "truncate",
                "finetuned",
            ],
        ),
        _ => {
            return Err(ModelError::unsupported(
                &parameters.name("rope_type"),
                &kind.into(),
                "supported are default, linear, llama3 and yarn",
            ));
        }
    };
    refuse_other_keys(parameters, kind, own_keys)?;
    Ok(scaling)
}

fn kind<'a>(parameters: &Reader<'a>) -> Result<&'a str, ModelError> {
    match (parameters.text("rope_type")?, parameters.text("type")?) {
        (Some(new), Some(old)) if new != old => Err(ModelError::contradiction(
            format!(
                "`{}` is {new:?}, `{}` is {old:?}",
                parameters.name("rope_type"),
                parameters.name("type")
            ),
            "keep `rope_type`",
        )),
        (new, old) => Ok(new.or(old).unwrap_or("default")),
    }
}

fn refuse_other_keys(parameters: &Reader, kind: &str, own: &[&str]) -> Result<(), ModelError> {
    for key in parameters.keys() {
        let full_rotation = key == "partial_rotary_factor"
            && parameters.get(key).and_then(serde_json::Value::as_f64) == Some(1.0);
        if full_rotation || ["rope_type", "type", "rope_theta"].contains(&&**key) || own.contains(&&**key) {
            continue;
        }
        return Err(ModelError::unsupported(
            &parameters.name(key),
            parameters.get(key).unwrap_or_default(),
            format!("RoPE type {kind:?} knows no such key; remove it, or correct `rope_type`"),
        ));
    }
    Ok(())
}

const ORIGINAL: &str = "original_max_position_embeddings";

/// The context of the pretraining: in the RoPE parameters, or at the top level, or the context itself.
fn original_context(config: &Reader, parameters: &Reader, context: usize) -> Result<usize, ModelError> {
    let inner = parameters.optional_size(ORIGINAL, limits::POSITIONS)?;
    let outer = config.optional_size(ORIGINAL, limits::POSITIONS)?;
    if let (Some(inner), Some(outer)) = (inner, outer)
        && inner != outer
    {
        return Err(ModelError::contradiction(
            format!("`{}` is {inner}, `{ORIGINAL}` at the top level is {outer}", parameters.name(ORIGINAL)),
            "keep the one of the original config",
        ));
    }
    Ok(inner.or(outer).unwrap_or(context))
}

fn llama3(config: &Reader, parameters: &Reader, context: usize) -> Result<RopeScaling, ModelError> {
    let (low, high) = (parameters.positive("low_freq_factor")?, parameters.positive("high_freq_factor")?);
    if high <= low {
        return Err(ModelError::contradiction(
            format!(
                "`{}` = {high} is not above `{}` = {low}",
                parameters.name("high_freq_factor"),
                parameters.name("low_freq_factor")
            ),
            "Llama 3 has 4 and 1",
        ));
    }
    Ok(RopeScaling::Llama3 {
        factor: parameters.positive("factor")?,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: original_context(config, parameters, context)?,
    })
}

fn yarn(config: &Reader, parameters: &Reader, context: usize) -> Result<YarnScaling, ModelError> {
    let original = original_context(config, parameters, context)?;
    let beta_fast = parameters.optional_positive("beta_fast")?.unwrap_or(32.0);
    let beta_slow = parameters.optional_positive("beta_slow")?.unwrap_or(1.0);
    if beta_fast < beta_slow {
        return Err(ModelError::contradiction(
            format!(
                "`{}` = {beta_fast} is below `{}` = {beta_slow}",
                parameters.name("beta_fast"),
                parameters.name("beta_slow")
            ),
            "YaRN's defaults are 32 and 1",
        ));
    }
    Ok(YarnScaling {
        factor: parameters.optional_positive("factor")?.unwrap_or(context as f64 / original as f64),
        original_max_position_embeddings: original,
        attention_factor: parameters.optional_positive("attention_factor")?,
        beta_fast,
        beta_slow,
        mscale: parameters.optional_positive("mscale")?,
        mscale_all_dim: parameters.optional_positive("mscale_all_dim")?,
        truncate: parameters.flag("truncate", true)?,
    })
}
