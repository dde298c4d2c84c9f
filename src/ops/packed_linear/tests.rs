//! Packed linears against f64 sums, against candle's dequantisation, and against themselves: a row's bits are the
//! same alone, in any batch and on any number of threads.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use proptest::prelude::*;

use super::*;
use crate::ops::testing::{bits, numbers};
use crate::ops::{Activation, Isa, glu_of_halves};

const BLOCK_DTYPES: [GgmlDType; 9] = [
    GgmlDType::F16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

/// A weight and a bias of a shape, in a storage.
pub struct Case {
    pub n: usize,
    pub k: usize,
    pub storage: Storage,
    pub dtype: GgmlDType,
}

impl Case {
    pub fn new(n: usize, k: usize, storage: Storage) -> Self {
        Self { n, k, storage, dtype: GgmlDType::F32 }
    }

    pub fn blocks(n: usize, k: usize, dtype: GgmlDType) -> Self {
        Self { n, k, storage: Storage::Blocks, dtype }
    }

    fn quantized(&self) -> QTensor {
        let weight = numbers(11, self.n * self.k);
        let weight = Tensor::from_vec(weight, (self.n, self.k), &Device::Cpu).unwrap();
        QTensor::quantize(&weight, self.dtype).unwrap()
    }

    pub fn bias(&self) -> Vec<f32> {
        numbers(12, self.n)
    }

    pub fn pack(&self, workers: &Arc<Workers>) -> Arc<PackedLinear> {
        let quantized = self.quantized();
        let bytes = quantized.data().unwrap();
        let weight = WeightData::Blocks { dtype: self.dtype, bytes: &bytes };
        PackedLinear::pack(weight, self.n, self.k, Some(self.bias()), self.storage, workers).unwrap()
    }

    /// The weight as the kernel sees it, row-major.
    pub fn weight(&self) -> Vec<f32> {
        if let Storage::Int8(_) = self.storage {
            let ids: Vec<u32> = (0..self.n as u32).collect();
            let rows = embedding(&ids, &self.pack(&Workers::with_isa(1, Isa::available()[0]))).unwrap();
            return rows.flatten_all().unwrap().to_vec1().unwrap();
        }
        let weight = self.quantized().dequantize(&Device::Cpu).unwrap();
        let weight = weight.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        match self.storage {
            Storage::Bf16 => weight.iter().map(|&w| bf16::from_f32(w).to_f32()).collect(),
            _ => weight,
        }
    }
}

pub fn forward(x: &[f32], weight: &Arc<PackedLinear>) -> Vec<f32> {
    let k = weight.in_features();
    let x = Tensor::from_slice(x, (x.len() / k, k), &Device::Cpu).unwrap();
    linear(&x, weight).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// x as the kernels of the weight multiply it.
fn seen(x: &[f32], weight: &PackedLinear) -> Vec<f32> {
    let round = |&x: &f32| bf16::from_f32(x).to_f32();
    if weight.multiplies_bf16() { x.iter().map(round).collect() } else { x.to_vec() }
}

/// Half the step to which the kernels round each element of x, where they round it to bytes a group.
fn half_steps(x: &[f32], weight: &PackedLinear) -> Vec<f64> {
    let half_step = |group: &[f32]| {
        let largest = group.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        vec![f64::from(largest) / 254.0 * 1.00001; group.len()]
    };
    let rounds = weight.multiplies_groups();
    let row = |row: &[f32]| row.chunks(32).flat_map(half_step).collect::<Vec<_>>();
    if rounds { x.chunks(weight.in_features()).flat_map(row).collect() } else { vec![0.0; x.len()] }
}

/// The error of a chain of k multiply-adds is at most k roundings of the sum of the magnitudes; where x is rounded to
/// bytes, half a step times |w| comes on top.
fn check_against_f64(case: &Case, rows: usize) {
    let (given, weight, bias) = (numbers(13, rows * case.k), case.weight(), case.bias());
    for isa in Isa::available() {
        let packed = case.pack(&Workers::with_isa(2, isa));
        let out = forward(&given, &packed);
        let x = seen(&given, &packed);
        let half_steps = half_steps(&given, &packed);
        for (at, &y) in out.iter().enumerate() {
            let (row, column) = (at / case.n, at % case.n);
            let terms =
                (0..case.k).map(|i| f64::from(x[row * case.k + i]) * f64::from(weight[column * case.k + i]));
            let exact = terms.clone().sum::<f64>() + f64::from(bias[column]);
            let magnitude = terms.map(f64::abs).sum::<f64>() + 1.0;
            let bound = (case.k + 2) as f64 * f64::from(f32::EPSILON) / 2.0 * magnitude
                + (0..case.k)
                    .map(|i| half_steps[row * case.k + i] * f64::from(weight[column * case.k + i].abs()))
                    .sum::<f64>();
            assert!(
                (f64::from(y) - exact).abs() <= bound,
                "{isa} {} x {}: {y}, exact {exact}",
                case.n,
                case.k
            );
        }
    }
}

/// Every row alone, and every batch of the first `m` rows, on 1 to 4 threads.
pub fn check_invariance(case: &Case, batches: &[usize]) {
    let most = batches.iter().copied().max().unwrap();
    let x = numbers(14, most * case.k);
    for isa in Isa::available() {
        let alone = case.pack(&Workers::with_isa(1, isa));
        let expected: Vec<u32> = x.chunks(case.k).flat_map(|row| bits(&forward(row, &alone))).collect();
        for threads in 1..=4 {
            let weight = case.pack(&Workers::with_isa(threads, isa));
            for &m in batches {
                let out = bits(&forward(&x[..m * case.k], &weight));
                assert!(out == expected[..m * case.n], "{isa}, {weight:?}, {m} rows, {threads} threads");
            }
        }
    }
}

#[test]
fn follows_f64() {
    for storage in [Storage::F32, Storage::Bf16] {
        for (n, k) in [(1, 1), (15, 3), (17, 31), (200, 576), (49, 1)] {
            for rows in [1, 2, 7, 33] {
                check_against_f64(&Case::new(n, k, storage), rows);
            }
        }
    }
    for dtype in BLOCK_DTYPES {
        check_against_f64(&Case::blocks(50, 768, dtype), 1);
        check_against_f64(&Case::blocks(50, 768, dtype), 5);
    }
}

#[test]
fn a_row_has_the_same_bits_in_every_batch() {
    let all: Vec<usize> = (1..=33).collect();
    for storage in [Storage::F32, Storage::Bf16] {
        for n in [1, 15, 17, 130] {
            for k in [1, 3, 31] {
                check_invariance(&Case::new(n, k, storage), &all);
            }
        }
        check_invariance(&Case::new(577, 576, storage), &all);
    }
}

#[test]
fn a_row_has_the_same_bits_in_every_batch_of_a_vocabulary() {
    check_invariance(&Case::new(49_152 + 1, 31, Storage::Bf16), &[1, 2, 33]);
}

#[test]
fn a_row_has_the_same_bits_in_every_batch_of_blocks() {
    for dtype in [GgmlDType::F16, GgmlDType::Q8_0, GgmlDType::Q4_1] {
        check_invariance(&Case::blocks(150, 576, dtype), &[1, 2, 3, 8, 15, 33]);
    }
    for dtype in [GgmlDType::Q4K, GgmlDType::Q6K] {
        check_invariance(&Case::blocks(17, 512, dtype), &[1, 2, 3, 8, 15, 33]);
    }
}

#[test]
fn blocks_widen_to_candles_bits() {
    for dtype in BLOCK_DTYPES {
        for isa in Isa::available() {
            let case = Case::blocks(37, 768, dtype);
            let ids: Vec<u32> = (0..37).collect();
            let rows = embedding(&ids, &case.pack(&Workers::with_isa(2, isa))).unwrap();
            let rows = rows.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(bits(&rows), bits(&case.weight()), "{dtype:?} on {isa}");
        }
    }
}

#[test]
fn widened_blocks_compute_as_their_f32_weight_does() {
    for dtype in BLOCK_DTYPES {
        for isa in Isa::available() {
            let workers = Workers::with_isa(2, isa);
            let (blocks, wide) = (Case::blocks(40, 768, dtype), Case::blocks(40, 768, dtype));
            let wide = Case { storage: Storage::F32, ..wide };
            let x = numbers(15, 5 * 768);
            if blocks.pack(&workers).multiplies_groups() {
                continue; // x is rounded: `integer_tests.rs`
            }
            assert_eq!(bits(&forward(&x, &blocks.pack(&workers))), bits(&forward(&x, &wide.pack(&workers))));
        }
    }
}

#[test]
fn embedding_gathers_from_every_storage() {
    let (n, k) = (100, 40);
    let weight = numbers(16, n * k);
    let halves: Vec<f16> = weight.iter().map(|&w| f16::from_f32(w)).collect();
    let short: Vec<bf16> = weight.iter().map(|&w| bf16::from_f32(w)).collect();
    let check = |data: WeightData<'_>, storage, expected: &dyn Fn(usize) -> f32| {
        let table = PackedLinear::pack(data, n, k, None, storage, &Workers::new(2)).unwrap();
        let ids: Vec<u32> = (0..60).map(|i| i * 7 % n as u32).collect();
        let rows = embedding(&ids, &table).unwrap().to_vec2::<f32>().unwrap();
        for (&id, row) in ids.iter().zip(rows) {
            let expected: Vec<f32> = (0..k).map(|i| expected(id as usize * k + i)).collect();
            assert_eq!(row, expected);
        }
        let empty = embedding(&[], &table).unwrap();
        assert_eq!(empty.dims(), [0, k]);
        let message = embedding(&[3, n as u32], &table).unwrap_err().to_string();
        assert!(message.contains("id 100"), "{message}");
    };
    check(WeightData::F32(&weight), Storage::F32, &|i| weight[i]);
    check(WeightData::F16(&halves), Storage::F32, &|i| halves[i].to_f32());
    check(WeightData::Bf16(&short), Storage::F32, &|i| short[i].to_f32());
    check(WeightData::F32(&weight), Storage::Bf16, &|i| short[i].to_f32());
    check(WeightData::F16(&halves), Storage::Bf16, &|i| bf16::from_f32(halves[i].to_f32()).to_f32());
    check(WeightData::Bf16(&short), Storage::Bf16, &|i| short[i].to_f32());
}

#[test]
fn memory_is_counted() {
    let workers = Workers::new(1);
    let pack = |case: Case| case.pack(&workers).bytes();
    assert_eq!(pack(Case::new(16, 256, Storage::F32)), 16 * 256 * 4 + 16 * 4);
    assert_eq!(pack(Case::new(17, 256, Storage::Bf16)), 32 * 256 * 2 + 17 * 4);
    assert_eq!(pack(Case::blocks(16, 256, GgmlDType::Q4K)), 16 * 144 + 16 * 4);
}

/// The fused operations are the plain ones and a candle operation, bit for bit.
fn check_fused(storage: Storage, rows: usize, k: usize) {
    for isa in Isa::available() {
        let workers = Workers::with_isa(2, isa);
        let dtype = if storage == Storage::Blocks { GgmlDType::Q8_0 } else { GgmlDType::F32 };
        let case = |n| Case { n, k, storage, dtype }.pack(&workers);
        let (q, k_proj, v) = (case(80), case(17), case(33));
        let x = Tensor::from_vec(numbers(18, rows * k), (rows, k), &Device::Cpu).unwrap();
        let values = |x: Tensor| bits(&x.flatten_all().unwrap().to_vec1::<f32>().unwrap());

        let apart = [&q, &k_proj, &v].map(|weight| linear(&x, weight).unwrap());
        let apart = Tensor::cat(&apart, 1).unwrap();
        assert_eq!(values(linears(&x, &[&q, &k_proj, &v]).unwrap()), values(apart), "{isa}");

        let residual = Tensor::from_vec(numbers(19, rows * 33), (rows, 33), &Device::Cpu).unwrap();
        let added = (&residual + linear(&x, &v).unwrap()).unwrap();
        assert_eq!(values(linear_add(&x, &v, &residual).unwrap()), values(added), "{isa}");

        let (gate, up) = (linear(&x, &v).unwrap(), linear(&x, &case(33)).unwrap());
        let gated = crate::ops::glu(&gate, &up, Activation::GeluTanh, &workers).unwrap();
        assert_eq!(
            values(gated_linear(&x, &v, &case(33), Activation::GeluTanh).unwrap()),
            values(gated),
            "{isa}"
        );

        let norm = Tensor::from_vec(numbers(19, k), k, &Device::Cpu).unwrap();
        let normed = crate::ops::rms_norm(&x, &norm, 1e-5, &workers).unwrap();
        let all = [&v, &case(33)];
        let (plain, fused) = (linears(&normed, &all), normed_linears(&x, &norm, 1e-5, &all));
        assert_eq!(values(fused.unwrap()), values(plain.unwrap()), "{isa}");
        let plain = gated_linear(&normed, &v, &case(33), Activation::Silu).unwrap();
        let fused = normed_gated_linear(&x, &norm, 1e-5, &v, &case(33), Activation::Silu).unwrap();
        assert_eq!(values(fused), values(plain), "{isa}");

        // Halves that are whole panels, and halves that are not.
        for n in [32, 96, 66] {
            let both = case(n);
            let plain = glu_of_halves(&linear(&normed, &both).unwrap(), Activation::Silu, &workers).unwrap();
            let fused = normed_fused_gated_linear(&x, &norm, 1e-5, &both, Activation::Silu).unwrap();
            assert_eq!(values(fused), values(plain), "{isa}, {n}");
        }
    }
}

#[test]
fn fused_operations_are_the_plain_ones() {
    let int8 = [Int8Scales::PerChannel, Int8Scales::PerGroup32, Int8Scales::PerGroup64].map(Storage::Int8);
    for storage in [Storage::F32, Storage::Bf16, Storage::Blocks].into_iter().chain(int8) {
        for rows in [1, 5, 17, 40, 150] {
            check_fused(storage, rows, 96);
        }
        // More rows than a part has.
        check_fused(storage, 1030, 64);
    }
}

#[test]
fn operands_of_fused_operations_must_fit() {
    let workers = Workers::new(1);
    let pack = |n, k| Case::new(n, k, Storage::F32).pack(&workers);
    let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let check = |result: candle_core::Result<Tensor>, expected: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    check(linears(&zeros(&[2, 7]), &[&pack(3, 7), &pack(3, 8)]), "does not fit");
    check(linear_add(&zeros(&[2, 7]), &pack(3, 7), &zeros(&[3, 3])), "a residual of shape [3, 3]");
    check(gated_linear(&zeros(&[2, 7]), &pack(3, 7), &pack(4, 7), Activation::Silu), "gate and up differ");
    check(normed_linears(&zeros(&[2, 7]), &zeros(&[8]), 1e-5, &[&pack(3, 7)]), "a norm of shape [8]");
    assert_eq!(linears(&zeros(&[2, 7]), &[]).unwrap().dims(), [2, 0]);
}

#[test]
fn no_rows_give_no_rows() {
    let weight = Case::new(20, 7, Storage::F32).pack(&Workers::new(2));
    let x = Tensor::zeros((0, 7), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert_eq!(linear(&x, &weight).unwrap().dims(), [0, 20]);
}

#[test]
fn wrong_weights_are_errors() {
    let workers = Workers::new(1);
    let floats = vec![0.0; 64];
    let bytes = vec![0; 144];
    let check = |data: WeightData<'_>, n, k, storage, expected: &str| {
        let message = PackedLinear::pack(data, n, k, None, storage, &workers).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    let blocks = |dtype| WeightData::Blocks { dtype, bytes: &bytes };
    check(WeightData::F32(&floats), 8, 9, Storage::F32, "needs 72 elements, got 64");
    check(WeightData::F32(&floats), 8, 8, Storage::Blocks, "needs a GGUF block weight");
    check(WeightData::F32(&[]), 0, 8, Storage::F32, "is empty");
    check(blocks(GgmlDType::Q4K), 2, 128, Storage::Blocks, "blocks of 256, but a row has 128");
    check(blocks(GgmlDType::Q4K), 2, 256, Storage::Blocks, "needs 288 bytes, got 144");
    check(blocks(GgmlDType::Q4K), usize::MAX / 2, 512, Storage::Blocks, "bytes, got 144");
    check(blocks(GgmlDType::Q3K), 1, 256, Storage::Blocks, "Q3K is not supported");
    check(blocks(GgmlDType::BF16), 9, 9, Storage::F32, "needs 162 bytes, got 144");
    let bias = PackedLinear::pack(WeightData::F32(&floats), 8, 8, Some(vec![0.0; 7]), Storage::F32, &workers);
    assert!(bias.unwrap_err().to_string().contains("a bias of 7 elements"));
}

#[test]
fn wrong_inputs_are_errors_and_strides_are_not() {
    let weight = Case::new(20, 7, Storage::F32).pack(&Workers::new(1));
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    for x in [
        zeros(&[2, 8], candle_core::DType::F32),
        zeros(&[7], candle_core::DType::F32),
        zeros(&[1, 2, 7], candle_core::DType::F32),
        zeros(&[2, 7], candle_core::DType::BF16),
    ] {
        let message = linear(&x, &weight).unwrap_err().to_string();
        assert!(message.contains("packed_linear"), "{message}");
    }
    let x = Tensor::from_vec(numbers(17, 21), (7, 3), &Device::Cpu).unwrap();
    let turned = linear(&x.t().unwrap(), &weight).unwrap().to_vec2::<f32>().unwrap();
    let straight = linear(&x.t().unwrap().contiguous().unwrap(), &weight).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(turned, straight);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_shape_is_right_and_invariant(n in 1usize..100, k in 1usize..100, rows in 1usize..40, bf16: bool) {
        let case = Case::new(n, k, if bf16 { Storage::Bf16 } else { Storage::F32 });
        check_against_f64(&case, rows);
        check_invariance(&case, &[1, rows]);
    }
}
