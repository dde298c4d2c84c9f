//! One item of a run: its missing samples generated, scored as they come, and handed to whoever keeps them.

use futures::FutureExt;
use tokio::sync::mpsc;

use super::conversation::Conversation;
use super::generator::{Completion, Draw, Finish, GenerationEvent, Generator, GeneratorError, Usage};
use super::plan::RunPlan;
use super::record::SampleRecord;
use super::scoring::Place;

/// Where finished samples go: a run's directory, or the store.
pub trait SampleSink: Sync {
    type Error: Send;

    /// Tokens generated since the last call.
    fn tokens(&self, count: u64);

    /// What a request took. Whoever keeps samples of several generators together meters these.
    fn usage(&self, _usage: Usage) {}

    /// Keep a sample; an error ends the item at once.
    fn keep(&self, record: SampleRecord) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What an item lacks of its samples, and what it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacking {
    /// Ascending.
    pub samples: Vec<u32>,
    /// Those that were drawn before, each with the seed of its request.
    pub kept: Vec<(u32, u64)>,
}

impl Lacking {
    /// All of n samples.
    pub fn all(n: u32) -> Self {
        Self { samples: (0..n).collect(), kept: Vec::new() }
    }

    /// Take out a sample that is there.
    pub fn keep(&mut self, record: &SampleRecord) {
        self.samples.retain(|sample| *sample != record.sample);
        // What was refused was not drawn.
        if record.choice.is_some() {
            self.kept.push((record.sample, record.seed));
        }
    }
}

/// How an item ended. Samples that came before the end are kept in every case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemEnd<E> {
    Done,
    /// The model will not take this prompt; `left` are the samples it gave none for.
    Refused {
        message: String,
        left: Vec<u32>,
    },
    /// Nothing can be generated now.
    Unavailable {
        message: String,
    },
    /// The sink would not keep a sample.
    Sink(E),
    /// A scorer failed: its judge or its sandbox is gone, or a bug.
    Scoring {
        message: String,
    },
}

/// What stops the taking of samples.
enum Halt<E> {
    Sink(E),
    Scoring(String),
}

impl RunPlan {
    /// Generate the missing samples of the item at a position. Dropping the future stops the generation.
    ///
    /// # Panics
    /// On a position beyond the last item.
    pub async fn run_item<S: SampleSink>(
        &self,
        position: usize,
        lacking: &Lacking,
        generator: &dyn Generator,
        sink: &S,
    ) -> ItemEnd<S::Error> {
        let request = self.request(position, lacking);
        let missing = &lacking.samples;
        let generator = Conversation::new(generator, self.problem(position).0);
        let (sender, events) = mpsc::unbounded_channel();
        let generation = async {
            // Owned here, so that the channel closes when the generation ends. A receiver that is gone wants no events.
            let sender = sender;
            let report = move |event| drop(sender.send(event));
            generator.generate(&request, &report).await
        };
        let taking = self.take(position, missing, events, sink);
        // An error of the sink drops the generation; the generation's own error waits for what came before it.
        match futures::future::try_join(generation.map(Ok), taking).await {
            Ok((outcome, taken)) => self.end(position, missing, outcome, &taken),
            Err(Halt::Sink(error)) => ItemEnd::Sink(error),
            Err(Halt::Scoring(message)) => ItemEnd::Scoring { message },
        }
    }

    /// Judge samples of the item at a position again, from their completions; those that were refused stay so.
    ///
    /// # Panics
    /// On a position beyond the last item.
    pub async fn judge_item<S: SampleSink>(
        &self,
        position: usize,
        samples: Vec<SampleRecord>,
        sink: &S,
    ) -> ItemEnd<S::Error> {
        for old in samples {
            let record = if old.finish == Finish::Error {
                Ok(old)
            } else {
                let draw = Draw { seed: old.seed, choice: old.choice.unwrap_or_default() };
                let sample = old.sample;
                self.score(position, sample, draw, old.into()).await
            };
            match record {
                Ok(record) => {
                    if let Err(error) = sink.keep(record).await {
                        return ItemEnd::Sink(error);
                    }
                }
                Err(message) => return ItemEnd::Scoring { message },
            }
        }
        ItemEnd::Done
    }

    /// Gives the samples taken.
    async fn take<S: SampleSink>(
        &self,
        position: usize,
        missing: &[u32],
        mut events: mpsc::UnboundedReceiver<GenerationEvent>,
        sink: &S,
    ) -> Result<Vec<u32>, Halt<S::Error>> {
        let mut taken = Vec::new();
        while let Some(event) = events.recv().await {
            match event {
                GenerationEvent::Tokens(count) => sink.tokens(count),
                GenerationEvent::Usage(usage) => sink.usage(usage),
                // A generator that reports a sample twice, or one that nobody asked for, must not spoil the run.
                GenerationEvent::Finished { sample, .. }
                    if taken.contains(&sample) || !missing.contains(&sample) => {}
                GenerationEvent::Finished { sample, draw, completion } => {
                    let record = self.score(position, sample, draw, completion);
                    let record = record.await.map_err(Halt::Scoring)?;
                    sink.keep(record).await.map_err(Halt::Sink)?;
                    taken.push(sample);
                }
            }
        }
        Ok(taken)
    }

    async fn score(
        &self,
        position: usize,
        sample: u32,
        draw: Draw,
        completion: Completion,
    ) -> Result<SampleRecord, String> {
        let scoring = self.scoring.clone();
        let (problem, language) = self.problem(position);
        let problem = problem.clone();
        // Language models load on first use and long traces take milliseconds: not on the async threads.
        let scored = tokio::task::spawn_blocking(move || {
            let place =
                Place { problem: &problem, language, sample, seed: draw.seed, choice: Some(draw.choice) };
            scoring.record(place, completion)
        });
        match scored.await {
            Ok(record) => record.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn end<E>(
        &self,
        position: usize,
        missing: &[u32],
        outcome: Result<(), GeneratorError>,
        taken: &[u32],
    ) -> ItemEnd<E> {
        let left: Vec<u32> = missing.iter().copied().filter(|sample| !taken.contains(sample)).collect();
        match outcome {
            Ok(()) if left.is_empty() => ItemEnd::Done,
            Ok(()) => {
                let (id, came, asked) = (&self.problem(position).0.id, taken.len(), missing.len());
                ItemEnd::Unavailable {
                    message: format!("{id}: {came} completions came of {asked} asked for"),
                }
            }
            Err(GeneratorError::Refused { message }) => ItemEnd::Refused { message, left },
            Err(GeneratorError::Unavailable { message }) => ItemEnd::Unavailable { message },
        }
    }
}
