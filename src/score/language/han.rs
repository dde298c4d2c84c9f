//! What single Han characters say: simplified or traditional Chinese, Japanese or not.
//!
//! `han.txt` holds the characters that only one of the national character sets has; `scripts/han-variants.py` makes it.

use std::sync::LazyLock;

use serde::Serialize;

/// The form of written Chinese, by its ISO 15924 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Variant {
    /// Simplified.
    Hans,
    /// Traditional.
    Hant,
}

const HANS: u8 = 1;
const HANT: u8 = 2;
const JAPANESE: u8 = 4;
const CHINESE: u8 = 8;

/// From here on the characters of `han.txt` lie.
const FIRST: usize = 0x4e00;
const COUNT: usize = 0x5200;

/// What each character tells. A constant, but one that the compiler cannot compute.
static FLAGS: LazyLock<Box<[u8]>> = LazyLock::new(|| {
    let mut flags = vec![0; COUNT].into_boxed_slice();
    for line in include_str!("han.txt").lines() {
        let (name, characters) = line.split_once(' ').unwrap_or_default();
        let flag = match name {
            "hans" => HANS,
            "hant" => HANT,
            "japanese" => JAPANESE,
            _ => CHINESE,
        };
        for c in characters.chars() {
            if let Some(known) = flags.get_mut((c as usize).wrapping_sub(FIRST)) {
                *known |= flag;
            }
        }
    }
    flags
});

fn flags(c: char) -> u8 {
    FLAGS.get((c as usize).wrapping_sub(FIRST)).copied().unwrap_or_default()
}

/// +1 for a character that only Japanese is written with, -1 for one that it is never written with, else 0.
pub(super) fn japanese(c: char) -> i32 {
    match flags(c) & (JAPANESE | CHINESE) {
        JAPANESE => 1,
        CHINESE => -1,
        _ => 0,
    }
}

/// The form that more of the telling characters have; `None` for a tie or where there are none.
pub(super) fn variant(text: &str) -> Option<Variant> {
    let (mut hans, mut hant) = (0, 0);
    for c in text.chars() {
        let flags = flags(c);
        hans += usize::from(flags & HANS != 0);
        hant += usize::from(flags & HANT != 0);
    }
    match hans.cmp(&hant) {
        std::cmp::Ordering::Greater => Some(Variant::Hans),
        std::cmp::Ordering::Less => Some(Variant::Hant),
        std::cmp::Ordering::Equal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variant_shows_in_the_characters() {
        let check = |text: &str, expected| assert_eq!(variant(text), expected, "{text}");
        check("我们计算还剩多少个苹果。", Some(Variant::Hans));
        check("我們計算還剩多少個蘋果。", Some(Variant::Hant));
        check("三十二人", None);
        check("no Han at all", None);
    }

    #[test]
    fn characters_of_one_country_are_known() {
        let check = |characters: &str, expected| {
            for c in characters.chars() {
                assert_eq!(japanese(c), expected, "{c}");
            }
        };
        check("円図売対価気駅込働両歩毎", 1);
        check("这们计还说给让题买应个是那你她", -1);
        check("人山水大学国会的個買后了他在", 0);
        check("aあ한", 0);
    }
}
