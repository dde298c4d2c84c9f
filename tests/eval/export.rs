//! A run in other tools' forms, and judged again.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use xenoglot::eval::export::{ExportFormat, SftOptions, SuiteSource, export};
use xenoglot::eval::rescore::{RescoreOptions, rescore};
use xenoglot::eval::{EvalError, Finish, Outcome, Results, ScorerOptions, Silent, StoredRun};

use super::{Scripted, config, records, run_blocking};

fn finished(folder: &Path, n: u32) -> StoredRun {
    let never = tokio::sync::watch::channel(false).1;
    let generator = Scripted { refuse: vec!["p3-en".to_owned()], ..Scripted::default() };
    run_blocking(config(folder, n), &generator, &Silent, never).unwrap();
    StoredRun::open(&folder.join("run")).unwrap()
}

/// The run's own suite is not found by its name here.
fn options(folder: &Path) -> SftOptions {
    let name = Some(folder.join("suite").display().to_string());
    SftOptions { suite: SuiteSource { name, ..SuiteSource::default() }, ..SftOptions::default() }
}

fn exported(run: &StoredRun, format: ExportFormat, sft: &SftOptions) -> (String, usize) {
    let mut out = Vec::new();
    let count = export(run, format, sft, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), count)
}

#[test]
fn jsonl_is_each_sample_with_what_names_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(folder.path(), 4);
    let (text, count) = exported(&run, ExportFormat::Jsonl, &options(folder.path()));
    let samples = std::fs::read_to_string(run.directory.join("samples.jsonl")).unwrap();
    assert_eq!((text.lines().count(), count), (24, 24));
    for (line, sample) in text.lines().zip(samples.lines()) {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        assert_eq!(
            (fields.remove("suite"), fields.remove("model")),
            (Some(json!("small")), Some(json!("scripted")))
        );
        assert_eq!(line, serde_json::from_str::<Value>(sample).unwrap());
    }
}

#[test]
fn csv_has_a_row_a_sample() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(folder.path(), 4);
    let (text, count) = exported(&run, ExportFormat::Csv, &options(folder.path()));
    let mut table = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<HashMap<String, String>> = table.deserialize().map(Result::unwrap).collect();
    assert_eq!((rows.len(), count), (24, 24));
    let samples = std::fs::read_to_string(run.directory.join("samples.jsonl")).unwrap();
    for (row, sample) in rows.iter().zip(samples.lines()) {
        let sample: Value = serde_json::from_str(sample).unwrap();
        for field in ["problem", "language", "outcome", "completion", "gold", "finish"] {
            assert_eq!(row[field], sample[field], "{field}");
        }
        assert_eq!(row["sample"], sample["sample"].to_string());
        assert_eq!(row["verdict"].is_empty(), sample["verdict"].is_null());
    }
}

#[test]
fn the_results_as_lm_eval_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(folder.path(), 4);
    let (text, count) = exported(&run, ExportFormat::LmEval, &options(folder.path()));
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(count, 2);
    let results = run.file.results.as_ref().unwrap();
    for group in &results.languages {
        let task = format!("small_{}", group.language.unwrap());
        let metrics = &found["results"][&task];
        assert_eq!(metrics["alias"], task);
        assert_eq!(metrics["acc,none"], group.pass_at[&1].unwrap().mean);
        assert_eq!(metrics["pass@4,none"], group.pass_at[&4].unwrap().mean);
        assert_eq!(found["n-samples"][&task], json!({"original": 3, "effective": 3}));
        assert_eq!((&found["n-shot"][&task], &found["versions"][&task]), (&json!(0), &json!("1")));
        assert_eq!(found["configs"][&task]["repeats"], 4);
        assert_eq!(found["configs"][&task]["output_type"], "generate_until");
        let directions = found["higher_is_better"][&task].as_object().unwrap();
        let named = directions.keys().all(|name| metrics.get(format!("{name},none")).is_some());
        assert!(named && directions.contains_key("maj@4") && directions.contains_key("language_accuracy"));
        // Three problems, one value each: s / sqrt(3).
        let language = group.language.unwrap();
        let shares: Vec<f64> = ["p1", "p2", "p3"]
            .iter()
            .map(|problem| {
                let of = |s: &&_| {
                    let s: &xenoglot::eval::SampleRecord = s;
                    s.problem == *problem && s.language == language
                };
                let records = records(&run.directory);
                records.iter().filter(of).filter(|s| s.outcome == Outcome::Correct).count() as f64 / 4.0
            })
            .collect();
        let mean = shares.iter().sum::<f64>() / 3.0;
        let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 2.0;
        let error = metrics["acc_stderr,none"].as_f64().unwrap();
        assert!((error - (variance / 3.0).sqrt()).abs() < 1e-12, "{error}");
    }
    assert_eq!(found["group_subtasks"]["small"], json!(["small_en", "small_de"]));
    assert_eq!(found["groups"]["small"]["acc,none"], results.overall.pass_at[&1].unwrap().mean);
    assert_eq!((&found["n-shot"]["small"], &found["versions"]["small"]), (&json!(0), &json!("1")));
    assert_eq!(found["config"]["gen_kwargs"]["temperature"], 0.6);
    assert_eq!(found["config"]["model_args"], "pretrained=scripted");
}

