//! Tools of a chat: which format the model writes calls in, what it is told of them, and what a grammar holds the answer to.

mod grammar;

use serde_json::{Value, json};
use uuid::Uuid;

use super::error::ApiError;
use crate::chat::{ToolFormat, ToolParser};
use crate::guide::{Grammar, GuideError, Guides};
use crate::protocol::ChatRequest;
use crate::protocol::tools::{Tool, ToolChoice};
use crate::registry::ServedModel;
use crate::weights::Tokenizer;
use grammar::Calls;

/// What a request's tools come to with a model.
#[derive(Debug, Clone)]
pub struct ToolPlan {
    pub format: ToolFormat,
    /// As templates want them.
    pub definitions: Vec<Value>,
    /// Whether the template has a place for them.
    pub in_template: bool,
    /// A mark of the format is a special token, which the text must keep.
    pub keeps_special_tokens: bool,
    tools: Vec<Tool>,
    choice: Option<ToolChoice>,
    several: bool,
    /// A grammar holds calls within text, too.
    held: bool,
}

impl ToolPlan {
    /// `None`: the model is told of no tools.
    pub fn new(model: &ServedModel, request: &ChatRequest) -> Option<Self> {
        let plan = Self::telling(model, request.offered_tools())?;
        let several = request.parallel_tool_calls != Some(false);
        Some(Self { choice: request.tool_choice.clone(), several, held: request.holds_calls(), ..plan })
    }

    /// Tools that the model is told of, to be called as it likes. `None` if there are none.
    pub fn telling(model: &ServedModel, tools: &[Tool]) -> Option<Self> {
        if tools.is_empty() {
            return None;
        }
        let taught = model.template.as_ref().and_then(|template| ToolFormat::of_template(template.source()));
        let format = taught.unwrap_or(ToolFormat::Hermes);
        let is_special = |mark: &str| {
            let id = model.tokenizer.token_to_id(mark);
            id.is_some_and(|id| model.tokenizer.is_special(id))
        };
        Some(Self {
            format,
            definitions: tools.iter().map(|tool| json!(tool)).collect(),
            in_template: taught.is_some(),
            keeps_special_tokens: [Some(format.open()), format.close(), format.arguments_mark()]
                .into_iter()
                .flatten()
                .any(is_special),
            tools: tools.to_vec(),
            choice: None,
            several: true,
            held: false,
        })
    }

    pub fn parser(&self) -> ToolParser {
        let names = self.tools.iter().map(|tool| tool.function.name.clone());
        ToolParser::new(self.format, names.collect())
    }

    /// What the answer is held to, beside the form that it may have instead of calls. `None`: to nothing, and what looks like a call
    /// may be none.
    pub fn grammar(&self, tokenizer: &Tokenizer, form: Option<Grammar>) -> Option<Grammar> {
        let calls = self.calls(tokenizer);
        match form {
            _ if self.is_forced() => Some(calls.alone()),
            Some(form) => Some(calls.or_form(form)),
            None => self.held.then(|| calls.within_text()),
        }
    }

    /// What is wrong where the grammar cannot be compiled, and the form, if there is one, can.
    pub fn fault(&self, tokenizer: &Tokenizer, guides: &Guides, error: &GuideError) -> ApiError {
        match self.calls(tokenizer).fault(guides, &self.tools) {
            Some((at, problem)) => {
                let field = format!("tools.{at}.function.parameters");
                let message = format!("`{field}` {problem}");
                ApiError::invalid(field, message)
            }
            None => ApiError::invalid("tools", format!("`tools`, all of them together: {error}")),
        }
    }

    fn is_forced(&self) -> bool {
        self.choice.as_ref().is_some_and(ToolChoice::is_forced)
    }

    fn calls<'a>(&'a self, tokenizer: &'a Tokenizer) -> Calls<'a> {
        let name = match &self.choice {
            Some(ToolChoice::Named(named)) => Some(&named.function.name),
            _ => None,
        };
        let is_meant = |tool: &&Tool| name.is_none_or(|name| tool.function.name == *name);
        Calls {
            format: self.format,
            tools: self.tools.iter().filter(is_meant).collect(),
            several: self.several && name.is_none(),
            tokenizer,
            exact: self.is_forced(),
        }
    }
}

/// Of a call. Mistral's templates take ids of nine letters and digits alone.
pub fn call_id(format: ToolFormat) -> String {
    let random = Uuid::new_v4().simple().to_string();
    match format {
        ToolFormat::Mistral | ToolFormat::MistralNamed => random[..9].to_owned(),
        ToolFormat::Hermes | ToolFormat::Llama => format!("call_{}", &random[..24]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_their_template() {
        assert_eq!(call_id(ToolFormat::Mistral).len(), 9);
        assert!(call_id(ToolFormat::Hermes).starts_with("call_"));
    }
}
