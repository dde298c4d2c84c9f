//! What a request asks of its choices token by token, beyond sampling parameters: a grammar, a bound on the trace and the words
//! that close it, a bias within the trace.
//!
//! A choice's state is derived from its tokens alone, which it reads as they come: a choice that was preempted, or drafted
//! ahead, is where its tokens are. The trace is what the model writes between two marks; a grammar begins after it.

use std::fmt;
use std::sync::Arc;

use crate::guide::{Guide, GuideError, GuideState, TokenSet};
use crate::weights::Tokenizer;

/// Shared by the choices of a request.
#[derive(Debug, Clone, Default)]
pub struct Guidance {
    pub grammar: Option<Guide>,
    pub trace: Option<Trace>,
}

/// A trace of thinking, and what may be done to it.
#[derive(Debug, Clone)]
pub struct Trace {
    pub marks: TraceMarks,
    /// The prompt opened it.
    pub begins_open: bool,
    pub budget: Option<TraceBudget>,
    pub steer: Option<Steer>,
}

/// How a model writes a trace.
#[derive(Clone)]
pub struct TraceMarks {
    pub open: &'static str,
    pub close: &'static str,
    /// The opening mark, where the vocabulary has it as one token.
    pub open_token: Option<u32>,
    pub tokenizer: Tokenizer,
}

#[derive(Debug, Clone)]
pub struct TraceBudget {
    /// Tokens of a trace; those of the marks do not count.
    pub tokens: usize,
    /// Forced where they are used up; end with the closing mark.
    pub closing: Arc<[u32]>,
}

/// Lowers tokens within a trace.
#[derive(Debug, Clone)]
pub struct Steer {
    pub lowered: Arc<TokenSet>,
    /// Subtracted from their logits.
    pub strength: f32,
}

/// One choice's.
pub struct ChoiceGuidance {
    rules: Arc<Guidance>,
    /// Tokens read so far.
    read: usize,
    place: Place,
    /// What of the trace's text may belong to a mark.
    tail: Vec<u8>,
    trace_tokens: usize,
    /// Closing tokens that are to come.
    closing: usize,
    grammar: Option<GuideState>,
    /// The trace has just been closed: line breaks may stand before what the grammar describes.
    gap: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing but white space or the beginning of a mark so far.
    Start,
    Trace,
    Answer,
}

/// What holds for the next token.
#[derive(Debug, Default)]
pub struct Constraint {
    /// Nothing else may come.
    pub forced: Option<u32>,
    pub allowed: Option<TokenSet>,
    /// Allowed too.
    pub also: Vec<u32>,
    /// End tokens among what is allowed must not be suppressed: nothing else is left.
    pub complete: bool,
    /// The sequence must not end here.
    pub endless: bool,
    pub steer: Option<Steer>,
}

impl ChoiceGuidance {
    pub fn new(rules: Arc<Guidance>) -> Self {
        let place = match &rules.trace {
            Some(trace) if trace.begins_open => Place::Trace,
            Some(_) => Place::Start,
            None => Place::Answer,
        };
        let (tail, closing, grammar, gap) = (Vec::new(), 0, None, false);
        let mut new = Self { rules, read: 0, place, tail, trace_tokens: 0, closing, grammar, gap };
        new.close_when_due();
        new
    }

    /// What holds behind `output`, all tokens of the choice so far.
    ///
    /// # Errors
    /// A grammar that costs too much, or that the tokens do not follow.
    pub fn constraint(&mut self, output: &[u32]) -> Result<Constraint, GuideError> {
        if output.len() < self.read {
            *self = Self::new(Arc::clone(&self.rules));
        }
        for &token in &output[self.read..] {
            self.take(token)?;
            self.read += 1;
        }
        if let Some(forced) = self.forced() {
            return Ok(Constraint { forced: Some(forced), ..Constraint::default() });
        }
        let rules = Arc::clone(&self.rules);
        let trace = rules.trace.as_ref();
        match self.place {
            Place::Trace => Ok(Constraint {
                endless: rules.grammar.is_some(),
                steer: trace.and_then(|trace| trace.steer.clone()),
                ..Constraint::default()
            }),
            Place::Start if rules.grammar.is_some() => {
                let open = trace.and_then(|trace| trace.marks.open_token);
                let guided = self.guided()?;
                Ok(Constraint { also: open.into_iter().collect(), ..guided })
            }
            Place::Start => Ok(Constraint::default()),
            Place::Answer => self.guided(),
        }
    }

    fn guided(&mut self) -> Result<Constraint, GuideError> {
        let rules = Arc::clone(&self.rules);
        let Some(guide) = &rules.grammar else { return Ok(Constraint::default()) };
        let state = self.grammar.get_or_insert_with(|| guide.start());
        let complete = state.is_complete();
        let also = match &rules.trace {
            Some(trace) if self.gap => trace.marks.line_breaks(),
            _ => Vec::new(),
        };
        Ok(Constraint { allowed: Some(state.allowed()?), complete, also, ..Constraint::default() })
    }

