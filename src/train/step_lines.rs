//! Files of JSON lines whose `step` never falls, read from a step on: where it begins is found by halving, so that a file of any size
//! is opened at once. A line that is being written, or was cut off, is not there yet.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

pub(super) struct StepLines {
    file: BufReader<File>,
    /// Where the next line begins.
    at: u64,
    line: Vec<u8>,
}

#[derive(Deserialize)]
struct Stepped {
    step: u64,
}

/// Bytes that are looked through at once for the line before another.
const BACK: u64 = 64 << 10;

impl StepLines {
    /// `None` where there is no such file.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Self { file: BufReader::new(file), at: 0, line: Vec::new() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Go to the first line of this step or a later one.
    pub fn seek(&mut self, step: u64) -> io::Result<()> {
        let (mut low, mut high) = (0, self.file.get_ref().metadata()?.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.line_from(middle)? {
                // What cannot be read has no step and is passed over.
                Some(end) if step_of(&self.line).is_none_or(|of| of < step) => low = end,
                _ => high = middle,
            }
        }
        self.go_to(low)
    }

    /// The step of the line before the next one.
    pub fn step_before(&mut self) -> io::Result<Option<u64>> {
        let (end, mut length) = (self.at, BACK);
        if end == 0 {
            return Ok(None);
        }
        loop {
            let start = end.saturating_sub(length);
            self.file.seek(SeekFrom::Start(start))?;
            let mut bytes = vec![0; (end - start) as usize];
            self.file.read_exact(&mut bytes)?;
            self.file.seek(SeekFrom::Start(end))?;
            // Without the end of the line that is looked for.
            bytes.pop();
            let before = bytes.iter().rposition(|byte| *byte == b'\n');
            match before {
                Some(newline) => return Ok(step_of(&bytes[newline + 1..])),
                None if start == 0 => return Ok(step_of(&bytes)),
                None => length *= 2,
            }
        }
    }

    /// The next whole line, without its end.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let length = self.file.read_until(b'\n', &mut self.line)?;
        if self.line.pop() != Some(b'\n') {
            return Ok(None);
        }
        self.at += length as u64;
        Ok(Some(&self.line))
    }

    /// The step of the next line, which stays the next one.
    pub fn step_here(&mut self) -> io::Result<Option<u64>> {
        let at = self.at;
        let step = self.next_line()?.and_then(step_of);
        self.go_to(at)?;
        Ok(step)
    }

    /// Read the first whole line that begins at an offset or behind it; gives where it ends.
    fn line_from(&mut self, offset: u64) -> io::Result<Option<u64>> {
        let mut start = offset;
        if offset > 0 {
            // The line that the byte before belongs to is an earlier one.
            self.file.seek(SeekFrom::Start(offset - 1))?;
            self.line.clear();
            start = offset - 1 + self.file.read_until(b'\n', &mut self.line)? as u64;
        } else {
            self.file.seek(SeekFrom::Start(0))?;
        }
        self.at = start;
        Ok(self.next_line()?.is_some().then_some(self.at))
    }

    fn go_to(&mut self, offset: u64) -> io::Result<()> {
        self.at = offset;
        self.file.seek(SeekFrom::Start(offset)).map(drop)
    }
}

fn step_of(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Stepped>(line).ok().map(|line| line.step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        assert!(StepLines::open(&path).unwrap().is_none());
        let mut text = String::new();
        for step in [1, 1, 3, 3, 3, 4, 9] {
            let filler = "x".repeat(step * 17 % 40);
            text.push_str(&serde_json::json!({"step": step, "text": filler}).to_string());
            text.push('\n');
        }
        std::fs::write(&path, text + "{\"step\":10,\"te").unwrap();
        let mut lines = StepLines::open(&path).unwrap().unwrap();
        let mut check = |step: u64, before: Option<u64>, here: Option<u64>| {
            lines.seek(step).unwrap();
            assert_eq!((lines.step_before().unwrap(), lines.step_here().unwrap()), (before, here), "{step}");
            let mut left = 0;
            while lines.next_line().unwrap().is_some() {
                left += 1;
            }
            left
        };
        assert_eq!(check(0, None, Some(1)), 7);
        assert_eq!(check(1, None, Some(1)), 7);
        assert_eq!(check(2, Some(1), Some(3)), 5);
        assert_eq!(check(3, Some(1), Some(3)), 5);
        assert_eq!(check(4, Some(3), Some(4)), 2);
        assert_eq!(check(5, Some(4), Some(9)), 1);
        assert_eq!(check(10, Some(9), None), 0);
        assert_eq!(check(u64::MAX, Some(9), None), 0);
    }
}
