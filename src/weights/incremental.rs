//! Token ids to text as they come: the pieces, put together, are exactly `decode` of all ids at once.
//!
//! The decoders of language models are chains of a few simple stages, and each is run here one token at a time with
//! the state it needs: bytes of an unfinished character, a run of byte-fallback tokens, whether the first token has
//! passed. A chain with a stage that cannot be run so (`WordPiece`, `CTC`, a regular expression) holds its text
//! until `finish`: late, but never wrong.

use serde_json::Value;

use super::{Tokenizer, WeightsError};

/// How the tokens of a vocabulary become text.
#[derive(Debug, Clone)]
pub(super) enum Decoding {
    /// Stages that run token by token.
    Stages(Vec<Stage>),
    /// A decoder that has to see all tokens.
    Whole,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stage {
    /// Characters that stand for bytes (GPT-2); everything becomes one token.
    ByteLevel,
    /// Literal text in every token.
    Replace { from: String, to: String },
    /// `<0xE5>` stands for a byte; a run of such tokens is text if all of it is UTF-8, else a `�` for each.
    ByteFallback,
    /// Everything becomes one token.
    Fuse,
    /// Up to `count` of a character at the start of each token.
    StripStart { content: char, count: usize },
    /// A character that stands for a space; dropped from the first token unless `keeps_first`.
    Metaspace { replacement: char, keeps_first: bool },
    /// No decoder: tokens are joined by spaces.
    Join,
}

impl Decoding {
    /// From the `decoder` of a tokenizer.json.
    pub(super) fn of(decoder: Option<&Value>) -> Self {
        let Some(decoder) = decoder else { return Self::Stages(vec![Stage::Join]) };
        let mut stages = Vec::new();
        match add_stages(decoder, &mut stages) {
            Some(()) if chain_is_streamable(&stages) => Self::Stages(stages),
            _ => Self::Whole,
        }
    }

    /// The bytes of one token in the middle of a text.
    pub(super) fn token_bytes(&self, token: &str) -> Vec<u8> {
        let Self::Stages(stages) = self else { return token.as_bytes().to_vec() };
        let mut text = token.to_owned();
        for stage in stages {
            match stage {
                Stage::ByteLevel => return byte_level_bytes(&text),
                Stage::ByteFallback => {
                    if let Some(byte) = fallback_byte(&text) {
                        return vec![byte];
                    }
                }
                Stage::Replace { from, to } => text = text.replace(from, to),
                Stage::Metaspace { replacement, .. } => text = text.replace(*replacement, " "),
                Stage::Fuse | Stage::StripStart { .. } | Stage::Join => {}
            }
        }
        text.into_bytes()
    }
}

fn add_stages(decoder: &Value, stages: &mut Vec<Stage>) -> Option<()> {
    let character = |key: &str| decoder[key].as_str().and_then(|text| text.chars().next());
    stages.push(match decoder["type"].as_str()? {
        "Sequence" => {
            return decoder["decoders"]
                .as_array()?
                .iter()
                .try_for_each(|decoder| add_stages(decoder, stages));
        }
        "ByteLevel" => Stage::ByteLevel,
        "ByteFallback" => Stage::ByteFallback,
        "Fuse" => Stage::Fuse,
        "Replace" => Stage::Replace {
            from: decoder["pattern"]["String"].as_str().filter(|from| !from.is_empty())?.to_owned(),
            to: decoder["content"].as_str()?.to_owned(),
        },
        "Strip" if decoder["stop"] == 0 => {
            Stage::StripStart { content: character("content")?, count: decoder["start"].as_u64()? as usize }
        }
        "Metaspace" => Stage::Metaspace {
            replacement: character("replacement")?,
            keeps_first: decoder["prepend_scheme"] == "never",
        },
        _ => return None,
    });
    Some(())
}

/// After tokens have been fused, only stages that look at single characters still see what they would have seen.
fn chain_is_streamable(stages: &[Stage]) -> bool {
    let fused = stages.iter().position(|stage| matches!(stage, Stage::Fuse | Stage::ByteLevel));
    let after = fused.map_or(&[][..], |at| &stages[at + 1..]);
    after.iter().all(|stage| match stage {
        Stage::Replace { from, .. } => from.chars().count() == 1,
        Stage::Fuse | Stage::StripStart { .. } | Stage::Metaspace { .. } => true,
        Stage::ByteLevel | Stage::ByteFallback | Stage::Join => false,
    })
}

/// Decodes one sequence, token by token.
#[derive(Debug)]
pub struct IncrementalDecoder {
    tokenizer: Tokenizer,
    skip_special: bool,
    stages: Vec<Running>,
    /// All ids, for a tokenizer that cannot be run token by token.
    held: Vec<u32>,
}

impl IncrementalDecoder {
    /// A decoder for one sequence; `skip_special` as in [`Tokenizer::decode`].
    pub fn new(tokenizer: Tokenizer, skip_special: bool) -> Self {
        let stages = match tokenizer.decoding() {
            Decoding::Stages(stages) => stages.iter().cloned().map(Running::new).collect(),
            Decoding::Whole => Vec::new(),
        };
        Self { tokenizer, skip_special, stages, held: Vec::new() }
    }

