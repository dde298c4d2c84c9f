//! Weights in bytes and x in bytes: against plain integers, against f64, and against themselves.

use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::tests::{Case, check_invariance, forward};
use super::*;
use crate::ops::testing::{bits, numbers};
use crate::ops::{Activation, Isa};

const PER_CHANNEL: Storage = Storage::Int8(Int8Scales::PerChannel);

/// 256 times the largest byte, and that byte.
const MOST: f32 = 32_639.0;

/// The scale and the numbers, `most` at most, of a row or a group of it.
fn quantized(row: &[f32], most: f32) -> (f32, Vec<i64>) {
    let largest = row.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    (largest / most, row.iter().map(|x| (x * (most / largest)).round_ties_even() as i64).collect())
}

/// Every instruction set gives the bits of plain integer arithmetic, and lies within half a step of x of the exact
/// product: sum |w| * (largest |x| of the row / 65,278), and a few roundings.
fn check_int8(n: usize, k: usize, rows: usize) {
    let case = Case::new(n, k, PER_CHANNEL);
    let (weight, bias, x) = (Case::new(n, k, Storage::F32).weight(), case.bias(), numbers(13, rows * k));
    let mut expected = Vec::new();
    for row in x.chunks(k) {
        let (row_scale, row_numbers) = quantized(row, MOST);
        for (column, weight) in weight.chunks(k).enumerate() {
            let largest = weight.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
            let scale = largest / 127.0;
            let bytes = weight.iter().map(|w| (w / scale).round_ties_even() as i64);
            let sum: i64 = bytes.clone().zip(&row_numbers).map(|(w, &x)| w * x).sum();
            let y = sum as f32 * (row_scale * scale) + bias[column];
            expected.push(y);

            let seen = || bytes.clone().map(|w| w as f64 * f64::from(scale));
            let exact =
                seen().zip(row).map(|(w, &x)| w * f64::from(x)).sum::<f64>() + f64::from(bias[column]);
            let magnitude = seen().map(f64::abs).sum::<f64>() * f64::from(row_scale * MOST) + 1.0;
            let bound = magnitude / f64::from(2.0 * MOST) + 6.0 * f64::from(f32::EPSILON) * magnitude;
            assert!((f64::from(y) - exact).abs() <= bound, "{n} x {k}: {y}, exact {exact}");
        }
    }
    for isa in Isa::available() {
        let out = forward(&x, &case.pack(&Workers::with_isa(2, isa)));
        assert!(bits(&out) == bits(&expected), "{isa}, {n} x {k}, {rows} rows");
    }
}

#[test]
fn int8_has_the_bits_of_plain_integers_on_every_instruction_set() {
    for (n, k) in [(1, 1), (15, 3), (17, 31), (200, 576), (49, 65), (33, 64), (100, 1536)] {
        for rows in [1, 2, 3, 5, 6, 7, 8, 15, 16, 17, 33, 150] {
            check_int8(n, k, rows);
        }
    }
}

#[test]
fn int8_rows_have_the_same_bits_in_every_batch() {
    let all: Vec<usize> = (1..=33).collect();
    for (n, k) in [(1, 3), (17, 31), (130, 70), (577, 576)] {
        check_invariance(&Case::new(n, k, PER_CHANNEL), &all);
    }
}

/// The longest row, with every product at its largest.
#[test]
fn the_longest_row_does_not_overflow() {
    let k = int8::IN_FEATURES_MAX;
    for isa in Isa::available() {
        let workers = Workers::with_isa(1, isa);
        let weight = PackedLinear::pack(WeightData::F32(&vec![127.0; k]), 1, k, None, PER_CHANNEL, &workers);
        let weight = weight.unwrap();
        // The last has the bytes 127 and -128, and a first element that makes the scale 1.
        for (x, rows) in [(-MOST, 1), (MOST, 1), (-MOST, 9), (32_384.0, 1), (32_384.0, 9)] {
            let mut all = vec![x; rows * k];
            all.iter_mut().step_by(k).for_each(|first| *first = MOST.copysign(x));
            let expected = 127.0 * (f64::from(x) * (k - 1) as f64 + f64::from(MOST.copysign(x)));
            for y in forward(&all, &weight) {
                let off = (f64::from(y) / expected - 1.0).abs();
                assert!(off < 4.0 * f64::from(f32::EPSILON), "{isa}: {y}, not {expected}");
            }
        }
    }
    let workers = Workers::new(1);
    let longer =
        PackedLinear::pack(WeightData::F32(&vec![0.0; k + 1]), 1, k + 1, None, PER_CHANNEL, &workers);
    assert!(longer.unwrap_err().to_string().contains("scales per group"));
}

