//! PyTorch files: what torch wrote reads back bit for bit, and everything else is one clear error.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;
use xenoglot::weights::{Checkpoint, PickleFile, TensorSource, TensorType, WeightsError};

use super::files::{check_message, check_refused, directory, write};
use super::pickle_writer::{archive, checkpoint, dict, global, int, storage, tensor, text, tuple};

const GOOD: [&str; 11] = [
    "zip.bin",
    "zip4.pt",
    "zip5.pt",
    "legacy.bin",
    "rezipped.pt",
    "state_dict.pt",
    "model.pt",
    "both.pt",
    "nested.pt",
    "untyped.pt",
    "sharded/pytorch_model-00001-of-00002.bin",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/pickle").join(name)
}

/// Opens bytes as a file of a name that says nothing.
fn open(bytes: &[u8]) -> Result<PickleFile, WeightsError> {
    let directory = TempDir::new().expect("a temporary directory");
    write(directory.path(), "weights", bytes);
    PickleFile::open(&directory.path().join("weights"))
}

/// The source holds what the script recorded under `key`, and nothing else.
fn check_tensors(source: &dyn TensorSource, key: &str) {
    let expected: Value =
        serde_json::from_slice(&std::fs::read(fixture("expected.json")).expect("committed")).expect("JSON");
    let expected = expected[key].as_object().expect("recorded");
    let mut names: Vec<&String> = expected.keys().collect();
    names.sort();
    assert_eq!(source.names().iter().collect::<Vec<_>>(), names, "{key}");
    for (name, tensor) in expected {
        let shape: Vec<usize> = serde_json::from_value(tensor["shape"].clone()).expect("a shape");
        assert_eq!(source.shape(name).expect("it is there"), shape, "{name}");
        let dtype = match tensor["dtype"].as_str() {
            Some("F64") => TensorType::F64,
            Some("F32") => TensorType::F32,
            Some("F16") => TensorType::F16,
            Some("BF16") => TensorType::Bf16,
            _ => {
                let error = source.tensor(name).map(|_| ()).expect_err("no model computes in it");
                check_message(
                    &error,
                    &[&format!("tensor `{name}` has type"), "float32, float16 and bfloat16"],
                );
                continue;
            }
        };
        let view = source.tensor(name).expect("it is there");
        assert_eq!((view.dtype, &view.shape), (dtype, &shape), "{name}");
        let values: Vec<f32> = serde_json::from_value(tensor["values"].clone()).expect("values");
        assert_eq!(view.to_f32().expect("f32"), values, "{name}");
    }
}

#[test]
fn what_torch_wrote_reads_back() {
    let check = |file: &str, key: &str| {
        check_tensors(&PickleFile::open(&fixture(file)).expect("it opens"), key);
    };
    check("zip.bin", "zip.bin");
    check("zip4.pt", "zip.bin");
    check("zip5.pt", "zip.bin");
    check("legacy.bin", "zip.bin");
    check("rezipped.pt", "zip.bin");
    check("state_dict.pt", "state_dict.pt");
    check("model.pt", "model.pt");
    check("both.pt", "both.pt");
    check("nested.pt", "nested.pt");
    check("untyped.pt", "untyped.pt");
}

