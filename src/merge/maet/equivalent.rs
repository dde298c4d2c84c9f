//! A transfer as a configuration of mergekit's, for whoever has that and for checking one with the other.
//!
//! mergekit's filters are parts of names, and the first that fits counts. So each filter is a whole name, longer ones stand
//! first, and a tensor whose name contains another's is listed too: then a filter can only meet its own tensor.
//! mergekit computes in the stored type unless told otherwise and rounds every step; the recipe's `dtype` is written as
//! `out_dtype`, and `dtype` is float32. Where one model ties its output matrix to its embeddings and another does not, the
//! merger looks filters up under the embeddings' name, and a transfer that chose one of the two has no equivalent.

use std::fmt::Write;

use super::super::config::{Dtype, ModelReference};
use super::recipe::Recipe;
use super::selection::Selection;
use super::terms::{Term, terms};

/// A `task_arithmetic` configuration that gives the same tensors as the transfer.
pub fn equivalent_config(recipe: &Recipe, selection: &Selection) -> String {
    let names = |chosen: bool| -> Vec<&str> {
        let tensors = selection.tensors.iter().filter(|tensor| tensor.chosen == chosen);
        tensors.map(|tensor| tensor.name.as_str()).collect()
    };
    let (chosen, others) = (names(true), names(false));
    // The fewer are listed, the others have the value without a filter.
    let lists_chosen = chosen.len() <= others.len();
    let listed = if lists_chosen { exact(&chosen, &others) } else { exact(&others, &chosen) };
    write_config(recipe, |text, term| {
        let weight = |chosen: bool| number(term.weight(recipe, chosen));
        text.push_str("      weight:\n");
        for (name, is_of_listed) in &listed {
            let value = weight(*is_of_listed == lists_chosen);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "        - filter: {}\n          value: {value}", quoted(name));
        }
        let _ = writeln!(text, "        - value: {}", weight(!lists_chosen));
    })
}

/// The same models with all weights 1: what a transfer's tensors are planned by.
pub fn skeleton(recipe: &Recipe) -> String {
    write_config(recipe, |text, _| text.push_str("      weight: 1\n"))
}

fn write_config(recipe: &Recipe, weights: impl Fn(&mut String, &Term)) -> String {
    let mut text = String::from("merge_method: task_arithmetic\n");
    let _ = writeln!(text, "base_model: {}\nmodels:", model(&recipe.base));
    for term in terms(recipe) {
        let _ = writeln!(text, "  - model: {}\n    parameters:", model(&term.model));
        weights(&mut text, &term);
    }
    text.push_str("parameters:\n  normalize: false\n  lambda: 1\n");
    if let Some(dtype) = recipe.dtype {
        let _ = writeln!(text, "dtype: {}\nout_dtype: {}", Dtype::F32.name(), dtype.name());
    }
    text
}

/// The names, and whether each is among `listed`: those of the others that contain one of them as well, in an order in
/// which none is part of a later one.
fn exact<'a>(listed: &[&'a str], others: &[&'a str]) -> Vec<(&'a str, bool)> {
    let met = others.iter().filter(|other| listed.iter().any(|name| other.contains(name)));
    let mut names: Vec<(&str, bool)> =
        listed.iter().map(|name| (*name, true)).chain(met.map(|name| (*name, false))).collect();
    names.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.0.cmp(b.0)));
    names
}

fn model(reference: &ModelReference) -> String {
    quoted(&reference.to_string())
}

/// A JSON string, which is a YAML one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// All digits that tell it from other numbers, without an exponent, which YAML 1.1 takes for a text in some forms.
fn number(value: f64) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_meets_its_own_tensor_alone() {
        let check = |listed: &[&str], others: &[&str], expected: &[(&str, bool)]| {
            let found = exact(listed, others);
            assert_eq!(found, expected);
            // As the first filter that is part of the name decides.
            let is_listed =
                |name: &str| found.iter().find(|(part, _)| name.contains(part)).map(|found| found.1);
            assert!(listed.iter().all(|name| is_listed(name) == Some(true)), "{listed:?}");
            assert!(others.iter().all(|name| is_listed(name) != Some(true)), "{others:?}");
        };
        check(&[], &["a.weight"], &[]);
        check(&["x.1.q"], &["x.11.q", "x.2.q"], &[("x.1.q", true)]);
        check(
            &["x.1.q"],
            &["x.1.q_proj", "y.x.1.q"],
            &[("x.1.q_proj", false), ("y.x.1.q", false), ("x.1.q", true)],
        );
        check(
            &["ab", "b", "zzab"],
            &["zab", "a"],
            &[("zzab", true), ("zab", false), ("ab", true), ("b", true)],
        );
    }

    #[test]
    fn numbers_have_no_exponent() {
        let check = |value: f64, expected: &str| {
            assert_eq!(number(value), expected);
            assert_eq!(number(value).parse(), Ok(value));
        };
        check(0.16, "0.16");
        check(-0.2 * 0.2, "-0.04000000000000001");
        check(1e-9, "0.000000001");
        check(1.0, "1");
    }
}
