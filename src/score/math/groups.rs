//! Groups of digits that TeX's spaces set apart behind the comma: `11,\! 111` and `1 {,} 000`, as MATH's own answers are written.

use std::borrow::Cow;

/// Without the spaces between a comma and the three digits of its group. A plain blank alone makes a list: `1, 000` stays.
pub(super) fn without_spaces(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut done = 0;
    for (at, _) in text.match_indices(',') {
        let braced = text[..at].ends_with('{') && text[at + 1..].starts_with('}');
        let (start, end) = if braced { (at - 1, at + 2) } else { (at, at + 1) };
        let before = text[..start].trim_end_matches(' ');
        let behind = behind_spaces(&text[end..]);
        let spaces = text.len() - end - behind.len();
        let is_typeset = braced || text[end..end + spaces].contains(['\\', '~']);
        let is_touched = spaces > 0 || before.len() < start;
        if is_typeset
            && is_touched
            && before.ends_with(|c: char| c.is_ascii_digit())
            && is_group(behind)
            && before.len() >= done
        {
            out.push_str(&text[done..before.len()]);
            out.push(',');
            done = end + spaces;
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

fn behind_spaces(text: &str) -> &str {
    let mut rest = text;
    loop {
        let next = rest.trim_start_matches([' ', '~']);
        let next = ["\\!", "\\,", "\\;", "\\:", "\\ "]
            .iter()
            .find_map(|space| next.strip_prefix(space))
            .unwrap_or(next);
        if next.len() == rest.len() {
            return rest;
        }
        rest = next;
    }
}

/// Whether three digits stand there and no fourth.
fn is_group(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    digits == 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_close_up_and_lists_stay() {
        let check = |text: &str, expected: &str| assert_eq!(without_spaces(text), expected, "{text}");
        check(r"11,\! 111,\! 111,\! 100", "11,111,111,100");
        check(r"32,\!349", "32,349");
        check(r"1,\,000", "1,000");
        check("1,~000", "1,000");
        check("1 {,} 000", "1,000");
        check("1{,}000", "1{,}000");
        check("1, 000", "1, 000");
        check(r"1,\! 2,\! 3", r"1,\! 2,\! 3");
        check(r"1,\! 0000", r"1,\! 0000");
        check(r"x,\! 100", r"x,\! 100");
        check("", "");
    }
}
