//! The configuration as a JSON Schema (draft 2020-12), for editors and other programs.
//!
//! Made from the methods' tables and the keys that the reader knows. It has the types, ranges and
//! descriptions of the plain forms (a number as a number, not as a text); what holds between keys is in
//! `check` alone.

use serde_json::{Map, Value, json};

use crate::merge::method::{Base, Kind, METHODS, MethodSpec, Parameter, Usual};

use super::DTYPES;
use super::tokenizer::CHAT_TEMPLATES;

/// The schema of a whole configuration.
pub fn json_schema() -> Value {
    let methods: Vec<Value> = METHODS
        .iter()
        .map(|spec| json!({"const": spec.name, "description": format!("{} ({})", spec.about, spec.source)}))
        .collect();
    let properties = json!({
        "name": {
            "description": "what other merges of the same file call the result, which they take as a model",
            "type": "string", "minLength": 1,
        },
        "merge_method": {"description": "how the models are merged", "oneOf": methods},
        "base_model": described("model", "what differences are from; its config and tokenizer are taken too"),
        "models": described("models", "all layers of each model"),
        "slices": described("slices", "layers of models, stacked"),
        "modules": {
            "description": "modules of the architecture by name, those left out are not written",
            "type": "object", "minProperties": 1, "additionalProperties": reference("module"),
        },
        "parameters": described("parameters", "for all models"),
        "dtype": described("dtype", "what is computed in; as stored if not given"),
        "out_dtype": described("dtype", "what is written; dtype if not given"),
        "tokenizer_source": described("tokenizer_source", "short for tokenizer: {source: ..}"),
        "tokenizer": described("tokenizer", "the vocabulary of the merged model"),
        "chat_template": {
            "description": "auto, the name of a template, or a Jinja template",
            "anyOf": [{"enum": CHAT_TEMPLATES}, {"type": "string", "minLength": 20, "pattern": "\\{"}],
        },
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of a merge",
        "type": "object",
        "required": ["merge_method"],
        "oneOf": [{"required": ["models"]}, {"required": ["slices"]}, {"required": ["modules"]}],
        "additionalProperties": false,
        "properties": properties,
        "allOf": METHODS.iter().map(rules_of).collect::<Vec<_>>(),
        "$defs": definitions(),
    })
}

/// What a method asks for, where it is the one that is chosen.
fn rules_of(spec: &MethodSpec) -> Value {
    let parameters = reference(&format!("parameters_{}", spec.name));
    let of_list = json!({"items": {"properties": {"parameters": parameters}}});
    let of_slices = json!({"items": {"properties": {"parameters": parameters, "sources": of_list}}});
    let layers = json!({"models": of_list, "slices": of_slices, "parameters": parameters});
    let mut properties = layers.clone();
    properties["modules"] = json!({"additionalProperties": {"properties": layers}});
    let mut then = json!({"properties": properties});
    if spec.base == Base::Required {
        // A slice may bring a base of its own.
        then["anyOf"] =
            json!([{"required": ["base_model"]}, {"required": ["slices"]}, {"required": ["modules"]}]);
    }
    let chosen = json!({"required": ["merge_method"], "properties": {"merge_method": {"const": spec.name}}});
    json!({"if": chosen, "then": then})
}

fn definitions() -> Value {
    let mut definitions = Map::new();
    let mut define = |name: &str, schema: Value| definitions.insert(name.to_owned(), schema);
    let name = json!({"type": "string", "minLength": 1});
    let any = json!({"type": ["number", "boolean", "string"]});
    let dtypes: Vec<String> =
        DTYPES.iter().flat_map(|name| [(*name).to_owned(), format!("torch.{name}")]).collect();
    define("dtype", json!({"enum": dtypes}));
    define("path", json!({"anyOf": [name, closed(&["path"], json!({"path": name, "revision": name}))]}));
    let spread = closed(
        &["model"],
        json!({"model": reference("path"), "lora": reference("path"), "override_architecture": name}),
    );
    define(
        "model",
        json!({"description": "path, path@revision, path+adapter, or the same as a mapping", "anyOf": [name, spread]}),
    );
    define(
        "models",
        list_of(closed(
            &["model"],
            json!({"model": reference("model"), "parameters": reference("parameters")}),
        )),
    );
    let range = json!({
        "description": "the first layer, from 0, and the one after the last",
        "type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2,
    });
    let source =
        json!({"model": reference("model"), "layer_range": range, "parameters": reference("parameters")});
    let slice = json!({
        "sources": list_of(closed(&["model", "layer_range"], source)),
        "base_model": reference("model"),
        "parameters": reference("parameters"),
        "residual_weight": {"description": "does nothing", "type": "number"},
    });
    define("slices", list_of(closed(&["sources"], slice)));
    let module = json!({
        "models": reference("models"), "slices": reference("slices"), "parameters": reference("parameters"),
    });
    let mut module = closed(&[], module);
    module["oneOf"] = json!([{"required": ["models"]}, {"required": ["slices"]}]);
    define("module", module);
    define("parameters", json!({"type": "object", "additionalProperties": setting(&any)}));
    for spec in METHODS {
        define(&format!("parameters_{}", spec.name), parameters_of(spec));
    }
    define_tokenizer(define);
    Value::Object(definitions)
}

