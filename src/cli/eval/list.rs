//! `xenoglot eval list`: the runs below a folder, or in a store.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::run::classify;
use super::stored::{OpenStore, StoreOption};
use crate::eval::{RunFile, StoredRun, columns};
use crate::jobs::{JobError, listed_scores};
use crate::protocol::eval_tables::RunScores;
use crate::store::{ListedRun, Page, RunFilter, RunRow};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the runs are [default: runs]
    #[arg(conflicts_with = "store")]
    directory: Option<PathBuf>,
    /// A JSON array, with the results of each run
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreOption,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(store) = arguments.store.open()? {
        return of_store(&store, arguments.json);
    }
    let mut runs = Vec::new();
    let directory = arguments.directory.as_deref().unwrap_or(Path::new("runs"));
    for (path, run) in StoredRun::below(directory).map_err(classify)? {
        match run {
            Ok(run) => runs.push((path, run.file)),
            Err(error) => eprintln!("{}: {error}", path.display()),
        }
    }
    runs.sort_by_key(|(_, file)| file.started);
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let runs: Vec<Value> =
            runs.iter().map(|(path, file)| json!({"directory": path, "run": file})).collect();
        serde_json::to_writer_pretty(&mut out, &runs)?;
        writeln!(out)?;
        return Ok(());
    }
    let header = ["run", "suite", "model", "languages", "n", "started", "state", "pass@1", "consistent"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(runs.iter().map(|(path, file)| row(path, file)));
    write!(out, "{}", columns(&rows))?;
    Ok(())
}

fn row(path: &Path, file: &RunFile) -> Vec<String> {
    let overall = file.results.as_ref().map(|results| &results.overall);
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1}", share * 100.0));
    let pass = overall.and_then(|overall| overall.pass_at.get(&1).copied().flatten());
    let consistency = overall.and_then(|overall| overall.consistency);
    vec![
        path.display().to_string(),
        format!("{} {}", file.suite.name, file.suite.version),
        file.generator.model.clone(),
        file.languages.len().to_string(),
        file.n.to_string(),
        date(file.started),
        if file.complete { "finished" } else { "unfinished" }.to_owned(),
        percent(pass.map(|interval| interval.mean)),
        percent(consistency.map(|interval| interval.mean)),
    ]
}

/// All runs of a store, the oldest first.
fn of_store(open: &OpenStore, as_json: bool) -> anyhow::Result<()> {
    let mut page = Page { limit: RUNS_AT_ONCE, ..Page::default() };
    let mut runs: Vec<(ListedRun, Option<RunScores>)> = Vec::new();
    loop {
        let store = &open.store;
        let read = async {
            let more = store.runs_of_all(&RunFilter::default(), &page).await?;
            let mut scored = Vec::with_capacity(more.rows.len());
            for row in more.rows {
                let scores = listed_scores(store, &row.run).await?;
                scored.push((row, scores));
            }
            Ok::<_, JobError>((scored, more.has_more))
        };
        let (more, has_more) = open.wait(read)?;
        runs.extend(more);
        page.after = runs.last().map(|(row, _)| row.run.id.clone());
        if !has_more {
            break;
        }
    }
    let mut out = std::io::stdout().lock();
    if as_json {
        let runs: Vec<Value> = runs.iter().map(|(row, scores)| stored_json(row, scores.as_ref())).collect();
        serde_json::to_writer_pretty(&mut out, &runs)?;
        writeln!(out)?;
        return Ok(());
    }
    let header = ["run", "name", "suite", "model", "created", "status", "samples", "pass@1", "consistent"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(runs.iter().map(|(row, scores)| stored_row(&row.run, scores.as_ref())));
    write!(out, "{}", columns(&rows))?;
    Ok(())
}

/// Runs of one question to the store.
const RUNS_AT_ONCE: usize = 500;

/// A suite's name, where the store has one for the run.
fn suite(run: &RunRow) -> &str {
    run.spec["suite"].as_str().unwrap_or("-")
}

fn stored_row(run: &RunRow, scores: Option<&RunScores>) -> Vec<String> {
    let percent = |metric: &str| {
        let score = scores.and_then(|scores| scores.overall.metrics.get(metric));
        score.map_or("-".to_owned(), |score| format!("{:.1}", score.value * 100.0))
    };
    vec![
        run.id.clone(),
        run.name.clone(),
        suite(run).to_owned(),
        run.model.clone(),
        date(seconds(run.created_ms)),
        run.status.to_string(),
        format!("{}/{}", run.samples_done, run.samples_total),
        percent("pass@1"),
        percent("following"),
    ]
}

fn stored_json(ListedRun { run, eval_name }: &ListedRun, scores: Option<&RunScores>) -> Value {
    json!({
        "id": run.id,
        "name": run.name,
        "eval_id": run.eval,
        "eval_name": eval_name,
        "model": run.model,
        "suite": suite(run),
        "n": run.samples_per_task,
        "status": run.status.as_str(),
        "error": run.error,
        "created_at": seconds(run.created_ms),
        "started_at": run.started_ms.map(seconds),
        "finished_at": run.finished_ms.map(seconds),
        "samples_done": run.samples_done,
        "samples_total": run.samples_total,
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.completion_tokens,
        "scores": scores,
    })
}

/// Since 1970.
fn seconds(milliseconds: i64) -> u64 {
    u64::try_from(milliseconds / 1000).unwrap_or_default()
}

/// `2026-11-28 21:04` in UTC, from seconds since 1970 (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(seconds: u64) -> String {
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let check = |seconds: u64, expected: &str| assert_eq!(date(seconds), expected);
        check(0, "1970-01-01 00:00");
        check(951_782_400 + 3_660, "2000-02-29 01:01");
        check(1_795_899_840, "2026-11-28 21:04");
        check(4_102_444_799, "2099-12-31 23:59");
    }
}
