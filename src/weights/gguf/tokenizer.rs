//! GGUF metadata to a tokenizer.json and what a Hugging Face directory keeps beside it.
//!
//! The tokenizer is built as JSON and then loaded like any other, so that a GGUF file and the directory converted from
//! it cannot tokenise differently.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::config::Architecture;
use super::metadata::{self, Metadata};
use super::{pre_tokenizers, sentencepiece};
use crate::weights::WeightsError;
use crate::weights::checkpoint::{SpecialTokens, remove_repeats};
use crate::weights::end_of_generation::END_OF_GENERATION;

/// Splitting a token into the two it is merged from takes the square of its length. The longest tokens of published
/// vocabularies, runs of spaces or dashes, have a few hundred bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// Of Phi-3's added tokens, those that leave the white space behind them.
const KEEPS_SPACE: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

/// llama.cpp's token types.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The tokenizer of a GGUF file in Hugging Face's files.
#[derive(Debug)]
pub struct TokenizerFiles {
    pub tokenizer_json: String,
    pub chat_template: Option<String>,
    pub special: SpecialTokens,
    pub bos_token_id: Option<u32>,
    pub pad_token_id: Option<u32>,
    pub eos_token_ids: Vec<u32>,
}

impl TokenizerFiles {
    /// generation_config.json.
    pub fn generation_config(&self) -> Value {
        let mut config = Map::new();
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                config.insert(key.to_owned(), value);
            }
        };
        set("bos_token_id", self.bos_token_id.map(Value::from));
        set(
            "eos_token_id",
            match self.eos_token_ids.as_slice() {
                [] => None,
                [id] => Some(json!(id)),
                ids => Some(json!(ids)),
            },
        );
        set("pad_token_id", self.pad_token_id.map(Value::from));
        Value::Object(config)
    }

    /// tokenizer_config.json. The class is the one that takes tokenizer.json as it is.
    pub fn tokenizer_config(&self, model_max_length: &Value) -> Value {
        let SpecialTokens { bos, eos, pad, unk } = &self.special;
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
            "model_max_length": model_max_length,
            "bos_token": bos,
            "eos_token": eos,
            "pad_token": pad,
            "unk_token": unk,
        });
        if let Some(template) = &self.chat_template {
            config["chat_template"] = json!(template);
        }
        config
    }
}

