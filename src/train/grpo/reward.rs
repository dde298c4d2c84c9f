//! What a policy is asked, and what its answers are worth.

use super::super::data::BatchPlan;

/// What completions are sampled from.
pub trait Prompts: Sync {
    /// Which prompts are sampled together.
    fn plan(&self) -> &BatchPlan;

    fn ids(&self, example: usize) -> Vec<u32>;

    /// Its line in its file, from 1 on.
    fn line(&self, example: usize) -> usize;

    /// The text of a completion, without the token that ended it.
    fn text(&self, tokens: &[u32]) -> String;

    /// A prompt as logs show it.
    fn shown(&self, example: usize) -> String;
}

/// A completion that is to be rewarded.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// Of the prompts.
    pub example: usize,
    pub text: &'a str,
    pub tokens: usize,
    pub is_truncated: bool,
}

/// What a completion is worth.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rewarded {
    /// NaN where it cannot be told: the completion then teaches nothing.
    pub total: f64,
    /// What the total is made of, in the order of [`Reward::names`]; NaN likewise.
    pub parts: Vec<f64>,
}

pub trait Reward: Sync {
    /// Of the parts.
    fn names(&self) -> &[String];

    fn reward(&self, sample: &Sample<'_>) -> Rewarded;
}
