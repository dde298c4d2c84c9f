//! Against finite differences, PyTorch, and a batch against its sequences alone.

use candle_core::{Device, Tensor};

use super::*;
use crate::ops::Isa;
use crate::ops::testing::{Golden, bits, check_gradient, doubles, numbers};

fn settings(window: Option<usize>) -> AttentionSettings {
    AttentionSettings { scale: 8f64.sqrt().recip(), sliding_window: window, logit_softcap: None }
}

/// The three ways, each with a window or without, in f64 at lengths around the tiles of rows.
#[test]
fn gradients_follow_finite_differences() {
    let workers = Workers::new(2);
    for (causal, window, offsets) in
        [(true, None, [0, 1, 6]), (true, Some(3), [0, 5, 9]), (false, None, [0, 3, 7])]
    {
        let tokens = offsets[2] as usize;
        let sequences = Sequences {
            offsets: &offsets,
            branches: &[],
            heads: 4,
            kv_heads: 2,
            head_dim: 3,
            causal,
            window,
            scale: 0.7,
            workers: &workers,
        };
        let [q, k, v, upstream] =
            [(1, 12), (2, 6), (3, 6), (4, 12)].map(|(seed, width)| doubles(seed, tokens * width));
        let run = |q: &[f64], k: &[f64], v: &[f64]| {
            let (out, log_sums) = forward::forward(&sequences, q, k, v);
            let loss: f64 = out.iter().zip(&upstream).map(|(x, g)| x * g).sum();
            let operands =
                backward::Operands { q, k, v, out: &out, log_sums: &log_sums, gradient: &upstream };
            (loss, backward::backward(&sequences, &operands))
        };
        let of = |index: usize, (loss, gradients): (f64, [Vec<f64>; 3])| (loss, gradients[index].clone());
        check_gradient(&q, 1e-7, |q| of(0, run(q, &k, &v)));
        check_gradient(&k, 1e-7, |k| of(1, run(&q, k, &v)));
        check_gradient(&v, 1e-7, |v| of(2, run(&q, &k, v)));
    }
}

/// The result and the gradients of one head, row by row in f64: what a tile after the other is to give.
fn whole(
    [q, k, v, upstream]: [&[f64]; 4],
    width: usize,
    sees: impl Fn(usize, usize) -> bool,
    scale: f64,
) -> [Vec<f64>; 4] {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let at = |x: &'_ [f64], row: usize| x[row * width..][..width].to_vec();
    let [mut out, mut dq, mut dk, mut dv] = [q, q, k, v].map(|x| vec![0.0; x.len()]);
    let add = |to: &mut [f64], row: usize, factor: f64, x: &[f64]| {
        to[row * width..][..width].iter_mut().zip(x).for_each(|(to, x)| *to += factor * x);
    };
    let tokens = q.len() / width;
    for row in 0..tokens {
        let keys: Vec<usize> = (0..tokens).filter(|&key| sees(row, key)).collect();
        let weights: Vec<f64> =
            keys.iter().map(|&key| (dot(&at(q, row), &at(k, key)) * scale).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for (&key, weight) in keys.iter().zip(&weights) {
            add(&mut out, row, weight / sum, &at(v, key));
        }
        let (gradient, delta) = (at(upstream, row), dot(&at(&out, row), &at(upstream, row)));
        for (&key, weight) in keys.iter().zip(&weights) {
            let slope = weight / sum * (dot(&gradient, &at(v, key)) - delta) * scale;
            add(&mut dq, row, slope, &at(k, key));
            add(&mut dk, key, slope, &at(q, row));
            add(&mut dv, key, weight / sum, &gradient);
        }
    }
    [out, dq, dk, dv]
}

/// Sequences of several parts, whose rows and keys go to different threads.
#[test]
fn long_sequences_are_cut_into_parts() {
    let (tokens, width) = (2300, 3);
    let [q, k, v, upstream] = [1, 2, 3, 4].map(|seed| doubles(seed, tokens * width));
    for (causal, window) in [(true, None), (true, Some(700)), (false, None)] {
        let workers = Workers::new(3);
        let offsets = [0, tokens as u32];
        let sequences = Sequences {
            offsets: &offsets,
            branches: &[],
            heads: 1,
            kv_heads: 1,
            head_dim: width,
            causal,
            window,
            scale: 0.7,
            workers: &workers,
        };
        assert_eq!(Sequences::parts(tokens).count(), 3);
        let (out, log_sums) = forward::forward(&sequences, &q, &k, &v);
        let operands =
            backward::Operands { q: &q, k: &k, v: &v, out: &out, log_sums: &log_sums, gradient: &upstream };
        let [dq, dk, dv] = backward::backward(&sequences, &operands);
        let sees =
            |row: usize, key: usize| !causal || key <= row && window.is_none_or(|window| row - key < window);
        let expected = whole([&q, &k, &v, &upstream], width, sees, 0.7);
        for (found, expected) in [out, dq, dk, dv].iter().zip(&expected) {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= 1e-11, "{causal} {window:?}: {found} {expected}");
            }
        }
    }
}

