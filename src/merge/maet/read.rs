//! From a recipe's text to the recipe: every key is known, every number in its range, every model named that is needed.

use std::collections::BTreeSet;

use super::super::config::{ConfigError, Dtype, ModelReference, quoted};
use super::mask::MaskOptions;
use super::modules::Filter;
use super::recipe::{Ablation, Language, MaskTask, RankAmong, Recipe, Similarity};
use super::terms::terms;
use super::toml_fields::{At, Fields, parse, top};
use super::trainings::{Texts, Trainings, texts};
use crate::weights::Neurons;

const KEYS: &[&str] = &[
    "base",
    "ability",
    "reference",
    "languages",
    "alpha",
    "beta",
    "gamma",
    "eta",
    "k2",
    "similarity",
    "filter",
    "rank_among",
    "dtype",
    "training",
    "masks",
    "ablation",
];
const LANGUAGE_KEYS: &[&str] = &["name", "model", "texts", "weight", "alpha", "beta"];
const MASK_KEYS: &[&str] = &["tuned", "out", "neurons", "density", "cap"];
const ABLATION_KEYS: &[&str] = &["key_neurons", "ability_weight", "tensor_selection", "transfer"];
const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Bf16];

/// Factors beyond this are slips of the hand.
const FACTOR_MAX: f64 = 1000.0;

pub fn recipe(text: &str) -> Result<Recipe, ConfigError> {
    let document = parse(text)?;
    let fields = top(&document, text, KEYS)?;
    let factor = |key: &str, usual: f64| fields.number(key, usual, -FACTOR_MAX..=FACTOR_MAX);
    let base = fields.need("base", "name the model that all others were trained from")?.model()?;
    let languages = fields.need("languages", "add a [[languages]] table with a model for each language")?;
    let dtypes = DTYPES.map(Dtype::name);
    let dtype = |name: &str| DTYPES.into_iter().find(|dtype| dtype.name() == name).map(Some);
    let ablation = ablation(fields.get("ablation").as_ref())?;
    let mut trainings = match fields.get("training") {
        None => None,
        Some(at) => Some(Trainings::read(&at, &base, ablation.key_neurons)?),
    };
    let ability =
        trained(&fields, "ability", trainings.as_mut().and_then(Trainings::ability))?.ok_or_else(|| {
            fields.place.under("ability").absent("name the model that was trained on the ability")
        })?;
    let reference = trained(&fields, "reference", trainings.as_mut().and_then(Trainings::reference))?;
    let languages = self::languages(&languages, trainings.as_mut())?;
    let mut masks = masks(fields.get("masks").as_ref(), ablation)?;
    let trainings = trainings.map_or_else(Vec::new, |trainings| {
        masks.extend(trainings.masks);
        trainings.tasks
    });
    let recipe = Recipe {
        text: text.to_owned(),
        base,
        ability,
        reference,
        languages,
        alpha: factor("alpha", 0.8)?,
        beta: factor("beta", 0.2)?,
        gamma: factor("gamma", 0.2)?,
        eta: factor("eta", 1.0)?,
        k2: fields.number("k2", 0.8, 0.0..=1.0)?,
        similarity: fields.choice("similarity", Similarity::Cosine, &Similarity::NAMES, Similarity::named)?,
        filter: filter(&fields)?,
        rank_among: fields.choice("rank_among", RankAmong::All, &RankAmong::NAMES, RankAmong::named)?,
        dtype: fields.choice("dtype", None, &dtypes, dtype)?,
        masks,
        trainings,
        ablation,
    };
    check(&recipe, &fields)?;
    Ok(recipe)
}

/// What has to hold between keys.
fn check(recipe: &Recipe, fields: &Fields<'_>) -> Result<(), ConfigError> {
    let needs =
        recipe.ability_factors().1 != 0.0 || recipe.languages.iter().any(|language| language.beta != 0.0);
    if needs && recipe.reference.is_none() {
        let way_out =
            "name the model that was trained on general text of the source language, or set beta = 0";
        return Err(fields.place.under("reference").absent(way_out));
    }
    let at = |key: &str| fields.get(key).map(|at| at.place).unwrap_or_default();
    if recipe.ability == recipe.base {
        return Err(
            at("ability").wrong("is the base itself, which has learnt nothing", "name the trained model")
        );
    }
    if terms(recipe).is_empty() {
        return Err(
            at("languages").wrong("have no weight, and the ability has none", "change alpha or a weight")
        );
    }
    Ok(())
}

/// The model that a key names, or the one that is trained.
fn trained(
    fields: &Fields<'_>,
    key: &str,
    made: Option<ModelReference>,
) -> Result<Option<ModelReference>, ConfigError> {
    match (fields.get(key), made) {
        (None, made) => Ok(made),
        (Some(at), None) => at.model().map(Some),
        (Some(at), Some(_)) => {
            Err(at.place.wrong("stands beside texts to train it with", "leave one of them out"))
        }
    }
}

