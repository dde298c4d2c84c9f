//! Encoders, their tokenizers and MindMerger's mapping against transformers and PyTorch
//! (scripts/fixtures/make_encoder_fixtures.py), and checkpoints that contradict their config.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use xenoglot::model::augmented::{Augmented, AugmentedFolder, Mapping, MappingWeights};
use xenoglot::model::encoders::{self, EncoderTokenizer, TextEncoder, Texts};
use xenoglot::model::{ComputeDtype, LoadOptions};
use xenoglot::ops::{Int8Scales, Workers};
use xenoglot::weights::{Tokenizer, open_weights};

/// Largest difference of a state from transformers', both in f32. States reach 4; sums of some tens of products in
/// another order differ by about 1e-6.
const TOLERANCE: f32 = 1e-5;

const ENCODERS: &[&str] =
    &["t5", "t5_v1_1", "mt5", "m2m_100", "nllb", "bert", "bert_head", "xlm_roberta", "roberta_head"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders").join(name)
}

struct Expected {
    texts: Vec<Vec<u32>>,
    /// `[total_tokens][hidden]`, flat.
    states: Vec<f32>,
}

impl Expected {
    fn read(name: &str) -> Self {
        let bytes = std::fs::read(fixture(name).join("expected.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let integers = |name: &str| -> Vec<usize> {
            let chunks = tensors.tensor(name).unwrap().data().as_chunks::<8>().0;
            chunks.iter().map(|b| i64::from_le_bytes(*b) as usize).collect()
        };
        let ids: Vec<u32> = integers("ids").into_iter().map(|id| id as u32).collect();
        let offsets = integers("cu_seqlens");
        let texts = offsets.windows(2).map(|pair| ids[pair[0]..pair[1]].to_vec()).collect();
        Self { texts, states: floats(&tensors, "states") }
    }
}

fn floats(tensors: &SafeTensors, name: &str) -> Vec<f32> {
    let chunks = tensors.tensor(name).unwrap().data().as_chunks::<4>().0;
    chunks.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn options(dtype: ComputeDtype) -> LoadOptions {
    LoadOptions::new(dtype, &Workers::new(2))
}

/// Loads a fixture with some config keys replaced.
fn load(name: &str, dtype: ComputeDtype, changes: &Value) -> Result<Box<dyn TextEncoder>, String> {
    let (mut config, tensors) = open_weights(&fixture(name)).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    encoders::load(&config, tensors.as_ref(), &options(dtype)).map_err(|error| error.to_string())
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn states_agree_with_transformers() {
    for name in ENCODERS {
        let (encoder, expected) = (load(name, ComputeDtype::F32, &json!({})).unwrap(), Expected::read(name));
        let states = encoder.encode(&Texts::new(&expected.texts)).unwrap();
        assert_eq!(states.dims()[1], encoder.hidden_size());
        let difference = largest_difference(&flat(&states), &expected.states);
        println!("{name}: {difference:e}");
        assert!(difference <= TOLERANCE, "{name}: {difference}");
    }
}

/// And the texts in another order, and nothing at all.
#[test]
fn a_text_has_the_same_bits_alone_and_in_a_batch() {
    let int8 = ComputeDtype::Int8(Int8Scales::PerChannel);
    for (name, dtype) in ENCODERS
        .iter()
        .flat_map(|name| [ComputeDtype::F32, ComputeDtype::Bf16, int8].map(|dtype| (*name, dtype)))
    {
        let (encoder, texts) = (load(name, dtype, &json!({})).unwrap(), Expected::read(name).texts);
        let batched = flat(&encoder.encode(&Texts::new(&texts)).unwrap());
        let alone = texts.iter().map(|text| flat(&encoder.encode(&Texts::new(&[text])).unwrap()));
        let alone: Vec<Vec<f32>> = alone.collect();
        assert!(alone.concat() == batched, "{name} {dtype:?}: alone");
        let reversed = Texts::new(&texts.iter().rev().collect::<Vec<_>>());
        let reversed = flat(&encoder.encode(&reversed).unwrap());
        assert!(
            alone.into_iter().rev().collect::<Vec<_>>().concat() == reversed,
            "{name} {dtype:?}: reversed"
        );
        assert_eq!(encoder.encode(&Texts::default()).unwrap().dims(), [0, encoder.hidden_size()]);
    }
}

/// Weights of eight bits of precision move states by a few of their own 0.4 %.
#[test]
fn bf16_weights_are_near() {
    for name in ENCODERS {
        let (encoder, expected) = (load(name, ComputeDtype::Bf16, &json!({})).unwrap(), Expected::read(name));
        let states = flat(&encoder.encode(&Texts::new(&expected.texts)).unwrap());
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>().sqrt();
        let difference = norm(&mut states.iter().zip(&expected.states).map(|(a, b)| a - b));
        let relative = difference / norm(&mut expected.states.iter().copied());
        println!("{name}: {relative}");
        assert!(relative < 0.02, "{name}: {relative}");
    }
}

#[test]
fn weights_take_the_memory_they_say() {
    let check = |name, bytes_min: usize| {
        let [full, half] = [ComputeDtype::F32, ComputeDtype::Bf16]
            .map(|dtype| load(name, dtype, &json!({})).unwrap().weight_bytes());
        assert!(full > bytes_min && half < full, "{name}: {full} {half}");
    };
    // The embedding of 40 x 16 floats, and two layers of at least 4 x 16 x 16.
    for name in ENCODERS {
        check(name, (40 * 16 + 2 * 4 * 16 * 16) * 4);
    }
}

#[test]
fn errors_name_the_key_or_the_tensor() {
    let check = |name: &str, changes: Value, part: &str| {
        let message = load(name, ComputeDtype::F32, &changes).err().unwrap_or_default();
        assert!(message.contains(part), "{name} {changes}: {message:?} does not say {part:?}");
    };
    check(
        "t5",
        json!({"model_type": "umt5"}),
        "\"umt5\" is not a supported model; supported are t5, mt5, m2m_100",
    );
    check("t5", json!({"model_type": null}), "`model_type` is missing");
    check(
        "t5",
        json!({"feed_forward_proj": "gated-silu"}),
        "`feed_forward_proj` = \"gated-silu\" is not supported",
    );
    check("t5", json!({"feed_forward_proj": "gated-gelu"}), "DenseReluDense.wi_0.weight` is missing");
    check(
        "t5",
        json!({"num_layers": 1}),
        "`encoder.block.1.layer.0.SelfAttention.k.weight` is in the checkpoint",
    );
    check("t5", json!({"num_layers": 3}), "`encoder.block.2.layer.0.layer_norm.weight` is missing");
    check(
        "t5",
        json!({"vocab_size": 41}),
        "`shared.weight` is [40, 16], the config (vocab_size, d_model) asks for [41, 16]",
    );
    check("t5", json!({"d_kv": 8}), "SelfAttention.q.weight` is [18, 16]");
    check("t5", json!({"relative_attention_num_buckets": 30}), "`relative_attention_num_buckets` = 30");
    check("t5", json!({"relative_attention_max_distance": 8}), "`relative_attention_max_distance` = 8");
    check("t5", json!({"d_model": -3}), "`d_model` is -3");
    check(
        "m2m_100",
        json!({"encoder_layers": 3}),
        "`model.encoder.layers.2.self_attn.q_proj.weight` is missing",
    );
    check("m2m_100", json!({"encoder_attention_heads": 5}), "`encoder_attention_heads` = 5");
    check(
        "m2m_100",
        json!({"activation_function": "silu"}),
        "`activation_function` = \"silu\" is not supported",
    );
    check("m2m_100", json!({"max_position_embeddings": 1 << 20}), "`max_position_embeddings` is 1048576");
    check("nllb", json!({"encoder_ffn_dim": 24}), "`encoder.layers.0.fc1.weight` is [20, 16]");
    check(
        "bert",
        json!({"position_embedding_type": "relative_key"}),
        "`position_embedding_type` = \"relative_key\"",
    );
    check("bert", json!({"is_decoder": true}), "`is_decoder` = true");
    check("bert", json!({"hidden_act": "quick_gelu"}), "`hidden_act` = \"quick_gelu\"");
    check("bert", json!({"hidden_size": null}), "`hidden_size` is missing");
    check(
        "bert",
        json!({"max_position_embeddings": 512}),
        "`embeddings.position_embeddings.weight` is [150, 16]",
    );
    check("bert_head", json!({"num_hidden_layers": 1}), "`bert.encoder.layer.1.");
    check(
        "roberta_head",
        json!({"intermediate_size": 8}),
        "`roberta.encoder.layer.0.intermediate.dense.weight` is [20, 16]",
    );
    check("xlm_roberta", json!({"pad_token_id": 149}), "`pad_token_id`");
}

#[test]
fn texts_that_cannot_be_read_are_errors() {
    let check = |name, tokens, id, part: &str| {
        let encoder = load(name, ComputeDtype::F32, &json!({})).unwrap();
        let message = encoder.encode(&Texts::new(&[vec![5], vec![id; tokens]])).unwrap_err().to_string();
        assert!(message.contains(part), "{name}: {message}");
    };
    check("bert", 151, 5, "text 1 of the batch has 151 tokens, the encoder takes at most 150");
    check("xlm_roberta", 149, 5, "the encoder takes at most 148");
    check("m2m_100", 151, 5, "the encoder takes at most 150");
    check("t5", 4097, 5, "the encoder takes at most 4096");
    check("t5", 3, 40, "id 40");
    let longest = load("xlm_roberta", ComputeDtype::F32, &json!({})).unwrap();
    assert!(longest.encode(&Texts::new(&[vec![5; 148]])).is_ok());
}

fn tokenizer(style: &str, tags: &[(&str, &str)]) -> Result<EncoderTokenizer, String> {
    let path = fixture("tokenizers").join(format!("{style}.tokenizer.json"));
    let tags: BTreeMap<String, String> =
        tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    EncoderTokenizer::new(Tokenizer::load(&path).unwrap(), &tags).map_err(|error| error.to_string())
}

#[test]
fn ids_agree_with_transformers_tokenizers() {
    let cases = std::fs::read(fixture("tokenizers").join("tokenizers.json")).unwrap();
    let cases: Value = serde_json::from_slice(&cases).unwrap();
    for (style, rows) in cases.as_object().unwrap() {
        let tokenizer = tokenizer(style, &[]).unwrap();
        assert_eq!(tokenizer.needs_language(), ["nllb", "m2m_100"].contains(&style.as_str()));
        for row in rows.as_array().unwrap() {
            let tokens_max = row["limit"].as_u64().map_or(512, |limit| limit as usize);
            let text = row["text"].as_str().unwrap();
            let found = tokenizer.encode(text, row["language"].as_str(), tokens_max).unwrap();
            assert_eq!(json!(found), row["ids"], "{style}: {row}");
        }
    }
}

#[test]
fn tags_of_the_user_come_first() {
    let given = tokenizer("nllb", &[("zh", "jpn_Jpan")]).unwrap();
    let default = tokenizer("nllb", &[]).unwrap();
    let ids = |tokenizer: &EncoderTokenizer, language| tokenizer.encode("the", Some(language), 9).unwrap();
    assert_eq!(ids(&given, "zh-TW"), ids(&default, "ja"));
    assert_eq!(ids(&given, "en"), ids(&default, "en-GB"));
    let check = |result: Result<Vec<u32>, String>, part: &str| {
        let message = result.unwrap_err();
        assert!(message.contains(part), "{message}");
    };
    let encode = |language| default.encode("the", language, 9).map_err(|error| error.to_string());
    check(encode(None), "unknown; say which language");
    // In NLLB, but not in this vocabulary; in no list at all.
    check(encode(Some("de")), "\"de\"; give it one under `language_tags`");
    check(encode(Some("tlh")), "no tag for language \"tlh\"");
    let refused = tokenizer("nllb", &[("de", "deu_Latn")]).unwrap_err();
    assert!(refused.contains("`language_tags.de` is \"deu_Latn\""), "{refused}");
    let refused = tokenizer("t5", &[("de", "deu_Latn")]).unwrap_err();
    assert!(refused.contains("remove `language_tags`"), "{refused}");
}

fn mapped(mapping: &Mapping) -> Vec<f32> {
    let encoder = load("mt5", ComputeDtype::F32, &json!({})).unwrap();
    let expected = Expected::read("mt5");
    let weights_file = std::fs::read(fixture("mapping").join("mapping.safetensors")).unwrap();
    let boundary = floats(&SafeTensors::deserialize(&weights_file).unwrap(), "end_boundary");
    assert_eq!(flat(mapping.end_boundary()), boundary);
    let states = encoder.encode(&Texts::new(&expected.texts)).unwrap();
    flat(&mapping.forward(&states).unwrap())
}

#[test]
fn every_file_of_a_mapping_maps_as_pytorch_does() {
    let bytes = std::fs::read(fixture("mapping").join("expected.safetensors")).unwrap();
    let expected = floats(&SafeTensors::deserialize(&bytes).unwrap(), "mapped");
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.safetensors");
    for file in ["legacy.bin", "zip.pt", "plain.pt", "mapping.safetensors"] {
        let weights = MappingWeights::load(&fixture("mapping").join(file)).unwrap();
        weights.save(&saved).unwrap();
        let mapping = Mapping::pack(&weights, &options(ComputeDtype::F32)).unwrap();
        assert_eq!((mapping.d_encoder(), mapping.d_llm()), (16, 24));
        let found = mapped(&mapping);
        let difference = largest_difference(&found, &expected);
        assert!(difference <= TOLERANCE, "{file}: {difference}");
        let again =
            Mapping::pack(&MappingWeights::load(&saved).unwrap(), &options(ComputeDtype::F32)).unwrap();
        assert_eq!(mapped(&again), found, "{file}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_fresh_mapping_follows_from_its_seed() {
    let fresh = |seed| MappingWeights::fresh(16, 24, seed).unwrap();
    let values = |weights: &MappingWeights| weights.named().map(|(_, tensor)| flat(tensor)).concat();
    assert_eq!(values(&fresh(3)), values(&fresh(3)));
    assert_ne!(values(&fresh(3)), values(&fresh(4)));
    let weights = fresh(3);
    let check = |name: &str, shape: &[usize], fan_in: f32| {
        let (_, tensor) = weights.named().into_iter().find(|(found, _)| *found == name).unwrap();
        assert_eq!(tensor.dims(), shape, "{name}");
        let (values, bound) = (flat(tensor), fan_in.sqrt().recip());
        let largest = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        // Of 24 or more uniform numbers, one is above 0.8 of the bound but for a chance of 0.8^24.
        assert!(largest <= bound && largest > 0.8 * bound, "{name}: {largest} {bound}");
        assert!(values.iter().any(|x| *x < 0.0) && values.iter().any(|x| *x > 0.0), "{name}");
    };
    check("mlp.linear1.weight", &[32, 16], 16.0);
    check("mlp.linear1.bias", &[32], 16.0);
    check("mlp.linear2.weight", &[24, 32], 32.0);
    check("mlp.linear2.bias", &[24], 32.0);
    assert_eq!(flat(&weights.end_boundary), vec![0.0; 24]);
}

#[test]
fn loading_is_strict_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("partial.safetensors");
    let (w1, b1, extra) = (vec![1_u8; 32 * 16 * 4], vec![2_u8; 32 * 4], vec![0_u8; 4]);
    let view = |shape: &[usize], bytes| {
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytes).unwrap()
    };
    let tensors = [
        ("mlp.linear1.weight", view(&[32, 16], &w1)),
        ("mlp.linear1.bias", view(&[32], &b1)),
        ("start_boundary", view(&[1], &extra)),
    ];
    safetensors::serialize_to_file(tensors, None, &path).unwrap();
    let message = MappingWeights::load(&path).unwrap_err().to_string();
    for part in ["partial.safetensors", "`end_boundary` is missing", "`start_boundary` is not a mapping's"] {
        assert!(message.contains(part), "{message}");
    }
    let fresh = MappingWeights::fresh(16, 24, 1).unwrap();
    let mut weights = fresh.clone();
    let report = weights.update_from(&path).unwrap();
    assert_eq!(report.missing, ["mlp.linear2.weight", "mlp.linear2.bias", "end_boundary"]);
    assert_eq!(report.unexpected, ["start_boundary"]);
    assert_ne!(flat(&weights.linear1_weight), flat(&fresh.linear1_weight));
    assert_eq!(flat(&weights.linear2_weight), flat(&fresh.linear2_weight));
    let mut other = MappingWeights::fresh(8, 24, 1).unwrap();
    let message = other.update_from(&path).unwrap_err().to_string();
    assert!(message.contains("`mlp.linear1.weight` is [32, 16], the mapping asks for [16, 8]"), "{message}");
    assert_eq!(other.linear1_weight.dims(), [16, 8]);
}

#[test]
fn shapes_of_a_mapping_fit_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapping.safetensors");
    let mut weights = MappingWeights::fresh(16, 24, 1).unwrap();
    weights.linear2_weight = MappingWeights::fresh(8, 24, 1).unwrap().linear2_weight;
    weights.save(&path).unwrap();
    let message = MappingWeights::load(&path).unwrap_err().to_string();
    assert!(
        message.contains("`mlp.linear2.weight` is [24, 16], a mapping from 16 to 24 has [24, 32]"),
        "{message}"
    );
}

/// From a folder with xenoglot.json to what stands before the prompt.
#[test]
fn a_folder_is_an_augmented_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let description = json!({
        "kind": "mindmerger", "encoder": fixture("mt5"), "llm": fixture("mt5"),
        "mapping": fixture("mapping").join("legacy.bin"), "prompt_template": "{query}\nAnswer:",
    });
    std::fs::write(folder.path().join("xenoglot.json"), description.to_string()).unwrap();
    let parts = AugmentedFolder::open(folder.path()).unwrap();
    let (config, tensors) = open_weights(&parts.encoder).unwrap();
    let options = options(ComputeDtype::F32);
    let mapping = Mapping::pack(&MappingWeights::load(&parts.mapping).unwrap(), &options).unwrap();
    let expected = mapped(&mapping);
    let encoder = encoders::load(&config, tensors.as_ref(), &options).unwrap();
    let augmented = Augmented::new(encoder, mapping).unwrap();
    let texts = Texts::new(&Expected::read("mt5").texts);
    assert_eq!(flat(&augmented.encode(&texts).unwrap()), expected);

    let narrow = Mapping::pack(&MappingWeights::fresh(8, 24, 1).unwrap(), &options).unwrap();
    let encoder = encoders::load(&config, tensors.as_ref(), &options).unwrap();
    let message = Augmented::new(encoder, narrow).err().unwrap().to_string();
    assert!(
        message.contains("states of 8 features") && message.contains("the encoder's have 16"),
        "{message}"
    );
}
