//! Files of JSON lines that have a `step`: appended to while a training runs, cut where it goes on.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use serde_json::Value;

use super::TrainError;

pub(super) struct JsonLines {
    path: PathBuf,
}

impl JsonLines {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Lines of steps behind a checkpoint are made again, all of them without one, and a line that was cut off is none.
    pub fn cut(&self, step: u64) -> Result<(), TrainError> {
        if !self.path.exists() {
            return Ok(());
        }
        let file = File::open(&self.path).map_err(TrainError::io(&self.path, "open it"))?;
        let partial = self.path.with_extension("partial");
        let kept = File::create(&partial).map_err(TrainError::io(&partial, "create it"))?;
        let mut kept = std::io::BufWriter::new(kept);
        // As bytes: what was cut off may end within a character.
        for line in BufReader::new(file).split(b'\n') {
            let mut line = line.map_err(TrainError::io(&self.path, "read it"))?;
            let Ok(value) = serde_json::from_slice::<Value>(&line) else { continue };
            if step > 0 && value["step"].as_u64().is_some_and(|of| of <= step) {
                line.push(b'\n');
                kept.write_all(&line).map_err(TrainError::io(&partial, "write it"))?;
            }
        }
        kept.flush().map_err(TrainError::io(&partial, "write it"))?;
        fs::rename(&partial, &self.path).map_err(TrainError::io(&self.path, "put it in place"))
    }

    pub fn push(&self, value: &Value) -> Result<(), TrainError> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(&self.path);
        let written = file.and_then(|mut file| file.write_all(format!("{value}\n").as_bytes()));
        written.map_err(TrainError::io(&self.path, "write it"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_that_was_cut_within_a_character_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("completions.jsonl");
        let lines = JsonLines::new(path.clone());
        for step in 1..4 {
            lines.push(&json!({"step": step, "completion": "り"})).unwrap();
        }
        let bytes = fs::read(&path).unwrap();
        let cut = bytes.len() - "り\"}\n".len() + 1;
        fs::write(&path, &bytes[..cut]).unwrap();
        lines.cut(3).unwrap();
        let kept = fs::read_to_string(&path).unwrap();
        assert_eq!(kept.lines().count(), 2);
        lines.cut(1).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"step\":1,\"completion\":\"り\"}\n");
    }
}
