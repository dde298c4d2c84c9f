//! The worked examples: problems with solutions that end as an answer has to end, in a box.
//!
//! Files of the suite's own, or of another suite; `shown` makes examples of problems. They show a model the form of an answer,
//! which small models do not pick up from a prompt's words. None may be one of the suite's own problems: that would hand out
//! its answer.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::language::Language;
use crate::score::Reason;
use crate::score::extract::{boxes, extract};
use crate::score::math::{MathOptions, judge};

use super::error::SuiteError;
use super::files::Files;
use super::manifest::{ExamplesFrom, Manifest};
use super::rows::{self, Kind};
use super::{Example, OpenOptions, Problem, Suite, Task};

const FIELDS: [&str; 3] = ["language", "problem", "solution"];

/// Empty for a suite without examples; else every language has some.
pub(super) fn read(
    files: &Files,
    manifest: &Manifest,
    problems: &HashMap<Language, Vec<Problem>>,
    digest: &mut Sha256,
) -> Result<HashMap<Language, Vec<Example>>, SuiteError> {
    let file = match &manifest.examples {
        Some(ExamplesFrom::Suite(name)) => return of_suite(name, manifest, digest),
        // Those of problems are `shown`'s.
        None | Some(ExamplesFrom::Data { .. } | ExamplesFrom::Problems { .. }) => return Ok(HashMap::new()),
        Some(ExamplesFrom::Own(file)) => file,
    };
    let kind = Kind { file, fields: &FIELDS, one: "an example", many: "examples" };
    rows::read(files, manifest, &kind, digest, |row| {
        let example = Example {
            problem: row.string("problem")?,
            choices: Vec::new(),
            solution: row.string("solution")?,
            group: None,
        };
        let asked = problems.get(&row.language).into_iter().flatten();
        if let Some(same) = asked.into_iter().find(|problem| problem.problem == example.problem) {
            return Err(row.wrong("problem", &format!("is problem {:?} of the suite", same.id)));
        }
        match fault(&example.solution, row.language, manifest.task) {
            None => Ok(example),
            Some(fault) => Err(row.wrong("solution", &fault)),
        }
    })
}

/// The examples that another suite has in this one's languages; none in its other languages.
fn of_suite(
    name: &str,
    manifest: &Manifest,
    digest: &mut Sha256,
) -> Result<HashMap<Language, Vec<Example>>, SuiteError> {
    if name == manifest.name {
        return Err(SuiteError::Manifest {
            file: super::MANIFEST.to_owned(),
            key: "examples.suite".to_owned(),
            message: "is the suite itself".to_owned(),
        });
    }
    let other = Suite::open_with(name, &OpenOptions::default())?;
    digest.update(other.sha256.as_bytes());
    let of = |entry: super::LanguageProblems| (entry.language, entry.examples);
    Ok(other
        .languages
        .into_iter()
        .map(of)
        .filter(|(language, _)| manifest.languages.contains(language))
        .collect())
}

/// Why a solution is no example to follow, if it is none.
fn fault(solution: &str, language: Language, task: Task) -> Option<String> {
    let found = extract(solution);
    let all = boxes(solution).0;
    let [only] = all.as_slice() else {
        return Some(format!("must hold its answer in one \\boxed{{}}, and has {}", all.len()));
    };
    // A trace, or a brace left open, would teach something else than the answer's form.
    if found.parts.trace.is_some() || found.unclosed_box || !solution[only.whole.clone()].ends_with('}') {
        return Some("must be an answer without a trace, with its box opened and closed once".to_owned());
    }
    let rest = &solution[only.whole.end..];
    if rest.chars().any(char::is_alphanumeric) {
        return Some(format!("must end with its box, and goes on with {:?}", rest.trim()));
    }
    let content = &solution[only.content.clone()];
    let judged = judge("0", &[content], language, &MathOptions::default());
    let number = !matches!(judged.reason, Reason::NotANumber | Reason::TooLong);
    (task == Task::Math && !number).then(|| format!("{content:?} in its box does not parse as a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solutions_end_in_one_balanced_box() {
        let check = |solution: &str, task: Task, expected: Option<&str>| {
            let fault = fault(solution, Language::De, task);
            match expected {
                None => assert_eq!(fault, None, "{solution}"),
                Some(part) => assert!(fault.as_ref().is_some_and(|text| text.contains(part)), "{fault:?}"),
            }
        };
        check("4 + 3 = 7. The answer is \\boxed{7}.", Task::Math, None);
        check("答え：\\boxed{7}", Task::Math, None);
        check("উত্তর হলো \\boxed{7}।", Task::Math, None);
        check("$\\boxed{\\frac{1}{2}}$", Task::Math, None);
        check("\\boxed{1,5}", Task::Math, None);
        check("The answer is 7.", Task::Math, Some("and has 0"));
        check("\\boxed{}", Task::Math, Some("and has 0"));
        check("\\boxed{3} and then \\boxed{7}", Task::Math, Some("and has 2"));
        check("\\boxed{7", Task::Math, Some("and has 0"));
        check("\\boxed{7} \\boxed{8", Task::Math, Some("opened and closed once"));
        check("\\boxed 7", Task::Math, Some("opened and closed once"));
        check("<think>4 + 3</think> \\boxed{7}", Task::Math, Some("without a trace"));
        check("\\boxed{7} pens.", Task::Math, Some("goes on with \"pens.\""));
        check("\\boxed{seven}", Task::Math, Some("does not parse as a number"));
        check("\\boxed{seven}", Task::Text, None);
    }
}
