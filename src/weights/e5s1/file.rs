//! The layout of an E5S1 file, little-endian: sizes, the vocabulary, what single characters are normalised to, a directory
//! of tensors, their bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use candle_core::quantized::GgmlDType;
use serde_json::{Value, json};

use super::super::WeightsError;
use super::super::cursor::Cursor;
use super::super::mapped_file::MappedFile;
use super::super::source::{TensorSource, TensorType, TensorView};

pub const MAGIC: &[u8; 4] = b"E5S1";
const VERSION: u32 = 1;
/// The largest of each size; those of the one published file are a tenth of them or less.
const SIZE_MAX: u32 = 1 << 22;
const LAYERS_MAX: u32 = 1 << 8;

/// A mapped file whose tensors all lie in it, under their Hugging Face names.
pub struct E5s1File {
    sizes: Sizes,
    pub vocabulary: Vocabulary,
    tensors: BTreeMap<String, StoredTensor>,
    file: MappedFile,
}

struct Sizes {
    hidden: usize,
    layers: usize,
    heads: usize,
    intermediate: usize,
    vocabulary: usize,
    positions: usize,
    token_types: usize,
    eps: f32,
    padding: u32,
}

/// SentencePiece's unigram model.
pub struct Vocabulary {
    /// Piece and log probability, by id.
    pub pieces: Vec<(String, f32)>,
    pub bos: u32,
    pub eos: u32,
    pub pad: u32,
    pub unk: u32,
    /// Characters that are left out.
    pub removed: Vec<char>,
    /// Characters that count as a space.
    pub spaces: Vec<char>,
}

struct StoredTensor {
    stored_name: String,
    shape: Vec<usize>,
    dtype: TensorType,
    range: Range<usize>,
}

impl E5s1File {
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let file = MappedFile::open(path)?;
        let mut cursor = Cursor::new(path, &file);
        if cursor.take(4, "the magic")? != MAGIC {
            return Err(cursor.corrupt("does not begin as an E5S1 file".to_owned()));
        }
        let version = cursor.u32("the version")?;
        if version != VERSION {
            return Err(cursor.corrupt(format!("is of version {version}, {VERSION} is read")));
        }
        let (mut sizes, pieces) =
            (Sizes::read(&mut cursor)?, size(&mut cursor, "the number of pieces", SIZE_MAX)?);
        let vocabulary = Vocabulary::read(&mut cursor, pieces)?;
        sizes.padding = vocabulary.pad;
        let directory = read_directory(&mut cursor)?;
        let tensors = sizes
            .tensors()
            .into_iter()
            .map(|(name, stored_name, shape)| {
                let found = directory.get(stored_name.as_str());
                check_tensor(&file, stored_name, shape, found).map(|stored| (name, stored))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { sizes, vocabulary, tensors, file })
    }

    /// A Hugging Face config.json. A BERT, whose positions count from 0, though the vocabulary is XLM-R's.
    pub fn config(&self) -> Value {
        let Sizes { hidden, layers, heads, intermediate, vocabulary, positions, token_types, eps, padding } =
            self.sizes;
        json!({
            "architectures": ["BertModel"], "model_type": "bert", "hidden_size": hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "intermediate_size": intermediate, "vocab_size": vocabulary,
            "max_position_embeddings": positions, "type_vocab_size": token_types, "layer_norm_eps": eps,
            "hidden_act": "gelu", "position_embedding_type": "absolute", "pad_token_id": padding,
        })
    }

    fn stored(&self, name: &str) -> Result<&StoredTensor, WeightsError> {
        let missing = || WeightsError::MissingTensor { path: self.file.path.clone(), name: name.to_owned() };
        self.tensors.get(name).ok_or_else(missing)
    }
}

impl TensorSource for E5s1File {
    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
        let StoredTensor { shape, dtype, range, .. } = self.stored(name)?;
        let bytes = &self.file[range.clone()];
        let bytes = if bytes.as_ptr().addr().is_multiple_of(4) {
            Cow::Borrowed(bytes)
        } else {
            Cow::Owned(bytes.to_vec())
        };
        Ok(TensorView { name: name.to_owned(), shape: shape.clone(), dtype: *dtype, bytes })
    }

    fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn stored_name(&self, name: &str) -> String {
        self.tensors.get(name).map_or_else(|| name.to_owned(), |stored| stored.stored_name.clone())
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>, WeightsError> {
        self.stored(name).map(|stored| stored.shape.clone())
    }

    fn dtype(&self, name: &str) -> Result<TensorType, WeightsError> {
        self.stored(name).map(|stored| stored.dtype)
    }
}

