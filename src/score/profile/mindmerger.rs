//! `mindmerger`: the scorer of MindMerger's evaluation (arXiv 2405.17386), with its faults.
//!
//! Commas between digits go, the last match of `(\d+(\.\d+)?)` is the answer, and floats are compared. There is no minus
//! sign in the pattern, so -5 answers for 5, and the last number of a sentence is the answer whatever the sentence says.

use super::StringMatch;

pub(in crate::score) fn find(gold: &str, completion: &str) -> StringMatch {
    let Some((start, end)) = last_number(completion) else { return StringMatch::none() };
    let text = completion[start..end].replace(',', "");
    let value = |text: &str| text.replace(',', "").trim().parse::<f64>().ok();
    let correct = value(&text).is_some_and(|number| Some(number) == value(gold));
    StringMatch { span: Some(start..end), normalised: Some(text), correct }
}

/// `\d+(\.\d+)?` with commas between digits passed over, the last one.
fn last_number(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let end = bytes.iter().rposition(u8::is_ascii_digit)? + 1;
    let run_start = |end: usize| {
        let mut at = end;
        while at > 0 && (digit(at - 1) || (bytes[at - 1] == b',' && digit(at) && at > 1 && digit(at - 2))) {
            at -= 1;
        }
        at
    };
    let start = run_start(end);
    let has_point = start > 1 && bytes[start - 1] == b'.' && digit(start - 2);
    if !has_point {
        return Some((start, end));
    }
    // "1.2.3" matches as 1.2 and then 3: pairs are formed from the left.
    let mut first = run_start(start - 1);
    let mut points = 1_usize;
    let mut at = first;
    while at > 1 && bytes[at - 1] == b'.' && digit(at - 2) {
        at = run_start(at - 1);
        points += 1;
    }
    if points.is_multiple_of(2) {
        first = start;
    }
    Some((first, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_as_a_float() {
        let check = |gold: &str, completion: &str, expected: bool| {
            assert_eq!(
                find(gold, completion).correct,
                expected,
                "{completion}: {:?}",
                find(gold, completion).normalised
            );
        };
        check("18", "so she makes 18 dollars", true);
        check("18.0", "18", true);
        check("18", "18.00", true);
        check("1,234", "1234", true);
        check("1234", "It is 1,234.", true);
        check("5", "-5", true);
        check("18", "18 a day for 7 days", false);
        check("3", "1.2.3", true);
        check("18", "none", false);
        check("18", "", false);
    }
}
