//! What single Han characters say: simplified or traditional Chinese, Japanese or not.
//!
//! `han.txt` holds the characters that only one of the national character sets has; `scripts/han-variants.py` makes it.

use std::sync::LazyLock;

use serde::Serialize;

use super::script::{Letter, letter};

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

/// Words that Chinese is written with and Japanese without kana is not.
const CHINESE_WORDS: [&str; 42] = [
    "了", "是", "他", "她", "吗", "多少", "所以", "因此", "可以", "如果", "一共", "美元", "美分", "英里",
    "英尺", "英寸", "磅", "公斤", "公里", "厘米", "分之", "今天", "昨天", "明天", "星期", "朋友", "水果",
    "就", "然后", "我", "也", "但", "得到", "剩下", "已", "又", "把", "很", "在", "到", "并", "而",
];
/// Japanese words that hold one of these, and do not tell.
const JAPANESE_WORDS: [&str; 52] = [
    "終了", "完了", "満了", "修了", "魅了", "読了", "校了", "了解", "了承", "了見", "是非", "是正", "是認",
    "国是", "他人", "他国", "他者", "他社", "他方", "他力", "他校", "他県", "他店", "自他", "排他", "利他",
    "成就", "就職", "我慢", "把握", "存在", "現在", "在庫", "在籍", "在宅", "在学", "所在", "不在", "滞在",
    "実在", "在来", "在住", "駐在", "自在", "在職", "到着", "到達", "到来", "到底", "殺到", "周到", "未到",
];
/// What is counted in Chinese by a word that Japanese does not count with.
const CHINESE_COUNTERS: &str = "元天只包根朵";

/// Whether a stretch of Han alone, whose characters either language has, reads as Chinese: by its words, by what it counts with,
/// and by a 的 that no word stands before.
pub(super) fn reads_chinese(text: &str) -> bool {
    let mut before = None;
    for (at, c) in text.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        let is_number = before.is_some_and(char::is_numeric);
        let is_han = before.is_some_and(|c| letter(c) == Some(Letter::Han));
        if (is_number && CHINESE_COUNTERS.contains(c)) || (c == '的' && !is_han) {
            return true;
        }
        if CHINESE_WORDS.iter().any(|word| text[at..].starts_with(word)) && !in_japanese_word(text, at) {
            return true;
        }
        before = Some(c);
    }
    false
}

/// Whether the character at a place is of a Japanese word of two.
fn in_japanese_word(text: &str, at: usize) -> bool {
    let previous = text[..at].chars().next_back().map_or(at, |c| at - c.len_utf8());
    let starts = |at: usize| JAPANESE_WORDS.iter().any(|word| text[at..].starts_with(word));
    starts(at) || (previous < at && starts(previous))
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
    fn words_tell_what_characters_do_not() {
        let check = |text: &str, expected| assert_eq!(reads_chinese(text), expected, "{text}");
        check("他花了 80,000", true);
        check("元。60 天后，", true);
        check("20% 的学生", true);
        check("一共多少人", true);
        check("数学的帰納法", false);
        check("完了時刻", false);
        check("他社製品", false);
        check("合計三百", false);
        check("是非", false);
        check("60 日後", false);
        check("", false);
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
