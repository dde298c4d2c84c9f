//! Expressions by hand, their mistakes by place, and anything at all.

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["acc", "lang", "fmt"];
const VALUES: [f64; 3] = [1.0, 0.5, 0.0];

/// `expected` is a value, or a part of an error.
#[track_caller]
fn check(text: &str, expected: &str) {
    let found = match Expression::parse(text, &NAMES) {
        Ok(expression) => {
            expression.evaluate(&VALUES).map_or_else(|error| error.to_string(), |value| value.to_string())
        }
        Err(error) => error.to_string(),
    };
    let equal = if expected.parse::<f64>().is_ok() { found == expected } else { found.contains(expected) };
    assert!(equal, "{text}: {found}, expected {expected}");
}

#[test]
fn formulas_have_the_values_of_arithmetic() {
    check("1.0*acc + 0.2*lang + 0.2*fmt", "1.1");
    check("1", "1");
    check(" .5 + 5. ", "5.5");
    check("1e2 + 5E-1 + 2e+1", "120.5");
    check("2 + 3 * 4", "14");
    check("(2 + 3) * 4", "20");
    check("2 - 3 - 4", "-5");
    check("12 / 3 / 2", "2");
    check("2 ^ 3 ^ 2", "512");
    check("-2 ^ 2", "-4");
    check("(-2) ^ 2", "4");
    check("2 ^ -2", "0.25");
    check("--+-2", "-2");
    check("2 * -3", "-6");
    check("acc-lang", "0.5");
    check("min(acc, lang, fmt) + max(acc, lang)", "1");
    check("abs(-3) + floor(2.7) + ceil(2.1) + sqrt(9) + log(exp(2))", "13");
    check("max(0, min(1, (acc + lang) / 2))", "0.75");
    check("0 ^ 0", "1");
    check("fmt / acc", "0");
}

#[test]
fn what_has_no_value_is_an_error_with_its_place() {
    check("1 + acc / fmt", "character 9: the division has no finite value");
    check("fmt / fmt", "character 5: the division");
    check("sqrt(-acc)", "character 1: the square root of a negative");
    check("2*log(fmt)", "character 3: the logarithm of 0");
    check("(-1) ^ lang", "character 6: the power");
    check("fmt ^ -1", "character 5: the power");
    check("exp(1000)", "character 1: the value is too large");
    check("1e308 * 10", "character 7: the value is too large");
    // What comes after cannot make it good again.
    check("min(1, 1 / fmt)", "character 10: the division");
    let expression = Expression::parse("acc", &NAMES).unwrap();
    assert!(expression.evaluate(&[f64::NAN]).unwrap_err().to_string().contains("no finite number"));
    assert!(expression.evaluate(&[]).is_err());
}

#[test]
fn mistakes_are_named_with_their_place() {
    check("", "character 1: expected a number, a grader's name, a function or `(`, found the end");
    check("1 +", "character 4: expected a number");
    check("1 2", "character 3: expected an operator or the end, found '2'");
    check("(1", "character 3: expected an operator or `)`, found the end");
    check("1)", "character 2: expected an operator or the end, found ')'");
    check("2 ** 3", "character 4: expected a number");
    check("acc * 言葉", "character 7: expected a number, a grader's name, a function or `(`, found '言'");
    check("1 + acx", "character 5: no grader is called \"acx\"; did you mean `acc`?");
    check("accuracy_of_all", "known: acc, lang, fmt");
    check("min", "it is a function");
    check("sin(1)", "character 1: there is no function \"sin\"; known: min, max");
    check("acc(1)", "there is no function \"acc\"");
    check("min(1)", "character 1: min takes two arguments or more, found 1");
    check("abs(1, 2)", "abs takes one argument, found 2");
    check("abs()", "character 5: expected a number");
    check("max(1, )", "character 8: expected a number");
    check("1.2.3", "character 1: \"1.2.3\" is no finite number");
    check("2acc", "\"2acc\" is no finite number");
    check("1e999", "is no finite number");
    check(".", "\".\" is no finite number");
    check(&format!("{}1{}", "(".repeat(32), ")".repeat(32)), "1");
    check(&format!("{}1{}", "(".repeat(33), ")".repeat(33)), "character 33: more than 32");
    check(&"-".repeat(1_500), "character 33: more than 32");
    check(&"2^".repeat(500), "more than 32");
    check(&format!("1{}", "+1".repeat(127)), "128");
    check(&format!("1{}", "+1".repeat(128)), "at most 256");
    check(&" ".repeat(2_001), "at most 2000 bytes");
}

#[test]
fn names_that_graders_may_have() {
    for (name, expected) in [
        ("acc", true),
        ("_a1", true),
        ("min", false),
        ("1a", false),
        ("a-b", false),
        ("", false),
        ("語", false),
    ] {
        assert_eq!(is_name(name), expected, "{name}");
    }
    let expression = Expression::parse("acc + 0*fmt", &NAMES).unwrap();
    assert_eq!([0, 1, 2, 9].map(|name| expression.uses(name)), [true, false, true, false]);
}

/// A random formula with its value by direct computation, where it has one.
fn formula() -> impl Strategy<Value = (String, f64)> {
    let leaf = prop_oneof![
        (0u32..1000).prop_map(|n| (format!("{}", f64::from(n) / 8.0), f64::from(n) / 8.0)),
        (0usize..3).prop_map(|i| (NAMES[i].to_owned(), VALUES[i])),
    ];
    leaf.prop_recursive(4, 40, 2, |inner| {
        (inner.clone(), inner, 0usize..7).prop_map(|((a, x), (b, y), kind)| match kind {
            0 => (format!("({a} + {b})"), x + y),
            1 => (format!("({a} - {b})"), x - y),
            2 => (format!("({a} * {b})"), x * y),
            3 => (format!("({a} / {b})"), x / y),
            4 => (format!("-{a}"), -x),
            5 => (format!("min({a}, {b})"), x.min(y)),
            _ => (format!("abs({a})"), x.abs()),
        })
    })
}

proptest! {
    #[test]
    fn formulas_agree_with_direct_computation((text, expected) in formula()) {
        let found = Expression::parse(&text, &NAMES).unwrap().evaluate(&VALUES);
        match found {
            Ok(value) => prop_assert_eq!(value, expected),
            // The first step without a value ends it, though a later one might have forgotten it.
            Err(_) => prop_assert!(text.contains('/')),
        }
    }

    #[test]
    fn any_text_is_a_formula_or_an_error(text in "[-+*/^(),. 0-9eacfmlngtixbs語]{0,60}") {
        if let Ok(expression) = Expression::parse(&text, &NAMES)
            && let Ok(value) = expression.evaluate(&VALUES)
        {
            prop_assert!(value.is_finite());
        }
    }

    #[test]
    fn any_characters_end_without_a_panic(text in any::<String>()) {
        let _ = Expression::parse(&text, &NAMES).map(|expression| expression.evaluate(&VALUES));
    }
}
