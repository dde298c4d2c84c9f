//! Languages as first-class values: code, names, scripts and how each writes numbers.
//!
//! Data only. Detection lives in `score::language`; prompts of evaluations belong to the suites, and those of a request's
//! `reasoning_language` lie in `prompts/`, a file a language. A language here is what a
//! user names on a request or a suite: regional and script variants (`pt-BR`, `zh-Hant`) are read as their
//! base language on purpose, because neither following nor equivalence distinguishes them.

mod reasoning;
mod table;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_script::Script;

pub use reasoning::ReasoningTexts;

/// One known language. Ordered and serialised by its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    Ar,
    Bn,
    De,
    En,
    Es,
    Fa,
    Fr,
    Hi,
    Id,
    It,
    Ja,
    Ko,
    Nl,
    Pl,
    Pt,
    Ru,
    Sw,
    Te,
    Th,
    Tr,
    Uk,
    Vi,
    Zh,
}

/// Which mark separates the integer from the fraction when digits are ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalMark {
    /// 1,234.5
    Point,
    /// 1.234,5
    Comma,
}

/// The code names no known language.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown language {code:?}; known: {}", known_codes())]
pub struct UnknownLanguage {
    pub code: String,
}

pub(crate) struct Facts {
    pub code: &'static str,
    /// ISO 639-3 (and 639-2/B where it differs), accepted when parsing.
    pub aliases: &'static [&'static str],
    pub english: &'static str,
    pub native: &'static str,
    /// The first is the main one.
    pub scripts: &'static [Script],
    pub decimal: DecimalMark,
}

impl Language {
    /// Every known language, by code.
    pub const ALL: &'static [Self] = &[
        Self::Ar,
        Self::Bn,
        Self::De,
        Self::En,
        Self::Es,
        Self::Fa,
        Self::Fr,
        Self::Hi,
        Self::Id,
        Self::It,
        Self::Ja,
        Self::Ko,
        Self::Nl,
        Self::Pl,
        Self::Pt,
        Self::Ru,
        Self::Sw,
        Self::Te,
        Self::Th,
        Self::Tr,
        Self::Uk,
        Self::Vi,
        Self::Zh,
    ];

    /// The ISO 639-1 code, lower case.
    pub fn code(self) -> &'static str {
        table::facts(self).code
    }

    pub fn english_name(self) -> &'static str {
        table::facts(self).english
    }

    pub fn native_name(self) -> &'static str {
        table::facts(self).native
    }

    /// The scripts it is written in, the main one first.
    pub fn scripts(self) -> &'static [Script] {
        table::facts(self).scripts
    }

    pub fn decimal_mark(self) -> DecimalMark {
        table::facts(self).decimal
    }

    /// Whether digits are grouped as 12,34,567 as well.
    pub fn groups_by_lakh(self) -> bool {
        matches!(self, Self::Hi | Self::Bn | Self::Te)
    }

    pub fn is_latin(self) -> bool {
        self.scripts()[0] == Script::Latin
    }
}

impl fmt::Display for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.code())
    }
}

impl FromStr for Language {
    type Err = UnknownLanguage;

    /// Reads `de`, `DE`, `de-AT`, `zh_Hant_TW` and `deu`: the primary subtag decides, the rest is ignored.
    fn from_str(code: &str) -> Result<Self, UnknownLanguage> {
        let primary = code.trim().split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
        Self::ALL
            .iter()
            .copied()
            .find(|language| {
                let facts = table::facts(*language);
                facts.code == primary || facts.aliases.contains(&primary.as_str())
            })
            .ok_or_else(|| UnknownLanguage { code: code.to_owned() })
    }
}

impl Serialize for Language {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn known_codes() -> String {
    let known: Vec<_> = Language::ALL.iter().map(|language| language.code()).collect();
    known.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, expected: &str) {
        let parsed = code.parse::<Language>().map(Language::code).map_err(|error| error.to_string());
        assert_eq!(parsed.as_deref().unwrap_or("none"), expected, "{code}");
    }

    #[test]
    fn codes_parse_by_their_primary_subtag() {
        check("de", "de");
        check("DE-at", "de");
        check("zh_Hant_TW", "zh");
        check("cmn", "zh");
        check(" swa ", "sw");
        check("xx", "none");
        check("", "none");
        check("english", "none");
    }

    #[test]
    fn an_unknown_code_lists_the_known_ones() {
        let message = "tlh".parse::<Language>().unwrap_err().to_string();
        assert!(message.contains("\"tlh\"") && message.contains("bn, de, en"), "{message}");
    }

    #[test]
    fn all_is_complete_sorted_and_unique() {
        let codes: Vec<_> = Language::ALL.iter().map(|language| language.code()).collect();
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{codes:?}");
        for language in Language::ALL {
            assert_eq!(language.code().parse(), Ok(*language));
            assert!(!language.scripts().is_empty() && !language.native_name().is_empty());
        }
    }
}
