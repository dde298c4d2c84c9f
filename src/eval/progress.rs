//! What a run tells whoever watches it. Drawing is not done here.

use super::record::SampleRecord;

/// How much there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Samples of the whole run.
    pub total: usize,
    /// Samples that an earlier, interrupted run left finished.
    pub done: usize,
}

/// Called on the run's own task; must be quick.
pub trait Progress: Send + Sync {
    fn planned(&self, plan: Plan);
    /// Tokens generated since the last call, all samples together.
    fn tokens(&self, count: u64);
    /// A sample is scored and on disk.
    fn sample(&self, record: &SampleRecord);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn planned(&self, _plan: Plan) {}

    fn tokens(&self, _count: u64) {}

    fn sample(&self, _record: &SampleRecord) {}
}
