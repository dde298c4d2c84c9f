//! Flags that find the suite of a run again, for the commands that read its prompts or golds.

use std::path::PathBuf;

use clap::Args;

use crate::eval::OpenOptions;
use crate::eval::export::SuiteSource;

#[derive(Debug, Args)]
#[command(next_help_heading = "The run's suite, as it was run")]
pub(super) struct SuiteOptions {
    /// Where it is not found by its name
    #[arg(long, value_name = "NAME_OR_DIR")]
    suite: Option<String>,
    /// Where suites find data that are not shipped [default: $XENOGLOT_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The shared set of prompts that took the place of the suite's [default: as recorded]
    #[arg(long, value_name = "NAME")]
    prompts: Option<String>,
    /// Variants of the prompts [default: as recorded]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    variants: Vec<String>,
}

impl SuiteOptions {
    pub fn source(&self) -> SuiteSource {
        let open = OpenOptions {
            languages: None,
            data: self.data.clone(),
            prompts: self.prompts.clone(),
            variants: self.variants.clone(),
            // As the run had them.
            examples: false,
        };
        SuiteSource { name: self.suite.clone(), open }
    }
}
