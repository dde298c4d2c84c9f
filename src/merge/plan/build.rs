//! From a configuration and the models' headers to a plan.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::config::{Dtype, MergeConfig, Place};
use super::super::error::MergeError;
use super::super::inputs::{InputModel, place_of, weight_type, without_prefix};
use super::super::method::Base;
use super::super::stages::{Keep, Vectors};
use super::super::vocabulary::{VocabularyInputs, VocabularyPlan, clashes, is_vocabulary_tensor};
use super::layers::{ModuleSpans, Span, SpanInput, spans};
use super::names::{LayerName, Layout, Trunk, is_before_layers, is_buffer};
use super::recipe::{Lookup, ModelLookup, copy};
use super::{Plan, PlanOptions, PlannedTensor, SourceTensor, shards};
use crate::weights::{TensorType, WeightsError};

pub(super) fn plan(
    config: &MergeConfig,
    models: &[InputModel],
    tokenizer: Option<&Path>,
    options: &PlanOptions,
) -> Result<Plan, MergeError> {
    let modules = spans(config, models)?;
    let base = config.base_model.as_ref();
    let base = base.and_then(|base| models.iter().position(|model| model.reference == *base));
    let mut warnings = config.warnings.clone();
    let groups = vocabulary_groups(&modules, models);
    let given = VocabularyInputs { models, base, groups: &groups, tokenizer };
    let of_tokenizer = |tokenizer| VocabularyPlan::new(tokenizer, given);
    let vocabulary = config.tokenizer.as_ref().map(of_tokenizer).transpose()?;
    if vocabulary.is_none() {
        warnings.extend(check_vocabularies(config, models, options)?);
    }
    warnings.extend(vocabulary.iter().flat_map(|vocabulary| vocabulary.warnings.clone()));
    let mut builder = Builder {
        config,
        models,
        options,
        vocabulary: vocabulary.as_ref(),
        tensors: BTreeMap::new(),
        warnings,
    };
    for module in &modules {
        builder.module(module)?;
    }
    let Builder { tensors, warnings, .. } = builder;
    let tensors: Vec<PlannedTensor> = tensors.into_values().collect();
    if tensors.is_empty() {
        let problem = "has no tensor that a merge could write".to_owned();
        let model = models.first().map(|model| model.reference.to_string()).unwrap_or_default();
        return Err(MergeError::Model { model, problem });
    }
    let of_span = |span: &Span<'_>| -> Vec<(usize, usize)> {
        let first = span.inputs.first();
        let layer = |at| first.map(|input| (input.model, input.first_layer + at));
        (0..span.layers.unwrap_or(0)).filter_map(layer).collect()
    };
    let sliced = modules.iter().find(|module| module.is_sliced);
    let layers = sliced.map(|module| module.spans.iter().flat_map(of_span).collect());
    let unties = tensors.iter().any(|tensor| tensor.name == "lm_head.weight")
        && models.iter().any(InputModel::has_tied_embeddings);
    Ok(Plan {
        shards: shards::cut(&tensors, options.shard_bytes),
        tensors,
        layers,
        unties,
        donor: base.unwrap_or(0),
        vocabulary,
        seed: options.seed,
        warnings,
    })
}

/// The models of spans that have matrices with a row for each token: the first and last of a module, and, where layers have
/// such, all of it.
fn vocabulary_groups(modules: &[ModuleSpans<'_>], models: &[InputModel]) -> Vec<Vec<usize>> {
    let is_in_layer = |name: &String| is_vocabulary_tensor(name) && LayerName::parse(name).is_some();
    let in_layers = models.iter().any(|model| model.tensors.names().iter().any(is_in_layer));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for module in modules {
        for (at, span) in module.spans.iter().enumerate() {
            let group = span.models();
            if (in_layers || at == 0 || at + 1 == module.spans.len()) && !groups.contains(&group) {
                groups.push(group);
            }
        }
    }
    groups
}

/// What to say of vocabularies that nothing brings together.
fn check_vocabularies(
    config: &MergeConfig,
    models: &[InputModel],
    options: &PlanOptions,
) -> Result<Vec<String>, MergeError> {
    let clashes = clashes(models)?;
    if let Some(clash) = clashes.iter().find(|clash| clash.is_garbage())
        && !options.crimes
    {
        let problem = format!(
            "{clash}\nwithout `tokenizer: {{source: union}}` (or base) rows of unrelated tokens are mixed"
        );
        let other = models.iter().find(|model| model.reference.to_string() == clash.models[1]);
        let place = other.map(|model| place_of(config, &model.reference));
        return Err(MergeError::Crime { place, problem });
    }
    Ok(clashes.iter().map(ToString::to_string).collect())
}

struct Builder<'a> {
    config: &'a MergeConfig,
    models: &'a [InputModel],
    options: &'a PlanOptions,
    vocabulary: Option<&'a VocabularyPlan>,
    tensors: BTreeMap<String, PlannedTensor>,
    warnings: Vec<String>,
}

