//! From judged segments to a text's score.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::han::{self, Variant};
use crate::language::Language;

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
    /// The language or script with the largest share, the target if it has no smaller one.
    pub top: Option<Verdict>,
    /// Changes of language from one segment to the next, neutral ones skipped.
    pub switches: usize,
    /// Share of each other language or script, largest first.
    pub off_target: Vec<(String, f64)>,
    /// Letters of scripts that neither the target nor mathematics is written in.
    pub wrong_script_characters: usize,
    /// Simplified or traditional, where the target is Chinese and the characters tell.
    pub variant: Option<Variant>,
    pub segments: Vec<Segment>,
}

/// A completion's trace and answer against the target.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionLanguage {
    /// `None` if the completion has no trace.
    pub trace: Option<TextScore>,
    pub answer: TextScore,
    /// Trace and answer both reach `FOLLOWING_MIN`; a part that is all neutral passes, a completion without any text does not.
    pub following: bool,
    /// The answer is all neutral (a bare box, or nothing).
    pub undecidable: bool,
}

/// The part of a text score that a record keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub score: Option<f64>,
    pub switches: usize,
    pub off_target: BTreeMap<String, f64>,
    pub wrong_script_characters: usize,
}

impl Verdict {
    /// A language's code, a script's name, or `neutral`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Neutral => "neutral",
            Self::Language(language) => language.code(),
            Self::Script(name) => name,
        }
    }
}

impl TextScore {
    pub(super) fn new(segments: Vec<Segment>, wrong_script_characters: usize, target: Language) -> Self {
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
        let mut others: Vec<_> = weights.into_iter().collect();
        others.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.name().cmp(b.0.name())));
        let top = match others.first() {
            Some((verdict, weight)) if *weight > on_target => Some(*verdict),
            _ => (on_target > 0.0).then_some(Verdict::Language(target)),
        };
        Self {
            score: (total > 0.0).then(|| on_target / total),
            top,
            switches,
            off_target: others
                .iter()
                .map(|(verdict, weight)| (verdict.name().to_owned(), weight / total))
                .collect(),
            wrong_script_characters,
            variant: None,
            segments,
        }
    }

    /// Both texts as one.
    pub(super) fn followed_by(&self, next: &Self, target: Language) -> Self {
        let segments = self.segments.iter().chain(&next.segments).cloned().collect();
        let wrong_script_characters = self.wrong_script_characters + next.wrong_script_characters;
        // The trace, most often the longer part, has more characters that tell.
        let variant = self.variant.or(next.variant);
        Self { variant, ..Self::new(segments, wrong_script_characters, target) }
    }

    /// With the variant of Chinese that `text` is written in, if that is the target.
    pub(super) fn with_variant(self, text: &str, target: Language) -> Self {
        Self { variant: if target == Language::Zh { han::variant(text) } else { None }, ..self }
    }

    /// 1 if the target is the only language, else 0.
    pub(super) fn all_or_nothing(self) -> Self {
        let score = self.score.map(|_| if self.off_target.is_empty() { 1.0 } else { 0.0 });
        Self { score, ..self }
    }

    /// With spans that count from `offset` bytes earlier.
    pub(super) fn shifted(mut self, offset: usize) -> Self {
        for segment in &mut self.segments {
            segment.span = segment.span.start + offset..segment.span.end + offset;
        }
        self
    }

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
