//! Against finite differences, PyTorch, and a batch against its sequences alone.

use candle_core::{Device, Tensor};

use super::*;
use crate::ops::Isa;
use crate::ops::testing::{Golden, bits, check_gradient, doubles, numbers};

fn settings(window: Option<usize>) -> AttentionSettings {
    AttentionSettings { scale: 8f32.sqrt().recip(), sliding_window: window, logit_softcap: None }
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
            let x = numbers(seed, 1000 * heads * 20)[skip * heads * 20..][..tokens * heads * 20].to_vec();
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
