//! Which part of an answer is its program: the last fenced block of Python.

use std::ops::Range;

/// A program found in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// Bytes of the answer.
    pub span: Range<usize>,
    /// The block was opened and never closed.
    pub unclosed: bool,
}

/// The last block that says it is Python; without one, the last that says nothing of its language. Blocks of other
/// languages, such as an example's input and output, are passed over.
pub fn extract(answer: &str) -> Option<Code> {
    let mut python = None;
    let mut plain = None;
    for block in blocks(answer) {
        match block.language.as_str() {
            "python" | "python3" | "py" | "py3" => python = Some(block.code),
            "" => plain = Some(block.code),
            _ => {}
        }
    }
    python.or(plain).filter(|code| !answer[code.span.clone()].trim().is_empty())
}

struct Block {
    language: String,
    code: Code,
}

fn blocks(answer: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open: Option<(&str, usize, String)> = None;
    let mut at = 0;
    for line in answer.split_inclusive('\n') {
        let (start, end) = (at, at + line.len());
        at = end;
        let text = line.trim();
        let fence = fence(text);
        match (&open, fence) {
            (None, Some((fence, language))) => open = Some((fence, end, language)),
            (Some((opening, from, language)), Some((fence, info)))
                if info.is_empty() && fence.starts_with(opening) =>
            {
                let code = Code { span: *from..start.max(*from), unclosed: false };
                found.push(Block { language: language.clone(), code });
                open = None;
            }
            _ => {}
        }
    }
    if let Some((_, from, language)) = open {
        found.push(Block { language, code: Code { span: from..answer.len(), unclosed: true } });
    }
    found
}

/// Three or more backticks or tildes, and the first word after them.
fn fence(line: &str) -> Option<(&str, String)> {
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let rest = line.trim_start_matches(mark);
    let length = line.len() - rest.len();
    // Backticks later on the line make it a stretch of code within text.
    if length < 3 || (mark == '`' && rest.contains('`')) {
        return None;
    }
    let language = rest.split_whitespace().next().unwrap_or_default();
    let language = language.trim_matches(['{', '}', '.']).to_ascii_lowercase();
    Some((&line[..length], language))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, expected: Option<&str>) {
        let code = extract(answer);
        assert_eq!(code.as_ref().map(|code| &answer[code.span.clone()]), expected, "{answer:?}");
    }

    #[test]
    fn the_last_block_of_python_is_the_program() {
        check("```python\na\n```", Some("a\n"));
        check("First:\n```python\na\n```\nBetter:\n```py\nb\n```\nDone.", Some("b\n"));
        check("```python\na\n```\nIt prints\n```\n42\n```", Some("a\n"));
        check("```\na\n```", Some("a\n"));
        check("```\na\n```\n```\nb\n```", Some("b\n"));
        check("```cpp\nint a;\n```", None);
        check("```Python3 title=x\na\n```", Some("a\n"));
        check("~~~python\na\n~~~", Some("a\n"));
        check("````python\n```\na\n````", Some("```\na\n"));
        check("  ```python\n  a\n  ```", Some("  a\n"));
        check("```python\r\na\r\n```", Some("a\r\n"));
        check("Use ```python``` here", None);
        check("no code", None);
        check("", None);
        check("```python\n\n```", None);
        check("```python", None);
    }

    #[test]
    fn an_open_block_reaches_to_the_end() {
        let answer = "```python\na\nb";
        assert_eq!(extract(answer), Some(Code { span: 10..13, unclosed: true }));
        check("```python\na\n```python\nb\n```", Some("a\n```python\nb\n"));
    }
}
