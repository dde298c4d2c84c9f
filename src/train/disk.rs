//! Whether what a training will keep fits onto its disk, before the first update.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::TrainError;

/// # Errors
/// `Disk`. A file system that does not say what is free has room.
pub(super) fn check_room(folder: &Path, needed: u64) -> Result<(), TrainError> {
    match free_bytes(folder) {
        Some(free) if free < needed => Err(TrainError::Disk { path: folder.to_owned(), needed, free }),
        _ => Ok(()),
    }
}

/// Bytes that this user may still write below a path, or below the nearest folder above it that is there.
fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists()).filter(|path| !path.as_os_str().is_empty());
    let name = CString::new(there.unwrap_or(Path::new(".")).as_os_str().as_bytes()).ok()?;
    let mut found = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: a C string and room for the answer, which is read only where it was written.
    let found = unsafe {
        if libc::statvfs(name.as_ptr(), found.as_mut_ptr()) != 0 {
            return None;
        }
        found.assume_init()
    };
    Some((found.f_bavail as u64).saturating_mul(found.f_frsize as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_below_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let free = free_bytes(&folder.path().join("not/there/yet")).unwrap();
        assert!(free > 0);
        assert!(check_room(folder.path(), 1).is_ok());
        let error = check_room(folder.path(), u64::MAX).unwrap_err().to_string();
        assert!(error.contains("GiB are free") && error.contains("save_total_limit"), "{error}");
    }
}
