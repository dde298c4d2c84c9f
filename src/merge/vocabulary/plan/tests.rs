//! Vocabularies with gaps, tokens beyond the rows, rules, and models without a tokenizer.

use serde_json::json;

use super::super::fixture::Folder;
use super::super::{Gathered, RowSource, Vocabulary, is_vocabulary_tensor};
use super::*;
use crate::merge::Elements;
use crate::merge::config::MergeConfig;

/// The plan of models for a `tokenizer`, in which `{N}` is the path of a model.
fn plan(folders: &[Folder], base: Option<usize>, tokenizer: &str) -> Result<VocabularyPlan, String> {
    let models: Vec<InputModel> = folders.iter().map(Folder::open).collect();
    new(&settings(&models, tokenizer), &models, base, None)
}

fn settings(models: &[InputModel], tokenizer: &str) -> TokenizerConfig {
    let mut text = "merge_method: linear\nparameters: {weight: 1}\nmodels:\n".to_owned();
    for model in models {
        text.extend(["- model: ", &model.reference.to_string(), "\n"]);
    }
    text.extend([tokenizer, "\n"]);
    for (at, model) in models.iter().enumerate() {
        text = text.replace(&format!("{{{at}}}"), &model.reference.to_string());
    }
    let config = MergeConfig::parse(&text).expect(tokenizer);
    config.tokenizer.expect("a tokenizer")
}

/// All models merged together.
fn new(
    tokenizer: &TokenizerConfig,
    models: &[InputModel],
    base: Option<usize>,
    path: Option<&Path>,
) -> Result<VocabularyPlan, String> {
    let groups = [(0..models.len()).collect()];
    let given = VocabularyInputs { models, base, groups: &groups, tokenizer: path };
    VocabularyPlan::new(tokenizer, given).map_err(|error| error.to_string())
}

/// Token and id, in the order of the ids, as the crate loads them.
fn tokens(plan: &VocabularyPlan) -> Vec<(String, u32)> {
    let loaded = tokenizers::Tokenizer::from_bytes(plan.tokenizer.to_string()).expect("a tokenizer");
    let mut tokens: Vec<(String, u32)> = loaded.get_vocab(true).into_iter().collect();
    tokens.sort_by_key(|(_, id)| *id);
    tokens
}

fn sources(plan: &VocabularyPlan, model: usize) -> String {
    sources_in(plan, &plan.rows[0].0, model)
}

fn sources_in(plan: &VocabularyPlan, group: &[usize], model: usize) -> String {
    let rows = plan.rows(group).expect("a group");
    let told: Vec<String> = (0..plan.size)
        .map(|row| match rows.source(model, row) {
            RowSource::Row { model: of, row } if of == model => row.to_string(),
            RowSource::Row { model, row } => format!("{model}:{row}"),
            RowSource::Mean(rows) => {
                let rows: Vec<String> = rows.iter().map(|(model, row)| format!("{model}:{row}")).collect();
                rows.join("+")
            }
            RowSource::Zero => "zero".to_owned(),
            RowSource::Padding => "mean".to_owned(),
        })
        .collect();
    told.join(" ")
}

#[test]
fn rows_by_source() {
    let check = |base: Option<usize>, tokenizer: &str, expected_tokens: &str, expected: [&str; 3]| {
        let folders = [
            Folder::new(3).vocabulary(&["a", "b", "c"]),
            Folder::new(4).tokenizer(&json!({"b": 0, "x": 1, "y": 2}), &[(3, "<s>")]),
            Folder::new(3).vocabulary(&["y", "a", "z"]),
        ];
        let plan = plan(&folders, base, tokenizer).expect(tokenizer);
        let found: Vec<String> = tokens(&plan).into_iter().map(|(token, _)| token).collect();
        assert_eq!(found.join(" "), expected_tokens, "{tokenizer}");
        for (model, expected) in expected.iter().enumerate() {
            assert_eq!(sources(&plan, model), *expected, "{tokenizer}, model {model}");
        }
    };
    check(
        Some(0),
        "tokenizer_source: union",
        "a b c x y z <s>",
        ["0 1 2 1:1 1:2+2:0 2:2 1:3", "0:0 0 0:2 1 2 2:2 3", "1 0:1 0:2 1:1 0 2 1:3"],
    );
    check(
        None,
        "tokenizer_source: union",
        "a b c x y z <s>",
        ["0 1 2 1:1 1:2+2:0 2:2 1:3", "0:0+2:1 0 0:2 1 2 2:2 3", "1 0:1+1:0 0:2 1:1 0 2 1:3"],
    );
    check(Some(0), "tokenizer_source: base", "a b c", ["0 1 2", "0:0 0 0:2", "1 0:1 0:2"]);
    check(
        Some(0),
        "tokenizer: {source: base, pad_to_multiple_of: 4}",
        "a b c",
        ["0 1 2 mean", "0:0 0 0:2 mean", "1 0:1 0:2 mean"],
    );
    check(Some(0), "tokenizer: {source: '{2}'}", "y a z", ["1:2+2:0 0 2:2", "2 0:0 2:2", "0 1 2"]);
    // A base with new tokens, of which two are known to models.
    check(
        Some(0),
        "tokenizer: {source: base, tokens: {z: {}, <s>: {force: true}, new: {source: {kind: zero}}}}",
        "a b c z <s> new",
        ["0 1 2 2:2 1:3 zero", "0:0 0 0:2 2:2 3 zero", "1 0:1 0:2 2 1:3 zero"],
    );
    check(
        Some(0),
        "tokenizer: {source: base, tokens: {a: {source: '{2}', force: true}, b: {source: {kind: model_token, model: '{1}', \
         token: <s>}}, c: {source: {kind: model_token, model: '{0}', token_id: 0}}}}",
        "a b c",
        ["2:1 1 2", "2:1 0 0:0", "1 1:3 0:0"],
    );
}

