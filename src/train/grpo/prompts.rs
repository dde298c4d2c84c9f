//! Prompts from files of JSON lines, as tokens, with what else a line says for whoever rewards the answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::super::TrainError;
use super::super::data::{
    BatchOptions, BatchPlan, DataError, Documents, ModelText, Packing, Piece, Pieces, Question,
};
use super::reward::Prompts;
use crate::chat::{CLOSE, OPEN, RenderOptions};

/// The lines of some files.
pub struct PromptLines {
    lines: Vec<PromptLine>,
    plan: BatchPlan,
    text: ModelText,
    /// Special tokens that completions are shown with.
    tags: Vec<u32>,
    digest: String,
    too_long: usize,
}

struct PromptLine {
    path: Arc<Path>,
    line: usize,
    ids: Vec<u32>,
    shown: String,
    item: Value,
}

/// How prompts come together.
#[derive(Debug, Clone, Copy)]
pub struct PromptOptions {
    /// Prompts with more tokens are left out.
    pub length_max: usize,
    /// Prompts that are sampled together.
    pub together: usize,
    pub seed: u64,
}

impl PromptLines {
    /// # Errors
    /// A line that is no prompt, by file and number; no prompt at all.
    pub fn read(files: &[PathBuf], text: ModelText, options: PromptOptions) -> Result<Self, TrainError> {
        let (mut lines, mut too_long, mut hash) = (Vec::new(), 0, Sha256::new());
        for file in files {
            let mut pieces = Pieces::open(file, Documents::Line)?;
            while let Some(piece) = pieces.line()? {
                if piece.text.trim().is_empty() {
                    continue;
                }
                hash.update(&piece.text);
                hash.update("\n");
                let line = PromptLine::read(&piece, &text)?;
                if line.ids.len() > options.length_max {
                    too_long += 1;
                } else {
                    lines.push(line);
                }
            }
        }
        if lines.is_empty() {
            let shown = files.first().map_or_else(String::new, |file| format!("{}: ", file.display()));
            let problem = format!("{shown}there is no prompt of at most {} tokens", options.length_max);
            return Err(DataError::Nothing(problem).into());
        }
        let lengths = lines.iter().map(|line| line.ids.len() as u32).collect();
        let together = options.together.min(lines.len()).max(1);
        let plan = BatchOptions { packing: Packing::Off, micro_batch: together, seed: options.seed };
        let plan = BatchPlan::new(lengths, plan)?;
        let tags = [OPEN, CLOSE].into_iter().filter_map(|tag| text.tokenizer.token_to_id(tag));
        let tags = tags.filter(|&id| text.tokenizer.is_special(id)).collect();
        Ok(Self { lines, plan, text, tags, digest: format!("{:x}", hash.finalize()), too_long })
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Prompts that were left out.
    pub fn too_long(&self) -> usize {
        self.too_long
    }

    /// Of what the files say.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What is wrong with a prompt, with the place of its line.
    pub fn wrong(&self, example: usize, problem: &str) -> TrainError {
        let PromptLine { path, line, .. } = &self.lines[example];
        DataError::Line { path: path.to_path_buf(), line: *line, problem: problem.to_owned() }.into()
    }

    /// A prompt as a line of TRL's data: `prompt` (text or messages), `item` (its line, as JSON in a string) and `trace_opened`.
    ///
    /// # Errors
    /// A conversation with tools or arguments of the template's, which TRL takes for all prompts alike.
    pub fn exported(&self, example: usize) -> Result<Value, TrainError> {
        let PromptLine { item, shown, ids, .. } = &self.lines[example];
        let messages = item.get("messages").or(item.get("prompt")).filter(|messages| messages.is_array());
        let is_plain =
            ["tools", "chat_template_kwargs"].iter().all(|key| item.get(key).is_none_or(Value::is_null));
        let prompt = match messages {
            Some(messages) if is_plain => messages.clone(),
            // As text, if tokenizers make the same tokens of it.
            _ if self.text.tokenizer.encode(shown, true).is_ok_and(|text| text == *ids) => json!(shown),
            _ => {
                let problem = "has tools or `chat_template_kwargs`, which TRL takes for all prompts alike, and as text it would \
                               begin otherwise";
                return Err(self.wrong(example, problem));
            }
        };
        let opened = shown.trim_end().ends_with("<think>");
        Ok(json!({"prompt": prompt, "item": item.to_string(), "trace_opened": opened}))
    }

    /// The fields of a prompt's line.
    pub fn item(&self, example: usize) -> &Value {
        &self.lines[example].item
    }
}

impl PromptLine {
    fn read(piece: &Piece, model: &ModelText) -> Result<Self, DataError> {
        let item: Map<String, Value> = serde_json::from_str(&piece.text).map_err(|error| {
            piece.wrong(format!("is no JSON object (column {}): {error}", error.column()))
        })?;
        let question = Question::of(item.clone()).map_err(|problem| piece.wrong(problem))?;
        let shown = match question {
            Question::Text(text) => text,
            Question::Conversation(conversation) => {
                let Some(templates) = &model.templates else {
                    let problem = "has messages, and the model has no chat template: give `prompt` as text";
                    return Err(piece.wrong(problem));
                };
                let last = conversation.messages.len().saturating_sub(1);
                // What the assistant has begun it goes on with.
                let goes_on = conversation.is_assistant(last);
                let options = RenderOptions {
                    messages: &json!(conversation.messages),
                    tools: conversation.tools.as_ref(),
                    add_generation_prompt: !goes_on,
                    continue_final_message: goes_on,
                    kwargs: &conversation.kwargs,
                };
                templates.plain.render(&options).map_err(|error| piece.wrong(error.to_string()))?
            }
        };
        let is_text = !item.contains_key("messages") && item.get("prompt").is_some_and(Value::is_string);
        let ids = model.tokenizer.encode(&shown, is_text).map_err(|error| piece.wrong(error.to_string()))?;
        if ids.is_empty() {
            return Err(piece.wrong("is an empty prompt"));
        }
        Ok(Self { path: Arc::clone(&piece.path), line: piece.line, ids, shown, item: Value::Object(item) })
    }
}

impl Prompts for PromptLines {
    fn plan(&self) -> &BatchPlan {
        &self.plan
    }

