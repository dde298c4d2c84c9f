//! A tiny GGUF writer, for fixtures only, and a tiny model written with it.

use std::path::Path;

/// A metadata value of one of the file format's types.
#[derive(Clone)]
pub enum Meta {
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    /// Type code and payload, for damaged files.
    Raw(u32, Vec<u8>),
}

/// A tensor as the file states it: innermost dimension first.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dimensions: Vec<u64>,
    pub type_code: u32,
    pub bytes: Vec<u8>,
}

#[derive(Clone)]
pub struct GgufWriter {
    pub version: u32,
    pub metadata: Vec<(String, Meta)>,
    pub tensors: Vec<Tensor>,
}

impl GgufWriter {
    pub fn new() -> Self {
        Self { version: 3, metadata: Vec::new(), tensors: Vec::new() }
    }

    /// Sets a key, replacing an earlier value.
    pub fn set(&mut self, key: &str, value: Meta) -> &mut Self {
        self.remove(key);
        self.metadata.push((key.to_owned(), value));
        self
    }

    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.set(key, Meta::Text(value.to_owned()))
    }

    pub fn remove(&mut self, key: &str) -> &mut Self {
        self.metadata.retain(|(existing, _)| existing != key);
        self
    }

    pub fn f32_tensor(&mut self, name: &str, dimensions: &[u64], values: &[f32]) -> &mut Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, dimensions, 0, bytes)
    }

    pub fn tensor(&mut self, name: &str, dimensions: &[u64], type_code: u32, bytes: Vec<u8>) -> &mut Self {
        self.tensors.retain(|tensor| tensor.name != name);
        self.tensors.push(Tensor {
            name: name.to_owned(),
            dimensions: dimensions.to_vec(),
            type_code,
            bytes,
        });
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_text(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offset = 0_u64;
        for tensor in &self.tensors {
            put_text(&mut out, &tensor.name);
            out.extend((tensor.dimensions.len() as u32).to_le_bytes());
            for dimension in &tensor.dimensions {
                out.extend(dimension.to_le_bytes());
            }
            out.extend(tensor.type_code.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += (tensor.bytes.len() as u64).next_multiple_of(32);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&tensor.bytes);
        }
        out
    }

    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).expect("the fixture is written");
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Meta) {
    let mut put = |code: u32, payload: &[u8]| {
        out.extend(code.to_le_bytes());
        out.extend(payload);
    };
    let array = |code: u32, length: usize| [&code.to_le_bytes()[..], &(length as u64).to_le_bytes()].concat();
    match value {
        Meta::U32(value) => put(4, &value.to_le_bytes()),
        Meta::I32(value) => put(5, &value.to_le_bytes()),
        Meta::F32(value) => put(6, &value.to_le_bytes()),
        Meta::Bool(value) => put(7, &[u8::from(*value)]),
        Meta::Raw(code, payload) => put(*code, payload),
        Meta::Text(text) => {
            let mut payload = Vec::new();
            put_text(&mut payload, text);
            put(8, &payload);
        }
        Meta::Texts(texts) => {
            let mut payload = array(8, texts.len());
            for text in texts {
                put_text(&mut payload, text);
            }
            put(9, &payload);
        }
        Meta::I32s(values) => {
            let mut payload = array(5, values.len());
            for value in values {
                payload.extend(value.to_le_bytes());
            }
            put(9, &payload);
        }
        Meta::F32s(values) => {
            let mut payload = array(6, values.len());
            for value in values {
                payload.extend(value.to_le_bytes());
            }
            put(9, &payload);
        }
    }
}

/// The character that spells a byte in a ByteLevel vocabulary, derived as GPT-2 does.
pub fn byte_character(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if is_printable(byte) {
        return byte as char;
    }
    let place = (0..byte).filter(|other| !is_printable(*other)).count() as u32;
    char::from_u32(256 + place).expect("below U+0200")
}

/// Hidden 32, two layers, four heads of 8 over two key-value heads, 260 tokens; linear weights in Q8_0.
pub const TINY_VOCABULARY: usize = 260;

/// A complete model of architecture `llama` with a ByteLevel tokenizer and a chat template.
pub fn tiny_llama() -> GgufWriter {
    let mut gguf = GgufWriter::new();
    gguf.text("general.architecture", "llama")
        .set("llama.block_count", Meta::U32(2))
        .set("llama.context_length", Meta::U32(128))
        .set("llama.embedding_length", Meta::U32(32))
        .set("llama.feed_forward_length", Meta::U32(64))
        .set("llama.attention.head_count", Meta::U32(4))
        .set("llama.attention.head_count_kv", Meta::U32(2))
        .set("llama.rope.dimension_count", Meta::U32(8))
        .set("llama.rope.freq_base", Meta::F32(100_000.0))
        .set("llama.attention.layer_norm_rms_epsilon", Meta::F32(1e-5));
    add_tokenizer(&mut gguf);
    q8_0(&mut gguf, "token_embd.weight", 32, TINY_VOCABULARY as u64);
    norm(&mut gguf, "output_norm.weight");
    for layer in 0..2 {
        let name = |tensor: &str| format!("blk.{layer}.{tensor}.weight");
        norm(&mut gguf, &name("attn_norm"));
        norm(&mut gguf, &name("ffn_norm"));
        for (tensor, inputs, outputs) in [
            ("attn_q", 32, 32),
            ("attn_k", 32, 16),
            ("attn_v", 32, 16),
            ("attn_output", 32, 32),
            ("ffn_gate", 32, 64),
            ("ffn_up", 32, 64),
            ("ffn_down", 64, 32),
        ] {
            q8_0(&mut gguf, &name(tensor), inputs, outputs);
        }
    }
    gguf
}

/// 256 bytes, two merges and two control tokens.
fn add_tokenizer(gguf: &mut GgufWriter) {
    let mut tokens: Vec<String> = (0..=255).map(|byte| byte_character(byte).to_string()).collect();
    tokens.extend(["he", "\u{120}h", "<|im_start|>", "<|im_end|>"].map(str::to_owned));
    let mut types = vec![1; 258];
    types.extend([3, 3]);
    gguf.text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "smollm")
        .set("tokenizer.ggml.tokens", Meta::Texts(tokens))
        .set("tokenizer.ggml.token_type", Meta::I32s(types))
        .set("tokenizer.ggml.merges", Meta::Texts(vec!["h e".into(), "\u{120} h".into()]))
        .set("tokenizer.ggml.bos_token_id", Meta::U32(258))
        .set("tokenizer.ggml.eos_token_id", Meta::U32(259))
        .set("tokenizer.ggml.add_bos_token", Meta::Bool(false))
        .text("tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}");
}

fn norm(gguf: &mut GgufWriter, name: &str) {
    let values: Vec<f32> = (0..32).map(|at| 1.0 + at as f32 / 64.0).collect();
    gguf.f32_tensor(name, &[32], &values);
}

/// Elements that are exact in bf16: the scale is a power of two, the integers lie in -127..=127.
fn q8_0(gguf: &mut GgufWriter, name: &str, inputs: u64, outputs: u64) {
    let seed = name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut state = seed;
    let mut bytes = Vec::new();
    for _ in 0..inputs * outputs / 32 {
        bytes.extend(half::f16::from_f32(1.0 / 64.0).to_le_bytes());
        for _ in 0..32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.push(((state >> 33) % 255) as i64 as i8 as u8);
        }
    }
    gguf.tensor(name, &[inputs, outputs], 8, bytes);
}
