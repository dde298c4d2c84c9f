//! Results as a table for the terminal: plain text, percentages, intervals in brackets.

use std::fmt::Write;

use super::{GroupResults, Results};
use crate::score::statistics::Interval;

/// A header line, a line a language, and one over all if there are several.
pub fn table(results: &Results) -> String {
    let mut text = render(&rows(results));
    let _ = writeln!(
        text,
        "In percent, with 95 % intervals over problems. consistent: trace and answer in the problem's language; \
         no language: answers that do not tell theirs (a bare box), which count as consistent; \
         c-pass@1: correct and consistent."
    );
    let empty = results.overall.empty;
    if empty > 0.0 {
        let _ = writeln!(
            text,
            "{:.1} % of the completions hold nothing: the model ended at once. They count as having no box.",
            empty * 100.0
        );
    }
    let metrics = super::metrics::rows(results);
    if !metrics.is_empty() {
        text.push('\n');
        text.push_str(&render(&metrics));
    }
    text
}

/// The cells of the table, the header first.
pub(in crate::eval) fn rows(results: &Results) -> Vec<Vec<String>> {
    let ks = shown(&results.overall);
    let mut rows = vec![header(&ks)];
    rows.extend(results.languages.iter().map(|group| row(group, &ks)));
    if results.languages.len() > 1 {
        rows.push(row(&results.overall, &ks));
    }
    rows
}

/// pass@1, 5 and 10, and the largest k.
fn shown(overall: &GroupResults) -> Vec<u32> {
    let largest = overall.pass_at.keys().next_back().copied().unwrap_or(1);
    let mut ks: Vec<u32> = [1, 5, 10].into_iter().filter(|k| *k < largest).collect();
    ks.push(largest);
    ks
}

fn header(ks: &[u32]) -> Vec<String> {
    let fixed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut names = fixed(&["language", "problems", "samples"]);
    names.extend(ks.iter().map(|k| format!("pass@{k}")));
    names.extend(fixed(&[
        "consistent",
        "no language",
        "c-pass@1",
        "truncated",
        "no box",
        "undecided",
        "error",
    ]));
    names
}

fn row(group: &GroupResults, ks: &[u32]) -> Vec<String> {
    let name = group.language.map_or("all", |language| language.code());
    let mut cells = vec![name.to_owned(), group.problems.to_string(), group.samples.to_string()];
    cells.extend(ks.iter().map(|k| bracketed(group.pass_at.get(k).copied().flatten())));
    cells.push(bracketed(group.consistency));
    cells.push(
        group.consistency.map_or("-".to_owned(), |_| format!("{:.1}", group.language_undecidable * 100.0)),
    );
    cells.push(bracketed(group.consistent_pass_at.get(&1).copied().flatten()));
    let rates = &group.outcomes;
    cells.extend(
        [rates.truncated, rates.no_box, rates.undecided, rates.error]
            .map(|rate| format!("{:.1}", rate * 100.0)),
    );
    cells
}

fn bracketed(interval: Option<Interval>) -> String {
    let Some(Interval { mean, low, high, .. }) = interval else { return "-".to_owned() };
    match (low, high) {
        (Some(low), Some(high)) => format!("{:.1} [{:.1}, {:.1}]", mean * 100.0, low * 100.0, high * 100.0),
        _ => format!("{:.1}", mean * 100.0),
    }
}

/// Columns wide enough for their cells; the first to the left, numbers to the right.
pub fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(
                |(i, (cell, width))| {
                    if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
