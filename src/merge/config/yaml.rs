//! YAML text as a tree whose nodes know their lines.
//!
//! Built from the events of `saphyr-parser` and not from a loader's nodes, because both lines of a duplicate
//! key have to be named, `yes` has to be told from `"yes"`, and text, nodes (aliases expanded) and nesting
//! have bounds. Scalars stay text here: what they mean is up to the key (see `document`).
//!
//! Taken: anchors, aliases, YAML 1.1's merge key `<<`. Refused: tags, other than `!!str`; a second document where one is asked for.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::error::{ConfigError, Place};

/// 1 MiB.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Nodes, counted as often as aliases repeat them.
const NODES_MAX: usize = 100_000;
const DEPTH_MAX: usize = 32;
/// Of the key of a mapping.
const KEY_BYTES_MAX: usize = 512;

/// A node and the line it starts on, from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub line: usize,
    pub value: Value,
    /// Nodes of the tree, and levels.
    size: usize,
    depth: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `plain`: without quotes, so it may be a number, a truth value or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key, the key's line, and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub line: usize,
    pub node: Node,
}

/// One document of a text.
#[derive(Debug)]
pub struct Document<'t> {
    /// All of the text but for other documents.
    pub text: &'t str,
    pub node: Node,
    span: Span,
}

/// The one document of a text.
pub fn parse(text: &str) -> Result<Node, ConfigError> {
    let mut documents = documents(text)?.into_iter();
    let first = documents.next().ok_or_else(|| {
        Place::new("", 1).wrong("the text is empty", "write at least `merge_method` and `models`")
    })?;
    match documents.next() {
        Some(second) => Err(syntax(
            second.span,
            "a second document starts; `xenoglot merge` makes several merges of one file, here keep one",
        )),
        None => Ok(first.node),
    }
}

/// Every document of a text, told apart by lines with `---`.
pub fn documents(text: &str) -> Result<Vec<Document<'_>>, ConfigError> {
    read(text).map_err(|error| at_tab(error, text))
}

/// The parser names where the scalar before a tab ends, be it lines above.
fn at_tab(mut error: ConfigError, text: &str) -> ConfigError {
    if let ConfigError::Syntax { line, column, what } = &mut error
        && what.contains("found a tab")
    {
        let is_indented = |text: &str| text.trim_start_matches(' ').starts_with('\t');
        let mut lines = text.lines().enumerate().skip(line.saturating_sub(1));
        let own = lines.next().is_some_and(|(_, text)| text.contains('\t'));
        if let Some((at, text)) = lines.find(|(_, text)| is_indented(text)).filter(|_| !own) {
            *line = at + 1;
            *column = text.len() - text.trim_start_matches(' ').len() + 1;
        }
    }
    error
}

fn read(text: &str) -> Result<Vec<Document<'_>>, ConfigError> {
    if text.len() > TEXT_BYTES_MAX {
        let what = format!("the text has {} bytes, the most is {TEXT_BYTES_MAX}", text.len());
        return Err(ConfigError::Limit { line: 1, what });
    }
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), path: Vec::new(), nodes: 0 };
    let mut found: Vec<(Node, Span, usize)> = Vec::new();
    let mut line = 1;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
            Event::DocumentStart(_) => line = span.start.line(),
            Event::StreamEnd => break,
            event => {
                let node = reader.node(event, span)?;
                found.push((node, span, line));
            }
        }
    }
    // What stands before a document's first line is the one before's, and before the first all is its own.
    let starts: Vec<usize> = found
        .iter()
        .enumerate()
        .map(|(at, (.., line))| if at == 0 { 0 } else { start_of(text, *line) })
        .collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let parts = starts.iter().zip(ends).map(|(start, end)| &text[*start..end]);
    Ok(found.into_iter().zip(parts).map(|((node, span, _), text)| Document { text, node, span }).collect())
}

