//! What must hold of the tensors and the settings before the kernels touch memory; `batch` checks the rest.

use candle_core::Result;

use super::PagedAttention;
use super::batch::wrong;

impl PagedAttention {
    /// The number of query heads, once q, k, v, the rows, the pool and the settings fit each other.
    pub(super) fn check(&self, q: &[usize], k: &[usize], v: &[usize]) -> Result<usize> {
        let layout = self.pool.layout();
        let rows = self.batch.positions.len();
        let heads = match *q {
            [tokens, heads, head_dim] if tokens == rows && head_dim == layout.head_dim => heads,
            _ => return wrong(format!("q of shape {q:?} does not fit {rows} positions and {layout:?}")),
        };
        if k != [rows, layout.kv_heads, layout.head_dim] || v != k {
            return wrong(format!(
                "k of shape {k:?} and v of shape {v:?} do not fit {rows} positions, {layout:?}"
            ));
        }
        if heads == 0 || !heads.is_multiple_of(layout.kv_heads) {
            return wrong(format!("{heads} query heads are not a multiple of {} KV heads", layout.kv_heads));
        }
        if self.layer >= layout.layers {
            return wrong(format!("layer {} of a pool of {} layers", self.layer, layout.layers));
        }
        if self.settings.sliding_window == Some(0) {
            return wrong("a sliding window of 0 sees nothing; it must be at least 1".to_owned());
        }
        Ok(heads)
    }
}
