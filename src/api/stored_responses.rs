//! Responses that can be read again and gone on with: in memory, for an hour, up to a bound.

use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::protocol::ChatMessage;
use crate::protocol::responses::Response;

const LIFETIME: Duration = Duration::from_hours(1);
/// Of all stored conversations together, whosever they are.
const BYTES_MAX: u64 = 64 << 20;

/// A response and the conversation that it ended, without its instructions.
#[derive(Debug)]
pub struct StoredResponse {
    pub response: Response,
    /// By its identity, the key that it was asked for with, whose alone it is.
    pub owner: Option<String>,
    pub conversation: Vec<ChatMessage>,
}

pub struct StoredResponses(Cache<String, Arc<StoredResponse>>);

impl StoredResponses {
    pub fn new() -> Self {
        let cache = Cache::builder()
            // What came last is what is gone on with.
            .eviction_policy(EvictionPolicy::lru())
            .max_capacity(BYTES_MAX)
            .weigher(|id: &String, stored: &Arc<StoredResponse>| weight(id, stored))
            .time_to_live(LIFETIME);
        Self(cache.build())
    }

    pub fn put(&self, stored: StoredResponse) {
        self.0.insert(stored.response.id.clone(), Arc::new(stored));
    }

    pub fn get(&self, id: &str, owner: Option<&str>) -> Option<Arc<StoredResponse>> {
        self.0.get(id).filter(|stored| stored.owner.as_deref() == owner)
    }

    /// Whether it was there.
    pub fn remove(&self, id: &str, owner: Option<&str>) -> bool {
        self.get(id, owner).is_some() && self.0.remove(id).is_some()
    }
}

/// Bytes, by the JSON of what is kept.
fn weight(id: &str, stored: &StoredResponse) -> u32 {
    let texts = serde_json::to_vec(&stored.conversation).map_or(0, |json| json.len());
    let response = serde_json::to_vec(&stored.response).map_or(0, |json| json.len());
    u32::try_from(id.len() + texts + response).unwrap_or(u32::MAX)
}
