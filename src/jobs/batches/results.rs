//! What a batch has answered, a line a request, in the order of the answers: appended while it runs, and put into the order of
//! the input at the end.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::file_path;
use super::BatchProgress;

const DONE: &str = "done.jsonl";

/// One answered line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    pub line: u64,
    pub ok: bool,
    /// As the client reads it.
    pub result: Value,
}

impl Answered {
    /// In OpenAI's shape. `status` 0 is no answer at all.
    pub fn new(batch: &str, line: u64, custom_id: Option<&str>, status: u16, body: Value) -> Self {
        let id = format!("batch_req_{}_{line}", batch.trim_start_matches("batch_"));
        let ok = status == 200;
        let response = (status != 0).then(|| json!({"status_code": status, "request_id": id, "body": body}));
        let error = (status == 0).then_some(body);
        let result = json!({"id": id, "custom_id": custom_id, "response": response, "error": error});
        Self { line, ok, result }
    }
}

/// The answered lines of a batch, open for more.
pub struct Done {
    file: File,
    pub lines: HashSet<u64>,
    pub completed: u64,
    pub failed: u64,
}

impl Done {
    /// What an earlier process answered; a line that it did not finish writing is cut off.
    ///
    /// # Errors
    /// Of the folder; `WouldBlock` while another process has it open.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(folder.join(DONE))?;
        file.try_lock().map_err(io::Error::from)?;
        let (mut lines, mut counts, mut whole) = (HashSet::new(), [0, 0], 0);
        let mut reader = BufReader::new(&file);
        let mut text = Vec::new();
        while reader.read_until(b'\n', &mut text)? > 0 {
            let Some(head) =
                text.strip_suffix(b"\n").and_then(|text| serde_json::from_slice::<Head>(text).ok())
            else {
                break;
            };
            whole += text.len() as u64;
            if lines.insert(head.line) {
                counts[usize::from(head.ok)] += 1;
            }
            text.clear();
        }
        file.set_len(whole)?;
        file.seek(SeekFrom::Start(whole))?;
        let [failed, completed] = counts;
        Ok(Self { file, lines, completed, failed })
    }

    /// # Errors
    /// Of writing; the line may be there in part, and is cut off when the file is opened again.
    pub fn append(&mut self, answered: &Answered) -> io::Result<()> {
        let mut text = serde_json::to_vec(answered)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }

    /// # Errors
    /// Of the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Whether no process has a batch's answers open.
pub(super) fn is_free(folder: &Path) -> bool {
    match File::open(folder.join(DONE)) {
        Ok(file) => file.try_lock_shared().is_ok(),
        Err(_) => true,
    }
}

/// What of a line decides where it goes.
#[derive(Deserialize)]
struct Head {
    line: u64,
    ok: bool,
}

/// The ids of a batch's files, which follow from its own: whoever ends it again makes the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultFiles {
    pub output: String,
    pub errors: String,
}

impl ResultFiles {
    pub fn of(batch: &str) -> Self {
        let hex = batch.trim_start_matches("batch_");
        Self { output: format!("file-{hex}output"), errors: format!("file-{hex}errors") }
    }
}

/// A file that was written.
pub struct Written {
    pub id: String,
    pub kind: &'static str,
    pub bytes: u64,
}

