//! From an answer's text to its value: sign, currency, unit, then an integer, decimal, fraction or mixed number.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Zero};

use super::factors;
use super::normalise::normalise;
use super::plain::{self, Plain};
use super::unit;
use crate::language::{DecimalMark, Language};
use crate::score::beside_words::SIGNS;
use crate::score::phrases::{counted, measure};

/// How separators are to be read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Convention {
    /// Gold answers: point for decimals, comma for groups, one reading only.
    Canonical,
    /// A completion in this language.
    Of(Language),
}

impl Convention {
    pub fn mark(self) -> DecimalMark {
        match self {
            Self::Canonical => DecimalMark::Point,
            Self::Of(language) => language.decimal_mark(),
        }
    }

    /// Spanish alone: Spain writes a decimal comma, Mexico and its neighbours a comma between thousands.
    pub fn may_group_by_comma(self) -> bool {
        matches!(self, Self::Of(Language::Es))
    }

    pub fn groups_by_lakh(self) -> bool {
        matches!(self, Self::Of(language) if language.groups_by_lakh())
    }
}

/// A value and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Number {
    pub value: BigRational,
    /// Decimal places written.
    pub places: usize,
    /// What stands after it.
    pub unit: Option<String>,
}

/// What an answer can mean. The alternate is only ever used to call a miss undecided, never to accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub primary: Number,
    pub alternate: Option<Number>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    #[error("it has more than {} digits", super::DIGITS_MAX)]
    TooLong,
    #[error("{text:?} is no integer, decimal or fraction")]
    NotANumber { text: String },
    #[error("its denominator is zero")]
    DivisionByZero,
}

pub(super) fn parse(answer: &str, convention: Convention) -> Result<Reading, NumberError> {
    let text = normalise(answer).ok_or(NumberError::TooLong)?;
    if text.bytes().filter(u8::is_ascii_digit).count() > super::DIGITS_MAX {
        return Err(NumberError::TooLong);
    }
    let refuse = || NumberError::NotANumber { text: text.chars().take(60).collect() };
    let body = unit::strip_parentheses(unit::strip_variable(&text));
    // Turkish writes the percent sign first.
    let body =
        body.strip_prefix('%').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())).unwrap_or(body);
    let written = body;
    let (negative, body) = sign(unit::strip_currency(body));
    let (negative, body) = if negative.is_some() {
        (negative, unit::strip_currency(body))
    } else {
        // "$-5": the sign may stand inside the currency.
        sign(body)
    };
    let end = core_end(body);
    let (core, rest) = body.split_at(end);
    let has_factor = factors::starts(rest, convention);
    if !core.contains(|c: char| c.is_ascii_digit()) || !(has_factor || unit::is_unit(rest, convention)) {
        return Err(refuse());
    }
    // 28% is the answer 28, and so is 33\frac{1}{3}%, but half a percent is no half.
    let mixed = core.starts_with(|c: char| c.is_ascii_digit()) && core.contains("\\frac");
    if rest.trim_start().trim_start_matches('\\').starts_with('%') && core.contains(['/', '\\']) && !mixed {
        return Err(refuse());
    }
    let (mut reading, rest) = if has_factor {
        parse_with_factors(body, convention, &refuse)?
    } else {
        (parse_core(core.trim_end(), convention, &refuse)?, rest)
    };
    if negative == Some(true) {
        reading.negate();
    }
    let currency = unit::currency(written);
    let unit = if rest.trim().is_empty() { currency } else { rest.trim() };
    reading.primary.unit = (!unit.is_empty()).then(|| unit.to_owned());
    Ok(reading)
}

impl Reading {
    fn negate(&mut self) {
        for number in std::iter::once(&mut self.primary).chain(&mut self.alternate) {
            number.value = -number.value.clone();
        }
    }
}

/// A leading sign: `Some(true)` for minus.
fn sign(text: &str) -> (Option<bool>, &str) {
    if let Some(rest) = text.strip_prefix('-') {
        (Some(true), rest.trim_start())
    } else if let Some(rest) = text.strip_prefix('+') {
        (Some(false), rest.trim_start())
    } else if let Some(length) = minus_word(text) {
        (Some(true), text[length..].trim_start())
    } else {
        (None, text)
    }
}

/// The length of a word for minus at the start of a text that a number follows.
fn minus_word(text: &str) -> Option<usize> {
    let word = text.find(|c: char| c.is_ascii_digit() || c == ' ' || c == '\\')?;
    let number = text[word..].trim_start().starts_with(|c: char| c.is_ascii_digit() || c == '\\');
    (word > 0 && number && SIGNS.contains(&text[..word].to_lowercase().as_str())).then_some(word)
}

/// Where the number ends and a unit may begin.
fn core_end(text: &str) -> usize {
    let mut end = 0;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if let Some(after) = rest.strip_prefix("\\frac") {
            rest.len() - after.len() + fraction_arguments(after).map_or(0, |(_, _, length)| length)
        } else if c.is_ascii_digit() {
            1
        } else if plain::is_separator(c) || c == '/' {
            // A separator belongs to the number only if a digit or a fraction follows.
            let after = rest[c.len_utf8()..].trim_start_matches(' ');
            let goes_on = after.starts_with(|c: char| c.is_ascii_digit()) || after.starts_with("\\frac");
            if !goes_on {
                break;
            }
            c.len_utf8()
        } else {
            break;
        };
        end += length;
        rest = &rest[length..];
    }
    end
}

