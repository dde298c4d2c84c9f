//! The `tokenizer` of a configuration, its short form `tokenizer_source`, and `chat_template`.

use std::collections::BTreeMap;

use crate::chat::ChatTemplate;

use super::document::{At, Fields};
use super::error::{ConfigError, Place, hint, quoted};
use super::reference::ModelReference;

pub(super) const TOKENIZER_KEYS: &[&str] = &["source", "tokens", "pad_to_multiple_of"];
pub(super) const RULE_KEYS: &[&str] = &["source", "force"];
pub(super) const TOKEN_SOURCE_KEYS: &[&str] = &["kind", "model", "token", "token_id"];
/// Chat templates that have a name, and `auto`: the one that most of the models have.
pub(super) const CHAT_TEMPLATES: &[&str] = &["auto", "alpaca", "chatml", "exaone", "llama3", "mistral"];

const PAD_MAX: u32 = 1 << 20;
/// In characters. What is shorter is a misspelt name.
const CHAT_TEMPLATE_MIN: usize = 20;

/// What vocabulary the merged model has, and where the rows of its tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerConfig {
    pub source: TokenizerSource,
    /// Tokens with a rule of their own, in the order they are written.
    pub tokens: Vec<(String, TokenRule)>,
    /// Rows that embeddings are filled up to a multiple of.
    pub pad_to_multiple_of: Option<usize>,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerSource {
    /// The tokens of all models, the base's first.
    Union,
    Base,
    Model(ModelReference),
}

/// Where a token's row comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRule {
    /// As without a rule if not given: the model that has it, the base's, or the mean.
    pub source: Option<TokenSource>,
    /// Also for models that have the token.
    pub force: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    Zero,
    /// The row of the same token.
    Model(ModelReference),
    ModelToken {
        model: ModelReference,
        token: TokenName,
    },
}

/// A token of a model's own vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenName {
    Text(String),
    Id(u32),
}

impl TokenizerConfig {
    /// Of the source: `tokenizer_source` is all of it.
    pub(in crate::merge) fn source_place(&self) -> Place {
        if self.place.key == "tokenizer_source" { self.place.clone() } else { self.place.under("source") }
    }

    /// Reads whichever of the two keys there is.
    pub(super) fn read(fields: &Fields) -> Result<Option<Self>, ConfigError> {
        match (fields.get("tokenizer"), fields.get("tokenizer_source")) {
            (None, None) => Ok(None),
            (Some(at), None) => Self::read_map(at).map(Some),
            (None, Some(at)) => {
                let source = TokenizerSource::read(at)?;
                Ok(Some(Self {
                    source,
                    tokens: Vec::new(),
                    pad_to_multiple_of: None,
                    place: at.place.clone(),
                }))
            }
            (Some(_), Some(short)) => {
                let way_out = "keep `tokenizer`, with a `source`, or `tokenizer_source`";
                Err(short.place.conflict("`tokenizer` is given too, which says the same at length", way_out))
            }
        }
    }

    fn read_map(at: &At) -> Result<Self, ConfigError> {
        let fields = at.fields(TOKENIZER_KEYS)?;
        let mut tokens = Vec::new();
        for (token, at) in fields.get("tokens").map_or_else(|| Ok(Vec::new()), At::entries)? {
            if token.is_empty() {
                return Err(at.wrong("a token is empty", "write the token's text"));
            }
            tokens.push((token.to_owned(), TokenRule::read(&at)?));
        }
        let pad = fields.get("pad_to_multiple_of").map(|at| at.whole(1..=PAD_MAX)).transpose()?;
        Ok(Self {
            source: fields.get("source").map_or(Ok(TokenizerSource::Union), TokenizerSource::read)?,
            tokens,
            pad_to_multiple_of: pad.map(|pad| pad as usize),
            place: at.place.clone(),
        })
    }
}

impl TokenizerSource {
    fn read(at: &At) -> Result<Self, ConfigError> {
        match at.scalar() {
            Some("union") => Ok(Self::Union),
            Some("base") => Ok(Self::Base),
            _ => ModelReference::read(at).map(Self::Model),
        }
    }
}

