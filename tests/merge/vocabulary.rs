//! Merged vocabularies against mergekit's: the tokenizer, and each row of the embeddings and the output matrix, whose
//! merge is computed here by hand from the matrices in the new vocabulary.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;
use xenoglot::merge::config::MergeConfig;
use xenoglot::merge::vocabulary::{
    Gathered, Vocabulary, VocabularyInputs, VocabularyPlan, chat_template, clashes, write_tokenizer,
};
use xenoglot::merge::{Elements, InputModel, open_all};
use xenoglot::weights::Tokenizer;

use super::merge;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/merge/fixtures")
}

/// A golden case: its models, the index of the base, and the plan.
struct Case {
    name: &'static str,
    models: Vec<InputModel>,
    base: Option<usize>,
    plan: VocabularyPlan,
}

impl Case {
    fn open(name: &'static str) -> Self {
        let text = fs::read_to_string(fixtures().join(format!("golden/{name}.yaml"))).expect(name);
        let config = MergeConfig::parse(&text).expect(name);
        let models = open_all(&config, &|path, _| Ok(fixtures().join(path)), false).expect(name);
        let base = config.base_model.as_ref();
        let base = base.and_then(|base| models.iter().position(|model| model.reference == *base));
        let groups = [(0..models.len()).collect()];
        let given = VocabularyInputs { models: &models, base, groups: &groups, tokenizer: None };
        let plan = VocabularyPlan::new(config.tokenizer.as_ref().expect(name), given).expect(name);
        Self { name, models, base, plan }
    }

    fn golden(&self, ending: &str) -> PathBuf {
        fixtures().join(format!("golden/{}.{ending}", self.name))
    }

    /// A model's matrix in the new vocabulary, and its shape.
    fn matrix(&self, model: usize, tensor: &str) -> (Vec<usize>, Vec<f32>) {
        let group: Vec<usize> = (0..self.models.len()).collect();
        let gathered = Gathered::open(tensor, model, &group, &self.plan, &self.models).expect(tensor);
        let shape = gathered.shape();
        let mut values = vec![f32::NAN; shape.iter().product()];
        gathered.read(0, &mut values).expect(tensor);
        (shape, values)
    }

    fn model(&self, name: &str) -> usize {
        let found = self.models.iter().position(|model| model.reference.path == format!("models/{name}"));
        found.expect("a model of the case")
    }
}

/// The sum of matrices times their weights is the golden one, row by row, by token. The tolerance is f32 rounding of
/// numbers below 1; the padding's mean is summed in f64 here and in f32 there.
fn check(name: &'static str, weights: &[(&str, f64)]) {
    let case = Case::open(name);
    let bytes = fs::read(case.golden("safetensors")).expect(name);
    let tensors = SafeTensors::deserialize(&bytes).expect(name);
    for tensor in ["model.embed_tokens.weight", "lm_head.weight"] {
        let golden = tensors.tensor(tensor).expect(tensor);
        let mut merged = vec![0.0_f64; golden.data().len() / 4];
        for (model, weight) in weights {
            let (shape, values) = case.matrix(case.model(model), tensor);
            assert_eq!(shape, golden.shape(), "{name} {tensor} of {model}");
            for (merged, value) in merged.iter_mut().zip(values) {
                *merged += weight * f64::from(value);
            }
        }
        let columns = golden.shape()[1];
        let golden: Vec<f32> =
            golden.data().as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        let tokens = same_tokens(&case);
        let padding = (tokens.len()..case.plan.size).map(|row| (format!("padding {row}"), (row, row)));
        for (token, (row, golden_row)) in tokens.into_iter().chain(padding) {
            for column in 0..columns {
                let (found, expected) =
                    (merged[row * columns + column], golden[golden_row * columns + column]);
                let difference = (found - f64::from(expected)).abs();
                assert!(difference <= 1e-6, "{name} {tensor} {token:?} {column}: {found} is not {expected}");
            }
        }
    }
}

/// Each token with its row here and in the golden tensors.
fn same_tokens(case: &Case) -> HashMap<String, (usize, usize)> {
    let ids = |json: &[u8]| tokenizers::Tokenizer::from_bytes(json).expect("a tokenizer").get_vocab(true);
    let golden = ids(&fs::read(case.golden("tokenizer.json")).expect("a file"));
    let own = ids(case.plan.tokenizer.to_string().as_bytes());
    assert_eq!(own.len(), golden.len(), "{}", case.name);
    own.into_iter().map(|(token, id)| (token.clone(), (id as usize, golden[&token] as usize))).collect()
}

