//! The numbers of a run that is still going: records are added one by one, completions not kept.

use crate::language::Language;

use super::plan::RunPlan;
use super::record::{RunFile, SampleRecord};
use super::report::{Results, Scored};

/// What is known of a run's samples so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    scored: Vec<Scored>,
}

impl Tally {
    pub fn add(&mut self, record: &SampleRecord) {
        self.scored.push(Scored::from(record));
    }

    pub fn len(&self) -> usize {
        self.scored.len()
    }

    pub fn is_empty(&self) -> bool {
        self.scored.is_empty()
    }

    /// The same for the same samples, in whatever order they were added.
    pub fn results(&self, languages: &[Language], n: u32, seed: u64) -> Results {
        Results::new(&self.scored, languages, n, seed)
    }

    /// Results of the run that a file describes.
    pub fn results_of(&self, run: &RunFile) -> Results {
        self.results(&run.languages, run.n, run.seed)
    }
}

impl RunPlan {
    pub fn results(&self, tally: &Tally) -> Results {
        tally.results(&self.languages, self.config.n, self.config.seed)
    }
}