impl TokenRule {
    fn read(at: &At) -> Result<Self, ConfigError> {
        let fields = at.fields(RULE_KEYS)?;
        let source = fields.get("source").map(TokenSource::read).transpose()?;
        Ok(Self { source, force: fields.get("force").map_or(Ok(false), At::flag)? })
    }
}

impl TokenSource {
    /// A model's name, a model's mapping, or a mapping with `kind`.
    fn read(at: &At) -> Result<Self, ConfigError> {
        let has_kind = |(key, _): &(&str, At)| TOKEN_SOURCE_KEYS.contains(key) && *key != "model";
        if !at.is_map() || !at.entries()?.iter().any(has_kind) {
            return ModelReference::read(at).map(Self::Model);
        }
        let fields = at.fields(TOKEN_SOURCE_KEYS)?;
        let kinds = "write `zero` or `model_token`";
        let kind = fields.need("kind", kinds)?;
        match kind.text()? {
            "zero" => {
                at.fields(&["kind"])?;
                Ok(Self::Zero)
            }
            "model_token" => {
                let model = ModelReference::read(fields.need("model", "write the model whose row it is")?)?;
                Ok(Self::ModelToken { model, token: TokenName::read(&fields)? })
            }
            other => Err(kind.wrong(format!("{} is no kind of source", quoted(other)), kinds)),
        }
    }

    /// The model whose row it is.
    pub fn model(&self) -> Option<&ModelReference> {
        match self {
            Self::Zero => None,
            Self::Model(model) | Self::ModelToken { model, .. } => Some(model),
        }
    }
}

impl TokenName {
    fn read(fields: &Fields) -> Result<Self, ConfigError> {
        match (fields.get("token"), fields.get("token_id")) {
            (Some(token), None) => Ok(Self::Text(token.text()?.to_owned())),
            (None, Some(id)) => id.whole(0..=u32::MAX).map(Self::Id),
            (None, None) => Err(fields.place.wrong("names no token", "write `token` or `token_id`")),
            (Some(_), Some(_)) => {
                Err(fields.place.conflict("names a token twice", "keep `token` or `token_id`"))
            }
        }
    }
}

/// `auto`, the name of a template, or a template itself. One that is Jinja and not served here is a warning.
pub(super) fn read_chat_template(at: &At, warnings: &mut Vec<String>) -> Result<String, ConfigError> {
    let text = at.text()?;
    if CHAT_TEMPLATES.contains(&text) {
        return Ok(text.to_owned());
    }
    if text.contains('{') && text.chars().count() >= CHAT_TEMPLATE_MIN {
        ChatTemplate::check_syntax(text)
            .map_err(|error| at.wrong(error.to_string(), "mend it, or write `auto`"))?;
        if let Err(error) = ChatTemplate::new(text, BTreeMap::new()) {
            let place = &at.place;
            warnings.push(format!("{place}: {error}; the output can be written and not chatted with here"));
        }
        return Ok(text.to_owned());
    }
    let what = format!("{} is neither the name of a chat template nor a Jinja template", quoted(text));
    Err(at.wrong(what, hint(text, CHAT_TEMPLATES.iter().copied())))
}

#[cfg(test)]
mod tests {
    use super::super::yaml::parse;
    use super::*;

    fn read(text: &str) -> Result<Option<TokenizerConfig>, String> {
        let node = parse(text).expect(text);
        let fields = At::top(&node).fields(&["tokenizer", "tokenizer_source"]).expect(text);
        TokenizerConfig::read(&fields).map_err(|error| error.to_string())
    }

    fn model(path: &str) -> ModelReference {
        path.parse().expect(path)
    }

