//! How far a run is: a bar with tokens a second and the time left on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::eval::{Plan, Progress, SampleRecord};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

pub(super) struct ProgressLine {
    bar: ProgressBar,
    tokens: AtomicU64,
    /// Samples of an earlier run, which say nothing about this one's pace.
    resumed: AtomicU64,
    started: Instant,
    /// When the last line was written; `None` on a terminal.
    last_line: Option<Mutex<Instant>>,
}

impl ProgressLine {
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} samples  {msg}  {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let target =
            if terminal { ProgressDrawTarget::stderr_with_hz(4) } else { ProgressDrawTarget::hidden() };
        let started = Instant::now();
        Self {
            bar: ProgressBar::with_draw_target(Some(0), target).with_style(style),
            tokens: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            started,
            last_line: (!terminal).then(|| Mutex::new(started)),
        }
    }

    pub fn finish(&self) {
        let (tokens, seconds) = (self.tokens.load(Ordering::Relaxed), self.started.elapsed().as_secs_f64());
        self.bar.finish_and_clear();
        if tokens > 0 {
            eprintln!("{tokens} tokens in {seconds:.1} s, {:.1} tokens/s", tokens as f64 / seconds);
        }
    }

    fn speed(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-3);
        format!("{:.0} tokens/s", self.tokens.load(Ordering::Relaxed) as f64 / seconds)
    }

    fn line_if_due(&self) {
        let Some(last) = &self.last_line else { return };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
            let fresh = done - self.resumed.load(Ordering::Relaxed).min(done);
            // The first sample is the first thing known about the pace.
            let left = self.started.elapsed().as_secs() * total.saturating_sub(done);
            let left =
                left.checked_div(fresh).map(|seconds| format!(", {seconds} s left")).unwrap_or_default();
            eprintln!("{done}/{total} samples, {}{left}", self.speed());
        }
    }
}

impl Progress for ProgressLine {
    fn planned(&self, plan: Plan) {
        self.bar.set_length(plan.total as u64);
        self.bar.set_position(plan.done as u64);
        self.resumed.store(plan.done as u64, Ordering::Relaxed);
        self.bar.reset_eta();
    }

    fn tokens(&self, count: u64) {
        self.tokens.fetch_add(count, Ordering::Relaxed);
        self.bar.set_message(self.speed());
        self.line_if_due();
    }

    fn sample(&self, _record: &SampleRecord) {
        self.bar.inc(1);
        self.line_if_due();
    }
}
