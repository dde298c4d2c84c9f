//! In how far a text is in the language it should be in.
//!
//! It verifies a target and does not identify freely: top-1 identification of a whole trace calls a text that is
//! 40 % English consistent four times in five. Math, code and names of things are stripped, the rest is cut into
//! segments, and each segment is the target's, another language's or neutral (too short to tell). The score is
//! the target's share by weight. Script decides wherever it can (han, kana, Thai, ...); letters and
//! function words tell languages apart that share one. `LanguageProfile` names other ways to judge, for comparison.
//!
//! `docs/language.md` says how kanji-only Japanese, the variants of Chinese, Latin transcriptions and languages with
//! two scripts are taken. Greek letters are mathematics and weigh nothing.

mod detect;
mod han;
mod identify;
mod legacy;
mod likely;
mod ngrams;
mod profile;
mod score;
mod script;
mod segment;
mod strip;

use std::ops::Range;

use super::extract::split;
use crate::language::Language;
use identify::Identifier;
use legacy::Likeliest;
use segment::Unit;

pub use han::Variant;
pub use likely::LikelyShare;
pub use profile::{LanguageProfile, UnknownProfile};
pub use score::{CompletionLanguage, Segment, Summary, TextScore, Verdict};

/// From this share of the target on a text follows its language.
pub const FOLLOWING_MIN: f64 = 0.8;

/// Scores texts against a target language. Cheap to make, and safe to share between threads: only `LegacyPassk` loads
/// models, with its first text.
pub struct LanguageScorer {
    identifier: Identifier,
    likeliest: Likeliest,
    profile: LanguageProfile,
}

impl LanguageScorer {
    /// A scorer that tells these languages apart, besides the target of each call. More candidates name what a
    /// text drifts to more precisely and cost time where they share a script.
    pub fn new(candidates: &[Language]) -> Self {
        Self {
            identifier: Identifier::new(candidates),
            likeliest: Likeliest::default(),
            profile: LanguageProfile::Default,
        }
    }

    /// Among all known languages.
    pub fn with_all_languages() -> Self {
        Self::new(Language::ALL)
    }

    /// Among all known languages, judged by this profile.
    pub fn with_profile(profile: LanguageProfile) -> Self {
        Self { profile, ..Self::with_all_languages() }
    }

    pub fn profile(&self) -> LanguageProfile {
        self.profile
    }

    pub fn score_text(&self, text: &str, target: Language) -> TextScore {
        match self.profile {
            LanguageProfile::Default => self.by_share(text, target),
            LanguageProfile::Polymath => self.by_share(text, target).all_or_nothing(),
            LanguageProfile::LegacyPassk => self.by_likeliest(text, target),
        }
    }

    /// Score trace and answer of a completion, cut at its last `</think>`. Spans are bytes of the completion.
    pub fn score_completion(&self, completion: &str, target: Language) -> CompletionLanguage {
        let parts = split(completion);
        let part =
            |span: Range<usize>| self.score_text(&completion[span.clone()], target).shifted(span.start);
        let trace = parts.trace.clone().map(part);
        let answer = part(parts.answer.clone());
        // A model that says nothing follows nothing.
        let says = |span: &Range<usize>| !completion[span.clone()].trim().is_empty();
        let silent = !parts.trace.iter().chain([&parts.answer]).any(says);
        let follows = |text: &TextScore| !silent && text.score.is_none_or(|score| score >= FOLLOWING_MIN);
        let following = match (&trace, self.profile) {
            (Some(trace), LanguageProfile::LegacyPassk) => follows(trace),
            (trace, _) => trace.as_ref().is_none_or(follows) && follows(&answer),
        };
        CompletionLanguage { following, undecidable: answer.score.is_none(), trace, answer }
    }

    /// Trace and answer taken together; with `LegacyPassk` the trace alone, if there is one.
    pub fn whole(&self, completion: &CompletionLanguage, target: Language) -> TextScore {
        match (&completion.trace, self.profile) {
            (None, _) => completion.answer.clone(),
            (Some(trace), LanguageProfile::LegacyPassk) => trace.clone(),
            (Some(trace), LanguageProfile::Default) => trace.followed_by(&completion.answer, target),
            (Some(trace), LanguageProfile::Polymath) => {
                trace.followed_by(&completion.answer, target).all_or_nothing()
            }
        }
    }

    fn by_share(&self, text: &str, target: Language) -> TextScore {
        let stripped = strip::strip(text);
        let mut foreign = 0;
        let mut segments: Vec<Segment> = Vec::new();
        for unit in segment::units(&stripped, target) {
            foreign += unit.counts.foreign(target);
            for unit in self.stretches(&stripped, unit, target) {
                let verdict = self.verdict(&stripped, &unit, target);
                segments.push(Segment { weight: unit.counts.weight(), span: unit.span, verdict });
            }
        }
        TextScore::new(segments, foreign, target).with_variant(&stripped, target)
    }

    /// One segment, the whole text as it stands.
    fn by_likeliest(&self, text: &str, target: Language) -> TextScore {
        let start = text.len() - text.trim_start().len();
        let span = start..text.trim_end().len().max(start);
        let likeliest = self.likeliest.of(&text[span.clone()]);
        let verdict = likeliest.map_or(Verdict::Neutral, Verdict::Language);
        let counts = script::Counts::of(text);
        let segment = Segment { weight: counts.weight(), span, verdict };
        TextScore::new(vec![segment], counts.foreign(target), target).with_variant(text, target)
    }

    /// A stretch cut where its language changes within the script.
    fn stretches(&self, text: &str, unit: Unit, target: Language) -> Vec<Unit> {
        let script::Decision::Among(group) = unit.counts.class(target) else { return vec![unit] };
        let changes = self.identifier.changes(&text[unit.span.clone()], group, target);
        if changes.is_empty() {
            return vec![unit];
        }
        let starts: Vec<usize> = std::iter::once(0).chain(changes).map(|at| unit.span.start + at).collect();
        let ends = starts[1..].iter().copied().chain([unit.span.end]);
        let stretch = |(start, end): (usize, usize)| {
            let span = start..start + text[start..end].trim_end().len();
            Unit { counts: script::Counts::of(&text[span.clone()]), span }
        };
        starts.iter().copied().zip(ends).map(stretch).collect()
    }

    fn verdict(&self, text: &str, unit: &Unit, target: Language) -> Verdict {
        match unit.counts.class(target) {
            script::Decision::Neutral => Verdict::Neutral,
            script::Decision::Language(Language::Ja)
                if unit.counts.kana == 0
                    && unit.counts.japanese == 0
                    && han::reads_chinese(&text[unit.span.clone()]) =>
            {
                Verdict::Language(Language::Zh)
            }
            script::Decision::Language(language) => Verdict::Language(language),
            script::Decision::Other(name) => Verdict::Script(name),
            script::Decision::Among(group) => {
                Verdict::Language(self.identifier.identify(&text[unit.span.clone()], group, target))
            }
        }
    }
}

#[cfg(test)]
mod tests;
