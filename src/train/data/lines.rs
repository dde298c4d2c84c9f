//! Pieces of text files, read one at a time: lines, paragraphs between blank lines, or whole files.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use super::DataError;

/// A line, and a document of several, is no longer than this.
const PIECE_BYTES_MAX: usize = 64 << 20;

/// A piece of a file, with the place it begins at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub path: Arc<Path>,
    /// Counted from 1.
    pub line: usize,
    pub text: String,
}

/// Where one document ends and the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Documents {
    #[default]
    Line,
    BlankLine,
    File,
}

impl Documents {
    pub const NAMES: [&str; 3] = ["line", "blank-line", "file"];

    pub fn named(name: &str) -> Option<Self> {
        match name {
            "line" => Some(Self::Line),
            "blank-line" => Some(Self::BlankLine),
            "file" => Some(Self::File),
            _ => None,
        }
    }
}

impl Piece {
    /// What is wrong with it, with its place.
    pub fn wrong(&self, problem: impl Into<String>) -> DataError {
        DataError::Line { path: self.path.to_path_buf(), line: self.line, problem: problem.into() }
    }
}

/// The documents of a file that have anything but white space.
pub struct Pieces {
    reader: BufReader<File>,
    path: Arc<Path>,
    documents: Documents,
    line: usize,
}

impl Pieces {
    /// # Errors
    /// `Io`.
    pub fn open(path: &Path, documents: Documents) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io(path, "open it"))?;
        let reader = BufReader::with_capacity(1 << 18, file);
        Ok(Self { reader, path: path.into(), documents, line: 0 })
    }

    /// The next line, blank ones as well, without its end.
    pub fn line(&mut self) -> Result<Option<Piece>, DataError> {
        let mut bytes = Vec::new();
        self.line += 1;
        let mut limited = Read::take(&mut self.reader, PIECE_BYTES_MAX as u64);
        limited.read_until(b'\n', &mut bytes).map_err(DataError::io(&self.path, "read it"))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() == PIECE_BYTES_MAX {
            return Err(self.too_long(self.line));
        }
        let wrong = |problem: &str| DataError::Line {
            path: self.path.to_path_buf(),
            line: self.line,
            problem: problem.to_owned(),
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            wrong(&format!(
                "is not UTF-8 from byte {} on: convert the file",
                error.utf8_error().valid_up_to()
            ))
        })?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        // A byte order mark is what some editors begin a file with.
        let text = if self.line == 1 { text.trim_start_matches('\u{feff}') } else { text };
        Ok(Some(Piece { path: self.path.clone(), line: self.line, text: text.to_owned() }))
    }

    fn document(&mut self) -> Result<Option<Piece>, DataError> {
        let mut document: Option<Piece> = None;
        while let Some(line) = self.line()? {
            let is_blank = line.text.trim().is_empty();
            let Some(document) = &mut document else {
                if is_blank {
                    continue;
                }
                if self.documents == Documents::Line {
                    return Ok(Some(line));
                }
                document = Some(line);
                continue;
            };
            if is_blank && self.documents == Documents::BlankLine {
                break;
            }
            if document.text.len() + line.text.len() >= PIECE_BYTES_MAX {
                return Err(self.too_long(document.line));
            }
            document.text.push('\n');
            document.text.push_str(&line.text);
        }
        if let Some(document) = &mut document {
            document.text.truncate(document.text.trim_end().len());
        }
        Ok(document)
    }

    fn too_long(&self, line: usize) -> DataError {
        let problem = match self.documents {
            Documents::Line => format!("is longer than {PIECE_BYTES_MAX} bytes: break it up"),
            _ => format!("begins a document of more than {PIECE_BYTES_MAX} bytes: set documents to \"line\""),
        };
        DataError::Line { path: self.path.to_path_buf(), line, problem }
    }
}

impl Iterator for Pieces {
    type Item = Result<Piece, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.document().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_end_where_they_are_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let check = |text: &str, documents: Documents, expected: &[(usize, &str)]| {
            std::fs::write(&path, text).unwrap();
            let pieces: Result<Vec<Piece>, DataError> = Pieces::open(&path, documents).unwrap().collect();
            let pieces = pieces.unwrap();
            let found: Vec<(usize, &str)> =
                pieces.iter().map(|piece| (piece.line, piece.text.as_str())).collect();
            assert_eq!(found, expected, "{text:?} {documents:?}");
        };
        check("\u{feff}a\r\n\n b \nc", Documents::Line, &[(1, "a"), (3, " b "), (4, "c")]);
        check("\na\nb\n \n\nc\n", Documents::BlankLine, &[(2, "a\nb"), (6, "c")]);
        check("\na\n\n b\n\n", Documents::File, &[(2, "a\n\n b")]);
        check("", Documents::Line, &[]);
        check(" \n\n", Documents::File, &[]);
    }

    #[test]
    fn bytes_that_are_no_text_have_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, b"good\nb\xffad\n").unwrap();
        let error = Pieces::open(&path, Documents::Line).unwrap().nth(1).unwrap().unwrap_err();
        let message = error.to_string();
        assert!(message.contains("a.txt:2: is not UTF-8 from byte 1 on"), "{message}");
    }
}