/// Zeros, tiny numbers and numbers that are none.
#[test]
fn odd_rows_stay_themselves() {
    for isa in Isa::available() {
        let weight = Case::new(20, 40, PER_CHANNEL).pack(&Workers::with_isa(1, isa));
        let mut x = numbers(3, 7 * 40);
        x[90] = f32::NAN;
        x[130] = f32::INFINITY;
        for (row, tiny) in [(0, 0.0), (1, 1e-42), (4, 5e-36), (5, 1e-34), (6, 1e-33)] {
            x[row * 40..][..40].fill(tiny);
        }
        let out = forward(&x, &weight);
        let bias = Case::new(20, 40, PER_CHANNEL).bias();
        for (row, out) in out.chunks(20).enumerate() {
            let odd = [2, 3].contains(&row);
            assert!(if odd { out.iter().all(|y| y.is_nan()) } else { out == bias }, "{isa}, row {row}");
        }
    }
}

#[test]
fn int8_is_packed_from_any_weight_and_gathered() {
    let scales = [Int8Scales::PerChannel, Int8Scales::PerGroup32, Int8Scales::PerGroup64];
    for (storage, width) in scales.into_iter().zip([800, 32, 64]) {
        for (dtype, k) in
            [(GgmlDType::F32, 70), (GgmlDType::BF16, 33), (GgmlDType::Q8_0, 96), (GgmlDType::Q4K, 768)]
        {
            let case = Case { n: 37, k, storage: Storage::Int8(storage), dtype };
            let given = Case { storage: Storage::F32, ..Case::blocks(37, k, dtype) }.weight();
            for isa in Isa::available() {
                let table = case.pack(&Workers::with_isa(2, isa));
                let ids: Vec<u32> = (0..37).collect();
                let rows = embedding(&ids, &table).unwrap().to_vec2::<f32>().unwrap();
                for (row, given) in rows.iter().zip(given.chunks(k)) {
                    for (group, given) in row.chunks(width).zip(given.chunks(width)) {
                        let largest = given.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                        // Half a step; a scale rounded to a half may clamp the largest, by 127 half units.
                        let bound = largest / 254.0 * 1.14;
                        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= bound;
                        assert!(group.iter().zip(given).all(near), "{storage:?} of {dtype:?}, {isa}");
                    }
                }
            }
        }
    }
}

const GROUPED: [GgmlDType; 6] =
    [GgmlDType::Q8_0, GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q4K, GgmlDType::Q5K, GgmlDType::Q6K];

/// x as the kernels of blocks multiply it.
fn seen_in_groups(x: &[f32], k: usize) -> Vec<f64> {
    let group = |group: &[f32]| {
        let (scale, bytes) = quantized(group, 127.0);
        bytes.into_iter().map(|byte| byte as f64 * f64::from(scale)).collect::<Vec<_>>()
    };
    x.chunks(k).flat_map(|row| row.chunks(32).flat_map(group).collect::<Vec<_>>()).collect()
}

