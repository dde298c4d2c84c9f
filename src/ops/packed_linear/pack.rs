//! From a checkpoint's rows to panels of sixteen columns.

use candle_core::quantized::GgmlDType;
use half::{bf16, f16};

use super::blocks::{self, BlockFormat};
use super::int8::{IN_FEATURES_MAX, Int8Panels};
use super::{Int8Scales, PanelElement, Panels, SMALLEST, Storage, WeightData};
use crate::ops::aligned::{AlignedBuffer, Plain};
use crate::ops::parallel::SharedMut;
use crate::ops::simd::{Element, Kernel, LANES, Simd};
use crate::ops::{OpsError, Workers};

const OP: &str = "packed_linear";

pub fn pack(
    weight: WeightData<'_>,
    out_features: usize,
    in_features: usize,
    storage: Storage,
    workers: &Workers,
) -> Result<Panels, OpsError> {
    let packer = Packer { out_features, in_features, workers };
    super::forward::check_not_empty(out_features, in_features)?;
    packer.check_length(&weight)?;
    match (storage, weight) {
        (Storage::F32 | Storage::F64, weight) => packer.floats(weight, f32::from_f32).map(Panels::F32),
        (Storage::Bf16, weight) => packer.floats(weight, u16::from_f32).map(Panels::Bf16),
        (Storage::Int8(Int8Scales::PerChannel), weight) => packer.int8(weight).map(Panels::Int8),
        (Storage::Int8(Int8Scales::PerGroup32), weight) => packer.int8_groups(weight, BlockFormat::Q8_0),
        (Storage::Int8(Int8Scales::PerGroup64), weight) => packer.int8_groups(weight, BlockFormat::Int8x64),
        (Storage::Blocks, WeightData::Blocks { dtype: GgmlDType::F32, .. }) => {
            packer.floats(weight, f32::from_f32).map(Panels::F32)
        }
        (Storage::Blocks, WeightData::Blocks { dtype: GgmlDType::BF16, .. }) => {
            packer.floats(weight, u16::from_f32).map(Panels::Bf16)
        }
        (Storage::Blocks, WeightData::Blocks { dtype, bytes }) => {
            let format = BlockFormat::from_dtype(dtype)?;
            Ok(Panels::Blocks { format, bytes: packer.blocks(format, bytes)? })
        }
        (Storage::Blocks, _) => Err(OpsError::BlocksFromFloats),
    }
}

struct Packer<'a> {
    out_features: usize,
    in_features: usize,
    workers: &'a Workers,
}

