//! Answers that are one letter of those a problem offers.
//!
//! The letter may be boxed, announced by a phrase, or be the last line; in brackets, bold, full width; Latin, or the
//! script's own letter of the same rank (ب, ข, Б). A letter that is not offered is wrong; two letters, or no letter, are
//! undecided. What could be a word ("A dog") is no letter.

mod letters;

use super::extract::{ExtractOptions, Extraction, Found, Target, extract_with};
use super::{Reason, Sample, Score, ScoreOptions, Scorer, Verdict};
use crate::language::Language;
use letters::{Letter, read};

/// Judges a letter.
#[derive(Debug, Clone)]
pub struct ChoiceScorer {
    choices: Vec<char>,
    targets: Vec<Target>,
    allow_unclosed: bool,
    think_fallback: bool,
}

impl Scorer for ChoiceScorer {
    fn score(&self, sample: Sample<'_>, completion: &str) -> Score {
        self.score_text(sample.gold, Some(sample.language), completion)
    }
}

impl ChoiceScorer {
    pub fn new(options: &ScoreOptions) -> Self {
        Self {
            choices: options.choices.chars().collect(),
            targets: options.targets.clone(),
            allow_unclosed: options.allow_unclosed,
            think_fallback: options.think_fallback,
        }
    }

    /// The index of the letter that a gold names, if it names one.
    pub fn gold(&self, gold: &str, language: Option<Language>) -> Option<usize> {
        match read(gold, &self.choices, language) {
            Letter::One(index) => Some(index),
            _ => None,
        }
    }

    pub fn score_text(&self, gold: &str, language: Option<Language>, completion: &str) -> Score {
        let Some((found, letter)) = self.find(language, completion) else {
            return Score::unanswered(completion, &extract_with(completion, &self.options(&self.targets)));
        };
        let Some(gold) = self.gold(gold, language) else {
            return Score::new(&found, Verdict::Undecided, Reason::NotAChoice, None);
        };
        let (verdict, reason) = match letter {
            _ if found.changed && found.found == Some(Found::Box) => (Verdict::Undecided, Reason::Changed),
            Letter::One(index) if index == gold => (Verdict::Correct, Reason::ChoiceEqual),
            Letter::One(_) => (Verdict::Wrong, Reason::ChoiceDiffers),
            Letter::Outside => (Verdict::Wrong, Reason::OutsideChoices),
            Letter::Several => (Verdict::Undecided, Reason::SeveralAnswers),
            Letter::None => (Verdict::Undecided, Reason::NotAChoice),
        };
        let normalised = match letter {
            Letter::One(index) => Some(self.choices[index].to_string()),
            _ => None,
        };
        Score::new(&found, verdict, reason, normalised)
    }

