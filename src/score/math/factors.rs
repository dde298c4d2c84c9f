//! Numbers written in part as words: "2.5 million", "7万", "3億2000万", "3 लाख 50 हज़ार".
//!
//! Powers of ten alone, and of those the names that have one meaning in their language: a Spanish "billón" is a million
//! millions where an American "billion" is a thousand, French "cent" is a coin too, a dozen may be what was asked for.
//! Names left out here are no units either (`unit_words`), so that numbers with them stay undecided.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;

use super::number::{Convention, Number, Reading};
use crate::language::Language;
use crate::score::phrases::measure;

/// Names of powers of ten, with their exponents.
type Names = &'static [(&'static str, u32)];

const ENGLISH: Names = &[
    ("hundred", 2),
    ("thousand", 3),
    ("million", 6),
    ("millions", 6),
    ("billion", 9),
    ("billions", 9),
    ("trillion", 12),
    ("lakh", 5),
    ("lakhs", 5),
    ("crore", 7),
    ("crores", 7),
];

/// Written in answers of any language.
const SHARED: Names = &[("thousand", 3), ("million", 6)];

fn names(language: Language) -> Names {
    match language {
        Language::En => ENGLISH,
        Language::De => &[
            ("hundert", 2),
            ("tausend", 3),
            ("million", 6),
            ("millionen", 6),
            ("mio", 6),
            ("milliarde", 9),
            ("milliarden", 9),
            ("mrd", 9),
        ],
        Language::Fr => &[
            ("mille", 3),
            ("millier", 3),
            ("milliers", 3),
            ("million", 6),
            ("millions", 6),
            ("milliard", 9),
            ("milliards", 9),
        ],
        Language::Es => &[("mil", 3), ("millón", 6), ("millones", 6)],
        Language::Pt => &[("mil", 3), ("milhão", 6), ("milhões", 6), ("bilhão", 9), ("bilhões", 9)],
        Language::It => {
            &[("mila", 3), ("mille", 3), ("milione", 6), ("milioni", 6), ("miliardo", 9), ("miliardi", 9)]
        }
        Language::Nl => &[("honderd", 2), ("duizend", 3), ("miljoen", 6), ("miljard", 9)],
        Language::Pl => &[
            ("tysiąc", 3),
            ("tysiące", 3),
            ("tysięcy", 3),
            ("tys", 3),
            ("milion", 6),
            ("miliony", 6),
            ("milionów", 6),
            ("miliona", 6),
            ("mln", 6),
            ("miliard", 9),
            ("miliardy", 9),
            ("miliardów", 9),
            ("mld", 9),
        ],
        Language::Ru => &[
            ("тысяча", 3),
            ("тысячи", 3),
            ("тысяч", 3),
            ("тыс", 3),
            ("миллион", 6),
            ("миллиона", 6),
            ("миллионов", 6),
            ("млн", 6),
            ("миллиард", 9),
            ("миллиарда", 9),
            ("миллиардов", 9),
            ("млрд", 9),
        ],
        Language::Uk => &[
            ("тисяча", 3),
            ("тисячі", 3),
            ("тисяч", 3),
            ("тис", 3),
            ("мільйон", 6),
            ("мільйони", 6),
            ("мільйона", 6),
            ("мільйонів", 6),
            ("млн", 6),
            ("мільярд", 9),
            ("мільярди", 9),
            ("мільярдів", 9),
            ("млрд", 9),
        ],
        Language::Tr => &[("bin", 3), ("milyon", 6), ("milyar", 9)],
        Language::Id => &[("ratus", 2), ("ribu", 3), ("juta", 6), ("miliar", 9)],
        Language::Vi => &[("trăm", 2), ("nghìn", 3), ("ngàn", 3), ("triệu", 6), ("tỷ", 9), ("tỉ", 9)],
        Language::Sw => &[("milioni", 6)],
        Language::Ar => &[
            ("ألف", 3),
            ("ألفا", 3),
            ("ألفًا", 3),
            ("آلاف", 3),
            ("مليون", 6),
            ("ملايين", 6),
            ("مليار", 9),
            ("مليارات", 9),
        ],
        Language::Fa => &[("هزار", 3), ("میلیون", 6), ("میلیارد", 9)],
        Language::Hi => &[("सौ", 2), ("हजार", 3), ("हज़ार", 3), ("लाख", 5), ("करोड़", 7), ("अरब", 9)],
        Language::Bn => &[("হাজার", 3), ("লাখ", 5), ("লক্ষ", 5), ("কোটি", 7)],
        Language::Te => &[
            ("వేలు", 3),
            ("వేల", 3),
            ("లక్ష", 5),
            ("లక్షలు", 5),
            ("లక్షల", 5),
            ("కోటి", 7),
            ("కోట్లు", 7),
            ("కోట్ల", 7),
        ],
        Language::Th | Language::Zh | Language::Ja | Language::Ko => &[],
    }
}

