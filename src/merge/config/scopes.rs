//! What a parameter is for one tensor: the most specific scope that says anything for it, filters and
//! gradients applied.
//!
//! Follows mergekit 0.1.5: the first entry whose filter is part of the tensor's name counts; where none is,
//! the next scope is asked; numbers between the points of a gradient are interpolated in f64, other values
//! are those of the point before.

use crate::merge::method::{Kind, Parameter, Usual};

use super::error::{ConfigError, Place};
use super::parameters::{Parameters, Scalar, Setting};
use super::reference::ModelReference;

/// The scopes that a parameter is looked up in.
#[derive(Debug, Clone)]
pub struct Scopes<'a> {
    /// The most specific first: model, slice, module, the whole merge.
    levels: Vec<&'a Parameters>,
    model: Option<&'a ModelReference>,
    /// Of the model's entry, or of what is merged; where a missing parameter would be set.
    place: &'a Place,
}

/// How the values that were kept make up for those dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescale {
    No,
    /// The sum of absolute values stays.
    L1,
    InverseDensity,
}

impl<'a> Scopes<'a> {
    /// For `Scope::Shared`: of slice, module and the whole merge those there are. Errors name `place`, that
    /// of the slice, or an empty one for the whole merge.
    pub fn shared(levels: &[&'a Parameters], place: &'a Place) -> Self {
        Self { levels: levels.to_vec(), model: None, place }
    }

    /// For `Scope::Input` and `Scope::NonBase`: the model's own first, then as for shared ones. Errors name
    /// `place`, that of the model's entry.
    pub fn of_model(model: &'a ModelReference, levels: &[&'a Parameters], place: &'a Place) -> Self {
        Self { levels: levels.to_vec(), model: Some(model), place }
    }

    /// The number for a tensor at `at`, from 0 at the first layer of its slice to 1 at the last. `None` where
    /// the method does without.
    pub fn number(&self, parameter: &Parameter, tensor: &str, at: f64) -> Result<Option<f64>, ConfigError> {
        let Some((setting, values)) = self.found(parameter.name, tensor) else {
            return match parameter.usual {
                Usual::Number(number) => Ok(Some(number)),
                Usual::Flag(flag) => Ok(Some(f64::from(flag))),
                Usual::Absent => Ok(None),
                Usual::Required => Err(self.missing(parameter, Some(tensor))),
            };
        };
        let number = interpolated(values, at);
        if parameter.kind == Kind::Count && number.fract() != 0.0 {
            let what = format!("the gradient is {number} for {tensor}, and a count has to be whole");
            return Err(setting.place.wrong(what, "write one number instead of a gradient"));
        }
        Ok(Some(number))
    }

    /// As `number`. A flag that the method does without is false.
    pub fn flag(&self, parameter: &Parameter, tensor: &str, at: f64) -> Result<bool, ConfigError> {
        match self.found(parameter.name, tensor) {
            Some((_, values)) => Ok(as_number(point_before(values, at)) != 0.0),
            None => match parameter.usual {
                Usual::Flag(flag) => Ok(flag),
                Usual::Number(number) => Ok(number != 0.0),
                Usual::Absent => Ok(false),
                Usual::Required => Err(self.missing(parameter, Some(tensor))),
            },
        }
    }

    /// As `flag`.
    pub fn rescale(&self, parameter: &Parameter, tensor: &str, at: f64) -> Result<Rescale, ConfigError> {
        if let Some((_, values)) = self.found(parameter.name, tensor)
            && let Scalar::Text(name) = point_before(values, at)
        {
            return Ok(if name == "inverse_density" { Rescale::InverseDensity } else { Rescale::L1 });
        }
        Ok(if self.flag(parameter, tensor, at)? { Rescale::L1 } else { Rescale::No })
    }

