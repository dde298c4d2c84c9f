//! Samples everything a step asks for, in parallel over the workers: one job a choice, one a prompt row. The rows of
//! a choice's drafts belong to its job, since each is wanted only if the one before confirmed its draft.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{OnceLock, PoisonError};

use crate::ops::Workers;

use super::active::ActiveRequest;
use super::request::TokenLogprobs;
use super::runner::{Logits, Rows};
use super::sampler::{self, SampleError, SampleJob, Sampled};
use super::scheduler::{Scheduled, Scheduler, Step};
use super::sequence::Sequence;
use super::soft_prefix::PLACEHOLDER;

/// What sampling made of one scheduled sequence.
#[derive(Debug, Default)]
pub struct StepSample {
    /// One a choice of `Scheduled::choices`; after a single choice's, those of the rows whose drafts were right.
    pub tokens: Vec<Sampled>,
    /// One a row of a prompt chunk whose next token is in the prompt.
    pub prompt_logprobs: Vec<TokenLogprobs>,
}

/// One result a scheduled sequence.
pub fn sample_step(
    step: &Step,
    logits: &Logits,
    scheduler: &Scheduler,
    requests: &BTreeMap<u64, ActiveRequest>,
    workers: &Workers,
) -> candle_core::Result<Vec<Result<StepSample, SampleError>>> {
    let sequences: Vec<_> = (step.scheduled.iter().zip(&logits.rows))
        .filter_map(|(scheduled, rows)| {
            let request = requests.get(&scheduled.key.ticket)?;
            Some(Sampling {
                scheduled,
                sequence: scheduler.sequence(scheduled.key)?,
                request,
                rows: rows.clone(),
            })
        })
        .collect();
    let jobs: Vec<(usize, Job)> = sequences
        .iter()
        .enumerate()
        .flat_map(|(at, sampling)| sampling.jobs().map(move |job| (at, job)))
        .collect();
    let results = logits.with_rows(|rows| {
        in_parallel(workers, jobs.len(), |at| {
            let (sequence, job) = jobs[at];
            sequences[sequence].run(job, rows)
        })
    })?;
    let mut samples: Vec<_> = sequences.iter().map(|_| Ok(StepSample::default())).collect();
    for ((sequence, _), result) in jobs.into_iter().zip(results) {
        match (&mut samples[sequence], result) {
            (Ok(sample), Ok(Done::Tokens(tokens))) => sample.tokens.extend(tokens),
            (Ok(sample), Ok(Done::PromptRow(logprobs))) => sample.prompt_logprobs.push(logprobs),
            (failed @ Ok(_), Err(error)) => *failed = Err(error),
            (Err(_), _) => {}
        }
    }
    Ok(samples)
}

struct Sampling<'a> {
    scheduled: &'a Scheduled,
    sequence: &'a Sequence,
    request: &'a ActiveRequest,
    rows: std::ops::Range<usize>,
}

#[derive(Clone, Copy)]
enum Job {
    Token { choice: u32 },
    PromptRow { row: usize, next: u32, k: u32 },
}

enum Done {
    Tokens(Vec<Sampled>),
    PromptRow(TokenLogprobs),
}

impl Sampling<'_> {
    fn jobs(&self) -> impl Iterator<Item = Job> {
        let k = self.request.sampling.prompt_logprobs.filter(|_| self.scheduled.prompt_logprobs);
        let next = self.sequence.prompt().iter().skip(self.scheduled.start + 1);
        let rows = k.into_iter().flat_map(move |k| {
            let rows = self.rows.clone().zip(next.clone()).filter(|(_, next)| **next != PLACEHOLDER);
            rows.map(move |(row, &next)| Job::PromptRow { row, next, k })
        });
        rows.chain(self.scheduled.choices.iter().map(|&choice| Job::Token { choice }))
    }

    fn run(&self, job: Job, rows: Rows<'_>) -> Result<Done, SampleError> {
        match job {
            Job::PromptRow { row, next, k } => {
                sampler::row_logprobs(rows.row(row), next, k).map(Done::PromptRow)
            }
            Job::Token { choice } => self.sample(choice, rows).map(Done::Tokens),
        }
    }

    /// The choice's next token, then the next for each draft that was right, as plain steps would draw them. What goes
    /// wrong behind a right draft goes wrong again in the next step, for now there are tokens to show.
    fn sample(&self, choice: u32, rows: Rows<'_>) -> Result<Vec<Sampled>, SampleError> {
        let Scheduled { ids, drafts, .. } = self.scheduled;
        let first = self.rows.end - 1 - drafts;
        let mut output = Cow::Borrowed(self.sequence.output());
        let mut sampled = vec![self.sample_row(choice, rows.row(first), &output)?];
        for (row, &draft) in (first + 1..).zip(&ids[ids.len() - drafts..]) {
            if sampled.last().is_none_or(|last| last.token != draft) {
                break;
            }
            output.to_mut().push(draft);
            let Ok(next) = self.sample_row(choice, rows.row(row), &output) else { break };
            sampled.push(next);
        }
        Ok(sampled)
    }

    fn sample_row(&self, choice: u32, logits: &[f32], output: &[u32]) -> Result<Sampled, SampleError> {
        let constraint = match self.request.guidance.get(choice as usize) {
            // A panic elsewhere in the step has failed the request already.
            Some(guidance) => {
                Some(guidance.lock().unwrap_or_else(PoisonError::into_inner).constraint(output)?)
            }
            None => None,
        };
        sampler::sample(&SampleJob {
            logits,
            params: &self.request.sampling,
            prompt: self.sequence.prompt(),
            output,
            choice,
            eos_token_ids: &self.request.eos_token_ids,
            constraint: constraint.as_ref(),
        })
    }
}

fn in_parallel<T: Send + Sync>(workers: &Workers, count: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let slots: Vec<OnceLock<T>> = (0..count).map(|_| OnceLock::new()).collect();
    workers.run(count, &|at| {
        slots[at].get_or_init(|| task(at));
    });
    slots.into_iter().filter_map(OnceLock::into_inner).collect()
}