/// Where a line, from 1, begins.
fn start_of(text: &str, line: usize) -> usize {
    text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum()
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    /// The keys down to the node that is being read.
    path: Vec<String>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), ConfigError> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(ConfigError::Syntax {
                line: error.marker().line(),
                column: error.marker().col() + 1,
                what: format!(
                    "{}; see that indents are spaces and that brackets and quotes are closed",
                    error.info()
                ),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// The node that `event` starts.
    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, ConfigError> {
        let line = span.start.line();
        self.count(1, 1, line)?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = taken(tag.as_deref(), span)?;
                let plain = style == ScalarStyle::Plain && !is_text;
                (Value::Scalar { text: text.into_owned(), plain }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                taken(tag.as_deref(), span)?;
                (self.list()?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                taken(tag.as_deref(), span)?;
                (self.map()?, anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, span),
            _ => return Err(syntax(span, "there is no value here; write one")),
        };
        let node = Node::new(line, value);
        if anchor > 0 {
            self.count(node.size, 0, line)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<Node, ConfigError> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(syntax(span, "an alias stands inside of what it repeats; write its value out"));
        };
        let (size, depth) = (node.size, node.depth);
        self.count(size, depth, span.start.line())?;
        // Faults in it are shown where it is used.
        Ok(Node { line: span.start.line(), ..self.anchors[&anchor].clone() })
    }

    /// A node below the one that is being read.
    fn below(&mut self, key: String, event: Event<'a>, span: Span) -> Result<Node, ConfigError> {
        self.path.push(key);
        let node = self.node(event, span)?;
        self.path.pop();
        Ok(node)
    }

    fn list(&mut self) -> Result<Value, ConfigError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::List(items));
            }
            items.push(self.below(items.len().to_string(), event, span)?);
        }
    }

    fn map(&mut self) -> Result<Value, ConfigError> {
        let mut entries = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                merged.retain(|entry: &Entry| lines.insert(entry.key.clone(), entry.line).is_none());
                entries.append(&mut merged);
                return Ok(Value::Map(entries));
            }
            let (key, is_merge, line) = self.key(event, span)?;
            let (event, span) = self.next()?;
            let node = self.below(key.clone(), event, span)?;
            if is_merge {
                merge(&mut merged, node, &self.place(&key, line))?;
                continue;
            }
            if let Some(first) = lines.insert(key.clone(), line) {
                return Err(ConfigError::Duplicate { place: self.place(&key, line), first });
            }
            entries.push(Entry { key, line, node });
        }
    }

    /// A key, whether it is `<<`, and its line.
    fn key(&mut self, event: Event<'a>, span: Span) -> Result<(String, bool, usize), ConfigError> {
        let not_a_name = || syntax(span, "a key is a list or a mapping; write a name");
        // Before it is read, because keys do not count as levels.
        if matches!(event, Event::SequenceStart(..) | Event::MappingStart(..)) {
            return Err(not_a_name());
        }
        let node = self.node(event, span)?;
        match node.value {
            Value::Scalar { text, .. } if text.len() > KEY_BYTES_MAX => {
                let what = format!("a key has {} bytes, the most is {KEY_BYTES_MAX}", text.len());
                Err(ConfigError::Limit { line: node.line, what })
            }
            Value::Scalar { text, plain } => {
                let is_merge = plain && text == "<<";
                Ok((text, is_merge, node.line))
            }
            _ => Err(not_a_name()),
        }
    }

    fn place(&self, key: &str, line: usize) -> Place {
        Place::new(self.path.join("."), line).under(key)
    }

    /// Counts nodes against the bounds, and levels of them below the path.
    fn count(&mut self, nodes: usize, levels: usize, line: usize) -> Result<(), ConfigError> {
        self.nodes += nodes;
        let over = |what: String| Err(ConfigError::Limit { line, what });
        if self.nodes > NODES_MAX {
            return over(format!("there are more than {NODES_MAX} values up to here, aliases expanded"));
        }
        if self.path.len() + levels > DEPTH_MAX {
            over(format!("values are nested more than {DEPTH_MAX} deep"))
        } else {
            Ok(())
        }
    }
}

impl Node {
    /// Nothing at all, as after a `---` at the end.
    pub fn is_empty(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if text.is_empty() || text == "~")
    }

    fn new(line: usize, value: Value) -> Self {
        let (size, depth) = match &value {
            Value::Scalar { .. } => (0, 0),
            Value::List(items) => measured(items.iter()),
            Value::Map(entries) => measured(entries.iter().map(|entry| &entry.node)),
        };
        Self { line, value, size: size + 1, depth: depth + 1 }
    }
}

fn measured<'n>(nodes: impl Iterator<Item = &'n Node>) -> (usize, usize) {
    nodes.fold((0, 0), |(size, depth), node| (size + node.size, depth.max(node.depth)))
}

/// Adds the entries of `<<`, a mapping or a list of them. Of several entries with one key the first counts.
fn merge(merged: &mut Vec<Entry>, node: Node, place: &Place) -> Result<(), ConfigError> {
    let maps = match node.value {
        Value::List(items) => items,
        _ => vec![node],
    };
    for map in maps {
        let Value::Map(entries) = map.value else {
            return Err(
                place.wrong("is not a mapping", "write `<<: *anchor` of a mapping, or a list of such")
            );
        };
        merged.extend(entries.into_iter().map(|entry| Entry { line: place.line, ..entry }));
    }
    Ok(())
}

/// Whether a tag says that a scalar is text; an error if it says anything else.
fn taken(tag: Option<&Tag>, span: Span) -> Result<bool, ConfigError> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        Some(_) => Err(syntax(span, "a tag (`!...`) means nothing here; remove it")),
    }
}

fn syntax(span: Span, what: &str) -> ConfigError {
    ConfigError::Syntax { line: span.start.line(), column: span.start.col() + 1, what: what.to_owned() }
}

#[cfg(test)]
mod tests;
