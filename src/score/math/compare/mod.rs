//! Two answers as values, and whether they are the same.

mod equal;
mod form;
mod modular;
mod real_set;
mod relation;
mod scalar;
mod sequence;
mod value;
mod words;

use super::budget::{Budget, Obstacle};
use super::options::MathOptions;

pub(super) use equal::compare;
pub(super) use form::form;
pub(super) use modular::differ;
pub(super) use relation::stated_value;
pub(super) use value::{Value, value};
pub(super) use words::count_something;

/// What a comparison found. `Unknown` is never guessed away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// Equal, and whether only after rounding.
    Equal {
        rounded: bool,
    },
    Different,
    /// Answers of kinds that cannot be compared, such as a number and a set.
    Kinds,
    Unknown(Obstacle),
}

impl Match {
    pub const EQUAL: Self = Self::Equal { rounded: false };

    pub fn is_equal(self) -> bool {
        matches!(self, Self::Equal { .. })
    }

    /// Both: different if one is, equal only if both are.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Equal { rounded: a }, Self::Equal { rounded: b }) => Self::Equal { rounded: a || b },
            (Self::Different, _) | (_, Self::Different) => Self::Different,
            (Self::Equal { .. }, other) => other,
            (own, _) => own,
        }
    }
}

/// What comparisons carry along.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub options: &'a MathOptions,
    pub budget: &'a mut Budget,
}
