//! `simple-evals`: the scorers of OpenAI's simple-evals for MGSM and for multiple choice, with their faults.
//!
//! MGSM: what follows the last "Answer" in the item's language, commas removed; of its numbers the LAST is the answer,
//! although the comment there says the first; strings are compared. No minus sign, native digits differ from ASCII ones,
//! and a language without a word in the list is read as English. Multiple choice: the first "Answer: X", the languages
//! tried one after the other, English first; Arabic and Bengali letters and full-width ones count.

use super::StringMatch;
use crate::language::Language;
use crate::score::extract::is_digit;

pub(in crate::score) fn find(gold: &str, language: Option<Language>, completion: &str) -> StringMatch {
    let prefix = prefix(language);
    let Some(at) = completion.rfind(prefix) else { return StringMatch::none() };
    let from = at + prefix.len();
    let Some((start, end)) = last_number(completion, from) else { return StringMatch::none() };
    let mut answer = completion[start..end].replace(',', "");
    if answer.contains('.') {
        answer = answer.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let correct = answer == gold.replace(',', "");
    StringMatch { span: Some(start..end), normalised: Some(answer), correct }
}

fn prefix(language: Option<Language>) -> &'static str {
    match language {
        Some(Language::Bn) => "উত্তর",
        Some(Language::De) => "Antwort",
        Some(Language::Es) => "Respuesta",
        Some(Language::Fr) => "Réponse",
        Some(Language::Ja) => "答え",
        Some(Language::Ru) => "Ответ",
        Some(Language::Sw) => "Jibu",
        Some(Language::Te) => "సమాధానం",
        Some(Language::Th) => "คำตอบ",
        Some(Language::Zh) => "答案",
        _ => "Answer",
    }
}

/// The last match of `\d+\.?\d*` once commas are gone, without a final point.
fn last_number(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut last = None;
    let mut chars = text[from..].char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !is_digit(c) {
            continue;
        }
        let (start, mut end, mut point) = (from + at, from + at + c.len_utf8(), false);
        while let Some((at, c)) = chars.peek().copied() {
            if is_digit(c) {
                end = from + at + c.len_utf8();
            } else if c == '.' && !point {
                point = true;
            } else if c != ',' {
                break;
            }
            chars.next();
        }
        last = Some((start, end));
    }
    last
}

/// How each language announces a letter, in the order in which they are tried.
const ANSWER_WORDS: [&str; 34] = [
    "Answer",
    "উত্তর",
    "उत्तर",
    "উত্তরঃ",
    "Antwort",
    "답변",
    "정답",
    "답",
    "答案",
    "答",
    "答复",
    "答曰",
    "الإجابة",
    "الجواب",
    "إجابة",
    "الإجابة النهائية",
    "الإجابة الصحيحة",
    "الإجابة الصحيحة هي",
    "الإجابة هي",
    "الجواب النهائي",
    "Respuesta",
    "Risposta",
    "答え",
    "回答",
    "解答",
    "Jawaban",
    "Réponse",
    "Resposta",
    "Jibu",
    "Idahun",
    "Ìdáhùn",
    "Idáhùn",
    "Àdáhùn",
    "Ànúgọ",
];

pub(in crate::score) fn find_choice(gold: &str, completion: &str) -> StringMatch {
    for word in ANSWER_WORDS {
        let found = occurrences(completion, word).find_map(|at| letter_after(completion, at));
        if let Some((start, end, letter)) = found {
            let correct = gold.trim() == letter.to_string();
            return StringMatch { span: Some(start..end), normalised: Some(letter.to_string()), correct };
        }
    }
    StringMatch::none()
}

/// Where `word` ends, each time it stands in the text, ASCII case aside.
fn occurrences<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let first = word.as_bytes()[0];
    text.char_indices().filter_map(move |(at, c)| {
        let quick = (c as u32) > 127 || (c as u8).eq_ignore_ascii_case(&first);
        let here = text.as_bytes().get(at..at + word.len()).filter(|_| quick)?;
        here.eq_ignore_ascii_case(word.as_bytes()).then_some(at + word.len())
    })
}

/// The letter after a colon; bold marks, dollars, brackets and boxes are passed over, as the original strips them first.
fn letter_after(text: &str, at: usize) -> Option<(usize, usize, char)> {
    let rest = text[at..].trim_start_matches(['*', ' ', '\t']);
    let rest = rest.strip_prefix([':', '：']).or_else(|| text[..at].ends_with('ঃ').then_some(rest))?;
    let rest = rest.trim_start_matches(['*', ' ', '\t', '$', '{', '(', '\\']);
    let rest = ["boxed{", "text{", "mathrm{", "mathbf{"].iter().fold(rest, |rest, command| {
        rest.strip_prefix(command).map_or(rest, |inner| inner.trim_start_matches(['\\', ' ', '$', '(']))
    });
    let c = rest.chars().next()?;
    let letter = match c {
        'A'..='D' => c,
        'a'..='d' => c.to_ascii_uppercase(),
        'أ' | 'অ' | 'Ａ' => 'A',
        'ب' | 'ব' | 'Ｂ' => 'B',
        'ج' | 'ড' | 'Ｃ' => 'C',
        'د' | 'ঢ' | 'Ｄ' => 'D',
        _ => return None,
    };
    let start = text.len() - rest.len();
    Some((start, start + c.len_utf8(), letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_mgsm() {
        let check = |gold: &str, language: &str, completion: &str, expected: bool| {
            let found = find(gold, language.parse().ok(), completion);
            assert_eq!(found.correct, expected, "{completion}: {:?}", found.normalised);
        };
        check("18", "en", "Answer: 18", true);
        check("18", "en", "Answer: 18.00", true);
        check("1234", "en", "Answer: 1,234", true);
        check("1,234", "en", "Answer: 1234.", true);
        check("18", "de", "Antwort: 18", true);
        check("18", "de", "Answer: 18", false);
        check("18", "ja", "答え: 18", true);
        check("18", "th", "คำตอบ: ๑๘", false);
        check("18", "en", "Answer: 18 of 20", false);
        check("20", "en", "Answer: 18 of 20", true);
        check("5", "en", "Answer: -5", true);
        check("18", "en", "18", false);
    }

    #[test]
    fn letters() {
        let check = |gold: &str, completion: &str, expected: bool| {
            assert_eq!(find_choice(gold, completion).correct, expected, "{completion}");
        };
        check("B", "Answer: B", true);
        check("B", "answer: b", true);
        check("B", "**Answer:** B", true);
        check("B", "Answer: $\\boxed{B}$", true);
        check("B", "答案：B", true);
        check("C", "Answer: B. Answer: C", false);
        check("B", "الجواب: ب", true);
        check("B", "Answer B", false);
        check("B", "B", false);
        check("D", "Answer: Dog", true);
    }
}
