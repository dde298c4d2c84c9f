//! A listening server over a tiny model, and the client that talks to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use xenoglot::api::{self, ApiOptions};
use xenoglot::ops::Workers;
use xenoglot::registry::{Catalogue, EngineOptions, LoadSpec, Registry};
use xenoglot::settings::Settings;

pub const MODEL: &str = "tiny/qwen3";
pub const MODEL_FOLDER: &str = "qwen3";
/// The tiny model's whole context.
pub const CONTEXT: usize = 128;

pub struct Server {
    pub url: String,
    pub client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

pub fn models_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models")
}

impl Server {
    pub async fn start() -> Self {
        Self::with(|_, _| {}).await
    }

    /// With a text encoder beside the tiny model.
    pub async fn with_encoder(name: &str, path: &Path) -> Self {
        Self::of(
            MODEL_FOLDER,
            |_, _| {},
            |registry| {
                registry.load_encoder(name.to_owned(), path).unwrap();
            },
        )
        .await
    }

    /// With models that are known and not loaded.
    pub async fn with_catalogue(known: Catalogue) -> Self {
        Self::of(MODEL_FOLDER, |_, _| {}, |registry| registry.set_catalogue(known)).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings, &mut ApiOptions)) -> Self {
        Self::of(MODEL_FOLDER, change, |_| {}).await
    }

    /// With another tiny model in place of the usual one, under its name.
    pub async fn of_model(folder: &str) -> Self {
        Self::of(folder, |_, _| {}, |_| {}).await
    }

    /// With any model in place of the usual one, under its name.
    pub async fn of_path(path: &Path) -> Self {
        // Joining an absolute path replaces what it is joined to.
        let path = path.canonicalize().unwrap();
        Self::of(path.to_str().unwrap(), |_, _| {}, |_| {}).await
    }

    /// Any of these together.
    pub async fn of(
        folder: &str,
        change: impl FnOnce(&mut Settings, &mut ApiOptions),
        more: impl FnOnce(&Registry),
    ) -> Self {
        // Another test of the process may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut settings = Settings { models_dir: models_dir(), ..Settings::default() };
        let mut options = ApiOptions::from(&settings);
        change(&mut settings, &mut options);
        let engine = EngineOptions::from(&settings);
        let registry = Registry::new(Workers::new(1), engine.clone(), settings.models_dir.clone());
        let spec = LoadSpec { name: MODEL.to_owned(), path: models_dir().join(folder), options: engine };
        registry.load(spec).unwrap();
        more(&registry);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = async move {
            let shutdown = async { drop(stopped.await) };
            api::serve(listener, registry, options, shutdown).await.unwrap();
        };
        let client = reqwest::Client::builder().timeout(Duration::from_mins(1)).build().unwrap();
        Self { url, client, stop: Some(stop), running: Some(tokio::spawn(serving)) }
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.url)).json(body)
    }

    /// The JSON of an answer that must be 200.
    pub async fn ok(&self, path: &str, body: &Value) -> Value {
        let response = self.post(path, body).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{path} {body}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The chunks of a stream that must end with `[DONE]`.
    pub async fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let response = self.post(path, body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path} {body}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        events(&response.text().await.unwrap())
    }

    /// One metric of the tiny model.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").send().await.unwrap().text().await.unwrap();
        let start = format!("xenoglot_{name}{{model_name=\"{MODEL}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("{start} is not in\n{text}")).parse().unwrap()
    }

    /// Waits until nothing runs, waits or holds KV blocks.
    pub async fn idle(&self) {
        for _ in 0..200 {
            let mut busy = 0.0;
            for gauge in ["num_requests_running", "num_requests_waiting", "kv_blocks_in_use"] {
                busy += self.metric(gauge).await;
            }
            if busy == 0.0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("requests or KV blocks are still in use");
    }

    pub fn signal_stop(&mut self) {
        self.stop.take().expect("stopped once").send(()).unwrap();
    }

    /// Waits for the drained server to end.
    pub async fn ended(&mut self) {
        let running = self.running.take().expect("awaited once");
        tokio::time::timeout(Duration::from_secs(30), running).await.expect("the server ends").unwrap();
    }
}

/// The data of an event stream; the last must be `[DONE]`.
pub fn events(text: &str) -> Vec<Value> {
    let mut data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.pop(), Some("[DONE]"), "{text}");
    data.into_iter().map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// `left` with the fields of `right` over it.
pub fn merge(left: &Value, right: &Value) -> Value {
    let mut merged = left.clone();
    for (name, value) in right.as_object().unwrap() {
        merged[name] = value.clone();
    }
    merged
}

pub fn chat(more: &Value) -> Value {
    let plain = json!({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20, "seed": 7});
    merge(&plain, more)
}

pub fn completion(more: &Value) -> Value {
    merge(&json!({"model": MODEL, "prompt": "Hello", "max_tokens": 20, "seed": 7}), more)
}

/// What [`long`] generates if nobody stops it.
pub const LONG_TOKENS: f64 = 8.0 * 128.0 * 100.0;

/// A request that keeps a one-sequence engine busy for seconds.
pub fn long(more: &Value) -> Value {
    let prompts = ["Hello"; 8];
    let endless = json!({"prompt": prompts, "n": 128, "max_tokens": 100, "ignore_eos": true, "stream": true});
    merge(&completion(&endless), more)
}
