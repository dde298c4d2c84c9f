//! What is merged: `models`, `slices` or `modules`.

use std::ops::Range;

use crate::merge::method::Method;

use super::document::{At, Fields};
use super::error::{ConfigError, Place};
use super::parameters::Parameters;
use super::reference::ModelReference;

pub(super) const INPUT_KEYS: &[&str] = &["models", "slices", "modules"];
pub(super) const MODULE_KEYS: &[&str] = &["models", "slices", "parameters"];
pub(super) const MODEL_KEYS: &[&str] = &["model", "parameters"];
pub(super) const SLICE_KEYS: &[&str] = &["sources", "base_model", "parameters", "residual_weight"];
pub(super) const SOURCE_KEYS: &[&str] = &["model", "layer_range", "parameters"];

const LAYERS_MAX: u32 = 100_000;

/// What is merged.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The same for every module of the architecture, which with slices has only one.
    Layers(Layers),
    /// Modules of the architecture by name. Those left out are not written.
    Modules(Vec<Module>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Layers {
    /// All layers of every model. The base model is one more if it is not listed.
    Models(Vec<ModelEntry>),
    /// Layers stacked one slice on the other.
    Slices(Vec<Slice>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    pub name: String,
    pub layers: Layers,
    pub parameters: Parameters,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ModelEntry {
    pub model: ModelReference,
    pub parameters: Parameters,
    /// Of the entry.
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    pub sources: Vec<Source>,
    /// Instead of the base of the whole merge.
    pub base_model: Option<ModelReference>,
    pub parameters: Parameters,
    /// Of the slice.
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub model: ModelReference,
    /// Of the model, from 0. Not empty.
    pub layers: Range<usize>,
    pub parameters: Parameters,
    /// Of the source.
    pub place: Place,
}

/// Reads inputs for a method, whose parameters they hold.
pub(super) struct Reader<'w> {
    pub method: Method,
    pub warnings: &'w mut Vec<String>,
}

impl Reader<'_> {
    /// The one of the three kinds that there is.
    pub fn input(&mut self, fields: &Fields) -> Result<Input, ConfigError> {
        match one_of(fields, INPUT_KEYS)? {
            ("modules", at) => {
                let modules = at.entries()?;
                if modules.is_empty() {
                    return Err(empty(at));
                }
                modules
                    .iter()
                    .map(|(name, at)| self.module(name, at))
                    .collect::<Result<_, _>>()
                    .map(Input::Modules)
            }
            (key, at) => self.layers(key, at).map(Input::Layers),
        }
    }

    fn module(&mut self, name: &str, at: &At) -> Result<Module, ConfigError> {
        let fields = at.fields(MODULE_KEYS)?;
        let (key, layers) = one_of(&fields, &["models", "slices"])?;
        Ok(Module {
            name: name.to_owned(),
            layers: self.layers(key, layers)?,
            parameters: self.parameters(&fields)?,
        })
    }

    fn layers(&mut self, key: &str, at: &At) -> Result<Layers, ConfigError> {
        let items = at.items()?;
        if items.is_empty() {
            return Err(empty(at));
        }
        if key == "models" {
            return items.iter().map(|at| self.model(at)).collect::<Result<_, _>>().map(Layers::Models);
        }
        items.iter().map(|at| self.slice(at)).collect::<Result<_, _>>().map(Layers::Slices)
    }

    fn model(&mut self, at: &At) -> Result<ModelEntry, ConfigError> {
        let fields = at.fields(MODEL_KEYS)?;
        let model =
            ModelReference::read(fields.need("model", "write the model's folder or its name on the hub")?)?;
        Ok(ModelEntry { model, parameters: self.parameters(&fields)?, place: at.place.clone() })
    }

    fn slice(&mut self, at: &At) -> Result<Slice, ConfigError> {
        let fields = at.fields(SLICE_KEYS)?;
        let sources = fields.need("sources", "list the models and the layers of each")?;
        let items = sources.items()?;
        if items.is_empty() {
            return Err(empty(sources));
        }
        if let Some(unused) = fields.get("residual_weight") {
            unused.number()?;
            self.warnings.push(format!(
                "{}: mergekit takes it and does nothing with it, as here; remove it",
                unused.place
            ));
        }
        Ok(Slice {
            sources: items.iter().map(|at| self.source(at)).collect::<Result<_, _>>()?,
            base_model: fields.get("base_model").map(ModelReference::read).transpose()?,
            parameters: self.parameters(&fields)?,
            place: at.place.clone(),
        })
    }

    fn source(&mut self, at: &At) -> Result<Source, ConfigError> {
        let fields = at.fields(SOURCE_KEYS)?;
        let model =
            ModelReference::read(fields.need("model", "write the model's folder or its name on the hub")?)?;
        let layers = read_range(fields.need("layer_range", RANGE)?)?;
        Ok(Source { model, layers, parameters: self.parameters(&fields)?, place: at.place.clone() })
    }

    fn parameters(&mut self, fields: &Fields) -> Result<Parameters, ConfigError> {
        Parameters::read(fields.get("parameters"), self.method, self.warnings)
    }
}

const RANGE: &str = "write `[first, last + 1]`, layers from 0";

fn read_range(at: &At) -> Result<Range<usize>, ConfigError> {
    let items = at.items()?;
    let [start, end] = items.as_slice() else {
        return Err(at.wrong(format!("has {} elements, not two", items.len()), RANGE));
    };
    let (start, end) = (start.whole(0..=LAYERS_MAX)?, end.whole(0..=LAYERS_MAX)?);
    if start >= end {
        return Err(at.wrong(format!("[{start}, {end}] holds no layer"), RANGE));
    }
    Ok(start as usize..end as usize)
}

/// The only one of the keys that has a value.
fn one_of<'f, 'a>(
    fields: &'f Fields<'a>,
    keys: &[&'static str],
) -> Result<(&'static str, &'f At<'a>), ConfigError> {
    let mut given = keys.iter().filter_map(|key| fields.get(key).map(|at| (*key, at)));
    match (given.next(), given.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => {
            let way_out = format!("write what to merge: one of {}", keys.join(", "));
            Err(fields.place.under("models").absent(way_out))
        }
        (Some((first, _)), Some((second, at))) => {
            let what = format!("`{first}` is given too");
            Err(at.place.conflict(what, format!("keep either `{first}` or `{second}`")))
        }
    }
}

fn empty(at: &At) -> ConfigError {
    at.wrong("is empty", "list at least one")
}

#[cfg(test)]
mod tests {
    use super::super::MergeConfig;
    use super::*;

    #[test]
    fn reads_slices_and_modules() {
        let text = r#"
merge_method: passthrough
modules:
  text:
    parameters: {scale: 0.5}
    slices:
    - sources:
      - {model: a@v1, layer_range: ["1", 3.0], parameters: {scale: 2}}
      parameters: {scale: 3}
      residual_weight: 1
  vision: {models: [{model: {model: b}}]}
"#;
        let config = MergeConfig::parse(text).expect("a configuration");
        let Input::Modules(modules) = &config.input else { panic!("{:?}", config.input) };
        assert_eq!(modules.iter().map(|module| module.name.as_str()).collect::<Vec<_>>(), ["text", "vision"]);
        let Layers::Slices(slices) = &modules[0].layers else { panic!("{modules:?}") };
        let source = &slices[0].sources[0];
        assert_eq!((source.model.to_string().as_str(), source.layers.clone()), ("a@v1", 1..3));
        assert_eq!(source.place, Place::new("modules.text.slices.0.sources.0", 8));
        assert!(matches!(&modules[1].layers, Layers::Models(models) if models.len() == 1));
        let expected = "line 10: modules.text.slices.0.residual_weight: mergekit takes it";
        assert!(
            matches!(config.warnings.as_slice(), [one] if one.starts_with(expected)),
            "{:?}",
            config.warnings
        );
    }

    #[test]
    fn errors_name_keys() {
        let check = |text: &str, expected: &str| {
            let text = format!("merge_method: passthrough\n{text}");
            let error = MergeConfig::parse(&text).expect_err(&text).to_string();
            assert!(error.starts_with(&format!("line 2: {expected}")), "{text}: {error}");
        };
        let slice = |source: &str| format!("slices: [{{sources: [{source}]}}]");
        check("models: {}", "models: a mapping is not a list;");
        check("models: [a]", "models.0: `a` is not a mapping;");
        check("models: [{model: a, layer_range: [0, 1]}]", "models.0.layer_range: is not a known key;");
        check("slices: []", "slices: is empty;");
        check("slices: [{sources: []}]", "slices.0.sources: is empty;");
        check("slices: [{}]", "slices.0.sources: is missing;");
        check("modules: {}", "modules: is empty;");
        check(
            "modules: {text: {}}",
            "modules.text.models: is missing; write what to merge: one of models, slices",
        );
        check(
            "modules: {text: {models: [{model: a}], slices: [{}]}}",
            "modules.text.slices: `models` is given too;",
        );
        check(&slice("{model: a}"), "slices.0.sources.0.layer_range: is missing;");
        check(
            &slice("{model: a, layer_range: [1, 1]}"),
            "slices.0.sources.0.layer_range: [1, 1] holds no layer;",
        );
        check(
            &slice("{model: a, layer_range: [0, 2.5]}"),
            "slices.0.sources.0.layer_range.1: `2.5` is not a whole",
        );
        check(
            &slice("{model: a, layer_range: [-1, 2]}"),
            "slices.0.sources.0.layer_range.0: `-1` is not a whole",
        );
        check(&slice("{model: a, layer_range: 3}"), "slices.0.sources.0.layer_range: `3` is not a list;");
    }
}