    /// Where the number for a tensor is set; `None` where it is the default.
    pub fn place_of(&self, parameter: &Parameter, tensor: &str) -> Option<&'a Place> {
        self.found(parameter.name, tensor).map(|(setting, _)| &setting.place)
    }

    /// An error if a required parameter is set nowhere, for no tensor at all.
    pub(super) fn check_required(&self, parameter: &Parameter) -> Result<(), ConfigError> {
        let is_set = || self.levels.iter().any(|level| level.get(parameter.name).is_some());
        if parameter.usual != Usual::Required || is_set() {
            Ok(())
        } else {
            Err(self.missing(parameter, None))
        }
    }

    /// The number where it is the same for all tensors, and the place that says so, if it is not the default.
    pub(super) fn constant(&self, parameter: &Parameter) -> Option<(f64, Option<&'a Place>)> {
        match self.levels.iter().find_map(|level| level.get(parameter.name)) {
            Some(setting) => setting.constant().map(|scalar| (as_number(scalar), Some(&setting.place))),
            None => match parameter.usual {
                Usual::Number(number) => Some((number, None)),
                Usual::Flag(flag) => Some((f64::from(flag), None)),
                Usual::Required | Usual::Absent => None,
            },
        }
    }

    fn found(&self, name: &str, tensor: &str) -> Option<(&'a Setting, &'a [Scalar])> {
        self.levels.iter().find_map(|level| {
            let setting = level.get(name)?;
            let choice = setting.choices.iter().find(|choice| choice.matches(tensor))?;
            Some((setting, choice.values.as_slice()))
        })
    }

    fn missing(&self, parameter: &Parameter, tensor: Option<&str>) -> ConfigError {
        // A setting whose filters leave the tensor out, else where one would be.
        let set = self.levels.iter().find_map(|level| level.get(parameter.name));
        let place = set.map(|setting| setting.place.clone());
        ConfigError::Missing {
            place: place.unwrap_or_else(|| self.place.under("parameters").under(parameter.name)),
            parameter: parameter.name.to_owned(),
            model: self.model.map(ToString::to_string),
            tensor: tensor.map(str::to_owned),
        }
    }
}

/// `(1 - f) v[i] + f v[i + 1]`, where `i + f` is `at` in units of the distance between points.
fn interpolated(values: &[Scalar], at: f64) -> f64 {
    let last = values.len().saturating_sub(1);
    let scaled = at * last as f64;
    let before = (scaled as usize).min(last);
    let share = scaled - before as f64;
    let value = |index: usize| values.get(index.min(last)).map_or(0.0, as_number);
    (1.0 - share) * value(before) + share * value(before + 1)
}

/// A setting has at least one value.
fn point_before(values: &[Scalar], at: f64) -> &Scalar {
    let last = values.len().saturating_sub(1);
    &values[((at * last as f64) as usize).min(last)]
}