/// Writes the files of output and errors, each line once, in the order of the input. An empty one is not written. Holds the places
/// of the lines in memory and not the lines.
///
/// # Errors
/// Of the disk; each file is there whole or not at all.
pub(super) fn write(
    folder: &Path,
    data: &Path,
    files: &ResultFiles,
) -> io::Result<(Vec<Written>, BatchProgress)> {
    let path = folder.join(DONE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Vec::new(), BatchProgress::default()));
        }
        Err(error) => return Err(error),
    };
    let mut places: Vec<(u64, bool, u64, u64)> = Vec::new();
    let mut reader = BufReader::new(&file);
    let (mut text, mut start) = (Vec::new(), 0);
    while reader.read_until(b'\n', &mut text)? > 0 {
        let length = text.len() as u64;
        if let Ok(Head { line, ok }) = serde_json::from_slice(&text) {
            places.push((line, ok, start, length));
        }
        start += length;
        text.clear();
    }
    places.sort_unstable();
    places.dedup_by_key(|(line, ..)| *line);
    std::fs::create_dir_all(data.join("files"))?;
    let mut written = Vec::new();
    for (id, kind, wanted) in [(&files.output, "output", true), (&files.errors, "errors", false)] {
        let chosen: Vec<_> = places.iter().filter(|(_, ok, ..)| *ok == wanted).collect();
        if chosen.is_empty() {
            continue;
        }
        let target = file_path(data, id);
        let partial = target.with_extension("partial");
        let mut out = BufWriter::new(File::create(&partial)?);
        let mut source = File::open(&path)?;
        let mut bytes = 0;
        for (_, _, start, length) in chosen {
            let mut text = vec![0; usize::try_from(*length).unwrap_or(usize::MAX)];
            source.seek(SeekFrom::Start(*start))?;
            source.read_exact(&mut text)?;
            let answered: Answered = serde_json::from_slice(&text)?;
            let mut line = serde_json::to_vec(&answered.result)?;
            line.push(b'\n');
            bytes += line.len() as u64;
            out.write_all(&line)?;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&partial, &target)?;
        written.push(Written { id: id.clone(), kind, bytes });
    }
    let completed = places.iter().filter(|(_, ok, ..)| *ok).count() as u64;
    let total = places.len() as u64;
    Ok((written, BatchProgress { total, completed, failed: total - completed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: u64, status: u16) -> Answered {
        Answered::new("batch_1", line, Some(&format!("id{line}")), status, json!({"n": line}))
    }

    #[test]
    fn a_torn_line_is_cut_off_and_the_rest_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let mut done = Done::open(folder.path()).unwrap();
        done.append(&answered(2, 200)).unwrap();
        done.append(&answered(0, 400)).unwrap();
        drop(done);
        let path = folder.path().join(DONE);
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend_from_slice(br#"{"line":1,"ok":true,"res"#);
        std::fs::write(&path, torn).unwrap();
        let mut done = Done::open(folder.path()).unwrap();
        assert_eq!((done.completed, done.failed, done.lines.len()), (1, 1, 2));
        done.append(&answered(1, 200)).unwrap();
        assert!(!is_free(folder.path()));
        assert_eq!(Done::open(folder.path()).map(drop).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(done);
        assert!(is_free(folder.path()));
        assert_eq!(Done::open(folder.path()).unwrap().lines, HashSet::from([0, 1, 2]));
    }

    #[test]
    fn files_are_in_the_order_of_the_input_and_each_line_is_there_once() {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut done = Done::open(folder.path()).unwrap();
        for (line, status) in [(3, 200), (1, 400), (0, 200), (3, 200), (2, 0)] {
            done.append(&answered(line, status)).unwrap();
        }
        let files = ResultFiles::of("batch_1");
        let (written, counts) = write(folder.path(), data.path(), &files).unwrap();
        assert_eq!(written.len(), 2);
        assert_eq!(counts, BatchProgress { total: 4, completed: 2, failed: 2 });
        let read = |id: &str| -> Vec<Value> {
            let text = std::fs::read_to_string(file_path(data.path(), id)).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let ids = |lines: &[Value]| -> Vec<String> {
            lines.iter().map(|line| line["custom_id"].as_str().unwrap().to_owned()).collect()
        };
        let (output, errors) = (read(&files.output), read(&files.errors));
        assert_eq!(ids(&output), ["id0", "id3"]);
        assert_eq!(ids(&errors), ["id1", "id2"]);
        assert_eq!(output[0]["response"]["body"]["n"], 0);
        assert_eq!(errors[0]["response"]["status_code"], 400);
        assert!(errors[1]["response"].is_null() && errors[1]["error"].is_object());
        // Whoever ends a batch again, after a crash, writes the same.
        let (again, _) = write(folder.path(), data.path(), &files).unwrap();
        assert_eq!((again.len(), read(&files.output)), (2, output));
    }
}
