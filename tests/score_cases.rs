//! Every hand-judged answer of `fixtures/score` through `xenoglot score`, and the page that tells how it went.
//!
//! A case has one verdict, or two where careful readers may differ. A false accept fails at once; the other
//! disagreements are printed and counted. `fixtures/score/run_math_verify.py` records what math-verify says of the
//! same cases, `fixtures/score/table.py` writes the table of `docs/evaluation.md`, and the last test here recomputes it.

use std::collections::{BTreeMap, HashMap};
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/score");

#[derive(Deserialize)]
struct Case {
    id: String,
    item: u8,
    gold: String,
    prediction: String,
    language: String,
    #[serde(default)]
    options: Value,
    verdict: String,
    /// A second verdict that a careful reader may give.
    #[serde(rename = "or")]
    other: Option<String>,
    /// The answer is equal to the gold, but by a rule that we leave undecided.
    #[serde(default)]
    equal: bool,
}

impl Case {
    fn allows(&self, verdict: &str) -> bool {
        self.verdict == verdict || self.other.as_deref() == Some(verdict)
    }

    /// An integer or a decimal, digits of any script.
    fn is_numeric(&self) -> bool {
        self.gold.contains(char::is_numeric)
            && self.gold.chars().all(|c| c.is_numeric() || matches!(c, '.' | ',' | '-'))
    }

    fn input(&self) -> Value {
        let mut line = json!({
            "id": self.id, "gold": self.gold, "prediction": self.prediction, "language": self.language,
        });
        if !self.options.is_null() {
            line["options"] = self.options.clone();
        }
        line
    }
}

fn cases(name: &str) -> Vec<Case> {
    let text = std::fs::read_to_string(format!("{FOLDER}/{name}")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The verdicts of the binary, in the order of the cases.
fn verdicts(cases: &[Case]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("cases.jsonl");
    std::fs::write(&input, cases.iter().map(|case| case.input().to_string() + "\n").collect::<String>())
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xenoglot"))
        .args(["score", "--input"])
        .arg(&input)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let scored: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(scored.len(), cases.len());
    let verdict = |(line, case): (&Value, &Case)| {
        assert_eq!(line["id"], *case.id);
        line["verdict"].as_str().expect("a verdict").to_owned()
    };
    scored.iter().zip(cases).map(verdict).collect()
}

/// No false accept, every numeric gold as judged by hand, and at least 97 % over all.
fn check(name: &str) {
    let cases = cases(name);
    let verdicts = verdicts(&cases);
    let wrong: Vec<_> = cases.iter().zip(&verdicts).filter(|(case, verdict)| !case.allows(verdict)).collect();
    for (case, verdict) in &wrong {
        let tail: String = case.prediction.chars().rev().take(80).collect();
        let tail: String = tail.chars().rev().collect();
        eprintln!("{}: gold {:?}, ...{tail:?}: {verdict}, by hand {}", case.id, case.gold, case.verdict);
    }
    let ids = |of: &dyn Fn(&Case, &str) -> bool| -> Vec<&str> {
        wrong.iter().filter(|(case, verdict)| of(case, verdict)).map(|(case, _)| case.id.as_str()).collect()
    };
    assert_eq!(ids(&|_, verdict| verdict == "correct"), [""; 0], "false accepts");
    assert_eq!(ids(&|case, _| case.is_numeric()), [""; 0], "numeric golds");
    let share = 1.0 - wrong.len() as f64 / cases.len() as f64;
    eprintln!("{name}: {share:.4} of {} as judged by hand", cases.len());
    assert!(share >= 0.97, "{share}");
}

#[test]
fn verdicts_are_those_of_a_careful_reader() {
    check("cases.jsonl");
}

#[test]
fn verdicts_on_the_cases_that_nobody_saw_are_too() {
    check("held_back.jsonl");
}

#[test]
fn words_beside_an_answer_count() {
    check("beside.jsonl");
}

/// Written by somebody who looked for faults, and met here since the rules were mended; those not met are in docs/evaluation.md.
#[test]
fn verdicts_on_the_reviewed_cases_stay() {
    check("reviewed.jsonl");
}

#[test]
fn the_table_of_the_page_is_current() {
    let cases = cases("cases.jsonl");
    let text = std::fs::read_to_string(format!("{FOLDER}/math_verify.json")).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    let theirs: HashMap<String, Value> = serde_json::from_value(found["verdicts"].clone()).unwrap();
    // Cases; both right; ours alone; theirs alone; neither.
    let mut rows: BTreeMap<u8, [usize; 5]> = BTreeMap::new();
    for (case, ours) in cases.iter().zip(verdicts(&cases)) {
        let accepts = theirs.get(&case.id).expect("run_math_verify.py saw every case") == true;
        let their_right = if accepts {
            case.allows("correct") || case.equal
        } else {
            case.allows("wrong") || (case.allows("undecided") && !case.equal)
        };
        let column = match (case.allows(&ours), their_right) {
            (true, true) => 1,
            (true, false) => 2,
            (false, true) => 3,
            (false, false) => 4,
        };
        let row = rows.entry(case.item).or_default();
        row[0] += 1;
        row[column] += 1;
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/evaluation.md")).unwrap();
    for (item, row) in rows {
        let cells: Vec<String> = row.iter().map(ToString::to_string).collect();
        let line = format!("| {} |", cells.join(" | "));
        let shown = page.lines().find(|shown| shown.starts_with(&format!("| {item}. ")));
        let shown = shown.expect("the page has a row for the item");
        assert!(shown.ends_with(&line), "{shown} should end in {line}: run tests/fixtures/score/table.py");
    }
}
