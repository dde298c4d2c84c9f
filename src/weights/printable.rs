//! What a file says, as a message may repeat it.

/// Characters of a file's text in a message; a longer one keeps its two ends, the name and what is wrong with it.
const PRINTED_MAX: usize = 600;

/// Text that may hold bytes of a damaged or hostile file, as it can go into a log or a terminal: characters that
/// steer either, or reorder what is read, are escaped, and the middle of a long text is left out.
pub fn printable(text: &str) -> String {
    let count = text.chars().count();
    let (head, tail) =
        if count > PRINTED_MAX { (PRINTED_MAX * 2 / 3, count - PRINTED_MAX / 3) } else { (count, count) };
    let mut printed = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == head && tail > head {
            printed += "[";
            printed += &(tail - head).to_string();
            printed += " characters left out]";
        }
        if (head..tail).contains(&at) {
            continue;
        }
        let steers = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if steers { printed.extend(c.escape_default()) } else { printed.push(c) }
    }
    printed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_clipped() {
        let check = |text: &str, expected: &str| assert_eq!(printable(text), expected);
        check("blk.0.attn_q.weight", "blk.0.attn_q.weight");
        check("模型", "模型");
        check("a\u{1b}[2J\0\nb", "a\\u{1b}[2J\\u{0}\\nb");
        check("\u{202e}gnp", "\\u{202e}gnp");
        let long = format!("tensor `{}` is declared twice", "é".repeat(100_000));
        let printed = printable(&long);
        assert!(printed.starts_with("tensor `éé") && printed.ends_with("éé` is declared twice"), "{printed}");
        assert!(printed.contains("characters left out") && printed.chars().count() < PRINTED_MAX + 50);
    }
}
