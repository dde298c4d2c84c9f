//! What the door keeps out, a rule a test. docs/security.md has the whole list, with the tests that stand elsewhere.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use xenoglot::api::{ApiKeys, DataOptions, EvalOptions};
use xenoglot::eval::ScorerOptions;
use xenoglot::model::Target;
use xenoglot::settings::{Settings, UnknownFields};
use xenoglot::store::Store;

use super::client::Client;
use super::server::{MODEL, MODEL_FOLDER, Server, chat, completion, models_dir};
use crate::model::adapters::write_adapter;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const ADMIN: &str = "sk-admin";

/// The error of an answer that must have this status.
async fn refused(request: RequestBuilder, status: u16) -> Value {
    let response = request.send().await.unwrap();
    let got = response.status().as_u16();
    let text = response.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
    body["error"].clone()
}

/// A server with every route: a models directory, a folder for trainers, a store and an uploaded file. What lies `outside` of
/// its folders would serve as well as what lies inside: checkpoints of the served model's shape, and adapters of it.
struct Whole {
    server: Server,
    folder: TempDir,
    file: String,
}

/// A request that names a path, with the field that does and the status of its refusal.
struct Row {
    route: &'static str,
    body: Value,
    field: &'static str,
    refusal: u16,
}

impl Whole {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["models", "weights", "outside"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        copy_model(&folder.path().join("models/inside"));
        copy_model(&folder.path().join("outside/model"));
        for adapter in ["models/adapter", "outside/adapter"] {
            write_adapter(
                &models_dir().join(MODEL_FOLDER),
                &folder.path().join(adapter),
                &Target::SEPARATE,
                1,
            );
        }
        let store =
            Store::open(&format!("sqlite:{}", folder.path().join("store.db").display())).await.unwrap();
        let data = DataOptions { folder: folder.path().join("data"), file_bytes_max: 1 << 20 };
        let root = folder.path().to_owned();
        let server = Server::with(|settings, options| {
            settings.models_dir = root.join("models");
            options.auth.admin = ApiKeys::new([ADMIN]);
            options.rollouts.weights_dir = Some(root.join("weights"));
            options.evals = Some(EvalOptions {
                store,
                workers: 0,
                endpoints: Vec::new(),
                scorers: ScorerOptions::default(),
                data,
            });
        })
        .await;
        let client = Client { url: server.url.clone(), http: server.client.clone() };
        let line = json!({"prompt": "one", "completion": "two"}).to_string() + "\n";
        let file = client.file_for("fine-tune", "a.jsonl", &line).await;
        Self { server, folder, file }
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.server.post(path, body).bearer_auth(ADMIN)
    }

    /// Every request that names a path. The last leaves a second model in service.
    fn rows(&self, model: &str, adapter: &str, output: &str) -> Vec<Row> {
        let merge = |model: &str, output: &str| {
            let config = json!({"merge_method": "passthrough", "slices": [{"sources": [{"model": model, "layer_range": [0, 1]}]}]});
            json!({"config": config, "output": output, "serve": false})
        };
        let mapping = json!({"type": "mapping", "mapping": {"encoder": model}});
        let file = &self.file;
        let row = |route, body, field, refusal| Row { route, body, field, refusal };
        vec![
            row("/v1/load_lora_adapter", json!({"lora_name": "b", "lora_path": adapter}), "lora_path", 404),
            row("/update_weights", json!({"weight_dir": model}), "weight_dir", 404),
            row("/update_weights_from_disk", json!({"model_path": model}), "model_path", 404),
            row("/v1/merges", merge(model, "merged"), "config.slices.0.sources.0.model", 400),
            row("/v1/merges", merge("inside", output), "output", 400),
            row("/v1/fine_tuning/jobs", json!({"model": model, "training_file": file}), "model", 400),
            row(
                "/v1/fine_tuning/jobs",
                json!({"model": "inside", "training_file": file, "method": mapping}),
                "method.mapping.encoder",
                400,
            ),
            row("/v1/admin/models", json!({"name": "a", "path": model}), "path", 400),
        ]
    }

