//! Paged attention against a softmax in f64, and against itself: a row's bits are the same however its sequence
//! was cut, with whom it ran and shared blocks, where its blocks lie and what they held before.

use candle_core::{Device, Tensor, Var};
use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::ops::testing::{bits, numbers};
use crate::ops::{Isa, KvDtype, KvLayout};

const SETTINGS: AttentionSettings =
    AttentionSettings { scale: 0.3, sliding_window: None, logit_softcap: None };

/// One sequence's operands, and the model that attends over them.
#[derive(Clone)]
struct Case {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    length: usize,
    dtype: KvDtype,
    settings: AttentionSettings,
    seed: u64,
}

impl Case {
    fn new(heads: usize, kv_heads: usize, head_dim: usize, length: usize) -> Self {
        Self { heads, kv_heads, head_dim, length, dtype: KvDtype::F32, settings: SETTINGS, seed: 1 }
    }

    fn q(&self) -> Vec<f32> {
        numbers(self.seed, self.length * self.heads * self.head_dim).iter().map(|x| x * 3.0).collect()
    }

    fn k(&self) -> Vec<f32> {
        numbers(self.seed + 100, self.length * self.kv_heads * self.head_dim)
    }

    fn v(&self) -> Vec<f32> {
        numbers(self.seed + 200, self.length * self.kv_heads * self.head_dim)
    }

    fn pool(&self, blocks: usize) -> Arc<KvPool> {
        let layout = KvLayout {
            layers: 2,
            blocks,
            block_size: 32,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            dtype: self.dtype,
        };
        KvPool::new(layout).unwrap()
    }

    /// What the pool makes of a key or a value.
    fn stored(&self, x: f32) -> f64 {
        f64::from(if self.dtype == KvDtype::Bf16 { bf16::from_f32(x).to_f32() } else { x })
    }

    /// Whether queries and probabilities are rounded to bf16.
    fn rounds(&self, isa: Isa) -> bool {
        #[cfg(target_arch = "x86_64")]
        let pairs = isa.has_bf16_dot();
        #[cfg(not(target_arch = "x86_64"))]
        let pairs = isa != isa;
        self.dtype == KvDtype::Bf16 && pairs
    }

    /// The result in f64, of keys and values as stored, and queries as they are or `rounded` to bf16.
    fn exact(&self, rounded: bool) -> Vec<f64> {
        let (mut q, k, v) = (self.q(), self.k(), self.v());
        if rounded {
            for x in &mut q {
                *x = bf16::from_f32(*x).to_f32();
            }
        }
        let (d, group) = (self.head_dim, self.heads / self.kv_heads);
        let mut out = Vec::new();
        for (lane, q) in q.chunks(d).enumerate() {
            let (row, kv_head) = (lane / self.heads, lane % self.heads / group);
            let first = self.settings.sliding_window.map_or(0, |window| (row + 1).saturating_sub(window));
            let at = |j: usize| (j * self.kv_heads + kv_head) * d;
            let score = |j: usize| {
                let dot: f64 = (0..d).map(|i| f64::from(q[i]) * self.stored(k[at(j) + i])).sum();
                let score = dot * self.settings.scale;
                self.settings
                    .logit_softcap
                    .map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
            };
            let weights: Vec<f64> = (first..=row).map(|j| score(j).exp()).collect();
            let sum: f64 = weights.iter().sum();
            out.extend((0..d).map(|i| {
                (first..=row).zip(&weights).map(|(j, w)| w / sum * self.stored(v[at(j) + i])).sum::<f64>()
            }));
        }
        out
    }
}

/// Rows `from..to` of a sequence.
struct Piece<'a> {
    case: &'a Case,
    from: usize,
    to: usize,
    table: Vec<u32>,
}

