//! `xenoglot bench language`: how often the language of a text is recognised, and how fast.
//!
//! Texts are the questions of MGSM and MSVAMP where they are, and for the other languages everyday sentences that were
//! written for this project. Four things are measured: whole questions and spans of five words against their own
//! language and against every other; texts that switch to English by a known share; bytes a second on all cores; start-up.

mod accuracy;
mod corpus;
mod speed;
mod switching;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::score::language::LanguageScorer;

use super::super::failure::Failure;
use super::print;
use accuracy::Accuracy;
use corpus::Corpus;
use speed::Speed;
use switching::Switching;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Folder with mgsm/mgsm_xx.tsv, msvamp/test_Xx.jsonl or, a text a line, text/xx.txt; languages without any of them
    /// are measured on built-in texts
    #[arg(long, value_name = "DIR", env = "XENOGLOT_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
    /// Text that is scored to measure the speed, in megabytes
    #[arg(long, value_name = "MB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    megabytes: u32,
    /// One JSON object on stdout instead of text
    #[arg(long)]
    json: bool,
}

struct Report {
    corpus: Corpus,
    whole: Accuracy,
    spans: Accuracy,
    switching: Switching,
    speed: Speed,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // First: start-up is what a fresh process does.
    let start_up = speed::start_up();
    let corpus = Corpus::read(arguments.data.as_deref()).map_err(Failure::new)?;
    let scorer = LanguageScorer::with_all_languages();
    let report = Report {
        whole: Accuracy::measure(&scorer, &corpus, corpus::whole),
        spans: Accuracy::measure(&scorer, &corpus, corpus::spans),
        switching: Switching::measure(&scorer, &corpus),
        speed: Speed::measure(&scorer, &corpus, arguments.megabytes as usize * 1_000_000, start_up),
        corpus,
    };
    print(arguments.json, &|| report.json(), &|| report.text())
}

impl Report {
    fn json(&self) -> Value {
        json!({
            "languages": self.corpus.languages.len(),
            "questions": self.whole.json(),
            "spans": self.spans.json(),
            "switching": self.switching.json(),
            "speed": self.speed.json(),
        })
    }

    fn text(&self) -> String {
        let mut out = format!("{} languages\n\n", self.corpus.languages.len());
        let _ = writeln!(
            out,
            "{:<4} {:<22} {:>9} {:>9} {:>9} {:>9}",
            "", "", "follow", "named", "follow", "named"
        );
        for ((language, whole), spans) in
            self.corpus.languages.iter().zip(&self.whole.languages).zip(&self.spans.languages)
        {
            let _ = writeln!(
                out,
                "{:<4} {:<22} {} {} {} {}",
                language.language.code(),
                language.source,
                percent(whole.follow()),
                percent(whole.named()),
                percent(spans.follow()),
                percent(spans.named()),
            );
        }
        for (name, accuracy) in [("whole questions", &self.whole), ("five-word spans", &self.spans)] {
            let _ = writeln!(out, "{name}: {}", accuracy.line());
        }
        let _ = write!(out, "{}\n{}", self.switching.line(), self.speed.line());
        out
    }
}

fn percent(share: f64) -> String {
    format!("{:7.2} %", 100.0 * share)
}

/// To four decimals.
fn share(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
