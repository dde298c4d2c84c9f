//! Group relative policy optimisation (GRPO, arXiv:2402.03300): completions are sampled, rewarded, compared with the others of their
//! prompt, and made more or less likely.
//!
//! A [`Generation`](generation::Generation) is what was sampled together, with rewards and advantages. [`policy_loss`] turns
//! log-probabilities into a loss and its gradient; [`group_batches`] lays groups out so that a prompt goes through the model once;
//! [`GrpoTrainer`] is the loop.

mod advantages;
mod batch;
mod correction;
mod dry_run;
mod evaluation;
mod generation;
mod loss;
mod metrics;
mod prompts;
mod reward;
mod rollout;
mod settings;
mod trainer;
mod update;
mod words;

pub use advantages::{Advantages, ScaleRewards, advantages};
pub use batch::{Group, GroupBatch, group_batches};
pub use correction::{Correction, CorrectionMode, Gap};
pub use evaluation::HeldOut;
pub(super) use generation::Drawn;
pub use loss::{
    Completion, LossType, PolicyCounts, PolicyLoss, PolicySettings, RatioLevel, Scope, policy_loss,
};
pub use prompts::{PromptLines, PromptOptions};
pub use reward::{Prompts, Reward, Rewarded, Sample};
pub use rollout::{EngineSampler, Rollout, SampledPrompt, Sampler};
pub use settings::{GapBound, GrpoSettings};
pub use trainer::GrpoTrainer;
