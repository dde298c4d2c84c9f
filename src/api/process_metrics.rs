//! The memory of this process, for /metrics.

use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Opts, Registry};

use crate::engine::{available_memory, process_memory};

/// Without a series that the system does not tell.
///
/// # Errors
/// A prefix that makes no name.
pub fn memory_series(prefix: &str) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let registry = Registry::new();
    let series = [
        ("resident_memory_bytes", "Memory of this process, mapped files included.", process_memory("VmRSS:")),
        ("available_memory_bytes", "Memory that this process may still take.", available_memory()),
    ];
    for (name, help, bytes) in series {
        let Some(bytes) = bytes else { continue };
        let gauge = IntGauge::with_opts(Opts::new(format!("{prefix}{name}"), help))?;
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        registry.register(Box::new(gauge))?;
    }
    Ok(registry.gather())
}
