//! Output files at their full size from the beginning, written at any place from any thread.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::super::config::Dtype;
use super::super::error::MergeError;
use super::super::plan::{PlannedTensor, Shard};

/// The folder that becomes the output.
pub struct PartialOutput {
    partial: PathBuf,
    out: PathBuf,
}

impl PartialOutput {
    /// # Errors
    /// `Output` where the output exists already; `Io`.
    pub fn open(out: &Path, resume: bool) -> Result<Self, MergeError> {
        let refuse = |problem: &str| MergeError::Output { path: out.to_owned(), problem: problem.to_owned() };
        let is_free = match fs::read_dir(out) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !is_free {
            return Err(refuse(
                "exists and is not an empty directory; name another output or remove it first",
            ));
        }
        let Some(name) = out.file_name() else { return Err(refuse("is no name for an output")) };
        let partial = out.with_file_name(format!("{}.partial", name.to_string_lossy()));
        if partial.exists() && !resume {
            fs::remove_dir_all(&partial).map_err(io_error(&partial, "remove what an earlier merge left"))?;
        }
        fs::create_dir_all(&partial).map_err(io_error(&partial, "create it"))?;
        Ok(Self { partial, out: out.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Give the folder the output's name.
    ///
    /// # Errors
    /// `Io`.
    pub fn persist(self) -> Result<(), MergeError> {
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