impl Sizes {
    fn read(cursor: &mut Cursor) -> Result<Self, WeightsError> {
        let hidden = size(cursor, "the hidden size", SIZE_MAX)?;
        let layers = size(cursor, "the number of layers", LAYERS_MAX)?;
        let heads = size(cursor, "the number of heads", SIZE_MAX)?;
        let intermediate = size(cursor, "the intermediate size", SIZE_MAX)?;
        let vocabulary = size(cursor, "the vocabulary size", SIZE_MAX)?;
        let positions = size(cursor, "the number of positions", SIZE_MAX)?;
        let token_types = size(cursor, "the number of token types", SIZE_MAX)?;
        let eps = f32::from_le_bytes(cursor.array("the norms' epsilon")?);
        let block = cursor.u32("the block size")?;
        if block != 32 {
            return Err(cursor.corrupt(format!("has blocks of {block} elements, those of Q4_0 have 32")));
        }
        let padding = 0;
        Ok(Self { hidden, layers, heads, intermediate, vocabulary, positions, token_types, eps, padding })
    }

    /// Hugging Face name, name in the file, and shape of every tensor.
    fn tensors(&self) -> Vec<(String, String, Vec<usize>)> {
        let Self { hidden, intermediate, .. } = *self;
        let mut tensors: Vec<(String, String, Vec<usize>)> = Vec::new();
        let mut add = |name: String, stored: String, shape: Vec<usize>| tensors.push((name, stored, shape));
        for (name, stored, rows) in [
            ("word", "emb.word", self.vocabulary),
            ("position", "emb.pos", self.positions),
            ("token_type", "emb.type", self.token_types),
        ] {
            add(format!("embeddings.{name}_embeddings.weight"), stored.to_owned(), vec![rows, hidden]);
        }
        for (suffix, stored) in [("weight", "w"), ("bias", "b")] {
            add(format!("embeddings.LayerNorm.{suffix}"), format!("emb.ln.{stored}"), vec![hidden]);
        }
        for layer in 0..self.layers {
            for (name, stored, outputs, inputs) in [
                ("attention.self.query", "q", hidden, hidden),
                ("attention.self.key", "k", hidden, hidden),
                ("attention.self.value", "v", hidden, hidden),
                ("attention.output.dense", "ao", hidden, hidden),
                ("intermediate.dense", "fi", intermediate, hidden),
                ("output.dense", "fo", hidden, intermediate),
            ] {
                let (name, stored) = (format!("encoder.layer.{layer}.{name}"), format!("l{layer}.{stored}"));
                add(format!("{name}.weight"), format!("{stored}.w"), vec![outputs, inputs]);
                add(format!("{name}.bias"), format!("{stored}.b"), vec![outputs]);
            }
            for (name, stored) in [("attention.output", "aln"), ("output", "oln")] {
                let (name, stored) = (format!("encoder.layer.{layer}.{name}"), format!("l{layer}.{stored}"));
                add(format!("{name}.LayerNorm.weight"), format!("{stored}.w"), vec![hidden]);
                add(format!("{name}.LayerNorm.bias"), format!("{stored}.b"), vec![hidden]);
            }
        }
        tensors
    }
}

impl Vocabulary {
    fn read(cursor: &mut Cursor, count: usize) -> Result<Self, WeightsError> {
        let mut special = [0; 4];
        for (id, what) in special.iter_mut().zip(["bos", "eos", "pad", "unk"]) {
            *id = cursor.u32(&format!("the id of {what}"))?;
            if *id as usize >= count {
                return Err(cursor.corrupt(format!("gives {what} the id {id} of {count} pieces")));
            }
        }
        let [bos, eos, pad, unk] = special;
        let text_bytes = cursor.u64("the bytes of the pieces")?;
        let offsets = cursor.take(4 * (count as u64 + 1), "the pieces' offsets")?.as_chunks::<4>().0;
        let scores = cursor.take(4 * count as u64, "the pieces' scores")?.as_chunks::<4>().0;
        let text = cursor.take(text_bytes, "the pieces")?;
        let mut pieces = Vec::with_capacity(count);
        for (at, score) in scores.iter().enumerate() {
            let [start, end] = [at, at + 1].map(|at| u32::from_le_bytes(offsets[at]) as usize);
            let piece = text.get(start..end).and_then(|bytes| std::str::from_utf8(bytes).ok());
            let piece = piece.ok_or_else(|| cursor.corrupt(format!("has a piece {at} that is no text")))?;
            pieces.push((piece.to_owned(), f32::from_le_bytes(*score)));
        }
        let (removed, spaces) = read_normalisation(cursor)?;
        Ok(Self { pieces, bos, eos, pad, unk, removed, spaces })
    }
}

