//! Jobs on both databases: claimed once, renewed, ended, canceled, taken over when their worker is silent.

use std::time::Duration;

use serde_json::json;
use xenoglot::store::{JobEventKind, JobEventPage, NewJobEvent, Order, Page, RunStatus, StoreError};

use super::on_both;

const LONG: Duration = Duration::from_mins(1);

#[test]
fn a_job_has_one_worker_at_a_time() {
    on_both(async |store, _| {
        let made = store.create_job("merge", &json!({"n": 1})).await.unwrap();
        assert_eq!((made.status, &made.spec, made.attempts), (RunStatus::Queued, &json!({"n": 1}), 0));
        assert!(store.claim_job("other", "a", LONG).await.unwrap().is_none(), "of another kind");
        let first = store.claim_job("merge", "a", Duration::ZERO).await.unwrap().unwrap();
        assert_eq!((first.status, first.attempts), (RunStatus::InProgress, 1));
        // Its lease is over: the next one goes on, and the first can change nothing any more.
        let second = store.claim_job("merge", "b", LONG).await.unwrap().unwrap();
        assert_eq!((&second.id, second.attempts), (&made.id, 2));
        assert!(store.claim_job("merge", "c", LONG).await.unwrap().is_none());
        assert!(store.renew_job(&first, &json!({}), LONG).await.unwrap().is_none());
        assert!(!store.finish_job(&first, &json!({}), None).await.unwrap());
        assert!(store.renew_job(&second, &json!({"done": 3}), LONG).await.unwrap().is_some());
        store.release_job(&second).await.unwrap();
        let third = store.claim_job("merge", "c", LONG).await.unwrap().unwrap();
        assert_eq!((third.attempts, &third.progress), (2, &json!({"done": 3})));
        assert!(store.finish_job(&third, &json!({"done": 4}), None).await.unwrap());
        let done = store.job("merge", &made.id).await.unwrap();
        assert_eq!(
            (done.status, done.error.clone(), done.progress["done"].as_i64()),
            (RunStatus::Completed, None, Some(4))
        );
        assert!(done.sequence > made.sequence && done.finished_ms.is_some());
        let error = store.cancel_job("merge", &made.id).await.unwrap_err();
        assert!(matches!(error, StoreError::WrongStatus { .. }), "{error}");
    });
}

#[test]
fn a_canceled_job_is_nobodys() {
    on_both(async |store, _| {
        let made = store.create_job("merge", &json!({})).await.unwrap();
        let claimed = store.claim_job("merge", "a", LONG).await.unwrap().unwrap();
        assert_eq!(store.cancel_job("merge", &made.id).await.unwrap().status, RunStatus::Canceled);
        assert_eq!(store.cancel_job("merge", &made.id).await.unwrap().status, RunStatus::Canceled);
        assert!(store.renew_job(&claimed, &json!({}), LONG).await.unwrap().is_none());
        assert!(!store.finish_job(&claimed, &json!({}), Some("late")).await.unwrap());
        assert!(store.claim_job("merge", "b", LONG).await.unwrap().is_none());
        let error = store.cancel_job("merge", "merge_x").await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    });
}

#[test]
fn a_paused_job_is_gone_on_with_when_its_worker_has_stopped() {
    on_both(async |store, _| {
        let made = store.create_job_as("job-1", "training", &json!({})).await.unwrap();
        let claimed = store.claim_job("training", "a", LONG).await.unwrap().unwrap();
        assert_eq!(store.pause_job("training", &made.id).await.unwrap().status, RunStatus::Paused);
        assert!(store.renew_job(&claimed, &json!({}), LONG).await.unwrap().is_none());
        assert_eq!(store.resume_job("training", &made.id).await.unwrap().status, RunStatus::Queued);
        assert!(
            store.claim_job("training", "b", LONG).await.unwrap().is_none(),
            "the first still works on it"
        );
        store.free_job(&claimed).await.unwrap();
        let next = store.claim_job("training", "b", LONG).await.unwrap().unwrap();
        // Its worker has lost it, and frees nothing any more.
        store.free_job(&claimed).await.unwrap();
        assert!(store.claim_job("training", "c", LONG).await.unwrap().is_none());
        assert!(store.finish_job(&next, &json!({}), Some("no room")).await.unwrap());
        let again = store.resume_job("training", &made.id).await.unwrap();
        assert_eq!((again.status, again.error, again.attempts), (RunStatus::Queued, None, 0));
        assert_eq!(store.cancel_job("training", &made.id).await.unwrap().status, RunStatus::Canceled);
        for error in [
            store.pause_job("training", &made.id).await.unwrap_err(),
            store.resume_job("training", &made.id).await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::WrongStatus { .. }), "{error}");
        }
    });
}

