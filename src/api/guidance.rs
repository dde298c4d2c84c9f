//! From what a request asks of its answer's form and of its trace to the engine's guidance. CPU-bound: callers run it through
//! `AppState::blocking`.

use std::sync::Arc;

use super::error::ApiError;
use crate::chat::{CLOSE, OPEN};
use crate::engine::{Guidance, Steer, Trace, TraceBudget, TraceMarks};
use crate::guide::{Grammar, Guide, GuideError};
use crate::language::Language;
use crate::protocol::structured::{AskedForm, Form};
use crate::registry::ServedModel;

/// What a chat asks of its trace.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceWishes {
    pub language: Option<Language>,
    pub budget: Option<u32>,
    /// 0 is off.
    pub steer: f32,
}

/// `calls` is the grammar of tool calls that must come. `prompt` is the text that the model goes on from; it decides whether the answer begins with a trace. `None`: nothing to guide.
///
/// # Errors
/// A form that cannot be, by its field.
pub fn of_chat(
    model: &ServedModel,
    form: Option<AskedForm>,
    calls: Option<&Grammar>,
    wishes: TraceWishes,
    prompt: &str,
    begins_open: bool,
) -> Result<Option<Arc<Guidance>>, ApiError> {
    let grammar = match calls {
        Some(calls) => Some(compile(model, "tools", calls)?),
        None => form.map(|form| grammar(model, form)).transpose()?,
    };
    // A prompt that ends with a closed block leaves no room for another.
    let may_think = begins_open || !prompt.trim_end().ends_with(CLOSE);
    let wanted = grammar.is_some() && (begins_open || model.default_reasoning);
    let trace = may_think && (wanted || wishes.budget.is_some() || wishes.steer > 0.0);
    let trace = trace.then(|| trace_rules(model, wishes, begins_open)).transpose()?;
    let guided = grammar.is_some() || trace.is_some();
    Ok(guided.then(|| Arc::new(Guidance { grammar, trace })))
}

/// # Errors
/// As [`of_chat`].
pub fn of_completion(
    model: &ServedModel,
    form: Option<AskedForm>,
) -> Result<Option<Arc<Guidance>>, ApiError> {
    let grammar = form.map(|form| grammar(model, form)).transpose()?;
    Ok(grammar.map(|grammar| Arc::new(Guidance { grammar: Some(grammar), trace: None })))
}

fn grammar(model: &ServedModel, AskedForm { field, form }: AskedForm) -> Result<Guide, ApiError> {
    let grammar = match form {
        Form::JsonSchema(schema) => Grammar::JsonSchema(schema),
        Form::Regex(expression) => Grammar::Regex(expression),
        Form::Choice(texts) => Grammar::Choice(texts),
        Form::Grammar(text) => Grammar::Lark(text),
    };
    compile(model, field, &grammar)
}

/// # Errors
/// What is wrong with the grammar, by the field that it came from.
fn compile(model: &ServedModel, field: &str, grammar: &Grammar) -> Result<Guide, ApiError> {
    let compiled = model.grammars().and_then(|grammars| grammars.compile(grammar));
    compiled.map_err(|error| match &error {
        GuideError::Vocabulary(_) => {
            let name = &model.name;
            ApiError::invalid(field, format!("the model `{name}` takes no form for its answers: {error}"))
        }
        _ => ApiError::invalid(field, format!("`{field}` {error}")),
    })
}

fn trace_rules(model: &ServedModel, wishes: TraceWishes, begins_open: bool) -> Result<Trace, ApiError> {
    let budget = wishes.budget.map(|tokens| {
        let sentence = wishes.language.map(|language| language.reasoning_texts().budget_close);
        let sentence = sentence.map(|text| format!("\n{text}")).unwrap_or_default();
        let closing = model.tokenizer.encode(&format!("{sentence}\n{CLOSE}\n\n"), false);
        let closing = closing.map_err(|error| ApiError::internal(error.to_string()))?;
        Ok::<_, ApiError>(TraceBudget { tokens: tokens as usize, closing: closing.into() })
    });
    let steer = wishes
        .language
        .filter(|_| wishes.steer > 0.0)
        .map(|language| Steer { lowered: model.tokens_foreign_to(language), strength: wishes.steer });
    let marks = TraceMarks {
        open: OPEN,
        close: CLOSE,
        open_token: model.tokenizer.token_to_id(OPEN),
        tokenizer: model.tokenizer.clone(),
    };
    Ok(Trace { marks, begins_open, budget: budget.transpose()?, steer })
}
