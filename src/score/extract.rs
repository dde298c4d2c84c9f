//! Where the answer stands in a completion.
//!
//! After the trace; there, in this order: the last balanced box with those that a comma or an "and" joins to it; what
//! follows the last phrase that announces an answer; a closing line that is nothing but a value, or a formula that ends
//! the text; what the last line calls the result. Purely positional: what the answer says is for `math` and `choice` to judge. The trace is not searched
//! unless the caller asks: a box in it that the answer does not repeat is no answer. All of it takes linear time.

mod announced;
pub(super) mod anywhere;
mod beside;
mod boxes;
mod closing;
mod context;
mod formula;
mod joined;
mod parts;
mod phrase;
mod taken_back;
mod value;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use boxes::{Boxed, boxes};
pub(super) use formula::head;
pub(super) use joined::{is_joiner, unspaced_joiner};
pub use parts::{Parts, split};
pub(super) use value::is_digit;

/// A kind of answer that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Boxes, and formulas between dollars, `\(..\)` or `\[..\]`.
    Latex,
    /// Numbers and short expressions in plain text.
    Expr,
}

/// What is looked for, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtractOptions<'a> {
    /// In order of preference: boxes stand before phrases unless `Expr` is named first.
    pub targets: &'a [Target],
    /// Take the content of a last box that was never closed.
    pub allow_unclosed: bool,
    /// Search the trace when the answer part has nothing, or was never reached.
    pub think_fallback: bool,
}

impl Default for ExtractOptions<'_> {
    fn default() -> Self {
        Self { targets: &[Target::Latex, Target::Expr], allow_unclosed: false, think_fallback: false }
    }
}

/// How an answer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    Box,
    /// A last box that was never closed.
    UnclosedBox,
    /// After a phrase such as "The answer is".
    Phrase,
    /// A closing line that is nothing but a value, or a formula that ends the text.
    Closing,
}

/// The answer found in a completion. Offsets are bytes of the whole completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extraction {
    pub parts: Parts,
    /// The content of the last box, or of the adjacent boxes that form one answer with it; else what a phrase
    /// announces.
    pub answers: Vec<Range<usize>>,
    /// What is left of the sentence after a phrase, for answers that are words; `None` for other finds.
    pub clause: Option<Range<usize>>,
    pub found: Option<Found>,
    /// What stands around a box, or beside an announced value, makes another value of it: `-\boxed{5}`, "more than 5".
    pub changed: bool,
    /// The answer comes from the trace.
    pub in_trace: bool,
    /// Balanced, non-empty boxes in the part that was searched last, boxes inside boxes not counted.
    pub boxes: usize,
    /// A box was opened and never closed.
    pub unclosed_box: bool,
}

impl Extraction {
    /// From the first byte to the last of the answer's content; `None` without an answer.
    pub fn span(&self) -> Option<Range<usize>> {
        Some(self.answers.first()?.start..self.answers.last()?.end)
    }

    /// The texts of the answer: one, as a rule.
    pub fn texts<'a>(&self, completion: &'a str) -> Vec<&'a str> {
        self.answers.iter().map(|span| &completion[span.clone()]).collect()
    }

    pub(super) fn none(parts: Parts) -> Self {
        Self {
            parts,
            answers: Vec::new(),
            clause: None,
            found: None,
            changed: false,
            in_trace: false,
            boxes: 0,
            unclosed_box: false,
        }
    }

    pub(super) fn take(&mut self, found: Found, answers: Vec<Range<usize>>) {
        self.changed &= found == Found::Box;
        self.found = Some(found);
        self.answers = answers;
    }
}

/// The answer in the last balanced box of the answer part, and nothing else.
pub fn extract(completion: &str) -> Extraction {
    let parts = split(completion);
    let region = parts.answer.clone();
    let mut extraction = Extraction::none(parts);
    take_box(completion, region, false, &mut extraction);
    extraction
}

/// The answer wherever the options allow it to stand.
pub fn extract_with(completion: &str, options: &ExtractOptions<'_>) -> Extraction {
    let parts = split(completion);
    let (answer, trace) = (parts.answer.clone(), parts.trace.clone());
    let mut extraction = Extraction::none(parts);
    search(completion, answer, options, &mut extraction);
    if let Some(trace) = trace.filter(|_| options.think_fallback && extraction.answers.is_empty()) {
        search(completion, trace, options, &mut extraction);
        extraction.in_trace = !extraction.answers.is_empty();
    }
    extraction
}

