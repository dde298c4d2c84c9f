//! A plan to read: a line an output tensor, with its sources and what is done to them.

use std::fmt::Write;

use super::super::inputs::InputModel;
use super::{Plan, PlannedTensor};

impl Plan {
    /// The plan as text, tensors in the order of the output.
    pub fn text(&self, models: &[InputModel]) -> String {
        let mut text = String::new();
        for shard in &self.shards {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{} ({} bytes)", shard.file, shard.bytes);
            for at in &shard.tensors {
                let _ = writeln!(text, "  {}", line(&self.tensors[*at], models));
            }
        }
        text
    }
}

fn line(tensor: &PlannedTensor, models: &[InputModel]) -> String {
    let PlannedTensor { name, shape, dtype, sources, base, recipe } = tensor;
    let source = |source: &super::SourceTensor| format!("{}:{}", models[source.model].reference, source.name);
    let sources: Vec<String> = sources.iter().map(source).collect();
    let base = base.as_ref().map(|base| format!(" base {}", source(base))).unwrap_or_default();
    let keep: Vec<String> = recipe.keep.iter().map(|keep| format!("{keep:?}")).collect();
    let keep = if keep.iter().all(|keep| keep == "All") {
        String::new()
    } else {
        format!(" keep {}", keep.join(", "))
    };
    format!(
        "{name} {shape:?} {} <- {}{base} {:?}{keep}",
        dtype.safetensors_name(),
        sources.join(" "),
        recipe.combine
    )
}