    /// Takes the next id and returns the text that is complete by now, possibly none.
    pub fn push(&mut self, id: u32) -> Result<String, WeightsError> {
        if matches!(self.tokenizer.decoding(), Decoding::Whole) {
            self.held.push(id);
            return Ok(String::new());
        }
        let Some(token) = self.tokenizer.id_to_token(id) else { return Ok(String::new()) };
        if self.skip_special && self.tokenizer.is_special_token(&token) {
            return Ok(String::new());
        }
        Ok(run(&mut self.stages, vec![Piece { text: token, starts_token: true }]))
    }

    /// Returns what was held back: an unfinished character as `�`, a run of byte tokens. The decoder can be used for
    /// another sequence afterwards.
    pub fn finish(&mut self) -> Result<String, WeightsError> {
        if matches!(self.tokenizer.decoding(), Decoding::Whole) {
            return self.tokenizer.decode(&std::mem::take(&mut self.held), self.skip_special);
        }
        let mut text = String::new();
        for at in 0..self.stages.len() {
            let rest = self.stages[at].finish();
            text.push_str(&run(&mut self.stages[at + 1..], rest));
        }
        for stage in &mut self.stages {
            *stage = Running::new(stage.stage.clone());
        }
        Ok(text)
    }
}

/// Text between two stages: a whole token, or the continuation of one that was fused.
struct Piece {
    text: String,
    starts_token: bool,
}

/// A stage with its state.
#[derive(Debug)]
struct Running {
    stage: Stage,
    /// Bytes of an unfinished character (ByteLevel) or of a run of byte tokens (ByteFallback).
    bytes: Vec<u8>,
    /// Whether a token has passed (Metaspace, Fuse, Join).
    started: bool,
    /// Characters that may still be stripped from the token at hand.
    strippable: usize,
}

fn run(stages: &mut [Running], mut pieces: Vec<Piece>) -> String {
    for stage in stages {
        pieces = pieces.into_iter().flat_map(|piece| stage.push(piece)).collect();
    }
    pieces.into_iter().map(|piece| piece.text).collect()
}

impl Running {
    fn new(stage: Stage) -> Self {
        Self { stage, bytes: Vec::new(), started: false, strippable: 0 }
    }

    fn push(&mut self, piece: Piece) -> Vec<Piece> {
        let Piece { mut text, mut starts_token } = piece;
        match &self.stage {
            Stage::ByteLevel => {
                self.bytes.extend(byte_level_bytes(&text));
                text = take_complete_utf8(&mut self.bytes);
                starts_token = !std::mem::replace(&mut self.started, true);
            }
            Stage::Fuse => starts_token = !std::mem::replace(&mut self.started, true),
            Stage::Replace { from, to } => text = text.replace(from, to),
            Stage::ByteFallback => {
                if let Some(byte) = fallback_byte(&text) {
                    self.bytes.push(byte);
                    return Vec::new();
                }
                let mut pieces = self.finish();
                pieces.push(Piece { text, starts_token: true });
                return pieces;
            }
            Stage::StripStart { content, count } => {
                if starts_token {
                    self.strippable = *count;
                }
                while self.strippable > 0 && text.starts_with(*content) {
                    text.drain(..content.len_utf8());
                    self.strippable -= 1;
                }
                if !text.is_empty() {
                    self.strippable = 0;
                }
            }
            Stage::Metaspace { replacement, keeps_first } => {
                let is_first = !self.started || !starts_token && self.strippable == 1;
                self.started = true;
                // `strippable` remembers whether the token at hand is the first, for its continuations.
                self.strippable = usize::from(is_first);
                text = text.replace(*replacement, if is_first && !keeps_first { "" } else { " " });
            }
            Stage::Join => {
                if std::mem::replace(&mut self.started, true) {
                    text.insert(0, ' ');
                }
            }
        }
        vec![Piece { text, starts_token }]
    }

    fn finish(&mut self) -> Vec<Piece> {
        if self.bytes.is_empty() {
            return Vec::new();
        }
        let bytes = std::mem::take(&mut self.bytes);
        let piece = |text: String, starts_token| Piece { text, starts_token };
        match &self.stage {
            Stage::ByteFallback => match String::from_utf8(bytes) {
                Ok(text) => vec![piece(text, true)],
                Err(error) => error.as_bytes().iter().map(|_| piece("\u{fffd}".into(), true)).collect(),
            },
            _ => vec![piece(String::from_utf8_lossy(&bytes).into_owned(), false)],
        }
    }
}

/// Takes what is decided off the front: whole characters, and `�` for what can no longer become one, as
/// `String::from_utf8_lossy` would write it.
fn take_complete_utf8(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(valid) => {
                text.push_str(valid);
                bytes.clear();
                return text;
            }
            Err(error) => {
                let valid = error.valid_up_to();
                text.push_str(std::str::from_utf8(&bytes[..valid]).unwrap_or_default());
                let Some(invalid) = error.error_len() else {
                    bytes.drain(..valid);
                    return text;
                };
                text.push('\u{fffd}');
                bytes.drain(..valid + invalid);
            }
        }
    }
}

/// The bytes that a token of a ByteLevel vocabulary stands for; a token with any other character stands for itself.
fn byte_level_bytes(token: &str) -> Vec<u8> {
    token.chars().map(byte_of).collect::<Option<_>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

/// GPT-2's table: printable Latin-1 characters stand for themselves, the 68 others for U+0100 onwards in order.
fn byte_of(character: char) -> Option<u8> {
    match character as u32 {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// The byte of a token like `<0xE5>`.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    // `from_str_radix` would also take a sign.
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}
