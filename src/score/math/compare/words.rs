//! Words that stand where a number should: those that may be one, and those that certainly are none.

/// Pieces of English numerals, and of hedges around them.
const NUMERALS: &[&str] = &[
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "twen", "thir", "fif", "teen", "hundred", "thousand", "illion", "dozen", "score", "half",
    "halv", "quarter", "third", "nil", "nought", "naught", "null", "single", "once", "twice", "thrice",
    "pair", "couple", "infin", "pi", "root", "square", "squared", "cube", "unity", "over", "plus", "minus",
    "times", "none", "nothing", "ninth", "nin", "gross", "percent", "unknown", "equal", "all", "every",
    "each", "any",
];

/// Whether English words count something, so that digits could say the same.
pub(in super::super) fn count_something(text: &str) -> bool {
    text.split([' ', '-']).any(|word| {
        let plain = word.trim_end_matches('s');
        COUNTS.contains(&plain)
            || (plain.len() > 5 && plain.ends_with("teen"))
            || TENS.iter().any(|ten| word.starts_with(ten))
    })
}

const COUNTS: &[&str] = &[
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "half", "halve", "third", "quarter", "fourth", "fifth", "sixth", "eighth", "ninth", "tenth",
    "hundred", "thousand", "million", "billion", "trillion", "dozen",
];
const TENS: &[&str] = &["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// Whether English words certainly do not spell a number. Words of other alphabets may be numerals.
pub(super) fn states_no_number(text: &str) -> bool {
    let english = text.is_ascii() && text.len() > 1;
    let known = text.split_whitespace().all(|word| WORDS.contains(&word));
    english && known && !NUMERALS.iter().any(|numeral| text.contains(numeral))
}

/// Words that answers without a number are made of. Others could be numerals of another language.
const WORDS: &[&str] = &[
    "no",
    "not",
    "solution",
    "solutions",
    "answer",
    "the",
    "i",
    "do",
    "does",
    "know",
    "yes",
    "true",
    "false",
    "exist",
    "exists",
    "undefined",
    "impossible",
    "real",
    "such",
    "there",
    "is",
    "are",
    "nan",
    "cannot",
    "be",
    "determined",
    "don't",
    "dont",
    "even",
    "odd",
    "result",
    "final",
    "here",
    "your",
    "converges",
    "diverges",
    "divergent",
    "convergent",
    "value",
    "values",
    "number",
    "numbers",
    "exact",
    "error",
    "sorry",
    "help",
    "todo",
    "unsolvable",
    "parabola",
    "ellipse",
    "circle",
    "hyperbola",
    "line",
    "triangle",
    "north",
    "south",
    "east",
    "west",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "increasing",
    "decreasing",
    "positive",
    "negative",
    "prime",
    "composite",
    "rational",
    "irrational",
    "and",
    "or",
    "this",
    "that",
    "it",
    "we",
    "can",
    "find",
];
