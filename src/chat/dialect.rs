//! The Jinja dialect of Hugging Face chat templates on top of minijinja: the same options, filters, functions
//! and tests as transformers' environment (`utils/chat_template_utils.py`).
//!
//! Departures: `{% generation %}` marks a span for training masks there and is a plain scope here, unless marks are asked for; nothing can
//! be included or imported; loops are not `recursive`. Instructions, output and ranges are bounded here, bytes and
//! time in `bounds`, whose header says how far. Templates come from model directories and not from requests.

use std::sync::LazyLock;

use fancy_regex::Regex;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use super::bounds;
use super::json::{JsonStyle, dumps};

/// Instructions one rendering may execute. A 1,000-message conversation takes well under a tenth of it.
const FUEL: u64 = 5_000_000;
/// Nested macro calls and blocks; far above any real template, far below what a 2 MiB stack holds.
const RECURSION_MAX: usize = 100;

/// Tells `raise_exception` in a template from other failures.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub String);

pub(super) fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_MAX);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", |format: &str| strftime(now(), format));
    // Python's strings and mappings have a length and `[]`, which is what Jinja2's test asks for.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map) || value.is_undefined()
    });
    bounds::install(&mut environment);
    Ok(environment)
}

/// Where a marked template begins and ends what `{% generation %}` encloses: no text has these characters.
pub(super) const GENERATION_MARKS: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];

/// `{% generation %}` becomes a scope; whitespace control and line numbers stay.
pub(super) fn replace_generation_tags(source: &str) -> String {
    each_generation_tag(source, |left, end, newlines, right| {
        format!("{{%{left} {end}with {newlines}{right}%}}")
    })
}

/// `{% generation %}` becomes a scope that writes its marks. A tag stands on each side of them, so that white space around
/// is taken away as it is without marks.
pub(super) fn mark_generation_tags(source: &str) -> String {
    let [begin, finish] = GENERATION_MARKS;
    each_generation_tag(source, |left, end, newlines, right| match end {
        "" => format!("{{%{left} if true {newlines}%}}{{{{ '{begin}' }}}}{{% with {right}%}}"),
        _ => format!("{{%{left} endwith {newlines}%}}{{{{ '{finish}' }}}}{{% endif {right}%}}"),
    })
}

/// `write` is given the white space control on the left, `end` or nothing, the tag's line breaks, the control on the right.
fn each_generation_tag(source: &str, write: impl Fn(&str, &str, &str, &str) -> String) -> String {
    static TAG: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("a constant pattern is valid")
    });
    TAG.replace_all(source, |captures: &fancy_regex::Captures<'_>| {
        let group = |at| captures.get(at).map_or("", |found: fancy_regex::Match<'_>| found.as_str());
        let newlines: String = group(0).chars().filter(|c| *c == '\n').collect();
        write(group(1), group(2), &newlines, group(3))
    })
    .into_owned()
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    let error = Error::new(ErrorKind::InvalidOperation, message.to_owned());
    Err(error.with_source(Raised(message.to_owned())))
}

#[expect(clippy::needless_pass_by_value, reason = "minijinja hands keyword arguments over by value")]
pub(super) fn tojson(value: &Value, arguments: Kwargs) -> Result<Value, Error> {
    let indent = match arguments.get::<Option<Value>>("indent")? {
        None => None,
        Some(given) if given.is_none() => None,
        Some(given) => Some(indent_text(&given)?),
    };
    let mut style = JsonStyle::new(indent);
    style.ensure_ascii = arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    style.sort_keys = arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    if let Some(separators) = arguments.get::<Option<Vec<String>>>("separators")? {
        let [item, key] = <[String; 2]>::try_from(separators).map_err(|_| {
            Error::new(
                ErrorKind::InvalidOperation,
                "tojson: separators must be (item_separator, key_separator)",
            )
        })?;
        style.item_separator = item;
        style.key_separator = key;
    }
    arguments.assert_all_used()?;
    dumps(value, &style).map(Value::from)
}

/// `json.dumps` takes a number of spaces or the text itself; a negative number means none.
fn indent_text(given: &Value) -> Result<String, Error> {
    if let Some(text) = given.as_str() {
        return Ok(text.chars().take(32).collect());
    }
    let spaces = i64::try_from(given.clone()).map_err(|_| {
        Error::new(ErrorKind::InvalidOperation, "tojson: indent must be a number or a string")
    })?;
    Ok(" ".repeat(spaces.clamp(0, 32) as usize))
}

fn now() -> libc::time_t {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    elapsed.as_secs() as libc::time_t
}

/// Local time as Python's `datetime.now().strftime(format)`, whose formatting is the C library's as well.
fn strftime(at: libc::time_t, format: &str) -> Result<String, Error> {
    let invalid = |why: &str| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {why}"));
    if format.is_empty() {
        return Ok(String::new());
    }
    if format.len() > 256 {
        return Err(invalid("the format is longer than 256 bytes"));
    }
    let format = std::ffi::CString::new(format).map_err(|_| invalid("the format holds a NUL byte"))?;
    let mut buffer = [0u8; 4096];
    // SAFETY: `tm` is plain data for which all zeroes is a value; `localtime_r` fills it from a valid pointer.
    let written = unsafe {
        let mut parts: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const at, &raw mut parts).is_null() {
            return Err(invalid("the clock has no local time"));
        }
        // SAFETY: the buffer's length is passed with it and the format ends in NUL.
        libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), &raw const parts)
    };
    Ok(String::from_utf8_lossy(&buffer[..written]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_scopes() {
        let check = |input: &str, expected: &str| assert_eq!(replace_generation_tags(input), expected);
        check("{% generation %}x{% endgeneration %}", "{% with %}x{% endwith %}");
        check("{%- generation -%}x{%-endgeneration-%}", "{%- with -%}x{%- endwith -%}");
        check("{{ generation }}", "{{ generation }}");
    }

    #[test]
    fn dates_are_formatted() {
        assert_eq!(strftime(86_400 * 20_000, "%Y").unwrap(), "2024");
        assert_eq!(strftime(0, "").unwrap(), "");
        assert!(strftime(0, "\0").is_err());
        assert!(strftime(0, &"%c".repeat(200)).is_err());
    }
}
