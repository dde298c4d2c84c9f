//! The tensors of an unpickled object under flat names.
//!
//! Dicts may nest, and names are joined with dots; an integer key counts as its digits. A training checkpoint that keeps
//! its weights under `state_dict`, `model_state_dict` or `model` shows those alone. What is not a tensor, and tensors in
//! lists, is left out.

use std::collections::BTreeMap;

use super::value::{Heap, Value};

/// The keys under which trainers wrap a state dict.
const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];
const DEPTH_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 4096;
/// Dicts can be shared, so few bytes can hold exponentially many names. What the names of a sane file cost, each with
/// the memory of its tensor, is well below this multiple of its pickle.
const COST_OF_TENSOR: usize = 32;
const COST_PER_BYTE_MAX: usize = 8;

/// Name to place in `heap.tensors`. The error is a sentence without its subject.
pub fn tensors_by_name(
    heap: &Heap,
    root: Value,
    pickle_bytes: usize,
) -> Result<BTreeMap<String, usize>, String> {
    let Value::Dict(root) = root else {
        return Err(
            "holds one object and not a state dict (a dict of tensors); save model.state_dict()".into()
        );
    };
    let mut budget = pickle_bytes.saturating_mul(COST_PER_BYTE_MAX);
    let mut flatten = |dict| {
        let mut names = Names { heap, budget, found: BTreeMap::new() };
        names.add(dict, "", 0)?;
        budget = names.budget;
        Ok::<_, String>(names.found)
    };
    if !heap.dicts[root].iter().any(|(_, value)| matches!(value, Value::Tensor(_))) {
        let mut wrapped = Vec::new();
        for key in WRAPPERS {
            if let Some(Value::Dict(dict)) = heap.get(root, key) {
                wrapped.push(flatten(dict)?);
            }
        }
        wrapped.retain(|found| !found.is_empty());
        if wrapped.len() == 1 {
            return Ok(wrapped.remove(0));
        }
    }
    let found = flatten(root)?;
    if found.is_empty() { Err("holds no tensors".into()) } else { Ok(found) }
}

struct Names<'h, 'p> {
    heap: &'h Heap<'p>,
    budget: usize,
    found: BTreeMap<String, usize>,
}

impl Names<'_, '_> {
    fn add(&mut self, dict: usize, prefix: &str, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("nests dicts deeper than {DEPTH_MAX}"));
        }
        for (key, value) in &self.heap.dicts[dict] {
            self.spend(1)?;
            if !matches!(value, Value::Tensor(_) | Value::Dict(_)) {
                continue;
            }
            let Some(mut name) = join(prefix, *key)? else { continue };
            self.spend(name.len())?;
            match value {
                Value::Dict(dict) => {
                    name.push('.');
                    self.add(*dict, &name, depth + 1)?;
                }
                Value::Tensor(tensor) => {
                    self.spend(COST_OF_TENSOR)?;
                    if self.found.contains_key(&name) {
                        return Err(format!("has two tensors `{name}`"));
                    }
                    self.found.insert(name, *tensor);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn spend(&mut self, cost: usize) -> Result<(), String> {
        let left = self.budget.checked_sub(cost);
        self.budget = left.ok_or("repeats its dicts so often that it is far larger than its file")?;
        Ok(())
    }
}

/// The name of a key below a prefix; `None` for keys that no state dict has.
fn join(prefix: &str, key: Value) -> Result<Option<String>, String> {
    match key {
        Value::Text(text) if prefix.len() + text.len() > NAME_BYTES_MAX => {
            Err(format!("has a name longer than {NAME_BYTES_MAX} bytes"))
        }
        Value::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Ok(Some(format!("{prefix}{text}"))),
            Err(_) => Err("has a name that is not UTF-8".into()),
        },
        Value::Int(number) => Ok(Some(format!("{prefix}{number}"))),
        _ => Ok(None),
    }
}
