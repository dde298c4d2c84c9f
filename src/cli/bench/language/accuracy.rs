//! Texts against their own language and against every other.

use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::language::Language;
use crate::score::language::{LanguageScorer, Verdict};

use super::corpus::{Corpus, Texts};
use super::{percent, share};

pub(super) struct Accuracy {
    pub languages: Vec<Counted>,
}

/// One language's texts.
pub(super) struct Counted {
    pub language: Language,
    texts: usize,
    /// Followed, with their own language as the target; neutral ones pass.
    followed: usize,
    /// Nothing told their language.
    neutral: usize,
    /// Named rightly, and named at all, with a target that is out of the question.
    named: usize,
    nameable: usize,
    /// Followed with another language as the target, neutral ones aside.
    accepted: Vec<(Language, usize)>,
}

impl Accuracy {
    pub fn measure(scorer: &LanguageScorer, corpus: &Corpus, cut: fn(&Texts) -> Vec<String>) -> Self {
        let languages =
            corpus.languages.iter().map(|texts| Counted::measure(scorer, texts.language, &cut(texts)));
        Self { languages: languages.collect() }
    }

    /// The mean over languages.
    fn mean(&self, of: impl Fn(&Counted) -> f64) -> f64 {
        self.languages.iter().map(of).sum::<f64>() / self.languages.len() as f64
    }

    /// The largest share of one language's texts that was accepted for another.
    fn worst(&self) -> (f64, String) {
        let pairs = self.languages.iter().flat_map(|counted| {
            counted.accepted.iter().map(|(target, count)| {
                (*count as f64 / counted.texts.max(1) as f64, format!("{} for {target}", counted.language))
            })
        });
        pairs.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default()
    }

    /// The share of the first language's texts that was accepted for the second.
    fn accepted(&self, language: Language, target: Language) -> Option<f64> {
        let counted = self.languages.iter().find(|counted| counted.language == language)?;
        let count = counted.accepted.iter().find(|(other, _)| *other == target)?.1;
        Some(count as f64 / counted.texts.max(1) as f64)
    }

    pub fn line(&self) -> String {
        let (worst, pair) = self.worst();
        let between = |a, b| self.accepted(a, b).map_or_else(|| "-".to_owned(), percent);
        format!(
            "{} follow, {} named, {} neutral; accepted for another: {} on average, {} at worst ({pair}), zh for ja {}, ja for zh {}",
            percent(self.mean(Counted::follow)),
            percent(self.mean(Counted::named)),
            percent(self.mean(Counted::neutral)),
            percent(self.mean(Counted::accept)),
            percent(worst),
            between(Language::Zh, Language::Ja),
            between(Language::Ja, Language::Zh),
        )
    }

    pub fn json(&self) -> Value {
        let (worst, pair) = self.worst();
        let languages: Map<String, Value> = self
            .languages
            .iter()
            .map(|counted| (counted.language.code().to_owned(), counted.json()))
            .collect();
        json!({
            "follow": share(self.mean(Counted::follow)),
            "named": share(self.mean(Counted::named)),
            "neutral": share(self.mean(Counted::neutral)),
            "false_accepts": share(self.mean(Counted::accept)),
            "worst_false_accepts": {"share": share(worst), "pair": pair},
            "zh_for_ja": self.accepted(Language::Zh, Language::Ja).map(share),
            "ja_for_zh": self.accepted(Language::Ja, Language::Zh).map(share),
            "languages": languages,
        })
    }
}

impl Counted {
    fn measure(scorer: &LanguageScorer, language: Language, texts: &[String]) -> Self {
        let follows = |text: &str, target| {
            let found = scorer.score_completion(text, target);
            (found.following, found.undecidable)
        };
        let count = |test: &(dyn Fn(&str) -> bool + Sync)| texts.par_iter().filter(|text| test(text)).count();
        // In another script: it takes no part in telling those of one script apart.
        let foreign = if language == Language::Th { Language::Ko } else { Language::Th };
        let name = |text: &str| scorer.score_text(text, foreign).top;
        let others = Language::ALL.iter().copied().filter(|target| *target != language);
        Self {
            language,
            texts: texts.len(),
            followed: count(&|text| follows(text, language).0),
            neutral: count(&|text| follows(text, language).1),
            named: count(&|text| name(text) == Some(Verdict::Language(language))),
            nameable: count(&|text| name(text).is_some()),
            accepted: others
                .map(|target| (target, count(&|text| follows(text, target) == (true, false))))
                .collect(),
        }
    }

    pub fn follow(&self) -> f64 {
        self.followed as f64 / self.texts.max(1) as f64
    }

    pub fn named(&self) -> f64 {
        self.named as f64 / self.nameable.max(1) as f64
    }

    fn neutral(&self) -> f64 {
        self.neutral as f64 / self.texts.max(1) as f64
    }

    /// The mean over the other targets.
    fn accept(&self) -> f64 {
        let accepted: usize = self.accepted.iter().map(|(_, count)| count).sum();
        accepted as f64 / (self.texts * self.accepted.len()).max(1) as f64
    }

    fn json(&self) -> Value {
        let accepted: Map<String, Value> = self
            .accepted
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(target, count)| {
                (target.code().to_owned(), share(*count as f64 / self.texts.max(1) as f64).into())
            })
            .collect();
        json!({
            "texts": self.texts,
            "follow": share(self.follow()),
            "named": share(self.named()),
            "neutral": share(self.neutral()),
            "false_accepts": accepted,
        })
    }
}
