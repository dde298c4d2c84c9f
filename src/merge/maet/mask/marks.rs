//! The bits of one tensor: what is kept of each tuned model, joined, piece by piece.

use super::super::super::error::MergeError;
use super::super::super::pool::Pool;
use super::super::super::stages::Buffers;
use super::super::super::stages::select::{equals_before, order_key};
use super::scores::Scores;
use super::threshold::{Kept, Limit};

/// Takes bytes of a tensor's bits from a byte on; called from several threads.
pub type Sink<'a> = dyn Fn(u64, &[u8]) -> Result<(), MergeError> + Sync + 'a;

/// What is kept of one tuned model's tensor.
struct Marker<'a> {
    scores: &'a Scores<'a>,
    limit: Limit,
    /// How many equal the limit before each piece. Empty where all of them are kept or none.
    before: Vec<u64>,
    /// Of rows or columns: which are kept. Empty where elements are neurons.
    neurons: Vec<bool>,
    /// Of rows or columns: how many of those kept equal the limit.
    equals: u64,
}

/// Write a tensor's bits; how many are set. Takes what it kept off the common limits' equals.
///
/// # Errors
/// A tensor that cannot be read, what the sink says.
pub fn write(
    pool: &Pool<'_>,
    scores: &[Scores<'_>],
    kept: &mut [Kept],
    tensor: usize,
    sink: &Sink<'_>,
) -> Result<u64, MergeError> {
    let mut markers = Vec::with_capacity(scores.len());
    for (scores, kept) in scores.iter().zip(&*kept) {
        markers.push(Marker::new(pool, scores, kept.of(tensor).0)?);
    }
    let Some(first) = scores.first().map(|scores| scores.operands) else { return Ok(0) };
    let (pieces, _) = pool.each(
        first.pieces(),
        || scores.iter().map(|scores| scores.operands.buffers()).collect::<Vec<Buffers>>(),
        |buffers, piece| {
            let range = first.range(piece);
            let mut bits = vec![0_u8; range.len().div_ceil(8)];
            let mut equals = Vec::with_capacity(markers.len());
            for (marker, buffers) in markers.iter().zip(buffers) {
                equals.push(marker.mark(buffers, piece, range.start, &mut bits)?);
            }
            sink(range.start as u64 / 8, &bits)?;
            Ok((bits.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>(), equals))
        },
    )?;
    for (at, (marker, kept)) in markers.iter().zip(kept).enumerate() {
        let equals = marker.equals + pieces.iter().map(|(_, equals)| equals[at]).sum::<u64>();
        // Where all equals are kept there is nothing to share out between tensors.
        if kept.of(tensor).1 && !kept.limit.has_all {
            kept.limit.equals -= equals;
        }
    }
    Ok(pieces.iter().map(|(count, _)| count).sum())
}

impl<'a> Marker<'a> {
    fn new(pool: &Pool<'_>, scores: &'a Scores<'a>, limit: Limit) -> Result<Self, MergeError> {
        let mut marker = Self { scores, limit, before: Vec::new(), neurons: Vec::new(), equals: 0 };
        if let Some((_, norms)) = &scores.neurons {
            let mut equals = 0;
            marker.neurons = norms.iter().map(|norm| marker.keeps(*norm, &mut equals)).collect();
            marker.equals = equals.min(if limit.has_all { u64::MAX } else { limit.equals });
        } else if !limit.has_all && limit.equals > 0 {
            let before = equals_before(pool, scores, &[vec![limit.key]])?;
            marker.before = before.into_iter().flatten().flatten().collect();
        }
        Ok(marker)
    }

    /// Whether a score is kept, told how many equalled the limit before it.
    fn keeps(&self, score: f32, equals: &mut u64) -> bool {
        let key = order_key(score);
        if key != self.limit.key {
            return key > self.limit.key;
        }
        *equals += 1;
        self.limit.has_all || *equals <= self.limit.equals
    }

    /// Set the bits of a piece of elements; how many of those equal the limit.
    fn mark(
        &self,
        buffers: &mut Buffers,
        piece: usize,
        start: usize,
        bits: &mut [u8],
    ) -> Result<u64, MergeError> {
        let operands = self.scores.operands;
        if let Some((matrix, _)) = &self.scores.neurons {
            for at in 0..operands.range(piece).len() {
                bits[at / 8] |= u8::from(self.neurons[matrix.neuron(start + at)]) << (at % 8);
            }
            return Ok(0);
        }
        let before = self.before.get(piece).copied().unwrap_or(0);
        let mut equals = before;
        for (at, change) in Scores::changes(operands, buffers, piece)?.iter().enumerate() {
            bits[at / 8] |= u8::from(self.keeps(*change, &mut equals)) << (at % 8);
        }
        if self.limit.has_all {
            return Ok(equals - before);
        }
        Ok(equals.min(self.limit.equals) - before.min(self.limit.equals))
    }
}
