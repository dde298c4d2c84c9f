//! Bytes a second on all cores, and what a fresh process waits for.

use std::time::Instant;

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::language::Language;
use crate::score::language::LanguageScorer;

use super::super::{median, round};
use super::corpus::{Corpus, Texts};

/// Languages whose script decides.
const GATED: [Language; 6] =
    [Language::Bn, Language::Hi, Language::Ja, Language::Ko, Language::Te, Language::Th];
/// A trace is about as long.
const DOCUMENT_BYTES: usize = 4_000;
const ROUNDS: usize = 5;

pub(super) struct Speed {
    threads: usize,
    gated_mbs: f64,
    mixed_mbs: f64,
    start_up_ms: f64,
    first_text_ms: f64,
}

/// Milliseconds to make a scorer, and to score a first text.
pub(super) fn start_up() -> (f64, f64) {
    let started = Instant::now();
    let scorer = LanguageScorer::with_all_languages();
    let made = started.elapsed();
    std::hint::black_box(
        scorer.score_text("A first sentence, which loads whatever there is to load.", Language::En),
    );
    (made.as_secs_f64() * 1e3, started.elapsed().as_secs_f64() * 1e3)
}

impl Speed {
    /// Of `bytes` of text where the script decides, and as many in all languages in equal parts.
    pub fn measure(scorer: &LanguageScorer, corpus: &Corpus, bytes: usize, start_up: (f64, f64)) -> Self {
        let gated = |texts: &&Texts| GATED.contains(&texts.language);
        Self {
            threads: rayon::current_num_threads(),
            gated_mbs: rate(
                scorer,
                &documents(&corpus.languages.iter().filter(gated).collect::<Vec<_>>(), bytes),
            ),
            mixed_mbs: rate(scorer, &documents(&corpus.languages.iter().collect::<Vec<_>>(), bytes)),
            start_up_ms: start_up.0,
            first_text_ms: start_up.1,
        }
    }

    pub fn line(&self) -> String {
        format!(
            "{:.1} MB/s where the script decides, {:.1} MB/s over all languages ({} threads); start-up {:.2} ms, first text {:.2} ms",
            self.gated_mbs, self.mixed_mbs, self.threads, self.start_up_ms, self.first_text_ms,
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "threads": self.threads,
            "script_gate_mbs": round(self.gated_mbs),
            "all_languages_mbs": round(self.mixed_mbs),
            "start_up_ms": round(self.start_up_ms),
            "first_text_ms": round(self.first_text_ms),
        })
    }
}

/// Equal bytes of each language, cut into documents, the languages in turn.
fn documents(languages: &[&Texts], bytes: usize) -> Vec<(Language, String)> {
    let each = bytes / languages.len().max(1) / DOCUMENT_BYTES;
    let mut sources: Vec<_> =
        languages.iter().map(|texts| (texts.language, texts.questions.iter().cycle())).collect();
    let mut documents = Vec::new();
    for _ in 0..each.max(1) {
        for (language, questions) in &mut sources {
            let mut text = String::with_capacity(DOCUMENT_BYTES + 1_000);
            while text.len() < DOCUMENT_BYTES {
                text.extend(questions.next().into_iter().flat_map(|question| [question.as_str(), "\n"]));
            }
            documents.push((*language, text));
        }
    }
    documents
}

/// Megabytes a second: the median of a few rounds.
fn rate(scorer: &LanguageScorer, documents: &[(Language, String)]) -> f64 {
    let bytes: usize = documents.iter().map(|(_, text)| text.len()).sum();
    let round = || {
        let started = Instant::now();
        documents.par_iter().for_each(|(language, text)| {
            std::hint::black_box(scorer.score_text(text, *language));
        });
        bytes as f64 / started.elapsed().as_secs_f64() / 1e6
    };
    // The first round warms up.
    median((0..=ROUNDS).map(|_| round()).skip(1).collect())
}
