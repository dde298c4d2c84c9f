//! Answers found in completions, one line a case.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(completion: &str, expected: &[&str]) {
    check_with(ExtractOptions::default(), completion, expected);
}

#[track_caller]
fn check_with(options: ExtractOptions<'_>, completion: &str, expected: &[&str]) {
    let found = extract_with(completion, &options);
    assert_eq!(found.texts(completion), expected, "{completion}");
    assert_eq!(found.answers.is_empty(), found.found.is_none(), "{completion}");
}

#[test]
fn the_last_balanced_box_is_the_answer() {
    check(r"so \boxed{41}, no wait: \boxed{42}.", &["42"]);
    check(r"\boxed{\boxed{42}}", &[r"\boxed{42}"]);
    check(r"\boxed{9} and then \boxed{}", &["9"]);
    check(r"\boxed{10} (I used the \boxed notation)", &["10"]);
    check(r"\boxed{11} \boxed{12", &["11"]);
    check(r"\boxed{1 \boxed{13}", &["13"]);
    check(r"$$\boxed{42}$$", &["42"]);
    check(r"\[ \boxed{42} \]", &["42"]);
    check(r"\( \boxed{42} \)", &["42"]);
    check(r"The answer is 5. \boxed{42}", &["42"]);
    check(r"\boxed{42}. The answer is 5.", &["42"]);
    check("no box", &[]);
    check("", &[]);
}

#[test]
fn neighbours_state_one_answer_and_prose_corrects() {
    check(r"$\boxed{3}$ and $\boxed{5}$", &["3", "5"]);
    check(r"\boxed{3}, \boxed{5}", &["3", "5"]);
    check(r"\boxed{3}, \boxed{5}, and \boxed{7}", &["3", "5", "7"]);
    check(r"\boxed{3}、\boxed{5}", &["3", "5"]);
    check(r"\boxed{3} と \boxed{5}", &["3", "5"]);
    check(r"\boxed{3} und \boxed{5}", &["3", "5"]);
    check(r"\boxed{3} و \boxed{5}", &["3", "5"]);
    check(r"\boxed{3} but rather \boxed{5}", &["5"]);
    check(r"\boxed{3}. Wait, that is wrong. \boxed{5}", &["5"]);
    check("\\boxed{3}\n\nSo\n\n\\boxed{5}", &["5"]);
}

#[test]
fn the_trace_is_searched_on_request_only() {
    check(r"<think>\boxed{1}</think>\boxed{2}", &["2"]);
    check(r"\boxed{1}</think>none", &[]);
    check(r"<think>\boxed{1}", &[]);
    check("<think>The answer is 1", &[]);
    check("<think>1</think>", &[]);
    check(r"<think>a</think>\boxed{2}<think>b", &[]);
    check(r"<think>a</think>b</think>\boxed{2}", &["2"]);
    let fallback = ExtractOptions { think_fallback: true, ..ExtractOptions::default() };
    check_with(fallback, r"<think>\boxed{1}</think>\boxed{2}", &["2"]);
    check_with(fallback, r"<think>\boxed{1}</think>none", &["1"]);
    check_with(fallback, r"<think>\boxed{1}", &["1"]);
    check_with(fallback, "<think>The answer is 1.</think>", &["1"]);
    check_with(fallback, "<think>The answer is 1.</think>The answer is 2.", &["2"]);
    assert!(extract_with(r"<think>\boxed{1}", &fallback).in_trace);
}

#[test]
fn an_unclosed_box_counts_on_request_only() {
    check(r"so \boxed{42", &[]);
    check(r"The answer is \boxed{42", &[]);
    check("The answer is 42. \\boxed{42", &[]);
    let unclosed = ExtractOptions { allow_unclosed: true, ..ExtractOptions::default() };
    check_with(unclosed, r"so \boxed{42", &["42"]);
    check_with(unclosed, r"so $\boxed{42$.", &["42"]);
    check_with(unclosed, "so \\boxed{42\nand more", &["42"]);
    check_with(unclosed, r"\boxed{\frac{1}{2}", &[r"\frac{1}{2}"]);
    check_with(unclosed, r"\boxed{11} or rather \boxed{12", &["12"]);
    check_with(unclosed, r"\boxed{11", &["11"]);
    check_with(unclosed, r"\boxed{", &[]);
    check_with(unclosed, r"\boxed{11}", &["11"]);
    let found = extract_with(r"\boxed{11} \boxed{12", &ExtractOptions::default());
    assert!(found.unclosed_box && found.boxes == 1);
}

