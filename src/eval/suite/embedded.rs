//! The suites that are part of the binary, so that it evaluates wherever it is copied to.

/// A suite's files by name.
#[derive(Debug)]
pub(super) struct EmbeddedSuite {
    pub name: &'static str,
    pub files: &'static [(&'static str, &'static str)],
}

/// The named files of a folder below eval-suites.
macro_rules! embed {
    ($name:literal: $($file:literal),+ $(,)?) => {
        EmbeddedSuite {
            name: $name,
            files: &[$((
                $file,
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/eval-suites/", $name, "/", $file)),
            )),+],
        }
    };
}

const SUITES: &[EmbeddedSuite] = &[embed!(
    "xeno-word-problems":
    "suite.toml",
    "en.jsonl",
    "es.jsonl",
    "fr.jsonl",
    "de.jsonl",
    "ru.jsonl",
    "zh.jsonl",
    "ja.jsonl",
    "th.jsonl",
    "sw.jsonl",
    "bn.jsonl",
    "te.jsonl",
    "en-examples.jsonl",
    "es-examples.jsonl",
    "fr-examples.jsonl",
    "de-examples.jsonl",
    "ru-examples.jsonl",
    "zh-examples.jsonl",
    "ja-examples.jsonl",
    "th-examples.jsonl",
    "sw-examples.jsonl",
    "bn-examples.jsonl",
    "te-examples.jsonl",
)];

pub(super) fn find(name: &str) -> Option<&'static EmbeddedSuite> {
    SUITES.iter().find(|suite| suite.name == name)
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|suite| suite.name)
}

#[cfg(test)]
mod tests {
    use super::super::files::Files;
    use super::super::{MANIFEST, Suite};
    use super::*;

    #[test]
    fn built_in_suites_are_those_of_the_repository() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("eval-suites");
        let mut folders: Vec<String> = std::fs::read_dir(&root)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join(MANIFEST).is_file())
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        folders.sort();
        assert_eq!(names().collect::<Vec<_>>(), folders);
        for suite in SUITES {
            let embedded = Suite::read(&Files::Embedded(suite)).unwrap();
            let folder = Suite::read(&Files::Folder(root.join(suite.name))).unwrap();
            assert_eq!(embedded.sha256, folder.sha256);
        }
    }
}
