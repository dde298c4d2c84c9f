//! Python's `json.dumps` over template values, because prompts must equal those of transformers to the byte.
//!
//! Not a general serializer: values come from JSON messages, so depth is bounded by whoever parsed them, and a
//! limit here ends a template that nests a list into itself.

use std::fmt::Write as _;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

const DEPTH_MAX: usize = 128;
const BYTES_MAX: usize = 16 << 20;

/// The keyword arguments of transformers' `tojson` filter.
pub(super) struct JsonStyle {
    pub ensure_ascii: bool,
    /// What one level of nesting adds to the line's start; `None` keeps everything on one line.
    pub indent: Option<String>,
    pub item_separator: String,
    pub key_separator: String,
    pub sort_keys: bool,
}

impl JsonStyle {
    /// The separators `json.dumps` chooses when it is given none.
    pub fn new(indent: Option<String>) -> Self {
        let item_separator = if indent.is_some() { "," } else { ", " };
        Self {
            ensure_ascii: false,
            indent,
            item_separator: item_separator.to_owned(),
            key_separator: ": ".to_owned(),
            sort_keys: false,
        }
    }
}

pub(super) fn dumps(value: &Value, style: &JsonStyle) -> Result<String, Error> {
    let mut writer = Writer { out: String::new(), style };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct Writer<'a> {
    out: String,
    style: &'a JsonStyle,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX || self.out.len() > BYTES_MAX {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                "tojson: the value is nested too deeply or too big",
            ));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.sequence(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            other => {
                return Err(Error::new(
                    ErrorKind::BadSerialization,
                    format!("tojson: {other} has no JSON form"),
                ));
            }
        }
        Ok(())
    }

    fn sequence(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut any = false;
        self.out.push('[');
        for item in value.try_iter()? {
            self.start_item(any, depth);
            any = true;
            self.value(&item, depth + 1)?;
        }
        self.close(any, depth, ']');
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut pairs = Vec::new();
        for key in value.try_iter()? {
            pairs.push((key_text(&key), value.get_item(&key)?));
        }
        if self.style.sort_keys {
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
        }
        self.out.push('{');
        for (at, (key, item)) in pairs.iter().enumerate() {
            self.start_item(at > 0, depth);
            self.string(key);
            self.out.push_str(&self.style.key_separator);
            self.value(item, depth + 1)?;
        }
        self.close(!pairs.is_empty(), depth, '}');
        Ok(())
    }

    fn start_item(&mut self, follows_another: bool, depth: usize) {
        if follows_another {
            self.out.push_str(&self.style.item_separator);
        }
        self.new_line(depth + 1);
    }

    fn close(&mut self, any: bool, depth: usize, bracket: char) {
        if any {
            self.new_line(depth);
        }
        self.out.push(bracket);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.style.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if (c as u32) < 0x20 || (self.style.ensure_ascii && !c.is_ascii()) => self.escape(c),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(self.out, "\\u{unit:04x}");
        }
    }
}

/// Python turns the keys `1`, `True` and `None` into `"1"`, `"true"` and `"null"`.
fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
        ValueKind::Number => number(key),
        _ => key.to_string(),
    }
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float)
}

/// `repr` of a Python float: shortest digits, an exponent below 1e-4 and from 1e16 on.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, expected: &str) {
        assert_eq!(float(value), expected);
    }

    #[test]
    fn floats_read_as_in_python() {
        check(1.0, "1.0");
        check(0.1, "0.1");
        check(1e16, "1e+16");
        check(1e15, "1000000000000000.0");
        check(1.5e-5, "1.5e-05");
        check(1e-4, "0.0001");
        check(1e100, "1e+100");
        check(-0.0, "-0.0");
    }

    #[test]
    fn strings_escape_as_in_python() {
        let plain = JsonStyle::new(None);
        let ascii = JsonStyle { ensure_ascii: true, ..JsonStyle::new(None) };
        let text = Value::from("é\u{1}\"\\\n😀\u{7f}");
        assert_eq!(dumps(&text, &plain).unwrap(), "\"é\\u0001\\\"\\\\\\n😀\u{7f}\"");
        assert_eq!(dumps(&text, &ascii).unwrap(), "\"\\u00e9\\u0001\\\"\\\\\\n\\ud83d\\ude00\u{7f}\"");
    }
}
