//! The configuration of a merge: mergekit's YAML (or the same as JSON), read whole, strictly, and checked
//! before any model is opened.
//!
//! Follows mergekit 0.1.5, which ignores what it does not know. Here unknown keys, values out of range and
//! keys given twice are errors; settings that are never looked at are warnings. Not here: whether the models
//! exist, how many layers they have, what modules their architecture has.

mod check;
mod document;
mod error;
mod inputs;
mod parameters;
mod reference;
mod schema;
mod scopes;
mod tokenizer;
mod yaml;

pub use error::{ConfigError, Place};
pub use inputs::{Input, Layers, ModelEntry, Module, Slice, Source};
pub use parameters::{Choice, Parameters, Scalar, Setting};
pub use reference::{Lora, ModelReference, ReferenceError};
pub use schema::json_schema;
pub use scopes::{Rescale, Scopes};
pub use tokenizer::{TokenName, TokenRule, TokenSource, TokenizerConfig, TokenizerSource};

use super::method::{METHODS, Method};

use document::{At, Fields};
pub(super) use error::{hint, quoted};
use yaml::{Node, Value};

const TOP_KEYS: &[&str] = &[
    "name",
    "merge_method",
    "base_model",
    "models",
    "slices",
    "modules",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
];
const DTYPES: &[&str] = &["float32", "float16", "bfloat16"];

/// A merge as its configuration says.
#[derive(Debug, Clone, PartialEq)]
pub struct MergeConfig {
    /// As it was written.
    pub text: String,
    /// What other merges of the same text call its result.
    pub name: Option<String>,
    pub method: Method,
    pub base_model: Option<ModelReference>,
    pub input: Input,
    /// Of the whole merge.
    pub parameters: Parameters,
    /// What is computed in; as stored if not given.
    pub dtype: Option<Dtype>,
    /// What is written; `dtype` if not given.
    pub out_dtype: Option<Dtype>,
    pub tokenizer: Option<TokenizerConfig>,
    pub chat_template: Option<String>,
    /// What is right but does nothing, or not what it seems to. In the form of the errors.
    pub warnings: Vec<String>,
    document: Node,
}

/// The type of the numbers of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
}

impl MergeConfig {
    /// Reads and checks a configuration of at most 1 MiB.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::read(yaml::parse(text)?, text)
    }

    /// Those of a text with several, in its order; lines are the whole text's.
    pub(super) fn parse_all(text: &str) -> Result<Vec<Self>, ConfigError> {
        let documents = yaml::documents(text)?;
        if documents.len() < 2 {
            return Ok(vec![Self::parse(text)?]);
        }
        let written = documents.into_iter().filter(|document| !document.node.is_empty());
        written.map(|document| Self::read(document.node, document.text)).collect()
    }

    fn read(document: Node, text: &str) -> Result<Self, ConfigError> {
        let mut warnings = Vec::new();
        let fields = At::top(&document).fields(TOP_KEYS)?;
        let method = read_method(&fields)?;
        let mut config = Self {
            text: text.to_owned(),
            name: reference::optional_text(&fields, "name")?,
            method,
            base_model: fields.get("base_model").map(ModelReference::read).transpose()?,
            input: inputs::Reader { method, warnings: &mut warnings }.input(&fields)?,
            parameters: Parameters::read(fields.get("parameters"), method, &mut warnings)?,
            dtype: fields.get("dtype").map(Dtype::read).transpose()?,
            out_dtype: fields.get("out_dtype").map(Dtype::read).transpose()?,
            tokenizer: TokenizerConfig::read(&fields)?,
            chat_template: fields
                .get("chat_template")
                .map(|at| tokenizer::read_chat_template(at, &mut warnings))
                .transpose()?,
            warnings,
            document,
        };
        check::check(&mut config)?;
        Ok(config)
    }

    /// Where a path of keys stands, or the nearest key above it that does.
    pub fn place(&self, key: &str) -> Place {
        let mut node = &self.document;
        let mut line = node.line;
        for step in key.split('.') {
            let below = match &node.value {
                Value::Map(entries) => {
                    entries.iter().find(|entry| entry.key == step).map(|entry| (&entry.node, entry.line))
                }
                Value::List(items) => {
                    step.parse().ok().and_then(|index: usize| items.get(index)).map(|item| (item, item.line))
                }
                Value::Scalar { .. } => None,
            };
            let Some(found) = below else { break };
            (node, line) = found;
        }
        Place::new(key, line)
    }

    /// The base model, where `models` does not list it: it is merged as one more input, the last, without
    /// parameters of its own.
    pub fn added_base(&self, models: &[ModelEntry]) -> Option<&ModelReference> {
        self.base_model.as_ref().filter(|base| models.iter().all(|entry| entry.model != **base))
    }
}

