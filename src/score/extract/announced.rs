//! What the last phrase announces: the first number or short expression after it, or the words of its sentence.

use std::ops::Range;

use super::Target;
use super::beside::{changes_what_follows, changes_what_precedes, numbers_or_bounds, sign_before};
use super::boxes::names_box;
use super::formula::{self, head};
use super::phrase::{anchors, denies, result_anchors};
use super::taken_back::is_taken_back;
use super::value::{self, is_blank};
use crate::score::phrases::{COPULAS, NOT_BUT, counted};

/// An announced answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Announced {
    /// One value, or joined formulas; the clause itself if there is no value in it.
    pub answers: Vec<Range<usize>>,
    /// The rest of the sentence; `None` if it is too long for an answer in words.
    pub clause: Option<Range<usize>>,
    /// The value follows the phrase at once.
    pub direct: bool,
    /// A number or an expression, not words.
    pub is_value: bool,
    /// Words beside the value make another of it: the answer is the whole clause.
    pub changed: bool,
}

/// Phrases that are looked at, from the last one back: those before it count only where it announces nothing.
const ANCHORS_MAX: usize = 16;

pub(super) fn last(text: &str, targets: &[Target]) -> Option<Announced> {
    anchors(text).into_iter().rev().take(ANCHORS_MAX).find_map(|at| read(text, at, targets))
}

/// The value that the last line calls the result, with a unit behind it at most: "Das Ergebnis ist 48 Euro."
pub(super) fn result(text: &str, targets: &[Target]) -> Option<Announced> {
    let end = text.trim_end().len();
    let line = text[..end].rfind('\n').map_or(0, |at| at + 1);
    let at = line + result_anchors(&text[line..end]).pop()?;
    let found = read(text, at, targets).filter(|found| found.is_value && found.direct && !found.changed)?;
    let behind =
        text[found.answers.last()?.end..end].trim_matches(|c: char| is_blank(c) || ".。।۔*_!$)".contains(c));
    let behind = behind[counted(behind).unwrap_or_default()..].trim_start();
    let ends = behind.is_empty() || COPULAS.iter().any(|copula| copula.trim_start() == behind);
    ends.then_some(found)
}

/// Bytes of words between a phrase and the number that it announces.
const WORDS_MAX: usize = 80;
/// Bytes of an answer in words.
const CLAUSE_MAX: usize = 240;

fn read(text: &str, start: usize, targets: &[Target]) -> Option<Announced> {
    if starts_list(text, start) {
        return None;
    }
    let clause = clause(text, start);
    let found = value_after(text, start, targets);
    let Some(Some((answers, direct))) = found else {
        let words = targets.contains(&Target::Expr);
        let clause = clause
            .filter(|clause| words && is_statement(text, clause.end) && !is_taken_back(text, clause.end))?;
        return Some(Announced {
            answers: vec![clause.clone()],
            clause: Some(clause),
            direct: true,
            is_value: false,
            changed: found.is_some(),
        });
    };
    let end = answers.last()?.end;
    if !is_statement(text, end) || is_taken_back(text, end) {
        return None;
    }
    Some(Announced { answers, clause, direct, is_value: true, changed: false })
}

/// The first value after a phrase, and whether it follows at once; `Some(None)` for one that its neighbours change.
type Value = Option<(Vec<Range<usize>>, bool)>;

