//! What each key has used, for /metrics. The label is a key's name as its file has it: as many series as there are keys, and
//! those of a key go with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::keys::HeldKey;
use super::rate_limit::KeyUsage;

const KEY: &str = "api_key";

type Counter = (&'static str, &'static str, fn(&KeyUsage) -> u64);

const COUNTERS: [Counter; 3] = [
    ("api_key_requests_total", "Requests admitted under a key.", |usage| {
        usage.requests.load(Ordering::Relaxed)
    }),
    ("api_key_tokens_total", "Prompt and completion tokens used under a key.", |usage| {
        usage.tokens.load(Ordering::Relaxed)
    }),
    (
        "api_key_refused_total",
        "Requests refused under a key: by its limits, its scopes, its models, or after its end.",
        |usage| usage.refused.load(Ordering::Relaxed),
    ),
];

/// # Errors
/// A prefix that makes no name.
pub fn key_series(prefix: &str, keys: &[Arc<HeldKey>]) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let registry = Registry::new();
    // Keys of the settings share a name, and what is counted under it.
    let usages: BTreeMap<&str, &KeyUsage> =
        keys.iter().map(|held| (held.key.name.as_str(), &*held.usage)).collect();
    for (name, help, read) in COUNTERS {
        let vector = IntCounterVec::new(Opts::new(format!("{prefix}{name}"), help), &[KEY])?;
        registry.register(Box::new(vector.clone()))?;
        for (key, usage) in &usages {
            vector.with_label_values(&[*key]).inc_by(read(usage));
        }
    }
    let running = Opts::new(format!("{prefix}api_key_requests_running"), "Requests under way under a key.");
    let running = IntGaugeVec::new(running, &[KEY])?;
    registry.register(Box::new(running.clone()))?;
    for (key, usage) in &usages {
        running.with_label_values(&[*key]).set(usage.running() as i64);
    }
    Ok(registry.gather())
}