/// Where x is multiplied in bytes a group: the bits are those of every such instruction set, and beside
/// x as it is seen only a rounding or three a group remains, of the magnitudes of the scaled quants and minimums.
fn check_groups(case: &Case, rows: usize) {
    let (n, k) = (case.n, case.k);
    let (x, weight, bias) = (numbers(13, rows * k), case.weight(), case.bias());
    let seen = seen_in_groups(&x, k);
    let mut first: Option<Vec<f32>> = None;
    for isa in Isa::available() {
        let packed = case.pack(&Workers::with_isa(2, isa));
        if !packed.multiplies_groups() {
            continue;
        }
        let out = forward(&x, &packed);
        for (at, &y) in out.iter().enumerate() {
            let (x, weight) = (&seen[at / n * k..][..k], &weight[at % n * k..][..k]);
            let exact = x.iter().zip(weight).map(|(x, &w)| x * f64::from(w)).sum::<f64>();
            let exact = exact + f64::from(bias[at % n]);
            let magnitude = x.chunks(32).zip(weight.chunks(32)).map(|(x, w)| {
                let largest = w.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
                3.0 * f64::from(largest) * x.iter().map(|x| x.abs()).sum::<f64>()
            });
            let bound = (3 * k.div_ceil(32) + 4) as f64 * f64::from(f32::EPSILON) / 2.0;
            let bound = bound * (magnitude.sum::<f64>() + 1.0);
            let error = (f64::from(y) - exact).abs();
            assert!(error <= bound, "{isa}, {packed:?}, {rows} rows: {y}, exact {exact}, bound {bound}");
        }
        let first = first.get_or_insert_with(|| out.clone());
        assert!(bits(first) == bits(&out), "{isa}, {packed:?}, {rows} rows");
    }
}

#[test]
fn blocks_in_groups_follow_f64_and_have_the_same_bits_by_vectors_and_tiles() {
    for dtype in GROUPED {
        for (n, k) in [(1, 256), (15, 512), (50, 768), (33, 1536)] {
            for rows in [1, 2, 3, 5, 6, 7, 8, 15, 16, 17, 33, 150] {
                check_groups(&Case::blocks(n, k, dtype), rows);
            }
        }
    }
    for dtype in &GROUPED[..3] {
        for (n, k) in [(17, 32), (40, 96), (20, 576), (20, 544)] {
            for rows in [1, 6, 17] {
                check_groups(&Case::blocks(n, k, *dtype), rows);
            }
        }
    }
    for scales in [Int8Scales::PerGroup32, Int8Scales::PerGroup64] {
        for (n, k) in [(1, 1), (17, 31), (50, 33), (20, 64), (40, 97), (33, 700)] {
            for rows in [1, 2, 6, 17, 150] {
                check_groups(&Case::new(n, k, Storage::Int8(scales)), rows);
            }
        }
    }
}

/// A block of 32 or 256 with a scale of 1 and quants of which every bit is the same, and the value of its elements.
fn extreme_block(dtype: GgmlDType, bit: u8) -> (Vec<u8>, f64) {
    const ONE: [u8; 2] = [0x00, 0x3c];
    let (bits, all) = (0xff * bit, usize::from(bit));
    let six_bit_scales = [[1; 4], [0; 4], [1; 4]].concat();
    let (parts, value) = match dtype {
        GgmlDType::Q4_0 => (vec![ONE.to_vec(), vec![bits; 16]], [-8.0, 7.0][all]),
        GgmlDType::Q4_1 => (vec![ONE.to_vec(), vec![0; 2], vec![bits; 16]], [0.0, 15.0][all]),
        // The largest magnitudes of a signed byte.
        GgmlDType::Q8_0 => (vec![ONE.to_vec(), vec![0x80 - bit; 32]], [-128.0, 127.0][all]),
        GgmlDType::Q4K => (vec![ONE.to_vec(), vec![0; 2], six_bit_scales, vec![bits; 128]], [0.0, 15.0][all]),
        GgmlDType::Q5K => (vec![ONE.to_vec(), vec![0; 2], six_bit_scales, vec![bits; 160]], [0.0, 31.0][all]),
        GgmlDType::Q6K => (vec![vec![bits; 192], vec![1; 16], ONE.to_vec()], [-32.0, 31.0][all]),
        _ => unreachable!("not one of GROUPED"),
    };
    (parts.concat(), value)
}

/// With all quants and all of x at their largest, no sum on its way to 32 bits may saturate. What is left are the
/// roundings of the chain, at most two a group.
#[test]
fn the_largest_groups_do_not_saturate() {
    for (dtype, bit) in GROUPED.into_iter().flat_map(|dtype| [(dtype, 0), (dtype, 1)]) {
        let (block, value) = extreme_block(dtype, bit);
        assert_eq!(block.len(), dtype.type_size(), "{dtype:?}");
        let (n, k) = (17, 512);
        let bytes = block.repeat(n * k / dtype.block_size());
        for isa in Isa::available() {
            let weight = WeightData::Blocks { dtype, bytes: &bytes };
            let workers = Workers::with_isa(1, isa);
            let weight = PackedLinear::pack(weight, n, k, None, Storage::Blocks, &workers).unwrap();
            for (x, rows) in [(1.0, 1), (-1.0, 1), (1.0, 21), (-1.0, 21)] {
                let expected = value * f64::from(x) * k as f64;
                for y in forward(&vec![x; rows * k], &weight) {
                    let error = (f64::from(y) - expected).abs();
                    assert!(error <= 1e-5 * expected.abs(), "{dtype:?} {bit}, {isa}: {y}, not {expected}");
                }
            }
        }
    }
}