fn value_after(text: &str, start: usize, targets: &[Target]) -> Option<Value> {
    let (latex, expr) = (targets.contains(&Target::Latex), targets.contains(&Target::Expr));
    let mut at = start;
    while at <= start + WORDS_MAX {
        let rest = &text[at..];
        let c = rest.chars().next()?;
        if latex && let Some(formulas) = formula::joined_from(text, at) {
            let end = formulas.last()?.whole.end;
            let as_it_stands = !changes_what_follows(&text[start..at])
                && !changes_what_precedes(&text[end..])
                && !goes_on(text, start, &(at..end));
            let contents = formulas.into_iter().map(|found| found.content).collect();
            return Some(as_it_stands.then_some((contents, at == start)));
        }
        if expr && let Some(found) = value::starting(text, at) {
            if let Some(behind) = corrected(text, found.end) {
                at = behind;
                continue;
            }
            let before = &text[start..found.start];
            let sign = sign_before(before).unwrap_or(0);
            let found = found.start - sign..found.end;
            let as_it_stands = !numbers_or_bounds(before)
                && !changes_what_precedes(&text[found.end..])
                && !goes_on(text, start, &found);
            let direct = at == start || found.start == start;
            return Some(as_it_stands.then(|| (vec![found], direct)));
        }
        // On to the next word of the sentence.
        if c == '\n' || ends_sentence(text, at) || "?؟？!".contains(c) {
            return None;
        }
        let word = rest
            .find(|c: char| is_blank(c) || c == '\n' || value::is_digit(c) || c == '$')
            .unwrap_or(rest.len());
        if denies(&rest[..word]) {
            return Some(None);
        }
        let next = rest[word..].trim_start_matches(|c: char| is_blank(c) || c == '*');
        let behind = text.len() - next.len();
        // A digit inside a word ("H2O", "A4") is no value of its own; one after a CJK or Thai word is.
        let inside = word > 0
            && behind == at + word
            && rest[..word].ends_with(|c: char| c.is_alphabetic() && c < '\u{530}');
        if inside {
            let digits = rest[word..].find(is_blank).unwrap_or(rest.len() - word);
            at += word + digits;
            at = text.len() - text[at..].trim_start_matches(is_blank).len();
        } else if behind == at {
            at += c.len_utf8();
        } else {
            at = behind;
        }
    }
    None
}

/// "17ではなく18": the value that counts comes behind these words.
fn corrected(text: &str, end: usize) -> Option<usize> {
    let rest = text[end..].trim_start_matches(is_blank);
    // A counter may stand between: "17個ではなく".
    let (at, words) = NOT_BUT
        .iter()
        .filter_map(|words| Some((head(rest, 24).find(words)?, words)))
        .min_by_key(|(at, _)| *at)?;
    let behind = rest[at + words.len()..].trim_start_matches(|c: char| is_blank(c) || "、,，".contains(c));
    let near = rest[..at].chars().all(char::is_alphabetic);
    (near && value::starts_value(behind)).then_some(text.len() - behind.len())
}

/// Bytes behind a value in which other numbers are looked for.
const FURTHER_MAX: usize = 600;

/// "Answer: Janet has 16 eggs. She eats 3.": after a bare "Answer:" comes the solution, and its first number is none.
fn goes_on(text: &str, start: usize, found: &Range<usize>) -> bool {
    if found.start == start || !is_bare(&text[..start]) {
        return false;
    }
    let rest = head(&text[found.end..], FURTHER_MAX);
    let rest = &rest[..rest.find("\n\n").unwrap_or(rest.len())];
    rest.contains(value::is_digit)
}

/// Whether a phrase is no sentence, but a colon or a heading.
fn is_bare(before: &str) -> bool {
    let trimmed = before.trim_end_matches(|c: char| c.is_whitespace() || "*_`\"“".contains(c));
    trimmed.ends_with([':', '：', '﹕', '꞉', 'ః', 'ঃ']) || before[trimmed.len()..].contains('\n')
}

/// "Answer:\n1. First, ..": what follows is a list.
fn starts_list(text: &str, start: usize) -> bool {
    let rest = &text[start..];
    let Some(behind) = rest.strip_prefix(['1', '①', '１', '১', '१', '๑', '١', '۱', '౧']) else {
        return false;
    };
    let Some(item) = behind.strip_prefix(['.', ')', '、', '．', '）']) else { return false };
    let next = item.trim_start_matches(|c: char| is_blank(c) || c == '*');
    let line = next.starts_with(|c: char| c.is_alphabetic() || c == '$' || c == '\\');
    let own_line = text[..start].trim_end_matches([' ', '*', '_']).ends_with('\n');
    let second = || ["2.", "2)", "2、", "2．", "2）"].iter().any(|mark| head(item, 2000).contains(mark));
    line && is_bare(&text[..start]) && (own_line || second())
}

/// The sentence's rest, without the markup and stops that end it.
fn clause(text: &str, start: usize) -> Option<Range<usize>> {
    let window = head(&text[start..], CLAUSE_MAX);
    let end = window.char_indices().map(|(at, _)| at).find(|at| ends_sentence(text, start + at));
    let end = match end {
        Some(end) => end,
        None if start + window.len() == text.len() => window.len(),
        None => return None,
    };
    let found = window[..end].trim_end_matches(|c: char| c.is_whitespace() || "*_`\"”".contains(c));
    (!found.is_empty() && !names_box(found)).then_some(start..start + found.len())
}

