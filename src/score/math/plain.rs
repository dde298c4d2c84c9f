//! Digits with separators: which separator groups and which one starts the fraction.
//!
//! Two or more groups, or comma and point together, are clear in any language. A single separator before three
//! digits is not: the item's language decides, and in languages that write a decimal comma the other reading is
//! kept as the alternate, because completions in them often follow the English convention.

use super::number::Convention;
use crate::language::DecimalMark;

/// ASCII digits without separators, and how many of them follow the decimal mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plain {
    pub digits: String,
    pub places: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Readings {
    pub primary: Plain,
    pub alternate: Option<Plain>,
}

const ARABIC_DECIMAL: char = '\u{66b}';
const ARABIC_GROUP: char = '\u{66c}';

pub(super) fn is_separator(c: char) -> bool {
    matches!(c, '.' | ',' | ' ' | '\'' | ARABIC_DECIMAL | ARABIC_GROUP)
}

/// `None` for anything but digits and separators that make sense together.
pub(super) fn parse(text: &str, convention: Convention) -> Option<Readings> {
    if !text.chars().all(|c| c.is_ascii_digit() || is_separator(c))
        || !text.ends_with(|c: char| c.is_ascii_digit())
    {
        return None;
    }
    let separators: Vec<char> = text.chars().filter(|c| is_separator(*c)).collect();
    let groups: Vec<&str> = text.split(is_separator).collect();
    // Only a bare ".5" may start with its separator.
    if groups[1..].iter().any(|group| group.is_empty()) || (groups[0].is_empty() && separators.len() > 1) {
        return None;
    }
    let last = separators.len().checked_sub(1);
    let Some(last) = last else { return Some(only(text.to_owned(), 0)) };
    let split = || {
        grouped(&groups[..=last], &separators[..last], convention).map(|whole| join(&whole, groups[last + 1]))
    };
    let whole = || grouped(&groups, &separators, convention).map(|digits| Plain { digits, places: 0 });
    let mark = separators[last];
    let repeated = separators.iter().filter(|c| **c == mark).count() > 1;
    let others = separators.iter().any(|c| *c != mark);
    match mark {
        ARABIC_DECIMAL => split().map(Readings::from),
        ' ' | '\'' | ARABIC_GROUP => whole().map(Readings::from),
        _ if repeated => whole().map(Readings::from),
        // Another separator groups, so this one is the mark.
        _ if others => split().map(Readings::from),
        _ => single(mark, &groups, convention),
    }
}

/// One point or comma and nothing else.
fn single(mark: char, groups: &[&str], convention: Convention) -> Option<Readings> {
    let (whole, part) = (groups[0], groups[1]);
    let as_group = || Plain { digits: format!("{whole}{part}"), places: 0 };
    let can_group = part.len() == 3 && (1..=3).contains(&whole.len()) && !whole.starts_with('0');
    let comma_language = convention.mark() == DecimalMark::Comma;
    let is_mark = (mark == ',') == comma_language;
    if is_mark {
        // "1,234" where the comma is decimal may still be a thousand and more, written the English way.
        let alternate = (can_group && comma_language).then(as_group);
        // Latin America writes "70,000", and three zeros are hardly decimals.
        if mark == ',' && part == "000" && can_group && convention.may_group_by_comma() {
            return Some(Readings { primary: as_group(), alternate: Some(join(whole, part)) });
        }
        return Some(Readings { primary: join(whole, part), alternate });
    }
    if can_group {
        let alternate = comma_language.then(|| join(whole, part));
        return Some(Readings { primary: as_group(), alternate });
    }
    // "12.5" is clear in any language; "12,5" where the comma groups may be two numbers.
    (mark == '.').then(|| join(whole, part).into())
}

/// The digits of valid groups: one kind of separator, three digits each (two where lakhs are counted).
fn grouped(groups: &[&str], separators: &[char], convention: Convention) -> Option<String> {
    let Some(separator) = separators.first() else { return Some(groups[0].to_owned()) };
    if separators.iter().any(|c| c != separator) {
        return None;
    }
    let (head, rest) = groups.split_first()?;
    let (tail, middle) = rest.split_last()?;
    let head_fits = (1..=3).contains(&head.len()) && !head.starts_with('0');
    let by_thousand = middle.iter().all(|group| group.len() == 3);
    let by_lakh =
        convention.groups_by_lakh() && head.len() <= 2 && middle.iter().all(|group| group.len() == 2);
    (head_fits && tail.len() == 3 && (by_thousand || by_lakh)).then(|| groups.concat())
}

fn join(whole: &str, part: &str) -> Plain {
    Plain { digits: format!("{whole}{part}"), places: part.len() }
}

fn only(digits: String, places: usize) -> Readings {
    Plain { digits, places }.into()
}

impl From<Plain> for Readings {
    fn from(primary: Plain) -> Self {
        Self { primary, alternate: None }
    }
}
