//! The configuration's three forms as one: slices of layers, each with its inputs and the scopes of their parameters.

use super::super::config::{Input, Layers, MergeConfig, ModelReference, Module, Parameters, Place};
use super::super::error::MergeError;
use super::super::inputs::InputModel;
use super::super::method::Method;

/// A run of output layers that are merged from as many layers of each input.
pub struct Span<'a> {
    pub inputs: Vec<SpanInput<'a>>,
    /// `None`: all the layers there are.
    pub layers: Option<usize>,
    /// Index among `inputs`.
    pub base: Option<usize>,
    /// Of slice, module and the whole merge, the most specific first.
    pub shared: Vec<&'a Parameters>,
    pub place: Place,
}

impl Span<'_> {
    /// The models by number, sorted.
    pub fn models(&self) -> Vec<usize> {
        let mut models: Vec<usize> = self.inputs.iter().map(|input| input.model).collect();
        models.sort_unstable();
        models.dedup();
        models
    }
}

/// One model of a span.
pub struct SpanInput<'a> {
    /// Index among the opened models.
    pub model: usize,
    pub reference: &'a ModelReference,
    pub first_layer: usize,
    pub own: Option<&'a Parameters>,
    pub place: Place,
}

/// The spans of a module, and which module: `None` where the configuration has none.
pub struct ModuleSpans<'a> {
    pub module: Option<&'a str>,
    pub spans: Vec<Span<'a>>,
    /// Whether slices decide the number of layers.
    pub is_sliced: bool,
}

/// # Errors
/// `Model` for a model that is not among the opened ones.
pub fn spans<'a>(config: &'a MergeConfig, models: &[InputModel]) -> Result<Vec<ModuleSpans<'a>>, MergeError> {
    match &config.input {
        Input::Layers(layers) => Ok(vec![of_layers(config, models, layers, None)?]),
        Input::Modules(modules) => {
            modules.iter().map(|module| of_layers(config, models, &module.layers, Some(module))).collect()
        }
    }
}

fn of_layers<'a>(
    config: &'a MergeConfig,
    models: &[InputModel],
    layers: &'a Layers,
    module: Option<&'a Module>,
) -> Result<ModuleSpans<'a>, MergeError> {
    let find = |reference: &ModelReference| {
        models.iter().position(|model| model.reference == *reference).ok_or_else(|| MergeError::Model {
            model: reference.to_string(),
            problem: "is not among the inputs".to_owned(),
        })
    };
    let outer: Vec<&Parameters> =
        module.map(|module| &module.parameters).into_iter().chain([&config.parameters]).collect();
    // As the checks that need no models.
    let top = Place::new("", config.place("merge_method").line);
    let mut spans = Vec::new();
    match layers {
        Layers::Models(entries) => {
            let mut inputs = Vec::new();
            for entry in entries {
                inputs.push(SpanInput {
                    model: find(&entry.model)?,
                    reference: &entry.model,
                    first_layer: 0,
                    own: Some(&entry.parameters),
                    place: entry.place.clone(),
                });
            }
            if let Some(base) = &config.base_model
                && !inputs.iter().any(|input| input.reference == base)
            {
                let place = top.clone();
                inputs.push(SpanInput {
                    model: find(base)?,
                    reference: base,
                    first_layer: 0,
                    own: None,
                    place,
                });
            }
            let base = base_of(config.method, &inputs, config.base_model.as_ref());
            spans.push(Span { inputs, layers: None, base, shared: outer, place: top.clone() });
        }
        Layers::Slices(slices) => {
            for slice in slices {
                let mut inputs = Vec::new();
                for source in &slice.sources {
                    inputs.push(SpanInput {
                        model: find(&source.model)?,
                        reference: &source.model,
                        first_layer: source.layers.start,
                        own: Some(&source.parameters),
                        place: source.place.clone(),
                    });
                }
                let base = slice.base_model.as_ref().or(config.base_model.as_ref());
                let base = base_of(config.method, &inputs, base);
                let shared = [&slice.parameters].into_iter().chain(outer.iter().copied()).collect();
                let layers = slice.sources.first().map_or(0, |source| source.layers.len());
                spans.push(Span { inputs, layers: Some(layers), base, shared, place: slice.place.clone() });
            }
        }
    }
    let is_sliced = matches!(layers, Layers::Slices(_));
    Ok(ModuleSpans { module: module.map(|module| module.name.as_str()), spans, is_sliced })
}

/// The base among the inputs, for methods that know one.
fn base_of(method: Method, inputs: &[SpanInput<'_>], base: Option<&ModelReference>) -> Option<usize> {
    let base = base.filter(|_| method.has_base())?;
    inputs.iter().position(|input| input.reference == base)
}
