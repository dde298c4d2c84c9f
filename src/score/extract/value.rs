//! A value in plain text: a number or a short expression, cut out of the sentence that goes on around it.
//!
//! What is taken errs on the long side: "5 or 6", "3 million" and "2 hours 30 minutes" are taken whole, because a part
//! of them is another value. What the text says is for `math` to judge.

mod lexis;

use std::ops::Range;

use super::formula::head;
use super::joined::is_joiner;
use crate::score::phrases::{ARITHMETIC, COMPOUND_UNITS, COPULAS, MAGNITUDES, counted, measure};
use lexis::{FUNCTIONS, OPERATORS, braced, is_letter, is_operator, number_length};

pub(in crate::score) use lexis::is_digit;
pub(super) use lexis::{UNIT_LETTERS, is_blank, is_currency, starts_value};

/// Bytes that a value may have.
const BYTES_MAX: usize = 40_000;

/// The value that starts at `at`, if one does.
pub(super) fn starting(text: &str, at: usize) -> Option<Range<usize>> {
    let mut run = Run::new(head(&text[at..], BYTES_MAX));
    while run.step() {}
    run.result().map(|found| found.start + at..found.end + at)
}

/// Words that lead from a power of ten to what is counted, or on with the sentence.
const LINKS: &[&str] =
    &["of ", "de ", "d'", "d’", "di ", "per ", "each", "in total", "altogether", "pro ", "par ", "por "];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Value,
    Operator,
}

/// A walk over the tokens of a value.
struct Run<'a> {
    text: &'a str,
    at: usize,
    /// Behind the last token that may end a value.
    end: usize,
    last: Last,
    /// Whether blanks stand between the last token and `at`.
    spaced: bool,
    brackets: usize,
    /// Operators and opening brackets since the last value.
    operators: usize,
    has_value: bool,
}

/// Operators and opening brackets that may stand in a row.
const OPERATORS_MAX: usize = 16;

