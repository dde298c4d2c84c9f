//! Texts that switch to English by a known share.

use serde_json::{Value, json};

use crate::language::Language;
use crate::score::language::{LanguageScorer, Verdict};

use super::corpus::Corpus;
use super::share;

/// Questions of a text.
const QUESTIONS: usize = 20;
/// Of these at most so many are English: 70 %.
const ENGLISH_MAX: usize = 14;

pub(super) struct Switching {
    texts: usize,
    /// Mean distance of the score from the share of the weight that the language's own questions have.
    by_weight: Mean,
    /// From the share of questions, where questions are parallel: what they say has the same length in both.
    by_content: Mean,
}

#[derive(Default)]
struct Mean {
    sum: f64,
    count: usize,
    most: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
        self.most = self.most.max(value);
    }

    fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}

impl Switching {
    pub fn measure(scorer: &LanguageScorer, corpus: &Corpus) -> Self {
        let mut measured = Self { texts: 0, by_weight: Mean::default(), by_content: Mean::default() };
        let Some(english) = corpus.of(Language::En) else { return measured };
        for texts in corpus.languages.iter().filter(|texts| texts.language != Language::En) {
            let pairs: Vec<_> = texts.questions.iter().zip(english.questions.iter().cycle()).collect();
            for pairs in pairs.chunks_exact(QUESTIONS.min(pairs.len())).take(20) {
                for english in 0..=ENGLISH_MAX * pairs.len() / QUESTIONS {
                    measured.one(scorer, texts.language, pairs, english, texts.parallel);
                }
            }
        }
        measured
    }

    /// `english` of the pairs in English, spread evenly.
    fn one(
        &mut self,
        scorer: &LanguageScorer,
        language: Language,
        pairs: &[(&String, &String)],
        english: usize,
        parallel: bool,
    ) {
        let count = pairs.len();
        let switched = |i: usize| (i + 1) * english / count > i * english / count;
        let chosen = pairs.iter().enumerate().map(|(i, (own, other))| if switched(i) { other } else { own });
        let text = chosen.map(|question| question.as_str()).collect::<Vec<_>>().join("\n");
        let Some(score) = scorer.score_text(&text, language).score else { return };
        self.texts += 1;

        let weight = |side: bool| -> f64 {
            let questions = pairs.iter().enumerate().filter(|(i, _)| switched(*i) == side);
            questions.map(|(_, (own, other))| letters(scorer, if side { other } else { own }, language)).sum()
        };
        let (own, other) = (weight(false), weight(true));
        self.by_weight.add((score - own / (own + other)).abs());
        if parallel {
            self.by_content.add((score - (1.0 - english as f64 / count as f64)).abs());
        }
    }

    pub fn line(&self) -> String {
        format!(
            "switching to English, 0 to 70 %, {} texts: {:.4} from the true share by weight on average ({:.4} at most), {:.4} ({:.4}) by content",
            self.texts,
            self.by_weight.mean(),
            self.by_weight.most,
            self.by_content.mean(),
            self.by_content.most,
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "texts": self.texts,
            "by_weight": {"mean": share(self.by_weight.mean()), "max": share(self.by_weight.most)},
            "by_content": {"mean": share(self.by_content.mean()), "max": share(self.by_content.most)},
        })
    }
}

/// What a text weighs that is known to be in one language.
fn letters(scorer: &LanguageScorer, text: &str, language: Language) -> f64 {
    let segments = scorer.score_text(text, language).segments;
    segments.iter().filter(|segment| segment.verdict != Verdict::Neutral).map(|segment| segment.weight).sum()
}
