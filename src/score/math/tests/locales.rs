//! Formulas whose numbers follow the language's conventions, and formulas nobody would write.

use super::*;
use proptest::prelude::*;

#[test]
fn commas_in_formulas_follow_the_language() {
    use Verdict::{Correct, Undecided, Wrong};
    check("1.5x", "1,5x", "de", Correct);
    check("(1.5, 2)", "(1,5; 2)", "de", Correct);
    check("(1.5, 2)", "(1,5; 3)", "de", Wrong);
    check("(1,2)", "(1,2)", "de", Correct);
    check("(1,2)", "(1, 2)", "fr", Correct);
    check("1.2", "(1,2)", "de", Undecided);
    check("3, 5", "3,5", "de", Undecided);
    check("3, 5", "3; 5", "de", Correct);
    check("3, 5", r"3 \text{ y } 5", "es", Correct);
    check("3, 5", "3 和 5", "zh", Correct);
    check("[0.5,2)", "[0,5;2)", "de", Correct);
    check(r"\sqrt{2}", "1,414214", "fr", Correct);
    check("320000", r"3,2 \cdot 10^5", "de", Correct);
    check("1234567", "12,34,567", "hi", Correct);
    check("12,34,567", "१२,३४,५६७", "hi", Correct);
    check(r"\frac{3}{4}", r"\frac{३}{४}", "hi", Correct);
    check(r"2\sqrt{3}", r"२\sqrt{३}", "hi", Correct);
    check(r"\{1,2\}", r"\{๑, ๒\}", "th", Correct);
    // Persian writes the decimal mark as a slash too.
    check("3.5", "۳/۵", "fa", Undecided);
    check("3/5", "۳/۵", "fa", Correct);
    check("3.6", "۳/۵", "fa", Wrong);
}

#[test]
fn golds_are_refused_if_nothing_can_equal_them() {
    for gold in ["42", r"\frac{1}{2}", "(1,2)", r"\text{Evelyn}", "x > 3", r"\sqrt{2}", "[1,2)", "A", "3:4"] {
        assert_eq!(check_gold(gold), Ok(()), "{gold}");
    }
    for gold in ["", "one half", r"\frac{1}{", "1/0", "seven", "2 3"] {
        assert!(check_gold(gold).is_err(), "{gold}");
    }
}

#[test]
fn a_small_budget_leaves_things_undecided() {
    let options = MathOptions { budget_steps: 50, ..MathOptions::default() };
    let judged = super::super::judge("x^2+2x+1", &["(x+1)^2"], Language::En, &options);
    assert_eq!((judged.verdict, judged.reason), (Verdict::Undecided, Reason::BudgetSpent));
    // Plain numbers cost nothing.
    assert_eq!(super::super::judge("42", &["42"], Language::En, &options).verdict, Verdict::Correct);
}

#[test]
fn equal_formulas_have_equal_forms() {
    let form = |answer: &str| judge("1", &[answer], Language::En).normalised.unwrap();
    assert_eq!(form(r"\frac{1}{\sqrt{3}}"), form(r"\frac{\sqrt{3}}{3}"));
    assert_eq!(form("(x+1)^2"), form("x^2+2x+1"));
    assert_eq!(form(r"x = \sqrt{8}"), form(r"2\sqrt{2}"));
    assert_eq!(form("2, 1"), form(r"\{1,2\}"));
    assert_ne!(form("(1,2)"), form("(2,1)"));
}

#[test]
fn hostile_formulas_end_within_their_budget() {
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let hostile = [
        nested(r"\frac{1}{1+", "x", "}", 300),
        nested(r"\sqrt{1+", "2", "}", 60),
        nested("(", "1", ")", 3000),
        nested("{", "1", "}", 3000),
        nested("2^{", "2", "}", 60),
        nested("|", "x", "|", 500),
        nested(r"\{", "1", r"\}", 80),
        "(x+y+z+w)^{50}".to_owned(),
        "(1+x)^{9999}".to_owned(),
        format!(
            "({}1)^{{30}}",
            (b'a'..=b'z').map(|c| format!("{}+", c as char)).collect::<Vec<_>>().concat()
        ),
        (2..400).map(|n| format!(r"\sqrt{{{n}}}+")).collect::<Vec<_>>().concat() + "1",
        format!("({}1)^2", (2..60).map(|n| format!(r"\sqrt{{{n}}}+")).collect::<Vec<_>>().concat()),
        (1..500).map(|n| format!("{n}, ")).collect::<Vec<_>>().concat(),
        (1..60).map(|n| format!(r"({n},{}) \cup ", n + 1)).collect::<Vec<_>>().concat() + "(0,1)",
        "9".repeat(5000) + "x",
        r"\sqrt{".to_owned() + &"9".repeat(4000) + "}",
        format!("2^{{{}}}", "9".repeat(400)),
        r"\binom{9999}{4999}".to_owned(),
        "3000!".to_owned(),
        r"e^{19999}-e^{19998}".to_owned(),
        r"\sqrt[60]{\pi+e}".to_owned(),
        "a=".repeat(500) + "a",
        "a<".repeat(500) + "a",
    ];
    for answer in &hostile {
        for gold in ["1", "x", r"\sqrt{2}+\pi", r"\{1,2\}", answer] {
            let started = std::time::Instant::now();
            let _ = judge(gold, &[answer], Language::De);
            let head: String = answer.chars().take(40).collect();
            assert!(started.elapsed().as_secs() < 5, "{head}: {:?}", started.elapsed());
        }
    }
}

