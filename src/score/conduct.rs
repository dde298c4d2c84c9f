//! Two rates of Typhoon2-R1 (SCB 10X, arXiv 2502.09056), of any target language: `language_accuracy`, the share of
//! answers wholly in the right language, and `think_accuracy`, the share of outputs with a trace.
//!
//! The paper allows "no characters outside Thai and English". Here an answer passes if it has no letter of a script
//! that neither the target nor English is written in (Greek is mathematics), and the target holds the share that
//! `following` asks for. So English terms in a Thai answer pass, an English answer to a Thai question does not, nor
//! does one Chinese word in either. An answer without words, such as a bare number, passes; whether there
//! is an answer at all is for the caller to ask.

use super::extract::split;
use super::language::{FOLLOWING_MIN, TextScore};

/// Whether an answer, scored against its target, is wholly in the right language.
pub fn is_wholly_in_language(answer: &TextScore) -> bool {
    answer.wrong_script_characters == 0 && answer.score.is_none_or(|score| score >= FOLLOWING_MIN)
}

/// Whether a completion has a trace that it closed and that says something.
pub fn has_trace(completion: &str) -> bool {
    let parts = split(completion);
    let says = |trace: std::ops::Range<usize>| !completion[trace].trim().is_empty();
    !parts.unclosed_trace && parts.trace.is_some_and(says)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::language::Language;
    use crate::score::language::LanguageScorer;

    static SCORER: LazyLock<LanguageScorer> = LazyLock::new(LanguageScorer::with_all_languages);

    #[track_caller]
    fn check(target: Language, completion: &str, language: bool, think: bool) {
        let answer = SCORER.score_text(&completion[split(completion).answer], target);
        let found = (is_wholly_in_language(&answer), has_trace(completion));
        assert_eq!(found, (language, think), "{completion}");
    }

    #[test]
    fn answers_and_traces() {
        check(Language::Th, "คำตอบคือสี่สิบสองครับ", true, false);
        check(Language::Th, "<think>คิดก่อน</think>คำตอบคือสี่สิบสองครับ", true, true);
        check(Language::Th, "ใช้ Google Maps เพื่อหาเส้นทางที่สั้นที่สุดครับ", true, false);
        check(Language::Th, "The answer to this question is forty-two.", false, false);
        check(Language::Th, "คำตอบคือสี่สิบสอง 因此 ครับ", false, false);
        check(Language::Th, "มุม α เท่ากับสี่สิบสององศา", true, false);
        check(Language::Th, "\\boxed{42}", true, false);
        check(Language::En, "The answer to this question is forty-two.", true, false);
        check(Language::En, "The answer is 因此 forty-two.", false, false);
        check(Language::En, "La respuesta a esta pregunta es cuarenta y dos.", false, false);
    }

    #[test]
    fn traces_are_closed_and_say_something() {
        check(Language::En, "let me see</think>\\boxed{42}", true, true);
        check(Language::En, "<think>\n\n</think>\\boxed{42}", true, false);
        check(Language::En, "<think>let me see", true, false);
        check(Language::En, "<think>因此</think>The answer is forty-two.", true, true);
        check(Language::En, "", true, false);
    }
}
