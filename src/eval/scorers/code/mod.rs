//! Programs, run against their problem's tests in the sandbox.
//!
//! Three kinds of tests, by the public names of the fields that hold them (`cases`): whole programs with an input and
//! an output (LiveCodeBench, AtCoder and Codeforces style), a function called with arguments (LiveCodeBench, LeetCode
//! style), and a function checked by code of the suite (HumanEval's `check`, MBPP's assertions). A program is correct
//! if it passes all of them. Tests stop at the first that fails; a run that ran out of time, memory or output says so.

mod answer;
mod cases;
mod compare;
mod error;

use serde_json::{Map, Value, json};

use super::sandbox::{End, Finished, Limits, Sandbox, SandboxError};
use crate::score::{Reason, Verdict};

pub use answer::{Code, extract};
pub use cases::Tests;
use cases::{Call, PRIVATE, Stdio};
pub use error::CodeError;

/// The judgement on one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeScore {
    pub verdict: Verdict,
    pub reason: Reason,
    /// Tests passed before one failed.
    pub passed: usize,
    /// How many there are.
    pub tests: usize,
    /// For people: the test that failed, and how.
    pub detail: Option<String>,
}

/// Judges programs. Cheap to make; the sandbox is shared.
#[derive(Debug, Clone, Copy)]
pub struct CodeScorer<'a> {
    pub sandbox: &'a Sandbox,
    pub limits: Limits,
}

/// For the private tests of one problem, which may be many megabytes.
const UNPACKING: Limits =
    Limits { cpu_seconds: 120, wall_seconds: 600, memory_bytes: 8 << 30, output_bytes: 1 << 30 };

impl CodeScorer<'_> {
    /// Read the tests of a problem, and unpack its private ones first if they are packed.
    ///
    /// # Errors
    /// What is wrong with which field; or the sandbox could not be set up.
    pub fn tests(&self, fields: &Map<String, Value>) -> Result<Tests, CodeError> {
        if !Tests::are_packed(fields) {
            return Tests::read(fields);
        }
        let packed = fields.get(PRIVATE).and_then(Value::as_str).unwrap_or_default();
        let unpacked = self.sandbox.run(include_str!("unpack.py"), packed.as_bytes(), UNPACKING)?;
        if unpacked.end != End::Exit(0) {
            let last = unpacked.stderr.trim_end().lines().last().unwrap_or_default();
            return Err(CodeError::field(PRIVATE, format!("cannot be unpacked ({last})")));
        }
        let mut fields = fields.clone();
        fields.insert(PRIVATE.to_owned(), json!(String::from_utf8_lossy(&unpacked.stdout)));
        Tests::read(&fields)
    }

    /// Judge an answer, without its trace, by the tests of its problem.
    ///
    /// # Errors
    /// When the sandbox could not be set up: never for anything the program did.
    pub fn judge(&self, answer: &str, tests: &Tests) -> Result<CodeScore, SandboxError> {
        let code = extract(answer);
        if code.is_none() && !tests.completes_a_prompt() {
            return Ok(CodeScore {
                verdict: Verdict::Wrong,
                reason: Reason::NoCode,
                passed: 0,
                tests: tests.len(),
                detail: None,
            });
        }
        match tests {
            Tests::Stdio(cases) => {
                self.programs(code.as_ref().map_or(answer, |code| &answer[code.span.clone()]), cases)
            }
            Tests::Calls { name, cases } => {
                self.calls(code.as_ref().map_or(answer, |code| &answer[code.span.clone()]), name, cases)
            }
            Tests::Check { .. } | Tests::Asserts { .. } => {
                self.checks(&tests.program(answer, code.as_ref()), tests)
            }
        }
    }

    fn programs(&self, source: &str, cases: &[Stdio]) -> Result<CodeScore, SandboxError> {
        for (at, case) in cases.iter().enumerate() {
            let finished = self.sandbox.run(source, case.input.as_bytes(), self.limits)?;
            if finished.end != End::Exit(0) {
                return Ok(failed(at, cases.len(), &finished));
            }
            let printed = String::from_utf8_lossy(&finished.stdout);
            if let Err(difference) = compare::outputs(&case.output, &printed) {
                return Ok(wrong(at, cases.len(), &difference));
            }
        }
        Ok(all_passed(cases.len()))
    }

    fn calls(&self, source: &str, name: &str, cases: &[Call]) -> Result<CodeScore, SandboxError> {
        let arguments: Vec<_> = cases.iter().map(|case| &case.arguments).collect();
        let (finished, values) =
            self.harness(&json!({"source": source, "name": name, "calls": arguments}))?;
        for (at, case) in cases.iter().enumerate() {
            let Some(value) = values.get(at) else { return Ok(failed(at, cases.len(), &finished)) };
            if !compare::values(&case.expected, value) {
                let difference = format!("expected {}, found {value}", case.expected);
                return Ok(wrong(at, cases.len(), &difference));
            }
        }
        Ok(all_passed(cases.len()))
    }

    fn checks(&self, source: &str, tests: &Tests) -> Result<CodeScore, SandboxError> {
        let (finished, values) = self.harness(&json!({"source": source, "checks": tests.checks()}))?;
        let passed = values.len().min(tests.len());
        // A check that ends the process instead of returning has not passed.
        Ok(if passed == tests.len() { all_passed(passed) } else { failed(passed, tests.len(), &finished) })
    }

    /// Run our side of function tests around a program; what it reports, a value a test.
    fn harness(&self, task: &Value) -> Result<(Finished, Vec<Value>), SandboxError> {
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let mut task = task.clone();
        task["mark"] = json!(mark);
        let finished =
            self.sandbox.run(include_str!("harness.py"), task.to_string().as_bytes(), self.limits)?;
        let printed = String::from_utf8_lossy(&finished.stdout);
        let reports = printed.lines().filter_map(|line| line.strip_prefix(mark.as_str()));
        let values = reports.map_while(|report| serde_json::from_str(report).ok()).collect();
        Ok((finished, values))
    }
}

