//! Output files at their full size from the beginning, written at any place from any thread.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::super::config::Dtype;
use super::super::error::MergeError;
use super::super::files::CONFIG_COPY;
use super::super::plan::{PlannedTensor, Shard};

/// The folder that becomes the output.
pub struct PartialOutput {
    partial: PathBuf,
    out: PathBuf,
    lock: Lock,
}

/// Held by whoever writes an output: a file beside it that is locked, so that a killed process holds nothing.
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// `None` if another one has it.
    fn take(out: &Path) -> Result<Option<Self>, MergeError> {
        let path = beside(out, "lock");
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(io_error(&path, "write it"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { path, _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(io_error(&path, "lock it")(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is locked, so that nobody else takes what is removed here for its own.
        let _ = fs::remove_file(&self.path);
    }
}

/// `OUT.what`.
pub fn beside(out: &Path, what: &str) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!("{name}.{what}"))
}

/// Whether an output can be put there.
///
/// # Errors
/// `Output` where there is something, or the path has no name.
pub fn check_free(out: &Path) -> Result<(), MergeError> {
    let refuse = |problem: &str| MergeError::Output { path: out.to_owned(), problem: problem.to_owned() };
    let is_free = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !is_free {
        return Err(refuse("exists and is not an empty directory; name another output or remove it first"));
    }
    if out.file_name().is_none() {
        return Err(refuse("is no name for an output"));
    }
    Ok(())
}

/// Have an output, and what lies beside it, for oneself.
///
/// # Errors
/// `Output` while another process writes it; `Io`.
pub fn claim(out: &Path) -> Result<Lock, MergeError> {
    if let Some(parent) = out.parent() {
        fs::create_dir_all(parent).map_err(io_error(parent, "create it"))?;
    }
    Lock::take(out)?.ok_or_else(|| {
        let problem = "is being written by another process: wait for it, or name another output".to_owned();
        MergeError::Output { path: out.to_owned(), problem }
    })
}

/// Where the output lies until all of it is there.
pub fn partial_of(out: &Path) -> PathBuf {
    beside(out, "partial")
}

/// Remove what an unfinished merge left of an output. `false` while somebody writes it.
///
/// # Errors
/// `Io`.
pub fn discard(out: &Path) -> Result<bool, MergeError> {
    if !out.parent().is_none_or(Path::exists) {
        return Ok(true);
    }
    let Some(_lock) = Lock::take(out)? else { return Ok(false) };
    let partial = beside(out, "partial");
    if is_ours(&partial) {
        fs::remove_dir_all(&partial).map_err(io_error(&partial, "remove what an earlier merge left"))?;
    }
    Ok(true)
}

/// Whether a folder is of a merge: it has a journal; nothing yet; or all there will be, the journal gone and the name to
/// come.
fn is_ours(partial: &Path) -> bool {
    let is_empty = fs::read_dir(partial).is_ok_and(|mut entries| entries.next().is_none());
    is_empty || [super::journal::NAME, CONFIG_COPY].iter().any(|name| partial.join(name).is_file())
}

impl PartialOutput {
    /// # Errors
    /// `Output` where the output exists already; `Io`.
    pub fn open(out: &Path, resume: bool) -> Result<Self, MergeError> {
        check_free(out)?;
        let lock = claim(out)?;
        let partial = beside(out, "partial");
        if partial.exists() && !is_ours(&partial) {
            let problem = "is there and was not left by a merge: move it, or name another output".to_owned();
            return Err(MergeError::Output { path: partial, problem });
        }
        if partial.exists() && !resume {
            fs::remove_dir_all(&partial).map_err(io_error(&partial, "remove what an earlier merge left"))?;
        }
        fs::create_dir_all(&partial).map_err(io_error(&partial, "create it"))?;
        Ok(Self { partial, out: out.to_owned(), lock })
    }

    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Nothing of it is of use. Where it cannot be removed, the next merge does so.
    pub fn remove(self) {
        let _ = fs::remove_dir_all(&self.partial);
    }

    /// Give the folder the output's name.
    ///
    /// # Errors
    /// `Io`.
    pub fn persist(self) -> Result<(), MergeError> {
        // All of it is on the disk before it has its name.
        let entries = fs::read_dir(&self.partial).map_err(io_error(&self.partial, "list it"))?;
        for path in entries.flatten().map(|entry| entry.path()).chain([self.partial.clone()]) {
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(io_error(&path, "write it"))?;
        }
        if self.out.exists() {
            fs::remove_dir(&self.out).map_err(io_error(&self.out, "replace the empty directory"))?;
        }
        fs::rename(&self.partial, &self.out).map_err(io_error(&self.out, "put the finished output there"))?;
        // So that the name is there after a crash as well.
        if let Some(parent) = self.out.parent()
            && let Ok(folder) =
                File::open(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
        {
            folder.sync_all().map_err(io_error(&self.out, "put the finished output there"))?;
        }
        drop(self.lock);
        Ok(())
    }
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> MergeError {
    let path = path.to_owned();
    move |source| MergeError::Io { path, action, source }
}

/// One safetensors file.
pub struct OutputFile {
    path: PathBuf,
    file: File,
    data_start: u64,
}

impl OutputFile {
    /// With its header, and room for all tensors.
    ///
    /// # Errors
    /// `Io`: a disk without that much room is told now.
    pub fn open(folder: &Path, shard: &Shard, tensors: &[PlannedTensor]) -> Result<Self, MergeError> {
        let path = folder.join(&shard.file);
        let header = shard.header(tensors);
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.map_err(io_error(&path, "write it"))?;
        let data_start = header.len() as u64;
        reserve(&file, data_start + shard.bytes).map_err(io_error(&path, "make room for it"))?;
        file.write_all_at(&header, 0).map_err(io_error(&path, "write it"))?;
        Ok(Self { path, file, data_start })
    }

    /// Whether an earlier call wrote this file, as far as its size and header tell.
    pub fn is_there(folder: &Path, shard: &Shard, tensors: &[PlannedTensor]) -> bool {
        let header = shard.header(tensors);
        let length = header.len() as u64 + shard.bytes;
        let mut found = vec![0; header.len()];
        File::open(folder.join(&shard.file)).is_ok_and(|file| {
            file.metadata().is_ok_and(|metadata| metadata.len() == length)
                && file.read_exact_at(&mut found, 0).is_ok()
                && found == header
        })
    }

    /// Write elements of the tensor whose bytes begin at `offset`.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, offset: u64, start: usize, values: &[f32], dtype: Dtype) -> Result<(), MergeError> {
        let at = self.data_start + offset + (start * dtype.bytes()) as u64;
        let mut bytes = vec![0; values.len() * dtype.bytes()];
        narrow(values, dtype, &mut bytes);
        self.file.write_all_at(&bytes, at).map_err(io_error(&self.path, "write it"))
    }

    /// Hand everything to the disk.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(self) -> Result<(), MergeError> {
        self.file.sync_all().map_err(io_error(&self.path, "write it"))
    }
}

/// Give a file its size, with room on the disk where the file system can promise that.
pub fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open for as long as `file` lives.
        let outcome = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes as libc::off_t) };
        match outcome {
            0 | libc::EOPNOTSUPP | libc::EINVAL => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
    file.set_len(bytes)
}

/// Elements as bytes, rounded to nearest even.
fn narrow(values: &[f32], dtype: Dtype, bytes: &mut [u8]) {
    match dtype {
        Dtype::F32 => {
            for (bytes, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                *bytes = value.to_le_bytes();
            }
        }
        Dtype::Bf16 => {
            for (bytes, value) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                *bytes = bf16_bits(*value).to_le_bytes();
            }
        }
        Dtype::F16 => {
            let mut halves = vec![f16::ZERO; values.len()];
            halves.convert_from_f32_slice(values);
            for (bytes, half) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
                *bytes = half.to_le_bytes();
            }
        }
    }
}

/// bf16 rounded to nearest even, without a branch, so that loops over it run on vectors.
fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16) as u16;
    // A NaN stays one: its lower bits may be all it has.
    let quiet = (bits >> 16) as u16 | 0x40;
    if value.is_nan() { quiet } else { rounded }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn bf16_is_rounded_as_the_half_crate_does() {
        let mut state = 1_u32;
        for _ in 0..100_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(state);
            assert_eq!(bf16_bits(value), bf16::from_f32(value).to_bits(), "{value:e} {state:x}");
        }
    }
}
