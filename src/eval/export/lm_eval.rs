//! The results in the shape that lm-evaluation-harness writes (results_*.json of 0.4), for the tools that read it.
//!
//! A task is a suite in a language, the group the whole suite. `acc` is pass@1 with the standard error over problems,
//! the harness's own for greedy runs (there over samples, which are the problems). What it does not know has its
//! own names: `pass@k`, `consistent_pass@k`, `maj@k` and `following`.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Map, Value, json};

use super::failed;
use crate::eval::error::EvalError;
use crate::eval::problem_tally::{Metric, ProblemTallies};
use crate::eval::record::RunFile;
use crate::eval::report::{GroupResults, Results};
use crate::language::Language;
use crate::score::statistics::{Interval, standard_error};

pub(super) fn write(
    file: &RunFile,
    results: &Results,
    tallies: &ProblemTallies,
    out: &mut dyn Write,
) -> Result<usize, EvalError> {
    let tasks: Vec<(String, &GroupResults)> =
        results.languages.iter().map(|group| (task(file, group.language), group)).collect();
    let each = |value: &dyn Fn(&GroupResults) -> Value| -> Value {
        tasks.iter().map(|(name, group)| (name.clone(), value(group))).collect::<Map<_, _>>().into()
    };
    let names: Vec<&String> = tasks.iter().map(|(name, _)| name).collect();
    let higher = json!({"acc": true, "maj@n": true, "following": true});
    let document = json!({
        "results": each(&|group| metrics(file, group, tallies)),
        "groups": {&file.suite.name: metrics(file, &results.overall, tallies)},
        "group_subtasks": {&file.suite.name: names},
        "configs": each(&|group| configuration(file, group)),
        "versions": each(&|_| json!(file.suite.version)),
        "n-shot": each(&|_| json!(file.shots)),
        "higher_is_better": each(&|_| higher.clone()),
        "n-samples": each(&|group| json!({"original": group.problems, "effective": group.problems})),
        "config": {
            "model": file.generator.kind,
            "model_args": format!("pretrained={}", file.generator.model),
            "limit": file.limit,
            "gen_kwargs": generation(file),
            "random_seed": file.seed,
        },
        "git_hash": null,
        "date": file.started,
        "model_source": "xenoglot",
        "model_name": file.generator.model,
        "xenoglot_version": file.version,
        "task_hashes": each(&|_| json!(file.suite.sha256)),
    });
    serde_json::to_writer_pretty(&mut *out, &document).map_err(failed)?;
    out.write_all(b"\n").map_err(failed)?;
    Ok(tasks.len())
}

fn task(file: &RunFile, language: Option<Language>) -> String {
    let suite = &file.suite.name;
    language.map_or_else(|| suite.clone(), |language| format!("{suite}_{language}"))
}

fn metrics(file: &RunFile, group: &GroupResults, tallies: &ProblemTallies) -> Value {
    let mut metrics = Map::new();
    metrics.insert("alias".to_owned(), json!(task(file, group.language)));
    let mut add = |name: &str, value: Option<f64>, error: Option<f64>| {
        metrics.insert(format!("{name},none"), json!(value));
        // The harness writes N/A where there is none.
        metrics.insert(format!("{name}_stderr,none"), error.map_or(json!("N/A"), |error| json!(error)));
    };
    let mean = |interval: Option<Interval>| interval.map(|interval| interval.mean);
    let at = |by_k: &BTreeMap<u32, Option<Interval>>, k: u32| mean(by_k.get(&k).copied().flatten());
    let error = |metric, k| error_of(tallies, group.language, metric, k);
    add("acc", at(&group.pass_at, 1), error(Metric::Pass, 1));
    for k in group.pass_at.keys().copied() {
        add(&format!("pass@{k}"), at(&group.pass_at, k), error(Metric::Pass, k));
        add(&format!("consistent_pass@{k}"), at(&group.consistent_pass_at, k), error(Metric::Consistent, k));
        add(&format!("maj@{k}"), at(&group.majority_at, k), None);
    }
    add("following", mean(group.consistency), error(Metric::Following, 1));
    metrics.into()
}

/// The standard error over problems; in the group a problem is the mean of its languages.
fn error_of(tallies: &ProblemTallies, language: Option<Language>, metric: Metric, k: u32) -> Option<f64> {
    let mut problems: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    let chosen = tallies.iter().filter(|(key, _)| language.is_none_or(|language| key.0 == language));
    for ((_, problem), tally) in chosen {
        let Some(value) = tally.value(metric, k) else { continue };
        let (sum, count) = problems.entry(problem).or_default();
        *sum += value;
        *count += 1.0;
    }
    let values: Vec<f64> = problems.into_values().map(|(sum, count)| sum / count).collect();
    standard_error(&values)
}

fn configuration(file: &RunFile, group: &GroupResults) -> Value {
    json!({
        "task": task(file, group.language),
        "dataset_name": group.language,
        "dataset_path": file.suite.name,
        "output_type": "generate_until",
        "num_fewshot": file.shots,
        "repeats": file.n,
        "generation_kwargs": generation(file),
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": true}],
        "metadata": {"version": file.suite.version, "revision": file.suite.revision},
    })
}

fn generation(file: &RunFile) -> Value {
    let sampling = &file.sampling;
    json!({
        "do_sample": sampling.temperature > 0.0,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "max_gen_toks": sampling.max_tokens,
    })
}
