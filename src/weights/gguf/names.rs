//! GGUF tensor names to Hugging Face names, for the architectures that share Llama's tensors.

/// The Hugging Face name, or `None` for a name that this family of architectures does not have.
pub fn hugging_face_name(name: &str) -> Option<String> {
    let top = match name {
        "token_embd.weight" => "model.embed_tokens.weight",
        "output_norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => return layer_name(name),
    };
    Some(top.to_owned())
}

/// Tables of rotary frequencies, which the configuration expresses instead.
pub fn is_rotary_table(name: &str) -> bool {
    name == "rope_freqs.weight" || name.ends_with(".attn_rot_embd") || name.ends_with(".rope_freqs.weight")
}

fn layer_name(name: &str) -> Option<String> {
    let (layer, tensor) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let (module, parameter) = tensor.rsplit_once('.')?;
    if !matches!(parameter, "weight" | "bias") {
        return None;
    }
    let module = match module {
        "attn_norm" => "input_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{module}.{parameter}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(gguf: &str, expected: Option<&str>) {
        assert_eq!(hugging_face_name(gguf).as_deref(), expected);
    }

    #[test]
    fn names_follow_hugging_face() {
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
