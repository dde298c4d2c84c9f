//! JSON schemas of varied shape, each with a value that fits it, from a seed.

use serde_json::{Map, Value, json};

/// Schemas and values without end.
pub struct Cases {
    random: Random,
}

impl Cases {
    pub fn new(seed: u64) -> Self {
        Self { random: Random(seed) }
    }
}

impl Iterator for Cases {
    type Item = (Value, Value);

    fn next(&mut self) -> Option<Self::Item> {
        let mut shared = Map::new();
        let (mut schema, value) = object(&mut self.random, 3, &mut shared);
        if !shared.is_empty() {
            schema["$defs"] = Value::Object(shared);
        }
        Some((schema, value))
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

const KEYS: [&str; 16] = [
    "name",
    "age",
    "id",
    "tags",
    "price",
    "in stock",
    "名前",
    "สี",
    "ছবি",
    "größe",
    "items",
    "parent",
    "x-y",
    "a.b",
    "city",
    "note",
];
const WORDS: [&str; 12] =
    ["red", "Grün", "青", "สวัสดี", "নমস্কার", "habari", "two words", "a\"b", "", "ok\n", "😀", "Ж"];

fn any(random: &mut Random, depth: usize, shared: &mut Map<String, Value>) -> (Value, Value) {
    let kinds = if depth == 0 { 8 } else { 15 };
    match random.below(kinds) {
        0 => (json!({"type": "boolean"}), json!(random.below(2) == 0)),
        1 => integer(random),
        2 => (json!({"type": "number"}), json!(random.below(100_000) as f64 / 8.0)),
        3 => (json!({"type": "string"}), json!(random.of(&WORDS))),
        4 => {
            let listed: Vec<&str> = (0..=random.below(4)).map(|at| WORDS[at]).collect();
            let value = random.of(&listed);
            (json!({"enum": listed}), json!(value))
        }
        5 => {
            let (pattern, value) = random.of(&[
                ("^[a-z]{2,5}-[0-9]{3}$", "abc-042"),
                ("^(north|south)$", "south"),
                ("^[A-F0-9]{8}$", "0BADF00D"),
                ("^[ก-๙]+$", "สวย"),
            ]);
            (json!({"type": "string", "pattern": pattern}), json!(value))
        }
        6 => {
            let (format, value) = random.of(&[
                ("date", "2024-02-29"),
                ("time", "23:59:59Z"),
                ("uuid", "123e4567-e89b-12d3-a456-426614174000"),
                ("email", "a.b@example.org"),
            ]);
            (json!({"type": "string", "format": format}), json!(value))
        }
        7 => {
            let (kind, value) = random.of(&[("boolean", "true"), ("integer", "12"), ("string", "\"é\"")]);
            let value = serde_json::from_str(value).unwrap_or_default();
            (json!({"type": [kind, "null"]}), if random.below(3) == 0 { Value::Null } else { value })
        }
        8 => list(random, depth, shared),
        9 => {
            let parts: Vec<(Value, Value)> =
                (0..=random.below(3)).map(|_| any(random, depth - 1, shared)).collect();
            let (schemas, values): (Vec<Value>, Vec<Value>) = parts.into_iter().unzip();
            let length = schemas.len();
            (
                json!({"type": "array", "prefixItems": schemas, "items": false, "minItems": length}),
                json!(values),
            )
        }
        10 => {
            let parts: Vec<(Value, Value)> =
                (0..2 + random.below(2)).map(|_| any(random, depth - 1, shared)).collect();
            let value = parts[random.below(parts.len())].1.clone();
            let schemas: Vec<Value> = parts.into_iter().map(|(schema, _)| schema).collect();
            (json!({"anyOf": schemas}), value)
        }
        11 => {
            let (schema, value) = any(random, depth - 1, shared);
            let values: Map<String, Value> =
                (0..random.below(3)).map(|at| (KEYS[at].to_owned(), value.clone())).collect();
            (json!({"type": "object", "additionalProperties": schema}), Value::Object(values))
        }
        12 => tree(random, shared),
        13 => one_of(random, depth, shared),
        _ => object(random, depth - 1, shared),
    }
}

fn integer(random: &mut Random) -> (Value, Value) {
    let (low, high) = (random.below(50) as i64 - 25, 26 + random.below(1000) as i64);
    let value = low + random.below((high - low) as usize + 1) as i64;
    match random.below(3) {
        0 => (json!({"type": "integer"}), json!(value)),
        1 => (json!({"type": "integer", "minimum": low, "maximum": high}), json!(value)),
        _ => (json!({"type": "integer", "exclusiveMinimum": low - 1}), json!(value)),
    }
}

fn list(random: &mut Random, depth: usize, shared: &mut Map<String, Value>) -> (Value, Value) {
    let (items, value) = any(random, depth - 1, shared);
    let length = random.below(4);
    let values = vec![value; length];
    let schema = match random.below(3) {
        0 => json!({"type": "array", "items": items}),
        1 => json!({"type": "array", "items": items, "minItems": length.min(2), "maxItems": 5}),
        _ => json!({"type": "array", "items": items, "maxItems": length + 1}),
    };
    (schema, json!(values))
}

/// A definition that refers to itself.
fn tree(random: &mut Random, shared: &mut Map<String, Value>) -> (Value, Value) {
    let reference = json!({"$ref": "#/$defs/node"});
    shared.insert(
        "node".to_owned(),
        json!({
            "type": "object",
            "properties": {"value": {"type": "integer"}, "next": {"anyOf": [reference, {"type": "null"}]}},
            "required": ["value", "next"],
            "additionalProperties": false
        }),
    );
    let mut value = Value::Null;
    for at in 0..=random.below(3) {
        value = json!({"value": at, "next": value});
    }
    (reference, value)
}

/// Told apart by a constant, so that a value fits one alternative alone.
fn one_of(random: &mut Random, depth: usize, shared: &mut Map<String, Value>) -> (Value, Value) {
    let mut alternatives = Vec::new();
    let mut values = Vec::new();
    for kind in ["circle", "square", "点"] {
        let (schema, value) = any(random, depth - 1, shared);
        alternatives.push(json!({
            "type": "object",
            "properties": {"kind": {"const": kind}, "of": schema},
            "required": ["kind", "of"],
            "additionalProperties": false
        }));
        values.push(json!({"kind": kind, "of": value}));
    }
    let value = values[random.below(values.len())].clone();
    (json!({"oneOf": alternatives}), value)
}

/// In the order of its properties, as grammars read them.
fn object(random: &mut Random, depth: usize, shared: &mut Map<String, Value>) -> (Value, Value) {
    let (mut properties, mut required, mut values) = (Map::new(), Vec::new(), Map::new());
    let first = random.below(KEYS.len());
    for at in 0..=random.below(5) {
        let key = KEYS[(first + at) % KEYS.len()];
        let (schema, value) = any(random, depth, shared);
        properties.insert(key.to_owned(), schema);
        let needed = random.below(2) == 0;
        if needed {
            required.push(key);
        }
        if needed || random.below(2) == 0 {
            values.insert(key.to_owned(), value);
        }
    }
    let schema = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    (schema, Value::Object(values))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::guide::{Grammar, Guides};
    use crate::weights::Tokenizer;

    #[test]
    fn every_schema_takes_its_value_and_the_seed_decides() {
        const END: u32 = 2;
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/llama3"));
        let tokenizer = Tokenizer::load(path).unwrap();
        let guides = Guides::new(&tokenizer, &[END]).unwrap();
        for (schema, value) in Cases::new(7).take(60) {
            let grammar = Grammar::JsonSchema(schema);
            let mut state = guides.compile(&grammar).unwrap().start();
            for id in tokenizer.encode(&value.to_string(), false).unwrap() {
                assert!(state.allowed().unwrap().contains(id), "{grammar:?} {value}");
                state.take(id).unwrap();
            }
            assert!(state.allowed().unwrap().contains(END), "{grammar:?} {value}");
        }
        assert_eq!(Cases::new(3).take(5).collect::<Vec<_>>(), Cases::new(3).take(5).collect::<Vec<_>>());
        assert_ne!(Cases::new(3).next(), Cases::new(4).next());
    }
}
