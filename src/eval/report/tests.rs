//! Numbers of small runs, computed by hand.

use super::table::table;
use super::*;

fn scored(problem: &str, language: Language, sample: u32, outcome: Outcome, following: bool) -> Scored {
    Scored {
        problem: problem.to_owned(),
        language,
        sample,
        outcome,
        answer: Some(if outcome == Outcome::Correct { "42".to_owned() } else { format!("{sample}") }),
        following: (outcome != Outcome::Error).then_some(following),
        trace: None,
        answer_language: Some(f64::from(following)),
        undecidable: false,
        tokens: Some(10),
        thinking_tokens: Some(7),
        is_empty: false,
        metrics: BTreeMap::new(),
    }
}

/// Two problems, two languages, two samples; p2 has no French.
fn small() -> Vec<Scored> {
    use Outcome::{Correct, Error, NoBox, Truncated, Undecided, Wrong};
    vec![
        scored("p1", Language::De, 0, Correct, true),
        scored("p1", Language::De, 1, Correct, false),
        scored("p2", Language::De, 0, Wrong, true),
        scored("p2", Language::De, 1, NoBox, true),
        scored("p1", Language::Fr, 0, Truncated, true),
        scored("p1", Language::Fr, 1, Correct, true),
        scored("p3", Language::Fr, 0, Error, true),
        scored("p3", Language::Fr, 1, Undecided, true),
    ]
}

#[track_caller]
fn mean(interval: Option<crate::score::statistics::Interval>, expected: f64) {
    let mean = interval.expect("there are values").mean;
    assert!((mean - expected).abs() < 1e-12, "{mean}, expected {expected}");
}

#[test]
fn groups_by_hand() {
    let results = Results::new(&small(), &[Language::De, Language::Fr], 2, 0);
    let [german, french] = results.languages.as_slice() else { panic!("two languages") };
    mean(german.pass_at[&1], 0.5);
    mean(german.pass_at[&2], 0.5);
    mean(german.consistent_pass_at[&1], 0.25);
    mean(german.consistent_pass_at[&2], 0.5);
    mean(german.consistency, 0.75);
    mean(german.majority, 0.5);
    // pass@1: (1/2 + 0) / 2; pass@2: (1 + 0) / 2
    mean(french.pass_at[&1], 0.25);
    mean(french.pass_at[&2], 0.5);
    // p3 has a completion alone, which is wrong: (1/2 + 0) / 2, and for two p1's alone.
    mean(french.pass_at_present[&1], 0.25);
    mean(french.pass_at_present[&2], 1.0);
    mean(german.pass_all_at[&1], 0.5);
    mean(german.pass_all_at[&2], 0.5);
    mean(french.pass_all_at[&2], 0.0);
    // One vote is one sample; two votes of p1 tie between "42" and "0".
    mean(french.majority_at[&1], 0.25);
    mean(french.majority_at[&2], 0.25);
    mean(french.majority, 0.25);
    // p3's refused sample takes no part.
    mean(french.consistency, 1.0);
    assert_eq!(
        french.outcomes,
        OutcomeRates {
            correct: 0.25,
            truncated: 0.25,
            error: 0.25,
            undecided: 0.25,
            ..OutcomeRates::default()
        }
    );
    // Over problems: p1 (1 + 1/2) / 2, p2 0, p3 0.
    mean(results.overall.pass_at[&1], 0.25);
    assert_eq!((results.overall.problems, results.overall.samples), (3, 8));
    assert_eq!(german.completion_tokens_mean, Some(10.0));
    assert_eq!((german.thinking_tokens_mean, german.empty), (Some(7.0), 0.0));
}

#[test]
fn completions_that_hold_nothing_are_told_of() {
    let mut samples = small();
    samples[3].is_empty = true;
    let results = Results::new(&samples, &[Language::De, Language::Fr], 2, 0);
    assert_eq!((results.languages[0].empty, results.overall.empty), (0.25, 0.125));
    assert!(table(&results).contains("12.5 % of the completions hold nothing"), "{}", table(&results));
    let of_none = Results::new(&small(), &[Language::De, Language::Fr], 2, 0);
    assert!(!table(&of_none).contains("hold nothing"));
}

#[test]
fn a_mean_length_is_of_all_completions() {
    let mean_length = |change: fn(&mut Scored)| {
        let mut samples = small();
        samples.iter_mut().for_each(change);
        Results::new(&samples, &[Language::De, Language::Fr], 2, 0).overall.completion_tokens_mean
    };
    assert_eq!(mean_length(|one| one.tokens = Some(u64::from(one.sample) * 4)), Some(16.0 / 7.0));
    assert_eq!(mean_length(|one| one.tokens = (one.outcome != Outcome::Error).then_some(3)), Some(3.0));
    assert_eq!(mean_length(|one| one.tokens = (one.sample == 1).then_some(3)), None);
}

#[test]
fn what_has_no_language_is_neither_consistent_nor_not() {
    let mut samples = small();
    for one in &mut samples {
        one.following = None;
    }
    let results = Results::new(&samples, &[Language::De, Language::Fr], 2, 0);
    let german = &results.languages[0];
    assert_eq!((german.consistency, german.consistent_pass_at[&1]), (None, None));
    mean(german.pass_at[&1], 0.5);
}

#[test]
fn the_order_of_samples_does_not_matter() {
    let mut samples = small();
    let languages = [Language::De, Language::Fr];
    let expected = Results::new(&samples, &languages, 2, 7);
    samples.reverse();
    assert_eq!(Results::new(&samples, &languages, 2, 7), expected);
}

#[test]
fn too_few_samples_for_k_are_null() {
    let results = Results::new(&small(), &[Language::De], 3, 0);
    assert_eq!(results.languages[0].pass_at[&3], None);
}

#[test]
fn the_table_has_a_row_a_language_and_one_over_all() {
    let text = table(&Results::new(&small(), &[Language::De, Language::Fr], 2, 0));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[0].starts_with("language") && lines[0].contains("pass@2"), "{text}");
    assert!(lines[1].starts_with("de") && lines[1].contains("50.0 [9.4, 90.6]"), "{text}");
    assert!(lines[3].starts_with("all"), "{text}");
}
