//! From a client's grammar to a parser, within budgets; and where in a schema the fault lies.

use std::time::{Duration, Instant};

use llguidance::api::{GrammarWithLexer, ParserLimits, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Map, Value, json};

use super::{Grammar, GuideError};

/// Parts of a schema that are tried one by one when the whole fails.
const PARTS_MAX: usize = 200;

/// The search for the part at fault ends after so long, with what it has found.
const SEARCH_MAX: Duration = Duration::from_millis(300);

/// What one grammar, and one token of an answer, may cost. The speeds are llguidance's own figures.
pub(super) fn limits() -> ParserLimits {
    ParserLimits {
        // 50,000 a millisecond.
        initial_lexer_fuel: 1_000_000,
        // 14,000 a millisecond.
        step_lexer_fuel: 200_000,
        // 20,000 a millisecond.
        step_max_items: 50_000,
        // A kilobyte or two each.
        max_lexer_states: 50_000,
        max_grammar_size: 500_000,
        // What a client reads must not hold the text of its own grammar, nor the parser's insides.
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// # Errors
/// `Grammar`, with the part of a schema at fault.
pub(super) fn matcher(factory: &ParserFactory, grammar: &Grammar) -> Result<Matcher, GuideError> {
    let whole = parser(factory, top_level(grammar));
    let problem = match whole {
        Ok(matcher) => return Ok(matcher),
        Err(problem) => problem,
    };
    let (path, problem) = match grammar {
        Grammar::JsonSchema(schema) => smallest_fault(factory, schema, problem),
        _ => (String::new(), problem),
    };
    Err(GuideError::Grammar { path, problem })
}

fn top_level(grammar: &Grammar) -> TopLevelGrammar {
    match grammar {
        Grammar::JsonSchema(schema) => TopLevelGrammar::from_json_schema(bounded_schema(schema)),
        Grammar::Regex(expression) => TopLevelGrammar::from_regex(expression),
        Grammar::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
        Grammar::Choice(texts) => {
            let quoted: Vec<String> = texts.iter().map(|text| json!(text).to_string()).collect();
            TopLevelGrammar::from_lark(format!("start: {}", quoted.join(" | ")))
        }
        Grammar::Composed { lark, parts } => {
            let mut whole = TopLevelGrammar::from_lark(lark.clone());
            for (name, part) in parts {
                let named = |part| GrammarWithLexer { name: Some(name.clone()), ..part };
                whole.grammars.extend(top_level(part).grammars.into_iter().map(named));
            }
            whole
        }
    }
}

/// `oneOf` is taken as `anyOf`, as every peer does: a parser that reads from left to right cannot count matches. White space is
/// bounded, for a small model likes to write nothing else. A schema's own `x-guidance` goes before both.
pub fn bounded_schema(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return schema.clone() };
    let own = schema.get("x-guidance").and_then(Value::as_object);
    let mut options = Map::from_iter([("coerce_one_of".to_owned(), json!(true))]);
    // A pattern would win over the word that there is to be none.
    if !own.is_some_and(|own| own.contains_key("whitespace_flexible")) {
        options.insert("whitespace_pattern".to_owned(), json!(r"[ \n\t]{0,12}"));
    }
    options.extend(own.cloned().unwrap_or_default());
    let mut schema = schema.clone();
    schema.insert("x-guidance".to_owned(), Value::Object(options));
    Value::Object(schema)
}

fn parser(factory: &ParserFactory, grammar: TopLevelGrammar) -> Result<Matcher, String> {
    let mut matcher = Matcher::new(factory.create_parser(grammar));
    if let Some(problem) = matcher.get_error() {
        return Err(short(&problem));
    }
    // A grammar that allows nothing is found here and not with the first token.
    match matcher.compute_mask_or_eos() {
        Ok(_) => Ok(matcher),
        Err(problem) => Err(short(&problem.to_string())),
    }
}

/// The deepest part that fails by itself, the definitions of the whole at hand.
fn smallest_fault(factory: &ParserFactory, schema: &Value, problem: String) -> (String, String) {
    let definitions: Vec<(&str, &Value)> =
        ["$defs", "definitions"].into_iter().filter_map(|name| Some((name, schema.get(name)?))).collect();
    let (mut path, mut at, mut problem, mut tried) = (String::new(), schema, problem, 0);
    let started = Instant::now();
    'deeper: loop {
        for (step, part) in parts(at) {
            tried += 1;
            if tried > PARTS_MAX || started.elapsed() > SEARCH_MAX {
                return (path, problem);
            }
            let mut alone = part.clone();
            if let Value::Object(alone) = &mut alone {
                for (name, value) in &definitions {
                    alone.entry((*name).to_owned()).or_insert_with(|| (*value).clone());
                }
            }
            if let Err(found) = parser(factory, TopLevelGrammar::from_json_schema(bounded_schema(&alone))) {
                path.push_str(&step);
                (at, problem) = (part, found);
                continue 'deeper;
            }
        }
        return (path, problem);
    }
}

/// The schemas right below one, with their pointers from it.
fn parts(schema: &Value) -> Vec<(String, &Value)> {
    const OF_MANY: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
    const OF_ONE: [&str; 3] = ["items", "additionalProperties", "not"];
    const OF_LIST: [&str; 4] = ["anyOf", "oneOf", "allOf", "prefixItems"];
    let Value::Object(schema) = schema else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in schema {
        let key = key.as_str();
        match value {
            Value::Object(many) if OF_MANY.contains(&key) => {
                let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
                found.extend(many.iter().map(|(name, part)| (format!("/{key}/{}", escaped(name)), part)));
            }
            Value::Array(list) if OF_LIST.contains(&key) => {
                found.extend(list.iter().enumerate().map(|(at, part)| (format!("/{key}/{at}"), part)));
            }
            _ if OF_ONE.contains(&key) => found.push((format!("/{key}"), value)),
            _ => {}
        }
    }
    found
}

/// One line that fits an error message.
fn short(problem: &str) -> String {
    const CHARS_MAX: usize = 300;
    let line: Vec<&str> = problem.split_whitespace().collect();
    let line = line.join(" ");
    match line.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}..", &line[..at]),
        None => line,
    }
}
