//! The steps one judgement may take: a count instead of a clock, so that a verdict does not depend on load.

/// Why something could not be worked out; none of these says that an answer is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Obstacle {
    #[error("the step budget ran out")]
    Budget,
    #[error("a number or a formula grows too large")]
    TooLarge,
    #[error("no rule reads it")]
    Unread,
    #[error("it divides by zero or has no value")]
    Undefined,
    #[error("it can be read in two ways")]
    Ambiguous,
}

/// Steps left; everything whose cost depends on the input pays here.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
}

impl Budget {
    pub fn new(steps: u32) -> Self {
        Self { left: steps }
    }

    pub fn spend(&mut self, steps: usize) -> Result<(), Obstacle> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let left = self.left.checked_sub(steps);
        self.left = left.unwrap_or(0);
        if left.is_some() { Ok(()) } else { Err(Obstacle::Budget) }
    }
}
