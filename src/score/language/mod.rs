//! In how far a text is in the language it should be in.
//!
//! It verifies a target and does not identify freely: top-1 identification of a whole trace calls a text that is
//! 40 % English consistent four times in five. Math, code and names of things are stripped, the rest is cut into
//! segments, and each segment is the target's, another language's or neutral (too short to tell). The score is
//! the target's share by weight. Script decides wherever it can (han, kana, Thai, ...); lingua and whatlang decide
//! among languages that share one.
//!
//! Stances: simplified and traditional Chinese are one language. Kanji without kana count as Japanese below eight
//! characters. Romanised text counts as whatever Latin-script language it resembles, so never as its own
//! language. Greek letters are mathematics and weigh nothing.

mod identify;
mod script;
mod segment;
mod strip;

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use super::extract::split;
use crate::language::Language;
use identify::Identifier;
use segment::Unit;

/// From this share of the target on a text follows its language.
pub const FOLLOWING_MIN: f64 = 0.8;

/// Scores texts against a target language. Expensive to build on first use (it loads language models), cheap
/// afterwards, and safe to share between threads; verdicts are cached by segment.
pub struct LanguageScorer {
    identifier: Identifier,
}

/// What a segment was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Neutral,
    Language(Language),
    /// A script that none of the known languages is written in, by its name.
    Script(&'static str),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Bytes of the scored text.
    pub span: Range<usize>,
    pub verdict: Verdict,
    /// Letters, those of denser scripts counted higher.
    pub weight: f64,
}

/// One text against one target.
#[derive(Debug, Clone, PartialEq)]
pub struct TextScore {
    /// The target's share of all that is not neutral; `None` if everything is.
    pub score: Option<f64>,
    /// Changes of language from one segment to the next, neutral ones skipped.
    pub switches: usize,
    /// Share of each other language or script, largest first.
    pub off_target: Vec<(String, f64)>,
    /// Letters of scripts that neither the target nor mathematics is written in.
    pub wrong_script_characters: usize,
    pub segments: Vec<Segment>,
}

/// A completion's trace and answer against the target.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionLanguage {
    /// `None` if the completion has no trace.
    pub trace: Option<TextScore>,
    pub answer: TextScore,
    /// Trace and answer both reach `FOLLOWING_MIN`; a part that is all neutral passes.
    pub following: bool,
    /// The answer is all neutral (a bare box, or nothing).
    pub undecidable: bool,
}

/// The part of a text score that a record keeps.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct Summary {
    pub score: Option<f64>,
    pub switches: usize,
    pub off_target: BTreeMap<String, f64>,
    pub wrong_script_characters: usize,
}

impl LanguageScorer {
    /// A scorer that tells these languages apart, besides the target of each call. More candidates name what a
    /// text drifts to more precisely and cost time where they share a script.
    pub fn new(candidates: &[Language]) -> Self {
        Self { identifier: Identifier::new(candidates) }
    }

    /// Among all known languages.
    pub fn with_all_languages() -> Self {
        Self::new(Language::ALL)
    }

    pub fn score_text(&self, text: &str, target: Language) -> TextScore {
        let stripped = strip::strip(text);
        let segments: Vec<Segment> = segment::units(&stripped, target)
            .into_iter()
            .map(|unit| {
                let verdict = self.verdict(&stripped, &unit, target);
                Segment { span: unit.span, verdict, weight: unit.counts.weight() }
            })
            .collect();
        summarise(segments, script::foreign_letters(&stripped, target), target)
    }

    /// Score trace and answer of a completion, cut at its last `</think>`.
    pub fn score_completion(&self, completion: &str, target: Language) -> CompletionLanguage {
        let parts = split(completion);
        let trace = parts.trace.map(|span| self.score_text(&completion[span], target));
        let answer = self.score_text(&completion[parts.answer], target);
        let passes = |text: &TextScore| text.score.is_none_or(|score| score >= FOLLOWING_MIN);
        CompletionLanguage {
            following: trace.as_ref().is_none_or(passes) && passes(&answer),
            undecidable: answer.score.is_none(),
            trace,
            answer,
        }
    }

    fn verdict(&self, text: &str, unit: &Unit, target: Language) -> Verdict {
        match unit.counts.class(target) {
            script::Decision::Neutral => Verdict::Neutral,
            script::Decision::Language(language) => Verdict::Language(language),
            script::Decision::Other(name) => Verdict::Script(name),
            script::Decision::Among(group) => {
                Verdict::Language(self.identifier.identify(&text[unit.span.clone()], group, target))
            }
        }
    }
}

impl TextScore {
    pub fn summary(&self) -> Summary {
        // Six places are more than the measurement is worth and keep records readable.
        let rounded = |value: f64| (value * 1e6).round() / 1e6;
        Summary {
            score: self.score.map(rounded),
            switches: self.switches,
            off_target: self.off_target.iter().map(|(name, share)| (name.clone(), rounded(*share))).collect(),
            wrong_script_characters: self.wrong_script_characters,
        }
    }
}

fn summarise(segments: Vec<Segment>, wrong_script_characters: usize, target: Language) -> TextScore {
    let mut weights: BTreeMap<Verdict, f64> = BTreeMap::new();
    let mut switches = 0;
    let mut previous = None;
    for segment in segments.iter().filter(|segment| segment.verdict != Verdict::Neutral) {
        *weights.entry(segment.verdict).or_default() += segment.weight;
        switches += usize::from(previous.is_some_and(|verdict| verdict != segment.verdict));
        previous = Some(segment.verdict);
    }
    let total: f64 = weights.values().sum();
    let on_target = weights.remove(&Verdict::Language(target)).unwrap_or_default();
    let name = |verdict: &Verdict| match verdict {
        Verdict::Language(language) => language.code().to_owned(),
        Verdict::Script(script) => (*script).to_owned(),
        Verdict::Neutral => "neutral".to_owned(),
    };
    let mut off_target: Vec<_> =
        weights.iter().map(|(verdict, weight)| (name(verdict), weight / total)).collect();
    off_target.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    TextScore {
        score: (total > 0.0).then(|| on_target / total),
        switches,
        off_target,
        wrong_script_characters,
        segments,
    }
}

#[cfg(test)]
mod tests;