fn search(completion: &str, region: Range<usize>, options: &ExtractOptions<'_>, extraction: &mut Extraction) {
    let latex = options.targets.contains(&Target::Latex);
    let box_first = options.targets.first() == Some(&Target::Latex);
    if box_first {
        take_box(completion, region.clone(), options.allow_unclosed, extraction);
    }
    // What follows an unclosed box is cut off: no phrase before it and no number in it stands for it.
    if !extraction.answers.is_empty() || extraction.unclosed_box {
        return;
    }
    take_announced(completion, region.clone(), options.targets, extraction);
    if extraction.answers.is_empty() && latex && !box_first {
        take_box(completion, region.clone(), options.allow_unclosed, extraction);
    }
    if !extraction.answers.is_empty() || extraction.unclosed_box {
        return;
    }
    let text = &completion[region.clone()];
    if let Some(answers) = closing::find(text, options.targets) {
        extraction.take(Found::Closing, shifted(answers, region.start));
    } else if let Some(result) = announced::result(text, options.targets) {
        extraction.take(Found::Phrase, shifted(result.answers, region.start));
    }
}

fn take_box(completion: &str, region: Range<usize>, allow_unclosed: bool, extraction: &mut Extraction) {
    let text = &completion[region.clone()];
    let all = boxes::find(text);
    extraction.boxes = all.closed.len();
    extraction.unclosed_box = all.unclosed.is_some();
    let last = all.closed.last().map_or(0, |last| last.whole.end);
    if let Some(start) = all.unclosed.filter(|start| allow_unclosed && *start >= last)
        && let Some(content) = unclosed_content(text, start)
    {
        extraction.take(Found::UnclosedBox, shifted(vec![content], region.start));
        return;
    }
    let joined = joined::last_joined(text, &all.closed);
    if let (Some(first), Some(last)) = (joined.first(), joined.last()) {
        extraction.changed = context::is_changed(text, first.whole.start, last.whole.end);
        let earlier = all.closed.len() - joined.len();
        extraction.changed |= earlier > 0 && joined::answer_apart(text, &all.closed[earlier - 1], first);
        let contents = joined.iter().map(|found| found.content.clone()).collect();
        extraction.take(Found::Box, shifted(contents, region.start));
    }
}

/// What stands in a box up to the end of its line or formula.
fn unclosed_content(text: &str, start: usize) -> Option<Range<usize>> {
    let rest = &text[start..];
    let end = rest.find(['\n', '$']).unwrap_or(rest.len());
    let content = rest[..end].trim_end_matches(|c: char| c.is_whitespace() || c == '\\');
    let from = start + content.len() - content.trim_start().len();
    (!content.trim().is_empty()).then_some(from..start + content.len())
}

/// The value that a phrase after the box announces at once, if one does: it should repeat the box.
pub(super) fn announced_after(completion: &str, extraction: &Extraction) -> Option<Vec<Range<usize>>> {
    let from =
        extraction.span().filter(|_| extraction.found == Some(Found::Box) && !extraction.in_trace)?.end;
    let rest = &completion[from..];
    let announced = announced::last(rest, &[Target::Latex, Target::Expr])
        .filter(|found| found.direct && found.is_value)?;
    Some(shifted(announced.answers, from))
}

/// The answer part itself, where it is one short line without box or phrase.
pub(super) fn whole_answer(completion: &str, extraction: &Extraction) -> Option<Range<usize>> {
    let region = extraction.parts.answer.clone();
    let none = extraction.answers.is_empty() && !extraction.unclosed_box;
    let found = closing::whole(&completion[region.clone()]).filter(|_| none)?;
    Some(found.start + region.start..found.end + region.start)
}

/// What the last phrase announces. It alone counts: an earlier one was a step on the way.
fn take_announced(completion: &str, region: Range<usize>, targets: &[Target], extraction: &mut Extraction) {
    let text = &completion[region.clone()];
    let Some(announced) = announced::last(text, targets) else { return };
    extraction.clause = announced.clause.map(|clause| clause.start + region.start..clause.end + region.start);
    extraction.take(Found::Phrase, shifted(announced.answers, region.start));
    extraction.changed = announced.changed;
}

fn shifted(spans: Vec<Range<usize>>, by: usize) -> Vec<Range<usize>> {
    spans.into_iter().map(|span| span.start + by..span.end + by).collect()
}

#[cfg(test)]
mod tests;
