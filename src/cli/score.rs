//! `xenoglot score`: a case a line in, a verdict a line out, in the order of the input (docs/scoring.md).
//!
//! Lines are read in bounded chunks, judged on all cores and written before the next chunk is read, so memory does not
//! grow with the file. The first bad line ends the run: what stands before it is written, whole lines, and the error
//! names line and field.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;
use rayon::ThreadPool;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde_json::{Value, json};

use crate::score::case::Case;
use crate::score::{AnswerKind, Profile, ScoreOptions};
use crate::settings::Overrides;

use super::failure::Failure;
use super::options::{GlobalOptions, settings};
use super::start;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// JSON lines with `gold` and `prediction`; `-` is stdin
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where the verdicts go [default: stdout]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Say in each line how the answer was found
    #[arg(long)]
    detail: bool,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    defaults: Defaults,
}

/// The options of lines that do not name them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of lines that name none")]
struct Defaults {
    /// Whose rules to score by
    #[arg(long, value_parser = PossibleValuesParser::new(Profile::NAMES))]
    profile: Option<String>,
    #[arg(long, value_parser = PossibleValuesParser::new(AnswerKind::NAMES))]
    task: Option<String>,
    /// The letters of a choice, such as ABCD
    #[arg(long, value_name = "LETTERS")]
    choices: Option<String>,
    /// Kinds of answers in order of preference: latex, expr
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    targets: Option<Vec<String>>,
    /// Decimal places that have to agree
    #[arg(long, value_name = "PLACES")]
    precision: Option<u32>,
    /// Whether names of variables and kinds of brackets matter
    #[arg(long, value_name = "true|false")]
    strict: Option<bool>,
    /// Take the content of a last box that was never closed
    #[arg(long)]
    allow_unclosed: bool,
    /// Search the trace where the answer has nothing
    #[arg(long)]
    think_fallback: bool,
    /// Let x > 3 answer for the interval (3, ∞)
    #[arg(long)]
    allow_set_relation_comparison: bool,
}

impl Defaults {
    fn options(&self) -> Result<ScoreOptions, Failure> {
        let mut options = ScoreOptions::default();
        let given = [
            ("profile", self.profile.as_ref().map(|name| json!(name))),
            ("task", self.task.as_ref().map(|name| json!(name))),
            ("choices", self.choices.as_ref().map(|letters| json!(letters))),
            ("targets", self.targets.as_ref().map(|names| json!(names))),
            ("precision", self.precision.map(|places| json!(places))),
            ("strict", self.strict.map(Value::Bool)),
            ("allow_unclosed", self.allow_unclosed.then_some(Value::Bool(true))),
            ("think_fallback", self.think_fallback.then_some(Value::Bool(true))),
            (
                "allow_set_relation_comparison",
                self.allow_set_relation_comparison.then_some(Value::Bool(true)),
            ),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                options.set(name, &value).map_err(|error| Failure::usage(format!("--{error}")))?;
            }
        }
        Ok(options)
    }
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let settings =
        settings(global, Overrides { threads: arguments.threads.map(Some), ..Overrides::default() })?;
    start::logging(&settings, true)?;
    let options = arguments.defaults.options()?;
    let is_stdin = arguments.input.as_os_str() == "-";
    let name = if is_stdin { "stdin".to_owned() } else { arguments.input.display().to_string() };
    let input: Box<dyn Read + Send> = if is_stdin {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&arguments.input).with_context(|| format!("opening {name}"))?)
    };
    let output = output(arguments, is_stdin)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(settings.threads.unwrap_or(0))
        .build()
        .context("starting the threads")?;
    let lines = Lines::new(name, input);
    score(&pool, lines, output, Scoring { options: &options, detail: arguments.detail })
}

fn output(arguments: &Arguments, is_stdin: bool) -> anyhow::Result<Box<dyn Write>> {
    let Some(path) = &arguments.output else { return Ok(Box::new(io::stdout().lock())) };
    // Creating the output would empty the input.
    let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    if !is_stdin && same(&arguments.input, path) {
        let message = format!("--output: {} is the input", path.display());
        return Err(Failure::usage(message).hint("name another file").into());
    }
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    Ok(Box::new(file))
}

#[derive(Clone, Copy)]
struct Scoring<'a> {
    options: &'a ScoreOptions,
    detail: bool,
}

fn score(
    pool: &ThreadPool,
    mut lines: Lines,
    output: impl Write,
    scoring: Scoring<'_>,
) -> anyhow::Result<()> {
    let mut output = BufWriter::with_capacity(1 << 16, output);
    loop {
        let (chunk, end) = lines.chunk();
        let judged: Vec<Result<String, Failure>> =
            pool.install(|| chunk.par_iter().map(|line| judge(line, scoring, &lines.name)).collect());
        for written in judged {
            match written {
                Ok(line) => {
                    output.write_all(line.as_bytes()).context("writing the verdicts")?;
                }
                Err(failure) => {
                    output.flush().context("writing the verdicts")?;
                    return Err(failure.into());
                }
            }
        }
        output.flush().context("writing the verdicts")?;
        match end {
            End::More => {}
            End::Done => return Ok(()),
            End::Failed(error) => return Err(error),
        }
    }
}