/// Builds the tokenizer files.
pub fn translate(architecture: Architecture, metadata: &Metadata) -> Result<TokenizerFiles, WeightsError> {
    let vocabulary = Vocabulary::read(architecture, metadata)?;
    let tokenizer = match vocabulary.kind {
        Kind::ByteLevel => byte_level(metadata, &vocabulary)?,
        Kind::SentencePiece => sentence_piece(metadata, &vocabulary)?,
    };
    let chat_template = metadata.string("tokenizer.chat_template")?.map(str::to_owned);
    let text = |id: Option<u32>| id.map(|id| vocabulary.tokens[id as usize].to_owned());
    Ok(TokenizerFiles {
        tokenizer_json: tokenizer.to_string(),
        eos_token_ids: vocabulary.end_ids(chat_template.is_some()),
        chat_template,
        special: SpecialTokens {
            bos: text(vocabulary.bos),
            eos: text(vocabulary.eos),
            pad: text(vocabulary.pad),
            unk: text(vocabulary.unk),
        },
        bos_token_id: vocabulary.bos,
        pad_token_id: vocabulary.pad,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// GPT-2: tokens are spelled in the byte alphabet.
    ByteLevel,
    /// SentencePiece BPE with byte fallback.
    SentencePiece,
}

/// The tokens with their types, and the ids of the special ones; every id lies in the vocabulary.
struct Vocabulary<'a> {
    kind: Kind,
    tokens: Vec<&'a str>,
    /// Empty when the file does not say.
    types: Vec<i64>,
    /// The last token of each spelling, as in transformers.
    ids: HashMap<&'a str, u32>,
    bos: Option<u32>,
    eos: Option<u32>,
    pad: Option<u32>,
    unk: Option<u32>,
    /// End of turn and of message.
    turn_ends: Vec<u32>,
    /// Added tokens take the white space behind them. No GGUF file says so: llama.cpp knows it of Phi-3's models.
    strips_right: bool,
}

impl<'a> Vocabulary<'a> {
    fn read(architecture: Architecture, metadata: &'a Metadata) -> Result<Self, WeightsError> {
        let model_key = "tokenizer.ggml.model";
        let kind = match metadata.string(model_key)? {
            Some("gpt2") => Kind::ByteLevel,
            Some("llama") => Kind::SentencePiece,
            Some(other) => {
                let problem = format!(
                    "is `{other}`; `gpt2` (byte-level BPE) and `llama` (SentencePiece) are supported"
                );
                return Err(metadata.error(model_key, problem));
            }
            None => return Err(metadata.error(model_key, "is missing; the file has no tokenizer")),
        };
        let tokens_key = "tokenizer.ggml.tokens";
        let tokens = metadata.strings(tokens_key)?.ok_or_else(|| metadata.error(tokens_key, "is missing"))?;
        if tokens.is_empty() {
            return Err(metadata.error(tokens_key, "is empty"));
        }
        if let Some(id) = tokens.iter().position(|token| token.len() > TOKEN_BYTES_MAX) {
            let problem =
                format!("has {} bytes in token {id}, at most {TOKEN_BYTES_MAX} are read", tokens[id].len());
            return Err(metadata.error(tokens_key, problem));
        }
        let types = token_types(metadata, tokens.len())?;
        let ids = tokens.iter().enumerate().map(|(id, token)| (*token, id as u32)).collect();
        let token_id = |name: &str, default: Option<u32>| -> Result<Option<u32>, WeightsError> {
            let key = format!("tokenizer.ggml.{name}_token_id");
            match metadata.count(&key)? {
                None => Ok(default.filter(|id| (*id as usize) < tokens.len())),
                Some(id) if (id as usize) < tokens.len() => Ok(Some(id)),
                Some(id) => {
                    Err(metadata.error(&key, format!("is {id}, outside the {} tokens", tokens.len())))
                }
            }
        };
        // llama.cpp's defaults for SentencePiece.
        let default = |id| (kind == Kind::SentencePiece).then_some(id);
        let (bos, eos) = (token_id("bos", default(1))?, token_id("eos", default(2))?);
        let (unk, pad) = (token_id("unknown", default(0))?, token_id("padding", None)?);
        let turn_ends = [token_id("eot", None)?, token_id("eom", None)?].into_iter().flatten().collect();
        let strips_right = architecture == Architecture::Phi3 && kind == Kind::SentencePiece;
        Ok(Self { kind, tokens, types, ids, bos, eos, pad, unk, turn_ends, strips_right })
    }

    /// Ids that end a generation: the file's own, and, with a chat template, known ones that are whole tokens (as llama.cpp, which
    /// marks those as control tokens that older files have as user-defined ones).
    fn end_ids(&self, is_chat: bool) -> Vec<u32> {
        let mut ids: Vec<u32> = self.eos.into_iter().chain(self.turn_ends.iter().copied()).collect();
        if is_chat {
            let known = END_OF_GENERATION.iter().filter_map(|token| self.ids.get(token));
            let is_whole =
                |id: &&u32| matches!(self.types.get(**id as usize), Some(&(CONTROL | USER_DEFINED)));
            ids.extend(known.filter(is_whole));
        }
        remove_repeats(&mut ids);
        ids
    }

    /// The added tokens: control and unknown tokens are special, user-defined ones are only kept whole.
    fn added_tokens(&self) -> Vec<Value> {
        let explicit: BTreeSet<u32> =
            [self.bos, self.eos].into_iter().flatten().chain(self.turn_ends.iter().copied()).collect();
        let kind_of = |id: u32| self.types.get(id as usize).copied();
        let added = self.tokens.iter().zip(0_u32..).filter_map(|(token, id)| {
            let is_special = explicit.contains(&id) || matches!(kind_of(id), Some(CONTROL | UNKNOWN));
            let is_added = is_special || kind_of(id) == Some(USER_DEFINED);
            (is_added && !token.is_empty() && self.ids.get(token) == Some(&id)).then(|| {
                json!({
                    "id": id,
                    "content": token,
                    "single_word": false,
                    "lstrip": false,
                    "rstrip": self.strips_right && !KEEPS_SPACE.contains(token),
                    "normalized": false,
                    "special": is_special,
                })
            })
        });
        added.collect()
    }

    /// Adds BOS and EOS as the file says; `Null` when neither is added.
    fn post_processor(&self, metadata: &Metadata, add_bos: bool) -> Result<Value, WeightsError> {
        let flag = |key: &str, default| Ok::<_, WeightsError>(metadata.boolean(key)?.unwrap_or(default));
        let bos = if flag("tokenizer.ggml.add_bos_token", add_bos)? { self.bos } else { None };
        let eos = if flag("tokenizer.ggml.add_eos_token", false)? { self.eos } else { None };
        if bos.is_none() && eos.is_none() {
            return Ok(Value::Null);
        }
        let special = |id: Option<u32>, type_id: u32| {
            id.map(|id| json!({ "SpecialToken": { "id": self.tokens[id as usize], "type_id": type_id } }))
        };
        let stretch = |name: &str, type_id: u32| {
            let text = json!({ "Sequence": { "id": name, "type_id": type_id } });
            special(bos, type_id).into_iter().chain([text]).chain(special(eos, type_id)).collect::<Vec<_>>()
        };
        let single = stretch("A", 0);
        let pair: Vec<_> = single.iter().cloned().chain(stretch("B", 1)).collect();
        let mut special_tokens = Map::new();
        for id in bos.into_iter().chain(eos) {
            let token = self.tokens[id as usize];
            special_tokens.insert(token.to_owned(), json!({ "id": token, "ids": [id], "tokens": [token] }));
        }
        Ok(json!({
            "type": "TemplateProcessing",
            "single": single,
            "pair": pair,
            "special_tokens": special_tokens,
        }))
    }

    fn vocab_json(&self) -> Value {
        // Later tokens of the same spelling replace earlier ones, as in `ids`.
        self.tokens
            .iter()
            .enumerate()
            .map(|(id, token)| ((*token).to_owned(), json!(id)))
            .collect::<Map<_, _>>()
            .into()
    }
}

fn token_types(metadata: &Metadata, tokens: usize) -> Result<Vec<i64>, WeightsError> {
    let key = "tokenizer.ggml.token_type";
    let types = metadata.array(key, "token types", |value| match value {
        metadata::Value::Signed(kind) => Some(*kind),
        metadata::Value::Unsigned(kind) => i64::try_from(*kind).ok(),
        _ => None,
    })?;
    match types {
        Some(types) if types.len() != tokens => {
            Err(metadata.error(key, format!("has {} entries for {tokens} tokens", types.len())))
        }
        types => Ok(types.unwrap_or_default()),
    }
}

fn byte_level(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Value, WeightsError> {
    let pre_key = "tokenizer.ggml.pre";
    let pre = metadata.string(pre_key)?.unwrap_or("default");
    let pre = pre_tokenizers::by_name(pre).ok_or_else(|| {
        let problem = format!("is `{pre}`, which is not known; known are {}", pre_tokenizers::KNOWN);
        metadata.error(pre_key, problem)
    })?;
    let merges =
        stored_merges(metadata)?.ok_or_else(|| metadata.error("tokenizer.ggml.merges", "is missing"))?;
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": vocabulary.added_tokens(),
        "normalizer": pre.normalizer,
        "pre_tokenizer": pre.splitter,
        "post_processor": vocabulary.post_processor(metadata, pre.add_bos)?,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": pre.ignore_merges,
            "vocab": vocabulary.vocab_json(),
            "merges": merges,
        },
    }))
}

