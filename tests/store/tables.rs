//! Evals, runs and samples: written, read back, paged, deleted; versions of the tables; URLs.

use serde_json::{Value, json};
use xenoglot::store::{
    HappeningKind, ItemKey, ItemPage, NewRun, Order, Page, RunStatus, SampleStatus, Store, StoreError,
};

use super::postgres::{Postgres, is_skipped};
use super::{LONG, blank_run, new_eval, new_run, on_both, sample, started};

#[test]
fn what_is_written_is_read_back() {
    on_both(async |store, url| {
        let eval = new_eval(&store).await;
        assert_eq!(store.eval(&eval.id).await.unwrap(), eval);
        let renamed = store.update_eval(&eval.id, Some("Sums, 日本語".to_owned()), None).await.unwrap();
        assert_eq!((renamed.name.as_str(), &renamed.metadata), ("Sums, 日本語", &eval.metadata));
        let run = new_run(&store, &eval.id, 1203).await;
        assert_eq!((run.status, run.samples_total, run.sequence), (RunStatus::Queued, 2406, 0));
        // Another process sees the same; opening again changes nothing.
        let other = Store::open(&url).await.unwrap();
        assert_eq!(other.run(&run.id).await.unwrap(), run);
        assert_eq!(other.undone(&run.id).await.unwrap().open, 1203);
        other.close().await;
        assert!(store.eval("eval_no").await.unwrap_err().to_string().contains("no eval `eval_no`"));
        assert!(matches!(store.run("x").await, Err(StoreError::NotFound { .. })));
    });
}

#[test]
fn lists_are_paged_by_key() {
    on_both(async |store, _| {
        let eval = new_eval(&store).await;
        let mut ids = Vec::new();
        for _ in 0..7 {
            ids.push(new_run(&store, &eval.id, 1).await.id);
        }
        let all =
            store.runs(&eval.id, None, None, &Page { limit: 100, ..Page::default() }).await.unwrap().rows;
        let ids: Vec<String> = all.into_iter().map(|run| run.id).collect();
        for order in [Order::Ascending, Order::Descending] {
            let expected: Vec<String> =
                if order == Order::Ascending { ids.clone() } else { ids.iter().rev().cloned().collect() };
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = Page { after: after.clone(), limit: 3, order };
                let page = store.runs(&eval.id, None, None, &page).await.unwrap();
                assert!(page.rows.len() <= 3);
                found.extend(page.rows.into_iter().map(|run| run.id));
                after = found.last().cloned();
                if !page.has_more {
                    break;
                }
            }
            assert_eq!(found, expected);
        }
        store.cancel_run(&ids[2]).await.unwrap();
        let canceled = store
            .runs(&eval.id, Some(RunStatus::Canceled), None, &Page { limit: 9, ..Page::default() })
            .await
            .unwrap();
        assert_eq!((canceled.rows.len(), canceled.has_more), (1, false));
        let unknown = Page { after: Some("evalrun_x".to_owned()), limit: 3, ..Page::default() };
        assert!(matches!(store.runs(&eval.id, None, None, &unknown).await, Err(StoreError::NotFound { .. })));
        assert_eq!(store.evals(&Page { limit: 1, ..Page::default() }).await.unwrap().rows, [eval]);
    });
}

#[test]
fn runs_are_told_apart_by_owner_and_by_model() {
    on_both(async |store, _| {
        let eval = new_eval(&store).await;
        let mut ids = Vec::new();
        for (owner, model) in [(Some("a"), "tiny"), (Some("b"), "large"), (None, "tiny")] {
            let (owner, model) = (owner.map(str::to_owned), model.to_owned());
            let new = NewRun { owner, model, ..blank_run(&eval.id, 1) };
            ids.push(store.create_run(new).await.unwrap().id);
        }
        assert_eq!(store.run(&ids[0]).await.unwrap().owner.as_deref(), Some("a"));
        assert_eq!(store.run(&ids[2]).await.unwrap().owner, None);
        for order in [Order::Ascending, Order::Descending] {
            let check = async |models: &[&str], expected: usize| {
                let models: Vec<String> = models.iter().map(|model| (*model).to_owned()).collect();
                let page = Page { limit: 9, order, ..Page::default() };
                let found = store.runs(&eval.id, None, Some(&models), &page).await.unwrap().rows;
                assert_eq!(found.len(), expected, "{models:?}");
                assert!(found.iter().all(|run| models.contains(&run.model)));
            };
            check(&[], 0).await;
            check(&["tiny"], 2).await;
            check(&["none", "large"], 1).await;
            check(&["large", "tiny"], 3).await;
        }
        assert_eq!(store.active_runs_of("a").await.unwrap(), 1);
        store.cancel_run(&ids[0]).await.unwrap();
        assert_eq!(store.active_runs_of("a").await.unwrap(), 0);
        assert!(store.has_runs_of_others(&eval.id, Some("a")).await.unwrap());
        store.delete_run(&ids[1]).await.unwrap();
        assert!(store.has_runs_of_others(&eval.id, Some("a")).await.unwrap(), "nobody's is another's");
        assert!(store.has_runs_of_others(&eval.id, None).await.unwrap());
        store.delete_run(&ids[2]).await.unwrap();
        assert!(!store.has_runs_of_others(&eval.id, Some("a")).await.unwrap());
    });
}

