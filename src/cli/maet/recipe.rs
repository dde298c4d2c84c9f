//! A recipe from its file, from flags with the names of its keys, or from a file of which flags change some.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use toml::{Table, Value};

use super::super::failure::Failure;

#[derive(Debug, Args)]
#[command(next_help_heading = "The recipe, or what is changed of it")]
pub(in crate::cli) struct RecipeArguments {
    /// A recipe; `maet example` prints one
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// The model that all others were trained from
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
    /// The model that was trained on the ability
    #[arg(long, value_name = "MODEL")]
    ability: Option<String>,
    /// The model that was trained on general text of the same language
    #[arg(long, value_name = "MODEL")]
    reference: Option<String>,
    /// A model that was trained on a language, and its weight; repeat for more
    #[arg(long = "language", value_name = "MODEL[=WEIGHT]")]
    languages: Vec<String>,
    /// Of the ability's model, in the ability
    #[arg(long, allow_negative_numbers = true)]
    alpha: Option<f64>,
    /// What is taken off of the reference's, in the ability
    #[arg(long, allow_negative_numbers = true)]
    beta: Option<f64>,
    /// Of the ability, in chosen tensors
    #[arg(long, allow_negative_numbers = true)]
    gamma: Option<f64>,
    /// Of the languages, in chosen tensors
    #[arg(long, allow_negative_numbers = true)]
    eta: Option<f64>,
    /// The share of the tensors, those least similar, that are chosen
    #[arg(long)]
    k2: Option<f64>,
    /// cosine or dot
    #[arg(long)]
    similarity: Option<String>,
    /// all, attention, mlp, or parts of names with commas between
    #[arg(long, value_delimiter = ',')]
    filter: Vec<String>,
    /// What k2 is a share of: all, filtered
    #[arg(long)]
    rank_among: Option<String>,
    /// float32, float16, bfloat16
    #[arg(long)]
    dtype: Option<String>,
    /// Leave a part of the method out: ability_weight, tensor_selection, transfer
    #[arg(long, value_name = "PART")]
    without: Vec<String>,
}

/// The text of a recipe's file, and what to call it in messages.
pub(super) fn read(path: &Path) -> anyhow::Result<(String, String)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok((text, path.display().to_string()))
}

impl RecipeArguments {
    /// A recipe's text, and what to call it in messages.
    pub(super) fn text(&self) -> anyhow::Result<(String, String)> {
        let changes = self.changes()?;
        match &self.recipe {
            Some(path) if changes.is_empty() => read(path),
            Some(path) => {
                let (text, name) = read(path)?;
                let mut table: Table = text.parse().with_context(|| format!("reading {name}"))?;
                for (key, value) in changes {
                    match (table.get_mut(&key), value) {
                        // One ablation does not take another back.
                        (Some(Value::Table(known)), Value::Table(more)) => known.extend(more),
                        (_, value) => drop(table.insert(key, value)),
                    }
                }
                Ok((table.to_string(), format!("{name} with the flags' changes,")))
            }
            None if changes.is_empty() => {
                Err(Failure::usage("--recipe is missing, or --base, --ability and --language").into())
            }
            None => Ok((changes.to_string(), "the recipe of the flags,".to_owned())),
        }
    }

    fn changes(&self) -> anyhow::Result<Table> {
        let mut table = Table::new();
        let texts = [
            ("base", &self.base),
            ("ability", &self.ability),
            ("reference", &self.reference),
            ("similarity", &self.similarity),
            ("rank_among", &self.rank_among),
            ("dtype", &self.dtype),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                table.insert(key.to_owned(), Value::String(value.clone()));
            }
        }
        let numbers = [
            ("alpha", self.alpha),
            ("beta", self.beta),
            ("gamma", self.gamma),
            ("eta", self.eta),
            ("k2", self.k2),
        ];
        for (key, value) in numbers {
            if let Some(value) = value {
                table.insert(key.to_owned(), Value::Float(value));
            }
        }
        let text = |text: &String| Value::String(text.clone());
        let filter = match &self.filter[..] {
            [] => None,
            [one] if ["all", "attention", "mlp"].contains(&one.as_str()) => Some(text(one)),
            parts => Some(Value::Array(parts.iter().map(text).collect())),
        };
        table.extend(filter.map(|filter| ("filter".to_owned(), filter)));
        if !self.languages.is_empty() {
            let languages = self.languages.iter().map(|said| language(said)).collect::<Result<_, _>>()?;
            table.insert("languages".to_owned(), Value::Array(languages));
        }
        if !self.without.is_empty() {
            let off = self.without.iter().map(|part| (part.clone(), Value::Boolean(false))).collect();
            table.insert("ablation".to_owned(), Value::Table(off));
        }
        Ok(table)
    }
}

/// `MODEL` or `MODEL=WEIGHT`.
fn language(said: &str) -> Result<Value, Failure> {
    let (model, weight) = match said.rsplit_once('=') {
        None => (said, None),
        Some((model, weight)) => {
            let parsed = weight.parse::<f64>();
            let parsed = parsed
                .map_err(|_| Failure::usage(format!("--language {said}: `{weight}` is not a number")))?;
            (model, Some(parsed))
        }
    };
    let mut table = Table::new();
    table.insert("model".to_owned(), Value::String(model.to_owned()));
    table.extend(weight.map(|weight| ("weight".to_owned(), Value::Float(weight))));
    Ok(Value::Table(table))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        recipe: RecipeArguments,
    }

    #[test]
    fn flags_are_the_keys_of_a_recipe() {
        let check = |flags: &str, expected: &str| {
            let line = Line::parse_from(["maet"].into_iter().chain(flags.split(' ')));
            assert_eq!(line.recipe.text().unwrap().0, expected, "{flags}");
        };
        check("--base o --beta -0.5", "base = \"o\"\nbeta = -0.5\n");
        check("--filter mlp", "filter = \"mlp\"\n");
        check("--filter q_proj,v_proj", "filter = [\"q_proj\", \"v_proj\"]\n");
        check("--without transfer", "[ablation]\ntransfer = false\n");
        check(
            "--language x=0.5 --language y",
            "[[languages]]\nmodel = \"x\"\nweight = 0.5\n\n[[languages]]\nmodel = \"y\"\n",
        );
    }

    #[test]
    fn flags_change_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "base = 'o'\nk2 = 0.8\n[ablation]\ntransfer = false\n").unwrap();
        let path = file.path().to_str().unwrap();
        let line = Line::parse_from(["maet", "--recipe", path, "--k2", "0.5", "--without", "ability_weight"]);
        let expected = "base = \"o\"\nk2 = 0.5\n\n[ablation]\nability_weight = false\ntransfer = false\n";
        assert_eq!(line.recipe.text().unwrap().0, expected);
    }
}
