//! The query parameters of lists, as strict as bodies: an unknown one is refused by name.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use crate::api::error::ApiError;
use crate::protocol::BadRequest;
use crate::store::{Order, Page};

/// `?name=value` pairs, in order.
pub struct Pairs(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Pairs {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(pairs) = pairs.map_err(|_| ApiError::invalid("query", "the query cannot be read"))?;
        Ok(Self(pairs))
    }
}

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 100;

impl Pairs {
    /// # Errors
    /// A parameter that is not among those, or stands twice.
    pub fn only(self, known: &[&str]) -> Result<Self, ApiError> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(BadRequest::unknown(name.clone(), name, known.iter().copied()).into());
            }
            if self.0[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(ApiError::invalid(name.clone(), format!("`{name}` is there twice")));
            }
        }
        Ok(self)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A whole number, where it is there.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let wrong = || ApiError::invalid(name, format!("`{name}` must be a whole number from 0"));
        text.parse().map(Some).map_err(|_| wrong())
    }

    pub fn limit(&self) -> Result<usize, ApiError> {
        self.limit_up_to(LIMIT_MAX)
    }

    fn limit_up_to(&self, most: usize) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(LIMIT_DEFAULT) };
        let limit = text.parse().ok().filter(|limit| (1..=most).contains(limit));
        limit.ok_or_else(|| ApiError::invalid("limit", format!("`limit` must be from 1 to {most}")))
    }

    pub fn order(&self, usual: Order) -> Result<Order, ApiError> {
        match self.get("order") {
            None => Ok(usual),
            Some("asc") => Ok(Order::Ascending),
            Some("desc") => Ok(Order::Descending),
            Some(_) => Err(ApiError::invalid("order", "`order` must be `asc` or `desc`")),
        }
    }

    /// In its usual order, unless another is asked for.
    pub fn page(&self, usual: Order) -> Result<Page, ApiError> {
        self.page_up_to(usual, LIMIT_MAX)
    }

    /// The same with another limit; what the store does not give at once follows on the next page.
    pub fn page_up_to(&self, usual: Order, most: usize) -> Result<Page, ApiError> {
        let (order, limit) = (self.order(usual)?, self.limit_up_to(most)?);
        Ok(Page { after: self.get("after").map(str::to_owned), limit, order })
    }
}
