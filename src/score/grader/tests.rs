//! Graders as requests describe them, on completions in several languages; rewards computed by hand.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn compiled(grader: &Value) -> Result<Grader, GraderError> {
    Grader::compile(&wire::Grader::read(grader, "").unwrap())
}

fn sample(output_text: &str) -> Sample<'_> {
    Sample {
        output_text,
        completion_tokens: output_text.chars().count(),
        truncated: false,
        trace_opened: false,
    }
}

/// Grades with a single grader: its score and its reason.
fn graded(grader: &Value, item: &Value, sample: Sample<'_>) -> (f64, String) {
    let graded = compiled(grader).unwrap_or_else(|error| panic!("{error}")).grade(item, &sample);
    let reason = serde_json::to_value(graded.parts[0].reason).unwrap();
    (graded.reward, reason.as_str().unwrap().to_owned())
}

#[test]
fn texts_are_compared() {
    let check = |operation: &str, output: &str, expected: f64| {
        let grader = json!({"type": "string_check", "name": "s", "input": "{{ sample.output_text }}",
            "reference": "{{ item.answer }}!", "operation": operation});
        assert_eq!(
            graded(&grader, &json!({"answer": "Ответ"}), sample(output)).0,
            expected,
            "{operation} {output}"
        );
    };
    check("eq", "Ответ!", 1.0);
    check("eq", "ответ!", 0.0);
    check("eq", " Ответ!", 0.0);
    check("ne", "ответ!", 1.0);
    check("ne", "Ответ!", 0.0);
    check("like", "— Ответ! —", 1.0);
    check("like", "— ответ! —", 0.0);
    check("ilike", "— ОТВЕТ! —", 1.0);
    check("ilike", "— ОТВЕТ —", 0.0);
}

#[test]
fn answers_are_judged() {
    let grader = json!({"type": "math_answer", "name": "a", "reference": "{{ item.answer }}", "language": "{{ item.language }}"});
    let check = |language: &str, answer: &str, output: &str, expected: (f64, &str)| {
        let item = json!({"answer": answer, "language": language});
        let (score, reason) = graded(&grader, &item, sample(output));
        assert_eq!((score, reason.as_str()), expected, "{output}");
    };
    check("ja", "18", r"<think>九かける二は十八。</think>答えは\boxed{18}です。", (1.0, "number_equal"));
    check("th", "18", r"<think>คิด</think>คำตอบคือ \boxed{๑๘}", (1.0, "number_equal"));
    check("bn", "18", r"<think>ভাবি</think>উত্তর হল \boxed{১৮}", (1.0, "number_equal"));
    check("de", "1234", r"Die Antwort ist \boxed{1.234}", (1.0, "number_equal"));
    check("en", "1234", r"The answer is \boxed{1.234}", (0.0, "number_differs"));
    check("te", "18", r"<think>\boxed{18}</think>సమాధానం \boxed{17}", (0.0, "number_differs"));
    check("zh", r"\frac{1}{2}", r"答案是\boxed{\dfrac{1}{2}}", (1.0, "number_equal"));
    // The right answer counts in any language, and a box within a box is one answer.
    check("sw", "18", r"<think>x</think>The answer is \boxed{18}", (1.0, "number_equal"));
    check("en", "18", r"\boxed{\boxed{18}}", (1.0, "number_equal"));
    check("en", "18", r"<think>It is \boxed{18}", (0.0, "unclosed_trace"));
    check("en", "18", r"<think>x</think>It is \boxed{18", (0.0, "unclosed_box"));
    check("en", "18", "", (0.0, "empty"));
}

#[test]
fn an_answer_that_no_rule_decides_earns_nothing() {
    let grader = compiled(&json!({"type": "math_answer", "name": "a", "reference": "5"})).unwrap();
    let graded = grader.grade(&json!({}), &sample(r"\boxed{5} million"));
    assert_eq!((graded.reward, graded.parts[0].undecided, graded.failure), (0.0, true, None));
}

