//! The committed PTX is that of the kernels beside it, and takes what the launches give. Neither a toolkit nor a GPU is needed;
//! `tests/cuda/run` checks what the kernels compute.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files of a folder with this ending, by name.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    found.sort();
    found
}

const KERNELS: &str = "src/ops/cuda/kernels";

fn hash(parts: impl IntoIterator<Item = Vec<u8>>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().iter().fold(String::new(), |mut hash, byte| {
        write!(hash, "{byte:02x}").expect("a string takes all");
        hash
    })
}

/// What stands between the brackets of a bash array.
fn array<'a>(script: &'a str, name: &str) -> &'a str {
    let start = script.find(&format!("\n{name}=(")).expect("the script has it") + name.len() + 3;
    script[start..].split(')').next().expect("a split has a first part")
}

#[test]
fn ptx_is_made_from_the_kernels_beside_it() {
    let script = fs::read_to_string(root().join("scripts/cuda-kernels")).unwrap();
    let flags = format!("{} {}", array(&script, "flags"), array(&script, "target"));
    let (headers, sources) = (files(KERNELS, "cuh"), files(KERNELS, "cu"));
    assert!(!sources.is_empty() && !headers.is_empty());
    for source in &sources {
        let read = std::iter::once(source).chain(&headers).map(|path| fs::read(path).unwrap());
        let source_hash = hash(read);
        let ptx = fs::read_to_string(source.with_extension("ptx")).unwrap_or_default();
        let (first, body) = ptx.split_once('\n').unwrap_or_default();
        let body_hash = hash([body.as_bytes().to_vec()]);
        let expected = format!("// source-sha256: {source_hash}; flags: {flags}; body-sha256: {body_hash}");
        assert_eq!(first, expected, "{} is stale: make cuda-kernels", source.display());
        assert!(body.contains(".target sm_80"), "{}", source.display());
    }
    assert_eq!(files(KERNELS, "ptx").len(), sources.len(), "a PTX without its kernel");
}

/// The types of a kernel's parameters, by its name.
fn parameters() -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for path in files(KERNELS, "ptx") {
        let ptx = fs::read_to_string(path).unwrap();
        for entry in ptx.split(".visible .entry ").skip(1) {
            let (name, rest) = entry.split_once('(').expect("an entry has parameters");
            let (list, _) = rest.split_once(')').expect("that end");
            let types = list.split(',').map(|parameter| {
                let kind = parameter.split_whitespace().nth(1).expect(".param, a type and a name");
                kind.to_owned()
            });
            found.insert(name.to_owned(), types.collect());
        }
    }
    found
}

/// The text in the bracket that begins here, and what is behind it.
fn bracket(text: &str) -> (&str, &str) {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return (&text[1..at], &text[at + 1..]);
        }
    }
    panic!("a bracket does not end: {text:.80}");
}

/// Of a list, at its commas outside of brackets.
fn parts(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                found.push(list[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(list[start..].trim());
    found.retain(|part| !part.is_empty());
    found
}

/// Every `launch!` as its kernel's name and the types of its arguments; `name[..]` is each kernel of that name and a number.
fn launches() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for path in files("src/ops/cuda", "rs") {
        let text = fs::read_to_string(path).unwrap();
        for call in text.split("launch!(").skip(1) {
            let call = format!("({call}");
            let arguments = parts(bracket(&call).0);
            let [_, kernel, _, buffers, numbers] = arguments[..] else {
                panic!("a launch has a GPU, a kernel, a grid, buffers and numbers: {arguments:?}")
            };
            let mut types = vec![".u64".to_owned(); parts(bracket(buffers).0).len()];
            types.extend(parts(bracket(numbers).0).into_iter().map(|number| {
                let kind = match number.split('(').next() {
                    Some("int" | "word") => ".u32",
                    Some("float") => ".f32",
                    _ => panic!("{kernel}: `{number}` is no `int`, `word` or `float`"),
                };
                kind.to_owned()
            }));
            found.push((kernel.to_owned(), types));
        }
    }
    found
}

#[test]
fn launches_give_what_the_kernels_take() {
    let mut kernels = parameters();
    let mut launched = Vec::new();
    for (kernel, types) in launches() {
        let (name, is_array) = kernel.split_once('[').map_or((&kernel[..], false), |(name, _)| (name, true));
        let is_its = |known: &str| {
            known == name || is_array && known.rsplit_once('_').is_some_and(|(start, _)| start == name)
        };
        let its: Vec<&String> = kernels.keys().filter(|known| is_its(known)).collect();
        assert!(!its.is_empty(), "no PTX has {kernel}");
        for known in its {
            assert_eq!(kernels[known], types, "{known}: the PTX and its `launch!`");
            launched.push(known.clone());
        }
    }
    kernels.retain(|name, _| !launched.contains(name));
    assert!(kernels.is_empty(), "nobody launches {:?}", kernels.keys());
}
