//! Chat as text: a model's own template turns messages into a prompt, and `<think>` blocks in the answer are
//! told apart from what is said to the user.
//!
//! Knows JSON messages and strings; knows no tokens, no HTTP and no wire types. Which template variables a
//! client may set is decided above (the API keeps the allow-list).

mod bounds;
mod dialect;
mod json;
mod reasoning;
mod source_checks;
mod template;
mod tools;

pub use reasoning::{
    CLOSE, OPEN, ReasoningSplitter, begin_trace, is_open_trace, opens_reasoning, split_at_last_close,
};
pub use template::{ChatError, ChatTemplate, RenderOptions, take_generation_marks};
pub use tools::{ToolEvent, ToolFormat, ToolParser, without_template_support};
