//! Leases: each task has one holder, a lost lease writes nothing, and what a dead worker left is gone on with.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use xenoglot::store::{ItemPage, RunStatus, Store, StoreError, Undone};

use super::{LONG, new_eval, new_run, on_both, sample, started};

#[test]
fn no_task_is_claimed_twice() {
    on_both(async |store, url| {
        let run = started(&store, 200).await;
        let mut workers = Vec::new();
        for worker in 0..4 {
            let (store, run) = (Store::open(&url).await.unwrap(), run.id.clone());
            workers.push(tokio::spawn(async move {
                let mut claimed = Vec::new();
                while let Some(lease) = store.claim(&run, &format!("w{worker}"), LONG).await.unwrap() {
                    claimed.push(lease.position);
                }
                store.close().await;
                claimed
            }));
        }
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.await.unwrap());
        }
        assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (200, 200));
    });
}

#[test]
fn samples_of_several_workers_are_numbered_without_gaps() {
    on_both(async |store, url| {
        let run = started(&store, 40).await;
        let mut workers = Vec::new();
        for worker in 0..4 {
            let (store, run) = (Store::open(&url).await.unwrap(), run.id.clone());
            workers.push(tokio::spawn(async move {
                while let Some(lease) = store.claim(&run, &format!("w{worker}"), LONG).await.unwrap() {
                    for at in 0..2 {
                        store.add_samples(&lease, LONG, &[sample(at, "x")]).await.unwrap();
                    }
                    store.finish_task(&lease, true).await.unwrap();
                }
                store.close().await;
            }));
        }
        for worker in workers {
            worker.await.unwrap();
        }
        let followed = store.happenings(&run.id, 0, 1000).await.unwrap();
        assert_eq!(followed.len(), 81, "the start and 80 samples");
        let done = store.run(&run.id).await.unwrap();
        assert_eq!((done.samples_done, done.passed, done.sequence), (80, 40, 81));
    });
}

#[test]
fn what_a_dead_worker_left_is_gone_on_with_and_its_ghost_writes_nothing() {
    on_both(async |store, _| {
        let run = started(&store, 1).await;
        let short = Duration::from_millis(200);
        let dead = store.claim(&run.id, "dead", short).await.unwrap().unwrap();
        store.add_samples(&dead, short, &[sample(1, "by the dead")]).await.unwrap();
        assert_eq!(store.claim(&run.id, "alive", LONG).await.unwrap(), None, "it is still held");
        tokio::time::sleep(short * 2).await;
        let lease = store.claim(&run.id, "alive", LONG).await.unwrap().unwrap();
        assert_eq!((lease.done.as_slice(), lease.attempts), (&[1][..], 2));
        let lost = |error: StoreError| {
            assert!(matches!(error, StoreError::LeaseLost { position: 0, .. }), "{error}");
        };
        lost(store.add_samples(&dead, LONG, &[sample(0, "ghost")]).await.unwrap_err());
        lost(store.renew(&dead, LONG).await.unwrap_err());
        lost(store.refuse_task(&dead, "no").await.unwrap_err());
        store.release(&dead).await.unwrap();
        assert_eq!(store.claim(&run.id, "third", LONG).await.unwrap(), None, "a ghost gives nothing back");
        store.add_samples(&lease, LONG, &[sample(0, "by the living"), sample(1, "again")]).await.unwrap();
        store.finish_task(&lease, true).await.unwrap();
        lost(store.finish_task(&lease, true).await.unwrap_err());
        let page = ItemPage { limit: 9, completions: true, ..ItemPage::default() };
        let rows = store.samples(&run.id, &page).await.unwrap().rows;
        let texts: Vec<_> = rows.into_iter().filter_map(|row| row.completion).collect();
        assert_eq!(texts, ["by the living", "by the dead"]);
    });
}

#[test]
fn a_lease_that_is_renewed_is_kept_and_one_given_back_is_free() {
    on_both(async |store, _| {
        let run = started(&store, 1).await;
        let short = Duration::from_millis(400);
        let lease = store.claim(&run.id, "a", short).await.unwrap().unwrap();
        for _ in 0..4 {
            tokio::time::sleep(short / 3).await;
            assert_eq!(store.renew(&lease, short).await.unwrap(), RunStatus::InProgress);
        }
        assert_eq!(store.claim(&run.id, "b", short).await.unwrap(), None);
        store.release(&lease).await.unwrap();
        let again = store.claim(&run.id, "b", short).await.unwrap().unwrap();
        assert_eq!(again.attempts, 1, "giving back is no failure");
    });
}

