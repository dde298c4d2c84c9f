//! Verdicts on answers, one line a case.

use super::*;

mod collections;
mod formulas;
mod locales;

#[track_caller]
fn check_en(gold: &str, answer: &str, expected: Verdict) {
    check(gold, answer, "en", expected);
}

fn judge(gold: &str, answers: &[&str], language: Language) -> Judgement {
    super::judge(gold, answers, language, &MathOptions::default())
}

#[track_caller]
fn check(gold: &str, answer: &str, language: &str, expected: Verdict) {
    let judged = judge(gold, &[answer], language.parse().unwrap());
    assert_eq!(judged.verdict, expected, "gold {gold:?}, answer {answer:?}, {language}: {judged:?}");
}

#[test]
fn integers() {
    use Verdict::{Correct, Undecided, Wrong};
    check("42", "42", "en", Correct);
    check("42", "43", "en", Wrong);
    check("25", "025", "en", Correct);
    check("025", "25", "en", Correct);
    check("18", "18.0", "en", Correct);
    check("5", "+5", "en", Correct);
    check("-5", "−5", "en", Correct);
    check("5", "-5", "en", Wrong);
    check("0", "-0", "en", Correct);
    check("42", "42.", "en", Correct);
    check("42", "42。", "zh", Correct);
    check("42", "\\text{42}", "en", Correct);
    check("42", "$42$", "en", Correct);
    check("42", "x = 42", "en", Correct);
    check("42", "6 \\times 7 = 42", "en", Correct);
    check("42", "forty-two", "en", Undecided);
    check("42", "42 or 43", "en", Wrong);
    check("42", "4 2", "en", Undecided);
    check("42", "", "en", Undecided);
    check("52", "5²", "en", Wrong);
    check("5", "--5", "en", Undecided);
    check("5", "5!", "en", Wrong);
    check("123456789012345678901234567890", "123456789012345678901234567890", "en", Correct);
    check("123456789012345678901234567890", "123456789012345678901234567891", "en", Wrong);
    check("9007199254740993", "9007199254740992", "en", Wrong);
}

#[test]
fn native_digits() {
    use Verdict::Correct;
    check("42", "๔๒", "th", Correct);
    check("1234", "১,২৩৪", "bn", Correct);
    check("42", "౪౨", "te", Correct);
    check("1234.5", "١٬٢٣٤٫٥", "ar", Correct);
    check("42", "４２", "ja", Correct);
    check("-42", "－４２", "ja", Correct);
}

#[test]
fn separators_follow_the_language() {
    use Verdict::{Correct, Undecided, Wrong};
    check("1234", "1.234", "de", Correct);
    check("1234", "1,234", "en", Correct);
    check("1234", "1.234", "en", Wrong);
    check("1234", "1,234", "de", Undecided);
    check("1.234", "1.234", "de", Undecided);
    check("1.234", "1,234", "de", Correct);
    check("12.5", "12,5", "de", Correct);
    check("12.5", "12.5", "de", Correct);
    check("12.5", "12,5", "en", Undecided);
    check("1234567", "1.234.567", "en", Correct);
    check("1234567", "1,234,567", "de", Correct);
    check("1234.56", "1.234,56", "en", Correct);
    check("1234.56", "1,234.56", "de", Correct);
    check("1234", "1 234", "fr", Correct);
    check("1234", "1\u{202f}234", "fr", Correct);
    check("1234.5", "1\u{a0}234,5", "ru", Correct);
    check("1234", "1'234", "de", Correct);
    check("1234", "1{,}234", "en", Correct);
    check("1234567", "12,34,567", "hi", Correct);
    check("1234567", "12,34,567", "en", Undecided);
    check("1234", "1, 234", "en", Undecided);
    check("0.123", "0,123", "de", Correct);
    check("0.123", "0.123", "de", Correct);
    check("1,234", "1234", "en", Correct);
    check("0.5", ".5", "en", Correct);
    check("12", "1,2", "en", Wrong);
}

