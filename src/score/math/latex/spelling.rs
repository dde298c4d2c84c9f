//! Runs of letters in formulas: names of functions and constants, or variables side by side.

use super::super::budget::Obstacle;
use super::clean::FUNCTIONS;
use super::token::{Kind, Token};

/// Runs of letters become names of functions and constants, or single letters.
pub(super) fn spelled(tokens: &[Token]) -> Result<Vec<Token>, Obstacle> {
    let mut out = Vec::with_capacity(tokens.len());
    for token in tokens {
        let Kind::Letters(run) = &token.kind else {
            out.push(token.clone());
            continue;
        };
        let mut push = |kind: Kind, first: bool| out.push(Token { kind, spaced: first && token.spaced });
        let known = match run.as_str() {
            "pi" => Some("pi"),
            "sqrt" => Some("radical"),
            "cbrt" => Some("cuberoot"),
            "inf" | "infinity" | "infty" | "oo" => Some("infty"),
            run => FUNCTIONS.iter().find(|name| **name == run).copied(),
        };
        if let Some(name) = known {
            push(Kind::Command(name.to_owned()), true);
            continue;
        }
        // "sinx" and "2pi" are one word to some writers.
        let prefix = FUNCTIONS.iter().chain(&["pi"]).find(|name| name.len() >= 2 && run.starts_with(**name));
        let letters = match prefix.map(|name| (name, &run[name.len()..])) {
            Some((name, rest)) if rest.len() == 1 && run.len() > 3 => {
                push(Kind::Command((*name).to_owned()), true);
                push(Kind::Letters(rest.to_owned()), false);
                continue;
            }
            _ => run,
        };
        if letters.chars().count() > 3 {
            return Err(Obstacle::Unread);
        }
        for (i, letter) in letters.chars().enumerate() {
            push(Kind::Letters(letter.to_string()), i == 0);
        }
    }
    Ok(out)
}
