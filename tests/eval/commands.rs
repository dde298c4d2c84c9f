//! `xenoglot eval` over runs that are there, as a person calls it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use xenoglot::eval::{RunConfig, Silent};

use super::{Scripted, config, run_blocking};

/// Two runs, `a` and `b`, and their suite below a folder.
fn runs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, seed) in [("a", 7), ("b", 8)] {
        let config =
            RunConfig { out: folder.path().join("runs").join(name), seed, ..config(folder.path(), 5) };
        let never = tokio::sync::watch::channel(false).1;
        run_blocking(config, &Scripted::default(), &Silent, never).unwrap();
    }
    folder
}

fn command(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenoglot"));
    command.arg("eval").args(words.split(' ')).current_dir(folder).env_remove("XENOGLOT_SUITES");
    command
}

fn eval(folder: &Path, words: &str) -> Output {
    command(folder, words).output().unwrap()
}

#[track_caller]
fn stdout(folder: &Path, words: &str) -> String {
    let output = eval(folder, words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(folder: &Path, words: &str, status: i32, part: &str) {
    let output = eval(folder, words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{words}: {stderr}");
    assert!(stderr.contains(part) && output.stdout.is_empty(), "{words}: {stderr}");
}

#[test]
fn runs_are_listed_shown_and_compared() {
    let folder = runs();
    let folder = folder.path();
    let list = stdout(folder, "list");
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.contains("runs/a") && list.contains("small 1") && list.contains("finished"), "{list}");
    let listed: Value = serde_json::from_str(&stdout(folder, "list runs --json")).unwrap();
    assert_eq!(listed[1]["run"]["results"]["overall"]["samples"], 30);
    assert!(stdout(folder, "show runs/a").contains("c-pass@1"));
    let shown: Value = serde_json::from_str(&stdout(folder, "show runs/a --json")).unwrap();
    assert_eq!((&shown["n"], &shown["usage"]["requests"]), (&5.into(), &0.into()));

    let table = stdout(folder, "compare runs/a runs/b --problems 1");
    for part in ["A: runs/a (scripted, n = 5)", "Holm p", "A right, B wrong", "Dominated"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let words = "compare runs/a runs/b --metric consistent --k 2 --json";
    let compared: Value = serde_json::from_str(&stdout(folder, words)).unwrap();
    assert_eq!((&compared["metric"], &compared["k"]), (&"consistent".into(), &2.into()));
    assert!(compared["languages"][0]["p_holm"].is_number() && compared["overall"]["p_holm"].is_null());
    fails(folder, "compare runs/a runs/b --k 6", 2, "k: must be from 1 to the smaller n, 5");
    fails(folder, "compare runs/a runs/b --metric following --k 1", 2, "--k is of pass and consistent");
    fails(folder, "compare runs/a runs/c", 1, "runs/c holds no run");
    fails(folder, "list nowhere", 1, "nowhere");
}

#[test]
fn flags_that_change_nothing_are_refused() {
    let folder = runs();
    let check = |flags: &str, expected: &str| {
        fails(folder.path(), &format!("run ./suite {flags}"), 2, expected);
    };
    check("--prompt-price 3", "--prompt-price is of servers");
    check("--model-name x", "--model-name is of servers");
    check("--model http://127.0.0.1:1 --threads 2", "--threads is of models in this process");
    check("--cache-size 1GiB", "--cache-size needs --cache");
    check("--concurrency 0", "at least 1");
    check("--judge-model x", "--judge-model has no meaning for small, which no model judges");
    check("--python /usr/bin/python3", "--python has no meaning for small, which runs no programs");
}

/// A server that is not there is the first thing wrong.
const NOBODY: &str = "--model http://127.0.0.1:1";

#[test]
fn what_the_environment_says_is_no_request() {
    let folder = runs();
    let mut command = command(folder.path(), &format!("run ./suite {NOBODY}"));
    for name in ["XENOGLOT_JUDGE_URL", "XENOGLOT_JUDGE_MODEL", "XENOGLOT_PYTHON"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("cannot be reached"), "{stderr}");
}

#[test]
fn a_presets_k_gives_way() {
    let folder = runs();
    let run = format!("run ./suite {NOBODY} --preset budget-alignment -n 4");
    fails(folder.path(), &run, 2, "reports pass@10, which needs 10 samples or more: raise n, or say which");
    fails(folder.path(), &format!("{run} --k 1,4"), 1, "cannot be reached");
    fails(folder.path(), &format!("{run} --k 5"), 2, "pass@5");
    fails(folder.path(), &format!("{run} --k 0"), 2, "--k");
}

#[test]
fn a_presets_samples_and_prompts_are_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let suite = folder.path().join("likely");
    std::fs::create_dir(&suite).unwrap();
    let problem = r#"{"id": "p1", "problem": "1 + 1 =", "choices": ["2", "3"], "answer": "A"}"#;
    std::fs::write(suite.join("en.jsonl"), problem).unwrap();
    let manifest = format!(
        "format = 2\nname = \"likely\"\nversion = \"1\"\ndescription = \"a sum\"\nlicence = \"MIT\"\nrevision = \"1\"\n\
         languages = [\"en\"]\ntask = \"loglikelihood\"\nfile = \"{{language}}.jsonl\"\nprompts = \"plain\"\n\
         [sha256]\n\"en.jsonl\" = \"{}\"\n",
        super::sha256(problem)
    );
    std::fs::write(suite.join("suite.toml"), manifest).unwrap();
    let folder = folder.path();
    let run = format!("run ./likely {NOBODY} --preset budget-alignment");
    fails(folder, &run, 1, "cannot be reached");
    fails(folder, &format!("{run} -n 4"), 2, "n: must be 1 where choices are scored");
    fails(folder, &format!("{run} --prompts budget-alignment"), 1, "the set has no prompts for it");
}

#[test]
fn runs_are_exported_whole_and_judged_again() {
    let folder = runs();
    let folder = folder.path();
    assert_eq!(stdout(folder, "export runs/a --format csv").lines().count(), 31);
    assert_eq!(stdout(folder, "export runs/a --format sft --suite ./suite --out train.jsonl"), "");
    let text = std::fs::read_to_string(folder.join("train.jsonl")).unwrap();
    assert!(
        text.lines().count() > 0 && text.lines().all(|line| line.starts_with("{\"messages\":[")),
        "{text}"
    );
    // The suite is not found by its name here, and half a file is none.
    fails(folder, "export runs/a --format sft --out other.jsonl", 1, "no suite");
    assert!(!folder.join("other.jsonl").exists());
    fails(folder, "export runs/a --format parquet", 2, "jsonl, csv, markdown, lm-eval, sft");
    fails(
        folder,
        "export runs/a --format csv --max-per-problem 2",
        2,
        "--max-per-problem is of --format sft",
    );
    fails(folder, "export runs/a --format sft --max-per-problem 0 --suite ./suite", 2, "at least 1");

    let table = stdout(folder, "rescore runs/a --suite ./suite");
    assert_eq!(table, stdout(folder, "show runs/a"));
    fails(folder, "rescore runs/a --suite ./suite", 2, "runs/a-rescored is there already");
    assert!(stdout(folder, "compare runs/a runs/a-rescored").contains("+0.0"));
}