#[test]
fn linear_merges_are_mergekits() {
    check("tokens-union", &[("tok_a", 0.75), ("tok_b", 0.25)]);
    check("tokens-union-three", &[("tok_a", 0.25), ("tok_b", 0.5), ("tok_c", 0.25)]);
    check("tokens-base-padded", &[("tok_a", 0.75), ("tok_b", 0.25)]);
    check("tokens-path", &[("tok_a", 0.75), ("tok_b", 0.25)]);
    check("tokens-rules", &[("tok_a", 0.75), ("tok_b", 0.25)]);
}

#[test]
fn task_arithmetic_is_mergekits() {
    // base + 0.8 (b - base)
    check("tokens-union-task", &[("tok_a", 0.2), ("tok_b", 0.8)]);
}

#[test]
fn tokenizers_are_mergekits() {
    let names = [
        "tokens-union",
        "tokens-union-three",
        "tokens-base-padded",
        "tokens-path",
        "tokens-rules",
        "tokens-union-task",
    ];
    for name in names {
        let case = Case::open(name);
        let golden = fs::read(case.golden("tokenizer.json")).expect(name);
        let golden: Value = serde_json::from_slice(&golden).expect(name);
        // Not the post-processor: transformers puts one in that adds nothing.
        for part in ["added_tokens", "model", "normalizer", "pre_tokenizer", "decoder"] {
            assert_eq!(case.plan.tokenizer[part], golden[part], "{name} {part}");
        }
        let configs = fs::read(fixtures().join("golden/configs.json")).expect(name);
        let configs: Value = serde_json::from_slice(&configs).expect(name);
        assert_eq!(configs[name]["vocab_size"], case.plan.size, "{name}");
    }
}

#[test]
fn written_tokenizers_load() {
    let case = Case::open("tokens-union-three");
    let out = tempfile::tempdir().expect("a folder");
    let template = chat_template("chatml", &case.models, case.base).expect("a name");
    write_tokenizer(Some(&case.plan), &case.plan.path, template.as_deref(), out.path()).expect("written");
    let tokenizer = Tokenizer::load(out.path()).expect("a tokenizer");
    assert_eq!(tokenizer.vocab_size(), case.plan.size);
    // A special token of one model, letters of all, an ordinary token of another.
    let ids = tokenizer.encode("<pad>abxyz9", false).expect("ids");
    let texts: Vec<_> = ids.iter().filter_map(|id| tokenizer.id_to_token(*id)).collect();
    assert_eq!(texts, ["<pad>", "ab", "xyz", "9"]);
    assert!(tokenizer.is_special(ids[0]) && !tokenizer.is_special(ids[2]));
    let config = fs::read(out.path().join("tokenizer_config.json")).expect("a file");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!(
        (config["eos_token"].as_str(), config["chat_template"].as_str()),
        (Some("</s>"), template.as_deref())
    );
    assert_eq!(fs::read_to_string(out.path().join("chat_template.jinja")).ok(), template);
}

/// mergekit leaves the ids of the first model's configuration, which are other tokens in the new vocabulary.
#[test]
fn configurations_name_the_same_special_tokens() {
    let text = "merge_method: linear\nparameters: {weight: 1}\n\
                models: [{model: models/tok_a}, {model: models/tok_c}]\n\
                tokenizer: {source: models/tok_c, pad_to_multiple_of: 8}\n";
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    merge(text, &out, 1).expect("merged");
    let config = fs::read(out.join("config.json")).expect("a file");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    // <s> and </s> of tok_a are 1 and 2.
    let found = ["vocab_size", "bos_token_id", "eos_token_id"].map(|key| config[key].as_u64());
    assert_eq!(found, [Some(32), Some(0), Some(1)]);
}

#[test]
fn tokenizers_are_found_however_they_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let alone = folder.path().join("alone");
    fs::create_dir(&alone).expect("a folder");
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(fixtures().join("models/tok_b").join(file), alone.join(file)).expect("copied");
    }
    let merged = |source: &str, out: &str| {
        let text = format!(
            "merge_method: linear\nparameters: {{weight: 1}}\n\
             models: [{{model: models/tok_a}}, {{model: models/tok_b}}]\ntokenizer: {{source: '{source}'}}\n"
        );
        let out = folder.path().join(out);
        merge(&text, &out, 1).map_err(|error| error.to_string())?;
        let files = ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"];
        Ok::<_, String>(files.map(|file| fs::read(out.join(file)).expect(file)))
    };
    let expected = merged("models/tok_b", "named").expect("merged");
    let absolute = fixtures().join("models/tok_b").display().to_string();
    let sources = ["models/tok_b/".to_owned(), absolute, alone.display().to_string()];
    for (at, source) in sources.iter().enumerate() {
        assert!(merged(source, &format!("out-{at}")).expect(source) == expected, "{source}");
    }
    let error = merged("models/nowhere", "refused").expect_err("refused");
    assert!(error.starts_with("line 4: tokenizer.source: models/nowhere: "), "{error}");
    let error = merged("models/a", "refused").expect_err("refused");
    assert!(error.starts_with("line 4: tokenizer.source: models/a has no tokenizer.json"), "{error}");
}

