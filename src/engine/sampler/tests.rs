//! The sampler against distributions written down by hand.

use proptest::prelude::*;

use super::*;

const OFF: fn() -> SamplingParams = SamplingParams::default;

fn job<'a>(logits: &'a [f32], params: &'a SamplingParams) -> SampleJob<'a> {
    SampleJob { logits, params, prompt: &[0], output: &[], choice: 0, eos_token_ids: &[], constraint: None }
}

/// How often each token is drawn over many seeds.
fn frequencies(logits: &[f32], params: &SamplingParams) -> Vec<f64> {
    const DRAWS: u64 = 20_000;
    let mut counts = vec![0.0; logits.len()];
    for seed in 0..DRAWS {
        let params = SamplingParams { seed, ..params.clone() };
        counts[sample(&job(logits, &params)).unwrap().token as usize] += 1.0 / DRAWS as f64;
    }
    counts
}

fn check_distribution(probabilities: &[f64], params: &SamplingParams, expected: &[f64]) {
    let logits: Vec<f32> = probabilities.iter().map(|p| p.ln() as f32 + 3.0).collect();
    for (token, (drawn, expected)) in frequencies(&logits, params).iter().zip(expected).enumerate() {
        assert!((drawn - expected).abs() < 0.015, "{params:?}, token {token}: {drawn} for {expected}");
    }
}