#[test]
fn follows_pytorch() {
    let inputs = Golden::new("attention");
    let offsets = Arc::new(inputs.integers("cu_seqlens").iter().map(|&x| x as u32).collect::<Vec<_>>());
    let window = Some(inputs.integers("window")[0] as usize);
    for (name, causal, window) in [
        ("attention.causal", true, None),
        ("attention.sliding", true, window),
        ("attention.bidirectional", false, None),
    ] {
        let golden = Golden::new(name);
        for isa in Isa::available() {
            let [q, k, v] = ["q", "k", "v"].map(|name| inputs.var(name));
            let qkv = [q.as_tensor(), k.as_tensor(), v.as_tensor()];
            let out =
                dense_attention(qkv, &offsets, causal, settings(window), &Workers::with_isa(2, isa)).unwrap();
            golden.compare("out", &out);
            let upstream = inputs.tensor("gradient.out").to_dtype(candle_core::DType::F32).unwrap();
            let upstream = upstream.reshape(out.shape()).unwrap();
            let gradients = (out * upstream).unwrap().sum_all().unwrap().backward().unwrap();
            for (name, var) in [("gradient.q", &q), ("gradient.k", &k), ("gradient.v", &v)] {
                golden.compare(name, gradients.get(var.as_tensor()).unwrap());
            }
        }
    }
}

/// Results and gradients of a batch are those of its sequences alone, in bits, and do not depend on the threads.
#[test]
fn sequences_do_not_see_each_other() {
    let run = |lengths: &[usize], skip: usize, threads: usize| {
        let tokens: usize = lengths.iter().sum();
        let mut offsets = vec![0];
        offsets.extend(lengths.iter().scan(0, |end, len| {
            *end += *len as u32;
            Some(*end)
        }));
        let var = |seed, heads: usize| {
            let x = numbers(seed, 1200 * heads * 20)[skip * heads * 20..][..tokens * heads * 20].to_vec();
            candle_core::Var::from_vec(x, (tokens, heads, 20), &Device::Cpu).unwrap()
        };
        let (q, k, v) = (var(1, 4), var(2, 2), var(3, 2));
        let qkv = [q.as_tensor(), k.as_tensor(), v.as_tensor()];
        let workers = Workers::new(threads);
        let out = dense_attention(qkv, &Arc::new(offsets), true, settings(Some(90)), &workers).unwrap();
        let gradients = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let gradient = |x: &Tensor| values(gradients.get(x).unwrap());
        [values(&out), gradient(q.as_tensor()), gradient(k.as_tensor()), gradient(v.as_tensor())]
    };
    // Longer than a part.
    for (one, many) in run(&[1100, 20], 0, 3).iter().zip(&run(&[1100, 20], 0, 1)) {
        assert_eq!(bits(one), bits(many));
    }
    let all = run(&[3, 330, 65], 0, 1);
    for (one, many) in run(&[3, 330, 65], 0, 3).iter().zip(&all) {
        assert_eq!(bits(one), bits(many));
    }
    for (alone, all) in run(&[330], 3, 2).iter().zip(&all) {
        let width = alone.len() / 330;
        assert_eq!(bits(alone), bits(&all[3 * width..333 * width]));
    }
}

