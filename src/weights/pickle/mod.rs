//! PyTorch checkpoints (`pytorch_model.bin`, `*.pt`, `*.pth`) as a source of tensors.
//!
//! A PyTorch file is a pickle, a program whose only use here is to state tensors, beside the tensors' storages. Both
//! formats of `torch.save` are read: the zip archive of 1.6 and later, and the row of pickles before it. Nothing of a
//! file is ever executed: the pickle machine knows a few dozen names (`globals`), and a file that uses another is refused.
//!
//! A tensor is borrowed from the memory map where it lies in row-major order, and copied into it otherwise.

mod calls;
mod globals;
mod layout;
mod legacy;
mod machine;
mod opcodes;
mod state_dict;
mod value;
mod zip;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use self::globals::Element;
use self::layout::{DIMENSIONS_MAX, Layout};
use self::machine::{Pickle, unpickle};
use self::value::PickledTensor;
use self::zip::Archive;
use super::WeightsError;
use super::mapped_file::MappedFile;
use super::source::{TensorSource, TensorType, TensorView};

/// Elements that repeat (stride 0) take more memory than the file; they may up to this, or the file's size.
const COPY_BYTES_MIN: usize = 1 << 20;
const BIG_ENDIAN: &str = "was written on a big-endian machine; load it in PyTorch and save it again";

/// A mapped PyTorch file whose tensors all lie within their storages.
#[derive(Debug)]
pub struct PickleFile {
    file: MappedFile,
    tensors: BTreeMap<String, StoredTensor>,
}

#[derive(Debug)]
struct StoredTensor {
    element: Element,
    layout: Layout,
    /// Where in the file the layout's span lies.
    range: Range<usize>,
}

/// An unpickled object and where each storage of its heap lies in the file.
struct Contents<'f> {
    pickle: Pickle<'f>,
    storages: Vec<Range<usize>>,
}

impl PickleFile {
    /// Maps the file, reads its pickle and checks every tensor against the file. The format is known by its magic.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let file = MappedFile::open(path)?;
        let tensors = stored_tensors(&file, &Contents::read(&file)?)?;
        Ok(Self { file, tensors })
    }

    fn stored(&self, name: &str) -> Result<&StoredTensor, WeightsError> {
        let missing = || WeightsError::MissingTensor { path: self.file.path.clone(), name: name.to_owned() };
        self.tensors.get(name).ok_or_else(missing)
    }

    fn dtype_of(&self, name: &str, stored: &StoredTensor) -> Result<TensorType, WeightsError> {
        stored.element.tensor_type().ok_or_else(|| WeightsError::UnsupportedType {
            path: self.file.path.clone(),
            name: name.to_owned(),
            dtype: stored.element.name.to_owned(),
            supported: "float64, float32, float16 and bfloat16 (in PyTorch files)",
        })
    }
}

