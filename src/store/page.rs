//! Lists a page at a time: what follows a key, never a count of rows to skip.

/// Which page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The id that the page begins after; `None`: at the start.
    pub after: Option<String>,
    pub limit: usize,
    pub order: Order,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    #[default]
    Ascending,
    Descending,
}

/// A page, and whether more follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Paged<T> {
    pub rows: Vec<T>,
    pub has_more: bool,
}

impl<T> Paged<T> {
    /// Of rows read with a limit one higher than the page's.
    pub(super) fn of(mut rows: Vec<T>, limit: usize) -> Self {
        let limit = limit.clamp(1, ROWS_MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        Self { rows, has_more }
    }
}

/// Rows of one page at most; a list that needs more asks again.
pub(super) const ROWS_MAX: usize = 1000;

/// A limit for SQL that finds out whether more follows.
pub(super) fn one_more(limit: usize) -> i64 {
    limit.clamp(1, ROWS_MAX) as i64 + 1
}

/// The place in a list by age before its first row.
pub(super) fn before_all(order: Order) -> (i64, String) {
    match order {
        Order::Ascending => (i64::MIN, String::new()),
        Order::Descending => (i64::MAX, String::new()),
    }
}
