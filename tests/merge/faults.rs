//! What is wrong with models and their tensors together: one error that names the tensor and the way out.

use std::path::Path;

use tempfile::TempDir;
use xenoglot::merge::{MergeJob, PlanOptions};
use xenoglot::weights::{TensorType, open_weights};

use super::{fixtures, locate};

/// A model of these F32 tensors, all zeros.
fn model(folder: &Path, name: &str, architecture: &str, tensors: &[(&str, &[usize])]) -> String {
    let path = folder.join(name);
    std::fs::create_dir_all(&path).unwrap();
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * 4;
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.resize(bytes.len() + end, 0);
    std::fs::write(path.join("model.safetensors"), bytes).unwrap();
    let config = serde_json::json!({"architectures": [architecture], "model_type": "llama"});
    std::fs::write(path.join("config.json"), config.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn plan(text: &str) -> Result<MergeJob, String> {
    let locate = |path: &str, revision: Option<&str>| {
        if Path::new(path).is_absolute() { Ok(path.into()) } else { locate(path, revision) }
    };
    MergeJob::plan(text, &locate, &PlanOptions::default()).map_err(|error| error.to_string())
}

fn linear(models: &[&str]) -> String {
    let entry = |model: &&str| format!("- model: {model}\n  parameters: {{weight: 1.0}}\n");
    format!("merge_method: linear\nmodels:\n{}", models.iter().map(entry).collect::<String>())
}

#[test]
fn models_that_do_not_go_together() {
    let folder = TempDir::new().unwrap();
    let model = |name: &str, architecture: &str, tensors: &[(&str, &[usize])]| {
        model(folder.path(), name, architecture, tensors)
    };
    let (norm, embeddings) = ("model.norm.weight", "model.embed_tokens.weight");
    let plain = model("plain", "LlamaForCausalLM", &[(embeddings, &[4, 2]), (norm, &[2])]);
    let check = |other: &str, words: &[&str]| {
        let error = plan(&linear(&[&plain, other])).err().expect(other);
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let wide = model("wide", "LlamaForCausalLM", &[(embeddings, &[4, 3]), (norm, &[3])]);
    check(&wide, &[embeddings, "[4, 2]", "[4, 3]"]);
    let larger = model("larger", "LlamaForCausalLM", &[(embeddings, &[5, 2]), (norm, &[2])]);
    check(&larger, &[embeddings, "tokenizer: {source: union}"]);
    let more =
        model("more", "LlamaForCausalLM", &[(embeddings, &[4, 2]), (norm, &[2]), ("model.layers.0.x", &[1])]);
    check(&more, &["model.layers.0.x", "plain lacks"]);
    // By the key that names the model.
    check(&more, &["line 3: models.0.model: tensor model.layers.0.x", "have 1 and 0 layers"]);
    check(&wide, &["line 5: models.1.model: "]);
    let other = model("other", "GPT2LMHeadModel", &[(embeddings, &[4, 2]), (norm, &[2])]);
    check(&other, &["line 5: models.1.model: ", "LlamaForCausalLM", "GPT2LMHeadModel", "--allow-crimes"]);
    check("/nowhere/at/all", &["/nowhere/at/all"]);
    let empty = model("empty", "LlamaForCausalLM", &[]);
    assert!(plan(&linear(&[&empty])).err().unwrap().contains("no tensor"), "nothing to merge");
}

/// Digits beyond f32's are only given up where the configuration has a type.
#[test]
fn doubles_are_taken_where_a_type_is_asked_for() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("doubles");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("config.json"), r#"{"architectures": ["LlamaForCausalLM"]}"#).unwrap();
    // The second is half a unit of f32 above 1, which rounds to even.
    let values = [0.1_f64, 1.0 + f64::from(f32::EPSILON) / 2.0, -1e-300];
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F64, vec![3], &bytes).unwrap();
    let file = safetensors::serialize([("model.norm.weight", view)], None).unwrap();
    std::fs::write(path.join("model.safetensors"), file).unwrap();
    let text =
        format!("merge_method: linear\nmodels:\n- model: {}\nparameters: {{weight: 1}}\n", path.display());
    let error = plan(&text).err().unwrap();
    let expected = "line 3: models.0.model: tensor model.norm.weight is stored in float64";
    assert!(error.starts_with(expected) && error.contains("`dtype: float32`"), "{error}");
    let error = plan(&format!("{text}dtype: float64\n")).err().unwrap();
    assert!(error.starts_with("line 5: dtype: nothing is computed or stored in float64"), "{error}");
    let out = folder.path().join("out");
    super::merge(&format!("{text}dtype: float32\n"), &out, 1).unwrap();
    let view = open_weights(&out).unwrap().1;
    let view = view.tensor("model.norm.weight").unwrap();
    assert_eq!((view.dtype, view.to_f32().unwrap()), (TensorType::F32, vec![0.1, 1.0, -0.0]));
}

/// GPT-2 is stored with and without its prefix.
#[test]
fn trunks_go_with_whole_models() {
    let folder = TempDir::new().unwrap();
    let model = |name: &str, prefix: &str| {
        let name_of = |rest: &str| format!("{prefix}{rest}");
        let names = ["h.0.ln_1.bias", "ln_f.bias", "wte.weight"].map(name_of);
        let shapes: [&[usize]; 3] = [&[2], &[2], &[4, 2]];
        let tensors: Vec<(&str, &[usize])> = names.iter().map(String::as_str).zip(shapes).collect();
        model(folder.path(), name, "GPT2LMHeadModel", &tensors)
    };
    let (trunk, whole) = (model("trunk", ""), model("whole", "transformer."));
    let (trunk, whole) = (trunk.as_str(), whole.as_str());
    for models in [[trunk, whole], [whole, trunk]] {
        let job = plan(&linear(&models)).unwrap();
        let names: Vec<&str> = job.plan.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, ["transformer.h.0.ln_1.bias", "transformer.ln_f.bias", "transformer.wte.weight"]);
        let mut sources: Vec<&str> =
            job.plan.tensors[0].sources.iter().map(|source| source.name.as_str()).collect();
        sources.sort_unstable();
        assert_eq!(sources, ["h.0.ln_1.bias", "transformer.h.0.ln_1.bias"]);
    }
    let slice = |model: &str| format!("- sources: [{{model: {model}, layer_range: [0, 1]}}]\n");
    let text = format!("merge_method: passthrough\nslices:\n{}{}", slice(whole), slice(trunk));
    let job = plan(&text).unwrap();
    let names: Vec<&str> = job.plan.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let layers = ["transformer.h.0.ln_1.bias", "transformer.h.1.ln_1.bias"];
    assert_eq!(names, [&layers[..], &["transformer.ln_f.bias", "transformer.wte.weight"]].concat());
}

