//! Weights that a trainer sends, pauses, and what trainers read from completions: vLLM's shapes.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use xenoglot::api::ApiKeys;
use xenoglot::weights::{StagedTensors, TensorSource};

use super::server::{MODEL, Server, completion, long, merge, models_dir};
use crate::model::replaced::changed;

const COMPLETIONS: &str = "/v1/completions";

/// A server as `--rollout-backend` starts it on this machine.
pub async fn backend() -> Server {
    Server::with(|settings, options| {
        settings.rollout_backend = true;
        options.rollouts.backend = true;
        options.auth.keyless_rollouts = true;
    })
    .await
}

/// A trainer that the server connects to.
struct Trainer {
    listener: TcpListener,
    checksum: bool,
}

impl Trainer {
    async fn new(checksum: bool) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), checksum }
    }

    fn init(&self) -> Value {
        let port = self.listener.local_addr().unwrap().port();
        let world = json!({"rank_offset": 1, "world_size": 2, "packed": true, "checksum": self.checksum});
        json!({"init_info": merge(&world, &json!({"master_address": "127.0.0.1", "master_port": port}))})
    }

    async fn connect(&self, server: &Server) -> TcpStream {
        let init = self.init();
        let (_, accepted) =
            futures::join!(server.ok("/init_weight_transfer_engine", &init), self.listener.accept());
        accepted.unwrap().0
    }
}

/// The announcement of tensors, and their bytes.
fn announced(tensors: &StagedTensors) -> (Value, Vec<u8>) {
    let (mut names, mut shapes, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for name in tensors.names() {
        let view = tensors.tensor(&name).unwrap();
        shapes.push(view.shape);
        bytes.extend_from_slice(&view.bytes);
        names.push(name);
    }
    let dtypes = vec!["float32"; names.len()];
    (json!({"names": names, "dtype_names": dtypes, "shapes": shapes}), bytes)
}

async fn update(server: &Server, info: &Value, socket: &mut TcpStream, bytes: &[u8]) -> (u16, Value) {
    server.ok("/start_weight_update", &json!({})).await;
    let body = json!({"update_info": info});
    let request = server.post("/update_weights", &body).send();
    // The server may hang up on what it has refused.
    let (answer, _) = futures::join!(request, socket.write_all(bytes));
    let answer = answer.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// A prompt of several blocks' answer: tokens and logprobs to the bit.
async fn answer(server: &Server) -> Value {
    let prompt: Vec<u32> = (0..70).map(|at| at * 13 % 90).collect();
    let more = json!({"prompt": prompt, "temperature": 0, "max_tokens": 12, "ignore_eos": true, "logprobs": 2, "return_token_ids": true});
    let mut answer = server.ok(COMPLETIONS, &completion(&more)).await["choices"][0].clone();
    answer["weight_version"].take();
    answer
}

#[tokio::test]
async fn a_trainer_reads_what_it_has_to_know() {
    let server = backend().await;
    let get = async |path: &str| server.get(path).send().await.unwrap().json::<Value>().await.unwrap();
    let info = get("/server_info?config_format=json").await;
    let config = &info["vllm_config"];
    assert_eq!(config["model_config"]["logprobs_mode"], "processed_logprobs");
    assert_eq!(config["model_config"]["dtype"], "torch.float32");
    assert_eq!(config["parallel_config"]["data_parallel_size"], 1);
    assert!(config["weight_transfer_config"].is_object(), "{info}");
    assert_eq!(config["lora_config"], json!({"max_lora_rank": 256, "max_loras": 64}));
    assert_eq!(get("/get_world_size").await, json!({"world_size": 1}));
    let health = server.get("/health").send().await.unwrap();
    assert!(health.status() == 200 && !health.headers().contains_key("x-forwarded-for"));
}

#[tokio::test]
async fn streamed_weights_answer_as_a_server_that_was_started_with_them() {
    for checksum in [false, true] {
        let server = backend().await;
        let old = answer(&server).await;
        let trainer = Trainer::new(checksum).await;
        let mut socket = trainer.connect(&server).await;
        let (info, mut bytes) = announced(&changed("qwen3", |_| true));
        if checksum {
            bytes.extend_from_slice(&Sha256::digest(&bytes));
        }
        for version in [1, 2] {
            let (status, received) = update(&server, &info, &mut socket, &bytes).await;
            assert_eq!((status, &received["weight_version"]), (200, &json!(version - 1)), "{received}");
            // Sent again by a trainer that got no answer: nothing more is read.
            let again = json!({"update_info": info});
            server.ok("/update_weights", &again).await;
            if version == 1 {
                assert_eq!(answer(&server).await, old, "nothing changes before the end");
            }
            let finished = server.ok("/finish_weight_update", &json!({})).await;
            assert_eq!(finished["weight_version"], version);
            assert_eq!(server.ok("/finish_weight_update", &json!({})).await["weight_version"], version);
            server.ok("/reset_prefix_cache", &json!({})).await;
        }
        assert_eq!(server.metric("weight_version").await, 2.0);
        let told = server.ok(COMPLETIONS, &completion(&json!({"n": 2}))).await;
        assert!(told["choices"].as_array().unwrap().iter().all(|choice| choice["weight_version"] == 2));
        let chat = super::server::chat(&json!({}));
        assert_eq!(server.ok("/v1/chat/completions", &chat).await["choices"][0]["weight_version"], 2);
        let new = answer(&server).await;
        assert_ne!(new, old);
        assert_eq!(new, answer(&restarted().await).await);
    }
}

/// A server that loads the changed weights from a folder.
async fn restarted() -> Server {
    let folder = checkpoint();
    let root = folder.path().to_owned();
    let server = Server::with(|settings, options| {
        settings.models_dir = root.clone();
        options.rollouts.backend = true;
        options.auth.keyless_rollouts = true;
    })
    .await;
    server.ok("/update_weights", &json!({"weight_dir": "new"})).await;
    server
}

/// A folder with a folder `new` with the changed weights, as safetensors.
fn checkpoint() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new");
    std::fs::create_dir(&out).unwrap();
    let tensors = changed("qwen3", |_| true);
    let names = tensors.names();
    let views: Vec<_> = names.iter().map(|name| tensors.tensor(name).unwrap()).collect();
    let stored = names.iter().zip(&views).map(|(name, view)| {
        let shape = view.shape.clone();
        (
            name.clone(),
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, &view.bytes).unwrap(),
        )
    });
    safetensors::serialize_to_file(stored, None, &out.join("model.safetensors")).unwrap();
    folder
}

