//! Runs as files, and judged again.

use serde_json::{Value, json};

use super::evals::{SUITE, json_of, new_eval, new_run, server, started, until};
use super::server::Server;

async fn file(server: &Server, run: &str, format: &str) -> (String, String, String) {
    let response = server.get(&format!("{run}/export?format={format}")).send().await.unwrap();
    assert_eq!(response.status(), 200, "{format}");
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    let (kind, name) = (header("content-type"), header("content-disposition"));
    (kind, name, response.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_downloaded_in_every_form() {
    let (_folder, server) = started().await;
    let eval = new_eval(&server).await;
    // More samples than a piece has.
    let run = new_run(&server, &eval, &json!({"n": 16, "limit": 5})).await;
    until(&server, &run, "completed").await;
    let id = run.rsplit('/').next().unwrap();
    let (kind, name, text) = file(&server, &run, "jsonl").await;
    assert_eq!((kind.as_str(), name), ("application/jsonl", format!("attachment; filename=\"{id}.jsonl\"")));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 160);
    for line in &lines {
        assert_eq!((&line["suite"], &line["model"]), (&json!(SUITE), &json!("small")));
        assert!(line["completion"].is_string() && line["outcome"].is_string(), "{line}");
    }
    let item = json_of(server.get(&format!("{run}/output_items/outputitem_7_3")), 200).await;
    let line = &lines[7 * 16 + 3];
    assert_eq!(item["sample"]["output"][0]["content"], line["completion"]);
    assert_eq!((&item["xenoglot"]["problem"], &item["xenoglot"]["seed"]), (&line["problem"], &line["seed"]));

    let (kind, _, text) = file(&server, &run, "csv").await;
    assert!(kind.starts_with("text/csv"), "{kind}");
    let mut table = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(table.headers().unwrap().iter().take(3).collect::<Vec<_>>(), ["suite", "model", "problem"]);
    let rows: Vec<csv::StringRecord> = table.records().collect::<Result<_, _>>().unwrap();
    assert_eq!((rows.len(), rows[115].iter().last()), (160, line["completion"].as_str()));

    let (kind, name, text) = file(&server, &run, "lm-eval").await;
    let results: Value = serde_json::from_str(&text).unwrap();
    assert!(kind == "application/json" && name.ends_with(".json\""), "{kind} {name}");
    assert!(results["results"][format!("{SUITE}_de")]["acc,none"].is_number(), "{results}");
    let (_, _, text) = file(&server, &run, "markdown").await;
    assert!(text.starts_with("# xeno") && text.contains("| :-- |"), "{text}");
}

#[tokio::test]
async fn what_there_is_not_cannot_be_downloaded() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), 0).await;
    let eval = new_eval(&server).await;
    let run = new_run(&server, &eval, &json!({})).await;
    for query in ["", "?format=xml", "?format=sft", "?format=jsonl&x=1"] {
        json_of(server.get(&format!("{run}/export{query}")), 400).await;
    }
    for format in ["jsonl", "csv", "markdown", "lm-eval"] {
        json_of(server.get(&format!("{run}/export?format={format}")), 409).await;
    }
    json_of(server.get(&format!("/v1/evals/{eval}/runs/evalrun_x/export?format=csv")), 404).await;
    // Nor judged again.
    let error = json_of(server.post(&format!("{run}/rescore"), &json!({})), 409).await;
    assert!(error["error"]["message"].as_str().unwrap().contains("when it is complete"), "{error}");
    json_of(server.post(&format!("/v1/evals/{eval}/runs/evalrun_x/rescore"), &json!({})), 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_are_judged_again_without_generating() {
    let (_folder, server) = started().await;
    let eval = new_eval(&server).await;
    let run = new_run(&server, &eval, &json!({})).await;
    let old = until(&server, &run, "completed").await;
    // The model need not be there.
    let unload = server.client.delete(format!("{}/v1/admin/models/small", server.url));
    assert_eq!(unload.bearer_auth("sk-admin").send().await.unwrap().status(), 200);
    let rescore = format!("{run}/rescore");
    let made = json_of(
        server.post(&rescore, &json!({"profile": "math-verify", "metadata": {"why": "strict"}})),
        201,
    )
    .await;
    let id = run.rsplit('/').next().unwrap();
    assert_eq!(
        (&made["xenoglot"]["completions_of"], &made["metadata"]["why"], &made["data_source"]["profile"]),
        (&json!(id), &json!("strict"), &json!("math-verify"))
    );
    assert!(made["name"].as_str().unwrap().ends_with("(judged by math-verify)"), "{made}");
    let path = format!("/v1/evals/{eval}/runs/{}", made["id"].as_str().unwrap());
    let new = until(&server, &path, "completed").await;
    let (before, after) = (&old["xenoglot"]["provenance"], &new["xenoglot"]["provenance"]);
    assert_eq!(
        (&before["scorer"]["profile"], &after["scorer"]["profile"]),
        (&json!("default"), &json!("math-verify"))
    );
    assert_eq!((&before["generator"], &before["suite"]), (&after["generator"], &after["suite"]));
    let items = async |run: &str| {
        let page = json_of(server.get(&format!("{run}/output_items?limit=100&include=output")), 200).await;
        page["data"].as_array().unwrap().clone()
    };
    let (first, second) = (items(&run).await, items(&path).await);
    assert_eq!((first.len(), second.len()), (24, 24));
    for (old, new) in first.iter().zip(&second) {
        assert_eq!((&old["id"], &old["sample"]["output"]), (&new["id"], &new["sample"]["output"]));
        for field in ["seed", "choice", "completion_tokens", "finish", "following"] {
            assert_eq!(old["xenoglot"][field], new["xenoglot"][field], "{field}");
        }
    }
    // By its own profile nothing changes.
    let made = json_of(server.post(&rescore, &json!({"name": "again"})), 201).await;
    let again = format!("/v1/evals/{eval}/runs/{}", made["id"].as_str().unwrap());
    let again = until(&server, &again, "completed").await;
    assert_eq!((&again["name"], &again["result_counts"]), (&json!("again"), &old["result_counts"]));
    assert_eq!(again["xenoglot"]["scores"], old["xenoglot"]["scores"]);
    let listed = json_of(server.get("/v1/runs?limit=1"), 200).await;
    assert_eq!(listed["data"][0]["completions_of"], json!(id));

    let error = json_of(server.post(&rescore, &json!({"profile": "none"})), 400).await;
    assert_eq!(error["error"]["param"], "profile");
    let error = json_of(server.post(&rescore, &json!({"profil": "default"})), 400).await;
    assert_eq!(error["error"]["param"], "profil");
}
