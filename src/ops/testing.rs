//! Numbers for the operations' tests, and what gradients are compared with.

use candle_core::{DType, Device, Tensor, Var};

/// `count` numbers in -1..1, the same for the same seed (a splitmix64 sequence).
pub fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// For comparisons that tell -0 from 0 and one NaN from another.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// The same numbers in f64.
pub fn doubles(seed: u64, count: usize) -> Vec<f64> {
    numbers(seed, count).into_iter().map(f64::from).collect()
}

/// Compares the gradient that `loss` returns beside its value with central differences of the value. The tolerance is
/// relative to the largest of the gradient.
pub fn check_gradient(at: &[f64], tolerance: f64, loss: impl Fn(&[f64]) -> (f64, Vec<f64>)) {
    /// The cube root of f64's precision, where rounding and curvature cost alike.
    const STEP: f64 = 6e-6;
    let gradient = loss(at).1;
    let largest = gradient.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    assert!(largest > 0.0 && gradient.len() == at.len(), "a gradient of {} zeros", gradient.len());
    for (index, found) in gradient.iter().enumerate() {
        let moved = |by: f64| {
            let mut x = at.to_vec();
            x[index] += by;
            loss(&x).0
        };
        let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        assert!(
            (found - expected).abs() <= tolerance * largest,
            "{index}: {found}, by differences {expected}"
        );
    }
}

/// PyTorch's inputs, output and gradients of one operator; `tests/train/fixtures/README.md` says how they were made.
pub struct Golden {
    name: &'static str,
    tensors: std::collections::HashMap<String, Tensor>,
}

impl Golden {
    pub fn new(name: &'static str) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/train/fixtures/ops.safetensors");
        Self { name, tensors: candle_core::safetensors::load(path, &Device::Cpu).unwrap() }
    }

    pub fn tensor(&self, name: &str) -> &Tensor {
        &self.tensors[&format!("{}.{name}", self.name)]
    }

    pub fn number(&self, name: &str) -> f64 {
        self.tensor(name).flatten_all().unwrap().get(0).unwrap().to_scalar().unwrap()
    }

    pub fn integers(&self, name: &str) -> Vec<i64> {
        self.tensor(name).flatten_all().unwrap().to_vec1().unwrap()
    }

    /// An input in f32, of which gradients are wanted.
    pub fn var(&self, name: &str) -> Var {
        Var::from_tensor(&self.tensor(name).to_dtype(DType::F32).unwrap()).unwrap()
    }

    /// The output and, under the recorded upstream gradient, the gradients of the inputs. f32 against f64: 1e-5 of the
    /// tensor's largest.
    pub fn check(&self, out: &Tensor, inputs: &[(&str, &Var)]) {
        self.compare("out", out);
        let upstream = self.tensor("gradient.out").to_dtype(DType::F32).unwrap();
        let gradients = (out * upstream).unwrap().sum_all().unwrap().backward().unwrap();
        for (name, var) in inputs {
            self.compare(&format!("gradient.{name}"), gradients.get(var.as_tensor()).expect(name));
        }
    }

    pub fn compare(&self, name: &str, found: &Tensor) {
        let numbers = |x: &Tensor| x.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
        let (expected, found) = (numbers(self.tensor(name)).unwrap(), numbers(found).unwrap());
        assert_eq!(expected.len(), found.len(), "{} {name}", self.name);
        let largest = expected.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        for (index, (expected, found)) in expected.iter().zip(&found).enumerate() {
            let distance = (expected - found).abs();
            assert!(distance <= 1e-5 * largest, "{} {name} {index}: {found}, {expected}", self.name);
        }
    }
}