    fn options<'a>(&self, targets: &'a [Target]) -> ExtractOptions<'a> {
        ExtractOptions { targets, allow_unclosed: self.allow_unclosed, think_fallback: self.think_fallback }
    }

    /// A box that holds a letter; else the sentence after the last phrase; else a line that is a letter.
    fn find(&self, language: Option<Language>, completion: &str) -> Option<(Extraction, Letter)> {
        let mut found = extract_with(completion, &self.options(&self.targets));
        if found.parts.unclosed_trace && !found.in_trace {
            return None;
        }
        let letter = self.letter(&found, language, completion);
        if letter != Letter::None || found.unclosed_box {
            return (!found.answers.is_empty()).then_some((found, letter));
        }
        // A box that holds the result of the calculation: the letter stands elsewhere.
        if found.found == Some(Found::Box) {
            let words = extract_with(completion, &self.options(&[Target::Expr]));
            let letter = self.letter(&words, language, completion);
            if letter != Letter::None {
                return Some((words, letter));
            }
        }
        if let Some((line, letter)) = self.line(language, completion, &found) {
            found.clause = None;
            found.take(Found::Closing, vec![line]);
            return Some((found, letter));
        }
        (!found.answers.is_empty()).then_some((found, letter))
    }

    fn letter(&self, found: &Extraction, language: Option<Language>, completion: &str) -> Letter {
        if let Some(clause) = found.clause.clone() {
            return read(&completion[clause], &self.choices, language);
        }
        let mut letters = found.texts(completion).into_iter().map(|text| read(text, &self.choices, language));
        let Some(first) = letters.next() else { return Letter::None };
        if letters.all(|letter| letter == first) { first } else { Letter::Several }
    }

    /// The last line that is a letter, or the first one where only an explanation follows.
    fn line(
        &self,
        language: Option<Language>,
        completion: &str,
        found: &Extraction,
    ) -> Option<(std::ops::Range<usize>, Letter)> {
        let region = found.parts.answer.clone();
        let text = completion[region.clone()].trim();
        let start = region.start + completion[region].find(text).unwrap_or_default();
        let last = text.rfind('\n').map_or(0, |at| at + 1);
        let first = text.find('\n').unwrap_or(text.len());
        let lines = [(last, text.len()), (0, first)];
        lines.into_iter().find_map(|(from, to)| {
            let line = &text[from..to];
            let letter =
                if line.len() <= LINE_MAX { read(line, &self.choices, language) } else { Letter::None };
            let is_answer = letter != Letter::None && (text.len() == line.len() || letters::is_bare(line));
            is_answer.then_some((start + from..start + to, letter))
        })
    }
}

