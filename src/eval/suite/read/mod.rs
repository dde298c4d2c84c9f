//! Rows of a source's files, one after the other in bounded memory, whatever the format.
//!
//! A row is a JSON object: the object of a JSONL line, the fields of a CSV or TSV row by column name (by number where
//! there is no header), the columns of a Parquet or Arrow row. What the columns mean is not known here.

mod columnar;
mod columns;
mod delimited;
mod jsonl;
pub(super) mod path;

use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;

use super::error::SuiteError;
use super::manifest::{Format, Layout};

/// One row.
#[derive(Debug)]
pub(super) struct DataRow {
    pub at: Place,
    /// An object.
    pub value: Value,
}

/// Where a row stands in its file, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Line(usize),
    Row(usize),
}

/// What is wrong, with the row if it is one row.
#[derive(Debug)]
struct Fault {
    at: Option<Place>,
    field: String,
    message: String,
}

type Rows = Box<dyn Iterator<Item = Result<DataRow, Fault>>>;

/// Rows of a file. `paths` are what will be asked of them: columnar files are read no further.
pub(super) fn rows(
    file: &Path,
    layout: Layout,
    paths: &[&str],
) -> Result<impl Iterator<Item = Result<DataRow, SuiteError>> + use<>, SuiteError> {
    let name = file.display().to_string();
    let opened = File::open(file).map_err(|source| SuiteError::Io { path: file.to_owned(), source })?;
    // The decoders check what they read; should one of them panic on a damaged file, that must not end the process.
    let rows = guarded(|| match layout.format {
        Format::Jsonl => Ok(Box::new(jsonl::Lines::new(BufReader::new(opened))) as Rows),
        Format::Csv => delimited::rows(opened, b',', layout),
        Format::Tsv => delimited::rows(opened, b'\t', layout),
        Format::Parquet => columnar::parquet(opened, paths),
        Format::Arrow => columnar::arrow(opened, paths),
    });
    let mut rows = rows.map_err(|fault| fault.of(&name))?;
    let mut broken = false;
    Ok(std::iter::from_fn(move || {
        if broken {
            return None;
        }
        let row = guarded(|| rows.next().transpose()).map_err(|fault| fault.of(&name)).transpose();
        broken = row.as_ref().is_some_and(Result::is_err);
        row
    }))
}

fn guarded<T>(read: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(Fault::of_file("content", &"is damaged: it cannot be decoded")))
}

impl Fault {
    fn of_file(field: &str, message: &dyn std::fmt::Display) -> Self {
        Self { at: None, field: field.to_owned(), message: message.to_string() }
    }

    fn of_row(at: Place, field: &str, message: &dyn std::fmt::Display) -> Self {
        Self { at: Some(at), field: field.to_owned(), message: message.to_string() }
    }

    fn of(self, file: &str) -> SuiteError {
        match self.at {
            Some(at) => at.wrong(file, &self.field, &self.message),
            None => SuiteError::Data { file: file.to_owned(), field: self.field, message: self.message },
        }
    }
}

impl Place {
    pub fn wrong(self, file: &str, field: &str, message: &str) -> SuiteError {
        let (file, field, message) = (file.to_owned(), field.to_owned(), message.to_owned());
        match self {
            Self::Line(line) => SuiteError::Line { file, line, field, message },
            Self::Row(row) => SuiteError::Row { file, row, field, message },
        }
    }
}
