//! Lines of JSON to pairs.

use serde_json::Value;

use super::super::record::kind;
use super::prompts;
use super::{Pair, Stage};
use crate::language::Language;

/// The names of XNLI's labels by number, as the hub's files have them.
const LABELS: [&str; 3] = ["entailment", "neutral", "contradiction"];

pub(super) fn query(line: &str, stage: &Stage) -> Result<Pair, String> {
    let row = object(line)?;
    let source = text(&row, "query")?;
    let prompt = match stage {
        Stage::Mapping => None,
        Stage::Augmentation { math_prompt } => Some(prompts::fill(math_prompt, &source)),
    };
    Ok(Pair { prompt, source, target: text(&row, "response")?, language: language(&row, "lang", None)? })
}

pub(super) fn xcsqa(line: &str, of_file: Option<&str>) -> Result<Pair, String> {
    let row = object(line)?;
    let question = row.get("question").ok_or("`question` is missing")?;
    let stem = text(question, "stem").map_err(|problem| problem.replacen('`', "`question.", 1))?;
    let Some(Value::Array(list)) = question.get("choices") else {
        return Err("`question.choices` is not a list".to_owned());
    };
    let mut choices = Vec::with_capacity(list.len());
    for (at, choice) in list.iter().enumerate() {
        let field = |key: &str| {
            text(choice, key)
                .map_err(|problem| problem.replacen('`', &format!("`question.choices[{at}]."), 1))
        };
        choices.push((field("label")?, field("text")?));
    }
    let target = text(&row, "answerKey")?;
    if !choices.iter().any(|(label, _)| *label == target) {
        return Err(format!("`answerKey` is {target:?}, which is no label of `question.choices`"));
    }
    let prompt = prompts::choices(&stem, &choices);
    Ok(Pair {
        source: prompt.clone(),
        prompt: Some(prompt),
        target,
        language: language(&row, "lang", of_file)?,
    })
}

pub(super) fn xnli(line: &str, of_file: Option<&str>) -> Result<Pair, String> {
    let row = object(line)?;
    let prompt = prompts::inference(&text(&row, "sentence1")?, &text(&row, "sentence2")?);
    let target = match row.get("label") {
        Some(Value::String(label)) if !label.trim().is_empty() => label.clone(),
        Some(Value::Number(number)) => {
            let name = number.as_u64().and_then(|number| LABELS.get(usize::try_from(number).ok()?));
            (*name.ok_or_else(|| format!("`label` is {number}, not 0, 1 or 2"))?).to_owned()
        }
        other => return Err(format!("`label` is {}, not a label", other.map_or("missing", kind))),
    };
    Ok(Pair {
        source: prompt.clone(),
        prompt: Some(prompt),
        target,
        language: language(&row, "language", of_file)?,
    })
}

fn object(line: &str) -> Result<Value, String> {
    match serde_json::from_str(line) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(other) => Err(format!("is {}, not a JSON object", kind(&other))),
        Err(error) => Err(format!("is not JSON (column {}): {error}", error.column())),
    }
}

fn text(row: &Value, key: &str) -> Result<String, String> {
    match row.get(key) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        Some(Value::String(_)) => Err(format!("`{key}` is empty")),
        Some(other) => Err(format!("`{key}` is {}, not a string", kind(other))),
        None => Err(format!("`{key}` is missing")),
    }
}

/// The line's language, or its file's; a known one by its code, however it is written.
fn language(row: &Value, key: &str, of_file: Option<&str>) -> Result<String, String> {
    let named = match row.get(key) {
        None | Some(Value::Null) => of_file.map(str::to_owned),
        Some(_) => Some(text(row, key)?),
    };
    let named = named.ok_or_else(|| format!("`{key}` is missing"))?;
    let by_name = || {
        Language::ALL.iter().copied().find(|language| language.english_name().eq_ignore_ascii_case(&named))
    };
    let known = named.parse::<Language>().ok().or_else(by_name);
    Ok(known.map_or(named.clone(), |language| language.code().to_owned()))
}
