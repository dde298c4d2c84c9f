//! docs/formats.md names every field that is written, and every key of a suite.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use xenoglot::eval::Silent;

use super::{Scripted, config, run_blocking};

/// Maps whose keys are data: language codes, and k.
const DATA: [&str; 3] = ["off_target", "pass_at", "consistent_pass_at"];

fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                found.insert(key.clone());
                match value {
                    Value::Object(of_data) if DATA.contains(&key.as_str()) => {
                        of_data.values().for_each(|value| fields(value, found));
                    }
                    value => fields(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

fn documentation() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md"))
        .expect("docs/formats.md")
}

#[test]
fn every_field_is_documented() {
    let folder = tempfile::tempdir().unwrap();
    run_blocking(
        config(folder.path(), 5),
        &Scripted::default(),
        &Silent,
        tokio::sync::watch::channel(false).1,
    )
    .unwrap();
    let mut found = BTreeSet::new();
    let read = |name: &str| std::fs::read_to_string(folder.path().join("run").join(name)).unwrap();
    fields(&serde_json::from_str(&read("run.json")).unwrap(), &mut found);
    for line in read("samples.jsonl").lines() {
        fields(&serde_json::from_str(line).unwrap(), &mut found);
    }
    let text = documentation();
    let missing: Vec<_> = found.iter().filter(|field| !text.contains(&format!("`{field}`"))).collect();
    assert!(missing.is_empty(), "not in docs/formats.md: {missing:?}");
    assert!(found.len() > 50, "{}", found.len());
}

#[test]
fn every_key_of_a_suite_is_documented() {
    let text = documentation();
    for key in [
        "name",
        "version",
        "description",
        "licence",
        "revision",
        "source",
        "languages",
        "task",
        "file",
        "examples",
    ] {
        assert!(text.contains(&format!("`{key}`")), "{key}");
    }
    for key in ["[sha256]", "[prompts.", "system", "user", "{problem}", "problem", "answer", "solution"] {
        assert!(text.contains(key), "{key}");
    }
}
