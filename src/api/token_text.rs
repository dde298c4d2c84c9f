//! Tokens and their logprobs in the words of the wire.

use std::collections::BTreeMap;

use crate::engine::{TokenLogprob, TokenLogprobs};
use crate::protocol::logprobs::{
    ChatLogprobs, ChatTokenLogprob, ChatTopLogprob, CompletionLogprobs, PromptLogprob, PromptLogprobs,
    TopLogprobs,
};
use crate::weights::Tokenizer;

/// JSON has no minus infinity; vLLM writes this.
const LOGPROB_MIN: f32 = -9999.0;

#[derive(Clone)]
pub struct TokenText {
    pub tokenizer: Tokenizer,
    /// Write `token_id:42` for a token's text.
    pub as_ids: bool,
}

impl TokenText {
    fn text(&self, id: u32) -> String {
        if self.as_ids {
            return format!("token_id:{id}");
        }
        String::from_utf8_lossy(&self.tokenizer.token_bytes(id)).into_owned()
    }

    /// Appends one token and at most `k` of the likeliest in its place; `None` is the first of an echoed prompt.
    pub fn append(
        &self,
        to: &mut CompletionLogprobs,
        offset: &mut usize,
        id: u32,
        logprobs: Option<&TokenLogprobs>,
        k: u32,
    ) {
        let text = self.text(id);
        to.text_offset.push(*offset);
        *offset += text.chars().count();
        to.tokens.push(text);
        to.token_logprobs.push(logprobs.map(|logprobs| finite(logprobs.chosen.logprob)));
        to.top_logprobs.get_or_insert_default().push(logprobs.map(|logprobs| self.top(logprobs, k)));
        if let Some(kept) = logprobs.and_then(|logprobs| logprobs.kept_mass) {
            to.kept_mass.get_or_insert_default().push(kept);
        }
    }

    /// Best first, the chosen token included. Tokens of the same text keep the likelier one's place.
    fn top(&self, logprobs: &TokenLogprobs, k: u32) -> TopLogprobs {
        let mut entries: Vec<(String, f32)> = Vec::with_capacity(k as usize + 1);
        for token in logprobs.top.iter().take(k as usize).chain([&logprobs.chosen]) {
            let text = self.text(token.token);
            if entries.iter().all(|(known, _)| *known != text) {
                entries.push((text, finite(token.logprob)));
            }
        }
        TopLogprobs(entries)
    }

    pub fn chat(&self, tokens: &[(u32, Option<TokenLogprobs>)]) -> ChatLogprobs {
        let entry = |(_, logprobs): &(u32, Option<TokenLogprobs>)| {
            let TokenLogprobs { chosen, top: likeliest, kept_mass } = logprobs.as_ref()?;
            let top_logprobs = likeliest.iter().map(|token| self.chat_top(token)).collect();
            let ChatTopLogprob { token, logprob, bytes } = self.chat_top(chosen);
            Some(ChatTokenLogprob { token, logprob, bytes, top_logprobs, kept_mass: *kept_mass })
        };
        ChatLogprobs { content: Some(tokens.iter().filter_map(entry).collect()) }
    }

    fn chat_top(&self, token: &TokenLogprob) -> ChatTopLogprob {
        ChatTopLogprob {
            token: self.text(token.token),
            logprob: finite(token.logprob),
            bytes: Some(self.tokenizer.token_bytes(token.token)),
        }
    }

    /// At most `k` of the likeliest a token: the engine may have been asked for more, for another list.
    pub fn prompt(&self, tokens: &[Option<TokenLogprobs>], k: u32) -> PromptLogprobs {
        let entry = |token: &TokenLogprob| {
            let decoded_token =
                Some(String::from_utf8_lossy(&self.tokenizer.token_bytes(token.token)).into_owned());
            (
                token.token.to_string(),
                PromptLogprob { logprob: finite(token.logprob), rank: Some(token.rank), decoded_token },
            )
        };
        let map = |logprobs: &TokenLogprobs| -> BTreeMap<_, _> {
            logprobs.top.iter().take(k as usize).chain([&logprobs.chosen]).map(entry).collect()
        };
        tokens.iter().map(|logprobs| logprobs.as_ref().map(map)).collect()
    }
}

/// As JSON can write it.
pub fn finite(logprob: f32) -> f32 {
    // NaN cannot be written either; the engine does not make one.
    logprob.max(LOGPROB_MIN)
}
