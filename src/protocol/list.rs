//! A page of a list, as OpenAI's API has all of its lists.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// Always `list`.
    pub object: String,
    pub data: Vec<T>,
    pub first_id: Option<String>,
    pub last_id: Option<String>,
    /// Whether a page follows: ask with `after` = `last_id`.
    pub has_more: bool,
}

impl<T> List<T> {
    pub fn of(data: Vec<T>, has_more: bool, id: impl Fn(&T) -> &String) -> Self {
        Self {
            object: "list".to_owned(),
            first_id: data.first().map(|item| id(item).clone()),
            last_id: data.last().map(|item| id(item).clone()),
            has_more,
            data,
        }
    }
}
