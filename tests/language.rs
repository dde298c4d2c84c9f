//! `xenoglot language` as a person or a script meets it: one text, JSON lines, errors with line and field.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenoglot"));
    command.arg("language").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_owned();
    // A command that fails early reads no more.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).ok());
    let output = child.wait_with_output().expect("the binary ends");
    writer.join().expect("the writer ends");
    output
}

#[track_caller]
fn records(arguments: &[&str], input: &str) -> Vec<Value> {
    let output = run(arguments, input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[track_caller]
fn fails(arguments: &[&str], input: &str, status: i32, parts: &[&str]) {
    let output = run(arguments, input);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "`{part}` is not in: {stderr}");
    }
}

const TEXT: &str =
    "<think>まず、りんごの数を数えます。 Then we add all the numbers.</think>答えは\\boxed{5}個です。";

#[test]
fn one_text_is_an_argument_or_stdin() {
    let by_argument = records(&["--target", "ja", "--segments", TEXT], "");
    assert_eq!(by_argument, records(&["--target", "ja", "--segments"], TEXT));
    let found = &by_argument[0];
    assert_eq!(
        (&found["target"], &found["following"], &found["switches"]),
        (&json!("ja"), &json!(false), &json!(2))
    );
    assert_eq!(found["answer"]["score"], 1.0);
    for segment in found["segments"].as_array().expect("segments were asked for") {
        let at = |name: &str| segment[name].as_u64().expect("an offset") as usize;
        assert!(TEXT.get(at("start")..at("end")).is_some(), "{segment}");
    }
}

#[test]
fn lines_keep_their_order_and_their_own_target() {
    let input = "{\"id\": \"a\", \"text\": \"Quanto costa il biglietto del treno?\", \"target\": \"it\"}\n\
                 {\"id\": 2, \"text\": \"How much is the ticket for the train?\", \"other\": 0}\n\n\
                 {\"text\": \"42\"}\n";
    for arguments in [&["--target", "sw", "--input", "-"][..], &["--target", "sw"]] {
        let found = records(arguments, input);
        let field = |name: &str| found.iter().map(|record| record[name].clone()).collect::<Vec<_>>();
        assert_eq!(field("id"), [json!("a"), json!(2), Value::Null]);
        assert_eq!(field("language"), [json!("it"), json!("en"), Value::Null]);
        assert_eq!(field("following"), [json!(true), json!(false), json!(true)]);
        assert_eq!(field("undecidable"), [json!(false), json!(false), json!(true)]);
    }
}

/// A tenth of English: by share it follows, as the only language it does not, and the likeliest is Japanese.
const MIXED: &str = "まず、最後にかごの中にりんごがいくつ残っているかを計算します。次に、全部の数を足して、答えを出します。Let us add.";

#[test]
fn profiles_differ_where_they_should() {
    let following =
        |profile: &str| records(&["--target", "ja", "--profile", profile], MIXED)[0]["following"] == true;
    assert!(following("default") && following("legacy-passk") && !following("polymath"));
}

#[test]
fn mistakes_are_named() {
    fails(&["hello"], "", 2, &["--target"]);
    fails(&["--target", "xx", "hello"], "", 2, &["xx", "known: ar"]);
    fails(&["--target", "ja", "--profile", "best", "hello"], "", 2, &["legacy-passk"]);
    fails(&["--input", "/nowhere.jsonl"], "", 1, &["--input", "/nowhere.jsonl"]);
    fails(&["--input", "-"], "{\"text\": \"a\"}", 1, &["line 1", "`target`", "--target"]);
    fails(&["--input", "-", "--target", "ja"], "{\"text\": \"a\"}\n{\"txt\": 1}", 1, &["line 2", "`text`"]);
    fails(&["--input", "-"], "{\"text\": [], \"target\": \"ja\"}", 1, &["line 1", "field `text`"]);
    fails(&["--input", "-"], "what?", 1, &["line 1", "not a JSON object"]);
}

/// `$XENOGLOT_DATA`, or the folder beside the checkout, if MGSM is there.
fn data() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("XENOGLOT_DATA").map(std::path::PathBuf::from);
    let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    named.into_iter().chain([beside]).find(|folder| folder.join("mgsm").is_dir())
}

fn bench(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_xenoglot"))
        .args(["bench", "language", "--json", "--megabytes", "1"])
        .args(arguments)
        .env_remove("XENOGLOT_DATA")
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[track_caller]
fn at_least(found: &Value, pointer: &str, least: f64) {
    let value = found.pointer(pointer).and_then(Value::as_f64).expect("a number");
    assert!(value >= least, "{pointer} is {value}, not {least}");
}

#[track_caller]
fn at_most(found: &Value, pointer: &str, most: f64) {
    let value = found.pointer(pointer).and_then(Value::as_f64).expect("a number");
    assert!(value <= most, "{pointer} is {value}, more than {most}");
}

fn check_accuracy(found: &Value) {
    at_least(found, "/questions/follow", 0.99);
    at_least(found, "/questions/named", 0.99);
    at_least(found, "/spans/follow", 0.98);
    at_least(found, "/spans/named", 0.98);
    at_most(found, "/spans/neutral", 0.03);
    at_most(found, "/questions/zh_for_ja", 0.005);
    at_most(found, "/questions/ja_for_zh", 0.005);
    at_most(found, "/questions/worst_false_accepts/share", 0.005);
    at_most(found, "/spans/false_accepts", 0.005);
    at_most(found, "/switching/by_weight/mean", 0.05);
}

#[test]
fn built_in_texts_are_recognised() {
    let found = bench(&[]);
    at_least(&found, "/languages", 20.0);
    check_accuracy(&found);
}

#[test]
fn questions_of_mgsm_and_msvamp_are_recognised() {
    let Some(data) = data() else {
        eprintln!("skipped: no mgsm data; set XENOGLOT_DATA to the folder that holds mgsm/");
        return;
    };
    let found = bench(&["--data", data.to_str().expect("a path in UTF-8")]);
    at_least(&found, "/languages", 23.0);
    check_accuracy(&found);
    at_most(&found, "/switching/by_content/mean", 0.05);
}
