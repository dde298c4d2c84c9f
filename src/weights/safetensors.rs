//! One safetensors file: eight bytes of header length, a JSON header, then the tensors' bytes.
//!
//! The header is parsed here and not by the `safetensors` crate, because every defect must name its tensor: the
//! format's rules (unique names, size equal to shape times type, ranges that cover the data exactly, so that nothing
//! else hides in the file) are checked before a single element is read. Tensors of types that no model computes in
//! (integers, 8-bit floats) may be present, old checkpoints carry such buffers; asking for one is the error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::mapped_file::MappedFile;
use super::source::{TensorSource, TensorType, TensorView, elements_of};
use super::{WeightsError, blocks};

/// The format's own limit on the header.
const HEADER_BYTES_MAX: u64 = 100_000_000;
/// More dimensions than any checkpoint has; keeps the size arithmetic short.
const DIMENSIONS_MAX: usize = 8;

/// A mapped safetensors file whose header has been checked.
#[derive(Debug)]
pub struct SafetensorsFile {
    file: MappedFile,
    data_start: usize,
    tensors: BTreeMap<String, StoredTensor>,
    metadata: BTreeMap<String, String>,
}

/// A checked header entry: the range lies in the file and has the size of the shape.
#[derive(Debug)]
struct StoredTensor {
    dtype: String,
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

#[derive(Deserialize)]
struct HeaderEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header in file order, duplicates kept so that they can be refused.
struct Header {
    tensors: Vec<(String, HeaderEntry)>,
    metadata: BTreeMap<String, String>,
}

impl SafetensorsFile {
    /// Maps the file and checks its whole header.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let file = MappedFile::open(path)?;
        let (data_start, header) = read_header(&file)?;
        let tensors = check_header(&file, data_start, header.tensors)?;
        Ok(Self { file, data_start, tensors, metadata: header.metadata })
    }

    /// What the header says of itself; values that are no strings are left out, as the format has none.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The bytes of a tensor of U8, which no model computes in.
    pub fn bytes(&self, name: &str) -> Result<&[u8], WeightsError> {
        let (name, stored) = self.stored(name)?;
        if stored.dtype != "U8" {
            return Err(WeightsError::UnsupportedType {
                path: self.file.path.clone(),
                name: name.to_owned(),
                dtype: stored.dtype.clone(),
                supported: "U8 (as bits)",
            });
        }
        Ok(&self.file[self.data_start + stored.start..self.data_start + stored.end])
    }

    fn stored(&self, name: &str) -> Result<(&str, &StoredTensor), WeightsError> {
        let missing = || WeightsError::MissingTensor { path: self.file.path.clone(), name: name.to_owned() };
        self.tensors.get_key_value(name).map(|(name, stored)| (name.as_str(), stored)).ok_or_else(missing)
    }

    fn dtype_of(&self, name: &str, stored: &StoredTensor) -> Result<TensorType, WeightsError> {
        match stored.dtype.as_str() {
            "F64" => Ok(TensorType::F64),
            "F32" => Ok(TensorType::F32),
            "F16" => Ok(TensorType::F16),
            "BF16" => Ok(TensorType::Bf16),
            other => Err(WeightsError::UnsupportedType {
                path: self.file.path.clone(),
                name: name.to_owned(),
                dtype: other.to_owned(),
                supported: "F64, F32, F16 and BF16 (in safetensors)",
            }),
        }
    }
}

