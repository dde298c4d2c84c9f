//! Two finished runs side by side, against numbers worked out from their records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use xenoglot::eval::compare::{CompareOptions, Comparison, ProblemPair, Which, compare, table};
use xenoglot::eval::{EvalError, Metric, Outcome, RunConfig, SampleRecord, Silent, StoredRun};
use xenoglot::language::Language;

use super::{Scripted, config, records, run_blocking, write_suite};

/// Runs that differ in their seed, so in what the scripted model says.
fn runs(folder: &Path, n: u32) -> (StoredRun, StoredRun) {
    let run = |name: &str, seed: u64| {
        let config = RunConfig { out: folder.join(name), seed, ..config(folder, n) };
        let never = tokio::sync::watch::channel(false).1;
        run_blocking(config, &Scripted::default(), &Silent, never).unwrap();
        StoredRun::open(&folder.join(name)).unwrap()
    };
    (run("a", 7), run("b", 8))
}

fn is_right(sample: &SampleRecord) -> bool {
    sample.outcome == Outcome::Correct
}

/// The share of samples for which it holds, by problem.
fn shares(run: &StoredRun, language: Language, holds: fn(&SampleRecord) -> bool) -> BTreeMap<String, f64> {
    let mut counts: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for sample in records(&run.directory).iter().filter(|sample| sample.language == language) {
        let (held, all) = counts.entry(sample.problem.clone()).or_default();
        *held += f64::from(holds(sample));
        *all += 1.0;
    }
    counts.into_iter().map(|(problem, (held, all))| (problem, held / all)).collect()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-12
}

#[test]
fn differences_are_those_of_the_records() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = runs(folder.path(), 5);
    let follows = |sample: &SampleRecord| sample.following == Some(true);
    let both = |sample: &SampleRecord| sample.outcome == Outcome::Correct && sample.following == Some(true);
    let check = |metric: Metric, holds: fn(&SampleRecord) -> bool| {
        let options = CompareOptions { metric, ..CompareOptions::default() };
        let found = compare(&a, &b, &options).unwrap();
        assert_eq!(found.languages.len(), 2);
        for entry in &found.languages {
            let language = entry.language.unwrap();
            let (first, second) = (shares(&a, language, holds), shares(&b, language, holds));
            let mean = |shares: &BTreeMap<String, f64>| shares.values().sum::<f64>() / 3.0;
            assert_eq!(entry.paired.problems, 3);
            assert!(near(entry.paired.a, mean(&first)) && near(entry.paired.b, mean(&second)), "{entry:?}");
            let differences: Vec<f64> = first.iter().map(|(problem, a)| second[problem] - a).collect();
            let seen: f64 = differences.iter().sum();
            assert!(near(entry.paired.difference.mean, seen / 3.0));
            // All eight assignments of signs.
            let sums = (0..8).map(|signs| {
                let signed = |(i, size): (usize, &f64)| if signs >> i & 1 == 1 { -size } else { *size };
                differences.iter().enumerate().map(signed).sum::<f64>()
            });
            let as_far = sums.filter(|sum| sum.abs() >= seen.abs() - 1e-9).count() as f64 / 8.0;
            assert!(near(entry.paired.permutation.p, as_far), "{entry:?}");
            // Two languages: Holm doubles the smaller p-value, and the larger is at least that.
            assert!(
                entry.p_holm.unwrap() >= as_far && entry.p_holm.unwrap() <= (2.0 * as_far).min(1.0) + 1e-12
            );
        }
        found
    };
    let pass = check(Metric::Pass, is_right);
    check(Metric::Consistent, both);
    check(Metric::Following, follows);
    check_overall(&pass, &a, &b);
    check_problems(&pass, &a, &b);
}

/// A problem counts once, with the mean of its languages.
fn check_overall(found: &Comparison, a: &StoredRun, b: &StoredRun) {
    let overall = found.overall.as_ref().unwrap();
    let mean = |run: &StoredRun| {
        let right = records(&run.directory).iter().filter(|sample| is_right(sample)).count();
        right as f64 / 30.0
    };
    assert_eq!((overall.language, overall.paired.problems, overall.p_holm), (None, 3, None));
    assert!(near(overall.paired.a, mean(a)) && near(overall.paired.b, mean(b)), "{overall:?}");
}

fn check_problems(found: &Comparison, a: &StoredRun, b: &StoredRun) {
    let mut expected = 0;
    for entry in &found.languages {
        let agreement = entry.agreement;
        let of =
            |list: &[ProblemPair]| list.iter().filter(|pair| Some(pair.language) == entry.language).count();
        assert_eq!(
            (agreement.only_a, agreement.only_b),
            (of(&found.a_right_b_wrong), of(&found.b_right_a_wrong))
        );
        let all = agreement.both + agreement.only_a + agreement.only_b + agreement.neither;
        assert_eq!(all, entry.paired.problems);
    }
    for language in [Language::En, Language::De] {
        let (first, second) = (shares(a, language, is_right), shares(b, language, is_right));
        expected += first.iter().filter(|(problem, a)| **a >= 0.5 && second[*problem] < 0.5).count();
        for (list, leads) in [(&found.a_right_b_wrong, &first), (&found.b_right_a_wrong, &second)] {
            for pair in list.iter().filter(|pair| pair.language == language) {
                assert!(leads[&pair.problem] >= 0.5 && (pair.a < 0.5) != (pair.b < 0.5), "{pair:?}");
                assert!(near(pair.a, first[&pair.problem]) && near(pair.b, second[&pair.problem]));
            }
        }
    }
    assert_eq!(found.a_right_b_wrong.len(), expected);
}

