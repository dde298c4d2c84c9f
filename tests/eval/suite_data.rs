//! Data by reference: every format read, every fault named with its file, its line or row, and its field.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, StructArray};
use serde_json::json;
use xenoglot::eval::suite::{DataState, OpenOptions, Problem, Suite};
use xenoglot::language::Language;

use super::sha256;

/// A folder with a suite and a data directory.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn data(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join("data/small").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.data(name), text).unwrap();
    }

    fn open(&self, rest: &str) -> Result<Suite, String> {
        self.open_with(rest, OpenOptions::default())
    }

    /// Open a suite of English problems of which `rest` says the rest.
    fn open_with(&self, rest: &str, options: OpenOptions) -> Result<Suite, String> {
        let suite = self.folder.path().join("small");
        std::fs::create_dir_all(&suite).unwrap();
        let languages = if rest.contains("languages = ") { "" } else { "languages = [\"en\"]\n" };
        let prompts = if rest.contains("prompts = ") { "" } else { "prompts = \"budget-alignment\"\n" };
        let task = if rest.contains("task = ") { "" } else { "task = \"math\"\n" };
        let head =
            "format = 2\nname = \"small\"\nversion = \"1\"\ndescription = \"small\"\nlicence = \"MIT\"\n";
        std::fs::write(suite.join("suite.toml"), format!("{head}{languages}{prompts}{task}{rest}")).unwrap();
        let data = options.data.or_else(|| Some(self.folder.path().join("data")));
        Suite::open_with(suite.to_str().unwrap(), &OpenOptions { data, ..options })
            .map_err(|error| error.to_string())
    }

    fn problems(&self, rest: &str) -> Vec<Problem> {
        self.open(rest).unwrap().languages.remove(0).problems
    }
}

fn manifest(data: &str, fields: &str) -> String {
    format!("[data]\ndataset = \"owner/small\"\n{data}\n[fields]\n{fields}\n")
}

const QUESTION: &str = "problem = \"question\"\nanswer = \"answer\"";

/// (id, problem, answer) of each problem.
fn told(problems: &[Problem]) -> Vec<(&str, &str, &str)> {
    problems.iter().map(|p| (p.id.as_str(), p.problem.as_str(), p.answer.as_str())).collect()
}

#[test]
fn text_formats_are_read() {
    let check = |name: &str, content: &str, data: &str, fields: &str, expected: &[(&str, &str, &str)]| {
        let place = Place::new();
        place.write(name, content);
        let problems = place.problems(&manifest(&format!("file = \"{name}\"\n{data}"), fields));
        assert_eq!(told(&problems), expected, "{name}");
    };
    let two = &[("1", "1 + 1?", "2"), ("2", "2 + 2?", "4")];
    check("a.tsv", "1 + 1?\t2\n2 + 2?\t4\n", "header = false", "problem = 0\nanswer = 1", two);
    check("a.tsv", "answer\tquestion\n2\t1 + 1?\n4\t2 + 2?\n", "", QUESTION, two);
    check("a.csv", "\u{feff}question,answer\n1 + 1?,2\r\n\"2 + 2?\",4", "", QUESTION, two);
    // A field of CSV may go over lines, a quotation mark of TSV is a character.
    check("a.csv", "question,answer\n\"a\n\"\"b\"\", c\",1\n", "", QUESTION, &[("1", "a\n\"b\", c", "1")]);
    check("a.tsv", "question\tanswer\n\"a\" is\t1\n", "", QUESTION, &[("1", "\"a\" is", "1")]);
    let lines = "{\"question\": \"1 + 1?\", \"answer\": 2, \"more\": 1}\n\n{\"question\": \"2 + 2?\", \"answer\": \"4\"}";
    check("a.jsonl", lines, "", QUESTION, two);
    let deep = "{\"q\": {\"text\": \"1 + 1?\"}, \"key\": [\"x7\"], \"a\": \"so #### 2\"}\n";
    let fields = "id = \"key.0\"\nproblem = \"q.text\"\nanswer = \"a\"\ngold = \"after-hashes\"";
    check("a.json", deep, "format = \"jsonl\"", fields, &[("x7", "1 + 1?", "2")]);
    let template = "template = \"{left} and {right}? {}\"\nanswer = \"answer\"";
    check("a.csv", "left,right,answer\nx,y,1\n", "", template, &[("1", "x and y? {}", "1")]);
    let chosen = "[data.where]\nkind = [\"b\", \"c\"]\nname = { starts_with = \"x/\" }";
    let rows = "kind,name,question,answer\na,x/1,p,1\nb,x/2,q,2\nc,y/3,r,3\nc,x/4,s,4\n";
    check("a.csv", rows, chosen, QUESTION, &[("2", "q", "2"), ("4", "s", "4")]);
}

