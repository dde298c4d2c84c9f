//! Runs against a scripted generator: complete, interrupted, resumed, refused, locked.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;
use xenoglot::eval::suite::Problem;
use xenoglot::eval::{EvalError, Outcome, Plan, Progress, RunConfig, RunFile, SampleRecord, Silent};
use xenoglot::language::Language;

use super::{Scripted, config, records, run_blocking};

fn never() -> watch::Receiver<bool> {
    watch::channel(false).1
}

/// Asks the run to stop once so many samples are done.
struct StopAfter {
    samples: usize,
    seen: AtomicUsize,
    stop: watch::Sender<bool>,
}

impl Progress for StopAfter {
    fn planned(&self, _plan: Plan) {}

    fn tokens(&self, _count: u64) {}

    fn sample(&self, _record: &SampleRecord) {
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.samples {
            self.stop.send(true).unwrap();
        }
    }
}

fn stop_after(config: RunConfig, generator: &Scripted, samples: usize) -> EvalError {
    let (stop, stopped) = watch::channel(false);
    let progress = StopAfter { samples, seen: AtomicUsize::new(0), stop };
    run_blocking(config, generator, &progress, stopped).unwrap_err()
}

#[test]
fn traces_begin_as_the_run_says() {
    let folder = tempfile::tempdir().unwrap();
    let with = |prefixes: [&str; 2]| {
        let mut config = RunConfig { thinking_prefix: true, ..config(folder.path(), 1) };
        for (language, prefix) in config.suite.languages.iter_mut().zip(prefixes) {
            language.prompt.thinking_prefix = (!prefix.is_empty()).then(|| prefix.to_owned());
        }
        config
    };
    let error = run_blocking(with(["So be it.", ""]), &Scripted::default(), &Silent, never()).unwrap_err();
    assert!(error.to_string().contains("thinking_prefix") && error.to_string().contains("de"), "{error}");
    let generator = Scripted::default();
    let report = run_blocking(with(["So be it.", "So sei es."]), &generator, &Silent, never()).unwrap();
    assert!(report.run.thinking_prefix);
    let mut openings: Vec<String> = generator.openings.lock().unwrap().iter().flatten().cloned().collect();
    openings.sort();
    openings.dedup();
    assert_eq!(openings, ["<think>\nSo be it.", "<think>\nSo sei es."]);
    let other = RunConfig { thinking_prefix: false, ..with(["So be it.", "So sei es."]) };
    let error = run_blocking(other, &Scripted::default(), &Silent, never()).unwrap_err();
    assert!(matches!(error, EvalError::DifferentRun { .. }), "{error}");
}

#[test]
fn a_run_writes_every_sample_once_and_scores_it() {
    let folder = tempfile::tempdir().unwrap();
    let report = run_blocking(config(folder.path(), 5), &Scripted::default(), &Silent, never()).unwrap();
    let samples = records(&folder.path().join("run"));
    assert_eq!((samples.len(), report.resumed), (30, 0));
    assert!(samples.windows(2).all(|pair| {
        (&pair[0].problem, pair[0].language, pair[0].sample)
            != (&pair[1].problem, pair[1].language, pair[1].sample)
    }));
    for sample in &samples {
        let right = match (sample.problem.as_str(), sample.completion.rsplit_once("\\boxed")) {
            ("p1", Some((_, "{42}"))) | ("p3", Some((_, "{\\frac12}"))) => true,
            // A thousand and more in German, a little over one in English.
            ("p2", Some((_, "{1.234}"))) => sample.language == Language::De,
            _ => false,
        };
        assert_eq!(sample.outcome == Outcome::Correct, right, "{sample:?}");
        let (start, end) = sample.span.unwrap_or_default();
        assert!(sample.answer.is_none() || !sample.completion[start..end].is_empty());
    }
    let count = |outcome| samples.iter().filter(|sample| sample.outcome == outcome).count() as f64 / 30.0;
    let overall = &report.results.overall;
    assert!((overall.outcomes.truncated - count(Outcome::Truncated)).abs() < 1e-12);
    assert!((overall.pass_at[&1].unwrap().mean - count(Outcome::Correct)).abs() < 1e-12);
    assert_eq!(overall.pass_at.len(), 5);
    assert!(report.run.complete && report.run.results.is_some());
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let whole = tempfile::tempdir().unwrap();
    let expected = run_blocking(config(whole.path(), 6), &Scripted::default(), &Silent, never()).unwrap();
    for samples in [1, 5, 13] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let error = stop_after(config(folder.path(), 6), &Scripted::default(), samples);
        assert!(
            matches!(error, EvalError::Interrupted { done, total: 36, .. } if done == samples),
            "{error}"
        );
        // What kill -9 leaves behind in the middle of a write.
        let mut file = std::fs::OpenOptions::new().append(true).open(out.join("samples.jsonl")).unwrap();
        file.write_all(b"{\"problem\": \"p1\", \"langu").unwrap();
        drop(file);
        let generator = Scripted::default();
        let report = run_blocking(config(folder.path(), 6), &generator, &Silent, never()).unwrap();
        assert_eq!(report.resumed, samples);
        assert_eq!(records(&out), records(&whole.path().join("run")));
        assert_eq!(report.results, expected.results);
        let asked: usize = generator.asked.lock().unwrap().iter().map(|(_, samples)| samples.len()).sum();
        assert_eq!(asked, 36 - samples, "finished samples are not generated again");
    }
}

