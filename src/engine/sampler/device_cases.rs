//! What the sampler says of many rows, recorded for the devices that sample by themselves: their kernels must say the same,
//! bit by bit (`tests/cuda/sampler.cpp`).
//!
//! A line of `tests/cuda/sampler_cases.txt` is a case and its result in whole numbers, floats as their bits; `record` says
//! which. Rows are made from a seed by exact arithmetic. To record anew: `XENOGLOT_RECORD=1 cargo test device_cases`.

use std::fmt::Write;

use super::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cuda/sampler_cases.txt");
const EOS: u32 = 1;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Kinds: flat, many equal values, sharp, with values of -infinity, with one that is no number, nothing but -infinity.
fn row(seed: u64, kind: u64, vocab: usize) -> Vec<f32> {
    let mut random = Random(seed);
    let value = |at: usize, z: u64| {
        let flat = ((z >> 40) as i32 - (1 << 23)) as f32 / (1 << 20) as f32;
        match kind {
            1 => (z >> 60) as f32,
            2 => flat * flat * flat / 16.0,
            3 if z.is_multiple_of(8) => f32::NEG_INFINITY,
            4 if at == 3 => f32::NAN,
            5 => f32::NEG_INFINITY,
            _ => flat,
        }
    };
    (0..vocab).map(|at| value(at, random.next())).collect()
}

struct Case {
    row_seed: u64,
    kind: u64,
    vocab: usize,
    params: SamplingParams,
    prompt: Vec<u32>,
    output: Vec<u32>,
    choice: u32,
}

fn case(number: u64) -> Case {
    let mut random = Random(number);
    let vocab = random.of(&[5, 64, 257, 1_000, 3_001]);
    let ids = |random: &mut Random, most: u64| -> Vec<u32> {
        (0..random.below(most)).map(|_| random.below(vocab as u64) as u32).collect()
    };
    let mut logit_bias: Vec<(u32, f32)> = Vec::new();
    for id in ids(&mut random, 4) {
        if logit_bias.iter().all(|(other, _)| *other != id) {
            logit_bias.push((id, random.of(&[-4.5, 2.25, 100.0])));
        }
    }
    let off = random.below(4) == 0;
    let params = SamplingParams {
        temperature: random.of(&[0.0, 0.3, 0.7, 1.0, 1.0, 1.7]),
        top_k: if off { 0 } else { random.of(&[0, 0, 1, 7, 50, 4_000]) },
        top_p: if off { 1.0 } else { random.of(&[1.0, 0.95, 0.5, 0.01]) },
        min_p: if off { 0.0 } else { random.of(&[0.0, 0.0, 0.05, 1.0]) },
        repetition_penalty: random.of(&[1.0, 1.0, 1.3]),
        presence_penalty: random.of(&[0.0, 0.0, 0.5]),
        frequency_penalty: random.of(&[0.0, 0.0, -0.25]),
        logit_bias,
        seed: random.next(),
        min_tokens: random.of(&[0, 0, 9]),
        stop_token_ids: ids(&mut random, 3),
        logprobs: random.of(&[None, Some(0), Some(5), Some(20)]),
        logprobs_mode: random.of(&[LogprobsMode::Raw, LogprobsMode::Processed, LogprobsMode::Scaled]),
        ..SamplingParams::default()
    };
    let (prompt, output) = (ids(&mut random, 20), ids(&mut random, 12));
    let kind = if number % 40 == 39 { 4 + number / 40 % 2 } else { random.of(&[0, 0, 1, 2, 2, 3]) };
    let mut case =
        Case { row_seed: random.next(), kind, vocab, params, prompt, output, choice: random.below(9) as u32 };
    if number % 40 == 19 {
        case.params.logit_bias = vec![(2, f32::MAX), (3, f32::INFINITY)];
    }
    case
}

/// row_seed kind vocab; temperature top_k top_p min_p repetition presence frequency seed choice logprobs (-1: none) mode; then, each
/// behind its number: suppressed ids, bias (id, value), prompt, output; then the result: status, and if it is 0 token and, if
/// there are logprobs, logprob rank kept_mass (-1: none), number of the best, id and logprob of each.
fn record(case: &Case) -> String {
    let Case { row_seed, kind, vocab, params, prompt, output, choice } = case;
    let logits = row(*row_seed, *kind, *vocab);
    let job = SampleJob {
        logits: &logits,
        params,
        prompt,
        output,
        choice: *choice,
        eos_token_ids: &[EOS],
        constraint: None,
    };
    let mut line = format!("{row_seed} {kind} {vocab}");
    let mut put = |number: i64| write!(line, " {number}").expect("a string takes all");
    let bits = |value: f32| i64::from(value.to_bits());
    for number in [bits(params.temperature), i64::from(params.top_k), bits(params.top_p), bits(params.min_p)]
    {
        put(number);
    }
    for penalty in [params.repetition_penalty, params.presence_penalty, params.frequency_penalty] {
        put(bits(penalty));
    }
    for number in [params.seed as i64, i64::from(*choice), params.logprobs.map_or(-1, i64::from)] {
        put(number);
    }
    put(params.logprobs_mode as i64);
    let mut suppressed = Vec::new();
    if output.len() < params.min_tokens {
        suppressed.push(EOS);
        suppressed.extend(&params.stop_token_ids);
    }
    let put_ids = |put: &mut dyn FnMut(i64), ids: &[u32]| {
        put(ids.len() as i64);
        for &id in ids {
            put(i64::from(id));
        }
    };
    put_ids(&mut put, &suppressed);
    put(params.logit_bias.len() as i64);
    for &(id, bias) in &params.logit_bias {
        put(i64::from(id));
        put(bits(bias));
    }
    put_ids(&mut put, prompt);
    put_ids(&mut put, output);
    match sample(&job) {
        Err(SampleError::NotANumber) => put(1),
        Err(SampleError::NothingLeft) => put(2),
        Err(SampleError::OverflowByParameters) => put(3),
        Err(error @ SampleError::Guide(_)) => panic!("there is no guide: {error}"),
        Ok(sampled) => {
            put(0);
            put(i64::from(sampled.token));
            if let Some(TokenLogprobs { chosen, top, kept_mass }) = sampled.logprobs {
                put(bits(chosen.logprob));
                put(i64::from(chosen.rank));
                put(bits(kept_mass.unwrap_or(-1.0)));
                put(top.len() as i64);
                for of in top {
                    put(i64::from(of.token));
                    put(bits(of.logprob));
                }
            }
        }
    }
    line
}

#[test]
fn the_recorded_cases_are_what_the_sampler_says() {
    let mut found = String::new();
    for number in 0..400 {
        found.push_str(&record(&case(number)));
        found.push('\n');
    }
    if std::env::var_os("XENOGLOT_RECORD").is_some() {
        std::fs::write(FILE, found).unwrap();
        return;
    }
    let recorded = std::fs::read_to_string(FILE).unwrap();
    for (number, (found, recorded)) in found.lines().zip(recorded.lines()).enumerate() {
        assert_eq!(found, recorded, "case {number}; record anew if the sampler changed on purpose");
    }
    assert_eq!(found.lines().count(), recorded.lines().count());
}
