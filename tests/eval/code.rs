//! Programs judged by their tests, in the real sandbox.

use std::sync::LazyLock;

use serde_json::{Value, json};
use xenoglot::eval::scorers::code::{CodeScore, CodeScorer, Tests};
use xenoglot::eval::scorers::sandbox::{Limits, Sandbox};
use xenoglot::score::Reason;

use super::sandbox::options;

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| Sandbox::open(&options()).expect("a sandbox"));

fn judge(fields: &Value, answer: &str) -> CodeScore {
    let limits = Limits { cpu_seconds: 2, ..Limits::default() };
    let scorer = CodeScorer { sandbox: &SANDBOX, limits };
    scorer.judge(answer, &Tests::read(fields.as_object().unwrap()).unwrap()).unwrap()
}

/// An answer, why it is judged so, and how many tests it passed.
#[track_caller]
fn check(fields: &Value, answer: &str, reason: Reason, passed: usize) {
    let score = judge(fields, answer);
    assert_eq!((score.reason, score.passed), (reason, passed), "{answer}\n{:?}", score.detail);
}

fn fenced(code: &str) -> String {
    format!("Here it is:\n```python\n{code}\n```\nDone.")
}

#[test]
fn programs_with_input_and_output() {
    let case = |input: &str, output: &str| json!({"input": input, "output": output, "testtype": "stdin"});
    let fields = json!({
        "public_test_cases": [case("1 2\n", "3\n")],
        "private_test_cases": json!([case("5 5", "10"), case("-1 1", "0")]).to_string(),
    });
    let check = |code: &str, reason, passed| check(&fields, &fenced(code), reason, passed);
    check("a, b = map(int, input().split())\nprint(a + b)", Reason::TestsPassed, 3);
    check("a, b = map(int, input().split())\nprint(a + b, '')\nprint()", Reason::TestsPassed, 3);
    check("if __name__ == '__main__':\n    print(sum(map(int, input().split())))", Reason::TestsPassed, 3);
    check("print(3)", Reason::OutputDiffers, 1);
    check("a, b = map(int, input().split())\nprint(a - b)", Reason::OutputDiffers, 0);
    check("a, b = map(int, input().split())\nprint(a + b)\nprint(a)", Reason::OutputDiffers, 0);
    check("a, b = map(int, input().split())\nprint(10 // (a - 5))", Reason::OutputDiffers, 0);
    check("a, b = map(int, input().split())\nprint(a + b if a != 5 else 1 // 0)", Reason::ProgramFailed, 1);
    check("print(", Reason::ProgramFailed, 0);
    check("while True: pass", Reason::TimeLimit, 0);
    check("x = [0] * 10**10", Reason::MemoryLimit, 0);
    check("while True: print('3' * 10**6)", Reason::OutputLimit, 0);
    check("import socket\nsocket.socket()\nprint(3)", Reason::Forbidden, 0);
    check("import os\nprint(open('/etc/passwd').read())", Reason::Forbidden, 0);
    assert_eq!(judge(&fields, "no program").reason, Reason::NoCode);
    let score = judge(&fields, &fenced("print(3)"));
    assert_eq!(score.detail.as_deref(), Some("test 2: line 1: expected \"10\", found \"3\""));
    assert_eq!(score.tests, 3);
}

#[test]
fn functions_with_arguments() {
    let case =
        |input: &str, output: &str| json!({"input": input, "output": output, "testtype": "functional"});
    let fields = json!({
        "public_test_cases": [case("[1, 2]\n3", "[4, 5]"), case("[]\n1", "[]")],
        "metadata": "{\"func_name\": \"add\"}",
    });
    let check = |code: &str, reason, passed| check(&fields, &fenced(code), reason, passed);
    let right = "class Solution:\n    def add(self, xs: List[int], n: int) -> List[int]:\n        return [x + n for x in xs]";
    check(&format!("from typing import List\n{right}"), Reason::TestsPassed, 2);
    check("def add(xs, n):\n    print('noise')\n    return tuple(x + n for x in xs)", Reason::TestsPassed, 2);
    check("def add(xs, n):\n    return [4, 5]", Reason::OutputDiffers, 1);
    check("def add(xs, n):\n    return xs[0]", Reason::OutputDiffers, 0);
    check("def other(xs, n): return 1", Reason::ProgramFailed, 0);
    check("def add(xs, n):\n    while True: pass", Reason::TimeLimit, 0);
    // None of the ways to look right without being it.
    let equal = "class Any(list):\n    def __eq__(self, other): return True\ndef add(xs, n): return Any([0])";
    check(equal, Reason::OutputDiffers, 0);
    check("import os\nprint('[4, 5]')\nos._exit(0)", Reason::ProgramFailed, 0);
    check("import sys\nsys.exit(0)", Reason::ProgramFailed, 0);
    check("def add(xs, n):\n    return {4, 5}", Reason::ProgramFailed, 0);
}

