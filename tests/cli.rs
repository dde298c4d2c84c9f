//! The binary as a person meets it: statuses, one-line errors with a way out, data apart from talk.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::eval::records;
use crate::real_weights::real_model;
use crate::weights::gguf_writer::{GgufWriter, Meta, tiny_llama};

const SUITES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/eval-suites");

/// A run of the binary in an empty directory, with none of the caller's settings.
struct Run {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Run {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenoglot"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("XENOGLOT_") {
                command.env_remove(name);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary runs")
    }

    /// The status, and all of `parts` on stderr; nothing on stdout, and no panic.
    #[track_caller]
    fn fails(&self, arguments: &[&str], status: i32, parts: &[&str]) {
        let output = self.output(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{arguments:?}: `{part}` is not in: {stderr}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?} writes to stdout");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn wrong_arguments_exit_with_2() {
    let run = Run::new();
    run.fails(&[], 2, &["Usage"]);
    run.fails(&["serv"], 2, &["serve"]);
    run.fails(&["serve", "--prot", "1"], 2, &["--port"]);
    run.fails(&["serve", "--port", "65536"], 2, &["--port"]);
    run.fails(&["serve", "--port", "-1"], 2, &["--port"]);
    run.fails(&["serve", "--dtype", "int4"], 2, &["auto, f32, bf16"]);
    run.fails(&["serve", "--kv-cache-memory", "lots"], 2, &["2GiB"]);
    run.fails(&["bench", "engine", "--workload", "z"], 2, &["a, b, c, mixed"]);
    run.fails(&["bench", "engine", "--workload", "mixed", "--samples", "2"], 2, &["workload a, b or c"]);
    run.fails(&["bench", "engine", "--workload", "a", "--dtype", "int4"], 2, &["int8", "gguf"]);
    for limit in ["nan", "-1", "inf", "much"] {
        run.fails(&["bench", "quality", "--max-kl", limit], 2, &["a number of at least 0"]);
        run.fails(&["bench", "quality", "--min-agreement", limit], 2, &["a number of at least 0"]);
    }
    run.fails(&["serve", "--speculation", "eagle"], 2, &["ngram, off"]);
    run.fails(&["serve", "--quantize", "int4"], 2, &["none, int8, int8-g64, int8-g32"]);
    run.fails(&["bench", "peak", "--isa", "mmx"], 2, &["`mmx`", "it has portable"]);
    run.fails(&["eval", "run", "x", "--languages", "en,klingon"], 2, &["klingon"]);
    run.fails(&["models", "pull", "no hub name"], 2, &["org/name"]);
    run.fails(&["serve", "--device", "cuda"], 2, &["CPU only", "--device cpu"]);
    run.fails(
        &["serve", "--port", "0", "--lora-modules", "mine"],
        2,
        &["lora_modules: `mine` is not NAME=PATH"],
    );
    run.fails(&["serve", "--threads", "0"], 2, &["threads: must be at least 1"]);
}

#[test]
fn a_run_that_cannot_be_is_refused_before_its_model_is_looked_for() {
    let run = Run::new().variable("XENOGLOT_SUITES", SUITES);
    let check = |option: &str, value: &str, part: &str| {
        let arguments = ["eval", "run", "xeno-word-problems", "--model", "./nothing", option, value];
        run.fails(&arguments, 2, &[part]);
    };
    check("--n", "0", "n: must be between 1 and 10000");
    check("--limit", "0", "limit: must be at least 1");
    check("--temperature", "-1", "sampling.temperature: must be 0 or more");
    check("--top-p", "2", "sampling.top_p: ");
    check("--max-tokens", "0", "sampling.max_tokens: ");
    check("--languages", "it", "no problems in it");
    check("--shots", "99", "shots: 99 worked examples");
}

#[test]
fn samples_in_process_are_not_bounded_by_the_limit_of_servers() {
    let run = Run::new();
    crate::eval::write_suite(run.folder.path());
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/qwen3");
    let words = "eval run . --languages en --limit 1 --n 300 --max-tokens 2 --out r --model";
    let mut arguments: Vec<&str> = words.split(' ').collect();
    arguments.push(model);
    let output = run.output(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let samples = std::fs::read_to_string(run.folder.path().join("r/samples.jsonl")).unwrap();
    assert_eq!(samples.lines().count(), 300);
}

#[test]
fn a_killed_run_resumes_to_what_an_uninterrupted_one_writes() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/qwen3");
    let words =
        "eval run . --n 64 --max-tokens 60 --temperature 1 --concurrency 1 --threads 1 --out r --model";
    let mut arguments: Vec<&str> = words.split(' ').collect();
    arguments.push(model);
    let new_run = || {
        let run = Run::new();
        crate::eval::write_suite(run.folder.path());
        run
    };
    let samples = |run: &Run| run.folder.path().join("r/samples.jsonl");
    let total = 3 * 2 * 64;

    let killed = new_run();
    let mut done = 0;
    // Each time some way further, so that kills fall between problems and within them.
    for further in [1, 50, 70] {
        let quiet = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = quiet(&mut killed.command(&arguments)).unwrap();
        let written = || std::fs::read_to_string(samples(&killed)).unwrap_or_default();
        // A piece of a line has no end of its own.
        while written().matches('\n').count() < done + further {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself after {done} samples");
            std::thread::sleep(Duration::from_millis(1));
        }
        // SIGKILL: nothing is flushed or tidied up.
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        let before = done;
        done = records(&killed.folder.path().join("r")).len();
        assert!((before + further..total).contains(&done), "{done} of {total} samples when it was killed");
        // A write that the kill cut, which is too rare to wait for.
        let mut file = std::fs::OpenOptions::new().append(true).open(samples(&killed)).unwrap();
        file.write_all(b"{\"problem\": \"p3\", \"langu").unwrap();
    }
    let resumed = killed.output(&arguments);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    assert!(text(&resumed.stderr).contains("samples were there from before"));

    let whole = new_run();
    let uninterrupted = whole.output(&arguments);
    assert!(uninterrupted.status.success(), "{}", text(&uninterrupted.stderr));
    let records = |run: &Run| records(&run.folder.path().join("r"));
    assert_eq!(records(&whole).len(), total);
    assert!(records(&killed) == records(&whole), "a resumed sample differs");
    assert_eq!(text(&resumed.stdout), text(&uninterrupted.stdout));
}

#[test]
fn wrong_settings_name_file_line_and_key() {
    let file = Run::new().file("xenoglot.toml", "host = \"127.0.0.1\"\nprt = 1\n");
    file.fails(
        &["serve"],
        2,
        &["xenoglot.toml:2: unknown key `prt`; did you mean `port`?", "config/xenoglot.toml"],
    );
    let file = Run::new().file("mine.toml", "port = \"high\"\n");
    file.fails(&["serve", "--config", "mine.toml"], 2, &["mine.toml:1: port: "]);
    file.variable("XENOGLOT_CONFIG", "mine.toml").fails(&["models", "list"], 2, &["mine.toml:1: port: "]);
    let variable = Run::new().variable("XENOGLOT_MAX_N", "many");
    variable.fails(&["serve"], 2, &["XENOGLOT_MAX_N: `many` is not a whole number"]);
    let variable = Run::new().variable("XENOGLOT_PROT", "1");
    variable.fails(&["serve"], 2, &["unknown variable XENOGLOT_PROT"]);
    Run::new().fails(&["serve", "--config", "absent.toml"], 2, &["absent.toml: "]);
    Run::new().fails(&["serve", "--log-level", "a=b=c"], 2, &["log_level"]);
}

#[test]
fn missing_models_are_said_with_the_way_out() {
    let run = Run::new();
    run.fails(&["serve", "--port", "0"], 1, &["models/SmolLM2-135M-Instruct", "scripts/fetch-models"]);
    run.fails(&["chat"], 1, &["scripts/fetch-models"]);
    run.fails(&["bench", "engine", "--workload", "a"], 1, &["scripts/fetch-models"]);
    run.fails(&["serve", "--port", "0", "nothing"], 1, &["no model `nothing`"]);
    run.fails(&["models", "show", "a/b/c"], 1, &["no model `a/b/c`"]);
    let offline = Run::new().variable("HF_ENDPOINT", "http://127.0.0.1:1");
    offline.fails(&["models", "pull", "org/name"], 1, &["cannot be reached", "scripts/fetch-models"]);
    let absent = "no local path `org/name`; the hub at http://127.0.0.1:1 cannot be reached";
    offline.fails(&["serve", "--port", "0", "org/name"], 1, &[absent]);
    // Looking asks no hub, and neither does a path with a slip in it.
    offline.fails(&["models", "show", "org/name"], 1, &["no model `org/name`", "models pull org/name"]);
    std::fs::create_dir_all(offline.folder.path().join("out/bf16")).unwrap();
    let slip = &["no model `out/bf61`", "did you mean `out/bf16`?"];
    offline.fails(&["serve", "--port", "0", "out/bf61"], 1, slip);
    let broken = Run::new().file("x.gguf", "GGUF").file("config.json", "{}");
    broken.fails(&["models", "show", "x.gguf"], 1, &["x.gguf"]);
    broken.fails(&["serve", "--port", "0", "."], 1, &["error: "]);
    broken.fails(&["models", "convert", "absent.gguf", "out"], 1, &["absent.gguf"]);
    assert!(!broken.folder.path().join("out").exists());
}

/// Minutes of writing must not end in a directory that no one can load.
#[test]
fn only_a_whole_model_is_converted() {
    let run = Run::new();
    let check = |change: &dyn Fn(&mut GgufWriter), parts: &[&str]| {
        let mut gguf = tiny_llama();
        change(&mut gguf);
        gguf.write(&run.folder.path().join("x.gguf"));
        run.fails(&["models", "convert", "x.gguf", "out"], 1, &[&["x.gguf"], parts].concat());
        assert!(!run.folder.path().join("out").exists());
    };
    check(
        &|gguf| gguf.tensors.retain(|tensor| tensor.name != "blk.1.ffn_up.weight"),
        &["blk.1.ffn_up.weight"],
    );
    check(
        &|gguf| {
            gguf.set("llama.feed_forward_length", Meta::U32(96));
        },
        &["x.gguf: metadata", "`blk.0.ffn_up.weight` in the file", "[64, 32]", "[96, 32]"],
    );
    check(
        &|gguf| {
            gguf.f32_tensor("token_embd.weight", &[32, 200], &vec![0.0; 32 * 200]);
        },
        &["260 tokens", "200 rows"],
    );
    tiny_llama().write(&run.folder.path().join("x.gguf"));
    let converted = run.output(&["models", "convert", "x.gguf", "out"]);
    assert!(converted.status.success(), "{}", text(&converted.stderr));
    assert!(run.output(&["models", "show", "./out"]).status.success());
}

#[test]
fn a_context_beyond_the_models_own_is_refused() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/qwen3");
    let parts = ["129 tokens", "--max-model-len", "longer than the 128"];
    Run::new().fails(&["models", "show", model, "--max-model-len", "129"], 1, &parts);
    Run::new().fails(&["serve", "--port", "0", model, "--max-model-len", "129"], 1, &parts);
    let shown = Run::new().output(&["models", "show", model, "--max-model-len", "128"]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    assert!(text(&shown.stdout).contains("RoPE table"));
}

#[test]
fn a_model_that_does_not_fit_is_shown_before_it_is_refused() {
    let run = Run::new();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/qwen3");
    let shown = run.output(&["models", "show", model, "--json", "--kv-cache-memory", "1"]);
    let facts: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("the facts");
    assert!(facts["weight_bytes"].as_u64() > Some(0) && facts["kv_bytes"].is_null(), "{facts}");
    let refusal = text(&shown.stderr);
    assert!(refusal.contains("too few") && refusal.contains("--kv-cache-memory"), "{refusal}");
    assert_eq!(shown.status.code(), Some(1));
    let shown = run.output(&["models", "show", model]);
    assert!(shown.status.success() && text(&shown.stdout).contains("kv_bytes "), "{}", text(&shown.stderr));
}

/// A module named pip stands in for one that reaches no index.
#[test]
fn without_an_index_the_script_says_what_else_works() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pip.py"), "raise SystemExit(1)\n").unwrap();
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/fetch-models"))
        .env("PYTHONPATH", folder.path())
        .arg("--models")
        .arg(folder.path().join("models"))
        .output()
        .expect("python3 is there");
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    for part in ["PIP_INDEX_URL", "xenoglot serve PATH", "xenoglot models pull"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_port_that_is_taken_is_said_before_a_model_is_loaded() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    Run::new().fails(&["serve", "--port", &port], 1, &["cannot listen on 127.0.0.1:", "--port"]);
    Run::new().fails(
        &["serve", "--host", "no.such.host.invalid", "--port", "0"],
        1,
        &["cannot listen on", "--host"],
    );
}

#[test]
fn unknown_suites_and_servers_are_said() {
    let run = Run::new();
    run.fails(&["eval", "run", "nothing"], 1, &["no suite"]);
    run.fails(
        &["eval", "run", "mgsm", "--data", "."],
        1,
        &["mgsm_en.tsv is not there", "CC-BY-4.0", "https://"],
    );
    let own = |more: &[&'static str]| [&["eval", "run", "xeno-word-problems"], more].concat();
    run.fails(&own(&["--preset", "maett"]), 2, &["is no preset", "\"maet\""]);
    run.fails(&own(&["--preset", "budget-alignment", "-n", "4"]), 2, &["n is 4", "pass@10"]);
    run.fails(&own(&["--prompts", "plane"]), 2, &["no shared set", "\"plain\""]);
    run.fails(&own(&["--variants", "x"]), 2, &["no variant"]);
    run.fails(&["eval", "show", "."], 1, &["run.json"]);
}

#[test]
fn data_goes_to_stdout() {
    let run = Run::new().variable("XENOGLOT_SUITES", SUITES);
    let description = run.output(&["openapi"]);
    let parsed: serde_json::Value = serde_json::from_slice(&description.stdout).unwrap();
    assert_eq!(parsed["openapi"], "3.1.0");
    assert!(description.stderr.is_empty());
    let list = run.output(&["models", "list"]);
    assert!(list.status.success() && list.stdout.is_empty());
    assert!(text(&list.stderr).contains("scripts/fetch-models"));
    assert!(text(&run.output(&["--help"]).stdout).contains("serve"));
    assert!(text(&run.output(&["--version"]).stdout).starts_with("xenoglot "));
    assert!(text(&run.output(&["eval", "suites"]).stdout).contains("xeno-word-problems"));
}

/// Runs in a folder whose models directory is the one with the real models.
fn with_models() -> Run {
    let model = real_model("SmolLM2-135M-Instruct");
    let folder = model.parent().expect("a folder").canonicalize().expect("it exists");
    Run::new().variable("XENOGLOT_MODELS", &folder.display().to_string()).variable("XENOGLOT_SUITES", SUITES)
}

#[test]
fn real_weights_chat_answers_in_the_terminal() {
    let run = with_models();
    let mut child = run
        .command(&["chat", "--temperature", "0", "--max-tokens", "24"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"What is the capital of France?\n\n/exit\nnever read\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answer = text(&output.stdout);
    assert!(answer.contains("Paris") && answer.lines().count() == 1, "{answer:?}");
}

#[test]
fn real_weights_models_are_shown_and_converted() {
    let run = with_models();
    let shown = run.output(&["models", "show", "--json", "SmolLM2-135M-Instruct.Q4_1"]);
    let facts: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((facts["family"].as_str(), facts["layers"].as_u64()), (Some("llama"), Some(30)));
    run.fails(
        &["serve", "--port", "0", "--kv-cache-memory", "1MiB"],
        1,
        &["too few", "--kv-cache-memory", "--max-model-len"],
    );
    let gguf = real_model("SmolLM2-135M-Instruct.Q4_1.gguf");
    let converted = run.output(&["models", "convert", &gguf.display().to_string(), "out/bf16"]);
    assert!(converted.status.success(), "{}", text(&converted.stderr));
    let out = run.folder.path().join("out/bf16");
    let bytes = |path: &Path| std::fs::metadata(path.join("model.safetensors")).unwrap().len();
    assert_eq!(bytes(&out), bytes(&real_model("SmolLM2-135M-Instruct")));
    run.fails(&["models", "convert", &gguf.display().to_string(), "out/bf16"], 1, &["exists"]);
}

#[test]
fn real_weights_a_suite_runs_in_process_and_resumes() {
    let run = with_models();
    let arguments = [
        "eval",
        "run",
        "xeno-word-problems",
        "--n",
        "2",
        "--languages",
        "en",
        "--limit",
        "1",
        "--max-tokens",
        "8",
        "--out",
        "r",
    ];
    let first = run.output(&arguments);
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert!(text(&first.stdout).contains("pass@1"));
    let samples = std::fs::read_to_string(run.folder.path().join("r/samples.jsonl")).unwrap();
    assert_eq!(samples.lines().count(), 2);
    let again = run.output(&arguments);
    assert_eq!(again.stdout, first.stdout);
    assert_eq!(run.output(&["eval", "show", "r"]).stdout, first.stdout);
    let mut other = arguments;
    other[4] = "3";
    run.fails(&other, 2, &["n was 2 and is now 3"]);
}

#[test]
fn real_weights_the_benchmark_reports_json() {
    let run = with_models();
    let output =
        run.output(&["bench", "engine", "--workload", "b", "--repeats", "1", "--warm-up", "0", "--json"]);
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(figures["tokens_per_second"].as_f64().unwrap() > 0.0, "{figures}");
    for key in ["memory_bytes", "peak_rss_bytes"] {
        assert!(figures[key].as_u64().unwrap() > 1 << 27, "{key}: {figures}");
    }
}

/// The gate of int8 on real weights: limits near what docs/benchmarks.md reports hold, and tighter ones fail the
/// command after the figures.
#[test]
fn real_weights_the_quality_of_int8_is_measured_and_gated() {
    let run = with_models();
    let quality = |limits: &[&str]| {
        let asked = ["bench", "quality", "--quantize", "int8", "--tokens", "96", "--json"];
        run.output(&[&asked[..], limits].concat())
    };
    let passed = quality(&["--max-kl", "0.02", "--min-agreement", "0.9"]);
    assert!(passed.status.success(), "{}", text(&passed.stderr));
    let report: serde_json::Value = serde_json::from_slice(&passed.stdout).unwrap();
    assert_eq!((&report["tested"]["dtype"], &report["reference"]["dtype"]), (&json!("int8"), &json!("bf16")));
    assert_eq!((&report["tokens"], report["texts"].as_object().unwrap().len()), (&json!(8 * 95), 8));
    let number = |key: &str| report[key].as_f64().expect("a number");
    assert!(number("mean_kl") > 1e-4 && number("kl_99") > number("mean_kl"), "{report}");
    let worse = number("perplexity") / number("reference_perplexity");
    assert!((0.98..1.02).contains(&worse), "{report}");

    let failed = quality(&["--max-kl", "0.0001"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("--max-kl 0.0001"), "{}", text(&failed.stderr));
    assert!(!failed.stdout.is_empty(), "the figures come all the same");
}

/// A model against itself loses nothing, and a text without positions is refused.
#[test]
fn quality_of_the_same_weights_is_perfect() {
    let run = Run::new().file("empty.txt", "");
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/llama3");
    let plain = ["bench", "quality", "--model", model, "--dtype", "bf16", "--tokens", "40", "--json"];
    let report: serde_json::Value = serde_json::from_slice(&run.output(&plain).stdout).unwrap();
    assert_eq!((&report["mean_kl"], &report["agreement_percent"]), (&json!(0.0), &json!(100.0)));
    run.fails(&["bench", "quality", "--model", model, "--text", "empty.txt"], 2, &["no two tokens"]);
}

/// The file has the hash, the terminal the key, and the table is one that the server reads.
#[test]
fn keys_are_made_once_and_listed() {
    let run = Run::new();
    let new =
        ["keys", "new", "alice", "--scope", "inference", "--tokens-per-minute", "500", "--model", "a/b"];
    let shown = text(&run.output(&new).stdout);
    assert!(shown.starts_with("# xg-") && shown.contains("[alice]\nhash = \"sha256:"), "{shown}");
    let with_file = [&new[..], &["--expires", "2030-01-31T00:00:00Z", "--file", "keys.toml"]].concat();
    let secret = text(&run.output(&with_file).stdout);
    let file = run.folder.path().join("keys.toml");
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(secret.starts_with("xg-") && secret.trim().len() == 67, "{secret}");
    assert!(!written.contains(secret.trim()) && written.contains("tokens_per_minute = 500"), "{written}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    run.fails(&with_file, 2, &["[alice] already"]);
    let flags = text(&run.output(&[&new[..], &["--shared-cache", "--priority"]].concat()).stdout);
    assert!(flags.contains("shared_cache = true\npriority = true\n") && !shown.contains("true"), "{flags}");
    let admin = ["keys", "new", "root", "--scope", "admin", "--file", "keys.toml"];
    assert_eq!(run.output(&admin).status.code(), Some(0));
    let listed = run.output(&["keys", "list", "--file", "keys.toml", "--json"]);
    let listed: Vec<serde_json::Value> =
        text(&listed.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = listed.iter().map(|key| (&key["name"], &key["scopes"][0], &key["expires"])).collect();
    let (alice, root) = ((json!("alice"), json!("inference")), (json!("root"), json!("admin")));
    let (end, never) = (json!("2030-01-31T00:00:00Z"), json!(null));
    assert_eq!(names, [(&alice.0, &alice.1, &end), (&root.0, &root.1, &never)]);
    run.fails(&["keys", "new", "a b", "--scope", "admin"], 2, &["no name of a key"]);
    run.fails(&["keys", "new", "a", "--scope", "all"], 2, &["inference"]);
    run.fails(&["keys", "new", "a", "--scope", "metrics", "--tokens-per-day", "0"], 2, &["tokens-per-day"]);
    run.fails(&["keys", "list"], 2, &["--file"]);
    let broken = Run::new().file("keys.toml", "[a]\nhash = 1\n");
    broken.fails(&["keys", "list", "--file", "keys.toml"], 2, &["keys.toml:2: "]);
    broken.fails(
        &["serve", "--keys-file", "keys.toml", "--port", "0"],
        2,
        &["keys.toml:2: ", "xenoglot keys new"],
    );
}

#[test]
fn a_server_that_does_not_answer_is_not_well() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Run::new().fails(&["health", &format!("http://{free}")], 1, &["/health: ", "hint"]);
    Run::new().fails(&["health", "no url"], 1, &["no url/health"]);
}
