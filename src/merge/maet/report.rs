//! Which tensors were chosen, to read: a table, and a page with a heat map of layers and modules.

mod heat_map;

use std::fmt::Write;

use super::selection::{RankedTensor, Selection};

/// One sentence, without its end.
pub fn summary(selection: &Selection) -> String {
    let elements = |chosen: bool| -> u64 {
        selection.tensors.iter().filter(|tensor| tensor.chosen || !chosen).map(|tensor| tensor.elements).sum()
    };
    let share = 100.0 * elements(true) as f64 / elements(false).max(1) as f64;
    let (chosen, all) = (selection.chosen(), selection.tensors.len());
    format!("{chosen} of {all} tensors are chosen, with {share:.1} % of the weights")
}

/// A line a tensor, the most similar first, those that were not ranked last.
pub fn report_text(selection: &Selection) -> String {
    let width = selection.tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0).max(6);
    let name = &selection.similarity;
    let mut text = format!(
        "{:>5}  {:<width$}  {:>12}  {name:>13}  {:>11}  {:>11}  chosen\n",
        "rank", "tensor", "elements", "|R(A)|", "|R_Lang|"
    );
    for tensor in by_rank(selection) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:>5}  {:<width$}  {:>12}  {:>13}  {:>11.4e}  {:>11.4e}  {}",
            rank(tensor),
            tensor.name,
            tensor.elements,
            similarity(selection, tensor),
            tensor.ability_norm,
            tensor.language_norm,
            if tensor.chosen { "yes" } else { "no" }
        );
    }
    let _ = writeln!(text, "{}", summary(selection));
    text
}

/// A page that needs nothing beside itself.
pub fn report_html(selection: &Selection) -> String {
    let mut page = String::from(HEAD);
    // Writing to a string cannot fail.
    let _ = writeln!(page, "<p>{}.</p>", escaped(&summary(selection)));
    page.push_str("<table><tr><th>model</th><th>in R(A)</th><th>in R_Lang</th></tr>\n");
    for (model, ability, language) in &selection.models {
        let model = escaped(model);
        let _ =
            writeln!(page, "<tr><td>{model}</td><td class=n>{ability}</td><td class=n>{language}</td></tr>");
    }
    page.push_str("</table>\n<h2>Layers and modules</h2>\n");
    page.push_str(&heat_map::svg(selection));
    page.push_str("<h2>Tensors</h2>\n<table><tr><th>rank</th><th>tensor</th><th>elements</th>");
    let name = escaped(&selection.similarity);
    let _ = writeln!(page, "<th>{name}</th><th>|R(A)|</th><th>|R_Lang|</th><th>chosen</th></tr>");
    for tensor in by_rank(selection) {
        let class = if tensor.chosen { " class=chosen" } else { "" };
        let _ = writeln!(
            page,
            "<tr{class}><td class=n>{}</td><td>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{:.4e}</td>\
             <td class=n>{:.4e}</td><td>{}</td></tr>",
            rank(tensor),
            escaped(&tensor.name),
            tensor.elements,
            similarity(selection, tensor),
            tensor.ability_norm,
            tensor.language_norm,
            if tensor.chosen { "yes" } else { "no" }
        );
    }
    page.push_str("</table>\n</body></html>\n");
    page
}

const HEAD: &str = "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>MAET: chosen tensors</title>\n<style>\n\
    body { font: 14px sans-serif; margin: 2em; color: #222; background: #fff }\n\
    table { border-collapse: collapse; margin: 1em 0 }\n\
    td, th { padding: 2px 8px; border-bottom: 1px solid #ddd; text-align: left }\n\
    .n { text-align: right; font-variant-numeric: tabular-nums }\n\
    tr.chosen td { background: #fff3d6 }\n\
    svg text { font: 11px sans-serif; fill: #222 }\n\
    </style></head><body>\n<h1>MAET: chosen tensors</h1>\n";

fn by_rank(selection: &Selection) -> Vec<&RankedTensor> {
    let mut tensors: Vec<&RankedTensor> = selection.tensors.iter().collect();
    tensors.sort_by_key(|tensor| (tensor.rank.unwrap_or(usize::MAX), &tensor.name));
    tensors
}

fn rank(tensor: &RankedTensor) -> String {
    tensor.rank.map_or_else(|| "-".to_owned(), |rank| rank.to_string())
}

fn similarity(selection: &Selection, tensor: &RankedTensor) -> String {
    let value = tensor.similarity;
    if selection.similarity == "cosine" { format!("{value:.6}") } else { format!("{value:.4e}") }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character if character.is_control() => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