#[test]
fn a_trace_that_the_prompt_opened_is_no_answer() {
    let grader = json!({"type": "math_answer", "name": "a", "reference": "18"});
    let opened = |output_text| Sample { trace_opened: true, ..sample(output_text) };
    assert_eq!(graded(&grader, &json!({}), opened(r"so \boxed{18}")).0, 0.0);
    assert_eq!(graded(&grader, &json!({}), opened(r"so</think>\boxed{18}")).0, 1.0);
    assert_eq!(graded(&grader, &json!({}), sample(r"so \boxed{18}")).0, 1.0);
}

#[test]
fn several_right_answers_and_options() {
    let grader = json!({"type": "math_answer", "name": "a", "reference": "{{ item.answers }}"});
    let item = json!({"answers": ["17", 18]});
    assert_eq!(graded(&grader, &item, sample(r"\boxed{18}")).0, 1.0);
    assert_eq!(graded(&grader, &item, sample(r"\boxed{19}")).0, 0.0);
    let choice =
        json!({"type": "math_answer", "name": "a", "reference": "B", "task": "choice", "choices": "AB"});
    assert_eq!(graded(&choice, &item, sample(r"\boxed{B}")), (1.0, "choice_equal".to_owned()));
    let unclosed = json!({"type": "math_answer", "name": "a", "reference": "18", "allow_unclosed": true});
    assert_eq!(graded(&unclosed, &item, sample(r"\boxed{18")).0, 1.0);
}

#[test]
fn every_option_of_score_is_a_field_of_the_grader() {
    let given = json!({"type": "math_answer", "name": "a", "reference": "1", "profile": "minerva", "task": "choice",
        "choices": "AB", "targets": ["expr"], "precision": 2, "strict": false, "allow_unclosed": true,
        "think_fallback": true, "allow_set_relation_comparison": true});
    for name in crate::score::ScoreOptions::NAMES {
        assert!(given.get(name).is_some(), "{name}");
    }
    assert!(compiled(&given).is_ok());
}

const TH: &str = "ก่อนอื่นเราคำนวณว่าสุดท้ายแล้วเหลือแอปเปิลในตะกร้ากี่ผล";
const EN: &str = "First we compute how many apples are left in the basket at the end.";
const JA: &str = "まず、最後にかごの中にりんごがいくつ残っているかを計算します。";
const ZH: &str = "首先我们计算最后篮子里还剩下多少个苹果。";
const BN: &str = "রহিমের কাছে পাঁচটি আম ছিল এবং সে দুটি আম তার বোনকে দিয়েছে।";
const SW: &str = "Kwanza tunahesabu ni matufaha mangapi yamebaki kwenye kikapu mwishoni.";
const TE: &str = "మొదట చివరికి బుట్టలో ఎన్ని ఆపిల్స్ మిగిలి ఉన్నాయో లెక్కిద్దాం.";

fn language(mode: &str, part: &str) -> Value {
    json!({"type": "language_consistency", "name": "l", "target": "{{ item.language }}", "mode": mode, "part": part})
}

#[test]
fn languages_are_followed_or_not() {
    for (code, text) in [("th", TH), ("en", EN), ("ja", JA), ("zh", ZH), ("bn", BN), ("sw", SW), ("te", TE)] {
        for target in ["th", "en", "ja", "zh", "bn", "sw", "te"] {
            let expected = if code == target { 1.0 } else { 0.0 };
            let output = format!("<think>{text}</think>{text} \\boxed{{18}}");
            let item = json!({"language": target});
            for mode in ["continuous", "probability", "strict"] {
                for part in ["trace", "answer", "both"] {
                    let (score, reason) = graded(&language(mode, part), &item, sample(&output));
                    assert!((score - expected).abs() < 0.01, "{code} for {target}, {mode} {part}: {score}");
                    assert_eq!(reason, "measured");
                }
            }
        }
    }
}

