//! Sets of reals as unions of intervals, kept sorted and apart, so that equal sets are written alike.

use std::cmp::Ordering;

use super::super::budget::{Budget, Obstacle};
use super::super::exact::{self, Quotient};
use super::super::latex::Fence;
use super::value::Value;

const PIECES_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum End {
    MinusInfinity,
    At(Quotient),
    PlusInfinity,
}

/// An interval, or a single point where both ends are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Piece {
    pub low: End,
    pub low_closed: bool,
    pub high: End,
    pub high_closed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct RealSet(pub Vec<Piece>);

impl RealSet {
    pub fn empty() -> Self {
        Self(Vec::new())
    }

    pub fn all() -> Self {
        Self(vec![Piece {
            low: End::MinusInfinity,
            low_closed: false,
            high: End::PlusInfinity,
            high_closed: false,
        }])
    }

    /// The set that a value is, if it can be one: intervals, finite sets, and sets proper.
    pub fn of(value: &Value, budget: &mut Budget) -> Result<Option<Self>, Obstacle> {
        match value {
            Value::Set(set) => Ok(Some(set.clone())),
            Value::Sequence(Fence::Bracket { low_closed, high_closed }, ends) => match ends.as_slice() {
                [low, high] => interval(low, *low_closed, high, *high_closed, budget),
                _ => Ok(None),
            },
            Value::Sequence(Fence::Curly | Fence::Bare | Fence::Choice, items) => {
                let mut set = Self::empty();
                for item in items {
                    let Some(point) = constant(item) else { return Ok(None) };
                    set = set.union(&Self::point(point), budget)?;
                }
                Ok(Some(set))
            }
            _ => Ok(None),
        }
    }

    pub fn point(value: Quotient) -> Self {
        let end = End::At(value);
        Self(vec![Piece { low: end.clone(), low_closed: true, high: end, high_closed: true }])
    }

    /// Values of x with `x < bound` or, closed, `x <= bound`.
    pub fn below(bound: Quotient, closed: bool) -> Self {
        let high = End::At(bound);
        Self(vec![Piece { low: End::MinusInfinity, low_closed: false, high, high_closed: closed }])
    }

    pub fn complement(&self) -> Self {
        let mut out = Vec::new();
        let (mut low, mut low_closed) = (End::MinusInfinity, false);
        for piece in &self.0 {
            let gap = Piece { low, low_closed, high: piece.low.clone(), high_closed: !piece.low_closed };
            if gap.high != End::MinusInfinity {
                out.push(gap);
            }
            (low, low_closed) = (piece.high.clone(), !piece.high_closed);
        }
        if low != End::PlusInfinity {
            out.push(Piece { low, low_closed, high: End::PlusInfinity, high_closed: false });
        }
        Self(out)
    }

    pub fn union(&self, other: &Self, budget: &mut Budget) -> Result<Self, Obstacle> {
        let mut pieces = self.0.clone();
        for piece in &other.0 {
            let mut at = 0;
            while at < pieces.len() && starts_before(&pieces[at], piece, budget)? {
                at += 1;
            }
            pieces.insert(at, piece.clone());
            if pieces.len() > PIECES_MAX {
                return Err(Obstacle::TooLarge);
            }
        }
        let mut out: Vec<Piece> = Vec::new();
        for piece in pieces {
            match out.last_mut() {
                Some(last) if touches(last, &piece, budget)? => {
                    let longer = match compare(&last.high, &piece.high, budget)? {
                        Ordering::Less => true,
                        Ordering::Equal => piece.high_closed,
                        Ordering::Greater => false,
                    };
                    if longer {
                        last.high = piece.high;
                        last.high_closed = piece.high_closed;
                    }
                }
                _ => out.push(piece),
            }
        }
        Ok(Self(out))
    }

    pub fn intersection(&self, other: &Self, budget: &mut Budget) -> Result<Self, Obstacle> {
        Ok(self.complement().union(&other.complement(), budget)?.complement())
    }

    /// Whether two sets are the same; `None` where the order of two ends is not known.
    pub fn same(&self, other: &Self, budget: &mut Budget) -> Result<bool, Obstacle> {
        if self.0.len() != other.0.len() {
            return Ok(false);
        }
        for (a, b) in self.0.iter().zip(&other.0) {
            let ends = a.low_closed == b.low_closed && a.high_closed == b.high_closed;
            if !ends
                || compare(&a.low, &b.low, budget)? != Ordering::Equal
                || compare(&a.high, &b.high, budget)? != Ordering::Equal
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn constant(value: &Value) -> Option<Quotient> {
    value.scalar().filter(|scalar| scalar.value.is_constant()).map(|scalar| scalar.value.clone())
}

fn interval(
    low: &Value,
    low_closed: bool,
    high: &Value,
    high_closed: bool,
    budget: &mut Budget,
) -> Result<Option<RealSet>, Obstacle> {
    let end = |value: &Value| match value {
        Value::Infinite(true) => Some(End::MinusInfinity),
        Value::Infinite(false) => Some(End::PlusInfinity),
        value => constant(value).map(End::At),
    };
    let (Some(low), Some(high)) = (end(low), end(high)) else { return Ok(None) };
    let finite = |end: &End| matches!(end, End::At(_));
    // A square bracket at infinity: whether it is a slip of the pen or the extended line is not ours to say.
    if (low_closed && !finite(&low)) || (high_closed && !finite(&high)) {
        return Err(Obstacle::Undefined);
    }
    Ok(match compare(&low, &high, budget)? {
        Ordering::Less => Some(RealSet(vec![Piece { low, low_closed, high, high_closed }])),
        Ordering::Equal if low_closed && high_closed && finite(&low) => {
            Some(RealSet(vec![Piece { low, low_closed, high, high_closed }]))
        }
        _ => None,
    })
}

fn compare(a: &End, b: &End, budget: &mut Budget) -> Result<Ordering, Obstacle> {
    let rank = |end: &End| match end {
        End::MinusInfinity => 0,
        End::At(_) => 1,
        End::PlusInfinity => 2,
    };
    match (a, b) {
        (End::At(a), End::At(b)) => exact::order(a, b, budget),
        (a, b) => Ok(rank(a).cmp(&rank(b))),
    }
}

fn starts_before(a: &Piece, b: &Piece, budget: &mut Budget) -> Result<bool, Obstacle> {
    Ok(match compare(&a.low, &b.low, budget)? {
        Ordering::Less => true,
        Ordering::Equal => a.low_closed >= b.low_closed,
        Ordering::Greater => false,
    })
}

/// Whether the second piece, which does not start before the first, leaves no gap after it.
fn touches(first: &Piece, second: &Piece, budget: &mut Budget) -> Result<bool, Obstacle> {
    Ok(match compare(&second.low, &first.high, budget)? {
        Ordering::Less => true,
        Ordering::Equal => second.low_closed || first.high_closed,
        Ordering::Greater => false,
    })
}
