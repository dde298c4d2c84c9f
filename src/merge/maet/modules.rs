//! Which tensors may take part in a transfer: by the parts of their names, so that no table of architectures is needed.

/// The paper's Table 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    All,
    /// The projections of attention.
    Attention,
    /// The projections of the feed-forward layers.
    Mlp,
    /// Tensors with one of these among the components of their names.
    Parts(Vec<String>),
}

const ATTENTION: &[&str] = &[
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "qkv_proj",
    "out_proj",
    "query_key_value",
    "c_attn",
    "q",
    "k",
    "v",
    "o",
];
const MLP: &[&str] = &[
    "up_proj",
    "gate_proj",
    "down_proj",
    "gate_up_proj",
    "c_fc",
    "fc1",
    "fc2",
    "w1",
    "w2",
    "w3",
    "wi",
    "wi_0",
    "wi_1",
    "wo",
    "dense_h_to_4h",
    "dense_4h_to_h",
];

impl Filter {
    pub const NAMES: [&str; 3] = ["all", "attention", "mlp"];

    pub fn named(name: &str) -> Option<Self> {
        match name {
            "all" => Some(Self::All),
            "attention" => Some(Self::Attention),
            "mlp" => Some(Self::Mlp),
            _ => None,
        }
    }

    pub fn takes(&self, tensor: &str) -> bool {
        let parts: Vec<&str> = tensor.split('.').collect();
        let has = |known: &[&str]| parts.iter().any(|part| known.contains(part));
        // Names that attention and feed-forward layers share in some families: the part before tells them apart.
        let below = |parent: &[&str]| {
            parts.windows(2).any(|pair| {
                ["c_proj", "dense"].contains(&pair[1]) && parent.iter().any(|name| pair[0].contains(name))
            })
        };
        match self {
            Self::All => true,
            Self::Attention => has(ATTENTION) || below(&["attn", "attention"]),
            Self::Mlp => has(MLP) || below(&["mlp"]),
            Self::Parts(wanted) => parts.iter().any(|part| wanted.iter().any(|wanted| wanted == part)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_told_apart_by_the_parts_of_their_names() {
        let check = |name: &str, attention: bool, mlp: bool| {
            assert!(Filter::All.takes(name));
            assert_eq!((Filter::Attention.takes(name), Filter::Mlp.takes(name)), (attention, mlp), "{name}");
        };
        check("model.layers.0.self_attn.q_proj.weight", true, false);
        check("model.layers.0.self_attn.q_proj.bias", true, false);
        check("model.layers.0.mlp.down_proj.weight", false, true);
        check("model.layers.0.block_sparse_moe.experts.3.w1.weight", false, true);
        check("model.layers.0.self_attn.q_norm.weight", false, false);
        check("model.layers.0.input_layernorm.weight", false, false);
        check("model.embed_tokens.weight", false, false);
        check("transformer.h.0.attn.c_proj.weight", true, false);
        check("transformer.h.0.mlp.c_proj.weight", false, true);
        check("lm_head.weight", false, false);
    }

    #[test]
    fn parts_are_whole() {
        let filter = Filter::Parts(vec!["q_proj".into(), "norm".into()]);
        let check = |name: &str, expected: bool| assert_eq!(filter.takes(name), expected, "{name}");
        check("model.layers.0.self_attn.q_proj.weight", true);
        check("model.norm.weight", true);
        check("model.layers.0.input_layernorm.weight", false);
        check("model.layers.0.self_attn.qkv_proj.weight", false);
    }
}
