//! lingua's first choice for a whole text, what `LanguageProfile::LegacyPassk` goes by.

use std::sync::OnceLock;

use lingua::{Language as Lingua, LanguageDetector, LanguageDetectorBuilder};

use crate::language::Language;

/// lingua with all known languages, its models loaded by the first text.
#[derive(Default)]
pub(super) struct Likeliest {
    detector: OnceLock<LanguageDetector>,
}

impl Likeliest {
    pub fn of(&self, text: &str) -> Option<Language> {
        let detector = self.detector.get_or_init(|| {
            let languages: Vec<_> = Language::ALL.iter().map(|language| to_lingua(*language)).collect();
            LanguageDetectorBuilder::from_languages(&languages).build()
        });
        let found = detector.detect_language_of(text)?;
        Language::ALL.iter().copied().find(|language| to_lingua(*language) == found)
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
