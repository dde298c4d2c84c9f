//! Which neighbouring boxes state one answer: those that only a comma or an "and" separates.

use super::boxes::Boxed;

/// The last box, with those before it that belong to the same answer.
pub(super) fn last_joined<'a>(text: &str, boxes: &'a [Boxed]) -> &'a [Boxed] {
    let mut first = boxes.len().saturating_sub(1);
    while first > 0 && joins(&text[boxes[first - 1].whole.end..boxes[first].whole.start]) {
        first -= 1;
    }
    &boxes[first..]
}

/// "and" and "or" of every language we know. Either makes one answer of several values: which of them it is, an "or"
/// leaves open, and so does the verdict.
const JOINERS: &[&str] = &[
    "and",
    "or",
    "y",
    "e",
    "o",
    "u",
    "et",
    "ou",
    "und",
    "oder",
    "sowie",
    "и",
    "или",
    "і",
    "й",
    "та",
    "або",
    "чи",
    "和",
    "或",
    "与",
    "與",
    "及",
    "以及",
    "或者",
    "と",
    "および",
    "及び",
    "または",
    "又は",
    "あるいは",
    "และ",
    "หรือ",
    "กับ",
    "na",
    "au",
    "এবং",
    "ও",
    "বা",
    "অথবা",
    "మరియు",
    "లేదా",
    "और",
    "तथा",
    "एवं",
    "या",
    "अथवा",
    "en",
    "of",
    "ve",
    "veya",
    "ya",
    "da",
    "ile",
    "dan",
    "atau",
    "serta",
    "và",
    "hoặc",
    "hay",
    "i",
    "oraz",
    "lub",
    "albo",
    "و",
    "أو",
    "او",
    "یا",
    "와",
    "과",
    "및",
    "그리고",
    "또는",
    "혹은",
];

/// Whether a word joins two values.
pub(in crate::score) fn is_joiner(word: &str) -> bool {
    JOINERS.contains(&word)
}

/// Whether what stands between two values only joins them.
pub(super) fn joins(between: &str) -> bool {
    // A long gap is prose; looking no further keeps the whole walk linear.
    if between.len() > 64 || between.contains("\n\n") {
        return false;
    }
    let words = between
        .replace("\\text", " ")
        .replace("\\quad", " ")
        .replace("\\qquad", " ")
        .replace("\\mathrm", " ")
        .to_lowercase();
    let mut words = words
        .split(|c: char| c.is_whitespace() || "$,;，、､،؛\\{}()[]&~*".contains(c))
        .filter(|word| !word.is_empty());
    words.all(is_joiner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_and_words_join_and_prose_does_not() {
        let check = |between: &str, expected: bool| assert_eq!(joins(between), expected, "{between:?}");
        for between in [
            "",
            " ",
            ", ",
            "$, $",
            " and ",
            "$ and $",
            r" \text{ and } ",
            ", and ",
            "、",
            "，",
            " 和 ",
            "と",
            " и ",
            " و ",
            "، ",
            " และ ",
            " এবং ",
            " మరియు ",
            " और ",
            " 와 ",
            " và ",
            " dan ",
            " ve ",
            " na ",
            " i ",
            r" \quad ",
            "** and **",
            " or ",
            " oder ",
            "\n",
            r"\) and \(",
        ] {
            check(between, true);
        }
        for between in [". ", " but rather ", " = ", "\n\n", ", no: ", " then ", " → ", "; wait, ", " so "]
        {
            check(between, false);
        }
    }
}
