//! Which modules a configuration adapts: `target_modules`, `exclude_modules` and `layers_to_transform`, as PEFT reads them
//! (`check_target_module_exists`).

use std::path::{Path, PathBuf};

use fancy_regex::Regex;
use serde_json::{Value, json};

use super::super::WeightsError;
use super::config::AdapterConfig;

/// What PEFT writes for every linear layer but the head.
pub const ALL_LINEAR: &str = "all-linear";

/// Modules by name or by a regular expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleNames {
    /// Whole names or their last parts.
    Names(Vec<String>),
    /// What a whole name is to match; `all-linear` is every linear layer.
    Expression(String),
}

impl ModuleNames {
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Names(names) if names.is_empty())
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Names(names) => json!(names),
            Self::Expression(expression) => json!(expression),
        }
    }
}

impl Default for ModuleNames {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

/// The three keys, ready to be asked about linear layers.
pub struct Targets<'a> {
    config: &'a AdapterConfig,
    target: Matcher<'a>,
    exclude: Matcher<'a>,
}

impl<'a> Targets<'a> {
    /// # Errors
    /// `Json`: no regular expression.
    pub fn new(path: &Path, config: &'a AdapterConfig) -> Result<Self, WeightsError> {
        let target = Matcher::new(path, "target_modules", &config.target_modules)?;
        let exclude = Matcher::new(path, "exclude_modules", &config.exclude_modules)?;
        Ok(Self { config, target, exclude })
    }

    /// Whether a linear layer, such as `model.layers.0.self_attn.q_proj`, is adapted.
    ///
    /// # Errors
    /// `Json`: an expression that takes too long.
    pub fn contains(&self, module: &str) -> Result<bool, WeightsError> {
        if self.exclude.fits(module)? || !self.target.fits(module)? {
            return Ok(false);
        }
        // Expressions say themselves which layers they mean.
        let by_name = matches!(self.config.target_modules, ModuleNames::Names(_));
        Ok(match &self.config.layers_to_transform {
            Some(layers) if by_name => {
                layer_of(module, &self.config.layers_pattern).is_some_and(|layer| layers.contains(&layer))
            }
            _ => true,
        })
    }
}

/// The number behind the list of layers: after any name, or after one of `patterns`.
fn layer_of(module: &str, patterns: &[String]) -> Option<usize> {
    let parts: Vec<&str> = module.split('.').collect();
    // Something stands before the list and behind the number. PEFT's expressions are greedy: the last one counts.
    let places = (2..parts.len().saturating_sub(1)).rev();
    let fits = |at: &usize| patterns.is_empty() || patterns.iter().any(|name| name == parts[at - 1]);
    places.filter(fits).find_map(|at| parts[at].parse().ok())
}

enum Matcher<'a> {
    Names(&'a [String]),
    All,
    Expression { regex: Box<Regex>, path: PathBuf, key: &'static str },
}

impl<'a> Matcher<'a> {
    fn new(path: &Path, key: &'static str, names: &'a ModuleNames) -> Result<Self, WeightsError> {
        match names {
            ModuleNames::Names(names) => Ok(Self::Names(names)),
            ModuleNames::Expression(all) if all == ALL_LINEAR => Ok(Self::All),
            ModuleNames::Expression(expression) => {
                let path = path.to_owned();
                match Regex::new(&format!("^(?:{expression})$")) {
                    Ok(regex) => Ok(Self::Expression { regex: Box::new(regex), path, key }),
                    Err(error) => {
                        let problem = format!("`{key}` is `{expression}`, no regular expression: {error}");
                        Err(WeightsError::Json { path, problem })
                    }
                }
            }
        }
    }

    fn fits(&self, module: &str) -> Result<bool, WeightsError> {
        match self {
            Self::All => Ok(true),
            Self::Names(names) => Ok(names.iter().any(|name| {
                module.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })),
            Self::Expression { regex, path, key } => {
                regex.is_match(module).map_err(|error| WeightsError::Json {
                    path: path.clone(),
                    problem: format!("`{key}` cannot be tried on `{module}`: {error}"),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = "model.layers.3.self_attn.q_proj";

    fn check(config: &AdapterConfig, expected: bool) {
        let targets = Targets::new(Path::new("adapter_config.json"), config).unwrap();
        assert_eq!(targets.contains(MODULE).unwrap(), expected, "{config:?}");
    }

    fn names(names: &[&str]) -> ModuleNames {
        ModuleNames::Names(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn modules_are_found_as_peft_finds_them() {
        let with = |target_modules| AdapterConfig { target_modules, ..AdapterConfig::default() };
        let expression = |text: &str| with(ModuleNames::Expression(text.to_owned()));
        check(&with(names(&["v_proj", "q_proj"])), true);
        check(&with(names(&[MODULE])), true);
        check(&with(names(&["self_attn.q_proj"])), true);
        check(&with(names(&["proj"])), false);
        check(&with(names(&["v_proj"])), false);
        check(&with(names(&[])), false);
        check(&expression("all-linear"), true);
        check(&expression(r".*\.[0-3]\..*(q|v)_proj"), true);
        check(&expression(r".*\.[0-2]\..*q_proj"), false);
        check(&expression("q_proj"), false);
        let layers = |layers: &[usize], pattern: &[&str]| AdapterConfig {
            layers_to_transform: Some(layers.to_vec()),
            layers_pattern: pattern.iter().map(|name| (*name).to_owned()).collect(),
            ..with(names(&["q_proj"]))
        };
        check(&layers(&[1, 3], &[]), true);
        check(&layers(&[1, 2], &[]), false);
        check(&layers(&[3], &["layers"]), true);
        check(&layers(&[3], &["h"]), false);
        let without = |exclude_modules| AdapterConfig { exclude_modules, ..with(names(&["q_proj"])) };
        check(&without(names(&["q_proj"])), false);
        check(&without(names(&["k_proj"])), true);
        check(&without(ModuleNames::Expression(r".*\.3\..*".to_owned())), false);
    }

    #[test]
    fn what_is_no_expression_is_refused_by_its_key() {
        let target_modules = ModuleNames::Expression("(q_proj".to_owned());
        let config = AdapterConfig { target_modules, ..AdapterConfig::default() };
        let error = Targets::new(Path::new("a/adapter_config.json"), &config).err().unwrap().to_string();
        assert!(error.contains("a/adapter_config.json") && error.contains("`target_modules`"), "{error}");
    }
}
