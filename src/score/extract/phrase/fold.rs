//! Words of phrases as texts have them: in any case, accents written in either form, with blanks and markup between.

use unicode_normalization::char::decompose_canonical;

/// A character in lower case, its accents apart.
pub(super) fn folded(c: char) -> impl Iterator<Item = char> {
    let mut parts = ['\0'; 6];
    let mut count = 0;
    if c.is_ascii() {
        parts[0] = c.to_ascii_lowercase();
        count = 1;
    } else {
        for lower in c.to_lowercase() {
            decompose_canonical(lower, |part| {
                if count < parts.len() {
                    parts[count] = part;
                    count += 1;
                }
            });
        }
    }
    parts.into_iter().take(count)
}

/// The length of the start of `text` that folds to `letters`. A blank there stands for blanks and markup here.
pub(super) fn matched(text: &str, letters: impl IntoIterator<Item = char>) -> Option<usize> {
    let mut letters = letters.into_iter().peekable();
    let mut rest = text;
    while let Some(letter) = letters.peek().copied() {
        let c = rest.chars().next()?;
        if letter == ' ' {
            let after = rest.trim_start_matches(is_filling);
            if after.len() == rest.len() {
                return None;
            }
            rest = after;
            letters.next();
            continue;
        }
        for part in folded(c) {
            if letters.next() != Some(part) {
                return None;
            }
        }
        rest = &rest[c.len_utf8()..];
    }
    Some(text.len() - rest.len())
}

/// Blanks and the markup of bold, italic and code.
pub(super) fn is_filling(c: char) -> bool {
    c.is_whitespace() || matches!(c, '*' | '_' | '`' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
}

/// Alphabets whose words are set apart by blanks and hardly change at their start.
pub(super) fn is_spaced(c: char) -> bool {
    c < '\u{530}'
}
