//! Published recipes as configurations: which models, in which order, with which numbers.

use std::fmt::Write;

/// A recipe with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Typhoon2-R1 (arXiv 2502.09056): a reasoning model into a language model of the same base. The reasoning model's share
    /// is 75 % on the first two thirds of the layers and falls linearly to 12.5 % at the last: early layers think, late ones
    /// speak.
    Typhoon2R1,
    /// Budget Alignment: the base and fine-tuned models of some languages in equal parts.
    BudgetAlignment,
}

impl Preset {
    pub const NAMES: [&'static str; 2] = ["typhoon2-r1", "budget-alignment"];

    /// # Errors
    /// The names there are.
    pub fn named(name: &str) -> Result<Self, String> {
        match name {
            "typhoon2-r1" => Ok(Self::Typhoon2R1),
            "budget-alignment" => Ok(Self::BudgetAlignment),
            _ => Err(format!("{name:?} is no preset; known: {}", Self::NAMES.join(", "))),
        }
    }

    /// The configuration for these models.
    ///
    /// # Errors
    /// How many models the recipe takes, and in which order.
    pub fn config(self, models: &[String]) -> Result<String, String> {
        match (self, models) {
            (Self::Typhoon2R1, [language, reasoning]) => Ok(typhoon2_r1(language, reasoning)),
            (Self::Typhoon2R1, _) => {
                Err("typhoon2-r1 takes two models: the language model, then the reasoning model".to_owned())
            }
            (Self::BudgetAlignment, [_, _, ..]) => Ok(budget_alignment(models)),
            (Self::BudgetAlignment, _) => {
                Err("budget-alignment takes the base and one fine-tuned model or more".to_owned())
            }
        }
    }
}

/// Points of a gradient over the layers: flat on two thirds, then a straight line.
fn typhoon2_r1(language: &str, reasoning: &str) -> String {
    let share = ["0.75", "0.75", "0.75", "0.75", "0.75", "0.4375", "0.125"];
    let rest = ["0.25", "0.25", "0.25", "0.25", "0.25", "0.5625", "0.875"];
    format!(
        "# Typhoon2-R1: the reasoning model's share is 75 % on the first two thirds of the layers, then falls to 12.5 %.\n\
         merge_method: linear\nmodels:\n- model: {}\n  parameters:\n    weight: [{}]\n- model: {}\n  parameters:\n    \
         weight: [{}]\nparameters:\n  normalize: true\n",
        quoted(language),
        rest.join(", "),
        quoted(reasoning),
        share.join(", ")
    )
}

fn budget_alignment(models: &[String]) -> String {
    let mut text = String::from("# Budget Alignment: the base and its fine-tuned models in equal parts.\n");
    text.push_str("merge_method: linear\nmodels:\n");
    for model in models {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- model: {}\n  parameters:\n    weight: 1.0", quoted(model));
    }
    text.push_str("parameters:\n  normalize: true\n");
    text
}

/// A text as a YAML scalar; JSON's quotes are YAML's too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::config::MergeConfig;
    use super::*;

    #[test]
    fn presets_are_configurations() {
        let models = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (name, given) in
            [("typhoon2-r1", models(&["th: ai", "r1"])), ("budget-alignment", models(&["b", "x", "y", "z"]))]
        {
            let text = Preset::named(name).unwrap().config(&given).unwrap();
            let config = MergeConfig::parse(&text).unwrap();
            assert!(config.warnings.is_empty(), "{:?}", config.warnings);
            let paths: Vec<String> = super::super::inputs::references(&config)
                .iter()
                .map(|reference| reference.path.clone())
                .collect();
            assert_eq!(paths, given);
        }
        assert!(Preset::named("typhoon").unwrap_err().contains("typhoon2-r1"));
        assert!(Preset::Typhoon2R1.config(&models(&["a"])).unwrap_err().contains("two models"));
    }
}
