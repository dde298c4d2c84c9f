//! What has to hold between the keys of a configuration: the inputs, base and parameters that the method asks
//! for.
//!
//! What is about inputs is checked for each group of them that is merged (see `groups`).

mod groups;

use std::collections::HashSet;

use crate::merge::method::{Base, Method, MethodSpec, Scope};

use super::error::{ConfigError, Place, joined};
use super::inputs::{Input, Layers};
use super::parameters::Parameters;
use super::scopes::Scopes;
use super::{MergeConfig, quoted};

use groups::{Group, Member, groups};

/// Adds the warnings of a configuration, or says its first error.
pub(super) fn check(config: &mut MergeConfig) -> Result<(), ConfigError> {
    let spec = config.method.spec();
    let mut warnings = Vec::new();
    let groups = groups(config);
    let top = Place::new("", config.place("merge_method").line);
    for group in &groups {
        check_base(group, spec, config)?;
        check_duplicates(group, config)?;
        check_count(group, spec)?;
        check_required(group, config.method, &top)?;
        check_della(group, config.method)?;
        check_weights(group, config.method)?;
        warn_of_unread(group, config.method, &mut warnings);
    }
    let is_added = |group: &Group| group.inputs.iter().any(|input| input.parameters.is_none());
    if spec.base == Base::Ignored && groups.iter().any(is_added) {
        let (place, method) = (config.place("base_model"), spec.name);
        let way_out = "list it with parameters of its own, or remove `base_model`";
        warnings.push(format!("{place}: {method} merges the base model as one more input; {way_out}"));
    }
    check_lengths(config)?;
    check_token_sources(config, &groups)?;
    drop(groups);
    config.warnings.append(&mut warnings);
    Ok(())
}

fn check_base(group: &Group, spec: &MethodSpec, config: &MergeConfig) -> Result<(), ConfigError> {
    let method = spec.name;
    match group.base {
        _ if spec.base == Base::Ignored => Ok(()),
        None if spec.base == Base::Optional => Ok(()),
        None => {
            let place = Place::new("base_model", config.place("merge_method").line);
            Err(place
                .absent(format!("{method} merges differences from a base, write the model they are from")))
        }
        Some(base) if group.inputs.iter().any(|input| input.model == base) => Ok(()),
        Some(base) => {
            let what = format!("the base model {} is not among the sources", quoted(&base.to_string()));
            Err(group.place.conflict(what, format!("{method} merges differences from it, add its layers")))
        }
    }
}

fn check_duplicates(group: &Group, config: &MergeConfig) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    match group.inputs.iter().find(|input| !seen.insert(input.model)) {
        None => Ok(()),
        Some(input) => {
            let place = config.place(&joined(&input.place.key, "model"));
            let what = format!("{} is merged with itself", quoted(&input.model.to_string()));
            Err(place.conflict(what, "list each model once, with twice the weight if that is meant"))
        }
    }
}

fn check_count(group: &Group, spec: &MethodSpec) -> Result<(), ConfigError> {
    let (fewest, most) = inputs_allowed(spec, group.base.is_some());
    let count = group.inputs.len();
    if (fewest..=most).contains(&count) {
        return Ok(());
    }
    let wanted = match most {
        usize::MAX => format!("{fewest} or more models"),
        1 => "one model".to_owned(),
        _ if fewest == most => format!("exactly {fewest} models"),
        _ => format!("{fewest} to {most} models"),
    };
    let base = if group.base.is_some() { ", the base model included" } else { "" };
    let way_out = if count < fewest { "list more" } else { "list fewer, or choose another method" };
    Err(group.place.conflict(format!("{} takes {wanted}{base}, there are {count}", spec.name), way_out))
}

/// Fewest and most inputs. Where a base is optional the table says the fewest without and the most with one.
fn inputs_allowed(spec: &MethodSpec, has_base: bool) -> (usize, usize) {
    let (fewest, most) = spec.inputs;
    match (spec.base, has_base) {
        (Base::Optional, true) => (fewest + 1, most),
        (Base::Optional, false) => (fewest, if most == usize::MAX { most } else { most - 1 }),
        _ => (fewest, most),
    }
}

fn check_required(group: &Group, method: Method, top: &Place) -> Result<(), ConfigError> {
    for parameter in method.spec().parameters {
        if parameter.scope == Scope::Shared {
            Scopes::shared(&group.outer, top).check_required(parameter)?;
            continue;
        }
        for input in &group.inputs {
            if parameter.scope == Scope::Input || !group.is_base(input) {
                group.scopes(input).check_required(parameter)?;
            }
        }
    }
    Ok(())
}