/// The two arguments after `\frac`, braced or single digits, and the length of both.
fn fraction_arguments(text: &str) -> Option<(&str, &str, usize)> {
    let (top, first) = argument(text)?;
    let (bottom, second) = argument(&text[first..])?;
    Some((top, bottom, first + second))
}

fn argument(text: &str) -> Option<(&str, usize)> {
    let trimmed = text.trim_start_matches(' ');
    let skipped = text.len() - trimmed.len();
    if let Some(inner) = trimmed.strip_prefix('{') {
        let end = inner.find(['{', '}']).filter(|end| inner[*end..].starts_with('}'))?;
        return Some((inner[..end].trim(), skipped + end + 2));
    }
    trimmed.starts_with(|c: char| c.is_ascii_digit()).then(|| (&trimmed[..1], skipped + 1))
}

/// "2.5 million dollars", and the unit behind it.
fn parse_with_factors<'a>(
    body: &'a str,
    convention: Convention,
    refuse: &dyn Fn() -> NumberError,
) -> Result<(Reading, &'a str), NumberError> {
    let value = |core: &str| parse_core(core, convention, refuse).ok();
    let (reading, rest) = factors::parse(body, convention, &core_end, &value).ok_or_else(refuse)?;
    // "3 millions d'euros"; what else follows may be the rest of the number.
    let unit = rest.trim_start();
    let linked = ["d'", "de ", "di ", "of "].iter().find_map(|link| unit.strip_prefix(link));
    let word = linked.unwrap_or(unit);
    let is_known = word.is_empty() || counted(word).is_some() || measure(word).is_some();
    let unit = linked.unwrap_or(rest);
    if is_known && unit::is_unit(unit, convention) { Ok((reading, unit)) } else { Err(refuse()) }
}

fn parse_core(
    core: &str,
    convention: Convention,
    refuse: &dyn Fn() -> NumberError,
) -> Result<Reading, NumberError> {
    if let Some((whole, after)) = core.split_once("\\frac") {
        let (top, bottom, length) = fraction_arguments(after).ok_or_else(refuse)?;
        if length != after.len() {
            return Err(refuse());
        }
        let fraction = fraction(top, bottom, convention, refuse)?;
        return mixed(whole.trim_end(), fraction, convention, refuse);
    }
    let Some((top, bottom)) = core.split_once('/') else {
        let plain = plain::parse(core, convention).ok_or_else(refuse)?;
        return Ok(Reading {
            primary: decimal(&plain.primary),
            alternate: plain.alternate.as_ref().map(decimal),
        });
    };
    let (top, bottom) = (top.trim(), bottom.trim());
    let Some((whole, numerator)) = top.rsplit_once(' ') else {
        let mut reading = exact(fraction(top, bottom, convention, refuse)?);
        // Persian writes the decimal mark as a slash too.
        if matches!(convention, Convention::Of(Language::Fa)) {
            let decimal_mark = plain::parse(&format!("{top}.{bottom}"), Convention::Canonical);
            reading.alternate = decimal_mark.map(|plain| decimal(&plain.primary));
        }
        return Ok(reading);
    };
    // "1 1/2" is a mixed number and "1 000/3" a grouped numerator; what could be both is refused.
    let grouped = fraction(top, bottom, convention, refuse);
    let as_mixed = fraction(numerator, bottom, convention, refuse)
        .and_then(|fraction| mixed(whole.trim_end(), fraction, convention, refuse));
    match (grouped, as_mixed) {
        (Ok(fraction), Err(_)) => Ok(exact(fraction)),
        (Err(_), Ok(reading)) => Ok(reading),
        _ => Err(refuse()),
    }
}

fn exact(value: BigRational) -> Reading {
    Reading { primary: Number { value, places: 0, unit: None }, alternate: None }
}

fn decimal(plain: &Plain) -> Number {
    let digits = plain.digits.parse::<BigInt>().unwrap_or_default();
    let value = if plain.places == 0 {
        BigRational::from_integer(digits)
    } else {
        BigRational::new(digits, BigInt::from(10).pow(plain.places as u32))
    };
    Number { value, places: plain.places, unit: None }
}

fn fraction(
    top: &str,
    bottom: &str,
    convention: Convention,
    refuse: &dyn Fn() -> NumberError,
) -> Result<BigRational, NumberError> {
    let part = |text: &str| {
        let (negative, body) = sign(text);
        let plain =
            plain::parse(body, convention).filter(|plain| plain.alternate.is_none()).ok_or_else(refuse)?;
        let value = decimal(&plain.primary).value;
        Ok(if negative == Some(true) { -value } else { value })
    };
    let (top, bottom) = (part(top)?, part(bottom)?);
    if bottom.is_zero() { Err(NumberError::DivisionByZero) } else { Ok(top / bottom) }
}

/// A whole number before a fraction adds to it, provided the fraction is proper and both are without sign.
fn mixed(
    whole: &str,
    fraction: BigRational,
    convention: Convention,
    refuse: &dyn Fn() -> NumberError,
) -> Result<Reading, NumberError> {
    if whole.is_empty() {
        return Ok(exact(fraction));
    }
    let whole =
        plain::parse(whole, convention).filter(|plain| plain.primary.places == 0).ok_or_else(refuse)?;
    let proper = fraction > BigRational::zero() && fraction < BigRational::one();
    if !proper || whole.alternate.is_some() {
        return Err(refuse());
    }
    Ok(exact(decimal(&whole.primary).value + fraction))
}
