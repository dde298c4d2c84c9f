//! `/v1/fine_tuning/jobs` in OpenAI's shape, and the same body as the TOML file of `xenoglot train`.
//!
//! OpenAI's `"auto"` is the same as leaving a setting out. Names that OpenAI has no word for are those of transformers, TRL and
//! PEFT.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::evals::check_metadata;
use super::parse::{BadRequest, RequestBody, Unsupported};
use super::reinforcement::Reinforcement;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreateFineTuningJob {
    /// What is trained: a name below the models directory, or on the hub.
    pub model: String,
    /// An uploaded file's id; in a file for `xenoglot train`, a path or a list of paths.
    #[schema(value_type = Object)]
    pub training_file: Files,
    /// Measured now and then; the best checkpoint is the one that does best on it, but of `reinforcement` the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub validation_file: Option<Files>,
    /// `supervised` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Of a supervised training without `method`; OpenAI's older place for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hyperparameters: Option<Hyperparameters>,
    /// The end of the result's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// Of the order of the data and of dropout; 42 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// At most 16 pairs, keys of at most 64 characters, values of at most 512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

/// One file or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Files {
    One(String),
    Several(Vec<String>),
}

impl Default for Files {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Files {
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// How it is trained. The object that has the type's name holds its settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// `supervised`, `cpt`, `mapping`, `augmentation` or `reinforcement`.
    #[serde(rename = "type")]
    pub kind: MethodKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervised: Option<Supervised>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpt: Option<ContinuedPretraining>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<MappingTraining>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<MappingTraining>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reinforcement: Option<Reinforcement>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MethodKind {
    /// On conversations, or prompts with completions.
    #[default]
    Supervised,
    /// Continued pre-training, on plain text.
    Cpt,
    /// MindMerger's first stage: the mapping, on translations.
    Mapping,
    /// MindMerger's second stage: the mapping, on the task, the language model reading the query too.
    Augmentation,
    /// On completions that the model samples and graders reward (GRPO).
    Reinforcement,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Supervised {
    #[serde(default)]
    pub hyperparameters: Hyperparameters,
    /// Train an adapter in place of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// Of prompts with completions, learn the completions alone; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_only_loss: Option<bool>,
    /// Of conversations, learn the assistant's turns alone; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assistant_only_loss: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContinuedPretraining {
    #[serde(default)]
    pub hyperparameters: Hyperparameters,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// Tokens of the data, in the corpora's proportions; without it, each text once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Texts with their shares, in place of `training_file`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corpora: Vec<CorpusFiles>,
    /// Which weights may change: a file of `xenoglot maet mask`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_file: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CorpusFiles {
    #[schema(value_type = Object)]
    pub files: Files,
    /// Of the tokens; of all corpora or of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proportion: Option<f64>,
    /// Marks the texts in evaluations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// A stage of MindMerger: a mapping from an encoder's states to the model's embeddings. Defaults are the original's, with
/// hyperparameters of its own: batches of 128, 3 epochs at a constant 2e-5, AdamW with betas 0.8 and 0.999 and a decay of 3e-7.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MappingTraining {
    #[serde(default)]
    pub hyperparameters: Hyperparameters,
    /// A name below the models directory, or a path: mT5, NLLB, M2M100, XLM-R, E5 and the like.
    pub encoder: String,
    /// `aligned` (`train.sw` with `train.en` beside it), `queries` (JSONL of `lang`, `query`, `response`), `xcsqa` or `xnli`;
    /// aligned, of `augmentation` queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Of `xcsqa` and `xnli` lines that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Weights to begin with: the first stage's mapping, or the folder of its training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_mapping: Option<String>,
    /// Tokens of what the encoder and the prompt have of a text; 200, of mathematics 512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_source_length: Option<usize>,
    /// Tokens of what is learned; 200, of mathematics 512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_target_length: Option<usize>,
    /// 100,000, of `augmentation` 30,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_per_language: Option<u64>,
    /// Pairs that are measured on, without `validation_file`; 3,000, or a tenth of less data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev_items: Option<usize>,
    /// Around the query, where the language model reads it; MindMerger's for mathematics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_template: Option<String>,
    /// BCP 47 to the encoder's language tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub language_tags: Option<std::collections::BTreeMap<String, String>>,
}

/// Low-rank adapters, as PEFT has them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// 16 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r: Option<usize>,
    /// 2 r by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// `q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`, `down_proj`, or `qkv_proj`, `o_proj`, `gate_up_proj`,
    /// `down_proj` where the model's are fused; all that it has by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<Vec<String>>,
    /// Scale by alpha / sqrt(r) in place of alpha / r.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_rslora: Option<bool>,
}

/// Of every method. What is left out has the method's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hyperparameters {
    /// Passes over the data; 3, and 1 of `cpt`.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub n_epochs: Option<f64>,
    /// Updates, in place of `n_epochs`.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Sequences of an update, packed ones with packing; 8.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Of which so many go through the model at once; 1.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub micro_batch_size: Option<usize>,
    /// At its peak; 2e-5, of adapters 2e-4.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Times the default learning rate.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub learning_rate_multiplier: Option<f64>,
    /// `linear`, `cosine` or `constant`; linear.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub lr_scheduler_type: Option<String>,
    /// Of the updates; 0.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub warmup_ratio: Option<f64>,
    /// Updates, in place of `warmup_ratio`.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// 0.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// 0.9.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub adam_beta1: Option<f64>,
    /// 0.999.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub adam_beta2: Option<f64>,
    /// 1e-8.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub adam_epsilon: Option<f64>,
    /// 1; 0 does not clip.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub max_grad_norm: Option<f64>,
    /// Tokens of an example, and of a packed sequence; 1024.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Of longer examples: `drop`, `truncate` or `split`; drop, of `cpt` split.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub too_long: Option<String>,
    /// Put short examples together, each attending to itself alone; true.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub packing: Option<bool>,
    /// Of the weights: `f32`, or `bf16` with f32 masters (see `master_weights`); f32.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// false: weights in bf16 learn without f32 masters, rounded at random to one of two neighbours, with gradients and moments in
    /// bf16: 8 bytes a weight in place of 18. Of whole models; true.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub master_weights: Option<bool>,
    /// Compute activations again in place of keeping them; true.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub gradient_checkpointing: Option<bool>,
    /// Updates between two evaluations; an epoch.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub eval_steps: Option<u64>,
    /// Updates between two checkpoints; an epoch.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub save_steps: Option<u64>,
    /// Checkpoints that are kept beside the best one; 2.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub save_total_limit: Option<usize>,
    /// A loss so many times the mean before stops the training; 10.
    #[serde(deserialize_with = "auto", skip_serializing_if = "Option::is_none")]
    pub max_loss_jump: Option<f64>,
}

/// Passes over the data: each is laid out before the first update.
const EPOCHS_MAX: f64 = 1e5;

/// A value, or `"auto"` for none.
fn auto<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if value.is_null() || value == "auto" {
        return Ok(None);
    }
    serde_json::from_value(value).map(Some).map_err(serde::de::Error::custom)
}

