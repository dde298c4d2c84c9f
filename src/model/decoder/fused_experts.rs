//! Experts as transformers 5 keeps them in memory, and as its trainers send them: gates and ups of a layer's experts in one tensor
//! (`mlp.experts.gate_up_proj`, `[experts, 2 * width, hidden]`), downs in another (`mlp.experts.down_proj`, `[experts, hidden, width]`),
//! the router as `mlp.gate`. Its checkpoints have a tensor an expert, whose names the decoder knows.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::model::DecoderConfig;
use crate::weights::{TensorSource, TensorType, TensorView, WeightsError};

const GATE_UP: &str = "mlp.experts.gate_up_proj";
const DOWN: &str = "mlp.experts.down_proj";
const ROUTER: &str = "mlp.gate.weight";

/// One tensor of a trainer, and what the decoder takes from it: each part with its place among the equal parts of the whole, in
/// their order.
pub struct FusedTensor {
    pub name: String,
    pub shape: Vec<usize>,
    /// Names of the decoder's tensors.
    parts: Vec<String>,
    /// `[out, in]` of every part.
    part_shape: [usize; 2],
}

/// All that a trainer may send of a decoder's experts under names that the decoder does not have.
pub fn of(config: &DecoderConfig) -> Vec<FusedTensor> {
    let mut all = Vec::new();
    for layer in 0..config.layers {
        let Some(experts) = config.experts_of(layer) else { continue };
        let (count, width, hidden) = (experts.experts, experts.intermediate_size, config.hidden_size);
        let prefix = format!("model.layers.{layer}");
        let weight = |part: &String| format!("{prefix}.{part}.weight");
        let names: Vec<[String; 3]> = (0..count).map(|expert| experts.names.expert(expert)).collect();
        let mut add = |name: &str, shape: Vec<usize>, parts: Vec<String>, part_shape| {
            all.push(FusedTensor { name: format!("{prefix}.{name}"), shape, parts, part_shape });
        };
        let gate_up = names.iter().flat_map(|[gate, up, _]| [weight(gate), weight(up)]).collect();
        add(GATE_UP, vec![count, 2 * width, hidden], gate_up, [width, hidden]);
        let down = names.iter().map(|[_, _, down]| weight(down)).collect();
        add(DOWN, vec![count, hidden, width], down, [hidden, width]);
        let router = weight(&experts.names.router());
        if !router.ends_with(ROUTER) {
            add(ROUTER, vec![count, hidden], vec![router], [count, hidden]);
        }
    }
    all
}

/// The decoder's names for what comes under a trainer's.
pub fn parts(fused: &[FusedTensor]) -> HashMap<&str, &[String]> {
    fused.iter().map(|tensor| (tensor.name.as_str(), tensor.parts.as_slice())).collect()
}

/// Tensors of a trainer under the decoder's names.
pub struct Unfused<'a> {
    source: &'a dyn TensorSource,
    /// By the decoder's name: the whole, the place in it and the shape.
    parts: HashMap<String, Part>,
    wholes: HashSet<String>,
}

struct Part {
    whole: String,
    index: usize,
    shape: [usize; 2],
}

impl<'a> Unfused<'a> {
    /// `source` has no tensors but such as the decoder or `fused` name, of their shapes.
    pub fn new(source: &'a dyn TensorSource, fused: Vec<FusedTensor>) -> Self {
        let (mut parts, mut wholes) = (HashMap::new(), HashSet::new());
        for tensor in fused.into_iter().filter(|tensor| source.contains(&tensor.name)) {
            for (index, name) in tensor.parts.into_iter().enumerate() {
                parts.insert(name, Part { whole: tensor.name.clone(), index, shape: tensor.part_shape });
            }
            wholes.insert(tensor.name);
        }
        Self { source, parts, wholes }
    }
}

impl TensorSource for Unfused<'_> {
    fn names(&self) -> Vec<String> {
        let own = self.source.names().into_iter().filter(|name| !self.wholes.contains(name));
        let mut names: Vec<String> = own.chain(self.parts.keys().cloned()).collect();
        names.sort();
        names
    }

    fn contains(&self, name: &str) -> bool {
        self.parts.contains_key(name) || self.source.contains(name) && !self.wholes.contains(name)
    }

    fn stored_name(&self, name: &str) -> String {
        self.parts.get(name).map_or_else(|| self.source.stored_name(name), |part| part.whole.clone())
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>, WeightsError> {
        self.parts.get(name).map_or_else(|| self.source.shape(name), |part| Ok(part.shape.to_vec()))
    }

    fn dtype(&self, name: &str) -> Result<TensorType, WeightsError> {
        self.source.dtype(self.parts.get(name).map_or(name, |part| &part.whole))
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
        let Some(Part { whole, index, shape }) = self.parts.get(name) else {
            return self.source.tensor(name);
        };
        let mut view = self.source.tensor(whole)?;
        let length = shape[0] * shape[1] / view.dtype.block_elements() * view.dtype.block_bytes();
        let range = index * length..(index + 1) * length;
        view.bytes = match view.bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
            Cow::Owned(bytes) => Cow::Owned(bytes[range].to_vec()),
        };
        name.clone_into(&mut view.name);
        view.shape = shape.to_vec();
        Ok(view)
    }
}
