//! Tests of `pairs`.

use proptest::prelude::*;
use serde_json::json;

use super::super::testing::{effort, file, model, silent};
use super::*;

fn augmentation() -> Stage {
    Stage::Augmentation { math_prompt: MATH_PROMPT.to_owned() }
}

fn pairs(source: &PairSource, stage: &Stage) -> Result<Vec<Pair>, DataError> {
    source.lines()?.map(|line| source.pair(&line?, stage)).collect()
}

fn check_error(source: &PairSource, part: &str) {
    let error = pairs(source, &augmentation()).unwrap_err().to_string();
    assert!(error.contains(part), "{error} does not say {part}");
}

#[test]
fn aligned_lines_are_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let source = file(folder.path(), "train.sw", "habari\n\n moja \nx\n");
    file(folder.path(), "train.en", "hello\n\none\n\n");
    let aligned = PairSource::aligned(&source).unwrap();
    let pair = |source: &str, target: &str| Pair {
        source: source.into(),
        prompt: None,
        target: target.into(),
        language: "sw".into(),
    };
    assert_eq!(pairs(&aligned, &Stage::Mapping).unwrap(), [pair("habari", "hello"), pair(" moja ", "one")]);
    file(folder.path(), "train.en", "hello\n\none\n");
    check_error(&aligned, "train.sw:4: has no line beside it: the aligned file ends before");
    file(folder.path(), "train.en", "a\nb\nc\nd\ne\n");
    check_error(&aligned, "train.en:5: has no line beside it");
}

#[test]
fn prompts_are_mindmergers() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, line: serde_json::Value, expected: [&str; 4]| {
        let path = file(folder.path(), name, &format!("{line}\n\n"));
        let source = match name {
            "queries" => PairSource::Queries { file: path },
            "xcsqa" => PairSource::Xcsqa { file: path, language: Some("de".into()) },
            _ => PairSource::Xnli { file: path, language: None },
        };
        let [source_text, prompt, target, language] = expected.map(str::to_owned);
        let mut pair = Pair { source: source_text, prompt: Some(prompt), target, language };
        assert_eq!(pairs(&source, &augmentation()).unwrap(), [pair.clone()]);
        pair.prompt = None;
        assert_eq!(pairs(&source, &Stage::Mapping).unwrap(), [pair]);
    };
    let alpaca = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n\
                  ### Instruction:\n1 + {x}?\n\n### Response: Let's think step by step.";
    check(
        "queries",
        json!({"lang": "Swahili", "query": "1 + {x}?", "response": "2"}),
        ["1 + {x}?", alpaca, "2", "sw"],
    );
    let question =
        json!({"stem": "Wo?", "choices": [{"label": "A", "text": "da"}, {"label": "B", "text": "hier"}]});
    let asked = "Wo?\nOptions:A. da\tB. hier\nAnswer:";
    check("xcsqa", json!({"question": question, "answerKey": "B"}), [asked, asked, "B", "de"]);
    let asked = "Premise: p\nHypothesis: h\nLabel:";
    let row = |label: serde_json::Value| json!({"sentence1": "p", "sentence2": "h", "label": label, "language": "ur"});
    check("xnli", row(json!("neutral")), [asked, asked, "neutral", "ur"]);
    check("xnli", row(json!(2)), [asked, asked, "contradiction", "ur"]);
}

