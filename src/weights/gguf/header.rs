//! The header of a GGUF file: magic, version, metadata, and where each tensor lies.

use std::collections::BTreeMap;

use candle_core::quantized::GgmlDType;

use super::cursor::Cursor;
use super::metadata::Metadata;
use crate::weights::mapped_file::MappedFile;
use crate::weights::source::{TensorType, elements_of};
use crate::weights::{WeightsError, blocks};

/// ggml's own limit on dimensions.
const DIMENSIONS_MAX: u32 = 4;
const ALIGNMENT_DEFAULT: u64 = 32;
/// Sixteen megabytes; real files use 32 bytes.
const ALIGNMENT_MAX: u64 = 1 << 24;

/// A checked header.
#[derive(Debug)]
pub struct Header {
    pub metadata: Metadata,
    /// Under their GGUF names.
    pub tensors: BTreeMap<String, StoredTensor>,
}

/// A tensor whose range lies in the file and has the size of its shape.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    pub dtype: TensorType,
    /// Outermost dimension first: the reverse of the file's order.
    pub shape: Vec<usize>,
    /// Byte range in the file.
    pub start: usize,
    pub end: usize,
}

/// A tensor as declared, before the start of the data is known.
struct Declared {
    name: String,
    dtype: TensorType,
    shape: Vec<usize>,
    bytes: u64,
    offset: u64,
}

impl Header {
    /// Reads and checks the whole header.
    pub fn read(file: &MappedFile) -> Result<Self, WeightsError> {
        let mut cursor = Cursor::new(&file.path, file);
        check_magic_and_version(&mut cursor)?;
        let tensor_count = cursor.u64("the tensor count")?;
        let metadata_count = cursor.u64("the metadata count")?;
        // A key is at least 8 bytes of length and 4 of type; a tensor has 8 + 4 + 4 + 8.
        for (count, bytes, what) in [(tensor_count, 24, "tensors"), (metadata_count, 13, "metadata keys")] {
            if count.checked_mul(bytes).is_none_or(|bytes| bytes > cursor.remaining()) {
                return Err(
                    cursor.corrupt(format!("the header claims {count} {what}, more than fit in the file"))
                );
            }
        }
        let metadata = Metadata::read(&mut cursor, metadata_count, &file.path)?;
        let declared = (0..tensor_count)
            .map(|at| read_tensor(&mut cursor, &format!("tensor {at} of {tensor_count}")))
            .collect::<Result<Vec<_>, _>>()?;
        let alignment = alignment(&metadata)?;
        let data_start = (cursor.position() as u64).next_multiple_of(alignment);
        let tensors = place(file, &cursor, declared, data_start, alignment)?;
        Ok(Self { metadata, tensors })
    }
}

fn check_magic_and_version(cursor: &mut Cursor) -> Result<(), WeightsError> {
    let magic = cursor.array::<4>("the magic number")?;
    if &magic != b"GGUF" {
        return Err(cursor.corrupt("does not start with `GGUF`".into()));
    }
    match cursor.u32("the version")? {
        2 | 3 => Ok(()),
        1 => Err(cursor
            .corrupt("is GGUF version 1, which llama.cpp dropped in 2023; versions 2 and 3 are read".into())),
        version if matches!(version.swap_bytes(), 1..=3) => {
            Err(cursor.corrupt("is a big-endian GGUF file; little-endian ones are read".into()))
        }
        version => Err(cursor.corrupt(format!("has GGUF version {version}; versions 2 and 3 are read"))),
    }
}

fn alignment(metadata: &Metadata) -> Result<u64, WeightsError> {
    let key = "general.alignment";
    let alignment = metadata.unsigned(key)?.unwrap_or(ALIGNMENT_DEFAULT);
    if alignment.is_power_of_two() && (8..=ALIGNMENT_MAX).contains(&alignment) {
        return Ok(alignment);
    }
    Err(metadata.error(key, format!("is {alignment}; it must be a power of two from 8 to {ALIGNMENT_MAX}")))
}

