//! The layers of `src/lib.rs` hold: imports point down, siblings do not import each other.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first, as drawn in `src/lib.rs`.
const LAYERS: &[(u8, &[&str])] = &[
    (0, &["chat", "language", "protocol", "settings"]),
    (1, &["ops", "score", "weights", "store"]),
    (2, &["guide", "model"]),
    (3, &["engine", "merge"]),
    (4, &["eval", "train"]),
    (5, &["registry"]),
    (6, &["jobs"]),
    (7, &["api"]),
    (8, &["cli"]),
];

/// What must not appear in a file's code, by path prefix.
const FORBIDDEN: &[(&str, &str)] = &[
    ("src/engine/scheduler.rs", "candle_"),
    ("src/engine/block_pool.rs", "candle_"),
    ("src/engine/prefix_cache.rs", "candle_"),
    ("src/engine", "serde_json::"),
    ("src/score", "candle_"),
    ("src/score", "std::fs::"),
    ("src/score", "tokio::"),
];

fn layer_of(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, names)| names.contains(&module)).map(|(layer, _)| *layer)
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("an entry is readable").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            (name, text)
        })
        .collect()
}

/// The top-level modules that a source text names after `crate::`.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let group = &group[..group.find("};").unwrap_or(group.len())];
            let mut depth = 0;
            let mut name = String::new();
            for c in group.chars().chain([',']) {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.push(name.split("::").next().unwrap_or_default().trim().to_owned());
                        name.clear();
                        continue;
                    }
                    _ => {}
                }
                name.push(c);
            }
        } else {
            found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(module) = path.strip_prefix("src/").and_then(|p| p.split(['/', '.']).next()) else {
            continue;
        };
        let Some(from) = layer_of(module) else { continue };
        for target in imports(&text) {
            let Some(to) = layer_of(&target) else { continue };
            if target != module && to >= from {
                wrong.push(format!("{path}: {module} (layer {from}) imports {target} (layer {to})"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports must point down:\n{}", wrong.join("\n"));
}

/// The modules that `lib.rs` declares, public or not.
fn modules(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim_start();
            let declaration = match line.strip_prefix("pub") {
                Some(rest) => rest.split_once("mod ").filter(|(scope, _)| scope.ends_with(' '))?.1,
                None => line.strip_prefix("mod ")?,
            };
            declaration.split([';', ' ', '{']).next()
        })
        .collect()
}

#[test]
fn every_module_has_a_layer() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("lib.rs");
    for module in modules(&text) {
        assert!(layer_of(module).is_some(), "src/lib.rs: `{module}` stands in no layer of tests/layering.rs");
    }
}

/// The rules that a file breaks.
fn forbidden(path: &str, text: &str) -> Vec<String> {
    let code: String =
        text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut wrong: Vec<String> = FORBIDDEN
        .iter()
        .filter(|(prefix, name)| path.starts_with(prefix) && code.contains(name))
        .map(|(_, name)| format!("{path} must not use {name}"))
        .collect();
    let may_use_axum = ["src/api", "src/cli"].iter().any(|layer| path.starts_with(layer));
    if !may_use_axum && code.contains("axum::") {
        wrong.push(format!("{path} is below api and must not use axum"));
    }
    if !path.starts_with("src/store") && code.contains("sqlx::") {
        wrong.push(format!("{path} must not use sqlx: store alone writes SQL"));
    }
    wrong
}

#[test]
fn forbidden_crates_stay_out() {
    let wrong: Vec<_> = sources().iter().flat_map(|(path, text)| forbidden(path, text)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_has_a_header() {
    let missing: Vec<_> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path).collect();
    assert!(missing.is_empty(), "files without a `//!` header: {missing:?}");
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert_eq!(
        imports("use crate::engine::Request;\nuse crate::{model::{Batch, X}, ops};"),
        ["engine", "model", "ops"]
    );
    assert_eq!(modules("pub mod a;\nmod b;\npub(crate) mod c;\n// mod d;\nuse e;"), ["a", "b", "c"]);
    for (path, import) in [
        ("src/engine/scheduler.rs", "use candle_core::Tensor;"),
        ("src/score/math.rs", "use candle_nn::ops;"),
        ("src/engine/worker.rs", "use serde_json::Value;"),
        ("src/eval/mod.rs", "use axum::Router;"),
        ("src/jobs/worker.rs", "use sqlx::query;"),
    ] {
        assert_eq!(forbidden(path, import).len(), 1, "{path}: {import}");
    }
    assert!(forbidden("src/score/math.rs", "// use candle_core::Tensor;").is_empty());
}