/// Where density and epsilon are the same for all tensors, the chance to be kept has to stay between 0 and 1.
fn check_della(group: &Group, method: Method) -> Result<(), ConfigError> {
    if !matches!(method, Method::Della | Method::DellaLinear) {
        return Ok(());
    }
    for input in group.inputs.iter().filter(|input| !group.is_base(input)) {
        let scopes = group.scopes(input);
        let constant = |name| method.parameter(name).and_then(|parameter| scopes.constant(parameter));
        let (Some((density, at_density)), Some((epsilon, at_epsilon))) =
            (constant("density"), constant("epsilon"))
        else {
            continue;
        };
        let is_apart = density - epsilon > 0.0 && density + epsilon < 1.0;
        let is_sparse = density > 0.0 && density < 1.0;
        if let Some(place) = at_epsilon.or(at_density).filter(|_| is_sparse && !is_apart) {
            let what =
                format!("density {density} with epsilon {epsilon} lets the chance to be kept leave 0 to 1");
            return Err(place.conflict(what, "write an epsilon below both the density and 1 - density"));
        }
    }
    Ok(())
}

/// Weights that are divided by their sum must not sum to zero.
fn check_weights(group: &Group, method: Method) -> Result<(), ConfigError> {
    let switch = match method {
        Method::Linear => "normalize",
        Method::Multislerp => "normalize_weights",
        _ => return Ok(()),
    };
    let (Some(weight), Some(normalize)) = (method.parameter("weight"), method.parameter(switch)) else {
        return Ok(());
    };
    let is_weighted = |input: &&Member| weight.scope == Scope::Input || !group.is_base(input);
    let weights = group.inputs.iter().filter(is_weighted).map(|input| group.scopes(input).constant(weight));
    let Some(weights) = weights.collect::<Option<Vec<_>>>() else { return Ok(()) };
    let is_normalized =
        Scopes::shared(&group.outer, &group.place).constant(normalize).is_some_and(|(on, _)| on != 0.0);
    let sum: f64 = weights.iter().map(|(weight, _)| weight).sum();
    let size: f64 = weights.iter().map(|(weight, _)| weight.abs()).sum();
    // Multislerp hands a single model on as it is.
    let is_divided = is_normalized && (method == Method::Linear || weights.len() > 1);
    match weights.iter().find_map(|(_, place)| *place) {
        Some(place) if is_divided && sum.abs() <= size * 1e-9 => Err(place.conflict(
            "the weights of the models sum to 0, and are divided by their sum",
            format!("write other weights, or `{switch}: false`"),
        )),
        _ => Ok(()),
    }
}

fn warn_of_unread(group: &Group, method: Method, warnings: &mut Vec<String>) {
    for input in &group.inputs {
        for setting in input.parameters.into_iter().flat_map(Parameters::iter) {
            let (name, place) = (&setting.name, &setting.place);
            match method.parameter(name).map(|parameter| parameter.scope) {
                Some(Scope::Shared) => warnings.push(format!(
                    "{place}: {name} is one for all models and not read here; move it to the `parameters` of the \
                     slice or the whole merge"
                )),
                Some(Scope::NonBase) if group.is_base(input) => {
                    warnings.push(format!("{place}: {name} is not read for the base model; remove it"));
                }
                _ => {}
            }
        }
    }
}

/// The sources of a slice are merged layer by layer.
fn check_lengths(config: &MergeConfig) -> Result<(), ConfigError> {
    let layers: Vec<&Layers> = match &config.input {
        Input::Layers(layers) => vec![layers],
        Input::Modules(modules) => modules.iter().map(|module| &module.layers).collect(),
    };
    for layers in layers {
        let Layers::Slices(slices) = layers else { continue };
        for slice in slices {
            let Some(first) = slice.sources.first() else { continue };
            let wanted = first.layers.len();
            if let Some(source) = slice.sources.iter().find(|source| source.layers.len() != wanted) {
                let place = config.place(&joined(&source.place.key, "layer_range"));
                let what =
                    format!("has {} layers, the first source of the slice has {wanted}", source.layers.len());
                return Err(place.conflict(what, "give all sources of a slice equally many"));
            }
        }
    }
    Ok(())
}

/// Rows of tokens come from models that are merged.
fn check_token_sources(config: &MergeConfig, groups: &[Group]) -> Result<(), ConfigError> {
    let Some(tokenizer) = &config.tokenizer else { return Ok(()) };
    let inputs: HashSet<_> = groups.iter().flat_map(|group| &group.inputs).map(|input| input.model).collect();
    for (token, rule) in &tokenizer.tokens {
        let Some(model) = rule.source.as_ref().and_then(super::TokenSource::model) else { continue };
        if !inputs.contains(model) {
            let key = tokenizer.place.under("tokens").under(token).under("source").key;
            let what = format!("{} is not among the models that are merged", quoted(&model.to_string()));
            return Err(config.place(&key).conflict(what, "name one that is, or write `{kind: zero}`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
