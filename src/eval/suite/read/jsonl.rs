//! JSONL: an object a line, empty lines skipped, a line held at a time.

use std::io::{BufRead, Read};

use serde_json::Value;

use super::{DataRow, Fault, Place};

/// A problem with its tests is some megabytes at most.
const LINE_BYTES_MAX: u64 = 256 << 20;

pub(super) struct Lines<R> {
    reader: R,
    line: usize,
}

impl<R: BufRead> Lines<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, line: 0 }
    }

    fn row(&mut self) -> Result<Option<DataRow>, Fault> {
        let mut bytes = Vec::new();
        loop {
            self.line += 1;
            let at = Place::Line(self.line);
            bytes.clear();
            let mut limited = Read::take(&mut self.reader, LINE_BYTES_MAX);
            let read = limited.read_until(b'\n', &mut bytes);
            read.map_err(|error| Fault::of_row(at, "file", &error))?;
            if bytes.is_empty() {
                return Ok(None);
            }
            if bytes.len() as u64 == LINE_BYTES_MAX {
                return Err(Fault::of_row(at, "line", &format!("is longer than {LINE_BYTES_MAX} bytes")));
            }
            let text = std::str::from_utf8(&bytes).map_err(|_| Fault::of_row(at, "line", &"is not UTF-8"))?;
            // A byte order mark is what some editors begin a file with.
            let text = if self.line == 1 { text.trim_start_matches('\u{feff}') } else { text };
            if text.trim().is_empty() {
                continue;
            }
            return match serde_json::from_str(text) {
                Ok(value @ Value::Object(_)) => Ok(Some(DataRow { at, value })),
                Ok(_) => Err(Fault::of_row(at, "line", &"is not a JSON object")),
                Err(error) => Err(Fault::of_row(at, "not a JSON object", &error)),
            };
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<DataRow, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.row().transpose()
    }
}
