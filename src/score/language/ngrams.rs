//! How unlikely a text is in each language of a group: a table of sequences of up to four letters, and function words.
//!
//! A letter costs what the longest known sequence that ends in it says. A function word costs every language that does
//! not have it, which brings in the ends of words that sequences of letters do not see. Words with a capital inside a
//! segment count half: they are names more often than not. All in whole numbers, so that every machine agrees.
//!
//! `scripts/ngram-table` makes `ngrams.bin` out of lingua's models (Apache-2.0, by Peter M. Stahl). A group in it: the
//! number of languages, their codes, the number of slots (u32, little-endian), then the slots of an open hash table: a
//! fingerprint of 16 bits, 0 in an empty slot, and for each language a byte, the sixteenths of a nat.

use unicode_normalization::UnicodeNormalization;

use super::script::{Class, Group, class};
use crate::language::Language;

/// Languages of the largest group.
pub(super) const LANGUAGES_MAX: usize = 12;

/// What a function word costs the languages that do not have it, in sixteenths of a nat.
const WORD_COST: u32 = 4 * 16;

const NGRAMS: &[u8] = include_bytes!("ngrams.bin");
const WORDS: &str = include_str!("words.txt");

/// A word with its negative log-likelihood by language.
pub(super) struct CostedWord {
    pub start: usize,
    pub costs: [u32; LANGUAGES_MAX],
    /// 2, or 1 for what may be a name and 0 for a letter.
    pub halves: usize,
}

pub(super) struct Table {
    class: Class,
    languages: Vec<Language>,
    slots: Slots,
    words: Words,
}

impl Table {
    /// In the order of `Group`.
    pub fn all() -> [Self; 3] {
        let mut file = NGRAMS;
        [Group::Latin, Group::Cyrillic, Group::Arabic].map(|group| {
            let (languages, slots) =
                read_group(&mut file).expect("the table is built in and a test reads it");
            Self { class: group.class(), words: Words::of(&languages), languages, slots }
        })
    }

    pub fn languages(&self) -> &[Language] {
        &self.languages
    }

    /// Negative log-likelihood by language, in sixteenths of a nat.
    pub fn costs(&self, text: &str) -> [u32; LANGUAGES_MAX] {
        let mut costs = Costs { sums: [0; LANGUAGES_MAX], languages: self.languages.len() };
        // Combining marks, U+0300 to U+036F, start with one of these bytes: few texts have any.
        if text.bytes().any(|byte| byte == 0xcc || byte == 0xcd) {
            self.add(text.nfc(), &mut costs);
        } else {
            self.add(text.chars(), &mut costs);
        }
        costs.sums
    }

    /// The words of a text, one by one; empty for a text with combining marks, whose places shift.
    pub fn words(&self, text: &str) -> Vec<CostedWord> {
        let mut words = Vec::new();
        if text.bytes().any(|byte| byte == 0xcc || byte == 0xcd) {
            return words;
        }
        let mut costs = Costs { sums: [0; LANGUAGES_MAX], languages: self.languages.len() };
        let (mut word, mut start, mut first) = (Word::default(), 0, true);
        // The space ends the last word.
        for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
            if self.is_letter(c) {
                if word.length == 0 {
                    word.halved = !first && c.is_uppercase();
                    (start, first) = (at, false);
                }
                word.push(c);
                if let Some(row) = self.slots.longest(&word) {
                    costs.add_row(row, word.halved);
                }
            } else if word.length > 0 {
                costs.add_word(self.words.languages(&word));
                let costs = std::mem::take(&mut costs.sums);
                let halves = if word.length == 1 { 0 } else { 2 - usize::from(word.halved) };
                words.push(CostedWord { start, costs, halves });
                word = Word::default();
            }
        }
        words
    }

    fn add(&self, text: impl Iterator<Item = char>, costs: &mut Costs) {
        let mut word = Word::default();
        let mut first = true;
        for c in text {
            if self.is_letter(c) {
                if word.length == 0 {
                    word.halved = !first && c.is_uppercase();
                    first = false;
                }
                word.push(c);
                if let Some(row) = self.slots.longest(&word) {
                    costs.add_row(row, word.halved);
                }
            } else if word.length > 0 {
                costs.add_word(self.words.languages(&word));
                word = Word::default();
            }
        }
        if word.length > 0 {
            costs.add_word(self.words.languages(&word));
        }
    }

    fn is_letter(&self, c: char) -> bool {
        class(c) == Some(self.class)
    }
}

fn read_group(file: &mut &'static [u8]) -> Option<(Vec<Language>, Slots)> {
    let count = file.split_off_first().copied().map(usize::from).filter(|count| *count <= LANGUAGES_MAX)?;
    let codes = file.split_off(..2 * count)?;
    let codes = codes.chunks(2).map(|code| std::str::from_utf8(code).ok()?.parse().ok());
    let slots = u32::from_le_bytes(file.split_off(..4)?.try_into().ok()?) as usize;
    let width = 2 + count;
    let bytes = file.split_off(..slots * width)?;
    Some((
        codes.collect::<Option<_>>()?,
        Slots { bytes, width, mask: slots.is_power_of_two().then(|| slots - 1)? },
    ))
}

