//! Neuron masks: which weights a training may change, a bit an element.
//!
//! A mask file is safetensors whose tensors have the weights' own names and are U8, one bit an element of the flattened
//! weight, the first in the lowest bit of the first byte; a last byte's bits beyond the weight are 0. Its metadata say
//! what it was made of. `merge::maet` writes such files and says what their keys mean; a training reads them here.

use std::path::{Path, PathBuf};

use super::WeightsError;
use super::safetensors::SafetensorsFile;
use super::source::TensorSource;

/// The `format` of a mask's metadata.
pub const NEURON_MASK_FORMAT: &str = "xenoglot-mask-1";

/// A mapped mask file.
#[derive(Debug)]
pub struct NeuronMask {
    path: PathBuf,
    file: SafetensorsFile,
    neurons: Neurons,
    density: f64,
}

/// What one neuron of a weight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neurons {
    Element,
    /// All elements of one index of the first axis. Elements of a vector are neurons of their own.
    Row,
    /// All elements of one index of the last axis; likewise.
    Column,
}

/// The bits of one weight.
#[derive(Debug, Clone, Copy)]
pub struct MaskBits<'a> {
    bytes: &'a [u8],
    elements: usize,
}

impl NeuronMask {
    /// Maps the file and reads what it says of itself.
    ///
    /// # Errors
    /// What is wrong with it as safetensors, or as a mask.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let file = SafetensorsFile::open(path)?;
        let fail = |problem: String| WeightsError::NeuronMask { path: path.to_owned(), problem };
        let metadata = file.metadata();
        let key = |key: &str| metadata.get(key).map(String::as_str);
        match key("format") {
            Some(NEURON_MASK_FORMAT) => {}
            found => {
                let problem = format!("metadata `format` is {found:?}, not `{NEURON_MASK_FORMAT}`");
                return Err(fail(problem));
            }
        }
        let neurons = key("neurons").and_then(Neurons::named);
        let neurons = neurons.ok_or_else(|| {
            fail(format!(
                "metadata `neurons` is {:?}; known are {}",
                key("neurons"),
                Neurons::NAMES.join(", ")
            ))
        })?;
        let density = key("density").and_then(|density| density.parse().ok());
        let density = density.filter(|density: &f64| *density > 0.0 && *density <= 1.0).ok_or_else(|| {
            fail(format!("metadata `density` is {:?}, not a share from 0 to 1", key("density")))
        })?;
        Ok(Self { path: path.to_owned(), neurons, density, file })
    }

    /// The weights that have bits, sorted. A weight without any is not to be changed.
    pub fn names(&self) -> Vec<String> {
        self.file.names()
    }

    pub fn neurons(&self) -> Neurons {
        self.neurons
    }

    /// The share of neurons that was asked for.
    pub fn density(&self) -> f64 {
        self.density
    }

    /// No tensor keeps a larger share of its own neurons than this times the density, if it is known; 0: no limit.
    pub fn cap(&self) -> Option<f64> {
        self.file.metadata().get("cap")?.parse().ok()
    }

    /// The digest of the base's weight files, if it is known.
    pub fn base_sha256(&self) -> Option<&str> {
        self.file.metadata().get("base_sha256").map(String::as_str)
    }

    /// The digest of the base's names, types and shapes, if it is known.
    pub fn base_header_sha256(&self) -> Option<&str> {
        self.file.metadata().get("base_header_sha256").map(String::as_str)
    }

    /// The bits of a weight of so many elements, `None` if the mask has none for it.
    ///
    /// # Errors
    /// `NeuronMask` where they were made for a weight of another size.
    pub fn bits(&self, name: &str, elements: usize) -> Result<Option<MaskBits<'_>>, WeightsError> {
        if !self.file.contains(name) {
            return Ok(None);
        }
        let bytes = self.file.bytes(name)?;
        let fail = |problem: String| WeightsError::NeuronMask { path: self.path.clone(), problem };
        let needs = elements.div_ceil(8);
        if bytes.len() != needs {
            let has = bytes.len();
            let problem = format!(
                "tensor `{name}` has {has} bytes, a weight of {elements} elements needs {needs}: it is of another model"
            );
            return Err(fail(problem));
        }
        let beyond = bytes.last().map_or(0, |last| u32::from(*last) >> (elements - (needs - 1) * 8));
        if beyond != 0 {
            let problem = format!(
                "tensor `{name}` has bits beyond the weight's {elements} elements: it is of another model"
            );
            return Err(fail(problem));
        }
        Ok(Some(MaskBits { bytes, elements }))
    }
}

