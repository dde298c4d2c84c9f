//! `xenoglot bench eval`: what an evaluation costs beside generation. A generator that answers at once is run through the
//! whole of it: requests, scoring, files and results.
//!
//! Completions are the worked examples' solutions with their words in other orders, so that no two have a sentence in
//! common: real traces do not repeat themselves, and the language scorer would only look up what it knows.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::sync::watch;

use crate::eval::suite::{LanguageProblems, Problem};
use crate::eval::{
    self, Completion, Draw, Finish, GenerationEvent, GenerationRequest, Generator, GeneratorError,
    GeneratorIdentity, RunConfig, Sampling, ScorerOptions, Silent, Suite,
};
use crate::score::statistics::SplitMix;

use super::super::start;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The suite whose problems and examples are used, repeated as often as needed
    #[arg(long, default_value = "xeno-word-problems", value_name = "NAME")]
    suite: String,
    /// Problems of each language
    #[arg(long, default_value_t = 50)]
    problems: usize,
    /// Samples a problem
    #[arg(long, short, default_value_t = 8)]
    n: u32,
    /// Characters of a completion
    #[arg(long, default_value_t = 1200)]
    characters: usize,
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut suite = Suite::open(&arguments.suite)?;
    for language in &mut suite.languages {
        repeat(language, arguments.problems);
    }
    let generator = Ready { suite: suite.clone(), characters: arguments.characters };
    let out = Scratch(std::env::temp_dir().join(format!("xenoglot-bench-eval-{}", std::process::id())));
    let config = RunConfig {
        suite,
        languages: None,
        limit: None,
        shots: 0,
        n: arguments.n,
        sampling: Sampling::default(),
        thinking_prefix: false,
        seed: 0,
        concurrency: 4,
        out: out.0.clone(),
        scorers: ScorerOptions::default(),
    };
    let runtime = start::runtime()?;
    // Language models load once a process, whatever the run's length.
    let first = RunConfig { limit: Some(1), n: 1, out: out.0.join("first"), ..config.clone() };
    runtime.block_on(eval::run(first, &generator, &Silent, watch::channel(false).1))?;
    let main = RunConfig { out: out.0.join("run"), ..config };
    let began = Instant::now();
    let report = runtime.block_on(eval::run(main, &generator, &Silent, watch::channel(false).1))?;
    let seconds = began.elapsed().as_secs_f64();
    let samples = report.results.overall.samples;
    let mut stdout = std::io::stdout().lock();
    if arguments.json {
        let figures = json!({
            "samples": samples, "seconds": seconds, "samples_per_second": samples as f64 / seconds,
            "languages": report.results.languages.len(), "characters": arguments.characters,
        });
        writeln!(stdout, "{figures}")?;
    } else {
        writeln!(
            stdout,
            "{samples} samples of {} characters in {} languages: {seconds:.2} s, {:.0} samples/s, {:.2} ms each",
            arguments.characters,
            report.results.languages.len(),
            samples as f64 / seconds,
            seconds * 1e3 / samples as f64
        )?;
    }
    std::fs::remove_dir_all(&out.0).with_context(|| format!("removing {}", out.0.display()))
}

/// A folder that is gone at the end, also after an error.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn repeat(language: &mut LanguageProblems, problems: usize) {
    let known = std::mem::take(&mut language.problems);
    let again = known.iter().cycle().enumerate().take(if known.is_empty() { 0 } else { problems });
    language.problems =
        again.map(|(index, one)| Problem { id: format!("p{index}"), ..one.clone() }).collect();
}

/// Has every completion at once.
struct Ready {
    suite: Suite,
    characters: usize,
}

impl Ready {
    fn text(&self, request: &GenerationRequest, sample: u32) -> String {
        let language = self.suite.languages.iter().find(|one| request.id.ends_with(one.language.code()));
        let solutions = language.map(|language| &language.examples[..]).unwrap_or_default();
        let mut random = SplitMix::new(request.seed ^ u64::from(sample) << 53);
        let mut text = "<think>\n".to_owned();
        while text.len() < self.characters {
            let Some(example) = solutions.get(random.below(solutions.len())) else { break };
            let sentences = example.problem.split_inclusive(['.', '。', '।', '?', '？']);
            for sentence in sentences.filter(|sentence| !sentence.trim().is_empty()) {
                text.push_str(&shuffled(sentence, &mut random));
                text.push('\n');
            }
        }
        format!("{text}</think>\n\n\\boxed{{{}}}", random.below(100))
    }
}

/// The words in another order; characters, where a script writes no spaces.
fn shuffled(sentence: &str, random: &mut SplitMix) -> String {
    let mut words: Vec<String> = sentence.split_whitespace().map(str::to_owned).collect();
    if words.len() > 2 {
        random.shuffle(&mut words);
        return words.join(" ");
    }
    let mut characters: Vec<char> = sentence.chars().collect();
    random.shuffle(&mut characters);
    characters.into_iter().collect()
}

impl Generator for Ready {
    fn identity(&self) -> GeneratorIdentity {
        GeneratorIdentity {
            kind: "local".to_owned(),
            model: "ready".to_owned(),
            endpoint: None,
            dtype: None,
            template_sha256: None,
            weights_sha256: None,
        }
    }

    fn generate<'a>(
        &'a self,
        request: &'a GenerationRequest,
        events: &'a (dyn Fn(GenerationEvent) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), GeneratorError>> {
        async move {
            for sample in request.samples.iter().copied() {
                let completion = Completion {
                    text: self.text(request, sample),
                    finish: Finish::Stop,
                    tokens: Some(1),
                    thinking_tokens: Some(0),
                };
                let draw = Draw { seed: request.seed, choice: sample };
                events(GenerationEvent::Finished { sample, draw, completion });
            }
            Ok(())
        }
        .boxed()
    }
}
