//! Which output file each tensor goes to, and where in it.

use serde_json::{Map, Value, json};

use super::super::config::Dtype;
use super::PlannedTensor;

impl Dtype {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    pub fn safetensors_name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    /// Its name in a config.json.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }
}

/// One output file.
#[derive(Debug, Clone, PartialEq)]
pub struct Shard {
    pub file: String,
    /// Indices of the plan's tensors, in the file's order.
    pub tensors: Vec<usize>,
    /// Where each tensor's bytes begin, after the header.
    pub offsets: Vec<u64>,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Cut tensors, in order, into files.
pub fn cut(tensors: &[PlannedTensor], shard_bytes: u64) -> Vec<Shard> {
    let empty = || Shard { file: String::new(), tensors: Vec::new(), offsets: Vec::new(), bytes: 0 };
    let mut shards = vec![empty()];
    for (at, tensor) in tensors.iter().enumerate() {
        let bytes = tensor.bytes();
        let is_full = shards.last().is_some_and(|shard| shard.bytes > 0 && shard.bytes + bytes > shard_bytes);
        if is_full {
            shards.push(empty());
        }
        if let Some(shard) = shards.last_mut() {
            shard.tensors.push(at);
            shard.offsets.push(shard.bytes);
            shard.bytes += bytes;
        }
    }
    let count = shards.len();
    for (at, shard) in shards.iter_mut().enumerate() {
        shard.file = match count {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", at + 1),
        };
    }
    shards
}

impl Shard {
    /// The file's beginning: the length of the JSON header, and the header, padded to eight bytes.
    pub fn header(&self, tensors: &[PlannedTensor]) -> Vec<u8> {
        let mut header = Map::new();
        header.insert("__metadata__".into(), json!({ "format": "pt" }));
        for (at, start) in self.tensors.iter().zip(&self.offsets) {
            let tensor = &tensors[*at];
            let entry = json!({
                "dtype": tensor.dtype.safetensors_name(),
                "shape": tensor.shape,
                "data_offsets": [start, start + tensor.bytes()],
            });
            header.insert(tensor.name.clone(), entry);
        }
        let mut text = Value::Object(header).to_string();
        text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.into_bytes());
        bytes
    }
}

/// The `model.safetensors.index.json` of several files.
pub fn index(shards: &[Shard], tensors: &[PlannedTensor]) -> Value {
    let mut map = Map::new();
    for shard in shards {
        for at in &shard.tensors {
            map.insert(tensors[*at].name.clone(), json!(shard.file));
        }
    }
    let total: u64 = shards.iter().map(|shard| shard.bytes).sum();
    json!({ "metadata": { "total_size": total }, "weight_map": map })
}
