//! What changes logits before temperature: suppressed tokens (min_tokens), logit bias, penalties, then what the request's
//! guidance says of its next token, in that order.
//! Penalties follow vLLM: repetition counts prompt and output, presence and frequency the output alone.

use std::borrow::Cow;

use super::super::guidance::{Constraint, Steer};
use super::SampleJob;

/// The job's logits, copied only if something changes them.
pub fn process<'a>(job: &SampleJob<'a>) -> Cow<'a, [f32]> {
    let params = job.params;
    let mut logits = Cow::Borrowed(job.logits);
    if job.output.len() < params.min_tokens && !job.constraint.is_some_and(|constraint| constraint.complete) {
        for &id in job.eos_token_ids.iter().chain(&params.stop_token_ids) {
            change(&mut logits, id, |_| f32::NEG_INFINITY);
        }
    }
    for &(id, bias) in &params.logit_bias {
        change(&mut logits, id, |logit| logit + bias);
    }
    if params.repetition_penalty != 1.0 {
        let penalty = params.repetition_penalty;
        for (id, _) in counts(job.prompt.iter().chain(job.output)) {
            change(&mut logits, id, |logit| if logit > 0.0 { logit / penalty } else { logit * penalty });
        }
    }
    if params.frequency_penalty != 0.0 || params.presence_penalty != 0.0 {
        for (id, count) in counts(job.output) {
            let penalty = params.frequency_penalty * count as f32 + params.presence_penalty;
            change(&mut logits, id, |logit| logit - penalty);
        }
    }
    if let Some(constraint) = job.constraint {
        constrain(logits.to_mut(), constraint, job.eos_token_ids);
    }
    logits
}

fn constrain(logits: &mut [f32], constraint: &Constraint, eos_token_ids: &[u32]) {
    if let Some(Steer { lowered, strength }) = &constraint.steer {
        lowered.each(logits, |logit| *logit -= strength);
    }
    if constraint.endless {
        for id in eos_token_ids {
            suppress(logits, *id);
        }
    }
    let kept = |ids: &[u32]| -> Vec<(u32, f32)> {
        ids.iter().filter_map(|id| Some((*id, *logits.get(*id as usize)?))).collect()
    };
    if let Some(token) = constraint.forced {
        let forced = kept(&[token]);
        logits.fill(f32::NEG_INFINITY);
        restore(logits, &forced);
    } else if let Some(allowed) = &constraint.allowed {
        let also = kept(&constraint.also);
        allowed.keep_only(logits);
        restore(logits, &also);
    }
}

fn restore(logits: &mut [f32], kept: &[(u32, f32)]) {
    for (id, logit) in kept {
        logits[*id as usize] = *logit;
    }
}

fn suppress(logits: &mut [f32], id: u32) {
    if let Some(logit) = logits.get_mut(id as usize) {
        *logit = f32::NEG_INFINITY;
    }
}

/// Ids beyond the row were refused at the door; a model with fewer logits than ids must not panic either.
fn change(logits: &mut Cow<'_, [f32]>, id: u32, new: impl FnOnce(f32) -> f32) {
    if let Some(logit) = logits.to_mut().get_mut(id as usize) {
        *logit = new(*logit);
    }
}

fn counts<'a>(ids: impl IntoIterator<Item = &'a u32>) -> Vec<(u32, usize)> {
    let mut sorted: Vec<u32> = ids.into_iter().copied().collect();
    sorted.sort_unstable();
    sorted.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::request::SamplingParams;
    use super::*;

    fn check(params: &SamplingParams, expected: [f32; 4]) {
        let job = SampleJob {
            logits: &[1.0, -1.0, 2.0, 4.0],
            params,
            prompt: &[0, 1],
            output: &[2, 2, 3],
            choice: 0,
            eos_token_ids: &[0],
            constraint: None,
        };
        assert_eq!(*process(&job), expected, "{params:?}");
    }

    #[test]
    fn each_processor_alone_and_all_in_order() {
        let off = SamplingParams::default;
        check(&off(), [1.0, -1.0, 2.0, 4.0]);
        let inf = f32::NEG_INFINITY;
        check(&SamplingParams { min_tokens: 4, stop_token_ids: vec![3, 99], ..off() }, [inf, -1.0, 2.0, inf]);
        check(&SamplingParams { min_tokens: 3, stop_token_ids: vec![3], ..off() }, [1.0, -1.0, 2.0, 4.0]);
        check(&SamplingParams { logit_bias: vec![(1, 2.0), (3, -1.0)], ..off() }, [1.0, 1.0, 2.0, 3.0]);
        check(&SamplingParams { repetition_penalty: 2.0, ..off() }, [0.5, -2.0, 1.0, 2.0]);
        check(&SamplingParams { frequency_penalty: 0.5, ..off() }, [1.0, -1.0, 1.0, 3.5]);
        check(&SamplingParams { presence_penalty: 0.5, ..off() }, [1.0, -1.0, 1.5, 3.5]);
        let all = SamplingParams {
            logit_bias: vec![(2, 2.0)],
            repetition_penalty: 2.0,
            frequency_penalty: 0.5,
            presence_penalty: 0.25,
            ..off()
        };
        check(&all, [0.5, -2.0, 0.75, 1.25]);
    }
}
