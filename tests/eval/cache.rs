//! Completions that were drawn before come from the cache, and only those.

use std::path::Path;
use std::sync::Arc;

use xenoglot::eval::{
    CacheStore, CachedGenerator, ChoiceGenerator, EvalError, Generator, Metered, RunConfig, RunReport,
    Sampling, Silent, Usage, weights_sha256,
};

use super::{Scripted, config, records, run_blocking};

fn store(folder: &Path) -> Arc<CacheStore> {
    Arc::new(CacheStore::open(&folder.join("cache"), 1 << 20).unwrap())
}

/// The samples asked of the scripted generator itself, and the run.
fn cached_run(config: RunConfig, cache: Arc<CacheStore>, weights: &str) -> (usize, Usage, RunReport) {
    let generator = Metered::new(CachedGenerator::new(Scripted::default(), cache, Some(weights.to_owned())));
    let never = tokio::sync::watch::channel(false).1;
    let report = run_blocking(config, &generator, &Silent, never).unwrap();
    let usage = generator.total();
    (report.results.overall.samples - usage.cached_samples as usize, usage, report)
}

#[test]
fn a_run_is_drawn_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, n: u32| RunConfig { out: folder.path().join(name), ..config(folder.path(), n) };
    let check = |config: RunConfig, weights: &str, drawn: usize| {
        let out = config.out.clone();
        let (found, _, report) = cached_run(config, store(folder.path()), weights);
        assert_eq!(found, drawn, "{}", out.display());
        report
    };
    let first = check(at("first", 4), "w1", 24);
    let again = check(at("again", 4), "w1", 0);
    assert_eq!(again.results, first.results);
    assert_eq!(records(&folder.path().join("again")), records(&folder.path().join("first")));
    // More samples: those there are stay. What decides a completion draws it anew.
    check(at("more", 6), "w1", 12);
    check(at("weights", 4), "w2", 24);
    check(RunConfig { seed: 8, ..at("seed", 4) }, "w1", 24);
    let sampling = Sampling { temperature: 0.7, ..Sampling::default() };
    check(RunConfig { sampling, ..at("sampling", 4) }, "w1", 24);
    let mut prompt = at("prompt", 4);
    prompt.suite.languages[0].prompt.user.push('!');
    check(prompt, "w1", 12);
    // How many are asked at once does not.
    check(RunConfig { concurrency: 5, ..at("concurrency", 4) }, "w1", 0);
}

#[test]
fn what_is_broken_is_drawn_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| RunConfig { out: folder.path().join(name), ..config(folder.path(), 4) };
    let (_, _, first) = cached_run(at("first"), store(folder.path()), "w");
    let shards = std::fs::read_dir(folder.path().join("cache")).unwrap();
    let files = shards.flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap());
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 24);
    files.sort();
    std::fs::write(&files[0], "").unwrap();
    std::fs::write(&files[1], "{\"key\"").unwrap();
    std::fs::copy(&files[3], &files[2]).unwrap();
    let (drawn, usage, again) = cached_run(at("again"), store(folder.path()), "w");
    assert_eq!((drawn, usage.cached_samples), (3, 21));
    assert_eq!(again.results, first.results);
    // What was drawn again is there again.
    assert_eq!(cached_run(at("third"), store(folder.path()), "w").0, 0);
}

#[test]
fn refused_prompts_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let inner = Scripted { refuse: vec!["p1-en".to_owned()], ..Scripted::default() };
    let identity = inner.identity();
    let generator = CachedGenerator::new(inner, store(folder.path()), None);
    assert_eq!(generator.identity(), identity);
    let never = tokio::sync::watch::channel(false).1;
    let run = run_blocking(config(folder.path(), 2), &generator, &Silent, never).unwrap();
    assert!(run.results.overall.outcomes.error > 0.0);
    let config = RunConfig { out: folder.path().join("again"), ..config(folder.path(), 2) };
    let generator = Metered::new(CachedGenerator::new(Scripted::default(), store(folder.path()), None));
    let never = tokio::sync::watch::channel(false).1;
    run_blocking(config, &generator, &Silent, never).unwrap();
    assert_eq!(generator.total().cached_samples, 10);
}

#[test]
fn weights_are_known_by_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.safetensors", "weights");
    write("config.json", "{}");
    let digest = || weights_sha256(folder.path()).unwrap();
    let first = digest();
    write("README.md", "words");
    assert_eq!(digest(), first);
    write("a.safetensors", "weighty");
    let second = digest();
    write("config.json", "{ }");
    let third = digest();
    assert!(second != first && third != second);
    write("adapter_config.json", "{}");
    assert_ne!(digest(), third);
    let missing = weights_sha256(&folder.path().join("no.gguf")).unwrap_err();
    assert!(matches!(missing, EvalError::Io { .. }), "{missing}");
}

/// The same prompt with other choices is another question.
#[test]
fn likelihoods_are_asked_once() {
    let folder = tempfile::tempdir().unwrap();
    let asked = |name: &str, choices: &[&str]| {
        let mut config = RunConfig { out: folder.path().join(name), ..config(folder.path(), 1) };
        for problem in config.suite.languages.iter_mut().flat_map(|entry| &mut entry.problems) {
            problem.choices = choices.iter().map(|&choice| choice.to_owned()).collect();
        }
        let inner = ChoiceGenerator::new(Scripted::default(), &config.suite);
        let generator = Metered::new(CachedGenerator::new(inner, store(folder.path()), None));
        let never = tokio::sync::watch::channel(false).1;
        let report = run_blocking(config, &generator, &Silent, never).unwrap();
        (report.results.overall.samples as u64, generator.total().cached_samples)
    };
    assert_eq!(asked("first", &["no", "yes"]), (6, 0));
    assert_eq!(asked("again", &["no", "yes"]), (6, 6));
    assert_eq!(asked("other", &["no", "maybe"]), (6, 0));
}
