//! Units that begin with a word for a power, a number or a part: 千克 are kilograms, 平方米 square metres, "por ciento" is
//! percent. In other places those words change the number before them.

/// Such a word, and what makes a unit of it.
const MEASURES: &[(&str, &[&str])] = &[
    ("千", &["克", "米", "瓦", "卡", "焦", "帕", "赫", "伏", "字节"]),
    // Percentage points.
    ("百", &["分点"]),
    ("平方", LENGTHS),
    ("立方", LENGTHS),
    ("제곱", KOREAN_LENGTHS),
    ("세제곱", KOREAN_LENGTHS),
    ("वर्ग", HINDI_LENGTHS),
    ("বর্গ", BENGALI_LENGTHS),
    // "5만큼" is "as much as 5", 조각 a piece.
    ("만", &["큼"]),
    ("조", &["각"]),
    ("por", &[" ciento", " cien"]),
    ("pour", &[" cent"]),
    ("phần", &[" trăm"]),
    ("در", &["صد"]),
    ("بال", &["مئة", "مائة"]),
    ("في", &[" المئة", " المائة"]),
    ("শতা", &["ংশ"]),
    // "5 different ways"
    ("种", &["不同"]),
];

const LENGTHS: &[&str] = &[
    "米",
    "厘米",
    "分米",
    "毫米",
    "千米",
    "公里",
    "公尺",
    "公分",
    "英尺",
    "英寸",
    "英里",
    "单位",
    "メートル",
    "センチ",
    "ミリ",
    "キロ",
    "フィート",
    "インチ",
    "ヤード",
];

const KOREAN_LENGTHS: &[&str] = &["미터", "센티미터", "밀리미터", "킬로미터", "피트", "인치", "야드", "단위"];

const HINDI_LENGTHS: &[&str] =
    &[" मीटर", " सेंटीमीटर", " सेमी", " किलोमीटर", " किमी", " फुट", " फीट", " इंच", " मील", " गज", " इकाई"];

const BENGALI_LENGTHS: &[&str] =
    &[" মিটার", " সেন্টিমিটার", " সেমি", " কিলোমিটার", " কিমি", " ফুট", " ইঞ্চি", " মাইল", " গজ", " একক"];

/// The bytes of such a unit at the start of a text.
pub(in crate::score) fn measure(text: &str) -> Option<usize> {
    MEASURES.iter().find_map(|(word, units)| {
        let behind = text.strip_prefix(word)?;
        let unit = units.iter().filter(|unit| behind.starts_with(**unit)).map(|unit| unit.len()).max()?;
        Some(word.len() + unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_taken_whole() {
        let check = |text: &str, expected: &str| {
            assert_eq!(&text[..measure(text).unwrap_or_default()], expected, "{text}");
        };
        check("千克苹果", "千克");
        check("平方千米", "平方千米");
        check("平方センチメートル", "平方センチ");
        check("제곱미터입니다", "제곱미터");
        check("千", "");
        check("千人", "");
        check("平方", "");
        check("kg", "");
    }
}
