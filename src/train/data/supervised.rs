//! Fine-tuning data: a line of JSON to one example.

use super::DataError;
use super::example::{Example, TrainedText};
use super::lines::Piece;
use super::model_text::ModelText;
use super::record::{Conversation, Record};
use super::spans::Rendered;

/// TRL's two switches, on by default; both off trains all tokens of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Of what has a prompt and a completion, the completion alone.
    pub completion_only: bool,
    /// Of conversations, the assistant's turns alone, without those of `weight` 0. Off, weights have no effect.
    pub assistant_only: bool,
}

impl Default for Loss {
    fn default() -> Self {
        Self { completion_only: true, assistant_only: true }
    }
}

impl Loss {
    /// The example of a line.
    ///
    /// # Errors
    /// `Line`.
    pub fn example(self, piece: &Piece, model: &ModelText) -> Result<Example, DataError> {
        let record = Record::parse(&piece.text).map_err(|problem| piece.wrong(problem))?;
        let example = match record {
            Record::Text(text) => Example::of_text(&text, 0..text.len(), model),
            Record::Completion { prompt, completion } => {
                let text = prompt.clone() + &completion;
                let begin = if self.completion_only { prompt.len() } else { 0 };
                Example::of_text(&text, begin..text.len(), model)
            }
            Record::Conversation(conversation) => {
                let rendered = self.render(&conversation, model).map_err(|problem| piece.wrong(problem))?;
                let are_turns =
                    self.assistant_only || (self.completion_only && conversation.prompt.is_some());
                Example::of_rendered(&rendered.text, TrainedText { spans: &rendered.spans, are_turns }, model)
            }
        };
        example.map_err(|error| piece.wrong(error.to_string()))
    }

    fn render(self, conversation: &Conversation, model: &ModelText) -> Result<Rendered, String> {
        let Some(templates) = &model.templates else {
            return Err(
                "has messages, and the model has no chat template: give `prompt` and `completion` as text"
                    .to_owned(),
            );
        };
        let prompt = conversation.prompt.filter(|_| self.completion_only);
        match (self.assistant_only, prompt) {
            (true, prompt) => templates.assistant_turns(conversation, prompt.unwrap_or(0)),
            (false, Some(prompt)) => templates.completion(conversation, prompt),
            (false, None) => {
                let text = templates.render(conversation)?;
                Ok(Rendered { spans: std::iter::once(0..text.len()).collect(), text })
            }
        }
    }
}
