//! How problems are put to a model: a prompt a language, shared sets of them, and their variants.
//!
//! A shared set is a file `prompts/NAME.toml` beside the suites. It has a section for each kind of task (`math`,
//! `choice`, ...), each with a table a language (`any` for those without their own), and variants: a change to one
//! language's prompts that a run asks for by name.

use std::collections::BTreeMap;

use toml::Table;

use crate::language::Language;

use super::error::{SuiteError, hint};
use super::files;
use super::manifest::keys::Keys;
use super::{Problem, Task};

/// How a problem is put to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    pub system: Option<String>,
    /// Holds `{problem}` once and `{choices}` at most once.
    pub user: String,
    /// What the trace begins with, where a run asks for it: put after `<think>` and a line's end.
    pub thinking_prefix: Option<String>,
    /// How a choice is written: `{letter}` and `{choice}`.
    pub choice: String,
    /// What stands between choices.
    pub between_choices: String,
}

const PROBLEM: &str = "{problem}";
const CHOICES: &str = "{choices}";

impl Prompt {
    pub fn user_text(&self, problem: &str) -> String {
        self.user_text_with(problem, &[])
    }

    /// The user's turn for a problem and its choices.
    pub fn user_text_with(&self, problem: &str, choices: &[String]) -> String {
        let mut text = String::new();
        let mut rest = self.user.as_str();
        // In one pass, so that a problem that holds a placeholder itself stays as it is.
        while let Some(at) = rest.find(['{']) {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix(PROBLEM) {
                text.push_str(problem);
                rest = after;
            } else if let Some(after) = rest.strip_prefix(CHOICES) {
                text.push_str(&self.choices_text(choices));
                rest = after;
            } else {
                text.push('{');
                rest = &rest[1..];
            }
        }
        text + rest
    }

    fn choices_text(&self, choices: &[String]) -> String {
        let one = |(index, choice): (usize, &String)| {
            let letter = super::choices::letter(index).to_string();
            // The letter first: a choice may hold anything.
            self.choice.replace("{letter}", &letter).replacen("{choice}", choice, 1)
        };
        let lines: Vec<String> = choices.iter().enumerate().map(one).collect();
        lines.join(&self.between_choices)
    }

    /// The user's turn for a problem.
    pub fn of_problem(&self, problem: &Problem) -> String {
        self.user_text_with(&problem.problem, &problem.choices)
    }
}

/// A change to one language's prompts, and to the digits of its problems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    pub language: Language,
    pub half_width_digits: bool,
    pub prompt: Option<Prompt>,
}

/// The prompts of a suite.
#[derive(Debug, Clone, Default)]
pub(super) struct PromptSet {
    /// `None` where the suite has its own.
    pub name: Option<String>,
    pub by_language: BTreeMap<Language, Prompt>,
    pub variants: BTreeMap<String, Variant>,
    /// The text of a shared file, for the suite's digest.
    pub shared: Option<String>,
}

/// `prompts = "NAME"`, `"NAME/SECTION"`, or a table a language.
pub(super) fn of_suite(keys: &Keys<'_>, task: Task, languages: &[Language]) -> Result<PromptSet, SuiteError> {
    match keys.get("prompts") {
        Some(toml::Value::String(name)) => named(name, task, languages),
        None => Err(keys.wrong("prompts", "is missing")),
        Some(_) => {
            let table = keys.needed_table("prompts")?;
            let mut by_language = BTreeMap::new();
            for (code, _) in table.entries() {
                let language = table.language(code, code)?;
                by_language.insert(language, prompt(&table.needed_table(code)?, task)?);
            }
            match languages.iter().find(|language| !by_language.contains_key(language)) {
                Some(language) => Err(keys.wrong(&format!("prompts.{language}"), "is missing")),
                None => Ok(PromptSet { by_language, ..PromptSet::default() }),
            }
        }
    }
}

/// A shared set's prompts for a task.
pub(super) fn named(name: &str, task: Task, languages: &[Language]) -> Result<PromptSet, SuiteError> {
    let (name, section) = match name.split_once('/') {
        Some((name, section)) => (name, section),
        None => (name, task.prompt_section()),
    };
    let (text, file) = files::prompts(name)?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| SuiteError::Toml {
        file: file.clone(),
        message: error.to_string().trim_end().to_owned(),
    })?;
    let keys = Keys::root(&table, &file);
    let sections: Vec<&str> =
        table.iter().filter(|(_, value)| value.is_table()).map(|(name, _)| name.as_str()).collect();
    let Some(of_section) = keys.table(section)? else {
        let message = format!("is missing: the set has no prompts for it{}", hint(section, &sections));
        return Err(keys.wrong(section, &message));
    };
    let mut by_language = BTreeMap::new();
    for language in languages {
        let own = of_section
            .table(language.code())?
            .map_or_else(|| of_section.table("any"), |own| Ok(Some(own)))?;
        let Some(own) = own else {
            return Err(
                of_section.wrong(language.code(), "is missing: the set has no prompt in that language")
            );
        };
        by_language.insert(*language, prompt(&own, task)?);
    }
    let variants = variants(&keys, section, task)?;
    Ok(PromptSet { name: Some(name.to_owned()), by_language, variants, shared: Some(text) })
}