fn sentence_piece(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Value, WeightsError> {
    let merges = match stored_merges(metadata)? {
        Some(merges) => merges,
        None => sentencepiece::merges(&vocabulary.tokens, &scores(metadata, vocabulary)?, &vocabulary.ids),
    };
    let add_space_prefix = metadata.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": vocabulary.added_tokens(),
        "normalizer": sentencepiece::normalizer(add_space_prefix),
        "pre_tokenizer": null,
        "post_processor": vocabulary.post_processor(metadata, true)?,
        "decoder": sentencepiece::decoder(add_space_prefix),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": vocabulary.unk.map(|id| vocabulary.tokens[id as usize]),
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": true,
            "ignore_merges": false,
            "vocab": vocabulary.vocab_json(),
            "merges": merges,
        },
    }))
}

fn stored_merges(metadata: &Metadata) -> Result<Option<Vec<(&str, &str)>>, WeightsError> {
    metadata.array("tokenizer.ggml.merges", "pairs of tokens", |value| match value {
        metadata::Value::String(merge) => merge.split_once(' '),
        _ => None,
    })
}

fn scores(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Vec<f32>, WeightsError> {
    let key = "tokenizer.ggml.scores";
    let scores = metadata.array(key, "numbers", |value| match value {
        metadata::Value::Float(score) if !score.is_nan() => Some(*score as f32),
        _ => None,
    })?;
    match scores {
        Some(scores) if scores.len() == vocabulary.tokens.len() => Ok(scores),
        Some(scores) => {
            let problem = format!("has {} entries for {} tokens", scores.len(), vocabulary.tokens.len());
            Err(metadata.error(key, problem))
        }
        None => Err(metadata.error(key, "is missing")),
    }
}
