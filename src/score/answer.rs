//! The scorer behind `xenoglot score`: where the options say to look, judged as they say to judge.

use super::choice::ChoiceScorer;
use super::extract::{self, ExtractOptions, Extraction, Found, announced_after, extract_with, whole_answer};
use super::math::{Judgement, changes_value_in, judge};
use super::phrases::{COPULAS, UNKNOWN};
use super::profile::{Profile, legacy_passk, math_verify, mindmerger, minerva, simple_evals};
use super::{AnswerKind, Reason, Sample, Score, ScoreOptions, Scorer, Verdict};
use crate::language::Language;

/// Scores by one profile with its options.
#[derive(Debug, Clone, Default)]
pub struct AnswerScorer {
    pub options: ScoreOptions,
}

impl Scorer for AnswerScorer {
    fn score(&self, sample: Sample<'_>, completion: &str) -> Score {
        self.score_any(&[sample.gold], Some(sample.language), completion)
    }
}

impl AnswerScorer {
    pub fn new(options: ScoreOptions) -> Self {
        Self { options }
    }

    /// Judges against several golds: correct if one of them is met. Without a language, numbers are read as in English.
    pub fn score_any(&self, golds: &[&str], language: Option<Language>, completion: &str) -> Score {
        best(golds, |gold| self.score_one(gold, language, completion))
    }

    fn score_one(&self, gold: &str, language: Option<Language>, completion: &str) -> Score {
        let is_choice = self.options.task == AnswerKind::Choice;
        match self.options.profile {
            Profile::Default | Profile::MathVerify if is_choice => {
                ChoiceScorer::new(&self.options).score_text(gold, language, completion)
            }
            Profile::Default => {
                self.judge(gold, language, completion, extract_with(completion, &self.extract()))
            }
            Profile::MathVerify => {
                self.judge(gold, language, completion, math_verify::find(completion, &self.extract()))
            }
            Profile::Minerva => minerva::find(gold, completion).score(completion),
            Profile::LegacyPassk => legacy_passk::find(gold, completion).score(completion),
            Profile::SimpleEvals if is_choice => {
                simple_evals::find_choice(gold, completion).score(completion)
            }
            Profile::SimpleEvals => simple_evals::find(gold, language, completion).score(completion),
            Profile::Mindmerger => mindmerger::find(gold, completion).score(completion),
        }
    }

    fn extract(&self) -> ExtractOptions<'_> {
        self.options.extract()
    }

    fn judge(
        &self,
        gold: &str,
        language: Option<Language>,
        completion: &str,
        mut found: Extraction,
    ) -> Score {
        let gold = bare_gold(gold);
        let language = language.unwrap_or(Language::En);
        let compare = |answers: &[&str]| compare(&gold, answers, language, &self.options);
        if found.answers.is_empty() {
            return self.judge_whole(completion, found, &compare);
        }
        let mut judged = compare(&found.texts(completion));
        let changed = found.changed || is_changed_locally(completion, &found, language);
        if changed && found.found != Some(Found::Phrase) && self.options.profile == Profile::Default {
            return Score::new(&found, Verdict::Undecided, Reason::Changed, judged.normalised);
        }
        if judged.verdict != Verdict::Correct
            && let Some(clause) = found.clause.clone()
        {
            // "Platform 9" is an answer in words, of which 9 is a part.
            let as_words = compare(&[&completion[clause.clone()]]);
            let bare =
                without_copula(&completion[clause.clone()]).map(|words| clause.start..clause.start + words);
            // A part of a number is none: "2 tys. 500 zł".
            let is_part = judged.reason == Reason::NumberDiffers && as_words.reason == Reason::NumberEqual;
            if as_words.verdict == Verdict::Correct && !is_part {
                found.take(Found::Phrase, vec![clause]);
                judged = as_words;
            } else if let Some(bare) = bare {
                // A number is read where the phrase is; here only words count.
                let as_words = compare(&[&completion[bare.clone()]]);
                if as_words.reason == Reason::TextEqual {
                    found.take(Found::Phrase, vec![bare]);
                    judged = as_words;
                }
            }
        }
        // Words that change a number may be the gold's own words.
        if changed && found.found == Some(Found::Phrase) && judged.reason != Reason::TextEqual {
            return Score::new(&found, Verdict::Undecided, Reason::Changed, judged.normalised);
        }
        if judged.verdict == Verdict::Undecided
            && found.clause.is_some()
            && says_unknown(&found.texts(completion))
        {
            judged = Judgement { verdict: Verdict::Wrong, reason: Reason::TextDiffers, ..judged };
        }
        if judged.verdict == Verdict::Correct
            && self.options.profile == Profile::Default
            && let Some(repeated) = announced_after(completion, &found)
        {
            let texts: Vec<&str> = repeated.iter().map(|span| &completion[span.clone()]).collect();
            if compare(&texts).verdict == Verdict::Wrong {
                judged = Judgement { verdict: Verdict::Undecided, reason: Reason::Contradicted, ..judged };
            }
        }
        Score::new(&found, judged.verdict, judged.reason, judged.normalised)
    }

    /// A completion that is one short line may be the answer in words; what it does not say is no wrong answer, but none.
    fn judge_whole(
        &self,
        completion: &str,
        mut found: Extraction,
        compare: &dyn Fn(&[&str]) -> Judgement,
    ) -> Score {
        let by_words = self.options.targets.contains(&extract::Target::Expr);
        let whole = whole_answer(completion, &found).filter(|_| by_words);
        let judged = whole.clone().map(|whole| compare(&[&completion[whole]]));
        match (whole, judged) {
            (Some(whole), Some(judged)) if judged.verdict == Verdict::Correct => {
                found.take(Found::Closing, vec![whole]);
                Score::new(&found, judged.verdict, judged.reason, judged.normalised)
            }
            _ => Score::unanswered(completion, &found),
        }
    }
}

