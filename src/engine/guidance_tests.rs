//! A choice's guidance over the tokens of a text.

use std::path::Path;

use super::*;
use crate::guide::{Grammar, Guides};

const END: u32 = 2;
const CLOSING: &str = "\nenough.\n</think>\n\n";

fn tokenizer() -> Tokenizer {
    Tokenizer::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/llama3"))).unwrap()
}

fn ids(text: &str) -> Vec<u32> {
    tokenizer().encode(text, false).unwrap()
}

fn marks(open_token: Option<u32>) -> TraceMarks {
    TraceMarks { open: "<think>", close: "</think>", open_token, tokenizer: tokenizer() }
}

fn trace(begins_open: bool, budget: Option<usize>) -> Trace {
    let budget = budget.map(|tokens| TraceBudget { tokens, closing: ids(CLOSING).into() });
    Trace { marks: marks(None), begins_open, budget, steer: None }
}

fn grammar(choice: &str) -> Guide {
    let guides = Guides::new(&tokenizer(), &[END]).unwrap();
    guides.compile(&Grammar::Choice(vec![choice.to_owned()])).unwrap()
}

/// Follows what is forced, and otherwise `says`, until that is at its end. The whole text.
fn written(guidance: Guidance, says: &str) -> String {
    let mut choice = ChoiceGuidance::new(Arc::new(guidance));
    let (mut output, mut said) = (Vec::new(), ids(says).into_iter());
    loop {
        let constraint = choice.constraint(&output).unwrap();
        let Some(token) = constraint.forced.or_else(|| said.next()) else { break };
        if let Some(allowed) = &constraint.allowed {
            assert!(allowed.contains(token) || constraint.also.contains(&token), "{output:?} {token}");
        }
        output.push(token);
    }
    tokenizer().decode(&output, false).unwrap()
}

#[test]
fn a_trace_is_closed_where_its_budget_ends() {
    let budget = |open, tokens| Guidance { grammar: None, trace: Some(trace(open, Some(tokens))) };
    let three = tokenizer().decode(&ids("abcdefgh")[..3], false).unwrap();
    assert_eq!(written(budget(true, 3), &three), format!("{three}{CLOSING}"));
    assert_eq!(written(budget(true, 0), "x"), format!("{CLOSING}x"));
    let opened = written(budget(false, 3), &format!("\n<think>{three}"));
    assert_eq!(opened, format!("\n<think>{three}{CLOSING}"));
    // A trace that the model closes itself, a text without one.
    assert_eq!(written(budget(true, 50), "ab</think>more"), "ab</think>more");
    assert_eq!(written(budget(false, 0), "an answer <think> of words"), "an answer <think> of words");
}

#[test]
fn a_grammar_begins_behind_the_trace() {
    let guided = |trace| Guidance { grammar: Some(grammar("yes")), trace };
    assert_eq!(written(guided(None), "yes"), "yes");
    assert_eq!(written(guided(Some(trace(false, None))), "yes"), "yes");
    assert_eq!(written(guided(Some(trace(true, None))), "no, no</think>yes"), "no, no</think>yes");
    assert_eq!(written(guided(Some(trace(true, None))), "no</think>\nyes"), "no</think>\nyes");
    let cut = written(guided(Some(trace(true, Some(0)))), "yes");
    assert_eq!(cut, format!("{CLOSING}yes"));
}

#[test]
fn what_a_grammar_leaves_says_when_it_is_complete() {
    let rules = Arc::new(Guidance { grammar: Some(grammar("ab")), trace: Some(trace(true, None)) });
    let mut choice = ChoiceGuidance::new(Arc::clone(&rules));
    let inside = choice.constraint(&ids("x")).unwrap();
    assert!(inside.endless && inside.allowed.is_none());
    let output = ids("x</think>ab");
    let constraint = choice.constraint(&output).unwrap();
    assert!(constraint.complete && constraint.allowed.unwrap().contains(END));
    // A choice that begins again, and one that is told all at once, stand where their tokens say.
    assert!(choice.constraint(&ids("x")).unwrap().endless);
    assert!(ChoiceGuidance::new(rules).constraint(&output).unwrap().complete);
    let mut wrong = ChoiceGuidance::new(Arc::new(Guidance { grammar: Some(grammar("ab")), trace: None }));
    assert!(wrong.constraint(&ids("zz")).is_err());
}

#[test]
fn with_a_grammar_only_a_mark_that_is_a_token_opens_a_trace() {
    let open = ids("#")[0];
    let marked = Trace { marks: marks(Some(open)), ..trace(false, None) };
    let rules = Arc::new(Guidance { grammar: Some(grammar("yes")), trace: Some(marked) });
    let mut choice = ChoiceGuidance::new(Arc::clone(&rules));
    assert_eq!(choice.constraint(&[]).unwrap().also, [open]);
    assert!(choice.constraint(&[open]).unwrap().endless);
    let mut direct = ChoiceGuidance::new(rules);
    assert!(direct.constraint(&ids("yes")[..1]).unwrap().also.is_empty());
}