/// As in mergekit: the embeddings are of the first slice's model alone, the output matrix of the last's.
#[test]
fn slices_have_the_rows_of_their_own_models() {
    let text = "merge_method: passthrough\ntokenizer: {source: union}\nslices:\n\
                - sources: [{model: models/tok_a, layer_range: [0, 2]}]\n\
                - sources: [{model: models/tok_b, layer_range: [2, 3]}]\n";
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let plan = merge(text, &out, 1).expect("merged");
    let loaded = tokenizers::Tokenizer::from_file(out.join("tokenizer.json")).expect("a tokenizer");
    let bytes = fs::read(out.join("model.safetensors")).expect("a file");
    let written = SafeTensors::deserialize(&bytes).expect("tensors");
    for (tensor, model) in [("model.embed_tokens.weight", "tok_a"), ("lm_head.weight", "tok_b")] {
        let folder = fixtures().join("models").join(model);
        let own = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).expect(model);
        let bytes = fs::read(folder.join("model.safetensors")).expect(model);
        let stored = SafeTensors::deserialize(&bytes).expect(model);
        let (written, stored) = (written.tensor(tensor).expect(tensor), stored.tensor(tensor).expect(tensor));
        assert_eq!(written.shape()[0], loaded.get_vocab_size(true), "{tensor}");
        let row_bytes = stored.shape()[1] * 4;
        for (token, id) in loaded.get_vocab(true) {
            let row = &written.data()[id as usize * row_bytes..][..row_bytes];
            match own.token_to_id(&token) {
                Some(own) => {
                    assert_eq!(row, &stored.data()[own as usize * row_bytes..][..row_bytes], "{token}");
                }
                None => assert!(row.iter().all(|byte| *byte == 0), "{tensor} {token}"),
            }
        }
    }
    let told = plan.warnings.iter().filter(|warning| warning.contains("no model of a slice of"));
    assert_eq!(told.count(), 2, "{:?}", plan.warnings);
}

#[test]
fn vocabularies_that_differ_clash() {
    let case = Case::open("tokens-union");
    let found = clashes(&case.models).expect("tokenizers");
    assert_eq!(found.len(), 1);
    // All but <unk>, <s>, </s>, and the letter in the middle, of the 32 ids of the smaller vocabulary.
    assert!(found[0].is_garbage(), "{}", found[0]);
    assert_eq!((found[0].compared, found[0].first.len(), found[0].first[0].id), (32, 10, 3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A tokenizer.json with bytes overwritten is read or refused.
    #[test]
    fn damaged_tokenizers_do_not_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), "[\\x20-\\x7e]"), 1..6)) {
        let mut text = fs::read(fixtures().join("models/tok_b/tokenizer.json")).expect("a file");
        for (place, with) in &changes {
            let place = place.index(text.len());
            text[place] = with.as_bytes()[0];
        }
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["config.json", "model.safetensors"] {
            fs::copy(fixtures().join("models/tok_b").join(file), folder.path().join(file)).expect("copied");
        }
        fs::write(folder.path().join("tokenizer.json"), &text).expect("written");
        let _ = Vocabulary::open(folder.path());
        let config = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n\
                      tokenizer: {tokens: {new: {}}}";
        let config = MergeConfig::parse(config).expect("a configuration");
        let fixture = fixtures().join("models/tok_a");
        for (first, second) in [(folder.path(), fixture.as_path()), (fixture.as_path(), folder.path())] {
            let locate = |path: &str, _: Option<&str>| Ok(if path == "a" { first } else { second }.to_owned());
            let models = open_all(&config, &locate, false).expect("models");
            let _ = clashes(&models);
            let groups = [vec![0, 1]];
            let given = VocabularyInputs { models: &models, base: Some(0), groups: &groups, tokenizer: None };
            let plan = VocabularyPlan::new(config.tokenizer.as_ref().expect("a tokenizer"), given);
            if let Ok(plan) = plan {
                let gathered = Gathered::open("lm_head.weight", 1, &groups[0], &plan, &models).expect("a matrix");
                let mut values = vec![0.0; gathered.shape().iter().product()];
                gathered.read(0, &mut values).expect("read");
            }
        }
    }
}
