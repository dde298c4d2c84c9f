//! What stands beside the tensors of a transfer: the recipe, the report, and a card that says what was merged.

use std::fmt::Write;
use std::path::Path;

use super::super::error::MergeError;
use super::super::files::write_file;
use super::super::job::FileOptions;
use super::job::MaetJob;
use super::report::{report_html, summary};
use super::selection::Selection;

const RECIPE: &str = "maet.toml";
const REPORT: &str = "maet.html";

/// # Errors
/// `Io`, or an input that cannot be read.
pub fn write(
    job: &MaetJob,
    selection: &Selection,
    folder: &Path,
    options: FileOptions,
) -> Result<(), MergeError> {
    write_file(&folder.join(RECIPE), &job.recipe.text)?;
    write_file(&folder.join(REPORT), &report_html(selection))?;
    if options.no_card {
        return Ok(());
    }
    write_file(&folder.join("README.md"), &card(job, selection, options.hash_inputs)?)
}

fn card(job: &MaetJob, selection: &Selection, hash_inputs: bool) -> Result<String, MergeError> {
    let mut text = String::from(
        "---\nlibrary_name: transformers\ntags:\n- merge\n- maet\n- xenoglot\n---\n\n# A merged model\n\n",
    );
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "Merged with Xenoglot {} by MAET (Chen et al. 2024): the ability of one language transferred to others.\n",
        env!("CARGO_PKG_VERSION")
    );
    let content = if hash_inputs { " SHA-256 of the content |" } else { "" };
    let _ = writeln!(text, "| model | R(A) | R_Lang | bytes | SHA-256 of the header |{content}");
    let _ = writeln!(text, "|---|---|---|---|---|{}", if hash_inputs { "---|" } else { "" });
    for model in &job.job.models {
        let term = job.terms.iter().find(|term| term.model == model.reference);
        let factors = match term {
            Some(term) => format!("{} | {}", term.ability, term.language),
            None => "base | base".to_owned(),
        };
        let (bytes, header) = (model.bytes(), model.header_sha256());
        let _ = write!(text, "| `{}` | {factors} | {bytes} | `{header}` |", model.reference);
        if hash_inputs {
            let _ = write!(text, " `{}` |", model.content_sha256()?);
        }
        text.push('\n');
    }
    let _ = writeln!(text, "\n{}; [{REPORT}]({REPORT}) shows all of them.\n", summary(selection));
    let _ = writeln!(text, "```toml\n{}\n```\n", job.recipe.text.trim_end());
    text.push_str("## Chosen tensors\n\n");
    for tensor in selection.tensors.iter().filter(|tensor| tensor.chosen) {
        let _ = writeln!(text, "- `{}` ({:.4})", tensor.name, tensor.similarity);
    }
    Ok(text)
}
