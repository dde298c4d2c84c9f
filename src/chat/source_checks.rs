//! Writes calls of the checks in `bounds` into a template's source. A scan of its tags, not a parser: what it
//! cannot read it leaves as it is, for the compiler to refuse. Line numbers stay.

/// Names of the two functions; a template that mentions them is refused.
pub(super) const KEEP: &str = "bounds_keep";
pub(super) const TICK: &str = "bounds_tick";
/// `~`, `+`, `*` and commas in one tag: what one expression can multiply its operands by.
const OPERATORS_MAX: usize = 128;

/// # Errors
/// The line and what on it no bound can be put to.
pub(super) fn insert(source: &str) -> Result<String, (usize, &'static str)> {
    let tags = tags(source);
    let raw_bytes = source.len() - tags.iter().map(|tag| tag.end - tag.start).sum::<usize>();
    let mut written = String::with_capacity(source.len() * 2);
    let mut at = 0;
    for tag in &tags {
        let text = &source[tag.start..tag.end];
        let line = source[..tag.start].matches('\n').count() + 1;
        written.push_str(&source[at..tag.start]);
        written.push_str(&check_tag(text, raw_bytes).map_err(|why| (line, why))?);
        at = tag.end;
    }
    written.push_str(&source[at..]);
    Ok(written)
}

struct Tag {
    start: usize,
    end: usize,
}

/// `{{ }}` and `{% %}` outside comments and `{% raw %}`.
fn tags(source: &str) -> Vec<Tag> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = source[at..].find('{').map(|offset| at + offset) {
        let rest = &source[start..];
        if rest.starts_with("{#") {
            let Some(length) = rest.find("#}") else { break };
            at = start + length + 2;
        } else if rest.starts_with("{{") || rest.starts_with("{%") {
            let close = if rest.starts_with("{{") { "}}" } else { "%}" };
            let Some(length) = tag_length(rest, close) else { break };
            at = start + length;
            found.push(Tag { start, end: at });
            if words(inside(&source[start..at])).next() == Some("raw") && close == "%}" {
                let Some(end) = end_of_raw(&source[at..]) else { break };
                at += end;
            }
        } else {
            at = start + 1;
        }
    }
    found
}

/// Where `{% endraw %}` begins.
fn end_of_raw(source: &str) -> Option<usize> {
    source.match_indices("{%").map(|(at, _)| at).find(|at| {
        let rest = source[at + 2..].trim_start_matches(['-', '+']).trim_start();
        rest.starts_with("endraw")
    })
}

fn tag_length(rest: &str, close: &str) -> Option<usize> {
    let body = &rest[2..];
    let end = scan(body).find(|(at, depth, _)| *depth <= 0 && body[*at..].starts_with(close))?;
    Some(2 + end.0 + 2)
}