#[test]
fn rows_in_groups_have_the_same_bits_in_every_batch() {
    let all: Vec<usize> = (1..=33).collect();
    for dtype in GROUPED {
        check_invariance(&Case::blocks(150, 768, dtype), &all);
    }
    for scales in [Int8Scales::PerGroup32, Int8Scales::PerGroup64] {
        check_invariance(&Case::new(130, 70, Storage::Int8(scales)), &all);
    }
}

/// Weights of every kind on one x, as a file mixes them: each takes x in its own form.
#[test]
fn kinds_mix() {
    for isa in Isa::available() {
        let workers = Workers::with_isa(2, isa);
        let blocks = |dtype| Case::blocks(33, 768, dtype).pack(&workers);
        let stored = |storage| Case::new(17, 768, storage).pack(&workers);
        let weights = [
            blocks(GgmlDType::Q4K),
            stored(Storage::Bf16),
            blocks(GgmlDType::Q6K),
            stored(PER_CHANNEL),
            blocks(GgmlDType::Q5_0),
            stored(Storage::F32),
        ];
        for rows in [1, 40] {
            let x = Tensor::from_vec(numbers(8, rows * 768), (rows, 768), &Device::Cpu).unwrap();
            let apart: Vec<_> = weights.iter().map(|weight| linear(&x, weight).unwrap()).collect();
            let apart = Tensor::cat(&apart, 1).unwrap().to_vec2::<f32>().unwrap();
            let all: Vec<_> = weights.iter().collect();
            assert_eq!(linears(&x, &all).unwrap().to_vec2::<f32>().unwrap(), apart, "{isa}");

            let (gate, up) = (&weights[0], &weights[2]);
            let middle = crate::ops::glu(
                &linear(&x, gate).unwrap(),
                &linear(&x, up).unwrap(),
                Activation::Silu,
                &workers,
            );
            let middle = middle.unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(
                gated_linear(&x, gate, up, Activation::Silu).unwrap().to_vec2::<f32>().unwrap(),
                middle,
                "{isa}"
            );
        }
    }
}

#[test]
fn odd_groups_stay_themselves() {
    for isa in Isa::available() {
        let case = Case::blocks(20, 256, GgmlDType::Q4K);
        let weight = case.pack(&Workers::with_isa(1, isa));
        let mut x = numbers(3, 4 * 256);
        x[..256].fill(0.0);
        x[256..512].fill(1e-42);
        x[600] = f32::NAN;
        x[1000] = f32::INFINITY;
        let out = forward(&x, &weight);
        assert!(out[..20] == case.bias() && out[20..40] == case.bias(), "{isa}");
        assert!(out[40..].iter().all(|y| !y.is_finite()), "{isa}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_int8_shape_is_right_and_invariant(n in 1usize..100, k in 1usize..200, rows in 1usize..40) {
        check_int8(n, k, rows);
        check_invariance(&Case::new(n, k, PER_CHANNEL), &[1, rows]);
    }

    #[test]
    fn any_shape_in_groups_is_right_and_invariant(
        n in 1usize..70, blocks in 1usize..20, rows in 1usize..40, dtype in 0..GROUPED.len(), k in 1usize..200,
    ) {
        let dtype = GROUPED[dtype];
        let k_blocks = if dtype.block_size() == 32 { 32 * blocks } else { 256 * blocks.div_ceil(8) };
        let scales = if blocks % 2 == 0 { Int8Scales::PerGroup32 } else { Int8Scales::PerGroup64 };
        for case in [Case::blocks(n, k_blocks, dtype), Case::new(n, k, Storage::Int8(scales))] {
            check_groups(&case, rows);
            check_invariance(&case, &[1, rows]);
        }
    }
}
