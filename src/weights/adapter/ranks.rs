//! The rank and scale of a module: the configuration's, or what a pattern says of it.
//!
//! A key of `rank_pattern` or `alpha_pattern` is a regular expression for the end of a module's name; the first that fits
//! counts. In a key of letters, digits, `_` and dots alone a dot is a dot (in PEFT any character): those are looked up and
//! not tried one by one, for an extracted adapter has one for each module.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use fancy_regex::Regex;

use super::super::WeightsError;
use super::config::AdapterConfig;

/// Keys that are more than a plain name.
const EXPRESSIONS_MAX: usize = 256;

/// The rank and scale of each module.
pub struct Ranks<'a> {
    config: &'a AdapterConfig,
    rank_pattern: Patterns<usize>,
    alpha_pattern: Patterns<f64>,
}

impl<'a> Ranks<'a> {
    /// # Errors
    /// `Json`: a pattern that is no regular expression, or too many.
    pub fn new(path: &Path, config: &'a AdapterConfig) -> Result<Self, WeightsError> {
        let rank_pattern = Patterns::new(path, "rank_pattern", &config.rank_pattern)?;
        let alpha_pattern = Patterns::new(path, "alpha_pattern", &config.alpha_pattern)?;
        Ok(Self { config, rank_pattern, alpha_pattern })
    }

    /// # Errors
    /// `Json`: a pattern that takes too long.
    pub fn of(&self, module: &str) -> Result<(usize, f64), WeightsError> {
        let rank = self.rank_pattern.of(module)?.unwrap_or(self.config.rank);
        let alpha = self.alpha_pattern.of(module)?.unwrap_or(self.config.alpha);
        let divisor = if self.config.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
        Ok((rank, alpha / divisor))
    }
}

/// Values by the end of a module's name, each with its place in the file's order.
struct Patterns<T> {
    plain: HashMap<String, (usize, T)>,
    expressions: Vec<(usize, Regex, T)>,
    path: PathBuf,
    key: &'static str,
}

impl<T: Copy> Patterns<T> {
    fn new(path: &Path, key: &'static str, all: &[(String, T)]) -> Result<Self, WeightsError> {
        let mut patterns =
            Self { plain: HashMap::new(), expressions: Vec::new(), path: path.to_owned(), key };
        for (at, (pattern, value)) in all.iter().enumerate() {
            if pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')) {
                patterns.plain.entry(pattern.clone()).or_insert((at, *value));
            } else if patterns.expressions.len() == EXPRESSIONS_MAX {
                return Err(patterns.wrong(&format!("has more than {EXPRESSIONS_MAX} regular expressions")));
            } else {
                let whole = Regex::new(&format!("^(?:.*\\.)?(?:{pattern})$"));
                let regex = whole.map_err(|error| {
                    patterns.wrong(&format!("has `{pattern}`, no regular expression: {error}"))
                })?;
                patterns.expressions.push((at, regex, *value));
            }
        }
        Ok(patterns)
    }

    fn of(&self, module: &str) -> Result<Option<T>, WeightsError> {
        let ends = module.match_indices('.').map(|(dot, _)| &module[dot + 1..]).chain([module]);
        let mut first = ends.filter_map(|end| self.plain.get(end)).min_by_key(|(at, _)| *at).copied();
        for (at, regex, value) in &self.expressions {
            if first.is_some_and(|(before, _)| before < *at) {
                break;
            }
            let fits = regex.is_match(module);
            if fits.map_err(|error| self.wrong(&format!("cannot be tried on `{module}`: {error}")))? {
                first = Some((*at, *value));
                break;
            }
        }
        Ok(first.map(|(_, value)| value))
    }

    fn wrong(&self, problem: &str) -> WeightsError {
        WeightsError::Json { path: self.path.clone(), problem: format!("`{}` {problem}", self.key) }
    }
}
