//! From files to a token store, or to the one that was made of the same files before.

use std::path::{Path, PathBuf};

use super::DataError;
use super::corpus::{self, Amount, Corpus};
use super::digest::Digest;
use super::encode::{Effort, Encoded};
use super::lines::{Documents, Piece, Pieces};
use super::model_text::ModelText;
use super::store::{Counts, StoreWriter, TokenStore, TooLong};
use super::supervised::Loss;

/// What is trained on.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// JSONL of the shapes of `record`. The examples of a file are marked with its name where `tagged` says so.
    Supervised { files: Vec<PathBuf>, loss: Loss, tagged: bool },
    /// Text up to a number of tokens.
    Corpora { corpora: Vec<Corpus>, tokens_max: Option<u64> },
}

/// How long an example may be, and who works.
#[derive(Clone, Copy)]
pub struct PrepareOptions<'a> {
    pub length_max: usize,
    pub too_long: TooLong,
    pub effort: Effort<'a>,
    /// Told now and then how far it is.
    pub progress: &'a (dyn Fn(Counts) + Sync),
}

/// Examples between two words of progress.
const PROGRESS_EXAMPLES: u64 = 256;

/// The store in `folder`, made now if it is not there or of other data.
///
/// # Errors
/// The first line that is wrong, an option, nothing to train on, what is in the way in `folder`.
pub fn prepare(
    folder: &Path,
    source: &Source,
    model: &ModelText,
    options: PrepareOptions<'_>,
) -> Result<TokenStore, DataError> {
    if options.length_max < 2 {
        let problem = format!(
            "is {}: a token is predicted from the one before, so at least 2 are needed",
            options.length_max
        );
        return Err(DataError::Option { key: "max_length", problem });
    }
    let digest = digest(source, model, &options)?;
    if let Some(store) = TokenStore::reuse(folder, &digest)? {
        return Ok(store);
    }
    let mut writer = StoreWriter::create(folder)?;
    match source {
        Source::Supervised { files, loss, tagged } => {
            let files =
                files.iter().map(|file| (file.as_path(), if *tagged { stem(file) } else { String::new() }));
            supervised(files, *loss, model, options, &mut writer)?;
        }
        Source::Corpora { corpora, tokens_max } => {
            let PrepareOptions { length_max, too_long, effort, .. } = options;
            let amount = Amount { tokens_max: *tokens_max, length_max, too_long };
            corpus::write(corpora, amount, model, effort, &mut writer, options.progress)?;
        }
    }
    writer.finish(digest)
}

fn digest(source: &Source, model: &ModelText, options: &PrepareOptions<'_>) -> Result<String, DataError> {
    let mut digest = Digest::new("examples");
    digest.option("model", &model.digest()?);
    digest.option("length", &(options.length_max, options.too_long));
    match source {
        Source::Supervised { files, loss, tagged } => {
            digest.option("supervised", loss);
            for file in files {
                if *tagged {
                    digest.option("tag", &stem(file));
                }
                digest.file(file, options.effort.stop)?;
            }
        }
        Source::Corpora { corpora, tokens_max } => {
            corpus::check(corpora, *tokens_max)?;
            digest.option("tokens_max", tokens_max);
            for Corpus { files, documents, proportion, tag } in corpora {
                digest.option("corpus", &(files.len(), documents, proportion, tag));
                for file in files {
                    digest.file(file, options.effort.stop)?;
                }
            }
        }
    }
    Ok(digest.finish())
}

/// `sw` of `data/sw.jsonl`.
pub fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn supervised<'a>(
    files: impl Iterator<Item = (&'a Path, String)>,
    loss: Loss,
    model: &ModelText,
    options: PrepareOptions<'_>,
    writer: &mut StoreWriter,
) -> Result<(), DataError> {
    let encode = |piece: &Piece| loss.example(piece, model);
    for (file, tag) in files {
        let pieces = Box::new(Pieces::open(file, Documents::Line)?);
        let before = writer.counts;
        for example in Encoded::new(pieces, |piece| piece.text.len(), &encode, options.effort) {
            writer.fit(example?, options.length_max, options.too_long, &tag)?;
            if writer.counts.examples.is_multiple_of(PROGRESS_EXAMPLES) {
                (options.progress)(writer.counts);
            }
        }
        if before == writer.counts {
            return Err(DataError::file(file, "has no line of data"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
