//! What becomes of runs: paused, resumed, canceled, deleted, refused, failed; and their scores on the way.

use std::sync::Arc;
use std::time::Duration;

use xenoglot::eval::{Model, Outcome};
use xenoglot::jobs::Scoreboard;
use xenoglot::store::RunStatus;

use super::{Slow, completed, records, results, spec, submitted, until, work};
use crate::eval::Scripted;
use crate::store::{on_both, on_sqlite};

fn slow() -> Arc<Slow> {
    Arc::new(Slow(Scripted::default(), Duration::from_millis(10)))
}

#[test]
fn a_paused_run_stands_still_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    on_both(async |store, _| {
        let run = submitted(&store, spec(folder.path(), 20)).await.id;
        let _worker = work(&store, "w", slow());
        until(&store, &run, "on its way", |row| row.samples_done >= 5).await;
        store.pause_run(&run).await.unwrap();
        // A renewal of the lease tells the worker, within a third of its length.
        tokio::time::sleep(super::LEASE).await;
        let paused = store.run(&run).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let later = store.run(&run).await.unwrap();
        assert_eq!((later.status, later.samples_done), (RunStatus::Paused, paused.samples_done));
        assert!(paused.samples_done < 120, "it was paused too late to tell");
        store.resume_run(&run).await.unwrap();
        assert_eq!(completed(&store, &run).await.samples_done, 120);
    });
}

#[test]
fn a_canceled_or_deleted_run_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    on_sqlite(async |store, _| {
        let worker = work(&store, "w", slow());
        for delete in [false, true] {
            let run = submitted(&store, spec(folder.path(), 20)).await.id;
            until(&store, &run, "on its way", |row| row.samples_done >= 5).await;
            if delete {
                store.delete_run(&run).await.unwrap();
            } else {
                store.cancel_run(&run).await.unwrap();
            }
            // The worker is free for another one.
            let next = submitted(&store, spec(folder.path(), 1)).await.id;
            completed(&store, &next).await;
        }
        assert!(!worker.task.is_finished());
    });
}

#[test]
fn a_refused_prompt_is_an_error_sample_and_not_the_end() {
    let folder = tempfile::tempdir().unwrap();
    on_both(async |store, _| {
        let refuse = vec!["p1-en".to_owned(), "p3-de".to_owned()];
        let generator = Arc::new(Scripted { refuse, ..Scripted::default() });
        let run = submitted(&store, spec(folder.path(), 2)).await.id;
        let _worker = work(&store, "w", generator);
        let done = completed(&store, &run).await;
        let records = records(&store, &run).await;
        let errors: Vec<_> = records.iter().filter(|record| record.outcome == Outcome::Error).collect();
        assert_eq!((records.len(), errors.len(), done.errored), (12, 4, 4));
        assert_eq!(errors[0].error.as_deref(), Some("too long"));
        assert!((results(&done).overall.outcomes.error - 4.0 / 12.0).abs() < 1e-12);
    });
}

/// What fails for a reason outside of the run can be resumed, and loses nothing.
#[test]
fn a_run_that_cannot_go_on_says_why_and_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let check = |broken: Scripted, words: &'static str| {
        let broken = Arc::new(broken);
        on_sqlite(async |store, _| {
            let run = submitted(&store, spec(folder.path(), 4)).await.id;
            let worker = work(&store, "broken", broken.clone() as Arc<dyn Model>);
            let failed = until(&store, &run, "failed", |row| row.status == RunStatus::Failed).await;
            assert!(failed.error.as_ref().unwrap().contains(words), "{:?}", failed.error);
            assert_eq!(failed.errored, 0, "what the set-up refused is no sample");
            worker.stop.send(true).unwrap();
            worker.task.await.unwrap();
            let kept = store.run(&run).await.unwrap().samples_done;
            store.resume_run(&run).await.unwrap();
            let whole = Arc::new(Scripted::default());
            let _worker = work(&store, "whole", whole.clone());
            assert_eq!(completed(&store, &run).await.samples_done, 24);
            let asked: usize = whole.asked.lock().unwrap().iter().map(|(_, samples)| samples.len()).sum();
            assert_eq!(asked as i64, 24 - kept);
            let (asked, told) = (whole.asked.lock().unwrap(), whole.kept.lock().unwrap());
            for ((_, samples), kept) in asked.iter().zip(&*told) {
                assert_eq!(samples.len() + kept.len(), 4, "what is there comes with its seeds");
            }
        });
    };
    check(Scripted { refuse_all: true, ..Scripted::default() }, "all 6 requests were refused");
    check(Scripted { gone_at: Some("p2-en"), ..Scripted::default() }, "generation stopped: gone");
}

