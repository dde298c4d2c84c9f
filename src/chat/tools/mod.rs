//! Tool calling as text: how a model is told of tools, and how the calls that it writes are told from what it says.
//!
//! A format is a pair of marks around JSON objects. Which one a model was taught can be read off its chat template; a template
//! that knows no tools is given them as text (`fallback`), in the format most models know. Knows strings and JSON values; knows no
//! wire types.

mod fallback;
mod object;
mod parser;

pub use fallback::without_template_support;
pub use parser::{ToolEvent, ToolParser};

const ARGUMENTS: &str = "[ARGS]";

/// How calls are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>{"name": .., "arguments": {..}}</tool_call>`, once a call: Hermes, Qwen and most others.
    Hermes,
    /// The whole answer is `{"name": .., "parameters": {..}}`, perhaps after `<|python_tag|>`, several parted by `;`: Llama 3.
    Llama,
    /// `[TOOL_CALLS]` and a list of objects with `name` and `arguments`: Mistral 7B, Nemo, Small 3.
    Mistral,
    /// `[TOOL_CALLS]`, the name, `[ARGS]` and the arguments, once a call: Mistral Small 3.1 and later, Magistral, Ministral.
    MistralNamed,
}

impl ToolFormat {
    /// What a template teaches; `None` if it has no word of tools.
    pub fn of_template(source: &str) -> Option<Self> {
        if source.contains("<tool_call>") {
            Some(Self::Hermes)
        } else if source.contains("[TOOL_CALLS]") {
            Some(if source.contains(ARGUMENTS) { Self::MistralNamed } else { Self::Mistral })
        } else if source.contains("tools") {
            Some(Self::Llama)
        } else {
            None
        }
    }

    /// Before the first object.
    pub fn open(self) -> &'static str {
        match self {
            Self::Hermes => "<tool_call>",
            Self::Llama => "<|python_tag|>",
            Self::Mistral | Self::MistralNamed => "[TOOL_CALLS]",
        }
    }

    /// Between a call's name and its arguments, where they are no members of an object.
    pub fn arguments_mark(self) -> Option<&'static str> {
        (self == Self::MistralNamed).then_some(ARGUMENTS)
    }

    /// Behind each object.
    pub fn close(self) -> Option<&'static str> {
        (self == Self::Hermes).then_some("</tool_call>")
    }

    /// The key of the arguments.
    pub fn arguments_key(self) -> &'static str {
        if self == Self::Llama { "parameters" } else { "arguments" }
    }

    /// What stands between objects and means nothing.
    fn is_between(self, c: char) -> bool {
        c.is_whitespace()
            || match self {
                Self::Hermes | Self::MistralNamed => false,
                Self::Llama => c == ';',
                Self::Mistral => matches!(c, '[' | ',' | ']'),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_off_templates() {
        let template = |name: &str| {
            let path = format!("{}/tests/fixtures/chat/{name}.jinja", env!("CARGO_MANIFEST_DIR"));
            ToolFormat::of_template(&std::fs::read_to_string(path).unwrap())
        };
        assert_eq!(template("chatml"), None);
        assert_eq!(template("llama3_style"), Some(ToolFormat::Llama));
        assert_eq!(template("mistral_style"), Some(ToolFormat::Mistral));
        assert_eq!(ToolFormat::of_template("{% if tools %}<tool_call>"), Some(ToolFormat::Hermes));
        let named = "{{ '[TOOL_CALLS]' + name + '[ARGS]' + arguments }}";
        assert_eq!(ToolFormat::of_template(named), Some(ToolFormat::MistralNamed));
    }
}
