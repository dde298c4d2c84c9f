//! Jobs on both databases: claimed once, renewed, ended, canceled, taken over when their worker is silent.

use std::time::Duration;

use serde_json::json;
use xenoglot::store::{RunStatus, StoreError};

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
