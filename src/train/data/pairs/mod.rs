//! MindMerger's data (arXiv 2405.17386): what the encoder reads, what the LLM reads beside it, what it is to say.
//!
//! | source | of a pair |
//! |---|---|
//! | line-aligned files `train.{xx}`, `train.en` | source: the line; target: the English line |
//! | JSONL `lang`, `query`, `response` | source: the query; prompt: the query in the prompt for mathematics; target: the response |
//! | JSONL of X-CSQA | source and prompt: the question with its choices; target: the letter |
//! | JSONL of XNLI | source and prompt: premise and hypothesis; target: the label |
//!
//! In the mapping stage no pair has a prompt. Departures from the original: a line that is blank in one of two aligned files leaves
//! the pair out and is counted, where the original trains on nothing.

mod prompts;
mod rows;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use prompts::MATH_PROMPT;
pub use store::{PairEncoder, PairOptions, PairStore, PairView, prepare_pairs};

use super::DataError;
use super::lines::{Documents, Piece, Pieces};

/// One example of MindMerger's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// For the encoder.
    pub source: String,
    /// For the LLM, after what the encoder gives it.
    pub prompt: Option<String>,
    pub target: String,
    /// Of the source; a code, or what the file calls it.
    pub language: String,
}

/// Files of pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairSource {
    Aligned {
        source: PathBuf,
        target: PathBuf,
        language: String,
    },
    /// JSONL of mathematics.
    Queries {
        file: PathBuf,
    },
    /// `language` is of the lines that name none.
    Xcsqa {
        file: PathBuf,
        language: Option<String>,
    },
    Xnli {
        file: PathBuf,
        language: Option<String>,
    },
}

/// MindMerger's two stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// No prompt.
    Mapping,
    /// `math_prompt` has `{query}` in it once, and other braces are its own.
    Augmentation { math_prompt: String },
}

impl PairSource {
    /// `folder/train.sw` with `folder/train.en`: the language is the ending.
    ///
    /// # Errors
    /// `File` for a name without an ending.
    pub fn aligned(source: &Path) -> Result<Self, DataError> {
        let language = source.extension().and_then(|ending| ending.to_str());
        let language = language.ok_or_else(|| {
            DataError::file(
                source,
                "has no ending that says its language, as train.sw: give the files and the language",
            )
        })?;
        let (source, target, language) =
            (source.to_owned(), source.with_extension("en"), language.to_owned());
        Ok(Self::Aligned { source, target, language })
    }

    pub(super) fn files(&self) -> Vec<&Path> {
        match self {
            Self::Aligned { source, target, .. } => vec![source, target],
            Self::Queries { file } | Self::Xcsqa { file, .. } | Self::Xnli { file, .. } => vec![file],
        }
    }

    /// What decides what its files become.
    pub(super) fn kind(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Aligned { language, .. } => ("aligned", Some(language)),
            Self::Queries { .. } => ("queries", None),
            Self::Xcsqa { language, .. } => ("xcsqa", language.as_deref()),
            Self::Xnli { language, .. } => ("xnli", language.as_deref()),
        }
    }

    /// The lines that become pairs, each with its aligned one.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn lines(&self) -> Result<PairLines, DataError> {
        let [first, rest @ ..] = &*self.files() else { unreachable!("every source has a file") };
        let other = rest.first().map(|path| Pieces::open(path, Documents::Line)).transpose()?;
        Ok(PairLines { path: (*first).into(), first: Pieces::open(first, Documents::Line)?, other, blank: 0 })
    }

    /// The pair of a line.
    ///
    /// # Errors
    /// `Line`.
    pub(super) fn pair(&self, line: &PairLine, stage: &Stage) -> Result<Pair, DataError> {
        let wrong = |problem: String| line.piece.wrong(problem);
        let mut pair = match (self, &line.aligned) {
            (Self::Aligned { language, .. }, target) => Pair {
                source: line.piece.text.clone(),
                prompt: None,
                target: target.clone().unwrap_or_default(),
                language: language.clone(),
            },
            (Self::Queries { .. }, _) => rows::query(&line.piece.text, stage).map_err(wrong)?,
            (Self::Xcsqa { language, .. }, _) => {
                rows::xcsqa(&line.piece.text, language.as_deref()).map_err(wrong)?
            }
            (Self::Xnli { language, .. }, _) => {
                rows::xnli(&line.piece.text, language.as_deref()).map_err(wrong)?
            }
        };
        if *stage == Stage::Mapping {
            pair.prompt = None;
        }
        Ok(pair)
    }
}

/// A line, with the same line of the other file if there are two.
#[derive(Debug)]
pub(super) struct PairLine {
    pub piece: Piece,
    pub aligned: Option<String>,
}

/// Reads one file, or two side by side.
pub(super) struct PairLines {
    path: Arc<Path>,
    first: Pieces,
    other: Option<Pieces>,
    /// Lines left out because one side is blank.
    pub blank: u64,
}

impl PairLines {
    fn line(&mut self) -> Result<Option<PairLine>, DataError> {
        loop {
            let piece = self.first.line()?;
            let Some(other) = &mut self.other else {
                match piece {
                    Some(piece) if piece.text.trim().is_empty() => continue,
                    piece => return Ok(piece.map(|piece| PairLine { piece, aligned: None })),
                }
            };
            match (piece, other.line()?) {
                (None, None) => return Ok(None),
                (Some(piece), Some(aligned)) if is_blank(&piece) || is_blank(&aligned) => {
                    self.blank += u64::from(!(is_blank(&piece) && is_blank(&aligned)));
                }
                (Some(piece), Some(aligned)) => {
                    return Ok(Some(PairLine { piece, aligned: Some(aligned.text) }));
                }
                (Some(more), None) | (None, Some(more)) => {
                    let ends = if more.path == self.path {
                        "the aligned file ends"
                    } else {
                        &*format!("{} ends", self.path.display())
                    };
                    return Err(more
                        .wrong(format!("has no line beside it: {ends} before; the files are not aligned")));
                }
            }
        }
    }
}

fn is_blank(piece: &Piece) -> bool {
    piece.text.trim().is_empty()
}

impl Iterator for PairLines {
    type Item = Result<PairLine, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line().transpose()
    }
}

#[cfg(test)]
mod tests;
