//! A trained model as a Hugging Face directory: the base's files with the trained tensors in place of its own.

use std::borrow::Cow;
use std::path::Path;

use super::weights::widened;
use super::{Parameters, TrainError};
use crate::weights::{
    Checkpoint, CheckpointDtype, TensorSource, TensorType, TensorView, WeightsError, WrittenDtype,
    write_model,
};

/// Stored in the base's type, f32 where that is not bf16.
///
/// # Errors
/// `Io`; the folder then is not there.
pub(super) fn write(
    checkpoint: &Checkpoint,
    trained: &Parameters<'_>,
    tied: bool,
    out: &Path,
) -> Result<(), TrainError> {
    let dtype = match checkpoint.dtype {
        CheckpointDtype::Bf16 => WrittenDtype::Bf16,
        CheckpointDtype::F32 | CheckpointDtype::F16 | CheckpointDtype::Gguf => WrittenDtype::F32,
    };
    let changed = Changed { base: &*checkpoint.tensors, trained, tied };
    Ok(write_model(&checkpoint.path, &changed, out, dtype)?)
}

/// A checkpoint's tensors, some of them others.
struct Changed<'a> {
    base: &'a dyn TensorSource,
    trained: &'a Parameters<'a>,
    /// The head is the embedding: a copy of it that the base stores would be another one now.
    tied: bool,
}

impl Changed<'_> {
    /// Shape and rows.
    fn find(&self, name: &str) -> Option<(&[usize], Cow<'_, [f32]>)> {
        let Parameters { single, bf16 } = self.trained;
        let of_single = single.iter().find(|tensor| tensor.name == name);
        let of_single = of_single.map(|tensor| (&*tensor.shape, tensor.order.to_rows(&*tensor.values)));
        of_single.or_else(|| {
            let tensor = bf16.iter().find(|tensor| tensor.name == name)?;
            Some((&*tensor.shape, Cow::Owned(widened(tensor.order, tensor.values))))
        })
    }

    fn is_trained(&self, name: &str) -> bool {
        self.trained.stored().iter().any(|(trained, _)| *trained == name)
    }
}

impl TensorSource for Changed<'_> {
    fn names(&self) -> Vec<String> {
        let is_copy = |name: &String| self.tied && name == "lm_head.weight";
        self.base.names().into_iter().filter(|name| !is_copy(name)).collect()
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
        let Some((shape, rows)) = self.find(name) else { return self.base.tensor(name) };
        let bytes = rows.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        Ok(TensorView {
            name: name.to_owned(),
            shape: shape.to_vec(),
            dtype: TensorType::F32,
            bytes: bytes.into(),
        })
    }

    fn contains(&self, name: &str) -> bool {
        self.base.contains(name)
    }

    fn stored_name(&self, name: &str) -> String {
        self.base.stored_name(name)
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>, WeightsError> {
        self.base.shape(name)
    }

    fn dtype(&self, name: &str) -> Result<TensorType, WeightsError> {
        if self.is_trained(name) { Ok(TensorType::F32) } else { self.base.dtype(name) }
    }
}
