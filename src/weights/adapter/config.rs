//! `adapter_config.json`: ranks, scales and what is adapted. As PEFT's `LoraConfig`, defaults included.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::WeightsError;
use super::names::Part;
use super::targets::ModuleNames;

pub const CONFIG_FILE: &str = "adapter_config.json";

/// Variants that do more than `W + scale * (B A)`.
const VARIANTS: &[&str] = &[
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "alora_invocation_tokens",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
];

/// Beginnings that change the base model too, when PEFT loads the adapter.
const CHANGES_BASE: &[&str] = &["pissa", "olora", "corda", "loftq", "lora_ga"];

/// Modules that PEFT saves of its own accord when the vocabulary has changed or they are adapted.
const EMBEDDINGS: &[&str] = &["embed_tokens", "lm_head"];

/// Which of the base model's biases an adapter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AdapterBias {
    #[default]
    None,
    All,
    LoraOnly,
}

/// What an adapter says of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AdapterConfig {
    pub base_model: Option<String>,
    pub rank: usize,
    pub alpha: f64,
    /// The scale is `alpha / sqrt(rank)` (Kalajdzievski 2023) and not `alpha / rank`.
    pub use_rslora: bool,
    pub rank_pattern: Vec<(String, usize)>,
    pub alpha_pattern: Vec<(String, f64)>,
    /// Weights are stored `[in, out]`.
    pub fan_in_fan_out: bool,
    pub bias: AdapterBias,
    pub lora_bias: bool,
    pub target_modules: ModuleNames,
    pub exclude_modules: ModuleNames,
    /// The layers whose targets are adapted; all where there is none.
    pub layers_to_transform: Option<Vec<usize>>,
    /// What the list of layers may be called; anything where this is empty.
    pub layers_pattern: Vec<String>,
    pub modules_to_save: Vec<String>,
    /// Of what goes into A, in training.
    pub dropout: f64,
}

impl AdapterConfig {
    /// # Errors
    /// `Json`, naming the key; `NotACheckpoint` for what is not merged here.
    pub fn parse(path: &Path, value: &Value) -> Result<Self, WeightsError> {
        let keys = Keys { path, value };
        keys.check_kind()?;
        let bias = match value["bias"].as_str().unwrap_or("none") {
            "none" => AdapterBias::None,
            "all" => AdapterBias::All,
            "lora_only" => AdapterBias::LoraOnly,
            _ => return Err(keys.wrong("bias", "is not none, all or lora_only")),
        };
        Ok(Self {
            base_model: value["base_model_name_or_path"].as_str().map(str::to_owned),
            rank: keys.rank("r", &value["r"])?,
            alpha: keys.alpha("lora_alpha", &value["lora_alpha"])?,
            use_rslora: keys.flag("use_rslora")?,
            rank_pattern: keys.pattern("rank_pattern", Keys::rank)?,
            alpha_pattern: keys.pattern("alpha_pattern", Keys::alpha)?,
            fan_in_fan_out: keys.flag("fan_in_fan_out")?,
            bias,
            lora_bias: keys.flag("lora_bias")?,
            target_modules: keys.modules("target_modules")?,
            exclude_modules: keys.modules("exclude_modules")?,
            layers_to_transform: keys.layers("layers_to_transform")?,
            layers_pattern: keys.names("layers_pattern")?,
            modules_to_save: keys.names("modules_to_save")?,
            dropout: keys.probability("lora_dropout")?,
        })
    }

    /// As PEFT reads it.
    pub fn to_json(&self) -> Value {
        let alpha = |alpha: f64| if alpha.fract() == 0.0 { json!(alpha as i64) } else { json!(alpha) };
        let ranks: Map<String, Value> =
            self.rank_pattern.iter().map(|(key, rank)| (key.clone(), json!(rank))).collect();
        let alphas: Map<String, Value> =
            self.alpha_pattern.iter().map(|(key, value)| (key.clone(), alpha(*value))).collect();
        let saved = (!self.modules_to_save.is_empty()).then_some(&self.modules_to_save);
        json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base_model,
            "r": self.rank,
            "lora_alpha": alpha(self.alpha),
            "use_rslora": self.use_rslora,
            "rank_pattern": ranks,
            "alpha_pattern": alphas,
            "target_modules": self.target_modules.to_json(),
            "exclude_modules": (!self.exclude_modules.is_empty()).then(|| self.exclude_modules.to_json()),
            "layers_to_transform": self.layers_to_transform,
            "layers_pattern": (!self.layers_pattern.is_empty()).then_some(&self.layers_pattern),
            "modules_to_save": saved,
            "bias": match self.bias {
                AdapterBias::None => "none",
                AdapterBias::All => "all",
                AdapterBias::LoraOnly => "lora_only",
            },
            "lora_bias": self.lora_bias,
            "fan_in_fan_out": self.fan_in_fan_out,
            "lora_dropout": self.dropout,
            "inference_mode": true,
        })
    }

    /// Whether an adapter of this configuration has such a tensor. PEFT fits `modules_to_save` to the ends of the names of
    /// modules and saves all that is within.
    pub(super) fn allows(&self, weight: &str, part: Part) -> bool {
        let Some((module, leaf)) = weight.rsplit_once('.') else { return false };
        match part {
            Part::Added => self.lora_bias,
            Part::Full if leaf == "bias" && self.bias != AdapterBias::None => true,
            Part::Full => {
                let mut ancestors = module.match_indices('.').map(|(end, _)| &module[..end]).chain([module]);
                let saved = ancestors.any(|path| self.modules_to_save.iter().any(|key| path.ends_with(key)));
                saved || EMBEDDINGS.iter().any(|name| module.rsplit('.').next() == Some(*name))
            }
            _ => true,
        }
    }
}