    #[test]
    fn sources_and_padding() {
        let check = |text: &str, source: TokenizerSource, pad: Option<usize>| {
            let found = read(text).expect(text).expect(text);
            assert_eq!((found.source, found.pad_to_multiple_of), (source, pad), "{text}");
        };
        check("tokenizer_source: union", TokenizerSource::Union, None);
        check("tokenizer_source: base", TokenizerSource::Base, None);
        check("tokenizer_source: org/m", TokenizerSource::Model(model("org/m")), None);
        check("tokenizer: {pad_to_multiple_of: 64}", TokenizerSource::Union, Some(64));
        check("tokenizer: {source: {model: org/m}}", TokenizerSource::Model(model("org/m")), None);
        assert_eq!(read("tokenizer:"), Ok(None));
    }

    #[test]
    fn rules_of_tokens() {
        let check = |rule: &str, source: Option<TokenSource>, force: bool| {
            let found = read(&format!("tokenizer: {{tokens: {{x: {rule}}}}}")).expect(rule).expect(rule);
            assert_eq!(found.tokens, vec![("x".to_owned(), TokenRule { source, force })], "{rule}");
        };
        let of = |token| Some(TokenSource::ModelToken { model: model("a"), token });
        check("{force: yes}", None, true);
        check("{source: {kind: zero}}", Some(TokenSource::Zero), false);
        check("{source: a}", Some(TokenSource::Model(model("a"))), false);
        check("{source: {model: a}}", Some(TokenSource::Model(model("a"))), false);
        check("{source: {kind: model_token, model: a, token_id: 5}}", of(TokenName::Id(5)), false);
        check(
            "{source: {kind: model_token, model: a, token: <s>}}",
            of(TokenName::Text("<s>".to_owned())),
            false,
        );
    }

    #[test]
    fn errors_name_keys() {
        let check = |text: &str, expected: &str| {
            let error = read(text).expect_err(text);
            assert!(error.starts_with(&format!("line 1: {expected}")), "{text}: {error}");
        };
        check("{tokenizer: {}, tokenizer_source: base}", "tokenizer_source: `tokenizer` is given too");
        check("tokenizer: {sorce: base}", "tokenizer.sorce: is not a known key; did you mean `source`?");
        check(
            "tokenizer: {pad_to_multiple_of: 0}",
            "tokenizer.pad_to_multiple_of: `0` is not a whole number from 1",
        );
        check(
            "tokenizer: {tokens: {x: {source: {kind: one}}}}",
            "tokenizer.tokens.x.source.kind: `one` is no kind",
        );
        check(
            "tokenizer: {tokens: {x: {source: {kind: zero, token: y}}}}",
            "tokenizer.tokens.x.source.token: is not",
        );
        check(
            "tokenizer: {tokens: {x: {source: {model: a, token: y}}}}",
            "tokenizer.tokens.x.source.kind: is missing",
        );
        check(
            "tokenizer: {tokens: {x: {source: {kind: model_token, model: a}}}}",
            "tokenizer.tokens.x.source: names no",
        );
        check("tokenizer: {tokens: {x: ~}}", "tokenizer.tokens.x: has no value");
    }

    #[test]
    fn chat_templates() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let node = parse(&format!("k: {text}")).expect(text);
            let fields = At::top(&node).fields(&["k"]).expect(text);
            let found = read_chat_template(fields.get("k").expect(text), &mut Vec::new());
            let found = found.map_err(|error| error.to_string());
            match expected {
                Ok(template) => assert_eq!(found.as_deref(), Ok(template)),
                Err(part) => {
                    assert!(found.as_ref().is_err_and(|error| error.contains(part)), "{text}: {found:?}");
                }
            }
        };
        check("auto", Ok("auto"));
        check("chatml", Ok("chatml"));
        check("'{{ messages[0].content }}'", Ok("{{ messages[0].content }}"));
        check("chatmm", Err("did you mean `chatml`?"));
        check("'{{ x }}'", Err("neither the name"));
        check(
            "'{% for m in messages %}{{ m.content }}'",
            Err("line 1: k: the chat template does not compile (line 1)"),
        );
        check(
            "'{% generation %}{{ messages[0].content }}{% endgeneration %}'",
            Ok("{% generation %}{{ messages[0].content }}{% endgeneration %}"),
        );
    }
}
