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

const SUITES: &[EmbeddedSuite] = &[
    embed!("aime-2024": "suite.toml"),
    embed!("aime-2024-multilingual": "suite.toml"),
    embed!("aime-2024-th": "suite.toml"),
    embed!("aime-2025": "suite.toml"),
    embed!("aime-2025-multilingual": "suite.toml"),
    embed!("gpqa-diamond": "suite.toml"),
    embed!("gsm8k": "suite.toml"),
    embed!("humaneval": "suite.toml"),
    embed!("ifeval": "suite.toml"),
    embed!("ifeval-th": "suite.toml"),
    embed!("livecodebench": "suite.toml"),
    embed!("livecodebench-th": "suite.toml"),
    embed!("math-500": "suite.toml"),
    embed!("math-500-multilingual": "suite.toml"),
    embed!("math-500-th": "suite.toml"),
    embed!("mbpp": "suite.toml"),
    embed!("mgsm": "suite.toml"),
    embed!("mmlu": "suite.toml"),
    embed!("mmlu-likelihood": "suite.toml"),
    embed!("mmlu-math-med": "suite.toml"),
    embed!("mmlu-science-multilingual": "suite.toml"),
    embed!("mmmlu-math-med": "suite.toml"),
    embed!("mmmlu-science": "suite.toml"),
    embed!("msvamp": "suite.toml"),
    embed!("mt-bench": "suite.toml"),
    embed!("mt-bench-th": "suite.toml"),
    embed!("openbookqa": "suite.toml"),
    embed!("x-csqa": "suite.toml"),
    embed!(
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
    ),
    embed!("xnli": "suite.toml"),
    embed!("xnli-words": "suite.toml"),
];

/// A shared set of prompts.
macro_rules! prompts {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/eval-suites/prompts/", $name, ".toml")))),+]
    };
}

const PROMPTS: &[(&str, &str)] = prompts!["budget-alignment", "mindmerger", "plain"];

pub(super) fn prompts(name: &str) -> Option<&'static str> {
    PROMPTS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

pub(super) fn prompt_names() -> Vec<&'static str> {
    PROMPTS.iter().map(|(name, _)| *name).collect()
}

pub(super) fn find(name: &str) -> Option<&'static EmbeddedSuite> {
    SUITES.iter().find(|suite| suite.name == name)
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|suite| suite.name)
}

#[cfg(test)]
mod tests {
    use super::super::files::Files;
    use super::super::manifest::{Manifest, ProblemsFrom};
    use super::super::{MANIFEST, OpenOptions, Suite};
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
            let embedded = Files::Embedded(suite);
            for (name, _) in suite.files {
                let file = Files::Folder(root.join(suite.name)).text(name).unwrap();
                assert_eq!(embedded.text(name).unwrap(), file, "{} {name}", suite.name);
            }
            let manifest = Manifest::parse(&embedded.text(MANIFEST).unwrap(), suite.name).unwrap();
            assert_eq!(manifest.name, suite.name);
            if matches!(manifest.problems, ProblemsFrom::Own { .. }) {
                let opened = Suite::read(&embedded, &OpenOptions::default());
                assert!(opened.is_ok_and(|opened| !opened.languages.is_empty()), "{}", suite.name);
            }
        }
        let mut sets: Vec<String> = std::fs::read_dir(root.join("prompts"))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        sets.sort();
        assert_eq!(prompt_names(), sets);
    }
}
