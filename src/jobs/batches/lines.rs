//! The lines of a batch's file: each a request, or what is wrong with it.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Bytes of one line.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Bytes of a `custom_id`: all of a file's are held while it is answered.
const ID_BYTES_MAX: usize = 512;

/// A line, counted from 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub number: u64,
    pub request: Result<LineRequest, WrongLine>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LineRequest {
    pub custom_id: String,
    pub body: Map<String, Value>,
}

/// A line that is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongLine {
    /// If it could be read.
    pub custom_id: Option<String>,
    pub message: String,
    /// The field at fault.
    pub param: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    custom_id: String,
    #[serde(default)]
    method: Option<String>,
    url: String,
    body: Map<String, Value>,
}

/// The lines of a file that ask `endpoint`, blank ones passed over, as an iterator in constant memory.
///
/// # Errors
/// Of opening the file; each item may be an error of reading.
pub fn read(path: &Path, endpoint: &str) -> io::Result<impl Iterator<Item = io::Result<Line>> + use<>> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let endpoint = endpoint.to_owned();
    let mut number = 0;
    Ok(std::iter::from_fn(move || {
        loop {
            let text = match next_line(&mut file) {
                Ok(Some(text)) => text,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
            let blank = matches!(&text, Ok(text) if text.iter().all(u8::is_ascii_whitespace));
            if blank {
                continue;
            }
            let request = text.and_then(|text| parse(&text, &endpoint));
            number += 1;
            return Some(Ok(Line { number: number - 1, request }));
        }
    }))
}

/// One line without its end; one that is too long is read to its end and told of.
fn next_line(file: &mut impl BufRead) -> io::Result<Option<Result<Vec<u8>, WrongLine>>> {
    let (mut line, mut length) = (Vec::new(), 0);
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let piece = &buffer[..end.unwrap_or(buffer.len())];
        length += piece.len();
        if length <= LINE_BYTES_MAX {
            line.extend_from_slice(piece);
        }
        let taken = piece.len() + usize::from(end.is_some());
        file.consume(taken);
        if end.is_some() {
            return Ok(Some(whole(line, length)));
        }
    }
    Ok((length > 0).then(|| whole(line, length)))
}

fn whole(line: Vec<u8>, length: usize) -> Result<Vec<u8>, WrongLine> {
    if length <= LINE_BYTES_MAX {
        return Ok(line);
    }
    let message = format!("the line has {length} bytes, more than the {LINE_BYTES_MAX} that one may have");
    Err(WrongLine { custom_id: None, message, param: None })
}

fn parse(text: &[u8], endpoint: &str) -> Result<LineRequest, WrongLine> {
    let wrong = |custom_id: Option<String>, param: Option<&str>, message: String| WrongLine {
        custom_id,
        message,
        param: param.map(str::to_owned),
    };
    let wire: Wire = serde_json::from_slice(text).map_err(|error| {
        let id = serde_json::from_slice::<Value>(text).ok();
        let id = id.and_then(|value| value["custom_id"].as_str().map(str::to_owned));
        wrong(id, None, format!("the line is no request of a batch: {error}"))
    })?;
    if wire.custom_id.len() > ID_BYTES_MAX {
        let message = format!("`custom_id` has more than {ID_BYTES_MAX} bytes");
        return Err(wrong(None, Some("custom_id"), message));
    }
    let id = Some(wire.custom_id.clone());
    if wire.method.as_deref().is_some_and(|method| method != "POST") {
        return Err(wrong(id, Some("method"), "`method` must be POST".to_owned()));
    }
    if wire.url != endpoint {
        let message = format!("`url` must be the batch's endpoint {endpoint}");
        return Err(wrong(id, Some("url"), message));
    }
    if wire.body.get("stream").is_some_and(|stream| *stream == Value::Bool(true)) {
        return Err(wrong(id, Some("body.stream"), "a batch is not streamed: leave out `stream`".to_owned()));
    }
    Ok(LineRequest { custom_id: wire.custom_id, body: wire.body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_lines_are_told_and_the_others_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.jsonl");
        let line = |id: &str, more: &str| {
            format!(
                r#"{{"custom_id": "{id}", "method": "POST", "url": "/v1/completions", "body": {{"prompt": "a"{more}}}}}"#
            )
        };
        let text = format!(
            "{}\n\n{{broken\n{}\r\n{}\n{}",
            line("a", ""),
            line("b", r#", "stream": true"#),
            line("c", "").replace("completions", "embeddings"),
            line("d", "")
        );
        std::fs::write(&path, text).unwrap();
        let lines: Vec<Line> = read(&path, "/v1/completions").unwrap().map(Result::unwrap).collect();
        let told: Vec<(u64, Result<&str, Option<&str>>)> = lines
            .iter()
            .map(|line| {
                let request = line.request.as_ref();
                (line.number, request.map(|ok| ok.custom_id.as_str()).map_err(|wrong| wrong.param.as_deref()))
            })
            .collect();
        let expected = [
            (0, Ok("a")),
            (1, Err(None)),
            (2, Err(Some("body.stream"))),
            (3, Err(Some("url"))),
            (4, Ok("d")),
        ];
        assert_eq!(told, expected);
        assert_eq!(lines[2].request.as_ref().unwrap_err().custom_id.as_deref(), Some("b"));
    }
}
