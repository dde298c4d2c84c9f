//! Which of a tuned model's weights become low-rank matrices, which are kept whole and which are left out, decided by names
//! and shapes as mergekit-extract-lora does by modules.

use std::collections::{HashMap, HashSet};

use fancy_regex::Regex;

use super::extract::{ExtractError, ExtractOptions};

/// What becomes of a module's weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Embeddings are decomposed in their own layout.
    Decomposed {
        is_embedding: bool,
    },
    Whole,
    /// Nobody asked for it, or it is no matrix and such are not wanted.
    LeftOut,
}

/// What is asked for.
pub struct Selection<'a> {
    include: Vec<Regex>,
    exclude: Vec<Regex>,
    options: &'a ExtractOptions,
}

impl<'a> Selection<'a> {
    /// # Errors
    /// `Pattern`.
    pub fn new(options: &'a ExtractOptions) -> Result<Self, ExtractError> {
        let compile = |pattern: &String| {
            Regex::new(pattern).map_err(|error| ExtractError::Pattern {
                pattern: pattern.clone(),
                problem: error.to_string(),
            })
        };
        let all = |patterns: &[String]| patterns.iter().map(compile).collect::<Result<Vec<_>, _>>();
        Ok(Self { include: all(&options.include)?, exclude: all(&options.exclude)?, options })
    }

    /// # Errors
    /// `Pattern`: one that takes too long.
    pub fn fate(&self, module: &str, shape: &[usize], same_shape: bool) -> Result<Fate, ExtractError> {
        let last = last_part(module);
        let excluded = any(&self.exclude, module)?;
        let embeds = is_embedding(last);
        let is_matrix = shape.len() == 2;
        if (embeds || is_output(last)) && !(self.options.embed_lora && same_shape) && !excluded {
            return Ok(Fate::Whole);
        }
        if self.options.save_modules.iter().any(|name| name == module || name == last) {
            return Ok(Fate::Whole);
        }
        if excluded || !(self.include.is_empty() || any(&self.include, module)?) {
            return Ok(Fate::LeftOut);
        }
        Ok(match (is_matrix, self.options.skip_undecomposable) {
            (true, _) => Fate::Decomposed { is_embedding: embeds },
            (false, true) => Fate::LeftOut,
            (false, false) => Fate::Whole,
        })
    }
}

pub fn last_part(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

fn is_embedding(last: &str) -> bool {
    last.contains("embed") && last != "embed_out" || matches!(last, "wte" | "wpe" | "shared")
}

fn is_output(last: &str) -> bool {
    matches!(last, "lm_head" | "embed_out")
}

fn any(patterns: &[Regex], module: &str) -> Result<bool, ExtractError> {
    for pattern in patterns {
        let matched = pattern.is_match(module).map_err(|error| ExtractError::Pattern {
            pattern: pattern.as_str().to_owned(),
            problem: format!("cannot be tried on `{module}`: {error}"),
        })?;
        if matched {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Short names for modules: the last part, where `fits` takes no module that is not chosen, the whole name otherwise.
pub fn short_names(chosen: &[String], all: &[String], fits: fn(&str, &str) -> bool) -> Vec<String> {
    let is_chosen: HashSet<&str> = chosen.iter().map(String::as_str).collect();
    let takes_others =
        |last: &str| all.iter().any(|module| fits(module, last) && !is_chosen.contains(module.as_str()));
    // Hundreds of modules have few last parts.
    let mut needs_whole: HashMap<&str, bool> = HashMap::new();
    let mut names = Vec::new();
    for module in chosen {
        let last = last_part(module);
        let before = needs_whole.get(last).copied();
        let whole = *needs_whole.entry(last).or_insert_with(|| takes_others(last));
        if whole {
            names.push(module.clone());
        } else if before.is_none() {
            names.push(last.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_are_those_of_mergekit() {
        let check = |embed_lora: bool, skip: bool, module: &str, dimensions: usize, expected: Fate| {
            let options = ExtractOptions {
                include: vec!["^model".into(), "lm_head".into()],
                exclude: vec!["layers\\.1\\.".into()],
                save_modules: vec!["up_proj".into()],
                embed_lora,
                skip_undecomposable: skip,
                ..ExtractOptions::default()
            };
            let selection = Selection::new(&options).unwrap();
            assert_eq!(selection.fate(module, &vec![4; dimensions], true).unwrap(), expected, "{module}");
        };
        let linear = Fate::Decomposed { is_embedding: false };
        check(false, false, "model.layers.0.q_proj", 2, linear);
        check(false, false, "model.layers.1.q_proj", 2, Fate::LeftOut);
        check(false, false, "other.layers.0.q_proj", 2, Fate::LeftOut);
        check(false, false, "model.layers.1.up_proj", 2, Fate::Whole);
        check(false, false, "model.norm", 1, Fate::Whole);
        check(false, true, "model.norm", 1, Fate::LeftOut);
        check(false, false, "model.embed_tokens", 2, Fate::Whole);
        check(true, false, "model.embed_tokens", 2, Fate::Decomposed { is_embedding: true });
        check(true, false, "lm_head", 2, linear);
        check(false, false, "lm_head", 2, Fate::Whole);
    }

    #[test]
    fn a_pattern_that_takes_too_long_is_an_error() {
        let options = ExtractOptions { include: vec!["(a|b|ab)*(?>c)".into()], ..ExtractOptions::default() };
        let error = Selection::new(&options).unwrap().fate(&"ab".repeat(40), &[1, 1], true).unwrap_err();
        assert!(error.to_string().contains("cannot be tried on"), "{error}");
    }

    #[test]
    fn names_are_short_where_that_is_not_too_much() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let all = list(&["m.0.q", "m.1.q", "m.0.norm", "m.0.input_norm", "m.1.k"]);
        let check = |chosen: &[&str], fits: fn(&str, &str) -> bool, expected: &[&str]| {
            assert_eq!(short_names(&list(chosen), &all, fits), list(expected));
        };
        check(&["m.0.q", "m.1.q", "m.1.k"], |module, name| last_part(module) == name, &["q", "k"]);
        check(&["m.1.q"], |module, name| last_part(module) == name, &["m.1.q"]);
        check(&["m.0.norm"], |module, name| module.ends_with(name), &["m.0.norm"]);
    }
}