impl Dtype {
    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    fn read(at: &At) -> Result<Self, ConfigError> {
        let text = at.text()?;
        match text.strip_prefix("torch.").unwrap_or(text) {
            "float32" => Ok(Self::F32),
            "float16" => Ok(Self::F16),
            "bfloat16" => Ok(Self::Bf16),
            "float64" => Err(at.wrong(
                "nothing is computed or stored in float64",
                "write float32, in which inputs of float64 are read too",
            )),
            "int64" => {
                Err(at.wrong("weights are no whole numbers, int64 would cut them off", "write float32"))
            }
            other => {
                Err(at.wrong(format!("{} is no type", quoted(text)), hint(other, DTYPES.iter().copied())))
            }
        }
    }
}

fn read_method(fields: &Fields) -> Result<Method, ConfigError> {
    let names = || METHODS.iter().map(|spec| spec.name);
    let way_out = format!("write one of {}", names().collect::<Vec<_>>().join(", "));
    let at = fields.need("merge_method", &way_out)?;
    let name = at.text()?;
    Method::named(name)
        .ok_or_else(|| at.wrong(format!("{} is no merge method", quoted(name)), hint(name, names())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_key() {
        let text = "merge_method: ties\nbase_model: b\nmodels: [{model: a, parameters: {weight: 1}}]\n\
                    parameters: {normalize: no}\ndtype: torch.bfloat16\nout_dtype: float16\n\
                    tokenizer_source: union\nchat_template: auto\nslices:\nmodules: ~\n";
        let config = MergeConfig::parse(text).expect("a configuration");
        assert_eq!(config.text, text);
        assert_eq!(
            (config.method, config.dtype, config.out_dtype),
            (Method::Ties, Some(Dtype::Bf16), Some(Dtype::F16))
        );
        assert_eq!(config.base_model.as_ref().map(ToString::to_string).as_deref(), Some("b"));
        let normalize = config.parameters.get("normalize").and_then(Setting::constant);
        assert_eq!(normalize, Some(&Scalar::Flag(false)));
        assert_eq!(config.tokenizer.map(|tokenizer| tokenizer.source), Some(TokenizerSource::Union));
        assert_eq!(config.chat_template.as_deref(), Some("auto"));
        assert_eq!(config.warnings, Vec::<String>::new());
    }

    #[test]
    fn json_is_the_same_as_yaml() {
        let json = MergeConfig::parse(
            r#"{"merge_method": "linear",
                "models": [{"model": "a", "parameters": {"weight": [0, 1e-1]}}, {"model": "b"}],
                "parameters": {"weight": {"filter": "*", "value": 1}}, "dtype": null}"#,
        )
        .expect("JSON");
        let yaml = "merge_method: linear\nmodels:\n- model: a\n  parameters:\n    weight: [0, 0.1]\n- model: b\n\
                    parameters: {weight: 1}";
        let yaml = MergeConfig::parse(yaml).expect("YAML");
        let told = |config: &MergeConfig| match &config.input {
            Input::Layers(Layers::Models(models)) => models
                .iter()
                .map(|entry| {
                    (entry.model.clone(), entry.parameters.get("weight").map(|weight| weight.choices.clone()))
                })
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(&json), told(&yaml));
    }

    #[test]
    fn refuses_types_and_methods() {
        let check = |lines: &str, expected: &str| {
            let text = format!("models: [{{model: a, parameters: {{weight: 1}}}}]\n{lines}");
            let error = MergeConfig::parse(&text).expect_err(lines).to_string();
            assert!(error.starts_with(expected), "{lines}: {error}");
        };
        check("merge_method: tiez", "line 2: merge_method: `tiez` is no merge method; did you mean `ties`?");
        check("dtype: float32", "line 1: merge_method: is missing; write one of linear, slerp,");
        check(
            "merge_method: linear\ndtype: float64",
            "line 3: dtype: nothing is computed or stored in float64; write",
        );
        check("merge_method: linear\nout_dtype: int64", "line 3: out_dtype: weights are no whole numbers");
        check(
            "merge_method: linear\ndtype: bfloat32",
            "line 3: dtype: `bfloat32` is no type; did you mean `float32`?",
        );
        check("merge_method: linear\nchat_template: 7", "line 3: chat_template: `7` is no text");
        check("merge_method: linear\nnormalise: true", "line 3: normalise: is not a known key; known are");
    }

    #[test]
    fn places_are_found_again() {
        let text = "merge_method: linear\nmodels:\n- parameters: {weight: 1}\n  model: a\n";
        let config = MergeConfig::parse(text).expect("a configuration");
        let check = |key: &str, line: usize| assert_eq!(config.place(key), Place::new(key, line));
        check("models.0", 3);
        check("models.0.model", 4);
        check("models.0.model.path", 4);
        check("models.7.model", 2);
        check("absent", 1);
    }
}
