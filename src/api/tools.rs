//! Tools of a chat: which format the model writes calls in, what it is told of them, and the grammar of a call that must come.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::chat::{ToolFormat, ToolParser};
use crate::guide::Grammar;
use crate::protocol::ChatRequest;
use crate::protocol::tools::{Tool, ToolChoice};
use crate::registry::ServedModel;
use crate::weights::Tokenizer;

/// What a request's tools come to with a model.
#[derive(Debug, Clone)]
pub struct ToolPlan {
    pub format: ToolFormat,
    /// As templates want them.
    pub definitions: Vec<Value>,
    /// Whether the template has a place for them.
    pub in_template: bool,
    /// Of an answer that is a call.
    pub grammar: Option<Grammar>,
    /// A mark of the format is a special token, which the text must keep.
    pub keeps_special_tokens: bool,
}

impl ToolPlan {
    /// `None`: the model is told of no tools.
    pub fn new(model: &ServedModel, request: &ChatRequest) -> Option<Self> {
        let tools = request.offered_tools();
        if tools.is_empty() {
            return None;
        }
        let taught = model.template.as_ref().and_then(|template| ToolFormat::of_template(template.source()));
        let format = taught.unwrap_or(ToolFormat::Hermes);
        let several = request.parallel_tool_calls != Some(false);
        let grammar = match &request.tool_choice {
            Some(ToolChoice::Named(named)) => {
                let is_named = |tool: &&Tool| tool.function.name == named.function.name;
                let one: Vec<Tool> = tools.iter().filter(is_named).cloned().collect();
                Some(calls(format, &one, false, &model.tokenizer))
            }
            Some(choice) if choice.is_forced() => Some(calls(format, tools, several, &model.tokenizer)),
            _ => None,
        };
        let is_special = |mark: &str| {
            let id = model.tokenizer.token_to_id(mark);
            id.is_some_and(|id| model.tokenizer.is_special(id))
        };
        Some(Self {
            format,
            definitions: tools.iter().map(|tool| json!(tool)).collect(),
            in_template: taught.is_some(),
            grammar,
            keeps_special_tokens: is_special(format.open()) || format.close().is_some_and(is_special),
        })
    }

    pub fn parser(&self) -> ToolParser {
        let name = |tool: &Value| tool["function"]["name"].as_str().unwrap_or_default().to_owned();
        ToolParser::new(self.format, self.definitions.iter().map(name).collect())
    }
}

/// Of a call. Mistral's template takes ids of nine letters and digits alone.
pub fn call_id(format: ToolFormat) -> String {
    let random = Uuid::new_v4().simple().to_string();
    if format == ToolFormat::Mistral { random[..9].to_owned() } else { format!("call_{}", &random[..24]) }
}

/// In llguidance's Lark: one call or several, each to one of the tools, its arguments by their schema.
fn calls(format: ToolFormat, tools: &[Tool], several: bool, tokenizer: &Tokenizer) -> Grammar {
    let key = format.arguments_key();
    let (open, close) = (mark(format.open(), tokenizer), format.close().map(|close| mark(close, tokenizer)));
    let mut lines = match (format, close) {
        (ToolFormat::Hermes, Some(close)) => {
            let more = if several { " (\"\\n\" one)*" } else { "" };
            vec![format!("start: one{more}"), format!("one: {open} \"\\n\" call \"\\n\" {close}")]
        }
        (ToolFormat::Mistral, _) => {
            let more = if several { " (\", \" call)*" } else { "" };
            vec![format!("start: {open} \"[\" call{more} \"]\"")]
        }
        _ => vec!["start: call".to_owned()],
    };
    let names: Vec<String> = (0..tools.len()).map(|at| format!("call_{at}")).collect();
    lines.push(format!("call: {}", names.join(" | ")));
    for (at, tool) in tools.iter().enumerate() {
        let head = format!("{{\"name\": {}, \"{key}\": ", json!(tool.function.name));
        lines.push(format!("call_{at}: {} arguments_{at} \"}}\"", json!(head)));
        let schema = crate::guide::bounded_schema(&tool.function.schema());
        lines.push(format!("arguments_{at}: %json {schema}"));
    }
    Grammar::Lark(lines.join("\n"))
}

/// A special token is none of a grammar's characters; it has a name of its own.
fn mark(text: &str, tokenizer: &Tokenizer) -> String {
    match tokenizer.token_to_id(text) {
        Some(id) if tokenizer.is_special(id) => format!("<[{id}]>"),
        _ => json!(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::guide::Guides;
    use crate::protocol::tools::Function;

    const END: u32 = 2;

    fn tool(name: &str, parameters: Value) -> Tool {
        let function =
            Function { name: name.to_owned(), description: None, parameters: Some(parameters), strict: None };
        Tool { kind: "function".to_owned(), function }
    }

    #[test]
    fn a_call_that_must_come_is_one_of_the_tools() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/llama3"));
        let tokenizer = Tokenizer::load(path).unwrap();
        let guides = Guides::new(&tokenizer, &[END]).unwrap();
        let number = json!({"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"],
            "additionalProperties": false});
        let tools = [tool("add", number), tool("wait", json!({}))];
        let takes = |format: ToolFormat, several: bool, text: &str| {
            let guide = guides.compile(&calls(format, &tools, several, &tokenizer)).unwrap();
            let mut state = guide.start();
            for id in tokenizer.encode(text, false).unwrap() {
                if !state.allowed().unwrap().contains(id) {
                    return false;
                }
                state.take(id).unwrap();
            }
            state.allowed().unwrap().contains(END)
        };
        let one = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"x\": 12}}\n</tool_call>";
        let hermes = ToolFormat::Hermes;
        assert!(takes(hermes, false, one));
        assert!(
            takes(hermes, true, &format!("{one}\n{one}")) && !takes(hermes, false, &format!("{one}\n{one}"))
        );
        assert!(takes(
            hermes,
            false,
            "<tool_call>\n{\"name\": \"wait\", \"arguments\": {\"any\": [1]}}\n</tool_call>"
        ));
        assert!(!takes(
            hermes,
            false,
            "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"x\": \"12\"}}\n</tool_call>"
        ));
        assert!(!takes(hermes, false, "<tool_call>\n{\"name\": \"sub\", \"arguments\": {}}\n</tool_call>"));
        assert!(takes(ToolFormat::Llama, true, "{\"name\": \"add\", \"parameters\": {\"x\": 1}}"));
        let two = "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {\"x\": 1}}, {\"name\": \"wait\", \"arguments\": {}}]";
        assert!(takes(ToolFormat::Mistral, true, two) && !takes(ToolFormat::Mistral, false, two));
    }

    #[test]
    fn ids_fit_their_template() {
        assert_eq!(call_id(ToolFormat::Mistral).len(), 9);
        assert!(call_id(ToolFormat::Hermes).starts_with("call_"));
    }
}
