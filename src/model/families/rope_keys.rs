//! RoPE's config keys: `rope_parameters` (transformers 5) or `rope_theta` with `rope_scaling` (before it).
//! Follows `RotaryEmbeddingConfigMixin`, but where that warns of a key that has no effect, this refuses it:
//! it was meant to change the model.

use super::reader::Reader;
use crate::model::ModelError;
use crate::model::config::limits;
use crate::model::rope::{LongRopeScaling, RopeConfig, RopeScaling, YarnScaling};

/// What transformers takes where a config of these families names no base.
const DEFAULT_THETA: f64 = 10_000.0;

/// RoPE, and the context that its scaling makes of `context`, the config's `max_position_embeddings`.
pub(super) fn read(config: &Reader, context: usize) -> Result<(RopeConfig, usize), ModelError> {
    read_from(config, context, DEFAULT_THETA)
}

/// The same with another base where none is named.
pub(super) fn read_from(
    config: &Reader,
    context: usize,
    default_theta: f64,
) -> Result<(RopeConfig, usize), ModelError> {
    let parameters = match (config.nested("rope_parameters.")?, config.nested("rope_scaling.")?) {
        (Some(_), Some(_)) => return Err(both_forms()),
        (parameters, scaling) => parameters.or(scaling),
    };
    let theta = theta_of(config, parameters.as_ref(), "rope_theta", default_theta)?;
    let (scaling, context) = match parameters {
        None => (RopeScaling::Default, context),
        Some(parameters) => {
            let scaling = scaling(config, &parameters, context)?;
            let stretched = stretched(config, &parameters, &scaling, context)?;
            (scaling, stretched)
        }
    };
    let partial_rotary_factor = partial_rotary_factor(config, parameters.as_ref())?;
    Ok((RopeConfig { theta, scaling, partial_rotary_factor }, context))
}

/// RoPE of one type of layers, where a family has another for each: under the type's name in `rope_parameters`
/// (transformers 5), or a base at the top level, with `rope_scaling` for layers of full attention (before it).
pub(super) fn of_layer_type(
    config: &Reader,
    context: usize,
    layer_type: &'static str,
    theta_key: &str,
    default_theta: f64,
) -> Result<RopeConfig, ModelError> {
    let is_full = layer_type == "full_attention";
    let parameters = match (config.nested("rope_parameters.")?, config.nested("rope_scaling.")?) {
        (Some(_), Some(_)) => return Err(both_forms()),
        (Some(all), None) => {
            if let Some(key) = all.keys().find(|key| !LAYER_TYPES.contains(&key.as_str())) {
                return Err(ModelError::unsupported(
                    &all.name(key),
                    all.get(key).unwrap_or_default(),
                    "this family has an object for each of full_attention and sliding_attention there",
                ));
            }
            all.below(
                layer_type,
                if is_full {
                    "rope_parameters.full_attention."
                } else {
                    "rope_parameters.sliding_attention."
                },
            )?
        }
        (None, scaling) => scaling.filter(|_| is_full),
    };
    if let Some((place, found)) = parameters.as_ref().and_then(|place| Some((place, place.get(PARTIAL)?)))
        && found.as_f64() != Some(1.0)
    {
        return Err(ModelError::unsupported(
            &place.name(PARTIAL),
            found,
            "RoPE turns whole heads in this family",
        ));
    }
    let theta = theta_of(config, parameters.as_ref(), theta_key, default_theta)?;
    let scaling = match &parameters {
        Some(parameters) => scaling(config, parameters, context)?,
        None => RopeScaling::Default,
    };
    Ok(RopeConfig { theta, scaling, partial_rotary_factor: 1.0 })
}

const LAYER_TYPES: [&str; 2] = ["full_attention", "sliding_attention"];

fn both_forms() -> ModelError {
    ModelError::contradiction(
        "both `rope_parameters` and `rope_scaling` are given",
        "keep `rope_parameters` (transformers 5) and remove the other",
    )
}