#[test]
fn a_finished_run_is_reported_again_without_generating() {
    let folder = tempfile::tempdir().unwrap();
    let first = run_blocking(config(folder.path(), 2), &Scripted::default(), &Silent, never()).unwrap();
    let generator = Scripted::default();
    let second = run_blocking(config(folder.path(), 2), &generator, &Silent, never()).unwrap();
    assert_eq!(second.results, first.results);
    assert!(generator.asked.lock().unwrap().is_empty());
}

/// Reads run.json when the run is planned: what a kill in the middle would leave.
struct RunFileAtStart(PathBuf, Mutex<Option<RunFile>>);

impl Progress for RunFileAtStart {
    fn planned(&self, _plan: Plan) {
        *self.1.lock().unwrap() = Some(run_file(&self.0));
    }

    fn tokens(&self, _count: u64) {}

    fn sample(&self, _record: &SampleRecord) {}
}

fn run_file(path: &Path) -> RunFile {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_finished_run_keeps_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/run.json");
    run_blocking(config(folder.path(), 2), &Scripted::default(), &Silent, never()).unwrap();
    let mut finished = run_file(&path);
    (finished.started, finished.finished) = (1000, Some(2000));
    std::fs::write(&path, serde_json::to_vec(&finished).unwrap()).unwrap();
    let again = || {
        let progress = RunFileAtStart(path.clone(), Mutex::default());
        run_blocking(config(folder.path(), 2), &Scripted::default(), &progress, never()).unwrap();
        (progress.1.into_inner().unwrap().unwrap(), run_file(&path))
    };
    assert_eq!(again(), (finished.clone(), finished.clone()));
    // One whose samples were taken away is no longer finished.
    let samples = folder.path().join("run/samples.jsonl");
    let text = std::fs::read_to_string(&samples).unwrap();
    std::fs::write(&samples, text.split_inclusive('\n').skip(3).collect::<String>()).unwrap();
    let (start, end) = again();
    assert_eq!((start.started, start.finished, start.complete, start.results), (1000, None, false, None));
    assert!(end.complete && end.finished > Some(2000) && end.results == finished.results);
}

#[test]
fn another_configuration_is_refused_by_its_field() {
    let folder = tempfile::tempdir().unwrap();
    run_blocking(config(folder.path(), 2), &Scripted::default(), &Silent, never()).unwrap();
    let check = |change: fn(&mut RunConfig), field: &str| {
        let mut changed = config(folder.path(), 2);
        change(&mut changed);
        let error = run_blocking(changed, &Scripted::default(), &Silent, never()).unwrap_err();
        assert!(error.to_string().contains(&format!("{field} was")), "{error}");
    };
    check(|config| config.n = 3, "n");
    check(|config| config.seed = 8, "seed");
    check(|config| config.sampling.temperature = 1.0, "sampling.temperature");
    check(|config| config.sampling.max_tokens = 5, "sampling.max_tokens");
    check(|config| config.limit = Some(1), "limit");
    check(|config| config.languages = Some(vec![Language::De]), "languages");
    check(|config| config.suite.sha256 = "0".to_owned(), "suite.sha256");
    // How fast it goes does not matter.
    let faster = RunConfig { concurrency: 9, ..config(folder.path(), 2) };
    assert!(run_blocking(faster, &Scripted::default(), &Silent, never()).is_ok());
}

