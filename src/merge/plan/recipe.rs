//! The numbers of one tensor's recipe, looked up in the scopes of the configuration.

use super::super::config::{ModelReference, Parameters, Place, Rescale as SaidRescale, Scopes};
use super::super::error::MergeError;
use super::super::method::Method;
use super::super::stages::{Along, Combine, Keep, Recipe, Rescale, Vectors, cancels, draw_key};

/// Where a tensor's parameters are looked up.
pub struct Lookup<'a> {
    pub method: Method,
    pub seed: u64,
    /// Name of the output tensor, which filters of shared parameters see.
    pub name: &'a str,
    pub shape: &'a [usize],
    /// From 0 at the first layer of a slice to 1 at its last.
    pub at: f64,
    pub shared: &'a [&'a Parameters],
    pub place: &'a Place,
    /// The models that are merged, without a base that is not.
    pub models: Vec<ModelLookup<'a>>,
    pub has_base: bool,
}

/// One model's own scope, and its name of the tensor.
pub struct ModelLookup<'a> {
    pub reference: &'a ModelReference,
    pub tensor: &'a str,
    pub own: Option<&'a Parameters>,
    pub place: &'a Place,
}

impl Lookup<'_> {
    /// # Errors
    /// A required parameter that no scope has, or numbers that do not go together.
    pub fn recipe(&self) -> Result<Recipe, MergeError> {
        let keep = (0..self.models.len()).map(|model| self.keep(model)).collect::<Result<_, _>>()?;
        let vectors = self.method.vectors(self.has_base);
        Ok(Recipe { vectors, keep, rescale: self.rescale()?, combine: self.combine()? })
    }

    fn combine(&self) -> Result<Combine, MergeError> {
        use Method::{
            ArceeFusion, Breadcrumbs, BreadcrumbsTies, DareLinear, DareTies, Della, DellaLinear, Karcher,
            Linear, ModelStock, Multislerp, Nearswap, Nuslerp, Passthrough, Ram, RamplusTl, Sce, Slerp,
            TaskArithmetic, Ties,
        };
        Ok(match self.method {
            Linear => Combine::Weighted {
                weights: self.divided("normalize")?,
                normalize: self.flag("normalize")?,
                guard: false,
                lambda: 1.0,
            },
            TaskArithmetic | DareLinear | Breadcrumbs | DellaLinear => Combine::Weighted {
                weights: self.weights()?,
                normalize: self.flag("normalize")?,
                guard: true,
                lambda: self.number("lambda")?,
            },
            Ties | DareTies | BreadcrumbsTies | Della => Combine::Consensus {
                weights: self.weights()?,
                normalize: self.flag("normalize")?,
                lambda: self.number("lambda")?,
            },
            Slerp => Combine::Slerp { t: self.number("t")? },
            Nuslerp => {
                let along = match (self.flag("nuslerp_flatten")?, self.flag("nuslerp_row_wise")?) {
                    (true, _) => Along::Tensor,
                    (false, false) => self.along(Along::LastAxis),
                    (false, true) => self.along(Along::FirstAxis),
                };
                match self.weights()?[..] {
                    [first, second] => Combine::Nuslerp { weights: [first, second], along },
                    _ => return Err(self.wrong("nuslerp merges exactly two models beside the base")),
                }
            }
            // It hands a single model on as it is.
            Multislerp => Combine::Multislerp {
                weights: if self.models.len() > 1 {
                    self.divided("normalize_weights")?
                } else {
                    self.weights()?
                },
                normalize: self.flag("normalize_weights")?,
                epsilon: self.number("eps")?,
            },
            Karcher => Combine::Karcher {
                iterations: self.number("max_iter")? as usize,
                tolerance: self.number("tol")?,
            },
            ModelStock => {
                let along = if self.flag("filter_wise")? { Along::LastAxis } else { Along::Tensor };
                Combine::ModelStock { along: self.along(along) }
            }
            Sce => Combine::Sce { select: self.number("select_topk")? },
            Nearswap => Combine::Nearswap { t: self.number("t")? },
            ArceeFusion => Combine::Fusion,
            Ram => Combine::Overlap { epsilon: self.number("epsilon")?, growth: None },
            RamplusTl => Combine::Overlap {
                epsilon: self.number("epsilon")?,
                growth: Some((self.number("r")?, self.number("alpha")?)),
            },
            Passthrough => Combine::Copy { scale: self.of_model("scale", 0)? },
        })
    }

    fn keep(&self, model: usize) -> Result<Keep, MergeError> {
        use Method::{Breadcrumbs, BreadcrumbsTies, DareLinear, DareTies, Della, DellaLinear, Ties};
        if !matches!(
            self.method,
            Breadcrumbs | BreadcrumbsTies | DareLinear | DareTies | Della | DellaLinear | Ties
        ) {
            return Ok(Keep::All);
        }
        let density = self.of_model("density", model)?.unwrap_or(1.0);
        let key = draw_key(self.seed, &self.models[model].reference.to_string(), self.name);
        Ok(match self.method {
            _ if density >= 1.0 => Keep::All,
            Ties | Della | DellaLinear if density <= 0.0 => Keep::None,
            Ties => Keep::Largest { density },
            Breadcrumbs | BreadcrumbsTies => {
                Keep::Middle { density, gamma: self.of_model("gamma", model)?.unwrap_or(0.0) }
            }
            Della | DellaLinear => {
                let epsilon = self.of_model("epsilon", model)?.unwrap_or(0.0);
                if density + epsilon >= 1.0 || density - epsilon <= 0.0 {
                    return Err(self.wrong(&format!(
                        "density {density} and epsilon {epsilon}: density + epsilon and density - epsilon must lie \
                         between 0 and 1"
                    )));
                }
                Keep::Ranked { density, epsilon, key }
            }
            _ => Keep::Random { density, key },
        })
    }

    fn rescale(&self) -> Result<Rescale, MergeError> {
        let Some(parameter) = self.method.parameter("rescale") else { return Ok(Rescale::No) };
        Ok(match self.scopes().rescale(parameter, self.name, self.at)? {
            SaidRescale::No => Rescale::No,
            SaidRescale::L1 => Rescale::L1,
            SaidRescale::InverseDensity => Rescale::InverseDensity,
        })
    }

    /// A vector of one axis is one, whichever axis is meant.
    fn along(&self, along: Along) -> Along {
        if self.shape.len() < 2 { Along::Tensor } else { along }
    }

    fn weights(&self) -> Result<Vec<f64>, MergeError> {
        (0..self.models.len()).map(|model| Ok(self.of_model("weight", model)?.unwrap_or(1.0))).collect()
    }

    /// Weights that are divided by their sum where the switch is set, and must not sum to zero then.
    fn divided(&self, switch: &str) -> Result<Vec<f64>, MergeError> {
        let weights = self.weights()?;
        if !self.flag(switch)? || !cancels(&weights) {
            return Ok(weights);
        }
        let set = |model: usize| {
            let (parameter, tensor) = (self.method.parameter("weight")?, self.models[model].tensor);
            self.of(model).place_of(parameter, tensor).cloned()
        };
        let place = (0..self.models.len()).find_map(set).unwrap_or_else(|| self.place.clone());
        let what = format!("the weights sum to 0 for {}, and are divided by their sum", self.name);
        Err(place.conflict(what, format!("change one, or write `{switch}: false`")).into())
    }

    fn of_model(&self, name: &str, model: usize) -> Result<Option<f64>, MergeError> {
        let Some(parameter) = self.method.parameter(name) else { return Ok(None) };
        Ok(self.of(model).number(parameter, self.models[model].tensor, self.at)?)
    }

    fn of(&self, model: usize) -> Scopes<'_> {
        let ModelLookup { reference, own, place, .. } = &self.models[model];
        let levels: Vec<&Parameters> = own.iter().copied().chain(self.shared.iter().copied()).collect();
        Scopes::of_model(reference, &levels, place)
    }

    fn scopes(&self) -> Scopes<'_> {
        Scopes::shared(self.shared, self.place)
    }

    fn number(&self, name: &str) -> Result<f64, MergeError> {
        let parameter = self.method.parameter(name);
        let found = parameter.map(|parameter| self.scopes().number(parameter, self.name, self.at));
        Ok(found.transpose()?.flatten().unwrap_or_default())
    }

    fn flag(&self, name: &str) -> Result<bool, MergeError> {
        let parameter = self.method.parameter(name);
        let found = parameter.map(|parameter| self.scopes().flag(parameter, self.name, self.at));
        Ok(found.transpose()?.unwrap_or_default())
    }

    fn wrong(&self, problem: &str) -> MergeError {
        MergeError::Tensor { tensor: self.name.to_owned(), problem: problem.to_owned() }
    }
}

/// The recipe of a tensor that is taken as it is.
pub fn copy() -> Recipe {
    let combine = Combine::Copy { scale: None };
    Recipe { vectors: Vectors::Weights, keep: vec![Keep::All], rescale: Rescale::No, combine }
}
