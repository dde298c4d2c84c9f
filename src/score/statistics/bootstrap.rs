//! The percentile bootstrap of a mean over problems (Efron 1979), seeded.

use super::interval::TAIL;
use super::random::SplitMix;

const RESAMPLES: usize = 2_000;
/// Columns resampled together; bounds memory (4 MB), and has no influence on the result.
const COLUMNS: usize = 256;

/// The 95 % interval of the mean of these values, of which there is at least one.
pub(super) fn bootstrap(values: &[f64], seed: u64) -> (f64, f64) {
    bounds_of(&[values], seed)[0]
}

/// The same for each of several columns of one length: all see the same resamples, drawn once.
pub(super) fn bootstrap_columns(columns: &[Vec<f64>], seed: u64) -> Vec<(f64, f64)> {
    let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    columns.chunks(COLUMNS).flat_map(|chunk| bounds_of(chunk, seed)).collect()
}

fn bounds_of(columns: &[&[f64]], seed: u64) -> Vec<(f64, f64)> {
    let n = columns.first().map_or(0, |column| column.len());
    // Row by row, so that a draw adds a run of neighbours.
    let rows: Vec<f64> = (0..n).flat_map(|row| columns.iter().map(move |column| column[row])).collect();
    let mut random = SplitMix::new(seed);
    let mut means = vec![vec![0.0; RESAMPLES]; columns.len()];
    let mut sums = vec![0.0; columns.len()];
    for resample in 0..RESAMPLES {
        sums.fill(0.0);
        for _ in 0..n {
            let start = random.below(n) * columns.len();
            for (sum, value) in sums.iter_mut().zip(&rows[start..start + columns.len()]) {
                *sum += value;
            }
        }
        for (mean, sum) in means.iter_mut().zip(&sums) {
            mean[resample] = sum / n as f64;
        }
    }
    means.iter_mut().map(|means| (quantile(means, TAIL), quantile(means, 1.0 - TAIL))).collect()
}

fn quantile(means: &mut [f64], p: f64) -> f64 {
    let place = (p * (means.len() - 1) as f64).round() as usize;
    *means.select_nth_unstable_by(place, f64::total_cmp).1
}