#[test]
fn rows_come_from_the_models_of_a_matrix() {
    let folders = [
        Folder::new(3).vocabulary(&["a", "b", "c"]),
        Folder::new(4).tokenizer(&json!({"b": 0, "x": 1, "y": 2}), &[(3, "<s>")]),
        Folder::new(3).vocabulary(&["y", "a", "z"]),
    ];
    let models: Vec<InputModel> = folders.iter().map(Folder::open).collect();
    let config = settings(&models, "tokenizer_source: union");
    let groups = [vec![0], vec![1, 2]];
    let given = VocabularyInputs { models: &models, base: Some(0), groups: &groups, tokenizer: None };
    let plan = VocabularyPlan::new(&config, given).expect("a plan");
    // a b c x y z <s>
    assert_eq!(sources_in(&plan, &[0], 0), "0 1 2 zero zero zero zero");
    assert_eq!(sources_in(&plan, &[1, 2], 1), "2:1 0 zero 1 2 2:2 3");
    assert_eq!(sources_in(&plan, &[1, 2], 2), "1 1:0 zero 1:1 0 2 1:3");
    assert!(plan.rows(&[0, 1]).is_none());
    let told = plan.warnings.iter().filter(|warning| warning.contains("no model of a slice of"));
    assert_eq!(told.count(), 2, "{:?}", plan.warnings);
}

#[test]
fn a_tokenizer_need_not_be_a_models() {
    let folders = [Folder::new(3).vocabulary(&["a", "b", "c"]), Folder::new(3).vocabulary(&["y", "a", "z"])];
    let models: Vec<InputModel> = folders.iter().map(Folder::open).collect();
    let config = settings(&models, "tokenizer: {source: elsewhere}");
    let alone = Folder::new(1).vocabulary(&["z", "a", "q"]);
    let plan = new(&config, &models, Some(0), Some(&alone.path())).expect("a plan");
    assert_eq!((plan.donor, &plan.path), (None, &alone.path()));
    assert_eq!((sources(&plan, 0), sources(&plan, 1)), ("1:2 0 zero".into(), "2 1 zero".into()));
    let mut settings = json!({"eos_token_id": 0, "bos_token_id": 1, "vocab_size": 3});
    plan.update_config(0, &mut settings);
    assert_eq!(settings, json!({"eos_token_id": 1, "bos_token_id": 1, "vocab_size": 3}));
    // A model's under another name.
    let path = folders[1].path();
    let named = path.join("..").join(path.file_name().expect("a name"));
    let plan = new(&config, &models, Some(0), Some(&named)).expect("a plan");
    assert_eq!((plan.donor, sources(&plan, 0)), (Some(1), "1:0 0 1:2".into()));
    let bare = Folder::new(1);
    let error = new(&config, &models, Some(0), Some(&bare.path())).expect_err("no tokenizer");
    assert!(error.contains("tokenizer.source: elsewhere has no tokenizer.json"), "{error}");
}

