//! The results as a Markdown table, with what they are of.

use std::io::Write;

use super::failed;
use crate::eval::error::EvalError;
use crate::eval::record::RunFile;
use crate::eval::report::Results;
use crate::eval::report::table::rows;

pub(super) fn write(file: &RunFile, results: &Results, out: &mut dyn Write) -> Result<usize, EvalError> {
    let sampling = &file.sampling;
    let head = format!(
        "# {} of {}\n\n- suite: {} {}, revision {}, sha256 `{}`\n- model: {} ({}{})\n- n {}, seed {}, shots {}, \
         temperature {}, top_p {}, top_k {}, min_p {}, max_tokens {}\n- scorer: {} ({}), xenoglot {}\n\n",
        escaped(&file.suite.name),
        escaped(&file.generator.model),
        escaped(&file.suite.name),
        escaped(&file.suite.version),
        escaped(&file.suite.revision),
        file.suite.sha256,
        escaped(&file.generator.model),
        file.generator.kind,
        file.generator.dtype.as_ref().map(|dtype| format!(", {dtype}")).unwrap_or_default(),
        file.n,
        file.seed,
        file.shots,
        sampling.temperature,
        sampling.top_p,
        sampling.top_k,
        sampling.min_p,
        sampling.max_tokens,
        file.scorer.profile,
        file.scorer.task,
        file.version,
    );
    out.write_all(head.as_bytes()).map_err(failed)?;
    let rows = rows(results);
    for (number, row) in rows.iter().enumerate() {
        writeln!(out, "| {} |", row.join(" | ")).map_err(failed)?;
        if number == 0 {
            let rule: Vec<&str> =
                (0..row.len()).map(|column| if column == 0 { ":--" } else { "--:" }).collect();
            writeln!(out, "| {} |", rule.join(" | ")).map_err(failed)?;
        }
    }
    writeln!(out, "\nIn percent, with 95 % intervals over problems.").map_err(failed)?;
    Ok(rows.len() - 1)
}

/// A model may be called anything; its name must not become markup.
fn escaped(text: &str) -> String {
    let special = |c: char| "\\`*_{}[]<>()#+-!|~".contains(c);
    text.chars()
        .flat_map(|c| special(c).then_some('\\').into_iter().chain([if c.is_control() { ' ' } else { c }]))
        .collect()
}
