//! A run's samples as columns: small enough that a hundred thousand of them are one answer.

use std::collections::{BTreeMap, HashMap};

use super::briefs::RunBriefs;
use crate::eval::{LanguageBrief, Outcome};
use crate::protocol::eval_tables::SampleTable;
use crate::store::RunRow;

/// Languages and scripts in the order of their first appearance.
#[derive(Default)]
struct Names {
    all: Vec<String>,
    places: HashMap<String, u32>,
}

impl Names {
    fn place(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.all.len() as u32;
        self.all.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        place
    }

    fn of(&mut self, text: &LanguageBrief) -> Option<u32> {
        text.language.as_deref().map(|name| self.place(name))
    }
}

/// The table of a run's samples; `suite` is what the run measures on.
pub fn sample_table(run: &RunRow, suite: String, briefs: &RunBriefs) -> SampleTable {
    let mut names = Names::default();
    let outcomes = Outcome::ALL.map(|outcome| (outcome.letter().to_string(), outcome.name().to_owned()));
    let mut table = SampleTable {
        object: "eval.run.sample_table".to_owned(),
        eval_id: run.eval.clone(),
        run_id: run.id.clone(),
        suite,
        sequence: u64::try_from(run.sequence).unwrap_or_default(),
        outcomes: BTreeMap::from(outcomes),
        ..SampleTable::default()
    };
    for task in &briefs.tasks {
        table.problem_ids.push(task.problem.clone());
        table.problem_languages.push(names.place(&task.language));
    }
    for (key, brief) in &briefs.samples {
        table.problem.push(u32::try_from(key.position).unwrap_or(u32::MAX));
        table.sample.push(key.sample);
        table.outcome.push(brief.outcome.letter());
        table.following.push(match brief.following {
            Some(true) => 'y',
            Some(false) => 'n',
            None => '-',
        });
        table.trace_score.push(brief.trace.score);
        table.answer_score.push(brief.answer.score);
        table.trace_language.push(names.of(&brief.trace));
        table.answer_language.push(names.of(&brief.answer));
        table.trace_switches.push(brief.trace.switches);
        let wrong = brief.trace.wrong_script_characters + brief.answer.wrong_script_characters;
        table.wrong_script_characters.push(wrong);
        table.completion_tokens.push(brief.completion_tokens);
        table.thinking_tokens.push(brief.thinking_tokens);
    }
    table.languages = names.all;
    table
}