impl RequestBody for CreateFineTuningJob {
    const UNSUPPORTED: &'static [Unsupported] = &[Unsupported { name: "integrations", harmless: &[] }];

    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        if self.model.is_empty() {
            return Err(BadRequest::invalid("model", "`model` is empty: name the model to train"));
        }
        if self.hyperparameters.is_some() && self.method.is_some() {
            return Err(BadRequest::invalid(
                "hyperparameters",
                "`hyperparameters` stands beside `method`: put them into the object of its type",
            ));
        }
        if let Some(method) = &self.method {
            method.check()?;
        }
        check_metadata(self.metadata.as_ref())?;
        if let Some(suffix) = &self.suffix {
            check_suffix(suffix)?;
        }
        let corpora = self.method.as_ref().and_then(|method| method.cpt.as_ref()).map(|cpt| &cpt.corpora);
        let has_corpora = corpora.is_some_and(|corpora| !corpora.is_empty());
        if has_corpora != self.training_file.names().is_empty() {
            let message = if has_corpora {
                "`training_file` stands beside `method.cpt.corpora`: leave one of them out"
            } else {
                "`training_file` is required: what is learned"
            };
            return Err(BadRequest::invalid("training_file", message));
        }
        self.hyperparameters().check()
    }
}

/// It becomes a part of a model's name.
fn check_suffix(suffix: &str) -> Result<(), BadRequest> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !suffix.is_empty() && suffix.len() <= SUFFIX_BYTES_MAX && suffix.chars().all(fits) {
        return Ok(());
    }
    let message = format!("`suffix` has 1 to {SUFFIX_BYTES_MAX} letters of ASCII, digits and `-_.`");
    Err(BadRequest::invalid("suffix", message))
}

