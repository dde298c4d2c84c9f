//! Configurations that do not hold together, and such that nearly do not.

use super::*;

/// Lines of a configuration, from 2, and how its error starts; or its warnings.
fn check(method: &str, lines: &str, expected: Result<&[&str], &str>) {
    let text = format!("merge_method: {method}\n{lines}");
    match (MergeConfig::parse(&text).map(|config| config.warnings), expected) {
        (Ok(warnings), Ok(expected)) => {
            assert_eq!(warnings.len(), expected.len(), "{text}: {warnings:?}");
            for (warning, start) in warnings.iter().zip(expected) {
                assert!(warning.starts_with(start), "{text}: {warning}");
            }
        }
        (Err(error), Err(start)) => assert!(error.to_string().starts_with(start), "{text}: {error}"),
        (found, _) => panic!("{text}: {found:?}"),
    }
}

#[test]
fn bases() {
    let models = "models: [{model: a}, {model: b}]\nparameters: {weight: 1}\n";
    let sources = "slices: [{sources: [{model: a, layer_range: [0, 1]}, {model: b, layer_range: [0, 1]}]}]\n\
                   parameters: {weight: 1}\n";
    check("ties", models, Err("line 1: base_model: is missing; ties merges"));
    check("ties", &format!("{models}base_model: c"), Ok(&[]));
    check("ties", sources, Err("line 1: base_model: is missing;"));
    check("ties", &format!("{sources}base_model: b"), Ok(&[]));
    check(
        "ties",
        &format!("{sources}base_model: c"),
        Err("line 2: slices.0.sources: the base model `c` is not"),
    );
    check("nuslerp", models, Ok(&[]));
    check(
        "nuslerp",
        &format!("{sources}base_model: c"),
        Err("line 2: slices.0.sources: the base model `c` is not"),
    );
    check("linear", &format!("{sources}base_model: c"), Ok(&[]));
    check("linear", &format!("{models}base_model: b"), Ok(&[]));
    check(
        "linear",
        &format!("{models}base_model: c"),
        Ok(&["line 4: base_model: linear merges the base model as"]),
    );
    let own =
        "slices:\n- {base_model: a, sources: [{model: a, layer_range: [0, 1]}]}\nparameters: {weight: 1}\n";
    check("ties", own, Ok(&[]));
}

#[test]
fn numbers_of_inputs() {
    let models = |names: &str| {
        let entries: Vec<String> = names.chars().map(|name| format!("{{model: {name}}}")).collect();
        format!("parameters: {{t: 0.5, weight: 1}}\nmodels: [{}]\n", entries.join(", "))
    };
    let counted = |method: &str, names: &str, base: &str, expected: Option<&str>| {
        let text = models(names) + base;
        let error = MergeConfig::parse(&format!("merge_method: {method}\n{text}"))
            .err()
            .map(|error| error.to_string());
        let found =
            error.as_deref().and_then(|error| error.strip_prefix("line 3: models: ")?.split(';').next());
        assert_eq!((error.is_some(), found), (expected.is_some(), expected), "{method} {names}: {error:?}");
    };
    counted("slerp", "ab", "base_model: a", None);
    counted("slerp", "a", "base_model: b", None);
    counted(
        "slerp",
        "ab",
        "base_model: c",
        Some("slerp takes exactly 2 models, the base model included, there are 3"),
    );
    counted("nuslerp", "ab", "", None);
    counted("nuslerp", "ab", "base_model: c", None);
    counted("nuslerp", "abc", "", Some("nuslerp takes exactly 2 models, there are 3"));
    counted(
        "nuslerp",
        "ab",
        "base_model: b",
        Some("nuslerp takes exactly 3 models, the base model included, there are 2"),
    );
    counted(
        "multislerp",
        "a",
        "base_model: a",
        Some("multislerp takes 2 or more models, the base model included, there are 1"),
    );
    counted("model_stock", "ab", "base_model: c", None);
    counted(
        "model_stock",
        "a",
        "base_model: c",
        Some("model_stock takes 3 or more models, the base model included, there are 2"),
    );
    counted("passthrough", "ab", "", Some("passthrough takes one model, there are 2"));
    counted("passthrough", "a", "base_model: a", None);
    counted("ties", "a", "base_model: a", None);
    check(
        "linear",
        "models: [{model: a}, {model: a}]",
        Err("line 2: models.1.model: `a` is merged with itself;"),
    );
}