/// As vLLM derives it: linear scaling and YaRN stretch the context of the pretraining by their factor. Where a config
/// states the stretched context itself, as those of Llama 3 and of LongRoPE all do, that counts.
fn stretched(
    config: &Reader,
    parameters: &Reader,
    scaling: &RopeScaling,
    context: usize,
) -> Result<usize, ModelError> {
    let (factor, original) = match scaling {
        RopeScaling::Default | RopeScaling::Llama3 { .. } | RopeScaling::LongRope(_) => return Ok(context),
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

/// The base in the RoPE parameters, or under `key` at the top level.
fn theta_of(
    config: &Reader,
    parameters: Option<&Reader>,
    key: &str,
    default: f64,
) -> Result<f64, ModelError> {
    let outer = config.optional_positive(key)?;
    let inner = parameters.map(|p| p.optional_positive("rope_theta")).transpose()?.flatten();
    if let (Some(outer), Some(inner)) = (outer, inner)
        && outer != inner
    {
        return Err(ModelError::contradiction(
            format!("`{key}` is {outer} at the top level and {inner} in the RoPE parameters"),
            "keep the one of the original config",
        ));
    }
    let theta = inner.or(outer).unwrap_or(default);
    if theta <= 1.0 {
        return Err(ModelError::contradiction(
            format!("`{key}` = {theta} is not above 1"),
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
        "longrope" => (
            RopeScaling::LongRope(longrope(config, parameters, context)?),
            &["factor", ORIGINAL, "attention_factor", "short_factor", "long_factor"],
        ),
        _ => {
            return Err(ModelError::unsupported(
                &parameters.name("rope_type"),
                &kind.into(),
                "supported are default, linear, llama3, yarn and longrope",
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
        // As LongRoPE was called in the first configs of Phi-3.
        (new, old) => Ok(match new.or(old).unwrap_or("default") {
            "su" => "longrope",
            kind => kind,
        }),
    }
}

fn refuse_other_keys(parameters: &Reader, kind: &str, own: &[&str]) -> Result<(), ModelError> {
    for key in parameters.keys() {
        if ["rope_type", "type", "rope_theta", PARTIAL].contains(&&**key) || own.contains(&&**key) {
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

/// The part of a head that turns: in the RoPE parameters, or at the top level.
fn partial_rotary_factor(config: &Reader, parameters: Option<&Reader>) -> Result<f64, ModelError> {
    let outer = config.optional_positive(PARTIAL)?;
    let inner = parameters.map(|p| p.optional_positive(PARTIAL)).transpose()?.flatten();
    match (outer, inner) {
        (Some(outer), Some(inner)) if outer != inner => Err(ModelError::contradiction(
            format!("`{PARTIAL}` is {outer} at the top level and {inner} in the RoPE parameters"),
            "keep the one of the original config",
        )),
        (outer, inner) => Ok(inner.or(outer).unwrap_or(1.0)),
    }
}

pub(super) const PARTIAL: &str = "partial_rotary_factor";
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

fn longrope(config: &Reader, parameters: &Reader, context: usize) -> Result<LongRopeScaling, ModelError> {
    if parameters.get(ORIGINAL).or(config.get(ORIGINAL)).is_none() {
        // What families take for it differs.
        return Err(parameters.missing(ORIGINAL));
    }
    let original = original_context(config, parameters, context)?;
    if original < 2 {
        return Err(ModelError::contradiction(
            format!("`{ORIGINAL}` is {original}"),
            "the attention scale is by its logarithm; take it from the original config",
        ));
    }
    let factors = |key: &str| {
        let Some(found) = parameters.get(key) else { return Err(parameters.missing(key)) };
        let number = |number: &serde_json::Value| {
            number.as_f64().map(|number| number as f32).filter(|number| number.is_finite() && *number > 0.0)
        };
        let numbers = found.as_array().and_then(|list| list.iter().map(number).collect::<Option<Vec<f32>>>());
        numbers.ok_or_else(|| {
            ModelError::invalid(
                &parameters.name(key),
                found,
                "a list of finite numbers above 0, one a pair of dimensions",
            )
        })
    };
    Ok(LongRopeScaling {
        short_factor: factors("short_factor")?,
        long_factor: factors("long_factor")?,
        original_max_position_embeddings: original,
        factor: parameters.optional_positive("factor")?.unwrap_or(context as f64 / original as f64),
        attention_factor: parameters.optional_positive("attention_factor")?,
    })
}
