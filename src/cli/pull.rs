//! Progress of a pull, a bar a file, on stderr.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use crate::registry::PullEvent;

/// Shows nothing until the first file.
pub(super) struct PullBars(Mutex<Option<ProgressBar>>);

impl PullBars {
    pub fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub fn show(&self, event: PullEvent) {
        let mut bar = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            PullEvent::File { name, bytes } => match &*bar {
                // It is said again when its transfer begins, and when it begins anew.
                Some(bar) if bar.message() == name => bar.set_position(0),
                _ => {
                    if let Some(done) = bar.replace(file_bar(name, bytes)) {
                        done.finish();
                    }
                }
            },
            PullEvent::Bytes(bytes) => {
                if let Some(bar) = &*bar {
                    bar.inc(bytes);
                }
            }
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish();
        }
    }
}

fn file_bar(name: String, bytes: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg:32} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style).with_message(name)
}
