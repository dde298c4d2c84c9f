//! Reads the keys file again when it changes, so that keys are made and taken away without a restart.
//!
//! By looking at it every second, which works on every file system, and on SIGHUP. A file that was changed is read when a second
//! look finds it as the first did: one that is written in place is empty, or cut between two tables, until its writer is done.

use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::file::{Version, version};
use super::{KeyRing, is_open_to_others};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Goes on for as long as it is polled; without a file it sleeps.
pub async fn watch(ring: &KeyRing) {
    let Some(path) = ring.file() else { return std::future::pending().await };
    warn_if_open(path);
    let mut hangup = signal(SignalKind::hangup())
        .inspect_err(|error| tracing::warn!(%error, "SIGHUP is not listened to"))
        .ok();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The ring may have read an older content than the entry shows now: it is read again in any case.
    let mut looks = Looks::default();
    loop {
        let is_told = tokio::select! {
            _ = ticks.tick() => false,
            () = hung_up(&mut hangup) => true,
        };
        // Of no file: as no file has it.
        let version = tokio::fs::metadata(path).await.map(|metadata| version(&metadata)).unwrap_or_default();
        let is_first = looks.read.is_none();
        if !looks.is_due(version, is_told) {
            continue;
        }
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

/// What was seen of the file, if there was a look yet.
#[derive(Default)]
struct Looks {
    last: Option<Version>,
    read: Option<Version>,
}

impl Looks {
    /// Whether to read it now. Who says that it is to be read has written it.
    fn is_due(&mut self, now: Version, is_told: bool) -> bool {
        let rests = self.last.replace(now) == Some(now);
        let is_due = is_told || (rests && self.read != Some(now));
        if is_due {
            self.read = Some(now);
        }
        is_due
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_being_written_is_left_alone_until_it_rests() {
        let of_size = |bytes: u64| (1, 2, 3, 4, bytes);
        let mut looks = Looks::default();
        let mut check = |version: Version, is_told: bool, expected: bool| {
            assert_eq!(looks.is_due(version, is_told), expected, "{version:?}");
        };
        check(of_size(10), false, false);
        check(of_size(10), false, true);
        check(of_size(10), false, false);
        // Written in place: empty, half, whole.
        check(of_size(0), false, false);
        check(of_size(5), false, false);
        check(of_size(12), false, false);
        check(of_size(12), false, true);
        check(of_size(12), false, false);
        check(of_size(13), true, true);
        check(of_size(13), false, false);
        // Gone and there again, as it was.
        check(Version::default(), false, false);
        check(of_size(13), false, false);
        check(of_size(13), false, false);
    }
}
