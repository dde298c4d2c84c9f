//! The script gate: what the letters of a stretch of text say before any language model is asked.

use std::sync::LazyLock;

use unicode_script::{Script, UnicodeScript};

use super::han;
use crate::language::Language;

/// What kind of letter a character is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letter {
    Latin,
    Han,
    Kana,
    Other(Script),
}

/// Scripts that decide alike. Han and kana stand together because Japanese mixes them within a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Latin,
    HanKana,
    Other(Script),
}

/// The letters of the Basic Multilingual Plane: a search among Unicode's ranges for each character would take most of
/// the time. A constant, but one that the compiler cannot compute.
static LETTERS: LazyLock<Box<[Option<Letter>]>> =
    LazyLock::new(|| (0..=0xffff).map(|code| char::from_u32(code).and_then(looked_up)).collect());

/// `None` for what belongs to every script (digits, punctuation) or to mathematics (Greek).
pub(super) fn letter(c: char) -> Option<Letter> {
    if c.is_ascii() {
        return c.is_ascii_alphabetic().then_some(Letter::Latin);
    }
    match LETTERS.get(c as usize) {
        Some(letter) => *letter,
        None => looked_up(c),
    }
}

fn looked_up(c: char) -> Option<Letter> {
    match c.script() {
        Script::Common | Script::Inherited | Script::Unknown | Script::Greek => None,
        Script::Latin => Some(Letter::Latin),
        Script::Han => Some(Letter::Han),
        Script::Hiragana | Script::Katakana => Some(Letter::Kana),
        script => Some(Letter::Other(script)),
    }
}

impl Letter {
    pub fn class(self) -> Class {
        match self {
            Self::Latin => Class::Latin,
            Self::Han | Self::Kana => Class::HanKana,
            Self::Other(script) => Class::Other(script),
        }
    }
}

/// The class of a letter.
pub(super) fn class(c: char) -> Option<Class> {
    letter(c).map(Letter::class)
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
    /// Han characters that only Japanese is written with, less those that it is never written with.
    pub japanese: i32,
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

impl Group {
    pub fn class(self) -> Class {
        match self {
            Self::Latin => Class::Latin,
            Self::Cyrillic => Class::Other(Script::Cyrillic),
            Self::Arabic => Class::Other(Script::Arabic),
        }
    }
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
            match letter(c) {
                Some(letter) => counts.add(c, letter, &mut word),
                None if ends_word(c) => word = 0,
                None => {}
            }
        }
        counts
    }

    /// Count one letter; `word` is the length of the Latin word up to it.
    pub fn add(&mut self, c: char, letter: Letter, word: &mut usize) {
        if letter != Letter::Latin {
            *word = 0;
        }
        match letter {
            Letter::Latin => {
                self.latin += 1;
                *word += 1;
                // Single letters are variables more often than words.
                self.latin_words += usize::from(*word == 2);
            }
            Letter::Kana => self.kana += 1,
            Letter::Han => {
                self.han += 1;
                self.japanese += han::japanese(c);
            }
            Letter::Other(script) => self.add_other(script, 1),
        }
    }

    fn add_other(&mut self, script: Script, count: usize) {
        match self.other.iter_mut().find(|(known, _)| *known == script) {
            Some((_, known)) => *known += count,
            None => self.other.push((script, count)),
        }
    }

    pub fn merge(&mut self, more: &Self) {
        self.latin += more.latin;
        self.latin_words += more.latin_words;
        self.han += more.han;
        self.kana += more.kana;
        self.japanese += more.japanese;
        for (script, count) in &more.other {
            self.add_other(*script, *count);
        }
    }

    /// Letters of scripts that the target is not written in; Latin and Greek are at home in any text on mathematics.
    pub fn foreign(&self, target: Language) -> usize {
        let of = |script: Script, count: usize| if target.scripts().contains(&script) { 0 } else { count };
        let other: usize = self.other.iter().map(|(script, count)| of(*script, *count)).sum();
        of(Script::Han, self.han) + of(Script::Hiragana, self.kana) + other
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

    /// Kana decide, and a long stretch without any is Chinese. Where there are few of both, characters that only one
    /// of the two is written with do, and then the target gets the benefit of the doubt.
    fn chinese_or_japanese(&self, target: Language) -> Language {
        if self.kana > 0 && self.kana as f64 >= KANA_SHARE * (self.han + self.kana) as f64 {
            return Language::Ja;
        }
        if self.kana == 0 && self.han >= HAN_ALONE {
            return Language::Zh;
        }
        match self.japanese {
            1.. => Language::Ja,
            ..=-1 => Language::Zh,
            0 if target == Language::Ja => Language::Ja,
            0 => Language::Zh,
        }
    }
}

/// Whether a character that is no letter ends a Latin word: an apostrophe does not.
pub(super) fn ends_word(c: char) -> bool {
    c != '\'' && c != '\u{2019}'
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_weigh_as_much_as_their_script_says() {
        let check = |text: &str, expected: f64| assert_eq!(Counts::of(text).weight(), expected, "{text}");
        check("abc é", 4.0);
        check("漢字", 6.0);
        check("かなカナ", 8.0);
        check("한국", 5.0);
        check("กขค я ا", 5.0);
        check("αβγ 123 ！?", 0.0);
    }

    #[test]
    fn latin_words_have_two_letters() {
        let check = |text: &str, expected| assert_eq!(Counts::of(text).latin_words, expected, "{text}");
        check("a bc def", 2);
        check("don't l'eau", 2);
        check("x y z", 0);
        check("one2three", 2);
        check("ab漢cd", 2);
    }

    #[track_caller]
    fn check(text: &str, target: Language, expected: &str) {
        let found = match Counts::of(text).class(target) {
            Decision::Neutral => "neutral".to_owned(),
            Decision::Language(language) => language.code().to_owned(),
            Decision::Other(name) => name.to_owned(),
            Decision::Among(group) => format!("{group:?}"),
        };
        assert_eq!(found, expected, "{text} for {target}");
    }

    #[test]
    fn half_of_the_weight_is_enough_for_the_target() {
        check("กขคง abcd", Language::Th, "th");
        check("กขค abcd", Language::Th, "neutral");
        check("กขค ab cd ef", Language::Th, "Latin");
        check("漢ab abc", Language::Zh, "neutral");
        check("漢字ab abc", Language::Zh, "zh");
        check("Слово і діло", Language::Uk, "Cyrillic");
        check("كلمة", Language::En, "Arabic");
        check("ქართული", Language::En, "Georgian");
        check("ab cd", Language::En, "neutral");
        check("ab cd ef", Language::Ja, "Latin");
    }

    #[test]
    fn kana_decide_between_chinese_and_japanese() {
        // One kana in twenty is 5 %, one in twenty-one is less.
        let han = "一二三四五六七八九十";
        check(&format!("{han}{}の", &han[..27]), Language::Zh, "ja");
        check(&format!("{han}{han}の"), Language::Zh, "zh");
        check(&format!("{han}{han}の"), Language::Ja, "ja");
        check("一二三四五六七", Language::Ja, "ja");
        check("一二三四五六七八", Language::Ja, "zh");
        check("一二三四五六七", Language::Zh, "zh");
        check("一二三四五六七", Language::Th, "zh");
        check("这个答案", Language::Ja, "zh");
        check("答案是四", Language::Ja, "zh");
        check("合計三百円", Language::Zh, "ja");
        check("合計三百円", Language::Ja, "ja");
    }
}
