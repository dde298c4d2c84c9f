//! Many samples and many runs at once: the table of a run's samples.

use serde_json::{Value, json};

use super::evals::{SUITE, json_of, new_eval, new_run, server, started, until};

/// The items of a run, a page at a time.
async fn items(server: &super::server::Server, run: &str) -> Vec<Value> {
    let page = json_of(server.get(&format!("{run}/output_items?limit=100")), 200).await;
    assert_eq!(page["has_more"], false);
    page["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_has_what_the_items_have() {
    let (_folder, server) = started().await;
    let eval = new_eval(&server).await;
    let run = new_run(&server, &eval, &json!({})).await;
    until(&server, &run, "completed").await;
    let table = json_of(server.get(&format!("{run}/sample_table")), 200).await;
    assert_eq!(
        (&table["object"], &table["suite"], &table["sequence"]),
        (&json!("eval.run.sample_table"), &json!(SUITE), &json!(26))
    );
    let items = items(&server, &run).await;
    assert_eq!(items.len(), 24);
    let names = table["languages"].as_array().unwrap();
    let text = |name: &str| table[name].as_str().unwrap().chars().collect::<Vec<char>>();
    let (outcomes, following) = (text("outcome"), text("following"));
    for (at, item) in items.iter().enumerate() {
        let record = &item["xenoglot"];
        let (problem, sample) = (&table["problem"][at], &table["sample"][at]);
        assert_eq!(item["id"], format!("outputitem_{problem}_{sample}"));
        let place = problem.as_u64().unwrap() as usize;
        assert_eq!(table["problem_ids"][place], record["problem"]);
        let language = table["problem_languages"][place].as_u64().unwrap() as usize;
        assert_eq!(names[language], record["language"]);
        assert_eq!(table["outcomes"][outcomes[at].to_string()], record["outcome"], "{record}");
        let follows = match following[at] {
            'y' => json!(true),
            'n' => json!(false),
            _ => json!(null),
        };
        assert_eq!(follows, record["following"]);
        assert_eq!(table["completion_tokens"][at], record["completion_tokens"]);
        match record["answer_language"]["score"].as_f64() {
            None => assert_eq!(table["answer_language"][at], json!(null)),
            Some(score) => {
                let shown = table["answer_score"][at].as_f64().unwrap();
                assert!((shown - score).abs() <= 0.0005, "{shown} {score}");
                assert!((table["answer_language"][at].as_u64().unwrap() as usize) < names.len());
            }
        }
    }
    assert_eq!(table["problem_ids"].as_array().unwrap().len(), 6);
    let columns = ["problem", "sample", "trace_score", "answer_score", "trace_language", "answer_language"];
    for column in columns.iter().chain(&["trace_switches", "wrong_script_characters", "completion_tokens"]) {
        assert_eq!(table[*column].as_array().unwrap().len(), 24, "{column}");
    }
    assert_eq!((outcomes.len(), following.len()), (24, 24));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_known_is_304() {
    let (_folder, server) = started().await;
    let eval = new_eval(&server).await;
    let run = new_run(&server, &eval, &json!({})).await;
    until(&server, &run, "completed").await;
    let first = server.get(&format!("{run}/sample_table")).send().await.unwrap();
    assert_eq!(first.headers()["content-type"], "application/json");
    assert_eq!(first.headers()["cache-control"], "private, no-cache");
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    let again =
        server.get(&format!("{run}/sample_table")).header("If-None-Match", &tag).send().await.unwrap();
    assert_eq!(again.status(), 304);
    let other =
        server.get(&format!("{run}/sample_table")).header("If-None-Match", "\"0\"").send().await.unwrap();
    assert_eq!(other.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_samples_has_an_empty_table() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), 0).await;
    let eval = new_eval(&server).await;
    let run = new_run(&server, &eval, &json!({})).await;
    let table = json_of(server.get(&format!("{run}/sample_table")), 200).await;
    assert_eq!((&table["outcome"], &table["problem"]), (&json!(""), &json!([])));
    assert_eq!(table["problem_ids"].as_array().unwrap().len(), 6);
    json_of(server.get(&format!("{run}/sample_table?x=1")), 400).await;
    json_of(server.get(&format!("/v1/evals/{eval}/runs/evalrun_x/sample_table")), 404).await;
    let other = new_eval(&server).await;
    json_of(server.get(&format!("{}/sample_table", run.replace(&eval, &other))), 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_all_evals_are_listed_with_their_scores() {
    let (_folder, server) = started().await;
    let (first, second) = (new_eval(&server).await, new_eval(&server).await);
    let done = new_run(&server, &first, &json!({})).await;
    let whole = until(&server, &done, "completed").await;
    let paused = new_run(&server, &second, &json!({"limit": 40, "n": 16})).await;
    json_of(server.post(&format!("{paused}/pause"), &json!({})), 200).await;
    let ids = async |query: &str| {
        let list = json_of(server.get(&format!("/v1/runs{query}")), 200).await;
        let ids = list["data"].as_array().unwrap().iter();
        ids.map(|run| run["id"].as_str().unwrap().to_owned()).collect::<Vec<String>>()
    };
    let id = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let (done, paused) = (id(&done), id(&paused));
    assert_eq!(ids("").await, [paused.clone(), done.clone()], "the newest first");
    assert_eq!(ids("?order=asc").await, [done.clone(), paused.clone()]);
    assert_eq!(ids("?limit=1").await, [paused.clone()]);
    assert_eq!(ids(&format!("?after={paused}")).await, [done.clone()]);
    assert_eq!(ids("?status=completed").await, [done.clone()]);
    assert_eq!(ids(&format!("?suite={SUITE}&model=small")).await.len(), 2);
    assert!(ids("?suite=mgsm").await.is_empty() && ids("?model=none").await.is_empty());

    let list = json_of(server.get("/v1/runs?metric=pass%401"), 200).await;
    let (waiting, run) = (&list["data"][0], &list["data"][1]);
    assert_eq!((&waiting["status"], &waiting["scores"]), (&json!("paused"), &json!(null)));
    assert_eq!(
        (&run["eval_name"], &run["suite"], &run["n"], &run["samples_done"]),
        (&json!("Words"), &json!(SUITE), &json!(4), &json!(24))
    );
    let results = &whole["xenoglot"]["scores"];
    assert_eq!(run["scores"]["overall"]["metrics"].as_object().unwrap().len(), 1);
    assert_eq!(
        run["scores"]["overall"]["metrics"]["pass@1"]["value"],
        results["overall"]["pass_at"]["1"]["mean"]
    );
    let list = json_of(server.get("/v1/runs?status=completed"), 200).await;
    let scores = &list["data"][0]["scores"];
    assert_eq!(scores["suite_sha256"], whole["xenoglot"]["provenance"]["suite"]["sha256"]);
    let languages = scores["languages"].as_array().unwrap();
    assert_eq!(languages.iter().map(|group| &group["language"]).collect::<Vec<_>>(), ["en", "de"]);
    for name in ["pass@1", "pass@2", "pass@4", "consistent_pass@4", "maj@4", "following"] {
        let score = &languages[0]["metrics"][name];
        assert!(score["value"].is_number() && score["low"].is_number(), "{name}: {scores}");
    }
    assert!(languages[0]["metrics"]["pass@3"].is_null());
}

#[tokio::test]
async fn wrong_lists_of_runs_are_told_their_field() {
    let (_folder, server) = started().await;
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("order=up", "order"),
        ("status=done", "status"),
        ("modell=x", "modell"),
    ] {
        let error = json_of(server.get(&format!("/v1/runs?{query}")), 400).await;
        assert_eq!(error["error"]["param"], param);
    }
    json_of(server.get("/v1/runs?after=evalrun_x"), 404).await;
}

/// What a build wrote that knew of no briefs and no scores in short.
#[tokio::test(flavor = "multi_thread")]
async fn runs_of_older_builds_are_shown_the_same() {
    let (folder, server) = started().await;
    let eval = new_eval(&server).await;
    let run = new_run(&server, &eval, &json!({})).await;
    until(&server, &run, "completed").await;
    let shown = async || {
        let table = json_of(server.get(&format!("{run}/sample_table")), 200).await;
        (table, json_of(server.get("/v1/runs"), 200).await)
    };
    let before = shown().await;
    assert!(before.1["data"][0]["scores"].is_object(), "{}", before.1);
    let url = format!("sqlite://{}", folder.path().join("store.db").display());
    let pool = sqlx::AnyPool::connect(&url).await.unwrap();
    for statement in ["UPDATE samples SET brief = NULL", "UPDATE runs SET scores = NULL"] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    pool.close().await;
    assert_eq!(shown().await, before);
}
