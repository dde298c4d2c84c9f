//! What each call that worked on a run took: a line of sessions.jsonl when it ends, be it by an error or Ctrl-C.
//!
//! A run is often the work of several calls; its totals are the sums. A call that is killed leaves no line.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::EvalError;
use super::generator::Usage;

const SESSIONS: &str = "sessions.jsonl";

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub started: u64,
    pub finished: u64,
    /// Whether the run was complete then.
    pub complete: bool,
    #[serde(flatten)]
    pub usage: Usage,
    /// In the currency of the prices that were given; at least so much where requests are uncounted.
    pub cost: Option<f64>,
}

/// What a million tokens cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    pub prompt: f64,
    pub completion: f64,
}

impl Prices {
    pub fn cost(self, usage: Usage) -> f64 {
        (self.prompt * usage.prompt_tokens as f64 + self.completion * usage.completion_tokens as f64) / 1e6
    }
}

/// The sum of several calls.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Spent {
    #[serde(flatten)]
    pub usage: Usage,
    /// `None` where no call knew a price.
    pub cost: Option<f64>,
}

impl Session {
    /// Add this call to those that worked on the run.
    ///
    /// # Errors
    /// `Io`.
    pub fn append(&self, directory: &Path) -> Result<(), EvalError> {
        let path = directory.join(SESSIONS);
        let write = || -> std::io::Result<()> {
            let mut line = serde_json::to_vec(self)?;
            line.push(b'\n');
            let mut file =
                OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
            let mut before = Vec::new();
            file.read_to_end(&mut before)?;
            // A line that was not written whole would spoil the one after it.
            let whole = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
            file.set_len(whole)?;
            file.seek(SeekFrom::Start(whole))?;
            file.write_all(&line)
        };
        write().map_err(EvalError::io(&path))
    }
}

impl Spent {
    /// What the calls that are on file took together; nothing, if there are none.
    ///
    /// # Errors
    /// `Io`; `BadRecord` for a line that is none, unless it is the last and was cut off.
    pub fn on(directory: &Path) -> Result<Self, EvalError> {
        let path = directory.join(SESSIONS);
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(EvalError::io(&path)(error)),
        };
        let (mut reader, mut line, mut number) = (BufReader::new(file), Vec::new(), 0);
        let mut spent = Self::default();
        loop {
            line.clear();
            reader.read_until(b'\n', &mut line).map_err(EvalError::io(&path))?;
            if line.last() != Some(&b'\n') {
                return Ok(spent);
            }
            number += 1;
            let session: Session = serde_json::from_slice(&line).map_err(|error| EvalError::BadRecord {
                path: path.clone(),
                line: number,
                message: error.to_string(),
            })?;
            spent.usage += session.usage;
            spent.cost = session.cost.map(|cost| cost + spent.cost.unwrap_or_default()).or(spent.cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_add_up() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Spent::on(folder.path()).unwrap(), Spent::default());
        let usage = Usage {
            requests: 2,
            prompt_tokens: 500_000,
            completion_tokens: 250_000,
            cached_samples: 1,
            uncounted_requests: 0,
        };
        let prices = Prices { prompt: 1.0, completion: 4.0 };
        assert_eq!(prices.cost(usage), 1.5);
        let session =
            |cost: Option<f64>| Session { started: 1, finished: 2, complete: cost.is_none(), usage, cost };
        for cost in [None, Some(1.5), Some(0.5)] {
            session(cost).append(folder.path()).unwrap();
        }
        let spent = Spent::on(folder.path()).unwrap();
        assert_eq!(
            (spent.usage.prompt_tokens, spent.usage.cached_samples, spent.cost),
            (1_500_000, 3, Some(2.0))
        );
        let path = folder.path().join(SESSIONS);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"star")).unwrap();
        assert_eq!(Spent::on(folder.path()).unwrap(), spent);
        // The next call does not write on a line that a full disk cut off.
        session(Some(1.0)).append(folder.path()).unwrap();
        assert_eq!(Spent::on(folder.path()).unwrap().cost, Some(3.0));
        std::fs::write(&path, format!("x\n{whole}")).unwrap();
        assert!(Spent::on(folder.path()).unwrap_err().to_string().contains("line 1"));
    }
}
