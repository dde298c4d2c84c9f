//! Where a completion announces its answer: "The answer is", "答えは", "#### ", "**Final Answer:**".
//!
//! A phrase is a word for "answer" (`score::phrases`), perhaps a few words ("to the problem"), and a colon or a word for
//! "is". Case, markup and the form of accents do not matter. A phrase that only supposes ("if the answer is 5") or
//! denies ("the answer is not 5") announces nothing.

use std::sync::LazyLock;

use unicode_normalization::char::decompose_canonical;

use super::beside::bounds;
use super::formula::{floor, head};
use super::value::{is_currency, is_digit, starts_value};
use crate::language::Language;
use crate::score::phrases::{BOUNDS, NEGATIONS, OPTION_WORDS, STEPWISE, SUPPOSITIONS, phrases};

/// Where the text after each phrase starts, in order.
pub(super) fn anchors(text: &str) -> Vec<usize> {
    let nouns: &[Noun] = &NOUNS;
    let mut found = Vec::new();
    let mut previous = None;
    for (at, c) in text.char_indices() {
        let inside_word = previous.is_some_and(char::is_alphanumeric);
        let start = match c {
            '#' => hashes(text, at, previous),
            '<' => tag(text, at),
            c => noun_at(nouns, text, at, c, inside_word),
        };
        found.extend(start);
        previous = Some(c);
    }
    found
}

/// A word for "answer", folded, with its language's links, folded as well.
struct Noun {
    letters: Vec<char>,
    links: &'static [&'static str],
    language: Language,
    bare: bool,
    /// It is all of the phrase: "Ans.", "故选".
    direct: bool,
}

static NOUNS: LazyLock<Vec<Noun>> = LazyLock::new(|| {
    let mut nouns: Vec<Noun> = Vec::new();
    for language in Language::ALL {
        let known = phrases(*language);
        nouns.extend(known.nouns.iter().map(|noun| Noun {
            letters: noun.chars().flat_map(folded).collect(),
            links: known.links,
            language: *language,
            bare: known.bare,
            direct: noun.ends_with(['.', '选', '選']),
        }));
    }
    // By first letter, the longest first: "jawabannya" before "jawaban".
    nouns.sort_by(|a, b| a.letters[0].cmp(&b.letters[0]).then(b.letters.len().cmp(&a.letters.len())));
    nouns
});

/// A character in lower case, its accents apart.
fn folded(c: char) -> impl Iterator<Item = char> {
    let mut parts = ['\0'; 6];
    let mut count = 0;
    if c.is_ascii() {
        parts[0] = c.to_ascii_lowercase();
        count = 1;
    } else {
        for lower in c.to_lowercase() {
            decompose_canonical(lower, |part| {
                if count < parts.len() {
                    parts[count] = part;
                    count += 1;
                }
            });
        }
    }
    parts.into_iter().take(count)
}

/// The length of the start of `text` that folds to `letters`. A blank there stands for blanks and markup here.
fn matched(text: &str, letters: impl IntoIterator<Item = char>) -> Option<usize> {
    let mut letters = letters.into_iter().peekable();
    let mut rest = text;
    while let Some(letter) = letters.peek().copied() {
        let c = rest.chars().next()?;
        if letter == ' ' {
            let after = rest.trim_start_matches(is_filling);
            if after.len() == rest.len() {
                return None;
            }
            rest = after;
            letters.next();
            continue;
        }
        for part in folded(c) {
            if letters.next() != Some(part) {
                return None;
            }
        }
        rest = &rest[c.len_utf8()..];
    }
    Some(text.len() - rest.len())
}

