//! GGUF tensor names to Hugging Face names, for the architectures that share Llama's tensors.

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

/// The Hugging Face name, or `None` for a name that this family of architectures does not have.
pub fn hugging_face_name(name: &str) -> Option<String> {
    if let Some((_, top)) = TOP.iter().find(|(gguf, _)| *gguf == name) {
        return Some((*top).to_owned());
    }
    let (layer, module, parameter) = layer_parts(name, "blk.")?;
    let (_, module) = MODULES.iter().find(|(gguf, _)| *gguf == module)?;
    Some(format!("model.layers.{layer}.{module}.{parameter}"))
}

/// The way back.
pub fn gguf_name(name: &str) -> Option<String> {
    if let Some((top, _)) = TOP.iter().find(|(_, hugging_face)| *hugging_face == name) {
        return Some((*top).to_owned());
    }
    let (layer, module, parameter) = layer_parts(name, "model.layers.")?;
    let (module, _) = MODULES.iter().find(|(_, hugging_face)| *hugging_face == module)?;
    Some(format!("blk.{layer}.{module}.{parameter}"))
}

/// Tables of rotary frequencies, which the configuration expresses instead.
pub fn is_rotary_table(name: &str) -> bool {
    name == "rope_freqs.weight" || name.ends_with(".attn_rot_embd") || name.ends_with(".rope_freqs.weight")
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
        assert_eq!(hugging_face_name(gguf).as_deref(), expected);
        assert_eq!(expected.and_then(gguf_name).as_deref(), expected.map(|_| gguf));
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
    }

    #[test]
    fn rotary_tables_are_known() {
        assert!(is_rotary_table("rope_freqs.weight"));
        assert!(!is_rotary_table("output.weight"));
    }
}