/// One step over pieces of several sequences of one model; the pieces' outputs, one after the other.
fn step(pieces: &[Piece<'_>], pool: &Arc<KvPool>, workers: &Arc<Workers>) -> Vec<Vec<f32>> {
    step_with(pieces, pool, workers, true)
}

fn step_with(
    pieces: &[Piece<'_>],
    pool: &Arc<KvPool>,
    workers: &Arc<Workers>,
    group_prefixes: bool,
) -> Vec<Vec<f32>> {
    let case = pieces[0].case;
    let gather = |values: fn(&Case) -> Vec<f32>, heads: usize| {
        let width = heads * case.head_dim;
        let rows = pieces.iter().flat_map(|p| values(p.case)[p.from * width..p.to * width].to_vec());
        let rows: Vec<f32> = rows.collect();
        Tensor::from_slice(&rows, (rows.len() / width, heads, case.head_dim), &Device::Cpu).unwrap()
    };
    let mut cu_seqlens = vec![0];
    for piece in pieces {
        cu_seqlens.push(cu_seqlens[cu_seqlens.len() - 1] + (piece.to - piece.from) as u32);
    }
    let batch = PagedBatch::new(
        Arc::new(cu_seqlens),
        Arc::new(pieces.iter().flat_map(|p| p.from as u32..p.to as u32).collect()),
        pieces.iter().map(|p| p.table.clone()).collect(),
    );
    let batch = if group_prefixes { batch } else { batch.without_grouping() };
    let (q, k, v) =
        (gather(Case::q, case.heads), gather(Case::k, case.kv_heads), gather(Case::v, case.kv_heads));
    let out = paged_attention(&q, &k, &v, pool, 1, &Arc::new(batch), case.settings, workers).unwrap();
    let out = out.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let mut rest = out.as_slice();
    let width = case.heads * case.head_dim;
    let mut outputs = Vec::new();
    for piece in pieces {
        let (own, others) = rest.split_at((piece.to - piece.from) * width);
        outputs.push(own.to_vec());
        rest = others;
    }
    outputs
}

fn blocks(count: usize, first: usize) -> Vec<u32> {
    (first as u32..(first + count) as u32).collect()
}

/// The whole sequence in one step, in fresh memory.
fn at_once(case: &Case, isa: Isa, threads: usize) -> Vec<f32> {
    let count = case.length.div_ceil(32);
    let piece = Piece { case, from: 0, to: case.length, table: blocks(count, 0) };
    step(&[piece], &case.pool(count), &Workers::with_isa(threads, isa)).remove(0)
}

fn check_against_f64(case: &Case) {
    for isa in Isa::available() {
        let rounds = case.rounds(isa);
        // In f32, scores are rounded at some 1e-6 and values are below 1. A probability rounded to bf16 is off by at
        // most 2^-8 of itself, in the sum as well, so a result is by 2^-8 of the mean distance of a value from it,
        // which is 1 at most; in the mean over many results the errors are a tenth of that.
        let (bound, mean_bound) = if rounds { (4.0e-3, 5.0e-4) } else { (1e-5, 1e-5) };
        let mut sum = 0.0;
        let exact = case.exact(rounds);
        for (at, (&y, exact)) in at_once(case, isa, 2).iter().zip(&exact).enumerate() {
            let error = (f64::from(y) - exact).abs();
            sum += error;
            assert!(error < bound, "{isa} at {at}: {y}, exact {exact}");
        }
        let mean = sum / exact.len() as f64;
        assert!(mean < mean_bound, "{isa}: mean error {mean}");
    }
}

/// Cut at `cuts` (ascending), with another sequence in every step, in blocks that lie backwards and held NaN.
fn check_invariance(case: &Case, cuts: &[usize], threads: usize) {
    for isa in Isa::available() {
        let expected = bits(&at_once(case, isa, 1));
        let workers = Workers::with_isa(threads, isa);
        let count = case.length.div_ceil(32);
        let pool = case.pool(2 * count + 1);
        match &mut *pool.lock() {
            KvElements::F32(elements) => elements.fill(f32::NAN),
            KvElements::Bf16(elements) => elements.fill(0x7fc0),
        }
        let other = Case { seed: 7, ..case.clone() };
        let table: Vec<u32> = (0..count as u32).rev().collect();
        let other_table = blocks(count, count + 1);
        // The padding is zero in a pool's life; the test's NaN there reaches no output either.
        let mut found = Vec::new();
        let mut from = 0;
        for &to in cuts.iter().chain([&case.length]) {
            if to <= from || to > case.length {
                continue;
            }
            let mine = Piece { case, from, to, table: table.clone() };
            let others = Piece { case: &other, from, to, table: other_table.clone() };
            let pieces = if to % 2 == 0 { vec![mine, others] } else { vec![others, mine] };
            let mut outputs = step(&pieces, &pool, &workers);
            found.extend(outputs.remove(usize::from(to % 2 == 1)));
            from = to;
        }
        assert!(bits(&found) == expected, "{isa}: cuts {cuts:?}, {threads} threads");
    }
}

#[test]
fn follows_f64() {
    for (heads, kv_heads, head_dim, length) in [
        (1, 1, 1, 1),
        (2, 1, 4, 5),
        (9, 3, 64, 100),
        (4, 4, 80, 70),
        (8, 1, 20, 33),
        (32, 1, 16, 40),
        (4, 2, 128, 70),
        (3, 1, 150, 40),
        // Phi-3-mini's, and Gemma's.
        (4, 4, 96, 70),
        (4, 2, 256, 70),
    ] {
        for dtype in [KvDtype::F32, KvDtype::Bf16] {
            let case = Case { dtype, ..Case::new(heads, kv_heads, head_dim, length) };
            check_against_f64(&case);
            for window in [1, 7, 32, 40, 1000] {
                let settings = AttentionSettings { sliding_window: Some(window), ..SETTINGS };
                check_against_f64(&Case { settings, ..case.clone() });
            }
            for window in [None, Some(33)] {
                let settings =
                    AttentionSettings { logit_softcap: Some(2.0), sliding_window: window, ..SETTINGS };
                check_against_f64(&Case { settings, ..case.clone() });
            }
        }
    }
}

#[test]
fn a_maximum_that_climbs_is_followed() {
    // Scores grow along the sequence, in some lanes by more than the reference of a lane may lag behind.
    for dtype in [KvDtype::F32, KvDtype::Bf16] {
        for scale in [0.01, 1.0, 3.0, -2.0] {
            let settings = AttentionSettings { scale, ..SETTINGS };
            check_against_f64(&Case { dtype, settings, seed: 3, ..Case::new(6, 2, 8, 300) });
        }
    }
}

/// Six sequences in a tree: 64 positions in common, 96 for the first three; then chunks and single rows. Together
/// with and without grouping, and each alone.
fn check_grouping(case: &Case, threads: usize) {
    const LENGTHS: [usize; 6] = [1, 40, 7, 1, 33, 1];
    let case = Case { length: 140, ..case.clone() };
    let cases: Vec<Case> = (0..6).map(|seed| Case { seed: 10 + seed, ..case.clone() }).collect();
    for isa in Isa::available() {
        let workers = Workers::with_isa(threads, isa);
        let pool = case.pool(3 + 6 * 3);
        step(&[Piece { case: &case, from: 0, to: 96, table: vec![0, 1, 2] }], &pool, &workers);
        let piece = |index: usize| {
            let shared = if index < 3 { 3 } else { 2 };
            let own = blocks(3, 3 + 3 * index);
            let from = 32 * shared;
            let table = [&[0, 1, 2][..shared], &own].concat();
            Piece { case: &cases[index], from, to: from + LENGTHS[index], table }
        };
        let pieces: Vec<_> = (0..6).map(piece).collect();
        let all = |outputs: Vec<Vec<f32>>| bits(&outputs.concat());
        let grouped = all(step_with(&pieces, &pool, &workers, true));
        assert!(all(step_with(&pieces, &pool, &workers, false)) == grouped, "{isa}: grouping changes bits");
        let alone = pieces.into_iter().flat_map(|piece| step(&[piece], &pool, &Workers::with_isa(1, isa)));
        assert!(all(alone.collect()) == grouped, "{isa}: company changes bits, {threads} threads");
    }
}

#[test]
fn grouping_changes_no_bit() {
    for dtype in [KvDtype::F32, KvDtype::Bf16] {
        for (heads, kv_heads, head_dim) in [
            (9, 3, 64),
            (4, 4, 80),
            (8, 1, 20),
            (32, 1, 16),
            (6, 2, 128),
            (5, 1, 33),
            (4, 4, 96),
            (4, 2, 256),
        ] {
            let case = Case { dtype, ..Case::new(heads, kv_heads, head_dim, 1) };
            for threads in [1, 2, 7] {
                check_grouping(&case, threads);
            }
            for window in [3, 33, 70] {
                let settings = AttentionSettings { sliding_window: Some(window), ..SETTINGS };
                check_grouping(&Case { settings, ..case.clone() }, 2);
            }
            // Scores far apart, so that maxima move often.
            let settings = AttentionSettings { scale: 20.0, logit_softcap: Some(30.0), ..SETTINGS };
            check_grouping(&Case { settings, ..case }, 2);
        }
    }
}

#[test]
fn rows_of_a_fused_projection_are_read_where_they_lie() {
    let (rows, heads, kv_heads, head_dim) = (40, 6, 2, 24);
    let fused = numbers(5, rows * (heads + 2 * kv_heads) * head_dim);
    let fused = Tensor::from_vec(fused, (rows, heads + 2 * kv_heads, head_dim), &Device::Cpu).unwrap();
    let part = |from, count| fused.narrow(1, from, count).unwrap();
    let (q, k, v) = (part(0, heads), part(heads, kv_heads), part(heads + kv_heads, kv_heads));
    let transposed = |x: &Tensor| x.transpose(1, 2).unwrap().contiguous().unwrap().transpose(1, 2).unwrap();
    for dtype in [KvDtype::F32, KvDtype::Bf16] {
        let pool = Case { dtype, ..Case::new(heads, kv_heads, head_dim, rows) }.pool(2);
        let attend = |q: &Tensor, k: &Tensor, v: &Tensor| {
            let positions = (0..rows as u32).collect();
            let batch =
                PagedBatch::new(Arc::new(vec![0, rows as u32]), Arc::new(positions), vec![vec![1, 0]]);
            let out =
                paged_attention(q, k, v, &pool, 1, &Arc::new(batch), SETTINGS, &Workers::new(2)).unwrap();
            bits(&out.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        let own = |x: &Tensor| x.contiguous().unwrap();
        let expected = attend(&own(&q), &own(&k), &own(&v));
        assert!(attend(&q, &k, &v) == expected);
        assert!(attend(&transposed(&q), &transposed(&k), &transposed(&v)) == expected);
    }
}

#[test]
fn chunks_company_threads_and_old_memory_change_no_bit() {
    let one_by_one: Vec<usize> = (0..100).collect();
    for dtype in [KvDtype::F32, KvDtype::Bf16] {
        for window in [None, Some(5), Some(40)] {
            let settings = AttentionSettings { sliding_window: window, ..SETTINGS };
            let case = Case { dtype, settings, ..Case::new(6, 2, 24, 100) };
            for threads in 1..=4 {
                check_invariance(&case, &[], threads);
                check_invariance(&case, &[31, 32, 33, 64, 90], threads);
            }
            check_invariance(&case, &one_by_one, 2);
        }
    }
    check_invariance(&Case::new(9, 3, 64, 150), &[149], 2);
    check_invariance(&Case::new(5, 5, 7, 40), &one_by_one, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_cut_changes_no_bit(
        mut cuts in proptest::collection::vec(0usize..90, 0..6),
        group in 1usize..9,
        head_dim in 1usize..140,
        bf16: bool,
        window in proptest::option::of(1usize..100),
        threads in 1usize..4,
    ) {
        cuts.sort_unstable();
        let settings = AttentionSettings { sliding_window: window, ..SETTINGS };
        let dtype = if bf16 { KvDtype::Bf16 } else { KvDtype::F32 };
        let case = Case { dtype, settings, ..Case::new(2 * group, 2, head_dim, 90) };
        check_against_f64(&case);
        check_invariance(&case, &cuts, threads);
    }
}

#[test]
fn a_shared_prefix_is_read_from_its_blocks() {
    // Two sequences with the same first 32 positions share that block; the second never computes it.
    let case = Case::new(4, 2, 16, 50);
    for isa in Isa::available() {
        let workers = Workers::with_isa(2, isa);
        let pool = case.pool(4);
        let first = step(&[Piece { case: &case, from: 0, to: 50, table: vec![3, 1] }], &pool, &workers);
        let second = step(&[Piece { case: &case, from: 32, to: 50, table: vec![3, 2] }], &pool, &workers);
        assert_eq!(bits(&second[0]), bits(&first[0][32 * 4 * 16..]));
        // And a copy of the second block serves as well as the block.
        pool.copy_block(1, 0).unwrap();
        let third = step(&[Piece { case: &case, from: 49, to: 50, table: vec![3, 0] }], &pool, &workers);
        assert_eq!(bits(&third[0]), bits(&first[0][49 * 4 * 16..]));
    }
}

#[test]
fn wrong_operands_are_errors() {
    let case = Case::new(4, 2, 8, 3);
    let zeros = |shape: [usize; 3]| Tensor::zeros(&shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let check =
        |q, kv, layer, cu_seqlens: &[u32], positions: &[u32], tables: &[&[u32]], window, expected: &str| {
            let batch = PagedBatch::new(
                Arc::new(cu_seqlens.to_vec()),
                Arc::new(positions.to_vec()),
                tables.iter().map(|table| table.to_vec()).collect(),
            );
            let settings = AttentionSettings { sliding_window: window, ..SETTINGS };
            let kv = zeros(kv);
            let (pool, workers) = (case.pool(2), Workers::new(1));
            let result =
                paged_attention(&zeros(q), &kv, &kv, &pool, layer, &Arc::new(batch), settings, &workers);
            let message = result.map_or_else(|error| error.to_string(), |_| "no error".to_owned());
            assert!(message.contains(expected), "{message}");
        };
    let (q, kv) = ([2, 4, 8], [2, 2, 8]);
    check(q, kv, 0, &[0, 2], &[0, 1], &[&[0]], None, "no error");
    check([2, 4, 9], kv, 0, &[0, 2], &[0, 1], &[&[0]], None, "q of shape");
    check(q, [2, 1, 8], 0, &[0, 2], &[0, 1], &[&[0]], None, "k of shape");
    check([2, 3, 8], kv, 0, &[0, 2], &[0, 1], &[&[0]], None, "3 query heads");
    check(q, kv, 2, &[0, 2], &[0, 1], &[&[0]], None, "layer 2");
    check(q, kv, 0, &[0, 1], &[0, 1], &[&[0]], None, "cu_seqlens");
    check(q, kv, 0, &[], &[0, 1], &[&[0]], None, "cu_seqlens");
    check(q, kv, 0, &[0, 2, 1, 2], &[0, 1], &[&[0], &[1], &[1]], None, "cu_seqlens");
    check(q, kv, 0, &[0, 2], &[0, 1], &[&[2]], None, "block 2 of 2");
    check(q, kv, 0, &[0, 2], &[0, 32], &[&[0]], None, "needs 2 blocks");
    check(q, kv, 0, &[0, 2], &[5, 5], &[&[0]], None, "two rows write position 5 of block 0");
    check(q, kv, 0, &[0, 2], &[0, 1], &[&[0]], Some(0), "sliding window");
}

/// A row that is computed beside its successors, as beside drafts, does not see what is wrong with their values; who
/// sees such a value gets NaN.
#[test]
fn values_that_are_none_reach_those_who_see_them() {
    for dtype in [KvDtype::F32, KvDtype::Bf16] {
        for isa in Isa::available() {
            for (bad, wrong) in [(3, f32::INFINITY), (4, f32::NAN), (33, f32::NEG_INFINITY), (40, f32::MAX)] {
                let (case, workers) = (Case { dtype, ..Case::new(2, 1, 16, 45) }, Workers::with_isa(1, isa));
                let run = |v: Vec<f32>| {
                    let tensor = |values: Vec<f32>, heads| {
                        Tensor::from_vec(values, (45, heads, 16), &Device::Cpu).unwrap()
                    };
                    let (q, k, v) = (tensor(case.q(), 2), tensor(case.k(), 1), tensor(v, 1));
                    let batch =
                        PagedBatch::new(Arc::new(vec![0, 45]), Arc::new((0..45).collect()), vec![vec![1, 0]]);
                    let batch = Arc::new(batch);
                    let out = paged_attention(&q, &k, &v, &case.pool(2), 1, &batch, SETTINGS, &workers);
                    out.unwrap().to_vec2::<f32>().unwrap()
                };
                let mut v = case.v();
                v[bad * 16 + 5] = wrong;
                let (sound, found) = (run(case.v()), run(v));
                assert!(found[..bad] == sound[..bad], "{isa} {dtype:?}: rows before {bad}");
                // An f32 pool could hold the largest number, but need not.
                assert!(
                    found[bad..].iter().flatten().all(|y| y.is_nan()),
                    "{isa} {dtype:?}: rows from {bad}"
                );
            }
        }
    }
}

#[test]
fn a_gradient_is_refused() {
    let case = Case::new(1, 1, 4, 1);
    let x = Var::zeros((1, 1, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let batch = PagedBatch::new(Arc::new(vec![0, 1]), Arc::new(vec![0]), vec![vec![0]]);
    let (pool, workers) = (case.pool(1), Workers::new(1));
    let y = paged_attention(&x, &x, &x, &pool, 0, &Arc::new(batch), SETTINGS, &workers).unwrap();
    assert!(y.sum_all().unwrap().backward().is_err());
}
