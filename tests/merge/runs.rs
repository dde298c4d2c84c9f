//! What a merge does to the disk: interrupted, killed, resumed, refused; and that threads change nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use xenoglot::merge::{
    ExecuteOptions, FileOptions, MergeError, MergeJob, MergeProgress, MergedAmount, PlanOptions,
    PlannedTensor, Silent,
};

use super::{fixtures, locate};

fn config(name: &str) -> String {
    std::fs::read_to_string(fixtures().join(format!("golden/{name}.yaml"))).unwrap()
}

fn planned(text: &str, shard_bytes: u64) -> MergeJob {
    let options = PlanOptions { shard_bytes, ..PlanOptions::default() };
    MergeJob::plan(text, &locate, &options).unwrap()
}

fn write(job: &MergeJob, out: &Path, threads: usize, resume: bool) -> Result<(), MergeError> {
    let stop = AtomicBool::new(false);
    job.write(out, ExecuteOptions { threads, resume, stop: &stop }, FileOptions::default(), &Silent)
}

/// Every file of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn threads_and_shards_change_no_byte_of_a_tensor() {
    for name in ["dare_ties", "della", "sce-topk", "model_stock-filter-wise", "arcee_fusion", "karcher"] {
        let folder = TempDir::new().unwrap();
        let job = planned(&config(name), u64::MAX);
        let [one, many] = ["one", "many"].map(|name| folder.path().join(name));
        write(&job, &one, 1, false).unwrap();
        write(&job, &many, 7, false).unwrap();
        assert_eq!(files(&one), files(&many), "{name}");
    }
    let folder = TempDir::new().unwrap();
    let job = planned(&config("linear"), 4096);
    let out = folder.path().join("sharded");
    write(&job, &out, 2, false).unwrap();
    let files = files(&out);
    let shards = files.keys().filter(|name| name.starts_with("model-")).count();
    assert_eq!(shards, job.plan.shards.len());
    assert!(shards > 3 && files.contains_key("model.safetensors.index.json"));
    xenoglot::weights::open_weights(&out).unwrap();
}

/// Stops the merge after so many tensors.
struct StopAfter<'a> {
    tensors: usize,
    written: Mutex<Vec<String>>,
    from_before: Mutex<usize>,
    stop: &'a AtomicBool,
}

