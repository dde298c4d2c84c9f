//! SmolLM2-135M-Instruct as it is on disk; needs `scripts/fetch-models`.

use std::path::{Path, PathBuf};

use serde_json::Value;
use xenoglot::weights::{Checkpoint, CheckpointDtype, IncrementalDecoder, TensorType};

fn gguf_path() -> PathBuf {
    let models = std::env::var_os("XENOGLOT_MODELS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("models"), PathBuf::from);
    let path = models.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(
        path.is_file(),
        "{} is missing: run scripts/fetch-models, or set XENOGLOT_MODELS",
        path.display()
    );
    path
}

#[test]
fn smollm2_opens() {
    let checkpoint = Checkpoint::open(&gguf_path()).expect("it opens");
    assert_eq!(checkpoint.config["num_hidden_layers"], 30);
    assert_eq!(checkpoint.config["vocab_size"], 49_152);
    assert_eq!(checkpoint.config["tie_word_embeddings"], true);
    assert_eq!(checkpoint.dtype, CheckpointDtype::Gguf);
    assert_eq!(checkpoint.eos_token_ids, [2, 0]);
    assert_eq!(checkpoint.special.eos.as_deref(), Some("<|im_end|>"));
    assert!(checkpoint.chat_template.is_some_and(|template| template.contains("SmolLM")));
    assert_eq!(checkpoint.tensors.names().len(), 272);
    let view = checkpoint.tensors.tensor("model.layers.0.self_attn.q_proj.weight").expect("it is there");
    assert!(matches!(view.dtype, TensorType::Ggml(_)) && view.shape == [576, 576]);
}

/// Ids recorded from transformers, of texts in 20 languages and of awkward ones.
#[test]
fn smollm2_tokenises_as_transformers_does() {
    let recorded: Value = serde_json::from_str(include_str!("../fixtures/weights/smollm2_ids.json"))
        .expect("the fixture is JSON");
    let tokenizer = Checkpoint::open(&gguf_path()).expect("it opens").tokenizer;
    let cases: Vec<(String, Vec<u32>)> = serde_json::from_value(recorded).expect("pairs of text and ids");
    assert!(cases.len() > 30);
    for (text, ids) in cases {
        assert_eq!(tokenizer.encode(&text, true).expect("ids"), ids, "{text:?}");
        let mut decoder = IncrementalDecoder::new(tokenizer.clone(), false);
        let pieces: String = ids.iter().map(|id| decoder.push(*id).expect("a piece")).collect();
        assert_eq!(
            pieces + &decoder.finish().expect("the rest"),
            tokenizer.decode(&ids, false).expect("text")
        );
    }
}
