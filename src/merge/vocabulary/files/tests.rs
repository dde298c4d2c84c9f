//! What is written for which donor.

use std::collections::BTreeMap;

use serde_json::json;
use tempfile::TempDir;

use super::super::fixture::Folder;
use super::*;
use crate::merge::config::MergeConfig;
use crate::merge::vocabulary::VocabularyInputs;

fn donor() -> Folder {
    let settings = json!({"eos_token": "c", "chat_template": "old", "added_tokens_decoder": {
        "1": {"content": "b", "lstrip": true, "note": "kept"}}});
    Folder::new(3)
        .tokenizer(&json!({"a": 0, "b": 1, "c": 2}), &[(1, "b")])
        .file("tokenizer_config.json", &settings.to_string())
        .file("special_tokens_map.json", "{ }")
        .file("added_tokens.json", r#"{"b": 1}"#)
        .file("merges.txt", "")
        .file("unrelated.txt", "")
}

fn written(plan: Option<&VocabularyPlan>, donor: &Path, template: Option<&str>) -> BTreeMap<String, String> {
    let out = TempDir::new().expect("a folder");
    write_tokenizer(plan, donor, template, out.path()).expect("written");
    let entries = fs::read_dir(out.path()).expect("a folder").map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                fs::read_to_string(entry.path()).expect("a text"),
            )
        })
        .collect()
}

fn json_of(files: &BTreeMap<String, String>, name: &str) -> Value {
    serde_json::from_str(&files[name]).expect(name)
}

#[test]
fn copies_without_a_plan() {
    let donor = donor();
    let files = written(None, &donor.path(), None);
    let names = [
        "added_tokens.json",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(files.keys().collect::<Vec<_>>(), names);
    for name in names {
        assert_eq!(files[name], fs::read_to_string(donor.path().join(name)).expect(name), "{name}");
    }
    assert!(written(None, &Folder::new(1).path(), None).is_empty());
}

#[test]
fn a_template_is_put_in_both_places() {
    let donor = donor().file("chat_template.json", r#"{"chat_template": "older"}"#);
    let files = written(None, &donor.path(), Some("{{ new }}"));
    assert_eq!(files["chat_template.jinja"], "{{ new }}");
    let settings = json_of(&files, "tokenizer_config.json");
    assert_eq!((&settings["chat_template"], &settings["eos_token"]), (&json!("{{ new }}"), &json!("c")));
    assert!(!files.contains_key("chat_template.json"));
    let bare = written(None, &Folder::new(1).path(), Some("{{ new }}"));
    assert_eq!(bare.keys().collect::<Vec<_>>(), ["chat_template.jinja", "tokenizer_config.json"]);
}

#[test]
fn a_plans_tokens_are_written_everywhere() {
    let folders = [donor(), Folder::new(2).tokenizer(&json!({"a": 0}), &[(1, "<s>")])];
    let models: Vec<InputModel> = folders.iter().map(Folder::open).collect();
    let text = format!(
        "merge_method: linear\nparameters: {{weight: 1}}\nmodels: [{{model: {}}}, {{model: {}}}]\ntokenizer_source: union",
        models[0].reference, models[1].reference
    );
    let config = MergeConfig::parse(&text).expect("a configuration").tokenizer.expect("a tokenizer");
    let given = VocabularyInputs { models: &models, base: Some(0), groups: &[vec![0, 1]], tokenizer: None };
    let plan = VocabularyPlan::new(&config, given).expect("a plan");
    let files = written(Some(&plan), &models[0].path, None);
    let names = ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(files.keys().collect::<Vec<_>>(), names);
    let loaded = tokenizers::Tokenizer::from_bytes(&files["tokenizer.json"]).expect("a tokenizer");
    assert_eq!((loaded.token_to_id("<s>"), loaded.get_vocab_size(true)), (Some(3), 4));
    let settings = json_of(&files, "tokenizer_config.json");
    let added = json!({"content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                       "special": true});
    let kept = json!({"content": "b", "lstrip": true, "note": "kept"});
    assert_eq!(settings["added_tokens_decoder"], json!({"1": kept, "3": added}));
    assert_eq!(settings["chat_template"], "old");
}
