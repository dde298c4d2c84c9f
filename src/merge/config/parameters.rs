//! The `parameters` of a model, slice, module or of the whole merge: settings in the order they are written,
//! each value checked against what its method says of it. How they are looked up is in `scopes`.
//!
//! A setting is a scalar, a list of them (a gradient over the layers), `{value, filter}` or a list of such.

use crate::merge::method::{Kind, METHODS, Method};

use super::document::At;
use super::error::{ConfigError, Place, hint, quoted};

pub(super) const FILTERED_KEYS: &[&str] = &["value", "filter"];
const RESCALES: [&str; 2] = ["l1", "inverse_density"];

/// The settings of one scope, in the order they are written. Only those that the method knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters {
    settings: Vec<Setting>,
}

/// One parameter in one scope.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    pub name: String,
    pub place: Place,
    /// The first whose filter matches counts. Not empty.
    pub choices: Vec<Choice>,
}

/// A value and the tensors it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Part of the names of the tensors; without one, all of them.
    pub filter: Option<String>,
    /// One value, or the points of a gradient from the first layer to the last. Not empty.
    pub values: Vec<Scalar>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Flag(bool),
    Number(f64),
    Text(String),
}

impl Parameters {
    /// Reads a mapping of settings. What the method does not know is checked for its shape, put on `warnings`
    /// and dropped, because public configurations carry the settings of other methods along.
    pub(super) fn read(
        at: Option<&At>,
        method: Method,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ConfigError> {
        let mut settings = Vec::new();
        for (name, at) in at.map_or_else(|| Ok(Vec::new()), At::entries)? {
            let known = method.parameter(name);
            let choices = read_choices(&at, known.map(|parameter| parameter.kind))?;
            if known.is_none() {
                warnings.push(unknown(name, &at.place, method));
                continue;
            }
            settings.push(Setting { name: name.to_owned(), place: at.place, choices });
        }
        Ok(Self { settings })
    }

    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }
}

impl Setting {
    /// The value, where it is the same for all tensors.
    pub fn constant(&self) -> Option<&Scalar> {
        match self.choices.as_slice() {
            [Choice { filter: None, values }] if values.len() == 1 => values.first(),
            _ => None,
        }
    }
}

impl Choice {
    pub fn matches(&self, tensor: &str) -> bool {
        self.filter.as_deref().is_none_or(|part| tensor.contains(part))
    }
}

fn read_choices(at: &At, kind: Option<Kind>) -> Result<Vec<Choice>, ConfigError> {
    if at.is_map() {
        return Ok(vec![read_filtered(at, kind)?]);
    }
    if at.is_list() {
        let items = at.items()?;
        if items.first().is_some_and(At::is_map) {
            return items.iter().map(|item| read_filtered(item, kind)).collect();
        }
    }
    Ok(vec![Choice { filter: None, values: read_values(at, kind)? }])
}

fn read_filtered(at: &At, kind: Option<Kind>) -> Result<Choice, ConfigError> {
    let fields = at.fields(FILTERED_KEYS)?;
    let value = fields.need("value", "write the value for the tensors of this filter")?;
    let filter = fields.get("filter").map(At::text).transpose()?;
    Ok(Choice {
        filter: filter.filter(|part| *part != "*").map(str::to_owned),
        values: read_values(value, kind)?,
    })
}

fn read_values(at: &At, kind: Option<Kind>) -> Result<Vec<Scalar>, ConfigError> {
    if !at.is_list() {
        return Ok(vec![read_scalar(at, kind)?]);
    }
    let items = at.items()?;
    if items.is_empty() {
        return Err(at.wrong("is an empty list, which sets nothing", "write a value, or remove the key"));
    }
    items.iter().map(|item| read_scalar(item, kind)).collect()
}

fn read_scalar(at: &At, kind: Option<Kind>) -> Result<Scalar, ConfigError> {
    match kind {
        Some(Kind::Flag) => at.flag().map(Scalar::Flag),
        Some(Kind::Count) => at.whole(0..=u32::MAX).map(|number| Scalar::Number(number.into())),
        Some(Kind::Real { min, max }) => {
            let number = at.number()?;
            if (min..=max).contains(&number) {
                return Ok(Scalar::Number(number));
            }
            Err(at.wrong(format!("{number} is not {}", range(min, max)), "write a number that is"))
        }
        Some(Kind::Rescale) => match at.scalar().filter(|text| RESCALES.contains(text)) {
            Some(name) => Ok(Scalar::Text(name.to_owned())),
            None => {
                at.flag().map(Scalar::Flag).map_err(|_| at.mistyped("true, false, l1 or inverse_density"))
            }
        },
        None => match at.scalar() {
            Some(text) if !at.is_null() => Ok(Scalar::Text(text.to_owned())),
            _ => Err(at.mistyped("a number, a truth value or a text")),
        },
    }
}

/// "from 0 to 1", or "0 or more".
fn range(min: f64, max: f64) -> String {
    match (min == f64::MIN, max == f64::MAX) {
        (false, false) => format!("from {min} to {max}"),
        (false, true) => format!("{min} or more"),
        (true, false) => format!("{max} or less"),
        (true, true) => "finite".to_owned(),
    }
}