#[test]
fn markdown_is_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = finished(folder.path(), 2);
    run.file.generator.model = "a|b <i>".to_owned();
    let (text, count) = exported(&run, ExportFormat::Markdown, &options(folder.path()));
    let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!((table.len(), count), (5, 3));
    let columns = |line: &str| line.matches(" | ").count();
    assert!(table.iter().all(|line| columns(line) == columns(table[0])), "{text}");
    assert!(text.contains(r"a\|b \<i\>") && table[1].starts_with("| :-- | --: |"), "{text}");
    // Results are what there is none of before the end.
    run.file.results = None;
    for format in [ExportFormat::Markdown, ExportFormat::LmEval] {
        let error = export(&run, format, &options(folder.path()), &mut Vec::new()).unwrap_err();
        assert!(matches!(error, EvalError::Unfinished { .. }), "{error}");
    }
}

/// The lines of a training set.
fn chats(run: &StoredRun, options: &SftOptions) -> Vec<Value> {
    let (text, count) = exported(run, ExportFormat::Sft, options);
    let chats: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(chats.len(), count);
    chats
}

#[test]
fn a_training_set_is_what_is_correct_and_follows() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(folder.path(), 60);
    let found = chats(&run, &options(folder.path()));
    let samples = records(&run.directory);
    let mut of_problem: HashMap<(String, String), usize> = HashMap::new();
    for chat in &found {
        let language: xenoglot::language::Language = chat["language"].as_str().unwrap().parse().unwrap();
        let matches = |s: &&xenoglot::eval::SampleRecord| {
            s.problem == chat["problem"].as_str().unwrap()
                && s.language == language
                && s.sample == chat["sample"]
        };
        let sample = samples.iter().find(matches).unwrap();
        assert_eq!(
            (sample.outcome, sample.following, sample.finish),
            (Outcome::Correct, Some(true), Finish::Stop)
        );
        let messages = chat["messages"].as_array().unwrap();
        let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
        let german = chat["language"] == "de";
        assert_eq!(roles, if german { &["user", "assistant"][..] } else { &["system", "user", "assistant"] });
        assert_eq!(messages.last().unwrap()["content"], sample.completion.as_str());
        let asked = messages[messages.len() - 2]["content"].as_str().unwrap();
        assert!(asked.contains(if german { "Schreibe die Antwort" } else { "Put the answer" }), "{asked}");
        *of_problem.entry((chat["language"].to_string(), chat["problem"].to_string())).or_default() += 1;
    }
    // The scripted model says the same whenever it is right: one of 12 of a problem stays.
    assert!(!found.is_empty() && of_problem.values().all(|count| *count == 1), "{of_problem:?}");
    let right: BTreeSet<_> = samples
        .iter()
        .filter(|s| s.outcome == Outcome::Correct && s.following == Some(true) && s.finish == Finish::Stop)
        .map(|s| (s.problem.clone(), s.language))
        .collect();
    assert_eq!(found.len(), right.len());
}

/// Make every completion another one, so that none is dropped as a double.
fn number_completions(run: &StoredRun) {
    let path = run.directory.join("samples.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let numbered = text.lines().enumerate().map(|(number, line)| {
        let mut sample: Value = serde_json::from_str(line).unwrap();
        let completion = format!("{} [{number}]", sample["completion"].as_str().unwrap());
        sample["completion"] = completion.into();
        format!("{sample}\n")
    });
    std::fs::write(&path, numbered.collect::<String>()).unwrap();
}

