//! The zip archives that `torch.save` writes: stored entries only, found through the central directory.
//!
//! Follows the .ZIP File Format Specification (APPNOTE 6.3.10), with the zip64 records of files over 4 GiB. Checksums
//! are not verified: that would read every weight.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::weights::WeightsError;
use crate::weights::mapped_file::MappedFile;

const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const ZIP64_END: &[u8] = b"PK\x06\x06";
const ZIP64_LOCATOR: &[u8] = b"PK\x06\x07";
/// Bytes of the fixed part of each record.
const LOCAL_HEADER_BYTES: usize = 30;
const DIRECTORY_ENTRY_BYTES: usize = 46;
const END_BYTES: usize = 22;
const ZIP64_LOCATOR_BYTES: usize = 20;
/// What a 32-bit field holds when the value is in the zip64 extra field.
const IN_ZIP64: u64 = 0xffff_ffff;
const ZIP64_FIELD: u64 = 1;

/// A zip file whose directory has been read.
#[derive(Debug)]
pub struct Archive<'f> {
    file: &'f MappedFile,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    encrypted: bool,
    /// 0 is stored.
    method: u64,
    packed_bytes: u64,
    bytes: u64,
    /// Where the local header is.
    header: u64,
}

/// Whether a file is a zip archive by its first bytes; names say nothing, `.bin`, `.pt` and `.pth` are all in use.
pub fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(LOCAL_HEADER)
}

impl<'f> Archive<'f> {
    pub fn open(file: &'f MappedFile) -> Result<Self, WeightsError> {
        let corrupt = |problem: String| WeightsError::Corrupt { path: file.path.clone(), problem };
        let directory = find_directory(file);
        let directory =
            directory.ok_or_else(|| corrupt("the zip archive has no end, it is truncated".into()))?;
        let mut rest = file.get(directory);
        let mut entries = BTreeMap::new();
        while rest != Some(&[]) {
            let parsed = rest.and_then(parse_entry);
            let (name, entry, after) =
                parsed.ok_or_else(|| corrupt("the zip archive's directory is damaged".into()))?;
            if entries.contains_key(&name) {
                return Err(corrupt(format!("the zip archive has two entries `{name}`")));
            }
            check_stored(file, &name, &entry)?;
            entries.insert(name, entry);
            rest = Some(after);
        }
        Ok(Self { file, entries })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Where the bytes of an entry are; `None` if there is no such entry.
    pub fn range(&self, name: &str) -> Result<Option<Range<usize>>, WeightsError> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        let path = || self.file.path.clone();
        let start = data_start(self.file, name, entry).ok_or_else(|| WeightsError::Corrupt {
            path: path(),
            problem: format!("the zip archive's directory places entry `{name}` where it is not"),
        })?;
        let (needs, has) = ((start as u64).saturating_add(entry.bytes), self.file.len() as u64);
        if needs > has {
            return Err(WeightsError::Truncated {
                path: path(),
                what: format!("entry `{name}`"),
                needs,
                has,
            });
        }
        Ok(Some(start..needs as usize))
    }
}

fn check_stored(file: &MappedFile, name: &str, entry: &Entry) -> Result<(), WeightsError> {
    let problem = match entry {
        Entry { encrypted: true, .. } => format!("entry `{name}` is encrypted"),
        Entry { method: 0, packed_bytes, bytes, .. } if packed_bytes != bytes => {
            let problem =
                format!("entry `{name}` is stored as it is but of two sizes, {packed_bytes} and {bytes}");
            return Err(WeightsError::Corrupt { path: file.path.clone(), problem });
        }
        Entry { method: 0, .. } => return Ok(()),
        Entry { method, .. } => format!("entry `{name}` is compressed (method {method})"),
    };
    Err(WeightsError::NotACheckpoint {
        path: file.path.clone(),
        problem: format!(
            "{problem}; torch.save writes entries as they are: load it in PyTorch and save it again"
        ),
    })
}

/// The bytes of the central directory, as the records at the end of the file state them.
fn find_directory(file: &[u8]) -> Option<Range<usize>> {
    let last = file.len().checked_sub(END_BYTES)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let is_end =
        |at: &usize| file[*at..].starts_with(END) && number(file, at + 20, 2) == Some((last - at) as u64);
    let end = (first..=last).rev().find(is_end)?;
    let locator = end.checked_sub(ZIP64_LOCATOR_BYTES).filter(|at| file[*at..].starts_with(ZIP64_LOCATOR));
    let (bytes, start) = if let Some(locator) = locator {
        let zip64_end = usize::try_from(number(file, locator + 8, 8)?).ok()?;
        file.get(zip64_end..)?.starts_with(ZIP64_END).then_some(())?;
        (number(file, zip64_end + 40, 8)?, number(file, zip64_end + 48, 8)?)
    } else {
        (number(file, end + 12, 4)?, number(file, end + 16, 4)?)
    };
    let directory_end = start.checked_add(bytes).filter(|directory_end| *directory_end <= end as u64)?;
    Some(start as usize..directory_end as usize)
}

/// The first entry of the rest of a directory, and what follows it.
fn parse_entry(rest: &[u8]) -> Option<(String, Entry, &[u8])> {
    rest.starts_with(DIRECTORY_ENTRY).then_some(())?;
    let field = |at, width| number(rest, at, width);
    let [name_end, extra_end, after] = [28, 30, 32].map({
        let mut end = DIRECTORY_ENTRY_BYTES as u64;
        move |at| {
            end += field(at, 2).unwrap_or(IN_ZIP64);
            end as usize
        }
    });
    let name = String::from_utf8_lossy(rest.get(DIRECTORY_ENTRY_BYTES..name_end)?).into_owned();
    let mut zip64 = zip64_field(rest.get(name_end..extra_end)?);
    // The extra field has those of the three, in this order, that do not fit.
    let [bytes, packed_bytes, header] = [24, 20, 42].map(|at| match field(at, 4)? {
        IN_ZIP64 => {
            let (value, others) = zip64.split_first_chunk::<8>()?;
            zip64 = others;
            Some(u64::from_le_bytes(*value))
        }
        value => Some(value),
    });
    let entry = Entry {
        encrypted: field(8, 2)? & 1 != 0,
        method: field(10, 2)?,
        packed_bytes: packed_bytes?,
        bytes: bytes?,
        header: header?,
    };
    Some((name, entry, rest.get(after..)?))
}

/// The zip64 field among the extra fields of an entry; empty if there is none.
fn zip64_field(mut extra: &[u8]) -> &[u8] {
    while let (Some(id), Some(length)) = (number(extra, 0, 2), number(extra, 2, 2)) {
        let Some((field, others)) = extra[4..].split_at_checked(length as usize) else { break };
        if id == ZIP64_FIELD {
            return field;
        }
        extra = others;
    }
    &[]
}

/// Where the data of an entry begins, if its local header is there and has the same name.
fn data_start(file: &[u8], name: &str, entry: &Entry) -> Option<usize> {
    let header = usize::try_from(entry.header).ok()?;
    let bytes = file.get(header..)?;
    bytes.starts_with(LOCAL_HEADER).then_some(())?;
    let name_end = LOCAL_HEADER_BYTES + number(bytes, 26, 2)? as usize;
    let is_same = String::from_utf8_lossy(bytes.get(LOCAL_HEADER_BYTES..name_end)?) == name;
    is_same.then_some(header + name_end + number(bytes, 28, 2)? as usize)
}

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(width)?)?;
    Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
