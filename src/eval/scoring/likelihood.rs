//! Multiple choice by log-likelihood: which choice the model finds likeliest, as lm-evaluation-harness counts.
//!
//! The verdict is by the sum of log-probabilities (`acc`); the metrics have `acc_norm` too, by the sum over the choice's
//! characters.

use serde_json::from_str;

use super::Place;
use super::judging::Judgement;
use crate::eval::generator::choices::ChoiceScores;
use crate::eval::suite::letter;
use crate::score::statistics::Normalisation;
use crate::score::{Reason, Verdict};

/// Judge a completion that holds the scores of a problem's choices.
pub(super) fn likelihood(place: Place<'_>, completion: &str) -> Judgement {
    let choices = &place.problem.choices;
    let Ok(scores) = from_str::<ChoiceScores>(completion) else {
        return Judgement::of(Verdict::Undecided, Reason::NoVerdict, None);
    };
    let chosen = |normalisation| scores.likeliest(choices, normalisation);
    let is_right = |choice: usize| place.problem.is_right(choice);
    let correct = |normalisation| f64::from(chosen(normalisation).is_some_and(is_right));
    let Some(choice) = chosen(Normalisation::None) else {
        return Judgement::of(Verdict::Undecided, Reason::NoVerdict, None);
    };
    let (verdict, reason) = if is_right(choice) {
        (Verdict::Correct, Reason::TextEqual)
    } else {
        (Verdict::Wrong, Reason::TextDiffers)
    };
    let mut judgement = Judgement::of(verdict, reason, None)
        .with(&[("acc", correct(Normalisation::None)), ("acc_norm", correct(Normalisation::Characters))]);
    judgement.score.normalised = Some(letter(choice).to_string());
    judgement
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::eval::suite::Problem;
    use crate::language::Language;

    #[test]
    fn choices_that_say_the_same_are_right_together() {
        let check = |choices: [&str; 3], logprobs: [f64; 3], expected: Verdict| {
            let problem = Problem {
                id: "p1".to_owned(),
                problem: "?".to_owned(),
                answer: "B".to_owned(),
                choices: choices.map(str::to_owned).to_vec(),
                fields: serde_json::Map::new(),
            };
            let place =
                Place { problem: &problem, language: Language::En, sample: 0, seed: 0, choice: Some(0) };
            let score = |logprob: f64| json!({"logprob": logprob, "tokens": 1, "is_greedy": false});
            let text = json!({"choices": logprobs.map(score)}).to_string();
            assert_eq!(likelihood(place, &text).score.verdict, expected, "{choices:?}");
        };
        check(["no", "yes", "maybe"], [-1.0, -2.0, -3.0], Verdict::Wrong);
        check(["no", "yes", "maybe"], [-2.0, -1.0, -3.0], Verdict::Correct);
        // The first of equals is taken.
        check(["yes", "yes ", "maybe"], [-1.0, -1.0, -3.0], Verdict::Correct);
        check(["yes", "yes", "maybe"], [-2.0, -2.0, -1.0], Verdict::Wrong);
    }
}
