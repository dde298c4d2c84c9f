//! Letters: capital and small ones, and how often one occurs.

use unicode_script::Script;

use super::{Context, Followed};
use crate::language::Language;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Capital,
    Small,
}

impl Case {
    /// Whether all letters of a text have this case and the text is in the language.
    pub fn whole(self, text: &str, language: Language, context: Context<'_>) -> Followed {
        let (large, small) = (text.contains(char::is_uppercase), text.contains(char::is_lowercase));
        let (wanted, other) = if self == Self::Capital { (large, small) } else { (small, large) };
        if !wanted || other {
            return Followed::No;
        }
        // Capitals look like acronyms, which say nothing of a language.
        match (context.share)(&text.to_lowercase(), language) {
            None => Followed::Undecided,
            Some(share) => (share >= 0.5).into(),
        }
    }
}

/// Whether a language is written with capital and small letters.
pub(super) fn has_case(language: Language) -> bool {
    matches!(
        language.scripts()[0],
        Script::Latin | Script::Cyrillic | Script::Greek | Script::Armenian | Script::Georgian
    )
}

/// How often a letter, given as a small one, stands in a text in either case.
pub(super) fn count_letter(text: &str, letter: char) -> usize {
    text.chars().flat_map(char::to_lowercase).filter(|c| *c == letter).count()
}

/// Words that are all capitals. Words are divided as the Penn Treebank does: marks and brackets apart, "DON'T" in
/// two, hyphens and slashes within.
pub(super) fn capital_words(text: &str) -> usize {
    let marks = |c: char| c.is_whitespace() || ",;:@#$%&*?!\"()[]{}<>“”„«»…—–`".contains(c);
    let tokens = text.split(marks).flat_map(|token| token.split("--"));
    tokens.flat_map(contraction).filter(|token| is_capital(token)).count()
}

const CLITICS: [&str; 7] = ["n't", "'s", "'m", "'d", "'re", "'ve", "'ll"];

fn contraction(token: &str) -> [&str; 2] {
    let small = token.replace('’', "'").to_ascii_lowercase();
    match CLITICS.iter().find(|clitic| small.len() > clitic.len() && small.ends_with(**clitic)) {
        None => [token, ""],
        Some(clitic) => {
            let cut = token.char_indices().rev().nth(clitic.len() - 1).map_or(token.len(), |(at, _)| at);
            [&token[..cut], &token[cut..]]
        }
    }
}

fn is_capital(token: &str) -> bool {
    token.chars().any(char::is_uppercase) && !token.chars().any(char::is_lowercase)
}
