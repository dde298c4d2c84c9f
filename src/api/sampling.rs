//! From a request's sampling fields to the engine's parameters: defaults filled in, counts held to the limits.
//!
//! Ranges (a temperature below 0) are the engine's to refuse; it names the same fields.

use uuid::Uuid;

use super::error::ApiError;
use super::limits::Limits;
use crate::engine::output::OutputOptions;
use crate::engine::{LogprobsMode, SamplingParams};
use crate::protocol::sampling::{self, SamplingFields};
use crate::registry::GenerationDefaults;

/// What the two completion routes decide differently.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// `Some(k)`: logprobs of the sampled tokens.
    pub logprobs: Option<u32>,
    /// `Some(k)`: logprobs of the prompt's.
    pub prompt_logprobs: Option<u32>,
    pub prompts: usize,
    /// Where the request names none.
    pub logprobs_mode: LogprobsMode,
}

/// # Errors
/// The first field over a limit or without meaning.
pub fn sampling_params(
    fields: &SamplingFields,
    asked: Asked,
    defaults: &GenerationDefaults,
    limits: &Limits,
) -> Result<SamplingParams, ApiError> {
    let n = fields.n.unwrap_or(1);
    if n == 0 || n as usize > limits.n_max {
        return Err(ApiError::invalid("n", format!("`n` must be from 1 to {}", limits.n_max)));
    }
    if asked.prompts.saturating_mul(n as usize) > limits.choices_max {
        let message =
            format!("{} prompts times n = {n} is over {} choices", asked.prompts, limits.choices_max);
        return Err(ApiError::invalid("n", message));
    }
    let top_k = match fields.top_k {
        None => defaults.top_k.unwrap_or(0),
        Some(-1 | 0) => 0,
        Some(k) => u32::try_from(k).map_err(|_| {
            let message = format!("`top_k` must be from 1 to {}, or 0 or -1 for off, not {k}", u32::MAX);
            ApiError::invalid("top_k", message)
        })?,
    };
    let stop_token_ids = fields.stop_token_ids.clone().unwrap_or_default();
    at_most("stop_token_ids", stop_token_ids.len(), limits.stop_token_ids_max, "entries")?;
    at_most("language", fields.language.as_ref().map_or(0, String::len), limits.name_bytes_max, "bytes")?;
    let params = SamplingParams {
        n,
        temperature: fields.temperature.or(defaults.temperature).unwrap_or(1.0),
        top_k,
        top_p: fields.top_p.or(defaults.top_p).unwrap_or(1.0),
        min_p: fields.min_p.or(defaults.min_p).unwrap_or(0.0),
        repetition_penalty: fields.repetition_penalty.or(defaults.repetition_penalty).unwrap_or(1.0),
        presence_penalty: fields.presence_penalty.unwrap_or(0.0),
        frequency_penalty: fields.frequency_penalty.unwrap_or(0.0),
        logit_bias: logit_bias(fields, limits)?,
        seed: fields.seed.map_or_else(random_seed, |seed| seed.0),
        // Each prompt gets its own, from the task's length.
        max_tokens: 0,
        min_tokens: fields.min_tokens.unwrap_or(0) as usize,
        stop_token_ids,
        ignore_eos: fields.ignore_eos.unwrap_or(false),
        logprobs: asked.logprobs,
        logprobs_mode: match fields.logprobs_mode {
            Some(sampling::LogprobsMode::Processed) => LogprobsMode::Processed,
            Some(sampling::LogprobsMode::Scaled) => LogprobsMode::Scaled,
            Some(sampling::LogprobsMode::Raw) => LogprobsMode::Raw,
            None => asked.logprobs_mode,
        },
        prompt_logprobs: asked.prompt_logprobs,
    };
    Ok(params)
}

/// # Errors
/// Too many stop strings, or one that is empty or too long.
pub fn output_options(fields: &SamplingFields, limits: &Limits) -> Result<OutputOptions, ApiError> {
    let stop = fields.stop.clone().map(sampling::Stop::into_strings).unwrap_or_default();
    at_most("stop", stop.len(), limits.stop_strings_max, "strings")?;
    for (i, string) in stop.iter().enumerate() {
        let param = || if stop.len() == 1 { "stop".to_owned() } else { format!("stop.{i}") };
        if string.is_empty() {
            return Err(ApiError::invalid(param(), "a stop string must not be empty"));
        }
        at_most(&param(), string.len(), limits.stop_string_bytes_max, "bytes")?;
    }
    Ok(OutputOptions {
        n: fields.n.unwrap_or(1),
        stop: stop.into(),
        include_stop: fields.include_stop_str_in_output.unwrap_or(false),
        skip_special_tokens: fields.skip_special_tokens.unwrap_or(true),
        min_tokens: fields.min_tokens.unwrap_or(0) as usize,
    })
}

