//! Problems as worked examples: rows beside those of a suite, and its other problems.

use std::path::Path;

use xenoglot::eval::{OpenOptions, RunConfig, RunPlan, Suite};
use xenoglot::language::Language;

use super::config;

/// Questions of two subjects in two languages, as MMLU's translations have them.
const QUESTIONS: &str = "id,question,a,b,answer\n\
    bio/test/0,Q0,x,y,A\nbio/test/1,Q1,x,y,B\nchem/test/0,Q2,x,y,A\nchem/test/1,Q3,x,y,B\nbio/test/2,Q4,x,y,A\n";
const EXAMPLES: &str = "id,question,a,b,answer\n\
    bio/dev/0,E0,x,y,A\nchem/dev/0,E1,x,y,B\nbio/dev/1,E2,x,y,B\nbio/dev/2,Q1,x,y,B\nchem/dev/1,E3,x,y,A\n";

/// Open the suite with this table of examples.
fn open(folder: &Path, task: &str, examples: &str, wanted: bool) -> Result<Suite, String> {
    let (suite, data) = (folder.join("small"), folder.join("data/small"));
    std::fs::create_dir_all(&suite).unwrap();
    std::fs::create_dir_all(&data).unwrap();
    for language in ["en", "de"] {
        std::fs::write(data.join(format!("{language}.csv")), QUESTIONS).unwrap();
    }
    let text = format!(
        "format = 2\nname = \"small\"\nversion = \"1\"\ndescription = \"small\"\nlicence = \"MIT\"\n\
         languages = [\"en\", \"de\"]\ntask = \"{task}\"\n\
         prompts = \"{}\"\n{examples}\n[data]\ndataset = \"owner/small\"\nfile = \"{{language}}.csv\"\n\
         [fields]\nid = \"id\"\nproblem = \"question\"\nanswer = \"answer\"\nkeep = [\"id\"]\n\
         [choices]\ncolumns = [\"a\", \"b\"]\n",
        if task == "choice" { "budget-alignment" } else { "plain" },
    );
    std::fs::write(suite.join("suite.toml"), text).unwrap();
    let data = Some(folder.join("data"));
    Suite::open_with(
        suite.to_str().unwrap(),
        &OpenOptions { data, examples: wanted, ..OpenOptions::default() },
    )
    .map_err(|error| error.to_string())
}

const APART: &str =
    "[examples]\ngroup = \"id\"\n[examples.data]\nsplit = \"dev\"\nfile = \"{language}-dev.csv\"";
const OTHERS: &str = "[examples]\nfrom = \"problems\"\nseed = 3\ngroup = \"id\"";

fn write_examples(folder: &Path) {
    for language in ["en", "de"] {
        let path = folder.join("data/small").join(format!("{language}-dev.csv"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, EXAMPLES).unwrap();
    }
}

/// The problems and answers shown before each problem of a language, and what is asked.
fn shown(folder: &Path, suite: &Suite, shots: usize) -> Result<Vec<String>, String> {
    let plan = RunPlan::new(RunConfig { suite: suite.clone(), shots, ..config(folder, 1) });
    let plan = plan.map_err(|error| error.to_string())?;
    let of = |position: usize| {
        let messages = plan.messages(position);
        let texts = messages.iter().filter(|message| message.role != "system").map(|message| {
            let named = |word: &&str| word.len() == 2 && word.starts_with(['Q', 'E']);
            match message.content.split_whitespace().find(named) {
                Some(name) => name.to_owned(),
                None => format!("={}", message.content.trim()),
            }
        });
        texts.collect::<Vec<_>>().join(" ")
    };
    let english = (0..plan.len()).filter(|at| plan.item(*at).unwrap().0 == Language::En);
    Ok(english.map(of).collect())
}

#[test]
fn rows_of_the_problems_subject_are_shown_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    write_examples(folder.path());
    let suite = open(folder.path(), "choice", APART, true).unwrap();
    assert_eq!(
        shown(folder.path(), &suite, 2).unwrap(),
        [
            "E0 =\\boxed{A} E2 =\\boxed{B} Q0",
            "E0 =\\boxed{A} E2 =\\boxed{B} Q1",
            "E1 =\\boxed{B} E3 =\\boxed{A} Q2",
            "E1 =\\boxed{B} E3 =\\boxed{A} Q3",
            "E0 =\\boxed{A} E2 =\\boxed{B} Q4",
        ]
    );
    assert_eq!(shown(folder.path(), &suite, 0).unwrap(), ["Q0", "Q1", "Q2", "Q3", "Q4"]);
    // A question that is asked is no example of itself, so that chemistry is not the only subject that lacks a third.
    let error = shown(folder.path(), &suite, 3).unwrap_err();
    assert!(error.contains("suite small has 2 in en"), "{error}");
}