#[test]
fn settings_of_added_tokens_are_kept() {
    let folders = [
        Folder::new(3).vocabulary(&["a", "b", "<s>"]),
        Folder::new(3).tokenizer(&json!({"b": 0}), &[(1, "<s>"), (2, "<t>")]),
    ];
    let plan = plan(&folders, Some(0), "tokenizer: {source: union, tokens: {plain: {}}}").expect("a plan");
    let told: Vec<_> = plan.tokenizer["added_tokens"].as_array().expect("added tokens").iter().collect();
    let told: Vec<_> = told
        .iter()
        .map(|token| (token["content"].as_str(), token["id"].as_u64(), token["special"] == true))
        .collect();
    assert_eq!(
        told,
        [(Some("<s>"), Some(2), true), (Some("<t>"), Some(3), true), (Some("plain"), Some(4), false)]
    );
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    assert!(
        plan.warnings[0].contains("tokenizer: no model has a row for 1 tokens, they are zeros: \"plain\"")
    );
}

#[test]
fn gaps_and_tokens_without_rows() {
    // The base has no token 2 and no row for its token 5; the other model says that its last row is none.
    let base = || Folder::new(5).tokenizer(&json!({"a": 0, "b": 1, "c": 3, "d": 4, "e": 5}), &[]);
    let other = || Folder::with(4, 3, 0.0).vocabulary(&["c", "e", "f", "g"]);
    let of_base = plan(&[base(), other()], Some(0), "tokenizer_source: base").expect("a plan");
    assert_eq!(
        (sources(&of_base, 0), sources(&of_base, 1)),
        ("0 1 2 3 4".into(), "0:0 0:1 0:2 0 0:4".into())
    );
    assert!(of_base.warnings.iter().any(|warning| warning.contains("1 tokens of")), "{:?}", of_base.warnings);

    let union = plan(&[base(), other()], Some(0), "tokenizer_source: union").expect("a plan");
    let expected =
        [("a", 0), ("b", 1), ("c", 3), ("d", 4), ("e", 5), ("f", 6)].map(|(text, id)| (text.to_owned(), id));
    assert_eq!(tokens(&union), expected);
    assert_eq!(sources(&union, 0), "0 1 2 3 4 1:1 1:2");
    assert_eq!(sources(&union, 1), "0:0 0:1 0:2 0 0:4 1 2");

    let of_other = plan(&[base(), other()], Some(0), "tokenizer: {source: '{1}'}").expect("a plan");
    assert_eq!(
        (sources(&of_other, 0), sources(&of_other, 1)),
        ("3 1:1 1:2 zero".into(), "0 1 2 zero".into())
    );
}

#[test]
fn models_without_a_tokenizer_have_the_bases() {
    let folders = [Folder::new(3), Folder::new(2).vocabulary(&["a", "b"]), Folder::new(1)];
    let found = plan(&folders, None, "tokenizer_source: union").expect("a plan");
    assert_eq!(found.donor, Some(1));
    assert_eq!((sources(&found, 0), sources(&found, 2)), ("0 1".into(), "0 0:1+1:1".into()));
    assert!(
        found.warnings[0].contains("has no tokenizer.json, it is taken to have that of"),
        "{:?}",
        found.warnings
    );
    let check = |folders: &[Folder], base: Option<usize>, tokenizer: &str, expected: &str| {
        let error = plan(folders, base, tokenizer).expect_err(tokenizer);
        assert!(error.contains(expected), "{error}");
    };
    check(
        &folders,
        Some(0),
        "tokenizer_source: union",
        "has no tokenizer.json, which a merge of vocabularies starts from",
    );
    check(&folders[..1], None, "tokenizer_source: base", "the other models have none either");
    check(&folders, None, "tokenizer_source: '{2}'", "line 7: tokenizer_source: ");
    check(&folders, None, "tokenizer: {source: '{2}'}", "line 7: tokenizer.source: ");
    check(&folders, None, "tokenizer: {source: nowhere}", "nowhere is not among the models");
}

#[test]
fn rules_that_name_what_is_not_there() {
    let check = |rule: &str, expected: &str| {
        let folders =
            [Folder::new(2).vocabulary(&["a", "b"]), Folder::with(3, 2, 0.0).vocabulary(&["b", "x", "y"])];
        let error =
            plan(&folders, Some(0), &format!("tokenizer: {{tokens: {{t: {rule}}}}}")).expect_err(rule);
        assert!(
            error.starts_with("line 6: tokenizer.tokens.t.source: ") && error.contains(expected),
            "{rule}: {error}"
        );
    };
    check("{source: '{1}'}", "has no row for the token \"t\"; name a token");
    check("{source: {kind: model_token, model: '{1}', token: a}}", "has no row for the token \"a\"");
    check("{source: {kind: model_token, model: '{1}', token: y}}", "has no row for the token \"y\"");
    check("{source: {kind: model_token, model: '{1}', token_id: 3}}", "has 3 rows and none for the id 3");
}

