//! `completions.jsonl`: what a policy answered, a line a completion, with its rewards: a table for whoever looks at what is learned.

use std::path::Path;

use serde_json::json;

use super::json_lines::JsonLines;
use super::{Event, Observer, TrainError};

pub(super) struct CompletionsFile(JsonLines);

impl CompletionsFile {
    pub fn new(folder: &Path) -> Self {
        Self(JsonLines::new(folder.join("completions.jsonl")))
    }
}

impl Observer for CompletionsFile {
    fn event(&mut self, event: Event) -> Result<(), TrainError> {
        match event {
            Event::Started { step, .. } => self.0.cut(step),
            Event::Completions(completions) => {
                completions.iter().try_for_each(|completion| self.0.push(&json!(completion)))
            }
            _ => Ok(()),
        }
    }
}
