//! GGUF blocks to f32: Q4_0, Q4_1, Q8_0, Q4_K, Q5_K and Q6_K, after ggml's `ggml-quants.c`.
//!
//! Plain scalar code on bytes, so it needs no alignment; it runs when a model is loaded or converted, never in a
//! forward pass (`ops` has kernels that read blocks).

use candle_core::quantized::GgmlDType;
use half::f16;

/// The types that [`dequantize`] and the plain readers take, for error messages.
pub const SUPPORTED: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K and Q6_K";

/// Writes the elements of whole blocks to `values`; false when the type has no reader here.
pub fn dequantize(dtype: GgmlDType, bytes: &[u8], values: &mut [f32]) -> bool {
    match dtype {
        GgmlDType::Q8_0 => each::<34, 32>(bytes, values, q8_0),
        GgmlDType::Q4_0 => each::<18, 32>(bytes, values, q4_0),
        GgmlDType::Q4_1 => each::<20, 32>(bytes, values, q4_1),
        GgmlDType::Q4K => each::<144, 256>(bytes, values, q4_k),
        GgmlDType::Q5K => each::<176, 256>(bytes, values, q5_k),
        GgmlDType::Q6K => each::<210, 256>(bytes, values, q6_k),
        _ => return false,
    }
    true
}

