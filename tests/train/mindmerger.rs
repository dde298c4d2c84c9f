//! The mapping's training against the original's: sequence, loss, gradients, logits and greedy tokens of both stages.

use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::Value;
use xenoglot::model::augmented::MappingWeights;
use xenoglot::model::encoders;
use xenoglot::model::{ComputeDtype, LoadOptions};
use xenoglot::ops::{self, Workers};
use xenoglot::train::{MicroBatch, MindMerger, Objective, PairRow, Passes, Recompute, pair_batch};
use xenoglot::weights::open_weights;

use super::recorded::{decoder, fixtures, read};

fn integers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect()
}

/// The ids of one row: encoder, prompt, label.
type Row = [Vec<u32>; 3];

struct Recorded {
    json: Value,
    expected: std::collections::HashMap<String, Tensor>,
}

impl Recorded {
    fn new() -> Self {
        let path = fixtures().join("mindmerger/expected.safetensors");
        let expected = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        Self { json: read("mindmerger/mindmerger.json"), expected }
    }

    fn model(&self, recompute: Recompute, threads: usize) -> MindMerger {
        let workers = Workers::new(threads);
        let path = fixtures().join(self.json["encoder"].as_str().unwrap());
        let (config, tensors) = open_weights(&path).unwrap();
        let options = LoadOptions::new(ComputeDtype::F32, &workers);
        let encoder = encoders::load(&config, tensors.as_ref(), &options).unwrap();
        let decoder = decoder(self.json["llm"].as_str().unwrap(), ComputeDtype::F32, &workers);
        let weights =
            MappingWeights::load(Path::new(&fixtures().join("mindmerger/mapping.safetensors"))).unwrap();
        MindMerger::new(encoder, decoder, &weights, Passes::new(recompute, &workers)).unwrap()
    }

    fn rows(&self, batch: usize, stage: &str) -> Vec<Row> {
        let rows = self.json["batches"][batch].as_array().unwrap().iter();
        rows.map(|row| {
            let prompt = if stage == "augmentation" { integers(&row["prompt"]) } else { Vec::new() };
            [integers(&row["encoder"]), prompt, integers(&row["label"])]
        })
        .collect()
    }

    fn micro(&self, rows: &[Row]) -> MicroBatch {
        let bos = self.json["bos"].as_u64().unwrap() as u32;
        pair_batch(rows.iter().map(|[source, prompt, target]| PairRow { source, prompt, target }), bos)
    }

    fn compare(&self, name: &str, found: &[f32]) {
        let expected = self.expected[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(expected.len(), found.len(), "{name}");
        let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!((found - expected).abs() <= 1e-5 * largest.max(1.0), "{name} {at}: {found} {expected}");
        }
    }
}

const STAGES: [&str; 2] = ["mapping", "augmentation"];

