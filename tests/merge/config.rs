//! Configurations as files: mergekit's golden ones parse, wrong ones say what is wrong and where, garbage is
//! refused without a panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::sample::Index;
use xenoglot::merge::config::MergeConfig;

/// Wrong only once the models are opened.
const NEED_MODELS: [&str; 2] = ["layer-range-beyond-model", "model-path-unknown"];

/// The YAML files of a folder of fixtures: name and text.
fn configurations(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/merge/fixtures").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("a folder of fixtures")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    let read = |file: &PathBuf| {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(file).expect("a text"))
    };
    files.iter().map(read).collect()
}

#[test]
fn golden_configurations_parse() {
    let golden = configurations("golden");
    assert!(golden.len() > 80, "{} golden configurations", golden.len());
    for (name, text) in golden {
        let config = MergeConfig::parse(&text).unwrap_or_else(|error| panic!("{name}.yaml {error}"));
        assert_eq!(config.text, text, "{name}");
        for warning in &config.warnings {
            assert!(warning.contains("merges the base model as one more input"), "{name}.yaml {warning}");
        }
    }
}

/// The first line names the key path that the error has to name. Where mergekit takes the file, a warning may
/// do.
#[test]
fn wrong_configurations_name_the_key() {
    let wrong = configurations("invalid");
    assert!(wrong.len() > 40, "{} wrong configurations", wrong.len());
    for (name, text) in wrong {
        let expected =
            text.lines().next().and_then(|line| line.strip_prefix("# expect: ")).expect("an expectation");
        let (expected, may_warn) = (expected.trim(), text.contains("# mergekit: accepts it"));
        match MergeConfig::parse(&text) {
            Err(error) => {
                let error = error.to_string();
                let is_named = error.contains(&format!(": {expected}: ")) || error.starts_with(expected);
                assert!(is_named, "{name}.yaml: `{error}` does not name {expected}");
            }
            Ok(_) if NEED_MODELS.contains(&name.as_str()) => {}
            Ok(config) => {
                let is_named =
                    config.warnings.iter().any(|warning| warning.contains(&format!(": {expected}: ")));
                assert!(may_warn && is_named, "{name}.yaml: parsed, warnings {:?}", config.warnings);
            }
        }
    }
}

/// What a slip of the keys, or malice, puts into a configuration.
const SNIPPETS: [&str; 34] = [
    "\t",
    "\n",
    "- ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    "'",
    "\"",
    "&x ",
    "*x",
    "<<: *x",
    "!!str ",
    "!t ",
    "~",
    ".nan",
    "1e999",
    "-1",
    "0.5",
    "yes",
    "# ",
    "|",
    ">-\n",
    "? ",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "ü",
    "\u{feff}",
    "\0",
    "\r",
    "model_stock",
    "@+@",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn mutated_configurations_do_not_panic(
        which in any::<Index>(),
        edits in prop::collection::vec((any::<Index>(), any::<Index>(), 0_usize..12, 0_usize..4), 1..6),
    ) {
        static GOLDEN: OnceLock<Vec<(String, String)>> = OnceLock::new();
        let golden = GOLDEN.get_or_init(|| configurations("golden"));
        let mut text: Vec<char> = which.get(golden).1.chars().collect();
        for (place, snippet, length, kind) in edits {
            let start = place.index(text.len() + 1);
            let end = (start + length).min(text.len());
            let cut: Vec<char> = match kind {
                0 => Vec::new(),
                // Lines or words given twice.
                1 => text[start..end].repeat(2),
                2 => text[..end].to_vec(),
                _ => snippet.get(&SNIPPETS).chars().collect(),
            };
            text.splice(start..end, cut);
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = MergeConfig::parse(&text) {
            prop_assert!(error.line() <= text.split(['\n', '\r']).count() + 1, "{error}");
        }
    }

    #[test]
    fn any_text_does_not_panic(text in "[a\\[\\]{}:,\\-&*!|>'\"%@`#? \n\t\r0-9~.<]{0,80}") {
        let _ = MergeConfig::parse(&text);
    }
}