#[test]
fn a_task_is_not_done_before_its_samples_are_there() {
    on_both(async |store, _| {
        let run = started(&store, 1).await;
        let lease = store.claim(&run.id, "w", LONG).await.unwrap().unwrap();
        store.add_samples(&lease, LONG, &[sample(0, "x")]).await.unwrap();
        let error = store.finish_task(&lease, true).await.unwrap_err();
        assert!(error.to_string().contains("has 1 of 2"), "{error}");
        assert!(!store.complete_run(&run.id, &Value::Null, &Value::Null, &Value::Null).await.unwrap());
        store.add_samples(&lease, LONG, &[sample(1, "x")]).await.unwrap();
        store.finish_task(&lease, true).await.unwrap();
        assert!(
            store.complete_run(&run.id, &json!({"r": 1}), &json!({"x": 2}), &json!({"y": 3})).await.unwrap()
        );
        assert!(
            !store.complete_run(&run.id, &Value::Null, &Value::Null, &Value::Null).await.unwrap(),
            "once"
        );
        let run = store.run(&run.id).await.unwrap();
        assert_eq!(
            (run.status, run.results, run.finished_ms.is_some()),
            (RunStatus::Completed, Some(json!({"x": 2})), true)
        );
    });
}

#[test]
fn refusals_are_counted_until_one_is_served() {
    on_both(async |store, _| {
        let run = started(&store, 3).await;
        let first = store.claim(&run.id, "w", LONG).await.unwrap().unwrap();
        assert_eq!(store.refuse_task(&first, "too\0 long").await.unwrap(), 1);
        let second = store.claim(&run.id, "w", LONG).await.unwrap().unwrap();
        assert_eq!(second.position, 1, "a refused task is not claimed again");
        assert_eq!(store.undone(&run.id).await.unwrap(), Undone { open: 2, refused: 1 });
        store.add_samples(&second, LONG, &[sample(0, "x"), sample(1, "x")]).await.unwrap();
        store.finish_task(&second, true).await.unwrap();
        assert_eq!(store.run(&run.id).await.unwrap().refusals, 0);
        assert_eq!(store.claim_refused(&run.id, 0, "w", LONG).await.unwrap(), None);
        let refused = store.claim_refused(&run.id, 1, "w", LONG).await.unwrap().unwrap();
        assert_eq!((refused.position, refused.error.as_deref()), (0, Some("too long")));
        store.add_samples(&refused, LONG, &[sample(0, ""), sample(1, "")]).await.unwrap();
        store.finish_task(&refused, false).await.unwrap();
        assert_eq!(store.undone(&run.id).await.unwrap(), Undone { open: 1, refused: 0 });
    });
}

#[test]
fn a_run_lives_as_its_states_say() {
    on_both(async |store, _| {
        let eval = new_eval(&store).await;
        let run = new_run(&store, &eval.id, 2).await.id;
        let wrong = |error: StoreError| assert!(matches!(error, StoreError::WrongStatus { .. }), "{error}");
        let active = async || store.active_runs(10).await.unwrap().len();
        assert_eq!(active().await, 1);
        assert_eq!(store.pause_run(&run).await.unwrap().status, RunStatus::Paused);
        assert_eq!(active().await, 0);
        wrong(store.start_run(&run, &Value::Null).await.unwrap_err());
        assert_eq!(store.resume_run(&run).await.unwrap().status, RunStatus::Queued);
        assert_eq!(store.start_run(&run, &json!("first")).await.unwrap(), json!("first"));
        assert_eq!(
            store.start_run(&run, &json!("second")).await.unwrap(),
            json!("first"),
            "the first one decides"
        );
        let lease = store.claim(&run, "w", LONG).await.unwrap().unwrap();
        store.pause_run(&run).await.unwrap();
        assert_eq!(store.renew(&lease, LONG).await.unwrap(), RunStatus::Paused);
        // What was under way when the pause came is not lost.
        assert_eq!(store.add_samples(&lease, LONG, &[sample(0, "x")]).await.unwrap(), 1);
        store.resume_run(&run).await.unwrap();
        store.start_run(&run, &Value::Null).await.unwrap();
        assert!(store.fail_run(&run, "the server is gone").await.unwrap());
        let failed = store.run(&run).await.unwrap();
        assert_eq!((failed.status, failed.error.as_deref()), (RunStatus::Failed, Some("the server is gone")));
        assert!(!store.fail_run(&run, "again").await.unwrap());
        let resumed = store.resume_run(&run).await.unwrap();
        assert_eq!(
            (resumed.status, resumed.error, resumed.record),
            (RunStatus::Queued, None, Some(json!("first")))
        );
        store.cancel_run(&run).await.unwrap();
        wrong(store.resume_run(&run).await.unwrap_err());
        wrong(store.pause_run(&run).await.unwrap_err());
        assert_eq!(
            store.cancel_run(&run).await.unwrap().status,
            RunStatus::Canceled,
            "asked twice, done once"
        );
        let kinds = store.happenings(&run, 0, 100).await.unwrap();
        assert_eq!(kinds.len() as i64, store.run(&run).await.unwrap().sequence);
    });
}
