//! docs/formats.md names every field that is written, and every key of a suite.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use xenoglot::eval::compare::{CompareOptions, compare};
use xenoglot::eval::{Session, Silent, StoredRun, Usage};

use super::{Scripted, config, run_blocking};

/// Maps whose keys are data: language codes, and k.
const DATA: [&str; 7] =
    ["off_target", "pass_at", "pass_at_present", "consistent_pass_at", "pass_all_at", "majority_at", "files"];

/// The names of all fields below a value.
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
    page("docs/formats.md")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

/// What stands below a heading, up to the next one.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let heading = format!("\n### {heading}\n");
    let (_, text) = page.split_once(&heading).unwrap_or_else(|| panic!("no {heading}"));
    text.split_once("\n#").map_or(text, |(text, _)| text)
}

/// The names in the first column of a section's table.
fn rows(section: &str) -> BTreeSet<&str> {
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

/// The fields of a record that its section lacks: its own need a row of the table, those below them a mention.
fn missing(record: &Value, section: &str) -> BTreeSet<String> {
    let rows = rows(section);
    let mut missing = BTreeSet::new();
    for (name, value) in record.as_object().expect("a record") {
        let mut below = BTreeSet::new();
        // As in a record of its own, so that keys that are data are told apart.
        fields(&json!({name: value}), &mut below);
        below.remove(name);
        missing.extend(below.into_iter().filter(|field| !section.contains(&format!("`{field}`"))));
        missing.extend((!rows.contains(name.as_str())).then(|| name.clone()));
    }
    missing
}

#[test]
fn every_field_is_documented() {
    let folder = tempfile::tempdir().unwrap();
    let stop = tokio::sync::watch::channel(false).1;
    run_blocking(config(folder.path(), 5), &Scripted::default(), &Silent, stop).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join("run").join(name)).unwrap();
    let page = documentation();
    let mut count = 0;
    let mut check = |record: &Value, heading: &str| {
        let missing = missing(record, section(&page, heading));
        assert!(missing.is_empty(), "not in {heading} of docs/formats.md: {missing:?}");
        count += record.as_object().map_or(0, serde_json::Map::len);
    };
    let mut run: Value = serde_json::from_str(&read("run.json")).unwrap();
    let results = run["results"].take();
    check(&run, "run.json");
    check(&results["overall"], "results");
    for entry in results["languages"].as_array().unwrap() {
        check(entry, "results");
    }
    let samples = read("samples.jsonl");
    for line in samples.lines() {
        check(&serde_json::from_str(line).unwrap(), "samples.jsonl");
    }
    assert!(count > 500, "{count}");
}

#[test]
fn every_field_of_a_comparison_and_a_session_is_documented() {
    let folder = tempfile::tempdir().unwrap();
    let stop = tokio::sync::watch::channel(false).1;
    run_blocking(config(folder.path(), 2), &Scripted::default(), &Silent, stop).unwrap();
    let stored = StoredRun::open(&folder.path().join("run")).unwrap();
    let mut comparison = json!(compare(&stored, &stored, &CompareOptions::default()).unwrap());
    let pair = json!({"problem": "p1", "language": "de", "a": 1, "b": 0});
    (comparison["a_right_b_wrong"], comparison["b_right_a_wrong"]) = (json!([pair]), json!([pair]));
    let page = documentation();
    // What stands below the table belongs to the section too.
    assert_eq!(missing(&comparison, section(&page, "compare --json")), BTreeSet::new());
    let session =
        Session { started: 1, finished: 2, complete: true, usage: Usage::default(), cost: Some(1.0) };
    assert_eq!(missing(&json!(session), section(&page, "sessions.jsonl")), BTreeSet::new());
}

#[test]
fn a_field_is_missed_where_another_record_has_it() {
    let page = documentation();
    let check = |record: Value, heading: &str, expected: &[&str]| {
        let missing = missing(&record, section(&page, heading));
        assert_eq!(missing.iter().collect::<Vec<_>>(), expected, "{heading}: {record}");
    };
    check(json!({"seed": 1, "sampling": {"top_p": 1}}), "run.json", &[]);
    check(json!({"span": 1, "kind": 1, "sampling": {"boxes": 1}}), "run.json", &["boxes", "kind", "span"]);
    check(json!({"seed": 1, "version": 1}), "samples.jsonl", &["version"]);
    check(json!({"pass_at": {"1": {"mean": 1, "gold": 1}}, "n": 1}), "results", &["gold", "n"]);
}

#[test]
fn every_key_of_a_suite_is_documented() {
    let page = page("docs/suites.md");
    let check = |heading: &str, keys: &[&str]| {
        let rows = rows(section(&page, heading));
        for key in keys {
            assert!(rows.contains(key), "{heading}: {key}");
        }
    };
    check(
        "suite.toml",
        &["format", "name", "version", "description", "licence", "revision", "source", "languages"],
    );
    check("suite.toml", &["task", "scorers", "file", "keep", "examples", "number_golds", "prompts"]);
    check("suite.toml", &["[sha256]", "[data]", "[fields]", "[choices]", "[sampling]"]);
    check("data", &["dataset", "config", "split", "revision", "url", "gated", "folder", "file", "files"]);
    check("data", &["format", "header", "quoted", "sha256", "where", "problems"]);
    check("fields", &["id", "problem", "template", "answer", "language", "gold", "names", "keep", "json"]);
    check("choices", &["values", "columns", "list", "labels", "correct", "shuffle", "seed"]);
    check("sampling", &["n", "k", "shots", "temperature", "top_p", "top_k", "min_p", "max_tokens"]);
    check("sampling", &["thinking_prefix"]);
    check("Prompts", &["system", "user", "thinking_prefix", "choice", "between_choices"]);
    check("Problem files", &["id", "problem", "answer", "choices", "language"]);
    check("Example files", &["problem", "solution", "language"]);
    for rule in ["after-hashes", "thousands-commas", "integer", "dollars"] {
        assert!(section(&page, "fields").contains(&format!("`{rule}`")), "{rule}");
    }
    // The list of shipped suites is whole.
    let listed = rows(section(&page, "Shipped suites"));
    let shipped = shipped();
    assert_eq!(listed.into_iter().filter(|name| !shipped.contains(*name)).collect::<Vec<_>>(), [""; 0]);
    let missing: Vec<_> = shipped.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "not in docs/suites.md: {missing:?}");
}

/// The suites of the repository.
fn shipped() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("eval-suites");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let suites = entries.filter(|path| path.join("suite.toml").is_file());
    suites.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}