fn as_number(scalar: &Scalar) -> f64 {
    match scalar {
        Scalar::Flag(flag) => f64::from(*flag),
        Scalar::Number(number) => *number,
        // Of `Kind::Rescale`, whose texts all mean yes.
        Scalar::Text(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use crate::merge::method::Method;

    use super::super::document::At;
    use super::super::yaml::parse;
    use super::*;

    fn parameters(method: Method, text: &str) -> Parameters {
        let node = parse(text).expect(text);
        Parameters::read(Some(&At::top(&node)), method, &mut Vec::new()).expect(text)
    }

    #[test]
    fn gradients_interpolate_numbers() {
        let check = |text: &str, at: f64, expected: f64| {
            let own = parameters(Method::Ties, &format!("weight: {text}"));
            let parameter = Method::Ties.parameter("weight").expect("weight");
            let place = Place::default();
            let found = Scopes::shared(&[&own], &place).number(parameter, "x", at);
            assert_eq!(found, Ok(Some(expected)), "{text} at {at}");
        };
        check("[0, 1]", 0.0, 0.0);
        check("[0, 1]", 0.5, 0.5);
        check("[0, 1]", 1.0, 1.0);
        check("[1, 0.4, 0]", 0.5, 0.4);
        check("[1, 0.4, 0]", 0.25, 0.5 * 1.0 + 0.5 * 0.4);
        check("[1, 0.4, 0]", 1.0, 0.0);
        check("[3]", 0.7, 3.0);
        check("[true, false]", 0.25, 0.75);
    }

    #[test]
    fn gradients_step_through_other_values() {
        let check = |text: &str, at: f64, expected: Rescale| {
            let own = parameters(Method::Ties, &format!("rescale: {text}"));
            let parameter = Method::Ties.parameter("rescale").expect("rescale");
            let place = Place::default();
            let scopes = Scopes::shared(&[&own], &place);
            assert_eq!(scopes.rescale(parameter, "x", at), Ok(expected), "{text} at {at}");
            assert_eq!(scopes.flag(parameter, "x", at), Ok(expected != Rescale::No), "{text} at {at}");
        };
        check("[0, 1]", 0.9, Rescale::No);
        check("[0, 1]", 1.0, Rescale::L1);
        check("[false, inverse_density, l1]", 0.5, Rescale::InverseDensity);
        check("[false, inverse_density, l1]", 0.49, Rescale::No);
        check("inverse_density", 0.0, Rescale::InverseDensity);
    }

    #[test]
    fn filters_fall_through_scopes_to_the_default() {
        let own = parameters(Method::Ties, "density: [{filter: q_proj, value: 0.1}]");
        let slice =
            parameters(Method::Ties, "density: [{filter: mlp, value: 0.2}, {filter: mlp.up, value: 0.9}]");
        let whole = parameters(Method::Ties, "density: [{filter: proj, value: 0.3}]");
        let place = Place::default();
        let check = |tensor: &str, expected: f64| {
            let scopes = Scopes::shared(&[&own, &slice, &whole], &place);
            let parameter = Method::Ties.parameter("density").expect("density");
            assert_eq!(scopes.number(parameter, tensor, 0.0), Ok(Some(expected)), "{tensor}");
        };
        check("layers.0.q_proj", 0.1);
        check("layers.0.mlp.up_proj", 0.2);
        check("layers.0.k_proj", 0.3);
        check("norm", 1.0);
    }

    #[test]
    fn what_is_said_nowhere() {
        let (place, empty) = (Place::new("models.1", 7), Parameters::default());
        let model: ModelReference = "m".parse().expect("a path");
        let scopes = Scopes::of_model(&model, &[&empty], &place);
        let parameter = |method: Method, name: &str| *method.parameter(name).expect(name);
        assert_eq!(scopes.number(&parameter(Method::Passthrough, "scale"), "x", 0.0), Ok(None));
        assert_eq!(scopes.flag(&parameter(Method::Ties, "normalize"), "x", 0.0), Ok(true));
        assert_eq!(scopes.rescale(&parameter(Method::Ties, "rescale"), "x", 0.0), Ok(Rescale::No));
        assert_eq!(scopes.rescale(&parameter(Method::Della, "rescale"), "x", 0.0), Ok(Rescale::L1));
        let error =
            scopes.number(&parameter(Method::Ties, "weight"), "x", 0.0).expect_err("required").to_string();
        let expected =
            "line 7: models.1.parameters.weight: missing required parameter weight for model m, tensor x;";
        assert!(error.starts_with(expected), "{error}");
        let filtered = parameters(Method::Ties, "weight: [{filter: mlp, value: 1}]");
        let scopes = Scopes::of_model(&model, &[&empty, &filtered], &place);
        let error =
            scopes.number(&parameter(Method::Ties, "weight"), "x", 0.0).expect_err("required").to_string();
        let expected = "line 1: weight: missing required parameter weight for model m, tensor x;";
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn a_count_stays_whole() {
        let own = parameters(Method::Karcher, "max_iter: [10, 13]");
        let place = Place::default();
        let scopes = Scopes::shared(&[&own], &place);
        let parameter = Method::Karcher.parameter("max_iter").expect("max_iter");
        assert_eq!(scopes.number(parameter, "x", 1.0), Ok(Some(13.0)));
        let error = scopes.number(parameter, "x", 0.5).expect_err("11.5").to_string();
        assert!(error.starts_with("line 1: max_iter: the gradient is 11.5 for x"), "{error}");
    }
}