fn read_tensor(cursor: &mut Cursor, what: &str) -> Result<Declared, WeightsError> {
    let name = cursor.string(what)?.to_owned();
    let what = format!("tensor `{name}`");
    let dimensions = cursor.u32(&what)?;
    if dimensions > DIMENSIONS_MAX {
        return Err(
            cursor.corrupt(format!("{what} has {dimensions} dimensions, at most {DIMENSIONS_MAX} exist"))
        );
    }
    // The file lists the innermost dimension first.
    let mut shape = (0..dimensions).map(|_| cursor.u64(&what)).collect::<Result<Vec<_>, _>>()?;
    let type_code = cursor.u32(&what)?;
    let offset = cursor.u64(&what)?;
    let dtype = tensor_type(type_code).ok_or_else(|| WeightsError::UnsupportedType {
        path: cursor.path().to_owned(),
        name: name.clone(),
        dtype: type_name(type_code),
        supported: blocks::SUPPORTED,
    })?;
    let row = shape.first().copied().unwrap_or(1);
    let block = dtype.block_elements() as u64;
    if !row.is_multiple_of(block) {
        return Err(
            cursor.corrupt(format!("{what} has rows of {row}, which blocks of {block} do not divide"))
        );
    }
    let bytes =
        elements_of(&shape).and_then(|elements| (elements / block).checked_mul(dtype.block_bytes() as u64));
    let Some(bytes) = bytes else {
        return Err(cursor.corrupt(format!("{what} has the impossible shape {shape:?}")));
    };
    shape.reverse();
    let shape = shape.into_iter().map(|dimension| dimension as usize).collect();
    Ok(Declared { name, dtype, shape, bytes, offset })
}

fn place(
    file: &MappedFile,
    cursor: &Cursor,
    declared: Vec<Declared>,
    data_start: u64,
    alignment: u64,
) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let mut tensors = BTreeMap::new();
    for Declared { name, dtype, shape, bytes, offset } in declared {
        let what = format!("tensor `{name}`");
        if !offset.is_multiple_of(alignment) {
            return Err(
                cursor.corrupt(format!("{what} lies at {offset}, which is not a multiple of {alignment}"))
            );
        }
        let start = data_start.saturating_add(offset);
        let end = start.saturating_add(bytes);
        let has = file.len() as u64;
        if end > has {
            return Err(WeightsError::Truncated { path: file.path.clone(), what, needs: end, has });
        }
        let stored = StoredTensor { dtype, shape, start: start as usize, end: end as usize };
        if tensors.insert(name, stored).is_some() {
            return Err(cursor.corrupt(format!("{what} is declared twice")));
        }
    }
    check_overlaps(cursor, &tensors)?;
    Ok(tensors)
}

fn check_overlaps(cursor: &Cursor, tensors: &BTreeMap<String, StoredTensor>) -> Result<(), WeightsError> {
    let mut ranges: Vec<_> = tensors.iter().filter(|(_, stored)| stored.start < stored.end).collect();
    ranges.sort_by_key(|(_, stored)| stored.start);
    match ranges.windows(2).find(|pair| pair[1].1.start < pair[0].1.end) {
        Some(pair) => Err(cursor.corrupt(format!("tensors `{}` and `{}` overlap", pair[0].0, pair[1].0))),
        None => Ok(()),
    }
}

/// ggml's type codes, those that are read.
fn tensor_type(code: u32) -> Option<TensorType> {
    Some(match code {
        0 => TensorType::F32,
        1 => TensorType::F16,
        2 => TensorType::Ggml(GgmlDType::Q4_0),
        3 => TensorType::Ggml(GgmlDType::Q4_1),
        8 => TensorType::Ggml(GgmlDType::Q8_0),
        12 => TensorType::Ggml(GgmlDType::Q4K),
        13 => TensorType::Ggml(GgmlDType::Q5K),
        14 => TensorType::Ggml(GgmlDType::Q6K),
        30 => TensorType::Bf16,
        _ => return None,
    })
}

/// The names of the other types, so that an error can say which one it met.
fn type_name(code: u32) -> String {
    let name = match code {
        6 => "Q5_0",
        7 => "Q5_1",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("number {code}"),
    };
    name.to_owned()
}
