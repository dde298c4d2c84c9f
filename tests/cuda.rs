//! The committed PTX is that of the kernels beside it. Neither a toolkit nor a GPU is needed; `tests/cuda/run` checks what the kernels
//! compute.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The kernels' files with this ending, by name.
fn files(ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops/cuda/kernels");
    let entries = fs::read_dir(folder).expect("the kernels are there");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    found.sort();
    found
}

#[test]
fn ptx_is_made_from_the_kernels_beside_it() {
    let headers = files("cuh");
    let sources = files("cu");
    assert!(!sources.is_empty() && !headers.is_empty());
    for source in &sources {
        let mut digest = Sha256::new();
        for path in std::iter::once(source).chain(&headers) {
            digest.update(fs::read(path).unwrap());
        }
        let hash = digest.finalize().iter().fold(String::new(), |mut hash, byte| {
            write!(hash, "{byte:02x}").expect("a string takes all");
            hash
        });
        let ptx = fs::read_to_string(source.with_extension("ptx")).unwrap_or_default();
        assert!(
            ptx.starts_with(&format!("// source-sha256: {hash}\n")),
            "the PTX of {} is stale: scripts/cuda-kernels makes it anew",
            source.display()
        );
        assert!(ptx.contains(".target sm_80"), "{}", source.display());
    }
    assert_eq!(files("ptx").len(), sources.len(), "a PTX without its kernel");
}