    fn ids(&self, example: usize) -> Vec<u32> {
        self.lines[example].ids.clone()
    }

    fn line(&self, example: usize) -> usize {
        self.lines[example].line
    }

    fn text(&self, tokens: &[u32]) -> String {
        let tokenizer = &self.text.tokenizer;
        // Ids that no text has are nothing.
        if self.tags.is_empty() {
            return tokenizer.decode(tokens, true).unwrap_or_default();
        }
        // Graders look for a trace's tags, which some tokenizers have as special tokens.
        let is_shown = |id: &u32| self.tags.contains(id) || !tokenizer.is_special(*id);
        let shown: Vec<u32> = tokens.iter().copied().filter(is_shown).collect();
        tokenizer.decode(&shown, false).unwrap_or_default()
    }

    fn shown(&self, example: usize) -> String {
        self.lines[example].shown.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::data::testing::{file, model};
    use super::*;
    use crate::weights::Tokenizer;

    /// Of a tokenizer that has them as special tokens, and of one that has them as others.
    #[test]
    fn graders_see_the_tags_of_traces_that_are_special_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let files = [file(folder.path(), "prompts.jsonl", "{\"prompt\": \"one\"}\n")];
        let options = PromptOptions { length_max: 16, together: 1, seed: 0 };
        for special in [false, true] {
            let mut text = model();
            let mut source: Value = serde_json::from_str(&text.tokenizer.to_json().unwrap()).unwrap();
            for token in source["added_tokens"].as_array_mut().unwrap() {
                if [OPEN, CLOSE].contains(&token["content"].as_str().unwrap()) {
                    token["special"] = json!(special);
                }
            }
            let source = source.to_string();
            text.tokenizer = Tokenizer::from_json(source.as_bytes(), Path::new("tokenizer.json")).unwrap();
            let [open, close] = [OPEN, CLOSE].map(|tag| text.tokenizer.token_to_id(tag).unwrap());
            assert_eq!(text.tokenizer.is_special(open), special);
            let (words, end) = (text.tokenizer.encode("one two", false).unwrap(), text.eos.unwrap());
            let lines = PromptLines::read(&files, text, options).unwrap();
            let completion = [&[open], &words[..], &[close], &words[..], &[end]].concat();
            assert_eq!(lines.text(&completion), "<think>one two</think>one two", "special: {special}");
        }
    }
}