#[test]
fn switches_cost_their_share() {
    let item = json!({"language": "th"});
    let output = format!("<think>{EN}</think>{TH}");
    let (trace, answer) = (graded(&language("continuous", "trace"), &item, sample(&output)).0, {
        graded(&language("continuous", "answer"), &item, sample(&output)).0
    });
    assert_eq!((trace, answer), (0.0, 1.0));
    // Letters weigh one each in either script.
    let letters = |text: &str| {
        crate::score::language::LanguageScorer::with_all_languages()
            .score_text(text, crate::language::Language::Th)
            .segments[0]
            .weight
    };
    let share = letters(TH) / (letters(TH) + letters(EN));
    for mode in ["continuous", "probability"] {
        let both = graded(&language(mode, "both"), &item, sample(&output)).0;
        assert!((both - share).abs() < 0.01, "{mode}: {both}, expected {share}");
    }
    assert_eq!(graded(&language("strict", "both"), &item, sample(&output)).0, 0.0);
    // One Chinese word is too little for a segment, and enough for `strict`.
    let word = format!("{TH} 因此");
    assert_eq!(graded(&language("strict", "both"), &item, sample(&word)).0, 0.0);
    assert_eq!(graded(&language("strict", "both"), &item, sample(&format!("{TH} Google"))).0, 1.0);
}

#[test]
fn a_text_without_words_earns_nothing() {
    let item = json!({"language": "sw"});
    for mode in ["continuous", "probability", "strict"] {
        let (score, reason) =
            graded(&language(mode, "both"), &item, sample(r"<think>3 + 4</think>\boxed{7}"));
        assert_eq!((score, reason.as_str()), (0.0, "no_words"), "{mode}");
        let (score, reason) = graded(&language(mode, "trace"), &item, sample(SW));
        assert_eq!((score, reason.as_str()), (0.0, "no_trace"), "{mode}");
    }
    // The trace alone decides where the answer is a bare box.
    let output = format!("<think>{SW}</think>\\boxed{{7}}");
    assert_eq!(graded(&language("continuous", "both"), &item, sample(&output)).0, 1.0);
}

#[test]
fn formats_are_kept_or_not() {
    #[track_caller]
    fn check(require: &Value, output: &str, opened: bool, expected: &str) {
        let grader = json!({"type": "think_format", "name": "f", "require": require});
        let sample = Sample { trace_opened: opened, ..sample(output) };
        let score = if expected == "format_kept" { 1.0 } else { 0.0 };
        assert_eq!(graded(&grader, &json!({}), sample), (score, expected.to_owned()), "{output}");
    }
    let default = json!(null);
    check(&default, r"<think>考える</think>答えは\boxed{18}です", false, "format_kept");
    check(&default, r"考える</think>\boxed{\frac{1}{\sqrt{2}}}", false, "format_kept");
    check(&default, r"<think>考える \boxed{18}", false, "trace_not_closed");
    check(&default, r"答えは\boxed{18}", false, "trace_not_closed");
    check(&default, r"<think>\boxed{18}</think>18", false, "answer_without_box");
    check(&default, r"<think>x</think>\boxed{18", false, "answer_without_box");
    check(&default, r"<think>x</think>\boxed{}", false, "answer_without_box");
    check(&default, r"<think>x</think>\boxed{1}<think>y", false, "trace_not_closed");
    check(&default, "", false, "trace_not_closed");
    check(&default, r"x \boxed{18}", true, "trace_not_closed");
    let opened = json!(["opened_trace", "closed_trace"]);
    check(&opened, "x</think>y", false, "trace_not_opened");
    check(&opened, "x</think>y", true, "format_kept");
    check(&opened, "\n<think>x</think>y", false, "format_kept");
    let one = json!(["one_trace", "one_box"]);
    check(&one, r"<think>x</think>\boxed{1}", false, "format_kept");
    check(&one, r"<think>x</think></think>\boxed{1}", false, "several_traces");
    check(&one, r"<think><think>x</think>\boxed{1}", false, "several_traces");
    check(&one, r"<think>x</think>\boxed{1} \boxed{2}", false, "several_boxes");
    check(&one, r"<think>x</think>\boxed{1 \boxed{2}}", false, "format_kept");
    check(&json!(["trace_text"]), "<think>\n</think>y", false, "trace_empty");
    check(&json!(["trace_text"]), "<think>x</think>y", false, "format_kept");
}