/// # Errors
/// More alternatives than the limit; `param` is the field's own name.
pub fn check_logprobs(param: &str, k: Option<u32>, limits: &Limits) -> Result<(), ApiError> {
    at_most(param, k.unwrap_or(0) as usize, limits.logprobs_max, "alternatives")
}

/// # Errors
/// A salt that is empty or too long.
pub fn check_cache_salt(fields: &SamplingFields, limits: &Limits) -> Result<(), ApiError> {
    match &fields.cache_salt {
        Some(salt) if salt.is_empty() => {
            Err(ApiError::invalid("cache_salt", "`cache_salt` must not be empty"))
        }
        Some(salt) => at_most("cache_salt", salt.len(), limits.cache_salt_bytes_max, "bytes"),
        None => Ok(()),
    }
}

/// # Errors
/// `count` over `max`, naming both.
pub fn at_most(param: &str, count: usize, max: usize, of_what: &str) -> Result<(), ApiError> {
    if count > max {
        return Err(ApiError::invalid(
            param,
            format!("`{param}` takes at most {max} {of_what}, not {count}"),
        ));
    }
    Ok(())
}

fn logit_bias(fields: &SamplingFields, limits: &Limits) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(bias) = &fields.logit_bias else { return Ok(Vec::new()) };
    at_most("logit_bias", bias.len(), limits.logit_bias_max, "entries")?;
    let entry = |(id, bias): (&String, &f32)| {
        let shown = || id.chars().take(40).collect::<String>();
        let wrong = |_| ApiError::invalid("logit_bias", format!("`{}` is no token id", shown()));
        id.parse().map(|id| (id, *bias)).map_err(wrong)
    };
    bias.iter().map(entry).collect()
}

/// 64 random bits.
fn random_seed() -> u64 {
    // A version-4 UUID has six fixed bits, in different places of its halves.
    let (high, low) = Uuid::new_v4().as_u64_pair();
    high ^ low.rotate_left(32)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn params(fields: Value) -> Result<SamplingParams, ApiError> {
        let fields: SamplingFields = serde_json::from_value(fields).unwrap();
        let logprobs_mode = LogprobsMode::Raw;
        let asked = Asked { logprobs: None, prompt_logprobs: None, prompts: 2, logprobs_mode };
        let defaults =
            GenerationDefaults { temperature: Some(0.6), top_k: Some(20), ..GenerationDefaults::default() };
        let limits = Limits { n_max: 64, choices_max: 100, ..Limits::default() };
        sampling_params(&fields, asked, &defaults, &limits)
    }

    #[test]
    fn a_request_overrides_the_model_and_the_model_the_api() {
        let silent = params(json!({})).unwrap();
        assert_eq!((silent.temperature, silent.top_k, silent.top_p), (0.6, 20, 1.0));
        let spoken = params(json!({"temperature": 0, "top_k": -1, "seed": -1})).unwrap();
        assert_eq!((spoken.temperature, spoken.top_k, spoken.seed), (0.0, 0, u64::MAX));
        assert_ne!(
            params(json!({})).unwrap().seed,
            silent.seed,
            "without a seed every request draws its own"
        );
    }

    #[test]
    fn refuses_what_is_over_a_limit_by_field() {
        let check = |fields: Value, param: &str| {
            let error = params(fields.clone()).expect_err(param);
            assert_eq!(error.body.param.as_deref(), Some(param), "{fields}: {error:?}");
        };
        check(json!({"n": 0}), "n");
        check(json!({"n": 65}), "n");
        check(json!({"n": 60}), "n");
        check(json!({"top_k": -2}), "top_k");
        check(json!({"top_k": 1_u64 << 40}), "top_k");
        check(json!({"logit_bias": {"x": 1}}), "logit_bias");
        check(json!({"stop_token_ids": vec![1; 1000]}), "stop_token_ids");
        check(json!({"language": "x".repeat(1000)}), "language");
    }

    #[test]
    fn stop_strings_are_bounded() {
        let check = |stop: Value, expected: Result<usize, &str>| {
            let fields: SamplingFields = serde_json::from_value(json!({"stop": stop})).unwrap();
            let got = output_options(&fields, &Limits::default()).map(|options| options.stop.len());
            assert_eq!(got.map_err(|error| error.body.param.unwrap()), expected.map_err(str::to_owned));
        };
        check(json!("\n"), Ok(1));
        check(json!([]), Ok(0));
        check(json!(["a", ""]), Err("stop.1"));
        check(json!(""), Err("stop"));
        check(json!("x".repeat(5000)), Err("stop"));
        check(json!(vec!["x"; 100]), Err("stop"));
    }
}