/// As PyTorch 0.4 wrote under Python 2: texts are bytes, an `OrderedDict` comes from a list of pairs, storages have no view.
#[test]
fn what_python_2_wrote_reads_back() {
    let text = |text: &str| [b"U", &[text.len() as u8][..], text.as_bytes()].concat();
    let list = |items: &[Vec<u8>]| [b"](", &items.concat()[..], b"e"].concat();
    let id =
        [text("storage"), global("torch", "FloatStorage"), text("19"), text("cuda:0"), int(2), b"N".to_vec()];
    let w = tensor(&[&tuple(&id)[..], b"Q"].concat(), 0, &[2], &[1]);
    let ordered =
        |pairs: &[Vec<u8>]| [&global("collections", "OrderedDict")[..], &list(pairs), b"\x85R"].concat();
    let metadata = [b"}", &text("_metadata")[..], &ordered(&[]), b"sb"].concat();
    let object = [ordered(&[list(&[text("w"), w])]), metadata].concat();
    let machine = [b"}", &text("little_endian")[..], b"\x88s"].concat();
    let pickles: [&[u8]; 5] =
        [b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", b"M\xe9\x03", &machine, &object, &list(&[text("19")])];
    let mut bytes: Vec<u8> =
        pickles.iter().flat_map(|pickle| [b"\x80\x02", *pickle, b"."].concat()).collect();
    bytes.extend(2_u64.to_le_bytes());
    bytes.extend([1.0_f32, -2.0].map(f32::to_le_bytes).concat());
    let file = open(&bytes).expect("it opens");
    assert_eq!(file.names(), ["w"]);
    assert_eq!(file.tensor("w").and_then(|view| view.to_f32()).expect("f32"), [1.0, -2.0]);
    check_bytes(&bytes[..bytes.len() - 1], &["truncated: storage `19` needs"]);
    let mut miscounted = bytes.clone();
    let at = miscounted.len() - 16;
    miscounted[at] = 1;
    check_bytes(&miscounted, &["storage `19` has 1 elements, not 2"]);
}

#[test]
fn row_major_tensors_are_borrowed() {
    let file = PickleFile::open(&fixture("zip.bin")).expect("it opens");
    let check = |name: &str, borrowed: bool| {
        let view = file.tensor(name).expect("it is there");
        assert_eq!(matches!(view.bytes, Cow::Borrowed(_)), borrowed, "{name}");
    };
    check("weight", true);
    check("parameter", true);
    check("bf16", true);
    check("row", true);
    check("transposed", false);
    check("column", false);
    check("expanded", false);
}

#[test]
fn a_directory_may_hold_pytorch_files() {
    let folder = directory();
    std::fs::remove_file(folder.path().join("model.safetensors")).expect("it was there");
    std::fs::copy(fixture("zip.bin"), folder.path().join("pytorch_model.bin")).expect("copied");
    check_tensors(&*Checkpoint::open(folder.path()).expect("it opens").tensors, "zip.bin");
    std::fs::remove_file(folder.path().join("pytorch_model.bin")).expect("it was there");
    for file in std::fs::read_dir(fixture("sharded")).expect("committed") {
        let file = file.expect("readable");
        std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("copied");
    }
    check_tensors(&*Checkpoint::open(folder.path()).expect("it opens").tensors, "sharded");
    let shard = "pytorch_model-00002-of-00002.bin";
    std::fs::copy(folder.path().join("pytorch_model-00001-of-00002.bin"), folder.path().join(shard))
        .expect("copied");
    check_refused(folder.path(), &["pytorch_model.bin.index.json", "`b`", shard, "which lacks it"]);
}

#[test]
fn hostile_files_are_named() {
    let check = |file: &str, parts: &[&str]| {
        let error = PickleFile::open(&fixture(file)).expect_err("it is refused");
        check_message(&error, &[&[file], parts].concat());
    };
    check("hostile_call.pt", &["hostile_call/data.pkl asks for `posix.system`", "run code", "safetensors"]);
    check("hostile_legacy.pt", &["the object's pickle asks for `__builtin__.eval`"]);
    check("hostile_plain.pt", &["asks for `posix.system`"]);
    check("numpy_scalar.pt", &["asks for `numpy"]);
    check("compressed.pt", &["entry `zip/data.pkl` is compressed (method 8)", "save it again"]);
    check("short_storage.pt", &["storage `0` needs 24 bytes, entry `zip/data/0` has 20"]);
    check("missing_storage.pt", &["no entry `zip/data/0`"]);
    check("big_endian.pt", &["big-endian"]);
    check("lone_tensor.pt", &["not a state dict"]);
    check("no_tensors.pt", &["holds no tensors"]);
    check("expected.json", &["neither of the two formats"]);
}

fn check_bytes(bytes: &[u8], parts: &[&str]) {
    check_message(&open(bytes).expect_err("it is refused"), parts);
}

#[test]
fn sizes_are_checked() {
    let floats = |count| storage("FloatStorage", "0", count);
    let check = |pickled: Vec<u8>, parts: &[&str]| check_bytes(&checkpoint(&dict(&[("w", pickled)])), parts);
    open(&checkpoint(&dict(&[("w", tensor(&floats(4), 0, &[2, 2], &[2, 1]))]))).expect("it opens");
    check(
        tensor(&floats(4), 1, &[2, 2], &[2, 1]),
        &["`w`", "offset 1", "past the 4 elements of storage `0`"],
    );
    check(tensor(&floats(4), 0, &[2, 2], &[3, 1]), &["`w`", "past the 4 elements"]);
    check(tensor(&floats(5), 0, &[4], &[1]), &["storage `0` needs 20 bytes", "has 16"]);
    check(tensor(&floats(i64::MAX), 0, &[4], &[1]), &["claims 9223372036854775807 elements for storage `0`"]);
    check(tensor(&floats(-1), 0, &[4], &[1]), &["not a storage"]);
    check(tensor(&floats(4), -1, &[4], &[1]), &["what it does not take"]);
    check(tensor(&floats(4), i64::MAX, &[4], &[1]), &["`w`", "reaches past"]);
    check(tensor(&floats(4), 0, &[-1], &[1]), &["`w`", "not counts"]);
    check(tensor(&floats(4), 0, &[4], &[i64::MAX]), &["`w`", "impossible shape"]);
    check(tensor(&floats(4), 0, &[1 << 40, 1 << 40], &[0, 0]), &["`w`", "impossible shape"]);
    check(tensor(&floats(4), 0, &[1 << 40], &[0]), &["`w`", "larger than its file"]);
    check(tensor(&floats(4), 0, &[1; 9], &[1; 9]), &["`w`", "9 dimensions"]);
    check(tensor(&floats(4), 0, &[2, 2], &[1]), &["`w`", "impossible shape"]);
    let halves = tensor(&storage("HalfStorage", "0", 8), 0, &[8], &[1]);
    let both = dict(&[("a", tensor(&floats(4), 0, &[4], &[1])), ("b", halves)]);
    check_bytes(&checkpoint(&both), &["two types or sizes for storage `0`"]);
}

/// Names are unlike the files that PyTorch writes, or would take a reader elsewhere.
#[test]
fn odd_archives_are_named() {
    let pickle = dict(&[("w", tensor(&storage("FloatStorage", "0", 4), 0, &[4], &[1]))]);
    let entries: [(&str, &[u8]); 2] = [("x/data.pkl", &pickle), ("x/data/0", &[0; 16])];
    for zip64 in [false, true] {
        let bytes = archive(&entries, zip64);
        assert_eq!(open(&bytes).expect("it opens").names(), ["w"]);
        // What stands in the directory and not at the entry.
        let at = bytes.windows(6).rposition(|window| window == b"data/0").expect("it is there");
        let mut renamed = bytes.clone();
        renamed[at + 5] = b'1';
        check_bytes(&renamed, &["no entry `x/data/0`"]);
        let at = bytes.windows(6).position(|window| window == b"data/0").expect("it is there");
        let mut renamed = bytes.clone();
        renamed[at + 5] = b'1';
        check_bytes(&renamed, &["places entry `x/data/0` where it is not"]);
        for length in 0..bytes.len() {
            open(&bytes[..length]).expect_err("it is truncated");
        }
    }
    check_bytes(&archive(&[entries[0], entries[0], entries[1]], false), &["two entries `x/data.pkl`"]);
    check_bytes(&archive(&[entries[1]], false), &["one data.pkl is expected"]);
    let two = archive(&[entries[0], ("y/data.pkl", &pickle), entries[1]], false);
    check_bytes(&two, &["one data.pkl is expected"]);
}

#[test]
fn odd_pickles_are_named() {
    let check = |pickle: &[u8], parts: &[&str]| check_bytes(&checkpoint(pickle), parts);
    let w = tensor(&storage("FloatStorage", "0", 4), 0, &[4], &[1]);
    check(b"", &["x/data.pkl does not end"]);
    check(b"\x80\x02", &["x/data.pkl does not end"]);
    check(b"\x80\x02.", &["takes a value where there is none"]);
    check(b"\x80\x02(.", &["takes a value where there is none"]);
    check(b"\x80\x06N.", &["is of protocol 6; 2 to 5 are read"]);
    check(b"\x80\x02t.", &["ends a list that it never began"]);
    check(b"\x80\x02h\x01.", &["uses memo 1, which it never set"]);
    check(b"\x80\x02NNb.", &["adds to something"]);
    check(b"\x80\x02}(Nu.", &["adds to something"]);
    check(b"\x80\x02N)R.", &["calls something that is not a function"]);
    check(b"\x80\x02NQ.", &["not a storage"]);
    check(b"\x80\x02X\xff\xff\xff\xffab.", &["does not end within its 10 bytes"]);
    check(b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffab.", &["does not end"]);
    check(b"\x80\x02(ios\nsystem\n.", &["the operation 0x69, which no state dict needs"]);
    check(b"\x80\x02cos\nsystem\n.", &["asks for `os.system`", "would run code"]);
    check(b"\x80\x04\x8c\x02os\x8c\x06system\x93.", &["asks for `os.system`"]);
    check(b"\x80\x04NN\x93.", &["whose name is not a text"]);
    check(b"\x80\x02ctorch\nload\n.", &["asks for `torch.load`"]);
    check(b"\x80\x02cos\x1b[2J\nsystem\n.", &["asks for `os\\u{1b}[2J.system`"]);
    check(&[b"\x80\x02c", &[b'a'; 1000][..]].concat(), &["whose name does not end"]);
    check(&dict(&[("w", w.clone()), ("w", w.clone())]), &["two tensors `w`"]);
    check(&dict(&[(&"n".repeat(5000), w.clone())]), &["name longer than 4096 bytes"]);
    let negated = [w.strip_suffix(b"tR").expect("a call"), b"}X\x03\0\0\0neg\x88stR"].concat();
    check(&dict(&[("w", negated)]), &["negated or conjugated"]);
    let called = [global("torch", "float32"), b")R".to_vec()].concat();
    check(&dict(&[("w", called)]), &["calls Dtype", "what it does not take"]);
    let module = tuple(&[text("module"), int(1)]);
    check(&dict(&[("w", [module, b"Q".to_vec()].concat())]), &["not a storage"]);
}

/// Few bytes that stand for much: each is refused before it costs more than a second or some megabytes.
#[test]
fn bombs_are_refused() {
    let check = |pickle: &[u8], parts: &[&str]| check_bytes(&checkpoint(pickle), parts);
    let nested = |count: usize| {
        [b"\x80\x02", "}X\x01\0\0\0a".repeat(count).as_bytes(), b"N", &vec![b's'; count]].concat()
    };
    check(&[nested(100), b".".to_vec()].concat(), &["nests dicts deeper than 32"]);
    check(&[nested(100_000), b".".to_vec()].concat(), &["nests dicts deeper than 32"]);
    check(b"\x80\x02}q\0X\x01\0\0\0ah\0s.", &["far larger than its file"]);
    // Thirty dicts, each of which holds the one before it twice.
    let w = tensor(&storage("FloatStorage", "0", 4), 0, &[4], &[1]);
    let mut doubled = [b"\x80\x02}q\0", &text("w")[..], &w, b"s"].concat();
    for at in 0..30 {
        let entry = |key| [&text(key)[..], &[b'h', at, b's']].concat();
        doubled.extend([b"}q", &[at + 1][..], &entry("a"), &entry("b")].concat());
    }
    doubled.push(b'.');
    check(&doubled, &["far larger than its file"]);
    // A list of many pairs made into a dict again and again.
    let pairs = [b"\x80\x02](", &b"](NNe".repeat(1000)[..], b"eq\0"].concat();
    let ordered = [&global("collections", "OrderedDict")[..], b"q\x01"].concat();
    check(&[pairs, ordered, b"h\x01h\0\x85R".repeat(1000)].concat(), &["holds more than 524288 objects"]);
    check(&[b"\x80\x02", &vec![b'}'; 1 << 20][..]].concat(), &["holds more than 524288 objects"]);
    check(&[b"\x80\x02", &vec![b'N'; 3 << 20][..]].concat(), &["has more than 2097152 operations"]);
    check(&[b"\x80\x02", &vec![b'('; 3 << 20][..]].concat(), &["has more than 2097152 operations"]);
    check(b"\x80\x02Nr\xff\xff\xff\xff.", &["not a state dict"]);
}

/// Opens what may be damaged and reads all that it claims to have.
fn read_everything(bytes: &[u8]) {
    let Ok(file) = open(bytes) else { return };
    for name in file.names() {
        file.shape(&name).expect("what opens has shapes");
        if let Ok(view) = file.tensor(&name) {
            assert_eq!(view.to_f32().expect("what opens reads").len(), view.elements());
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for name in GOOD {
        let bytes = std::fs::read(fixture(name)).expect("committed");
        for length in (0..bytes.len()).step_by(13) {
            open(&bytes[..length]).expect_err(&format!("{name} of {length} bytes is truncated"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn flipped_bits(name in prop::sample::select(&GOOD[..]), flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 1..6)) {
        let mut bytes = std::fs::read(fixture(name)).expect("committed");
        let length = bytes.len();
        for (at, bit) in flips {
            bytes[at.index(length)] ^= 1 << bit;
        }
        read_everything(&bytes);
    }

    #[test]
    fn overwritten_words(name in prop::sample::select(&GOOD[..]), at in any::<prop::sample::Index>(), word in prop_oneof![Just(u64::MAX), Just(1 << 40), 0..300_u64, any::<u64>()], width in 1..=8_usize) {
        let mut bytes = std::fs::read(fixture(name)).expect("committed");
        let at = at.index(bytes.len() - 8);
        bytes[at..at + width].copy_from_slice(&word.to_le_bytes()[..width]);
        read_everything(&bytes);
    }

    #[test]
    fn moved_bytes(name in prop::sample::select(&GOOD[..]), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), length in 0..40_usize) {
        let mut bytes = std::fs::read(fixture(name)).expect("committed");
        let from = from.index(bytes.len() - 40);
        let moved = bytes[from..from + length].to_vec();
        let to = to.index(bytes.len());
        bytes.splice(to..to, moved);
        read_everything(&bytes);
    }

    #[test]
    fn random_programs(operations in proptest::collection::vec(prop::sample::select(&b"NKJMXU()}]tuesaqhrjbRQcG\x80\x85\x86\x87\x88\x89\x8a\x8c\x8f\x90\x91\x93\x94\x95\x96\0\x01\x02."[..]), 0..120)) {
        read_everything(&checkpoint(&[b"\x80\x02", &operations[..], b"."].concat()));
        read_everything(&[b"\x80\x02", &operations[..], b"."].concat());
    }
}