#[test]
fn a_run_against_itself_differs_in_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (a, _) = runs(folder.path(), 4);
    let found = compare(&a, &a, &CompareOptions { k: 2, ..CompareOptions::default() }).unwrap();
    for entry in found.languages.iter().chain(&found.overall) {
        assert_eq!(
            (entry.paired.difference.mean, entry.paired.permutation.p, entry.dominated),
            (0.0, 1.0, None)
        );
        assert_eq!(entry.paired.standard_error, Some(0.0));
    }
    assert_eq!((found.dominated.a, found.dominated.b, found.dominated.languages), (0, 0, 2));
    assert!(found.a_right_b_wrong.is_empty() && found.b_right_a_wrong.is_empty());
}

/// Rewrite a run's samples.
fn edit(run: &StoredRun, change: impl Fn(&mut serde_json::Value) -> bool) {
    let path = run.directory.join("samples.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let kept = text.lines().filter_map(|line| {
        let mut value = serde_json::from_str(line).unwrap();
        change(&mut value).then(|| format!("{value}\n"))
    });
    std::fs::write(&path, kept.collect::<String>()).unwrap();
}

#[test]
fn a_run_that_is_worse_in_both_is_dominated() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = runs(folder.path(), 3);
    edit(&a, |sample| {
        sample["outcome"] = "wrong".into();
        sample["following"] = false.into();
        true
    });
    edit(&b, |sample| {
        sample["outcome"] = if sample["language"] == "de" { "correct" } else { "wrong" }.into();
        sample["following"] = (sample["language"] == "de").into();
        true
    });
    let found = compare(&a, &b, &CompareOptions::default()).unwrap();
    assert_eq!((found.dominated.a, found.dominated.b, found.dominated.languages), (1, 0, 2));
    let german = found.languages.iter().find(|entry| entry.language == Some(Language::De)).unwrap();
    assert_eq!((german.dominated, german.paired.difference.mean), (Some(Which::A), 1.0));
    // Three differences of 1: two of eight signs are as far out, doubled by Holm.
    assert_eq!((german.paired.permutation.p, german.p_holm), (0.25, Some(0.5)));
    assert_eq!(found.b_right_a_wrong.len(), 3);
    let text = table::table(&found, 2);
    for expected in ["A in 1 of 2 languages, B in 0", "+100.0", "B right, A wrong: 3 problems", "and 1 more"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn only_what_both_have_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = runs(folder.path(), 3);
    edit(&b, |sample| !(sample["language"] == "en" && sample["problem"] == "p2"));
    let found = compare(&a, &b, &CompareOptions::default()).unwrap();
    let problems: Vec<usize> = found.languages.iter().map(|entry| entry.paired.problems).collect();
    assert_eq!((problems, found.unpaired), (vec![2, 3], 1));
    edit(&b, |sample| sample["sample"] == 0);
    let error = compare(&a, &b, &CompareOptions { k: 2, ..CompareOptions::default() }).unwrap_err();
    assert!(matches!(error, EvalError::NothingShared { .. }), "{error}");
    // What a write leaves that was cut off is not there.
    let path = a.directory.join("samples.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}{{\"problem\": \"p1\"")).unwrap();
    assert!(compare(&a, &b, &CompareOptions::default()).is_ok());
    std::fs::write(&path, format!("{{\"problem\": 3}}\n{text}")).unwrap();
    let error = compare(&a, &b, &CompareOptions::default()).unwrap_err().to_string();
    assert!(error.contains("samples.jsonl, line 1"), "{error}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (a, mut b) = runs(folder.path(), 3);
    for k in [0, 4] {
        let error = compare(&a, &b, &CompareOptions { k, ..CompareOptions::default() }).unwrap_err();
        assert!(matches!(error, EvalError::InvalidSetting { field: "k", .. }), "{error}");
    }
    b.file.suite.sha256 = "0".repeat(64);
    b.file.suite.definition_sha256 = "0".repeat(64);
    let error = compare(&a, &b, &CompareOptions::default()).unwrap_err().to_string();
    assert!(error.contains("different suites") && error.contains("--force"), "{error}");
    assert!(compare(&a, &b, &CompareOptions { force: true, ..CompareOptions::default() }).is_ok());
    let error = StoredRun::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("holds no run"), "{error}");
}

#[test]
fn runs_are_found_below_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = runs(folder.path(), 1);
    std::fs::create_dir(folder.path().join("broken")).unwrap();
    std::fs::write(folder.path().join("broken/run.json"), "{").unwrap();
    let found = StoredRun::below(folder.path()).unwrap();
    let names: Vec<PathBuf> = found.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(names, [a.directory.clone(), b.directory, folder.path().join("broken")]);
    assert!(found[2].1.is_err() && found[0].1.is_ok());
    assert_eq!(StoredRun::below(&a.directory).unwrap().len(), 1);
    // A suite's folder is no run.
    let other = tempfile::tempdir().unwrap();
    write_suite(other.path());
    assert!(StoredRun::below(other.path()).unwrap().is_empty());
}