fn define_tokenizer(mut define: impl FnMut(&str, Value) -> Option<Value>) {
    define("tokenizer_source", json!({"anyOf": [{"enum": ["union", "base"]}, reference("model")]}));
    let zero = closed(&["kind"], json!({"kind": {"const": "zero"}}));
    let mut of_token = closed(
        &["kind", "model"],
        json!({
            "kind": {"const": "model_token"},
            "model": reference("model"),
            "token": {"type": "string", "minLength": 1},
            "token_id": {"type": "integer", "minimum": 0},
        }),
    );
    of_token["oneOf"] = json!([{"required": ["token"]}, {"required": ["token_id"]}]);
    let rule = json!({
        "source": {"description": "where the token's row comes from", "anyOf": [zero, of_token, reference("model")]},
        "force": {"description": "also for models that have the token", "type": "boolean"},
    });
    let tokenizer = json!({
        "source": reference("tokenizer_source"),
        "tokens": {"type": "object", "additionalProperties": closed(&[], rule)},
        "pad_to_multiple_of": {"type": "integer", "minimum": 1},
    });
    define("tokenizer", closed(&[], tokenizer));
}

/// Other names are let pass: the reader warns of them.
fn parameters_of(spec: &MethodSpec) -> Value {
    let properties: Map<String, Value> =
        spec.parameters.iter().map(|parameter| (parameter.name.to_owned(), property_of(parameter))).collect();
    json!({"type": "object", "properties": properties})
}

fn property_of(parameter: &Parameter) -> Value {
    let scalar = match parameter.kind {
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Count => json!({"type": "integer", "minimum": 0}),
        Kind::Rescale => json!({"enum": [true, false, "l1", "inverse_density"]}),
        Kind::Real { min, max } => {
            let mut scalar = json!({"type": "number"});
            if min != f64::MIN {
                scalar["minimum"] = json!(min);
            }
            if max != f64::MAX {
                scalar["maximum"] = json!(max);
            }
            scalar
        }
    };
    let mut property = setting(&scalar);
    property["description"] = json!(parameter.about);
    match parameter.usual {
        Usual::Flag(flag) => property["default"] = json!(flag),
        Usual::Number(number) => property["default"] = json!(number),
        Usual::Required | Usual::Absent => {}
    }
    property
}

/// A scalar, a gradient, or either for the tensors of a filter.
fn setting(scalar: &Value) -> Value {
    let value = json!({"anyOf": [scalar, list_of(scalar.clone())]});
    let filter =
        json!({"description": "part of the tensors' names, * for all", "type": "string", "minLength": 1});
    let filtered = closed(&["value"], json!({"value": value, "filter": filter}));
    json!({"anyOf": [scalar, list_of(scalar.clone()), filtered, list_of(filtered.clone())]})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn described(name: &str, description: &str) -> Value {
    let mut schema = reference(name);
    schema["description"] = json!(description);
    schema
}

fn list_of(items: Value) -> Value {
    let mut schema = json!({"type": "array", "minItems": 1});
    schema["items"] = items;
    schema
}

/// A mapping with no other keys.
fn closed(required: &[&str], properties: Value) -> Value {
    let mut schema = json!({"type": "object", "additionalProperties": false, "required": required});
    schema["properties"] = properties;
    schema
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{TOP_KEYS, inputs, parameters, reference as references, tokenizer};
    use super::*;

    /// Every set of keys of a closed mapping, and every target of a reference.
    fn walk(value: &Value, key_sets: &mut BTreeSet<Vec<String>>, targets: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if map.get("additionalProperties") == Some(&json!(false)) {
                    let properties = map["properties"].as_object().expect("properties");
                    let mut keys: Vec<String> = properties.keys().cloned().collect();
                    keys.sort();
                    key_sets.insert(keys);
                }
                targets.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| walk(value, key_sets, targets));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, key_sets, targets)),
            _ => {}
        }
    }

    #[test]
    fn has_the_keys_that_the_reader_knows() {
        let (mut found, mut targets) = (BTreeSet::new(), BTreeSet::new());
        let schema = json_schema();
        walk(&schema, &mut found, &mut targets);
        let known = [
            TOP_KEYS,
            inputs::MODULE_KEYS,
            inputs::MODEL_KEYS,
            inputs::SLICE_KEYS,
            inputs::SOURCE_KEYS,
            references::REFERENCE_KEYS,
            references::PATH_KEYS,
            tokenizer::TOKENIZER_KEYS,
            tokenizer::RULE_KEYS,
            tokenizer::TOKEN_SOURCE_KEYS,
            &["kind"],
            parameters::FILTERED_KEYS,
        ];
        let sorted = |keys: &[&str]| {
            let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            keys.sort();
            keys
        };
        assert_eq!(found, known.iter().map(|keys| sorted(keys)).collect());
        for target in targets {
            assert!(schema.pointer(target.trim_start_matches('#')).is_some(), "{target}");
        }
    }

    #[test]
    fn has_the_parameters_of_every_method() {
        let schema = json_schema();
        for spec in METHODS {
            for parameter in spec.parameters {
                let path = format!("/$defs/parameters_{}/properties/{}", spec.name, parameter.name);
                let property = schema.pointer(&path).expect(&path);
                assert_eq!(property["description"], json!(parameter.about), "{path}");
            }
        }
        let minimum = |method: &str, name: &str, bound: &str| {
            let path = format!("/$defs/parameters_{method}/properties/{name}/anyOf/0/{bound}");
            schema.pointer(&path).and_then(Value::as_f64)
        };
        assert_eq!(minimum("slerp", "t", "maximum"), Some(1.0));
        assert_eq!(minimum("nearswap", "t", "minimum"), Some(0.0));
        assert_eq!(minimum("nearswap", "t", "maximum"), None);
        assert_eq!(minimum("ties", "weight", "minimum"), None);
    }
}
