//! Data by reference: where its files lie on this machine, how to get those that do not, and their digests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::language::Language;

use super::error::SuiteError;
use super::manifest::{DataReference, Manifest};

/// Where data by reference is looked for, unless a command says otherwise.
const VARIABLE: &str = "XENOGLOT_DATA";

/// The data directory.
pub(super) fn root(named: Option<&Path>) -> Option<PathBuf> {
    let of_environment = || std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    named.map(Path::to_owned).or_else(of_environment)
}

/// The files of each language, all there.
///
/// # Errors
/// `DataMissing` with what is missing and how to get it.
pub(super) fn locate(
    manifest: &Manifest,
    reference: &DataReference,
    root: Option<&Path>,
    languages: &[Language],
) -> Result<BTreeMap<Language, Vec<PathBuf>>, SuiteError> {
    let mut found: BTreeMap<Language, Vec<PathBuf>> = BTreeMap::new();
    let mut missing: Vec<&str> = Vec::new();
    for language in languages {
        for name in &reference.files[language] {
            match root.and_then(|root| present(&root.join(&reference.folder), name, reference)) {
                Some(path) => found.entry(*language).or_default().push(path),
                None if missing.contains(&name.as_str()) => {}
                None => missing.push(name),
            }
        }
    }
    match missing.as_slice() {
        [] => Ok(found),
        missing => Err(SuiteError::DataMissing {
            suite: manifest.name.clone(),
            message: how_to_get(manifest, reference, root, missing),
        }),
    }
}

/// A file by its path in the source; or flat, where that names only one of the source's files.
fn present(folder: &Path, name: &str, reference: &DataReference) -> Option<PathBuf> {
    let path = folder.join(name);
    if path.is_file() {
        return Some(path);
    }
    let flat = flat(name);
    let others = reference.files.values().flatten().filter(|other| *other != name);
    let unique = others.into_iter().all(|other| self::flat(other) != flat);
    Some(folder.join(flat)).filter(|path| unique && path.is_file())
}

fn flat(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn how_to_get(
    manifest: &Manifest,
    reference: &DataReference,
    root: Option<&Path>,
    missing: &[&str],
) -> String {
    let (first, others) = (missing[0], missing.len() - 1);
    let folder =
        root.map_or_else(|| Path::new("DIR").join(&reference.folder), |root| root.join(&reference.folder));
    let place = folder.join(first);
    let more = match others {
        0 => String::new(),
        1 => format!(" (and {} is missing too)", missing[1]),
        _ => format!(" (and {others} more of its files, such as {})", missing[1]),
    };
    let unnamed = match root {
        Some(_) => String::new(),
        None => format!(" No data directory is named: set {VARIABLE}=DIR or give --data DIR."),
    };
    let gated =
        if reference.gated { " The source asks for an account and consent to its terms first." } else { "" };
    format!(
        "{} is not there{more}. It belongs to {} ({}licence {}), which is not shipped: download {} and put it there.\
         {gated}{unnamed} With --languages only the files of those languages are needed",
        place.display(),
        reference.dataset,
        described(reference),
        manifest.licence,
        url(reference, first),
    )
}

fn described(reference: &DataReference) -> String {
    let part = |name: &str, value: &Option<String>| {
        value.as_ref().map_or(String::new(), |value| format!("{name} {value}, "))
    };
    part("config", &reference.config)
        + &part("split", &reference.split)
        + &part("revision", &reference.revision)
}

/// Where a file is had.
pub(super) fn url(reference: &DataReference, file: &str) -> String {
    if let Some(url) = &reference.url {
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        return url.replace("{file}", file).replace("{stem}", stem);
    }
    // A revision may be a reference of Git, with slashes.
    let revision = reference.revision.as_deref().unwrap_or("main").replace('/', "%2F");
    format!("https://huggingface.co/datasets/{}/resolve/{revision}/{file}", reference.dataset)
}

/// A file's digest, which has to be the manifest's if that has one.
pub(super) fn verified(path: &Path, name: &str, reference: &DataReference) -> Result<String, SuiteError> {
    let failed = |source| SuiteError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block).map_err(failed)? {
            0 => break,
            read => hash.update(&block[..read]),
        }
    }
    let found = format!("{:x}", hash.finalize());
    match reference.sha256.get(name) {
        Some(expected) if *expected != found => {
            let name = path.display().to_string();
            Err(match file.metadata().map_err(failed)?.len() {
                0 => SuiteError::EmptyData { file: name },
                _ => SuiteError::Digest { file: name, found, expected: expected.clone() },
            })
        }
        _ => Ok(found),
    }
}