/// The word that is being read.
#[derive(Default)]
struct Word {
    length: usize,
    /// The last four letters, 16 bits each; beyond the Basic Multilingual Plane there are none that are known.
    last: u64,
    hash: u64,
    halved: bool,
}

impl Word {
    fn push(&mut self, c: char) {
        let lower = if c.is_ascii() { c.to_ascii_lowercase() } else { c.to_lowercase().next().unwrap_or(c) };
        let code = u64::from(u16::try_from(u32::from(lower)).unwrap_or(u16::MAX));
        self.length += 1;
        self.last = self.last << 16 | code;
        self.hash = mix(self.hash ^ code);
    }
}

/// Stafford's variant 13 of the 64-bit finaliser: index and fingerprint must not depend on each other.
fn mix(key: u64) -> u64 {
    let key = (key ^ key >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ key >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ key >> 31
}

struct Slots {
    bytes: &'static [u8],
    width: usize,
    mask: usize,
}

impl Slots {
    /// The row of the longest known sequence at the end of the word.
    fn longest(&self, word: &Word) -> Option<&'static [u8]> {
        (1..=word.length.min(4))
            .rev()
            .find_map(|length| self.row(word.last & (u64::MAX >> (64 - 16 * length))))
    }

    fn row(&self, sequence: u64) -> Option<&'static [u8]> {
        let hash = mix(sequence);
        let fingerprint = (hash as u16).max(1).to_le_bytes();
        let mut at = (hash >> 32) as usize & self.mask;
        loop {
            let slot = &self.bytes[at * self.width..(at + 1) * self.width];
            match [slot[0], slot[1]] {
                [0, 0] => return None,
                found if found == fingerprint => return Some(&slot[2..]),
                _ => at = (at + 1) & self.mask,
            }
        }
    }
}

/// Function words: a hash table from a word to the languages that have it.
struct Words {
    /// (hash, bit i for language i); no bit in an empty slot.
    slots: Vec<(u64, u16)>,
}

/// Twice the words of all languages and more, so that a search always meets an empty slot.
const WORD_SLOTS: usize = 1 << 13;

impl Words {
    fn of(languages: &[Language]) -> Self {
        let mut words = Self { slots: vec![(0, 0); WORD_SLOTS] };
        for line in WORDS.lines() {
            let mut entries = line.split(' ');
            let code = entries.next().unwrap_or_default();
            let Some(bit) = languages.iter().position(|language| language.code() == code) else { continue };
            for entry in entries {
                let mut word = Word::default();
                entry.chars().for_each(|c| word.push(c));
                let at = words.slot(word.hash);
                words.slots[at] = (word.hash, words.slots[at].1 | 1 << bit);
            }
        }
        words
    }

    fn slot(&self, hash: u64) -> usize {
        let mut at = hash as usize % WORD_SLOTS;
        while self.slots[at].1 != 0 && self.slots[at].0 != hash {
            at = (at + 1) % WORD_SLOTS;
        }
        at
    }

    fn languages(&self, word: &Word) -> u16 {
        self.slots[self.slot(word.hash)].1
    }
}

struct Costs {
    sums: [u32; LANGUAGES_MAX],
    languages: usize,
}

impl Costs {
    fn add_row(&mut self, row: &[u8], halved: bool) {
        for (sum, cost) in self.sums.iter_mut().zip(row) {
            *sum = sum.saturating_add(u32::from(*cost) >> u32::from(halved));
        }
    }

    /// `having` is the languages that have the word, none for an unknown word.
    fn add_word(&mut self, having: u16) {
        if having != 0 {
            for (i, sum) in self.sums[..self.languages].iter_mut().enumerate() {
                *sum = sum.saturating_add(if having >> i & 1 == 0 { WORD_COST } else { 0 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_the_languages_of_each_script() {
        for (table, group) in Table::all().iter().zip([Group::Latin, Group::Cyrillic, Group::Arabic]) {
            let known = Language::ALL
                .iter()
                .copied()
                .filter(|language| super::super::script::class_of(*language) == group.class());
            assert_eq!(table.languages(), known.collect::<Vec<_>>());
            let filled =
                table.slots.bytes.chunks(table.slots.width).filter(|slot| slot[..2] != [0, 0]).count();
            assert!(
                filled > table.slots.mask / 4 && filled <= table.slots.mask,
                "{filled} of {}",
                table.slots.mask + 1
            );
        }
    }

    #[test]
    fn every_language_of_the_table_has_function_words() {
        for table in Table::all() {
            let used = table.words.slots.iter().filter(|slot| slot.1 != 0).count();
            assert!(used * 2 < WORD_SLOTS, "{used}");
            for (i, language) in table.languages().iter().enumerate() {
                let own = table.words.slots.iter().filter(|slot| slot.1 == 1 << i).count();
                assert!(own >= 30, "{language}: {own}");
            }
        }
    }

    #[track_caller]
    fn check(text: &str, other: &str) {
        let [latin, ..] = Table::all();
        assert_eq!(latin.costs(text), latin.costs(other), "{text}, {other}");
    }

    #[test]
    fn costs_see_letters_and_words_alone() {
        check("Hat er drei bunte", "hat er drei bunte");
        check("drei Äpfel", "drei, (Äpfel) 42!");
        check("drei A\u{308}pfel", "drei Äpfel");
        check("", "42 かな");
    }
}