#[test]
fn required_parameters() {
    let missing = "line 4: models.1.parameters.weight: missing required parameter weight for model b;";
    let models = "models:\n- {model: a, parameters: {weight: 1}}\n- {model: b}\n";
    let check = |method: &str, lines: &str, expected| check(method, lines, expected);
    check("linear", models, Err(missing));
    check("linear", &format!("{models}parameters: {{weight: [{{filter: mlp, value: 1}}]}}"), Ok(&[]));
    check("ties", &format!("{models}base_model: b"), Ok(&[]));
    let added = "line 4: parameters.weight: missing required parameter weight for model c;";
    check("linear", "models:\n- {model: a, parameters: {weight: 1}}\nbase_model: c", Err(added));
    let shared = "line 1: parameters.t: missing required parameter t;";
    check("slerp", "models: [{model: a}]\nbase_model: b", Err(shared));
    let own = "slices:\n- sources: [{model: a, layer_range: [0, 1]}, {model: b, layer_range: [0, 1]}]\n  parameters: {t: 1}\n";
    check("slerp", &format!("{own}base_model: b"), Ok(&[]));
}

#[test]
fn settings_that_are_not_read() {
    let models = "base_model: a\nmodels:\n- {model: a, parameters: {weight: 1}}\n- {model: b, parameters: {weight: 1, lambda: 2}}\n";
    check(
        "ties",
        models,
        Ok(&[
            "line 4: models.0.parameters.weight: weight is not",
            "line 5: models.1.parameters.lambda: lambda is one",
        ]),
    );
}

#[test]
fn settings_that_do_not_go_together() {
    let della = |settings: &str| {
        format!("base_model: b\nmodels:\n- {{model: a, parameters: {{weight: 1, {settings}}}}}\n")
    };
    check("della", &della("density: 0.5"), Ok(&[]));
    check("della", &della("density: 1, epsilon: 0.5"), Ok(&[]));
    check("della", &della("density: 0, epsilon: 0.5"), Ok(&[]));
    check("della", &della("density: [0.1, 1]"), Ok(&[]));
    check(
        "della",
        &della("density: 0.1"),
        Err("line 4: models.0.parameters.density: density 0.1 with epsilon 0.15"),
    );
    check(
        "della_linear",
        &della("density: 0.9, epsilon: 0.1"),
        Err("line 4: models.0.parameters.epsilon: density 0.9"),
    );
    let weights = |a: &str, b: &str, rest: &str| {
        format!(
            "models:\n- {{model: a, parameters: {{weight: {a}}}}}\n- {{model: b, parameters: {{weight: {b}}}}}\n{rest}"
        )
    };
    let zero = Err("line 3: models.0.parameters.weight: the weights of the models sum to 0");
    check("linear", &weights("0", "0", ""), zero);
    check("linear", &weights("-0.3", "0.3", ""), zero);
    check("multislerp", &weights("1", "-1", ""), zero);
    check("linear", &weights("[0]", "[0, 1]", ""), Ok(&[]));
    check("linear", &weights("0", "0", "parameters: {normalize: false}"), Ok(&[]));
    check("nuslerp", &weights("1", "-1", ""), Ok(&[]));
}

#[test]
fn slices_and_tokens() {
    let slices =
        "slices:\n- sources:\n  - {model: a, layer_range: [0, 2]}\n  - model: b\n    layer_range: [1, 2]\n";
    let uneven = "line 6: slices.0.sources.1.layer_range: has 1 layers, the first source of the slice has 2;";
    check("linear", &format!("{slices}parameters: {{weight: 1}}"), Err(uneven));
    let tokens = "models: [{model: a}]\ntokenizer:\n  tokens:\n    x: {source: a}\n    y: {source: zero}\n";
    check("passthrough", tokens, Err("line 6: tokenizer.tokens.y.source: `zero` is not among the models"));
}
