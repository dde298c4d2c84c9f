//! Reads the keys file again when it changes, so that keys are made and taken away without a restart.
//!
//! By looking at it every second, which works on every file system, and on SIGHUP.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::{KeyRing, is_open_to_others};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Which content a file has, as far as its entry tells.
type Version = (u64, i64, i64, i64, u64);

/// Goes on for as long as it is polled; without a file it sleeps.
pub async fn watch(ring: &KeyRing) {
    let Some(path) = ring.file() else { return std::future::pending().await };
    warn_if_open(path);
    let mut hangup = signal(SignalKind::hangup())
        .inspect_err(|error| tracing::warn!(%error, "SIGHUP is not listened to"))
        .ok();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The ring may have read an older content than the entry shows now: the first look reads it again.
    let mut seen = None;
    loop {
        let is_told = tokio::select! {
            _ = ticks.tick() => false,
            () = hung_up(&mut hangup) => true,
        };
        let version = tokio::fs::metadata(path).await.ok().as_ref().map(version);
        if !is_told && seen == Some(version) {
            continue;
        }
        let is_first = seen.replace(version).is_none();
        match ring.reload() {
            Ok(_) if is_first => {}
            Ok(keys) => {
                tracing::info!(keys, path = %path.display(), "the keys file was read again");
                warn_if_open(path);
            }
            Err(error) => tracing::error!(%error, "the keys file is not taken; the old keys stay"),
        }
    }
}

fn version(metadata: &Metadata) -> Version {
    (metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.ctime_nsec(), metadata.len())
}

async fn hung_up(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

fn warn_if_open(path: &Path) {
    if is_open_to_others(path) {
        tracing::warn!(
            path = %path.display(),
            "the keys file may be read or written by others than its owner: chmod 600"
        );
    }
}
