//! Grammars of calls, in llguidance's Lark: of an answer that must be one, that may be one, or that is one or a form.

use serde_json::json;

use crate::chat::ToolFormat;
use crate::guide::{Grammar, Guides, bounded_schema};
use crate::protocol::tools::Tool;
use crate::weights::Tokenizer;

const FORM: &str = "form";

/// The calls that an answer may have.
pub struct Calls<'a> {
    pub format: ToolFormat,
    pub tools: Vec<&'a Tool>,
    pub several: bool,
    pub tokenizer: &'a Tokenizer,
    /// Arguments follow the schema of every tool; else of those alone that say `strict`.
    pub exact: bool,
}

impl Calls<'_> {
    /// One call or several, and nothing else.
    pub fn alone(&self) -> Grammar {
        let lines = ["start: calls".to_owned()].into_iter().chain(self.calls()).chain(self.call());
        Grammar::Lark(join(lines))
    }

    /// Calls, or an answer of a form.
    pub fn or_form(&self, form: Grammar) -> Grammar {
        let lines = [format!("start: calls | @{FORM}")].into_iter().chain(self.calls()).chain(self.call());
        Grammar::Composed { lark: join(lines), parts: vec![(FORM.to_owned(), form)] }
    }

    /// Any text, in which a mark of a call begins a call.
    pub fn within_text(&self) -> Grammar {
        let text = "TEXT: /(.|\\n)*/".to_owned();
        let opening = match self.special(self.format.open()) {
            Some(token) => format!("opening: TEXT {token}"),
            None => format!("opening[lazy]: TEXT {}", json!(self.format.open())),
        };
        let lines = match self.format {
            ToolFormat::Hermes => {
                let close = self.mark(self.format.close().unwrap_or_default());
                let start = if self.several { "spoken* TEXT" } else { "spoken | TEXT" };
                vec![
                    format!("start: {start}"),
                    format!("spoken: opening \"\\n\" call \"\\n\" {close}"),
                    opening,
                    text,
                ]
            }
            ToolFormat::Mistral => {
                vec![format!("start: opening {} | TEXT", self.list()), opening, text]
            }
            ToolFormat::MistralNamed => {
                let start = if self.several { "spoken* TEXT" } else { "spoken | TEXT" };
                vec![format!("start: {start}"), "spoken: opening call".to_owned(), opening, text]
            }
            // Only an answer that begins as an object is a call.
            ToolFormat::Llama => {
                let plain = "PLAIN: /([ \\n]*[^{ \\n](.|\\n)*)?/".to_owned();
                let marked = self.special(self.format.open()).map(|token| format!(" | {token} call"));
                vec![format!("start: call | PLAIN{}", marked.unwrap_or_default()), plain]
            }
        };
        Grammar::Lark(join(lines.into_iter().chain(self.call())))
    }

    /// The first tool whose own schema cannot be followed: its place among `all`, and what is wrong.
    pub fn fault(&self, guides: &Guides, all: &[Tool]) -> Option<(usize, String)> {
        all.iter().enumerate().filter(|(_, tool)| self.follows(tool)).find_map(|(at, tool)| {
            let alone = guides.compile(&Grammar::JsonSchema(tool.function.schema()));
            alone.err().map(|error| (at, error.to_string()))
        })
    }

    fn follows(&self, tool: &Tool) -> bool {
        let offered = self.tools.iter().any(|offered| offered.function.name == tool.function.name);
        offered && (self.exact || tool.function.strict == Some(true))
    }

    fn calls(&self) -> Vec<String> {
        let open = self.mark(self.format.open());
        match self.format {
            ToolFormat::Hermes => {
                let close = self.mark(self.format.close().unwrap_or_default());
                let more = if self.several { " (\"\\n\" one)*" } else { "" };
                vec![format!("calls: one{more}"), format!("one: {open} \"\\n\" call \"\\n\" {close}")]
            }
            ToolFormat::Mistral => vec![format!("calls: {open} {}", self.list())],
            ToolFormat::MistralNamed => {
                let more = if self.several { "+" } else { "" };
                vec![format!("calls: one{more}"), format!("one: {open} call")]
            }
            ToolFormat::Llama => vec!["calls: call".to_owned()],
        }
    }

    fn list(&self) -> String {
        let more = if self.several { " (\", \" call)*" } else { "" };
        format!("\"[\" call{more} \"]\"")
    }

    /// A call to one of the tools.
    fn call(&self) -> Vec<String> {
        let names: Vec<String> = (0..self.tools.len()).map(|at| format!("call_{at}")).collect();
        let mut lines = vec![format!("call: {}", names.join(" | "))];
        let key = self.format.arguments_key();
        for (at, tool) in self.tools.iter().enumerate() {
            let name = json!(tool.function.name);
            lines.push(if let Some(mark) = self.format.arguments_mark() {
                format!("call_{at}: {name} {} arguments_{at}", self.mark(mark))
            } else {
                let head = format!("{{\"name\": {name}, \"{key}\": ");
                format!("call_{at}: {} arguments_{at} \"}}\"", json!(head))
            });
            let schema = if self.follows(tool) { tool.function.schema() } else { json!({"type": "object"}) };
            lines.push(format!("arguments_{at}: %json {}", bounded_schema(&schema)));
        }
        lines
    }

    fn mark(&self, text: &str) -> String {
        self.special(text).unwrap_or_else(|| json!(text).to_string())
    }

    /// A special token is none of a grammar's characters; it has a name of its own.
    fn special(&self, text: &str) -> Option<String> {
        let id = self.tokenizer.token_to_id(text)?;
        self.tokenizer.is_special(id).then(|| format!("<[{id}]>"))
    }
}

