//! The names of an adapter's tensors: which weight of the model, and which part of its change.
//!
//! `base_model.model.{module}.lora_A.weight` is what PEFT writes. Files that others made from a model in memory have the
//! adapter's own name in it (`lora_A.default.weight`) or the wrapper's (`modules_to_save.default`, `base_layer`).

/// What a tensor is to the change of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    A,
    B,
    EmbeddingA,
    EmbeddingB,
    /// Added to a bias.
    Added,
    /// The whole of a weight or bias.
    Full,
}

/// How names end, the weight's own last part, and what it is.
const ENDS: &[(&str, &str, Part)] = &[
    (".lora_A.weight", "weight", Part::A),
    (".lora_A.default.weight", "weight", Part::A),
    (".lora_B.weight", "weight", Part::B),
    (".lora_B.default.weight", "weight", Part::B),
    (".lora_B.bias", "bias", Part::Added),
    (".lora_B.default.bias", "bias", Part::Added),
    (".lora_embedding_A", "weight", Part::EmbeddingA),
    (".lora_embedding_A.default", "weight", Part::EmbeddingA),
    (".lora_embedding_B", "weight", Part::EmbeddingB),
    (".lora_embedding_B.default", "weight", Part::EmbeddingB),
];

/// What PEFT puts around a module.
const WRAPPERS: &[&str] = &[".modules_to_save.default", ".modules_to_save", ".base_layer"];

/// What stands before the model's own names.
pub const PREFIX: &str = "base_model.model.";

/// The weight that a tensor belongs to, and as what; `None` for a name of no adapter.
pub fn parse(name: &str) -> Option<(String, Part)> {
    let name = name.strip_prefix(PREFIX)?;
    for (end, leaf, part) in ENDS {
        if let Some(module) = name.strip_suffix(end) {
            return named(module, leaf).map(|weight| (weight, *part));
        }
    }
    let (module, leaf) = name.rsplit_once('.')?;
    if !matches!(leaf, "weight" | "bias") {
        return None;
    }
    let module = WRAPPERS.iter().find_map(|wrapper| module.strip_suffix(wrapper)).unwrap_or(module);
    named(module, leaf).map(|weight| (weight, Part::Full))
}

fn named(module: &str, leaf: &str) -> Option<String> {
    let is_plain = !module.is_empty() && !module.contains("lora_");
    is_plain.then(|| format!("{module}.{leaf}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_peft_and_others_write_them() {
        let check = |name: &str, expected: Option<(&str, Part)>| {
            let expected = expected.map(|(weight, part)| (weight.to_owned(), part));
            assert_eq!(parse(&format!("base_model.model.{name}")), expected, "{name}");
        };
        check("m.q_proj.lora_A.weight", Some(("m.q_proj.weight", Part::A)));
        check("m.q_proj.lora_B.default.weight", Some(("m.q_proj.weight", Part::B)));
        check("m.q_proj.lora_B.bias", Some(("m.q_proj.bias", Part::Added)));
        check("m.embed.lora_embedding_A", Some(("m.embed.weight", Part::EmbeddingA)));
        check("m.embed.lora_embedding_B.default", Some(("m.embed.weight", Part::EmbeddingB)));
        check("lm_head.weight", Some(("lm_head.weight", Part::Full)));
        check("lm_head.modules_to_save.default.weight", Some(("lm_head.weight", Part::Full)));
        check("m.q_proj.base_layer.bias", Some(("m.q_proj.bias", Part::Full)));
        check("m.q_proj.lora_magnitude_vector", None);
        check("m.q_proj.lora_magnitude_vector.default.weight", None);
        check("m.q_proj.lora_A.other.weight", None);
        check(".lora_A.weight", None);
        check("weight", None);
        assert_eq!(parse("model.q_proj.lora_A.weight"), None);
    }
}
