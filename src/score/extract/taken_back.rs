//! Whether what follows an answer takes it back: a denial, a correction, an apology, a refusal, a doubt.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::formula::head;
use super::value::is_blank;
use crate::score::phrases::{
    APOLOGIES, CONDITIONALS, CORRECTED_TO, CORRECTIONS, DENIALS, FAULTS, NEGATIONS, NONE_OF_IT,
    QUOTATIONS_BEHIND, REFUSALS, RETRACTIONS, RIGHTS, WITHOUT, WRONGS,
};

/// "5 ではありません", "5 is wrong", "5. Wait, ..": what follows an answer takes it back.
pub(super) fn is_taken_back(text: &str, end: usize) -> bool {
    let window = head(&text[end..], 600);
    let raw = head(window, 96);
    let near = raw.to_lowercase();
    let sentence = &near[..near.find(['\n', '。', '.', '।']).unwrap_or(near.len())];
    let clause = &sentence[..sentence.find([',', '，']).unwrap_or(sentence.len())];
    if near
        .trim_start_matches(|c: char| is_blank(c) || "*_`$\\]})".contains(c))
        .starts_with(['✗', '✘', '❌', '×'])
        || DENIALS.iter().any(|denial| clause.contains(denial))
        || is_called_wrong(clause)
        || FAULTS.iter().chain(REFUSALS).any(|fault| sentence.contains(fault))
        || QUOTATIONS_BEHIND.iter().any(|words| clause.contains(words))
        || is_doubted(raw)
    {
        return true;
    }
    if is_retraction(&sentence_of(&near)) {
        return true;
    }
    let starts = window.match_indices(['.', '\n', '。', '!', '！', '।']).map(|(at, mark)| at + mark.len());
    starts.into_iter().any(|at| {
        let rest = window[at..].trim_start_matches(|c: char| c.is_whitespace() || "*#_`$\\]})".contains(c));
        let sentence = rest.to_lowercase();
        let corrects = CORRECTIONS.iter().any(|cue| {
            sentence
                .strip_prefix(cue)
                .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric) || *cue > "\u{e00}")
        });
        corrects || is_retraction(&sentence_of(&sentence))
    })
}

/// Up to where a sentence ends; a point between digits does not end it.
fn sentence_of(text: &str) -> String {
    let end = text
        .char_indices()
        .find(|(at, c)| match c {
            '\n' | '。' | '।' | '!' | '！' => true,
            '.' => !text[at + 1..].starts_with(char::is_numeric),
            _ => false,
        })
        .map_or(text.len(), |(at, _)| at);
    text[..end].to_owned()
}

/// Words, and signs of scripts without blanks, of a sentence that takes back what it follows.
const RETRACTION_WORDS_MAX: usize = 14;
const RETRACTION_SIGNS_MAX: usize = 40;
/// Words of an apology that says no more: "Oh, sorry."
const APOLOGY_WORDS_MAX: usize = 3;

/// Words of one list by their first letters, so that a text is gone through once.
type ByFirst = HashMap<char, Vec<(Cue, &'static str)>>;

/// What a word of a correction asks of its sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cue {
    Mistake,
    CorrectedTo,
    Apology,
    Condition,
}

static CUES: LazyLock<ByFirst> = LazyLock::new(|| {
    let mut by_first = ByFirst::new();
    let lists = [
        (Cue::Mistake, RETRACTIONS),
        (Cue::CorrectedTo, CORRECTED_TO),
        (Cue::Apology, APOLOGIES),
        (Cue::Condition, CONDITIONALS),
    ];
    for (cue, words) in lists {
        for word in words {
            by_first.entry(word.chars().next().unwrap_or_default()).or_default().push((cue, word));
        }
    }
    by_first
});

