//! Against what TRL's own code made of the same numbers, and what has no counterpart there by hand.

use serde_json::Value;

use super::super::{Advantages, Correction, CorrectionMode, ScaleRewards, advantages};
use super::*;

/// tests/fixtures/grpo/README.md describes the file.
fn recorded() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/grpo/trl.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().map_or(f32::NAN, |x| x as f32)).collect()
}

fn ragged(value: &Value) -> Vec<Vec<f32>> {
    value.as_array().unwrap().iter().map(floats).collect()
}

/// A case's setting, or the default.
struct Settings<'a>(&'a Value, &'a Value);

impl Settings<'_> {
    fn get(&self, name: &str) -> &Value {
        let Self(of_case, defaults) = self;
        of_case.get(name).unwrap_or_else(|| defaults.get(name).unwrap())
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.get(name).as_f64()
    }

    fn count(&self, name: &str) -> usize {
        usize::try_from(self.get(name).as_u64().unwrap()).unwrap()
    }

    fn policy(&self) -> PolicySettings {
        let epsilon = self.number("epsilon").unwrap();
        let parsed = |name| self.get(name).clone();
        PolicySettings {
            loss: serde_json::from_value(parsed("loss_type")).unwrap(),
            level: serde_json::from_value(parsed("importance_sampling_level")).unwrap(),
            epsilon_low: epsilon,
            epsilon_high: self.number("epsilon_high").unwrap_or(epsilon),
            delta: self.number("delta"),
            beta: self.number("beta").unwrap(),
            corrected_kl: self.get("use_bias_correction_kl") == true,
            top_entropy: self.number("top_entropy_quantile").unwrap(),
            off_policy_max: self.number("off_policy_mask_threshold"),
            ..PolicySettings::default()
        }
    }

    fn correction(&self) -> Option<Correction> {
        let mode = self.get("vllm_importance_sampling_mode");
        let mode: Option<CorrectionMode> = serde_json::from_value(mode.clone()).unwrap();
        let bound = |end| self.number(&format!("vllm_importance_sampling_clip_{end}"));
        mode.map(|mode| Correction { mode, min: bound("min"), max: bound("max") })
    }
}

/// TRL computed in f64 from the same numbers; what it rounds to f32 on the way are some metrics.
fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{what}: {found}, TRL {expected}");
}

#[test]
fn losses_and_gradients_are_trls() {
    let recorded = recorded();
    let batch = &recorded["batch"];
    let [new, old, reference, sampled, entropies] =
        ["logps", "old_logps", "reference_logps", "sampling_logps", "entropies"]
            .map(|name| ragged(&batch[name]));
    let truncated: Vec<u64> = serde_json::from_value(batch["truncated"].clone()).unwrap();
    let (mut compared, mut types) = (0, std::collections::BTreeSet::new());
    for case in recorded["losses"].as_array().unwrap() {
        let settings = Settings(&case["settings"], &recorded["defaults"]);
        let what = case["settings"].to_string();
        let corrections: Vec<Option<Vec<f64>>> = (0..new.len())
            .map(|at| settings.correction().map(|correction| correction.factors(&old[at], &sampled[at])))
            .collect();
        let parts = settings.count("steps_per_generation");
        let (size, part) = (new.len() / parts, settings.count("micro_batch"));
        let range = part * size..(part + 1) * size;
        let mask = settings.get("mask_truncated_completions") == true;
        let completions: Vec<Completion<'_>> = range
            .clone()
            .map(|at| Completion {
                advantage: batch["advantages"][at].as_f64().unwrap(),
                logprobs: &new[at],
                entropies: &entropies[at],
                old: (case["old_logps"] == true).then_some(&*old[at]),
                reference: Some(&reference[at]),
                sampled: settings.correction().map(|_| &*sampled[at]),
                corrections: corrections[at].as_deref(),
                is_masked: mask && truncated.contains(&(at as u64)),
            })
            .collect();
        let counted = completions.iter().filter(|completion| !completion.is_masked);
        let accumulation = settings.count("gradient_accumulation_steps");
        let scope = Scope {
            completions: size * accumulation,
            tokens: counted.map(|completion| completion.logprobs.len()).sum::<usize>() * accumulation,
            generated: case["num_items_in_batch"].as_f64().unwrap() * accumulation as f64 / parts as f64,
            completion_max: usize::try_from(batch["max_completion_length"].as_u64().unwrap()).unwrap(),
        };
        let policy = settings.policy();
        types.insert(format!("{:?} {:?}", policy.loss, policy.level));
        let found = policy_loss(&policy, &completions, &scope);
        close(found.loss, case["loss"].as_f64().unwrap(), &what);
        for (at, expected) in case["gradient"].as_array().unwrap().iter().enumerate() {
            for (token, expected) in expected.as_array().unwrap().iter().enumerate() {
                let is_inside = range.contains(&at);
                let gradient = if is_inside { found.gradients[at - range.start][token] } else { 0.0 };
                close(gradient, expected.as_f64().unwrap(), &format!("{what} {at} {token}"));
            }
        }
        check_metrics(&found.counts, &case["metrics"], &what);
        compared += 1;
    }
    assert!(compared >= 123 && types.len() == 16, "{compared} {types:?}");
}