/// Pieces of LaTeX that are thrown together.
fn soup() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "1",
        "2",
        "12",
        "0",
        "3.5",
        "1,234",
        ".5",
        "x",
        "y",
        "e",
        "i",
        "n",
        "+",
        "-",
        "*",
        "/",
        "^",
        "_",
        "=",
        "<",
        ">",
        "!",
        "|",
        "%",
        "&",
        ":",
        ",",
        ";",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        r"\{",
        r"\}",
        " ",
        r"\frac",
        r"\sqrt",
        r"\sqrt[3]",
        r"\pi",
        r"\infty",
        r"\log",
        r"\log_2",
        r"\ln",
        r"\sin",
        r"\pm",
        r"\cup",
        r"\cap",
        r"\setminus",
        r"\in",
        r"\mathbb{R}",
        r"\text{ cm}",
        r"\text{and}",
        r"\cdot",
        r"\times",
        r"\le",
        r"\ne",
        r"\approx",
        r"\binom",
        r"\left",
        r"\right",
        r"\begin{pmatrix}",
        r"\end{pmatrix}",
        r"\\",
        r"\lfloor",
        r"\rfloor",
        r"\overline",
        r"\langle",
        r"\rangle",
        r"\over",
        r"\choose",
        r"\emptyset",
        "√",
        "π",
        "∞",
        "±",
        "°",
        "²",
        "½",
        "or",
        "and",
        "cm",
        "abc",
        "{1}",
        "{2}",
        "^{2}",
        "^{-1}",
        "_{1}",
        "(1,2)",
        "[1,2)",
        "x=",
    ]);
    prop::collection::vec(pieces, 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn soup_never_panics_and_equals_itself(text in soup(), other in soup()) {
        let judged = judge(&text, &[&text], Language::En);
        let forms = latex::tokens(&text, Convention::Canonical);
        if check_gold(&text).is_ok() || forms.is_ok_and(|tokens| !tokens.is_empty()) {
            prop_assert!(judged.verdict != Verdict::Wrong, "{:?}: {:?}", text, judged);
        }
        let there = judge(&text, &[&other], Language::De);
        let back = judge(&other, &[&text], Language::De);
        // The gold's convention differs from the answer's, but a plain contradiction would be a fault.
        let contradiction = there.verdict == Verdict::Correct && back.verdict == Verdict::Wrong;
        let separators = text.contains([',', '.', '=']) || other.contains([',', '.', '=']);
        prop_assert!(!contradiction || separators, "{:?} {:?}", text, other);
    }

    #[test]
    fn any_text_is_judged(text in any::<String>()) {
        let _ = judge(r"\sqrt{2}", &[&text], Language::Fr);
        let _ = judge(&text, &[&text, "1"], Language::Hi);
    }

    #[test]
    fn rational_arithmetic_agrees_with_itself(a in -50_i64..50, b in 1_i64..50, c in -50_i64..50, d in 1_i64..50) {
        let sum = format!(r"\frac{{{a}}}{{{b}}}+\frac{{{c}}}{{{d}}}");
        let by_hand = format!(r"\frac{{{}}}{{{}}}", a * d + c * b, b * d);
        let off_by_one = format!(r"\frac{{{}}}{{{}}}", a * d + c * b + 1, b * d);
        prop_assert_eq!(judge(&by_hand, &[&sum], Language::En).verdict, Verdict::Correct);
        prop_assert_eq!(judge(&off_by_one, &[&sum], Language::En).verdict, Verdict::Wrong);
    }

    #[test]
    fn surds_multiply_out(a in -9_i64..10, b in 1_i64..10, n in 2_i64..60) {
        let squared = format!(r"({a}+{b}\sqrt{{{n}}})^2");
        let by_hand = format!(r"{}+({})\sqrt{{{n}}}", a * a + b * b * n, 2 * a * b);
        let wrong = format!(r"{}+({})\sqrt{{{n}}}", a * a + b * b * n, 2 * a * b + 1);
        prop_assert_eq!(judge(&by_hand, &[&squared], Language::En).verdict, Verdict::Correct);
        prop_assert_eq!(judge(&wrong, &[&squared], Language::En).verdict, Verdict::Wrong);
    }

    #[test]
    fn polynomials_multiply_out(a in -9_i64..10, b in -9_i64..10) {
        let product = format!("(x+({a}))(x+({b}))");
        let by_hand = format!("x^2+({})x+({})", a + b, a * b);
        let wrong = format!("x^2+({})x+({})", a + b, a * b + 1);
        prop_assert_eq!(judge(&by_hand, &[&product], Language::En).verdict, Verdict::Correct);
        prop_assert_eq!(judge(&wrong, &[&product], Language::En).verdict, Verdict::Wrong);
    }
}