/// The best score over the golds; of equal ones, the first.
fn best(golds: &[&str], score: impl Fn(&str) -> Score) -> Score {
    let rank = |score: &Score| match score.verdict {
        Verdict::Correct => 2,
        Verdict::Undecided => 1,
        Verdict::Wrong => 0,
    };
    let mut best: Option<Score> = None;
    for gold in golds {
        let next = score(gold);
        if best.as_ref().is_none_or(|best| rank(&next) > rank(best)) {
            best = Some(next);
        }
        if best.as_ref().is_some_and(Score::is_correct) {
            break;
        }
    }
    best.unwrap_or_else(|| score(""))
}

/// A gold may come as the data set has it: the solution with its box, or GSM8K's with "#### 18" at its end.
fn bare_gold(gold: &str) -> String {
    let found = extract::extract(gold);
    if !found.answers.is_empty() {
        return found.texts(gold).join(", ");
    }
    gold.rsplit_once("####").map_or(gold, |(_, answer)| answer).trim().to_owned()
}

/// "The answer is unknown."
fn says_unknown(answers: &[&str]) -> bool {
    matches!(answers, [answer] if UNKNOWN.contains(&answer.trim().to_lowercase().as_str()))
}

/// The length of a clause without the "is" that ends it: "月曜日です".
fn without_copula(clause: &str) -> Option<usize> {
    let bare = COPULAS
        .iter()
        .filter_map(|copula| clause.strip_suffix(copula))
        .map(|rest| rest.trim_end().len())
        .min()?;
    (bare > 0).then_some(bare)
}

/// Whether the word behind a value changes it in this language alone: French "quarts", Turkish "bin".
fn is_changed_locally(completion: &str, found: &Extraction, language: Language) -> bool {
    let Some(span) = found.span().filter(|_| matches!(found.found, Some(Found::Box | Found::Phrase))) else {
        return false;
    };
    let rest = extract::head(&completion[span.end..], 48);
    let word = rest.trim_start_matches(|c: char| c.is_whitespace() && c != '\n' || "}$*)]\\".contains(c));
    let length = word.find(|c: char| !c.is_alphabetic()).unwrap_or(word.len());
    changes_value_in(language, &word[..length].to_lowercase())
}

