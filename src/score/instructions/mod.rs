//! Instructions that a program can check: "at least three paragraphs", "no comma", "answer in Hindi".
//!
//! The kinds, their public names and their arguments are those of IFEval (Zhou et al. 2023, arXiv 2311.07911), so
//! that its rows can be scored as they stand. On English the verdicts follow that paper's program; it was not copied.
//! Where we depart, and for languages that it does not know:
//! - Keywords are plain text, not regular expressions.
//! - Words are counted by `words`, sentences by `sentences`: in scripts without spaces too. A count that the text
//!   leaves open (Thai marks no ends of sentences) is a range, and what the range does not decide is `Undecided`.
//! - A language that no rule can tell in a text is `Undecided`; the program counted it as followed.
//! - Commas, quotation marks and letter case are those of the problem's language (`format`, `case`).
//!
//! A response follows a prompt if it follows all its instructions. Loosely, each instruction may also hold in the
//! response without asterisks, without its first line, without its last, or any of these together.

mod case;
mod error;
mod format;
mod kind;
mod length;
mod sentences;
mod words;

use serde_json::Value;

use crate::language::Language;

pub use error::InstructionError;
use kind::Kind;

/// The instructions of one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Instructions {
    kinds: Vec<Kind>,
}

/// Whether one instruction was followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    Yes,
    No,
    /// The rules cannot tell. Counts as not followed.
    Undecided,
}

/// The judgement on one response, in the order of the instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstructionScore {
    pub strict: Vec<Followed>,
    pub loose: Vec<Followed>,
}

/// What a check may ask besides the text.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The problem's: decides what a comma and a quotation mark is.
    pub language: Language,
    /// The share of a text that is in a language; `None` where nothing in it tells.
    pub share: &'a dyn Fn(&str, Language) -> Option<f64>,
}

/// More would be no prompt.
const INSTRUCTIONS_MAX: usize = 64;

impl Instructions {
    /// Read `instruction_id_list` and `kwargs` as IFEval writes them: a list of names, and a list with an object of
    /// arguments for each, in which null is as good as absent.
    ///
    /// # Errors
    /// The first name or argument that is wrong, by its position.
    pub fn parse(ids: &Value, kwargs: &Value) -> Result<Self, InstructionError> {
        let ids = list(ids, "instruction_id_list")?;
        let kwargs = list(kwargs, "kwargs")?;
        if ids.is_empty() || ids.len() > INSTRUCTIONS_MAX {
            return Err(InstructionError::Count { count: ids.len(), most: INSTRUCTIONS_MAX });
        }
        if ids.len() != kwargs.len() {
            return Err(InstructionError::Lengths { ids: ids.len(), kwargs: kwargs.len() });
        }
        let read = |(at, (id, kwargs)): (usize, (&Value, &Value))| {
            let id = id.as_str().ok_or(InstructionError::NotAName { at })?;
            Kind::parse(id, kwargs, at)
        };
        Ok(Self { kinds: ids.iter().zip(kwargs).enumerate().map(read).collect::<Result<_, _>>()? })
    }

    /// Judge a response: the answer, without its trace.
    pub fn judge(&self, response: &str, context: Context<'_>) -> InstructionScore {
        let loosened = loosened(response);
        let over = |texts: &[String], kind: &Kind| {
            let verdicts = texts.iter().filter(|text| !text.trim().is_empty());
            verdicts.map(|text| kind.check(text, context)).fold(Followed::No, Followed::or)
        };
        let judged = |texts: &[String]| self.kinds.iter().map(|kind| over(texts, kind)).collect();
        InstructionScore { strict: judged(&loosened[..1]), loose: judged(&loosened) }
    }
}

impl Followed {
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::Undecided, _) | (_, Self::Undecided) => Self::Undecided,
            (Self::No, Self::No) => Self::No,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Undecided, _) | (_, Self::Undecided) => Self::Undecided,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

impl From<bool> for Followed {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl InstructionScore {
    /// Whether all instructions are followed (prompt level).
    pub fn all(verdicts: &[Followed]) -> Followed {
        verdicts.iter().copied().fold(Followed::Yes, Followed::and)
    }

    /// How many are (instruction level).
    pub fn count(verdicts: &[Followed]) -> usize {
        verdicts.iter().filter(|verdict| **verdict == Followed::Yes).count()
    }
}

/// The response itself, and the seven ways to take it less literally.
fn loosened(response: &str) -> Vec<String> {
    let first_off = response.split_once('\n').map_or("", |(_, rest)| rest).trim();
    let last_off = response.rsplit_once('\n').map_or("", |(rest, _)| rest).trim();
    let both_off = response
        .split_once('\n')
        .and_then(|(_, rest)| rest.rsplit_once('\n'))
        .map_or("", |(rest, _)| rest)
        .trim();
    let ways = [response, first_off, last_off, both_off];
    let plain = ways.iter().map(|text| (*text).to_owned());
    plain.chain(ways.iter().map(|text| text.replace('*', ""))).collect()
}

fn list<'a>(value: &'a Value, field: &'static str) -> Result<&'a [Value], InstructionError> {
    value.as_array().map(Vec::as_slice).ok_or(InstructionError::NotAList { field })
}

#[cfg(test)]
mod tests;
