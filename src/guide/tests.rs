//! Grammars walked over a real vocabulary of bytes and words.

use std::collections::HashSet;
use std::path::Path;

use serde_json::json;

use super::*;

const END: u32 = 2;

fn tokenizer() -> Tokenizer {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/llama3"));
    Tokenizer::load(path).unwrap()
}

fn guides() -> (Tokenizer, Guides) {
    let tokenizer = tokenizer();
    let guides = Guides::new(&tokenizer, &[END]).unwrap();
    (tokenizer, guides)
}

/// Whether a grammar takes a text, token by token, and whether the answer may end with it.
fn takes(guides: &Guides, tokenizer: &Tokenizer, grammar: &Grammar, text: &str) -> Option<bool> {
    let mut state = guides.compile(grammar).unwrap().start();
    for id in tokenizer.encode(text, false).unwrap() {
        if !state.allowed().unwrap().contains(id) {
            return None;
        }
        state.take(id).unwrap();
    }
    Some(state.allowed().unwrap().contains(END))
}

#[test]
fn each_kind_takes_what_it_describes() {
    let (tokenizer, guides) = guides();
    let check = |grammar: &Grammar, text: &str, expected: Option<bool>| {
        assert_eq!(takes(&guides, &tokenizer, grammar, text), expected, "{grammar:?} {text}");
    };
    let schema = json!({
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}},
        "required": ["a"],
        "additionalProperties": false
    });
    let schema = Grammar::JsonSchema(schema);
    check(&schema, r#"{"a": 12}"#, Some(true));
    check(&schema, r#"{"a": 12, "b": "x"}"#, Some(true));
    check(&schema, r#"{"a": 12"#, Some(false));
    check(&schema, r#"{"b": "x"}"#, None);
    check(&schema, r#"{"a": 1.5}"#, None);
    check(&Grammar::Regex("[0-9]{2}-[a-c]+".to_owned()), "12-abc", Some(true));
    check(&Grammar::Regex("[0-9]{2}-[a-c]+".to_owned()), "12-", Some(false));
    check(&Grammar::Regex("[0-9]{2}-[a-c]+".to_owned()), "123", None);
    check(&Grammar::Choice(vec!["yes".to_owned(), "\"no\"\n".to_owned()]), "\"no\"\n", Some(true));
    check(&Grammar::Choice(vec!["yes".to_owned(), "no".to_owned()]), "ye", Some(false));
    check(&Grammar::Lark("start: \"a\" inner \"a\"\ninner: \"b\" | start".to_owned()), "aabaa", Some(true));
    check(&Grammar::JsonSchema(json!({"type": "object"})), r#"{"क": [1, null, "日本"]}"#, Some(true));
    let one_of = json!({"oneOf": [{"type": "integer"}, {"type": "boolean"}]});
    check(&Grammar::JsonSchema(one_of), "true", Some(true));
}

#[test]
fn an_answer_that_is_complete_has_nothing_left_but_its_end() {
    let (tokenizer, guides) = guides();
    let mut state = guides.compile(&Grammar::Choice(vec!["ab".to_owned()])).unwrap().start();
    for id in tokenizer.encode("ab", false).unwrap() {
        assert!(!state.is_complete());
        state.take(id).unwrap();
    }
    assert!(state.is_complete());
    let allowed = state.allowed().unwrap();
    let ids: HashSet<u32> = (0..tokenizer.vocab_size() as u32).filter(|id| allowed.contains(*id)).collect();
    assert_eq!(ids, HashSet::from([END]));
}

#[test]
fn a_schema_that_is_wrong_says_where() {
    let (_, guides) = guides();
    let check = |schema: Value, path: &str| {
        let error = guides.compile(&Grammar::JsonSchema(schema.clone())).unwrap_err();
        let GuideError::Grammar { path: found, problem } = &error else { panic!("{error}") };
        assert_eq!(found, path, "{schema}: {problem}");
        assert!(!problem.is_empty() && problem.len() < 1300, "{problem}");
    };
    check(json!({"properties": {"a/b": {"items": {"type": "nmber"}}}}), "/properties/a~1b/items");
    check(json!({"anyOf": [{"type": "string"}, {"minimum": "3"}]}), "/anyOf/1");
    check(json!({"type": "array", "items": {"$ref": "#/$defs/missing"}}), "/items");
    check(
        json!({"$defs": {"a": {"$ref": "https://example.org/schema.json"}}, "$ref": "#/$defs/a"}),
        "/$defs/a",
    );
    check(json!([1]), "");
}

#[test]
fn loops_and_costly_expressions_end_in_words_and_in_time() {
    let (_, guides) = guides();
    let started = std::time::Instant::now();
    for schema in [
        json!({"$ref": "#"}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
    ] {
        // Either it is refused, or what it allows is nothing but is told in words with the first token.
        if let Ok(guide) = guides.compile(&Grammar::JsonSchema(schema.clone())) {
            let error = guide.start().allowed().unwrap_err();
            assert!(!error.to_string().is_empty(), "{schema}");
        }
    }
    for expression in
        ["(a|b|ab)*{50}".to_owned(), "(x+x+)+y".to_owned(), "((a{1,100}){1,100}){1,100}".to_owned()]
    {
        if let Ok(guide) = guides.compile(&Grammar::Regex(expression.clone())) {
            let mut state = guide.start();
            for _ in 0..50 {
                if state.allowed().is_err() || state.is_complete() || state.take(token_of("a")).is_err() {
                    break;
                }
            }
        }
    }
    // Budgets count steps: a slow and busy machine has taken a minute, and without them none of these ends.
    assert!(started.elapsed().as_secs() < 120, "budgets do not hold: {:?}", started.elapsed());
    // Deeper ones do not come in: a body's depth is bounded.
    let deep = (0..200).fold(json!({}), |inner, _| json!({"items": inner}));
    drop(guides.compile(&Grammar::JsonSchema(deep)));
}

fn token_of(text: &str) -> u32 {
    tokenizer().encode(text, false).unwrap()[0]
}

#[test]
fn special_tokens_are_no_text() {
    let (tokenizer, guides) = guides();
    let mut state = guides.compile(&Grammar::Regex(".*".to_owned())).unwrap().start();
    let allowed = state.allowed().unwrap();
    for id in (0..tokenizer.vocab_size() as u32).filter(|id| *id != END && tokenizer.is_special(*id)) {
        assert!(!allowed.contains(id), "{:?}", tokenizer.id_to_token(id));
    }
}
