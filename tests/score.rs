//! Language scoring measured on real questions, where the data sets are present.
//!
//! The data is not part of the repository: MGSM's TSVs are looked for in `$XENOGLOT_DATA/mgsm` and in
//! `../shared/data/mgsm`. Without them these tests have nothing to measure and say so.

use std::path::PathBuf;

use xenoglot::eval::suite::Example;
use xenoglot::language::Language;
use xenoglot::score::language::LanguageScorer;

fn data() -> Option<PathBuf> {
    let named = std::env::var_os("XENOGLOT_DATA").map(PathBuf::from);
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    named.into_iter().chain([beside]).find(|folder| folder.join("mgsm").is_dir())
}

/// The questions of MGSM in one language, native-script text with its numbers.
fn questions(language: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(data()?.join(format!("mgsm/mgsm_{language}.tsv"))).ok()?;
    Some(
        text.lines()
            .filter_map(|line| line.rsplit_once('\t'))
            .map(|(question, _)| question.to_owned())
            .collect(),
    )
}

const CODES: [&str; 11] = ["en", "es", "fr", "de", "ru", "zh", "ja", "th", "sw", "bn", "te"];

#[test]
fn mgsm_questions_are_in_their_own_language() {
    let scorer = LanguageScorer::with_all_languages();
    for code in CODES {
        let Some(questions) = questions(code) else {
            eprintln!("skipped: no mgsm data; set XENOGLOT_DATA to the folder that holds mgsm/");
            return;
        };
        let target: Language = code.parse().expect("a known code");
        let scores: Vec<f64> = questions
            .iter()
            .map(|question| scorer.score_text(question, target).score.unwrap_or(1.0))
            .collect();
        let following = scores.iter().filter(|score| **score >= 0.8).count() as f64 / scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        eprintln!("{code}: {following:.4} of {} follow, mean score {mean:.4}", scores.len());
        assert!(following >= 0.99, "{code}: {following}");
    }
}

#[test]
fn mgsm_questions_are_in_no_other_language() {
    let scorer = LanguageScorer::with_all_languages();
    for code in CODES {
        let Some(mut questions) = questions(code) else { return };
        // 23 targets: a fifth of the questions keeps this at a few seconds.
        questions = questions.into_iter().step_by(5).collect();
        for target in Language::ALL.iter().filter(|target| target.code() != code) {
            let accepted: Vec<_> = questions
                .iter()
                .filter(|question| {
                    scorer.score_text(question, *target).score.is_some_and(|score| score >= 0.8)
                })
                .collect();
            let share = accepted.len() as f64 / questions.len() as f64;
            assert!(share <= 0.02, "{code} taken for {target}: {share}, for example {:?}", accepted.first());
        }
    }
}

#[test]
fn the_shipped_problems_are_in_their_own_language() {
    let suite = xenoglot::eval::Suite::open("xeno-word-problems").expect("it is built in");
    let scorer = LanguageScorer::with_all_languages();
    for entry in &suite.languages {
        let follows =
            |text: &str| scorer.score_text(text, entry.language).score.is_none_or(|score| score >= 0.8);
        let lost: Vec<_> = entry.problems.iter().filter(|problem| !follows(&problem.problem)).collect();
        let off = |example: &&Example| !follows(&example.problem) || !follows(&example.solution);
        let misleading: Vec<_> = entry.examples.iter().filter(off).collect();
        assert!(misleading.is_empty(), "{}: {misleading:?}", entry.language);
        assert!(lost.is_empty(), "{}: {lost:?}", entry.language);
        assert_eq!(entry.problems.len(), 40, "{}", entry.language);
    }
    assert_eq!(suite.languages.len(), 11);
}