#[test]
fn samples_are_paged_counted_and_followed() {
    on_both(async |store, _| {
        let run = started(&store, 3).await;
        let odd = "a\0b \u{1F600} \"quoted\" \\boxed{4}";
        while let Some(lease) = store.claim(&run.id, "w", LONG).await.unwrap() {
            let samples = [sample(0, odd), sample(1, "x")];
            assert_eq!(store.add_samples(&lease, LONG, &samples).await.unwrap(), 2);
            assert_eq!(store.add_samples(&lease, LONG, &samples).await.unwrap(), 0, "none is doubled");
            store.finish_task(&lease, true).await.unwrap();
        }
        let counted = store.run(&run.id).await.unwrap();
        assert_eq!((counted.samples_done, counted.passed, counted.failed, counted.errored), (6, 3, 3, 0));
        assert_eq!((counted.completion_tokens, counted.sequence), (18, 7));

        let briefs = store.sample_briefs(&run.id, 1..3).await.unwrap().join(",");
        let mut briefs: Vec<(i64, u32, Value)> = serde_json::from_str(&format!("[{briefs}]")).unwrap();
        briefs.sort_by_key(|(position, sample, _)| (*position, *sample));
        let expected = [(1, 0), (1, 1), (2, 0), (2, 1)];
        let expected = expected.map(|(position, sample): (i64, u32)| (position, sample, json!([sample])));
        assert_eq!(briefs, expected);
        let tasks = store.tasks(&run.id, Some(0), 9).await.unwrap();
        assert_eq!(tasks.iter().map(|task| task.problem.as_str()).collect::<Vec<_>>(), ["p1", "p2"]);

        let one = store.sample(&run.id, ItemKey { position: 1, sample: 0 }).await.unwrap();
        assert_eq!((one.completion.as_deref(), one.problem.as_str()), (Some(odd), "p1"));
        let page = ItemPage { limit: 4, ..ItemPage::default() };
        let first = store.samples(&run.id, &page).await.unwrap();
        assert!(first.has_more && first.rows.iter().all(|row| row.completion.is_none()));
        let rest = store
            .samples(&run.id, &ItemPage { after: Some(first.rows[3].key), completions: true, ..page.clone() })
            .await
            .unwrap();
        let keys: Vec<_> =
            first.rows.iter().chain(&rest.rows).map(|row| (row.key.position, row.key.sample)).collect();
        assert_eq!(keys, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]);
        assert_eq!(rest.rows[0].completion.as_deref(), Some(odd));
        let failed = ItemPage { status: Some(SampleStatus::Failed), order: Order::Descending, ..page };
        let failed = store.samples(&run.id, &failed).await.unwrap().rows;
        assert_eq!(failed.iter().map(|row| row.key.position).collect::<Vec<_>>(), [2, 1, 0]);

        // The start and six samples; from any number on, and however few at a time.
        let mut followed = Vec::new();
        while let Some(last) = store.happenings(&run.id, followed.len() as i64, 2).await.unwrap().pop() {
            let all = store.happenings(&run.id, followed.len() as i64, 2).await.unwrap();
            assert_eq!(all.last(), Some(&last));
            followed.extend(all);
        }
        let sequence: Vec<i64> = followed.iter().map(|happening| happening.sequence).collect();
        assert_eq!(sequence, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(followed[0].kind, HappeningKind::Status(json!({"status": "in_progress", "error": null})));
    });
}

#[test]
fn what_is_deleted_is_gone_with_all_it_holds() {
    on_both(async |store, _| {
        let run = started(&store, 2).await;
        let lease = store.claim(&run.id, "w", LONG).await.unwrap().unwrap();
        store.add_samples(&lease, LONG, &[sample(0, "x")]).await.unwrap();
        store.delete_eval(&run.eval).await.unwrap();
        assert!(matches!(store.run(&run.id).await, Err(StoreError::NotFound { .. })));
        assert!(matches!(store.delete_eval(&run.eval).await, Err(StoreError::NotFound { .. })));
        let lost = store.add_samples(&lease, LONG, &[sample(1, "x")]).await.unwrap_err();
        assert!(matches!(lost, StoreError::NotFound { .. }), "{lost}");
        assert!(store.renew(&lease, LONG).await.is_err());
        assert!(
            store
                .samples(&run.id, &ItemPage { limit: 5, ..ItemPage::default() })
                .await
                .unwrap()
                .rows
                .is_empty()
        );
    });
}

#[test]
fn processes_that_start_together_take_turns() {
    let check = async |url: &str| {
        let opening = (0..6).map(|_| {
            tokio::spawn({
                let url = url.to_owned();
                async move { Store::open(&url).await }
            })
        });
        for opened in futures::future::join_all(opening).await {
            let store = opened.unwrap().unwrap();
            store.ping().await.unwrap();
            store.close().await;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let server = (!is_skipped()).then(Postgres::start);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(6).enable_all().build().unwrap();
    runtime.block_on(async {
        for at in 0..10 {
            check(&format!("sqlite:{}/{at}.db", folder.path().display())).await;
        }
        if let Some(server) = &server {
            check(&server.url()).await;
        }
    });
}

#[test]
fn names_that_no_database_takes_are_refused() {
    on_both(async |store, _| {
        let new = xenoglot::store::NewEval {
            name: "a\0b".to_owned(),
            spec: json!({}),
            metadata: json!({}),
            owner: None,
        };
        let error = store.create_eval(new).await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid { field: "name", .. }), "{error}");
    });
}

#[test]
fn a_database_out_of_reach_is_named_without_its_password() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let check = |url: &str, words: &str| {
        let error = runtime.block_on(Store::open(url)).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("s3cret"), "{error}");
    };
    check("postgres://me:s3cret@127.0.0.1:1/none", "PostgreSQL does not answer");
    check("sqlite:/proc/none/store.db", "/proc/none");
    check("redis://me:s3cret@localhost", "neither");
}