fn each<const BYTES: usize, const ELEMENTS: usize>(
    bytes: &[u8],
    values: &mut [f32],
    block: fn(&[u8; BYTES], &mut [f32; ELEMENTS]),
) {
    for (bytes, values) in bytes.as_chunks::<BYTES>().0.iter().zip(values.as_chunks_mut::<ELEMENTS>().0) {
        block(bytes, values);
    }
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Scale, then 32 signed bytes.
fn q8_0(bytes: &[u8; 34], values: &mut [f32; 32]) {
    let scale = half_at(bytes, 0);
    for (value, byte) in values.iter_mut().zip(&bytes[2..]) {
        *value = *byte as i8 as f32 * scale;
    }
}

/// Scale, then 16 bytes whose low nibbles are elements 0..16 and high nibbles 16..32, offset by 8.
fn q4_0(bytes: &[u8; 18], values: &mut [f32; 32]) {
    let scale = half_at(bytes, 0);
    for (at, byte) in bytes[2..].iter().enumerate() {
        values[at] = (i32::from(byte & 15) - 8) as f32 * scale;
        values[at + 16] = (i32::from(byte >> 4) - 8) as f32 * scale;
    }
}

/// Scale and minimum, then nibbles as in `q4_0` without an offset.
fn q4_1(bytes: &[u8; 20], values: &mut [f32; 32]) {
    let (scale, minimum) = (half_at(bytes, 0), half_at(bytes, 2));
    for (at, byte) in bytes[4..].iter().enumerate() {
        values[at] = f32::from(byte & 15) * scale + minimum;
        values[at + 16] = f32::from(byte >> 4) * scale + minimum;
    }
}

/// The 6-bit scale and minimum of sub-block `at` (0..8) out of the 12 packed bytes of Q4_K and Q5_K.
fn scale_and_minimum(packed: &[u8], at: usize) -> (f32, f32) {
    let (scale, minimum) = if at < 4 {
        (packed[at] & 63, packed[at + 4] & 63)
    } else {
        (
            (packed[at + 4] & 15) | ((packed[at - 4] >> 6) << 4),
            (packed[at + 4] >> 4) | ((packed[at] >> 6) << 4),
        )
    };
    (f32::from(scale), f32::from(minimum))
}

/// Two f16 super-scales, 12 bytes of sub-scales, 128 bytes of nibbles: 8 sub-blocks of 32.
fn q4_k(bytes: &[u8; 144], values: &mut [f32; 256]) {
    let (scale, minimum) = (half_at(bytes, 0), half_at(bytes, 2));
    let (packed, nibbles) = (&bytes[4..16], &bytes[16..]);
    for pair in 0..4 {
        let (low_scale, low_minimum) = scale_and_minimum(packed, 2 * pair);
        let (high_scale, high_minimum) = scale_and_minimum(packed, 2 * pair + 1);
        for at in 0..32 {
            let byte = nibbles[32 * pair + at];
            values[64 * pair + at] = scale * low_scale * f32::from(byte & 15) - minimum * low_minimum;
            values[64 * pair + 32 + at] = scale * high_scale * f32::from(byte >> 4) - minimum * high_minimum;
        }
    }
}

/// As `q4_k`, with the fifth bit of every element in 32 bytes before the nibbles.
fn q5_k(bytes: &[u8; 176], values: &mut [f32; 256]) {
    let (scale, minimum) = (half_at(bytes, 0), half_at(bytes, 2));
    let (packed, high_bits, nibbles) = (&bytes[4..16], &bytes[16..48], &bytes[48..]);
    for pair in 0..4 {
        let (low_scale, low_minimum) = scale_and_minimum(packed, 2 * pair);
        let (high_scale, high_minimum) = scale_and_minimum(packed, 2 * pair + 1);
        for at in 0..32 {
            let byte = nibbles[32 * pair + at];
            let low = (byte & 15) | (((high_bits[at] >> (2 * pair)) & 1) << 4);
            let high = (byte >> 4) | (((high_bits[at] >> (2 * pair + 1)) & 1) << 4);
            values[64 * pair + at] = scale * low_scale * f32::from(low) - minimum * low_minimum;
            values[64 * pair + 32 + at] = scale * high_scale * f32::from(high) - minimum * high_minimum;
        }
    }
}

/// 128 bytes of low nibbles, 64 of high bit pairs, 16 signed sub-scales, one f16 scale; elements offset by 32.
fn q6_k(bytes: &[u8; 210], values: &mut [f32; 256]) {
    let scale = half_at(bytes, 208);
    for half in 0..2 {
        let low = &bytes[64 * half..64 * half + 64];
        let high = &bytes[128 + 32 * half..128 + 32 * half + 32];
        let scales = &bytes[192 + 8 * half..192 + 8 * half + 8];
        for at in 0..32 {
            let quarters = [low[at] & 15, low[at + 32] & 15, low[at] >> 4, low[at + 32] >> 4];
            for (quarter, nibble) in quarters.into_iter().enumerate() {
                let element = nibble | (((high[at] >> (2 * quarter)) & 3) << 4);
                let sub_scale = scales[2 * quarter + at / 16] as i8 as f32;
                values[128 * half + 32 * quarter + at] = scale * sub_scale * (f32::from(element) - 32.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::CpuStorage;
    use serde_json::Value;

    use super::*;

    fn bytes_of(hex: &Value) -> Vec<u8> {
        let hex = hex.as_str().expect("a string").as_bytes();
        hex.chunks(2)
            .map(|pair| {
                u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal")
            })
            .collect()
    }

    /// The recorded blocks give the values that gguf-py recorded and that candle computes: the same bits.
    fn check(name: &str, dtype: GgmlDType) {
        let recorded: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/weights/blocks.json")).expect("JSON");
        let (bytes, expected) = (bytes_of(&recorded[name]["bytes"]), bytes_of(&recorded[name]["values"]));
        let expected: Vec<f32> =
            expected.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert_eq!(expected.len(), bytes.len() / dtype.type_size() * dtype.block_size());
        let mut values = vec![f32::NAN; expected.len()];
        assert!(dequantize(dtype, &bytes, &mut values));
        assert_eq!(values, expected);
        let by_candle = dtype.from_data(bytes.into()).dequantize(values.len()).expect("candle reads it");
        let CpuStorage::F32(by_candle) = by_candle else { panic!("candle dequantises to f32") };
        assert_eq!(values, by_candle);
    }

    #[test]
    fn every_type_agrees_with_its_references() {
        check("Q8_0", GgmlDType::Q8_0);
        check("Q4_0", GgmlDType::Q4_0);
        check("Q4_1", GgmlDType::Q4_1);
        check("Q4_K", GgmlDType::Q4K);
        check("Q5_K", GgmlDType::Q5K);
        check("Q6_K", GgmlDType::Q6K);
    }

    #[test]
    fn other_types_are_refused() {
        assert!(!dequantize(GgmlDType::Q2K, &[0; 84], &mut [0.0; 256]));
    }
}
