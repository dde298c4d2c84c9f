//! Plain text for continued pre-training: corpora in their proportions, up to a number of tokens.
//!
//! A document is one text with what the tokenizer puts around it and an end of text after it. Corpora with proportions are mixed a
//! document at a time: the next is always of the corpus that has the fewest tokens for its share, so that any beginning of the
//! data has the mixture. With a number of tokens asked for, a corpus that is used up begins again; without, the first that is
//! used up ends the data. Corpora without proportions come one after the other, each once.

use std::path::PathBuf;

use serde_json::Value;

use super::DataError;
use super::encode::{Effort, Encoded};
use super::example::Example;
use super::lines::{Documents, Piece, Pieces};
use super::model_text::ModelText;
use super::record::kind;
use super::store::{Counts, StoreWriter, TooLong};

/// Files of one kind of text.
#[derive(Debug, Clone, PartialEq)]
pub struct Corpus {
    /// `.jsonl` and `.json` have a `text` a line, others are plain text.
    pub files: Vec<PathBuf>,
    /// Of plain text.
    pub documents: Documents,
    /// Its share of the tokens; of all corpora or of none. Only what they are to each other counts.
    pub proportion: Option<f64>,
    /// Such as its language; may be empty.
    pub tag: String,
}

/// What is taken of corpora.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount {
    pub tokens_max: Option<u64>,
    pub length_max: usize,
    pub too_long: TooLong,
}

/// Documents between two words of progress.
const PROGRESS_EXAMPLES: u64 = 256;

type Stream<'a> = Encoded<'a, Piece, Example>;

/// # Errors
/// `Option` for proportions of some, or below what a share can be.
pub(super) fn check(corpora: &[Corpus], tokens_max: Option<u64>) -> Result<(), DataError> {
    let fail = |key, problem: &str| Err(DataError::Option { key, problem: problem.to_owned() });
    let given = corpora.iter().filter_map(|corpus| corpus.proportion);
    if given.clone().any(|share| !share.is_finite() || share <= 0.0) {
        return fail("proportion", "is not a number above 0: leave a corpus out to take nothing of it");
    }
    if !matches!(given.count(), 0) && corpora.iter().any(|corpus| corpus.proportion.is_none()) {
        return fail("proportion", "is given for some corpora only: give it for all or for none");
    }
    if tokens_max == Some(0) {
        return fail("max_tokens", "is 0: leave it out to train on all");
    }
    Ok(())
}

pub(super) fn write(
    corpora: &[Corpus],
    amount: Amount,
    model: &ModelText,
    effort: Effort<'_>,
    writer: &mut StoreWriter,
    progress: &dyn Fn(Counts),
) -> Result<(), DataError> {
    let encode = |piece: &Piece| example(piece, model);
    let mut streams: Vec<Stream<'_>> = corpora.iter().map(|corpus| open(corpus, &encode, effort)).collect();
    // Tokens so far, and whether any came since the corpus was begun.
    let mut taken = vec![(0_u64, false); corpora.len()];
    let mut current = 0;
    let is_mixed = corpora.iter().any(|corpus| corpus.proportion.is_some());
    while current < corpora.len() && amount.tokens_max.is_none_or(|most| writer.counts.tokens < most) {
        match streams[current].next().transpose()? {
            Some(example) => {
                let before = writer.counts.tokens;
                add(writer, example, amount, &corpora[current].tag)?;
                let new = writer.counts.tokens - before;
                taken[current] = (taken[current].0 + new, taken[current].1 || new > 0);
                if writer.counts.examples.is_multiple_of(PROGRESS_EXAMPLES) {
                    progress(writer.counts);
                }
            }
            None if !is_mixed => current += 1,
            None if amount.tokens_max.is_none() => break,
            None if !taken[current].1 => {
                let named =
                    corpora[current].files.first().map(|file| file.display().to_string()).unwrap_or_default();
                return Err(DataError::Nothing(format!(
                    "the corpus of {named} has no text that can be trained on"
                )));
            }
            None => {
                streams[current] = open(&corpora[current], &encode, effort);
                taken[current].1 = false;
                writer.counts.repeated += 1;
            }
        }
        if is_mixed {
            current = neediest(corpora, &taken);
        }
    }
    Ok(())
}

fn open<'a>(
    corpus: &'a Corpus,
    encode: &'a (dyn Fn(&Piece) -> Result<Example, DataError> + Sync),
    effort: Effort<'a>,
) -> Stream<'a> {
    Stream::new(pieces(corpus), |piece| piece.text.len(), encode, effort)
}

/// The corpus that has the fewest tokens for its share; the first of several.
fn neediest(corpora: &[Corpus], taken: &[(u64, bool)]) -> usize {
    let filled = |at: usize| taken[at].0 as f64 / corpora[at].proportion.unwrap_or(1.0);
    (0..corpora.len()).min_by(|a, b| filled(*a).total_cmp(&filled(*b))).unwrap_or(0)
}

/// A document, up to the last token that is wanted.
fn add(writer: &mut StoreWriter, mut example: Example, amount: Amount, tag: &str) -> Result<(), DataError> {
    if let Some(most) = amount.tokens_max {
        let room = usize::try_from(most - writer.counts.tokens).unwrap_or(usize::MAX);
        // One token alone has nothing to predict it: the last document may go over by that.
        example.truncate(room.max(2));
    }
    writer.fit(example, amount.length_max, amount.too_long, tag)
}

fn pieces(corpus: &Corpus) -> Box<dyn Iterator<Item = Result<Piece, DataError>> + '_> {
    Box::new(corpus.files.iter().flat_map(|file| {
        let documents = if is_json(file) { Documents::Line } else { corpus.documents };
        match Pieces::open(file, documents) {
            Ok(pieces) => Box::new(pieces) as Box<dyn Iterator<Item = _>>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }))
}

fn is_json(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| {
        extension.eq_ignore_ascii_case("jsonl") || extension.eq_ignore_ascii_case("json")
    })
}

fn example(piece: &Piece, model: &ModelText) -> Result<Example, DataError> {
    let read;
    let text = if is_json(&piece.path) {
        read = text_of(&piece.text).map_err(|problem| piece.wrong(problem))?;
        &read
    } else {
        &piece.text
    };
    Example::of_text(text, 0..text.len(), model).map_err(|error| piece.wrong(error.to_string()))
}

fn text_of(line: &str) -> Result<String, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| format!("is not JSON: {error}"))?;
    match value.get("text") {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("`text` is {}, not a string", kind(other))),
        None => Err(format!("has no `text`: {} is read as a JSON object with a text a line", kind(&value))),
    }
}

#[cfg(test)]
mod tests;
