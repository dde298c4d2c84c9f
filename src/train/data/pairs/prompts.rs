//! MindMerger's own prompts, to the letter.

/// Around the question of mathematics, in the LLM's sequence alone.
pub const MATH_PROMPT: &str = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n\
     ### Instruction:\n{query}\n\n### Response: Let's think step by step.";

const PLACE: &str = "{query}";

/// The template with the query in its one place; other braces stay.
pub(super) fn fill(template: &str, query: &str) -> String {
    template.replacen(PLACE, query, 1)
}

/// # Errors
/// A template without a place for the query.
pub(super) fn check(template: &str) -> Result<(), String> {
    match template.matches(PLACE).count() {
        1 => Ok(()),
        places => Err(format!("has {places} places for the query, exactly one {PLACE} is needed")),
    }
}

/// X-CSQA's, for the encoder and the LLM.
pub(super) fn choices(stem: &str, choices: &[(String, String)]) -> String {
    let lettered: Vec<String> = choices.iter().map(|(label, text)| format!("{label}. {text}")).collect();
    format!("{stem}\nOptions:{}\nAnswer:", lettered.join("\t"))
}

/// XNLI's, likewise.
pub(super) fn inference(premise: &str, hypothesis: &str) -> String {
    format!("Premise: {premise}\nHypothesis: {hypothesis}\nLabel:")
}
