//! From what a person writes to a model on disk: a path, a name below the models directory, or a hub name.
//!
//! Finding only: nothing is opened, and `hub` does the fetching.

use std::path::{Component, Path, PathBuf};

use super::confined::existing_below;
use super::hub::{self, HubError, HubName, PullProgress};
use crate::model::augmented::AugmentedFolder;
use crate::settings::nearest;

/// The model that is meant when none is named.
pub const DEFAULT_MODEL: &str = "SmolLM2-135M-Instruct";

/// A model on disk and the name it goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub name: String,
    pub path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error(
        "the default model is not there ({}): run scripts/fetch-models, or name a model (a Hugging Face directory, \
         a GGUF file, or a hub name such as org/name)",
        path.display()
    )]
    NoDefault { path: PathBuf },
    #[error(
        "no model `{name}`: it is no directory, no GGUF file and nothing below {}{}; {}",
        models_dir.display(),
        there(available, nearest.as_deref()),
        hub_text(name)
    )]
    NotFound { name: String, models_dir: PathBuf, available: Vec<String>, nearest: Option<String> },
    #[error("no local path `{name}`; {source}")]
    Hub { name: String, source: HubError },
}

fn there(available: &[String], nearest: Option<&str>) -> String {
    match (nearest, available) {
        (Some(name), _) => format!(" (did you mean `{name}`?)"),
        (None, []) => " (which holds none)".to_owned(),
        (None, names) => format!(" (which holds {})", names.join(", ")),
    }
}

fn hub_text(name: &str) -> String {
    match HubName::parse(name) {
        Some(_) => format!("if a hub has it, `xenoglot models pull {name}` fetches it"),
        None => "the name of a model on a hub is org/name or org/name:FILE.gguf".to_owned(),
    }
}

/// Finds a model; one that only the hub has is pulled first, with `progress` told about it.
///
/// # Errors
/// `NoDefault`, `NotFound`, or what the hub answered.
pub fn resolve(
    model: Option<&str>,
    models_dir: &Path,
    progress: &PullProgress<'_>,
) -> Result<Found, ResolveError> {
    let missing = match find(model, models_dir) {
        Err(missing @ ResolveError::NotFound { .. }) => missing,
        done => return done,
    };
    match model.and_then(|text| Some((text, HubName::parse(text)?))) {
        Some((text, name)) if !begins_with_a_directory(text) => {
            let pulled = hub::pull(&name, models_dir, progress);
            let path = pulled.map_err(|source| ResolveError::Hub { name: text.to_owned(), source })?;
            Ok(Found { name: name.folder(), path })
        }
        _ => Err(missing),
    }
}

/// Finds a model on this machine: a path that exists, or a name below `models_dir`.
///
/// # Errors
/// `NoDefault` or `NotFound`.
pub fn find(model: Option<&str>, models_dir: &Path) -> Result<Found, ResolveError> {
    let Some(text) = model else {
        let path = models_dir.join(DEFAULT_MODEL);
        if path.is_dir() {
            return Ok(Found { name: DEFAULT_MODEL.to_owned(), path });
        }
        return Err(ResolveError::NoDefault { path });
    };
    let path = Path::new(text);
    if path.is_dir() || path.is_file() {
        return Ok(Found { name: name_of(path), path: path.to_owned() });
    }
    named(text, models_dir).ok_or_else(|| {
        let available: Vec<String> = list(models_dir).into_iter().map(|found| found.name).collect();
        let beside = beside(text);
        let nearest = nearest(text, available.iter().chain(&beside).map(String::as_str)).map(str::to_owned);
        ResolveError::NotFound {
            name: text.to_owned(),
            models_dir: models_dir.to_owned(),
            available,
            nearest,
        }
    })
}

/// `out/step-200` with a directory `out` at hand is a path with a slip in it: no reason to ask a hub.
fn begins_with_a_directory(text: &str) -> bool {
    text.split_once('/').is_some_and(|(first, _)| Path::new(first).is_dir())
}

/// The paths in the directory that `text` leads to, written as `text` is.
fn beside(text: &str) -> Vec<String> {
    let Some((folder, _)) = text.rsplit_once('/') else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(format!("{folder}/")) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).map(|name| format!("{folder}/{name}")).collect()
}

/// A model below `models_dir` by its relative name, with its real path. For names that come over the network.
pub fn below(text: &str, models_dir: &Path) -> Option<Found> {
    let found = named(text, models_dir)?;
    let path = existing_below(models_dir, found.path.strip_prefix(models_dir).ok()?)?;
    Some(Found { path, ..found })
}

