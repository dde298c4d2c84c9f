//! A client of a server with a store and an admin key, in this process or in one of its own that can be killed.

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use xenoglot::api::{ApiKeys, DataOptions, EvalOptions};
use xenoglot::eval::ScorerOptions;
use xenoglot::store::Store;

use super::server::{Server, models_dir};

pub const KEY: &str = "sk-admin";

/// A client of a server with a store and an admin key, wherever that server runs.
pub struct Client {
    pub url: String,
    pub http: reqwest::Client,
}

impl Client {
    pub async fn send(&self, request: reqwest::RequestBuilder) -> (u16, String) {
        let response = request.bearer_auth(KEY).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub async fn json(&self, request: reqwest::RequestBuilder, status: u16) -> Value {
        let (got, text) = self.send(request).await;
        assert_eq!(got, status, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub async fn get(&self, path: &str) -> Value {
        self.json(self.http.get(self.path(path)), 200).await
    }

    pub async fn post(&self, path: &str, body: &Value, status: u16) -> Value {
        self.json(self.http.post(self.path(path)).json(body), status).await
    }

    pub async fn upload(&self, parts: &[(&str, Option<&str>, &str)], status: u16) -> Value {
        let mut body = String::new();
        for (name, file, content) in parts {
            let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
            let _ = write!(
                body,
                "--xyz\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n"
            );
        }
        body += "--xyz--\r\n";
        let request = self.http.post(self.path("/v1/files")).body(body);
        self.json(request.header("content-type", "multipart/form-data; boundary=xyz"), status).await
    }

    /// The id of an uploaded file.
    pub async fn file_for(&self, purpose: &str, name: &str, content: &str) -> String {
        let parts = [("purpose", None, purpose), ("file", Some(name), content)];
        self.upload(&parts, 200).await["id"].as_str().unwrap().to_owned()
    }
}

pub async fn started_with(models: &Path) -> (TempDir, Server, Client) {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&format!("sqlite:{}", folder.path().join("store.db").display())).await.unwrap();
    let data = DataOptions { folder: folder.path().to_owned(), file_bytes_max: 64 << 10 };
    let server = Server::with(|settings, options| {
        settings.models_dir = models.to_owned();
        options.auth.inference = ApiKeys::default();
        options.auth.admin = ApiKeys::new([KEY]);
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
    (folder, server, client)
}

pub async fn started() -> (TempDir, Server, Client) {
    started_with(&models_dir()).await
}

/// `xenoglot serve`, which dies with the test.
pub struct Process(Child, pub Client);

impl Process {
    pub fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenoglot"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("XENOGLOT_") {
                command.env_remove(name);
            }
        }
        command.env("XENOGLOT_ADMIN_KEYS", KEY).env("XENOGLOT_MODELS", models_dir());
        command.args(["serve", "qwen3", "--port", "0", "--threads", "1", "--kv-cache-memory", "64MiB"]);
        command.args(["--store", &format!("sqlite:{}", folder.join("store.db").display())]);
        let mut child =
            command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let url = loop {
            let line = log.next().unwrap_or_else(|| panic!("it does not start: {said}")).unwrap();
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(';').next().unwrap().to_owned();
            }
            said += &line;
        };
        // Whoever does not read stops whoever writes.
        std::thread::spawn(move || log.for_each(drop));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_mins(1)).build().unwrap();
        Self(child, Client { url, http })
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