#[test]
fn a_model_that_is_not_there_is_named_by_its_key() {
    for (file, key) in [("model-path-unknown", "models.1.model"), ("layer-range-beyond-model", "layer_range")]
    {
        let text = std::fs::read_to_string(fixtures().join(format!("invalid/{file}.yaml"))).unwrap();
        let expected = text.lines().next().unwrap().strip_prefix("# expect: ").unwrap();
        let error = plan(&text).err().unwrap();
        assert!(expected.contains(key) && error.contains(&format!(": {expected}: ")), "{error}");
    }
}

/// Numbers that are only wrong for some tensors are found while planning, and told by the line that sets them.
#[test]
fn numbers_of_one_tensor_are_told_by_their_line() {
    let check = |text: &str, expected: &str| {
        let error = plan(text).err().expect(text);
        assert!(error.starts_with(expected), "{error}");
    };
    check(
        "merge_method: linear\nmodels:\n- model: models/a\n  parameters: {weight: [0, 1]}\n- model: models/b\n  \
         parameters: {weight: [{filter: k_proj, value: [0, 1]}, {value: 1}]}\n",
        "line 4: models.0.parameters.weight: the weights sum to 0 for model.layers.0.self_attn.k_proj.weight, and are \
         divided by their sum; change one, or write `normalize: false`",
    );
    check(
        "merge_method: multislerp\nmodels:\n- model: models/a\n  parameters: {weight: 1}\n- model: models/b\n  \
         parameters: {weight: [{filter: lm_head, value: -1}, {value: 1}]}\n",
        "line 4: models.0.parameters.weight: the weights sum to 0 for lm_head.weight",
    );
    check(
        "merge_method: slerp\nbase_model: models/base\nmodels: [{model: models/base}, {model: models/a}]\n\
         parameters:\n  t:\n  - {filter: mlp, value: 0.3}\n",
        "line 5: parameters.t: missing required parameter t, tensor lm_head.weight",
    );
}

#[test]
fn layers_that_are_not_there() {
    let error =
        plan("merge_method: passthrough\nslices:\n- sources: [{model: models/a, layer_range: [1, 5]}]\n")
            .err()
            .unwrap();
    let words = ["slices.0.sources.0.layer_range", "ends at 5", "has 3 layers"];
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
}

#[test]
fn a_plan_can_be_read() {
    let text = std::fs::read_to_string(fixtures().join("golden/slices-slerp-gradient.yaml")).unwrap();
    let job = plan(&text).unwrap();
    let printed = job.plan.text(&job.models);
    let name = "model.layers.1.mlp.up_proj.weight [";
    let line = printed.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
    assert!(
        line.contains("models/base:model.layers.1.mlp") && line.contains("models/a:model.layers.2.mlp"),
        "{line}"
    );
    assert!(line.contains("Slerp"), "{line}");
}
