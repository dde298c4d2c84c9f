//! An engine that stands still between two steps, and the change of its weights.
//!
//! It stands still while it is paused, and while its weights are lent away; the first ends with a command, the second when
//! weights come back. Requests are taken meanwhile, and wait.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use crate::model::Decoder;

use super::super::handle::{EngineError, PauseMode};
use super::{StepModel, Worker};

#[derive(Debug, Default)]
pub(super) struct Hold {
    paused: bool,
    lent: bool,
}

impl Hold {
    pub fn stands_still(&self) -> bool {
        self.paused || self.lent
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
        self.scheduler.rename_waiting(|ticket| requests.get(&ticket).map(|of| of.cache_root(version)));
        Ok(version)
    }

    pub(super) fn pause(&mut self, mode: PauseMode) {
        self.set_paused(true);
        if mode == PauseMode::Abort {
            self.abort_all();
        }
    }

    pub(super) fn resume(&mut self) {
        self.set_paused(false);
    }

    /// Before the end nothing may stand still; what cannot be computed any more fails.
    pub(super) fn let_go(&mut self) {
        self.set_paused(false);
        if self.hold.lent {
            self.fail_all("the engine was shut down while its weights were lent away");
        }
    }

    fn set_paused(&mut self, paused: bool) {
        self.hold.paused = paused;
        self.shared.stats.paused.store(paused, Release);
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
