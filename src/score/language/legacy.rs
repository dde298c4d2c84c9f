//! The likeliest language of a whole text, what `LanguageProfile::LegacyPassk` goes by.
//!
//! whatlang decides where it is sure and the script is not Latin: it knows no Swahili and is sure of another language
//! there. lingua decides the rest, at 0.4 MB/s, so its choices are kept for texts that come again (rescoring, samples
//! that are alike).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use lingua::{Language as Lingua, LanguageDetector, LanguageDetectorBuilder};
use moka::sync::Cache;
use whatlang::{Lang, Script};

use crate::language::Language;

/// Choices that are kept; an entry takes some forty bytes.
const CACHED_TEXTS: u64 = 65_536;
/// whatlang's own bound for a reliable choice lies higher; by this one it is right on all but Swahili.
const SURE: f64 = 0.5;

/// The models of lingua are loaded by the first text that needs them.
pub(super) struct Likeliest {
    detector: OnceLock<LanguageDetector>,
    /// By length and digest of the text.
    known: Cache<(usize, u64), Option<Language>>,
}

impl Default for Likeliest {
    fn default() -> Self {
        Self { detector: OnceLock::new(), known: Cache::new(CACHED_TEXTS) }
    }
}

impl Likeliest {
    pub fn of(&self, text: &str) -> Option<Language> {
        sure(text).or_else(|| {
            let mut digest = DefaultHasher::new();
            text.hash(&mut digest);
            self.known.get_with((text.len(), digest.finish()), || self.by_lingua(text))
        })
    }

    fn by_lingua(&self, text: &str) -> Option<Language> {
        let detector = self.detector.get_or_init(|| {
            let languages: Vec<_> = Language::ALL.iter().map(|language| to_lingua(*language)).collect();
            LanguageDetectorBuilder::from_languages(&languages).build()
        });
        let found = detector.detect_language_of(text)?;
        Language::ALL.iter().copied().find(|language| to_lingua(*language) == found)
    }
}

/// whatlang's choice where it may be relied on.
fn sure(text: &str) -> Option<Language> {
    let found = whatlang::detect(text)?;
    if found.script() == Script::Latin || found.confidence() < SURE {
        return None;
    }
    match found.lang() {
        Lang::Ara => Some(Language::Ar),
        Lang::Ben => Some(Language::Bn),
        Lang::Cmn => Some(Language::Zh),
        Lang::Hin => Some(Language::Hi),
        Lang::Jpn => Some(Language::Ja),
        Lang::Kor => Some(Language::Ko),
        Lang::Pes => Some(Language::Fa),
        Lang::Rus => Some(Language::Ru),
        Lang::Tel => Some(Language::Te),
        Lang::Tha => Some(Language::Th),
        Lang::Ukr => Some(Language::Uk),
        _ => None,
    }
}

fn to_lingua(language: Language) -> Lingua {
    match language {
        Language::Ar => Lingua::Arabic,
        Language::Bn => Lingua::Bengali,
        Language::De => Lingua::German,
        Language::En => Lingua::English,
        Language::Es => Lingua::Spanish,
        Language::Fa => Lingua::Persian,
        Language::Fr => Lingua::French,
        Language::Hi => Lingua::Hindi,
        Language::Id => Lingua::Indonesian,
        Language::It => Lingua::Italian,
        Language::Ja => Lingua::Japanese,
        Language::Ko => Lingua::Korean,
        Language::Nl => Lingua::Dutch,
        Language::Pl => Lingua::Polish,
        Language::Pt => Lingua::Portuguese,
        Language::Ru => Lingua::Russian,
        Language::Sw => Lingua::Swahili,
        Language::Te => Lingua::Telugu,
        Language::Th => Lingua::Thai,
        Language::Tr => Lingua::Turkish,
        Language::Uk => Lingua::Ukrainian,
        Language::Vi => Lingua::Vietnamese,
        Language::Zh => Lingua::Chinese,
    }
}