/// (offset, bracket depth, character) of what stands outside strings.
fn scan(text: &str) -> impl Iterator<Item = (usize, i32, char)> {
    let mut quote = None;
    let mut escaped = false;
    let mut depth = 0;
    text.char_indices().filter_map(move |(at, c)| {
        if let Some(open) = quote {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == open {
                quote = None;
            }
            return None;
        }
        let before = depth;
        match c {
            '\'' | '"' => quote = Some(c),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        Some((at, before, c))
    })
}

/// A tag's content without its markers.
fn inside(tag: &str) -> &str {
    let body = &tag[2..tag.len() - 2];
    let body = body.strip_prefix(['-', '+']).unwrap_or(body);
    body.strip_suffix(['-', '+']).unwrap_or(body)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn check_tag(tag: &str, raw_bytes: usize) -> Result<String, &'static str> {
    let body = inside(tag);
    if body.contains(KEEP) || body.contains(TICK) {
        return Err("it uses a name kept for its checks");
    }
    if scan(body).filter(|(_, _, c)| matches!(c, '~' | '+' | '*' | ',')).count() > OPERATORS_MAX {
        return Err("one tag has more operators and commas than can be bounded: split it");
    }
    if tag.starts_with("{{") {
        return Ok(tag.to_owned());
    }
    let from = 2 + usize::from(tag[2..tag.len() - 2].starts_with(['-', '+']));
    let until = from + body.len();
    let (open, close) = (&tag[..from], &tag[until..]);
    let tick = format!("set bounds_seen = {TICK}({raw_bytes})");
    let mut also = Vec::new();
    let checked = match words(body).next() {
        Some("set") => match top_level(body, '=') {
            Some(at) => format!("{}{}", &body[..=at], kept(&body[at + 1..])),
            None => body.to_owned(),
        },
        Some("with") => with(body),
        Some("for") => {
            also.push(tick);
            for_loop(body)?
        }
        Some("macro" | "call") => {
            also.push(tick);
            also.extend(parameters(body).iter().map(|name| format!("set {name} = {KEEP}(({name}))")));
            body.to_owned()
        }
        _ => body.to_owned(),
    };
    let first = format!("{open}{checked}");
    Ok(also.into_iter().fold(first, |done, more| format!("{done} %}}{{% {more} ")) + close)
}

fn kept(expression: &str) -> String {
    format!(" {KEEP}(({expression})) ")
}

/// The first `wanted` outside brackets and strings that is no part of `==` and the like.
fn top_level(text: &str, wanted: char) -> Option<usize> {
    let bytes = text.as_bytes();
    scan(text).find_map(|(at, depth, c)| {
        let compares = bytes.get(at + 1) == Some(&b'=')
            || at.checked_sub(1).is_some_and(|before| matches!(bytes[before], b'=' | b'!' | b'<' | b'>'));
        (depth == 0 && c == wanted && (wanted != '=' || !compares)).then_some(at)
    })
}

fn with(body: &str) -> String {
    let mut written = String::new();
    let mut rest = body;
    loop {
        let end = top_level(rest, ',').unwrap_or(rest.len());
        let part = &rest[..end];
        match top_level(part, '=') {
            Some(at) => {
                written.push_str(&part[..=at]);
                written.push_str(&kept(&part[at + 1..]));
            }
            None => written.push_str(part),
        }
        if end == rest.len() {
            return written;
        }
        written.push(',');
        rest = &rest[end + 1..];
    }
}

/// `for x in VALUES if TEST`: the first `if` outside brackets is the loop's own.
fn for_loop(body: &str) -> Result<String, &'static str> {
    let Some(values) = word_at(body, "in").map(|at| at + 2) else { return Ok(body.to_owned()) };
    if word_at(body, "recursive").is_some() {
        return Err("recursive loops have no bound: write a macro");
    }
    let end = word_at(&body[values..], "if").map_or(body.len(), |at| values + at);
    Ok(format!("{}{}{}", &body[..values], kept(&body[values..end]), &body[end..]))
}

fn word_at(text: &str, word: &str) -> Option<usize> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    scan(text).find_map(|(at, depth, _)| {
        let before = text[..at].chars().next_back().is_none_or(|c| !is_name(c));
        let after = || text[at + word.len()..].chars().next().is_none_or(|c| !is_name(c));
        (depth == 0 && before && text[at..].starts_with(word) && after()).then_some(at)
    })
}

/// Of `macro name(a, b=1)`.
fn parameters(body: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let Some(open) = body.find('(') else { return names };
    // `call f(x)` has arguments there and no parameters.
    if words(body).next() == Some("call") && !body[..open].trim().ends_with("call") {
        return names;
    }
    let mut rest = &body[open + 1..];
    while let Some(end) = scan(rest).find(|(_, depth, c)| *depth == 0 && matches!(c, ',' | ')')) {
        names.extend(words(&rest[..end.0]).next());
        if end.2 == ')' {
            break;
        }
        rest = &rest[end.0 + 1..];
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        let got = insert(source).unwrap().replace(KEEP, "K").replace(TICK, "T");
        assert_eq!(got, expected);
    }

    #[test]
    fn what_is_kept_is_checked() {
        check("a{{ b }}{# {% set c = 1 %} #}", "a{{ b }}{# {% set c = 1 %} #}");
        check("{%- set a = b == '%}=' -%}", "{%- set a = K(( b == '%}=' )) -%}");
        check("{% set a, b = 1, 2 %}", "{% set a, b = K(( 1, 2 )) %}");
        check("{%-----+++++ x%}{%-%}{%%}", "{%-----+++++ x%}{%-%}{%%}");
        check("{% set a %}x{% endset %}", "{% set a %}x{% endset %}");
        check("{% with a = f(x=1), b = 2 %}", "{% with a = K(( f(x=1))) , b = K(( 2 )) %}");
        check("{% raw %}{% set a = 1 %}{% endraw %}", "{% raw %}{% set a = 1 %}{% endraw %}");
        check("{% for a in b if c -%}", "{% for a in K(( b )) if c  %}{% set bounds_seen = T(0) -%}");
        check(
            "{% macro m(a, b=(1, 2)) %}x",
            "{% macro m(a, b=(1, 2))  %}{% set bounds_seen = T(1)  %}{% set a = K((a))  %}{% set b = K((b)) %}x",
        );
    }

    #[test]
    fn what_cannot_be_bounded_is_refused() {
        for source in ["\n{% for a in b recursive %}", "\n{{ bounds_keep(1) }}"] {
            assert_eq!(insert(source).unwrap_err().0, 2, "{source}");
        }
        assert!(insert(&format!("{{{{ {} }}}}", "a ~ ".repeat(200))).is_err());
    }
}
