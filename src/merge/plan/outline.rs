//! A plan for a picture: by layer of the output, which models' layers it is made of, how and with which numbers.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::config::MergeConfig;
use super::super::inputs::InputModel;
use super::super::stages::{Combine, Keep, Rescale, Vectors};
use super::names::{LayerName, is_before_layers};
use super::{Plan, PlannedTensor, SourceTensor};
use crate::protocol::merge_plans::{
    MergePlan, MergePlanFile, MergePlanKeep, MergePlanLayer, MergePlanPart, MergePlanSource,
};

/// Names that a part shows: a mixture's layer has hundreds.
const NAMES_MAX: usize = 64;

/// Where a layer stands in the output.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Embeddings,
    Layer { stack: String, layer: usize },
    Head,
}

impl Plan {
    pub fn outline(&self, config: &MergeConfig, models: &[InputModel]) -> MergePlan {
        let mut layers: BTreeMap<Place, MergePlanLayer> = BTreeMap::new();
        let mut dtypes: BTreeMap<String, u64> = BTreeMap::new();
        for tensor in &self.tensors {
            *dtypes.entry(tensor.dtype.safetensors_name().to_owned()).or_default() += tensor.bytes();
            let (place, name) = place(&tensor.name);
            let layer = layers.entry(place).or_insert_with_key(empty);
            layer.parameters += tensor.elements() as u64;
            layer.bytes += tensor.bytes();
            add(&mut layer.parts, name, tensor);
        }
        let base = config.base_model.as_ref();
        MergePlan {
            object: "merge.plan".to_owned(),
            output: None,
            method: config.method.name().to_owned(),
            models: models.iter().map(|model| model.reference.to_string()).collect(),
            base_model: base.and_then(|base| models.iter().position(|model| model.reference == *base)),
            donor: self.donor,
            vocabulary_size: self.vocabulary.as_ref().map(|vocabulary| vocabulary.size as u64),
            dtypes,
            tensors: self.tensors.len() as u64,
            parameters: self.tensors.iter().map(|tensor| tensor.elements() as u64).sum(),
            bytes: self.bytes(),
            files: self.shards.iter().map(file).collect(),
            layers: layers.into_values().collect(),
            warnings: self.warnings.clone(),
        }
    }
}

fn file(shard: &super::Shard) -> MergePlanFile {
    MergePlanFile { name: shard.file.clone(), tensors: shard.tensors.len() as u64, bytes: shard.bytes }
}

/// Where a tensor stands, and its name there.
fn place(name: &str) -> (Place, &str) {
    match LayerName::parse(name) {
        Some(found) => (Place::Layer { stack: found.stack.to_owned(), layer: found.layer }, found.rest),
        None if is_before_layers(name) => (Place::Embeddings, name),
        None => (Place::Head, name),
    }
}

fn empty(place: &Place) -> MergePlanLayer {
    let (name, stack, layer) = match place {
        Place::Embeddings => ("embeddings", None, None),
        Place::Layer { stack, layer } => ("layer", Some(stack.clone()), Some(*layer)),
        Place::Head => ("head", None, None),
    };
    MergePlanLayer { place: name.to_owned(), stack, layer, parameters: 0, bytes: 0, parts: Vec::new() }
}

/// Add a tensor to the part that is made as it is, or begin one.
fn add(parts: &mut Vec<MergePlanPart>, name: &str, tensor: &PlannedTensor) {
    let alone = part(tensor);
    let is_same = |known: &MergePlanPart| {
        (&known.operation, known.of_differences, &known.numbers, &known.rescale)
            == (&alone.operation, alone.of_differences, &alone.numbers, &alone.rescale)
            && (&known.sources, &known.base) == (&alone.sources, &alone.base)
    };
    let at = parts.iter().position(is_same).unwrap_or_else(|| {
        parts.push(alone);
        parts.len() - 1
    });
    let part = &mut parts[at];
    part.tensor_count += 1;
    part.parameters += tensor.elements() as u64;
    if part.tensors.len() < NAMES_MAX {
        part.tensors.push(name.to_owned());
    }
}

