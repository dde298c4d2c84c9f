//! Matrices and determinants.

use super::super::budget::Obstacle;
use super::expression::Expression;
use super::formula::Parser;
use super::item::{closing, item};
use super::list::split;
use super::token::Kind;

impl Parser<'_, '_, '_> {
    pub(super) fn matrix(&mut self, environment: &str) -> Result<Expression, Obstacle> {
        const KINDS: &[&str] = &[
            "pmatrix",
            "bmatrix",
            "matrix",
            "smallmatrix",
            "array",
            "psmallmatrix",
            "bsmallmatrix",
            "vmatrix",
        ];
        let close = closing(self.tokens, self.at).ok_or(Obstacle::Unread)?;
        if !KINDS.contains(&environment) {
            return Err(Obstacle::Unread);
        }
        let mut body = &self.tokens[self.at + 1..close];
        if environment == "array" {
            let columns = closing(body, 0).filter(|_| body[0].is('{')).ok_or(Obstacle::Unread)?;
            body = &body[columns + 1..];
        }
        self.at = close + 1;
        let mut rows = Vec::new();
        for row in split(body, |token| token.kind == Kind::Row)? {
            if row.is_empty() {
                continue;
            }
            let cells = split(row, |token| token.is('&'))?;
            let cells = cells.iter().map(|cell| self.context.deeper(|context| item(cell, context)));
            rows.push(cells.collect::<Result<Vec<_>, _>>()?);
        }
        let width = rows.first().map_or(0, Vec::len);
        let even = width > 0 && rows.iter().all(|row| row.len() == width);
        match (even, environment) {
            (false, _) => Err(Obstacle::Unread),
            (true, "vmatrix") => Ok(Expression::Determinant(rows)),
            (true, _) => Ok(Expression::Matrix(rows)),
        }
    }
}
