//! Evaluation runs in the store: by one worker or several, killed, paused, refused, and always the same samples.

mod processes;
mod runs;
mod shared;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use xenoglot::eval::{
    Continuation, ContinuationRequest, ContinuationScorer, GenerationEvent, GenerationRequest, Generator,
    GeneratorError, GeneratorIdentity, Model, Results, SampleRecord, Sampling, ScorerOptions,
};
use xenoglot::jobs::{EvalRunSpec, Generators, Submission, Worker, WorkerOptions, record_of, submit};
use xenoglot::store::{ItemPage, NewEval, RunRow, RunStatus, Store};

use crate::eval::Scripted;

pub const MODEL: &str = "scripted";

/// Short enough for a test to wait for a dead worker's lease, long enough for a busy machine.
pub const LEASE: Duration = Duration::from_secs(2);

/// A suite of three problems in two languages, by its path.
pub fn spec(folder: &std::path::Path, n: u32) -> EvalRunSpec {
    let suite = folder.join("suite");
    if !suite.exists() {
        std::fs::create_dir_all(&suite).unwrap();
        crate::eval::write_suite(&suite);
    }
    EvalRunSpec {
        suite: suite.to_str().unwrap().to_owned(),
        prompts: None,
        variants: Vec::new(),
        languages: None,
        limit: None,
        shots: 0,
        n,
        sampling: Sampling::default(),
        thinking_prefix: false,
        profile: None,
        seed: 7,
        completions_of: None,
    }
}

pub async fn submitted(store: &Store, spec: EvalRunSpec) -> RunRow {
    let new = NewEval { name: "Sums".to_owned(), spec: json!({}), metadata: json!({}), owner: None };
    let eval = store.create_eval(new).await.unwrap();
    let submission = Submission {
        eval: eval.id,
        name: "a run".to_owned(),
        model: MODEL.to_owned(),
        metadata: json!({}),
        owner: None,
        spec,
    };
    submit(store, submission, &ScorerOptions::default()).await.unwrap()
}

/// A worker in this process; aborting its task is its crash.
pub struct Working {
    pub task: JoinHandle<()>,
    pub stop: watch::Sender<bool>,
}

pub fn work(store: &Store, name: &str, generator: Arc<dyn Model>) -> Working {
    let generators = Generators::with(move |model| {
        let found = (model == MODEL).then(|| Ok(generator.clone()));
        futures::future::ready(found).boxed()
    });
    let options = WorkerOptions {
        name: name.to_owned(),
        concurrency: 2,
        lease: LEASE,
        scorers: ScorerOptions::default(),
        poll: Duration::from_millis(50),
    };
    let worker = Arc::new(Worker::new(store.clone(), generators, options, Arc::new(Notify::new())));
    let (stop, stopped) = watch::channel(false);
    Working { task: tokio::spawn(worker.run(stopped)), stop }
}

/// Waits until a run is as it should be.
pub async fn until(store: &Store, run: &str, what: &str, holds: impl Fn(&RunRow) -> bool) -> RunRow {
    let start = Instant::now();
    loop {
        let row = store.run(run).await.unwrap();
        if holds(&row) {
            return row;
        }
        let is_stuck = start.elapsed() > Duration::from_mins(1);
        assert!(!is_stuck, "not {what}: {:?} {:?}, {} samples", row.status, row.error, row.samples_done);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn completed(store: &Store, run: &str) -> RunRow {
    until(store, run, "completed", |row| row.status == RunStatus::Completed).await
}

/// The samples of a run, in an order that does not depend on timing.
pub async fn records(store: &Store, run: &str) -> Vec<SampleRecord> {
    let page = ItemPage { limit: 1000, completions: true, ..ItemPage::default() };
    let rows = store.samples(run, &page).await.unwrap();
    assert!(!rows.has_more);
    let mut records: Vec<SampleRecord> =
        rows.rows.into_iter().map(|row| record_of(run, row).unwrap()).collect();
    records.sort_by(|a, b| (&a.problem, a.language, a.sample).cmp(&(&b.problem, b.language, b.sample)));
    records
}

pub fn results(run: &RunRow) -> Results {
    serde_json::from_value(run.results.clone().unwrap()).unwrap()
}

impl ContinuationScorer for Slow {
    fn score<'a>(
        &'a self,
        request: &'a ContinuationRequest,
    ) -> BoxFuture<'a, Result<Vec<Continuation>, GeneratorError>> {
        self.0.score(request)
    }
}

/// The scripted generator, with a pause before each sample.
pub struct Slow(pub Scripted, pub Duration);

impl Generator for Slow {
    fn identity(&self) -> GeneratorIdentity {
        self.0.identity()
    }

    fn generate<'a>(
        &'a self,
        request: &'a GenerationRequest,
        events: &'a (dyn Fn(GenerationEvent) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), GeneratorError>> {
        async move {
            for sample in &request.samples {
                tokio::time::sleep(self.1).await;
                let one = GenerationRequest { samples: vec![*sample], ..request.clone() };
                self.0.generate(&one, events).await?;
            }
            Ok(())
        }
        .boxed()
    }
}