#[test]
fn what_is_wrong_has_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let check = |kind: &str, line: serde_json::Value, part: &str| {
        let path = file(folder.path(), "a.jsonl", &line.to_string());
        let source = match kind {
            "queries" => PairSource::Queries { file: path },
            "xcsqa" => PairSource::Xcsqa { file: path, language: None },
            _ => PairSource::Xnli { file: path, language: None },
        };
        check_error(&source, part);
    };
    check("queries", json!({"lang": "sw", "query": 1}), "a.jsonl:1: `query` is a number, not a string");
    check("queries", json!({"query": "a", "response": "b"}), "`lang` is missing");
    check(
        "xcsqa",
        json!({"question": {"stem": "s", "choices": [{"label": "A"}]}}),
        "`question.choices[0].text` is missing",
    );
    check("xcsqa", json!({"question": {"choices": []}}), "`question.stem` is missing");
    check(
        "xcsqa",
        json!({"question": {"stem": "s", "choices": []}, "answerKey": "A"}),
        "`answerKey` is \"A\", which is no label",
    );
    check("xnli", json!({"sentence1": "a", "sentence2": "b", "label": 3}), "`label` is 3, not 0, 1 or 2");
    check("xnli", json!([]), "is a list, not a JSON object");
    assert!(PairSource::aligned("train".as_ref()).unwrap_err().to_string().contains("no ending"));
}

#[test]
fn a_store_of_pairs_has_three_parts_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let text: String = (0..40)
        .map(|at| json!({"lang": if at % 4 == 0 { "de" } else { "sw" }, "query": format!("ab {at}"), "response": "cd ef ".repeat(at)}))
        .filter(|row| row["response"] != "")
        .map(|row| row.to_string() + "\n")
        .collect();
    let sources = [PairSource::Queries { file: file(folder.path(), "a.jsonl", &text) }];
    let source = |pair: &Pair| Ok(model.tokenizer.encode(&pair.source, true)?);
    let eos = model.eos.unwrap();
    let encoder = PairEncoder { source: &source, source_digest: "s", llm: &model.tokenizer, eos };
    let make = |stage: &Stage, most: Option<u64>, threads: usize, name: &str| {
        let options = PairOptions {
            stage,
            prompt_tokens_max: 30,
            target_tokens_max: 20,
            items_per_language_max: most,
            effort: effort(threads),
            progress: &silent,
        };
        prepare_pairs(&folder.path().join(name), &sources, encoder, options)
    };
    let store = make(&augmentation(), None, 1, "one").unwrap();
    let expected = pairs(&sources[0], &augmentation()).unwrap();
    assert_eq!(store.len(), 39);
    for (at, pair) in expected.iter().enumerate() {
        let found = store.pair(at);
        let cut = |text: &str, most: usize| {
            let mut ids = model.tokenizer.encode(text, false).unwrap();
            ids.truncate(most);
            ids
        };
        assert_eq!(found.source, model.tokenizer.encode(&pair.source, true).unwrap());
        assert_eq!(found.prompt, cut(pair.prompt.as_ref().unwrap(), 30));
        let mut target = cut(&pair.target, 19);
        target.push(eos);
        assert_eq!((found.target, found.language), (target.as_slice(), pair.language.as_str()));
        assert_eq!(
            store.lengths()[at] as usize,
            found.source.len() + found.prompt.len() + found.target.len()
        );
    }
    assert!(store.counts().truncated > 0);
    assert_eq!(store.counts().examples, store.len() as u64);
    let three = make(&augmentation(), None, 3, "three").unwrap();
    assert!((0..store.len()).all(|at| store.pair(at) == three.pair(at)));
    let few = make(&Stage::Mapping, Some(3), 2, "few").unwrap();
    assert_eq!((few.len(), few.counts().dropped), (6, 33));
    assert!((0..6).all(|at| few.pair(at).prompt.is_empty()));
    let none = Stage::Augmentation { math_prompt: "{q}".to_owned() };
    assert!(make(&none, None, 1, "none").unwrap_err().to_string().contains("`prompt_template` has 0 places"));
}

proptest! {
    #[test]
    fn no_line_is_a_panic(line in ".{0,60}", key in "[a-z0-9]{0,9}", label in any::<i64>()) {
        for text in [line.clone(), json!({"lang": line, "query": key, "question": {"stem": line, "choices": [key, {"label": line}]}}).to_string(),
                     json!({"sentence1": line, "sentence2": key, "label": label, "language": key, "answerKey": line}).to_string()] {
            let _ = rows::query(&text, &augmentation());
            let _ = rows::xcsqa(&text, Some("de"));
            let _ = rows::xnli(&text, None);
        }
    }
}
