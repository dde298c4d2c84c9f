//! Tells calls from text in a stream whose pieces may split a mark or an object anywhere.
//!
//! A call is told of as soon as its name is whole, its arguments as they come; what turns out to be no call is given out as the
//! text it is. Any division of a text into pieces gives the same text, names and arguments.

use std::sync::Arc;

use super::ToolFormat;
use super::object::{CallObject, decoded};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolEvent {
    /// What the model says.
    Text(String),
    /// A call begins; they are counted from 0.
    Call { index: usize, name: String },
    /// More of a call's arguments: a piece of their JSON text.
    Arguments { index: usize, piece: String },
}

#[derive(Debug)]
pub struct ToolParser {
    format: ToolFormat,
    offered: Arc<[String]>,
    place: Place,
    /// Text that may be the beginning of a mark.
    held: String,
    /// Since the mark, in case there is no call.
    raw: String,
    object: CallObject,
    /// Bytes of its arguments that were told.
    told: usize,
    calls: usize,
    said_something: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    /// Behind a mark, or an object.
    Between,
    /// Behind a mark, where a name stands before the arguments.
    Name,
    Object,
    /// Behind an object, before the mark that closes it.
    Closing,
}

impl ToolParser {
    /// `offered` are the names of the tools that there are: a call of another is text.
    pub fn new(format: ToolFormat, offered: Arc<[String]>) -> Self {
        Self {
            format,
            offered,
            place: Place::Text,
            held: String::new(),
            raw: String::new(),
            object: CallObject::default(),
            told: 0,
            calls: 0,
            said_something: false,
        }
    }

    /// Calls told so far.
    pub fn calls(&self) -> usize {
        self.calls
    }

    pub fn push(&mut self, piece: &str) -> Vec<ToolEvent> {
        let mut events = Vec::new();
        for c in piece.chars() {
            self.take(c, &mut events);
        }
        self.tell_arguments(&mut events);
        joined(events)
    }

    /// Gives out what was held back. Call once, at the end.
    pub fn finish(&mut self) -> Vec<ToolEvent> {
        let mut events = Vec::new();
        self.tell_arguments(&mut events);
        let is_told = self.place == Place::Object && self.is_call();
        let no_call = !is_told && matches!(self.place, Place::Object | Place::Between | Place::Name);
        let rest = if no_call { std::mem::take(&mut self.raw) } else { String::new() }
            + &std::mem::take(&mut self.held);
        let only_marks = self.calls > 0 && rest.chars().all(|c| self.format.is_between(c));
        let only_marks = only_marks || (self.place == Place::Closing && rest.trim().is_empty());
        if !rest.is_empty() && !only_marks {
            events.push(ToolEvent::Text(rest));
        }
        joined(events)
    }

    fn take(&mut self, c: char, events: &mut Vec<ToolEvent>) {
        match self.place {
            Place::Text => self.take_text(c, events),
            Place::Between if c == '{' => {
                self.place = Place::Object;
                self.raw.push(c);
                (self.object, self.told) = (CallObject::default(), 0);
                self.object.push(c);
            }
            Place::Between if self.format.is_between(c) => self.raw.push(c),
            Place::Between => {
                // No object follows: it was text after all, or is text behind the last call.
                let raw = std::mem::take(&mut self.raw);
                let is_gap = raw.chars().all(|c| self.format.is_between(c));
                self.place = Place::Text;
                if !is_gap {
                    self.say(&raw, events);
                }
                self.take_text(c, events);
            }
            Place::Name => self.take_name(c, events),
            Place::Object => self.take_object(c, events),
            Place::Closing => self.take_closing(c, events),
        }
    }

    fn take_text(&mut self, c: char, events: &mut Vec<ToolEvent>) {
        let bare = self.format == ToolFormat::Llama && !self.said_something && c == '{';
        if bare && self.held.trim().is_empty() {
            self.raw = std::mem::take(&mut self.held);
            self.place = Place::Between;
            self.take(c, events);
            return;
        }
        self.held.push(c);
        let open = self.format.open();
        if self.held.ends_with(open) {
            let before = self.held[..self.held.len() - open.len()].to_owned();
            self.held.clear();
            // Line breaks before a call are the format's.
            self.say(before.trim_end_matches('\n'), events);
            open.clone_into(&mut self.raw);
            self.place = if self.format.arguments_mark().is_some() { Place::Name } else { Place::Between };
            return;
        }
        let keep = held_back(&self.held, open);
        let out: String = self.held.drain(..self.held.len() - keep).collect();
        if self.said_something || !out.trim().is_empty() || self.format != ToolFormat::Llama {
            self.say(&out, events);
        } else {
            // White space before what may be a bare object.
            self.held.insert_str(0, &out);
        }
    }

    fn say(&mut self, text: &str, events: &mut Vec<ToolEvent>) {
        if text.is_empty() {
            return;
        }
        self.said_something |= !text.trim().is_empty();
        events.push(ToolEvent::Text(text.to_owned()));
    }

