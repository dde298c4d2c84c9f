//! `think_format`: a closed trace and a boxed answer, or what else of the form is required.
//!
//! Budget Alignment looks for the texts `</think>` and `\boxed{` anywhere. Here the box has to stand in the answer, to be closed and to
//! hold something: what is cut off in a box, or boxed in the trace alone, is no answer.

use super::completion::Completion;
use super::grade::{GradeReason, Outcome};
use super::{GraderError, join};
use crate::protocol::graders::{FormatRequirement, ThinkFormatGrader};
use crate::score::extract::boxes;

#[derive(Debug)]
pub(super) struct ThinkFormat {
    require: Vec<FormatRequirement>,
}

const DEFAULT: [FormatRequirement; 2] = [FormatRequirement::ClosedTrace, FormatRequirement::Box];

impl ThinkFormat {
    pub fn compile(grader: &ThinkFormatGrader, path: &str) -> Result<Self, GraderError> {
        let require = grader.require.clone().unwrap_or_else(|| DEFAULT.to_vec());
        if require.is_empty() {
            let message = "nothing is required: leave it out for a closed trace and a box";
            return Err(GraderError::definition(&join(path, "require"), message));
        }
        Ok(Self { require })
    }

    pub fn grade(&self, completion: &Completion<'_>) -> Outcome {
        match self.require.iter().find_map(|requirement| lacks(*requirement, completion)) {
            Some(reason) => Outcome::new(0.0, reason),
            None => Outcome::new(1.0, GradeReason::FormatKept),
        }
    }
}

/// What is missing, if it is.
fn lacks(requirement: FormatRequirement, completion: &Completion<'_>) -> Option<GradeReason> {
    let trace_says = |text: &str| !text.trim().is_empty();
    let (holds, reason) = match requirement {
        FormatRequirement::OpenedTrace => (completion.begins_with_trace(), GradeReason::TraceNotOpened),
        FormatRequirement::ClosedTrace => {
            let closed = completion.trace().is_some() && !completion.parts.unclosed_trace;
            (closed, GradeReason::TraceNotClosed)
        }
        FormatRequirement::OneTrace => {
            let (opened, closed) = completion.tags();
            (opened <= 1 && closed == 1, GradeReason::SeveralTraces)
        }
        FormatRequirement::TraceText => (completion.trace().is_some_and(trace_says), GradeReason::TraceEmpty),
        FormatRequirement::Box => (!boxes(completion.answer()).0.is_empty(), GradeReason::AnswerWithoutBox),
        FormatRequirement::OneBox => return wrong_number(boxes(completion.answer()).0.len()),
    };
    (!holds).then_some(reason)
}

fn wrong_number(boxes: usize) -> Option<GradeReason> {
    match boxes {
        0 => Some(GradeReason::AnswerWithoutBox),
        1 => None,
        _ => Some(GradeReason::SeveralBoxes),
    }
}
