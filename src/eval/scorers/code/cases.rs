//! The tests of a problem, read from the fields of its row by their public names.
//!
//! - HumanEval: `prompt`, `test` (defines `check`), `entry_point`.
//! - MBPP: `test_list` (assertions), and before them `test_setup_code` or `test_imports`.
//! - LiveCodeBench: `public_test_cases` and `private_test_cases`, lists of `{input, output, testtype}` or their JSON
//!   as text, and for functions `metadata.func_name`. Private tests that are packed (`is_packed`) must be unpacked first.

use serde_json::{Map, Value};

use super::answer::Code;
use super::error::CodeError;

/// All tests of one problem; of one kind, and at least one.
#[derive(Debug, Clone, PartialEq)]
pub enum Tests {
    Stdio(Vec<Stdio>),
    Calls {
        name: String,
        cases: Vec<Call>,
    },
    /// HumanEval's: `test` defines `check`, which gets the function.
    Check {
        prompt: String,
        test: String,
        entry_point: String,
    },
    /// MBPP's.
    Asserts {
        setup: String,
        asserts: Vec<String>,
    },
}

/// A run of the whole program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stdio {
    pub input: String,
    pub output: String,
}

/// A call of the program's function.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub arguments: Vec<Value>,
    pub expected: Value,
}

pub(super) const PRIVATE: &str = "private_test_cases";

/// More tests of a problem than this are a mistake in the data.
const TESTS_MAX: usize = 10_000;

impl Tests {
    /// # Errors
    /// No tests, or a field that does not hold what its name says.
    pub fn read(fields: &Map<String, Value>) -> Result<Self, CodeError> {
        if present(fields, "entry_point") {
            return Ok(Self::Check {
                prompt: optional(fields, "prompt")?.unwrap_or_default(),
                test: text(fields, "test")?,
                entry_point: identifier("entry_point", &text(fields, "entry_point")?)?,
            });
        }
        if present(fields, "test_list") {
            let setup = [optional(fields, "test_setup_code")?, imports(fields)?].into_iter().flatten();
            let setup = setup.collect::<Vec<_>>().join("\n");
            return Ok(Self::Asserts { setup, asserts: texts(fields, "test_list")? });
        }
        let mut cases = Vec::new();
        for field in ["public_test_cases", PRIVATE] {
            cases.extend(listed(fields, field)?);
        }
        if cases.len() > TESTS_MAX {
            return Err(CodeError::field(PRIVATE, format!("more than {TESTS_MAX} tests")));
        }
        if cases.is_empty() {
            return Err(CodeError::NoTests);
        }
        Self::from_cases(fields, &cases)
    }

    fn from_cases(fields: &Map<String, Value>, cases: &[(String, Value)]) -> Result<Self, CodeError> {
        let kind = |case: &Value| case["testtype"].as_str().unwrap_or("stdin").to_owned();
        let first = kind(&cases[0].1);
        if let Some((field, _)) = cases.iter().find(|(_, case)| kind(case) != first) {
            return Err(CodeError::field(field, "has another testtype than the first test"));
        }
        match first.as_str() {
            "stdin" => Ok(Self::Stdio(cases.iter().map(stdio).collect::<Result<_, _>>()?)),
            "functional" => Ok(Self::Calls {
                name: function_name(fields)?,
                cases: cases.iter().map(call).collect::<Result<_, _>>()?,
            }),
            other => Err(CodeError::field(
                &format!("{}.testtype", cases[0].0),
                format!("{other:?} is none; known: stdin, functional"),
            )),
        }
    }

