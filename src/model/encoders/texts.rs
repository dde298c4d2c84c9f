//! A ragged batch of texts for an encoder: their ids end to end, no padding.

use candle_core::Result;

use crate::model::ModelError;

/// Token ids of several texts, special tokens included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    /// `[total_tokens]`
    ids: Vec<u32>,
    /// Row offsets of the texts, first 0, last `total_tokens`. `[texts + 1]`
    offsets: Vec<usize>,
}

impl Texts {
    pub fn new<T: AsRef<[u32]>>(texts: &[T]) -> Self {
        let mut offsets = vec![0];
        let mut ids = Vec::new();
        for text in texts {
            ids.extend_from_slice(text.as_ref());
            offsets.push(ids.len());
        }
        Self { ids, offsets }
    }

    /// `[total_tokens]`
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The rows of each text.
    pub fn rows(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.offsets.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// The length of the longest text.
    pub fn longest(&self) -> usize {
        self.rows().map(|rows| rows.len()).max().unwrap_or(0)
    }

    pub(super) fn check(&self, tokens_max: usize) -> Result<()> {
        match self.rows().map(|rows| rows.len()).enumerate().find(|(_, tokens)| *tokens > tokens_max) {
            Some((text, tokens)) => {
                Err(candle_core::Error::wrap(ModelError::TextTooLong { text, tokens, tokens_max }))
            }
            None => Ok(()),
        }
    }

    /// 0, 1, 2, .. in each text.
    pub(super) fn positions(&self) -> Vec<u32> {
        self.rows().flat_map(|rows| 0..rows.len() as u32).collect()
    }

    /// As fairseq counts: from the padding's id plus one, and padding, wherever it stands, is at its own id and not
    /// counted.
    pub(super) fn positions_from_padding(&self, padding: u32) -> Vec<u32> {
        let of_text = |rows: std::ops::Range<usize>| {
            let mut last = padding;
            let count = move |id: &u32| {
                last += u32::from(*id != padding);
                if *id == padding { padding } else { last }
            };
            self.ids[rows].iter().map(count)
        };
        self.rows().flat_map(of_text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_begin_anew_in_each_text() {
        let texts = Texts::new(&[vec![7, 8], vec![], vec![9, 1, 5]]);
        assert_eq!(texts.rows().collect::<Vec<_>>(), [0..2, 2..2, 2..5]);
        assert_eq!(texts.positions(), [0, 1, 0, 1, 2]);
        assert_eq!(texts.positions_from_padding(1), [2, 3, 2, 1, 3]);
        assert_eq!((texts.longest(), Texts::default().longest()), (3, 0));
    }

    #[test]
    fn a_text_that_is_too_long_is_named() {
        let texts = Texts::new(&[vec![7, 8], vec![9, 1, 5]]);
        assert!(texts.check(3).is_ok());
        let message = texts.check(2).unwrap_err().to_string();
        assert!(
            message.contains("text 1 of the batch has 3 tokens") && message.contains("at most 2"),
            "{message}"
        );
    }
}
