//! The store on both databases: every check runs on SQLite and on PostgreSQL.

mod jobs;
pub mod postgres;
mod tables;
mod tasks;

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};
use xenoglot::store::{EvalRow, NewEval, NewRun, NewSample, NewTask, RunRow, SampleStatus, Store};

use postgres::Postgres;

pub const LONG: Duration = Duration::from_mins(1);

/// Runs a check on an empty SQLite file and on an empty PostgreSQL database. It gets the URL too, for a second opening.
pub fn on_both<F: Future<Output = ()>>(check: impl Fn(Store, String) -> F) {
    let folder = tempfile::tempdir().unwrap();
    on(&format!("sqlite:{}/deep/er/store.db", folder.path().display()), &check);
    if !postgres::is_skipped() {
        let server = Postgres::start();
        on(&server.url(), &check);
    }
}

/// Runs a check that does not depend on the database.
pub fn on_sqlite<F: Future<Output = ()>>(check: impl Fn(Store, String) -> F) {
    let folder = tempfile::tempdir().unwrap();
    on(&format!("sqlite:{}/store.db", folder.path().display()), &check);
}

fn on<F: Future<Output = ()>>(url: &str, check: &impl Fn(Store, String) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(url).await.unwrap();
        check(store.clone(), url.to_owned()).await;
        store.close().await;
    });
}

pub async fn new_eval(store: &Store) -> EvalRow {
    let new = NewEval {
        name: "Sums".to_owned(),
        spec: json!({"suite": "small"}),
        metadata: json!({"a": "b"}),
        owner: None,
    };
    store.create_eval(new).await.unwrap()
}

/// A run of so many tasks of two samples each.
pub async fn new_run(store: &Store, eval: &str, tasks: usize) -> RunRow {
    store.create_run(blank_run(eval, tasks)).await.unwrap()
}

pub fn blank_run(eval: &str, tasks: usize) -> NewRun {
    let task = |at: usize| NewTask { language: "en".to_owned(), problem: format!("p{at}") };
    NewRun {
        eval: eval.to_owned(),
        name: "first".to_owned(),
        model: "tiny".to_owned(),
        spec: json!({"n": 2}),
        metadata: json!({}),
        owner: None,
        tasks: (0..tasks).map(task).collect(),
        samples_per_task: 2,
    }
}

pub fn sample(sample: u32, completion: &str) -> NewSample {
    NewSample {
        sample,
        status: if sample == 0 { SampleStatus::Passed } else { SampleStatus::Failed },
        record: json!({"answer": completion.chars().next().map(String::from)}),
        brief: json!([sample]),
        completion: completion.to_owned(),
        completion_tokens: 3,
    }
}

/// A run that is started, so that tasks may be claimed.
pub async fn started(store: &Store, tasks: usize) -> RunRow {
    let eval = new_eval(store).await;
    let run = new_run(store, &eval.id, tasks).await;
    store.start_run(&run.id, &Value::Null).await.unwrap();
    store.run(&run.id).await.unwrap()
}

#[test]
fn a_database_that_cannot_be_opened_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.db");
    std::fs::write(&file, "hello, hello, hello").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (url, cause) in [
        (format!("sqlite:{}", file.display()), "not a database"),
        (format!("sqlite:{}", folder.path().display()), "unable to open"),
        ("postgres://127.0.0.1:1/x".to_owned(), "refused"),
        ("mysql://h/x".to_owned(), "sqlite:"),
    ] {
        let error = runtime.block_on(Store::open(&url)).unwrap_err().to_string();
        assert!(error.contains(cause), "{url}: {error}");
    }
}
