//! What changes logits before temperature: suppressed tokens (min_tokens), logit bias, penalties, in that order.
//! Penalties follow vLLM: repetition counts prompt and output, presence and frequency the output alone.

use std::borrow::Cow;

use super::SampleJob;

/// The job's logits, copied only if something changes them.
pub fn process<'a>(job: &SampleJob<'a>) -> Cow<'a, [f32]> {
    let params = job.params;
    let mut logits = Cow::Borrowed(job.logits);
    if job.output.len() < params.min_tokens {
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
    logits
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
