//! The names that multilingual translation models give languages: FLORES-200 codes for NLLB, `__xx__` for M2M100.

use std::collections::BTreeMap;

use crate::language::Language;

/// A model's way to name languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TagSet {
    Nllb,
    M2m100,
}

impl TagSet {
    /// The tag of a BCP 47 language among those of `language`; not every model knows every tag.
    pub fn tag(self, language: &str) -> Option<String> {
        let known: Language = language.parse().ok()?;
        match self {
            Self::Nllb if known == Language::Zh && is_traditional(language) => Some("zho_Hant".to_owned()),
            Self::Nllb => Some(flores(known).to_owned()),
            Self::M2m100 => Some(format!("__{known}__")),
        }
    }
}

/// Whether Chinese is written in traditional characters, by its script or else by its region.
fn is_traditional(language: &str) -> bool {
    let mut subtags = language.split(['-', '_']).skip(1);
    subtags.any(|subtag| ["hant", "tw", "hk", "mo"].contains(&subtag.to_ascii_lowercase().as_str()))
        && !language.to_ascii_lowercase().contains("hans")
}

fn flores(language: Language) -> &'static str {
    match language {
        Language::Ar => "arb_Arab",
        Language::Bn => "ben_Beng",
        Language::De => "deu_Latn",
        Language::En => "eng_Latn",
        Language::Es => "spa_Latn",
        Language::Fa => "pes_Arab",
        Language::Fr => "fra_Latn",
        Language::Hi => "hin_Deva",
        Language::Id => "ind_Latn",
        Language::It => "ita_Latn",
        Language::Ja => "jpn_Jpan",
        Language::Ko => "kor_Hang",
        Language::Nl => "nld_Latn",
        Language::Pl => "pol_Latn",
        Language::Pt => "por_Latn",
        Language::Ru => "rus_Cyrl",
        Language::Sw => "swh_Latn",
        Language::Te => "tel_Telu",
        Language::Th => "tha_Thai",
        Language::Tr => "tur_Latn",
        Language::Uk => "ukr_Cyrl",
        Language::Vi => "vie_Latn",
        Language::Zh => "zho_Hans",
    }
}

/// The tag that a user's table gives a BCP 47 language: that of the longest of its prefixes in the table, so that `zh`
/// serves `zh-Hant-TW` where there is no `zh-Hant`.
pub(super) fn given_tag<'a>(table: &'a BTreeMap<String, String>, language: &str) -> Option<&'a str> {
    let subtags: Vec<&str> = language.trim().split(['-', '_']).collect();
    (1..=subtags.len()).rev().find_map(|count| {
        let wanted = subtags[..count].join("-");
        let is_wanted = |key: &&String| key.replace('_', "-").eq_ignore_ascii_case(&wanted);
        table.keys().find(is_wanted).map(|key| table[key].as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_have_the_tags_of_their_models() {
        let check = |language, nllb: Option<&str>, m2m: Option<&str>| {
            assert_eq!(TagSet::Nllb.tag(language).as_deref(), nllb, "{language}");
            assert_eq!(TagSet::M2m100.tag(language).as_deref(), m2m, "{language}");
        };
        check("ja", Some("jpn_Jpan"), Some("__ja__"));
        check("sw-KE", Some("swh_Latn"), Some("__sw__"));
        check("zh", Some("zho_Hans"), Some("__zh__"));
        check("zh-Hant", Some("zho_Hant"), Some("__zh__"));
        check("zh_TW", Some("zho_Hant"), Some("__zh__"));
        check("zh-Hans-HK", Some("zho_Hans"), Some("__zh__"));
        check("tlh", None, None);
    }

    #[test]
    fn the_longest_prefix_in_the_table_decides() {
        let pairs = [("zh", "a"), ("zh-Hant", "b"), ("yo", "c")];
        let table = pairs.map(|(key, tag)| (key.to_owned(), tag.to_owned())).into();
        let check = |language, expected| assert_eq!(given_tag(&table, language), expected, "{language}");
        check("zh", Some("a"));
        check("zh-hant-TW", Some("b"));
        check("ZH_CN", Some("a"));
        check("yo", Some("c"));
        check("y", None);
    }
}