    fn take(&mut self, token: u32) -> Result<(), GuideError> {
        let forced = self.forced() == Some(token);
        // A choice that went another way than it was told, as none does, is free again.
        self.closing = if forced { self.closing - 1 } else { 0 };
        let rules = Arc::clone(&self.rules);
        let place = self.place;
        match (place, &rules.trace) {
            (Place::Start, Some(trace)) => self.start(trace, token),
            (Place::Trace, Some(trace)) => self.think(trace, token),
            // Line breaks behind the closing mark.
            (Place::Answer, _) if forced => return Ok(()),
            _ => {}
        }
        let begins_answer = place == Place::Start && self.place == Place::Answer;
        match &rules.grammar {
            Some(guide) if place == Place::Answer || begins_answer => self.follow(guide, token),
            Some(guide) if place == Place::Trace && self.place == Place::Answer => self.follow_rest(guide),
            _ => Ok(()),
        }
    }

    /// What the token that closed the trace says of the answer already.
    fn follow_rest(&mut self, guide: &Guide) -> Result<(), GuideError> {
        let rest = String::from_utf8_lossy(&std::mem::take(&mut self.tail)).trim_start().to_owned();
        let Some(trace) = self.rules.trace.as_ref().filter(|_| !rest.is_empty()) else { return Ok(()) };
        let ids = trace.marks.tokenizer.encode(&rest, false).unwrap_or_default();
        self.gap = false;
        let state = self.grammar.get_or_insert_with(|| guide.start());
        ids.into_iter().try_for_each(|id| state.take(id))
    }

    fn follow(&mut self, guide: &Guide, token: u32) -> Result<(), GuideError> {
        let trace = self.rules.trace.as_ref();
        if std::mem::take(&mut self.gap) && trace.is_some_and(|trace| trace.marks.breaks_line(token)) {
            return Ok(());
        }
        self.grammar.get_or_insert_with(|| guide.start()).take(token)
    }

    /// A mark at the very beginning opens a trace. With a grammar, only one that is a token: the first token decides.
    fn start(&mut self, trace: &Trace, token: u32) {
        let marks = &trace.marks;
        if self.rules.grammar.is_some() {
            self.place = if marks.open_token == Some(token) { Place::Trace } else { Place::Answer };
        } else {
            self.tail.extend(marks.tokenizer.token_bytes(token));
            let text = self.tail.trim_ascii_start();
            if let Some(rest) = text.strip_prefix(marks.open.as_bytes()) {
                self.tail = rest.to_vec();
                self.place = Place::Trace;
            } else if !marks.open.as_bytes().starts_with(text) {
                self.place = Place::Answer;
            }
        }
        self.close_when_due();
    }

    fn think(&mut self, trace: &Trace, token: u32) {
        let close = trace.marks.close.as_bytes();
        self.tail.extend(trace.marks.tokenizer.token_bytes(token));
        if let Some(at) = self.tail.windows(close.len()).position(|window| window == close) {
            (self.place, self.gap) = (Place::Answer, true);
            self.tail.drain(..at + close.len());
            return;
        }
        let surplus = self.tail.len().saturating_sub(close.len() - 1);
        self.tail.drain(..surplus);
        self.trace_tokens += 1;
        self.close_when_due();
    }

    fn close_when_due(&mut self) {
        let Some(budget) = self.rules.trace.as_ref().and_then(|trace| trace.budget.as_ref()) else { return };
        if self.place == Place::Trace && self.closing == 0 && self.trace_tokens >= budget.tokens {
            self.closing = budget.closing.len();
        }
    }

    fn forced(&self) -> Option<u32> {
        let closing = &self.rules.trace.as_ref()?.budget.as_ref()?.closing;
        closing.get(closing.len().checked_sub(self.closing)?).copied()
    }
}

impl TraceMarks {
    /// Tokens of nothing but line breaks.
    fn line_breaks(&self) -> Vec<u32> {
        let spelled = ["\n", "\n\n"].map(|text| self.tokenizer.encode(text, false).unwrap_or_default());
        spelled
            .into_iter()
            .filter(|ids| ids.len() == 1)
            .flatten()
            .filter(|id| self.breaks_line(*id))
            .collect()
    }

    fn breaks_line(&self, token: u32) -> bool {
        let bytes = self.tokenizer.token_bytes(token);
        !bytes.is_empty() && bytes.iter().all(|byte| *byte == b'\n')
    }
}

impl fmt::Debug for TraceMarks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}..{}", self.open, self.close)
    }
}

#[cfg(test)]
#[path = "guidance_tests.rs"]
mod tests;