    /// What stands between the marks is a name, perhaps with `[CALL_ID]` and an id behind it; a long text is none.
    fn take_name(&mut self, c: char, events: &mut Vec<ToolEvent>) {
        const BYTES_MAX: usize = 256;
        self.raw.push(c);
        let mark = self.format.arguments_mark().unwrap_or_default();
        let between = &self.raw[self.format.open().len()..];
        if let Some(between) = between.strip_suffix(mark) {
            let name = between.split("[CALL_ID]").next().unwrap_or_default().trim().to_owned();
            (self.object, self.told) = (CallObject::of_name(&name), 0);
            if self.is_call() {
                events.push(ToolEvent::Call { index: self.calls, name });
                self.calls += 1;
                self.raw.clear();
                self.place = Place::Object;
                return;
            }
        }
        if between.ends_with(mark) || between.len() > BYTES_MAX {
            let raw = std::mem::take(&mut self.raw);
            self.place = Place::Text;
            self.say(&raw, events);
        }
    }

    fn take_object(&mut self, c: char, events: &mut Vec<ToolEvent>) {
        let was_call = self.is_call();
        self.object.push(c);
        self.raw.push(c);
        if self.is_call()
            && !was_call
            && let Some(name) = self.object.name.clone()
        {
            events.push(ToolEvent::Call { index: self.calls, name });
            self.calls += 1;
            self.raw.clear();
        }
        if !self.object.complete {
            return;
        }
        self.tell_arguments(events);
        if !self.is_call() {
            // An object, and no call.
            let raw = std::mem::take(&mut self.raw);
            self.place = Place::Text;
            self.say(&raw, events);
            return;
        }
        if self.told == 0 {
            // A call without arguments has none, which JSON writes so.
            events.push(ToolEvent::Arguments { index: self.calls - 1, piece: "{}".to_owned() });
        }
        self.raw.clear();
        self.place = match self.format {
            ToolFormat::Hermes => Place::Closing,
            ToolFormat::Llama | ToolFormat::Mistral => Place::Between,
            ToolFormat::MistralNamed => Place::Text,
        };
    }

    /// The object at hand names a tool that there is.
    fn is_call(&self) -> bool {
        self.object.name.as_ref().is_some_and(|name| self.offered.contains(name))
    }

    /// Some models write another object before they close the last, and some never do.
    fn take_closing(&mut self, c: char, events: &mut Vec<ToolEvent>) {
        self.held.push(c);
        let close = self.format.close().unwrap_or_default();
        if self.held.ends_with(close) {
            self.held.clear();
            self.place = Place::Text;
        } else if c == '{' {
            self.held.clear();
            self.place = Place::Between;
            self.take(c, events);
        } else if !close.starts_with(self.held.trim_start()) {
            self.place = Place::Text;
            for c in std::mem::take(&mut self.held).chars() {
                self.take_text(c, events);
            }
        }
    }

    /// Arguments that are a JSON text in a string are told when they are whole.
    fn tell_arguments(&mut self, events: &mut Vec<ToolEvent>) {
        let object = &self.object;
        if self.place != Place::Object || !self.is_call() || object.arguments.len() <= self.told {
            return;
        }
        let index = self.calls - 1;
        if object.arguments.starts_with('"') {
            if let Some(text) = decoded(&object.arguments).filter(|_| object.complete) {
                self.told = object.arguments.len();
                events.push(ToolEvent::Arguments { index, piece: text });
            }
            return;
        }
        let piece = &object.arguments[self.told..];
        // White space at the end may be behind the value.
        let piece = if object.complete { piece } else { piece.trim_end() };
        if !piece.is_empty() {
            events.push(ToolEvent::Arguments { index, piece: piece.to_owned() });
            self.told += piece.len();
        }
    }
}

/// How many bytes at the end may be the beginning of a mark, with the line breaks before it.
fn held_back(text: &str, mark: &str) -> usize {
    let begun = (1..mark.len())
        .rev()
        .find(|&length| mark.is_char_boundary(length) && text.ends_with(&mark[..length]));
    let begun = begun.unwrap_or(0);
    let before = &text[..text.len() - begun];
    begun + before.len() - before.trim_end_matches('\n').len()
}