/// A name that needs no blank on either side.
struct Unspaced {
    name: &'static str,
    exponent: u32,
}

impl Unspaced {
    /// Whether it multiplies what stands before a larger one: 3千5百万 is 3500 ten thousands.
    fn is_inner(&self) -> bool {
        self.exponent < 4
    }
}

const fn unspaced(name: &'static str, exponent: u32) -> Unspaced {
    Unspaced { name, exponent }
}

const UNSPACED: &[Unspaced] = &[
    unspaced("百", 2),
    unspaced("千", 3),
    unspaced("万", 4),
    unspaced("萬", 4),
    unspaced("亿", 8),
    unspaced("億", 8),
    unspaced("백", 2),
    unspaced("천", 3),
    unspaced("만", 4),
    unspaced("억", 8),
];

/// Thai names, of which longer words are made: only with a blank, one another, or these units behind them.
const THAI: Names = &[("ร้อย", 2), ("พัน", 3), ("หมื่น", 4), ("แสน", 5), ("ล้าน", 6)];
const THAI_BEHIND: &[&str] = &["บาท", "คน", "ดอลลาร์", "เมตร", "กิโล"];

/// The powers of ten that stand right behind a digit: those within a larger one, the larger ones, and their length.
#[derive(Debug, Default, PartialEq, Eq)]
struct Powers {
    inner: u32,
    outer: Option<u32>,
    length: usize,
}

fn powers(rest: &str, convention: Convention) -> Powers {
    let mut found = Powers::default();
    while let Some((exponent, is_inner, length)) = one(&rest[found.length..], convention) {
        if is_inner && found.outer.is_none() {
            found.inner += exponent;
        } else if is_inner {
            // 万千 is no number.
            return Powers::default();
        } else {
            *found.outer.get_or_insert(0) += exponent;
        }
        found.length += length;
    }
    found
}

fn one(rest: &str, convention: Convention) -> Option<(u32, bool, usize)> {
    let word = rest.trim_start();
    let blank = rest.len() - word.len();
    if let Some(found) = UNSPACED.iter().find(|found| word.starts_with(found.name)) {
        let means_it = measure(word).is_none();
        return means_it.then_some((found.exponent, found.is_inner(), blank + found.name.len()));
    }
    if let Some((name, exponent)) = THAI.iter().find(|(name, _)| word.starts_with(name)) {
        let behind = &word[name.len()..];
        let ends = behind.is_empty() || behind.starts_with(' ');
        let goes_on = THAI.iter().any(|(next, _)| behind.starts_with(next))
            || THAI_BEHIND.iter().any(|unit| behind.starts_with(unit));
        return (ends || goes_on).then_some((*exponent, false, blank + name.len()));
    }
    let length = word.find([' ', '.', '-', '\'', '/', '(']).unwrap_or(word.len());
    let lower = word[..length].to_lowercase();
    let own = match convention {
        Convention::Canonical => ENGLISH,
        Convention::Of(language) => names(language),
    };
    let (name, exponent) = own.iter().chain(SHARED).find(|(name, _)| *name == lower)?;
    // "12 Mio. Euro": the stop of an abbreviation.
    let is_short = name.chars().count() <= 4 && word[length..].starts_with('.');
    Some((*exponent, false, blank + length + usize::from(is_short)))
}

