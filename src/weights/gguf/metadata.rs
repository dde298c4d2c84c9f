//! The metadata of a GGUF file: typed values under keys, and getters that name the key when a value is wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cursor::Cursor;
use crate::weights::WeightsError;

/// Values in all arrays of a file together: vocabularies of a million tokens fit, a header that only claims to be
/// large does not.
const VALUES_MAX: u64 = 8_000_000;
/// Arrays inside arrays.
const DEPTH_MAX: u32 = 4;

/// One metadata value; the integer types are widened.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(String),
    Array(Vec<Value>),
}

/// All metadata of a file.
#[derive(Debug)]
pub struct Metadata {
    path: PathBuf,
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// Reads `count` key-value pairs.
    pub fn read(cursor: &mut Cursor, count: u64, path: &Path) -> Result<Self, WeightsError> {
        let mut values = BTreeMap::new();
        let mut budget = VALUES_MAX;
        for at in 0..count {
            let key = cursor.string(&format!("metadata key {at} of {count}"))?.to_owned();
            let what = format!("metadata `{key}`");
            let kind = cursor.u32(&what)?;
            let value = read_value(cursor, kind, &what, 0, &mut budget)?;
            if values.insert(key, value).is_some() {
                return Err(cursor.corrupt(format!("{what} is there twice")));
            }
        }
        Ok(Self { path: path.to_owned(), values })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error about one key.
    pub fn error(&self, key: &str, problem: impl Into<String>) -> WeightsError {
        WeightsError::Metadata { path: self.path.clone(), key: key.to_owned(), problem: problem.into() }
    }

    pub fn contains(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// A count or an id; negative and fractional numbers are errors.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, WeightsError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(value)) => Ok(Some(*value)),
            Some(Value::Signed(value)) if *value >= 0 => Ok(Some(*value as u64)),
            Some(other) => Err(self.error(key, format!("must be a count, it is {}", other.describe()))),
        }
    }

    /// A count of at most `u32::MAX`, which every size and id of a model is.
    pub fn count(&self, key: &str) -> Result<Option<u32>, WeightsError> {
        let narrow =
            |value: u64| u32::try_from(value).map_err(|_| self.error(key, format!("is too large: {value}")));
        self.unsigned(key)?.map(narrow).transpose()
    }

    /// As [`count`](Self::count), for a key that must be there.
    pub fn required_count(&self, key: &str) -> Result<u32, WeightsError> {
        self.count(key)?.ok_or_else(|| self.error(key, "is missing"))
    }

    pub fn float(&self, key: &str) -> Result<Option<f64>, WeightsError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) if value.is_finite() => Ok(Some(*value)),
            Some(other) => {
                Err(self.error(key, format!("must be a finite number, it is {}", other.describe())))
            }
        }
    }

    pub fn boolean(&self, key: &str) -> Result<Option<bool>, WeightsError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.error(key, format!("must be true or false, it is {}", other.describe()))),
        }
    }

    pub fn string(&self, key: &str) -> Result<Option<&str>, WeightsError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(other) => Err(self.error(key, format!("must be a string, it is {}", other.describe()))),
        }
    }

    /// An array whose every element `convert` takes; `kind` names what they should be.
    pub fn array<'a, T>(
        &'a self,
        key: &str,
        kind: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, WeightsError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let Value::Array(values) = value else {
            return Err(self.error(key, format!("must be an array of {kind}, it is {}", value.describe())));
        };
        let converted: Option<Vec<T>> = values.iter().map(convert).collect();
        converted.map(Some).ok_or_else(|| self.error(key, format!("must be an array of {kind}")))
    }

    pub fn strings(&self, key: &str) -> Result<Option<Vec<&str>>, WeightsError> {
        self.array(key, "strings", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }
}

impl Value {
    fn describe(&self) -> String {
        match self {
            Self::Unsigned(value) => value.to_string(),
            Self::Signed(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::String(_) => "a string".into(),
            Self::Array(values) => format!("an array of {}", values.len()),
        }
    }
}

/// The f64 with the same shortest spelling, so that 1e-5 does not become 9.999999747378752e-6 in a config.json; it
/// narrows back to the same f32.
fn widen(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// The smallest number of bytes a value of the type takes, to refuse an array that cannot fit before allocating it.
fn bytes_min(kind: u32) -> u64 {
    match kind {
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => 12,
        _ => 1,
    }
}

fn read_value(
    cursor: &mut Cursor,
    kind: u32,
    what: &str,
    depth: u32,
    budget: &mut u64,
) -> Result<Value, WeightsError> {
    Ok(match kind {
        0 => Value::Unsigned(u64::from(u8::from_le_bytes(cursor.array(what)?))),
        1 => Value::Signed(i64::from(i8::from_le_bytes(cursor.array(what)?))),
        2 => Value::Unsigned(u64::from(u16::from_le_bytes(cursor.array(what)?))),
        3 => Value::Signed(i64::from(i16::from_le_bytes(cursor.array(what)?))),
        4 => Value::Unsigned(u64::from(cursor.u32(what)?)),
        5 => Value::Signed(i64::from(i32::from_le_bytes(cursor.array(what)?))),
        6 => Value::Float(widen(f32::from_le_bytes(cursor.array(what)?))),
        7 => match cursor.array::<1>(what)? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            [other] => return Err(cursor.corrupt(format!("{what} is the truth value {other}"))),
        },
        8 => Value::String(cursor.string(what)?.to_owned()),
        9 => read_array(cursor, what, depth, budget)?,
        10 => Value::Unsigned(cursor.u64(what)?),
        11 => Value::Signed(i64::from_le_bytes(cursor.array(what)?)),
        12 => Value::Float(f64::from_le_bytes(cursor.array(what)?)),
        other => return Err(cursor.corrupt(format!("{what} has the unknown type {other}"))),
    })
}

fn read_array(cursor: &mut Cursor, what: &str, depth: u32, budget: &mut u64) -> Result<Value, WeightsError> {
    if depth == DEPTH_MAX {
        return Err(cursor.corrupt(format!("{what} nests arrays deeper than {DEPTH_MAX}")));
    }
    let kind = cursor.u32(what)?;
    let length = cursor.u64(what)?;
    let fits = length.checked_mul(bytes_min(kind)).is_some_and(|bytes| bytes <= cursor.remaining());
    if !fits {
        return Err(
            cursor.corrupt(format!("{what} claims {length} elements, more than the file has bytes for"))
        );
    }
    let Some(left) = budget.checked_sub(length) else {
        return Err(cursor.corrupt(format!("{what}: the arrays hold more than {VALUES_MAX} values")));
    };
    *budget = left;
    let mut values = Vec::with_capacity(length as usize);
    for _ in 0..length {
        values.push(read_value(cursor, kind, what, depth + 1, budget)?);
    }
    Ok(Value::Array(values))
}
