//! What adapters add to the rows of a batch. A row's result depends on itself and its own adapter alone: the linears have
//! one order of sums, and rows are taken apart and put together again without arithmetic.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::ops::{self, Dropout, Workers};

use super::{Adapter, Pair, Target};

/// Rows of a batch that go through an adapter.
#[derive(Debug, Clone)]
pub struct AdapterRows {
    pub rows: Range<usize>,
    pub adapter: Arc<Adapter>,
    /// Of what goes into A, while training. Each linear has a stream of its own, whatever stands here.
    pub dropout: Option<Dropout>,
}

/// Whether any of a layer's linears is changed for any row.
pub fn any_adapts(adapters: &[AdapterRows], layer: usize, mut targets: impl Iterator<Item = Target>) -> bool {
    targets.any(|target| adapters.iter().any(|rows| rows.adapter.pair(layer, target).is_some()))
}

/// The adapter of a batch whose rows all go through it and that drops nothing: what it adds can be made with the linears.
pub fn sole(adapters: &[AdapterRows], tokens: usize) -> Option<&Adapter> {
    match adapters {
        [AdapterRows { rows, adapter, dropout: None }] if *rows == (0..tokens) && !adapter.is_f64() => {
            Some(adapter)
        }
        _ => None,
    }
}

/// `y`, a linear's result on x, with what the adapters add: y `[tokens, out]`, x `[tokens, in]`. The ranges of rows ascend
/// and do not overlap.
pub fn adapt(
    y: Tensor,
    x: &Tensor,
    adapters: &[AdapterRows],
    layer: usize,
    target: Target,
    workers: &Arc<Workers>,
) -> Result<Tensor> {
    let tokens = y.dim(0)?;
    if let [AdapterRows { rows, adapter, dropout }] = adapters
        && *rows == (0..tokens)
    {
        let Some(pair) = adapter.pair(layer, target) else { return Ok(y) };
        let dropout = dropout.map(|dropout| Dropout { stream: target.stream(layer), ..dropout });
        return add(pair, x, &y, dropout, workers);
    }
    let changed: Vec<(&AdapterRows, &Pair)> = adapters
        .iter()
        .filter(|of| !of.rows.is_empty())
        .filter_map(|of| Some((of, of.adapter.pair(layer, target)?)))
        .collect();
    let sums = sums(&y, x, &changed, target.stream(layer), workers)?;
    let (mut pieces, mut at) = (Vec::new(), 0);
    for ((AdapterRows { rows, .. }, _), sum) in changed.iter().zip(sums) {
        if rows.start < at || rows.end > tokens {
            candle_core::bail!("an adapter's rows {rows:?} are not behind row {at} in a batch of {tokens}");
        }
        if rows.start > at {
            pieces.push(y.narrow(0, at, rows.start - at)?);
        }
        pieces.push(sum);
        at = rows.end;
    }
    if pieces.is_empty() {
        return Ok(y);
    }
    if at < tokens {
        pieces.push(y.narrow(0, at, tokens - at)?);
    }
    Tensor::cat(&pieces, 0)
}

/// The changed rows of y, each range for itself. Ranges of one adapter go through it together.
fn sums(
    y: &Tensor,
    x: &Tensor,
    changed: &[(&AdapterRows, &Pair)],
    stream: u64,
    workers: &Arc<Workers>,
) -> Result<Vec<Tensor>> {
    let mut sums: Vec<Option<Tensor>> = vec![None; changed.len()];
    for (first, (of, pair)) in changed.iter().enumerate() {
        if sums[first].is_some() {
            continue;
        }
        let is_same =
            |other: &AdapterRows| Arc::ptr_eq(&other.adapter, &of.adapter) && other.dropout == of.dropout;
        let together: Vec<usize> = (first..changed.len()).filter(|at| is_same(changed[*at].0)).collect();
        let gather = |all: &Tensor| {
            let ranges = together.iter().map(|at| &changed[*at].0.rows);
            let parts: Vec<Tensor> =
                ranges.map(|rows| all.narrow(0, rows.start, rows.len())).collect::<Result<_>>()?;
            Tensor::cat(&parts, 0)
        };
        let dropout = of.dropout.map(|dropout| Dropout { stream, ..dropout });
        let sum = add(pair, &gather(x)?, &gather(y)?, dropout, workers)?;
        let mut start = 0;
        for at in together {
            let rows = changed[at].0.rows.len();
            sums[at] = Some(sum.narrow(0, start, rows)?);
            start += rows;
        }
    }
    Ok(sums.into_iter().flatten().collect())
}

/// `y + scale * B (A x)`. The scale goes to the product in the middle, which is the smallest.
fn add(
    pair: &Pair,
    x: &Tensor,
    y: &Tensor,
    dropout: Option<Dropout>,
    workers: &Arc<Workers>,
) -> Result<Tensor> {
    let down = match dropout {
        Some(dropout) => ops::linear(&ops::dropout(x, dropout, workers)?, &pair.a)?,
        None => ops::linear(x, &pair.a)?,
    }; // [rows, rank]
    ops::linear_add(&ops::scale(&down, pair.scale)?, &pair.b, y)
}
