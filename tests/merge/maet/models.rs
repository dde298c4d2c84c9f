//! Small models of made-up numbers, and reading models whole.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use xenoglot::weights::open_weights;

/// Name, shape and elements, by name.
pub type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// A path is one of the fixtures', or whole.
pub fn locate(path: &str, revision: Option<&str>) -> Result<PathBuf, String> {
    if Path::new(path).is_absolute() { Ok(path.into()) } else { super::super::locate(path, revision) }
}

pub fn read(folder: &Path) -> Tensors {
    let (_, source) = open_weights(folder).unwrap();
    let read = |name: String| {
        let view = source.tensor(&name).unwrap();
        (name, view.shape.clone(), view.to_f32().unwrap())
    };
    source.names().into_iter().map(read).collect()
}

/// Write a model in f32; its path.
pub fn write(folder: &Path, tensors: &Tensors) -> String {
    std::fs::create_dir_all(folder).unwrap();
    let (mut header, mut bytes) = (String::new(), Vec::new());
    for (name, shape, values) in tensors {
        let start = bytes.len();
        for value in values {
            bytes.extend(value.to_le_bytes());
        }
        let end = bytes.len();
        let comma = if header.is_empty() { "{" } else { "," };
        write!(
            header,
            r#"{comma}"{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        )
        .unwrap();
    }
    header.push('}');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.into_bytes());
    file.extend(bytes);
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    folder.to_str().unwrap().to_owned()
}

/// Numbers around 0, the same for the same seed.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Of several pieces, of rows that do not fit pieces, vectors, a scalar, three axes, names of which one is in another.
pub const SHAPES: &[(&str, &[usize])] = &[
    ("a.layers.1.q_proj.weight", &[9, 5]),
    ("big.weight", &[151, 257]),
    ("layers.1.q_proj.weight", &[5, 9]),
    ("layers.1.q_proj.weight_scale", &[7]),
    ("layers.11.q_proj.weight", &[3, 2, 4]),
    ("one", &[]),
    ("wide.weight", &[2, 20_000]),
];

pub fn made_up(change: &mut dyn FnMut(&str, usize) -> f32) -> Tensors {
    let tensor = |(name, shape): &(&str, &[usize])| {
        let values = (0..shape.iter().product()).map(|at| change(name, at)).collect();
        ((*name).to_owned(), shape.to_vec(), values)
    };
    SHAPES.iter().map(tensor).collect()
}