    /// Asserts that each is refused, and for its path.
    async fn refuses(&self, rows: Vec<Row>) {
        for Row { route, body, field, refusal } in rows {
            let error = refused(self.post(route, &body), refusal).await;
            assert_eq!(error["param"], field, "{route} {body}: {error}");
            assert!(!error.to_string().contains("root:"), "{error}");
        }
    }

    /// Asserts that the same requests are taken for what lies inside, so that refusals are about the path.
    async fn takes_what_lies_inside(&self) {
        for Row { route, body, field, .. } in self.rows("inside", "adapter", "made") {
            let answer = self.post(route, &body).send().await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            if field == "method.mapping.encoder" {
                // A decoder is none: that is found behind the door.
                assert!(!text.contains(field), "{text}");
                continue;
            }
            assert!(status.is_success(), "{route} {body}: {text}");
            let made: Value = serde_json::from_str(&text).unwrap_or_default();
            if made["object"] == "fine_tuning.job" {
                let cancel = format!("{route}/{}/cancel", made["id"].as_str().unwrap());
                assert!(self.post(&cancel, &json!({})).send().await.unwrap().status().is_success());
            }
        }
    }
}

fn copy_model(to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(models_dir().join(MODEL_FOLDER)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[tokio::test]
async fn a_symlink_out_of_the_models_directory_is_not_followed() {
    let whole = Whole::start().await;
    let outside = whole.folder.path().join("outside");
    for root in ["models", "weights"] {
        std::os::unix::fs::symlink(&outside, whole.folder.path().join(root).join("link")).unwrap();
    }
    whole.refuses(whole.rows("link/model", "link/adapter", "link/made")).await;
    let before = std::fs::read_dir(&outside).unwrap().count();
    assert_eq!(before, 2, "nothing was written beyond the link");
    whole.takes_what_lies_inside().await;
}

#[tokio::test]
async fn a_path_with_dots_leads_nowhere_else() {
    let whole = Whole::start().await;
    let absolute = whole.folder.path().join("outside/model");
    for path in
        ["../outside/model", "inside/../../outside/model", absolute.to_str().unwrap(), "/etc", "..", "a\0b"]
    {
        whole.refuses(whole.rows(path, &path.replace("model", "adapter"), path)).await;
    }
    whole.takes_what_lies_inside().await;
}

/// What is not there and what lies elsewhere have the same answer: nobody looks at the disk through the server.
#[tokio::test]
async fn a_file_elsewhere_is_not_told_from_one_that_is_absent() {
    let whole = Whole::start().await;
    let answers = async |model: &str, adapter: &str| {
        let mut answers = Vec::new();
        for Row { route, body, .. } in whole.rows(model, adapter, model) {
            let answer = whole.post(route, &body).send().await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            answers.push((route, status, text.replace(model, "PATH").replace(adapter, "PATH")));
        }
        answers
    };
    let elsewhere = answers("../outside/model", "../outside/adapter").await;
    assert_eq!(elsewhere, answers("../outside/absent", "../outside/absent").await);
}

#[tokio::test]
async fn no_url_of_a_request_is_fetched() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let fetched = Arc::new(AtomicUsize::new(0));
    let counted = fetched.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let whole = Whole::start().await;
    let part = |kind: &str| json!([{"role": "user", "content": [{"type": kind, kind: {"url": url}}]}]);
    let mut requests: Vec<(&str, Value)> =
        whole.rows(&url, &url, &url).into_iter().map(|row| (row.route, row.body)).collect();
    requests.extend([
        (CHAT, chat(&json!({"messages": part("image_url")}))),
        (CHAT, chat(&json!({"messages": part("input_audio")}))),
        (CHAT, chat(&json!({"model": url}))),
        (CHAT, chat(&json!({"web_search_options": {"url": url}}))),
        (COMPLETIONS, completion(&json!({"prompt_embeds": url}))),
        ("/tokenize", json!({"model": url, "prompt": "a"})),
        (
            "/v1/evals",
            json!({"name": "a", "testing_criteria": [],
            "data_source_config": {"type": "xenoglot_suite", "suite": url}}),
        ),
        ("/v1/fine_tuning/jobs", json!({"model": "inside", "training_file": url})),
        (
            "/v1/fine_tuning/jobs",
            json!({"model": "inside", "training_file": "file-1",
            "integrations": [{"type": "wandb", "wandb": {"project": url}}]}),
        ),
        (
            "/init_weight_transfer_engine",
            json!({"init_info": {"master_address": "192.0.2.1", "master_port": 80}}),
        ),
    ]);
    for (route, body) in requests {
        let status = whole.post(route, &body).send().await.unwrap().status().as_u16();
        assert!((400..500).contains(&status), "{route} {body}: {status}");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(fetched.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_ten_thousand_deep_json_is_a_400() {
    let server = Server::start().await;
    for deep in [
        "[".repeat(10_000) + &"]".repeat(10_000),
        format!("{{\"messages\": {}{}}}", "[".repeat(9_999), "]".repeat(9_999)),
        "{\"a\":".repeat(10_000) + "1" + &"}".repeat(10_000),
    ] {
        let url = format!("{}{CHAT}", server.url);
        let request = server.client.post(url).header("content-type", "application/json").body(deep);
        let error = refused(request, 400).await;
        assert_eq!(error["code"], "invalid_json");
        assert!(error["message"].as_str().unwrap().contains("10000 levels"), "{error}");
    }
    server.ok(CHAT, &chat(&json!({}))).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413() {
    let server = Server::with(|_, options| options.limits.body_bytes_max = 2048).await;
    let error = refused(server.post(CHAT, &chat(&json!({"user": "x".repeat(4096)}))), 413).await;
    assert_eq!(error["code"], "request_too_large");
}

#[tokio::test]
async fn a_request_of_many_or_large_headers_is_a_431() {
    let server = Server::start().await;
    let with = |count: usize, bytes: usize| {
        let mut request = server.get("/version");
        for i in 0..count {
            request = request.header(format!("x-h-{i}"), "x".repeat(bytes));
        }
        request
    };
    assert_eq!(with(30, 10).send().await.unwrap().status(), 200);
    let error = refused(with(80, 1), 431).await;
    assert!(error["message"].as_str().unwrap().contains("at most 64"), "{error}");
    assert_eq!(refused(with(3, 12_000), 431).await["code"], "headers_too_large");
    // Beyond the parser's own bound there is no body.
    assert_eq!(with(500, 1).send().await.unwrap().status(), 431);
    let long = format!("/v1/evals?after={}", "x".repeat(9_000));
    assert_eq!(refused(server.get(&long), 414).await["code"], "uri_too_long");
    server.ok(COMPLETIONS, &completion(&json!({}))).await;
}

#[tokio::test]
async fn lists_and_strings_of_a_request_are_bounded() {
    let server = Server::start().await;
    let message = json!({"role": "user", "content": "a"});
    let part = json!({"type": "text", "text": "a"});
    let bias: serde_json::Map<String, Value> = (0..5000).map(|id| (id.to_string(), json!(0))).collect();
    for (route, body, param) in [
        (CHAT, chat(&json!({"messages": vec![message; 5000]})), "messages"),
        (
            CHAT,
            chat(&json!({"messages": [{"role": "user", "content": vec![part; 2000]}]})),
            "messages.0.content",
        ),
        (
            CHAT,
            chat(&json!({"messages": [{"role": "user", "content": "a", "name": "x".repeat(1000)}]})),
            "messages.0.name",
        ),
        (
            CHAT,
            chat(&json!({"chat_template_kwargs": {"date_string": "x".repeat(5000)}})),
            "chat_template_kwargs.date_string",
        ),
        (COMPLETIONS, completion(&json!({"prompt": vec!["a"; 2000]})), "prompt"),
        (COMPLETIONS, completion(&json!({"stop": vec!["a"; 20]})), "stop"),
        (COMPLETIONS, completion(&json!({"stop_token_ids": vec![1; 300]})), "stop_token_ids"),
        (COMPLETIONS, completion(&json!({"logit_bias": bias})), "logit_bias"),
        (COMPLETIONS, completion(&json!({"cache_salt": "x".repeat(300)})), "cache_salt"),
        (COMPLETIONS, completion(&json!({"language": "x".repeat(300)})), "language"),
        ("/detokenize", json!({"tokens": vec![1; (1 << 20) + 1]}), "tokens"),
    ] {
        assert_eq!(refused(server.post(route, &body), 400).await["param"], param, "{route} {param}");
    }
}

#[tokio::test]
async fn a_stop_string_of_a_megabyte_is_refused() {
    let server = Server::start().await;
    let body = completion(&json!({"stop": ["ok", "x".repeat(1 << 20)]}));
    assert_eq!(refused(server.post(COMPLETIONS, &body), 400).await["param"], "stop.1");
}

#[tokio::test]
async fn a_billion_choices_are_refused_before_memory_is_taken() {
    let server = Server::start().await;
    for n in [129, 1_000_000_000] {
        assert_eq!(refused(server.post(COMPLETIONS, &completion(&json!({"n": n}))), 400).await["param"], "n");
    }
    let many = completion(&json!({"prompt": vec!["a"; 1000], "n": 128}));
    assert_eq!(refused(server.post(COMPLETIONS, &many), 400).await["param"], "n");
}

#[tokio::test]
async fn a_template_of_a_request_is_refused() {
    let server = Server::start().await;
    let template = json!({"chat_template": "{{ messages }}"});
    assert_eq!(refused(server.post(CHAT, &chat(&template)), 400).await["param"], "chat_template");
    let tokenize = json!({"messages": [{"role": "user", "content": "a"}], "chat_template": "{{ messages }}"});
    assert_eq!(refused(server.post("/tokenize", &tokenize), 400).await["param"], "chat_template");
}

#[tokio::test]
async fn a_template_variable_that_nobody_listed_is_refused() {
    let server = Server::start().await;
    for name in ["messages", "bos_token", "raise_exception", "__class__"] {
        let body = chat(&json!({"chat_template_kwargs": {name: "x"}}));
        let param = format!("chat_template_kwargs.{name}");
        assert_eq!(refused(server.post(CHAT, &body), 400).await["param"], param);
    }
}

#[tokio::test]
async fn media_of_a_request_are_refused() {
    let server = Server::start().await;
    for kind in ["image_url", "input_audio", "file", "video_url"] {
        let content = json!([{"type": kind, kind: {"data": "AAAA", "url": "data:,"}}]);
        let body = chat(&json!({"messages": [{"role": "user", "content": content}]}));
        let error = refused(server.post(CHAT, &body), 400).await;
        assert_eq!(error["param"], "messages.0.content.0.type", "{error}");
    }
    assert_eq!(
        refused(server.post(CHAT, &chat(&json!({"audio": {"voice": "x"}}))), 400).await["param"],
        "audio"
    );
}

#[tokio::test]
async fn embeddings_of_a_request_are_not_unpickled() {
    let server = Server::start().await;
    // `pickle.dumps` of a call, in base64, as torch.load would run it.
    let pickled = "gASVHgAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg==";
    let body = completion(&json!({"prompt_embeds": pickled}));
    assert_eq!(refused(server.post(COMPLETIONS, &body), 400).await["param"], "prompt_embeds");
}

/// Whether they are compiled or refused: neither costs more than a moment, and the server goes on.
#[tokio::test]
async fn a_hostile_schema_or_regex_never_kills_the_server() {
    let server = Server::start().await;
    let schema = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}});
    let nested = (0..50).fold(json!({"type": "string"}), |inner, _| json!({"anyOf": [inner]}));
    let wide: serde_json::Map<String, Value> =
        (0..5000).map(|i| (format!("p{i}"), json!({"type": "string", "maxLength": 1_000_000}))).collect();
    for more in [
        json!({"guided_regex": "(a+)+$"}),
        json!({"guided_regex": "((a{1000}){1000}){1000}"}),
        json!({"guided_regex": "("}),
        json!({"structured_outputs": {"regex": "(.*){100}{100}"}}),
        schema(json!({"$ref": "#"})),
        schema(json!({"$ref": "http://192.0.2.1/schema.json"})),
        schema(json!({"type": "array", "minItems": 1_000_000_000})),
        schema(json!({"type": "string", "pattern": "((a{1000}){1000}){1000}"})),
        schema(json!({"type": "object", "properties": wide})),
        schema(nested),
    ] {
        // Budgets count steps; a machine that is slow and busy takes long for them.
        let answer = server.post(CHAT, &chat(&more)).timeout(Duration::from_mins(2)).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{more}: {error}"));
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        // Also where it is found too costly while it is answered.
        assert!(status == 200 || status == 400, "{status}: {text}");
        server.ok(CHAT, &chat(&json!({}))).await;
    }
}

/// Nothing of a repository is executed, whatever its configuration asks for.
#[tokio::test]
async fn code_of_a_models_repository_is_not_run() {
    let whole = Whole::start().await;
    let (model, marker) = (whole.folder.path().join("models/coded"), whole.folder.path().join("ran"));
    copy_model(&model);
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(model.join("config.json")).unwrap()).unwrap();
    config["auto_map"] = json!({"AutoModelForCausalLM": "modeling_coded.Coded"});
    config["trust_remote_code"] = json!(true);
    std::fs::write(model.join("config.json"), config.to_string()).unwrap();
    let code = format!("open({:?}, 'w')\n", marker.display().to_string());
    std::fs::write(model.join("modeling_coded.py"), code).unwrap();
    let load = json!({"name": "coded", "path": "coded"});
    assert_eq!(whole.post("/v1/admin/models", &load).send().await.unwrap().status(), 201);
    whole.server.ok(COMPLETIONS, &completion(&json!({"model": "coded"}))).await;
    assert!(!marker.exists());
}

#[tokio::test]
async fn a_key_in_the_wrong_scope_is_403() {
    let server = Server::with(|_, options| {
        options.auth.inference = ApiKeys::new(["sk-use"]);
        options.auth.metrics = ApiKeys::new(["sk-scrape"]);
        options.auth.admin = ApiKeys::new([ADMIN]);
    })
    .await;
    for (key, routes) in [
        ("sk-use", &["/v1/files", "/v1/merges", "/v1/fine_tuning/jobs", "/server_info", "/is_paused"][..]),
        ("sk-scrape", &["/v1/models", "/load", "/v1/evals", "/v1/files", "/server_info"]),
    ] {
        for route in routes {
            let error = refused(server.get(route).bearer_auth(key), 403).await;
            assert_eq!(error["type"], "permission_error", "{key} {route}");
        }
    }
    assert_eq!(server.get("/load").bearer_auth("sk-use").send().await.unwrap().status(), 200);
    refused(server.get("/load"), 401).await;
}

#[tokio::test]
async fn admin_routes_are_403_until_there_is_an_admin_key() {
    let server = Server::with(|_, options| options.auth.inference = ApiKeys::new(["sk-use"])).await;
    for route in ["/v1/files", "/v1/merges", "/v1/fine_tuning/jobs", "/server_info"] {
        for key in ["sk-use", "sk-admin", ""] {
            refused(server.get(route).bearer_auth(key), 403).await;
        }
    }
}

/// The description lists every route: none but the public ones answers a stranger.
#[tokio::test]
async fn every_route_but_the_public_ones_asks_for_a_key() {
    let server = Server::with(|_, options| {
        options.auth.inference = ApiKeys::new(["sk-use"]);
        options.auth.admin = ApiKeys::new([ADMIN]);
    })
    .await;
    let description = serde_json::to_value(xenoglot::api::openapi()).unwrap();
    let mut public = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let Ok(method) = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            let url = format!("{}{}", server.url, path.replace(['{', '}'], ""));
            let status = server.client.request(method.clone(), url).send().await.unwrap().status().as_u16();
            match status {
                401 => {}
                200 => public.push(path.clone()),
                other => panic!("{method} {path}: {other}"),
            }
        }
    }
    assert_eq!(public, ["/health", "/ping", "/version"]);
    refused(server.get("/v1/no_such_route"), 401).await;
}

