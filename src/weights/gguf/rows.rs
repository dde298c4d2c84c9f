//! The row order of query and key projections in architecture `llama`.
//!
//! llama.cpp rotates neighbouring pairs of a head, Hugging Face its two halves, so llama.cpp's converter interleaves
//! the rows of q and k: `reshape(heads, 2, dim / 2, ..).swapaxes(1, 2)`. Row `2 i + p` of a head in the file is row
//! `p dim / 2 + i` here. Whole rows move, so blocks, which lie inside a row, stay whole.

/// Rows in Hugging Face order. `bytes` holds `heads` times `head_dim` rows of equal length.
pub fn halves_from_pairs(bytes: &[u8], heads: usize, head_dim: usize) -> Vec<u8> {
    let row_bytes = bytes.len() / (heads * head_dim).max(1);
    let half = head_dim / 2;
    let mut rows = Vec::with_capacity(bytes.len());
    for head in 0..heads {
        for part in 0..2 {
            for at in 0..half {
                let row = head * head_dim + 2 * at + part;
                rows.extend_from_slice(&bytes[row * row_bytes..(row + 1) * row_bytes]);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// llama.cpp's `permute`, on rows of one byte.
    fn permute(rows: &[u8], heads: usize) -> Vec<u8> {
        let head_dim = rows.len() / heads;
        let half = head_dim / 2;
        let mut permuted = Vec::new();
        for head in 0..heads {
            for at in 0..half {
                for part in 0..2 {
                    permuted.push(rows[head * head_dim + part * half + at]);
                }
            }
        }
        permuted
    }

    #[test]
    fn one_head_by_hand() {
        assert_eq!(halves_from_pairs(&[0, 3, 1, 4, 2, 5], 1, 6), [0, 1, 2, 3, 4, 5]);
        // Two bytes a row.
        assert_eq!(halves_from_pairs(&[0, 0, 2, 2, 1, 1, 3, 3], 1, 4), [0, 0, 1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn the_converter_is_undone() {
        for (heads, head_dim) in [(1, 2), (3, 4), (2, 64)] {
            let rows: Vec<u8> = (0..(heads * head_dim) as u8).collect();
            assert_eq!(halves_from_pairs(&permute(&rows, heads), heads, head_dim), rows);
        }
    }
}
