//! Which failures of a request pass, and how long they are waited out.

use std::time::{Duration, Instant};

use crate::eval::generator::GeneratorError;

/// Why one attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Worth another attempt, after the wait the server asked for.
    Passing {
        message: String,
        wait: Option<Duration>,
    },
    /// The server is well and has too much to do (429): no attempt is used up by asking too early.
    Busy {
        message: String,
        wait: Option<Duration>,
    },
    /// This request is at fault, in the named parameter where the server says which.
    Refused {
        message: String,
        parameter: Option<String>,
    },
    Final(GeneratorError),
}

/// How much is borne before a run stops.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub attempts: u32,
    /// The first wait; it doubles, up to a minute. A server may ask for more, not for less.
    pub backoff: Duration,
    /// Longest time of nothing but busy answers.
    pub busy: Duration,
}

const BACKOFF_MAX: Duration = Duration::from_mins(1);

impl Patience {
    /// Try until it works, cannot work, or has been tried often enough.
    pub async fn with<T, F>(self, attempt: impl Fn() -> F) -> Result<T, GeneratorError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let unavailable = |message: String| Err(GeneratorError::Unavailable { message });
        let (mut tried, mut busy_since, mut backoff) = (0, None, self.backoff);
        loop {
            let (message, asked) = match attempt().await {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Refused { message, .. }) => return Err(GeneratorError::Refused { message }),
                Err(Failure::Busy { message, wait }) => {
                    let busy = busy_since.get_or_insert_with(Instant::now).elapsed();
                    if busy >= self.busy {
                        return unavailable(format!("{message} (busy for {} s)", busy.as_secs()));
                    }
                    (message, wait)
                }
                Err(Failure::Passing { message, wait }) => {
                    busy_since = None;
                    tried += 1;
                    if tried >= self.attempts {
                        return unavailable(format!("{message} ({tried} attempts)"));
                    }
                    (message, wait)
                }
            };
            let wait = asked.map_or(backoff, |asked| asked.max(backoff));
            tracing::warn!(%message, ?wait, "retrying");
            tokio::time::sleep(wait).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}
