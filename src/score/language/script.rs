//! The script gate: what the letters of a stretch of text say before any language model is asked.

use unicode_script::{Script, UnicodeScript};

use crate::language::Language;

/// Scripts that decide alike. Han and kana stand together because Japanese mixes them within a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Latin,
    HanKana,
    Other(Script),
}

/// The class of a letter; `None` for what belongs to every script (digits, punctuation) or to mathematics (Greek).
pub(super) fn class(c: char) -> Option<Class> {
    if c.is_ascii() {
        return c.is_ascii_alphabetic().then_some(Class::Latin);
    }
    match c.script() {
        Script::Common | Script::Inherited | Script::Unknown | Script::Greek => None,
        Script::Latin => Some(Class::Latin),
        Script::Han | Script::Hiragana | Script::Katakana => Some(Class::HanKana),
        script => Some(Class::Other(script)),
    }
}

/// Classes the language is written in.
pub(super) fn class_of(language: Language) -> Class {
    match language.scripts()[0] {
        Script::Latin => Class::Latin,
        Script::Han | Script::Hiragana | Script::Katakana => Class::HanKana,
        script => Class::Other(script),
    }
}

/// Letters of one stretch, by script.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counts {
    pub latin: usize,
    pub latin_words: usize,
    pub han: usize,
    pub kana: usize,
    /// The rest, by script in order of appearance.
    pub other: Vec<(Script, usize)>,
}

/// What the gate makes of a stretch.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Decision {
    Neutral,
    Language(Language),
    Other(&'static str),
    /// Several languages share the script: ask a language model.
    Among(Group),
}

/// Languages that share a script and need telling apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Group {
    Latin,
    Cyrillic,
    Arabic,
}

/// Latin words below which a stretch says nothing.
pub(super) const LATIN_WORDS_MIN: usize = 3;
/// Han characters without kana from which on a stretch is not Japanese.
const HAN_ALONE: usize = 8;
/// Share of kana among han and kana from which on a stretch is not Chinese.
const KANA_SHARE: f64 = 0.05;
const TARGET_SHARE: f64 = 0.5;

impl Counts {
    pub fn of(text: &str) -> Self {
        let mut counts = Self::default();
        let mut word = 0;
        for c in text.chars() {
            let is_latin = counts.add(c);
            // Single letters are variables more often than words.
            if is_latin {
                word += 1;
                counts.latin_words += usize::from(word == 2);
            } else if c != '\'' && c != '\u{2019}' {
                word = 0;
            }
        }
        counts
    }

    /// Count one character; whether it was a Latin letter.
    fn add(&mut self, c: char) -> bool {
        match class(c) {
            None => {}
            Some(Class::Latin) => {
                self.latin += 1;
                return true;
            }
            Some(Class::HanKana) if c.script() == Script::Han => self.han += 1,
            Some(Class::HanKana) => self.kana += 1,
            Some(Class::Other(script)) => match self.other.iter_mut().find(|(known, _)| *known == script) {
                Some((_, count)) => *count += 1,
                None => self.other.push((script, 1)),
            },
        }
        false
    }

    /// Letters, weighted so that a sentence weighs about the same in every script.
    pub fn weight(&self) -> f64 {
        self.latin as f64
            + han_kana(self.han, self.kana)
            + self.other.iter().map(|(script, count)| weight(*script, *count)).sum::<f64>()
    }

    fn weight_of(&self, class: Class) -> f64 {
        match class {
            Class::Latin => self.latin as f64,
            Class::HanKana => han_kana(self.han, self.kana),
            Class::Other(script) => self
                .other
                .iter()
                .filter(|(known, _)| *known == script)
                .map(|(script, n)| weight(*script, *n))
                .sum(),
        }
    }

    /// Decide by script: the target's if it holds half the weight, else the heaviest.
    pub fn class(&self, target: Language) -> Decision {
        let total = self.weight();
        if total == 0.0 {
            return Decision::Neutral;
        }
        let wanted = class_of(target);
        let heaviest = if self.weight_of(wanted) >= TARGET_SHARE * total { wanted } else { self.heaviest() };
        match heaviest {
            Class::Latin if self.latin_words < LATIN_WORDS_MIN => Decision::Neutral,
            Class::Latin => Decision::Among(Group::Latin),
            Class::HanKana => Decision::Language(self.chinese_or_japanese(target)),
            Class::Other(script) => by_script(script),
        }
    }

    fn heaviest(&self) -> Class {
        let others = self.other.iter().map(|(script, _)| Class::Other(*script));
        [Class::Latin, Class::HanKana]
            .into_iter()
            .chain(others)
            .max_by(|a, b| self.weight_of(*a).total_cmp(&self.weight_of(*b)))
            .unwrap_or(Class::Latin)
    }

    fn chinese_or_japanese(&self, target: Language) -> Language {
        let japanese = if target == Language::Ja {
            self.kana > 0 || self.han < HAN_ALONE
        } else {
            self.kana as f64 >= KANA_SHARE * (self.han + self.kana) as f64
        };
        if japanese { Language::Ja } else { Language::Zh }
    }
}

fn han_kana(han: usize, kana: usize) -> f64 {
    3.0 * han as f64 + 2.0 * kana as f64
}

pub(super) fn weight(script: Script, count: usize) -> f64 {
    let one = match script {
        Script::Han => 3.0,
        Script::Hiragana | Script::Katakana => 2.0,
        Script::Hangul => 2.5,
        _ => 1.0,
    };
    one * count as f64
}

fn by_script(script: Script) -> Decision {
    match script {
        Script::Cyrillic => Decision::Among(Group::Cyrillic),
        Script::Arabic => Decision::Among(Group::Arabic),
        script => match Language::ALL.iter().find(|language| language.scripts().contains(&script)) {
            Some(language) => Decision::Language(*language),
            None => Decision::Other(script.full_name()),
        },
    }
}

/// Letters of scripts that the target is not written in; Latin and Greek are at home in any text on mathematics.
pub(super) fn foreign_letters(text: &str, target: Language) -> usize {
    let scripts = target.scripts();
    let foreign = |c: &char| match class(*c) {
        None | Some(Class::Latin) => false,
        Some(_) => !scripts.contains(&c.script()),
    };
    text.chars().filter(foreign).count()
}
