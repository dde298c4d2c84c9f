//! Which tokens of a vocabulary are written in other scripts than a language is.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use unicode_script::{Script, UnicodeScript};

use super::TokenSet;
use crate::language::Language;
use crate::weights::Tokenizer;

/// Tokens with a letter of a script that `target` is not written in. Digits, signs, Greek (which is mathematics) and special tokens
/// are in no script. A token that holds the beginning of a character is of the scripts that the character can still be of;
/// one that holds the end of a character alone is of none.
pub fn tokens_of_other_scripts(tokenizer: &Tokenizer, target: Language) -> TokenSet {
    let mut beginnings = HashMap::new();
    TokenSet::where_(tokenizer.vocab_size(), |id| {
        !tokenizer.is_special(id) && is_of_other(&tokenizer.token_bytes(id), target, &mut beginnings)
    })
}

/// By the bytes of a character's beginning: whether it can only become a letter of other scripts.
type Beginnings = HashMap<Vec<u8>, bool>;

fn is_of_other(bytes: &[u8], target: Language, beginnings: &mut Beginnings) -> bool {
    let start = bytes.iter().position(|byte| !is_continuation(*byte)).unwrap_or(bytes.len());
    let (text, rest) = match std::str::from_utf8(&bytes[start..]) {
        Ok(text) => (text, &[][..]),
        Err(error) => {
            let (text, rest) = bytes[start..].split_at(error.valid_up_to());
            (std::str::from_utf8(text).unwrap_or_default(), rest)
        }
    };
    if text.chars().any(|c| is_foreign(c, target)) {
        return true;
    }
    !rest.is_empty()
        && *beginnings.entry(rest.to_vec()).or_insert_with(|| {
            let Some(range) = completions(rest) else { return false };
            let mut letters = range.filter_map(char::from_u32).filter(|c| c.is_alphabetic()).peekable();
            letters.peek().is_some() && letters.all(|c| is_foreign(c, target))
        })
}

fn is_foreign(c: char, target: Language) -> bool {
    let script = c.script();
    let is_common = matches!(script, Script::Common | Script::Inherited | Script::Greek);
    c.is_alphabetic() && !is_common && !target.scripts().contains(&script)
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// The code points that begin with these bytes of UTF-8; `None` for what no character begins with.
fn completions(beginning: &[u8]) -> Option<RangeInclusive<u32>> {
    let (length, bits) = match beginning.first()? {
        0xc2..=0xdf => (2, beginning[0] & 0x1f),
        0xe0..=0xef => (3, beginning[0] & 0x0f),
        0xf0..=0xf4 => (4, beginning[0] & 0x07),
        _ => return None,
    };
    if beginning.len() >= length || !beginning[1..].iter().all(|byte| is_continuation(*byte)) {
        return None;
    }
    let known = beginning[1..].iter().fold(u32::from(bits), |code, byte| code << 6 | u32::from(byte & 0x3f));
    let left = 6 * (length - beginning.len()) as u32;
    // Shorter spellings of lower code points are not UTF-8.
    let least = [0, 0, 0x80, 0x800, 0x1_0000][length];
    Some((known << left).max(least)..=(known << left | ((1 << left) - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_decide_and_beginnings_of_them() {
        let check = |bytes: &[u8], target: Language, expected: bool| {
            let found = is_of_other(bytes, target, &mut Beginnings::new());
            assert_eq!(found, expected, "{bytes:?} {:?} for {target}", String::from_utf8_lossy(bytes));
        };
        check("คำ".as_bytes(), Language::Th, false);
        check(" the".as_bytes(), Language::Th, true);
        check(b" 12 + = \n", Language::Th, false);
        check("α".as_bytes(), Language::Th, false);
        check("漢".as_bytes(), Language::Ja, false);
        check("カ".as_bytes(), Language::Zh, true);
        check("漢".as_bytes(), Language::En, true);
        check(b" the", Language::De, false);
        // U+0E00 to U+0E3F is Thai, U+0C00 to U+0C3F Telugu; e0 alone begins both, and e4 only Han.
        check(b"\xe0\xb8", Language::Th, false);
        check(b"\xe0\xb0", Language::Th, true);
        check(b"\xe0", Language::Th, false);
        check(b"\xe4", Language::Th, true);
        check(b"\xe4", Language::Ja, false);
        check(b"\xe4", Language::En, true);
        // The end of a character, then a letter.
        check(b"\x81", Language::En, false);
        check("\u{0}b".as_bytes(), Language::Th, true);
        check(&[b"\x81", "語".as_bytes()].concat(), Language::Th, true);
        check(b"\xff\xfe", Language::Th, false);
    }

    #[test]
    fn every_character_is_among_the_completions_of_its_beginnings() {
        for c in "é語ب𝒳🙂".chars() {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).as_bytes();
            for end in 1..bytes.len() {
                assert!(completions(&bytes[..end]).unwrap().contains(&(c as u32)), "{c} {end}");
            }
        }
    }
}