const SUFFIX_BYTES_MAX: usize = 64;

impl CreateFineTuningJob {
    /// Wherever they stand.
    pub fn hyperparameters(&self) -> Hyperparameters {
        let of_method = self.method.as_ref().and_then(|method| match method.kind {
            MethodKind::Supervised => method.supervised.as_ref().map(|method| &method.hyperparameters),
            MethodKind::Cpt => method.cpt.as_ref().map(|method| &method.hyperparameters),
            MethodKind::Mapping | MethodKind::Augmentation => {
                self.mapping().map(|method| &method.hyperparameters)
            }
            MethodKind::Reinforcement => self.reinforcement().map(|method| &method.hyperparameters),
        });
        of_method.or(self.hyperparameters.as_ref()).cloned().unwrap_or_default()
    }

    pub fn kind(&self) -> MethodKind {
        self.method.as_ref().map_or(MethodKind::Supervised, |method| method.kind)
    }

    /// The adapter's settings, if an adapter is trained.
    pub fn lora(&self) -> Option<&Lora> {
        let method = self.method.as_ref()?;
        match method.kind {
            MethodKind::Supervised => method.supervised.as_ref()?.lora.as_ref(),
            MethodKind::Cpt => method.cpt.as_ref()?.lora.as_ref(),
            MethodKind::Reinforcement => method.reinforcement.as_ref()?.lora.as_ref(),
            MethodKind::Mapping | MethodKind::Augmentation => None,
        }
    }

    /// GRPO's settings.
    pub fn reinforcement(&self) -> Option<&Reinforcement> {
        let method = self.method.as_ref().filter(|method| method.kind == MethodKind::Reinforcement)?;
        method.reinforcement.as_ref()
    }

    /// MindMerger's settings, of either stage.
    pub fn mapping(&self) -> Option<&MappingTraining> {
        let method = self.method.as_ref()?;
        match method.kind {
            MethodKind::Mapping => method.mapping.as_ref(),
            MethodKind::Augmentation => method.augmentation.as_ref(),
            MethodKind::Supervised | MethodKind::Cpt | MethodKind::Reinforcement => None,
        }
    }
}

/// Of MindMerger's data.
const FORMATS: [&str; 4] = ["aligned", "queries", "xcsqa", "xnli"];

impl Method {
    /// The settings of another type would be passed over.
    fn check(&self) -> Result<(), BadRequest> {
        let given = [
            (MethodKind::Supervised, self.supervised.is_some()),
            (MethodKind::Cpt, self.cpt.is_some()),
            (MethodKind::Mapping, self.mapping.is_some()),
            (MethodKind::Augmentation, self.augmentation.is_some()),
            (MethodKind::Reinforcement, self.reinforcement.is_some()),
        ];
        for (kind, is_given) in given {
            if is_given && kind != self.kind {
                let (name, own) = (kind.name(), self.kind.name());
                return Err(BadRequest::invalid(
                    format!("method.{name}"),
                    format!(
                        "`method.{name}` is not read by `type` `{own}`: put its settings into `method.{own}`"
                    ),
                ));
            }
        }
        let mapping = match self.kind {
            MethodKind::Mapping => &self.mapping,
            MethodKind::Augmentation => &self.augmentation,
            MethodKind::Supervised | MethodKind::Cpt => return Ok(()),
            MethodKind::Reinforcement => {
                let settings = self.reinforcement.as_ref();
                return settings
                    .map_or(Err(BadRequest::missing("method.reinforcement.grader")), Reinforcement::check);
            }
        };
        let param = |field: &str| format!("method.{}.{field}", self.kind.name());
        let Some(mapping) = mapping else { return Err(BadRequest::missing(param("encoder"))) };
        match mapping.format.as_deref() {
            Some(format) if !FORMATS.contains(&format) => {
                let message = format!("format: {format:?} is none of {}", FORMATS.join(", "));
                Err(BadRequest::invalid(param("format"), message))
            }
            _ => Ok(()),
        }
    }
}

impl MethodKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Supervised => "supervised",
            Self::Cpt => "cpt",
            Self::Mapping => "mapping",
            Self::Augmentation => "augmentation",
            Self::Reinforcement => "reinforcement",
        }
    }
}