#[test]
fn long_completions_are_punished_softly() {
    let check = |grader: Value, tokens: usize, expected: f64| {
        let sample = Sample { completion_tokens: tokens, ..sample("") };
        assert_eq!(graded(&grader, &json!({}), sample).0, expected, "{tokens} tokens");
    };
    // DAPO's: 16,384 tokens and 4,096 more.
    let dapo = || json!({"type": "length", "name": "n", "max": 20_480, "cache": 4_096});
    check(dapo(), 0, 0.0);
    check(dapo(), 16_384, 0.0);
    check(dapo(), 16_385, -1.0 / 4_096.0);
    check(dapo(), 18_432, -0.5);
    check(dapo(), 20_480, -1.0);
    check(dapo(), 20_481, -1.0);
    let hard = || json!({"type": "length", "name": "n", "max": 10, "min": 4});
    check(hard(), 0, -1.0);
    check(hard(), 3, -0.25);
    check(hard(), 4, 0.0);
    check(hard(), 10, 0.0);
    check(hard(), 11, -1.0);
}

#[test]
fn budget_alignments_reward() {
    let grader = Grader::compile(&budget_alignment("{{ item.answer }}", "{{ item.language }}")).unwrap();
    assert_eq!(grader.names().collect::<Vec<_>>(), ["acc", "fmt", "lang"]);
    let check = |language: &str, output: &str, parts: [f64; 3], reward: f64| {
        let graded = grader.grade(&json!({"answer": "18", "language": language}), &sample(output));
        assert_eq!(graded.failure, None);
        assert!((graded.reward - reward).abs() < 0.001, "{output}: {graded:?}");
        for (part, expected) in graded.parts.iter().zip(parts) {
            assert!((part.score - expected).abs() < 0.005, "{output}: {part:?}");
        }
    };
    check("th", &format!("<think>{TH}</think>คำตอบคือ \\boxed{{18}}"), [1.0, 1.0, 1.0], 1.4);
    // The right answer in the wrong language; the wrong answer in the right one.
    check("th", &format!("<think>{EN}</think>\\boxed{{18}}"), [1.0, 1.0, 0.0], 1.2);
    check("th", &format!("<think>{TH}</think>\\boxed{{17}}"), [0.0, 1.0, 1.0], 0.4);
    // Cut off in the trace.
    check("ja", &format!("<think>{JA}"), [0.0, 0.0, 1.0], 0.2);
    // No trace at all.
    check("sw", &format!("{SW} \\boxed{{18}}"), [1.0, 0.0, 1.0], 1.2);
    check("te", "", [0.0, 0.0, 0.0], 0.0);
}

#[test]
fn the_documented_reward_is_the_preset() {
    let page = include_str!("../../../docs/graders.md");
    let example = page.split("```json").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let read = wire::Grader::read(&serde_json::from_str(example).unwrap(), "").unwrap();
    assert_eq!(read, budget_alignment("{{ item.answer }}", "{{ item.language }}"));
}