/// Whether a name of a power of ten stands right behind the digits.
pub(super) fn starts(rest: &str, convention: Convention) -> bool {
    !rest.is_empty() && powers(rest, convention).length > 0
}

/// The number at the start of a text that is written with powers of ten in words, and what stands behind it.
///
/// `digits` gives the length of the digits at the start of a text, and `value` what they mean. `None` if the parts make no
/// number: each must be less than the power of the one before it ("3億2000万"), and digits at the end must fill that power
/// ("3万5000"; 3万5 may be 35000).
pub(super) fn parse<'a>(
    text: &'a str,
    convention: Convention,
    digits: &dyn Fn(&str) -> usize,
    value: &dyn Fn(&str) -> Option<Reading>,
) -> Option<(Reading, &'a str)> {
    let mut rest = text;
    let mut total = BigRational::zero();
    let mut section = BigRational::zero();
    let (mut below_outer, mut below_inner): (Option<u32>, Option<u32>) = (None, None);
    for part in 0.. {
        let core = rest.trim_start();
        let (core, behind) = core.split_at(digits(core));
        if core.is_empty() {
            break;
        }
        let Powers { inner, outer, length } = powers(behind, convention);
        let read = value(core.trim_end())?;
        let behind = &behind[length..];
        let goes_on = digits(behind.trim_start()) > 0;
        if part == 0 && !goes_on {
            return (length > 0).then(|| (scaled(read, inner + outer.unwrap_or(0)), behind));
        }
        if read.alternate.is_some() || !read.primary.value.is_integer() {
            return None;
        }
        let last_power = below_inner.or(below_outer);
        if length == 0 && last_power.is_none_or(|power| core.trim_end().len() != power as usize) {
            return None;
        }
        let own = read.primary.value * power_of_ten(inner);
        if below_inner.is_some_and(|power| own >= power_of_ten(power)) {
            return None;
        }
        section += own;
        below_inner = (inner > 0).then_some(inner);
        if let Some(outer) = outer {
            let whole = &section * power_of_ten(outer);
            if below_outer.is_some_and(|power| whole >= power_of_ten(power)) {
                return None;
            }
            total += whole;
            section = BigRational::zero();
            (below_outer, below_inner) = (Some(outer), None);
        } else if inner == 0 {
            // Digits without a power end it.
            rest = behind;
            break;
        }
        rest = behind;
    }
    if below_outer.is_some_and(|power| section >= power_of_ten(power)) {
        return None;
    }
    let primary = Number { value: total + section, places: 0, unit: None };
    Some((Reading { primary, alternate: None }, rest))
}

/// With its power of ten. Where one reading is clear, the bare number is kept as the other: it is the answer where the question
/// asks for millions.
fn scaled(read: Reading, exponent: u32) -> Reading {
    let times = |number: &Number| Number {
        value: &number.value * power_of_ten(exponent),
        places: number.places.saturating_sub(exponent as usize),
        unit: None,
    };
    let primary = times(&read.primary);
    Reading { primary, alternate: Some(read.alternate.as_ref().map_or(read.primary, times)) }
}

fn power_of_ten(exponent: u32) -> BigRational {
    BigRational::from_integer(BigInt::from(10).pow(exponent))
}

#[cfg(test)]
mod tests {
    use unicode_normalization::UnicodeNormalization;

    use super::*;
    use crate::score::math::number;

    #[track_caller]
    fn check(answer: &str, language: Language, expected: Option<i64>) {
        let found = number::parse(answer, Convention::Of(language)).ok().map(|read| read.primary.value);
        assert_eq!(found, expected.map(|value| BigRational::from_integer(value.into())), "{answer}");
    }

