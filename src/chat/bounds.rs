//! Bytes and time for a template: fuel counts instructions, and one instruction can double a string.
//!
//! minijinja calls nobody back for `~`, `+` and `*`, so the template's source gets checks where values are kept
//! (`set`, `with`, the values of a `for`, a macro's arguments) and where things repeat (loop and macro bodies).
//! What is kept is at most [`VALUE_BYTES_MAX`] deep, and one tag has at most 128 operators, so one
//! expression can hold a bounded multiple of that. Filters and methods check what they are given and what they
//! would make. All that is measured counts against [`TOTAL_BYTES_MAX`], and every check looks at the clock.
//!
//! Not bounded exactly: an expression may hold several hundred MiB before its value meets a check, and the clock
//! is not looked at within one instruction.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, filters};

use super::dialect;
use super::source_checks::{KEEP, TICK};

/// What one variable or argument may hold, nested values included.
const VALUE_BYTES_MAX: usize = 8 << 20;
/// A value's own size beside its text.
const NODE_BYTES: usize = 32;
/// What one rendering may make, counted as often as it is made.
const TOTAL_BYTES_MAX: u64 = 512 << 20;
const TIME_MAX: Duration = Duration::from_secs(5);
/// For `batch` and `slice`, which fill up what is missing.
const GROUPS_MAX: usize = 4096;
const INDENT_MAX: usize = 64;

/// Tells these limits in an error from other failures.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct OverLimit(pub &'static str);

const TOO_LARGE: &str = "one of its values is larger than 8 MiB";
const TOO_MUCH: &str = "it makes more than 512 MiB of text and values";
const TOO_LONG: &str = "it takes longer than 5 seconds";

fn over(limit: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, limit).with_source(OverLimit(limit))
}

/// Puts the checks into an environment; the last of its set-up.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_function(KEEP, |state: &mut State<'_, '_>, value: Value| {
        charge(state, size(&value)?)?;
        Ok::<_, Error>(value)
    });
    environment.add_function(TICK, |state: &mut State<'_, '_>, bytes: u64| charge(state, bytes as usize));
    environment.set_formatter(|output, state, value| {
        charge(state, size(value)?)?;
        minijinja::escape_formatter(output, state, value)
    });
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        let all: Vec<Value> = std::iter::once(value).chain(arguments).cloned().collect();
        // `', '.join(list)` has its operands the other way round from the filter.
        let reversed: Vec<Value> = all.iter().rev().cloned().collect();
        before(state, method, if method == "join" { &reversed } else { &all })?;
        minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
    });
    // Lazy sequences without a length, which Jinja2 does not have.
    environment.remove_filter("chain");
    environment.remove_filter("zip");
    for (name, filter) in growing_filters() {
        let checked = move |state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>| {
            let arguments = arguments.into_values();
            before(state, name, &arguments)?;
            filter.call(state, &arguments)
        };
        environment.add_filter(name, checked);
    }
}