fn named(text: &str, models_dir: &Path) -> Option<Found> {
    let plain =
        !text.is_empty() && Path::new(text).components().all(|part| matches!(part, Component::Normal(_)));
    if !plain {
        return None;
    }
    if let Some(name @ HubName { file: Some(_), .. }) = HubName::parse(text) {
        // Where a pull puts it.
        let path = models_dir.join(name.folder()).join(name.file.as_deref().unwrap_or_default());
        return path.is_file().then_some(Found { name: name.folder(), path });
    }
    let exact = models_dir.join(text);
    let file = models_dir.join(format!("{text}.gguf"));
    let path = [exact, file].into_iter().find(|path| path.exists())?;
    Some(Found { name: text.strip_suffix(".gguf").unwrap_or(text).to_owned(), path })
}

/// The name a model at a path goes by: its directory's, or its file's without `.gguf`.
pub fn name_of(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name =
        real.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
    name.strip_suffix(".gguf").map(str::to_owned).unwrap_or(name)
}

/// Every model below `models_dir`, by name, encoders and MindMerger models too: directories at most two deep (`org/name`), GGUF files in them too.
pub fn list(models_dir: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    collect(models_dir, "", 2, &mut found);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn collect(folder: &Path, prefix: &str, depth: usize, found: &mut Vec<Found>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let Some(file_name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if file_name.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{file_name}");
        let is_folder = depth > 0 && path.is_dir();
        if is_folder && (path.join("config.json").is_file() || AugmentedFolder::is_one(&path)) {
            found.push(Found { name, path });
        } else if let Some(stem) = name.strip_suffix(".gguf").filter(|_| path.is_file()) {
            found.push(Found { name: stem.to_owned(), path });
        } else if is_folder {
            collect(&path, &format!("{name}/"), depth - 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in [DEFAULT_MODEL, "org/small"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("config.json"), "{}").unwrap();
        }
        std::fs::write(folder.path().join("tiny.Q4_1.gguf"), "").unwrap();
        std::fs::create_dir(folder.path().join("org/hub")).unwrap();
        std::fs::write(folder.path().join("org/hub/a.Q4_0.gguf"), "").unwrap();
        std::fs::create_dir(folder.path().join("empty")).unwrap();
        folder
    }

    #[test]
    fn a_revision_has_a_folder_of_its_own() {
        let folder = models();
        let root = folder.path();
        assert!(find(Some("org/small@v1"), root).is_err());
        std::fs::create_dir(root.join("org/small@v1")).unwrap();
        let found = find(Some("org/small@v1"), root).unwrap();
        assert_eq!((found.name.as_str(), found.path), ("org/small@v1", root.join("org/small@v1")));
    }

    #[test]
    fn models_are_found_by_path_and_name() {
        let folder = models();
        let root = folder.path();
        let check = |model: Option<&str>, expected: &str, path: &str| {
            let found = resolve(model, root, &|_| ()).unwrap();
            assert_eq!((found.name.as_str(), found.path), (expected, root.join(path)), "{model:?}");
        };
        check(None, DEFAULT_MODEL, DEFAULT_MODEL);
        check(Some("org/small"), "org/small", "org/small");
        check(Some("tiny.Q4_1"), "tiny.Q4_1", "tiny.Q4_1.gguf");
        check(Some("tiny.Q4_1.gguf"), "tiny.Q4_1", "tiny.Q4_1.gguf");
        check(Some("org/hub"), "org/hub", "org/hub");
        check(Some("org/hub:a.Q4_0.gguf"), "org/hub", "org/hub/a.Q4_0.gguf");
        check(Some("org/hub/a.Q4_0"), "org/hub/a.Q4_0", "org/hub/a.Q4_0.gguf");
        let absolute = root.join("org/small").display().to_string();
        check(Some(&absolute), "small", "org/small");
        let names: Vec<String> = list(root).into_iter().map(|found| found.name).collect();
        assert_eq!(names, [DEFAULT_MODEL, "org/hub/a.Q4_0", "org/small", "tiny.Q4_1"]);
    }

    #[test]
    fn names_do_not_lead_out_of_the_models_directory() {
        let folder = models();
        std::os::unix::fs::symlink("/", folder.path().join("root")).unwrap();
        for text in ["../etc", "/etc", "root/etc", "", ".", "org/../../x"] {
            assert_eq!(below(text, folder.path()), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_there_is_said_with_the_way_out() {
        let folder = models();
        let message = |model| resolve(model, folder.path(), &|_| ()).unwrap_err().to_string();
        assert!(message(Some("tiny.Q4")).contains("did you mean `tiny.Q4_1`?"));
        let holds = "which holds SmolLM2-135M-Instruct, org/hub/a.Q4_0, org/small, tiny.Q4_1";
        assert!(message(Some("a/b/c")).contains(holds));
        let slip = folder.path().join("org/smal").display().to_string();
        assert!(message(Some(&slip)).contains("org/small`?"), "{}", message(Some(&slip)));
        std::fs::remove_dir_all(folder.path().join(DEFAULT_MODEL)).unwrap();
        assert!(message(None).contains("scripts/fetch-models"));
    }
}