/// Blanks and the markup of bold, italic and code.
fn is_filling(c: char) -> bool {
    c.is_whitespace() || matches!(c, '*' | '_' | '`' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
}

/// Alphabets whose words are set apart by blanks and hardly change at their start.
fn is_spaced(c: char) -> bool {
    c < '\u{530}'
}

fn noun_at(nouns: &[Noun], text: &str, at: usize, c: char, inside_word: bool) -> Option<usize> {
    if !c.is_alphabetic() || (inside_word && is_spaced(c)) {
        return None;
    }
    let first = folded(c).next()?;
    let from = nouns.partition_point(|noun| noun.letters[0] < first);
    let same = nouns[from..].iter().take_while(|noun| noun.letters[0] == first);
    let rest = &text[at..];
    same.filter_map(|noun| Some((noun, matched(rest, noun.letters.iter().copied())?)))
        .filter(|(_, length)| !is_spaced(c) || !rest[*length..].starts_with(char::is_alphabetic))
        .find_map(|(noun, length)| link(text, at, at + length, noun))
        .filter(|_| !is_supposed(text, at))
}

/// GSM8K's "#### 18", at the start of a line.
fn hashes(text: &str, at: usize, previous: Option<char>) -> Option<usize> {
    let rest = text[at..].strip_prefix("####")?;
    let at_start = previous.is_none_or(|c| c != '#');
    let value = rest.trim_start_matches([' ', '*']);
    let is_value = value.starts_with(|c| is_digit(c) || is_currency(c) || "-−+(\\".contains(c));
    (at_start && is_value).then_some(text.len() - value.len())
}

/// `<answer>42</answer>`, which some prompts ask for.
fn tag(text: &str, at: usize) -> Option<usize> {
    const TAG: &str = "<answer>";
    let found = text.as_bytes().get(at..at + TAG.len())?.eq_ignore_ascii_case(TAG.as_bytes());
    found.then(|| skipped(text, at + TAG.len()))
}

/// Bytes between the noun and its link: "to the problem", "in dollars".
const GAP_MAX: usize = 72;

/// Where the answer starts, if what follows a noun announces one.
fn link(text: &str, noun: usize, end: usize, known: &Noun) -> Option<usize> {
    let closed = |c: char| c != '\n' && (is_filling(c) || "\"'”’»」』)）".contains(c));
    let near = text[end..].trim_start_matches(closed);
    let at = text.len() - near.len();
    if let Some(start) = colon(text, at) {
        return Some(start);
    }
    if near.starts_with('\n') && is_heading(text, noun) {
        return Some(skipped(text, at));
    }
    if let Some(length) = link_word(near, known) {
        return Some(skipped(text, at + length));
    }
    if let Some(start) = bracketed(text, noun, end) {
        return Some(start);
    }
    let spaced = near.len() < text[end..].len();
    let signed = near.trim_start_matches(['-', '−', '+', '$', '\\', '(', '[']);
    let number = signed.starts_with(is_digit);
    let letter = || (known.bare || known.language == Language::Vi) && names_letter(near);
    if (spaced || known.direct) && ((known.bare && number) || letter()) {
        return Some(at);
    }
    if known.direct && number {
        return Some(at);
    }
    if spaced && (number || starts_value(near) || near.starts_with('$')) && is_inverted(text, noun, known) {
        return Some(at);
    }
    let gapless = matches!(known.language, Language::Zh | Language::Ja | Language::Ko);
    if gapless { None } else { after_gap(text, end, known) }
}

/// "【答え】18", "[Answer] 18".
fn bracketed(text: &str, noun: usize, end: usize) -> Option<usize> {
    let before = text[..noun].trim_end_matches(is_filling);
    let behind = text[end..].trim_start_matches(is_filling);
    let pair = [('【', '】'), ('[', ']'), ('〔', '〕')].iter().find(|(open, _)| before.ends_with(*open))?;
    let rest = behind.strip_prefix(pair.1)?;
    Some(skipped(text, text.len() - rest.len()))
}

/// "B", "(B)", "ข้อ B": the letter of a choice, alone.
fn names_letter(near: &str) -> bool {
    let option = OPTION_WORDS.iter().filter_map(|word| matched(near, word.chars().flat_map(folded))).max();
    let rest =
        near[option.unwrap_or(0)..].trim_start_matches(|c: char| is_filling(c) || c == '(' || c == '（');
    let mut letters = rest.chars();
    letters.next().is_some_and(char::is_uppercase)
        && !letters.next().is_some_and(|c| c.is_alphanumeric() && c < '\u{e00}')
}

/// Words that may stand between the link and the noun: "ist die richtige Antwort".
const INVERTED_WORDS_MAX: usize = 3;

/// German and Dutch set the link before the noun: "Also ist die Antwort 18". What starts with the link asks or supposes.
fn is_inverted(text: &str, noun: usize, known: &Noun) -> bool {
    if !matches!(known.language, Language::De | Language::Nl) {
        return false;
    }
    let from = floor(text, noun.saturating_sub(64));
    let sentence = text[from..noun].rsplit(['.', '\n', '!', '?', ':', ';', ',']).next().unwrap_or_default();
    let lower = sentence.to_lowercase();
    let words: Vec<&str> = lower.split_whitespace().map(|word| word.trim_matches(['*', '_'])).collect();
    let link = words.iter().rposition(|word| known.links.contains(word)).filter(|at| *at > 0);
    link.is_some_and(|at| {
        let between = words.len() - at - 1;
        (1..=INVERTED_WORDS_MAX).contains(&between) && !words[at + 1..].iter().any(|word| denies(word))
    })
}

/// A colon, or what stands for one.
fn colon(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let length = [":", "：", "=", "＝", "→", "—", "– ", "- ", "ః", "ঃ", "﹕", "꞉"]
        .iter()
        .find(|mark| rest.starts_with(**mark))?
        .len();
    Some(skipped(text, at + length))
}

/// The link word at the start of `text`, the longest.
fn link_word(text: &str, known: &Noun) -> Option<usize> {
    let first = text.as_bytes().first()?.to_ascii_lowercase();
    // An accented letter folds to an ASCII one, so only ASCII settles it.
    let may_start = |link: &&&str| {
        let start = link.as_bytes()[0];
        !first.is_ascii() || !start.is_ascii() || first == start
    };
    known
        .links
        .iter()
        .filter(may_start)
        .filter_map(|link| {
            let length = matched(text, link.chars().flat_map(folded))?;
            let spaced = link.starts_with(is_spaced);
            let ends = !spaced || !text[length..].starts_with(|c: char| c.is_alphanumeric() || c == '\'');
            ends.then_some(length)
        })
        .max()
}

/// A few words may stand before the link, if none of them denies and no sentence ends there.
fn after_gap(text: &str, end: usize, known: &Noun) -> Option<usize> {
    let window = head(&text[end..], GAP_MAX);
    let mut boundary = true;
    let mut bracketed = false;
    let mut behind_aside = 0;
    for (offset, c) in window.char_indices() {
        let at = end + offset;
        if offset < behind_aside {
            continue;
        }
        if c == ','
            && let Some(length) = aside(&window[offset..])
        {
            behind_aside = offset + length;
            boundary = true;
            continue;
        }
        match c {
            '(' | '（' => bracketed = true,
            ')' | '）' => bracketed = false,
            '.' | ',' | ';' | '!' | '?' | '\n' | '。' | '，' | '、' | '！' | '？' | '।' | '؟' | '،' | '۔'
                if !bracketed =>
            {
                return None;
            }
            _ => {}
        }
        let gap = &window[..offset];
        if bracketed {
        } else if matches!(c, ':' | '：' | '=') {
            return is_plain(gap).then(|| skipped(text, at + c.len_utf8()));
        } else if (boundary || !is_spaced(c))
            && let Some(length) = link_word(&text[at..], known)
        {
            return is_plain(gap).then(|| skipped(text, at + length));
        }
        boundary = !c.is_alphanumeric();
    }
    None
}

/// Bytes of ", then,".
const ASIDE_MAX: usize = 28;

/// The length of an aside between commas at the start of a text.
fn aside(text: &str) -> Option<usize> {
    let inner = head(text.strip_prefix(',')?, ASIDE_MAX);
    let length = inner.find(',')?;
    let words = inner[..length].chars().all(|c| c.is_alphabetic() || c == ' ');
    (words && length > 2).then_some(length + 2)
}

/// Words before a link that neither deny nor bound what follows, nor promise the steps that lead to it.
fn is_plain(gap: &str) -> bool {
    !denies(gap) && !bounds(gap) && !names_steps(gap)
}

/// "step by step".
fn names_steps(words: &str) -> bool {
    let lower = words.to_lowercase();
    STEPWISE.iter().any(|words| lower.contains(words))
}

/// Past blanks, markup, further colons and opening quotes.
fn skipped(text: &str, at: usize) -> usize {
    let rest =
        text[at..].trim_start_matches(|c: char| is_filling(c) || ":：,،、，=＝→\"“„«「『'‘".contains(c));
    text.len() - rest.len()
}

/// Whether only markup stands before the noun on its line ("## Final Answer").
fn is_heading(text: &str, noun: usize) -> bool {
    let from = floor(text, noun.saturating_sub(48));
    let line = text[from..noun].rsplit('\n').next().unwrap_or_default();
    line.trim_matches(|c: char| is_filling(c) || c == '#').split_whitespace().count() <= 1
}

/// Whether one of the words says "not", or makes a bound of what follows.
pub(super) fn denies(words: &str) -> bool {
    contains_word(words, NEGATIONS) || contains_word(words, BOUNDS)
}

fn contains_word(text: &str, known: &[&str]) -> bool {
    let lower = text.to_lowercase();
    let mut words = lower.split(|c: char| c.is_whitespace() || "*_`\"“”()（）,，、:：".contains(c));
    let spaced = words.any(|word| known.contains(&word));
    spaced || known.iter().any(|word| word.starts_with(|c: char| c > '\u{e00}') && lower.contains(word))
}

/// Whether the sentence before the noun supposes it.
fn is_supposed(text: &str, noun: usize) -> bool {
    let from = floor(text, noun.saturating_sub(48));
    let before =
        text[from..noun].rsplit(['.', '\n', '。', '！', '!', '?', ',', '，', ':']).next().unwrap_or_default();
    contains_word(before, SUPPOSITIONS) || names_steps(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text after each phrase.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<_> = anchors(text).into_iter().map(|at| &text[at..]).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn every_language_announces_its_answers() {
        for phrase in [
            "The answer is",
            "The final answer is:",
            "Answer:",
            "**Answer:**",
            "Final Answer:",
            "### Final Answer\n\n",
            "Ans:",
            "The answer to the problem is",
            "The correct answer would be",
            "ANSWER:",
            "The answer (in dollars):",
            "####",
            "الجواب هو",
            "الجواب:",
            "الإجابة النهائية هي",
            "إذن الجواب هو:",
            "فالجواب هو",
            "الإجابة:",
            "উত্তর হল",
            "উত্তর:",
            "উত্তরঃ",
            "চূড়ান্ত উত্তর হলো",
            "সঠিক উত্তরটি হল",
            "উত্তর",
            "Die Antwort ist",
            "Die Antwort lautet",
            "Antwort:",
            "Die endgültige Antwort lautet:",
            "Endantwort:",
            "La respuesta es",
            "Respuesta:",
            "La respuesta final es",
            "La respuesta correcta es",
            "پاسخ:",
            "پاسخ برابر است با",
            "جواب نهایی:",
            "پاسخ",
            "La réponse est",
            "Réponse :",
            "Réponse\u{a0}:",
            "La réponse finale est :",
            "La re\u{301}ponse est",
            "उत्तर",
            "उत्तर:",
            "अंतिम उत्तर है:",
            "जवाब है",
            "उत्तर होगा",
            "Jawabannya adalah",
            "Jawaban:",
            "Jawabannya",
            "Jadi, jawaban akhirnya adalah",
            "La risposta è",
            "Risposta:",
            "La risposta finale è",
            "答えは",
            "答え：",
            "答え:",
            "最終的な答えは、",
            "正解は",
            "答えは：",
            "**答え**：",
            "정답은",
            "답은",
            "답:",
            "정답:",
            "최종 답은",
            "Het antwoord is",
            "Antwoord:",
            "Het eindantwoord is",
            "Odpowiedź:",
            "Odpowiedź to",
            "Ostateczna odpowiedź to",
            "Odpowiedzią jest",
            "A resposta é",
            "Resposta:",
            "A resposta final é",
            "Ответ:",
            "Ответ —",
            "Ответ",
            "Окончательный ответ:",
            "Правильный ответ: ",
            "Ответом является",
            "Jibu ni",
            "Jibu:",
            "Jibu la mwisho ni",
            "Jibu sahihi ni:",
            "సమాధానం",
            "సమాధానం:",
            "సరైన సమాధానం:",
            "คำตอบคือ",
            "คำตอบ:",
            "ตอบ",
            "คำตอบสุดท้ายคือ",
            "ดังนั้นคำตอบที่ถูกต้องคือ",
            "คำตอบคือ:",
            "Cevap:",
            "Cevap",
            "Doğru cevap:",
            "Yanıt:",
            "Відповідь:",
            "Відповідь —",
            "Правильна відповідь:",
            "Đáp án là",
            "Đáp án:",
            "Câu trả lời là",
            "Đáp số:",
            "Vậy đáp án cuối cùng là",
            "Đa\u{301}p a\u{301}n la\u{300}",
            "答案是",
            "答案：",
            "答案:",
            "最终答案是",
            "答：",
            "答案为",
            "因此，答案是：",
            "正確答案是",
            "**答案：**",
        ] {
            let text = format!("{phrase} 18.");
            assert!(anchors(&text).contains(&(text.len() - 3)), "{text}: {:?}", anchors(&text));
        }
    }

    #[test]
    fn what_announces_nothing() {
        for text in [
            "Answer",
            "the answers are many",
            "answering: 5",
            "If the answer is 5, we are done",
            "The answer is unclear",
            "Wenn die Antwort 5 ist",
            "He answered: 5",
            "The answer. Is 5 right?",
            "回答问题 5",
            "大答案",
            "Step 5 answers 6",
            "如果答案是 5",
            "答案不是 5",
            "La respuesta no es 5",
            "Die Antwort kann nicht sein: 5",
            "#### Step 5",
            "##### 5",
        ] {
            let found = anchors(text);
            let values: Vec<_> = found.iter().filter(|at| text[**at..].starts_with('5')).collect();
            assert!(values.is_empty(), "{text}: {found:?}");
        }
    }

    #[test]
    fn all_phrases_are_found_in_order() {
        check("Answer: 5. No, the answer is 6", &["5. No, the answer is 6", "6"]);
        check("#### 18", &["18"]);
        check("<answer> 18</answer>", &["18</answer>"]);
        check("So\n#### $18\n", &["$18\n"]);
    }

    #[test]
    fn nouns_are_written_in_lower_case() {
        for language in Language::ALL {
            for noun in phrases(*language).nouns.iter().chain(phrases(*language).links) {
                assert_eq!(noun.to_lowercase(), **noun, "{language}");
                assert!(!noun.trim().is_empty());
            }
        }
    }
}