#[test]
fn one_file_may_hold_several_languages() {
    let place = Place::new();
    place.write("a.jsonl", concat!(
        "{\"l\": \"en\", \"question\": \"x\", \"answer\": \"1\"}\n{\"l\": \"German\", \"question\": \"y\", \"answer\": \"1\"}\n",
        "{\"l\": \"tlh\", \"question\": \"z\", \"answer\": \"1\"}\n{\"l\": \"de\", \"question\": \"w\", \"answer\": \"2\"}\n",
    ));
    let rest = manifest("file = \"a.jsonl\"", &format!("{QUESTION}\nlanguage = \"l\""));
    let suite = place.open(&format!("languages = [\"en\", \"de\"]\n{rest}")).unwrap();
    let of = |language| told(&suite.language(language).unwrap().problems);
    assert_eq!(of(Language::En), [("1", "x", "1")]);
    assert_eq!(of(Language::De), [("1", "y", "1"), ("2", "w", "2")]);
}

/// A question, its choices as texts and labels, and its answer's index.
fn batch(rows: std::ops::Range<usize>) -> RecordBatch {
    let (mut questions, mut answers) = (StringBuilder::new(), Int64Builder::new());
    let (mut texts, mut labels) =
        (ListBuilder::new(StringBuilder::new()), ListBuilder::new(StringBuilder::new()));
    for row in rows {
        questions.append_value(format!("question {row}"));
        answers.append_value((row % 2) as i64);
        for label in ["A", "B"] {
            texts.values().append_value(format!("{label}{row}"));
            labels.values().append_value(label);
        }
        texts.append(true);
        labels.append(true);
    }
    let columns: [(&str, ArrayRef); 2] =
        [("text", Arc::new(texts.finish())), ("label", Arc::new(labels.finish()))];
    let choices = StructArray::try_from(columns.to_vec()).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("question", Arc::new(questions.finish())),
        ("choices", Arc::new(choices)),
        ("answer", Arc::new(answers.finish())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Write 600 rows in two batches.
fn write_columnar(path: &Path) {
    let file = File::create(path).unwrap();
    let batches = [batch(0..300), batch(300..600)];
    let schema = batches[0].schema();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("parquet") => {
            let mut writer = parquet::arrow::ArrowWriter::try_new(file, schema, None).unwrap();
            for batch in &batches {
                writer.write(batch).unwrap();
            }
            writer.close().unwrap();
        }
        Some("arrow") => {
            let mut writer = arrow_ipc::writer::FileWriter::try_new(file, &schema).unwrap();
            for batch in &batches {
                writer.write(batch).unwrap();
            }
            writer.finish().unwrap();
        }
        _ => {
            let mut writer = arrow_ipc::writer::StreamWriter::try_new(file, &schema).unwrap();
            for batch in &batches {
                writer.write(batch).unwrap();
            }
            writer.finish().unwrap();
        }
    }
}

const CHOICES: &str = "[choices]\nlist = \"choices[].text\"\ncorrect = \"index\"\n";

#[test]
fn columnar_formats_are_read() {
    for (name, format) in [("a.parquet", "parquet"), ("a.arrow", "arrow"), ("a.stream", "arrow")] {
        let place = Place::new();
        write_columnar(&place.data(name));
        let rest = manifest(&format!("file = \"{name}\"\nformat = \"{format}\""), QUESTION);
        let problems = place.problems(&format!("task = \"choice\"\n{rest}{CHOICES}"));
        assert_eq!(problems.len(), 600, "{name}");
        let last = &problems[599];
        assert_eq!(
            (last.id.as_str(), last.problem.as_str(), last.answer.as_str()),
            ("600", "question 599", "B")
        );
        assert_eq!(last.choices, ["A599", "B599"]);
        assert_eq!(last.correct_choice(), Some(1));
    }
}

#[test]
fn damaged_columnar_files_are_named() {
    for (name, format) in [("a.parquet", "parquet"), ("a.arrow", "arrow"), ("a.stream", "arrow")] {
        let place = Place::new();
        let path = place.data(name);
        write_columnar(&path);
        let whole = std::fs::read(&path).unwrap();
        let rest = manifest(&format!("file = \"{name}\"\nformat = \"{format}\""), QUESTION);
        let rest = format!("task = \"choice\"\n{rest}{CHOICES}problems = 1").replace("problems = 1", "");
        for part in [0, 1, 7, whole.len() / 2, whole.len() - 3] {
            place.write(name, &whole[..part]);
            // A stream that was cut within its end mark has all its rows.
            if let Err(error) = place.open(&rest) {
                assert!(error.contains(name), "{error}");
            } else {
                assert!(name == "a.stream" && part == whole.len() - 3, "{name} {part}");
            }
        }
        // No byte, wherever it is changed, may end the process.
        for at in (0..whole.len()).step_by(whole.len() / 60) {
            let mut spoilt = whole.clone();
            spoilt[at] ^= 0x55;
            place.write(name, &spoilt);
            if let Err(error) = place.open(&rest) {
                assert!(error.contains(name), "{error}");
            }
        }
    }
}

#[test]
fn wrong_rows_name_file_line_and_field() {
    let check = |name: &str, content: &str, fields: &str, expected: &str| {
        let place = Place::new();
        place.write(name, content);
        let error = place.open(&manifest(&format!("file = \"{name}\""), fields)).unwrap_err();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    };
    let id = &format!("id = \"id\"\n{QUESTION}");
    check("a.csv", "question,answer\nx,1\ny,\n", QUESTION, "line 3: answer: is empty");
    check("a.csv", "question,answer\nx,1\ny\n", QUESTION, "line 3: row: has 1 columns, and 2 are wanted");
    check("a.csv", "question,anwser\nx,1\n", QUESTION, "line 2: answer: is missing");
    check("a.csv", "question,question\nx,1\n", QUESTION, "header: names the column \"question\" twice");
    check("a.csv", "", QUESTION, "header: is missing: the file is empty");
    check("a.csv", "question,answer\n", QUESTION, "en: has no problems among 0 rows");
    check("a.csv", "question,answer\nx,one half\n", QUESTION, "line 2: answer: does not parse as a number");
    check("a.csv", "question,answer\nx,bananas\n", QUESTION, "line 2: answer: does not parse as a number");
    check("a.csv", "id,question,answer\n7,x,1\n7,y,2\n", id, "line 3: id: \"7\" is also the id of line 2");
    check("a.tsv", "question\tanswer\nx\t1\t2\n", QUESTION, "line 2: row: has 3 columns, and 2 are wanted");
    check("a.jsonl", "{\"question\": \"x\"}\n", QUESTION, "line 1: answer: is missing");
    check(
        "a.jsonl",
        "{\"question\": \"x\", \"answer\": [1]}\n",
        QUESTION,
        "answer: must be a text or a number",
    );
    check("a.jsonl", "{\"question\": \"x\", \"answer\": null}\n", QUESTION, "line 1: answer: is missing");
    check("a.jsonl", "\n[1]\n", QUESTION, "line 2: line: is not a JSON object");
    check("a.jsonl", "\n\n{\"question\": ", QUESTION, "line 3: not a JSON object");
    let commas = &format!("{QUESTION}\ngold = \"thousands-commas\"");
    check("a.csv", "question,answer\nx,\"1,2\"\n", commas, "line 2: answer: \"1,2\": its commas do not part");
    let hashes = &format!("{QUESTION}\ngold = \"after-hashes\"");
    check("a.csv", "question,answer\nx,5\n", hashes, "line 2: answer: holds no ####");
    let kept = &format!("{QUESTION}\njson = \"tests\"\nkeep = {{ tests = \"more\" }}");
    check(
        "a.jsonl",
        "{\"question\": \"x\", \"answer\": \"1\", \"more\": \"[1\"}\n",
        kept,
        "line 1: more: is not JSON",
    );
    let place = Place::new();
    place.write("a.jsonl", [0xff, b'\n']);
    assert!(
        place
            .open(&manifest("file = \"a.jsonl\"", QUESTION))
            .unwrap_err()
            .contains("line 1: line: is not UTF-8")
    );
    place.write("a.csv", b"question,answer\nx,1\n\xff,2\n");
    let error = place.open(&manifest("file = \"a.csv\"", QUESTION)).unwrap_err();
    assert!(error.contains("line 3: row: is not UTF-8"), "{error}");
    let path = place.data("a.parquet");
    write_columnar(&path);
    let rest = manifest("file = \"a.parquet\"", "problem = \"question\"\nanswer = \"key\"");
    let error = place.open(&format!("task = \"choice\"\n{rest}{CHOICES}")).unwrap_err();
    assert!(error.contains("a.parquet, row 1: key: is missing"), "{error}");
}

#[test]
fn a_wrong_manifest_of_data_names_its_key() {
    let place = Place::new();
    place.write("a.csv", "question,answer\nx,1\n");
    let good = manifest("file = \"a.csv\"", QUESTION);
    assert!(place.open(&good).is_ok());
    let check = |from: &str, to: &str, expected: &str| {
        assert!(good.contains(from), "{from}");
        let error = place.open(&good.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains("suite.toml") && error.contains(expected), "{error}");
    };
    check("dataset", "datset", "unknown key \"data.datset\"; did you mean \"dataset\"?");
    check("answer =", "anwser =", "unknown key \"fields.anwser\"; did you mean \"answer\"?");
    check("answer = \"answer\"", "", "fields.answer: is missing, and task math needs one");
    check("problem = ", "template = \"x\"\nproblem = ", "fields.template: stands beside problem");
    check("\"a.csv\"", "\"../a.csv\"", "data.file: must be names of files below the data directory");
    check("\"a.csv\"", "\"/etc/passwd\"", "data.file: must be names of files");
    check("\"a.csv\"", "\"a.xls\"", "data.format: is missing, and the name \"a.xls\" does not tell it");
    check(
        "\"a.csv\"",
        "\"a.csv\"\nformat = \"excel\"",
        "\"excel\" is no format of data; known: jsonl, csv, tsv",
    );
    check("\"a.csv\"", "\"a.csv\"\nfiles = {}", "data.files: stands beside file");
    check("file = \"a.csv\"", "files = { de = \"a.csv\" }", "data.files.de: is not among the languages");
    check("file = \"a.csv\"", "files = {}", "data.files.en: is missing");
    check("\"a.csv\"", "\"a.csv\"\nheader = 1", "data.header: must be true or false, not an integer");
    check("\"a.csv\"", "\"a.csv\"\nfolder = \"a/../..\"", "data.folder: must be a folder below");
    check("\"a.csv\"", "\"a.csv\"\nurl = \"ftp://x\"", "data.url: must begin with https://");
    check("\"a.csv\"", "\"a.csv\"\nsha256 = { \"a.csv\" = \"12\" }", "must be 64 hexadecimal digits");
    check("\"a.csv\"", "\"a.csv\"\nwhere = { x = [] }", "data.where.x: names no value");
    check(
        "answer = \"answer\"",
        "answer = \"answer\"\ngold = \"round\"",
        "\"round\" is no rule; known: after-hashes",
    );
    check("answer = \"answer\"", "answer = \"answer\"\njson = \"x\"", "fields.json: \"x\" is not kept");
    check("[fields]", "[sampling]\nn = 4\nk = [1, 8]\n[fields]", "sampling.n: is 4, below k 8");
    check("[fields]", "[sampling]\ntemp = 1\n[fields]", "unknown key \"sampling.temp\"");
    check("[data]", "scorers = [\"maths\"]\n[data]", "\"maths\" is no scorer; did you mean \"math\"?");
    check("[data]", "scorers = [{ of = 1 }]\n[data]", "scorers: an entry has no name");
    check("[data]", "file = \"x.jsonl\"\n[data]", "file: stands beside [data]");
    check("[data]", "task = \"choice\"\n[data]", "choices: is missing, and task choice needs them");
    check("[data]", "task = \"chess\"\n[data]", "\"chess\" is no task; known: math, text, choice");
    check(
        "[data]",
        "prompts = { en = { user = \"x\" } }\n[data]",
        "prompts.en.user: must hold {problem} exactly once",
    );
    check("[data]", "format = 3\n[data]", "duplicate key");
    let error = place.open(&format!("prompts = \"budget-alinment\"\n{good}")).unwrap_err();
    assert!(error.contains("is no shared set of prompts; did you mean \"budget-alignment\"?"), "{error}");
    let error = place.open(&format!("prompts = \"plain/math\"\n{good}")).unwrap_err();
    assert!(error.contains("math: is missing: the set has no prompts for it"), "{error}");
}

#[test]
fn versions_of_the_format_are_told_apart() {
    let place = Place::new();
    let good = manifest("file = \"a.csv\"", QUESTION);
    let _ = place.open(&good);
    let path = place.folder.path().join("small/suite.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let check = |to: &str, expected: &str| {
        std::fs::write(&path, text.replace("format = 2\n", to)).unwrap();
        let error = Suite::open(path.parent().unwrap().to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("", "data: is a key of version 2 of the format: say `format = 2`");
    check("format = 3\n", "format: is 3; this xenoglot reads 1 to 2");
    check("format = \"2\"\n", "format: must be an integer, not a string");
}

#[test]
fn missing_data_are_told_how_to_get() {
    let place = Place::new();
    place.write("en.tsv", "x\t1\n");
    let head = "languages = [\"en\", \"de\", \"ja\"]\n";
    let data = "file = \"{language}.tsv\"\nheader = false\nrevision = \"abc\"\ngated = true";
    let rest = format!("{head}{}", manifest(data, "problem = 0\nanswer = 1"));
    let error = place.open(&rest).unwrap_err();
    for part in [
        "suite small: ",
        "data/small/de.tsv is not there (and ja.tsv is missing too)",
        "belongs to owner/small (revision abc, licence MIT)",
        "https://huggingface.co/datasets/owner/small/resolve/abc/de.tsv",
        "asks for an account",
        "--languages",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let only =
        |code: &str| OpenOptions { languages: Some(vec![code.parse().unwrap()]), ..OpenOptions::default() };
    let suite = place.open_with(&rest, only("en")).unwrap();
    assert_eq!((suite.languages.len(), suite.offered.len()), (1, 3));
    assert!(place.open_with(&rest, only("ja")).unwrap_err().contains("ja.tsv is not there. It"));
    // A folder of the source may be left out, and another suite's data shared.
    let nested = manifest("file = \"test/x-{language}.tsv\"\nheader = false", "problem = 0\nanswer = 1");
    place.write("x-en.tsv", "x\t1\n");
    assert!(place.open(&nested).is_ok());
    place.write("test/x-en.tsv", "x\tone\n");
    assert!(place.open(&nested).unwrap_err().contains("test/x-en.tsv"));
    // But not where it would serve for two languages.
    let files = "file = \"{language}/test.tsv\"\nheader = false\nrevision = \"refs/convert/parquet\"";
    let twice = format!("languages = [\"en\", \"de\"]\n{}", manifest(files, "problem = 0\nanswer = 1"));
    place.write("test.tsv", "x\t1\n");
    let error = place.open(&twice).unwrap_err();
    assert!(error.contains("resolve/refs%2Fconvert%2Fparquet/en/test.tsv"), "{error}");
}

#[test]
fn digests_are_checked_and_recorded() {
    let place = Place::new();
    let text = "question,answer\nx,1\n";
    place.write("a.csv", text);
    let suite = place.open(&manifest("file = \"a.csv\"", QUESTION)).unwrap();
    assert_eq!(suite.files.get("a.csv"), Some(&sha256(text)));
    let with = |digest: &str| {
        manifest(&format!("file = \"a.csv\"\nsha256 = {{ \"a.csv\" = \"{digest}\" }}"), QUESTION)
    };
    assert!(place.open(&with(&sha256(text).to_uppercase())).is_ok());
    let error = place.open(&with(&sha256("other"))).unwrap_err();
    assert!(error.contains(&sha256(text)) && error.contains(&sha256("other")), "{error}");
    place.write("a.csv", "");
    let error = place.open(&with(&sha256(text))).unwrap_err();
    assert!(error.ends_with("a.csv is empty: get the file again"), "{error}");
    // The digest of the whole follows the data.
    let before = suite.sha256;
    place.write("a.csv", "question,answer\nx,2\n");
    assert_ne!(place.open(&manifest("file = \"a.csv\"", QUESTION)).unwrap().sha256, before);
    let error = place.open(&manifest("file = \"a.csv\"\nproblems = 2", QUESTION)).unwrap_err();
    assert!(error.contains("en: has 1 problems, and suite.toml says 2: is the file whole?"), "{error}");
}

#[test]
fn what_scorers_need_is_kept() {
    let place = Place::new();
    place.write(
        "a.jsonl",
        "{\"q\": \"x\", \"test\": \"[{\\\"in\\\": 1}]\", \"n\": 3}\n{\"q\": \"y\", \"test\": \"[]\"}\n",
    );
    let fields = "problem = \"q\"\njson = \"tests\"\n[fields.keep]\ntests = \"test\"\nnumber = \"n\"";
    let rest = format!(
        "task = \"code\"\nprompts = \"plain\"\nscorers = [{{ name = \"code\", timeout_ms = 500 }}, \"language\"]\n{}",
        manifest("file = \"a.jsonl\"", fields)
    );
    let suite = place.open(&rest).unwrap();
    let problems = &suite.languages[0].problems;
    assert_eq!(problems[0].fields["tests"], json!([{"in": 1}]));
    assert_eq!((problems[0].fields["number"].clone(), problems[1].fields.get("number")), (json!(3), None));
    assert_eq!(problems[0].answer, "");
    let scorers: Vec<_> =
        suite.scorers.iter().map(|scorer| (scorer.name.as_str(), scorer.options.len())).collect();
    assert_eq!(scorers, [("code", 1), ("language", 0)]);
    assert_eq!(suite.scorers[0].options["timeout_ms"], json!(500));
}

#[test]
fn shuffled_choices_are_recorded() {
    let place = Place::new();
    place.write("a.csv", "q,right,w1,w2,w3\nx,a,b,c,d\ny,a,b,c,d\nz,a,b,c,d\nw,a,b,c,d\n");
    let choices = "[choices]\ncolumns = [\"right\", \"w1\", \"w2\", \"w3\"]\ncorrect = \"first\"\nshuffle = true\nseed = 5\n";
    let rest = format!("task = \"choice\"\n{}{choices}", manifest("file = \"a.csv\"", "problem = \"q\""));
    let problems = place.problems(&rest);
    for problem in &problems {
        assert_eq!(problem.choices[problem.correct_choice().unwrap()], "a");
        let order: Vec<usize> = serde_json::from_value(problem.fields["choice_order"].clone()).unwrap();
        let shown: Vec<&str> = order.iter().map(|index| ["a", "b", "c", "d"][*index]).collect();
        assert_eq!(problem.choices, shown);
    }
    assert_eq!(problems, place.problems(&rest));
    assert_ne!(problems, place.problems(&rest.replace("seed = 5", "seed = 6")));
    let suite = place.open(&rest).unwrap();
    let text = suite.languages[0].prompt.of_problem(&suite.languages[0].problems[0]);
    assert!(text.starts_with("x\n\nA) ") && text.contains("\nD) ") && text.contains("\\boxed{}"), "{text}");
}

#[test]
fn variants_change_one_language() {
    let place = Place::new();
    for language in ["en", "ja"] {
        place.write(&format!("{language}.tsv"), "１２０円と3個\t1\n");
    }
    let data = manifest("file = \"{language}.tsv\"\nheader = false", "problem = 0\nanswer = 1");
    let rest = format!("languages = [\"en\", \"ja\"]\n{data}");
    let open = |names: &[&str]| {
        let variants = names.iter().map(|name| (*name).to_owned()).collect();
        place.open_with(&rest, OpenOptions { variants, ..OpenOptions::default() })
    };
    let (plain, half) = (open(&[]).unwrap(), open(&["ja-halfwidth"]).unwrap());
    let problem = |suite: &Suite, language| suite.language(language).unwrap().problems[0].problem.clone();
    assert_eq!(problem(&plain, Language::Ja), "１２０円と3個");
    assert_eq!(problem(&half, Language::Ja), "120円と3個");
    assert_eq!(problem(&half, Language::En), "１２０円と3個");
    let user = |suite: &Suite, language| suite.language(language).unwrap().prompt.user.clone();
    assert_ne!(user(&plain, Language::Ja), user(&half, Language::Ja));
    assert_eq!(user(&plain, Language::En), user(&half, Language::En));
    assert_ne!(plain.sha256, half.sha256);
    assert_eq!(half.applied, ["ja-halfwidth"]);
    let error = open(&["ja-halfwith"]).unwrap_err();
    assert!(
        error.contains("is no variant of the prompts of suite small; did you mean \"ja-halfwidth\"?"),
        "{error}"
    );
}

/// The real data, where they are.
fn shared_data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let named = std::env::var_os("XENOGLOT_DATA").map(PathBuf::from);
    named.into_iter().chain([beside]).find(|path| path.join("mgsm").is_dir() && path.join("msvamp").is_dir())
}

#[test]
fn mgsm_and_msvamp_are_read_whole() {
    let Some(data) = shared_data() else { return };
    let open = |name: &str| {
        Suite::open_with(name, &OpenOptions { data: Some(data.clone()), ..OpenOptions::default() }).unwrap()
    };
    let check = |name: &str, languages: usize, problems: usize, golds: &[(usize, &str)]| {
        let suite = open(name);
        assert_eq!((suite.languages.len(), suite.files.len()), (languages, languages));
        for entry in &suite.languages {
            assert_eq!(entry.problems.len(), problems, "{name} {}", entry.language);
            for (at, gold) in golds {
                assert_eq!(entry.problems[*at].answer, *gold, "{name} {}", entry.language);
            }
            assert_eq!(entry.examples.len(), 3);
            assert!(entry.prompt.thinking_prefix.is_some());
        }
    };
    // Four golds have thousands commas in the source, and all of MSVAMP's are floats there.
    check("mgsm", 11, 250, &[(0, "18"), (146, "2125"), (201, "114200"), (230, "276000"), (249, "5600")]);
    check("msvamp", 10, 1000, &[(0, "8"), (1, "1")]);
    let parallel = |suite: &Suite| {
        let golds =
            |at: usize| suite.languages[at].problems.iter().map(|p| p.answer.clone()).collect::<Vec<_>>();
        (1..suite.languages.len()).all(|at| golds(at) == golds(0))
    };
    assert!(parallel(&open("mgsm")));
}

#[test]
fn a_summary_needs_no_data() {
    let summary = Suite::summary("mgsm", None).unwrap();
    assert_eq!((summary.languages.len(), summary.task.name()), (11, "math"));
    if std::env::var_os("XENOGLOT_DATA").is_none() {
        assert!(matches!(&summary.data, DataState::Missing { message } if message.contains("XENOGLOT_DATA")));
    }
    assert_eq!(Suite::summary("xeno-word-problems", None).unwrap().data, DataState::Own);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever stands in a manifest or a data file, opening it comes to an end without a panic.
    #[test]
    fn any_text_is_read_or_refused(
        content in "(question|answer|[\\x00-\\x7f]|\\PC|[\\t\",{}\n]){0,80}",
        data in "(problems = |sha256|where|files|[a-z=\\[\\]{}\"0-9. \n]){0,40}",
        fields in "([a-z=\\[\\]{}\"0-9. \n]){0,30}",
    ) {
        let place = Place::new();
        for name in ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.arrow"] {
            place.write(name, &content);
            let _ = place.open(&manifest(&format!("file = \"{name}\""), QUESTION));
            let _ = place.open(&manifest(&format!("file = \"{name}\"\n{data}"), &format!("{QUESTION}\n{fields}")));
        }
    }
}
