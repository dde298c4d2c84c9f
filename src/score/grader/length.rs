//! `length`: DAPO's soft overlong punishment (Yu et al. 2025, arXiv 2503.14476, equation 13), and the same for what is too short.
//!
//! With n tokens: 0 up to `max - cache`, ((max - cache) - n) / cache up to `max`, -1 from there on; (n - min) / min below `min`.

use super::completion::Completion;
use super::grade::{GradeReason, Outcome};
use super::{GraderError, join};
use crate::protocol::graders::LengthGrader;

#[derive(Debug)]
pub(super) struct Length {
    /// Tokens that are free: from the first to the second.
    min: u32,
    free: u32,
    /// Tokens after them until the punishment is whole.
    cache: u32,
}

impl Length {
    pub fn compile(grader: &LengthGrader, path: &str) -> Result<Self, GraderError> {
        let refused =
            |field: &str, message: String| Err(GraderError::definition(&join(path, field), message));
        let LengthGrader { max, cache, min, .. } = grader;
        let (cache, min) = (cache.unwrap_or(0), min.unwrap_or(0));
        if *max == 0 {
            return refused("max", "a completion has at least one token".to_owned());
        }
        let Some(free) = max.checked_sub(cache) else {
            return refused("cache", format!("{cache} is more than `max`, {max}"));
        };
        if min > free {
            return refused(
                "min",
                format!("{min} is more than `max` - `cache`, {free}: every length is punished"),
            );
        }
        Ok(Self { min, free, cache })
    }

    pub fn grade(&self, completion: &Completion<'_>) -> Outcome {
        let tokens = completion.sample.completion_tokens as f64;
        let [min, free, cache] = [self.min, self.free, self.cache].map(f64::from);
        if tokens < min {
            Outcome::new((tokens - min) / min, GradeReason::TooShort)
        } else if tokens <= free {
            Outcome::new(0.0, GradeReason::WithinLength)
        } else if tokens < free + cache {
            Outcome::new((free - tokens) / cache, GradeReason::Overlong)
        } else {
            Outcome::new(-1.0, GradeReason::Overlong)
        }
    }
}