    #[test]
    fn powers_of_ten_in_words() {
        check("2.5 million", Language::En, Some(2_500_000));
        check("\\text{3 hundred thousand dollars}", Language::En, Some(300_000));
        check("$3 million", Language::En, Some(3_000_000));
        check("-3 million", Language::En, Some(-3_000_000));
        check("1,5 Millionen Euro", Language::De, Some(1_500_000));
        check("12 Mio. Euro", Language::De, Some(12_000_000));
        check("500 mil millones", Language::Es, Some(500_000_000_000));
        check("3 millions d'euros", Language::Fr, Some(3_000_000));
        check("5 тыс. рублей", Language::Ru, Some(5_000));
        check("5 bin", Language::Tr, Some(5_000));
        check("3 लाख 50 हज़ार", Language::Hi, Some(350_000));
        check("৩ লাখ টাকা", Language::Bn, Some(300_000));
        check("٥ آلاف", Language::Ar, Some(5_000));
        check("2 ล้าน", Language::Th, Some(2_000_000));
        check("2 แสนบาท", Language::Th, Some(200_000));
        check("7 million", Language::Ja, Some(7_000_000));
    }

    #[test]
    fn powers_within_powers() {
        check("7万", Language::Zh, Some(70_000));
        check("7万円", Language::Ja, Some(70_000));
        check("1.5亿", Language::Zh, Some(150_000_000));
        check("3百万", Language::Zh, Some(3_000_000));
        check("3億2000万", Language::Ja, Some(320_000_000));
        check("3千5百万", Language::Ja, Some(35_000_000));
        check("3万5千円", Language::Ja, Some(35_000));
        check("3万5000円", Language::Ja, Some(35_000));
        check("3만 5천 원", Language::Ko, Some(35_000));
        check("1億2千", Language::Ja, Some(100_002_000));
        check("3 million 500 thousand", Language::En, Some(3_500_000));
        check("3 thousand 500", Language::En, Some(3_500));
    }

    #[test]
    fn what_is_no_number_or_no_power() {
        // Colloquially 35000, by the letter 30005.
        check("3万5", Language::Zh, None);
        check("3万5億", Language::Ja, None);
        check("3万70000", Language::Ja, None);
        check("5千克", Language::Zh, Some(5));
        check("5百分点", Language::Zh, Some(5));
        check("5平方千米", Language::Zh, Some(5));
        check("5만큼", Language::Ko, Some(5));
        check("5千人", Language::Zh, Some(5_000));
        check("5 พันธุ์", Language::Th, None);
        check("5 billones", Language::Es, None);
        check("5 billions", Language::Fr, None);
        check("5 dozen", Language::En, None);
        check("2 million and a half", Language::En, None);
        check("3 million 5", Language::En, None);
        check("5 bin", Language::En, Some(5));
    }

    #[test]
    fn the_bare_number_is_another_reading() {
        let read = number::parse("5 million", Convention::Of(Language::En)).unwrap();
        assert_eq!(read.alternate.map(|other| other.value), Some(BigRational::from_integer(5.into())));
    }

    #[test]
    fn a_name_of_another_language_is_no_unit() {
        // Units, or no words, in other languages.
        let elsewhere = ["miles", "bin", "tỷ", "tỉ"];
        let five = BigRational::from_integer(5.into());
        for (name, _) in Language::ALL.iter().flat_map(|language| names(*language)) {
            let read = number::parse(&format!("5 {name}"), Convention::Of(Language::Sw));
            let is_unit = read.is_ok_and(|read| read.primary.value == five);
            assert_eq!(is_unit, elsewhere.contains(name), "{name}");
        }
    }

    #[test]
    fn the_names_are_in_the_form_answers_are_compared_in() {
        let own = Language::ALL.iter().flat_map(|language| names(*language)).map(|(name, _)| *name);
        let others = UNSPACED.iter().map(|found| found.name).chain(THAI.iter().map(|(name, _)| *name));
        for name in own.chain(others).chain(ENGLISH.iter().map(|(name, _)| *name)) {
            assert_eq!(name.to_lowercase().nfc().collect::<String>(), *name, "{name}");
        }
    }
}
