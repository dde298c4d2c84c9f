//! A comparison for the terminal: plain text, percentages, intervals in brackets.

use std::fmt::Write;

use crate::eval::report::table::render;

use super::{Comparison, LanguageComparison, ProblemPair, Side, Which};
use crate::eval::problem_tally::Metric;

const COLUMNS: [&str; 9] =
    ["language", "problems", "A", "B", "B - A", "p", "Holm p", "following A/B", "dominated"];

/// The table, what its lines mean, and at most so many problems of each kind.
pub fn table(comparison: &Comparison, problems_max: usize) -> String {
    let mut text = String::new();
    for (name, side) in [("A", &comparison.a), ("B", &comparison.b)] {
        let _ = writeln!(text, "{name}: {}", describe(side));
    }
    let _ = writeln!(text, "metric: {}\n", metric(comparison));
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    rows.extend(comparison.languages.iter().chain(&comparison.overall).map(row));
    text.push_str(&render(&rows));
    let dominated = &comparison.dominated;
    let _ = writeln!(
        text,
        "In percent, with 95 % intervals over problems. p: two-sided, by flipping the signs of problems' differences; \
         Holm p: corrected over the languages.\nDominated (no better in accuracy and following, and worse in one): A \
         in {} of {} languages, B in {}.",
        dominated.a, dominated.languages, dominated.b
    );
    if comparison.unpaired > 0 {
        let _ = writeln!(text, "{} problems are in one run alone and left out.", comparison.unpaired);
    }
    problems(&mut text, "A right, B wrong", &comparison.a_right_b_wrong, problems_max);
    problems(&mut text, "B right, A wrong", &comparison.b_right_a_wrong, problems_max);
    text
}

fn describe(side: &Side) -> String {
    let unfinished = if side.complete { "" } else { ", not finished" };
    format!("{} ({}, n = {}{unfinished})", side.directory.display(), side.model, side.n)
}

fn metric(comparison: &Comparison) -> String {
    match comparison.metric {
        Metric::Pass => format!("pass@{}", comparison.k),
        Metric::Consistent => format!("consistent-pass@{}", comparison.k),
        Metric::Following => "following".to_owned(),
    }
}

fn row(entry: &LanguageComparison) -> Vec<String> {
    let paired = &entry.paired;
    let difference = &paired.difference;
    let bounds = difference.low.zip(difference.high);
    let bounds = bounds.map(|(low, high)| format!(" [{:+.1}, {:+.1}]", low * 100.0, high * 100.0));
    let following = entry.a_point.zip(entry.b_point);
    let following =
        following.map(|(a, b)| format!("{:.1} / {:.1}", a.following * 100.0, b.following * 100.0));
    let dominated = match entry.dominated {
        Some(Which::A) => "A",
        Some(Which::B) => "B",
        None => "-",
    };
    vec![
        entry.language.map_or("all", |language| language.code()).to_owned(),
        paired.problems.to_string(),
        format!("{:.1}", paired.a * 100.0),
        format!("{:.1}", paired.b * 100.0),
        format!("{:+.1}{}", difference.mean * 100.0, bounds.unwrap_or_default()),
        probability(Some(paired.permutation.p)),
        probability(entry.p_holm),
        following.unwrap_or_else(|| "-".to_owned()),
        dominated.to_owned(),
    ]
}

fn probability(p: Option<f64>) -> String {
    p.map_or("-".to_owned(), |p| format!("{p:.4}"))
}

fn problems(text: &mut String, title: &str, pairs: &[ProblemPair], most: usize) {
    let _ = writeln!(text, "\n{title}: {} problems", pairs.len());
    for ProblemPair { problem, language, a, b } in pairs.iter().take(most) {
        let _ = writeln!(text, "  {language} {problem}  {:.0} : {:.0}", a * 100.0, b * 100.0);
    }
    if pairs.len() > most {
        let _ = writeln!(text, "  and {} more", pairs.len() - most);
    }
}