/// So much of a message stays in a record.
const DETAIL_CHARACTERS: usize = 400;

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(DETAIL_CHARACTERS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn all_passed(tests: usize) -> CodeScore {
    CodeScore { verdict: Verdict::Correct, reason: Reason::TestsPassed, passed: tests, tests, detail: None }
}

fn wrong(at: usize, tests: usize, difference: &str) -> CodeScore {
    let detail = Some(shortened(&format!("test {}: {difference}", at + 1)));
    CodeScore { verdict: Verdict::Wrong, reason: Reason::OutputDiffers, passed: at, tests, detail }
}

/// A program that did not come to its end, or whose check did not.
fn failed(at: usize, tests: usize, finished: &Finished) -> CodeScore {
    let last = finished.stderr.trim_end().lines().last().unwrap_or_default();
    let (reason, what) = match finished.end {
        End::TimeLimit => (Reason::TimeLimit, "out of time".to_owned()),
        End::MemoryLimit => (Reason::MemoryLimit, "out of memory".to_owned()),
        End::OutputLimit => (Reason::OutputLimit, "printed too much".to_owned()),
        End::Forbidden => (Reason::Forbidden, last.to_owned()),
        End::Signal(signal) => (Reason::ProgramFailed, format!("ended by signal {signal}")),
        End::Exit(_) if last.starts_with("AssertionError") => (Reason::OutputDiffers, last.to_owned()),
        End::Exit(status) if last.is_empty() => {
            (Reason::ProgramFailed, format!("ended with status {status}"))
        }
        End::Exit(_) => (Reason::ProgramFailed, last.to_owned()),
    };
    let detail = Some(shortened(&format!("test {}: {what}", at + 1)));
    CodeScore { verdict: Verdict::Wrong, reason, passed: at, tests, detail }
}
