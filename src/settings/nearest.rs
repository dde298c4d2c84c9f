//! "Did you mean": the known name closest to one that is not known.

/// The closest of `known`, if it is close enough to be a slip: at most a third of its letters differ.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(64).flat_map(char::to_lowercase).collect();
    known
        .into_iter()
        .map(|candidate| {
            let letters: Vec<char> = candidate.chars().take(64).flat_map(char::to_lowercase).collect();
            (distance(&name, &letters), letters.len(), candidate)
        })
        .filter(|(distance, length, _)| *distance * 3 <= (*length).max(3))
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., candidate)| candidate)
}

/// Levenshtein's edit distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_name() {
        let known = ["host", "port", "max_model_len", "max_num_seqs"];
        let check = |name: &str, expected: Option<&str>| assert_eq!(nearest(name, known), expected, "{name}");
        check("prot", None);
        check("prt", Some("port"));
        check("max-model-len", Some("max_model_len"));
        check("MAX_MODEL_LEN", Some("max_model_len"));
        check("max_num_seq", Some("max_num_seqs"));
        check("temperature", None);
        check("", None);
    }
}