    /// Whether private tests must be unpacked before they can be read.
    pub fn are_packed(fields: &Map<String, Value>) -> bool {
        fields.get(PRIVATE).and_then(Value::as_str).is_some_and(is_packed)
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Stdio(cases) => cases.len(),
            Self::Calls { cases, .. } => cases.len(),
            Self::Check { .. } => 1,
            Self::Asserts { asserts, .. } => asserts.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an answer without a fence may be code as it stands, as base models complete a prompt.
    pub(super) fn completes_a_prompt(&self) -> bool {
        matches!(self, Self::Check { .. } | Self::Asserts { .. })
    }

    /// The program that an answer is, with what stands before it.
    pub(super) fn program(&self, answer: &str, code: Option<&Code>) -> String {
        let body = match code {
            Some(code) => &answer[code.span.clone()],
            None => completion(answer),
        };
        match self {
            Self::Check { prompt, test, entry_point } => {
                let whole = body.lines().any(|line| defines(line, entry_point));
                // The prompt ends within its function's text of documentation: on its own that is a function that
                // does nothing, and the whole one takes its place. What it defines before stays for both.
                let joint = if whole { "\n    pass\n\n" } else { "" };
                format!("{prompt}{joint}{body}\n\n{test}\n")
            }
            Self::Asserts { setup, .. } => format!("{setup}\n{body}\n"),
            Self::Stdio(_) | Self::Calls { .. } => body.to_owned(),
        }
    }

    /// What is executed after the program, a test each.
    pub(super) fn checks(&self) -> Vec<String> {
        match self {
            Self::Check { entry_point, .. } => vec![format!("check({entry_point})")],
            Self::Asserts { asserts, .. } => asserts.clone(),
            Self::Stdio(_) | Self::Calls { .. } => Vec::new(),
        }
    }
}

/// Whether tests are packed by Python's pickle, as base64, and not the JSON of a list.
fn is_packed(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && !text.starts_with('[')
}

fn defines(line: &str, name: &str) -> bool {
    let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("def ").map(str::trim_start);
    let after = rest.and_then(|rest| rest.strip_prefix(name));
    after.is_some_and(|after| after.trim_start().starts_with('('))
        || line.strip_prefix(name).is_some_and(|after| after.trim_start().starts_with('='))
}

/// Where a base model goes on after the function that it was to complete.
const STOPS: [&str; 5] = ["\nclass ", "\n#", "\nif ", "\nprint(", "\n[DONE]"];

/// A bare completion up to where it starts on something else.
fn completion(answer: &str) -> &str {
    let answer = answer.split_once("[BEGIN]").map_or(answer, |(_, rest)| rest);
    let end = STOPS.iter().filter_map(|stop| answer.find(stop)).min().unwrap_or(answer.len());
    &answer[..end]
}

fn present(fields: &Map<String, Value>, field: &str) -> bool {
    fields.get(field).is_some_and(|value| !value.is_null())
}

fn optional(fields: &Map<String, Value>, field: &str) -> Result<Option<String>, CodeError> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(CodeError::field(field, "must be a string")),
    }
}

fn text(fields: &Map<String, Value>, field: &str) -> Result<String, CodeError> {
    let text = optional(fields, field)?.filter(|text| !text.trim().is_empty());
    text.ok_or_else(|| CodeError::field(field, "is missing or blank"))
}

fn texts(fields: &Map<String, Value>, field: &str) -> Result<Vec<String>, CodeError> {
    let list = fields.get(field).and_then(Value::as_array).filter(|list| list.len() <= TESTS_MAX);
    let texts = list.and_then(|list| list.iter().map(|text| text.as_str().map(str::to_owned)).collect());
    let texts: Option<Vec<String>> = texts;
    texts
        .filter(|texts| !texts.is_empty())
        .ok_or_else(|| CodeError::field(field, "must be a list of strings"))
}

/// MBPP's sanitized rows have a list of imports, the others a text.
fn imports(fields: &Map<String, Value>) -> Result<Option<String>, CodeError> {
    match fields.get("test_imports") {
        Some(Value::Array(list)) if list.is_empty() => Ok(None),
        Some(Value::Array(_)) => Ok(Some(texts(fields, "test_imports")?.join("\n"))),
        _ => optional(fields, "test_imports"),
    }
}

/// It is put into a program, so it must be nothing but a name.
fn identifier(field: &str, name: &str) -> Result<String, CodeError> {
    let name = name.trim();
    let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if is_name { Ok(name.to_owned()) } else { Err(CodeError::field(field, format!("{name:?} is no name"))) }
}

fn function_name(fields: &Map<String, Value>) -> Result<String, CodeError> {
    let metadata = match fields.get("metadata") {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(value) => value.clone(),
        None => Value::Null,
    };
    let name = metadata["func_name"].as_str().or_else(|| fields.get("func_name")?.as_str());
    let name = name.ok_or_else(|| CodeError::field("metadata.func_name", "is missing"))?;
    identifier("metadata.func_name", name)
}

/// The tests of a field, each with its place for messages.
fn listed(fields: &Map<String, Value>, field: &str) -> Result<Vec<(String, Value)>, CodeError> {
    let list = match fields.get(field) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Vec::new()),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|error| {
            CodeError::field(field, format!("is neither a list nor the JSON of one ({error})"))
        })?,
        Some(value) => value.clone(),
    };
    let Value::Array(list) = list else {
        return Err(CodeError::field(field, "must be a list of tests"));
    };
    Ok(list.into_iter().enumerate().map(|(at, case)| (format!("{field}[{at}]"), case)).collect())
}

