//! Stop strings over a stream of text pieces, whatever their boundaries.
//!
//! The match that completes first wins; of several that complete at the same character, the longest. So the
//! result is a property of the text alone and equals a search of the whole text. Text that could be the
//! beginning of a stop string is held back until it is decided.

use std::sync::Arc;

#[derive(Debug)]
pub struct StopMatcher {
    /// Shared by the choices of a request: thousands of choices times sixteen strings would add up.
    stops: Arc<[String]>,
    /// Keep the stop string in the text.
    include: bool,
    /// The longest end of the text so far that begins a stop string.
    held: String,
}

/// What a piece of text led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// Text that is certain to be shown.
    pub text: String,
    /// The stop string that was completed.
    pub stop: Option<String>,
}

impl StopMatcher {
    /// Empty stop strings are ignored.
    pub fn new(stops: Arc<[String]>, include: bool) -> Self {
        Self { stops, include, held: String::new() }
    }

    /// `armed: false` lets stop strings that end in this piece pass (min_tokens is not reached yet).
    pub fn push(&mut self, piece: &str, armed: bool) -> Matched {
        let decided = self.held.len();
        self.held.push_str(piece);
        let first = if armed { self.first_match(decided) } else { None };
        if let Some((start, stop)) = first {
            let end = if self.include { start + stop.len() } else { start };
            let stop = Some(stop.to_owned());
            self.held.truncate(end);
            return Matched { text: std::mem::take(&mut self.held), stop };
        }
        let undecided = self.held.split_off(self.undecided_from());
        Matched { text: std::mem::replace(&mut self.held, undecided), stop: None }
    }

    /// The text ends here: what was held back is shown.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Start and stop string of the match with the least end beyond `decided`, then the least start.
    fn first_match(&self, decided: usize) -> Option<(usize, &str)> {
        let stops = self.stops.iter().filter(|stop| !stop.is_empty());
        let matches = stops.filter_map(|stop| Some((find_ending_after(&self.held, stop, decided)?, stop)));
        matches
            .min_by_key(|(start, stop)| (start + stop.len(), *start))
            .map(|(start, stop)| (start, stop.as_str()))
    }

    fn undecided_from(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0).saturating_sub(1);
        let from = self.held.ceil_char_boundary(self.held.len().saturating_sub(longest));
        let begins =
            |tail: &str| self.stops.iter().any(|stop| stop.len() > tail.len() && stop.starts_with(tail));
        let starts = self.held[from..].char_indices().map(|(offset, _)| from + offset);
        starts.into_iter().find(|&start| begins(&self.held[start..])).unwrap_or(self.held.len())
    }
}

/// The start of the first occurrence that ends after byte `decided`.
fn find_ending_after(text: &str, stop: &str, decided: usize) -> Option<usize> {
    let from = text.floor_char_boundary((decided + 1).saturating_sub(stop.len()));
    let mut starts = text[from..].char_indices().map(|(offset, _)| from + offset);
    starts.find(|&start| start + stop.len() > decided && text[start..].starts_with(stop))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(stops: &[&str], include: bool) -> StopMatcher {
        StopMatcher::new(stops.iter().map(ToString::to_string).collect(), include)
    }

    fn run(pieces: &[&str], stops: &[&str], include: bool) -> (String, Option<String>) {
        let mut matcher = matcher(stops, include);
        let mut text = String::new();
        for piece in pieces {
            let matched = matcher.push(piece, true);
            text.push_str(&matched.text);
            if matched.stop.is_some() {
                return (text, matched.stop);
            }
        }
        (text + &matcher.finish(), None)
    }

    fn check(pieces: &[&str], stops: &[&str], text: &str, stop: Option<&str>) {
        assert_eq!(
            run(pieces, stops, false),
            (text.to_owned(), stop.map(str::to_owned)),
            "{pieces:?} {stops:?}"
        );
    }

    #[test]
    fn matches() {
        check(&["hello"], &[], "hello", None);
        check(&["hello"], &[""], "hello", None);
        check(&["hel", "lo wor", "ld"], &["lo w"], "hel", Some("lo w"));
        check(&["a", "a", "b"], &["aab"], "", Some("aab"));
        check(&["aaab"], &["aab"], "a", Some("aab"));
        check(&["这是一", "个答", "案。"], &["答案"], "这是一个", Some("答案"));
        check(&["\u{6b62}", "\u{6b63}"], &["\u{6b63}"], "\u{6b62}", Some("\u{6b63}"));
        check(&["abcd"], &["d", "bc", "cd"], "a", Some("bc"));
        check(&["abc"], &["c", "abc", "bc"], "", Some("abc"));
        check(&["ab"], &["abc"], "ab", None);
    }

    #[test]
    fn text_that_begins_a_stop_string_is_held_back() {
        let mut matcher = matcher(&["###"], false);
        assert_eq!(matcher.push("a##", true).text, "a");
        assert_eq!(matcher.push("b#", true).text, "##b");
        assert_eq!(matcher.finish(), "#");
    }

    #[test]
    fn unarmed_pieces_pass_but_a_later_end_counts() {
        let mut matcher = matcher(&["ab", "bc"], false);
        assert_eq!(matcher.push("xab", false), Matched { text: "xa".to_owned(), stop: None });
        assert_eq!(matcher.push("c", true), Matched { text: String::new(), stop: Some("bc".to_owned()) });
    }

    /// Search the whole text: of all occurrences, the least end, then the least start.
    fn naive(text: &str, stops: &[String], include: bool) -> (String, Option<String>) {
        let occurrences = stops.iter().flat_map(|stop| {
            let at = |start: usize| {
                text[start..].starts_with(stop.as_str()).then_some((start + stop.len(), start))
            };
            text.char_indices().filter_map(move |(start, _)| at(start)).collect::<Vec<_>>()
        });
        match occurrences.min() {
            None => (text.to_owned(), None),
            Some((end, start)) => {
                (text[..if include { end } else { start }].to_owned(), Some(text[start..end].to_owned()))
            }
        }
    }

    proptest! {
        #[test]
        fn equals_a_search_of_the_whole_text(
            pieces in prop::collection::vec("[ab答案é🦀]{0,4}", 0..12),
            stops in prop::collection::vec("[ab答案é🦀]{1,4}", 0..4),
            include: bool,
        ) {
            let borrowed: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let stop_refs: Vec<&str> = stops.iter().map(String::as_str).collect();
            prop_assert_eq!(run(&borrowed, &stop_refs, include), naive(&pieces.concat(), &stops, include));
        }
    }
}
