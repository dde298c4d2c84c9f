//! Equation 4: in which tensors the ability and the languages pull apart, and so may be brought together without the one
//! disturbing the other.
//!
//! All inner products that the similarities need come from one pass over a tensor (its Gram matrix, in f64, summed over
//! fixed pieces), as both sides are sums of the same differences.

use serde::{Deserialize, Serialize};

use super::super::elements::Elements;
use super::super::error::MergeError;
use super::super::execute::{ExecuteOptions, MergeProgress, MergedAmount};
use super::super::plan::{PlannedTensor, SourceTensor};
use super::super::pool::Pool;
use super::super::stages::{Operands, Vectors, gram};
use super::job::MaetJob;
use super::recipe::{RankAmong, Recipe, Similarity};
use super::terms::Term;

/// What was compared and what was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// `cosine` or `dot`.
    pub similarity: String,
    /// The weights of Eq 2 and 3 by which it was compared: model, in R(A), in R_Lang.
    pub models: Vec<(String, f64, f64)>,
    /// By name.
    pub tensors: Vec<RankedTensor>,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankedTensor {
    pub name: String,
    pub elements: u64,
    /// Of R(A) and R_Lang; 0 for a cosine with a side that is zero.
    pub similarity: f64,
    /// Length of R(A).
    pub ability_norm: f64,
    /// Length of R_Lang.
    pub language_norm: f64,
    /// From 1, the most similar; tensors as similar as each other go by name. `None` where it was not ranked.
    pub rank: Option<usize>,
    pub chosen: bool,
}

impl Selection {
    /// How many tensors are chosen.
    pub fn chosen(&self) -> usize {
        self.tensors.iter().filter(|tensor| tensor.chosen).count()
    }

    pub fn is_chosen(&self, name: &str) -> bool {
        let found = self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name));
        found.is_ok_and(|at| self.tensors[at].chosen)
    }

    /// Whether it was made for these models and weights.
    pub(super) fn fits(&self, terms: &[Term]) -> bool {
        self.models == models(terms)
    }
}

/// Compare all tensors of a job and choose.
///
/// # Errors
/// A tensor that cannot be read, `Undefined` for one that is not finite, `Interrupted`.
pub fn select(
    job: &MaetJob,
    options: ExecuteOptions<'_>,
    progress: &dyn MergeProgress,
) -> Result<Selection, MergeError> {
    let pool = Pool { threads: options.threads, stop: options.stop };
    let planned = &job.job.plan;
    let total = MergedAmount { tensors: planned.tensors.len(), bytes: planned.bytes() };
    progress.planned(total, MergedAmount::default());
    let mut tensors = Vec::with_capacity(planned.tensors.len());
    for tensor in &planned.tensors {
        tensors.push(compare(&pool, job, tensor)?);
        progress.tensor(tensor);
    }
    choose(&job.recipe, &mut tensors);
    let similarity = job.recipe.similarity.name().to_owned();
    Ok(Selection { similarity, models: models(&job.terms), tensors })
}

fn models(terms: &[Term]) -> Vec<(String, f64, f64)> {
    terms.iter().map(|term| (term.model.to_string(), term.ability, term.language)).collect()
}