impl MergeProgress for StopAfter<'_> {
    fn planned(&self, _total: MergedAmount, done: MergedAmount) {
        *self.from_before.lock().unwrap() = done.tensors;
    }

    fn tensor(&self, tensor: &PlannedTensor) {
        let mut written = self.written.lock().unwrap();
        written.push(tensor.name.clone());
        if written.len() == self.tensors {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn an_interrupted_merge_leaves_no_output_and_is_gone_on_with() {
    let folder = TempDir::new().unwrap();
    let job = planned(&config("ties-density"), 4096);
    let [whole, out] = ["whole", "out"].map(|name| folder.path().join(name));
    write(&job, &whole, 2, false).unwrap();
    let interrupted = |tensors: usize, resume: bool| {
        let stop = AtomicBool::new(false);
        let progress =
            StopAfter { tensors, written: Mutex::default(), from_before: Mutex::default(), stop: &stop };
        let options = ExecuteOptions { threads: 2, resume, stop: &stop };
        let outcome = job.write(&out, options, FileOptions::default(), &progress);
        (outcome, progress.written.into_inner().unwrap().len(), progress.from_before.into_inner().unwrap())
    };
    let (outcome, written, before) = interrupted(5, false);
    assert!(matches!(outcome, Err(MergeError::Interrupted)), "{outcome:?}");
    assert_eq!((written, before, out.exists()), (5, 0, false));
    // Another merge does not go on with this one.
    let other = planned(&config("linear"), 4096);
    let error = write(&other, &out, 2, true).unwrap_err().to_string();
    assert!(error.contains("another merge") && error.contains("--resume"), "{error}");
    let (outcome, written, before) = interrupted(usize::MAX, true);
    outcome.unwrap();
    assert_eq!((written, before), (job.plan.tensors.len() - 5, 5));
    assert_eq!(files(&whole), files(&out));
    assert!(!folder.path().join("out.partial").exists());
    // Nothing is written over.
    let error = write(&job, &out, 2, false).unwrap_err().to_string();
    assert!(error.contains("exists"), "{error}");
}

#[test]
fn without_resume_a_merge_begins_anew() {
    let folder = TempDir::new().unwrap();
    let job = planned(&config("slerp"), u64::MAX);
    let out = folder.path().join("out");
    let partial = folder.path().join("out.partial");
    std::fs::create_dir(&partial).unwrap();
    std::fs::write(partial.join("model.safetensors"), "old").unwrap();
    std::fs::write(partial.join("stray"), "old").unwrap();
    // Not a merge's: it may be anything.
    let error = write(&job, &out, 1, false).unwrap_err().to_string();
    assert!(error.contains("was not left by a merge"), "{error}");
    std::fs::write(partial.join("merge.journal"), "old\n").unwrap();
    write(&job, &out, 1, false).unwrap();
    assert!(!out.join("stray").exists() && !partial.exists());
    assert!(!folder.path().join("out.lock").exists());
}

/// Stops once, at the first tensor, and does something then.
struct AtFirst<'a> {
    stop: Option<&'a AtomicBool>,
    then: &'a (dyn Fn() + Sync),
}

impl MergeProgress for AtFirst<'_> {
    fn planned(&self, _total: MergedAmount, _done: MergedAmount) {}

    fn tensor(&self, tensor: &PlannedTensor) {
        if tensor.name == "lm_head.weight" {
            (self.then)();
            if let Some(stop) = self.stop {
                stop.store(true, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn an_output_has_one_writer() {
    let folder = TempDir::new().unwrap();
    let job = planned(&config("linear"), u64::MAX);
    let out = folder.path().join("out");
    let told = Mutex::new(String::new());
    let other = || *told.lock().unwrap() = write(&job, &out, 1, false).unwrap_err().to_string();
    let never = AtomicBool::new(false);
    let options = ExecuteOptions { threads: 1, resume: false, stop: &never };
    job.write(&out, options, FileOptions::default(), &AtFirst { stop: None, then: &other }).unwrap();
    assert!(told.lock().unwrap().contains("written by another process"), "{:?}", told.lock().unwrap());
    xenoglot::weights::open_weights(&out).unwrap();
}

#[test]
fn what_was_taken_away_is_written_again() {
    let folder = TempDir::new().unwrap();
    let job = planned(&config("linear"), u64::MAX);
    let [whole, out] = ["whole", "out"].map(|name| folder.path().join(name));
    write(&job, &whole, 1, false).unwrap();
    let stop = AtomicBool::new(false);
    let options = ExecuteOptions { threads: 1, resume: false, stop: &stop };
    let progress = AtFirst { stop: Some(&stop), then: &|| () };
    job.write(&out, options, FileOptions::default(), &progress).unwrap_err();
    std::fs::remove_file(folder.path().join("out.partial/model.safetensors")).unwrap();
    write(&job, &out, 1, true).unwrap();
    assert_eq!(files(&whole), files(&out));
}

#[test]
fn inputs_that_changed_are_another_merge() {
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join("a");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(fixtures().join("models/a")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let text = config("linear").replace("models/a", copy.to_str().unwrap());
    let first = planned(&text, u64::MAX).identity();
    assert_eq!(first, planned(&text, u64::MAX).identity());
    let out = folder.path().join("out");
    let stop = AtomicBool::new(false);
    let options = ExecuteOptions { threads: 1, resume: false, stop: &stop };
    let progress = AtFirst { stop: Some(&stop), then: &|| () };
    let stopped = planned(&text, u64::MAX).write(&out, options, FileOptions::default(), &progress);
    assert!(matches!(stopped, Err(MergeError::Interrupted)), "{stopped:?}");
    let weights = copy.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    std::fs::write(&weights, bytes).unwrap();
    assert_ne!(first, planned(&text, u64::MAX).identity());
    let error = write(&planned(&text, u64::MAX), &out, 1, true).unwrap_err().to_string();
    assert!(error.contains("of files that have changed since"), "{error}");
}

/// Killed at twenty moments, the output is not there or whole, and `--resume` finishes it.
#[test]
fn killed_at_any_moment() {
    let folder = TempDir::new().unwrap();
    let text = config("dare_ties").replace("models/", &format!("{}/models/", fixtures().display()));
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let [whole, out] = ["whole", "out"].map(|name| folder.path().join(name));
    let merge = |out: &Path, resume: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenoglot"));
        command.args(["merge", path.to_str().unwrap(), out.to_str().unwrap(), "--out-shard-size", "8kB"]);
        command.args(resume.then_some("--resume")).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let start = std::time::Instant::now();
    assert!(merge(&whole, false).status().unwrap().success());
    let took = start.elapsed();
    let mut finished = 0;
    for round in 0..20_u32 {
        let mut child = merge(&out, round % 4 != 0).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(took.as_micros() as u64 * u64::from(round) / 20));
        let _ = child.kill();
        child.wait().unwrap();
        if out.exists() {
            finished += 1;
            assert_eq!(files(&out), files(&whole), "round {round}");
            std::fs::remove_dir_all(&out).unwrap();
        }
    }
    assert!(finished < 20, "it was never killed in time");
    let status = merge(&out, true).status().unwrap();
    assert!(status.success());
    assert_eq!(files(&out), files(&whole));
}

/// A refused merge is no half output, and needs no clearing away.
#[test]
fn what_is_refused_while_it_is_written_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let damaged = folder.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(fixtures().join("models/a").join(name), damaged.join(name)).unwrap();
    }
    let weights = damaged.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&weights, bytes).unwrap();
    let job = planned(&config("linear").replace("models/a", damaged.to_str().unwrap()), 4096);
    let out = folder.path().join("out");
    for resume in [false, true] {
        let error = write(&job, &out, 2, resume).unwrap_err();
        assert!(!error.is_resumable() && error.to_string().contains("(NaN)"), "{error}");
        let mut left: Vec<String> = files_of(folder.path());
        left.sort();
        assert_eq!(left, ["damaged"], "{resume}");
    }
}

fn files_of(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_full_disk_is_told_and_leaves_no_output() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    // More than any disk has.
    let mut job = planned(&config("linear"), u64::MAX);
    job.plan.shards[0].bytes = 1 << 61;
    let error = write(&job, &out, 1, false).unwrap_err().to_string();
    assert!(error.contains("make room for it"), "{error}");
    assert!(!out.exists());
}
