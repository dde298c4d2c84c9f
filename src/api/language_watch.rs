//! In how far the choices of an answer are in the language that was asked for, measured once they are whole.

use crate::language::Language;
use crate::protocol::language::{LanguagePart, LanguageReport};
use crate::score::language::{CompletionLanguage, LanguageScorer, TextScore};

use super::state::AppState;
use crate::chat::OPEN;

/// Collects the choices' texts.
pub struct LanguageWatch {
    state: AppState,
    target: Language,
    /// As the model wrote them, traces and marks included.
    texts: Vec<String>,
}

impl LanguageWatch {
    /// `in_trace`: the prompt opened the trace.
    pub fn new(state: AppState, target: Language, choices: u32, in_trace: bool) -> Self {
        let opened = if in_trace { OPEN } else { "" };
        Self { state, target, texts: vec![opened.to_owned(); choices as usize] }
    }

    pub fn push(&mut self, choice: u32, text: &str) {
        if let Some(known) = self.texts.get_mut(choice as usize) {
            known.push_str(text);
        }
    }

    /// One report a choice; none where measuring failed, which costs an answer nothing else.
    pub async fn measure(&mut self) -> Vec<LanguageReport> {
        let (texts, target) = (std::mem::take(&mut self.texts), self.target);
        let measured = self.state.blocking(move || {
            let scorer = LanguageScorer::with_all_languages();
            texts.iter().map(|text| report(&scorer.score_completion(text, target), target)).collect()
        });
        measured.await.unwrap_or_default()
    }
}

pub fn report(scored: &CompletionLanguage, target: Language) -> LanguageReport {
    LanguageReport {
        target: target.code().to_owned(),
        trace: scored.trace.as_ref().map(part),
        answer: part(&scored.answer),
        following: scored.following,
    }
}

fn part(score: &TextScore) -> LanguagePart {
    let summary = score.summary();
    LanguagePart {
        language: score.top.map(|verdict| verdict.name().to_owned()),
        share: summary.score,
        switches: summary.switches as u64,
        off_target: summary.off_target,
        wrong_script_characters: summary.wrong_script_characters as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_and_answer_are_told_apart() {
        let scorer = LanguageScorer::with_all_languages();
        let of = |text: &str| report(&scorer.score_completion(text, Language::Ja), Language::Ja);
        let mixed = of("<think>\nFirst I add the two numbers together.\n</think>\n答えは四十二です。");
        let trace = mixed.trace.unwrap();
        assert_eq!((trace.language.as_deref(), trace.share), (Some("en"), Some(0.0)));
        assert_eq!((mixed.answer.language.as_deref(), mixed.answer.share), (Some("ja"), Some(1.0)));
        assert!(!mixed.following);
        let plain = of("答えは四十二です。");
        assert!(plain.trace.is_none() && plain.following);
        let silent = of("\\boxed{42}");
        assert!(silent.following && silent.answer.language.is_none());
    }
}
