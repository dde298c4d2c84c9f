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
    let right = place.problem.correct_choice();
    let correct = |normalisation| f64::from(right.is_some() && chosen(normalisation) == right);
    let Some(choice) = chosen(Normalisation::None) else {
        return Judgement::of(Verdict::Undecided, Reason::NoVerdict, None);
    };
    let (verdict, reason) = if Some(choice) == right {
        (Verdict::Correct, Reason::TextEqual)
    } else {
        (Verdict::Wrong, Reason::TextDiffers)
    };
    let mut judgement = Judgement::of(verdict, reason, None)
        .with(&[("acc", correct(Normalisation::None)), ("acc_norm", correct(Normalisation::Characters))]);
    judgement.score.normalised = Some(letter(choice).to_string());
    judgement
}
