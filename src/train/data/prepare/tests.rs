//! Tests of `prepare`.

use super::super::testing::{file, model, options};
use super::*;

fn supervised(file: &Path) -> Source {
    Source::Supervised { files: vec![file.to_owned()], loss: Loss::default(), tagged: false }
}

fn lines(count: usize) -> String {
    let line = |at: usize| {
        let words = "ab cd ".repeat(at % 7);
        match at % 3 {
            0 => {
                serde_json::json!({"messages": [{"role": "user", "content": words}, {"role": "assistant", "content": format!("x{at}")}]})
            }
            1 => serde_json::json!({"prompt": words, "completion": format!("y{at}")}),
            _ => serde_json::json!({"text": format!("{words}{at}")}),
        }
    };
    (0..count).map(|at| line(at).to_string() + "\n").collect()
}

fn content(store: &TokenStore) -> Vec<(Vec<u32>, Vec<bool>)> {
    (0..store.len())
        .map(|at| (store.example(at).ids.to_vec(), store.example(at).trained().collect()))
        .collect()
}

#[test]
fn a_store_made_again_is_the_store_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = file(folder.path(), "a.jsonl", &lines(500));
    let (model, source) = (model(), supervised(&data));
    let one = prepare(&folder.path().join("one"), &source, &model, options(64, 1)).unwrap();
    let three = prepare(&folder.path().join("three"), &source, &model, options(64, 3)).unwrap();
    assert_eq!(one.len(), 500);
    assert_eq!(content(&one), content(&three), "threads");
    let written = std::fs::metadata(folder.path().join("one/tokens.u32")).unwrap().modified().unwrap();
    let again = prepare(&folder.path().join("one"), &source, &model, options(64, 2)).unwrap();
    assert_eq!(content(&again), content(&one));
    let kept = std::fs::metadata(folder.path().join("one/tokens.u32")).unwrap().modified().unwrap();
    assert_eq!(written, kept, "nothing is tokenized again");
}

#[test]
fn all_that_tokens_are_made_of_is_in_the_digest() {
    let folder = tempfile::tempdir().unwrap();
    let data = file(folder.path(), "a.jsonl", &lines(4));
    let other = file(folder.path(), "b.jsonl", &lines(5));
    let model = model();
    let of = |source: &Source, length: usize, model: &ModelText| {
        digest(source, model, &options(length, 1)).unwrap()
    };
    let base = of(&supervised(&data), 64, &model);
    let same = file(folder.path(), "c.jsonl", &lines(4));
    assert_eq!(of(&supervised(&same), 64, &model), base, "by content");
    let all = Source::Supervised {
        files: vec![data.clone()],
        loss: Loss { assistant_only: false, ..Loss::default() },
        tagged: true,
    };
    let text = |tokens_max: Option<u64>| Source::Corpora {
        corpora: vec![Corpus {
            files: vec![data.clone()],
            documents: Documents::Line,
            proportion: None,
            tag: String::new(),
        }],
        tokens_max,
    };
    let ended = ModelText { eos: None, ..model.clone() };
    let all = [
        of(&supervised(&other), 64, &model),
        of(&supervised(&data), 63, &model),
        of(&all, 64, &model),
        of(&text(None), 64, &model),
        of(&text(Some(5)), 64, &model),
        of(&supervised(&data), 64, &ended),
    ];
    for (at, digest) in all.iter().enumerate() {
        assert!(*digest != base && !all[..at].contains(digest), "{at}");
    }
}

#[test]
fn what_is_wrong_has_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let check = |text: &str, length: usize, parts: &[&str]| {
        let data = file(folder.path(), "a.jsonl", text);
        let error = prepare(&folder.path().join("tokens"), &supervised(&data), &model, options(length, 2));
        let error = error.unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{error} does not say {part}");
        }
        assert!(!folder.path().join("tokens").exists());
    };
    check("", 64, &["a.jsonl: is empty"]);
    check("\n \n", 64, &["a.jsonl: has no line of data"]);
    check("{\"text\": \"a\"}\n\n{\"txt\": 1}", 64, &["a.jsonl:3: has none of", "[\"txt\"]"]);
    check("{\"messages\": [{\"role\": \"user\"}]}", 64, &["a.jsonl:1: `messages[0].content` is missing"]);
    check(
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}",
        64,
        &["nothing to train on: all 1 examples"],
    );
    check("{\"text\": \"a\"}", 1, &["`max_length` is 1"]);
    let absent =
        prepare(&folder.path().join("t"), &supervised(&folder.path().join("no")), &model, options(9, 1));
    assert!(absent.unwrap_err().to_string().contains("no: cannot open it"));
    let bare = ModelText { templates: None, ..model.clone() };
    let data = file(folder.path(), "a.jsonl", &lines(1));
    let error =
        prepare(&folder.path().join("t"), &supervised(&data), &bare, options(9, 1)).unwrap_err().to_string();
    assert!(error.contains("a.jsonl:1: has messages, and the model has no chat template"), "{error}");
}

#[test]
fn batches_lie_end_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let data = file(folder.path(), "a.jsonl", &lines(6));
    let store = prepare(&folder.path().join("tokens"), &supervised(&data), &model(), options(64, 1)).unwrap();
    let picked = [4, 0, 5];
    let batch = super::super::Ragged::of(picked.map(|at| store.example(at)));
    let mut begin = 0;
    let mut targets = Vec::new();
    for (at, ends) in picked.into_iter().zip(batch.cu_seqlens.windows(2)) {
        let example = store.example(at);
        assert_eq!(ends, [begin, begin + example.ids.len() as u32]);
        let rows = begin as usize..ends[1] as usize;
        assert_eq!(&batch.ids[rows.clone()], example.ids);
        assert!(batch.positions[rows].iter().copied().eq(0..example.ids.len() as u32));
        let trained = (0..example.ids.len()).filter(|position| example.is_trained(*position));
        targets.extend(trained.map(|position| (begin + position as u32 - 1, example.ids[position])));
        begin = ends[1];
    }
    assert!(!targets.is_empty());
    assert!(batch.rows.iter().copied().zip(batch.targets.iter().copied()).eq(targets));
}