#[test]
fn fractions_and_decimals() {
    use Verdict::{Correct, Undecided, Wrong};
    check("0.5", "\\frac{1}{2}", "en", Correct);
    check("1/2", "\\frac12", "en", Correct);
    check("1/2", "\\dfrac{2}{4}", "en", Correct);
    check("1/2", "\\tfrac{1}2", "en", Correct);
    check("1/2", "½", "en", Correct);
    check("1/2", "1/2", "en", Correct);
    check("-1/2", "-\\frac{1}{2}", "en", Correct);
    check("-1/2", "\\frac{-1}{2}", "en", Correct);
    check("1.5", "1\\frac{1}{2}", "en", Correct);
    check("1.5", "1 1/2", "en", Correct);
    check("1.25", "1¼", "en", Correct);
    check("2.75", "11/4", "en", Correct);
    check("2.75", "1¼", "en", Wrong);
    check("2", "6/3", "en", Correct);
    check("1/3", "0.333333", "en", Correct);
    check("1/3", "0.333", "en", Wrong);
    check("0.333333", "1/3", "en", Correct);
    check("18", "18.0000001", "en", Wrong);
    check("1", "1/0", "en", Undecided);
    check("1", "1/2/3", "en", Wrong);
    check("3", "1\\frac{4}{2}", "en", Undecided);
}

#[test]
fn units_currency_and_percent() {
    use Verdict::{Correct, Undecided, Wrong};
    check("28", "28%", "en", Correct);
    check("28", "28\\%", "en", Correct);
    check("0.28", "28%", "en", Wrong);
    check("28%", "28", "en", Correct);
    check("18", "$18", "en", Correct);
    check("18", "\\$18", "en", Correct);
    check("18", "18 €", "de", Correct);
    check("-18", "-$18", "en", Correct);
    check("-18", "$-18", "en", Correct);
    check("1234", "Rs. 1,234", "hi", Correct);
    check("18", "18 \\text{ dollars}", "en", Correct);
    check("18", "18円", "ja", Correct);
    check("90", "90^\\circ", "en", Correct);
    check("3", "3万", "zh", Undecided);
    check("3", "3 million", "en", Undecided);
    check("2", "2 and a half", "en", Undecided);
    check("2", "2x", "en", Wrong);
    check("2", "2\\pi", "en", Wrong);
    check("2", "2\\sqrt{3}", "en", Wrong);
    check("2", "2^3", "en", Wrong);
    check("10", "1010_2", "en", Undecided);
}

#[test]
fn texts_and_neighbours() {
    check("\\pi", "\\pi", "en", Verdict::Correct);
    check("\\pi", "3.14", "en", Verdict::Wrong);
    let judged = |answers: &[&str]| judge("5", answers, Language::En);
    assert_eq!(judged(&["5", "5.0"]).verdict, Verdict::Correct);
    assert_eq!(judged(&["3", "5"]).reason, Reason::SeveralAnswers);
}

#[test]
fn equal_values_have_equal_forms() {
    let form = |answer: &str, language: Language| judge("1", &[answer], language).normalised.unwrap();
    assert_eq!(form("1.234,50 €", Language::De), form("2469/2", Language::En));
    let long = "7".repeat(DIGITS_MAX);
    assert!(form(&long, Language::En).len() < 300);
    assert_eq!(judge("1", &[&format!("{long}7")], Language::En).reason, Reason::TooLong);
}

#[test]
fn the_scorer_reads_completions() {
    let score =
        |completion: &str| MathScorer.score(Sample { gold: "42", language: Language::En }, completion);
    let right = score("<think>a</think>It is \\boxed{42}.");
    assert_eq!((right.verdict, right.boxes, right.span), (Verdict::Correct, 1, Some(29..31)));
    assert_eq!(score("<think>\\boxed{42}").reason, Reason::UnclosedTrace);
    assert_eq!(score("42").reason, Reason::NoBox);
}

#[test]
fn hostile_numbers_are_quick() {
    let started = std::time::Instant::now();
    for unit in ["1", "1,", "1,234", "1 ", "\\frac", "{", "$", "**", "1/", "\\frac{1}", "\u{b2}", "+", "("] {
        let _ = judge("1", &[&unit.repeat(39_000 / unit.len())], Language::De);
    }
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

proptest::proptest! {
    #[test]
    fn any_answer_gets_a_verdict(answer in proptest::prelude::any::<String>()) {
        let _ = judge("42", &[&answer], Language::De);
    }

    #[test]
    fn only_equal_numbers_are_correct(gold in -100_000_i64..100_000, answer in -100_000_i64..100_000, language in 0..Language::ALL.len()) {
        let verdict = judge(&gold.to_string(), &[&answer.to_string()], Language::ALL[language]).verdict;
        proptest::prop_assert_eq!(verdict == Verdict::Correct, gold == answer);
    }

    #[test]
    fn number_like_text_never_panics(answer in r"[-+0-9., '/$%x]{0,20}|\\frac\{?[0-9,.]{0,3}\}?\{?[0-9]{0,3}\}?") {
        for language in [Language::En, Language::De, Language::Hi] {
            let _ = judge("12", &[&answer], language);
        }
    }
}