#[test]
fn a_job_tells_of_itself_in_order() {
    on_both(async |store, _| {
        let job = store.create_job("training", &json!({})).await.unwrap();
        for _ in 0..2 {
            store.claim_job("training", "a", Duration::ZERO).await.unwrap().unwrap();
        }
        let event = |kind, at: usize| NewJobEvent {
            kind,
            level: "info",
            message: format!("{at} \0ü"),
            data: json!({"step": at}),
        };
        store
            .tell_job(&job.id, &[event(JobEventKind::Message, 1), event(JobEventKind::Metrics, 2)])
            .await
            .unwrap();
        assert_eq!(store.job("training", &job.id).await.unwrap().attempts, 2);
        store
            .tell_job(&job.id, &[event(JobEventKind::Checkpoint, 3), event(JobEventKind::Metrics, 4)])
            .await
            .unwrap();
        assert_eq!(store.job("training", &job.id).await.unwrap().attempts, 1, "a checkpoint is progress");
        let check = async |checkpoints, after, limit, order, expected: &[i64], more| {
            let page = JobEventPage { checkpoints, after, limit, order };
            let page = store.job_events(&job.id, page).await.unwrap();
            let found: Vec<i64> = page.rows.iter().map(|event| event.sequence).collect();
            assert_eq!((found.as_slice(), page.has_more), (expected, more));
            page.rows
        };
        let all = check(false, None, 9, Order::Ascending, &[1, 2, 4], false).await;
        assert_eq!(
            (all[1].kind.as_str(), all[1].message.as_str(), &all[1].data),
            ("metrics", "2 ü", &json!({"step": 2}))
        );
        check(false, Some(1), 1, Order::Ascending, &[2], true).await;
        check(false, None, 1, Order::Descending, &[4], true).await;
        check(false, Some(4), 9, Order::Descending, &[2, 1], false).await;
        check(true, None, 9, Order::Descending, &[3], false).await;
        let error = store.tell_job("job-x", &[event(JobEventKind::Message, 1)]).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    });
}

#[test]
fn files_are_listed_by_age_and_purpose() {
    on_both(async |store, _| {
        for (id, purpose) in [("file-a", "fine-tune"), ("file-b", "evals"), ("file-c", "fine-tune")] {
            let made = store.create_file(id, "ü.jsonl", purpose, 7).await.unwrap();
            assert_eq!((made.name.as_str(), made.bytes), ("ü.jsonl", 7));
            // Ages differ.
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        let check = async |purpose, after: Option<&str>, limit, order, expected: &[&str], more| {
            let page = Page { after: after.map(str::to_owned), limit, order };
            let page = store.files(purpose, &page).await.unwrap();
            let found: Vec<&str> = page.rows.iter().map(|file| file.id.as_str()).collect();
            assert_eq!((found.as_slice(), page.has_more), (expected, more));
        };
        check(None, None, 2, Order::Descending, &["file-c", "file-b"], true).await;
        check(None, Some("file-b"), 2, Order::Descending, &["file-a"], false).await;
        check(Some("fine-tune"), None, 9, Order::Ascending, &["file-a", "file-c"], false).await;
        store.delete_file("file-a").await.unwrap();
        assert!(matches!(store.delete_file("file-a").await, Err(StoreError::NotFound { .. })));
        assert!(store.file("file-a").await.is_err());
    });
}
