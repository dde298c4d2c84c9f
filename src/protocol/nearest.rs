//! The known name nearest to a mistyped one.

/// The candidate with the fewest edits, if they are few for the length of `name`.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A field name of a hundred characters is no typing error, and the distance is quadratic.
    let length = name.chars().count();
    if length > 64 {
        return None;
    }
    let few = (length / 3).max(2);
    candidates
        .into_iter()
        // Of equally near ones that with the same beginning: `sorce` is `source` and not `force`.
        .map(|candidate| {
            let begins_otherwise = candidate.chars().next() != name.chars().next();
            (edit_distance(name, candidate), begins_otherwise, candidate)
        })
        .filter(|(distance, ..)| *distance <= few)
        .min()
        .map(|(.., candidate)| candidate)
}

/// Levenshtein distance over characters, one row at a time.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
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
    fn finds_the_field_that_was_meant() {
        let check = |name: &str, expected: Option<&str>| {
            let known = ["temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "n"];
            assert_eq!(nearest(name, known), expected, "{name}");
        };
        check("temprature", Some("temperature"));
        check("topk", Some("top_k"));
        check("top-p", Some("top_p"));
        check("max_token", Some("max_tokens"));
        check("max_new_tokens", Some("max_tokens"));
        assert_eq!(nearest("sorce", ["force", "source"]), Some("source"));
        check("colour_of_the_sky", None);
        check(&"x".repeat(1000), None);
    }
}