#[test]
fn shapes_must_fit() {
    let tensor = |heads| Tensor::zeros((4, heads, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
    let error = |heads, kv_heads, offsets: &[u32]| {
        let (q, k) = (tensor(heads), tensor(kv_heads));
        let offsets = Arc::new(offsets.to_vec());
        dense_attention([&q, &k, &k], &offsets, true, settings(None), &Workers::new(1)).is_err()
    };
    assert!(error(3, 2, &[0, 4]) && error(4, 2, &[0, 5]) && error(4, 2, &[1, 4]) && error(4, 2, &[0, 5, 4]));
    assert!(!error(4, 2, &[0, 0, 4]));
}

/// Sequences of a stem and branches, at lengths around the tiles: results and gradients are those of each branch's row seeing
/// the stem and its own branch.
#[test]
fn branches_see_the_stem_and_themselves() {
    let width = 3;
    for (stem, lengths, window) in [
        (5usize, vec![2usize, 7, 1], None),
        (5, vec![2, 7, 1], Some(4)),
        (0, vec![3, 4], None),
        (70, vec![300, 5, 400, 40], None),
        (600, vec![30, 500, 200], Some(90)),
        (1, vec![64; 20], None),
    ] {
        let starts: Vec<usize> = lengths
            .iter()
            .scan(stem, |end, length| {
                *end += length;
                Some(*end - length)
            })
            .collect();
        let tokens = stem + lengths.iter().sum::<usize>();
        let [q, k, v, upstream] = [1, 2, 3, 4].map(|seed| doubles(seed, tokens * width));
        let workers = Workers::new(3);
        let (offsets, branches) = ([0, tokens as u32], [starts.iter().map(|&start| start as u32).collect()]);
        let sequences = Sequences {
            offsets: &offsets,
            branches: &branches,
            heads: 1,
            kv_heads: 1,
            head_dim: width,
            causal: true,
            window,
            scale: 0.7,
            workers: &workers,
        };
        let (out, log_sums) = forward::forward(&sequences, &q, &k, &v);
        let operands =
            backward::Operands { q: &q, k: &k, v: &v, out: &out, log_sums: &log_sums, gradient: &upstream };
        let [dq, dk, dv] = backward::backward(&sequences, &operands);
        let start = |row: usize| starts.iter().rev().find(|&&start| start <= row).copied();
        let position = |row: usize| start(row).map_or(row, |start| stem + row - start);
        let sees = |row: usize, key: usize| {
            let is_own = start(key) == start(row) || key < stem;
            let is_near =
                window.is_none_or(|window| position(row) - position(key).min(position(row)) < window);
            key <= row && is_own && is_near
        };
        let expected = whole([&q, &k, &v, &upstream], width, sees, 0.7);
        for (found, expected) in [out, dq, dk, dv].iter().zip(&expected) {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= 1e-11, "{stem} {window:?}: {found} {expected}");
            }
        }
    }
}

#[test]
fn branches_must_fit() {
    let tensor = Tensor::zeros((4, 1, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
    let fails = |branches: Vec<Vec<u32>>, causal| {
        let (offsets, workers) = (Arc::new(vec![0, 4]), Workers::new(1));
        let qkv = [&tensor, &tensor, &tensor];
        branched_attention(qkv, &offsets, &Arc::new(branches), causal, settings(None), &workers).is_err()
    };
    assert!(fails(vec![vec![3, 2]], true) && fails(vec![vec![5]], true) && fails(vec![vec![], vec![]], true));
    assert!(fails(vec![vec![1]], false) && !fails(vec![vec![1, 3]], true));
}
