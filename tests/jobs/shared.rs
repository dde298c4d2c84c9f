//! Workers that share a run: whoever does which part of it, and whoever dies, the samples are those of one worker.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use xenoglot::eval::{RunReport, Silent};
use xenoglot::store::Store;

use super::{Slow, completed, records, results, spec, submitted, until, work};
use crate::eval::{Scripted, config, run_blocking};
use crate::store::on_both;

/// The same run by the command line's runner, in a directory.
fn in_a_directory(n: u32) -> (RunReport, Vec<xenoglot::eval::SampleRecord>) {
    let folder = tempfile::tempdir().unwrap();
    let never = watch::channel(false).1;
    let report = run_blocking(config(folder.path(), n), &Scripted::default(), &Silent, never).unwrap();
    (report, crate::eval::records(&folder.path().join("run")))
}

#[test]
fn one_worker_gives_what_a_directory_gives() {
    let folder = tempfile::tempdir().unwrap();
    let (report, expected) = in_a_directory(5);
    on_both(async |store, _| {
        let run = submitted(&store, spec(folder.path(), 5)).await;
        let worker = work(&store, "one", Arc::new(Scripted::default()));
        let done = completed(&store, &run.id).await;
        assert_eq!(records(&store, &run.id).await, expected);
        assert_eq!(results(&done), report.results);
        assert_eq!((done.samples_done, done.passed + done.failed + done.errored), (30, 30));
        worker.stop.send(true).unwrap();
        worker.task.await.unwrap();
    });
}

#[test]
fn two_workers_of_which_one_dies_give_what_one_gives() {
    let folder = tempfile::tempdir().unwrap();
    let (report, expected) = in_a_directory(20);
    on_both(async |store, url| {
        let run = submitted(&store, spec(folder.path(), 20)).await;
        let slow = |ms| Arc::new(Slow(Scripted::default(), Duration::from_millis(ms)));
        // Each has its own connections, as two processes have.
        let (first, second) = (Store::open(&url).await.unwrap(), Store::open(&url).await.unwrap());
        let (dying, living) = (work(&first, "dying", slow(30)), work(&second, "living", slow(10)));
        until(&store, &run.id, "on its way", |row| row.samples_done >= 10).await;
        dying.task.abort();
        assert!(dying.task.await.unwrap_err().is_cancelled());
        let at_death = store.run(&run.id).await.unwrap();
        assert!(at_death.samples_done < 120, "it died too late to tell");
        let done = completed(&store, &run.id).await;
        assert_eq!(records(&store, &run.id).await, expected);
        assert_eq!(results(&done), report.results);
        // Every sample once: the sequence counts the start, the samples and the end.
        assert_eq!((done.samples_done, done.sequence), (120, 122));
        living.stop.send(true).unwrap();
        living.task.await.unwrap();
        first.close().await;
        second.close().await;
    });
}
