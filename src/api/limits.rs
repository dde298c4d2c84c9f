//! How much one request may ask for. Every list, string and wait that a client controls has its bound here.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Limits {
    pub body_bytes_max: usize,
    /// Nested lists and objects in a body.
    pub json_depth_max: usize,
    /// Prompts a request.
    pub prompts_max: usize,
    /// Choices a prompt.
    pub n_max: u32,
    /// Choices a request: prompts times n.
    pub choices_max: usize,
    pub messages_max: usize,
    pub stop_strings_max: usize,
    pub stop_string_bytes_max: usize,
    pub stop_token_ids_max: usize,
    pub logit_bias_max: usize,
    /// The k of logprobs, top_logprobs and prompt_logprobs.
    pub logprobs_max: u32,
    pub cache_salt_bytes_max: usize,
    pub connections_max: usize,
    /// All of a request's headers; also how long a connection may idle between requests.
    pub header_timeout: Duration,
    /// Between two pieces of a body.
    pub body_idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 32 << 20,
            json_depth_max: 64,
            prompts_max: 4096,
            n_max: 1024,
            choices_max: 16384,
            messages_max: 4096,
            stop_strings_max: 32,
            stop_string_bytes_max: 1024,
            stop_token_ids_max: 256,
            logit_bias_max: 4096,
            logprobs_max: 128,
            cache_salt_bytes_max: 256,
            connections_max: 4096,
            header_timeout: Duration::from_secs(30),
            body_idle_timeout: Duration::from_secs(30),
        }
    }
}