#[test]
fn formulas_that_fail_give_nothing_and_say_why() {
    let grader = |formula: &str| {
        json!({"type": "multi", "name": "m", "calculate_output": formula, "graders": {
            "acc": {"type": "math_answer", "name": "a", "reference": "{{ item.answer }}"},
            "len": {"type": "length", "name": "n", "max": 8}}})
    };
    let check = |formula: &str, item: Value, reward: f64, failure: Option<&str>| {
        let graded = compiled(&grader(formula)).unwrap().grade(&item, &sample(r"\boxed{18}"));
        assert_eq!((graded.reward, graded.failure.as_deref()), (reward, failure), "{formula}");
    };
    let item = json!({"answer": 18});
    check("2*acc + len", item.clone(), 1.0, None);
    check(
        "acc / (1 + len)",
        item.clone(),
        0.0,
        Some(
            "calculate_output: character 5: the division has no finite value: a divisor of 0, or an overflow",
        ),
    );
    check("acc * 1e39 + len", item, 0.0, Some("calculate_output: 1e39 is too large for a reward"));
    let lacking = "graders.acc: {{ item.answer }}: the item has no `answer`; did you mean `answers`?";
    check("acc + len", json!({"answers": 18}), 0.0, Some(lacking));
    let grader = compiled(&grader("acc + len")).unwrap();
    assert_eq!(grader.check_item(&json!({"answers": 18})).unwrap_err().to_string(), lacking);
    assert_eq!(grader.check_item(&json!({"answer": " "})).unwrap_err().path(), "graders.acc");
    assert_eq!(grader.check_item(&json!({"answer": 0})), Ok(()));
}

#[test]
fn items_are_checked_before_anything_is_drawn() {
    let grader = compiled(&language("strict", "both")).unwrap();
    let refused = |item: Value| grader.check_item(&item).unwrap_err().to_string();
    assert!(
        refused(json!({"language": "tlh"}))
            .starts_with("{{ item.language }}: unknown language \"tlh\"; known: ar")
    );
    assert!(refused(json!({})).contains("the item has no `language`"));
    assert!(refused(json!("text")).contains("neither an object nor a list"));
    assert_eq!(grader.check_item(&json!({"language": "zh-Hant"})), Ok(()));
}

#[track_caller]
fn check_mistake(grader: &Value, path: &str, part: &str) {
    let Err(error) = compiled(grader) else { panic!("{grader} is no mistake") };
    assert_eq!(error.path(), path, "{error}");
    assert!(error.message().contains(part), "{error}");
    assert!(matches!(error, GraderError::Definition { .. }));
    let outer = error.within("grader");
    assert_eq!(outer.path(), if path.is_empty() { "grader".to_owned() } else { format!("grader.{path}") });
}

#[test]
fn descriptions_are_checked_by_their_path() {
    let multi = |key: &str, grader: Value, formula: &str| json!({"type": "multi", "name": "m", "graders": {key: grader}, "calculate_output": formula});
    let length = || json!({"type": "length", "name": "n", "max": 8});
    let language = |target: &str| json!({"type": "language_consistency", "name": "l", "target": target});
    check_mistake(&language("klingon"), "target", "unknown language \"klingon\"");
    check_mistake(&multi("lang", language("xx"), "lang"), "graders.lang.target", "unknown language");
    check_mistake(&language("{{ sample.answer }}"), "target", "must not depend on the sample");
    check_mistake(&language("{{ itm.language }}"), "target", "begins with `item.`");
    let math = |field: &str, value: Value| {
        let mut grader = json!({"type": "math_answer", "name": "a", "reference": "1"});
        grader[field] = value;
        grader
    };
    check_mistake(&math("reference", json!(" ")), "reference", "the right answer is empty");
    check_mistake(&math("reference", json!("{{ item.x")), "reference", "never closed");
    check_mistake(&math("profile", json!("minera")), "profile", "expected one of default");
    check_mistake(&math("precision", json!(101)), "precision", "0 to 100");
    check_mistake(&math("language", json!("")), "language", "unknown language");
    check_mistake(
        &multi("acc", math("task", json!("maths")), "acc"),
        "graders.acc.task",
        "one of math, choice",
    );
    let string = json!({"type": "string_check", "name": "s", "input": "{{ sample.output }}", "reference": "x", "operation": "eq"});
    check_mistake(&string, "input", "a sample has no such field");
    check_mistake(
        &json!({"type": "think_format", "name": "f", "require": []}),
        "require",
        "nothing is required",
    );
    check_mistake(&json!({"type": "length", "name": "n", "max": 0}), "max", "at least one token");
    check_mistake(
        &json!({"type": "length", "name": "n", "max": 5, "cache": 6}),
        "cache",
        "6 is more than `max`, 5",
    );
    check_mistake(
        &json!({"type": "length", "name": "n", "max": 5, "cache": 3, "min": 3}),
        "min",
        "every length is punished",
    );
    check_mistake(&json!({"type": "length", "name": "", "max": 5}), "name", "1 to 64 characters");
    check_mistake(
        &multi("len", json!({"type": "length", "name": "", "max": 5}), "len"),
        "graders.len.name",
        "1 to 64",
    );
    check_mistake(&multi("min", length(), "1"), "graders.min", "no function's name");
    check_mistake(&multi("a-b", length(), "1"), "graders.a-b", "a formula cannot name it");
    check_mistake(
        &multi("len", length(), "lan"),
        "calculate_output",
        "character 1: no grader is called \"lan\"; did you mean `len`?",
    );
    check_mistake(&multi("len", length(), "len +"), "calculate_output", "character 6: expected");
    check_mistake(&multi("len", length(), "1"), "graders.len", "`calculate_output` leaves it out: `+ 0*len`");
    check_mistake(
        &json!({"type": "multi", "name": "m", "graders": {}, "calculate_output": "1"}),
        "graders",
        "1 to 16 graders",
    );
}

