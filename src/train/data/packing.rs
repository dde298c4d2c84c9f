//! Best-fit-decreasing packing, TRL's "bfd": the longest first, each into the fullest bin that has room for it.
//!
//! Pure and deterministic: of examples of one length the one that comes first goes first, of bins with the same room the one that
//! was begun first is filled. Bins come in the order in which they were begun.

use std::collections::BTreeSet;

/// Bins of places in `lengths`, none of more than `tokens_max` together.
///
/// # Panics
/// For an example that is longer than a bin.
pub(super) fn pack(lengths: &[u32], tokens_max: u32) -> Vec<Vec<usize>> {
    let mut longest_first: Vec<usize> = (0..lengths.len()).collect();
    longest_first.sort_by_key(|place| (std::cmp::Reverse(lengths[*place]), *place));
    let mut bins: Vec<Vec<usize>> = Vec::new();
    // Of bins with room left: the room, and which.
    let mut rooms: BTreeSet<(u32, usize)> = BTreeSet::new();
    for place in longest_first {
        let length = lengths[place];
        assert!(length <= tokens_max, "an example of {length} tokens in a bin of {tokens_max}");
        let found = rooms.range((length, 0)..).next().copied();
        let (room, bin) = found.unwrap_or_else(|| {
            bins.push(Vec::new());
            (tokens_max, bins.len() - 1)
        });
        rooms.remove(&(room, bin));
        bins[bin].push(place);
        if room > length {
            rooms.insert((room - length, bin));
        }
    }
    bins
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fullest_bin_with_room_is_taken() {
        let check =
            |lengths: &[u32], expected: &[&[usize]]| assert_eq!(pack(lengths, 10), expected, "{lengths:?}");
        check(&[], &[]);
        check(&[3, 10, 3], &[&[1], &[0, 2]]);
        check(&[6, 4, 7, 3], &[&[2, 3], &[0, 1]]);
        check(&[5, 5, 5], &[&[0, 1], &[2]]);
        check(&[8, 7, 2, 3, 1], &[&[0, 2], &[1, 3], &[4]]);
        check(&[0, 10], &[&[1], &[0]]);
    }

    proptest! {
        #[test]
        fn every_example_is_in_one_bin_that_holds_it(lengths in prop::collection::vec(1..=100_u32, 0..300)) {
            let bins = pack(&lengths, 100);
            for bin in &bins {
                prop_assert!(bin.iter().map(|place| lengths[*place]).sum::<u32>() <= 100);
            }
            let mut places: Vec<usize> = bins.into_iter().flatten().collect();
            places.sort_unstable();
            prop_assert!(places.into_iter().eq(0..lengths.len()));
        }
    }
}