impl Neurons {
    pub const NAMES: [&str; 3] = ["element", "row", "column"];

    pub fn named(name: &str) -> Option<Self> {
        match name {
            "element" => Some(Self::Element),
            "row" => Some(Self::Row),
            "column" => Some(Self::Column),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Element => "element",
            Self::Row => "row",
            Self::Column => "column",
        }
    }
}

impl MaskBits<'_> {
    pub fn len(&self) -> usize {
        self.elements
    }

    pub fn is_empty(&self) -> bool {
        self.elements == 0
    }

    /// Whether an element of the flattened weight may change.
    ///
    /// # Panics
    /// Beyond the last one.
    pub fn get(&self, element: usize) -> bool {
        assert!(element < self.elements, "element {element} of {}", self.elements);
        self.bytes[element / 8] >> (element % 8) & 1 == 1
    }

    /// How many elements may change.
    pub fn count(&self) -> u64 {
        self.bytes.iter().map(|byte| u64::from(byte.count_ones())).sum()
    }

    /// Eight elements a byte, the first in the lowest bit.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn write(metadata: &Value, bits: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.safetensors");
        let entry = json!({"dtype": "U8", "shape": [bits.len()], "data_offsets": [0, bits.len()]});
        let header = json!({"__metadata__": metadata, "w": entry}).to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.into_bytes());
        bytes.extend(bits);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn usual() -> Value {
        json!({"format": NEURON_MASK_FORMAT, "neurons": "row", "density": "0.05", "base_sha256": "ab"})
    }

    #[test]
    fn bits_are_read_lowest_first() {
        let (_folder, path) = write(&usual(), &[0b1000_0001, 0b10]);
        let mask = NeuronMask::open(&path).unwrap();
        assert_eq!((mask.neurons(), mask.density(), mask.base_sha256()), (Neurons::Row, 0.05, Some("ab")));
        let bits = mask.bits("w", 10).unwrap().unwrap();
        let set: Vec<usize> = (0..bits.len()).filter(|element| bits.get(*element)).collect();
        assert_eq!((set.as_slice(), bits.count()), ([0, 7, 9].as_slice(), 3));
        assert!(mask.bits("v", 10).unwrap().is_none());
    }

    #[test]
    fn another_models_mask_is_refused() {
        let (_folder, path) = write(&usual(), &[0b1000_0001, 0b10]);
        let mask = NeuronMask::open(&path).unwrap();
        let check = |elements: usize, part: &str| {
            let error = mask.bits("w", elements).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("tensor `w`"), "{error}");
        };
        check(8, "has 2 bytes, a weight of 8 elements needs 1");
        check(17, "needs 3");
        check(9, "bits beyond the weight's 9 elements");
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        let check = |change: Value, part: &str| {
            let mut metadata = usual();
            metadata.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let (_folder, path) = write(&metadata, &[0]);
            let error = NeuronMask::open(&path).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("maet mask"), "{error}");
        };
        check(json!({"format": "pt"}), "`format` is Some(\"pt\")");
        check(json!({"format": 1}), "`format` is None");
        check(json!({"neurons": "layer"}), "known are element, row, column");
        check(json!({"density": "2"}), "`density` is Some(\"2\")");
    }
}
