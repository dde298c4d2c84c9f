//! Lists: what stands between commas, semicolons, line breaks, "and" and "or" outside all brackets.

use super::super::budget::{Budget, Obstacle};
use super::super::number::Convention;
use super::clean::{SET_CLOSE, SET_OPEN};
use super::expression::{Expression, Fence};
use super::item::{closing, item};
use super::token::{Kind, Token};

const ALL_OF: &[&str] = &[
    "and",
    "und",
    "et",
    "и",
    "та",
    "和",
    "と",
    "および",
    "และ",
    "na",
    "এবং",
    "మరియు",
    "और",
    "ve",
    "dan",
    "và",
    "y",
    "e",
    "i",
];
const ONE_OF: &[&str] = &[
    "or",
    "oder",
    "ou",
    "или",
    "або",
    "或",
    "または",
    "หรือ",
    "au",
    "বা",
    "లేదా",
    "या",
    "veya",
    "atau",
    "hoặc",
    "o",
    "u",
];

/// Where parsing is and how deep.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub convention: Convention,
    pub budget: &'a mut Budget,
    pub depth: usize,
}

impl Context<'_> {
    pub fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Obstacle>) -> Result<T, Obstacle> {
        if self.depth >= super::DEPTH_MAX {
            return Err(Obstacle::TooLarge);
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }
}

pub(super) fn whole(
    tokens: &[Token],
    convention: Convention,
    budget: &mut Budget,
) -> Result<Expression, Obstacle> {
    let mut tokens = tokens;
    // Braces around everything say nothing, however many.
    while tokens.first().is_some_and(|token| token.is('{')) && closing(tokens, 0) == Some(tokens.len() - 1) {
        budget.spend(tokens.len() / 16)?;
        tokens = &tokens[1..tokens.len() - 1];
    }
    let mut context = Context { convention, budget, depth: 0 };
    let (fence, mut items) = items(tokens, &mut context)?;
    match items.len() {
        0 => Err(Obstacle::Unread),
        1 => Ok(items.remove(0)),
        _ => Ok(Expression::Fenced(fence, items)),
    }
}

/// The items of a list without its brackets.
pub(super) fn items(tokens: &[Token], context: &mut Context) -> Result<(Fence, Vec<Expression>), Obstacle> {
    context.budget.spend(tokens.len())?;
    let one_of = tokens.iter().any(|token| is_word(token, ONE_OF));
    let separates = |token: &Token| {
        matches!(token.kind, Kind::Symbol(',' | ';') | Kind::Row)
            || is_word(token, ALL_OF)
            || is_word(token, ONE_OF)
    };
    let mut parsed = Vec::new();
    for part in split(tokens, separates)? {
        if !part.is_empty() {
            parsed.push(context.deeper(|context| item(part, context))?);
        }
    }
    Ok((if one_of { Fence::Choice } else { Fence::Bare }, parsed))
}

fn is_word(token: &Token, list: &[&str]) -> bool {
    match &token.kind {
        // A bare letter is a variable.
        Kind::Letters(word) => word.len() > 1 && list.contains(&word.as_str()),
        Kind::Words(word) => {
            let word = word.trim_matches(|c: char| !c.is_alphabetic()).to_lowercase();
            list.contains(&word.as_str())
        }
        _ => false,
    }
}

/// 1 for what opens a bracket, -1 for what closes one.
pub(super) fn bracket(token: &Token) -> i32 {
    match &token.kind {
        Kind::Symbol('(' | '[' | '{' | SET_OPEN) | Kind::Begin(_) => 1,
        Kind::Symbol(')' | ']' | '}' | SET_CLOSE) | Kind::End(_) => -1,
        Kind::Command(name) => match name.as_str() {
            "langle" | "lfloor" | "lceil" => 1,
            "rangle" | "rfloor" | "rceil" => -1,
            _ => 0,
        },
        _ => 0,
    }
}

/// The parts between separators that stand outside all brackets.
pub(super) fn split(tokens: &[Token], separates: impl Fn(&Token) -> bool) -> Result<Vec<&[Token]>, Obstacle> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        depth += bracket(token);
        if depth < 0 {
            return outward_interval(tokens);
        }
        if depth == 0 && separates(token) {
            parts.push(&tokens[start..at]);
            start = at + 1;
        }
    }
    if depth != 0 {
        return outward_interval(tokens);
    }
    parts.push(&tokens[start..]);
    Ok(parts)
}

/// `]1, 2[` is one item although its brackets do not balance.
fn outward_interval(tokens: &[Token]) -> Result<Vec<&[Token]>, Obstacle> {
    if is_outward(tokens) { Ok(vec![tokens]) } else { Err(Obstacle::Unread) }
}

/// Whether it is `]a, b[`, `[a, b[` or `]a, b]` and has no other square brackets.
pub(super) fn is_outward(tokens: &[Token]) -> bool {
    let [first, inner @ .., last] = tokens else { return false };
    let square = |token: &Token| token.is('[') || token.is(']');
    square(first) && square(last) && !(first.is('[') && last.is(']')) && !inner.iter().any(square)
}