/// Neighbours of one kind as one.
fn joined(events: Vec<ToolEvent>) -> Vec<ToolEvent> {
    let mut joined: Vec<ToolEvent> = Vec::with_capacity(events.len());
    for event in events {
        match (joined.last_mut(), event) {
            (Some(ToolEvent::Text(last)), ToolEvent::Text(more)) => last.push_str(&more),
            (
                Some(ToolEvent::Arguments { index, piece }),
                ToolEvent::Arguments { index: same, piece: more },
            ) if *index == same => piece.push_str(&more),
            (_, event) => joined.push(event),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = (String, Vec<(String, String)>);

    fn read<'a>(format: ToolFormat, pieces: impl IntoIterator<Item = &'a str>) -> Read {
        let mut parser = ToolParser::new(format, Arc::new(["a".to_owned(), "b".to_owned()]));
        let mut events: Vec<ToolEvent> = pieces.into_iter().flat_map(|piece| parser.push(piece)).collect();
        events.extend(parser.finish());
        let (mut text, mut calls) = (String::new(), Vec::new());
        for event in events {
            match event {
                ToolEvent::Text(more) => text.push_str(&more),
                ToolEvent::Call { index, name } => {
                    assert_eq!(index, calls.len());
                    calls.push((name, String::new()));
                }
                ToolEvent::Arguments { index, piece } => calls[index].1.push_str(&piece),
            }
        }
        assert_eq!(parser.calls(), calls.len());
        (text, calls)
    }

    fn check(format: ToolFormat, written: &str, text: &str, calls: &[(&str, &str)]) {
        let calls: Vec<_> = calls.iter().map(|(name, of)| ((*name).to_owned(), (*of).to_owned())).collect();
        assert_eq!(read(format, [written]), (text.to_owned(), calls), "{written}");
    }

    #[test]
    fn calls_in_each_format() {
        use ToolFormat::{Hermes, Llama, Mistral, MistralNamed};
        let one = r#"<tool_call>
{"name": "a", "arguments": {"x": 1}}
</tool_call>"#;
        check(Hermes, one, "", &[("a", r#"{"x": 1}"#)]);
        check(
            Hermes,
            &format!("I look.\n\n{one}\n{one}"),
            "I look.",
            &[("a", r#"{"x": 1}"#), ("a", r#"{"x": 1}"#)],
        );
        check(Hermes, r#"<tool_call>{"name": "a"}</tool_call> done"#, " done", &[("a", "{}")]);
        check(Hermes, r#"<tool_call>{"name": "a", "arguments": {"x": "half"#, "", &[("a", r#"{"x": "half"#)]);
        check(Hermes, r#"{"name": "a", "arguments": {}}"#, r#"{"name": "a", "arguments": {}}"#, &[]);
        check(Hermes, "a <tool_call> is a mark", "a <tool_call> is a mark", &[]);
        check(Hermes, "<tool_call>{\"x\": 1}</tool_call>", "<tool_call>{\"x\": 1}</tool_call>", &[]);
        check(Hermes, "1 < 2\n\nand <tool", "1 < 2\n\nand <tool", &[]);
        check(Llama, r#"{"name": "a", "parameters": {"q": "}"}}"#, "", &[("a", r#"{"q": "}"}"#)]);
        let two = r#" <|python_tag|>{"name": "a", "parameters": {}}; {"name": "b", "parameters": {}}"#;
        check(Llama, two, " ", &[("a", "{}"), ("b", "{}")]);
        check(Llama, r#"{"name": "Alice", "age": 3}"#, r#"{"name": "Alice", "age": 3}"#, &[]);
        check(Hermes, r#"<tool_call>{"name": "a"} so"#, " so", &[("a", "{}")]);
        check(Llama, r#"{"answer": 42} is all"#, r#"{"answer": 42} is all"#, &[]);
        check(Llama, r#"Say {"name": "a"}"#, r#"Say {"name": "a"}"#, &[]);
        let list = r#"[TOOL_CALLS][{"name": "a", "arguments": {"x": [1]}}, {"name": "b", "arguments": "{\"y\": 2}"}]"#;
        check(Mistral, list, "", &[("a", r#"{"x": [1]}"#), ("b", r#"{"y": 2}"#)]);
        let named = r#"Let me see.[TOOL_CALLS]a[ARGS]{"x": [1, "}"]}[TOOL_CALLS]b[CALL_ID]123456789[ARGS]{}"#;
        check(MistralNamed, named, "Let me see.", &[("a", r#"{"x": [1, "}"]}"#), ("b", "{}")]);
        check(MistralNamed, r#"[TOOL_CALLS]a[ARGS]{"x""#, "", &[("a", r#"{"x""#)]);
        check(MistralNamed, "[TOOL_CALLS]c[ARGS]{}", "[TOOL_CALLS]c[ARGS]{}", &[]);
        check(MistralNamed, "[TOOL_CALLS]a", "[TOOL_CALLS]a", &[]);
        let long = format!("[TOOL_CALLS]{}", "é".repeat(200));
        check(MistralNamed, &long, &long, &[]);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            parts in prop::collection::vec(prop::sample::select(vec![
                "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "a[ARGS]", "<|python_tag|>", "\n", " ", "[", "]", ";", "{", "}", "\"", "\\",
                "{\"name\": \"a\", \"arguments\": {\"x\": \"1\"}}", "{\"name\": \"b\", \"parameters\": ", "é", "<", "tool_call", ",",
            ]), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            format in prop::sample::select(vec![
                ToolFormat::Hermes, ToolFormat::Llama, ToolFormat::Mistral, ToolFormat::MistralNamed,
            ]),
        ) {
            let text = parts.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.retain(|cut| text.is_char_boundary(*cut));
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(format, pieces), read(format, [text.as_str()]));
        }
    }
}