#[test]
fn runs_without_examples_need_no_file_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let without = open(folder.path(), "choice", APART, false).unwrap();
    assert!(without.languages.iter().all(|entry| entry.examples.is_empty()));
    let error = open(folder.path(), "choice", APART, true).unwrap_err();
    assert!(error.contains("en-dev.csv is not there") && error.contains("split dev"), "{error}");
    write_examples(folder.path());
    let with = open(folder.path(), "choice", APART, true).unwrap();
    assert_eq!(open(folder.path(), "choice", APART, false).unwrap().sha256, without.sha256);
    assert_ne!(with.sha256, without.sha256);
    assert!(with.files.contains_key("de-dev.csv") && with.definition_sha256 == without.definition_sha256);
}

#[test]
fn other_problems_are_shown_and_never_the_problem_itself() {
    let folder = tempfile::tempdir().unwrap();
    let suite = open(folder.path(), "choice", OTHERS, true).unwrap();
    assert_eq!(suite.sha256, open(folder.path(), "choice", OTHERS, false).unwrap().sha256);
    let found = shown(folder.path(), &suite, 1).unwrap();
    for (at, text) in found.iter().enumerate() {
        let own = format!("Q{at}");
        assert!(text.ends_with(&own) && !text.starts_with(&own), "{text}");
    }
    // The two of chemistry show each other.
    assert!(found[2].starts_with("Q3 =\\boxed{B}") && found[3].starts_with("Q2 =\\boxed{A}"), "{found:?}");
    let error = shown(folder.path(), &suite, 2).unwrap_err();
    assert!(error.contains("has 1 in en"), "{error}");
    let order = |language: Language| -> Vec<String> {
        suite.language(language).unwrap().examples.iter().map(|example| example.problem.clone()).collect()
    };
    assert_eq!(order(Language::En), order(Language::De), "the same questions in every language");
    let orders: std::collections::HashSet<Vec<String>> = (0..20)
        .map(|seed| {
            let table = OTHERS.replace("seed = 3", &format!("seed = {seed}"));
            let suite = open(folder.path(), "choice", &table, true).unwrap();
            suite.languages[0].examples.iter().map(|example| example.problem.clone()).collect()
        })
        .collect();
    assert!(orders.len() > 5, "another seed is another order");
}

#[test]
fn where_choices_are_scored_the_choice_itself_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let suite = open(folder.path(), "loglikelihood", OTHERS, true).unwrap();
    assert_eq!(shown(folder.path(), &suite, 1).unwrap()[2], "Q3 =y Q2");
}

#[test]
fn a_solution_may_be_a_text_of_kept_fields() {
    let folder = tempfile::tempdir().unwrap();
    let table = format!("{OTHERS}\nsolution = \"see {{id}}\"");
    let suite = open(folder.path(), "choice", &table, true).unwrap();
    assert_eq!(shown(folder.path(), &suite, 1).unwrap()[2], "Q3 =see chem/test/1 Q2");
    let check = |examples: &str, expected: &str| {
        let error = open(folder.path(), "choice", examples, true).unwrap_err();
        assert!(error.contains(expected), "{examples}: {error}");
    };
    check(&format!("{OTHERS}\nsolution = \"see {{code}}\""), "`solution` has kept fields alone");
    check(&OTHERS.replace("\"id\"", "\"subject\""), "examples are grouped by it");
    check("[examples]\ngroup = \"id\"", "examples.data");
    check("[examples]\nfrom = \"nowhere\"", "examples.from");
    check("[examples]\nfrom = \"problems\"\nshots = 2", "shots");
    check("[examples.data]\nfile = \"x.csv\"\nsplits = \"dev\"", "examples.data.splits");
}

#[test]
fn suites_of_maet_have_examples() {
    for (name, shots) in
        [("mmlu", 3), ("mmlu-science-multilingual", 3), ("mmmlu-science", 3), ("openbookqa", 3)]
    {
        let (_, own) = Suite::task_and_protocol(name).unwrap();
        let preset = xenoglot::eval::Preset::named("maet").unwrap().protocol;
        assert_eq!(preset.over(&own).settled(1).unwrap().shots, shots, "{name}");
        // Data are not here; what is missing first is named with its place.
        let nowhere = tempfile::tempdir().unwrap();
        let data = Some(nowhere.path().to_owned());
        let options = OpenOptions { data, examples: true, ..OpenOptions::default() };
        let error = Suite::open_with(name, &options).unwrap_err().to_string();
        assert!(error.contains("is not there"), "{error}");
    }
}
