//! Where a weight stands in a model, told from its name: in which stack of layers, or before or after them.
//!
//! A name's first component that is a number is its layer: `model.layers.3.mlp.up_proj.weight` is layer 3 of the stack
//! `model.layers`. So no table of architectures is needed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::super::inputs::TRUNKS;

/// A layer's weight.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayerName<'a> {
    pub stack: &'a str,
    pub layer: usize,
    pub rest: &'a str,
}

impl<'a> LayerName<'a> {
    pub fn parse(name: &'a str) -> Option<Self> {
        let mut start = 0;
        for part in name.split('.') {
            let end = start + part.len();
            if start > 0
                && !part.is_empty()
                && part.len() < 6
                && part.bytes().all(|byte| byte.is_ascii_digit())
            {
                let (stack, rest) = (&name[..start - 1], name.get(end + 1..)?);
                return Some(Self { stack, layer: part.parse().ok()?, rest });
            }
            start = end + 1;
        }
        None
    }

    pub fn at(&self, layer: usize) -> String {
        format!("{}.{layer}.{}", self.stack, self.rest)
    }
}

/// The weights of some models: by stack those of a layer, and those outside of layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    pub stacks: BTreeMap<String, Stack>,
    pub outside: BTreeSet<String>,
}

/// One stack of layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stack {
    pub layers: usize,
    /// Names after the layer's number, of any layer.
    pub weights: BTreeSet<String>,
}

impl Layout {
    /// Add a model's names.
    pub fn add(&mut self, name: &str) {
        match LayerName::parse(name) {
            None => drop(self.outside.insert(name.to_owned())),
            Some(found) => {
                let stack = self.stacks.entry(found.stack.to_owned()).or_default();
                stack.layers = stack.layers.max(found.layer + 1);
                if !stack.weights.contains(found.rest) {
                    stack.weights.insert(found.rest.to_owned());
                }
            }
        }
    }
}

/// The parts of a trunk that stand under a prefix in some model, so that others that lack it are named alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trunk {
    /// First components after the prefix, with it.
    parts: BTreeMap<String, &'static str>,
}

impl Trunk {
    pub fn add(&mut self, name: &str) {
        let found = TRUNKS.iter().find_map(|prefix| Some((*prefix, name.strip_prefix(prefix)?)));
        if let Some((prefix, rest)) = found {
            let part = rest.split('.').next().unwrap_or(rest);
            if !self.parts.contains_key(part) {
                self.parts.insert(part.to_owned(), prefix);
            }
        }
    }

    /// The name with the prefix, if another model has such.
    pub fn whole<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let part = name.split('.').next().unwrap_or(name);
        self.parts.get(part).map_or(Cow::Borrowed(name), |prefix| Cow::Owned(format!("{prefix}{name}")))
    }
}

/// Whether a weight outside of layers comes before them: embeddings of any kind.
pub fn is_before_layers(name: &str) -> bool {
    name.contains("embed") || name.contains("wte") || name.contains("wpe") || name == "shared.weight"
}

/// Buffers that are computed anew from the configuration and are no weights.
pub fn is_buffer(name: &str) -> bool {
    [".inv_freq", ".position_ids", ".masked_bias", ".attn.bias"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_the_first_number() {
        let check = |name: &str, expected: Option<(&str, usize, &str)>| {
            let found = LayerName::parse(name).map(|name| (name.stack, name.layer, name.rest));
            assert_eq!(found, expected, "{name}");
        };
        check("model.layers.12.mlp.up_proj.weight", Some(("model.layers", 12, "mlp.up_proj.weight")));
        check("encoder.block.0.layer.1.wi.weight", Some(("encoder.block", 0, "layer.1.wi.weight")));
        check("model.layers.1.experts.3.w1.weight", Some(("model.layers", 1, "experts.3.w1.weight")));
        check("lm_head.weight", None);
        check("h.3", None);
        check("0.weight", None);
    }

    #[test]
    fn trunks_take_the_prefix_of_whole_models() {
        let check = |names: &[&str], name: &str, expected: &str| {
            let mut trunk = Trunk::default();
            for name in names {
                trunk.add(name);
            }
            assert_eq!(trunk.whole(name), expected, "{name}");
        };
        let whole = ["transformer.h.0.ln_1.weight", "transformer.wte.weight", "lm_head.weight"];
        check(&whole, "h.3.ln_1.bias", "transformer.h.3.ln_1.bias");
        check(&whole, "wte.weight", "transformer.wte.weight");
        check(&whole, "transformer.wte.weight", "transformer.wte.weight");
        check(&whole, "lm_head.weight", "lm_head.weight");
        check(&["h.0.ln_1.weight"], "h.0.ln_1.weight", "h.0.ln_1.weight");
    }
}
