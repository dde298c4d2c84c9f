//! Telling apart languages that share a script, by lingua's n-gram models, with whatlang as the quick first look.
//!
//! whatlang knows no Swahili and is confident of something else when it sees some, so it is only asked where
//! Swahili is neither wanted nor plausible. Detectors are built when first needed, once a group, and live as
//! long as the scorer; verdicts are cached by the hash of the segment.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use lingua::{Language as Lingua, LanguageDetector, LanguageDetectorBuilder};
use moka::sync::Cache;
use unicode_script::Script;
use whatlang::{Detector, Lang};

use super::script::Group;
use crate::language::Language;

pub(super) struct Identifier {
    groups: [Members; 3],
    cache: Cache<(u64, u64), Language>,
}

struct Members {
    languages: Vec<Language>,
    lingua: OnceLock<LanguageDetector>,
    whatlang: OnceLock<Detector>,
}

const CACHED_SEGMENTS_MAX: u64 = 200_000;
/// whatlang is believed from this confidence on.
const QUICK_CONFIDENCE: f64 = 0.5;
/// The target is believed if its confidence is at least this share of the winner's: short sentences of close
/// relatives (Spanish and Portuguese) are often a near tie, and the question is whether the target is refuted.
const TARGET_LENIENCE: f64 = 0.5;

impl Identifier {
    pub fn new(candidates: &[Language]) -> Self {
        let members = |script: Script| Members::new(candidates, script);
        Self {
            groups: [members(Script::Latin), members(Script::Cyrillic), members(Script::Arabic)],
            cache: Cache::new(CACHED_SEGMENTS_MAX),
        }
    }

    /// The language of a segment of the group's script. The target is always a candidate if it has that script.
    pub fn identify(&self, segment: &str, group: Group, target: Language) -> Language {
        let members = &self.groups[group as usize];
        match members.languages.as_slice() {
            [] => return fallback(group),
            [only] => return *only,
            _ => {}
        }
        *self.cache.entry(key(segment, target)).or_insert_with(|| members.identify(segment, target)).value()
    }
}

/// The script's most common language, for candidate sets that have none.
fn fallback(group: Group) -> Language {
    match group {
        Group::Latin => Language::En,
        Group::Cyrillic => Language::Ru,
        Group::Arabic => Language::Ar,
    }
}

/// 128 bits of hash: equal keys of different segments are not to be expected.
fn key(segment: &str, target: Language) -> (u64, u64) {
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, target, segment).hash(&mut hasher);
        hasher.finish()
    };
    (hash(0), hash(1))
}

impl Members {
    fn new(candidates: &[Language], script: Script) -> Self {
        let mut languages: Vec<_> =
            candidates.iter().copied().filter(|language| language.scripts()[0] == script).collect();
        // English is what models drift to.
        if script == Script::Latin {
            languages.push(Language::En);
        }
        languages.sort_unstable();
        languages.dedup();
        Self { languages, lingua: OnceLock::new(), whatlang: OnceLock::new() }
    }

    fn identify(&self, segment: &str, target: Language) -> Language {
        let swahili =
            self.languages.contains(&Language::Sw) && (target == Language::Sw || resembles_swahili(segment));
        if !swahili && let Some(language) = self.quick(segment) {
            return language;
        }
        let detector = self.lingua.get_or_init(|| {
            let languages: Vec<Lingua> = self.languages.iter().map(|language| to_lingua(*language)).collect();
            LanguageDetectorBuilder::from_languages(&languages).build()
        });
        let confidences = detector.compute_language_confidence_values(segment);
        let ours =
            |name: Lingua| self.languages.iter().copied().find(|language| to_lingua(*language) == name);
        let Some((best, most)) = confidences.first().copied() else { return self.languages[0] };
        let of_target = confidences.iter().find(|(name, _)| ours(*name) == Some(target));
        if of_target.is_some_and(|(_, confidence)| *confidence >= TARGET_LENIENCE * most) {
            return target;
        }
        ours(best).unwrap_or(self.languages[0])
    }

    fn quick(&self, segment: &str) -> Option<Language> {
        let detector = self.whatlang.get_or_init(|| {
            Detector::with_allowlist(
                self.languages.iter().filter_map(|language| to_whatlang(*language)).collect(),
            )
        });
        let info = detector.detect(segment)?;
        let language =
            self.languages.iter().copied().find(|language| to_whatlang(*language) == Some(info.lang()))?;
        (info.confidence() >= QUICK_CONFIDENCE).then_some(language)
    }
}

/// Two of Swahili's commonest words, or plain letters with nearly every word ending in a vowel. Italian looks
/// like that too, which costs it the quick look and nothing else.
fn resembles_swahili(segment: &str) -> bool {
    const WORDS: [&str; 24] = [
        "na", "ya", "wa", "kwa", "ni", "za", "cha", "vya", "katika", "kila", "yake", "wake", "hii", "hiyo",
        "ikiwa", "ana", "ngapi", "kiasi", "watu", "siku", "moja", "mbili", "jumla", "idadi",
    ];
    let words: Vec<String> = segment
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.len() > 1)
        .map(str::to_lowercase)
        .collect();
    let common = words.iter().filter(|word| WORDS.contains(&word.as_str())).count();
    let open = words.iter().filter(|word| word.ends_with(['a', 'e', 'i', 'o', 'u'])).count();
    let plain = words.iter().all(|word| word.is_ascii());
    common >= 2 || (plain && open * 4 >= words.len() * 3)
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

fn to_whatlang(language: Language) -> Option<Lang> {
    Some(match language {
        Language::Ar => Lang::Ara,
        Language::De => Lang::Deu,
        Language::En => Lang::Eng,
        Language::Es => Lang::Spa,
        Language::Fa => Lang::Pes,
        Language::Fr => Lang::Fra,
        Language::Id => Lang::Ind,
        Language::It => Lang::Ita,
        Language::Nl => Lang::Nld,
        Language::Pl => Lang::Pol,
        Language::Pt => Lang::Por,
        Language::Ru => Lang::Rus,
        Language::Tr => Lang::Tur,
        Language::Uk => Lang::Ukr,
        Language::Vi => Lang::Vie,
        _ => return None,
    })
}
