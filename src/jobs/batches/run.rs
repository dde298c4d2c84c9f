//! One pass over a batch's file: the lines that nobody has answered yet, so many at once.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::lines::{self, Line, LineRequest, WrongLine};
use super::results::{Answered, Done};
use super::{Gauge, LineService, Stopped};

/// A server that is busy is asked again after so long, then after twice as long, up to the last.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// How long a line waits for a server that is busy, or a model that finds no room.
const PATIENCE: Duration = Duration::from_mins(30);

/// Answers that are synced to disk together.
const SYNC_EVERY: u64 = 64;

pub(super) struct Run {
    pub id: String,
    pub input: PathBuf,
    pub folder: PathBuf,
    pub endpoint: String,
    pub service: Arc<dyn LineService>,
    /// Lines in the air.
    pub at_once: usize,
    pub gauge: Arc<Gauge>,
    pub halt: Arc<AtomicBool>,
}

impl Run {
    /// Until every line is answered, or `halt`.
    ///
    /// # Errors
    /// In words: the input cannot be read, has no line, or the disk does not take an answer.
    pub async fn answer(self) -> Result<(), Stopped> {
        let (folder, input, endpoint) = (self.folder.clone(), self.input.clone(), self.endpoint.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let total = lines::read(&input, &endpoint)?.count() as u64;
            io::Result::Ok((Done::open(&folder)?, total))
        });
        let (mut done, total) = match opened.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return Err(Stopped::Locked),
            Ok(Err(error)) => return Err(format!("the batch's file cannot be read: {error}").into()),
            Err(error) => return Err(error.to_string().into()),
        };
        if total == 0 {
            return Err("the batch's file has no line".to_owned().into());
        }
        self.gauge.total.store(total, Ordering::Relaxed);
        self.gauge.completed.store(done.completed, Ordering::Relaxed);
        self.gauge.failed.store(done.failed, Ordering::Relaxed);
        let known = std::mem::take(&mut done.lines);
        let lines = lines::read(&self.input, &self.endpoint).map_err(|error| error.to_string())?;
        let mut ids = HashSet::new();
        let open = lines.filter_map(|line| {
            let line = match line {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            // Also of lines that are answered: which of two is the double must not depend on a crash.
            let line = told_apart(line, &mut ids);
            (!known.contains(&line.number)).then_some(Ok(line))
        });
        let halted = || self.halt.load(Ordering::Relaxed);
        let open = stream::iter(open).take_while(|_| std::future::ready(!halted()));
        let mut answers = open.map(|line| self.line(line)).buffer_unordered(self.at_once);
        let mut unsynced = 0;
        while let Some(answered) = answers.next().await {
            let Some(answered) =
                answered.map_err(|error| format!("the batch's file cannot be read: {error}"))?
            else {
                continue;
            };
            let full = |error: io::Error| format!("an answer could not be written: {error}");
            done.append(&answered).map_err(full)?;
            self.gauge.count(answered.ok);
            unsynced += 1;
            if unsynced == SYNC_EVERY {
                done.sync().map_err(full)?;
                unsynced = 0;
            }
        }
        Ok(done.sync().map_err(|error| format!("the answers could not be written: {error}"))?)
    }

    /// `None`: the batch stops before the line was answered.
    async fn line(&self, line: io::Result<Line>) -> io::Result<Option<Answered>> {
        let Line { number, request } = line?;
        let LineRequest { custom_id, body } = match request {
            Ok(request) => request,
            Err(wrong) => return Ok(Some(refused(&self.id, number, &wrong))),
        };
        let mut body = body;
        if self.endpoint == "/v1/responses" {
            // Nobody goes on with a line: its answer is in the file.
            body.insert("store".to_owned(), json!(false));
        }
        let body = serde_json::to_vec(&Value::Object(body))?;
        let (mut pause, started) = (RETRY_FIRST, Instant::now());
        loop {
            if self.halt.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let request_id = format!("{}-{number}", self.id);
            let (status, answer) = self.service.answer(request_id, &self.endpoint, body.clone()).await;
            // What is answered while the process stops may be its stopping.
            if status != 200 && self.halt.load(Ordering::Relaxed) {
                return Ok(None);
            }
            // Busy now: not the line's fault, unless it lasts.
            if (status == 429 || status == 503) && started.elapsed() < PATIENCE {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_LAST);
                continue;
            }
            return Ok(Some(Answered::new(&self.id, number, Some(&custom_id), status, answer)));
        }
    }
}

/// A line whose id was there before is none.
fn told_apart(mut line: Line, ids: &mut HashSet<String>) -> Line {
    if let Ok(request) = &line.request
        && !ids.insert(request.custom_id.clone())
    {
        line.request = Err(WrongLine {
            custom_id: Some(request.custom_id.clone()),
            message: "another line before it has this `custom_id`".to_owned(),
            param: Some("custom_id".to_owned()),
        });
    }
    line
}

fn refused(batch: &str, number: u64, wrong: &WrongLine) -> Answered {
    let error = json!({
        "code": "invalid_request",
        "message": wrong.message,
        "param": wrong.param,
        "line": number + 1,
    });
    Answered::new(batch, number, wrong.custom_id.as_deref(), 0, error)
}