impl Hyperparameters {
    /// # Errors
    /// Settings that stand against each other, or names that are none.
    pub fn check(&self) -> Result<(), BadRequest> {
        let both = |a: bool, b: bool, name: &str, other: &str| {
            if a && b {
                let message = format!("`{name}` stands beside `{other}`: leave one of them out");
                return Err(BadRequest::invalid(format!("hyperparameters.{name}"), message));
            }
            Ok(())
        };
        if self.n_epochs.is_some_and(|epochs| epochs > EPOCHS_MAX) {
            let message = format!("n_epochs: at most {EPOCHS_MAX}; `max_steps` says longer ones");
            return Err(BadRequest::invalid("hyperparameters.n_epochs", message));
        }
        both(self.max_steps.is_some(), self.n_epochs.is_some(), "max_steps", "n_epochs")?;
        both(self.warmup_steps.is_some(), self.warmup_ratio.is_some(), "warmup_steps", "warmup_ratio")?;
        both(
            self.learning_rate_multiplier.is_some(),
            self.learning_rate.is_some(),
            "learning_rate_multiplier",
            "learning_rate",
        )?;
        let choice = |value: Option<&String>, name: &str, choices: &[&str]| match value {
            Some(value) if !choices.contains(&value.as_str()) => {
                let message = format!("{name}: {value:?} is none of {}", choices.join(", "));
                Err(BadRequest::invalid(format!("hyperparameters.{name}"), message))
            }
            _ => Ok(()),
        };
        choice(self.lr_scheduler_type.as_ref(), "lr_scheduler_type", &["linear", "cosine", "constant"])?;
        choice(self.too_long.as_ref(), "too_long", &["drop", "truncate", "split"])?;
        choice(self.dtype.as_ref(), "dtype", &["f32", "bf16"])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::parse::parse_request;
    use super::*;

    fn parse(body: &Value) -> Result<CreateFineTuningJob, BadRequest> {
        parse_request(body.to_string().as_bytes(), 16)
    }

    #[test]
    fn openais_body_is_read() {
        let job = parse(&json!({
            "model": "m", "training_file": "file-1", "validation_file": null, "integrations": [], "seed": 7,
            "method": {"type": "supervised", "supervised": {"hyperparameters": {
                "n_epochs": "auto", "batch_size": 4, "learning_rate_multiplier": 0.5}}},
        }))
        .unwrap();
        let hyperparameters = job.hyperparameters();
        assert_eq!((hyperparameters.n_epochs, hyperparameters.batch_size), (None, Some(4)));
        assert_eq!(
            (job.kind(), job.training_file.names()),
            (MethodKind::Supervised, &["file-1".to_owned()][..])
        );
        let old =
            parse(&json!({"model": "m", "training_file": "f", "hyperparameters": {"n_epochs": 2}})).unwrap();
        assert_eq!(old.hyperparameters().n_epochs, Some(2.0));
    }

    #[test]
    fn mistakes_are_named() {
        let check = |change: &Value, param: &str, part: &str| {
            let mut body = json!({"model": "m", "training_file": "f"});
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let error = parse(&body).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{error}");
            assert!(error.message.contains(part), "{error}");
        };
        check(&json!({"training_file": []}), "training_file", "required");
        check(&json!({"method": {"type": "dpo"}}), "method.type", "unknown variant `dpo`");
        check(&json!({"method": {"type": "cpt", "supervised": {}}}), "method.supervised", "`method.cpt`");
        check(
            &json!({"hyperparameters": {"n_epoch": 1}}),
            "hyperparameters.n_epoch",
            "did you mean `n_epochs`?",
        );
        check(&json!({"hyperparameters": {"batch_size": "many"}}), "hyperparameters.batch_size", "many");
        check(
            &json!({"hyperparameters": {"n_epochs": 1, "max_steps": 2}}),
            "hyperparameters.max_steps",
            "n_epochs",
        );
        check(&json!({"hyperparameters": {"dtype": "f16"}}), "hyperparameters.dtype", "f32, bf16");
        check(
            &json!({"method": {"type": "supervised"}, "hyperparameters": {}}),
            "hyperparameters",
            "beside `method`",
        );
        check(
            &json!({"method": {"type": "cpt", "cpt": {"corpora": [{"files": "a"}]}}}),
            "training_file",
            "corpora",
        );
        check(&json!({"suffix": "a b"}), "suffix", "letters");
        check(&json!({"integrations": [{"type": "wandb"}]}), "integrations", "not supported");
        check(&json!({"modle": "m"}), "modle", "did you mean `model`?");
    }
}