fn join(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::protocol::tools::Function;

    const END: u32 = 2;
    const ONE: &str = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"x\": 12}}\n</tool_call>";
    const MARKS: [&str; 5] = ["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>"];
    const WRONG: &str = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"x\": \"12\"}}\n</tool_call>";

    fn tool(name: &str, parameters: Value, strict: bool) -> Tool {
        let function = Function {
            name: name.to_owned(),
            description: None,
            parameters: Some(parameters),
            strict: Some(strict),
        };
        Tool { kind: "function".to_owned(), function }
    }

    fn tools(strict: bool) -> [Tool; 2] {
        let number = json!({"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"],
            "additionalProperties": false});
        [tool("add", number, strict), tool("wait", json!({}), false)]
    }

    /// One whose marks are text, and one whose marks are special tokens, as most models' are.
    fn tokenizers() -> [Tokenizer; 2] {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/llama3"));
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(path).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        let file = folder.path().join("tokenizer.json");
        let mut json: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let added = json["added_tokens"].as_array_mut().unwrap();
        let (like, first) = (added[0].clone(), Tokenizer::load(path).unwrap().vocab_size());
        for (at, mark) in MARKS.into_iter().enumerate() {
            let mut token = like.clone();
            (token["id"], token["content"], token["special"]) = (json!(first + at), json!(mark), json!(true));
            added.push(token);
        }
        std::fs::write(&file, json.to_string()).unwrap();
        let marked = Tokenizer::load(folder.path()).unwrap();
        assert!(MARKS.iter().all(|mark| marked.token_to_id(mark).is_some_and(|id| marked.is_special(id))));
        [Tokenizer::load(path).unwrap(), marked]
    }

    /// Whether an answer may be this text and end there.
    fn takes(tokenizer: &Tokenizer, grammar: &Grammar, text: &str) -> bool {
        let mut state = Guides::new(tokenizer, &[END]).unwrap().compile(grammar).unwrap().start();
        for id in tokenizer.encode(text, false).unwrap() {
            if !state.allowed().unwrap().contains(id) {
                return false;
            }
            state.take(id).unwrap();
        }
        state.allowed().unwrap().contains(END)
    }

    #[test]
    fn a_call_that_must_come_is_one_of_the_tools() {
        tokenizers().iter().for_each(must_come);
    }

    fn must_come(tokenizer: &Tokenizer) {
        let tools = tools(false);
        let takes = |format, several, text: &str| {
            let tools = tools.iter().collect();
            let calls = Calls { format, tools, several, tokenizer, exact: true };
            takes(tokenizer, &calls.alone(), text)
        };
        let hermes = ToolFormat::Hermes;
        let two = format!("{ONE}\n{ONE}");
        assert!(takes(hermes, false, ONE) && takes(hermes, true, &two) && !takes(hermes, false, &two));
        let any = "<tool_call>\n{\"name\": \"wait\", \"arguments\": {\"any\": [1]}}\n</tool_call>";
        assert!(takes(hermes, false, any) && !takes(hermes, false, WRONG) && !takes(hermes, false, "Well"));
        assert!(!takes(hermes, false, "<tool_call>\n{\"name\": \"sub\", \"arguments\": {}}\n</tool_call>"));
        assert!(takes(ToolFormat::Llama, true, "{\"name\": \"add\", \"parameters\": {\"x\": 1}}"));
        let list = "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {\"x\": 1}}, {\"name\": \"wait\", \"arguments\": {}}]";
        assert!(takes(ToolFormat::Mistral, true, list) && !takes(ToolFormat::Mistral, false, list));
        let (named, one) = (ToolFormat::MistralNamed, "[TOOL_CALLS]add[ARGS]{\"x\": 1}");
        let two = format!("{one}[TOOL_CALLS]wait[ARGS]{{}}");
        assert!(takes(named, false, one) && takes(named, true, &two) && !takes(named, false, &two));
        assert!(!takes(named, true, "[TOOL_CALLS]add[ARGS]{}"));
    }

    #[test]
    fn calls_within_text_follow_the_schemas_of_strict_tools() {
        tokenizers().iter().for_each(within_text);
    }

    fn within_text(tokenizer: &Tokenizer) {
        let strict = tools(true);
        let takes = |format, several, text: &str| {
            let tools = strict.iter().collect();
            let calls = Calls { format, tools, several, tokenizer, exact: false };
            takes(tokenizer, &calls.within_text(), text)
        };
        let hermes = ToolFormat::Hermes;
        for text in ["", "Hello", ONE, &format!("I look.\n{ONE}"), "a <tool_call"] {
            assert!(takes(hermes, true, text) && takes(hermes, false, text), "{text}");
        }
        for text in [WRONG, "<tool_call> is", &format!("I look.\n{WRONG}")] {
            assert!(!takes(hermes, true, text) && !takes(hermes, false, text), "{text}");
        }
        for text in [format!("{ONE}\n{ONE}"), format!("{ONE} done")] {
            assert!(takes(hermes, true, &text) && !takes(hermes, false, &text), "{text}");
        }
        let llama = |text: &str| takes(ToolFormat::Llama, false, text);
        assert!(llama("Hello {") && llama("") && llama("{\"name\": \"add\", \"parameters\": {\"x\": 1}}"));
        assert!(!llama("{\"name\": \"add\", \"parameters\": {\"x\": \"1\"}}") && !llama("{\"a\": 1}"));
        let marked = "<|python_tag|>{\"name\": \"add\", \"parameters\": {\"x\": 1}}";
        let is_special = tokenizer.token_to_id("<|python_tag|>").is_some();
        assert!(llama(marked) && (!is_special || !llama(&marked.replace('1', "true"))));
        let mistral = |text: &str| takes(ToolFormat::Mistral, false, text);
        let call = "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {\"x\": 1}}]";
        assert!(mistral("Hello [") && mistral(call) && !mistral(&call.replace('1', "true")));
        let named = |text: &str| takes(ToolFormat::MistralNamed, true, text);
        let call = "Look.[TOOL_CALLS]add[ARGS]{\"x\": 1}";
        assert!(named("Hello [") && named(call) && !named(&call.replace('1', "true")));
    }

    #[test]
    fn an_answer_has_the_form_or_is_a_call() {
        tokenizers().iter().for_each(or_form);
    }

    fn or_form(tokenizer: &Tokenizer) {
        let tools = tools(true);
        let calls = Calls {
            format: ToolFormat::Hermes,
            tools: tools.iter().collect(),
            several: true,
            tokenizer,
            exact: false,
        };
        let schema = json!({"type": "object", "properties": {"y": {"type": "string"}}, "required": ["y"]});
        let forms = [
            (Grammar::JsonSchema(schema), "{\"y\": \"a\"}", "{\"y\": 1}"),
            (Grammar::Regex("[a-z]+".to_owned()), "hello", "Hello"),
            (Grammar::Lark("start: WORD\nWORD: /[a-z]+/".to_owned()), "hello", "Hello"),
            (Grammar::Choice(vec!["yes".to_owned(), "no".to_owned()]), "no", "never"),
        ];
        for (form, fits, does_not) in forms {
            let grammar = calls.or_form(form);
            assert!(takes(tokenizer, &grammar, fits) && takes(tokenizer, &grammar, ONE), "{grammar:?}");
            assert!(!takes(tokenizer, &grammar, does_not), "{grammar:?}");
            assert!(!takes(tokenizer, &grammar, WRONG), "{grammar:?}");
        }
    }

    #[test]
    fn the_tool_at_fault_is_found() {
        let [tokenizer, _] = &tokenizers();
        let guides = Guides::new(tokenizer, &[END]).unwrap();
        let wrong = json!({"type": "object", "properties": {"a": {"type": "nmber"}}});
        let all = [tools(true)[0].clone(), tool("b", wrong.clone(), false), tool("c", wrong, true)];
        let fault = |exact: bool, offered: &[usize]| {
            let tools = offered.iter().map(|at| &all[*at]).collect();
            let calls = Calls { format: ToolFormat::Hermes, tools, several: true, tokenizer, exact };
            calls.fault(&guides, &all).map(|(at, _)| at)
        };
        assert_eq!((fault(true, &[0, 1, 2]), fault(false, &[0, 1, 2])), (Some(1), Some(2)));
        assert_eq!((fault(true, &[0, 2]), fault(false, &[0, 1])), (Some(2), None));
    }
}
