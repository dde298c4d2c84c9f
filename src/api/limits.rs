//! How much one request may ask for. Every list, string and wait that a client controls has its bound here;
//! those that a person may want to move are settings.

use std::time::Duration;

use crate::settings::{Settings, UnknownFields};

#[derive(Debug, Clone)]
pub struct Limits {
    pub body_bytes_max: usize,
    /// Nested lists and objects in a body.
    pub json_depth_max: usize,
    /// Prompts a request.
    pub prompts_max: usize,
    /// Choices a prompt.
    pub n_max: usize,
    /// Choices a request: prompts times n.
    pub choices_max: usize,
    pub messages_max: usize,
    /// Parts of one message's content.
    pub content_parts_max: usize,
    /// The name of a message's author, a language, and the like.
    pub name_bytes_max: usize,
    pub stop_strings_max: usize,
    pub stop_string_bytes_max: usize,
    pub stop_token_ids_max: usize,
    pub logit_bias_max: usize,
    /// The k of logprobs, top_logprobs and prompt_logprobs.
    pub logprobs_max: usize,
    pub cache_salt_bytes_max: usize,
    /// Ids that one request may have turned into text.
    pub detokenize_max: usize,
    /// A text whose language is to be measured.
    pub language_bytes_max: usize,
    /// Template variables a request may set. A template is code, so this is an allow-list.
    pub template_arguments: Vec<String>,
    /// The value of one.
    pub template_argument_bytes_max: usize,
    pub unknown_fields: UnknownFields,
    pub headers_max: usize,
    /// Names and values together.
    pub header_bytes_max: usize,
    pub uri_bytes_max: usize,
    pub connections_max: usize,
    /// For all of a request's headers; also how long a connection may idle between requests.
    pub header_timeout: Duration,
    /// Between two pieces of a body.
    pub body_idle_timeout: Duration,
    /// For all of a body; an upload has as long for every so many bytes as a body may have.
    pub body_timeout: Duration,
    /// Without a byte that the client takes of its answer.
    pub write_timeout: Duration,
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        Self {
            body_bytes_max: usize::try_from(settings.max_body.0).unwrap_or(usize::MAX),
            json_depth_max: 64,
            prompts_max: settings.max_prompts,
            n_max: settings.max_n,
            choices_max: 16384,
            messages_max: 4096,
            content_parts_max: 1024,
            name_bytes_max: 256,
            stop_strings_max: settings.max_stop,
            stop_string_bytes_max: 1024,
            stop_token_ids_max: 256,
            logit_bias_max: 4096,
            logprobs_max: settings.max_logprobs,
            cache_salt_bytes_max: 256,
            detokenize_max: 1 << 20,
            language_bytes_max: 1 << 20,
            template_arguments: settings.chat_template_kwargs.clone(),
            template_argument_bytes_max: 1024,
            unknown_fields: settings.unknown_fields,
            headers_max: 64,
            header_bytes_max: 32 << 10,
            uri_bytes_max: 8 << 10,
            connections_max: 4096,
            header_timeout: Duration::from_secs(30),
            body_idle_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_mins(5),
            write_timeout: Duration::from_mins(1),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&Settings::default())
    }
}