/// `[variants.NAME]`: `language`, `digits = "half-width"`, and a table a section with its prompt.
fn variants(keys: &Keys<'_>, section: &str, task: Task) -> Result<BTreeMap<String, Variant>, SuiteError> {
    let mut variants = BTreeMap::new();
    let Some(table) = keys.table("variants")? else { return Ok(variants) };
    for (name, _) in table.entries() {
        let one = table.needed_table(name)?;
        let half_width = one.one_of("digits", "form of digits", &[("half-width", true)])?;
        let prompt = one.table(section)?.map(|own| prompt(&own, task)).transpose()?;
        if half_width.is_none() && prompt.is_none() {
            // It is for other tasks.
            continue;
        }
        let language = one.language("language", &one.text("language")?)?;
        let half_width_digits = half_width.unwrap_or_default();
        variants.insert(name.clone(), Variant { language, half_width_digits, prompt });
    }
    Ok(variants)
}

fn prompt(keys: &Keys<'_>, task: Task) -> Result<Prompt, SuiteError> {
    keys.only(&["system", "user", "thinking_prefix", "choice", "between_choices"])?;
    let user = keys.text("user")?;
    if user.matches(PROBLEM).count() != 1 {
        return Err(keys.wrong("user", &format!("must hold {PROBLEM} exactly once")));
    }
    let choices = user.matches(CHOICES).count();
    if choices > 1 || (task == Task::Choice && choices == 0) {
        return Err(keys.wrong("user", &format!("must hold {CHOICES} exactly once")));
    }
    let choice = keys.optional_text("choice")?.unwrap_or_else(|| "{letter}) {choice}".to_owned());
    if choice.matches("{choice}").count() != 1 {
        return Err(keys.wrong("choice", "must hold {choice} exactly once"));
    }
    let between = match keys.get("between_choices") {
        None => "\n".to_owned(),
        Some(toml::Value::String(text)) => text.clone(),
        Some(other) => return Err(keys.mistyped("between_choices", "a string", other)),
    };
    Ok(Prompt {
        system: keys.optional_text("system")?,
        user,
        thinking_prefix: keys.optional_text("thinking_prefix")?,
        choice,
        between_choices: between,
    })
}

/// Full-width digits, and the full-width marks between them, as ASCII has them.
pub(super) fn half_width(text: &str) -> String {
    let is_digit = |c: Option<&char>| c.is_some_and(|c| c.is_ascii_digit() || ('０'..='９').contains(c));
    let characters: Vec<char> = text.chars().collect();
    let one = |(at, c): (usize, &char)| {
        let inside = at > 0 && is_digit(characters.get(at - 1)) && is_digit(characters.get(at + 1));
        match c {
            '０'..='９' => char::from(b'0' + (u32::from(*c) - u32::from('０')) as u8),
            '．' if inside => '.',
            '，' if inside => ',',
            '％' if at > 0 && is_digit(characters.get(at - 1)) => '%',
            other => *other,
        }
    };
    characters.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_takes_problem_and_choices_as_they_are() {
        let prompt = |user: &str| Prompt {
            system: None,
            user: user.to_owned(),
            thinking_prefix: None,
            choice: "{letter}. {choice}".to_owned(),
            between_choices: "\t".to_owned(),
        };
        let check = |user: &str, problem: &str, choices: &[&str], expected: &str| {
            let choices: Vec<String> = choices.iter().map(|choice| (*choice).to_owned()).collect();
            assert_eq!(prompt(user).user_text_with(problem, &choices), expected);
        };
        check("{problem} in \\boxed{}.", "{problem}?", &[], "{problem}? in \\boxed{}.");
        check("{problem}\n{choices}\n", "{choices}", &["a", "{letter}"], "{choices}\nA. a\tB. {letter}\n");
        check("{{problem}}", "x", &[], "{x}");
    }

    #[test]
    fn digits_become_half_width_and_words_stay() {
        let check = |text: &str, expected: &str| assert_eq!(half_width(text), expected);
        check("１２，３４５円は５０％です。", "12,345円は50%です。");
        check("３．５、ＡＢ．", "3.5、ＡＢ．");
        check("十二個、１個", "十二個、1個");
        check("", "");
    }
}