/// The verdict's line, with its line feed.
fn judge(line: &Line, scoring: Scoring<'_>, name: &str) -> Result<String, Failure> {
    let refuse = |message: String| {
        Failure::usage(format!("{name}:{}: {message}", line.number))
            .hint("the lines before it are judged; docs/scoring.md describes the format")
    };
    let text = std::str::from_utf8(&line.bytes)
        .map_err(|error| refuse(format!("no UTF-8 at byte {}", error.valid_up_to() + 1)))?;
    let case = Case::parse(text, scoring.options).map_err(|error| refuse(error.to_string()))?;
    let mut written = serde_json::to_string(&case.outcome(scoring.detail))
        .map_err(|error| refuse(format!("writing its verdict: {error}")))?;
    written.push('\n');
    Ok(written)
}

/// Bytes a line may have: no completion is that long.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Lines and bytes of a chunk: enough to keep the cores busy, little enough to hold.
const CHUNK_LINES: usize = 8192;
const CHUNK_BYTES: usize = 16 << 20;

struct Line {
    /// From one.
    number: u64,
    bytes: Vec<u8>,
}

/// What ends a chunk.
enum End {
    More,
    Done,
    Failed(anyhow::Error),
}

/// The lines of the input, blank ones left out.
struct Lines {
    name: String,
    reader: BufReader<Box<dyn Read + Send>>,
    number: u64,
}

impl Lines {
    fn new(name: String, input: Box<dyn Read + Send>) -> Self {
        Self { name, reader: BufReader::with_capacity(1 << 20, input), number: 0 }
    }

    fn chunk(&mut self) -> (Vec<Line>, End) {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while chunk.len() < CHUNK_LINES && bytes < CHUNK_BYTES {
            match self.line() {
                Ok(Some(line)) => {
                    bytes += line.bytes.len();
                    chunk.push(line);
                }
                Ok(None) => return (chunk, End::Done),
                Err(error) => return (chunk, End::Failed(error)),
            }
        }
        (chunk, End::More)
    }

    fn line(&mut self) -> anyhow::Result<Option<Line>> {
        loop {
            let mut bytes = Vec::new();
            let mut limited = self.reader.by_ref().take(LINE_BYTES_MAX);
            let read = limited
                .read_until(b'\n', &mut bytes)
                .with_context(|| format!("reading {} after line {}", self.name, self.number))?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read as u64 == LINE_BYTES_MAX && !bytes.ends_with(b"\n") {
                let message = format!("{}:{}: longer than 64 MiB", self.name, self.number);
                return Err(Failure::usage(message).into());
            }
            if self.number == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
                bytes.drain(..3);
            }
            if !bytes.trim_ascii().is_empty() {
                return Ok(Some(Line { number: self.number, bytes }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a run writes, and how it ends.
    #[track_caller]
    fn check(input: &str, written: &[&str], error: Option<&str>) {
        let lines = Lines::new("cases.jsonl".to_owned(), Box::new(io::Cursor::new(input.to_owned())));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let mut output = Vec::new();
        let options = ScoreOptions::default();
        let outcome = score(&pool, lines, &mut output, Scoring { options: &options, detail: false });
        let output = String::from_utf8(output).unwrap();
        assert!(output.is_empty() || output.ends_with('\n'));
        let ids: Vec<String> = output
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].to_string())
            .collect();
        assert_eq!(ids, written, "{input}");
        let message = outcome.err().map(|error| error.to_string());
        match error {
            None => assert_eq!(message, None),
            Some(part) => {
                assert!(message.as_ref().is_some_and(|message| message.starts_with(part)), "{message:?}");
            }
        }
    }

    fn case(id: &str) -> String {
        format!(r#"{{"id":{id},"gold":"1","prediction":"1"}}"#)
    }

    #[test]
    fn lines_in_order_until_the_first_bad_one() {
        let (one, two) = (case("1"), case("\"two\""));
        check("", &[], None);
        check(&format!("{one}\n{two}\n"), &["1", "\"two\""], None);
        check(&format!("\u{feff}{one}\r\n\n  \n{two}"), &["1", "\"two\""], None);
        check(&format!("{one}\n{{\n{two}\n"), &["1"], Some("cases.jsonl:2: no JSON object"));
        check(&format!("{one}\n\n{{}}\n"), &["1"], Some("cases.jsonl:3: prediction: missing"));
    }

    #[test]
    fn many_chunks_keep_their_order() {
        let count = 2 * CHUNK_LINES + 7;
        let input: String = (0..count).map(|id| case(&id.to_string()) + "\n").collect();
        let expected: Vec<String> = (0..count).map(|id| id.to_string()).collect();
        check(&input, &expected.iter().map(String::as_str).collect::<Vec<_>>(), None);
    }
}