impl Packer<'_> {
    fn check_length(&self, weight: &WeightData<'_>) -> Result<(), OpsError> {
        let (out_features, in_features) = (self.out_features, self.in_features);
        let expected = out_features.saturating_mul(in_features);
        let found = match weight {
            WeightData::F32(x) => x.len(),
            WeightData::F16(x) => x.len(),
            WeightData::Bf16(x) => x.len(),
            WeightData::Blocks { dtype, bytes } => return self.check_blocks(*dtype, bytes.len()),
        };
        if found != expected {
            return Err(OpsError::WeightLength { out_features, in_features, expected, found });
        }
        Ok(())
    }

    fn check_blocks(&self, dtype: GgmlDType, found: usize) -> Result<(), OpsError> {
        let (out_features, in_features) = (self.out_features, self.in_features);
        let (block_size, block_bytes) = match dtype {
            GgmlDType::F32 => (1, 4),
            GgmlDType::BF16 => (1, 2),
            _ => {
                let format = BlockFormat::from_dtype(dtype)?;
                (format.block_size(), format.block_bytes())
            }
        };
        if !in_features.is_multiple_of(block_size) {
            return Err(OpsError::RowNotBlocks { dtype, block_size, in_features });
        }
        let expected = out_features.saturating_mul(in_features / block_size).saturating_mul(block_bytes);
        if found != expected {
            return Err(OpsError::BlockBytes { dtype, out_features, in_features, expected, found });
        }
        Ok(())
    }

    fn panels(&self) -> usize {
        self.out_features.div_ceil(LANES)
    }

    /// Panels of a weight of any kind, widened to f32 and then rounded to the panel's type.
    fn floats<T: PanelElement>(
        &self,
        weight: WeightData<'_>,
        round: impl Fn(f32) -> T + Sync,
    ) -> Result<AlignedBuffer<T>, OpsError> {
        match weight {
            WeightData::F32(x) => self.transpose(|at| round(x[at])),
            WeightData::F16(x) => self.transpose(|at| round(x[at].to_f32())),
            WeightData::Bf16(x) => self.transpose(|at| round(x[at].to_f32())),
            WeightData::Blocks { dtype: GgmlDType::F32, bytes } => {
                self.transpose(|at| round(f32::from_le_bytes(bytes_at(bytes, at))))
            }
            WeightData::Blocks { dtype: GgmlDType::F16, bytes } => {
                self.transpose(|at| round(f16::from_le_bytes(bytes_at(bytes, at)).to_f32()))
            }
            WeightData::Blocks { dtype: GgmlDType::BF16, bytes } => {
                self.transpose(|at| round(bf16::from_le_bytes(bytes_at(bytes, at)).to_f32()))
            }
            WeightData::Blocks { .. } => {
                let k = self.in_features;
                let mut buffer = AlignedBuffer::zeroed(OP, self.panels() * T::panel_elements(k))?;
                self.each_panel(&mut buffer, &|panel, out| {
                    for (at, x) in self.panel_floats(weight, panel).into_iter().enumerate() {
                        out[T::at(at / LANES, at % LANES)] = round(x);
                    }
                });
                Ok(buffer)
            }
        }
    }

    /// Signed bytes with a scale a column.
    fn int8(&self, weight: WeightData<'_>) -> Result<Int8Panels, OpsError> {
        let k = self.in_features;
        if k > IN_FEATURES_MAX {
            let detail = format!(
                "int8 takes rows of at most {IN_FEATURES_MAX} elements, not {k}; use scales per group, or bf16"
            );
            return Err(OpsError::shape(OP, detail));
        }
        let mut bytes = AlignedBuffer::zeroed(OP, self.panels() * i8::panel_elements(k))?;
        let mut scales = AlignedBuffer::zeroed(OP, self.panels() * LANES)?;
        let shared = SharedMut::new(&mut scales);
        self.each_panel(&mut bytes, &|panel, out| {
            let floats = self.panel_floats(weight, panel);
            // SAFETY: each part takes its own panel.
            let scales = unsafe { shared.slice(panel * LANES, LANES) };
            for (column, scale) in scales.iter_mut().enumerate() {
                let values = || floats.iter().skip(column).step_by(LANES);
                *scale = scale_of(values());
                for (i, &x) in values().enumerate() {
                    out[i8::at(i, column)] = quantize(x, *scale);
                }
            }
        });
        Ok(Int8Panels { bytes, scales })
    }

    /// Signed bytes with a half scale a block, of `Q8_0` or `Int8x64`.
    fn int8_groups(&self, weight: WeightData<'_>, format: BlockFormat) -> Result<Panels, OpsError> {
        let stride = format.row_bytes(self.in_features) * LANES;
        let mut bytes = AlignedBuffer::zeroed(OP, self.panels() * stride)?;
        self.each_panel(&mut bytes, &|panel, out| {
            let floats = self.panel_floats(weight, panel);
            let blocks = out.chunks_exact_mut(format.block_bytes() * LANES);
            for (block, floats) in blocks.zip(floats.chunks(format.block_size() * LANES)) {
                for column in 0..LANES {
                    let values = || floats.iter().skip(column).step_by(LANES);
                    let mut put = |index, byte| {
                        let (first, unit) = format.position(index);
                        block[first + column * unit] = byte;
                    };
                    let half = f16::from_f32(scale_of(values()));
                    let [low, high] = half.to_le_bytes();
                    put(0, low);
                    put(1, high);
                    for (i, &x) in values().enumerate() {
                        put(2 + i, quantize(x, half.to_f32()) as u8);
                    }
                }
            }
        });
        Ok(Panels::Blocks { format, bytes })
    }

    /// A panel of a weight of any kind in f32, `[in_features, 16]`.
    fn panel_floats(&self, weight: WeightData<'_>, panel: usize) -> Vec<f32> {
        let k = self.in_features;
        let mut floats = vec![0.0; LANES * k];
        let mut fill = |value: &dyn Fn(usize) -> f32| {
            for column in 0..LANES.min(self.out_features - panel * LANES) {
                let row = (panel * LANES + column) * k;
                for i in 0..k {
                    floats[i * LANES + column] = value(row + i);
                }
            }
        };
        match weight {
            WeightData::F32(x) => fill(&|at| x[at]),
            WeightData::F16(x) => fill(&|at| x[at].to_f32()),
            WeightData::Bf16(x) => fill(&|at| x[at].to_f32()),
            WeightData::Blocks { dtype: GgmlDType::F32, bytes } => {
                fill(&|at| f32::from_le_bytes(bytes_at(bytes, at)));
            }
            WeightData::Blocks { dtype: GgmlDType::BF16, bytes } => {
                fill(&|at| bf16::from_le_bytes(bytes_at(bytes, at)).to_f32());
            }
            WeightData::Blocks { dtype, bytes } => {
                // `check_length` has refused every other type.
                if let Ok(format) = BlockFormat::from_dtype(dtype) {
                    let mut interleaved = vec![0; LANES * format.row_bytes(k)];
                    self.interleave(format, bytes, panel, &mut interleaved);
                    let kernel = Widen { format, panel: &interleaved, out: &mut floats };
                    // SAFETY: both slices hold one whole panel.
                    unsafe { self.workers.isa().dispatch(kernel) };
                }
            }
        }
        floats
    }

    /// Panels of `value(row-major index)`.
    fn transpose<T: PanelElement>(
        &self,
        value: impl Fn(usize) -> T + Sync,
    ) -> Result<AlignedBuffer<T>, OpsError> {
        let (k, n) = (self.in_features, self.out_features);
        let mut buffer = AlignedBuffer::zeroed(OP, self.panels() * T::panel_elements(k))?;
        self.each_panel(&mut buffer, &|panel, out| {
            for column in 0..LANES.min(n - panel * LANES) {
                let row = (panel * LANES + column) * k;
                for i in 0..k {
                    out[T::at(i, column)] = value(row + i);
                }
            }
        });
        Ok(buffer)
    }

    /// The bytes of each panel's blocks, interleaved as `blocks.rs` says.
    fn blocks(&self, format: BlockFormat, bytes: &[u8]) -> Result<AlignedBuffer<u8>, OpsError> {
        let mut buffer =
            AlignedBuffer::zeroed(OP, self.panels() * LANES * format.row_bytes(self.in_features))?;
        self.each_panel(&mut buffer, &|panel, out| self.interleave(format, bytes, panel, out));
        Ok(buffer)
    }

    fn interleave(&self, format: BlockFormat, bytes: &[u8], panel: usize, out: &mut [u8]) {
        let (row_bytes, block_bytes) = (format.row_bytes(self.in_features), format.block_bytes());
        let positions: Vec<_> = (0..block_bytes).map(|index| format.position(index)).collect();
        for column in 0..LANES.min(self.out_features - panel * LANES) {
            let row = &bytes[(panel * LANES + column) * row_bytes..][..row_bytes];
            let blocks = out.chunks_exact_mut(block_bytes * LANES);
            for (out, block) in blocks.zip(row.chunks_exact(block_bytes)) {
                for (&(first, unit), &byte) in positions.iter().zip(block) {
                    out[first + column * unit] = byte;
                }
            }
        }
    }

    /// Runs `fill(panel, the panel's slice)` on all threads.
    fn each_panel<T: Plain>(&self, buffer: &mut [T], fill: &(dyn Fn(usize, &mut [T]) + Sync)) {
        let panels = self.panels();
        if panels == 0 || buffer.is_empty() {
            return;
        }
        let length = buffer.len() / panels;
        let shared = SharedMut::new(buffer);
        self.workers.run(panels, &|panel| {
            // SAFETY: each part takes its own panel.
            fill(panel, unsafe { shared.slice(panel * length, length) });
        });
    }
}

/// The scale with which the largest magnitude becomes 127. NaN where a value is not finite.
fn scale_of<'a>(values: impl Iterator<Item = &'a f32>) -> f32 {
    let largest = values.fold(0.0f32, |largest, x| largest.max(x.abs() + x * 0.0));
    if largest > SMALLEST { largest / 127.0 } else { largest * 0.0 }
}

/// To the nearest byte, ties to even.
fn quantize(x: f32, scale: f32) -> i8 {
    if scale == 0.0 { 0 } else { (x / scale).round_ties_even().clamp(-127.0, 127.0) as i8 }
}

fn bytes_at<const N: usize>(bytes: &[u8], index: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[index * N..(index + 1) * N]);
    out
}

/// Widens one panel: `panel` and `out` hold it whole.
struct Widen<'a> {
    format: BlockFormat,
    panel: &'a [u8],
    out: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let elements = self.out.len() / LANES;
        // SAFETY: `out` holds sixteen columns of `elements` and `panel` their bytes.
        unsafe { blocks::widen::<S>(self.format, self.panel.as_ptr(), elements, self.out.as_mut_ptr()) }
    }
}
