//! The format of `torch.save` before 1.6: five pickles in a row, then the storages.
//!
//! The pickles are a magic number, a version, facts about the machine that wrote, the object, and the list of storage
//! keys; each storage is a count of elements in eight bytes and the elements.

use std::ops::Range;

use super::machine::{Pickle, unpickle};
use super::value::{Heap, Value};
use super::{Contents, not_a_checkpoint};
use crate::weights::WeightsError;
use crate::weights::mapped_file::MappedFile;

/// 0x1950a86a20f9469cfc6c as a pickle writes it.
const MAGIC_NUMBER: Value = Value::Long(b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
const VERSION: Value = Value::Int(1001);

pub fn read(file: &MappedFile) -> Result<Contents<'_>, WeightsError> {
    let mut position = 0;
    let mut next = |place: &str| {
        let pickle = unpickle(&file.path, place, &file[position..])?;
        position += pickle.length;
        Ok::<_, WeightsError>(pickle)
    };
    if next("the first pickle")?.root != MAGIC_NUMBER {
        return Err(not_a_checkpoint(file, "is a pickle, but not one that torch.save writes"));
    }
    if next("the version's pickle")?.root != VERSION {
        return Err(not_a_checkpoint(file, "is of an unknown version of PyTorch's format"));
    }
    let machine = next("the machine's pickle")?;
    if let Value::Dict(facts) = machine.root
        && machine.heap.get(facts, "little_endian") == Some(Value::Bool(false))
    {
        return Err(not_a_checkpoint(file, super::BIG_ENDIAN));
    }
    let object = next("the object's pickle")?;
    let keys = next("the pickle of storage keys")?;
    let storages = locate(file, position, &object.heap, &keys)?;
    Ok(Contents { pickle: object, storages })
}

/// Where each storage of the object lies.
fn locate(
    file: &MappedFile,
    mut position: usize,
    heap: &Heap,
    keys: &Pickle,
) -> Result<Vec<Range<usize>>, WeightsError> {
    let corrupt = |problem: String| WeightsError::Corrupt { path: file.path.clone(), problem };
    let Value::List(list) = keys.root else { return Err(corrupt("the storage keys are not a list".into())) };
    let mut located = vec![None; heap.storages.len()];
    for key in &keys.heap.sequences[list] {
        let place = if let Value::Text(key) = key { heap.storage_places.get(key) } else { None };
        let place = *place.ok_or_else(|| corrupt("lists a storage that its object does not have".into()))?;
        let storage = heap.storages[place];
        let truncated = |needs: u64| {
            let (path, has) = (file.path.clone(), file.len() as u64);
            WeightsError::Truncated { path, what: format!("storage `{}`", storage.key), needs, has }
        };
        let count = file[position..].first_chunk::<8>().ok_or_else(|| truncated(position as u64 + 8))?;
        let count = u64::from_le_bytes(*count);
        if count.checked_mul(storage.element.bytes) != Some(storage.bytes) {
            let stated = storage.bytes / storage.element.bytes;
            return Err(corrupt(format!("storage `{}` has {count} elements, not {stated}", storage.key)));
        }
        let start = position + 8;
        let end = (start as u64).saturating_add(storage.bytes);
        if end > file.len() as u64 {
            return Err(truncated(end));
        }
        position = end as usize;
        located[place] = Some(start..position);
    }
    let missing =
        |place: usize| corrupt(format!("storage `{}` is not in the file", heap.storages[place].key));
    located.into_iter().enumerate().map(|(place, range)| range.ok_or_else(|| missing(place))).collect()
}
