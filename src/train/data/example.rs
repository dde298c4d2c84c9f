//! One sequence of tokens and what of it is trained.

use std::ops::Range;

use super::model_text::ModelText;
use crate::weights::WeightsError;

/// Position i is trained to predict `ids[i]` if `trained[i]`; the first position never is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Example {
    pub ids: Vec<u32>,
    pub trained: Vec<bool>,
}

/// What of a text is trained.
#[derive(Debug, Clone, Copy)]
pub struct TrainedText<'a> {
    /// Ascending, apart from each other.
    pub spans: &'a [Range<usize>],
    /// Whether each span is a turn, which ends with its last special token: a line break that templates write after it is
    /// never generated.
    pub are_turns: bool,
}

impl Example {
    /// The whole text as ids, once, so that they are those of a prompt of the same text; a token is trained if any of its
    /// text lies in a span. Special tokens written out in the text are recognised, as in a prompt.
    ///
    /// # Errors
    /// The tokenizer's own failure.
    pub fn of_rendered(
        text: &str,
        trained: TrainedText<'_>,
        model: &ModelText,
    ) -> Result<Self, WeightsError> {
        let tokens = Tokens::of(model, text, false)?;
        Ok(tokens.example(model, trained))
    }

    /// As [`Self::of_rendered`], with what the tokenizer puts around a text, and the end of a text, which is trained.
    ///
    /// # Errors
    /// The tokenizer's own failure.
    pub fn of_text(text: &str, span: Range<usize>, model: &ModelText) -> Result<Self, WeightsError> {
        let tokens = Tokens::of(model, text, true)?;
        let mut example = tokens.example(model, TrainedText { spans: &[span], are_turns: false });
        if let Some(eos) = model.eos {
            if example.ids.last() != Some(&eos) {
                example.ids.push(eos);
                example.trained.push(false);
            }
            if let Some(last) = example.trained.last_mut().filter(|_| example.ids.len() > 1) {
                *last = true;
            }
        }
        Ok(example)
    }

    pub fn trained_tokens(&self) -> usize {
        self.trained.iter().filter(|trained| **trained).count()
    }

    pub fn truncate(&mut self, length: usize) {
        self.ids.truncate(length);
        self.trained.truncate(length);
    }

    /// Pieces of at most so many tokens; the first of each is not trained.
    pub fn split(mut self, length: usize) -> Vec<Self> {
        let mut pieces = Vec::new();
        while self.ids.len() > length {
            let rest = Self { ids: self.ids.split_off(length), trained: self.trained.split_off(length) };
            pieces.push(std::mem::replace(&mut self, rest));
        }
        pieces.push(self);
        for first in pieces.iter_mut().filter_map(|piece| piece.trained.first_mut()) {
            *first = false;
        }
        pieces
    }
}

/// Ids with the text of each, `None` for those that stand for none.
struct Tokens<'a> {
    text: &'a str,
    tokens: Vec<(u32, Option<Range<usize>>)>,
}

impl<'a> Tokens<'a> {
    fn of(model: &ModelText, text: &'a str, add_special_tokens: bool) -> Result<Self, WeightsError> {
        let mut done = 0;
        let place = |(id, range): (u32, Range<usize>)| {
            // A post-processor that trims offsets leaves nothing of a token that is white space: its text is what lies
            // between its neighbours.
            let range = if range.is_empty() { done.min(range.end)..range.end } else { range };
            done = done.max(range.end);
            (id, Some(range).filter(|range| !range.is_empty()))
        };
        let tokens = model.tokenizer.encode_with_offsets(text, add_special_tokens)?;
        Ok(Self { text, tokens: tokens.into_iter().map(place).collect() })
    }

    fn example(&self, model: &ModelText, trained: TrainedText<'_>) -> Example {
        let turn = |span| if trained.are_turns { self.turn(model, span) } else { Range::clone(span) };
        let spans: Vec<Range<usize>> = trained.spans.iter().map(turn).collect();
        let is_trained = |(at, (_, range)): (usize, &(u32, Option<Range<usize>>))| {
            let Some(range) = range.as_ref().filter(|_| at > 0) else { return false };
            let next = spans.partition_point(|span| span.end <= range.start);
            spans.get(next).is_some_and(|span| span.start < range.end)
        };
        Example {
            ids: self.tokens.iter().map(|(id, _)| *id).collect(),
            trained: self.tokens.iter().enumerate().map(is_trained).collect(),
        }
    }

    /// A span without the white space after the special token that ends it.
    fn turn(&self, model: &ModelText, span: &Range<usize>) -> Range<usize> {
        let is_white =
            |range: &Range<usize>| self.text.get(range.clone()).is_some_and(|text| text.trim().is_empty());
        let within = self.tokens.iter().rev().filter_map(|(id, range)| Some((id, range.as_ref()?)));
        let mut within = within.skip_while(|(_, range)| range.start >= span.end);
        let last = within.find(|(_, range)| !is_white(range));
        match last {
            Some((id, range))
                if range.start > span.start && range.end < span.end && model.tokenizer.is_special(*id) =>
            {
                span.start..range.end
            }
            _ => span.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
