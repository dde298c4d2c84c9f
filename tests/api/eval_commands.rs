//! `xenoglot eval` over the runs that the API keeps in a store, beside the same runs in directories.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::evals::{SMALL, SUITE, json_of, new_eval, new_run, source, started, until};
use super::server::{merge, models_dir};

fn eval(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenoglot"));
    command.arg("eval").args(words).current_dir(folder).env_remove("XENOGLOT_SUITES");
    command.output().unwrap()
}

#[track_caller]
fn stdout(folder: &Path, words: &str) -> String {
    let output = eval(folder, &words.split(' ').collect::<Vec<_>>());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(folder: &Path, words: &str, status: i32, parts: &[&str]) {
    let output = eval(folder, &words.split(' ').collect::<Vec<_>>());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{words}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part) && output.stdout.is_empty(), "{words}: {part}: {stderr}");
    }
}

/// Lines of samples in an order that does not depend on timing, without the model's name, which is the server's own.
fn sorted(lines: &str) -> Vec<Value> {
    let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &mut lines {
        line.as_object_mut().unwrap().shift_remove("model");
    }
    lines.sort_by_key(|line| format!("{} {} {}", line["problem"], line["language"], line["sample"]));
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_runs_are_looked_at_as_directories_are() {
    let (folder, server) = started().await;
    let eval_id = new_eval(&server).await;
    let named = merge(&source(&json!({})), &json!({"name": "first"}));
    let runs = format!("/v1/evals/{eval_id}/runs");
    let run = json_of(server.post(&runs, &named), 201).await;
    let id = run["id"].as_str().unwrap();
    until(&server, &format!("{runs}/{id}"), "completed").await;
    let folder = folder.path();

    // The same in a directory: same seed, same model.
    let model = models_dir().join("llama3");
    let words = format!(
        "run {SUITE} --model {} --languages en,de --limit 3 -n 4 --temperature 1.0 --max-tokens 8 --seed 5 \
         --out runs/same --threads 1",
        model.display()
    );
    let table = stdout(folder, &words);
    assert_eq!(stdout(folder, &format!("show {id} --store sqlite:store.db")), table);
    let csv = |name: &str| {
        let text = stdout(folder, &format!("export {name} --format csv"));
        csv::Reader::from_reader(text.as_bytes()).records().map(Result::unwrap).count()
    };
    assert_eq!((csv("runs/same"), csv(&format!("{id} --store sqlite:store.db"))), (24, 24));
    let jsonl = |name: &str| sorted(&stdout(folder, &format!("export {name} --format jsonl")));
    assert_eq!(jsonl(&format!("{id} --store sqlite:store.db")), jsonl("runs/same"));
    for format in ["lm-eval", "markdown", "sft"] {
        let written = format!("export {id} --store sqlite:store.db --format {format} --out {format}.txt");
        assert_eq!(stdout(folder, &written), "", "{format}");
        assert!(folder.join(format!("{format}.txt")).is_file());
    }
    let markdown = std::fs::read_to_string(folder.join("markdown.txt")).unwrap();
    let of_directory = stdout(folder, "export runs/same --format markdown");
    let scores = |text: &str| text.lines().filter(|line| line.starts_with('|')).map(str::to_owned).collect();
    let (ours, theirs): (Vec<String>, Vec<String>) = (scores(&markdown), scores(&of_directory));
    assert!(!ours.is_empty() && ours == theirs, "{ours:?} {theirs:?}");

    // A run beside itself, on either side and in a directory.
    for other in [id, "runs/same"] {
        let compared = stdout(folder, &format!("compare {id} {other} --store sqlite:store.db --json"));
        let compared: Value = serde_json::from_str(&compared).unwrap();
        assert_eq!((&compared["a"]["directory"], &compared["b"]["directory"]), (&json!(id), &json!(other)));
        assert_eq!(compared["overall"]["agreement"]["only_a"], 0, "{compared}");
        assert_eq!(compared["overall"]["difference"]["mean"], 0.0, "{compared}");
    }

    let list = stdout(folder, "list --store sqlite:store.db");
    assert_eq!(list.lines().count(), 2, "{list}");
    for part in [id, "first", SUITE, SMALL, "completed", "24/24"] {
        assert!(list.contains(part), "{part}: {list}");
    }
    let listed: Value = serde_json::from_str(&stdout(folder, "list --store sqlite:store.db --json")).unwrap();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["suite"], &listed[0]["samples_done"], &listed[0]["n"]),
        (&json!(id), &json!(SUITE), &json!(24), &json!(4))
    );
    assert!(listed[0]["scores"]["overall"]["metrics"]["pass@1"]["value"].is_number(), "{listed}");
    let shown = stdout(folder, &format!("show {id} --store sqlite:store.db --json"));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert!(shown["usage"]["prompt_tokens"].as_u64().unwrap() > 0, "{}", shown["usage"]);
    assert_eq!((&shown["seed"], &shown["results"]["overall"]["samples"]), (&json!(5), &json!(24)));

    // Judged again into a directory; the store stays as it is.
    assert_eq!(stdout(folder, &format!("rescore {id} --store sqlite:store.db")), table);
    let rescored = format!("runs/{id}-rescored");
    assert_eq!(jsonl(&rescored), jsonl("runs/same"));
    assert_eq!(stdout(folder, "list --store sqlite:store.db"), list);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_does_not_have_is_said() {
    let (folder, server) = started().await;
    let eval_id = new_eval(&server).await;
    let waiting = new_run(&server, &eval_id, &json!({})).await;
    until(&server, &waiting, "completed").await;
    let folder = folder.path();
    let store = "--store sqlite:store.db";
    fails(folder, &format!("show evalrun_x {store}"), 1, &["no run `evalrun_x`", "eval list --store URL"]);
    fails(folder, &format!("compare runs/a evalrun_x {store}"), 1, &["no run `runs/a`"]);
    fails(folder, "show evalrun_x", 1, &["no directory evalrun_x", "needs --store URL"]);
    fails(folder, "list --store sqlite:stor.db", 1, &["no database at", "stor.db"]);
    assert!(!folder.join("stor.db").exists(), "a store that is read is not made");
    fails(folder, "list --store mysql://h/x", 2, &["sqlite:PATH"]);
    fails(folder, &format!("list runs {store}"), 2, &["cannot be used with"]);
    std::fs::write(folder.join("empty.db"), "").unwrap();
    fails(folder, "list --store sqlite:empty.db", 1, &["holds no evaluations"]);
}