/// The characters that become nothing and those that become a space. All others become what NFKC makes of them.
fn read_normalisation(cursor: &mut Cursor) -> Result<(Vec<char>, Vec<char>), WeightsError> {
    let (count, bytes) = (cursor.u32("the number of normalised characters")?, cursor.u32("their bytes")?);
    let table = cursor.take(u64::from(bytes), "the normalised characters")?;
    let mut table = Cursor::new(cursor.path(), table);
    let (mut removed, mut spaces) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let what = "a normalised character";
        let (from, length) = (table.u32(what)?, table.array::<1>(what)?[0]);
        let to = table.take(4 * u64::from(length), what)?;
        let Some(from) = char::from_u32(from) else {
            return Err(cursor.corrupt(format!("normalises {from:#x}, which is no character")));
        };
        match to {
            [] => removed.push(from),
            [b' ', 0, 0, 0] => spaces.push(from),
            _ => (),
        }
    }
    Ok((removed, spaces))
}

/// A tensor as the file declares it.
struct Declared {
    dtype: TensorType,
    elements: usize,
    offset: u64,
    bytes: u64,
}

fn read_directory<'a>(cursor: &mut Cursor<'a>) -> Result<BTreeMap<&'a str, Declared>, WeightsError> {
    let count = size(cursor, "the number of tensors", SIZE_MAX)?;
    let mut directory = BTreeMap::new();
    for at in 0..count {
        let what = format!("tensor {at} of {count}");
        let length = u16::from_le_bytes(cursor.array(&what)?);
        let name = std::str::from_utf8(cursor.take(u64::from(length), &what)?)
            .map_err(|_| cursor.corrupt(format!("gives {what} a name that is not UTF-8 text")))?;
        let dtype = match cursor.array::<1>(&what)?[0] {
            0 => TensorType::F32,
            1 => TensorType::Ggml(GgmlDType::Q4_0),
            other => return Err(cursor.corrupt(format!("has tensor `{name}` of the unknown type {other}"))),
        };
        let elements = cursor.u32(&what)? as usize;
        let (offset, bytes) = (cursor.u64(&what)?, cursor.u64(&what)?);
        directory.insert(name, Declared { dtype, elements, offset, bytes });
    }
    Ok(directory)
}

fn check_tensor(
    file: &MappedFile,
    stored_name: String,
    shape: Vec<usize>,
    declared: Option<&Declared>,
) -> Result<StoredTensor, WeightsError> {
    let path = || file.path.clone();
    let Some(Declared { dtype, elements, offset, bytes }) = declared else {
        return Err(WeightsError::MissingTensor { path: path(), name: stored_name });
    };
    let corrupt = |problem: String| WeightsError::Corrupt {
        path: path(),
        problem: format!("tensor `{stored_name}` {problem}"),
    };
    if shape.iter().product::<usize>() != *elements || !elements.is_multiple_of(dtype.block_elements()) {
        return Err(corrupt(format!("has {elements} elements, the sizes ask for {shape:?}")));
    }
    let expected = elements / dtype.block_elements() * dtype.block_bytes();
    if expected as u64 != *bytes {
        return Err(corrupt(format!("has {bytes} bytes for {elements} elements")));
    }
    if offset.checked_add(*bytes).is_none_or(|end| end > file.len() as u64) {
        let (needs, has) = (offset.saturating_add(*bytes), file.len() as u64);
        return Err(WeightsError::Truncated {
            path: path(),
            what: format!("tensor `{stored_name}`"),
            needs,
            has,
        });
    }
    let range = *offset as usize..*offset as usize + expected;
    Ok(StoredTensor { stored_name, shape, dtype: *dtype, range })
}

