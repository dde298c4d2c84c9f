//! GGUF tensor names to Hugging Face names, for the architectures that share Llama's tensors, or most of them.

use super::config::Architecture;

/// GGUF and Hugging Face name of the tensors outside of the layers.
const TOP: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// GGUF and Hugging Face name of a layer's modules.
const MODULES: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Fused projections: what is `ffn_up` elsewhere makes the gate too.
const PHI3: &[(&str, &str)] = &[("attn_qkv", "self_attn.qkv_proj"), ("ffn_up", "mlp.gate_up_proj")];

/// Norms on results, and others' names for those before.
const GEMMA: &[(&str, &str)] = &[
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

/// An architecture's own names come before those that all share.
fn modules(architecture: Architecture) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let own: &[_] = match architecture {
        Architecture::Llama | Architecture::Mistral | Architecture::Qwen2 | Architecture::Qwen3 => &[],
        Architecture::Phi3 => PHI3,
        Architecture::Gemma2 | Architecture::Gemma3 => GEMMA,
    };
    own.iter().chain(&MODULES)
}

/// The Hugging Face name, or `None` for a name that this family of architectures does not have.
pub fn hugging_face_name(architecture: Architecture, name: &str) -> Option<String> {
    if let Some((_, top)) = TOP.iter().find(|(gguf, _)| *gguf == name) {
        return Some((*top).to_owned());
    }
    let (layer, module, parameter) = layer_parts(name, "blk.")?;
    let (_, module) = modules(architecture).find(|(gguf, _)| *gguf == module)?;
    Some(format!("model.layers.{layer}.{module}.{parameter}"))
}

/// The way back.
pub fn gguf_name(architecture: Architecture, name: &str) -> Option<String> {
    if let Some((top, _)) = TOP.iter().find(|(_, hugging_face)| *hugging_face == name) {
        return Some((*top).to_owned());
    }
    let (layer, module, parameter) = layer_parts(name, "model.layers.")?;
    let (module, _) = modules(architecture).find(|(_, hugging_face)| *hugging_face == module)?;
    Some(format!("blk.{layer}.{module}.{parameter}"))
}

/// Tables of rotary frequencies, which the configuration expresses instead.
pub fn is_rotary_table(name: &str) -> bool {
    let whole = ["rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"];
    whole.contains(&name) || name.ends_with(".attn_rot_embd") || name.ends_with(".rope_freqs.weight")
}

/// Layer, module and parameter of a name that starts with `prefix`.
fn layer_parts<'a>(name: &'a str, prefix: &str) -> Option<(u32, &'a str, &'a str)> {
    let (layer, tensor) = name.strip_prefix(prefix)?.split_once('.')?;
    let (module, parameter) = tensor.rsplit_once('.')?;
    matches!(parameter, "weight" | "bias").then_some((layer.parse().ok()?, module, parameter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(gguf: &str, expected: Option<&str>) {
        check_of(Architecture::Llama, gguf, expected);
    }

    fn check_of(architecture: Architecture, gguf: &str, expected: Option<&str>) {
        assert_eq!(hugging_face_name(architecture, gguf).as_deref(), expected);
        let back = expected.and_then(|name| gguf_name(architecture, name));
        assert_eq!(back.as_deref(), expected.map(|_| gguf));
    }

    #[test]
    fn names_follow_hugging_face_and_lead_back() {
        check("token_embd.weight", Some("model.embed_tokens.weight"));
        check("output_norm.weight", Some("model.norm.weight"));
        check("output.weight", Some("lm_head.weight"));
        check("blk.12.attn_q.weight", Some("model.layers.12.self_attn.q_proj.weight"));
        check("blk.0.attn_k.bias", Some("model.layers.0.self_attn.k_proj.bias"));
        check("blk.0.attn_k_norm.weight", Some("model.layers.0.self_attn.k_norm.weight"));
        check("blk.0.ffn_norm.weight", Some("model.layers.0.post_attention_layernorm.weight"));
        check("blk.0.ffn_gate_exps.weight", None);
        check("blk.x.attn_q.weight", None);
        check("blk.0.attn_q.scale", None);
        check("token_embd", None);
        let phi3 = |gguf, expected| check_of(Architecture::Phi3, gguf, Some(expected));
        phi3("blk.0.attn_qkv.weight", "model.layers.0.self_attn.qkv_proj.weight");
        phi3("blk.0.ffn_up.weight", "model.layers.0.mlp.gate_up_proj.weight");
        phi3("blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight");
        for architecture in [Architecture::Gemma2, Architecture::Gemma3] {
            let gemma = |gguf, expected| check_of(architecture, gguf, Some(expected));
            gemma("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight");
            gemma("blk.0.post_attention_norm.weight", "model.layers.0.post_attention_layernorm.weight");
            gemma("blk.0.ffn_norm.weight", "model.layers.0.pre_feedforward_layernorm.weight");
            gemma("blk.0.post_ffw_norm.weight", "model.layers.0.post_feedforward_layernorm.weight");
            gemma("blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight");
        }
        check("blk.0.attn_qkv.weight", None);
        check("blk.0.post_ffw_norm.weight", None);
    }

    #[test]
    fn rotary_tables_are_known() {
        assert!(is_rotary_table("rope_freqs.weight") && is_rotary_table("rope_factors_long.weight"));
        assert!(!is_rotary_table("output.weight"));
    }
}