#[test]
fn draws_follow_the_truncated_distribution() {
    let row = [0.1, 0.4, 0.2, 0.3];
    check_distribution(&row, &OFF(), &row);
    check_distribution(&row, &SamplingParams { temperature: 0.0, ..OFF() }, &[0.0, 1.0, 0.0, 0.0]);
    // Temperature 1/2 squares.
    let squared = [0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3];
    check_distribution(&row, &SamplingParams { temperature: 0.5, ..OFF() }, &squared);
    check_distribution(&row, &SamplingParams { top_k: 2, ..OFF() }, &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
    check_distribution(&row, &SamplingParams { top_p: 0.6, ..OFF() }, &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
    check_distribution(&row, &SamplingParams { top_p: 0.3, ..OFF() }, &[0.0, 1.0, 0.0, 0.0]);
    check_distribution(
        &row,
        &SamplingParams { min_p: 0.45, ..OFF() },
        &[0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0],
    );
    // top-p is over what top-k kept: 0.4 / 0.7 already reaches 0.5.
    check_distribution(&row, &SamplingParams { top_k: 2, top_p: 0.5, ..OFF() }, &[0.0, 1.0, 0.0, 0.0]);
    check_distribution(
        &row,
        &SamplingParams { top_k: 3, min_p: 0.7, ..OFF() },
        &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0],
    );
}

#[test]
fn a_long_row_is_drawn_from_in_every_block() {
    // Two likely tokens, far apart, in a row of several blocks.
    let mut logits = vec![-20.0_f32; 1000];
    (logits[3], logits[997]) = (1.0, 1.0);
    let drawn = frequencies(&logits, &OFF());
    assert!((drawn[3] - 0.5).abs() < 0.015 && (drawn[997] - 0.5).abs() < 0.015);
    let flat = frequencies(&vec![0.0_f32; 600], &SamplingParams { top_p: 0.99, ..OFF() });
    assert!(flat[599] == 0.0 && flat.iter().take(590).all(|&p| p > 0.0));
}

#[test]
fn greedy_logprob_is_bit_equal_to_the_top() {
    let logits: Vec<f32> =
        (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 * 1e-6).collect();
    let params = SamplingParams { temperature: 0.0, logprobs: Some(3), ..OFF() };
    let logprobs = sample(&job(&logits, &params)).unwrap().logprobs.unwrap();
    assert_eq!(logprobs.chosen, logprobs.top[0]);
    assert_eq!(logprobs.top.iter().map(|top| top.rank).collect::<Vec<_>>(), [1, 2, 3]);
}

fn logprobs(probabilities: &[f64], params: &SamplingParams) -> TokenLogprobs {
    let logits: Vec<f32> = probabilities.iter().map(|p| p.ln() as f32).collect();
    sample(&job(&logits, params)).unwrap().logprobs.unwrap()
}

#[test]
fn raw_and_processed_logprobs() {
    let row = [0.1, 0.4, 0.2, 0.3];
    let raw = SamplingParams { top_k: 1, temperature: 0.5, logprobs: Some(2), ..OFF() };
    let reported = logprobs(&row, &raw);
    assert_eq!((reported.chosen.token, reported.chosen.rank), (1, 1));
    assert!((f64::from(reported.chosen.logprob) - 0.4_f64.ln()).abs() < 1e-6);
    assert!((f64::from(reported.top[1].logprob) - 0.3_f64.ln()).abs() < 1e-6);
    let processed = SamplingParams { logprobs_mode: LogprobsMode::Processed, ..raw };
    let reported = logprobs(&row, &processed);
    assert_eq!(reported.top, [TokenLogprob { token: 1, logprob: 0.0, rank: 1 }]);
    let two = SamplingParams { top_k: 2, temperature: 1.0, ..processed };
    let processed = logprobs(&row, &two);
    assert!((f64::from(processed.top[0].logprob) - (4.0_f64 / 7.0).ln()).abs() < 1e-6);
    let scaled = logprobs(&row, &SamplingParams { logprobs_mode: LogprobsMode::Scaled, ..two });
    for (of, expected) in [(&scaled, 0.7), (&processed, 0.7), (&reported, 16.0 / 30.0)] {
        assert!((of.kept_mass.unwrap() - expected).abs() < 1e-6, "{of:?}");
    }
    assert!((scaled.chosen.logprob - 0.7_f32.ln() - processed.chosen.logprob).abs() < 1e-6);
}

#[test]
fn damaged_rows_fail_with_words() {
    let bad = [1.0, f32::NAN];
    let error = sample(&job(&bad, &OFF())).unwrap_err();
    assert_eq!(error, SampleError::NotANumber);
    assert!(error.to_string().contains("--dtype f32"));
    let asked = SamplingParams { logit_bias: vec![(0, f32::INFINITY)], ..OFF() };
    let error = sample(&job(&[1.0, 2.0], &asked)).unwrap_err();
    assert_eq!(error, SampleError::OverflowByParameters);
    assert_eq!(sample(&job(&bad, &asked)).unwrap_err(), SampleError::NotANumber);
    let params = SamplingParams { min_tokens: 1, stop_token_ids: vec![0, 1], ..OFF() };
    assert_eq!(sample(&job(&[1.0, 2.0], &params)).unwrap_err(), SampleError::NothingLeft);
}

proptest! {
    #[test]
    fn no_parameters_panic_and_the_draw_is_among_the_kept(
        logits in prop::collection::vec(prop_oneof![-30.0_f32..30.0, Just(f32::NEG_INFINITY)], 1..700),
        temperature in prop_oneof![Just(0.0_f32), 1e-6_f32..3.0, Just(1e30_f32)],
        top_k in 0_u32..800, top_p in 1e-6_f32..=1.0, min_p in 0.0_f32..=1.0, seed: u64,
        processed: bool,
    ) {
        let logprobs_mode = if processed { LogprobsMode::Processed } else { LogprobsMode::Raw };
        let params = SamplingParams {
            temperature, top_k, top_p, min_p, seed, logprobs: Some(5), logprobs_mode, ..OFF()
        };
        let result = sample(&job(&logits, &params));
        if let Ok(sampled) = result {
            prop_assert!(logits[sampled.token as usize] > f32::NEG_INFINITY);
            let logprobs = sampled.logprobs.expect("asked for");
            prop_assert!(logprobs.chosen.logprob.is_finite());
            prop_assert!(logprobs.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
        } else {
            prop_assert!(logits.iter().all(|&logit| logit == f32::NEG_INFINITY));
        }
    }
}
