//! One example, in place.

/// Position i is trained to predict `ids[i]` if [`Self::is_trained`] says so; the first never is.
#[derive(Debug, Clone, Copy)]
pub struct ExampleView<'a> {
    pub ids: &'a [u32],
    pub(super) bits: &'a [u8],
    pub(super) start: usize,
    /// Such as its language; may be empty.
    pub tag: &'a str,
}

impl ExampleView<'_> {
    pub fn is_trained(&self, position: usize) -> bool {
        let at = self.start + position;
        position < self.ids.len() && self.bits[at / 8] >> (at % 8) & 1 == 1
    }

    /// A flag a position.
    pub fn trained(&self) -> impl Iterator<Item = bool> + '_ {
        (0..self.ids.len()).map(|position| self.is_trained(position))
    }
}
