//! Real processes on one PostgreSQL: `xenoglot worker` twice on a tiny model, one killed with -9.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use xenoglot::eval::{Sampling, ScorerOptions};
use xenoglot::jobs::{EvalRunSpec, Submission, submit};
use xenoglot::language::Language;
use xenoglot::store::{NewEval, RunRow, Store};

use super::{completed, records, results, until};
use crate::store::postgres::{Postgres, is_skipped};

const MODEL: &str = "tiny-llama3";

/// A worker that dies with the test.
struct Process(Child);

impl Process {
    fn start(url: &str, folder: &Path) -> Self {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/llama3");
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenoglot"));
        command.env("XENOGLOT_STORE", url).env("XENOGLOT_LOG_LEVEL", "warn");
        command.args(["worker", model.to_str().unwrap(), "--served-model-name", MODEL, "--lease", "2"]);
        command.args(["--threads", "1", "--concurrency", "3", "--kv-cache-memory", "64MiB"]);
        Self(command.current_dir(folder).stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL: a worker needs no farewell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn run(store: &Store) -> RunRow {
    let new = NewEval {
        name: "words".to_owned(),
        spec: serde_json::json!({}),
        metadata: serde_json::json!({}),
        owner: None,
    };
    let eval = store.create_eval(new).await.unwrap().id;
    let spec = EvalRunSpec {
        suite: "xeno-word-problems".to_owned(),
        prompts: None,
        variants: Vec::new(),
        languages: Some(vec![Language::En, Language::Es, Language::Fr, Language::De]),
        limit: Some(20),
        shots: 0,
        n: 8,
        sampling: Sampling { temperature: 1.0, max_tokens: 60, ..Sampling::default() },
        thinking_prefix: false,
        profile: None,
        seed: 11,
        completions_of: None,
    };
    let metadata = serde_json::json!({});
    let submission =
        Submission { eval, name: "shared".to_owned(), model: MODEL.to_owned(), metadata, owner: None, spec };
    submit(store, submission, &ScorerOptions::default()).await.unwrap()
}

#[test]
fn a_run_of_two_processes_of_which_one_is_killed_is_that_of_one() {
    if is_skipped() {
        return;
    }
    let (server, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&server.url()).await.unwrap();
        let shared = run(&store).await.id;
        let (mut killed, survivor) =
            (Process::start(&server.url(), folder.path()), Process::start(&server.url(), folder.path()));
        until(&store, &shared, "on its way", |row| row.samples_done >= 40).await;
        killed.0.kill().unwrap();
        assert!(!killed.0.wait().unwrap().success());
        let at_death = store.run(&shared).await.unwrap();
        assert!(at_death.samples_done < 640, "it was killed too late to tell");
        let shared = completed(&store, &shared).await;
        let alone = run(&store).await.id;
        let alone = completed(&store, &alone).await;
        drop(survivor);
        assert_eq!((shared.samples_done, shared.sequence, alone.samples_done), (640, 642, 640));
        let (ours, theirs) = (records(&store, &shared.id).await, records(&store, &alone.id).await);
        assert!(ours.iter().all(|record| record.error.is_none()), "every prompt fits");
        assert_eq!(ours, theirs);
        assert_eq!(results(&shared), results(&alone));
        store.close().await;
    });
}