#[test]
fn the_server_listens_to_this_machine_alone_by_default() {
    let host: std::net::IpAddr = Settings::default().host.parse().unwrap();
    assert!(host.is_loopback());
}

#[tokio::test]
async fn a_key_stands_in_nothing_that_the_server_shows() {
    let key = "sk-that-nobody-may-read";
    let mut shown = String::new();
    let server = Server::with(|settings, options| {
        settings.api_keys = vec![key.to_owned()];
        *options = (&*settings).into();
        shown = format!("{options:?}");
    })
    .await;
    for path in ["/metrics", "/v1/models", "/v1/models/absent", "/health", "/openapi.json", "/v1/absent"] {
        let answer = server.get(path).bearer_auth(key).send().await.unwrap();
        let headers = format!("{:?}", answer.headers());
        shown = [shown, headers, answer.text().await.unwrap()].concat();
    }
    assert!(shown.contains("sha256:"), "hashed at rest");
    assert!(!shown.contains(key), "{shown}");
}

#[tokio::test]
async fn a_mistyped_field_is_refused_or_named_as_the_server_was_told() {
    let server = Server::start().await;
    let mistyped = chat(&json!({"temprature": 0.5, "set-cookie: x\r\n": 1}));
    assert_eq!(refused(server.post(CHAT, &mistyped), 400).await["code"], "unknown_parameter");
    let naming = Server::with(|_, options| options.limits.unknown_fields = UnknownFields::Name).await;
    for stream in [false, true] {
        let mut body = mistyped.clone();
        body["stream"] = json!(stream);
        let answer = naming.post(CHAT, &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-xenoglot-ignored-fields"], "temprature,set-cookie??x??");
        assert!(answer.text().await.unwrap().contains(MODEL));
    }
    let known = naming.post(CHAT, &chat(&json!({}))).send().await.unwrap();
    assert!(known.headers().get("x-xenoglot-ignored-fields").is_none());
    assert_eq!(refused(naming.post(CHAT, &chat(&json!({"n": -1, "x": 1}))), 400).await["param"], "n");
}

#[tokio::test]
async fn an_id_that_no_log_should_have_is_replaced() {
    let server = Server::start().await;
    let id = async |sent: &str| {
        let answer = server.get("/version").header("x-request-id", sent).send().await.unwrap();
        answer.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id("req-42:a/b").await, "req-42:a/b");
    let long = "x".repeat(200);
    for sent in ["two words", "tab\there", long.as_str(), ""] {
        let made = id(sent).await;
        assert!(made != sent && made.len() == 36, "{sent:?}: {made}");
    }
}

/// The list of docs/security.md names tests that there are.
#[test]
fn every_test_that_the_security_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let (_, list) = page.split_once("## Rules and their tests").expect("the list");
    let mut named = 0;
    for row in list.lines().filter(|line| line.starts_with("| ")) {
        let Some(cell) = row.trim_end_matches('|').rsplit('|').next() else { continue };
        let mut file = String::new();
        for word in cell.split('`').skip(1).step_by(2) {
            if Path::new(word).extension().is_some_and(|extension| extension == "rs") {
                file = std::fs::read_to_string(root.join(word))
                    .unwrap_or_else(|error| panic!("{word}: {error}"));
            } else if !file.is_empty() {
                assert!(
                    file.contains(&format!("fn {word}(")),
                    "{row}\n`{word}` is not in the file before it"
                );
                named += 1;
            }
        }
    }
    assert!(named > 30, "only {named} tests are named: is the list still a table?");
}
