//! Pairs as tokens on disk: three examples of a token store a pair.
//!
//! Source: as the encoder's tokenizer has it, its special tokens included. Prompt: ids of the text alone. Target: ids of the text
//! and an end of text, none of which is lost when it is cut; only the target is trained.

use std::collections::HashMap;
use std::path::Path;

use super::super::DataError;
use super::super::digest::Digest;
use super::super::encode::{Effort, Encoded};
use super::super::example::Example;
use super::super::store::{Counts, StoreWriter, TokenStore};
use super::{Pair, PairLine, PairSource, Stage, prompts};
use crate::weights::Tokenizer;

/// Examples a pair.
const PARTS: usize = 3;

/// How the two models read.
#[derive(Clone, Copy)]
pub struct PairEncoder<'a> {
    /// The encoder's ids of a source, cut to its length; it knows about language tags.
    pub source: &'a (dyn Fn(&Pair) -> Result<Vec<u32>, DataError> + Sync),
    /// Of all that decides what `source` gives.
    pub source_digest: &'a str,
    pub llm: &'a Tokenizer,
    pub eos: u32,
}

#[derive(Clone, Copy)]
pub struct PairOptions<'a> {
    pub stage: &'a Stage,
    /// Tokens of a prompt, and of a target with its end.
    pub prompt_tokens_max: usize,
    pub target_tokens_max: usize,
    /// Of each language, the first.
    pub items_per_language_max: Option<u64>,
    pub effort: Effort<'a>,
    pub progress: &'a (dyn Fn(Counts) + Sync),
}

/// Mapped pairs, at least one.
#[derive(Debug)]
pub struct PairStore(TokenStore);

/// One pair, in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairView<'a> {
    pub source: &'a [u32],
    /// Empty in the mapping stage.
    pub prompt: &'a [u32],
    pub target: &'a [u32],
    pub language: &'a str,
}

impl PairStore {
    pub fn len(&self) -> usize {
        self.0.len() / PARTS
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// # Panics
    /// Beyond the last pair.
    pub fn pair(&self, index: usize) -> PairView<'_> {
        let part = |part: usize| self.0.example(index * PARTS + part);
        PairView { source: part(0).ids, prompt: part(1).ids, target: part(2).ids, language: part(0).tag }
    }

    /// Tokens of each pair in the LLM's sequence, but for those that a mapping may add to the encoder's.
    pub fn lengths(&self) -> Vec<u32> {
        self.0.lengths().chunks_exact(PARTS).map(|parts| parts.iter().sum()).collect()
    }

    /// Of all that its tokens are made of.
    pub fn digest(&self) -> &str {
        &self.0.header().digest
    }

    /// Of pairs, tokens those of all parts.
    pub fn counts(&self) -> Counts {
        let counts = self.0.header().counts;
        Counts { examples: counts.examples / PARTS as u64, ..counts }
    }
}

/// As [`super::super::prepare`], for pairs.
///
/// # Errors
/// As there; files that are not aligned.
pub fn prepare_pairs(
    folder: &Path,
    sources: &[PairSource],
    encoder: PairEncoder<'_>,
    options: PairOptions<'_>,
) -> Result<PairStore, DataError> {
    check(&options)?;
    let digest = digest(sources, encoder, &options)?;
    if let Some(store) = TokenStore::reuse(folder, &digest)? {
        return Ok(PairStore(store));
    }
    let mut writer = StoreWriter::create(folder)?;
    let mut of_language: HashMap<String, u64> = HashMap::new();
    for source in sources {
        let before = writer.counts;
        write(source, encoder, options, &mut of_language, &mut writer)?;
        if before == writer.counts && options.items_per_language_max.is_none() {
            return Err(DataError::file(source.files()[0], "has no line of data"));
        }
    }
    writer.finish(digest).map(PairStore)
}

fn check(options: &PairOptions<'_>) -> Result<(), DataError> {
    let fail = |key, problem: String| Err(DataError::Option { key, problem });
    if options.target_tokens_max < 2 {
        return fail(
            "max_target_length",
            format!("is {}: a target has a token and its end", options.target_tokens_max),
        );
    }
    match options.stage {
        Stage::Augmentation { math_prompt } => {
            prompts::check(math_prompt).or_else(|problem| fail("prompt_template", problem))
        }
        Stage::Mapping => Ok(()),
    }
}

fn digest(
    sources: &[PairSource],
    encoder: PairEncoder<'_>,
    options: &PairOptions<'_>,
) -> Result<String, DataError> {
    let mut digest = Digest::new("pairs");
    digest.option("source", &encoder.source_digest);
    digest.option("llm", &(encoder.llm.to_json()?, encoder.eos));
    digest.option(
        "lengths",
        &(options.prompt_tokens_max, options.target_tokens_max, options.items_per_language_max),
    );
    digest.option("stage", options.stage);
    for source in sources {
        digest.option("kind", &source.kind());
        for file in source.files() {
            digest.file(file, options.effort.stop)?;
        }
    }
    Ok(digest.finish())
}

fn write(
    source: &PairSource,
    encoder: PairEncoder<'_>,
    options: PairOptions<'_>,
    of_language: &mut HashMap<String, u64>,
    writer: &mut StoreWriter,
) -> Result<(), DataError> {
    let encode = |line: &PairLine| {
        let pair = source.pair(line, options.stage)?;
        parts(&pair, encoder, &options).map(|parts| (pair.language, parts))
    };
    let size = |line: &PairLine| line.piece.text.len() + line.aligned.as_ref().map_or(0, String::len);
    let mut lines = source.lines()?;
    for encoded in Encoded::new(Box::new(&mut lines), size, &encode, options.effort) {
        let (language, Parts { examples, is_cut }) = encoded?;
        let items = of_language.entry(language.clone()).or_default();
        if options.items_per_language_max.is_some_and(|most| *items >= most) {
            writer.counts.dropped += 1;
            continue;
        }
        *items += 1;
        for example in &examples {
            writer.add(example, &language)?;
        }
        writer.counts.truncated += u64::from(is_cut);
        if writer.counts.examples.is_multiple_of(PARTS as u64 * 256) {
            (options.progress)(writer.counts);
        }
    }
    writer.counts.untrained += lines.blank;
    Ok(())
}

struct Parts {
    examples: [Example; PARTS],
    is_cut: bool,
}

fn parts(pair: &Pair, encoder: PairEncoder<'_>, options: &PairOptions<'_>) -> Result<Parts, DataError> {
    let mut prompt = match &pair.prompt {
        Some(prompt) => encoder.llm.encode(prompt, false)?,
        None => Vec::new(),
    };
    let mut target = encoder.llm.encode(&pair.target, false)?;
    let room = options.target_tokens_max - 1;
    let is_cut = prompt.len() > options.prompt_tokens_max || target.len() > room;
    prompt.truncate(options.prompt_tokens_max);
    target.truncate(room);
    target.push(encoder.eos);
    let example = |ids: Vec<u32>, trained: bool| Example { trained: vec![trained; ids.len()], ids };
    let examples = [example((encoder.source)(pair)?, false), example(prompt, false), example(target, true)];
    Ok(Parts { examples, is_cut })
}