#[test]
fn phrases_and_closing_lines_stand_in_for_a_box() {
    check("The answer is 18.", &["18"]);
    check("答えは18です。", &["18"]);
    check("उत्तर: १८", &["१८"]);
    check("Thus\n\n18", &["18"]);
    check("Thus $18$.", &["18"]);
    check("She makes 18 dollars a day.", &[]);
}

#[test]
fn targets_say_what_and_in_which_order() {
    let with = |targets| ExtractOptions { targets, ..ExtractOptions::default() };
    let latex = with(&[Target::Latex]);
    let expr = with(&[Target::Expr]);
    let reversed = with(&[Target::Expr, Target::Latex]);
    check_with(latex, "The answer is 18.", &[]);
    check_with(latex, "The answer is $18$.", &["18"]);
    check_with(latex, r"\boxed{18}", &["18"]);
    check_with(latex, "18", &[]);
    check_with(expr, r"\boxed{18}", &[]);
    check_with(expr, "The answer is 18.", &["18"]);
    check_with(expr, "18", &["18"]);
    check_with(reversed, r"\boxed{5} The answer is 18.", &["18"]);
    check_with(reversed, r"\boxed{5} and more", &["5"]);
    check_with(with(&[]), r"\boxed{5}", &[]);
}

#[test]
fn boxes_alone() {
    let texts = |text: &'static str| extract(text).texts(text);
    assert_eq!(texts(r"\boxed{1}"), ["1"]);
    assert_eq!(texts("The answer is 1"), Vec::<&str>::new());
    assert_eq!(extract(r"\boxed{1} or rather \boxed{2}").boxes, 2);
}

/// Time is not asserted: at a quadratic cost ten megabytes would take hours, and the test would not end.
#[test]
fn hostile_input_takes_linear_time() {
    for unit in [
        r"\boxed{",
        "{",
        "}",
        r"\boxed{1}",
        r"\boxed{1},",
        r"\boxed{},",
        "\\",
        "<think>",
        "</think>",
        r"\boxed{\boxed{1}",
        "answer: ",
        "answer",
        "答えは",
        "$",
        "$1",
        "\\(",
        "\\[",
        "answer: 1 ",
        "1,",
        "1 ",
        "(",
        "((1",
        "\\frac{",
        "answer: (",
        "answer is not ",
        "####",
        "#### 1\n",
        "the answer to the ",
        "1 and ",
        "\u{8}oxed{",
    ] {
        // Ten megabytes of what completions that run wild are made of, one of the rest.
        let megabytes = if matches!(unit, "\\" | "{" | "}" | r"\boxed{") { 10 } else { 1 };
        let text = format!("answer: {}", unit.repeat(megabytes * 1_000_000 / unit.len()));
        let options =
            ExtractOptions { think_fallback: true, allow_unclosed: true, ..ExtractOptions::default() };
        let found = extract_with(&text, &options);
        assert!(found.boxes <= text.len());
    }
}

proptest! {
    #[test]
    fn any_text_gives_spans_inside_it(text in r"(\\|boxed|\{|\}|fbox|1|é|<think>|</think>| |,|\$|answer|:|答えは|x|=|\.|and|\n|\*|or|2|hours|frac|\(|\)|万|is|not|\?){0,60}") {
        for options in [
            ExtractOptions::default(),
            ExtractOptions { targets: &[Target::Expr], allow_unclosed: true, think_fallback: true },
        ] {
            let found = extract_with(&text, &options);
            for span in found.answers.iter().chain(&found.clause) {
                prop_assert!(!text[span.clone()].trim().is_empty());
                prop_assert!(span.start >= found.parts.answer.start || found.in_trace);
            }
        }
    }

    #[test]
    fn never_panics(text in any::<String>()) {
        let text = format!("Answer: {text} answer {text}");
        let _ = extract_with(&text, &ExtractOptions::default());
    }

    #[test]
    fn a_box_put_last_is_found(text in any::<String>(), number in 0_u32..1000) {
        let text = format!("{} \\boxed{{{number}}}", text.replace(['\\', '{', '<', '\u{8}'], " "));
        let found = extract(&text);
        prop_assert_eq!(&text[found.span().unwrap()], number.to_string());
    }

    #[test]
    fn an_announced_number_is_found(number in 0_u32..100_000, after in "( dollars|です| рублей| บาท|\\.|,)?") {
        let text = format!("So the answer is {number}{after}");
        let found = extract_with(&text, &ExtractOptions::default());
        prop_assert_eq!(found.texts(&text), [number.to_string()]);
    }
}
