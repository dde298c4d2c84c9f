//! Equations 2, 3 and 5 as factors of the checkpoints' differences from the base: all of them are linear.

use super::super::config::ModelReference;
use super::recipe::Recipe;

/// A model's share in R(A) and in R_Lang.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    pub model: ModelReference,
    /// In R(A), Eq 2.
    pub ability: f64,
    /// In R_Lang, Eq 3.
    pub language: f64,
}

impl Term {
    /// The weight of the model's difference in a tensor of the output, Eq 5.
    pub fn weight(&self, recipe: &Recipe, chosen: bool) -> f64 {
        if chosen { recipe.gamma * self.ability + recipe.eta * self.language } else { self.language }
    }
}

/// Each model once, in the recipe's order. The base itself, whose difference is zero, is none; nor is a model without a
/// share.
pub fn terms(recipe: &Recipe) -> Vec<Term> {
    let mut terms: Vec<Term> = Vec::new();
    let mut add = |model: &ModelReference, ability: f64, language: f64| match terms
        .iter_mut()
        .find(|term| term.model == *model)
    {
        Some(term) => {
            term.ability += ability;
            term.language += language;
        }
        None => terms.push(Term { model: model.clone(), ability, language }),
    };
    let (alpha, beta) = recipe.ability_factors();
    add(&recipe.ability, alpha, 0.0);
    if let Some(reference) = &recipe.reference {
        add(reference, -beta, 0.0);
    }
    for language in &recipe.languages {
        add(&language.model, 0.0, language.weight * language.alpha);
        if let Some(reference) = &recipe.reference {
            add(reference, 0.0, -language.weight * language.beta);
        }
    }
    terms.retain(|term| term.model != recipe.base && (term.ability != 0.0 || term.language != 0.0));
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_those_of_the_equations() {
        let check = |keys: &str, expected: &[(&str, f64, f64)]| {
            let text = format!("base = 'o'\nability = 'a'\nreference = 'r'\n{keys}");
            let recipe = Recipe::parse(&text).unwrap();
            let found = terms(&recipe);
            let found: Vec<(&str, f64, f64)> =
                found.iter().map(|term| (term.model.path.as_str(), term.ability, term.language)).collect();
            assert_eq!(found, expected, "{keys}");
        };
        let two = "languages = [{model = 'x'}, {model = 'y'}]";
        check(two, &[("a", 0.8, 0.0), ("r", -0.2, 0.0), ("x", 0.0, 0.5), ("y", 0.0, 0.5)]);
        check("beta = 0\nlanguages = [{model = 'x'}]", &[("a", 0.8, 0.0), ("x", 0.0, 1.0)]);
        check(
            "languages = [{model = 'x', weight = 0.5, alpha = 2, beta = 0.5}]",
            &[("a", 0.8, 0.0), ("r", -0.2, -0.25), ("x", 0.0, 1.0)],
        );
        // The same model in two places, and the base.
        check("languages = [{model = 'a'}, {model = 'o'}]", &[("a", 0.8, 0.5), ("r", -0.2, 0.0)]);
        check(
            "alpha = 3\nlanguages = [{model = 'x'}]\n[ablation]\nability_weight = false",
            &[("a", 1.0, 0.0), ("x", 0.0, 1.0)],
        );
    }

    #[test]
    fn a_chosen_tensor_has_the_ability_too() {
        let text = "base = 'o'\nability = 'a'\nbeta = 0\ngamma = 0.5\neta = 0.25\nlanguages = [{model = 'a', weight = 3}]";
        let recipe = Recipe::parse(text).unwrap();
        let term = &terms(&recipe)[0];
        assert_eq!(term.weight(&recipe, true), 0.5 * 0.8 + 0.25 * 3.0);
        assert_eq!(term.weight(&recipe, false), 3.0);
    }
}
