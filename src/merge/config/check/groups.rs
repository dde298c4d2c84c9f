//! The groups of inputs that are merged with one another: the models of the merge or of a module, or the
//! sources of a slice.

use super::super::MergeConfig;
use super::super::error::{Place, joined};
use super::super::inputs::{Input, Layers, ModelEntry, Module, Slice, Source};
use super::super::parameters::Parameters;
use super::super::reference::ModelReference;
use super::super::scopes::Scopes;

/// Inputs that are merged with one another.
pub struct Group<'a> {
    /// `models` or `slices.0.sources`, below its module.
    pub place: Place,
    pub inputs: Vec<Member<'a>>,
    pub base: Option<&'a ModelReference>,
    /// The parameters of slice, module and the whole merge.
    pub outer: Vec<&'a Parameters>,
}

pub struct Member<'a> {
    pub model: &'a ModelReference,
    /// `None` for a base that is not listed.
    pub parameters: Option<&'a Parameters>,
    /// Of its entry; the top for a base that is not listed.
    pub place: Place,
}

/// The groups of a configuration, in its order.
pub fn groups<'a>(config: &'a MergeConfig) -> Vec<Group<'a>> {
    match &config.input {
        Input::Layers(layers) => groups_of(config, "", layers, &[&config.parameters]),
        Input::Modules(modules) => {
            let of_module = |module: &'a Module| {
                let Module { name, layers, parameters } = module;
                groups_of(config, &joined("modules", name), layers, &[parameters, &config.parameters])
            };
            modules.iter().flat_map(of_module).collect()
        }
    }
}

fn groups_of<'a>(
    config: &'a MergeConfig,
    path: &str,
    layers: &'a Layers,
    outer: &[&'a Parameters],
) -> Vec<Group<'a>> {
    match layers {
        Layers::Models(models) => {
            let place = config.place(&joined(path, "models"));
            vec![Group {
                place,
                inputs: members(config, models),
                base: config.base_model.as_ref(),
                outer: outer.to_vec(),
            }]
        }
        Layers::Slices(slices) => slices.iter().map(|slice| group_of_slice(config, slice, outer)).collect(),
    }
}

/// The models, and the base if it is not one of them.
fn members<'a>(config: &'a MergeConfig, models: &'a [ModelEntry]) -> Vec<Member<'a>> {
    let listed = models.iter().map(|entry| Member {
        model: &entry.model,
        parameters: Some(&entry.parameters),
        place: entry.place.clone(),
    });
    let added = config.added_base(models).map(|model| {
        let place = Place::new("", config.place("base_model").line);
        Member { model, parameters: None, place }
    });
    listed.chain(added).collect()
}

fn group_of_slice<'a>(config: &'a MergeConfig, slice: &'a Slice, outer: &[&'a Parameters]) -> Group<'a> {
    let member = |source: &'a Source| Member {
        model: &source.model,
        parameters: Some(&source.parameters),
        place: source.place.clone(),
    };
    Group {
        place: config.place(&joined(&slice.place.key, "sources")),
        inputs: slice.sources.iter().map(member).collect(),
        base: slice.base_model.as_ref().or(config.base_model.as_ref()),
        outer: std::iter::once(&slice.parameters).chain(outer.iter().copied()).collect(),
    }
}

impl<'a> Group<'a> {
    /// Of a parameter that a model has of its own.
    pub fn scopes(&'a self, input: &'a Member) -> Scopes<'a> {
        let levels: Vec<_> = input.parameters.into_iter().chain(self.outer.iter().copied()).collect();
        Scopes::of_model(input.model, &levels, &input.place)
    }

    /// Of a method that has a use for a base.
    pub fn is_base(&self, input: &Member) -> bool {
        self.base == Some(input.model)
    }
}