/// The values of a configuration, with the words for what is wrong with them.
struct Keys<'a> {
    path: &'a Path,
    value: &'a Value,
}

impl Keys<'_> {
    fn wrong(&self, key: &str, problem: &str) -> WeightsError {
        WeightsError::Json { path: self.path.to_owned(), problem: format!("`{key}` {problem}") }
    }

    fn check_kind(&self) -> Result<(), WeightsError> {
        let refuse = |problem| WeightsError::NotACheckpoint { path: self.path.to_owned(), problem };
        match self.value["peft_type"].as_str() {
            Some(kind) if kind.eq_ignore_ascii_case("lora") => {}
            Some(kind) => {
                return Err(refuse(format!(
                    "is an adapter of type {kind}; only LORA can be added to weights"
                )));
            }
            None => return Err(self.wrong("peft_type", "is missing; that of a LoRA adapter is LORA")),
        }
        let is_set = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(all) => !all.is_empty(),
            Value::Object(all) => !all.is_empty(),
            _ => true,
        };
        if let Some(variant) = VARIANTS.iter().find(|variant| is_set(&self.value[**variant])) {
            return Err(refuse(format!(
                "sets `{variant}`, with which a weight changes by more than the product of two matrices; merge it with \
                 PEFT (merge_and_unload) and use the model that it gives"
            )));
        }
        let start = self.value["init_lora_weights"].as_str().unwrap_or_default();
        if CHANGES_BASE.iter().any(|kind| start.starts_with(kind)) {
            return Err(refuse(format!(
                "began as {start}, which changes the base model as well; save it with PEFT's \
                 path_initial_model_for_weight_conversion, which makes a plain LoRA adapter of it"
            )));
        }
        Ok(())
    }

    /// A whole number from 1 on; PEFT's default is 8.
    fn rank(&self, key: &str, value: &Value) -> Result<usize, WeightsError> {
        if value.is_null() {
            return Ok(8);
        }
        let rank = value.as_u64().filter(|rank| *rank > 0).and_then(|rank| usize::try_from(rank).ok());
        rank.ok_or_else(|| self.wrong(key, &format!("is {value}; a rank is a whole number from 1 on")))
    }

    fn alpha(&self, key: &str, value: &Value) -> Result<f64, WeightsError> {
        if value.is_null() {
            return Ok(8.0);
        }
        value.as_f64().ok_or_else(|| self.wrong(key, "is not a number"))
    }

    fn flag(&self, key: &str) -> Result<bool, WeightsError> {
        match &self.value[key] {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(*flag),
            _ => Err(self.wrong(key, "is not true or false")),
        }
    }

    /// A list of names, one name, or none.
    fn names(&self, key: &str) -> Result<Vec<String>, WeightsError> {
        let name = |value: &Value| value.as_str().map(str::to_owned);
        let names = match &self.value[key] {
            Value::Null => Some(Vec::new()),
            Value::String(one) => Some(vec![one.clone()]),
            Value::Array(all) => all.iter().map(name).collect(),
            _ => None,
        };
        names.ok_or_else(|| self.wrong(key, "is not a list of names"))
    }

    /// As [`Self::names`], but a name that stands alone is an expression, as in PEFT.
    fn modules(&self, key: &str) -> Result<ModuleNames, WeightsError> {
        match &self.value[key] {
            Value::String(expression) => Ok(ModuleNames::Expression(expression.clone())),
            _ => self.names(key).map(ModuleNames::Names),
        }
    }

    /// A list of numbers of layers, or one; PEFT takes an empty list for none.
    fn layers(&self, key: &str) -> Result<Option<Vec<usize>>, WeightsError> {
        let number = |value: &Value| value.as_u64().and_then(|layer| usize::try_from(layer).ok());
        let layers = match &self.value[key] {
            Value::Null => return Ok(None),
            Value::Array(all) if all.is_empty() => return Ok(None),
            Value::Array(all) => all.iter().map(number).collect(),
            one => number(one).map(|layer| vec![layer]),
        };
        layers.map(Some).ok_or_else(|| self.wrong(key, "is neither the number of a layer nor a list of them"))
    }

    fn probability(&self, key: &str) -> Result<f64, WeightsError> {
        if self.value[key].is_null() {
            return Ok(0.0);
        }
        let number = self.value[key].as_f64().filter(|number| (0.0..1.0).contains(number));
        number.ok_or_else(|| self.wrong(key, "is not a number from 0 to below 1"))
    }

    fn pattern<T>(
        &self,
        key: &str,
        read: fn(&Self, &str, &Value) -> Result<T, WeightsError>,
    ) -> Result<Vec<(String, T)>, WeightsError> {
        match &self.value[key] {
            Value::Null => Ok(Vec::new()),
            Value::Object(all) => {
                let entry = |(name, value): (&String, &Value)| {
                    if value.is_null() {
                        return Err(self.wrong(&format!("{key}.{name}"), "is null"));
                    }
                    Ok((name.clone(), read(self, &format!("{key}.{name}"), value)?))
                };
                all.iter().map(entry).collect()
            }
            _ => Err(self.wrong(key, "is not an object")),
        }
    }
}
