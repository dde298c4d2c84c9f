//! What a pickle holds here, and the arena that holds it.

use std::collections::HashMap;

use super::globals::{Element, Global};

/// A value on the stack of the pickle machine. Containers are places in the [`Heap`], so that what nests a million
/// deep, or holds itself, is copied and dropped like anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'p> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, as it is written.
    Long(&'p [u8]),
    /// Text, not yet known to be UTF-8.
    Text(&'p [u8]),
    /// What no tensor is made of: floats, bytes, sets.
    Other,
    Global(Global),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
}

/// Everything that values refer to. Nothing is ever taken out of it.
#[derive(Debug, Default)]
pub struct Heap<'p> {
    /// Tuples and lists.
    pub sequences: Vec<Vec<Value<'p>>>,
    /// Entries in the order of the file.
    pub dicts: Vec<Vec<(Value<'p>, Value<'p>)>>,
    pub storages: Vec<Storage<'p>>,
    /// The place of a storage by its key.
    pub storage_places: HashMap<&'p [u8], usize>,
    pub tensors: Vec<PickledTensor>,
    /// Dict entries that were copied from lists, which a few bytes can ask for again and again.
    copied: usize,
}

/// A run of elements that lies elsewhere in the file, under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage<'p> {
    pub key: &'p str,
    pub element: Element,
    /// The size in bytes that the pickle states.
    pub bytes: u64,
}

/// A tensor as the pickle states it, unchecked. Shape and strides are places of tuples.
#[derive(Debug, Clone, Copy)]
pub struct PickledTensor {
    pub storage: usize,
    pub element: Element,
    /// The first element, counted from the start of the storage.
    pub offset: u64,
    pub shape: usize,
    pub strides: usize,
}

impl<'p> Heap<'p> {
    /// The number of things held.
    pub fn objects(&self) -> usize {
        self.sequences.len() + self.dicts.len() + self.storages.len() + self.tensors.len() + self.copied
    }

    pub fn tuple(&mut self, items: Vec<Value<'p>>) -> Value<'p> {
        self.sequences.push(items);
        Value::Tuple(self.sequences.len() - 1)
    }

    pub fn empty_list(&mut self) -> Value<'p> {
        self.sequences.push(Vec::new());
        Value::List(self.sequences.len() - 1)
    }

    pub fn empty_dict(&mut self) -> Value<'p> {
        self.dicts.push(Vec::new());
        Value::Dict(self.dicts.len() - 1)
    }

    /// The dict of a list of pairs; `None` if some item is not one.
    pub fn dict_of_pairs(&mut self, list: usize) -> Option<Value<'p>> {
        let pair = |item: &Value| match item {
            Value::List(pair) | Value::Tuple(pair) => match self.sequences[*pair][..] {
                [key, value] => Some((key, value)),
                _ => None,
            },
            _ => None,
        };
        let entries = self.sequences[list].iter().map(pair).collect::<Option<Vec<_>>>()?;
        self.copied += entries.len();
        self.dicts.push(entries);
        Some(Value::Dict(self.dicts.len() - 1))
    }

    pub fn tensor(&mut self, tensor: PickledTensor) -> Value<'p> {
        self.tensors.push(tensor);
        Value::Tensor(self.tensors.len() - 1)
    }

    /// The value of a text key of a dict, if it is there once.
    pub fn get(&self, dict: usize, key: &str) -> Option<Value<'p>> {
        let mut found = self.dicts[dict].iter().filter(|(k, _)| *k == Value::Text(key.as_bytes()));
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(*value),
            _ => None,
        }
    }

    /// The items of a tuple of counts, `None` if one is not.
    pub fn counts(&self, tuple: usize) -> Option<Vec<u64>> {
        self.sequences[tuple]
            .iter()
            .map(|item| if let Value::Int(count) = item { u64::try_from(*count).ok() } else { None })
            .collect()
    }
}
