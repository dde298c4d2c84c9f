//! Tests of `corpus`.

use super::super::prepare::{Source, prepare};
use super::super::store::TokenStore;
use super::super::testing::{file, model, options};
use super::*;

fn corpus(file: &std::path::Path, proportion: Option<f64>, tag: &str) -> Corpus {
    Corpus { files: vec![file.to_owned()], documents: Documents::Line, proportion, tag: tag.to_owned() }
}

fn make(corpora: Vec<Corpus>, tokens_max: Option<u64>, length: usize) -> Result<TokenStore, DataError> {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(length, 2);
    options.too_long = TooLong::Split;
    prepare(&folder.path().join("tokens"), &Source::Corpora { corpora, tokens_max }, &model(), options)
}

fn tokens_of(store: &TokenStore, tag: &str) -> u64 {
    let lengths =
        (0..store.len()).filter(|at| store.tag(*at) == tag).map(|at| store.example(at).ids.len() as u64);
    lengths.sum()
}

#[test]
fn documents_are_texts_with_their_ends() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let check = |name: &str, text: &str, documents: Documents, expected: &[&str]| {
        let path = file(folder.path(), name, text);
        let store = make(vec![Corpus { documents, ..corpus(&path, None, "") }], None, 100).unwrap();
        assert_eq!(store.len(), expected.len());
        for (at, document) in expected.iter().enumerate() {
            let mut ids = model.tokenizer.encode(document, true).unwrap();
            ids.extend(model.eos);
            let example = store.example(at);
            assert_eq!(example.ids, ids, "{document:?}");
            assert!(example.trained().eq((0..ids.len()).map(|position| position > 0
                && (position + 1 == ids.len() || !model.tokenizer.is_special(ids[position])))));
        }
    };
    check("a.txt", "one\n\ntwo two\n", Documents::Line, &["one", "two two"]);
    check("a.txt", "one\nmore\n\ntwo\n", Documents::BlankLine, &["one\nmore", "two"]);
    check(
        "a.jsonl",
        "{\"text\": \"one\\n\\nmore\"}\n{\"text\": \"two\"}",
        Documents::File,
        &["one\n\nmore", "two"],
    );
}

#[test]
fn long_documents_are_split_and_the_number_of_tokens_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "a.txt", &"ab cd ef gh\n".repeat(50));
    let all = make(vec![corpus(&path, None, "")], None, 4).unwrap();
    assert!(all.lengths().iter().all(|length| *length <= 4) && all.header().counts.split > 0);
    for most in [2, 17, 40, 41] {
        let store = make(vec![corpus(&path, None, "")], Some(most), 64).unwrap();
        let tokens = store.header().counts.tokens;
        assert!(tokens >= most && tokens <= most + 1, "{tokens} for {most}");
    }
    // Corpora without proportions come once.
    let whole = make(vec![corpus(&path, None, "")], None, 64).unwrap().header().counts.tokens;
    let once = make(vec![corpus(&path, None, "a"), corpus(&path, None, "b")], Some(10 * whole), 64).unwrap();
    assert_eq!(once.header().counts.tokens, 2 * whole);
}

#[test]
fn mixtures_keep_their_proportions() {
    let folder = tempfile::tempdir().unwrap();
    let long = file(folder.path(), "long.txt", &"ab cd ef gh ij kl mn\n".repeat(300));
    let short = file(folder.path(), "short.txt", &"ab cd\n".repeat(20));
    let mixed = |tokens_max| {
        make(vec![corpus(&long, Some(3.0), "long"), corpus(&short, Some(1.0), "short")], tokens_max, 64)
    };
    let store = mixed(Some(2000)).unwrap();
    let (first, second) = (tokens_of(&store, "long"), tokens_of(&store, "short"));
    // To a document or so.
    assert!((first as f64 - 1500.0).abs() < 60.0 && (second as f64 - 500.0).abs() < 60.0, "{first} {second}");
    assert!(store.header().counts.repeated > 0);
    // Any beginning has the mixture.
    let beginning = 200.min(store.len());
    let lengths = |tag: &str| {
        let places = (0..beginning).filter(|at| store.tag(*at) == tag);
        places.map(|at| store.example(at).ids.len() as f64).sum::<f64>()
    };
    assert!((lengths("long") / lengths("short") - 3.0).abs() < 0.6);
    // Without a number of tokens, the first that is used up ends it.
    assert_eq!(mixed(None).unwrap().header().counts.repeated, 0);
}

#[test]
fn what_is_wrong_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "a.txt", "one two\n");
    let blank = file(folder.path(), "blank.txt", "\n\n");
    let rows = file(folder.path(), "a.jsonl", "{\"text\": \"a b\"}\n{\"txt\": 1}\n");
    let check = |corpora: Vec<Corpus>, tokens_max: Option<u64>, part: &str| {
        let error = make(corpora, tokens_max, 64).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    check(
        vec![corpus(&path, Some(1.0), ""), corpus(&path, None, "")],
        None,
        "`proportion` is given for some",
    );
    check(vec![corpus(&path, Some(0.0), "")], None, "`proportion` is not a number above 0");
    check(vec![corpus(&path, None, "")], Some(0), "`max_tokens` is 0");
    check(
        vec![corpus(&path, Some(1.0), ""), corpus(&blank, Some(1.0), "")],
        Some(100),
        "blank.txt has no text",
    );
    check(vec![corpus(&rows, None, "")], None, "a.jsonl:2: has no `text`");
    check(vec![corpus(&blank, None, "")], None, "no example");
    check(vec![], None, "no example");
}