/// The verdicts of `xenoglot score` on these lines, its status and what it says on stderr.
fn scored(arguments: &[&str], input: &str) -> (Vec<serde_json::Value>, Option<i32>, String) {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_xenoglot"))
        .args(["score", "--input", "-"])
        .args(arguments)
        .current_dir(folder.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines = stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    (lines, output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_command_judges_lines_in_order() {
    let input = concat!(
        "{\"id\":1,\"gold\":\"18\",\"prediction\":\"so \\\\boxed{18}\"}\n",
        "{\"id\":\"b\",\"gold\":18,\"prediction\":\"คำตอบคือ ๑๘ บาท\",\"language\":\"th\"}\n",
        "{\"gold\":\"B\",\"prediction\":\"The answer is (C).\",\"options\":{\"task\":\"choice\"}}\n",
        "{\"id\":4,\"gold\":\"25\",\"prediction\":\"\\\\boxed{025}\",\"options\":{\"profile\":\"legacy-passk\"}}",
    );
    let (lines, status, stderr) = scored(&[], input);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    let expected = [
        "{\"id\":1,\"verdict\":\"correct\",\"extracted\":\"18\",\"reason\":\"number_equal\",\"span\":[10,12]}",
        "{\"id\":\"b\",\"verdict\":\"correct\",\"extracted\":\"๑๘\",\"reason\":\"number_equal\",\"span\":[25,31]}",
        "{\"verdict\":\"wrong\",\"extracted\":\"(C)\",\"reason\":\"choice_differs\",\"span\":[14,17]}",
        "{\"id\":4,\"verdict\":\"wrong\",\"extracted\":\"025\",\"reason\":\"text_differs\",\"span\":[7,10]}",
    ];
    let written: Vec<String> = lines.iter().map(ToString::to_string).collect();
    assert_eq!(written, expected);
}

#[test]
fn flags_hold_for_lines_that_name_no_option() {
    let case = |options: &str| format!("{{\"gold\":\"B\",\"prediction\":\"\\\\boxed{{B\"{options}}}\n");
    let input = case("") + &case(",\"options\":{\"allow_unclosed\":false}");
    let (lines, status, _) = scored(&["--task", "choice", "--allow-unclosed", "--detail"], &input);
    assert_eq!(status, Some(0));
    assert_eq!((&lines[0]["verdict"], &lines[0]["found"]), (&"correct".into(), &"unclosed_box".into()));
    assert_eq!(lines[1]["verdict"], "wrong");
}

#[test]
fn the_first_bad_line_ends_the_run_with_its_place() {
    let check = |bad: &str, part: &str| {
        let good = "{\"id\":1,\"gold\":\"1\",\"prediction\":\"1\"}\n";
        let (lines, status, stderr) = scored(&[], &format!("{good}{bad}\n{good}"));
        assert_eq!((lines.len(), status), (1, Some(2)), "{stderr}");
        assert!(stderr.contains("stdin:2: ") && stderr.contains(part), "{stderr}");
    };
    check("not json", "no JSON object");
    check("{\"prediction\":\"1\"}", "gold: missing");
    check("{\"gold\":\"1\",\"prediction\":null}", "prediction: expected a string, found null");
    check("{\"gold\":\"1\",\"prediction\":\"1\",\"options\":{\"precison\":3}}", "did you mean `precision`?");
    let (lines, status, stderr) = scored(&["--choices", "A"], "");
    assert_eq!((lines.len(), status), (0, Some(2)));
    assert!(stderr.contains("--choices: expected 2 to 26 different letters"), "{stderr}");
}

#[test]
fn the_output_may_not_be_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cases.jsonl");
    std::fs::write(&path, "{\"gold\":\"1\",\"prediction\":\"1\"}\n").unwrap();
    let run = |output: &std::path::Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_xenoglot"));
        command.args(["score", "--input"]).arg(&path).arg("--output").arg(output);
        command.current_dir(folder.path()).output().unwrap()
    };
    let refused = run(&path);
    assert_eq!(refused.status.code(), Some(2));
    assert!(!std::fs::read_to_string(&path).unwrap().is_empty());
    let other = folder.path().join("verdicts.jsonl");
    assert_eq!(run(&other).status.code(), Some(0));
    let written = std::fs::read_to_string(&other).unwrap();
    assert!(written.contains("\"verdict\":\"correct\"") && written.ends_with('\n'), "{written}");
}

/// Its signal would end the process without a word.
#[cfg(unix)]
#[test]
fn a_file_at_its_size_limit_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let case = "{\"gold\":\"1\",\"prediction\":\"1\"}\n";
    std::fs::write(folder.path().join("cases.jsonl"), case.repeat(10_000)).unwrap();
    let command = "ulimit -f 16; exec \"$0\" score --input cases.jsonl --output verdicts.jsonl";
    let output = std::process::Command::new("bash")
        .args(["-c", command, env!("CARGO_BIN_EXE_xenoglot")])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && stderr.contains("File too large"),
        "{:?} {stderr}",
        output.status
    );
}