fn size(cursor: &mut Cursor, what: &str, max: u32) -> Result<usize, WeightsError> {
    let value = cursor.u32(what)?;
    if (1..=max).contains(&value) {
        return Ok(value as usize);
    }
    Err(cursor.corrupt(format!("gives {value} as {what}, at most {max} is believed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: usize = 32;

    /// A file of one layer, four pieces and two positions, whose tensors are all zero.
    fn tiny() -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        let mut put = |numbers: &[u32]| file.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        put(&[VERSION, HIDDEN as u32, 1, 4, HIDDEN as u32, 4, 2, 1, 1e-12_f32.to_bits(), 32]);
        put(&[4, 0, 2, 1, 3]); // pieces, bos, eos, pad, unk
        put(&[19, 0]); // bytes of the pieces
        put(&[0, 3, 8, 12, 17]);
        put(&[0; 4]); // scores
        file.extend(b"<s><pad></s><unk>??");
        let normalised: &[u32] = &[2, 5 + 9];
        file.extend(normalised.iter().flat_map(|number| number.to_le_bytes()));
        file.extend([1, 0, 0, 0, 0]); // U+0001 to nothing
        file.extend([9, 0, 0, 0, 1, b' ', 0, 0, 0]); // a tab to a space
        let sizes = Sizes {
            hidden: HIDDEN,
            layers: 1,
            heads: 4,
            intermediate: HIDDEN,
            vocabulary: 4,
            positions: 2,
            token_types: 1,
            eps: 0.0,
            padding: 1,
        };
        let tensors = sizes.tensors();
        file.extend((tensors.len() as u32).to_le_bytes());
        let entries: usize = tensors.iter().map(|(_, name, _)| 2 + name.len() + 21).sum();
        let mut offset = (file.len() + entries) as u64;
        for (_, name, shape) in tensors {
            let elements: usize = shape.iter().product();
            let is_quantised =
                shape.len() == 2 && !name.starts_with("emb.pos") && !name.starts_with("emb.type");
            let bytes = if is_quantised { elements / 32 * 18 } else { elements * 4 } as u64;
            file.extend((name.len() as u16).to_le_bytes());
            file.extend(name.as_bytes());
            file.push(u8::from(is_quantised));
            file.extend((elements as u32).to_le_bytes());
            file.extend(offset.to_le_bytes());
            file.extend(bytes.to_le_bytes());
            offset += bytes;
        }
        file.resize(offset as usize, 0);
        file
    }

    fn open(bytes: &[u8]) -> Result<E5s1File, WeightsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.bin");
        std::fs::write(&path, bytes).unwrap();
        E5s1File::open(&path)
    }

    #[test]
    fn a_whole_file_has_a_berts_tensors_and_pieces() {
        let file = open(&tiny()).unwrap();
        assert_eq!(file.names().len(), 3 + 2 + 12 + 4);
        assert_eq!(file.shape("encoder.layer.0.output.dense.weight").unwrap(), [HIDDEN, HIDDEN]);
        assert!(file.names().iter().all(|name| file.tensor(name).unwrap().to_f32().is_ok()));
        let pieces: Vec<&str> = file.vocabulary.pieces.iter().map(|(piece, _)| piece.as_str()).collect();
        assert_eq!(pieces, ["<s>", "<pad>", "</s>", "<unk>"]);
        assert_eq!((file.vocabulary.removed, file.vocabulary.spaces), (vec!['\u{1}'], vec!['\t']));
    }

    /// Whatever is cut off or overwritten, the file is refused or read, never more.
    #[test]
    fn damaged_files_are_errors() {
        let whole = tiny();
        // The header ends before.
        let header = 1600;
        for length in 1..header {
            assert!(open(&whole[..length]).is_err(), "{length} bytes of {}", whole.len());
        }
        for at in 0..header {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                if let Ok(file) = open(&damaged) {
                    for name in file.names() {
                        let _ = file.tensor(&name).and_then(|view| view.to_f32());
                    }
                }
            }
        }
        let message = open(b"E5S2....").err().unwrap().to_string();
        assert!(message.contains("tiny.bin") && message.contains("E5S1"), "{message}");
    }
}