#[test]
fn other_weights_are_refused_where_both_are_known() {
    let check = |first: Option<&'static str>, second: Option<&'static str>, refused: bool| {
        let folder = tempfile::tempdir().unwrap();
        let run = |weights| {
            let generator = Scripted { weights, ..Scripted::default() };
            run_blocking(config(folder.path(), 2), &generator, &Silent, never())
        };
        run(first).unwrap();
        match run(second) {
            Ok(_) => assert!(!refused, "{first:?} {second:?}"),
            Err(error) => {
                assert!(
                    refused && error.to_string().contains("generator.weights_sha256 was \"a\""),
                    "{error}"
                );
            }
        }
    };
    check(Some("a"), Some("b"), true);
    check(Some("a"), Some("a"), false);
    check(None, Some("b"), false);
    check(Some("a"), None, false);
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let check = |change: fn(&mut RunConfig), expected: &str| {
        let mut changed = config(folder.path(), 2);
        change(&mut changed);
        let error = run_blocking(changed, &Scripted::default(), &Silent, never()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!folder.path().join("run").exists(), "nothing is written");
    };
    check(|config| config.n = 0, "n: ");
    check(|config| config.n = u32::MAX, "n: ");
    check(|config| config.limit = Some(0), "limit: ");
    check(|config| config.sampling.temperature = f32::NAN, "temperature");
    check(|config| config.sampling.top_p = 0.0, "top_p");
    check(|config| config.sampling.max_tokens = 0, "max_tokens");
    check(|config| config.languages = Some(vec![]), "languages: ");
    check(|config| config.languages = Some(vec![Language::Th]), "no problems in th; it has en, de");
}

#[test]
fn one_directory_takes_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    std::fs::create_dir_all(&out).unwrap();
    let lock = std::fs::File::create(out.join("lock")).unwrap();
    lock.try_lock().unwrap();
    let error = run_blocking(config(folder.path(), 1), &Scripted::default(), &Silent, never()).unwrap_err();
    assert!(matches!(error, EvalError::Locked { .. }), "{error}");
    drop(lock);
    assert!(run_blocking(config(folder.path(), 1), &Scripted::default(), &Silent, never()).is_ok());
}