impl TensorSource for PickleFile {
    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn stored_name(&self, name: &str) -> String {
        name.to_owned()
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>, WeightsError> {
        self.stored(name).map(|stored| stored.layout.shape.clone())
    }

    fn dtype(&self, name: &str) -> Result<TensorType, WeightsError> {
        self.stored(name).and_then(|stored| self.dtype_of(name, stored))
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
        let stored = self.stored(name)?;
        let dtype = self.dtype_of(name, stored)?;
        let bytes = &self.file[stored.range.clone()];
        let is_aligned = bytes.as_ptr().addr().is_multiple_of(dtype.block_bytes());
        let bytes = if stored.layout.is_row_major() && is_aligned {
            Cow::Borrowed(bytes)
        } else {
            Cow::Owned(stored.layout.gather(bytes, dtype.block_bytes()))
        };
        Ok(TensorView { name: name.to_owned(), shape: stored.layout.shape.clone(), dtype, bytes })
    }
}

impl<'f> Contents<'f> {
    fn read(file: &'f MappedFile) -> Result<Self, WeightsError> {
        if zip::is_zip(file) {
            read_zip(file)
        } else if file[0] == opcodes::PROTO {
            legacy::read(file)
        } else {
            Err(not_a_checkpoint(file, "is neither of the two formats of torch.save"))
        }
    }
}

fn not_a_checkpoint(file: &MappedFile, problem: &str) -> WeightsError {
    WeightsError::NotACheckpoint { path: file.path.clone(), problem: problem.to_owned() }
}

/// All entries lie in one folder of any name: `data.pkl`, `data/KEY` for each storage, and `byteorder` since 2.1.
fn read_zip(file: &MappedFile) -> Result<Contents<'_>, WeightsError> {
    let archive = Archive::open(file)?;
    let is_pickle = |name: &&str| name.strip_suffix("/data.pkl").is_some_and(|folder| !folder.contains('/'));
    let pickles: Vec<&str> = archive.names().filter(is_pickle).collect();
    let &[name] = pickles.as_slice() else {
        return Err(not_a_checkpoint(
            file,
            "is a zip archive, but not of torch.save: one data.pkl is expected in it",
        ));
    };
    let folder = name.trim_end_matches("data.pkl");
    let missing = |name: &str| WeightsError::Corrupt {
        path: file.path.clone(),
        problem: format!("the zip archive has no entry `{name}`"),
    };
    if let Some(order) = archive.range(&format!("{folder}byteorder"))?
        && file[order] != *b"little"
    {
        return Err(not_a_checkpoint(file, BIG_ENDIAN));
    }
    let range = archive.range(name)?.ok_or_else(|| missing(name))?;
    let pickle = unpickle(&file.path, name, &file[range])?;
    let mut storages = Vec::with_capacity(pickle.heap.storages.len());
    for storage in &pickle.heap.storages {
        let name = format!("{folder}data/{}", storage.key);
        let range = archive.range(&name)?.ok_or_else(|| missing(&name))?;
        if storage.bytes > range.len() as u64 {
            let (needs, has) = (storage.bytes, range.len());
            let problem = format!("storage `{}` needs {needs} bytes, entry `{name}` has {has}", storage.key);
            return Err(WeightsError::Corrupt { path: file.path.clone(), problem });
        }
        storages.push(range.start..range.start + storage.bytes as usize);
    }
    Ok(Contents { pickle, storages })
}

fn stored_tensors(
    file: &MappedFile,
    contents: &Contents,
) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let Contents { pickle, .. } = contents;
    let names = state_dict::tensors_by_name(&pickle.heap, pickle.root, pickle.length)
        .map_err(|problem| not_a_checkpoint(file, &problem))?;
    let mut tensors = BTreeMap::new();
    for (name, place) in names {
        let stored = check_tensor(file, contents, pickle.heap.tensors[place]).map_err(|problem| {
            WeightsError::Corrupt { path: file.path.clone(), problem: format!("tensor `{name}` {problem}") }
        })?;
        tensors.insert(name, stored);
    }
    Ok(tensors)
}

/// The error is a sentence without its subject.
fn check_tensor(
    file: &MappedFile,
    contents: &Contents,
    tensor: PickledTensor,
) -> Result<StoredTensor, String> {
    let heap = &contents.pickle.heap;
    let PickledTensor { storage, element, offset, shape, strides } = tensor;
    let dimensions = heap.sequences[shape].len();
    if dimensions > DIMENSIONS_MAX || heap.sequences[strides].len() > DIMENSIONS_MAX {
        return Err(format!("has {dimensions} dimensions, at most {DIMENSIONS_MAX} are allowed"));
    }
    let counts = heap.counts(shape).zip(heap.counts(strides));
    let (shape, strides) = counts.ok_or("has a shape or strides that are not counts")?;
    let layout = Layout::new(&shape, &strides)
        .ok_or_else(|| format!("has the impossible shape {shape:?} with strides {strides:?}"))?;
    let size_max = file.len().max(COPY_BYTES_MIN) as u64;
    if (layout.elements as u64).checked_mul(element.bytes).is_none_or(|size| size > size_max) {
        return Err(format!("of shape {shape:?} and strides {strides:?} is larger than its file"));
    }
    let (located, key) = (&contents.storages[storage], heap.storages[storage].key);
    let end = offset.checked_add(layout.span as u64).and_then(|end| end.checked_mul(element.bytes));
    let Some(end) = end.filter(|end| *end <= located.len() as u64) else {
        let has = located.len() as u64 / element.bytes;
        return Err(format!(
            "of shape {shape:?}, strides {strides:?} and offset {offset} reaches past the {has} elements of storage \
             `{key}`"
        ));
    };
    let range = located.start + (offset * element.bytes) as usize..located.start + end as usize;
    Ok(StoredTensor { element, layout, range })
}