#[test]
fn matrices_are_read_in_any_pieces() {
    let folders = [
        Folder::with(3, 3, 0.0).vocabulary(&["a", "b", "c"]),
        Folder::with(4, 4, 100.0).vocabulary(&["b", "x", "y", "a"]),
        Folder::with(2, 2, 1000.0).vocabulary(&["y", "z"]),
    ];
    let models: Vec<InputModel> = folders.iter().map(Folder::open).collect();
    let plan =
        plan(&folders, Some(0), "tokenizer: {tokens: {b: {source: {kind: zero}}}, pad_to_multiple_of: 8}")
            .expect("a plan");
    let matrix =
        Gathered::open("model.embed_tokens.weight", 0, &[0, 1, 2], &plan, &models).expect("a matrix");
    assert_eq!(matrix.shape(), [8, 4]);
    // a b c x y z and two of padding.
    let first = [0.0, 1.0, 2.0, 101.0, f32::midpoint(102.0, 1000.0), 1001.0];
    let mean = first.iter().sum::<f32>() / 6.0;
    let expected: Vec<f32> = first
        .iter()
        .chain(&[mean, mean])
        .flat_map(|row| [0.0, 0.25, 0.5, 0.75].map(|column| row + column))
        .collect();
    let read = |from: usize, count: usize| {
        let mut values = vec![f32::NAN; count];
        matrix.read(from, &mut values).expect("read");
        values
    };
    assert_eq!(read(0, 32), expected);
    for (from, count) in [(0, 3), (4, 4), (5, 14), (17, 15), (31, 1), (32, 0)] {
        assert_eq!(read(from, count), expected[from..from + count], "{count} from {from}");
    }
    let other = Gathered::open("model.embed_tokens.weight", 2, &[0, 1, 2], &plan, &models).expect("a matrix");
    let mut values = [f32::NAN; 8];
    other.read(0, &mut values).expect("read");
    assert_eq!(values, [0.0, 0.25, 0.5, 0.75, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn matrices_that_do_not_go_together() {
    let folders = [Folder::new(2).vocabulary(&["a", "b"]), Folder::new(2).vocabulary(&["b", "x"])];
    let models: Vec<InputModel> = folders.iter().map(Folder::open).collect();
    let plan = plan(&folders, Some(0), "tokenizer_source: union").expect("a plan");
    let open = |name, group: &[usize]| Gathered::open(name, 0, group, &plan, &models).map(|_| ());
    let error = open("model.embed_tokens.weight", &[0]).expect_err("an error").to_string();
    assert!(error.contains("not planned"), "{error}");
    let error = open("model.wte.weight", &[0, 1]).expect_err("an error");
    assert!(
        error.to_string().contains("tensor model.wte.weight:") && error.to_string().contains(" lacks it"),
        "{error}"
    );
}

#[test]
fn configurations_follow() {
    let folders = [Folder::new(3).vocabulary(&["a", "b", "c"]), Folder::new(3).vocabulary(&["c", "b", "x"])];
    let plan = plan(&folders, Some(0), "tokenizer: {source: '{1}', pad_to_multiple_of: 4}").expect("a plan");
    let check = |mut config: Value, expected: Value| {
        plan.update_config(0, &mut config);
        assert_eq!(config, expected);
    };
    check(
        json!({"vocab_size": 3, "eos_token_id": [2, 1], "bos_token_id": 2, "pad_token_id": null}),
        json!({"vocab_size": 4, "eos_token_id": [0, 1], "bos_token_id": 0, "pad_token_id": null}),
    );
    check(
        json!({"text_config": {"vocab_size": 3, "eos_token_id": 2}, "eos_token_id": 0}),
        json!({"text_config": {"vocab_size": 4, "eos_token_id": 0}, "eos_token_id": 0}),
    );
}

#[test]
fn names_of_matrices() {
    let check = |name: &str, expected: bool| assert_eq!(is_vocabulary_tensor(name), expected, "{name}");
    check("model.embed_tokens.weight", true);
    check("model.language_model.embed_tokens.weight", true);
    check("lm_head.weight", true);
    check("transformer.wte.weight", true);
    check("model.embed_tokens_per_layer.weight", false);
    check("model.norm.weight", false);
    check("model.layers.0.my_lm_head.weight", false);
}

#[test]
fn vocabularies_without_tokens_are_no_panic() {
    let folders = [Folder::new(1).tokenizer(&json!({}), &[])];
    let plan = plan(&folders, Some(0), "tokenizer: {source: base, pad_to_multiple_of: 4}").expect("a plan");
    assert_eq!(plan.size, 0);
    assert_eq!(Vocabulary::open(&folders[0].path()).expect("a file").map(|found| found.size()), Some(0));
}
