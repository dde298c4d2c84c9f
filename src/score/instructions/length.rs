//! Languages and lengths: sentences and paragraphs.

use unicode_script::{Script, UnicodeScript};

use super::kind::{Amount, Target};
use super::{Context, Followed, sentences, words};

pub(super) fn sentences(text: &str, amount: Amount) -> Followed {
    let (low, high) = sentences::count(text);
    amount.holds_within(low, high)
}

/// Paragraphs divided by `***`: so many, none of them blank but for what stands outside the first and last mark.
pub(super) fn has_paragraphs(text: &str, count: usize) -> bool {
    let parts: Vec<&str> = text.split("***").collect();
    let mut found = parts.len();
    for (at, part) in parts.iter().enumerate() {
        if part.trim().is_empty() {
            if at != 0 && at != parts.len() - 1 {
                return false;
            }
            found -= 1;
        }
    }
    found == count
}

/// Paragraphs divided by empty lines: so many, of which the nth starts with a word, whatever the case.
pub(super) fn starts_paragraph(text: &str, count: usize, nth: usize, word: &str) -> bool {
    let parts: Vec<&str> = text.split("\n\n").collect();
    let found = parts.iter().filter(|part| !part.trim().is_empty()).count();
    if found != count || nth == 0 || nth > found {
        return false;
    }
    // As the reference has it: the nth part, blank ones counted.
    let paragraph = parts[nth - 1].trim().to_lowercase();
    let first = paragraph.split_whitespace().next().unwrap_or_default();
    let first = first.trim_start_matches('\'').trim_start_matches(['"', '“', '„', '«', '「']);
    if word.chars().next_back().is_some_and(words::is_unspaced) {
        return first.starts_with(word);
    }
    let end = first.find(['.', ',', '?', '!', '\'', '"']).unwrap_or(first.len());
    !word.is_empty() && first[..end] == *word
}

/// From this share on a response is in a language.
const SHARE_MIN: f64 = 0.5;

pub(super) fn in_language(text: &str, target: Target, context: Context<'_>) -> Followed {
    match target {
        Target::Known(language) => match (context.share)(text, language) {
            None => Followed::Undecided,
            Some(share) => (share >= SHARE_MIN).into(),
        },
        Target::ByScript(target) => {
            let letters = || text.chars().filter(|c| c.is_alphabetic());
            let total = letters().count();
            let own = letters().filter(|c| c.script() == target.script).count();
            if total == 0 || (2 * own >= total && !target.alone) {
                Followed::Undecided
            } else {
                (2 * own >= total).into()
            }
        }
    }
}

/// A language that prompts ask for and `language` does not know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ScriptOnly {
    code: &'static str,
    script: Script,
    /// Whether no other language of today is usually written in it.
    alone: bool,
}

const fn row(code: &'static str, script: Script, alone: bool) -> ScriptOnly {
    ScriptOnly { code, script, alone }
}

static SCRIPT_ONLY: [ScriptOnly; 32] = [
    row("af", Script::Latin, false),
    row("bg", Script::Cyrillic, false),
    row("ca", Script::Latin, false),
    row("cs", Script::Latin, false),
    row("cy", Script::Latin, false),
    row("da", Script::Latin, false),
    row("el", Script::Greek, true),
    row("et", Script::Latin, false),
    row("fi", Script::Latin, false),
    row("gu", Script::Gujarati, true),
    row("he", Script::Hebrew, false),
    row("hr", Script::Latin, false),
    row("hu", Script::Latin, false),
    row("kn", Script::Kannada, true),
    row("lt", Script::Latin, false),
    row("lv", Script::Latin, false),
    row("mk", Script::Cyrillic, false),
    row("ml", Script::Malayalam, true),
    row("mr", Script::Devanagari, false),
    row("ne", Script::Devanagari, false),
    row("no", Script::Latin, false),
    row("pa", Script::Gurmukhi, true),
    row("ro", Script::Latin, false),
    row("sk", Script::Latin, false),
    row("sl", Script::Latin, false),
    row("so", Script::Latin, false),
    row("sq", Script::Latin, false),
    row("sv", Script::Latin, false),
    row("ta", Script::Tamil, true),
    row("tl", Script::Latin, false),
    row("ur", Script::Arabic, false),
    row("am", Script::Ethiopic, false),
];

impl ScriptOnly {
    pub fn find(code: &str) -> Option<&'static Self> {
        let primary = code.trim().split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
        SCRIPT_ONLY.iter().find(|known| known.code == primary)
    }
}
