//! Trees, lines and bounds.

use super::*;

/// The tree as a line of text: plain scalars bare, others quoted.
fn shown(node: &Node) -> String {
    match &node.value {
        Value::Scalar { text, plain: true } => text.clone(),
        Value::Scalar { text, plain: false } => format!("{text:?}"),
        Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
        Value::Map(entries) => {
            let shown =
                entries.iter().map(|entry| format!("{}@{}:{}", entry.key, entry.line, shown(&entry.node)));
            format!("{{{}}}", shown.collect::<Vec<_>>().join(","))
        }
    }
}

#[test]
fn reads_trees_with_lines() {
    let check = |text: &str, expected: &str| match parse(text) {
        Ok(node) => assert_eq!(shown(&node), expected, "{text}"),
        Err(error) => panic!("{text}: {error}"),
    };
    check("# c\na: 1\nb:\n- x\n- 'y'\n", "{a@2:1,b@3:[x,\"y\"]}");
    check("a: yes\r\nb: \"yes\"\r\n", "{a@1:yes,b@2:\"yes\"}");
    check("\u{feff}a:\nb: ~", "{a@1:,b@2:~}");
    check("{\n\t\"a\": [1, 2.5e-3],\n\t\"b/c\": \"\\u00fc\\/\"\n}\n", "{a@2:[1,2.5e-3],b/c@3:\"ü/\"}");
    check("---\na: 1\n...\n", "{a@2:1}");
    check(
        "a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}",
        "{a@1:{p@1:1,q@1:2},b@2:{p@1:1,q@1:2},c@3:{q@3:3,p@3:1}}",
    );
    check("a: !!str 5", "{a@1:\"5\"}");
    check("a: |\n  x\n  y\n", "{a@1:\"x\\ny\\n\"}");
}

#[test]
fn errors_name_lines() {
    let check = |text: &str, expected: &str| {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    };
    check("", "line 1: the text is empty");
    check("# only\n", "line 1: the text is empty");
    check("a:\n\t- b: 1", "line 2, column");
    check("a: [b\nc: d", "line 2, column");
    check("a: 1\n---\nb: 2", "line 3, column 1: a second document");
    check("a: 1\nb: {c: 1,\n c: 2}", "line 3: b.c: is given twice, first on line 2");
    check("a: !!python/name:os.system x", "line 1, column 4: a tag");
    check("a: &x [*x]", "line 1, column 8: an alias");
    check("a: *x", "line 1, column 4");
    check("? [a]\n: b", "line 1, column 3: a key is");
    check("a: 1\n<<: 3", "line 2: <<: is not a mapping");
    check(&"[".repeat(100), "line 1: values are nested");
    check(&"? ".repeat(100_000), "line 1, column 3: a key is");
    check(&"- ".repeat(5000), "line 1: values are nested");
    check(&"x".repeat(TEXT_BYTES_MAX + 1), "line 1: the text has");
    check(&"- x\n".repeat(NODES_MAX), "line 100000: there are more than");
}

#[test]
fn aliases_do_not_explode() {
    let levels = |count: usize, repeats: usize| {
        let level = |level: usize| {
            let aliases = vec![format!("*a{level}"); repeats].join(", ");
            format!("a{0}: &a{0} [{aliases}]\n", level + 1)
        };
        "a0: &a0 [x, x]\n".to_owned() + &(0..count).map(level).collect::<String>()
    };
    let error = parse(&levels(30, 9)).expect_err("a bomb").to_string();
    assert!(error.contains("there are more than"), "{error}");
    let error = parse(&levels(100, 1)).expect_err("a ladder").to_string();
    assert!(error.contains("nested"), "{error}");
}

#[test]
fn a_tab_is_told_by_its_own_line() {
    let error = parse("a: x\nb:\n  c: 1\n\tx: 1\n").expect_err("a tab").to_string();
    assert!(error.starts_with("line 4, column 1: ") && error.contains("found a tab"), "{error}");
}