impl Builder<'_> {
    fn module(&mut self, module: &ModuleSpans<'_>) -> Result<(), MergeError> {
        let layout = self.layout(module)?;
        if let Some(name) = module.module.filter(|_| layout.stacks.is_empty()) {
            let place = self.config.place(&format!("modules.{name}"));
            let what = "no layers of the models belong to it";
            return Err(place.wrong(what, "name a module as the tensors' names do, or `default`").into());
        }
        let (Some(first), Some(last)) = (module.spans.first(), module.spans.last()) else { return Ok(()) };
        for name in &layout.outside {
            let span = if is_before_layers(name) { first } else { last };
            self.tensor(span, name, &|_| name.clone(), 0.0)?;
        }
        if module.is_sliced && layout.stacks.len() > 1 {
            let stacks: Vec<&str> = layout.stacks.keys().map(String::as_str).collect();
            let problem = format!("has several stacks of layers ({}): use `modules`", stacks.join(", "));
            let model = first.inputs.first().map(|input| input.reference.to_string()).unwrap_or_default();
            return Err(MergeError::Model { model, problem });
        }
        for (stack, found) in &layout.stacks {
            let mut out = 0;
            for span in &module.spans {
                self.check_layers(span, stack)?;
                let layers = span.layers.unwrap_or(found.layers);
                for layer in 0..layers {
                    // As mergekit: the only layer of a slice has the last value of a gradient.
                    let at = if layers == 1 { 1.0 } else { layer as f64 / (layers - 1) as f64 };
                    for rest in &found.weights {
                        let name = LayerName { stack, layer: out, rest }.at(out);
                        let source = |first: usize| LayerName { stack, layer: 0, rest }.at(first + layer);
                        self.tensor(span, &name, &source, at)?;
                    }
                    out += 1;
                }
            }
        }
        Ok(())
    }

    /// Whether every model of a slice has its layers.
    fn check_layers(&self, span: &Span<'_>, stack: &str) -> Result<(), MergeError> {
        let Some(layers) = span.layers else { return Ok(()) };
        for input in &span.inputs {
            let count = self.layers(input, stack);
            let end = input.first_layer + layers;
            if end > count {
                let what = format!("ends at {end}, and {} has {count} layers", input.reference);
                return Err(input
                    .place
                    .under("layer_range")
                    .wrong(what, "end it there at the latest")
                    .into());
            }
        }
        Ok(())
    }

    /// How many layers a model has in a stack.
    fn layers(&self, input: &SpanInput<'_>, stack: &str) -> usize {
        let names = self.models[input.model].tensors.names();
        let is_of = |name: &LayerName<'_>| name.stack == stack || Some(name.stack) == without_prefix(stack);
        let layers = names.iter().filter_map(|name| LayerName::parse(name)).filter(is_of);
        layers.map(|name| name.layer + 1).max().unwrap_or(0)
    }

    /// Where the configuration names a model.
    fn place(&self, input: &SpanInput<'_>) -> Place {
        match input.place.key.as_str() {
            // A base that is not listed.
            "" => self.config.place("base_model"),
            key => self.config.place(&format!("{key}.model")),
        }
    }

    /// The names of a module's models, buffers left out.
    fn layout(&mut self, module: &ModuleSpans<'_>) -> Result<Layout, MergeError> {
        let mut used: Vec<usize> =
            module.spans.iter().flat_map(|span| span.inputs.iter().map(|input| input.model)).collect();
        used.sort_unstable();
        used.dedup();
        let mut trunk = Trunk::default();
        for name in used.iter().flat_map(|model| self.models[*model].tensors.names()) {
            trunk.add(&name);
        }
        let mut layout = Layout::default();
        for model in used {
            for name in self.models[model].tensors.names() {
                if is_buffer(&name) || !belongs(&name, module.module) {
                    continue;
                }
                match self.models[model].tensors.dtype(&name) {
                    Ok(_) => {}
                    Err(WeightsError::UnsupportedType { dtype, .. }) if is_whole_number(&dtype) => {
                        let model = &self.models[model].reference;
                        self.warnings
                            .push(format!("{name} of {model} is left out: it holds {dtype}, no weights"));
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
                layout.add(&trunk.whole(&name));
            }
        }
        Ok(layout)
    }

    /// `source` gives a model's name of the tensor, told its first layer.
    fn tensor(
        &mut self,
        span: &Span<'_>,
        name: &str,
        source: &dyn Fn(usize) -> String,
        at: f64,
    ) -> Result<(), MergeError> {
        let names: Vec<String> = span.inputs.iter().map(|input| source(input.first_layer)).collect();
        let found: Vec<Option<&str>> = span
            .inputs
            .iter()
            .zip(&names)
            .map(|(input, name)| self.models[input.model].resolve(name))
            .collect();
        // A weight of other spans' models.
        if found.iter().all(Option::is_none) {
            return Ok(());
        }
        if let Some(lacking) = found.iter().position(Option::is_none) {
            return Err(self.lacking(span, name, lacking, &names));
        }
        let found: Vec<&str> = found.into_iter().flatten().collect();
        let shape = self.shape(span, name, &found)?;
        let merged: Vec<usize> = (0..span.inputs.len()).filter(|input| span.base != Some(*input)).collect();
        let source_of =
            |input: usize| SourceTensor { model: span.inputs[input].model, name: found[input].to_owned() };
        let only_base = merged.is_empty();
        let lookup = Lookup {
            method: self.config.method,
            seed: self.options.seed,
            name,
            shape: &shape,
            at,
            shared: &span.shared,
            place: &span.place,
            models: merged
                .iter()
                .map(|input| ModelLookup {
                    reference: span.inputs[*input].reference,
                    tensor: found[*input],
                    own: span.inputs[*input].own,
                    place: &span.inputs[*input].place,
                })
                .collect(),
            has_base: span.base.is_some(),
        };
        let mut recipe = if only_base { copy() } else { lookup.recipe()? };
        let base = span.base.filter(|_| !only_base);
        let mut sources: Vec<SourceTensor> = merged.iter().map(|input| source_of(*input)).collect();
        if only_base {
            sources.extend(span.base.map(source_of));
        }
        let mut base = base.map(source_of);
        if recipe.vectors == Vectors::Weights
            && self.config.method.spec().base == Base::Required
            && !only_base
        {
            // The base is the first of the vectors.
            sources.splice(0..0, base.take());
            recipe.keep.resize(sources.len(), Keep::All);
        }
        if self.vocabulary.is_some() && is_vocabulary_tensor(name) {
            self.check_unchanged(span, name, &found)?;
        }
        self.check_digits(span, name, &found)?;
        let dtype = self.dtype(span, &found);
        self.tensors.insert(
            name.to_owned(),
            PlannedTensor { name: name.to_owned(), shape, dtype, sources, base, recipe },
        );
        Ok(())
    }

    /// Rows of another vocabulary are taken from the stored tensor, which an adapter must not change then.
    fn check_unchanged(&self, span: &Span<'_>, name: &str, found: &[&str]) -> Result<(), MergeError> {
        for (input, found) in span.inputs.iter().zip(found) {
            let adapter = self.models[input.model].adapter.as_ref();
            if adapter.map(|adapter| adapter.for_weight(found)).transpose()?.flatten().is_some() {
                let problem = format!(
                    "the adapter of {} changes it, and the vocabularies are brought together too: merge the adapter \
                     first (`xenoglot lora merge`)",
                    input.reference
                );
                return Err(MergeError::Tensor { tensor: name.to_owned(), problem });
            }
        }
        Ok(())
    }

    /// Digits beyond f32's are lost, which is for the configuration to say.
    fn check_digits(&self, span: &Span<'_>, name: &str, found: &[&str]) -> Result<(), MergeError> {
        if self.config.dtype.or(self.config.out_dtype).is_some() {
            return Ok(());
        }
        let is_double = |(input, found): &(&SpanInput<'_>, &&str)| {
            weight_type(&self.models[input.model], found) == Some(TensorType::F64)
        };
        let Some((input, _)) = span.inputs.iter().zip(found).find(is_double) else { return Ok(()) };
        let problem = format!(
            "tensor {name} is stored in float64, and nothing is computed in more than float32; `dtype: float32` \
             rounds it as it is read"
        );
        Err(MergeError::Mismatch { place: Some(self.place(input)), problem })
    }

    fn lacking(&self, span: &Span<'_>, name: &str, lacking: usize, names: &[String]) -> MergeError {
        let holder = span
            .inputs
            .iter()
            .zip(names)
            .find(|(input, name)| self.models[input.model].resolve(name).is_some());
        let holder = holder.map(|(input, _)| input);
        let (lacking, lacks) = (&span.inputs[lacking], &names[lacking]);
        let has = holder.map(|input| input.reference.to_string()).unwrap_or_default();
        let depths = LayerName::parse(name)
            .zip(holder)
            .map(|(layer, holder)| (self.layers(holder, layer.stack), self.layers(lacking, layer.stack)));
        let way_out = match depths {
            Some((deeper, depth)) if deeper != depth && span.layers.is_none() => {
                format!("the models have {deeper} and {depth} layers, choose those to merge with `slices`")
            }
            _ => "the models are of different architectures or sizes".to_owned(),
        };
        let problem =
            format!("tensor {name}: {has} has it and {} lacks {lacks}; {way_out}", lacking.reference);
        MergeError::Mismatch { place: Some(self.place(lacking)), problem }
    }

    /// The common shape.
    fn shape(&self, span: &Span<'_>, name: &str, found: &[&str]) -> Result<Vec<usize>, MergeError> {
        let mut common: Option<(Vec<usize>, String)> = None;
        for (input, found) in span.inputs.iter().zip(found) {
            let mut shape = self.models[input.model].tensors.shape(found)?;
            if let Some(vocabulary) = self.vocabulary.filter(|_| is_vocabulary_tensor(name))
                && let Some(rows) = shape.first_mut()
            {
                *rows = vocabulary.size;
            }
            match &common {
                None => common = Some((shape, input.reference.to_string())),
                Some((first, holder)) if *first != shape => {
                    let hint = if is_before_layers(name) || name.starts_with("lm_head") {
                        "their vocabularies differ, `tokenizer: {source: union}` (or base) brings them together"
                    } else {
                        "the models are of different sizes and cannot be merged"
                    };
                    let problem = format!(
                        "tensor {name} is {first:?} in {holder} and {shape:?} in {}; {hint}",
                        input.reference
                    );
                    return Err(MergeError::Mismatch { place: Some(self.place(input)), problem });
                }
                Some(_) => {}
            }
        }
        Ok(common.map(|(shape, _)| shape).unwrap_or_default())
    }

    /// As asked, else that of the inputs, f32 where they differ, bf16 where they are blocks; f64 is only taken where one is asked
    /// for.
    fn dtype(&self, span: &Span<'_>, found: &[&str]) -> Dtype {
        if let Some(asked) = self.config.out_dtype.or(self.config.dtype) {
            return asked;
        }
        let types = span.inputs.iter().zip(found).filter_map(|(input, found)| {
            Some(match weight_type(&self.models[input.model], found)? {
                TensorType::F64 | TensorType::F32 => Dtype::F32,
                TensorType::F16 => Dtype::F16,
                TensorType::Bf16 | TensorType::Ggml(_) => Dtype::Bf16,
            })
        });
        types.reduce(|a, b| if a == b { a } else { Dtype::F32 }).unwrap_or(Dtype::F32)
    }
}

/// Components of names that are another module's than the text's.
const NOT_TEXT: &[&str] = &[
    "visual",
    "vision_tower",
    "vision_model",
    "vision_encoder",
    "multi_modal_projector",
    "multimodal_projector",
    "audio_tower",
    "audio_encoder",
];

/// Whether a tensor is part of a module: by a component of its name, and the text's is what is no other's. `default` is the
/// whole of a model.
fn belongs(name: &str, module: Option<&str>) -> bool {
    let Some(module) = module.filter(|module| *module != "default") else { return true };
    let mut parts = name.split('.');
    match module {
        "text_decoder" | "language_model" | "text_model" => !parts.any(|part| NOT_TEXT.contains(&part)),
        "vision_tower" | "vision_encoder" | "visual" | "vision_model" => {
            parts.any(|part| NOT_TEXT[..4].contains(&part))
        }
        "multi_modal_projector" | "multimodal_projector" => parts.any(|part| NOT_TEXT[4..6].contains(&part)),
        other => parts.any(|part| part == other),
    }
}

/// Types of buffers, by the names that safetensors and PyTorch have for them.
fn is_whole_number(dtype: &str) -> bool {
    let lower = dtype.to_ascii_lowercase();
    lower.starts_with('i') || lower.starts_with('u') || lower.starts_with("bool")
}