#[test]
fn the_sequence_is_the_originals() {
    let recorded = Recorded::new();
    for stage in STAGES {
        for batch in 0..recorded.json["batches"].as_array().unwrap().len() {
            let rows = recorded.rows(batch, stage);
            let micro = recorded.micro(&rows);
            let prefixes = micro.prefixes.as_ref().unwrap();
            let record = &recorded.json[format!("{stage}.{batch}")];
            let mut state_rows = prefixes.states.iter();
            for (row, bounds) in micro.batch.cu_seqlens.windows(2).enumerate() {
                let sequence = record["sequence"][row].as_array().unwrap();
                assert_eq!(sequence.len(), (bounds[1] - bounds[0]) as usize, "{stage} {batch} {row}");
                for (at, what) in (bounds[0]..).zip(sequence) {
                    let what = what.as_str().unwrap();
                    if let Some(id) = what.strip_prefix("token ") {
                        assert_eq!(micro.batch.ids[at as usize].to_string(), id);
                        assert!(!prefixes.states.contains(&at) && !prefixes.boundaries.contains(&at));
                    } else if what == "end_boundary" {
                        assert_eq!(prefixes.boundaries[row], at);
                    } else {
                        assert_eq!((what.starts_with("mapped "), state_rows.next()), (true, Some(&at)));
                    }
                }
                let targets = record["targets"][row].as_array().unwrap();
                for (at, target) in targets.iter().enumerate().skip(1) {
                    // The original says at each position what the one before it predicts.
                    let before = bounds[0] as usize + at - 1;
                    let (id, weight) = (micro.targets.ids[before], micro.targets.weights[before]);
                    match target.as_i64().unwrap() {
                        -100 => assert_eq!(weight, 0.0, "{stage} {batch} {row} {at}"),
                        target => {
                            assert_eq!((i64::from(id), weight), (target, 1.0), "{stage} {batch} {row} {at}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn losses_and_gradients_are_the_originals() {
    let recorded = Recorded::new();
    for recompute in [Recompute::Off, Recompute::Segments { layers: 1 }] {
        for stage in STAGES {
            for batch in 0..recorded.json["batches"].as_array().unwrap().len() {
                let mut model = recorded.model(recompute, 2);
                let micro = recorded.micro(&recorded.rows(batch, stage));
                let targets = micro.targets();
                let loss = model.accumulate(&micro.weighted(1.0 / targets as f32)).unwrap();
                let name = format!("{stage}.{batch}");
                let expected = recorded.json[&name]["f64"]["loss"].as_f64().unwrap();
                assert!((loss - expected).abs() <= 1e-5, "{name}: {loss} {expected}");
                for tensor in model.trained().unwrap() {
                    let gradient = tensor.order.to_rows(tensor.gradient);
                    recorded.compare(&format!("{name}.gradient.{}", tensor.name), &gradient);
                }
            }
        }
    }
}

/// The logits that predict the label's first token and what follows its last, and twelve greedy tokens.
#[test]
fn logits_and_greedy_tokens_are_the_originals() {
    let recorded = Recorded::new();
    let model = recorded.model(Recompute::Off, 2);
    for stage in STAGES {
        for batch in 0..recorded.json["batches"].as_array().unwrap().len() {
            let name = format!("{stage}.{batch}");
            let rows = recorded.rows(batch, stage);
            let whole = logits(&model, &recorded.micro(&rows));
            recorded.compare(&format!("{name}.last_logits"), &whole.concat());
            let mut open: Vec<Row> =
                rows.iter().map(|[source, prompt, _]| [source.clone(), prompt.clone(), Vec::new()]).collect();
            recorded
                .compare(&format!("{name}.prefill_logits"), &logits(&model, &recorded.micro(&open)).concat());
            for _ in 0..12 {
                for (row, logits) in open
                    .clone()
                    .iter()
                    .zip(logits(&model, &recorded.micro(&open)))
                    .enumerate()
                    .map(|(at, (_, logits))| (at, logits))
                {
                    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
                    open[row][2].push(best as u32);
                }
            }
            for (row, [_, _, tokens]) in open.iter().enumerate() {
                assert_eq!(*tokens, integers(&recorded.json[&name]["f64"]["greedy"][row]), "{name} {row}");
            }
        }
    }
}

/// The logits at each sequence's last row.
fn logits(model: &MindMerger, micro: &MicroBatch) -> Vec<Vec<f32>> {
    let (input, _) = model.input(micro).unwrap();
    let decoder = model.decoder();
    let workers = Workers::new(2);
    let mut attention = xenoglot::model::DenseAttention::new(decoder, &workers);
    let hidden = decoder.layers(&input, 0..decoder.config().layers, &micro.batch, &mut attention).unwrap();
    let last: Vec<u32> = micro.batch.cu_seqlens[1..].iter().map(|end| end - 1).collect();
    let hidden = hidden.index_select(&Tensor::new(last, &Device::Cpu).unwrap(), 0).unwrap();
    ops::linear(&decoder.normed(&hidden).unwrap(), decoder.lm_head()).unwrap().to_vec2().unwrap()
}

/// Trained weights come out as they are.
#[test]
fn a_step_changes_every_weight_of_the_mapping() {
    let recorded = Recorded::new();
    let mut model = recorded.model(Recompute::Off, 2);
    let before = model.weights().unwrap();
    model.accumulate(&recorded.micro(&recorded.rows(0, "augmentation"))).unwrap();
    let mut optimizer = xenoglot::train::Optimizer::new(xenoglot::train::AdamWSettings::default());
    optimizer.update(&mut model.trained().unwrap(), 1e-3, None, &Workers::new(1)).unwrap();
    let after = model.weights().unwrap();
    let pairs = [
        (&before.linear1_weight, &after.linear1_weight),
        (&before.linear1_bias, &after.linear1_bias),
        (&before.linear2_weight, &after.linear2_weight),
        (&before.linear2_bias, &after.linear2_bias),
        (&before.end_boundary, &after.end_boundary),
    ];
    for (before, after) in pairs {
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(before.dims(), after.dims());
        assert_ne!(values(before), values(after));
    }
}
