//! JSON lines in, JSON lines out: in order, a batch at a time on all cores, in memory that does not grow.

use std::io::{BufRead, Read, Write};

use anyhow::Context;
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::language::Language;
use crate::score::language::LanguageScorer;

use super::super::failure::Failure;
use super::TEXT_BYTES_MAX;
use super::report::Report;

/// A batch is full when it holds so many lines or bytes.
const BATCH_LINES: usize = 4096;
const BATCH_BYTES: usize = 4 << 20;

pub(super) struct Lines<'a> {
    scorer: &'a LanguageScorer,
    target: Option<Language>,
    segments: bool,
    texts: usize,
    following: usize,
    undecidable: usize,
}

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    id: Option<Value>,
    text: String,
    #[serde(default)]
    target: Option<Language>,
}

struct Line {
    number: usize,
    bytes: Vec<u8>,
}

struct Scored {
    json: String,
    following: bool,
    undecidable: bool,
}

impl<'a> Lines<'a> {
    pub fn new(scorer: &'a LanguageScorer, target: Option<Language>, segments: bool) -> Self {
        Self { scorer, target, segments, texts: 0, following: 0, undecidable: 0 }
    }

    /// Score all lines up to the first that cannot be.
    pub fn score(&mut self, input: &mut dyn BufRead, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut number = 0;
        loop {
            let (batch, broken) = read_batch(input, &mut number);
            let done = batch.is_empty();
            let scored: Vec<_> = batch.par_iter().map(|line| self.one(line)).collect();
            for result in scored {
                let result = result?;
                self.texts += 1;
                self.following += usize::from(result.following);
                self.undecidable += usize::from(result.undecidable);
                writeln!(out, "{}", result.json)?;
            }
            broken?;
            if done {
                return Ok(());
            }
        }
    }

    fn one(&self, line: &Line) -> anyhow::Result<Scored> {
        let case = parse(line)?;
        let target = case.target.or(self.target).ok_or_else(|| {
            Failure::new(format!("line {}: field `target` is missing", line.number))
                .hint("name one for all lines with --target")
        })?;
        let report = Report::of(self.scorer, &case.text, target);
        Ok(Scored {
            following: report.following(),
            undecidable: report.undecidable(),
            json: report.json(case.id, self.segments).to_string(),
        })
    }

    /// One line of talk: how many texts follow, how many cannot be decided.
    pub fn totals(&self) -> String {
        let percent = |count: usize| 100.0 * count as f64 / self.texts.max(1) as f64;
        format!(
            "{} texts: {:.1} % follow, {:.1} % are undecidable",
            self.texts,
            percent(self.following),
            percent(self.undecidable)
        )
    }
}

/// The next lines, blank ones left out, and what ended the reading early.
fn read_batch(input: &mut dyn BufRead, number: &mut usize) -> (Vec<Line>, anyhow::Result<()>) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < BATCH_LINES && bytes < BATCH_BYTES {
        *number += 1;
        match read_line(input, *number) {
            Ok(None) => break,
            Ok(Some(line)) if line.trim_ascii().is_empty() => {}
            Ok(Some(line)) => {
                bytes += line.len();
                batch.push(Line { number: *number, bytes: line });
            }
            Err(error) => return (batch, Err(error)),
        }
    }
    (batch, Ok(()))
}

fn read_line(input: &mut dyn BufRead, number: usize) -> anyhow::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = input.take(TEXT_BYTES_MAX + 1).read_until(b'\n', &mut line);
    read.with_context(|| format!("line {number}: reading it"))?;
    if line.len() as u64 > TEXT_BYTES_MAX {
        return Err(Failure::new(format!("line {number} is longer than {} MiB", TEXT_BYTES_MAX >> 20)).into());
    }
    Ok((!line.is_empty()).then_some(line))
}

const LINE: &str = "a line is an object {\"id\"?, \"text\", \"target\"?}";

fn parse(line: &Line) -> Result<Case, Failure> {
    let number = line.number;
    let bytes = if number == 1 { line.bytes.strip_prefix(b"\xef\xbb\xbf") } else { None };
    let bytes = bytes.unwrap_or(&line.bytes);
    // serde would read an array as the fields in order.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Failure::new(format!("line {number}: not a JSON object")).hint(LINE));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let case = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." || path == "?" { String::new() } else { format!("field `{path}`: ") };
        // One line of the input is one JSON text, so that serde's own "at line 1" would mislead.
        let message = error.inner().to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        Failure::new(format!("line {number}: {field}{message}")).hint(LINE)
    })?;
    json.end().map_err(|_| Failure::new(format!("line {number}: more follows after the object")))?;
    Ok(case)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(input: &str, target: Option<Language>) -> (Vec<Value>, String) {
        let scorer = LanguageScorer::with_all_languages();
        let mut lines = Lines::new(&scorer, target, false);
        let mut out = Vec::new();
        let outcome = lines.score(&mut input.as_bytes(), &mut out);
        let out = String::from_utf8(out).unwrap();
        let records = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (records, outcome.map_or_else(|error| error.to_string(), |()| lines.totals()))
    }

    #[track_caller]
    fn check_error(input: &str, expected: &str) {
        let (_, message) = score(input, None);
        assert!(message.starts_with(expected), "{message}");
    }

    #[test]
    fn errors_name_line_and_field() {
        check_error(r#"{"target": "ja"}"#, "line 1: missing field `text`");
        check_error(r#"{"text": 3, "target": "ja"}"#, "line 1: field `text`: invalid type");
        check_error(
            "\n\n{\"text\": \"a\", \"target\": \"xx\"}",
            "line 3: field `target`: unknown language \"xx\"",
        );
        check_error(r#"{"text": "a"}"#, "line 1: field `target` is missing");
        check_error(r#"{"text": "a", "target": "ja"} {}"#, "line 1: more follows");
        check_error(r#"["id", "a", "ja"]"#, "line 1: not a JSON object");
        check_error("{", "line 1: EOF while parsing");
    }

    #[test]
    fn order_ids_and_targets_are_kept_and_blank_lines_skipped() {
        let mut input = String::from("\u{feff}");
        for i in 0..10_000 {
            let case = serde_json::json!({"id": i, "text": format!("これは{i}です。"), "target": "ja"});
            input.extend([case.to_string().as_str(), "\n\n"]);
        }
        input.push_str("{\"text\": \"これは日本語です。\"}");
        let (records, totals) = score(&input, Some(Language::Zh));
        assert_eq!(records.len(), 10_001);
        assert!(
            records[..10_000]
                .iter()
                .enumerate()
                .all(|(i, record)| record["id"] == i && record["score"] == 1.0)
        );
        assert_eq!((&records[10_000]["target"], &records[10_000]["language"]), (&"zh".into(), &"ja".into()));
        assert!(records[10_000].get("id").is_none());
        assert_eq!(totals, "10001 texts: 100.0 % follow, 0.0 % are undecidable");
    }

    #[test]
    fn lines_before_a_bad_one_are_written() {
        let (records, message) = score("{\"text\": \"42\"}\n{\"txt\": 1}\n", Some(Language::Ja));
        assert_eq!(records.len(), 1);
        assert!(message.starts_with("line 2: missing field `text`"), "{message}");
    }
}
