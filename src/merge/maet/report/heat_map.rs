//! A heat map of similarities: a row a layer, a column a module, a frame around what was chosen; tensors outside of layers
//! stand in a row of their own below.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::super::super::plan::LayerName;
use super::super::selection::{RankedTensor, Selection};
use super::escaped;

/// Of a cell, in pixels.
const CELL: usize = 22;
const LEFT: usize = 90;
const TOP: usize = 190;

/// An `<svg>` element.
pub fn svg(selection: &Selection) -> String {
    let largest = selection.tensors.iter().map(|tensor| tensor.similarity.abs()).fold(0.0, f64::max);
    let grid = Grid::new(selection);
    let width = LEFT + grid.columns.len() * CELL + 150;
    let height = TOP + (grid.rows.len() + 1) * CELL + 10;
    let mut text = format!("<svg width=\"{width}\" height=\"{height}\" role=\"img\">\n");
    for (column, module) in grid.columns.iter().enumerate() {
        let (x, y) = (LEFT + column * CELL + CELL / 2 + 4, TOP - 6);
        let module = escaped(module);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "<text x=\"{x}\" y=\"{y}\" transform=\"rotate(-60 {x} {y})\">{module}</text>");
    }
    for (row, (stack, layer)) in grid.rows.iter().enumerate() {
        let y = TOP + row * CELL + CELL / 2 + 4;
        // A model with one stack needs no name for it.
        let label = if grid.stacks == 1 { format!("layer {layer}") } else { format!("{stack} {layer}") };
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{}</text>",
            LEFT - 6,
            escaped(&label)
        );
    }
    for (row, column, tensor) in &grid.cells {
        cell(&mut text, *row, *column, tensor, largest);
    }
    text.push_str("</svg>\n");
    text.push_str(&legend(largest, &selection.similarity));
    text
}

struct Grid<'a> {
    stacks: usize,
    rows: Vec<(&'a str, usize)>,
    columns: Vec<&'a str>,
    cells: Vec<(usize, usize, &'a RankedTensor)>,
}

impl<'a> Grid<'a> {
    fn new(selection: &'a Selection) -> Self {
        let named = |tensor: &'a RankedTensor| LayerName::parse(&tensor.name);
        let layers: BTreeSet<(&str, usize)> =
            selection.tensors.iter().filter_map(named).map(|name| (name.stack, name.layer)).collect();
        let rests: BTreeSet<&str> =
            selection.tensors.iter().filter_map(named).map(|name| name.rest).collect();
        let rows: Vec<(&str, usize)> = layers.into_iter().collect();
        let mut columns: Vec<&str> = rests.into_iter().collect();
        let stacks: BTreeSet<&str> = rows.iter().map(|(stack, _)| *stack).collect();
        let mut cells = Vec::new();
        for tensor in &selection.tensors {
            let place = match named(tensor) {
                Some(name) => {
                    let row = rows.binary_search(&(name.stack, name.layer));
                    let column = columns.iter().position(|rest| *rest == name.rest);
                    row.ok().zip(column)
                }
                None => None,
            };
            cells.extend(place.map(|(row, column)| (row, column, tensor)));
        }
        for tensor in selection.tensors.iter().filter(|tensor| named(tensor).is_none()) {
            cells.push((rows.len(), columns.len(), tensor));
            columns.push(&tensor.name);
        }
        Self { stacks: stacks.len(), rows, columns, cells }
    }
}

fn cell(text: &mut String, row: usize, column: usize, tensor: &RankedTensor, largest: f64) {
    let (x, y) = (LEFT + column * CELL + 2, TOP + row * CELL + 2);
    let frame = if tensor.chosen { "#111" } else { "none" };
    let fill = color(tensor.similarity, largest);
    let side = CELL - 4;
    let rank = tensor.rank.map_or_else(|| "not ranked".to_owned(), |rank| format!("rank {rank}"));
    let told = if tensor.chosen { ", chosen" } else { "" };
    let title = escaped(&format!("{}: {:.6}, {rank}{told}", tensor.name, tensor.similarity));
    let _ = writeln!(
        text,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" fill=\"{fill}\" stroke=\"{frame}\" \
         stroke-width=\"2\"><title>{title}</title></rect>"
    );
}

fn legend(largest: f64, name: &str) -> String {
    let swatch = |value: f64| {
        let fill = color(value, largest);
        format!("<span style=\"background:{fill};padding:2px 10px\">{value:.3e}</span> ")
    };
    let swatches: String = [-1.0, -0.5, 0.0, 0.5, 1.0].map(|share| swatch(share * largest)).concat();
    format!(
        "<p>{}: {swatches} A black frame: chosen. The last row: tensors outside of layers.</p>\n",
        escaped(name)
    )
}

/// Blue for pulling apart, white for nothing in common, red for pulling together.
fn color(value: f64, largest: f64) -> String {
    let share = if largest > 0.0 { (value / largest).clamp(-1.0, 1.0) } else { 0.0 };
    let (red, green, blue) = if share >= 0.0 { (214.0, 72.0, 60.0) } else { (58.0, 106.0, 196.0) };
    let mix = |full: f64| (255.0 + (full - 255.0) * share.abs()).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(red), mix(green), mix(blue))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_go_from_blue_over_white_to_red() {
        let check = |value: f64, largest: f64, expected: &str| assert_eq!(color(value, largest), expected);
        check(0.0, 1.0, "#ffffff");
        check(1.0, 1.0, "#d6483c");
        check(-2.0, 2.0, "#3a6ac4");
        check(0.0, 0.0, "#ffffff");
    }
}
