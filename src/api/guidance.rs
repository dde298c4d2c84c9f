//! From what a request asks of its answer's form and of its trace to the engine's guidance. CPU-bound: callers run it through
//! `AppState::blocking`.

use std::sync::Arc;

use super::error::ApiError;
use super::tools::ToolPlan;
use crate::chat::{CLOSE, OPEN};
use crate::engine::{Guidance, Steer, Trace, TraceBudget, TraceMarks};
use crate::guide::{Grammar, Guide, Guides};
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

/// `prompt` is the text that the model goes on from; it decides whether the answer begins with a trace. `None`: nothing to guide.
///
/// # Errors
/// A form or a tool that cannot be, by its field.
pub fn of_chat(
    model: &ServedModel,
    form: Option<AskedForm>,
    tools: Option<&ToolPlan>,
    wishes: TraceWishes,
    prompt: &str,
    begins_open: bool,
) -> Result<Option<Arc<Guidance>>, ApiError> {
    let grammar = match tools {
        Some(plan) => of_tools(model, plan, form)?,
        None => form.map(|form| compile(model, &form)).transpose()?,
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
    let grammar = form.map(|form| compile(model, &form)).transpose()?;
    Ok(grammar.map(|grammar| Arc::new(Guidance { grammar: Some(grammar), trace: None })))
}

fn of_tools(
    model: &ServedModel,
    plan: &ToolPlan,
    form: Option<AskedForm>,
) -> Result<Option<Guide>, ApiError> {
    let grammar = plan.grammar(&model.tokenizer, form.as_ref().map(grammar));
    let Some(grammar) = grammar else { return Ok(None) };
    let guides = guides(model, "tools")?;
    match guides.compile(&grammar) {
        Ok(guide) => Ok(Some(guide)),
        Err(error) => {
            // Which of the two it is.
            form.map(|form| compile(model, &form)).transpose()?;
            Err(plan.fault(&model.tokenizer, guides, &error))
        }
    }
}

fn grammar(AskedForm { form, .. }: &AskedForm) -> Grammar {
    match form.clone() {
        Form::JsonSchema(schema) => Grammar::JsonSchema(schema),
        Form::Regex(expression) => Grammar::Regex(expression),
        Form::Choice(texts) => Grammar::Choice(texts),
        Form::Grammar(text) => Grammar::Lark(text),
    }
}

/// # Errors
/// What is wrong with the form, by the field that it came from.
fn compile(model: &ServedModel, form: &AskedForm) -> Result<Guide, ApiError> {
    let field = form.field;
    let compiled = guides(model, field)?.compile(&grammar(form));
    compiled.map_err(|error| ApiError::invalid(field, format!("`{field}` {error}")))
}

fn guides<'a>(model: &'a ServedModel, field: &str) -> Result<&'a Guides, ApiError> {
    model.grammars().map_err(|error| {
        let name = &model.name;
        ApiError::invalid(field, format!("the model `{name}` takes no form for its answers: {error}"))
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