impl<'a> Run<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            end: 0,
            last: Last::Nothing,
            spaced: false,
            brackets: 0,
            operators: 0,
            has_value: false,
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn result(&self) -> Option<Range<usize>> {
        if !self.has_value {
            return None;
        }
        let found = self.text[..self.end].trim_end();
        // A bracket around more than the value: "(18 dollars)".
        let opens = found.matches('(').count() > found.matches(')').count();
        let start = usize::from(opens && found.starts_with('('));
        Some(start..found.len())
    }

    /// Takes one token; false at the end of the value.
    fn step(&mut self) -> bool {
        let rest = self.rest();
        let Some(c) = rest.chars().next().filter(|_| self.operators <= OPERATORS_MAX) else { return false };
        let after = &rest[c.len_utf8()..];
        match c {
            c if is_digit(c) => self.number(),
            '.' | '\u{66b}' if after.starts_with(is_digit) && self.last != Last::Value => self.number(),
            c if is_blank(c) => {
                self.spaced = true;
                self.at += c.len_utf8();
                true
            }
            '\\' => self.command(after),
            '*' => {
                let goes_on = !after.starts_with('*') && starts_value(after.trim_start_matches(is_blank));
                goes_on && self.last == Last::Value && self.take(c, Last::Operator)
            }
            ':' => {
                self.last == Last::Value
                    && !self.spaced
                    && after.starts_with(is_digit)
                    && self.take(c, Last::Operator)
            }
            ',' | ';' | '،' | '、' | '，' | '；' => {
                let goes_on = self.last == Last::Value && starts_value(after.trim_start_matches(is_blank));
                goes_on && self.take(c, Last::Operator)
            }
            '(' | '[' | '{' => {
                let goes_on =
                    starts_value(after.trim_start_matches(is_blank)) || after.starts_with(['(', '[']);
                self.brackets += 1;
                goes_on && self.take(c, Last::Operator)
            }
            ')' | ']' | '}' => {
                let opened = self.brackets > 0;
                self.brackets = self.brackets.saturating_sub(1);
                opened && self.take(c, Last::Value)
            }
            '%' | '‰' | '٪' | '°' | '％' => self.last == Last::Value && self.take(c, Last::Value),
            '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '⁻' => {
                self.last == Last::Value && !self.spaced && self.take(c, Last::Value)
            }
            // "18!" ends a sentence; "5! + 3" is a factorial.
            '!' => {
                let goes_on = after.trim_start_matches(is_blank).starts_with(is_operator);
                self.last == Last::Value && !self.spaced && goes_on && self.take(c, Last::Value)
            }
            'π' | '∞' | '½' | '⅓' | '⅔' | '¼' | '¾' | '∅' => {
                self.has_value = true;
                self.take(c, Last::Value)
            }
            '-' | '\u{2010}'..='\u{2015}' => self.dash(c, after),
            c if is_operator(c) => self.take(c, Last::Operator),
            c if is_currency(c) => {
                let place = if self.last == Last::Value { Last::Value } else { Last::Operator };
                // "18 $20": two sums.
                let another = self.last == Last::Value && after.starts_with(is_digit);
                !another && self.take(c, place)
            }
            c if c.is_alphabetic() => self.word(),
            _ => false,
        }
    }

    fn take(&mut self, c: char, last: Last) -> bool {
        self.advance(c.len_utf8(), last);
        true
    }

    fn advance(&mut self, bytes: usize, last: Last) {
        self.at += bytes;
        self.last = last;
        self.operators = if last == Last::Value { 0 } else { self.operators + 1 };
        self.spaced = false;
        if last == Last::Value {
            self.end = self.at;
        }
    }

    fn number(&mut self) -> bool {
        let length = number_length(self.rest());
        if self.last == Last::Value && self.spaced {
            // "1 1/2" is one number, "3 5" is two.
            let is_fraction = self.rest()[length..].starts_with('/');
            if !is_fraction {
                return false;
            }
        }
        self.has_value = true;
        self.advance(length, Last::Value);
        true
    }

    /// A minus, or a dash that ends the value: "18-year", "18 – because".
    fn dash(&mut self, c: char, after: &str) -> bool {
        let next = after.trim_start_matches(is_blank);
        let goes_on = starts_value(next) || next.starts_with(['(', '$', '√']);
        goes_on && self.take(c, Last::Operator)
    }

    fn command(&mut self, after: &str) -> bool {
        let name = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        if name == 0 {
            return match after.chars().next() {
                Some('%') if self.last == Last::Value => {
                    self.advance(2, Last::Value);
                    true
                }
                Some('$') if self.last != Last::Value => {
                    self.advance(2, Last::Operator);
                    true
                }
                Some(',' | ';' | '!' | ' ' | ':') => {
                    self.at += 2;
                    true
                }
                _ => false,
            };
        }
        let word = &after[..name];
        if word.contains("box") || word == "begin" || word == "end" {
            return false;
        }
        let groups = braced(&after[name..]);
        let is_operator = OPERATORS.contains(&word);
        self.has_value |= !is_operator;
        self.advance(1 + name + groups, if is_operator { Last::Operator } else { Last::Value });
        true
    }

    fn word(&mut self) -> bool {
        let rest = self.rest();
        let length = rest.find(|c: char| !is_letter(c)).unwrap_or(rest.len());
        let word = &rest[..length];
        let after = &rest[length..];
        let next = after.trim_start_matches(is_blank);
        if self.last == Last::Value && self.magnitude(word) {
            return true;
        }
        if word.chars().nth(1).is_none() {
            return self.letter(word, after, next);
        }
        let lower = word.to_lowercase();
        if FUNCTIONS.contains(&lower.as_str()) {
            let is_value = lower == "pi" || lower == "infinity";
            self.has_value |= is_value;
            self.advance(length, if is_value { Last::Value } else { Last::Operator });
            return true;
        }
        if self.last == Last::Value {
            if is_joiner(&lower) && starts_value(next) {
                self.advance(length, Last::Operator);
                return true;
            }
            self.second_quantity();
        }
        false
    }

    /// A variable ("x = 5", "2x + 3"), unless it can as well be an article or a unit.
    fn letter(&mut self, word: &str, after: &str, next: &str) -> bool {
        let length = word.len();
        let operator_follows = next.starts_with(is_operator) || next.starts_with('=');
        if self.last == Last::Value && self.spaced {
            if word == "x" && next.starts_with(is_digit) {
                self.advance(length, Last::Operator);
                return true;
            }
            if is_joiner(&word.to_lowercase()) && starts_value(next) {
                self.advance(length, Last::Operator);
                return true;
            }
            if !operator_follows {
                self.second_quantity();
                return false;
            }
        }
        let unit = self.last == Last::Value && UNIT_LETTERS.contains(word) && !operator_follows;
        let alone = self.last == Last::Nothing && !(operator_follows || after.starts_with(['(', '_', '^']));
        let is_variable = word.chars().all(|c| c.is_ascii_alphabetic() || ('α'..='ω').contains(&c));
        if unit || alone || !is_variable {
            if self.last == Last::Value {
                self.second_quantity();
            }
            return false;
        }
        self.has_value = true;
        self.advance(length, Last::Value);
        if let Some(index) = after.strip_prefix('_') {
            let index = index.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(index.len());
            self.advance(1 + index, Last::Value);
        }
        true
    }

    /// "million", "万": takes it in.
    fn magnitude(&mut self, word: &str) -> bool {
        let lower = word.to_lowercase();
        if MAGNITUDES.contains(&lower.as_str()) {
            self.advance(word.len(), Last::Value);
            self.rest_of_the_number();
            return true;
        }
        let unspaced = |name: &&&str| !name.starts_with(|c: char| c < '\u{e00}') && word.starts_with(**name);
        if measure(word).is_some() {
            return false;
        }
        let Some(prefix) = MAGNITUDES.iter().filter(unspaced).map(|name| name.len()).max() else {
            return false;
        };
        self.advance(prefix, Last::Value);
        self.rest_of_the_number();
        true
    }

    /// Behind a power of ten: digits ("2 million 500 thousand", "2 tys. 500"), or a word that is nothing counted and so may be a numeral
    /// ("3 mila duecento"). A word is taken in, so that what is judged is no number.
    fn rest_of_the_number(&mut self) {
        let rest = self.rest();
        let next = rest.trim_start_matches(is_blank);
        let behind_stop = rest.strip_prefix('.').map(|rest| rest.trim_start_matches(is_blank));
        if let Some(digits) =
            [Some(next), behind_stop].into_iter().flatten().find(|next| next.starts_with(is_digit))
        {
            self.advance(rest.len() - digits.len() + number_length(digits), Last::Value);
            return;
        }
        let word = next.find(|c: char| !is_letter(c)).unwrap_or(next.len());
        let is_magnitude = MAGNITUDES.iter().any(|name| next.starts_with(name));
        let joins = is_joiner(&next[..word].to_lowercase())
            && starts_value(next[word..].trim_start_matches(is_blank));
        let goes_with = |words: &[&str]| words.iter().any(|words| next.starts_with(words.trim_start()));
        if word > 0
            && !is_magnitude
            && !joins
            && counted(next).is_none()
            && !goes_with(COPULAS)
            && !goes_with(LINKS)
        {
            self.advance(rest.len() - next.len() + word, Last::Value);
        }
    }

    /// "2 hours 30 minutes", "3 apples and 4 pears": the value is all of it, not its first number.
    fn second_quantity(&mut self) {
        let window = head(self.rest(), 120);
        let mut rest = window;
        for index in 0..4 {
            rest = rest.trim_start_matches(|c: char| is_blank(c) || c == '*');
            let length = rest.find(|c: char| !is_letter(c)).unwrap_or(rest.len());
            let word = rest[..length].to_lowercase();
            let after = rest[length..].trim_start_matches(|c: char| is_blank(c) || c == '*');
            let unspaced = |unit: &&&str| {
                !unit.is_ascii() && rest.starts_with(**unit) && unit.starts_with(|c| c > '\u{e00}')
            };
            let compound = COMPOUND_UNITS.contains(&word.as_str());
            let cjk = COMPOUND_UNITS.iter().find(unspaced).map(|unit| &rest[unit.len()..]);
            let joined = is_joiner(&word)
                || ARITHMETIC.contains(&word.as_str())
                || (index > 0 && length == 0 && rest.starts_with([',', '+', '&']));
            let found = if joined && word == "na" {
                // Swahili sets the unit first: "saa 3 na dakika 20".
                let unit = after.find(|c: char| !is_letter(c)).unwrap_or(after.len());
                after[unit..].trim_start_matches(is_blank).starts_with(is_digit)
            } else if joined {
                after.trim_start_matches([',', '+', '&']).trim_start_matches(is_blank).starts_with(is_digit)
            } else if let Some(behind) = cjk {
                behind.trim_start_matches(['零', '又', ' ']).starts_with(is_digit)
            } else {
                index == 0 && compound && after.starts_with(is_digit)
            };
            if found {
                let from = self.at + window.len() - rest.len();
                let digits = self.text[from..].find(is_digit).map_or(from, |at| from + at);
                self.end = digits + number_length(&self.text[digits..]);
                return;
            }
            if length == 0 || joined {
                return;
            }
            rest = &rest[length..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = starting(text, 0).map_or("", |span| &text[span]);
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn numbers() {
        check("18.", "18");
        check("18 dollars every day.", "18");
        check("-5 degrees", "-5");
        check("1,234 eggs", "1,234");
        check("1 234 eggs", "1 234");
        check("1.234,5 Euro", "1.234,5");
        check("12,5.", "12,5");
        check(".5", ".5");
        check("$18.", "$18");
        check("18€.", "18€");
        check("28% of them", "28%");
        check("๔๒ บาท", "๔๒");
        check("١٢٣٫٥ كيلو", "١٢٣٫٥");
        check("18です。", "18");
        check("1/2", "1/2");
        check("1 1/2 hours", "1 1/2");
        check("3:4", "3:4");
        check("18!", "18");
        check("18-year-old", "18");
        check("18 – because", "18");
        check("18 (since 9*2 = 18)", "18");
        check("(18 dollars)", "18");
        check("18, since", "18");
        check("18**", "18");
        check("18, which", "18");
        check("dollars", "");
        check("", "");
        check("*", "");
    }

    #[test]
    fn expressions() {
        check("x = 5, which is", "x = 5");
        check("2x + 3.", "2x + 3");
        check("9 * 2 = 18 dollars", "9 * 2 = 18");
        check("(2, 3)", "(2, 3)");
        check("[0, 1)", "[0, 1)");
        check(r"\frac{1}{2}.", r"\frac{1}{2}");
        check(r"\frac12 of it", r"\frac12");
        check(r"\sqrt{2} units", r"\sqrt{2}");
        check("√2 units", "√2");
        check("2√3", "2√3");
        check("sqrt(2)", "sqrt(2)");
        check("2^10", "2^10");
        check("3π cm", "3π");
        check("x > 5.", "x > 5");
        check("5 ± 2", "5 ± 2");
        check("5! + 3", "5! + 3");
        check(r"2 \times 3 = 6", r"2 \times 3 = 6");
    }

    #[test]
    fn a_part_is_not_the_value() {
        check("5 or 6", "5 or 6");
        check("5, 6 and 7.", "5, 6 and 7");
        check("5 und 6", "5 und 6");
        check("5 と 6", "5 と 6");
        check("3 million people", "3 million");
        check("3万円です", "3万");
        check("3万5千円", "3万5千");
        check("2 hours 30 minutes", "2 hours 30");
        check("2 hours and 30 minutes", "2 hours and 30");
        check("3 red apples and 4 pears", "3 red apples and 4");
        check("3小时30分", "3小时30");
        check("5 a day", "5");
        check("5 - 6", "5 - 6");
        check("2x", "2x");
        check("5m", "5");
    }
}
