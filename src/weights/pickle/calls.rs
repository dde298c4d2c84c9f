//! What the calls of a pickle make: tensors, parameters, storages and dicts, and nothing else.

use std::fmt::Write as _;

use super::globals::Global;
use super::value::{Heap, PickledTensor, Storage, Value};

/// Storage keys are counters or addresses.
const KEY_BYTES_MAX: usize = 64;

/// The result of `REDUCE`: `global` called with a tuple.
pub fn call<'p>(heap: &mut Heap<'p>, global: Global, arguments: usize) -> Result<Value<'p>, String> {
    match (global, heap.sequences[arguments].as_slice()) {
        (Global::OrderedDict, []) => Ok(heap.empty_dict()),
        // As Python 2 wrote it.
        (Global::OrderedDict, [Value::List(pairs)]) => {
            let pairs = *pairs;
            heap.dict_of_pairs(pairs).ok_or_else(|| describe(heap, global, arguments))
        }
        (Global::Size, [shape @ Value::Tuple(_)]) => Ok(*shape),
        (Global::Parameter, [tensor @ Value::Tensor(_), ..]) => Ok(*tensor),
        (
            Global::RebuildTensor | Global::RebuildTypedTensor,
            [
                Value::Storage(storage),
                Value::Int(offset @ 0..),
                Value::Tuple(shape),
                Value::Tuple(strides),
                rest @ ..,
            ],
        ) => {
            let mut tensor = PickledTensor {
                storage: *storage,
                element: heap.storages[*storage].element,
                offset: *offset as u64,
                shape: *shape,
                strides: *strides,
            };
            // The arguments that are left: requires_grad, hooks, then the type (v3 only) and the metadata.
            let metadata = match (global, rest) {
                (
                    Global::RebuildTypedTensor,
                    [_, _, Value::Global(Global::Dtype(element)), metadata @ ..],
                ) => {
                    tensor.element = *element;
                    metadata
                }
                (Global::RebuildTypedTensor, _) => return Err(describe(heap, global, arguments)),
                (_, [_, _, metadata @ ..]) => metadata,
                (_, _) => &[],
            };
            check_metadata(heap, metadata)?;
            Ok(heap.tensor(tensor))
        }
        _ => Err(describe(heap, global, arguments)),
    }
}

/// The storage that a persistent id names: ("storage", class, key, device, count[, None]).
pub fn storage<'p>(heap: &mut Heap<'p>, id: Value<'p>) -> Result<Value<'p>, String> {
    let items = if let Value::Tuple(items) = id { heap.sequences[items].as_slice() } else { &[] };
    let &[
        Value::Text(b"storage"),
        Value::Global(Global::Storage(element)),
        Value::Text(raw_key),
        Value::Text(_),
        Value::Int(count @ 0..),
        ref view @ ..,
    ] = items
    else {
        return Err("refers to something outside of it that is not a storage".into());
    };
    if !matches!(view, [] | [Value::None]) {
        return Err(
            "refers to a view of a storage, which is not read; load it in PyTorch and save it again".into()
        );
    }
    let key = std::str::from_utf8(raw_key).ok().filter(|key| key.len() <= KEY_BYTES_MAX);
    let key = key.ok_or_else(|| "refers to a storage by an impossible key".to_owned())?;
    let bytes = (count as u64).checked_mul(element.bytes);
    let bytes = bytes.ok_or_else(|| format!("claims {count} elements for storage `{key}`"))?;
    let stated = Storage { key, element, bytes };
    if let Some(place) = heap.storage_places.get(raw_key) {
        return if heap.storages[*place] == stated {
            Ok(Value::Storage(*place))
        } else {
            Err(format!("states two types or sizes for storage `{key}`"))
        };
    }
    heap.storage_places.insert(raw_key, heap.storages.len());
    heap.storages.push(stated);
    Ok(Value::Storage(heap.storages.len() - 1))
}

/// PyTorch states here that the bytes are to be negated or conjugated, and nothing else.
fn check_metadata(heap: &Heap, metadata: &[Value]) -> Result<(), String> {
    match metadata {
        [] | [Value::None] => Ok(()),
        [Value::Dict(dict)] if heap.dicts[*dict].is_empty() => Ok(()),
        _ => Err("has a tensor that is stored negated or conjugated".into()),
    }
}

fn describe(heap: &Heap, global: Global, arguments: usize) -> String {
    let mut text = format!("calls {global:?} with what it does not take: ");
    for argument in heap.sequences[arguments].iter().take(8) {
        let kind = match argument {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) | Value::Long(_) => "an integer",
            Value::Text(_) => "a text",
            Value::Other => "a plain value",
            Value::Global(_) => "a name",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dict",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
        };
        let _ = write!(text, "{kind}, ");
    }
    text.trim_end_matches([',', ' ', ':']).to_owned()
}