/// The filters that make text or lists.
fn growing_filters() -> Vec<(&'static str, Value)> {
    vec![
        ("tojson", Value::from_function(dialect::tojson)),
        ("e", Value::from_function(filters::escape)),
        ("escape", Value::from_function(filters::escape)),
        ("lower", Value::from_function(filters::lower)),
        ("upper", Value::from_function(filters::upper)),
        ("title", Value::from_function(filters::title)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("replace", Value::from_function(filters::replace)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("items", Value::from_function(filters::items)),
        ("reverse", Value::from_function(filters::reverse)),
        ("trim", Value::from_function(filters::trim)),
        ("join", Value::from_function(filters::join)),
        ("split", Value::from_function(filters::split)),
        ("lines", Value::from_function(filters::lines)),
        ("sort", Value::from_function(filters::sort)),
        ("list", Value::from_function(filters::list)),
        ("string", Value::from_function(filters::string)),
        ("batch", Value::from_function(filters::batch)),
        ("slice", Value::from_function(filters::slice)),
        ("sum", Value::from_function(filters::sum)),
        ("indent", Value::from_function(filters::indent)),
        ("select", Value::from_function(filters::select)),
        ("reject", Value::from_function(filters::reject)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("map", Value::from_function(filters::map)),
        ("groupby", Value::from_function(filters::groupby)),
        ("unique", Value::from_function(filters::unique)),
        ("pprint", Value::from_function(filters::pprint)),
        ("format", Value::from_function(filters::format)),
    ]
}

/// Checks the operands of a filter or method, and the size of what it is about to make.
fn before(state: &mut State<'_, '_>, name: &str, arguments: &[Value]) -> Result<(), Error> {
    let mut given = 0;
    for argument in arguments {
        given += size(argument)?;
    }
    let text = |at: usize| arguments.get(at).and_then(Value::as_str).unwrap_or_default();
    let numbers = || arguments.iter().skip(1).flat_map(numbers_in);
    let made = match name {
        "replace" => {
            let places = text(0).len() / text(1).len().max(1) + 1;
            places.saturating_mul(text(2).len()).saturating_add(given)
        }
        "join" => {
            let joints = arguments.first().and_then(Value::len).unwrap_or_default();
            joints.saturating_mul(arguments.get(1).map_or(Ok(0), size)?).saturating_add(given)
        }
        "indent" if numbers().any(|number| number > INDENT_MAX) => return Err(over(TOO_LARGE)),
        "indent" => given.saturating_mul(INDENT_MAX / 8),
        "batch" | "slice" if numbers().any(|number| number > GROUPS_MAX) => return Err(over(TOO_LARGE)),
        // Widths are written in the format; three digits are more than any prompt needs.
        "format" if has_long_number(text(0)) || text(0).contains('*') => return Err(over(TOO_LARGE)),
        "format" => (text(0).len() + 1).saturating_mul(given.min(1000)).saturating_add(given),
        _ => given,
    };
    if made > VALUE_BYTES_MAX {
        return Err(over(TOO_LARGE));
    }
    charge(state, made)
}

/// The numbers of an argument; named arguments come as a mapping.
fn numbers_in(argument: &Value) -> Vec<usize> {
    if argument.kind() != ValueKind::Map {
        return argument.as_usize().into_iter().collect();
    }
    let keys = argument.try_iter().into_iter().flatten();
    keys.filter_map(|key| argument.get_item(&key).ok()?.as_usize()).collect()
}

fn has_long_number(format: &str) -> bool {
    format.as_bytes().windows(4).any(|four| four.iter().all(u8::is_ascii_digit))
}

/// Counts bytes and looks at the clock. The first check of a rendering starts it.
fn charge(state: &mut State<'_, '_>, bytes: usize) -> Result<(), Error> {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    const SPENT: &str = "bounds_spent";
    const SINCE: &str = "bounds_since";
    let now = EPOCH.elapsed().as_millis() as u64;
    let read = |value: Option<Value>| value.and_then(|value| u64::try_from(value).ok());
    let since = read(state.get_temp(SINCE));
    if since.is_none() {
        state.set_temp(SINCE, Value::from(now));
    }
    if now - since.unwrap_or(now) > TIME_MAX.as_millis() as u64 {
        return Err(over(TOO_LONG));
    }
    let spent = read(state.get_temp(SPENT)).unwrap_or_default().saturating_add(bytes as u64);
    state.set_temp(SPENT, Value::from(spent));
    if spent > TOTAL_BYTES_MAX { Err(over(TOO_MUCH)) } else { Ok(()) }
}

/// A value's bytes as they would be written out: a value that stands in several places counts in each.
fn size(value: &Value) -> Result<usize, Error> {
    let mut left = VALUE_BYTES_MAX;
    let mut open = vec![value.clone()];
    while let Some(value) = open.pop() {
        let own = NODE_BYTES + value.as_str().map_or(0, str::len) + value.as_bytes().map_or(0, <[u8]>::len);
        left = left.checked_sub(own).ok_or_else(|| over(TOO_LARGE))?;
        if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
            continue;
        }
        // Without a length it is made as it is read, and cannot be kept in full.
        let Some(length) = value.len() else { continue };
        let waiting = open.len().saturating_add(length).saturating_mul(NODE_BYTES);
        if waiting > left {
            return Err(over(TOO_LARGE));
        }
        let is_map = value.kind() == ValueKind::Map;
        for item in value.try_iter().into_iter().flatten() {
            if is_map {
                open.extend(value.get_item(&item).ok());
            }
            open.push(item);
        }
    }
    Ok(VALUE_BYTES_MAX - left)
}
