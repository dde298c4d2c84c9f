//! Where tensors come from: one trait over safetensors and GGUF, and the view of one tensor.
//!
//! A view borrows from the memory map whenever the file's layout is the asked one; otherwise it owns a copy.

use std::borrow::Cow;

use candle_core::quantized::GgmlDType;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::WeightsError;
use super::blocks;

/// The tensors of a checkpoint under their Hugging Face names and in Hugging Face layout.
pub trait TensorSource {
    /// All tensor names, sorted.
    fn names(&self) -> Vec<String>;

    /// One tensor; [`WeightsError::MissingTensor`] when there is none of that name.
    fn tensor(&self, name: &str) -> Result<TensorView<'_>, WeightsError>;

    /// As [`Self::tensor`], but never copied for its alignment alone: for readers of pieces, such as
    /// [`TensorView::read_f32`].
    fn unaligned(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
        self.tensor(name)
    }

    /// Whether there is a tensor of that name.
    fn contains(&self, name: &str) -> bool;

    /// The name that the file has, or would have, for a tensor: messages give it where it is another.
    fn stored_name(&self, name: &str) -> String;

    /// The shape of one tensor. A source that has to rearrange rows answers without doing so.
    fn shape(&self, name: &str) -> Result<Vec<usize>, WeightsError> {
        self.tensor(name).map(|view| view.shape)
    }

    /// The type of one tensor, likewise.
    fn dtype(&self, name: &str) -> Result<TensorType, WeightsError> {
        self.tensor(name).map(|view| view.dtype)
    }
}

/// The element type of a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorType {
    /// What no model is served in; it is rounded where f32 is asked for.
    F64,
    F32,
    F16,
    Bf16,
    /// GGUF blocks; never one of the three plain types.
    Ggml(GgmlDType),
}

impl TensorType {
    /// Elements in one block (1 for the plain types).
    pub fn block_elements(self) -> usize {
        match self {
            Self::F64 | Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Ggml(dtype) => dtype.block_size(),
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Ggml(dtype) => dtype.type_size(),
        }
    }
}

/// One tensor: its shape as Hugging Face states it (`[out, in]` for a linear layer), and its bytes, row-major and
/// little-endian.
#[derive(Debug, Clone)]
pub struct TensorView<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub dtype: TensorType,
    /// Aligned for the type when borrowed; the typed readers below do not rely on it.
    pub bytes: Cow<'a, [u8]>,
}

impl TensorView<'_> {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// All elements in f32, dequantised where they are blocks. F16 and BF16 widen exactly, F64 is rounded to nearest even.
    pub fn to_f32(&self) -> Result<Vec<f32>, WeightsError> {
        Ok(match self.dtype {
            TensorType::F64 => elements(&self.bytes, |bytes| f64::from_le_bytes(bytes) as f32),
            TensorType::F32 => elements(&self.bytes, f32::from_le_bytes),
            TensorType::F16 => elements(&self.bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            TensorType::Bf16 => elements(&self.bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            TensorType::Ggml(dtype) => {
                let mut values = vec![0.0; self.elements()];
                if !blocks::dequantize(dtype, &self.bytes, &mut values) {
                    return Err(WeightsError::UnsupportedType {
                        path: "a tensor in memory".into(),
                        name: self.name.clone(),
                        dtype: format!("{dtype:?}"),
                        supported: blocks::SUPPORTED,
                    });
                }
                values
            }
        })
    }

    /// Fills `out` with the elements from `from` on, as [`Self::to_f32`] gives them. Where they are blocks, `from` is the
    /// start of one and `out` holds whole ones.
    ///
    /// # Errors
    /// `UnsupportedType`.
    ///
    /// # Panics
    /// Beyond the tensor's end.
    pub fn read_f32(&self, from: usize, out: &mut [f32]) -> Result<(), WeightsError> {
        let (elements, size) = (self.dtype.block_elements(), self.dtype.block_bytes());
        let start = from / elements * size;
        let bytes = &self.bytes[start..start + out.len().div_ceil(elements) * size];
        match self.dtype {
            TensorType::F64 => widen(bytes, out, |bytes| f64::from_le_bytes(bytes) as f32),
            TensorType::F32 => widen(bytes, out, f32::from_le_bytes),
            TensorType::Bf16 => {
                widen(bytes, out, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16));
            }
            // SAFETY: f16 is a transparent u16, and every bit pattern is one.
            TensorType::F16 => match unsafe { aligned::<f16>(bytes) } {
                // Which converts eight at a time where the processor can.
                Some(halves) => halves.convert_to_f32_slice(out),
                None => widen(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
            },
            TensorType::Ggml(dtype) => {
                if !from.is_multiple_of(elements) || !blocks::dequantize(dtype, bytes, out) {
                    return Err(self.unsupported());
                }
            }
        }
        Ok(())
    }

    fn unsupported(&self) -> WeightsError {
        WeightsError::UnsupportedType {
            path: "a tensor in memory".into(),
            name: self.name.clone(),
            dtype: format!("{:?}", self.dtype),
            supported: blocks::SUPPORTED,
        }
    }

    /// The elements of an F32 tensor without a copy; `None` for another type or bytes that are not aligned.
    pub fn as_f32(&self) -> Option<&[f32]> {
        if self.dtype != TensorType::F32 {
            return None;
        }
        // SAFETY: every bit pattern is an f32.
        unsafe { aligned(&self.bytes) }
    }

    /// The elements of an F16 tensor without a copy; `None` for another type or bytes that are not aligned.
    pub fn as_f16(&self) -> Option<&[f16]> {
        if self.dtype != TensorType::F16 {
            return None;
        }
        // SAFETY: f16 is a transparent u16, and every bit pattern is one.
        unsafe { aligned(&self.bytes) }
    }

    /// The elements of a BF16 tensor without a copy; `None` for another type or bytes that are not aligned.
    pub fn as_bf16(&self) -> Option<&[bf16]> {
        if self.dtype != TensorType::Bf16 {
            return None;
        }
        // SAFETY: bf16 is a transparent u16, and every bit pattern is one.
        unsafe { aligned(&self.bytes) }
    }
}

/// The number of elements of a shape, `None` when it, or the product of some of the dimensions, is out of range: no
/// later multiplication of dimensions can overflow then, in whatever order, even if one of them is 0.
pub(super) fn elements_of(shape: &[u64]) -> Option<u64> {
    let largest = shape.iter().try_fold(1_u64, |product, dimension| product.checked_mul((*dimension).max(1)));
    largest.filter(|product| usize::try_from(*product).is_ok())?;
    Some(shape.iter().product())
}

/// Reinterprets bytes as elements.
///
/// # Safety
/// Every bit pattern must be a valid `T`.
unsafe fn aligned<T>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: the caller vouches for the bit patterns; `align_to` takes care of alignment and length.
    let (head, middle, tail) = unsafe { bytes.align_to::<T>() };
    (head.is_empty() && tail.is_empty()).then_some(middle)
}

fn widen<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *value = decode(*bytes);
    }
}

fn elements<const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| decode(*chunk)).collect()
}
