//! Language scoring measured on real questions, where the data sets are present.
//!
//! The data is not part of the repository: MGSM's TSVs are looked for in `$EVALUATION_DATA/mgsm` and in
//! `../shared/data/mgsm`. Without them these tests have nothing to measure and say so.

use std::path::PathBuf;

use xenoglot::eval::suite::Example;
use xenoglot::language::Language;
use xenoglot::score::language::LanguageScorer;

fn data() -> Option<PathBuf> {
    let named = std::env::var_os("EVALUATION_DATA").map(PathBuf::from);
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    named.into_iter().chain([beside]).find(|folder| folder.join("mgsm").is_dir())
}

/// The questions of MGSM in one language, native-script text with its numbers.
fn questions(language: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(data()?.join(format!("mgsm/mgsm_{language}.tsv"))).ok()?;
    Some(
        text.lines()
            .filter_map(|line| line.rsplit_once('\t'))
            .map(|(question, _)| question.to_owned())
            .collect(),
    )
}

const CODES: [&str; 11] = ["en", "es", "fr", "de", "ru", "zh", "ja", "th", "sw", "bn", "te"];

#[test]
fn mgsm_questions_are_in_their_own_language() {
    let scorer = LanguageScorer::with_all_languages();
    for code in CODES {
        let Some(questions) = questions(code) else {
            eprintln!("skipped: no mgsm data; set EVALUATION_DATA to the folder that holds mgsm/");
            return;
        };
        let target: Language = code.parse().expect("a known code");
        let scores: Vec<f64> = questions
            .iter()
            .map(|question| scorer.score_text(question, target).score.unwrap_or(1.0))
            .collect();
        let following = scores.iter().filter(|score| **score >= 0.8).count() as f64 / scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        eprintln!("{code}: {following:.4} of {} follow, mean score {mean:.4}", scores.len());
        assert!(following >= 0.99, "{code}: {following}");
    }
}

#[test]
fn mgsm_questions_are_in_no_other_language() {
    let scorer = LanguageScorer::with_all_languages();
    for code in CODES {
        let Some(mut questions) = questions(code) else { return };
        // 23 targets: a fifth of the questions keeps this at a few seconds.
        questions = questions.into_iter().step_by(5).collect();
        for target in Language::ALL.iter().filter(|target| target.code() != code) {
            let accepted: Vec<_> = questions
                .iter()
                .filter(|question| {
                    scorer.score_text(question, *target).score.is_some_and(|score| score >= 0.8)
                })
                .collect();
            let share = accepted.len() as f64 / questions.len() as f64;
            assert!(share <= 0.02, "{code} taken for {target}: {share}, for example {:?}", accepted.first());
        }
    }
}

#[test]
fn the_shipped_problems_are_in_their_own_language() {
    let suite = xenoglot::eval::Suite::open("xeno-word-problems").expect("it is built in");
    let scorer = LanguageScorer::with_all_languages();
    for entry in &suite.languages {
        let follows =
            |text: &str| scorer.score_text(text, entry.language).score.is_none_or(|score| score >= 0.8);
        let lost: Vec<_> = entry.problems.iter().filter(|problem| !follows(&problem.problem)).collect();
        let off = |example: &&Example| !follows(&example.problem) || !follows(&example.solution);
        let misleading: Vec<_> = entry.examples.iter().filter(off).collect();
        assert!(misleading.is_empty(), "{}: {misleading:?}", entry.language);
        assert!(lost.is_empty(), "{}: {lost:?}", entry.language);
        assert_eq!(entry.problems.len(), 40, "{}", entry.language);
    }
    assert_eq!(suite.languages.len(), 11);
}