fn part(tensor: &PlannedTensor) -> MergePlanPart {
    let recipe = &tensor.recipe;
    let (operation, weights, numbers) = operation(&recipe.combine);
    // A base that is the first of the vectors has no weight of its own.
    let before = tensor.sources.len().saturating_sub(weights.len());
    let weight = |at: usize| at.checked_sub(before).and_then(|at| weights.get(at).copied());
    let source = |(at, source): (usize, &SourceTensor)| MergePlanSource {
        weight: weight(at),
        keep: recipe.keep.get(at).and_then(kept),
        ..of(source)
    };
    MergePlanPart {
        tensors: Vec::new(),
        tensor_count: 0,
        parameters: 0,
        operation: operation.to_owned(),
        of_differences: recipe.vectors == Vectors::Differences,
        numbers,
        rescale: match recipe.rescale {
            Rescale::No => None,
            Rescale::L1 => Some("l1".to_owned()),
            Rescale::InverseDensity => Some("inverse_density".to_owned()),
        },
        sources: tensor.sources.iter().enumerate().map(source).collect(),
        base: tensor.base.as_ref().map(of),
    }
}

fn of(source: &SourceTensor) -> MergePlanSource {
    let layer = LayerName::parse(&source.name).map(|name| name.layer);
    MergePlanSource { model: source.model, layer, weight: None, keep: None }
}

fn kept(keep: &Keep) -> Option<MergePlanKeep> {
    let (kind, density, gamma, epsilon) = match *keep {
        Keep::All => return None,
        Keep::None => ("none", 0.0, None, None),
        Keep::Largest { density } => ("largest", density, None, None),
        Keep::Middle { density, gamma } => ("middle", density, Some(gamma), None),
        Keep::Random { density, .. } => ("random", density, None, None),
        Keep::Ranked { density, epsilon, .. } => ("ranked", density, None, Some(epsilon)),
    };
    Some(MergePlanKeep { kind: kind.to_owned(), density, gamma, epsilon })
}

/// The operation's name, the models' weights where it has such, and its other numbers.
fn operation(combine: &Combine) -> (&'static str, Vec<f64>, Map<String, Value>) {
    let none = Vec::new;
    let (name, weights, numbers) = match combine {
        Combine::Weighted { weights, normalize, lambda, .. } => {
            ("weighted", weights.clone(), json!({"normalize": normalize, "lambda": lambda}))
        }
        Combine::Consensus { weights, normalize, lambda } => {
            ("consensus", weights.clone(), json!({"normalize": normalize, "lambda": lambda}))
        }
        Combine::Slerp { t } => ("slerp", none(), json!({"t": t})),
        Combine::Nuslerp { weights, .. } => ("nuslerp", weights.to_vec(), json!({})),
        Combine::Multislerp { weights, normalize, epsilon } => {
            ("multislerp", weights.clone(), json!({"normalize_weights": normalize, "eps": epsilon}))
        }
        Combine::Karcher { iterations, tolerance } => {
            ("karcher", none(), json!({"max_iter": iterations, "tol": tolerance}))
        }
        Combine::ModelStock { .. } => ("model_stock", none(), json!({})),
        Combine::Sce { select } => ("sce", none(), json!({"select_topk": select})),
        Combine::Nearswap { t } => ("nearswap", none(), json!({"t": t})),
        Combine::Fusion => ("fusion", none(), json!({})),
        Combine::Overlap { epsilon, growth: None } => ("overlap", none(), json!({"epsilon": epsilon})),
        Combine::Overlap { epsilon, growth: Some((r, alpha)) } => {
            ("overlap", none(), json!({"epsilon": epsilon, "r": r, "alpha": alpha}))
        }
        Combine::Copy { scale: None } => ("copy", none(), json!({})),
        Combine::Copy { scale: Some(scale) } => ("copy", none(), json!({"scale": scale})),
    };
    let numbers = match numbers {
        Value::Object(numbers) => numbers,
        _ => Map::new(),
    };
    (name, weights, numbers)
}