#[test]
fn a_problem_gives_at_most_so_many_whatever_the_order_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(folder.path(), 60);
    number_completions(&run);
    let found = chats(&run, &options(folder.path()));
    let mut counts: HashMap<String, usize> = HashMap::new();
    for chat in &found {
        *counts.entry(format!("{}{}", chat["problem"], chat["language"])).or_default() += 1;
    }
    assert!(
        counts.values().all(|count| *count <= 4) && counts.values().any(|count| *count == 4),
        "{counts:?}"
    );
    let other = chats(&run, &SftOptions { seed: 1, ..options(folder.path()) });
    assert!(other.len() == found.len() && other != found);
    let more = chats(&run, &SftOptions { per_problem_max: 100, ..options(folder.path()) });
    assert!(more.len() > found.len());
    let path = run.directory.join("samples.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let reversed: String = text.split_inclusive('\n').rev().collect();
    std::fs::write(&path, reversed).unwrap();
    assert_eq!(chats(&run, &options(folder.path())), found);
}

#[test]
fn prompts_are_those_of_the_suite_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = finished(folder.path(), 2);
    run.file.suite.sha256 = "0".repeat(64);
    let error = export(&run, ExportFormat::Sft, &options(folder.path()), &mut Vec::new()).unwrap_err();
    assert!(matches!(error, EvalError::SuiteChanged { .. }), "{error}");
    let again = RescoreOptions {
        suite: options(folder.path()).suite,
        out: folder.path().join("new"),
        scorers: ScorerOptions::default(),
    };
    assert!(matches!(rescore(&run, &again), Err(EvalError::SuiteChanged { .. })));
}

#[test]
fn judging_again_by_the_same_rules_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(folder.path(), 40);
    let options = RescoreOptions {
        suite: options(folder.path()).suite,
        out: folder.path().join("again"),
        scorers: ScorerOptions::default(),
    };
    let report = rescore(&run, &options).unwrap();
    assert_eq!((report.samples, report.changed.len()), (240, 0));
    let again = StoredRun::open(&options.out).unwrap();
    assert_eq!(again.file, run.file);
    let read = |run: &StoredRun| std::fs::read(run.directory.join("samples.jsonl")).unwrap();
    assert!(read(&again) == read(&run), "samples are the same, byte for byte");
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.count(), 3, "nothing is left beside suite, run and again");
    assert!(matches!(rescore(&run, &options), Err(EvalError::OutExists { .. })));
}

#[test]
fn judging_again_mends_what_was_judged_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished(folder.path(), 10);
    let path = run.directory.join("samples.jsonl");
    let right = std::fs::read_to_string(&path).unwrap();
    let mut spoilt = String::new();
    for line in right.lines() {
        let mut sample: Value = serde_json::from_str(line).unwrap();
        if sample["outcome"] == "correct" {
            (sample["outcome"], sample["verdict"]) = ("wrong".into(), "wrong".into());
        }
        spoilt += &sample.to_string();
        spoilt.push('\n');
    }
    std::fs::write(&path, spoilt).unwrap();
    let expected = run.file.results.clone().unwrap();
    assert_eq!(Results::so_far(&run).unwrap().overall.pass_at[&1].unwrap().mean, 0.0);
    let options = RescoreOptions {
        suite: options(folder.path()).suite,
        out: folder.path().join("mended"),
        scorers: ScorerOptions::default(),
    };
    let report = rescore(&run, &options).unwrap();
    let correct = right.lines().filter(|line| line.contains("\"outcome\":\"correct\"")).count();
    assert_eq!(report.changed, HashMap::from([((Outcome::Wrong, Outcome::Correct), correct)]));
    assert_eq!(report.run.results, Some(expected));
    // A file that breaks in the middle leaves no directory.
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"problem\": 3}\n").unwrap();
    let options = RescoreOptions { out: folder.path().join("broken"), ..options };
    assert!(matches!(rescore(&run, &options), Err(EvalError::BadRecord { line: 61, .. })));
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.count(), 3);
}
