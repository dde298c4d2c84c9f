//! Checks that need only the request and the engine's fixed facts, made on the caller's thread.

use super::handle::{EngineError, EngineInfo};
use super::request::{Request, SamplingParams};
use super::soft_prefix::SoftPrefix;

/// # Errors
/// The first field found wrong, by its wire name, or the context or cache that cannot hold the request.
pub(super) fn validate(request: &Request, info: &EngineInfo) -> Result<(), EngineError> {
    check_numbers(&request.sampling)?;
    check_limits(&request.sampling, info)?;
    check_ids(request, info)?;
    check_soft_prefix(request, info)?;
    check_room(request, info)
}

fn invalid(parameter: &'static str, message: String) -> Result<(), EngineError> {
    Err(EngineError::InvalidParameter { parameter, message })
}

fn check_numbers(sampling: &SamplingParams) -> Result<(), EngineError> {
    type InRange = fn(f32) -> bool;
    let rules: [(&'static str, f32, InRange, &str); 6] = [
        ("temperature", sampling.temperature, |t| t >= 0.0, "at least 0"),
        ("top_p", sampling.top_p, |p| p > 0.0 && p <= 1.0, "above 0 and at most 1"),
        ("min_p", sampling.min_p, |p| (0.0..=1.0).contains(&p), "between 0 and 1"),
        // Beyond these a penalised logit can leave f32's range.
        (
            "repetition_penalty",
            sampling.repetition_penalty,
            |p| (0.01..=100.0).contains(&p),
            "between 0.01 and 100",
        ),
        ("presence_penalty", sampling.presence_penalty, |p| (-2.0..=2.0).contains(&p), "between -2 and 2"),
        ("frequency_penalty", sampling.frequency_penalty, |p| (-2.0..=2.0).contains(&p), "between -2 and 2"),
    ];
    for (parameter, value, in_range, range) in rules {
        if !value.is_finite() || !in_range(value) {
            return invalid(parameter, format!("must be a number {range}, got {value}"));
        }
    }
    match sampling.logit_bias.iter().find(|(_, bias)| !(-100.0..=100.0).contains(bias)) {
        Some((id, bias)) => {
            invalid("logit_bias", format!("the bias of token {id} must be between -100 and 100, got {bias}"))
        }
        None => Ok(()),
    }
}

fn check_limits(sampling: &SamplingParams, info: &EngineInfo) -> Result<(), EngineError> {
    if sampling.n == 0 || sampling.n > info.max_n {
        return invalid("n", format!("must be between 1 and {}, got {}", info.max_n, sampling.n));
    }
    if sampling.max_tokens == 0 {
        return invalid("max_tokens", "must be at least 1".to_owned());
    }
    if sampling.min_tokens > sampling.max_tokens {
        let (min, max) = (sampling.min_tokens, sampling.max_tokens);
        return invalid("min_tokens", format!("must be at most max_tokens ({max}), got {min}"));
    }
    for (parameter, asked) in [("logprobs", sampling.logprobs), ("prompt_logprobs", sampling.prompt_logprobs)]
    {
        if let Some(asked) = asked.filter(|&asked| asked > info.max_logprobs) {
            return invalid(parameter, format!("must be at most {}, got {asked}", info.max_logprobs));
        }
    }
    Ok(())
}

fn check_ids(request: &Request, info: &EngineInfo) -> Result<(), EngineError> {
    if request.prompt.is_empty() && !matches!(request.soft_prefix, Some(SoftPrefix::Given(_))) {
        return invalid("prompt", "must have at least one token".to_owned());
    }
    let biased = request.sampling.logit_bias.iter().map(|(id, _)| ("logit_bias", *id));
    let stops = request.sampling.stop_token_ids.iter().map(|id| ("stop_token_ids", *id));
    let prompt = request.prompt.iter().map(|id| ("prompt", *id));
    match biased.chain(stops).chain(prompt).find(|(_, id)| *id as usize >= info.vocab_size) {
        Some((parameter, id)) => invalid(
            parameter,
            format!("token id {id} is not in the model's vocabulary of {}", info.vocab_size),
        ),
        None => Ok(()),
    }
}

/// A text needs an encoder that reads as much, and is never cut: what it asks for would be lost silently. Vectors must be the
/// decoder's.
fn check_soft_prefix(request: &Request, info: &EngineInfo) -> Result<(), EngineError> {
    let encoder_ids = match &request.soft_prefix {
        None => return Ok(()),
        Some(SoftPrefix::Text { encoder_ids }) => encoder_ids,
        Some(SoftPrefix::Given(given)) if given.width() == info.hidden_size => return Ok(()),
        Some(SoftPrefix::Given(given)) => {
            let (width, hidden) = (given.width(), info.hidden_size);
            return invalid(
                "prompt_embeds",
                format!("vectors of {width} numbers, and the model's have {hidden}"),
            );
        }
    };
    match (info.encoder_tokens_max, encoder_ids.len()) {
        (None, _) => invalid("prompt", "the model has no encoder to read a soft prefix with".to_owned()),
        (_, 0) => invalid("prompt", "the encoder's text must have at least one token".to_owned()),
        (Some(most), tokens) if tokens > most => invalid(
            "prompt",
            format!("the text has {tokens} tokens for the encoder, which reads at most {most}: shorten it"),
        ),
        _ => Ok(()),
    }
}

/// One choice must fit the context and the whole cache; the choices of a request need not all run at once.
fn check_room(request: &Request, info: &EngineInfo) -> Result<(), EngineError> {
    let (prompt_tokens, max_tokens) = (request.prompt_tokens(), request.sampling.max_tokens);
    let (max_model_len, block_size) = (info.max_model_len, info.block_size);
    let total = prompt_tokens.saturating_add(max_tokens);
    if total > max_model_len {
        return Err(EngineError::ContextExceeded { prompt_tokens, max_tokens, max_model_len });
    }
    // The last token's keys and values are never needed.
    let needed = (total - 1).div_ceil(block_size);
    if needed > info.num_blocks {
        return Err(EngineError::NeverFits { needed, available: info.num_blocks, block_size });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::soft_prefix::SoftPrefix;
    use super::*;

    const INFO: EngineInfo = EngineInfo {
        max_model_len: 100,
        vocab_size: 50,
        hidden_size: 2,
        block_size: 32,
        num_blocks: 3,
        encoder_tokens_max: Some(20),
        max_waiting: 4,
        max_n: 8,
        max_logprobs: 20,
        eos_token_ids: Vec::new(),
    };

    fn request(sampling: SamplingParams) -> Request {
        Request {
            id: String::new(),
            prompt: vec![1; 10],
            soft_prefix: None,
            sampling,
            adapter: None,
            guidance: None,
            cache_salt: None,
            priority: 0,
        }
    }

    /// `wrong` is the parameter named by the error; empty for a valid request.
    fn check(sampling: SamplingParams, wrong: &str) {
        let asked = request(sampling);
        let sampling = &asked.sampling;
        let named = match validate(&asked, &INFO) {
            Ok(()) => "",
            Err(EngineError::InvalidParameter { parameter, .. }) => parameter,
            Err(other) => panic!("{sampling:?}: {other}"),
        };
        assert_eq!(named, wrong, "{sampling:?}");
    }

    #[test]
    fn ranges() {
        let ok = SamplingParams::default;
        check(ok(), "");
        for temperature in [-0.1, f32::NAN, f32::INFINITY] {
            check(SamplingParams { temperature, ..ok() }, "temperature");
        }
        for top_p in [0.0, 1.1, f32::NAN] {
            check(SamplingParams { top_p, ..ok() }, "top_p");
        }
        check(SamplingParams { min_p: -0.1, ..ok() }, "min_p");
        for repetition_penalty in [0.0, 1e-40, 0.009, 101.0, f32::NAN] {
            check(SamplingParams { repetition_penalty, ..ok() }, "repetition_penalty");
        }
        check(SamplingParams { repetition_penalty: 0.01, ..ok() }, "");
        check(SamplingParams { presence_penalty: 2.1, ..ok() }, "presence_penalty");
        check(SamplingParams { frequency_penalty: -2.1, ..ok() }, "frequency_penalty");
        check(SamplingParams { logit_bias: vec![(1, f32::NAN)], ..ok() }, "logit_bias");
        check(SamplingParams { logit_bias: vec![(50, 1.0)], ..ok() }, "logit_bias");
        check(SamplingParams { stop_token_ids: vec![50], ..ok() }, "stop_token_ids");
        check(SamplingParams { n: 0, ..ok() }, "n");
        check(SamplingParams { n: 9, ..ok() }, "n");
        check(SamplingParams { max_tokens: 0, ..ok() }, "max_tokens");
        check(SamplingParams { min_tokens: 17, ..ok() }, "min_tokens");
        check(SamplingParams { logprobs: Some(21), ..ok() }, "logprobs");
        check(SamplingParams { prompt_logprobs: Some(21), ..ok() }, "prompt_logprobs");
        check(SamplingParams { n: 8, logprobs: Some(20), top_k: u32::MAX, ..ok() }, "");
    }

    #[test]
    fn soft_prefixes_count_and_need_an_encoder() {
        let with = |tokens: usize, info: &EngineInfo| {
            let soft_prefix = Some(SoftPrefix::Text { encoder_ids: vec![3; tokens] });
            let asked = Request {
                soft_prefix,
                ..request(SamplingParams { max_tokens: 80, ..SamplingParams::default() })
            };
            validate(&asked, info)
        };
        assert_eq!(with(9, &EngineInfo { num_blocks: 9, ..INFO }), Ok(()));
        let exceeded = EngineError::ContextExceeded { prompt_tokens: 21, max_tokens: 80, max_model_len: 100 };
        assert_eq!(with(10, &INFO), Err(exceeded));
        let check = |tokens, info: &EngineInfo, part: &str| {
            let error = with(tokens, info).unwrap_err();
            assert!(matches!(error, EngineError::InvalidParameter { parameter: "prompt", .. }), "{error}");
            assert!(error.to_string().contains(part), "{error}");
        };
        check(21, &INFO, "21 tokens for the encoder, which reads at most 20");
        check(0, &INFO, "at least one token");
        check(3, &EngineInfo { encoder_tokens_max: None, ..INFO }, "no encoder");
    }

    #[test]
    fn prompts_and_room() {
        let with = |prompt: Vec<u32>, max_tokens: usize| {
            let sampling = SamplingParams { max_tokens, ..SamplingParams::default() };
            validate(&Request { prompt, ..request(sampling) }, &INFO)
        };
        assert!(matches!(with(vec![], 1), Err(EngineError::InvalidParameter { parameter: "prompt", .. })));
        assert!(matches!(with(vec![50], 1), Err(EngineError::InvalidParameter { parameter: "prompt", .. })));
        assert_eq!(with(vec![1; 90], 7), Ok(()));
        let exceeded = EngineError::ContextExceeded { prompt_tokens: 90, max_tokens: 11, max_model_len: 100 };
        assert_eq!(with(vec![1; 90], 11), Err(exceeded));
        assert!(with(vec![1; 90], usize::MAX).is_err());
        let never = EngineError::NeverFits { needed: 4, available: 3, block_size: 32 };
        let text = never.to_string();
        assert!(text.contains("lower max_tokens") && text.contains("--kv-cache-memory"), "{text}");
        assert!(!text.contains("lower n,"), "each choice must fit, however many there are: {text}");
        assert_eq!(with(vec![1; 90], 8), Err(never));
    }
}
