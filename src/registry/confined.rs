//! Paths that come over the network: what they lead to lies below a folder of the settings, or is not there.
//!
//! Every path of a request goes through here: models, adapters, checkpoints, encoders, mappings, what a merge reads and where
//! it writes. A request may not read the rest of the disk, nor learn what is there: what lies elsewhere and what does not
//! exist have the same answer.

use std::path::{Component, Path, PathBuf};

/// Longer ones are nobody's, and no reason to ask a file system.
const PATH_BYTES_MAX: usize = 4096;

/// The real path, links and `..` followed, of something below `root`, which is not `root` itself. An absolute path is taken if
/// it leads there. `None` for what is not there and for what lies elsewhere alike.
pub fn existing_below(root: &Path, path: impl AsRef<Path>) -> Option<PathBuf> {
    let path = path.as_ref();
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return None;
    }
    let root = root.canonicalize().ok()?;
    let path = root.join(path).canonicalize().ok()?;
    (path.starts_with(&root) && path != root).then_some(path)
}

/// Where something new may be written below `root`: names alone, no `..`, over no link.
///
/// # Errors
/// What is wrong, to stand after the field's name.
pub fn new_below(root: &Path, path: &str) -> Result<PathBuf, String> {
    const LENGTH_MAX: usize = 200;
    let is_name = |part: Component<'_>| matches!(part, Component::Normal(_));
    // `a/` and `a//b` would go by another name than they have.
    let normal: PathBuf = Path::new(path).components().collect();
    let is_plain = normal.components().all(is_name) && normal.as_os_str() == path && !path.contains('\0');
    if path.is_empty() || path.len() > LENGTH_MAX || !is_plain {
        return Err("is no name of a folder below the models directory".to_owned());
    }
    let mut folder = root.canonicalize().map_err(|error| format!("the models directory: {error}"))?;
    for part in normal.components() {
        folder.push(part);
        if folder.is_symlink() {
            return Err("leads over a link".to_owned());
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `models` with a model, and beside it what no request may reach; links lead in and out.
    fn disk() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("models");
        std::fs::create_dir_all(root.join("org/tiny")).unwrap();
        std::fs::create_dir_all(folder.path().join("models-of-others/m")).unwrap();
        std::fs::create_dir_all(folder.path().join("secret")).unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, root.join(name)).unwrap();
        link(&folder.path().join("secret"), "out");
        link(&root.join("org"), "in");
        link(Path::new("/"), "disk");
        link(&root.join("loop"), "loop");
        (folder, root)
    }

    #[test]
    fn what_exists_is_reached_below_the_root_alone() {
        let (folder, root) = disk();
        let check = |path: &str, expected: Option<&str>| {
            let expected = expected.map(|path| root.canonicalize().unwrap().join(path));
            assert_eq!(existing_below(&root, path), expected, "{path}");
        };
        check("org/tiny", Some("org/tiny"));
        check("./org/../org/tiny", Some("org/tiny"));
        check("in/tiny", Some("org/tiny"));
        check(root.join("org/tiny").to_str().unwrap(), Some("org/tiny"));
        check("../models/org", Some("org"));
        check("../secret", None);
        check("../models-of-others/m", None);
        check(folder.path().join("models-of-others/m").to_str().unwrap(), None);
        check("out", None);
        check("disk/etc/passwd", None);
        check("loop", None);
        check("/etc/passwd", None);
        check("", None);
        check(".", None);
        check("absent", None);
        check("a\0b", None);
        check(&"a/".repeat(5000), None);
        assert_eq!(existing_below(&root.join("absent"), "org"), None);
    }

    #[test]
    fn what_is_new_is_named_and_led_to_over_no_link() {
        let (_folder, root) = disk();
        let check = |path: &str, expected: bool| {
            let got = new_below(&root, path);
            let target = root.canonicalize().unwrap().join(path);
            assert_eq!(got.as_ref().ok(), expected.then_some(&target), "{path}: {got:?}");
        };
        check("merged", true);
        check("org/merged", true);
        check("out/merged", false);
        check("in/merged", false);
        check("loop", false);
        check("../merged", false);
        check("org/../merged", false);
        check("./merged", false);
        check("merged/", false);
        check("a//b", false);
        check("/merged", false);
        check("", false);
        check("a\0b", false);
        check(&"x".repeat(201), false);
    }

    proptest! {
        #[test]
        fn no_text_leads_out(parts in prop::collection::vec(
            prop::sample::select(vec!["..", ".", "org", "tiny", "in", "out", "disk", "etc", "secret", "models", "", "loop"]),
            0..8,
        )) {
            let (_folder, root) = disk();
            let path = parts.join("/");
            if let Some(real) = existing_below(&root, &path) {
                prop_assert!(real.starts_with(root.canonicalize().unwrap()), "{path}: {}", real.display());
            }
            if let Ok(new) = new_below(&root, &path) {
                prop_assert!(new.starts_with(root.canonicalize().unwrap()), "{path}: {}", new.display());
            }
        }
    }
}