/// "I made a mistake, it should be 47", "抱歉，我算错了": short, with a word of a mistake, or an apology or a "should be" and a
/// number. "Tell me if something is wrong" takes nothing back.
fn is_retraction(sentence: &str) -> bool {
    let (mut begins_word, mut takes_back) = (true, false);
    for (at, c) in sentence.char_indices() {
        // Thai, Han, kana and Hangul set no blank between words.
        let may_begin = begins_word || c >= '\u{e00}';
        begins_word = !c.is_alphabetic();
        let Some(words) = CUES.get(&c).filter(|_| may_begin) else { continue };
        for (cue, word) in words {
            let Some(behind) = sentence[at..].strip_prefix(word) else { continue };
            takes_back |= match cue {
                Cue::Condition if *word >= "\u{e00}" || !behind.starts_with(char::is_alphabetic) => {
                    return false;
                }
                Cue::Condition => false,
                Cue::Mistake => !is_there_none(&sentence[..at], behind),
                Cue::CorrectedTo => behind.contains(char::is_numeric),
                Cue::Apology => {
                    sentence.contains(char::is_numeric)
                        || sentence.split_whitespace().count() <= APOLOGY_WORDS_MAX
                }
            };
        }
    }
    let signs =
        || sentence.chars().filter(|c| matches!(c, '\u{e00}'..='\u{e7f}' | '\u{2e80}'..='\u{9fff}')).count();
    takes_back
        && sentence.split_whitespace().count() <= RETRACTION_WORDS_MAX
        && signs() <= RETRACTION_SIGNS_MAX
}

/// "There is no mistake", "ошибки нет", "没有算错": a word for none beside the word of a mistake, in its clause.
fn is_there_none(before: &str, behind: &str) -> bool {
    let clause = before.rsplit([',', ':', ';', '，', '、', '：']).next().unwrap_or_default().trim_end();
    let none = |word: &str| NEGATIONS.contains(&word) || WITHOUT.contains(&word);
    let is_unspaced = |word: &&&str| **word > "\u{e00}" && clause.ends_with(**word);
    clause.split_whitespace().rev().take(2).any(none)
        || NEGATIONS.iter().chain(WITHOUT).any(|word| is_unspaced(&word))
        || NONE_OF_IT.iter().any(|word| behind.starts_with(word))
        || behind.split_whitespace().take(2).any(|next| NONE_OF_IT.iter().any(|word| next.starts_with(word)))
}

/// "5 ... or is it 6?", "5, right?": the sentence goes on to a question. What begins with a capital is another one.
fn is_doubted(near: &str) -> bool {
    let behind = near.trim_start_matches(|c: char| is_blank(c) || "*_`$\\]})\"”」".contains(c));
    let question = behind.trim_start_matches(|c: char| is_blank(c) || ".…,，、،;؛；—–-(（".contains(c));
    let turns = question.len() < behind.len();
    let end = question.find(|c: char| "?？؟.。!！।\n".contains(c)).unwrap_or(question.len());
    let begins_anew =
        behind.starts_with('.') && !behind.starts_with("..") || question.starts_with(char::is_uppercase);
    turns && !begins_anew && question[end..].starts_with(['?', '？', '؟'])
}

/// Words of a clause among which "is wrong" or "is not right" is looked for.
const JUDGED_WORDS_MAX: usize = 4;

/// "est faux", "не верно", "(incorrect)".
fn is_called_wrong(clause: &str) -> bool {
    let words = || {
        let words = clause.split(|c: char| c.is_whitespace() || "*_`$\\()[]{}'’!".contains(c));
        words.filter(|word| !word.is_empty()).take(JUDGED_WORDS_MAX)
    };
    let names = |known: &'static [&'static str]| words().position(|word| known.contains(&word));
    // "5 wrong answers" counts them.
    let counted =
        words().next().is_some_and(|word| word.is_ascii() && WRONGS.contains(&word)) && words().count() > 1;
    (names(WRONGS).is_some() && !counted)
        || names(NEGATIONS).is_some_and(|not| names(RIGHTS).is_some_and(|at| at > not))
}