fn compare(pool: &Pool<'_>, job: &MaetJob, tensor: &PlannedTensor) -> Result<RankedTensor, MergeError> {
    let models = &job.job.models;
    let open = |source: &SourceTensor| models[source.model].elements(&source.name);
    let views: Vec<Box<dyn Elements + '_>> = tensor.sources.iter().map(open).collect::<Result<_, _>>()?;
    let base = tensor.base.as_ref().map(open).transpose()?;
    let sources = views.iter().map(|view| &**view).collect();
    let base = base.as_deref();
    let operands = Operands::new(&tensor.name, &tensor.shape, base, sources, Vectors::Differences, false);
    let gram = gram::of_tensor(pool, &operands)?;
    let ability: Vec<f64> = job.terms.iter().map(|term| term.ability).collect();
    let language: Vec<f64> = job.terms.iter().map(|term| term.language).collect();
    let dot = gram.product(&ability, &language);
    let norm = |factors: &[f64]| gram.product(factors, factors).max(0.0).sqrt();
    let (ability_norm, language_norm) = (norm(&ability), norm(&language));
    if !(dot.is_finite() && ability_norm.is_finite() && language_norm.is_finite()) {
        let why = "a model's difference from the base has numbers that are not finite";
        return Err(MergeError::Undefined { tensor: tensor.name.clone(), why });
    }
    let similarity = match job.recipe.similarity {
        Similarity::Dot => dot,
        Similarity::Cosine if ability_norm == 0.0 || language_norm == 0.0 => 0.0,
        Similarity::Cosine => dot / ability_norm / language_norm,
    };
    Ok(RankedTensor {
        name: tensor.name.clone(),
        elements: tensor.elements() as u64,
        similarity,
        ability_norm,
        language_norm,
        rank: None,
        chosen: false,
    })
}

/// Rank, and choose the last share.
fn choose(recipe: &Recipe, tensors: &mut [RankedTensor]) {
    let takes = |tensor: &RankedTensor| recipe.filter.takes(&tensor.name);
    let mut order: Vec<usize> =
        (0..tensors.len()).filter(|at| recipe.rank_among == RankAmong::All || takes(&tensors[*at])).collect();
    order.sort_by(|a, b| tensors[*b].similarity.total_cmp(&tensors[*a].similarity).then(a.cmp(b)));
    let share = if recipe.ablation.tensor_selection { recipe.k2 } else { 1.0 };
    let count = (share * order.len() as f64).round() as usize;
    let first = order.len().saturating_sub(count);
    for (place, at) in order.into_iter().enumerate() {
        let tensor = &mut tensors[at];
        tensor.rank = Some(place + 1);
        tensor.chosen = place >= first && recipe.ablation.transfer && recipe.filter.takes(&tensor.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of which the later are the less similar, but for `b` and `c`, which are as similar.
    fn chosen(keys: &str) -> (String, Vec<usize>) {
        let text = format!("base = 'o'\nability = 'a'\nbeta = 0\nlanguages = [{{model = 'x'}}]\n{keys}");
        let recipe = Recipe::parse(&text).unwrap();
        let tensor = |(name, similarity): (&str, f64)| RankedTensor {
            name: name.to_owned(),
            elements: 1,
            similarity,
            ability_norm: 1.0,
            language_norm: 1.0,
            rank: None,
            chosen: false,
        };
        let mut tensors: Vec<RankedTensor> =
            [("a", 0.9), ("b", 0.5), ("c", 0.5), ("d", -0.1), ("e", -0.2)].map(tensor).into();
        choose(&recipe, &mut tensors);
        let names =
            tensors.iter().filter(|tensor| tensor.chosen).map(|tensor| tensor.name.as_str()).collect();
        (names, tensors.iter().filter_map(|tensor| tensor.rank).collect())
    }

    #[test]
    fn the_last_share_is_chosen() {
        let check = |keys: &str, expected: &str| {
            assert_eq!(chosen(keys), (expected.to_owned(), vec![1, 2, 3, 4, 5]), "{keys}");
        };
        check("k2 = 0.8", "bcde");
        check("k2 = 0.6", "cde");
        check("k2 = 0.5", "cde");
        check("k2 = 0", "");
        check("k2 = 1", "abcde");
        check("k2 = 0.4\nfilter = ['a', 'd', 'b']", "d");
        check("[ablation]\ntensor_selection = false", "abcde");
        check("filter = ['a', 'd']\n[ablation]\ntensor_selection = false", "ad");
        check("[ablation]\ntransfer = false", "");
    }

    #[test]
    fn a_filter_may_come_first() {
        let keys = "k2 = 0.5\nrank_among = 'filtered'\nfilter = ['a', 'b', 'd']";
        assert_eq!(chosen(keys), ("bd".to_owned(), vec![1, 2, 3]));
    }
}