fn compare(gold: &str, answers: &[&str], language: Language, options: &ScoreOptions) -> Judgement {
    judge(gold, answers, language, &options.math())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(gold: &str, language: &str, completion: &str, expected: Verdict) {
        let score = AnswerScorer::default().score_any(&[gold], language.parse().ok(), completion);
        assert_eq!(score.verdict, expected, "{completion}: {score:?}");
    }

    #[test]
    fn boxes_phrases_and_lines() {
        use Verdict::{Correct, Wrong};
        check("18", "en", r"\boxed{18}", Correct);
        check("18", "en", r"\boxed{17}", Wrong);
        check("18", "en", "The answer is 18.", Correct);
        check("18", "th", "คำตอบคือ ๑๘ บาท", Correct);
        check("1234", "de", "Die Antwort ist 1.234 Euro.", Correct);
        check("18", "en", "18", Correct);
        check("18", "en", "18 dollars", Correct);
        check("Tuesday", "en", "Tuesday", Correct);
        check("Tuesday", "en", "The answer is Tuesday.", Correct);
        check("Tuesday", "en", "The answer is Monday.", Wrong);
        check("Tuesday", "en", "Monday", Wrong);
        check("Platform 9", "en", "The answer is Platform 9.", Correct);
        check("18", "en", "The answer is unknown.", Wrong);
        check("18", "en", r"\boxed{18", Wrong);
        check("18", "en", r"<think>\boxed{18}", Wrong);
        check("18", "en", r"<think>\boxed{18}</think>", Wrong);
        check("18", "en", "", Wrong);
        check("18", "en", r"\boxed{18}. The answer is 18 dollars.", Correct);
        check("18", "en", r"\boxed{18}. The answer is valid for all 20 days.", Correct);
    }

    #[test]
    fn what_is_not_quite_the_answer_is_not_accepted() {
        for completion in [
            "The answer is 5 or 6.",
            "The answer is 5 million.",
            "The answer is 5 hours 30 minutes.",
            "The answer is not 5.",
            "The answer is 5 times 7.",
            "The answer is 5 and a half.",
            "The answer is 5 if x > 0.",
            "The answer is 5. Wait, it is 6.",
            "If the answer is 5, we are done.",
            "Is the answer 5?",
            r"\boxed{5}. The answer is 20 dollars.",
            r"$-\boxed{5}$",
            r"The answer is not \boxed{5}.",
            r"\boxed{5} million",
            r"\boxed{5}, \boxed{6}",
            r"\boxed{}5",
        ] {
            let score = AnswerScorer::default().score_any(&["5"], None, completion);
            assert!(!score.is_correct(), "{completion}: {score:?}");
        }
    }

    #[test]
    fn a_completion_without_an_answer_says_why() {
        let reason = |completion: &str| AnswerScorer::default().score_any(&["18"], None, completion).reason;
        assert_eq!(reason("Hello."), Reason::NoBox);
        assert_eq!(reason(r"\boxed{18"), Reason::UnclosedBox);
        assert_eq!(reason(r"<think>\boxed{18}"), Reason::UnclosedTrace);
        assert_eq!(reason(r"\boxed{18}. The answer is 20."), Reason::Contradicted);
        assert_eq!(reason(r"$2\boxed{18}$"), Reason::Changed);
    }

    #[test]
    fn golds_in_the_form_of_their_data_set() {
        check("So \\boxed{18}.", "en", r"\boxed{18}", Verdict::Correct);
        check("9 * 2 = 18\n#### 18", "en", r"\boxed{18}", Verdict::Correct);
        let any = AnswerScorer::default().score_any(&["17", "18"], None, r"\boxed{18}");
        assert!(any.is_correct());
        assert!(!AnswerScorer::default().score_any(&["17", "19"], None, r"\boxed{18}").is_correct());
        assert!(!AnswerScorer::default().score_any(&[], None, r"\boxed{18}").is_correct());
    }

    #[test]
    fn profiles_differ_where_they_should() {
        // A box in the trace, another in the answer; gold is the first.
        let completion = r"<think>\boxed{1}</think>Answer: 2. \boxed{2}";
        let expected = [
            ("default", false),
            ("math-verify", false),
            ("minerva", false),
            ("legacy-passk", true),
            ("simple-evals", false),
            ("mindmerger", false),
        ];
        for (name, correct) in expected {
            let profile = Profile::named(name).unwrap();
            let scorer = AnswerScorer::new(ScoreOptions { profile, ..ScoreOptions::default() });
            assert_eq!(scorer.score_any(&["1"], None, completion).is_correct(), correct, "{name}");
        }
        let trace_only = r"<think>\boxed{1}</think>It is 2.";
        let scorer = |profile| AnswerScorer::new(ScoreOptions { profile, ..ScoreOptions::default() });
        assert!(scorer(Profile::MathVerify).score_any(&["1"], None, trace_only).is_correct());
        assert!(!scorer(Profile::Default).score_any(&["1"], None, trace_only).is_correct());
    }
}
