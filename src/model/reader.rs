//! Typed reads from a Hugging Face config, each error naming the key. `null` counts as missing, as in Python.

use serde_json::Value;

use crate::model::ModelError;

/// An object of a config, and where it lies in it.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    value: &'a Value,
    /// "" at the top level, `rope_scaling.` below it.
    prefix: &'static str,
}

impl<'a> Reader<'a> {
    pub fn new(value: &'a Value) -> Result<Self, ModelError> {
        Self { value, prefix: "" }.object()
    }

    fn object(self) -> Result<Self, ModelError> {
        if self.value.is_object() {
            return Ok(self);
        }
        let key = if self.prefix.is_empty() { "config.json" } else { self.prefix.trim_end_matches('.') };
        Err(ModelError::invalid(key, self.value, "a JSON object"))
    }

    /// The value of a key that is present and not null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    /// Whether the key is there, be it as null.
    pub fn has(&self, key: &str) -> bool {
        self.value.get(key).is_some()
    }

    /// The full name of a key, as errors give it.
    pub fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The keys that are present and not null.
    pub fn keys(&self) -> impl Iterator<Item = &'a String> {
        self.value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).map(|(key, _)| key)
    }

    /// A nested object. `prefix` is its key and a dot.
    pub fn nested(&self, prefix: &'static str) -> Result<Option<Self>, ModelError> {
        self.get(prefix.trim_end_matches('.')).map(|value| Self { value, prefix }.object()).transpose()
    }

    /// An object under a key of this one. `prefix` is its whole name and a dot.
    pub fn below(&self, key: &str, prefix: &'static str) -> Result<Option<Self>, ModelError> {
        self.get(key).map(|value| Self { value, prefix }.object()).transpose()
    }

    /// A whole number from 1 to `max`.
    pub fn size(&self, key: &str, max: usize) -> Result<usize, ModelError> {
        self.optional_size(key, max)?.ok_or_else(|| self.missing(key))
    }

    pub fn optional_size(&self, key: &str, max: usize) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value
            .as_u64()
            .and_then(|size| usize::try_from(size).ok())
            .filter(|size| (1..=max).contains(size))
            .map(Some)
            .ok_or_else(|| {
                ModelError::invalid(&self.name(key), value, format!("a whole number from 1 to {max}"))
            })
    }

    /// A number above zero and finite, also after rounding to f32.
    pub fn positive(&self, key: &str) -> Result<f64, ModelError> {
        self.optional_positive(key)?.ok_or_else(|| self.missing(key))
    }

    pub fn optional_positive(&self, key: &str) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value
            .as_f64()
            .filter(|number| (*number as f32).is_finite() && *number as f32 > 0.0)
            .map(Some)
            .ok_or_else(|| ModelError::invalid(&self.name(key), value, "a finite number above 0"))
    }

    pub fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| ModelError::invalid(&self.name(key), value, "true or false"))
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| ModelError::invalid(&self.name(key), value, "a string"))
    }

    pub fn missing(&self, key: &str) -> ModelError {
        ModelError::MissingKey {
            key: self.name(key),
            hint: "take it from the original config.json of the model".to_owned(),
        }
    }
}