#[test]
fn spoilt_files_are_named_by_line() {
    let folder = tempfile::tempdir().unwrap();
    run_blocking(config(folder.path(), 2), &Scripted::default(), &Silent, never()).unwrap();
    let samples = folder.path().join("run/samples.jsonl");
    let text = std::fs::read_to_string(&samples).unwrap();
    let check = |spoilt: String, expected: &str| {
        std::fs::write(&samples, spoilt).unwrap();
        let error =
            run_blocking(config(folder.path(), 2), &Scripted::default(), &Silent, never()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    let lines: Vec<&str> = text.lines().collect();
    check(text.replacen(lines[2], "{\"problem\": 3}", 1), "line 3");
    check(format!("{text}{}\n", lines[1]), "same sample as line 2");
    std::fs::write(&samples, &text).unwrap();
    std::fs::write(folder.path().join("run/run.json"), "{").unwrap();
    let error = run_blocking(config(folder.path(), 2), &Scripted::default(), &Silent, never()).unwrap_err();
    assert!(error.to_string().contains("run.json"), "{error}");
}

#[test]
fn a_refused_prompt_is_an_error_sample_and_not_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let generator = Scripted { refuse: vec!["p1-en".to_owned(), "p3-de".to_owned()], ..Scripted::default() };
    let report = run_blocking(config(folder.path(), 2), &generator, &Silent, never()).unwrap();
    let samples = records(&folder.path().join("run"));
    let errors: Vec<_> = samples.iter().filter(|sample| sample.outcome == Outcome::Error).collect();
    assert_eq!((samples.len(), errors.len()), (12, 4));
    assert_eq!(errors[0].error.as_deref(), Some("too long"));
    assert!((report.results.overall.outcomes.error - 4.0 / 12.0).abs() < 1e-12);
}

#[test]
fn a_run_that_is_refused_whole_writes_no_samples() {
    let folder = tempfile::tempdir().unwrap();
    let generator = Scripted { refuse_all: true, ..Scripted::default() };
    let error = run_blocking(config(folder.path(), 2), &generator, &Silent, never()).unwrap_err();
    assert!(
        matches!(&error, EvalError::Refused { count: 6, message, .. } if message == "too long"),
        "{error}"
    );
    assert!(records(&folder.path().join("run")).is_empty());
}

/// A configuration over so many problems in English alone.
fn many(folder: &Path, problems: usize) -> RunConfig {
    let mut config = config(folder, 1);
    config.languages = Some(vec![Language::En]);
    let english = config.suite.languages.iter_mut().find(|entry| entry.language == Language::En).unwrap();
    let first = english.problems[0].clone();
    english.problems = (0..problems).map(|i| Problem { id: format!("p{i}"), ..first.clone() }).collect();
    config
}

#[test]
fn a_set_up_that_breaks_while_a_run_is_stopped_leaves_no_error_samples() {
    let folder = tempfile::tempdir().unwrap();
    let error = stop_after(many(folder.path(), 40), &Scripted::default(), 5);
    assert!(matches!(error, EvalError::Interrupted { done: 5, .. }), "{error}");
    let broken = Scripted { refuse_all: true, ..Scripted::default() };
    let error = run_blocking(many(folder.path(), 40), &broken, &Silent, never()).unwrap_err();
    // 10, a language, and two in flight.
    assert!(matches!(error, EvalError::Refused { count: 13, done: 5, total: 40, .. }), "{error}");
    assert_eq!(records(&folder.path().join("run")).len(), 5);
    let report = run_blocking(many(folder.path(), 40), &Scripted::default(), &Silent, never()).unwrap();
    assert_eq!((report.resumed, report.results.overall.outcomes.error), (5, 0.0));
}

#[test]
fn refusals_are_counted_from_the_last_success() {
    let check = |refused: &[usize], errors: Result<usize, usize>| {
        let folder = tempfile::tempdir().unwrap();
        let refuse = refused.iter().map(|i| format!("p{i}-en")).collect();
        let generator = Scripted { refuse, ..Scripted::default() };
        let outcome = run_blocking(many(folder.path(), 40), &generator, &Silent, never());
        let found = records(&folder.path().join("run"));
        let written = found.iter().filter(|sample| sample.outcome == Outcome::Error).count();
        match errors {
            Ok(errors) => assert_eq!((outcome.unwrap().results.overall.samples, written), (40, errors)),
            Err(kept) => {
                let error = outcome.unwrap_err();
                assert!(matches!(error, EvalError::Refused { .. }), "{error}");
                // The other slot's sample may be cut off while it is judged; it is asked for again.
                assert!((kept - 1..=kept).contains(&found.len()), "{} of {kept}", found.len());
                assert_eq!(written, 0);
            }
        }
    };
    check(&(0..8).chain(12..20).chain(24..32).collect::<Vec<_>>(), Ok(24));
    check(&(30..40).collect::<Vec<_>>(), Ok(10));
    check(&(20..40).collect::<Vec<_>>(), Err(20));
}

#[test]
fn a_server_that_goes_away_stops_the_run_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let generator = Scripted { gone_at: Some("p2-en"), ..Scripted::default() };
    let error = run_blocking(config(folder.path(), 4), &generator, &Silent, never()).unwrap_err();
    assert!(matches!(&error, EvalError::Generator { message, .. } if message == "gone"), "{error}");
    let kept = records(&folder.path().join("run")).len();
    let report = run_blocking(config(folder.path(), 4), &Scripted::default(), &Silent, never()).unwrap();
    assert!(kept > 0 && report.resumed == kept && report.results.overall.samples == 24);
}