fn check_metrics(counts: &PolicyCounts, metrics: &Value, what: &str) {
    let expect = |name: &str, found: f64| {
        if let Some(expected) = metrics.get(name).and_then(Value::as_f64) {
            assert!((found - expected).abs() <= 1e-6, "{what} {name}: {found}, TRL {expected}");
        }
    };
    expect("entropy", counts.entropy / counts.tokens);

    expect("kl", counts.kl / counts.tokens);
    expect("clip_ratio/low_mean", counts.clipped_low / counts.ratios);
    expect("clip_ratio/high_mean", counts.clipped_high / counts.ratios);
    expect("cispo_clip_ratio", counts.clipped_high / counts.ratios);
    expect("clip_ratio/low_min", counts.clipped_low_min.unwrap_or(f64::NAN));
    expect("clip_ratio/high_max", counts.clipped_high_max.unwrap_or(f64::NAN));
}

#[test]
fn advantages_are_trls() {
    let recorded = recorded();
    let group = usize::try_from(recorded["batch"]["group"].as_u64().unwrap()).unwrap();
    let mut compared = 0;
    for case in recorded["advantages"].as_array().unwrap() {
        let settings = Settings(&case["settings"], &recorded["defaults"]);
        if settings.get("multi_objective_aggregation") != "sum_then_normalize" {
            continue;
        }
        let parts = &recorded["rewards"][settings.get("rewards").as_str().unwrap()];
        let weights = case["settings"].get("reward_weights").cloned();
        let totals: Vec<f64> = parts
            .as_array()
            .unwrap()
            .iter()
            .map(|parts| {
                let parts = parts.as_array().unwrap().iter().enumerate();
                let scored: Vec<f64> = parts
                    .filter_map(|(at, part)| {
                        let weight = weights.as_ref().map_or(1.0, |weights| weights[at].as_f64().unwrap());
                        Some(part.as_f64()? * weight)
                    })
                    .collect();
                if scored.is_empty() { f64::NAN } else { scored.iter().sum() }
            })
            .collect();
        let scale: ScaleRewards = serde_json::from_value(settings.get("scale_rewards").clone()).unwrap();
        let Advantages { values, groups_without_spread } = advantages(&totals, group, scale);
        let what = case["settings"].to_string();
        for (found, expected) in values.iter().zip(case["advantages"].as_array().unwrap()) {
            close(*found, expected.as_f64().unwrap(), &what);
        }
        let expected = case["metrics"]["frac_reward_zero_std"].as_f64().unwrap();
        close(groups_without_spread, expected, &what);
        close(
            super::super::advantages::deviation(&totals),
            case["metrics"]["reward_std"].as_f64().unwrap(),
            &what,
        );
        compared += 1;
    }
    assert!(compared >= 12, "{compared}");
}

/// What is derived is what the loss changes by.
#[test]
fn gradients_follow_finite_differences() {
    let (new, old) = ([-1.0, -0.5, -2.0, -1.3], [-1.1f32, -0.4, -2.2, -1.25]);
    let (reference, entropies) = ([-1.2f32, -0.7, -1.5, -1.0], [1.0f32; 4]);
    let scope = Scope { completions: 2, tokens: 4, generated: 4.0, completion_max: 8 };
    for loss in [LossType::Grpo, LossType::Sapo, LossType::Dapo] {
        for level in [RatioLevel::Token, RatioLevel::Sequence] {
            let settings = PolicySettings { loss, level, beta: 0.3, ..PolicySettings::default() };
            let value = |new: [f32; 4]| {
                let completion = Completion {
                    advantage: -0.7,
                    logprobs: &new,
                    entropies: &entropies,
                    old: Some(&old),
                    reference: Some(&reference),
                    sampled: None,
                    corrections: Some(&[0.9]),
                    is_masked: false,
                };
                policy_loss(&settings, &[completion], &scope)
            };
            let gradients = value(new).gradients.remove(0);
            for (at, gradient) in gradients.into_iter().enumerate() {
                let moved = |by: f32| {
                    let mut moved = new;
                    moved[at] += by;
                    value(moved).loss
                };
                let step = 2f32.powi(-9);
                let slope = (moved(step) - moved(-step)) / f64::from(2.0 * step);
                assert!((slope - gradient).abs() < 1e-5, "{loss:?} {level:?}: {gradient} {slope}");
            }
        }
    }
}