/// Whether a sentence or line ends at `at`.
fn ends_sentence(text: &str, at: usize) -> bool {
    let mut chars = text[at..].chars();
    match chars.next() {
        None | Some('\n' | '。' | '！' | '!' | '？' | '?' | '؟' | '।' | '۔' | '；') => true,
        Some('<') => chars.as_str().starts_with("/answer"),
        Some('.') => {
            let rest = chars.as_str().trim_start_matches(['*', '_', '"', '”', ')', '$']);
            !rest.starts_with(|c: char| c.is_alphanumeric() || c == '\\')
        }
        _ => false,
    }
}

/// Bytes of words between a value and its question mark: "5 dollars?", "5吗？".
const QUESTION_MAX: usize = 40;

/// Not a question.
fn is_statement(text: &str, end: usize) -> bool {
    let rest = head(&text[end..], QUESTION_MAX);
    let stop = rest
        .find(|c| !(is_blank(c) || "*_`\"”$)）»」".contains(c) || c.is_alphabetic()))
        .unwrap_or(rest.len());
    !rest[stop..].starts_with(['?', '？', '؟'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[Target] = &[Target::Latex, Target::Expr];

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found = last(text, BOTH).map(|found| found.answers).unwrap_or_default();
        let found: Vec<_> = found.into_iter().map(|span| &text[span]).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn the_first_value_after_the_last_phrase() {
        check("The answer is 18.", &["18"]);
        check("The answer is 5. No wait. The answer is 18.", &["18"]);
        check("The answer is therefore 18 dollars, since 9 * 2 = 18.", &["18"]);
        check("**Answer:** 18", &["18"]);
        check("**Final Answer**\n\n**18**", &["18"]);
        check("#### 18", &["18"]);
        check("Answer: $\\frac{1}{2}$", &["\\frac{1}{2}"]);
        check("Answer: \\frac{1}{2}", &["\\frac{1}{2}"]);
        check("The answer is $18.", &["$18"]);
        check("The answer is $18 a day and $20 a week.", &["$18"]);
        check("The answer is $3$ and $5$.", &["3", "5"]);
        check("The answer is x = 5.", &["x = 5"]);
        check("答案：小明有 18 个苹果。", &["18"]);
        check("答案：小明有18个苹果。", &["18"]);
        check("答えは18個です。", &["18"]);
        check("คำตอบคือ ๑๘ บาท", &["๑๘"]);
        check("उत्तर १८ है", &["१८"]);
        check("Ответ: 18 рублей", &["18"]);
        check("Cevap 18'dir.", &["18"]);
        check("Odpowiedź: 12,5.", &["12,5"]);
        check("A4 paper. Answer: the A4 sheet has 18 cm", &["18"]);
        check("The answer is 1.5. So", &["1.5"]);
    }

    #[test]
    fn answers_in_words() {
        check("The answer is Tuesday.", &["Tuesday"]);
        check("The answer is **yes**.", &["yes"]);
        check("答案是：星期二。", &["星期二"]);
        check("<answer>Tuesday</answer>", &["Tuesday"]);
        check("<answer>18 eggs</answer>", &["18"]);
        check("Answer:", &[]);
        check("Answer: 5\nAnswer:", &["5"]);
    }

    #[test]
    fn what_is_no_answer() {
        check("The answer is not 5.", &["not 5"]);
        check("Is the answer 5?", &[]);
        check("The answer is 5?", &[]);
        check("答えは5ではありません。", &[]);
        check("답은 5가 아닙니다.", &[]);
        check("The answer is 5. Wait, it is 6.", &[]);
        check("The answer is 5.\n\nActually, 6 is right.", &[]);
        check("The answer is less than 5.", &["less than 5"]);
        check("The answer is twice 9.", &["twice 9"]);
        check("The answer is 5 or 6.", &["5 or 6"]);
        check("The answer is 3 million.", &["3 million"]);
        check("The wrong answer is 5.", &[]);
        check("She says the answer is 5, which is wrong.", &[]);
        check("The answer is 42 if x > 0 and 17 otherwise.", &["42 if x > 0 and 17 otherwise"]);
        check("The answer is 2 and a half.", &["2 and a half"]);
        check("La réponse est 2 et demi.", &["2 et demi"]);
        check("答えは2時間半です。", &["2時間半です"]);
        check("The answer is 6 times 7.", &["6 times 7"]);
        check("The answer is 6 divided by 7.", &["6 divided by 7"]);
        check("The answer is 3 times.", &["3"]);
    }
}
