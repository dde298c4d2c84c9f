//! `string_check`: two texts compared, exactly or as one within the other.

use serde_json::Value;

use super::completion::Completion;
use super::grade::{GradeReason, Outcome};
use super::template::{Missing, Template};
use super::{GraderError, template};
use crate::protocol::graders::{StringCheckGrader, StringCheckOperation};

#[derive(Debug)]
pub(super) struct StringCheck {
    input: Template,
    reference: Template,
    operation: StringCheckOperation,
}

impl StringCheck {
    pub fn compile(grader: &StringCheckGrader, path: &str) -> Result<Self, GraderError> {
        Ok(Self {
            input: template(&grader.input, path, "input")?,
            reference: template(&grader.reference, path, "reference")?,
            operation: grader.operation,
        })
    }

    pub fn check(&self, item: &Value) -> Result<(), Missing> {
        self.input.check(item)?;
        self.reference.check(item)
    }

    pub fn grade(&self, item: &Value, completion: &Completion<'_>) -> Result<Outcome, Missing> {
        let input = self.input.render(item, completion)?;
        let reference = self.reference.render(item, completion)?;
        let holds = match self.operation {
            StringCheckOperation::Eq => input == reference,
            StringCheckOperation::Ne => input != reference,
            StringCheckOperation::Like => input.contains(&reference),
            StringCheckOperation::Ilike => input.to_lowercase().contains(&reference.to_lowercase()),
        };
        let reason = if holds { GradeReason::Holds } else { GradeReason::DoesNotHold };
        Ok(Outcome::binary(holds, reason))
    }
}
