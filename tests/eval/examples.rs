//! Worked examples: what a suite may give as one, where they stand in a prompt, and that a run keeps to their number.

use std::path::Path;

use xenoglot::eval::{RunConfig, Silent, Suite};
use xenoglot::language::Language;

use super::{Scripted, config, run_blocking, sha256, write_suite};

const ENGLISH: &str = concat!(
    "{\"problem\": \"What is 1 + 2?\", \"solution\": \"1 + 2 = 3. The answer is \\\\boxed{3}.\"}\n",
    "{\"problem\": \"What is 2 + 2?\", \"solution\": \"2 + 2 = 4. The answer is \\\\boxed{4}.\"}\n",
);

fn german() -> String {
    ENGLISH.replace("What is", "Was ist").replace("The answer is", "Die Antwort ist")
}

/// Add examples to the small suite: those in English and in German.
fn write_examples(folder: &Path, english: &str, german: &str) {
    write_suite(folder);
    std::fs::write(folder.join("en-examples.jsonl"), english).unwrap();
    std::fs::write(folder.join("de-examples.jsonl"), german).unwrap();
    let path = folder.join("suite.toml");
    let sums = format!(
        "examples = \"{{language}}-examples.jsonl\"\n[sha256]\n\"en-examples.jsonl\" = \"{}\"\n\"de-examples.jsonl\" = \"{}\"",
        sha256(english),
        sha256(german)
    );
    let manifest = std::fs::read_to_string(&path).unwrap().replacen("[sha256]", &sums, 1);
    std::fs::write(path, manifest).unwrap();
}

fn config_with_examples(folder: &Path, shots: usize) -> RunConfig {
    let suite = folder.join("suite");
    if !suite.exists() {
        std::fs::create_dir_all(&suite).unwrap();
        write_examples(&suite, ENGLISH, &german());
    }
    RunConfig { shots, ..config(folder, 2) }
}

fn run_with(config: RunConfig, generator: &Scripted) -> Result<usize, String> {
    let stop = tokio::sync::watch::channel(false).1;
    let report = run_blocking(config, generator, &Silent, stop).map_err(|error| error.to_string())?;
    Ok(report.run.shots)
}

fn open(folder: &Path) -> Result<Suite, String> {
    Suite::open(folder.to_str().unwrap()).map_err(|error| error.to_string())
}

#[test]
fn examples_are_turns_between_system_and_problem() {
    let turns = |shots: usize, id: &str| {
        let folder = tempfile::tempdir().unwrap();
        let generator = Scripted::default();
        assert_eq!(run_with(config_with_examples(folder.path(), shots), &generator), Ok(shots));
        let prompts = generator.prompts.into_inner().unwrap();
        let (_, messages) = prompts.into_iter().find(|(found, _)| found == id).unwrap();
        messages
            .into_iter()
            .map(|message| format!("{}: {}", message.role, message.content))
            .collect::<Vec<_>>()
    };
    let task = "user: What is 40 + 2? Put the answer in \\boxed{}.";
    let first = "user: What is 1 + 2? Put the answer in \\boxed{}.";
    let second = "user: What is 2 + 2? Put the answer in \\boxed{}.";
    let (three, four) = (
        "assistant: 1 + 2 = 3. The answer is \\boxed{3}.",
        "assistant: 2 + 2 = 4. The answer is \\boxed{4}.",
    );
    let system = "system: Think in English.";
    assert_eq!(turns(0, "p1-en"), [system, task]);
    assert_eq!(turns(1, "p1-en"), [system, first, three, task]);
    assert_eq!(turns(2, "p1-en"), [system, first, three, second, four, task]);
    assert_eq!(
        turns(1, "p3-de"),
        [
            "user: Was ist 1 + 2? Schreibe die Antwort in \\boxed{}.",
            "assistant: 1 + 2 = 3. Die Antwort ist \\boxed{3}.",
            "user: Was ist 1 / 2? Schreibe die Antwort in \\boxed{}.",
        ]
    );
}

#[test]
fn a_run_keeps_its_number_of_examples() {
    let folder = tempfile::tempdir().unwrap();
    let run = |shots| run_with(config_with_examples(folder.path(), shots), &Scripted::default());
    assert_eq!(run(2), Ok(2));
    assert_eq!(run(2), Ok(2));
    let error = run(1).unwrap_err();
    assert!(error.contains("shots was 2 and is now 1"), "{error}");
}

#[test]
fn more_examples_than_a_language_has_are_refused() {
    let check = |english: &str, languages: Option<Vec<Language>>, shots, expected: Result<usize, &str>| {
        let folder = tempfile::tempdir().unwrap();
        let suite = folder.path().join("suite");
        std::fs::create_dir_all(&suite).unwrap();
        write_examples(&suite, english, &german());
        let config = RunConfig { languages, ..config_with_examples(folder.path(), shots) };
        match (run_with(config, &Scripted::default()), expected) {
            (Ok(found), expected) => assert_eq!(Ok(found), expected),
            (Err(error), Ok(_)) => panic!("{error}"),
            (Err(error), Err(expected)) => {
                assert!(error.contains(expected), "{error}");
                assert!(!folder.path().join("run").exists(), "nothing is written");
            }
        }
    };
    let one = ENGLISH.lines().next().unwrap();
    check(ENGLISH, None, 3, Err("shots: 3 worked examples are asked for, and suite small has 2 in en"));
    check(one, None, 2, Err("small has 1 in en"));
    check(one, Some(vec![Language::De]), 2, Ok(2));
    check(one, Some(vec![Language::De]), usize::MAX, Err("small has 2 in de"));
    let folder = tempfile::tempdir().unwrap();
    let error = run_with(RunConfig { shots: 1, ..config(folder.path(), 2) }, &Scripted::default());
    assert!(error.unwrap_err().contains("small has 0 in en"));
}

