//! Suites: what opens, and what is refused with the file, the line and the field.

use std::path::Path;

use xenoglot::eval::Suite;
use xenoglot::language::Language;

use super::{manifest, sha256, write_suite};

fn open(folder: &Path) -> Result<Suite, String> {
    Suite::open(folder.to_str().unwrap()).map_err(|error| error.to_string())
}

#[test]
fn a_suite_opens_whole() {
    let folder = tempfile::tempdir().unwrap();
    write_suite(folder.path());
    let suite = open(folder.path()).unwrap();
    assert_eq!((suite.name.as_str(), suite.languages.len(), suite.sha256.len()), ("small", 2, 64));
    let german = suite.language(Language::De).unwrap();
    assert_eq!(german.problems[0].answer, "42");
    assert_eq!(
        german.prompt.user_text("Was {problem}?"),
        "Was {problem}? Schreibe die Antwort in \\boxed{}."
    );
    assert_eq!(suite.language(Language::En).unwrap().prompt.system.as_deref(), Some("Think in English."));
}

#[test]
fn a_wrong_manifest_names_its_key() {
    let folder = tempfile::tempdir().unwrap();
    write_suite(folder.path());
    let path = folder.path().join("suite.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let check = |from: &str, to: &str, expected: &str| {
        assert!(good.contains(from), "{from}");
        std::fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(error.contains("suite.toml") && error.contains(expected), "{error}");
    };
    check("version = \"1\"\n", "", "version: is missing");
    check("version = \"1\"", "version = 1", "version: must be a string, not an integer");
    check("licence", "license", "unknown key \"license\"; did you mean \"licence\"?");
    check("task = \"math\"", "task = \"maths\"", "known: math, text");
    check("[\"en\", \"de\"]", "[\"en\", \"xx\"]", "unknown language \"xx\"");
    check("[\"en\", \"de\"]", "[\"en\", \"en\"]", "listed twice");
    check("[\"en\", \"de\"]", "[\"en\", \"th\"]", "prompts.th: is missing");
    check("[\"en\", \"de\"]", "[]", "languages: is empty");
    check("{language}.jsonl", "../{language}.jsonl", "file: must be a file name");
    check("\"de.jsonl\" =", "\"fr.jsonl\" =", "sha256.\"de.jsonl\": is missing; the file has");
    check(
        "[prompts.de]\nuser",
        "[prompts.de]\nusr",
        "unknown key \"prompts.de.usr\"; did you mean \"user\"?",
    );
    check("\"{problem} Schreibe", "\"Schreibe", "must hold {problem} exactly once");
    check("name =", "name", "suite.toml");
}

#[test]
fn a_wrong_problem_names_its_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    write_suite(folder.path());
    let german = std::fs::read_to_string(folder.path().join("de.jsonl")).unwrap();
    let english = std::fs::read_to_string(folder.path().join("en.jsonl")).unwrap();
    let check = |from: &str, to: &str, expected: &str| {
        let spoilt = german.replacen(from, to, 1);
        assert_ne!(spoilt, german);
        std::fs::write(folder.path().join("de.jsonl"), &spoilt).unwrap();
        std::fs::write(folder.path().join("suite.toml"), manifest(&english, &spoilt)).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(error.contains("de.jsonl") && error.contains(expected), "{error}");
    };
    check("\"p2\"", "\"p1\"", "line 2: id: \"p1\" is also the id of line 1");
    check("\"p2\"", "7", "line 2: id: must be a string");
    check("\"p2\"", "\" \"", "line 2: id: is empty");
    check("\"id\": \"p2\", ", "", "line 2: id: is missing");
    check("\"1/2\"", "\"one half\"", "line 3: answer: does not parse as a number");
    check(
        "\"answer\": \"42\"",
        "\"anwser\": \"42\"",
        "line 1: anwser: is no field of a problem; did you mean \"answer\"?",
    );
    check("{\"id\": \"p3\"", "[\"id\": \"p3\"", "line 3: not a JSON object");
    check(
        "{\"id\": \"p3\"",
        "{\"language\": \"th\", \"id\": \"p3\"",
        "line 3: language: is th in a file of de",
    );
}

#[test]
fn a_changed_file_and_a_missing_one_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write_suite(folder.path());
    let path = folder.path().join("de.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\n")).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(error.contains(&sha256(&format!("{text}\n"))) && error.contains(&sha256(&text)), "{error}");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(open(folder.path()).unwrap_err().contains("not UTF-8"));
    std::fs::remove_file(&path).unwrap();
    assert!(open(folder.path()).unwrap_err().contains("de.jsonl"));
}

#[test]
fn one_file_may_hold_all_languages() {
    let folder = tempfile::tempdir().unwrap();
    let text = concat!(
        "{\"id\": \"p1\", \"language\": \"en\", \"problem\": \"What is 1 + 1?\", \"answer\": \"2\"}\n",
        "{\"id\": \"p1\", \"language\": \"de\", \"problem\": \"Was ist 1 + 1?\", \"answer\": \"2\"}\n",
    );
    std::fs::write(folder.path().join("problems.jsonl"), text).unwrap();
    let toml = manifest("", "").replace("{language}.jsonl", "problems.jsonl").replacen(
        "[sha256]",
        &format!("[sha256]\n\"problems.jsonl\" = \"{}\"", sha256(text)),
        1,
    );
    std::fs::write(folder.path().join("suite.toml"), toml).unwrap();
    let suite = open(folder.path()).unwrap();
    assert!(suite.languages.iter().all(|entry| entry.problems.len() == 1));
}

#[test]
fn an_unknown_name_lists_the_places_and_the_known_suites() {
    let error = Suite::open("no-such-suite").unwrap_err().to_string();
    assert!(error.contains("eval-suites") && error.contains("no-such-suite"), "{error}");
}

#[test]
fn a_folder_without_a_manifest_is_told_what_a_suite_holds() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(folder.path()).unwrap_err();
    for part in ["holds no suite.toml", ".jsonl", "docs/formats.md", "built in", "xeno-word-problems"] {
        assert!(error.contains(part), "{error}");
    }
    // Also by a name without a slash, which is looked for among the suites first.
    assert!(Suite::open("src").unwrap_err().to_string().contains("src holds no suite.toml"));
}
