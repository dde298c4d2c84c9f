//! From a recipe's text to the recipe: every key is known, every number in its range, every model named that is needed.

use super::super::config::{ConfigError, Dtype, ModelReference};
use super::mask::MaskOptions;
use super::modules::Filter;
use super::recipe::{Ablation, Language, MaskTask, RankAmong, Recipe, Similarity};
use super::terms::terms;
use super::toml_fields::{At, Fields, parse, top};
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
    "masks",
    "ablation",
];
const LANGUAGE_KEYS: &[&str] = &["model", "weight", "alpha", "beta"];
const MASK_KEYS: &[&str] = &["tuned", "out", "neurons", "density", "cap"];
const ABLATION_KEYS: &[&str] = &["key_neurons", "ability_weight", "tensor_selection", "transfer"];
const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Bf16];

/// Factors beyond this are slips of the hand.
const FACTOR_MAX: f64 = 1000.0;

pub fn recipe(text: &str) -> Result<Recipe, ConfigError> {
    let document = parse(text)?;
    let fields = top(&document, text, KEYS)?;
    let factor = |key: &str, usual: f64| fields.number(key, usual, -FACTOR_MAX..=FACTOR_MAX);
    let model = |key: &str, way_out: &str| fields.need(key, way_out)?.model();
    let languages = fields.need("languages", "add a [[languages]] table with a model for each language")?;
    let dtypes = DTYPES.map(Dtype::name);
    let dtype = |name: &str| DTYPES.into_iter().find(|dtype| dtype.name() == name).map(Some);
    let ablation = ablation(fields.get("ablation").as_ref())?;
    let recipe = Recipe {
        text: text.to_owned(),
        base: model("base", "name the model that all others were trained from")?,
        ability: model("ability", "name the model that was trained on the ability")?,
        reference: fields.get("reference").map(|at| at.model()).transpose()?,
        languages: self::languages(&languages)?,
        alpha: factor("alpha", 0.8)?,
        beta: factor("beta", 0.2)?,
        gamma: factor("gamma", 0.2)?,
        eta: factor("eta", 1.0)?,
        k2: fields.number("k2", 0.8, 0.0..=1.0)?,
        similarity: fields.choice("similarity", Similarity::Cosine, &Similarity::NAMES, Similarity::named)?,
        filter: filter(&fields)?,
        rank_among: fields.choice("rank_among", RankAmong::All, &RankAmong::NAMES, RankAmong::named)?,
        dtype: fields.choice("dtype", None, &dtypes, dtype)?,
        masks: masks(fields.get("masks").as_ref(), ablation)?,
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

fn languages(at: &At<'_>) -> Result<Vec<Language>, ConfigError> {
    let items = at.items()?;
    if items.is_empty() {
        return Err(at.place.wrong("is an empty list", "add a language"));
    }
    let share = 1.0 / items.len() as f64;
    let language = |at: &At<'_>| {
        let fields = at.fields(LANGUAGE_KEYS)?;
        let factor = |key: &str, usual: f64| fields.number(key, usual, -FACTOR_MAX..=FACTOR_MAX);
        Ok(Language {
            model: fields.need("model", "name the model that was trained on the language")?.model()?,
            weight: factor("weight", share)?,
            alpha: factor("alpha", 1.0)?,
            beta: factor("beta", 0.0)?,
        })
    };
    items.iter().map(language).collect()
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