fn languages(at: &At<'_>, mut trainings: Option<&mut Trainings>) -> Result<Vec<Language>, ConfigError> {
    let items = at.items()?;
    if items.is_empty() {
        return Err(at.place.wrong("is an empty list", "add a language"));
    }
    let share = 1.0 / items.len() as f64;
    let mut names = BTreeSet::new();
    let mut language = |(index, at): (usize, &At<'_>)| {
        let fields = at.fields(LANGUAGE_KEYS)?;
        let factor = |key: &str, usual: f64| fields.number(key, usual, -FACTOR_MAX..=FACTOR_MAX);
        let made = match (fields.get("texts"), trainings.as_mut()) {
            (None, _) => None,
            (Some(at), None) => {
                return Err(at.place.wrong("stands without a [training] table", "add one, or name a model"));
            }
            (Some(at), Some(trainings)) => {
                let name = language_name(&fields, index)?;
                if !names.insert(name.clone()) {
                    return Err(at
                        .place
                        .wrong(format!("of two languages go to {name:?}"), "give each a `name`"));
                }
                Some(trainings.language(&Texts { name, files: texts(&at)? }))
            }
        };
        let way_out = "name the model that was trained on the language";
        Ok(Language {
            model: trained(&fields, "model", made)?
                .ok_or_else(|| fields.place.under("model").absent(way_out))?,
            weight: factor("weight", share)?,
            alpha: factor("alpha", 1.0)?,
            beta: factor("beta", 0.0)?,
        })
    };
    items.iter().enumerate().map(&mut language).collect()
}

/// What a language's training is called among the others.
fn language_name(fields: &Fields<'_>, index: usize) -> Result<String, ConfigError> {
    let Some(at) = fields.get("name") else { return Ok(format!("language-{}", index + 1)) };
    let name = at.string()?;
    let plain = name.chars().all(|character| character.is_ascii_alphanumeric() || "-_".contains(character));
    if !plain || ["ability", "general"].contains(&name) {
        return Err(at.place.wrong(
            format!("{} cannot name a folder of its own", quoted(name)),
            "take letters, digits, - and _, neither ability nor general",
        ));
    }
    Ok(name.to_owned())
}

fn filter(fields: &Fields<'_>) -> Result<Filter, ConfigError> {
    match fields.get("filter") {
        Some(at) if at.is_list() => {
            let items = at.items()?;
            if items.is_empty() {
                return Err(at
                    .place
                    .wrong("is an empty list", "leave it out, or name parts of tensors' names"));
            }
            let parts: Result<Vec<String>, _> =
                items.iter().map(|at| at.string().map(str::to_owned)).collect();
            Ok(Filter::Parts(parts?))
        }
        _ => fields.choice("filter", Filter::All, &Filter::NAMES, Filter::named),
    }
}

fn masks(at: Option<&At<'_>>, ablation: Ablation) -> Result<Vec<MaskTask>, ConfigError> {
    let task = |at: &At<'_>| {
        let fields = at.fields(MASK_KEYS)?;
        let tuned = fields.need("tuned", "name the models that were trained for a short while")?;
        let models: Vec<ModelReference> = tuned.items()?.iter().map(At::model).collect::<Result<_, _>>()?;
        if models.is_empty() {
            return Err(tuned.place.wrong("is an empty list", "name a model"));
        }
        let usual = MaskOptions::default();
        let density = fields.number("density", usual.density, 0.0..=1.0)?;
        let density = if ablation.key_neurons { density } else { 1.0 };
        let cap = fields.number("cap", usual.cap, 0.0..=1e9)?;
        let neurons = fields.choice("neurons", usual.neurons, &Neurons::NAMES, Neurons::named)?;
        let options = MaskOptions { neurons, density, cap };
        if let Err(problem) = options.check() {
            return Err(fields.place.wrong(problem, "see the example of a recipe"));
        }
        let out = fields.need("out", "name the file to make")?.string()?.to_owned();
        Ok(MaskTask { tuned: models, out, options })
    };
    match at {
        None => Ok(Vec::new()),
        Some(at) => at.items()?.iter().map(task).collect(),
    }
}

fn ablation(at: Option<&At<'_>>) -> Result<Ablation, ConfigError> {
    let Some(at) = at else { return Ok(Ablation::default()) };
    let fields = at.fields(ABLATION_KEYS)?;
    Ok(Ablation {
        key_neurons: fields.flag("key_neurons", true)?,
        ability_weight: fields.flag("ability_weight", true)?,
        tensor_selection: fields.flag("tensor_selection", true)?,
        transfer: fields.flag("transfer", true)?,
    })
}

#[cfg(test)]
mod tests;