#[tokio::test]
async fn a_failed_update_leaves_the_old_weights_serving() {
    let server = backend().await;
    let old = answer(&server).await;
    let (info, bytes) = announced(&changed("qwen3", |_| true));
    let with = |field: &str, at: usize, value: Value| {
        let mut info = info.clone();
        info[field][at] = value;
        info
    };
    let unfinished = async |what: &str| {
        // A trainer asks again where an answer was lost: what failed is no success the second time.
        for _ in 0..2 {
            let finish = server.post("/finish_weight_update", &json!({})).send().await.unwrap();
            assert_eq!(finish.status(), 409, "{what}");
        }
        assert_eq!(answer(&server).await, old, "{what}");
        assert_eq!(server.metric("weight_version").await, 0.0, "{what}");
    };
    for (what, wrong, words) in [
        ("name", with("names", 3, json!("model.layers.9.mlp.up_proj.weight")), "model.layers.9.mlp.up_proj"),
        ("shape", with("shapes", 0, json!([2, 2])), "[2, 2]"),
        ("repeat", with("names", 1, info["names"][0].clone()), "comes twice"),
        ("type", with("dtype_names", 0, json!("int8")), "int8"),
        ("lists", json!({"names": info["names"], "dtype_names": [], "shapes": []}), "`dtype_names` 0"),
    ] {
        let trainer = Trainer::new(false).await;
        let mut socket = trainer.connect(&server).await;
        let (status, error) = update(&server, &wrong, &mut socket, &bytes).await;
        assert_eq!(status, 400, "{what}: {error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(words), "{what}: {error}");
        unfinished(what).await;
    }
    // A wrong checksum, and a trainer that goes away in the middle.
    let trainer = Trainer::new(true).await;
    let mut socket = trainer.connect(&server).await;
    let damaged: Vec<u8> = bytes.iter().copied().chain([7; 32]).collect();
    let (status, error) = update(&server, &info, &mut socket, &damaged).await;
    assert!(status == 400 && error["error"]["message"].as_str().unwrap().contains("checksum"), "{error}");
    unfinished("checksum").await;
    let trainer = Trainer::new(false).await;
    let mut socket = trainer.connect(&server).await;
    server.ok("/start_weight_update", &json!({})).await;
    let body = json!({"update_info": info});
    let request = server.post("/update_weights", &body).send();
    let leave = async {
        socket.write_all(&bytes[..bytes.len() / 2]).await.unwrap();
        drop(socket);
    };
    let (answered, ()) = futures::join!(request, leave);
    let answered = answered.unwrap();
    assert_eq!(answered.status(), 400);
    assert!(answered.text().await.unwrap().contains("closed the connection after"));
    unfinished("early disconnect").await;
    let unconnected = server.post("/update_weights", &body).send().await.unwrap();
    assert_eq!(unconnected.status(), 409, "a new update needs a start, and a connection");
}

#[tokio::test]
async fn a_silent_trainer_gives_up_its_turn() {
    let server = Server::with(|_, options| {
        options.auth.keyless_rollouts = true;
        options.rollouts.transfer_idle = std::time::Duration::from_millis(200);
    })
    .await;
    let trainer = Trainer::new(false).await;
    let socket = trainer.connect(&server).await;
    let (info, _) = announced(&changed("qwen3", |name| name.contains("norm")));
    server.ok("/start_weight_update", &json!({})).await;
    let body = json!({"update_info": info});
    let answered = server.post("/update_weights", &body).send().await.unwrap();
    assert_eq!(answered.status(), 400);
    assert!(answered.text().await.unwrap().contains("weight_transfer_idle_seconds"));
    assert_eq!(server.post("/finish_weight_update", &json!({})).send().await.unwrap().status(), 409);
    drop(socket);
}

#[tokio::test]
async fn a_refused_announcement_does_not_spoil_the_connection() {
    let server = backend().await;
    let (info, bytes) = announced(&changed("qwen3", |name| name.contains("norm")));
    let mut wrong = info.clone();
    wrong["names"][0] = json!("model.nothing.weight");
    let trainer = Trainer::new(false).await;
    let mut socket = trainer.connect(&server).await;
    assert_eq!(update(&server, &wrong, &mut socket, &bytes).await.0, 400);
    let (status, received) = update(&server, &info, &mut socket, &bytes).await;
    assert_eq!(status, 200, "{received}");
    assert_eq!(server.ok("/finish_weight_update", &json!({})).await["weight_version"], 1);
}

#[tokio::test]
async fn a_trainer_is_found_where_it_may_be() {
    let server = backend().await;
    let init = async |address: &str, port: u16| {
        let body = json!({"init_info": {"master_address": address, "master_port": port}});
        let answer = server.post("/init_weight_transfer_engine", &body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = init("192.0.2.1", 9).await;
    assert!(status == 400 && text.contains("weight_transfer_hosts"), "{text}");
    // A trainer that listens a little later, and one whose server asks twice.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let late = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        listener.accept().await.unwrap().0
    };
    let (asked, socket) = futures::join!(init("localhost", port), late);
    assert_eq!(asked.0, 200, "{}", asked.1);
    assert_eq!(init("localhost", port).await.0, 200, "the connection is there already");
    drop(socket);
    let (status, text) = init("localhost", port).await;
    assert!(status == 400 && text.contains("within 5 s"), "{text}");
}

#[tokio::test]
async fn a_folder_is_taken_whole_or_not_at_all() {
    let folder = checkpoint();
    let root = folder.path().to_owned();
    let server = Server::with(|_, options| {
        options.rollouts.weights_dir = Some(root.clone());
        options.auth.admin = ApiKeys::new(["sk-admin"]);
    })
    .await;
    let send = async |path: &str| {
        let body = json!({"weight_dir": path});
        let answer = server.post("/update_weights", &body).bearer_auth("sk-admin").send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let old = answer(&server).await;
    std::fs::create_dir(root.join("empty")).unwrap();
    std::fs::create_dir(root.join("part")).unwrap();
    let part = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4]).unwrap();
    safetensors::serialize_to_file([("model.norm.weight", part)], None, &root.join("part/model.safetensors"))
        .unwrap();
    for (path, status, words) in [
        ("absent", 404, "absent"),
        ("/etc", 404, "/etc"),
        ("../..", 404, ".."),
        ("empty", 400, "model.safetensors"),
        ("part", 400, "model.embed_tokens.weight"),
    ] {
        let (found, error) = send(path).await;
        assert_eq!((found, &error["error"]["param"]), (status, &json!("weight_dir")), "{path}: {error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(words), "{path}: {error}");
        assert_eq!(answer(&server).await, old);
    }
    let (status, done) = send(root.join("new").to_str().unwrap()).await;
    assert_eq!((status, &done["weight_version"]), (200, &json!(1)), "{done}");
    assert_ne!(answer(&server).await, old);
}

#[tokio::test]
async fn pauses_keep_or_abort() {
    let server = Server::with(|settings, options| {
        settings.max_num_seqs = 1;
        options.auth.keyless_rollouts = true;
    })
    .await;
    let post = async |path: &str| server.post(path, &json!({})).send().await.unwrap();
    let paused = async || {
        server.get("/is_paused").send().await.unwrap().json::<Value>().await.unwrap()["is_paused"].clone()
    };
    assert_eq!(post("/pause?mode=freeze").await.status(), 400);
    assert_eq!(post("/pause?mod=keep").await.status(), 400);
    assert_eq!(post("/pause?mode=keep&clear_cache=false").await.status(), 200);
    assert_eq!(paused().await, true);
    let waiting = completion(&json!({}));
    let resume = async {
        while server.metric("num_requests_waiting").await == 0.0 {}
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert_eq!(server.metric("num_requests_waiting").await, 1.0);
        post("/resume").await
    };
    let (answered, resumed) = futures::join!(server.ok(COMPLETIONS, &waiting), resume);
    assert_eq!((resumed.status().as_u16(), paused().await), (200, json!(false)));
    assert!(answered["choices"][0]["finish_reason"] != "abort");
    let endless = long(&json!({"stream": false, "return_token_ids": true}));
    // What is running then is this request, and not the one before, which is answered before it is counted off.
    server.idle().await;
    let abort = async {
        while server.metric("num_requests_running").await == 0.0 {}
        post("/pause").await
    };
    let (aborted, _) = futures::join!(server.ok(COMPLETIONS, &endless), abort);
    assert_eq!(post("/resume").await.status(), 200);
    let choices = aborted["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 1024);
    // One runs at a time.
    assert_eq!(choices[1023]["finish_reason"], "abort");
    assert!(choices[1023]["prompt_token_ids"].is_array());
    server.idle().await;
}

#[tokio::test]
async fn a_keyless_server_without_the_flag_takes_no_weights() {
    let server = Server::start().await;
    for path in ["/init_weight_transfer_engine", "/update_weights", "/pause", "/update_weights_from_disk"] {
        assert_eq!(server.post(path, &json!({})).send().await.unwrap().status(), 403, "{path}");
    }
    assert_eq!(server.get("/server_info").send().await.unwrap().status(), 403);
}

/// What TRL sends: all prompts as ids in one request, top-k 0, logprobs 0, ids for tokens.
#[tokio::test]
async fn a_group_of_rollouts_comes_prompt_major_with_processed_logprobs() {
    let server = backend().await;
    let prompts = json!([[37, 38, 39], [40, 41]]);
    let body = json!({
        "model": MODEL, "prompt": prompts, "n": 3, "repetition_penalty": 1.0, "temperature": 0.7, "top_p": 1.0, "top_k": 0,
        "min_p": 0.0, "max_tokens": 8, "logprobs": 0, "return_token_ids": true, "return_tokens_as_token_ids": true, "seed": 5
    });
    let answer = server.ok(COMPLETIONS, &body).await;
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 6);
    for (at, choice) in choices.iter().enumerate() {
        assert_eq!(choice["prompt_token_ids"], prompts[at / 3]);
        let logprobs = &choice["logprobs"];
        let ids = choice["token_ids"].as_array().unwrap();
        for list in ["tokens", "token_logprobs", "top_logprobs"] {
            assert_eq!(logprobs[list].as_array().unwrap().len(), ids.len(), "{choice}");
        }
        assert_eq!(logprobs["tokens"][0], format!("token_id:{}", ids[0]));
        assert_eq!(
            logprobs["top_logprobs"][0][format!("token_id:{}", ids[0])],
            logprobs["token_logprobs"][0]
        );
    }
    let mode = async |mode: &str, more: Value| {
        let asked = merge(&merge(&body, &more), &json!({"logprobs_mode": mode}));
        server.ok(COMPLETIONS, &asked).await["choices"][0]["logprobs"]["token_logprobs"][0].as_f64().unwrap()
    };
    let silent = choices[0]["logprobs"]["token_logprobs"][0].as_f64().unwrap();
    assert_eq!(mode("processed", json!({})).await, silent);
    assert_eq!(mode("scaled", json!({})).await, silent, "nothing is truncated");
    assert_ne!(mode("raw", json!({})).await, silent);
    let truncated = json!({"top_k": 3});
    let (processed, scaled) =
        (mode("processed", truncated.clone()).await, mode("scaled", truncated.clone()).await);
    let kept = server.ok(COMPLETIONS, &merge(&body, &truncated)).await["choices"][0]["logprobs"]["kept_mass"]
        .clone();
    assert!(
        (scaled - kept[0].as_f64().unwrap().ln() - processed).abs() < 1e-5,
        "{scaled} {kept} {processed}"
    );
    assert!(choices[0]["logprobs"].get("kept_mass").is_none());
}

/// What TRL's distillation sends.
#[tokio::test]
async fn sequences_are_scored_by_prompt_logprobs() {
    let server = backend().await;
    let sequence = json!([37, 38, 39, 40]);
    let body = json!({"model": MODEL, "prompt": [sequence], "max_tokens": 1, "temperature": 1.0, "prompt_logprobs": 3});
    let answer = server.ok(COMPLETIONS, &body).await;
    let scored = answer["choices"][0]["prompt_logprobs"].as_array().unwrap();
    assert_eq!((scored.len(), &scored[0]), (4, &Value::Null));
    for (position, id) in scored.iter().zip([37, 38, 39, 40]).skip(1) {
        let own = &position[id.to_string()];
        assert!(own["rank"].as_u64().unwrap() >= 1 && own["logprob"].as_f64().unwrap() < 0.0, "{position}");
        assert!(position.as_object().unwrap().len() >= 3);
    }
    let chat = json!({
        "model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "n": 2, "max_tokens": 4, "top_k": 0, "logprobs": true,
        "top_logprobs": 0, "return_token_ids": true, "return_tokens_as_token_ids": true, "tools": [], "tool_choice": "none"
    });
    let answer = server.ok("/v1/chat/completions", &chat).await;
    assert!(answer["prompt_token_ids"].as_array().unwrap().len() > 1);
    for choice in answer["choices"].as_array().unwrap() {
        let (ids, content) = (&choice["token_ids"], &choice["logprobs"]["content"]);
        assert_eq!(content[0]["token"], format!("token_id:{}", ids[0]));
        assert_eq!(content.as_array().unwrap().len(), ids.as_array().unwrap().len());
    }
}

#[tokio::test]
async fn adapters_come_from_the_trainers_folder_between_a_pause_and_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join(".vllm_lora/policy-v1");
    crate::model::adapters::write_adapter(
        &models_dir().join("qwen3"),
        &adapter,
        &xenoglot::model::Target::SEPARATE,
        1,
    );
    let root = folder.path().to_owned();
    let server = Server::with(|_, options| {
        options.auth.keyless_rollouts = true;
        options.rollouts.weights_dir = Some(root);
    })
    .await;
    let text =
        async |path: &str, body: Value| server.post(path, &body).send().await.unwrap().status().as_u16();
    let load =
        json!({"lora_name": "policy-v1", "lora_path": adapter.to_str().unwrap(), "load_inplace": false});
    assert_eq!(text("/pause?mode=keep", json!({})).await, 200);
    assert_eq!(text("/v1/load_lora_adapter", load.clone()).await, 200);
    assert_eq!(text("/resume", json!({})).await, 200);
    let adapted = server
        .ok(COMPLETIONS, &completion(&json!({"model": "policy-v1", "logprobs": 0, "return_token_ids": true})))
        .await;
    let plain = server.ok(COMPLETIONS, &completion(&json!({"logprobs": 0, "return_token_ids": true}))).await;
    assert_ne!(adapted["choices"][0]["logprobs"], plain["choices"][0]["logprobs"]);
    assert_eq!(text("/v1/load_lora_adapter", merge(&load, &json!({"load_inplace": true}))).await, 200);
    assert_eq!(text("/v1/unload_lora_adapter", json!({"lora_name": "policy-v1"})).await, 200);
    assert_eq!(text("/v1/unload_lora_adapter", json!({"lora_name": "policy-v1"})).await, 404);
}
