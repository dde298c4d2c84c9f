//! The sources override each other in order, and every mistake is named where it was made.

use std::path::{Path, PathBuf};

use super::*;

const DEFAULT_FILE: &str = include_str!("../../config/xenoglot.toml");

fn parse(text: &str) -> Result<Overrides, SettingsError> {
    sources::parse_file(Path::new("x.toml"), text)
}

#[test]
fn the_documented_file_equals_the_defaults() {
    let mut settings = Settings { host: String::new(), port: 0, max_n: 0, ..Settings::default() };
    settings.apply(parse(DEFAULT_FILE).unwrap());
    assert_eq!(settings, Settings::default());
    for (key, given) in KEYS {
        let set =
            DEFAULT_FILE.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
        assert!(set, "config/xenoglot.toml does not show `{key}`");
        let variable = sources::variable_of(key, given);
        assert!(
            given.is_empty() || DEFAULT_FILE.contains(&variable),
            "config/xenoglot.toml does not name {variable}"
        );
    }
}

#[test]
fn commented_examples_are_valid_too() {
    let uncommented: String = DEFAULT_FILE
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| rest.contains(" = ") && !rest.contains("  "))
                .unwrap_or(line)
        })
        .collect::<Vec<_>>()
        .join("\n");
    let overrides = parse(&uncommented).unwrap();
    assert!(
        overrides.threads.is_some()
            && overrides.max_model_len.is_some()
            && overrides.kv_cache_memory.is_some()
    );
}

#[test]
fn flag_beats_environment_beats_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    std::fs::write(&file, "port = 1\nmax_n = 2\nhost = \"::1\"\n").unwrap();
    let environment =
        [("XENOGLOT_PORT", "3"), ("XENOGLOT_MAX_N", "4"), ("HOME", "/"), ("XENOGLOT_MODELS", "/m")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let flags = Overrides { port: Some(5), ..Overrides::default() };
    let settings = Settings::load(Sources { file: Some(&file), environment: &environment, flags }).unwrap();
    assert_eq!((settings.port, settings.max_n, settings.host.as_str()), (5, 4, "::1"));
    assert_eq!(settings.models_dir, PathBuf::from("/m"));
    assert_eq!(settings.max_queue, Settings::default().max_queue);
}

#[test]
fn mistakes_in_a_file_name_line_and_key() {
    let check =
        |text: &str, expected: &str| assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text:?}");
    check("\nprt = 1", "x.toml:2: unknown key `prt`; did you mean `port`?");
    check("[server]\nport = 1", "x.toml:1: unknown key `server`");
    check("a b", "x.toml:1: key with no value, expected `=`");
    check("host = 'a'\ndtype = 'f64'", "x.toml:2: dtype: `f64` is not one of auto, f32, bf16");
    check("port = 'x'", "x.toml:1: port: invalid type: string \"x\", expected u16");
    check("port = -1", "x.toml:1: port: invalid value: integer `-1`, expected u16");
    check("port = 1.5", "x.toml:1: port: invalid type: floating point `1.5`, expected u16");
    check(
        "kv_cache_memory = 'lots'",
        "x.toml:1: kv_cache_memory: `lots` is not a size such as 2GiB, 512MiB or 1048576",
    );
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    let check = |name: &str, value: &str, expected: &str| {
        let pairs = [(name.to_owned(), value.to_owned())];
        assert_eq!(sources::read_environment(&pairs).unwrap_err().to_string(), expected);
    };
    check("XENOGLOT_PORT", "x", "XENOGLOT_PORT: `x` is not a whole number from 0 to 65535");
    check("XENOGLOT_PREFIX_CACHING", "maybe", "XENOGLOT_PREFIX_CACHING: `maybe` is neither true nor false");
    check("XENOGLOT_PORTS", "1", "unknown variable XENOGLOT_PORTS; did you mean `XENOGLOT_PORT`?");
    check("XENOGLOT_DTYPE", "int4", "XENOGLOT_DTYPE: `int4` is not one of auto, f32, bf16");
}

/// A script that documents a variable of ours hands it on to the binary, which must not stumble over it.
#[test]
fn variables_that_scripts_read_are_known() {
    let check = |script: &str, text: &str| {
        let named = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        for variable in named.filter(|word| word.starts_with("XENOGLOT_")) {
            let unknown = sources::read_environment(&[(variable.to_owned(), "1".to_owned())]);
            assert!(unknown.is_ok(), "{script} reads {variable}: {unknown:?}");
        }
    };
    check("scripts/fetch-models", include_str!("../../scripts/fetch-models"));
    check("scripts/run-tests", include_str!("../../scripts/run-tests"));
    check("scripts/demo", include_str!("../../scripts/demo"));
    check("tests/clients/run", include_str!("../../tests/clients/run"));
}

#[test]
fn values_out_of_range_are_refused() {
    let check = |flags: Overrides, expected: &str| {
        let error = Settings::load(Sources { file: None, environment: &[], flags }).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(Overrides { max_n: Some(0), ..Overrides::default() }, "max_n: must be at least 1");
    for blank in ["", " ", "\t\n"] {
        let keys = || Some(vec!["sk-use".to_owned(), blank.to_owned()]);
        check(Overrides { api_keys: keys(), ..Overrides::default() }, "api_keys: a key must not be blank");
        check(
            Overrides { admin_keys: keys(), ..Overrides::default() },
            "admin_keys: a key must not be blank",
        );
        let metrics_api_key = Some(Some(blank.to_owned()));
        check(
            Overrides { metrics_api_key, ..Overrides::default() },
            "metrics_api_key: a key must not be blank",
        );
    }
    check(Overrides { threads: Some(Some(0)), ..Overrides::default() }, "threads: must be at least 1");
    check(
        Overrides { weight_transfer_idle_seconds: Some(0), ..Overrides::default() },
        "weight_transfer_idle_seconds: must be at least 1",
    );
    check(
        Overrides { watchdog_timeout_seconds: Some(0), ..Overrides::default() },
        "watchdog_timeout_seconds: must be at least 1",
    );
    check(
        Overrides { max_batch_tokens: Some(8), ..Overrides::default() },
        "max_batch_tokens: must be at least 32, one KV block",
    );
    check(
        Overrides { metrics_prefix: Some("a b".into()), ..Overrides::default() },
        "metrics_prefix: may hold letters, digits, `_` and `:`, and begins with no digit",
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = sources::read_file(Path::new("/nowhere/x.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/x.toml: "), "{error}");
}