impl TensorSource for SafetensorsFile {
    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn stored_name(&self, name: &str) -> String {
        name.to_owned()
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>, WeightsError> {
        self.stored(name).map(|(_, stored)| stored.shape.clone())
    }

    fn dtype(&self, name: &str) -> Result<TensorType, WeightsError> {
        self.stored(name).and_then(|(name, stored)| self.dtype_of(name, stored))
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
        let mut view = self.unaligned(name)?;
        if !view.bytes.as_ptr().addr().is_multiple_of(view.dtype.block_bytes()) {
            // Old writers did not pad the header; a copy is aligned by the allocator.
            view.bytes = Cow::Owned(view.bytes.into_owned());
        }
        Ok(view)
    }

    fn unaligned(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
        let (name, stored) = self.stored(name)?;
        let dtype = self.dtype_of(name, stored)?;
        let bytes = &self.file[self.data_start + stored.start..self.data_start + stored.end];
        Ok(TensorView {
            name: name.to_owned(),
            shape: stored.shape.clone(),
            dtype,
            bytes: Cow::Borrowed(bytes),
        })
    }
}

fn corrupt(file: &MappedFile, problem: String) -> WeightsError {
    WeightsError::Corrupt { path: file.path.clone(), problem }
}

fn truncated(file: &MappedFile, what: String, needs: u64) -> WeightsError {
    WeightsError::Truncated { path: file.path.clone(), what, needs, has: file.len() as u64 }
}

fn read_header(file: &MappedFile) -> Result<(usize, Header), WeightsError> {
    let Some(length) = file.first_chunk::<8>() else {
        return Err(truncated(file, "the header length".into(), 8));
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_BYTES_MAX {
        return Err(corrupt(
            file,
            format!("the header claims {length} bytes, at most {HEADER_BYTES_MAX} are allowed"),
        ));
    }
    let data_start = 8 + length as usize;
    let Some(json) = file.get(8..data_start) else {
        return Err(truncated(file, "the header".into(), data_start as u64));
    };
    let header = serde_json::from_slice(json)
        .map_err(|error| corrupt(file, format!("the header is not a safetensors header: {error}")))?;
    Ok((data_start, header))
}

fn check_header(
    file: &MappedFile,
    data_start: usize,
    header: Vec<(String, HeaderEntry)>,
) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let mut tensors = BTreeMap::new();
    for (name, entry) in header {
        let stored = check_entry(file, data_start, &name, entry)?;
        if tensors.contains_key(&name) {
            return Err(corrupt(file, format!("tensor `{name}` is declared twice")));
        }
        tensors.insert(name, stored);
    }
    check_cover(file, data_start, &tensors)?;
    Ok(tensors)
}

fn check_entry(
    file: &MappedFile,
    data_start: usize,
    name: &str,
    entry: HeaderEntry,
) -> Result<StoredTensor, WeightsError> {
    let bad = |problem: String| corrupt(file, format!("tensor `{name}` {problem}"));
    let HeaderEntry { dtype, shape, data_offsets: (start, end) } = entry;
    let Some(bits) = bits_of(&dtype) else {
        return Err(bad(format!("has the unknown type `{dtype}` (read are {})", blocks::SUPPORTED)));
    };
    if shape.len() > DIMENSIONS_MAX {
        return Err(bad(format!("has {} dimensions, at most {DIMENSIONS_MAX} are allowed", shape.len())));
    }
    let size = elements_of(&shape)
        .and_then(|elements| elements.checked_mul(bits))
        .filter(|bits| bits.is_multiple_of(8))
        .map(|bits| bits / 8);
    let Some(size) = size else {
        return Err(bad(format!("has the impossible shape {shape:?}")));
    };
    if end.checked_sub(start) != Some(size) {
        return Err(bad(format!(
            "of shape {shape:?} and type {dtype} needs {size} bytes, its range is {start}..{end}"
        )));
    }
    let needs = end.saturating_add(data_start as u64);
    if needs > file.len() as u64 {
        return Err(truncated(file, format!("tensor `{name}`"), needs));
    }
    let shape = shape.into_iter().map(|dimension| dimension as usize).collect();
    Ok(StoredTensor { dtype, shape, start: start as usize, end: end as usize })
}

/// As the `safetensors` crate does: in the order of their ranges, empty ones included, each tensor starts where the one
/// before it ends, and the file ends with the last.
fn check_cover(
    file: &MappedFile,
    data_start: usize,
    tensors: &BTreeMap<String, StoredTensor>,
) -> Result<(), WeightsError> {
    let mut ranges: Vec<_> = tensors.iter().collect();
    ranges.sort_by_key(|(_, stored)| (stored.start, stored.end));
    let (mut covered, mut before) = (0, "");
    for (name, stored) in ranges {
        if stored.start < covered {
            return Err(corrupt(file, format!("tensors `{before}` and `{name}` overlap")));
        }
        if stored.start > covered {
            let hole = stored.start - covered;
            return Err(corrupt(
                file,
                format!("the {hole} bytes before tensor `{name}` belong to no tensor"),
            ));
        }
        (covered, before) = (stored.end, name.as_str());
    }
    match file.len() - data_start - covered {
        0 => Ok(()),
        more => Err(corrupt(file, format!("the last {more} bytes belong to no tensor"))),
    }
}

/// Bits of an element of every type the format knows.
fn bits_of(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "F64" | "I64" | "U64" | "C64" => 64,
        _ => return None,
    })
}

fn strings(metadata: serde_json::Value) -> BTreeMap<String, String> {
    let serde_json::Value::Object(entries) = metadata else { return BTreeMap::new() };
    let string = |(key, value): (String, serde_json::Value)| Some((key, value.as_str()?.to_owned()));
    entries.into_iter().filter_map(string).collect()
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header { tensors: Vec::new(), metadata: BTreeMap::new() };
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        header.metadata = strings(map.next_value()?);
                    } else {
                        header.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
