//! One call's JSON object, read as it comes: the name when it is whole, the arguments piece by piece.

/// What a character told.
#[derive(Debug, Default, PartialEq)]
pub(super) struct CallObject {
    /// The decoded name, once it is whole.
    pub name: Option<String>,
    /// The arguments' JSON as it stands so far.
    pub arguments: String,
    /// The closing brace has come.
    pub complete: bool,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The text of the key or value that is being read at the object's own level.
    token: String,
    key: Option<String>,
    reads_value: bool,
    /// Only the arguments are written out: the object ends where they do.
    unwrapped: bool,
}

impl CallObject {
    /// Of a call whose name is known; what is pushed are the arguments.
    pub fn of_name(name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            depth: 1,
            key: Some("arguments".to_owned()),
            reads_value: true,
            unwrapped: true,
            ..Self::default()
        }
    }

    /// Takes a character of the object; the first is its brace. Not to be called once it is complete.
    pub fn push(&mut self, c: char) {
        if self.depth == 0 {
            self.depth = usize::from(c == '{');
            return;
        }
        if self.in_string {
            self.push_in_string(c);
            return;
        }
        match c {
            '"' => {
                self.in_string = true;
                self.keep(c);
            }
            '{' | '[' => {
                self.depth += 1;
                self.keep(c);
            }
            '}' | ']' if self.depth == 1 => {
                self.end_value();
                self.depth = 0;
                self.complete = true;
            }
            '}' | ']' => {
                self.depth -= 1;
                self.keep(c);
                self.complete = self.unwrapped && self.depth == 1;
            }
            ':' if self.depth == 1 && !self.reads_value => {
                self.key = decoded(&std::mem::take(&mut self.token));
                self.reads_value = true;
            }
            ',' if self.depth == 1 => self.end_value(),
            _ => self.keep(c),
        }
    }

    fn push_in_string(&mut self, c: char) {
        self.keep(c);
        match c {
            _ if self.escaped => self.escaped = false,
            '\\' => self.escaped = true,
            '"' => {
                self.in_string = false;
                if self.depth == 1 && self.is_of("name") {
                    self.name = decoded(&self.token);
                }
            }
            _ => {}
        }
    }

    fn is_of(&self, key: &str) -> bool {
        self.reads_value && self.key.as_deref() == Some(key)
    }

    fn keep(&mut self, c: char) {
        if self.is_of("arguments") || self.is_of("parameters") {
            // White space before the value belongs to neither.
            if !(self.arguments.is_empty() && c.is_whitespace()) {
                self.arguments.push(c);
            }
        } else {
            self.token.push(c);
        }
    }

    fn end_value(&mut self) {
        let kept = self.arguments.trim_end().len();
        self.arguments.truncate(kept);
        self.token.clear();
        self.key = None;
        self.reads_value = false;
    }
}

/// A JSON string's text; `None` for anything else.
pub(super) fn decoded(json: &str) -> Option<String> {
    serde_json::from_str(json.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> CallObject {
        let mut object = CallObject::default();
        for c in text.chars() {
            assert!(!object.complete, "{text} goes on");
            object.push(c);
        }
        object
    }

    #[test]
    fn name_and_arguments_come_as_they_are_written() {
        let check = |text: &str, name: Option<&str>, arguments: &str, complete: bool| {
            let object = read(text);
            assert_eq!(
                (object.name.as_deref(), object.arguments.as_str(), object.complete),
                (name, arguments, complete),
                "{text}"
            );
        };
        check(r#"{"name": "a""#, Some("a"), "", false);
        check(r#"{"name": "a"#, None, "", false);
        check(r#"{"name": "a", "arguments": {"x": "}"#, Some("a"), r#"{"x": "}"#, false);
        check(r#"{"name": "a", "arguments": {"x": ["}\"", 1]} }"#, Some("a"), r#"{"x": ["}\"", 1]}"#, true);
        check(r#"{"parameters": {}, "name": "\u00e9"}"#, Some("é"), "{}", true);
        check(r#"{"name": "a", "arguments": "{\"x\": 1}"}"#, Some("a"), r#""{\"x\": 1}""#, true);
        check(r#"{"x": {"name": "b", "arguments": 1}, "name": "a"}"#, Some("a"), "", true);
        check(r#"{"name": 5, "arguments": 12 }"#, None, "12", true);
        check("{}", None, "", true);
        let mut unwrapped = CallObject::of_name("a");
        for c in r#" {"x": {"y": "}"}}"#.chars() {
            assert!(!unwrapped.complete);
            unwrapped.push(c);
        }
        assert!(unwrapped.complete && unwrapped.arguments == r#"{"x": {"y": "}"}}"#);
    }
}
