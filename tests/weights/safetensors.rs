//! Safetensors headers, single files and shards.

use serde_json::json;
use xenoglot::weights::{Checkpoint, TensorType};

use super::files::{check_refused, directory, one_tensor, safetensors, write};

/// A directory whose model.safetensors has this header over 16 bytes of data is refused, naming the file and `parts`.
fn check_header(header: &str, parts: &[&str]) {
    check_file(&safetensors(header, &[0; 16]), parts);
}

fn check_file(bytes: &[u8], parts: &[&str]) {
    let directory = directory();
    write(directory.path(), "model.safetensors", bytes);
    check_refused(directory.path(), &[&["model.safetensors"], parts].concat());
}

#[test]
fn a_tensor_reads_back() {
    let directory = directory();
    let checkpoint = Checkpoint::open(directory.path()).expect("it opens");
    let view = checkpoint.tensors.tensor("w").expect("it is there");
    assert_eq!((view.dtype, view.shape.as_slice()), (TensorType::F32, &[2, 2][..]));
    assert_eq!(view.to_f32().expect("f32"), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(view.as_f32(), Some(&[1.0, 2.0, 3.0, 4.0][..]));
    assert!(view.as_bf16().is_none());
    let error = checkpoint.tensors.tensor("x").map(|_| ()).expect_err("there is none");
    assert!(error.to_string().contains("tensor `x` is missing"), "{error}");
}

#[test]
fn an_unaligned_tensor_reads_back() {
    let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    for padding in 0..4 {
        let directory = directory();
        let header = format!("{header}{}", " ".repeat(padding));
        let data = [1.5_f32, -2.0].map(f32::to_le_bytes).concat();
        write(directory.path(), "model.safetensors", &safetensors(&header, &data));
        let checkpoint = Checkpoint::open(directory.path()).expect("it opens");
        assert_eq!(checkpoint.tensors.tensor("w").and_then(|view| view.to_f32()).expect("f32"), [1.5, -2.0]);
        // Readers of pieces take it from where it lies.
        let view = checkpoint.tensors.unaligned("w").expect("it is there");
        assert!(matches!(view.bytes, std::borrow::Cow::Borrowed(_)), "{padding}");
        let mut read = [0.0; 2];
        view.read_f32(0, &mut read).expect("f32");
        assert_eq!(read, [1.5, -2.0]);
    }
}

#[test]
fn other_types_may_be_present() {
    let directory = directory();
    let header = r#"{"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"__metadata__":{"format":"pt"}}"#;
    write(directory.path(), "model.safetensors", &safetensors(header, &[0; 8]));
    let checkpoint = Checkpoint::open(directory.path()).expect("it opens");
    let error = checkpoint.tensors.tensor("i").map(|_| ()).expect_err("not a float");
    assert!(error.to_string().contains("tensor `i` has type I64"), "{error}");
}

#[test]
fn damaged_headers_are_named() {
    check_file(b"", &["truncated", "download it again"]);
    check_file(b"abc", &["truncated", "needs 8 bytes, the file has 3"]);
    check_file(&u64::MAX.to_le_bytes(), &["header claims", "at most 100000000"]);
    check_file(&one_tensor()[..20], &["truncated", "the header needs"]);
    check_file(&one_tensor()[..70], &["truncated", "tensor `w` needs"]);
    check_header("[]", &["not a safetensors header"]);
    check_header("{", &["not a safetensors header"]);
    check_header(r#"{"w":3}"#, &["not a safetensors header"]);
    check_header(r#"{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, &["not a safetensors header"]);
    check_header(r#"{"w":{"dtype":"Q9","shape":[1],"data_offsets":[0,4]}}"#, &["`w`", "unknown type `Q9`"]);
    check_header(
        r#"{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}}"#,
        &["`w`", "needs 12 bytes", "0..16"],
    );
    check_header(r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, &["`w`", "needs 4 bytes"]);
    check_header(
        r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,16]}}"#,
        &["`w`", "impossible shape"],
    );
    check_header(
        r#"{"w":{"dtype":"F32","shape":[0,18446744073709551615,2],"data_offsets":[0,0]}}"#,
        &["`w`", "impossible shape"],
    );
    check_header(r#"{"w":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}}"#, &["truncated", "`w`"]);
    check_header(
        r#"{"w":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#,
        &["9 dimensions"],
    );
    let entry = r#""w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    check_header(&format!("{{{entry},{entry}}}"), &["`w` is declared twice"]);
    check_header(
        &format!(r#"{{{entry},"x":{{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}}}"#),
        &["`w` and `x` overlap"],
    );
}

/// What the format demands and the `safetensors` crate checks: nothing but tensors after the header.
#[test]
fn ranges_cover_the_data() {
    let check = |header: &str, parts: &[&str]| match parts {
        [] => {
            let directory = directory();
            write(directory.path(), "model.safetensors", &safetensors(header, &[0; 16]));
            Checkpoint::open(directory.path()).expect("it opens");
        }
        parts => check_header(header, &[parts, &["download it again"]].concat()),
    };
    let entry = |name: &str, elements: usize, start: usize| {
        let end = start + 4 * elements;
        format!(r#""{name}":{{"dtype":"F32","shape":[{elements}],"data_offsets":[{start},{end}]}}"#)
    };
    let header = |entries: &[String]| format!("{{{}}}", entries.join(","));
    check(&header(&[entry("a", 2, 8), entry("b", 2, 0)]), &[]);
    check(&header(&[entry("a", 3, 0)]), &["the last 4 bytes belong to no tensor"]);
    check("{}", &["the last 16 bytes"]);
    check(&header(&[entry("a", 3, 4)]), &["the 4 bytes before tensor `a` belong to no tensor"]);
    check(&header(&[entry("a", 1, 0), entry("b", 2, 8)]), &["the 4 bytes before tensor `b`"]);
    // Empty tensors lie between others, never inside of one.
    check(&header(&[entry("a", 0, 0), entry("b", 4, 0), entry("c", 0, 16)]), &[]);
    check(&header(&[entry("a", 4, 0), entry("b", 0, 8)]), &["`a` and `b` overlap"]);
}

/// A directory with an index over two shards of a tensor each.
fn sharded(weight_map: &serde_json::Value) -> tempfile::TempDir {
    let directory = directory();
    std::fs::remove_file(directory.path().join("model.safetensors")).expect("it was there");
    for (file, tensor) in [("one.safetensors", "a"), ("two.safetensors", "b")] {
        let header = format!(r#"{{"{tensor}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
        write(directory.path(), file, &safetensors(&header, &1.0_f32.to_le_bytes()));
    }
    let index = json!({ "metadata": {}, "weight_map": weight_map });
    write(directory.path(), "model.safetensors.index.json", index.to_string().as_bytes());
    directory
}

#[test]
fn shards_are_one_source() {
    let directory = sharded(&json!({ "a": "one.safetensors", "b": "two.safetensors" }));
    let checkpoint = Checkpoint::open(directory.path()).expect("it opens");
    assert_eq!(checkpoint.tensors.names(), ["a", "b"]);
    assert_eq!(checkpoint.tensors.tensor("b").and_then(|view| view.to_f32()).expect("f32"), [1.0]);
    assert_eq!(checkpoint.tensors.shape("a").expect("it is there"), [1]);
}

#[test]
fn wrong_indexes_are_named() {
    let check = |map: serde_json::Value, parts: &[&str]| {
        check_refused(sharded(&map).path(), &[&["model.safetensors.index.json"], parts].concat());
    };
    check(json!({ "a": "three.safetensors" }), &["three.safetensors", "not in the directory"]);
    check(json!({ "a": "two.safetensors" }), &["`a`", "two.safetensors, which lacks it"]);
    check(json!({ "a": "../one.safetensors" }), &["not a file name"]);
    check(json!([]), &["is not valid"]);
    let twice = sharded(&json!({ "a": "one.safetensors", "b": "two.safetensors" }));
    std::fs::copy(twice.path().join("one.safetensors"), twice.path().join("two.safetensors"))
        .expect("copied");
    check_refused(twice.path(), &["`b`", "which lacks it"]);
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    write(twice.path(), "two.safetensors", &safetensors(header, &[0; 8]));
    check_refused(twice.path(), &["`a` in both"]);
}