#[test]
fn functions_that_complete_a_prompt() {
    let fields = json!({
        "prompt": "def double(n):\n    return 2 * n\n\n\ndef quadruple(n: int) -> int:\n    \"\"\"Four times n.\n    >>> quadruple(2)\n    8\n    \"\"\"\n",
        "entry_point": "quadruple",
        "test": "def check(candidate):\n    assert candidate(2) == 8\n    assert candidate(0) == 0\n    assert candidate(-3) == -12\n",
    });
    let check = |answer: &str, reason, passed| check(&fields, answer, reason, passed);
    check("    return double(double(n))\n", Reason::TestsPassed, 1);
    check("    return 4 * n\n\nprint(quadruple(\"x\" / 2))\n", Reason::TestsPassed, 1);
    check(&fenced("def quadruple(n):\n    return double(double(n))"), Reason::TestsPassed, 1);
    check(&fenced("    return n + n + n + n"), Reason::TestsPassed, 1);
    check("    return double(n)\n", Reason::OutputDiffers, 0);
    check("return 4 * n", Reason::ProgramFailed, 0);
    check(&fenced("def quadruple(n):\n    import os\n    os._exit(0)"), Reason::ProgramFailed, 0);
    check(&fenced("def quadruple(n):\n    raise SystemExit(0)"), Reason::ProgramFailed, 0);
    check(
        &fenced("import builtins\nbuiltins.exec = print\ndef quadruple(n): return 0"),
        Reason::OutputDiffers,
        0,
    );
    check("I do not know.", Reason::ProgramFailed, 0);
}

#[test]
fn functions_with_assertions() {
    let fields = json!({
        "test_list": ["assert twice(2) == 4", "assert twice(5) == 10", "assert math.isclose(twice(.1), .2)"],
        "test_imports": ["import math"],
    });
    let check = |answer: &str, reason, passed| check(&fields, answer, reason, passed);
    check(&fenced("def twice(n):\n    return n * 2"), Reason::TestsPassed, 3);
    check("[BEGIN]\ndef twice(n):\n    return n * 2\n[DONE]\nmore", Reason::TestsPassed, 3);
    check(&fenced("def twice(n):\n    return n ** 2"), Reason::OutputDiffers, 1);
    check(&fenced("def Twice(n):\n    return n * 2"), Reason::ProgramFailed, 0);
}

/// `base64(zlib(pickle(json)))` of one test, made by Python's pickle, protocol 4.
#[test]
fn private_tests_are_unpacked_in_the_sandbox() {
    let scorer = CodeScorer { sandbox: &SANDBOX, limits: Limits::default() };
    let read = |packed: &str| {
        let fields = json!({"private_test_cases": packed});
        scorer.tests(fields.as_object().unwrap()).map_err(|error| error.to_string())
    };
    assert_eq!(read(PACKED).unwrap().len(), 1);
    let error = read("eJw=").unwrap_err();
    assert!(error.contains("private_test_cases: cannot be unpacked"), "{error}");
    // A pickle that runs a program instead.
    let error = read(HOSTILE).unwrap_err();
    assert!(error.contains("cannot be unpacked (PermissionError"), "{error}");
}

const PACKED: &str = "eJxrYJlqwQABPSbR1UqZeQWlJUpWCkqGSjoKSvmlJVCuEYhbklpcUlJZkAoSKC5JycxTqo2dogcAOgkSqg==";
/// Unpickling this makes a folder in /tmp.
const HOSTILE: &str =
    "eJxrYJlqyAABPawF+cWZFVN6WHOzUzKLpkye0iOuX5JboF+RmpefnpNfoluaV5CZnJ2TmjKldUrQFD0APyYVdQ==";
