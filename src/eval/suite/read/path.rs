//! Paths into a row: a column's name, `question.stem`, `choices[].text`, `turns.0`.

use std::borrow::Cow;

use serde_json::Value;

/// What stands at a path; `None` if nothing does, or null.
pub(in super::super) fn find<'a>(row: &'a Value, path: &str) -> Option<Cow<'a, Value>> {
    // Names of columns may hold dots and brackets themselves.
    let exact = row.as_object().and_then(|columns| columns.get(path)).map(Cow::Borrowed);
    exact.or_else(|| walk(row, path)).filter(|value| !value.is_null())
}

fn walk<'a>(value: &'a Value, path: &str) -> Option<Cow<'a, Value>> {
    let (step, rest) = match path.split_once('.') {
        Some((step, rest)) => (step, Some(rest)),
        None => (path, None),
    };
    let onward = |value: &'a Value| match rest {
        Some(rest) => walk(value, rest),
        None => Some(Cow::Borrowed(value)),
    };
    let Some(name) = step.strip_suffix("[]") else {
        return onward(member(value, step)?);
    };
    match member(value, name)? {
        Value::Array(values) => {
            let found = values.iter().map(|value| onward(value).map(Cow::into_owned));
            found.collect::<Option<Vec<_>>>().map(|values| Cow::Owned(Value::Array(values)))
        }
        // The hub's Parquet turns a list of objects into an object of lists.
        other => onward(other),
    }
}

fn member<'a>(value: &'a Value, step: &str) -> Option<&'a Value> {
    match value {
        Value::Object(columns) => columns.get(step),
        Value::Array(values) => values.get(step.parse::<usize>().ok()?),
        _ => None,
    }
}

/// The column that a path begins in: what a columnar file has to be asked for.
pub(in super::super) fn root(path: &str) -> &str {
    let step = path.split_once('.').map_or(path, |(step, _)| step);
    step.strip_suffix("[]").unwrap_or(step)
}

/// A text as it stands, a number as it is written.
pub(in super::super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err("must be a text or a number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_reach_into_rows() {
        let row = json!({
            "a": 1, "a.b": 2, "q": {"stem": "s", "c": [{"t": "x"}, {"t": "y"}]}, "turns": ["one", "two"],
            "lists": {"t": [1, 2]}, "null": null,
        });
        let check = |path: &str, expected: Option<Value>| {
            assert_eq!(find(&row, path).map(Cow::into_owned), expected, "{path}");
        };
        check("a", Some(json!(1)));
        check("a.b", Some(json!(2)));
        check("q.stem", Some(json!("s")));
        check("q.c[].t", Some(json!(["x", "y"])));
        check("lists[].t", Some(json!([1, 2])));
        check("q.c[].u", None);
        check("turns.1", Some(json!("two")));
        check("turns[]", Some(json!(["one", "two"])));
        check("turns.2", None);
        check("null", None);
        check("q.stem.x", None);
        check("", None);
    }
}