fn part<'a>((at, case): &'a (String, Value), part: &str) -> Result<&'a str, CodeError> {
    case[part].as_str().ok_or_else(|| CodeError::field(&format!("{at}.{part}"), "must be a string"))
}

fn stdio(case: &(String, Value)) -> Result<Stdio, CodeError> {
    Ok(Stdio { input: part(case, "input")?.to_owned(), output: part(case, "output")?.to_owned() })
}

/// An argument a line, and the value, as JSON.
fn call(case: &(String, Value)) -> Result<Call, CodeError> {
    let json = |part: &str, text: &str| {
        serde_json::from_str(text)
            .map_err(|error| CodeError::field(&format!("{}.{part}", case.0), format!("is no JSON ({error})")))
    };
    let lines = part(case, "input")?.lines().filter(|line| !line.trim().is_empty());
    Ok(Call {
        arguments: lines.map(|line| json("input", line)).collect::<Result<_, _>>()?,
        expected: json("output", part(case, "output")?)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "a case is one line")]
    fn check(fields: Value, expected: Result<usize, &str>) {
        let found = Tests::read(fields.as_object().unwrap());
        match (found, expected) {
            (Ok(tests), Ok(count)) => assert_eq!(tests.len(), count, "{fields}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{fields}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn tests_are_read_by_their_public_names() {
        check(json!({"prompt": "def f():\n", "test": "def check(c): pass", "entry_point": "f"}), Ok(1));
        check(json!({"test_list": ["assert f() == 1", "assert f() == 2"], "test_setup_code": ""}), Ok(2));
        check(json!({"test_list": ["assert f() == 1"], "test_imports": ["import math"]}), Ok(1));
        let case = json!([{"input": "1", "output": "2", "testtype": "stdin"}]);
        check(json!({"public_test_cases": case, "private_test_cases": case.to_string()}), Ok(2));
        let case = json!([{"input": "[1]\n2", "output": "3", "testtype": "functional"}]);
        check(json!({"public_test_cases": case, "metadata": "{\"func_name\": \"f\"}"}), Ok(1));
        check(json!({"public_test_cases": case, "metadata": {"func_name": "f"}}), Ok(1));
    }

    #[test]
    fn mistakes_are_named() {
        check(json!({}), Err("no tests"));
        check(json!({"public_test_cases": []}), Err("no tests"));
        check(json!({"test": "x"}), Err("no tests"));
        check(json!({"entry_point": "f"}), Err("test: is missing"));
        check(json!({"entry_point": "f(); x", "test": "x"}), Err("entry_point: \"f(); x\" is no name"));
        check(json!({"test_list": "assert"}), Err("test_list: must be a list"));
        check(json!({"test_list": []}), Err("test_list: must be a list"));
        check(json!({"public_test_cases": "eJx"}), Err("public_test_cases: is neither"));
        check(json!({"public_test_cases": [{"input": "1"}]}), Err("public_test_cases[0].output"));
        check(json!({"public_test_cases": [{"input": 1}]}), Err("public_test_cases[0].input"));
        check(json!({"public_test_cases": [{"testtype": "x"}]}), Err("public_test_cases[0].testtype"));
        let functional = json!([{"input": "1", "output": "x", "testtype": "functional"}]);
        check(json!({"public_test_cases": functional}), Err("metadata.func_name: is missing"));
        check(
            json!({"public_test_cases": functional, "metadata": {"func_name": "f"}}),
            Err("public_test_cases[0].output: is no JSON"),
        );
        let mixed = json!([{"input": "", "output": ""}, {"testtype": "functional"}]);
        check(json!({"public_test_cases": mixed}), Err("public_test_cases[1]: has another testtype"));
    }

    #[test]
    fn what_a_completion_becomes() {
        let tests = Tests::Check {
            prompt: "import math\ndef f(x):\n    \"\"\"Half.\"\"\"\n".to_owned(),
            test: "def check(c): pass".to_owned(),
            entry_point: "f".to_owned(),
        };
        let check = |answer: &str, expected: &str| {
            let program = tests.program(answer, super::super::extract(answer).as_ref());
            assert!(program.contains(expected), "{program}");
            assert!(program.starts_with("import math") && program.trim_end().ends_with("pass"), "{program}");
        };
        check("    return x / 2\n\nprint(f(3))", "Half.\"\"\"\n    return x / 2\n\n\ndef check");
        check("```python\ndef f(x):\n    return x / 2\n```", "    pass\n\ndef f(x):\n    return x / 2\n");
        check("```python\n    return x / 2\n```", "Half.\"\"\"\n    return x / 2\n");
        check("```python\ndef fff(x): pass\n```", "Half.\"\"\"\ndef fff(x): pass");
    }
}
