//! What stands beside the tensors of an output: its configuration, the tokenizer, the index, the merge's own
//! configuration, and a card that says what was merged.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::error::MergeError;
use super::inputs::InputModel;
use super::job::{FileOptions, MergeJob};
use super::layer_kinds::set_layers;
use super::method::Method;
use super::plan::{Plan, index};
use super::vocabulary::{chat_template, write_generation_config, write_tokenizer};

/// The configuration's copy, under the name that mergekit gives it.
pub const CONFIG_COPY: &str = "mergekit_config.yml";

/// # Errors
/// `Io`, or an input that cannot be read.
pub(super) fn write(job: &MergeJob, folder: &Path, options: FileOptions) -> Result<(), MergeError> {
    let donor = &job.models[job.plan.donor];
    if job.plan.shards.len() > 1 {
        let index = index(&job.plan.shards, &job.plan.tensors);
        write_json(&folder.join("model.safetensors.index.json"), &index)?;
    }
    write_json(&folder.join("config.json"), &config_of(&job.models, &job.plan)?)?;
    let vocabulary = job.plan.vocabulary.as_ref();
    let template = match &job.config.chat_template {
        Some(said) => chat_template(said, &job.models, base_of(job))?,
        None => None,
    };
    let of_tokenizer = vocabulary.map_or(&donor.path, |vocabulary| &vocabulary.path);
    write_tokenizer(vocabulary, of_tokenizer, template.as_deref(), folder)?;
    if let Some(vocabulary) = vocabulary {
        write_generation_config(vocabulary, &job.models, job.plan.donor, folder)?;
    }
    write_file(&folder.join(CONFIG_COPY), &job.config.text)?;
    if !options.no_card {
        write_file(&folder.join("README.md"), &card(job, options.hash_inputs)?)?;
    }
    Ok(())
}

fn base_of(job: &MergeJob) -> Option<usize> {
    let base = job.config.base_model.as_ref()?;
    job.models.iter().position(|model| model.reference == *base)
}

/// The donor's configuration, as the output is.
///
/// # Errors
/// `Model` for layers that it cannot describe.
pub(super) fn config_of(models: &[InputModel], plan: &Plan) -> Result<Value, MergeError> {
    let donor = &models[plan.donor];
    let mut config = donor.config.clone();
    let dtypes: Vec<&str> = plan.tensors.iter().map(|tensor| tensor.dtype.torch_name()).collect();
    if let Some(dtype) = most_frequent(&dtypes) {
        // transformers 5 writes `dtype`, older ones `torch_dtype`.
        let key = if config.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
        config[key] = json!(dtype);
    }
    if let Some(layers) = &plan.layers {
        let nested = config.get("text_config").is_some_and(Value::is_object);
        set_layers(if nested { &mut config["text_config"] } else { &mut config }, layers, models, donor)?;
    }
    if plan.unties {
        config["tie_word_embeddings"] = json!(false);
    }
    if let Some(vocabulary) = &plan.vocabulary {
        // Its tokenizer may be another model's: ids here are the configuration's.
        vocabulary.update_config(plan.donor, &mut config);
    }
    Ok(config)
}

fn most_frequent<'a>(names: &[&'a str]) -> Option<&'a str> {
    let count = |name: &str| names.iter().filter(|other| **other == name).count();
    ["float32", "float16", "bfloat16"]
        .into_iter()
        .filter_map(|known| names.iter().find(|name| **name == known))
        .copied()
        .max_by_key(|name| count(name))
}

fn write_json(path: &Path, value: &Value) -> Result<(), MergeError> {
    write_file(path, &format!("{value:#}\n"))
}

pub(super) fn write_file(path: &Path, text: &str) -> Result<(), MergeError> {
    fs::write(path, text).map_err(|source| MergeError::Io {
        path: path.to_owned(),
        action: "write it",
        source,
    })
}

/// What a reader of the output should know: the method, the models with what tells them apart from others of the same
/// name, and the configuration.
fn card(job: &MergeJob, hash_inputs: bool) -> Result<String, MergeError> {
    let method = job.config.method;
    let mut text = String::from(
        "---\nlibrary_name: transformers\ntags:\n- merge\n- xenoglot\n---\n\n# A merged model\n\n",
    );
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "Merged with Xenoglot {} by `{method}`: {} ({}).\n",
        env!("CARGO_PKG_VERSION"),
        method.spec().about,
        method.spec().source
    );
    if is_random(method) {
        let _ = writeln!(text, "Seed {}: the same seed and inputs give the same tensors.\n", job.plan.seed);
    }
    text.push_str("| model | role | bytes | SHA-256 of the header |");
    text.push_str(if hash_inputs {
        " SHA-256 of the content |\n|---|---|---|---|---|\n"
    } else {
        "\n|---|---|---|---|\n"
    });
    for model in &job.models {
        let is_base = job.config.base_model.as_ref() == Some(&model.reference);
        let role = if is_base { "base" } else { "merged" };
        let (bytes, header) = (model.bytes(), model.header_sha256());
        let _ = write!(text, "| `{}` | {role} | {bytes} | `{header}` |", model.reference);
        if hash_inputs {
            let _ = write!(text, " `{}` |", model.content_sha256()?);
        }
        text.push('\n');
    }
    let _ = writeln!(text, "\n```yaml\n{}\n```", job.config.text.trim_end());
    Ok(text)
}

fn is_random(method: Method) -> bool {
    matches!(method, Method::DareLinear | Method::DareTies | Method::Della | Method::DellaLinear)
}