/// The warning of a name that the method does not know.
fn unknown(name: &str, place: &Place, method: Method) -> String {
    let own = || method.spec().parameters.iter().map(|parameter| parameter.name);
    let users: Vec<&str> =
        METHODS.iter().filter(|spec| spec.method.parameter(name).is_some()).map(|spec| spec.name).collect();
    if !users.is_empty() {
        return match own().next() {
            Some(_) => {
                format!("{place}: {method} has no such parameter and ignores it; {}", hint(name, own()))
            }
            None => format!("{place}: {method} has no parameters and ignores it; remove it"),
        };
    }
    let mut all: Vec<&str> =
        METHODS.iter().flat_map(|spec| spec.parameters).map(|parameter| parameter.name).collect();
    all.sort_unstable();
    all.dedup();
    // A slip of the keys is likelier for a parameter of this method than of another.
    let near = crate::protocol::nearest::nearest(name, own());
    let hint = near.map_or_else(|| hint(name, all), |near| format!("did you mean {}?", quoted(near)));
    format!("{place}: no merge method has such a parameter, it is ignored; {hint}")
}

#[cfg(test)]
mod tests {
    use super::super::yaml::parse;
    use super::*;

    fn read(method: Method, text: &str) -> Result<(Parameters, Vec<String>), String> {
        let node = parse(text).expect(text);
        let mut warnings = Vec::new();
        let parameters = Parameters::read(Some(&At::top(&node)), method, &mut warnings);
        parameters.map(|parameters| (parameters, warnings)).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_have_four_forms() {
        let check = |text: &str, expected: &[(Option<&str>, &[f64])]| {
            let (parameters, warnings) = read(Method::Ties, text).expect(text);
            assert_eq!(warnings, Vec::<String>::new(), "{text}");
            let setting = parameters.get("weight").expect("weight");
            let numbers = |values: &[f64]| values.iter().copied().map(Scalar::Number).collect::<Vec<_>>();
            let expected =
                expected.iter().map(|(filter, values)| (*filter, numbers(values))).collect::<Vec<_>>();
            let found =
                setting.choices.iter().map(|choice| (choice.filter.as_deref(), choice.values.clone()));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{text}");
        };
        check("weight: 0.5", &[(None, &[0.5])]);
        check("weight: '1e-1'", &[(None, &[0.1])]);
        check("weight: [0, 1e-1, true]", &[(None, &[0.0, 0.1, 1.0])]);
        check("weight: {value: 1}", &[(None, &[1.0])]);
        check("weight: {filter: '*', value: [1, 2]}", &[(None, &[1.0, 2.0])]);
        check("weight: [{filter: mlp, value: 3}, {value: [0]}]", &[(Some("mlp"), &[3.0]), (None, &[0.0])]);
    }

    #[test]
    fn values_keep_to_type_and_range() {
        let check = |method: Method, text: &str, expected: &str| {
            let error = read(method, text).expect_err(text);
            assert!(error.starts_with(&format!("line 1: {expected}")), "{text}: {error}");
        };
        check(Method::Ties, "density: 1.5", "density: 1.5 is not from 0 to 1;");
        check(Method::Ties, "density: [1, -0.1]", "density.1: -0.1 is not from 0 to 1;");
        check(Method::Ties, "density: [{filter: a, value: [0, 2]}]", "density.0.value.1: 2 is not");
        check(Method::Nearswap, "t: -1", "t: -1 is not 0 or more;");
        check(Method::Ties, "weight: .nan", "weight: `.nan` is not a finite number;");
        check(Method::Ties, "weight: [0, [1]]", "weight.1: a list is not a number;");
        check(Method::Ties, "weight: [{value: 1}, 2]", "weight.1: `2` is not a mapping;");
        check(Method::Ties, "weight: [1, {value: 2}]", "weight.1: a mapping is not a number;");
        check(Method::Ties, "weight: []", "weight: is an empty list");
        check(Method::Ties, "weight:", "weight: has no value;");
        check(Method::Ties, "weight: {filter: a}", "weight.value: is missing;");
        check(
            Method::Ties,
            "weight: {value: 1, fliter: a}",
            "weight.fliter: is not a known key; did you mean `filter`?",
        );
        check(Method::Ties, "normalize: 0.5", "normalize: `0.5` is not true or false;");
        check(Method::Ties, "rescale: l2", "rescale: `l2` is not true, false, l1 or inverse_density;");
        check(Method::Karcher, "max_iter: 1.5", "max_iter: `1.5` is not a whole number from 0");
        check(Method::Karcher, "anything: {a: 1}", "anything.a: is not a known key;");
        check(Method::Karcher, "[]", "a list is not a mapping;");
    }

    #[test]
    fn flags_and_rescale() {
        let check = |text: &str, expected: Scalar| {
            let (parameters, _) = read(Method::DareTies, text).expect(text);
            let setting = parameters.iter().next().expect("one");
            assert_eq!(setting.constant(), Some(&expected), "{text}");
        };
        check("normalize: yes", Scalar::Flag(true));
        check("normalize: 0", Scalar::Flag(false));
        check("rescale: off", Scalar::Flag(false));
        check("rescale: l1", Scalar::Text("l1".to_owned()));
        check("rescale: inverse_density", Scalar::Text("inverse_density".to_owned()));
    }

    #[test]
    fn unknown_names_are_warned_of() {
        let check = |method: Method, text: &str, expected: &str| {
            let (parameters, warnings) = read(method, text).expect(text);
            assert!(parameters.is_empty(), "{text}");
            assert!(matches!(warnings.as_slice(), [one] if one == expected), "{text}: {warnings:?}");
        };
        check(
            Method::Ties,
            "densty: 0.5",
            "line 1: densty: no merge method has such a parameter, it is ignored; did you mean `density`?",
        );
        check(
            Method::Slerp,
            "density: 0.5",
            "line 1: density: slerp has no such parameter and ignores it; known are t",
        );
        check(
            Method::ArceeFusion,
            "density: 0.5",
            "line 1: density: arcee_fusion has no parameters and ignores it; remove it",
        );
    }
}
