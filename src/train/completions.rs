//! `completions.jsonl`: what a policy answered, a line a completion, with its rewards: a table for whoever looks at what is learned.

use std::io;
use std::path::Path;

use serde_json::json;

use super::json_lines::JsonLines;
use super::step_lines::StepLines;
use super::{Event, LoggedCompletion, Observer, TrainError};

const FILE: &str = "completions.jsonl";

pub(super) struct CompletionsFile(JsonLines);

/// Completions of one step, a page of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepCompletions {
    /// `None` where nothing was logged.
    pub step: Option<u64>,
    /// The nearest logged steps before it and behind it.
    pub previous: Option<u64>,
    pub next: Option<u64>,
    pub completions: Vec<LoggedCompletion>,
    /// Whether more of the step follow.
    pub has_more: bool,
}

impl CompletionsFile {
    pub fn new(folder: &Path) -> Self {
        Self(JsonLines::new(folder.join(FILE)))
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

impl StepCompletions {
    /// Those of a step, or of the newest, without the first `skip`. Nothing where the training logs none.
    ///
    /// # Errors
    /// Of the disk.
    pub fn read(folder: &Path, step: Option<u64>, skip: usize, limit: usize) -> io::Result<Self> {
        let Some(mut lines) = StepLines::open(&folder.join(FILE))? else { return Ok(Self::default()) };
        let asked = match step {
            Some(step) => Some(step),
            None => newest(&mut lines)?,
        };
        let Some(step) = asked else { return Ok(Self::default()) };
        lines.seek(step.saturating_add(1))?;
        let next = lines.step_here()?;
        lines.seek(step)?;
        let previous = lines.step_before()?;
        let (mut at, mut completions) = (0, Vec::new());
        while let Some(line) = lines.next_line()? {
            // A line that cannot be read was not written by this program.
            let Ok(completion) = serde_json::from_slice::<LoggedCompletion>(line) else { continue };
            let is_full = completions.len() == limit;
            if completion.step != step || is_full {
                let has_more = completion.step == step && is_full;
                return Ok(Self { step: Some(step), previous, next, completions, has_more });
            }
            if at >= skip {
                completions.push(completion);
            }
            at += 1;
        }
        Ok(Self { step: Some(step), previous, next, completions, has_more: false })
    }
}

fn newest(lines: &mut StepLines) -> io::Result<Option<u64>> {
    lines.seek(u64::MAX)?;
    lines.step_before()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_step_is_read_a_page_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let read = |step, skip, limit| StepCompletions::read(folder.path(), step, skip, limit).unwrap();
        assert_eq!(read(None, 0, 9), StepCompletions::default());
        let completion = |step: u64, example: usize| LoggedCompletion {
            step,
            example,
            prompt: "2 + 2".to_owned(),
            completion: "4".repeat(example),
            tokens: example,
            truncated: false,
            reward: 1.0,
            rewards: BTreeMap::from([("right".to_owned(), 1.0)]),
            advantage: -0.5,
        };
        let mut file = CompletionsFile::new(folder.path());
        for step in [1, 3, 5] {
            let completions = (1..=4).map(|example| completion(step, example)).collect();
            file.event(Event::Completions(completions)).unwrap();
        }
        let check = |page: StepCompletions, step, around, examples: &[usize], has_more: bool| {
            assert_eq!(
                (page.step, (page.previous, page.next), page.has_more),
                (Some(step), around, has_more)
            );
            let found: Vec<usize> = page.completions.iter().map(|one| one.example).collect();
            assert_eq!(found, examples);
        };
        check(read(None, 0, 9), 5, (Some(3), None), &[1, 2, 3, 4], false);
        check(read(None, 0, 4), 5, (Some(3), None), &[1, 2, 3, 4], false);
        check(read(Some(3), 1, 2), 3, (Some(1), Some(5)), &[2, 3], true);
        check(read(Some(3), 3, 2), 3, (Some(1), Some(5)), &[4], false);
        check(read(Some(1), 0, 1), 1, (None, Some(3)), &[1], true);
        check(read(Some(4), 0, 9), 4, (Some(3), Some(5)), &[], false);
        check(read(Some(7), 0, 9), 7, (Some(5), None), &[], false);
        assert_eq!(read(Some(3), 1, 1).completions[0], completion(3, 2));
    }
}
