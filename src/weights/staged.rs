//! Tensors in memory, as they came over a connection: nothing but bytes with a name, a type and a shape.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::WeightsError;
use super::source::{TensorSource, TensorType, TensorView};

/// Complete tensors. A later one of the same name takes the place of the former.
#[derive(Default)]
pub struct StagedTensors(BTreeMap<String, Staged>);

struct Staged {
    dtype: TensorType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl StagedTensors {
    /// `bytes` are row-major, little-endian and as many as shape and type ask for.
    pub fn insert(&mut self, name: String, dtype: TensorType, shape: Vec<usize>, bytes: Vec<u8>) {
        self.0.insert(name, Staged { dtype, shape, bytes });
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn staged(&self, name: &str) -> Result<&Staged, WeightsError> {
        let missing = || WeightsError::MissingTensor { path: "the update".into(), name: name.to_owned() };
        self.0.get(name).ok_or_else(missing)
    }
}

impl TensorType {
    /// The plain type of PyTorch's name for it, as trainers send it.
    pub fn from_torch(name: &str) -> Option<Self> {
        match name.strip_prefix("torch.").unwrap_or(name) {
            "float32" | "float" => Some(Self::F32),
            "float16" | "half" => Some(Self::F16),
            "bfloat16" => Some(Self::Bf16),
            _ => None,
        }
    }
}

impl TensorSource for StagedTensors {
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn stored_name(&self, name: &str) -> String {
        name.to_owned()
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>, WeightsError> {
        Ok(self.staged(name)?.shape.clone())
    }

    fn dtype(&self, name: &str) -> Result<TensorType, WeightsError> {
        Ok(self.staged(name)?.dtype)
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
        let Staged { dtype, shape, bytes } = self.staged(name)?;
        let (name, shape, bytes) = (name.to_owned(), shape.clone(), Cow::Borrowed(bytes.as_slice()));
        Ok(TensorView { name, shape, dtype: *dtype, bytes })
    }
}
