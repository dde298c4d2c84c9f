//! Which elements of which weights a training may change: MAET's neuron masks, laid out as the weights are.

use std::collections::BTreeMap;
use std::path::Path;

use super::{TrainError, Trained};
use crate::weights::NeuronMask;

/// A mask a weight that may be changed.
pub struct Masks {
    bits: BTreeMap<String, Vec<u64>>,
}

impl Masks {
    /// The masks of a file, for these weights, which are those that the file knows.
    ///
    /// # Errors
    /// What is wrong with the file; a tensor of another shape, or that the model does not have or cannot train.
    pub fn open<T>(path: &Path, trained: &[Trained<'_, T>]) -> Result<Self, TrainError> {
        let file = NeuronMask::open(path)?;
        let mut bits = BTreeMap::new();
        for tensor in trained {
            let Some(mask) = file.bits(&tensor.name, tensor.elements())? else {
                let problem =
                    format!("has no mask for `{}`, which is trained: it is of another model", tensor.name);
                return Err(TrainError::Mask { path: path.to_owned(), problem });
            };
            let rows: Vec<bool> = (0..mask.len()).map(|element| mask.get(element)).collect();
            let mut placed = vec![false; tensor.values.len()];
            tensor.order.from_rows(&rows, &mut placed);
            let words = placed
                .chunks(64)
                .map(|chunk| chunk.iter().rev().fold(0, |word, &bit| word << 1 | u64::from(bit)));
            bits.insert(tensor.name.clone(), words.collect());
        }
        let unknown = file.names().into_iter().find(|name| !bits.contains_key(name));
        match unknown {
            Some(name) => Err(TrainError::Mask {
                path: path.to_owned(),
                problem: format!(
                    "has a mask for `{name}`, which is no trainable weight of the model: it is of another model"
                ),
            }),
            None => Ok(Self { bits }),
        }
    }

    /// A bit an element, in the order of the weight's values; see `ops::AdamWTensor`.
    pub fn of(&self, name: &str) -> Option<&[u64]> {
        self.bits.get(name).map(Vec::as_slice)
    }
}