#[test]
fn a_wrong_example_names_its_line_and_field() {
    let check = |from: &str, to: &str, expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        let spoilt = german().replacen(from, to, 1);
        assert_ne!(spoilt, german());
        write_examples(folder.path(), ENGLISH, &spoilt);
        let error = open(folder.path()).unwrap_err();
        assert!(error.contains("de-examples.jsonl") && error.contains(expected), "{error}");
    };
    check(
        "\"solution\"",
        "\"solutoin\"",
        "line 1: solutoin: is no field of an example; did you mean \"solution\"?",
    );
    check("\"Was ist 1 + 2?\"", "3", "line 1: problem: must be a string");
    check("\"Was ist 2 + 2?\"", "\"\"", "line 2: problem: is empty");
    check("Was ist 2 + 2?", "Was ist 40 + 2?", "line 2: problem: is problem \"p1\" of the suite");
    check("\\\\boxed{4}", "4", "line 2: solution: must hold its answer in one \\boxed{}, and has 0");
    check("\\\\boxed{3}.", "\\\\boxed{3} genau.", "line 1: solution: must end with its box");
    check("\\\\boxed{3}", "\\\\boxed{drei}", "line 1: solution: \"drei\" in its box does not parse");
    check("{\"problem\"", "{\"language\": \"en\", \"problem\"", "line 1: language: is en in a file of de");
    check(&german(), "\n", "de: has no examples");
}

#[test]
fn the_example_files_are_under_the_sums() {
    let folder = tempfile::tempdir().unwrap();
    write_examples(folder.path(), ENGLISH, &german());
    let good = open(folder.path()).unwrap();
    let path = folder.path().join("suite.toml");
    let manifest = std::fs::read_to_string(&path).unwrap();
    std::fs::write(folder.path().join("de-examples.jsonl"), format!("{}\n", german())).unwrap();
    assert!(open(folder.path()).unwrap_err().contains("de-examples.jsonl has sha256"));
    std::fs::write(&path, manifest.replace("\"de-examples.jsonl\" =", "\"other.jsonl\" =")).unwrap();
    assert!(open(folder.path()).unwrap_err().contains("sha256.\"de-examples.jsonl\": is missing"));
    std::fs::write(&path, manifest.replace("= \"{language}-ex", "= \"../{language}-ex")).unwrap();
    assert!(open(folder.path()).unwrap_err().contains("examples: must be a file name"));
    write_suite(folder.path());
    assert_ne!(open(folder.path()).unwrap().sha256, good.sha256);
}

#[test]
fn one_file_of_examples_may_hold_all_languages() {
    let folder = tempfile::tempdir().unwrap();
    write_suite(folder.path());
    let tagged = |text: &str, code: &str| text.replace("{\"p", &format!("{{\"language\": \"{code}\", \"p"));
    let text = tagged(ENGLISH, "en") + &tagged(&german(), "de");
    std::fs::write(folder.path().join("shown.jsonl"), &text).unwrap();
    let path = folder.path().join("suite.toml");
    let sums = format!("examples = \"shown.jsonl\"\n[sha256]\n\"shown.jsonl\" = \"{}\"", sha256(&text));
    let manifest = std::fs::read_to_string(&path).unwrap().replacen("[sha256]", &sums, 1);
    std::fs::write(&path, manifest).unwrap();
    let suite = open(folder.path()).unwrap();
    let german = suite.language(Language::De).unwrap();
    assert_eq!(german.examples[1].solution, "2 + 2 = 4. Die Antwort ist \\boxed{4}.");
    assert!(suite.languages.iter().all(|entry| entry.examples.len() == 2));
}

#[test]
fn the_shipped_examples_are_parallel() {
    let suite = Suite::open("xeno-word-problems").unwrap();
    let digits = |text: &str| {
        let mut numbers: Vec<u32> =
            text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    };
    let numbers = |language: Language| {
        let entry = suite.language(language).unwrap();
        let of = |text: fn(&xenoglot::eval::suite::Example) -> &str| {
            entry.examples.iter().map(|example| digits(text(example))).collect::<Vec<_>>()
        };
        (of(|example| &example.problem), of(|example| &example.solution))
    };
    let english = numbers(Language::En);
    assert_eq!(english.0, [vec![3, 4], vec![5, 8, 20], vec![6, 9]]);
    for entry in &suite.languages {
        assert_eq!(numbers(entry.language), english, "{}", entry.language);
    }
}
