//! Two runs side by side.

use serde_json::json;

use super::evals::{json_of, new_eval, new_run, server, started, until};

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_compared_problem_by_problem() {
    let (_folder, server) = started().await;
    let (first, second) = (new_eval(&server).await, new_eval(&server).await);
    let sampling = json!({"sampling_params": {"temperature": 1.0, "max_completion_tokens": 8, "seed": 6}});
    let (a, b) = (new_run(&server, &first, &json!({})).await, new_run(&server, &second, &sampling).await);
    let done = until(&server, &a, "completed").await;
    until(&server, &b, "completed").await;
    let id = b.rsplit('/').next().unwrap();
    let found = json_of(server.get(&format!("{a}/compare?with={id}")), 200).await;
    assert_eq!((&found["object"], &found["metric"]), (&json!("eval.run.comparison"), &json!("pass@1")));
    assert_eq!(
        (&found["b"]["run_id"], &found["b"]["eval_id"], &found["b"]["samples"]),
        (&json!(id), &json!(second), &json!(24))
    );
    let languages = found["languages"].as_array().unwrap();
    assert_eq!(languages.iter().map(|entry| &entry["language"]).collect::<Vec<_>>(), ["en", "de"]);
    for (entry, group) in languages.iter().zip(done["xenoglot"]["scores"]["languages"].as_array().unwrap()) {
        assert_eq!((&entry["problems"], &entry["a"]), (&json!(3), &group["pass_at"]["1"]["mean"]));
        let difference = entry["b"].as_f64().unwrap() - entry["a"].as_f64().unwrap();
        assert!((entry["difference"]["value"].as_f64().unwrap() - difference).abs() < 1e-9, "{entry}");
        assert!(entry["p"].is_number() && entry["p_holm"].is_number(), "{entry}");
        let counts =
            ["both", "only_a", "only_b", "neither"].map(|name| entry["agreement"][name].as_u64().unwrap());
        assert_eq!(counts.iter().sum::<u64>(), 3);
    }
    assert_eq!((&found["overall"]["language"], &found["unpaired"]), (&json!(null), &json!(0)));
    for pair in found["only_a"].as_array().unwrap() {
        let item = format!("{a}/output_items/outputitem_{}_0", pair["a_position"]);
        assert_eq!(json_of(server.get(&item), 200).await["datasource_item"]["problem"], pair["problem"]);
    }

    // Against itself nothing differs, by any metric.
    let own = a.rsplit('/').next().unwrap();
    for metric in ["pass@4", "consistent_pass@2", "following"] {
        let metric = metric.replace('@', "%40");
        let same = json_of(server.get(&format!("{a}/compare?with={own}&metric={metric}")), 200).await;
        assert_eq!(same["overall"]["difference"]["value"], json!(0.0), "{metric}");
        assert_eq!((&same["only_a"], &same["only_b"]), (&json!([]), &json!([])));
    }
    let tagged = server.get(&format!("{a}/compare?with={id}")).send().await.unwrap();
    let tag = tagged.headers()["etag"].to_str().unwrap().to_owned();
    let again =
        server.get(&format!("{a}/compare?with={id}")).header("If-None-Match", tag).send().await.unwrap();
    assert_eq!(again.status(), 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_compared_is_told_why() {
    let (_folder, server) = started().await;
    let eval = new_eval(&server).await;
    let a = new_run(&server, &eval, &json!({})).await;
    until(&server, &a, "completed").await;
    let other = new_run(&server, &eval, &json!({"prompts": "budget-alignment"})).await;
    until(&server, &other, "completed").await;
    let id = |run: &str| run.rsplit('/').next().unwrap().to_owned();
    let bad = async |query: String, param: &str, words: &str| {
        let error = json_of(server.get(&format!("{a}/compare?{query}")), 400).await;
        let message = error["error"]["message"].as_str().unwrap();
        assert_eq!(error["error"]["param"], param, "{message}");
        assert!(message.contains(words), "{message}");
    };
    bad(String::new(), "with", "id").await;
    let with = format!("with={}", id(&other));
    bad(with.clone(), "with", "force=true").await;
    bad(format!("{with}&metric=pass"), "metric", "pass@K").await;
    bad(format!("{with}&metric=maj%401"), "metric", "pass@K").await;
    bad(format!("with={}&metric=pass%405", id(&a)), "metric", "smaller n").await;
    bad(format!("{with}&force=yes"), "force", "true").await;
    bad(format!("{with}&problems=1001"), "problems", "1000").await;
    bad(format!("{with}&seed=x"), "seed", "whole number").await;
    json_of(server.get(&format!("{a}/compare?{with}&force=true")), 200).await;
    json_of(server.get(&format!("{a}/compare?with=evalrun_x")), 404).await;
}

#[tokio::test]
async fn a_run_that_nobody_has_begun_is_409() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), 0).await;
    let eval = new_eval(&server).await;
    let run = new_run(&server, &eval, &json!({})).await;
    let id = run.rsplit('/').next().unwrap();
    let error = json_of(server.get(&format!("{run}/compare?with={id}")), 409).await;
    assert_eq!(error["error"]["code"], "conflict");
}