/// Bytes of a line that may be an answer.
const LINE_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(gold: &str, language: &str, completion: &str, expected: &str) {
        let scorer = ChoiceScorer::new(&ScoreOptions::default());
        let score = scorer.score_text(gold, language.parse().ok(), completion);
        let verdict = match score.verdict {
            Verdict::Correct => "correct",
            Verdict::Wrong => "wrong",
            Verdict::Undecided => "undecided",
        };
        assert_eq!(verdict, expected, "{completion}: {score:?}");
    }

    #[test]
    fn letters_in_boxes() {
        for content in [
            "B",
            "(B)",
            r"\text{B}",
            r"\text{(B)}",
            r"\mathrm{B}",
            "B.",
            "**B**",
            "Ｂ",
            "b",
            "B) text",
            "B. text",
            "B: 18",
            "Option B",
            r"\textbf{B}",
            r"\mathbf{B}",
            "Ⓑ",
            "𝐁",
            "ب",
            "[B]",
            r"\text{Option B}",
            "ข",
            "②",
        ] {
            check("B", "en", &format!(r"so \boxed{{{content}}}."), "correct");
            check("C", "en", &format!(r"so \boxed{{{content}}}."), "wrong");
        }
        check("B", "en", r"\boxed{E}", "wrong");
        check("B", "en", r"\boxed{B, C}", "undecided");
        check("B", "en", r"\boxed{B or C}", "undecided");
        check("B", "en", r"\boxed{BC}", "undecided");
        check("B", "en", r"\boxed{B} and \boxed{C}", "undecided");
        check("B", "en", r"\boxed{B}, \boxed{B}", "correct");
        check("B", "en", r"\boxed{A}. Wait. \boxed{B}", "correct");
        check("B", "en", r"\boxed{18}", "undecided");
        check("A", "en", r"\boxed{A dog}", "undecided");
        check("B", "en", r"\boxed{18}. The answer is (B).", "correct");
        check("B", "en", r"\boxed{Bat}", "undecided");
        check("B", "en", r"\boxed{B", "wrong");
        check("B", "en", r"<think>\boxed{B}", "wrong");
        check("B", "en", r"The answer is not \boxed{B}.", "undecided");
        check("C", "en", r"**Answer:** \boxed{\text{C is wrong, so D}}", "undecided");
        check("B", "en", r"<think>\boxed{B}</think>\boxed{C}", "wrong");
    }

    #[test]
    fn letters_after_phrases() {
        check("B", "en", "The answer is B.", "correct");
        check("B", "en", "The answer is (B) 18 dollars.", "correct");
        check("B", "en", "The correct answer is **B**.", "correct");
        check("B", "en", "The correct answer is option B, because 3 > 2.", "correct");
        check("B", "en", "Answer: B", "correct");
        check("B", "en", "**Answer: B**", "correct");
        check("B", "en", "Answer: $B$", "correct");
        check("B", "en", "The correct option is B.", "correct");
        check("B", "en", "The answer is C. Sorry, the answer is B.", "correct");
        check("B", "en", "The answer is B or C.", "undecided");
        check("B", "en", "The answer is (B) and (C).", "undecided");
        check("B", "en", "The answer is not B.", "undecided");
        check("B", "en", "The answer is E.", "wrong");
        check("A", "en", "The answer is a dog.", "undecided");
        check("A", "en", "The answer is a.", "correct");
        check("B", "zh", "答案：B", "correct");
        check("B", "zh", "答案是B。", "correct");
        check("B", "zh", "答案是选项B。", "correct");
        check("B", "ja", "答えはBです。", "correct");
        check("B", "ja", "答えは（Ｂ）です。", "correct");
        check("B", "ko", "정답은 B입니다.", "correct");
        check("B", "th", "คำตอบคือ ข", "correct");
        check("B", "th", "คำตอบคือ ข้อ ข.", "correct");
        check("B", "th", "คำตอบคือ B", "correct");
        check("B", "ar", "الجواب هو ب", "correct");
        check("B", "ar", "الإجابة الصحيحة هي (ب)", "correct");
        check("B", "ru", "Ответ: Б", "correct");
        check("B", "ru", "Ответ: B", "correct");
        check("A", "ru", "Ответ: А", "correct");
        check("D", "uk", "Відповідь: Г", "correct");
        check("B", "hi", "उत्तर: (B)", "correct");
        check("B", "bn", "উত্তর: খ", "correct");
        check("B", "sw", "Jibu ni B.", "correct");
        check("B", "de", "Die Antwort ist B.", "correct");
        check("B", "es", "La respuesta correcta es la opción B.", "correct");
        check("B", "fr", "La réponse est (B).", "correct");
    }

    #[test]
    fn letters_alone() {
        check("B", "en", "B", "correct");
        check("B", "en", "(B)", "correct");
        check("B", "en", "B) Paris", "correct");
        check("B", "en", "It is in France.\n\n**B**", "correct");
        check("B", "en", "B\n\nIt is in France.", "correct");
        check("B", "en", "Option B is correct.", "correct");
        check("B", "en", "So B is the correct answer.\n\nB is the correct answer.", "wrong");
        check("B", "en", "B is wrong.", "wrong");
        check("B", "en", "B is a letter of the alphabet", "wrong");
        check("B", "en", "It is in France.", "wrong");
        check("A", "en", "A man walks in.", "wrong");
        check("B", "en", "", "wrong");
    }

    #[test]
    fn other_choices() {
        let five = ScoreOptions { choices: "ABCDE".to_owned(), ..ScoreOptions::default() };
        let score = |gold, text| ChoiceScorer::new(&five).score_text(gold, None, text).verdict;
        assert_eq!(score("E", r"\boxed{E}"), Verdict::Correct);
        let digits = ScoreOptions { choices: "1234".to_owned(), ..ScoreOptions::default() };
        let score = |gold, text| ChoiceScorer::new(&digits).score_text(gold, None, text).verdict;
        assert_eq!(score("2", "The answer is 2."), Verdict::Correct);
        assert_eq!(score("2", "The answer is ๒."), Verdict::Correct);
        assert_eq!(score("2", "The answer is 23."), Verdict::Undecided);
        let thai = ScoreOptions { choices: "กขคง".to_owned(), ..ScoreOptions::default() };
        let score = |gold, text| ChoiceScorer::new(&thai).score_text(gold, None, text).verdict;
        assert_eq!(score("ข", "คำตอบคือ ข"), Verdict::Correct);
    }
}
