//! How a tensor's elements lie in its storage: shape and strides, checked, and the way into row-major order.

use crate::weights::source::elements_of;

/// More dimensions than any checkpoint has; keeps the size arithmetic short.
pub const DIMENSIONS_MAX: usize = 8;

/// A shape with strides, counted in elements, whose elements all lie within `span` of the first.
#[derive(Debug)]
pub struct Layout {
    pub shape: Vec<usize>,
    strides: Vec<usize>,
    /// Elements from the first to the last in memory, both included; 0 for an empty tensor.
    pub span: usize,
    /// The product of the shape; more than `span` where elements repeat (stride 0).
    pub elements: usize,
}

impl Layout {
    /// `None` if the two do not belong together or overflow.
    pub fn new(shape: &[u64], strides: &[u64]) -> Option<Self> {
        if shape.len() != strides.len() || shape.len() > DIMENSIONS_MAX {
            return None;
        }
        let elements = elements_of(shape)? as usize;
        let last = shape.iter().zip(strides).try_fold(0_u64, |last, (dimension, stride)| {
            last.checked_add(dimension.saturating_sub(1).checked_mul(*stride)?)
        })?;
        let span = if elements == 0 { 0 } else { usize::try_from(last.checked_add(1)?).ok()? };
        let [shape, strides] =
            [shape, strides].map(|counts| counts.iter().map(|count| *count as usize).collect());
        Some(Self { shape, strides, span, elements })
    }

    /// Whether the elements already lie in row-major order without gaps.
    pub fn is_row_major(&self) -> bool {
        is_row_major(&self.shape, &self.strides)
    }

    /// The elements in row-major order out of `bytes`, which starts with the first one and has the whole span.
    pub fn gather(&self, bytes: &[u8], element_bytes: usize) -> Vec<u8> {
        let mut gathered = Vec::with_capacity(self.elements * element_bytes);
        if self.elements > 0 {
            gather(bytes, &self.shape, &self.strides, element_bytes, &mut gathered);
        }
        gathered
    }
}

/// As PyTorch's `is_contiguous`: the stride of a dimension of one does not matter.
fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.contains(&0)
        || shape.iter().zip(strides).rev().all(|(dimension, stride)| {
            let fits = *dimension == 1 || *stride == expected;
            expected *= dimension;
            fits
        })
}

/// Appends a tensor without empty dimensions, in blocks that are as large as its layout allows.
fn gather(bytes: &[u8], shape: &[usize], strides: &[usize], element_bytes: usize, gathered: &mut Vec<u8>) {
    match (shape, strides) {
        ([dimension, inner_shape @ ..], [stride, inner_strides @ ..]) if !is_row_major(shape, strides) => {
            for at in 0..*dimension {
                let bytes = &bytes[at * stride * element_bytes..];
                gather(bytes, inner_shape, inner_strides, element_bytes, gathered);
            }
        }
        _ => gathered.extend_from_slice(&bytes[..shape.iter().product::<usize>() * element_bytes]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_in_row_major_order() {
        let check = |shape: &[u64], strides: &[u64], row_major: bool, expected: &[u8]| {
            let layout = Layout::new(shape, strides).expect("it is possible");
            let bytes: Vec<u8> = (0..layout.span as u8).collect();
            assert_eq!(layout.gather(&bytes, 1), expected, "{shape:?} {strides:?}");
            assert_eq!(layout.is_row_major(), row_major, "{shape:?} {strides:?}");
        };
        check(&[], &[], true, &[0]);
        check(&[3], &[1], true, &[0, 1, 2]);
        check(&[3], &[2], false, &[0, 2, 4]);
        check(&[2, 3], &[3, 1], true, &[0, 1, 2, 3, 4, 5]);
        check(&[2, 3], &[1, 2], false, &[0, 2, 4, 1, 3, 5]);
        check(&[2, 2], &[4, 1], false, &[0, 1, 4, 5]);
        check(&[2, 3], &[0, 1], false, &[0, 1, 2, 0, 1, 2]);
        check(&[2, 2], &[1, 0], false, &[0, 0, 1, 1]);
        check(&[1, 3, 1], &[99, 1, 7], true, &[0, 1, 2]);
        check(&[2, 0], &[5, 5], true, &[]);
        check(&[1], &[u64::MAX], true, &[0]);
    }

    #[test]
    fn impossible_layouts_are_refused() {
        let check =
            |shape: &[u64], strides: &[u64]| assert!(Layout::new(shape, strides).is_none(), "{shape:?}");
        check(&[1], &[]);
        check(&[1; 9], &[1; 9]);
        check(&[u64::MAX, 2], &[0, 0]);
        check(&[0, u64::MAX, 2], &[0, 0, 0]);
        check(&[3], &[u64::MAX / 2 + 1]);
        check(&[2, 2], &[u64::MAX, 1]);
    }
}
