//! What is taken for a number, a truth value or a text, and how errors name it.

use super::super::yaml::parse;
use super::*;

fn read<T>(text: &str, get: impl Fn(&At) -> Result<T, ConfigError>) -> Result<T, String> {
    let node = parse(text).expect(text);
    let fields = At::top(&node).fields(&["k"]).expect(text);
    get(&fields.fields[0].1).map_err(|error| error.to_string())
}

fn number(at: &At) -> Result<f64, ConfigError> {
    at.number()
}

fn flag(at: &At) -> Result<bool, ConfigError> {
    at.flag()
}

#[test]
fn numbers_as_mergekit_reads_them() {
    let check = |text: &str, expected: Option<f64>| {
        let found = read(&format!("k: {text}"), number);
        assert_eq!(found.as_ref().ok().copied(), expected, "{text}: {found:?}");
    };
    for (text, expected) in [("1", 1.0), ("-0.5", -0.5), ("1e-3", 1e-3), ("'1e-3'", 1e-3), ("\" 2 \"", 2.0)] {
        check(text, Some(expected));
    }
    for (text, expected) in
        [("true", 1.0), ("No", 0.0), ("1_000", 1000.0), (".5", 0.5), ("0.50", 0.5), ("0", 0.0)]
    {
        check(text, Some(expected));
    }
    for text in [
        "half", "'yes'", ".nan", "-.inf", "inf", "'nan'", "1e999", "010", "0x10", "1:30", "[1]", "{a: 1}",
        "~", "",
    ] {
        check(text, None);
    }
}

#[test]
fn flags_as_yaml_1_1_reads_them() {
    let check = |text: &str, expected: Option<bool>| {
        assert_eq!(read(&format!("k: {text}"), flag).ok(), expected, "{text}");
    };
    for text in ["true", "True", "yes", "'yes'", "ON", "t", "1", "1.0"] {
        check(text, Some(true));
    }
    for text in ["false", "No", "off", "\"off\"", "n", "0", "0.0"] {
        check(text, Some(false));
    }
    for text in ["0.5", "2", "maybe", "[true]", "~", "''"] {
        check(text, None);
    }
}

#[test]
fn texts_are_no_numbers() {
    let check = |text: &str, expected: Option<&str>| {
        let found = read(&format!("k: {text}"), |at| at.text().map(str::to_owned));
        assert_eq!(found.ok().as_deref(), expected, "{text}");
    };
    check("models/a", Some("models/a"));
    check("'7'", Some("7"));
    check("./7b", Some("./7b"));
    for text in ["7", "1.5", "yes", "~", "''", "[a]"] {
        check(text, None);
    }
}

#[test]
fn whole_numbers_have_a_range() {
    let check = |text: &str, expected: Option<u32>| {
        assert_eq!(read(&format!("k: {text}"), |at| at.whole(0..=99)).ok(), expected, "{text}");
    };
    check("8", Some(8));
    check("2.0", Some(2));
    check("'2'", Some(2));
    for text in ["-8", "2.5", "100", "true", "x", "1e99"] {
        check(text, None);
    }
}

#[test]
fn errors_name_key_and_line() {
    let node = parse("a:\n- b: 1\n  c: heavy\n").expect("YAML");
    let items =
        At::top(&node).fields(&["a"]).expect("a map").need("a", "").expect("there").items().expect("a list");
    let check = |error: ConfigError, expected: &str| assert_eq!(error.to_string(), expected);
    check(
        items[0].fields(&["b", "d"]).expect_err("c"),
        "line 3: a.0.c: is not a known key; did you mean `b`?",
    );
    let fields = items[0].fields(&["b", "c"]).expect("known");
    check(fields.need("d", "write it").expect_err("absent"), "line 2: a.0.d: is missing; write it");
    let at = fields.get("c").expect("there");
    check(at.number().expect_err("text"), "line 3: a.0.c: `heavy` is not a number; write a number");
    check(at.items().expect_err("text"), "line 3: a.0.c: `heavy` is not a list; write a list");
}
