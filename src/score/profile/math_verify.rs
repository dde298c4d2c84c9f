//! `math-verify`: where Math-Verify 0.9 looks for an answer, with its faults; what it found is judged by our rules.
//!
//! The whole completion is searched, the trace too. First "final answer is .." and boxes, the last match wins, so a box in
//! the trace answers for a completion that contradicts it; then "answer: ..", then "answer ..", then any formula or number
//! at all, always the last. The word is English "answer" only. Not reproduced: sympy's reading, and a time limit that makes
//! a verdict depend on the machine's load.

use crate::score::extract::{ExtractOptions, Extraction, Found, anywhere, split};

/// Where the answer stands, for `targets` in any order.
pub(in crate::score) fn find(completion: &str, options: &ExtractOptions<'_>) -> Extraction {
    let mut found = anywhere::boxed(completion, options);
    if found.answers.is_empty() {
        found = Extraction::none(split(completion));
        if let Some(answers) = anywhere::after_english_answer(completion, options.targets) {
            found.take(Found::Phrase, answers);
        } else if let Some(answers) = anywhere::last(completion, options.targets) {
            found.take(Found::Closing, answers);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::extract::Target;

    #[test]
    fn the_last_match_of_the_first_kind_there_is() {
        let check = |completion: &str, expected: &[&str]| {
            let found = find(completion, &ExtractOptions::default());
            assert_eq!(found.texts(completion), expected, "{completion}");
        };
        check(r"<think>\boxed{1}</think>It is 2.", &["1"]);
        check(r"\boxed{1} \boxed{2}", &["1", "2"]);
        check(r"\boxed{1} but \boxed{2}", &["2"]);
        check("The final answer is 18. And 20 more.", &["18"]);
        check("Answer: 18, out of 20", &["18"]);
        check("She has 18 of them, and 20 more.", &["20"]);
        check("So $x = 3$ holds", &["x = 3"]);
        check("So 4 and $x = 3$ holds for 5", &["5"]);
        check("none", &[]);
        let latex = ExtractOptions { targets: &[Target::Latex], ..ExtractOptions::default() };
        assert!(find("18", &latex).answers.is_empty());
    }
}
