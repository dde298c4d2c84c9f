//! The dashboard's files and what they stand on: served with their policy, built or not; `/v1/key` and `/v1/language`.

use serde_json::{Value, json};
use xenoglot::api::ApiKeys;

use super::server::Server;

#[tokio::test]
async fn the_page_is_served_to_anybody_under_its_policy() {
    let server = Server::with(|_, options| options.auth.inference = ApiKeys::new(["sk-use"])).await;
    let answer = server.get("/").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    assert!(headers["content-type"].to_str().unwrap().starts_with("text/html"));
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(policy.ends_with("trusted-types svelte-trusted-html"), "{policy}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    let page = answer.text().await.unwrap();
    // With `make web` or without.
    assert!(page.contains("id=\"app\"") || page.contains("make web"), "{page}");
    assert!(!page.contains("https://") && !page.contains("style=") && !page.contains("<script>"), "{page}");
}

/// What the page names is there. A build that was never made names nothing: src/api/web.rs has the same of a fixture.
#[tokio::test]
async fn the_files_that_the_page_names_are_kept_for_ever() {
    let server = Server::start().await;
    let page = server.get("/").send().await.unwrap().text().await.unwrap();
    let files = page.split('"').filter(|word| word.starts_with("/assets/"));
    for file in files {
        let answer = server.get(file).header("accept-encoding", "gzip").send().await.unwrap();
        assert_eq!(answer.status(), 200, "{file}");
        assert!(answer.headers()["cache-control"].to_str().unwrap().contains("immutable"), "{file}");
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let expected = match file.rsplit('.').next().unwrap() {
            "js" => "text/javascript",
            "css" => "text/css",
            _ => "image/",
        };
        assert!(kind.starts_with(expected), "{file}: {kind}");
    }
}

#[tokio::test]
async fn paths_that_are_no_files_of_the_page_are_the_apis_404s() {
    let server = Server::start().await;
    for path in [
        "/assets/none.js",
        "/assets/..%2f..%2f..%2fCargo.toml",
        "/assets/%2e%2e%2findex.html",
        "/assets/.gitkeep",
        "/assets/",
        "/assets/a/b.js",
        "/index.html",
        "/playground",
        "/v1/no_such_route",
    ] {
        let answer = server.get(path).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert_eq!((status.as_u16(), &body["error"]["code"]), (404, &json!("unknown_url")), "{path}");
    }
}

#[tokio::test]
async fn a_key_is_told_what_it_opens() {
    let server = Server::with(|_, options| {
        options.auth.inference = ApiKeys::new(["sk-use"]);
        options.auth.admin = ApiKeys::new(["sk-admin"]);
        options.auth.metrics = ApiKeys::new(["sk-scrape"]);
    })
    .await;
    for (key, name, scopes) in [
        ("sk-use", "api_keys", json!(["inference", "metrics"])),
        ("sk-scrape", "metrics_api_key", json!(["metrics"])),
        ("sk-admin", "admin_keys", json!(["inference", "metrics", "rollouts", "admin"])),
    ] {
        let answer = server.get("/v1/key").bearer_auth(key).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{key}");
        let info: Value = answer.json().await.unwrap();
        assert_eq!(info, json!({"name": name, "scopes": scopes}));
    }
    for key in ["sk-other", ""] {
        assert_eq!(server.get("/v1/key").bearer_auth(key).send().await.unwrap().status(), 401, "{key}");
    }
    let open = Server::start().await.get("/v1/key").send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(open, json!({"scopes": ["inference", "metrics"]}));
}

#[tokio::test]
async fn stretches_of_a_text_have_their_languages() {
    let server = Server::start().await;
    let text = "<think>まず、りんごの数を数えます。</think>The answer is forty-two apples.";
    let told = server.ok("/v1/language", &json!({"text": text, "target": "ja"})).await;
    assert_eq!((&told["target"], &told["following"]), (&json!("ja"), &json!(false)));
    let last = told["segments"].as_array().unwrap().last().unwrap();
    let at = |end: &str| usize::try_from(last[end].as_u64().unwrap()).unwrap();
    assert_eq!(&text[at("start")..at("end")], "The answer is forty-two apples.");
    assert_eq!(last["language"], "en");
    for (body, param) in [
        (json!({"text": text, "target": "xx"}), "target"),
        (json!({"text": text}), "target"),
        (json!({"text": "a".repeat((1 << 20) + 1), "target": "en"}), "text"),
        (json!({"text": text, "target": "ja", "profile": "x"}), "profile"),
    ] {
        let refused = server.post("/v1/language", &body).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{param}");
        assert_eq!(refused.json::<Value>().await.unwrap()["error"]["param"], param);
    }
}
