//! Writes a store example by example; memory does not grow with it.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::super::example::Example;
use super::{
    Counts, DataError, HEADER, Header, OFFSETS, TAGS, TOKENS, TRAINED, TokenStore, check_place, replace,
};

/// What becomes of an example of more than the greatest length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TooLong {
    /// Its beginning is kept.
    #[default]
    Truncate,
    Drop,
    /// It becomes several; for plain text.
    Split,
}

pub struct StoreWriter {
    folder: PathBuf,
    partial: PathBuf,
    tokens: BufWriter<File>,
    trained: BufWriter<File>,
    offsets: BufWriter<File>,
    tags_file: BufWriter<File>,
    tags: Vec<String>,
    /// The bits of the last byte that are known.
    bits: u8,
    pub counts: Counts,
}

impl StoreWriter {
    /// Begins a store that [`Self::finish`] puts into `folder`.
    ///
    /// # Errors
    /// `Io`, `Store` where something else is there.
    pub fn create(folder: &Path) -> Result<Self, DataError> {
        check_place(folder)?;
        let Some(name) = folder.file_name() else {
            return Err(DataError::store(folder, "is no name for a folder"));
        };
        let partial = folder.with_file_name(format!("{}.partial", name.to_string_lossy()));
        if partial.exists() {
            fs::remove_dir_all(&partial)
                .map_err(DataError::io(&partial, "remove what is left of another start"))?;
        }
        fs::create_dir_all(&partial).map_err(DataError::io(&partial, "create it"))?;
        let file = |name: &str| {
            let path = partial.join(name);
            let file = File::create(&path).map_err(DataError::io(&path, "write it"))?;
            Ok::<_, DataError>(BufWriter::with_capacity(1 << 16, file))
        };
        Ok(Self {
            folder: folder.to_owned(),
            tokens: file(TOKENS)?,
            trained: file(TRAINED)?,
            offsets: file(OFFSETS)?,
            tags_file: file(TAGS)?,
            tags: vec![String::new()],
            bits: 0,
            counts: Counts::default(),
            partial,
        })
    }

    /// Adds what the length and the trained tokens leave of an example.
    ///
    /// # Errors
    /// `Io`, more tags than a store has.
    pub fn fit(
        &mut self,
        mut example: Example,
        length_max: usize,
        too_long: TooLong,
        tag: &str,
    ) -> Result<(), DataError> {
        let is_long = example.ids.len() > length_max;
        match too_long {
            TooLong::Drop if is_long => self.counts.dropped += 1,
            TooLong::Split if is_long => {
                let mut pieces = example.split(length_max);
                // Such as a last token alone.
                pieces.retain(|piece| piece.trained_tokens() > 0);
                self.counts.untrained += u64::from(pieces.is_empty());
                self.counts.split += pieces.len().saturating_sub(1) as u64;
                for piece in pieces {
                    self.add(&piece, tag)?;
                }
            }
            _ => {
                example.truncate(length_max);
                let kept = self.add_trained(&example, tag)?;
                self.counts.truncated += u64::from(is_long && kept);
            }
        }
        Ok(())
    }

    fn add_trained(&mut self, example: &Example, tag: &str) -> Result<bool, DataError> {
        if example.trained_tokens() == 0 {
            self.counts.untrained += 1;
            return Ok(false);
        }
        self.add(example, tag)?;
        Ok(true)
    }

    /// Adds an example as it is.
    ///
    /// # Errors
    /// As [`Self::fit`].
    pub fn add(&mut self, example: &Example, tag: &str) -> Result<(), DataError> {
        let number = self.tag(tag)?;
        self.write(example, number).map_err(DataError::io(&self.partial, "write into it"))
    }

    fn write(&mut self, example: &Example, tag: u8) -> std::io::Result<()> {
        self.offsets.write_all(&self.counts.tokens.to_le_bytes())?;
        self.tags_file.write_all(&[tag])?;
        for (id, trained) in example.ids.iter().zip(&example.trained) {
            self.tokens.write_all(&id.to_le_bytes())?;
            self.bits |= u8::from(*trained) << (self.counts.tokens % 8);
            self.counts.tokens += 1;
            self.counts.trained_tokens += u64::from(*trained);
            if self.counts.tokens.is_multiple_of(8) {
                self.trained.write_all(&[std::mem::take(&mut self.bits)])?;
            }
        }
        self.counts.examples += 1;
        Ok(())
    }

    fn tag(&mut self, tag: &str) -> Result<u8, DataError> {
        if let Some(number) = self.tags.iter().position(|known| known == tag) {
            return Ok(number as u8);
        }
        if self.tags.len() > usize::from(u8::MAX) {
            let problem = format!("`{tag}` is the 256th language or corpus of one training: train on fewer");
            return Err(DataError::store(&self.folder, problem));
        }
        self.tags.push(tag.to_owned());
        Ok((self.tags.len() - 1) as u8)
    }

    /// Gives the store its name and opens it.
    ///
    /// # Errors
    /// `Nothing` if it has no example, `Io`.
    pub fn finish(mut self, digest: String) -> Result<TokenStore, DataError> {
        let Counts { examples, dropped, untrained, truncated, .. } = self.counts;
        if examples == 0 {
            let _ = fs::remove_dir_all(&self.partial);
            return Err(DataError::Nothing(nothing(dropped, untrained)));
        }
        if dropped + untrained + truncated > 0 {
            tracing::warn!(
                examples,
                dropped,
                untrained,
                truncated,
                "some examples are not trained as they are"
            );
        }
        self.close().map_err(DataError::io(&self.partial, "write into it"))?;
        Header::new(digest, self.counts, std::mem::take(&mut self.tags)).write(&self.partial)?;
        for path in [self.partial.join(HEADER), self.partial.clone()] {
            let file = File::open(&path).and_then(|file| file.sync_all());
            file.map_err(DataError::io(&path, "write it to the disk"))?;
        }
        replace(&self.partial, &self.folder)?;
        TokenStore::open(&self.folder)
    }

    fn close(&mut self) -> std::io::Result<()> {
        self.offsets.write_all(&self.counts.tokens.to_le_bytes())?;
        if !self.counts.tokens.is_multiple_of(8) {
            self.trained.write_all(&[self.bits])?;
        }
        for file in [&mut self.tokens, &mut self.trained, &mut self.offsets, &mut self.tags_file] {
            file.flush()?;
            file.get_ref().sync_all()?;
        }
        Ok(())
    }
}

fn nothing(dropped: u64, untrained: u64) -> String {
    match (dropped, untrained) {
        (0, 0) => "the files have no example".to_owned(),
        (0, _) => format!(
            "all {untrained} examples have no trained token: look at the loss options and at the greatest length"
        ),
        _ => format!(
            "{dropped} examples are longer than the greatest length, {untrained} have no trained token: raise it"
        ),
    }
}
