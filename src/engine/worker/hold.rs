//! An engine that stands still between two steps, and the change of its weights.
//!
//! It stands still while it is paused, while updates of its weights have asked it to, and while its weights are lent away.
//! Each of the three ends by itself: a pause with a command, an update with its own, a loan when weights come back. Requests are taken meanwhile, and wait; so they do while an engine that is to be paused comes to the end of
//! what it has.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use crate::model::Decoder;

use tokio::sync::oneshot::Sender;

use super::super::handle::{EngineError, PauseMode};
use super::super::request::Fault;
use super::{Arrival, StepModel, Worker};

#[derive(Default)]
pub(super) struct Hold {
    paused: bool,
    /// Updates that are under way and want nothing computed meanwhile.
    updates: usize,
    lent: bool,
    /// Who waits for the end of what there is.
    closing: Vec<Sender<()>>,
    /// What came since.
    arrivals: Vec<Arrival>,
}

impl Hold {
    pub fn stands_still(&self) -> bool {
        self.paused || self.updates > 0 || self.lent
    }
}

impl<M: StepModel> Worker<M> {
    /// The version that is computed with from now on.
    pub(super) fn swap_weights(&mut self, weights: Option<Arc<Decoder>>) -> Result<u64, EngineError> {
        let lent = weights.is_none();
        self.model.swap_weights(weights)?;
        self.hold.lent = lent;
        let version = &self.shared.stats.weight_version;
        if lent {
            return Ok(version.load(Relaxed));
        }
        let version = version.fetch_add(1, Relaxed) + 1;
        let requests = &self.requests;
        self.scheduler.rename(|ticket| requests.get(&ticket).map(|of| of.cache_root(version)));
        Ok(version)
    }

    pub(super) fn pause(&mut self, mode: PauseMode, done: Sender<()>) {
        self.hold.closing.push(done);
        match mode {
            PauseMode::Wait => self.close_if_idle(),
            PauseMode::Keep => self.set_paused(true),
            PauseMode::Abort => {
                self.set_paused(true);
                self.abort_all();
            }
        }
    }

    pub(super) fn resume(&mut self) {
        self.set_paused(false);
    }

    /// Ends what runs and waits, and stands still until the update ends. Whether it was paused.
    pub(super) fn begin_update(&mut self) -> bool {
        self.hold.updates += 1;
        self.abort_all();
        self.report_hold();
        self.hold.paused
    }

    pub(super) fn end_update(&mut self) {
        self.hold.updates = self.hold.updates.saturating_sub(1);
        self.report_hold();
    }

    pub(super) fn arrive(&mut self, arrival: Arrival) {
        if self.hold.closing.is_empty() {
            self.add(arrival);
        } else {
            self.hold.arrivals.push(arrival);
        }
    }

    /// Pauses if that was asked for and nothing is left to do.
    pub(super) fn close_if_idle(&mut self) {
        if !self.hold.closing.is_empty() && (self.hold.paused || self.scheduler.is_idle()) {
            self.set_paused(true);
        }
    }

    /// Before the end nothing may stand still; what cannot be computed any more fails.
    pub(super) fn let_go(&mut self) {
        self.hold.updates = 0;
        self.set_paused(false);
        if self.hold.lent {
            self.fail_all("the engine was shut down while its weights were lent away", Fault::Engine);
        }
    }

    /// Also tells whoever waits for it.
    fn set_paused(&mut self, paused: bool) {
        self.hold.paused = paused;
        self.report_hold();
        for arrival in std::mem::take(&mut self.hold.arrivals) {
            self.add(arrival);
        }
        for done in std::mem::take(&mut self.hold.closing) {
            // The asker may have stopped waiting.
            let _ = done.send(());
        }
    }

    /// Requests that wait for a pause, and whose clients are gone.
    pub(super) fn drop_unwanted_arrivals(&mut self) {
        let before = self.hold.arrivals.len();
        self.hold.arrivals.retain(|arrival| !arrival.events.is_closed());
        let gone = before - self.hold.arrivals.len();
        self.shared.stats.requests_waiting.fetch_sub(gone, Relaxed);
    }

    fn report_hold(&self) {
        self.shared.stats.paused.store(self.hold.paused || self.hold.updates > 0, Release);
    }

    /// Every choice ends with the tokens that it has.
    fn abort_all(&mut self) {
        let choices: Vec<(u64, u32)> =
            self.requests.iter().map(|(ticket, request)| (*ticket, request.sampling.n)).collect();
        for (ticket, n) in choices {
            if let Some(request) = self.requests.get_mut(&ticket) {
                // What never ran came out of the queue all the same.
                request.announce(0);
            }
            for choice in 0..n {
                self.finish_choice(ticket, choice);
            }
        }
    }
}
