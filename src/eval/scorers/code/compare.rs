//! Whether what a program printed or returned is what the test expects.

use serde_json::Value;

/// Line by line, white space at ends of lines and empty lines at the end aside. Two lines whose words are all decimal
/// numbers are equal if the numbers are: LiveCodeBench counts 1.0 as 1.
///
/// # Errors
/// The first line that differs, for people.
pub(super) fn outputs(expected: &str, printed: &str) -> Result<(), String> {
    let (expected, printed) = (lines(expected), lines(printed));
    for at in 0..expected.len().max(printed.len()) {
        match (expected.get(at), printed.get(at)) {
            (Some(wanted), Some(found)) if line(wanted, found) => {}
            (Some(wanted), Some(found)) => {
                return Err(format!("line {}: expected {wanted:?}, found {found:?}", at + 1));
            }
            (Some(wanted), None) => {
                return Err(format!("line {}: expected {wanted:?}, found no more", at + 1));
            }
            (_, found) => {
                return Err(format!("line {}: expected no more, found {:?}", at + 1, found.unwrap_or(&"")));
            }
        }
    }
    Ok(())
}

fn lines(text: &str) -> Vec<&str> {
    text.trim_end().split('\n').map(str::trim_end).collect()
}

fn line(expected: &str, printed: &str) -> bool {
    if expected == printed {
        return true;
    }
    let (wanted, found) = (expected.split_whitespace(), printed.split_whitespace());
    let (wanted, found): (Vec<_>, Vec<_>) = (wanted.map(decimal).collect(), found.map(decimal).collect());
    wanted.len() == found.len() && wanted.iter().zip(&found).all(|(a, b)| a.is_some() && a == b)
}

/// A plain decimal number in canonical form: sign, digits without leading zeros, places without trailing ones.
fn decimal(word: &str) -> Option<(bool, &str, &str)> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && places.is_empty() || !are_digits(whole) || !are_digits(places) {
        return None;
    }
    let (whole, places) = (whole.trim_start_matches('0'), places.trim_end_matches('0'));
    // -0 is 0.
    Some((negative && !(whole.is_empty() && places.is_empty()), whole, places))
}

/// As Python compares what JSON can hold: 1 equals 1.0, True is no number here, and nothing is rounded.
pub(super) fn values(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Number(a), Value::Number(b)) => numbers(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| values(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| values(a, b)))
        }
        (a, b) => a == b,
    }
}

/// From here on floats skip whole numbers.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

fn numbers(a: &serde_json::Number, b: &serde_json::Number) -> bool {
    let whole = |number: &serde_json::Number| {
        number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
    };
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a == b,
        // One is a float, or too large for this reader, which then holds a neighbour of it.
        (a_whole, b_whole) => {
            let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) else { return false };
            let neither_is_whole = a_whole.is_none() && b_whole.is_none();
            a == b && (a.abs() < EXACT_MAX || (neither_is_whole && a.fract() != 0.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: &str, printed: &str, equal: bool) {
        assert_eq!(outputs(expected, printed).is_ok(), equal, "{expected:?} {printed:?}");
    }

    #[test]
    fn outputs_by_line() {
        check("42", "42\n", true);
        check("42\n", "42", true);
        check("1 2 \n3", "1 2\n3\t\n\n", true);
        check("1\r\n2", "1\n2", true);
        check("1\n2", "1 2", false);
        check("1  2", "1 2", true);
        check("a  b", "a b", false);
        check(" a", "a", false);
        check("1\n\n2", "1\n2", false);
        check("1", "1\n2", false);
        check("1\n2", "1", false);
        check("", "\n", true);
        check("", "x", false);
        check("Yes", "yes", false);
        check("1", "1.0", true);
        check("1.50", "1.5", true);
        check("1", "1.0001", false);
        check("007", "7", true);
        check("-0", "0", true);
        check("-1", "1", false);
        check("1e3", "1000", false);
        check("x 1", "x 1.0", false);
        check(".", "0", false);
        check("12345678901234567890123", "12345678901234567890124", false);
    }

    #[test]
    fn values_as_python_compares_them() {
        let check = |expected: &str, found: &str, equal: bool| {
            let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(values(&read(expected), &read(found)), equal, "{expected} {found}");
        };
        check("1", "1.0", true);
        check("1", "2", false);
        check("0.1", "0.1", true);
        check("0.3", "0.30000000000000004", false);
        check("1", "true", false);
        check("\"1\"", "1", false);
        check("[1, [2]]", "[1, [2.0]]", true);
        check("[1, 2]", "[2, 1]", false);
        check("[1]", "[1, 1]", false);
        check("{\"a\": 1, \"b\": 2}", "{\"b\": 2, \"a\": 1}", true);
        check("{\"a\": 1}", "{\"a\": 1, \"b\": 2}", false);
        check("null", "null", true);
        check("9007199254740993", "9007199254740992", false);
        check("9007199254740993", "9007199254740992.0", false);
        check("18446744073709551617", "18446744073709551616", false);
        check("-5", "-5", true);
    }
}