#[test]
fn what_no_worker_can_run_fails_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    on_sqlite(async |store, _| {
        let run = submitted(&store, spec(folder.path(), 1)).await.id;
        std::fs::remove_dir_all(folder.path().join("suite")).unwrap();
        let _worker = work(&store, "w", Arc::new(Scripted::default()));
        let failed = until(&store, &run, "failed", |row| row.status == RunStatus::Failed).await;
        assert!(failed.error.unwrap().contains("suite"));
    });
}

#[test]
fn scores_on_the_way_end_as_the_results() {
    let folder = tempfile::tempdir().unwrap();
    on_both(async |store, _| {
        let board = Scoreboard::new(store.clone());
        let run = submitted(&store, spec(folder.path(), 10)).await.id;
        assert!(board.current(&store.run(&run).await.unwrap()).await.unwrap().is_none());
        let _worker = work(&store, "w", slow());
        let halfway = until(&store, &run, "on its way", |row| row.samples_done >= 20).await;
        let snapshot = board.current(&halfway).await.unwrap().unwrap();
        assert!(snapshot.samples >= 20 && snapshot.results.overall.samples == snapshot.samples);
        let again = board.current(&halfway).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&snapshot.results, &again.results), "what is fresh is not computed again");
        let done = completed(&store, &run).await;
        let last = board.current(&done).await.unwrap().unwrap();
        assert_eq!((last.samples, &*last.results), (60, &results(&done)));
    });
}

/// Nothing is generated for a choice by log-likelihood: the choices themselves are scored.
#[test]
fn choices_are_scored_where_the_suite_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    write_choices(folder.path());
    let spec = spec(folder.path(), 1);
    on_sqlite(async |store, _| {
        let run = submitted(&store, spec.clone()).await.id;
        let generator = Arc::new(Scripted::default());
        let _worker = work(&store, "w", generator.clone());
        let done = completed(&store, &run).await;
        assert!(generator.asked.lock().unwrap().is_empty(), "nothing is drawn");
        let outcomes: Vec<_> = records(&store, &run).await.iter().map(|record| record.outcome).collect();
        // The shorter choice is the likelier one.
        assert_eq!(outcomes, [Outcome::Correct, Outcome::Wrong]);
        assert_eq!((done.passed, done.failed), (1, 1));
    });
}

fn write_choices(folder: &std::path::Path) {
    let suite = folder.join("suite");
    std::fs::create_dir_all(&suite).unwrap();
    let problems = concat!(
        "{\"id\": \"p1\", \"problem\": \"Short?\", \"answer\": \"A\", \"choices\": [\"no\", \"yes\"]}\n",
        "{\"id\": \"p2\", \"problem\": \"Long?\", \"answer\": \"B\", \"choices\": [\"no\", \"yes\"]}\n",
    );
    std::fs::write(suite.join("en.jsonl"), problems).unwrap();
    let manifest = format!(
        "format = 2\nname = \"small\"\nversion = \"1\"\ndescription = \"two\"\nlicence = \"MIT\"\nrevision = \"1\"\n\
         languages = [\"en\"]\ntask = \"loglikelihood\"\nfile = \"{{language}}.jsonl\"\n\
         [sha256]\n\"en.jsonl\" = \"{}\"\n[prompts.en]\nuser = \"{{problem}}\"\n",
        crate::eval::sha256(problems)
    );
    std::fs::write(suite.join("suite.toml"), manifest).unwrap();
}
