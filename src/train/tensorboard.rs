//! The metrics as TensorBoard reads them, in a file of events a process.
//!
//! A file is TFRecords: `length u64 | masked CRC-32C of it | bytes | masked CRC-32C of them`, little endian; the bytes are
//! TensorFlow's `Event` message (tensorflow/core/util/event.proto), of which four fields are written. The crates that write these
//! files need a protobuf compiler at build time, or a dozen crates more.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crc::{CRC_32_ISCSI, Crc};
use serde_json::Value;

use super::{Event, Observer, TrainError};

/// CRC-32C.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
const EVALUATED: &str = "eval_";

pub(super) struct TensorBoard {
    folder: PathBuf,
    file: Option<(PathBuf, File)>,
}

impl TensorBoard {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.join("tensorboard"), file: None }
    }

    /// A new file. What an earlier one has of steps behind `step` no longer counts, which TensorBoard sees by the session's start.
    fn begin(&mut self, step: u64) -> Result<(), TrainError> {
        fs::create_dir_all(&self.folder).map_err(TrainError::io(&self.folder, "create it"))?;
        let seconds = now().as_secs();
        let name = format!("events.out.tfevents.{seconds:010}.xenoglot.{}", std::process::id());
        let path = self.folder.join(name);
        let file = File::options().append(true).create(true).open(&path);
        self.file = Some((path.clone(), file.map_err(TrainError::io(&path, "create it"))?));
        self.write(&message(0, |out| bytes(out, 3, b"brain.Event:2")))?;
        // SessionLog { status: START }
        let first = if step > 0 { step + 1 } else { 0 };
        self.write(&message(first, |out| bytes(out, 7, &[1 << 3, 1])))
    }

    fn write(&mut self, message: &[u8]) -> Result<(), TrainError> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        file.write_all(&record(message)).map_err(TrainError::io(path, "write it"))
    }
}

impl Observer for TensorBoard {
    fn event(&mut self, event: Event) -> Result<(), TrainError> {
        if let Event::Started { step, .. } = event {
            return self.begin(step);
        }
        let Some(Value::Object(metrics)) = event.metrics() else { return Ok(()) };
        let step = metrics.get("step").and_then(Value::as_u64).unwrap_or_default();
        let scalars = metrics.iter().filter(|(name, _)| *name != "step");
        let scalars = scalars.filter_map(|(name, value)| Some((tag(name), value.as_f64()? as f32)));
        let summary = |out: &mut Vec<u8>| {
            let mut values = Vec::new();
            for (tag, value) in scalars {
                bytes(&mut values, 1, &scalar(&tag, value));
            }
            bytes(out, 5, &values);
        };
        self.write(&message(step, summary))
    }
}

/// As transformers' callback names them.
fn tag(name: &str) -> String {
    match name.strip_prefix(EVALUATED) {
        Some(rest) => format!("eval/{rest}"),
        None => format!("train/{name}"),
    }
}

/// An `Event` of now: wall_time = 1, step = 2, and what `more` adds.
fn message(step: u64, more: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![1 << 3 | 1];
    out.extend(now().as_secs_f64().to_le_bytes());
    out.push(2 << 3);
    varint(&mut out, step);
    more(&mut out);
    out
}

/// A `Summary.Value`: tag = 1, simple_value = 2.
fn scalar(tag: &str, value: f32) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, tag.as_bytes());
    out.push(2 << 3 | 5);
    out.extend(value.to_le_bytes());
    out
}

/// A field of bytes.
fn bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked(&length));
    out.extend(message);
    out.extend(masked(message));
    out
}

/// Rotated and shifted, so that a sum over a record that holds one is no special case.
fn masked(bytes: &[u8]) -> [u8; 4] {
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{Evaluation, StepMetrics};
    use super::*;

    /// What tensorboard 2.20's `RecordWriter` makes of the same event, at wall time 1.5.
    #[test]
    fn records_are_tensorboards() {
        const EXPECTED: &[u8] = b"\x20\0\0\0\0\0\0\0\x29\xed\xa9\x50\
            \x09\0\0\0\0\0\0\xf8\x3f\x10\x07\x2a\x13\x0a\x11\x0a\x0atrain/loss\x15\0\0\x20\x40\
            \x25\x08\xfb\x34";
        let mut event = vec![1 << 3 | 1];
        event.extend(1.5_f64.to_le_bytes());
        event.extend([2 << 3, 7]);
        let mut values = Vec::new();
        bytes(&mut values, 1, &scalar("train/loss", 2.5));
        bytes(&mut event, 5, &values);
        assert_eq!(record(&event), EXPECTED);
    }

    #[test]
    fn numbers_of_any_size() {
        for (number, expected) in [(0, vec![0]), (127, vec![127]), (300, vec![0xac, 2])] {
            let mut out = Vec::new();
            varint(&mut out, number);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn metrics_become_scalars() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::new(folder.path());
        let metrics = StepMetrics {
            step: 300,
            epoch: 0.5,
            loss: 2.5,
            grad_norm: 1.0,
            learning_rate: 0.1,
            num_tokens: 9,
            step_tokens: 9,
            seconds: 1.0,
            more: Vec::new(),
        };
        let evaluation = Evaluation::of(&[(String::new(), (3.0, 2))].into());
        for event in [
            Event::Started { step: 299, steps: 400 },
            Event::Step(metrics),
            Event::Evaluated { step: 300, epoch: 0.5, evaluation },
        ] {
            board.event(event).unwrap();
        }
        let path = fs::read_dir(folder.path().join("tensorboard")).unwrap().next().unwrap().unwrap().path();
        let mut rest = &fs::read(path).unwrap()[..];
        let mut records = Vec::new();
        while let Some((head, tail)) = rest.split_at_checked(12) {
            let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
            assert_eq!(head[8..], masked(&head[..8]));
            let (message, sum) = tail[..length + 4].split_at(length);
            assert_eq!(sum, masked(message));
            records.push(message);
            rest = &tail[length + 4..];
        }
        let holds = |index: usize, part: &[u8]| records[index].windows(part.len()).any(|found| found == part);
        assert_eq!(records.len(), 4);
        assert!(holds(0, b"brain.Event:2") && holds(1, &[0xac, 2, 7 << 3 | 2, 2, 1 << 3, 1]));
        assert!(holds(2, &scalar("train/loss", 2.5)) && holds(3, &scalar("eval/loss", 1.5)));
    }
}