#[test]
fn graders_are_shared_between_threads() {
    fn shared<T: Send + Sync>(value: T) -> T {
        value
    }
    let grader =
        shared(Grader::compile(&budget_alignment("{{ item.answer }}", "{{ item.language }}")).unwrap());
    let output = format!("<think>{JA} {EN}</think>\\boxed{{18}}");
    let item = json!({"answer": 18, "language": "ja"});
    let once = grader.grade(&item, &sample(&output));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..8).for_each(|_| assert_eq!(grader.grade(&item, &sample(&output)), once)));
        }
    });
}

/// A grader of every type, and a formula that does not always have a value.
static EVERY: LazyLock<Grader> = LazyLock::new(|| {
    let grader = json!({"type": "multi", "name": "m", "calculate_output": "acc + lang/fmt + log(str + len)", "graders": {
        "acc": {"type": "math_answer", "name": "a", "reference": "{{ item.answer }}", "language": "{{ item.language }}"},
        "fmt": {"type": "think_format", "name": "f", "require": ["one_trace", "one_box"]},
        "lang": {"type": "language_consistency", "name": "l", "target": "{{ item.language }}", "mode": "probability"},
        "len": {"type": "length", "name": "n", "max": 100, "cache": 50, "min": 10},
        "str": {"type": "string_check", "name": "s", "input": "{{ sample.answer }}", "reference": "{{ sample.trace }}",
            "operation": "ilike"}}});
    compiled(&grader).unwrap()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_sample_gets_a_finite_reward(
        pieces in prop::collection::vec(prop_oneof![
            prop::sample::select(vec!["<think>", "</think>", "\\boxed{", "}", "{", "$", "18", "1.234", "\\frac", " ", "\n", TH, JA, EN,
                "答えは", "The answer is", "\\", "\u{8}oxed{", "```", "\u{0}", "๑๘"]).prop_map(str::to_owned),
            any::<String>(),
        ], 0..12),
        tokens: usize,
        trace_opened: bool,
        answer in any::<String>(),
        language in prop::sample::select(vec!["th", "ja", "en", "xx"]),
    ) {
        let output = pieces.concat();
        let sample = Sample { output_text: &output, completion_tokens: tokens, truncated: false, trace_opened };
        let item = json!({"answer": answer, "language": language});
        let graded = EVERY.grade(&item, &sample);
        prop_assert!(graded.reward.is_finite());
        prop_assert!(graded.parts.iter().all(|part| (-1.0..=1.0).contains(&part.score)));
        prop_assert_eq!(graded.parts.len(), 5);
        prop_assert_eq!(&EVERY.grade(&item, &sample), &graded);
    }
}
