//! A problem's choices in the order they are shown, and the letter of the right one.
//!
//! A shuffled order follows from the suite's seed and the problem's id alone, so it is the same in every language, on
//! every machine and in every run, and it is kept with the problem.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::manifest::{ChoiceMap, ChoicesFrom, Correct};
use super::read::path::{find, text};

/// As many as there are letters.
const CHOICES_MAX: usize = 26;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choices {
    pub shown: Vec<String>,
    /// Index among those shown.
    pub correct: usize,
    /// Which of the source's choices each shown one is; only if shuffled.
    pub order: Option<Vec<usize>>,
}

/// The letter of a choice: A for the first.
pub fn letter(index: usize) -> char {
    char::from(b'A' + (index % CHOICES_MAX) as u8)
}

/// `row` is the source's; `answer` what the answer's column says.
///
/// # Errors
/// The field at fault, and what is wrong with it.
pub(super) fn of_row(
    map: &ChoiceMap,
    row: &Value,
    id: &str,
    answer: Option<&str>,
) -> Result<Choices, (String, String)> {
    let (field, choices, labels) = listed(map, row)?;
    let wrong = |field: &str, message: String| (field.to_owned(), message);
    if !(2..=CHOICES_MAX).contains(&choices.len()) {
        return Err(wrong(&field, format!("has {} choices; 2 to {CHOICES_MAX} can be asked", choices.len())));
    }
    let correct = match (map.correct, answer) {
        (Correct::First, _) => Some(0),
        (_, None) => return Err(wrong("answer", "is missing".to_owned())),
        (way, Some(answer)) => position(way, answer.trim(), &choices, labels.as_deref()),
    };
    let Some(correct) = correct else {
        let answer = answer.unwrap_or_default();
        return Err(wrong("answer", format!("{answer:?} names none of the {} choices", choices.len())));
    };
    let Some(seed) = map.shuffle else { return Ok(Choices { shown: choices, correct, order: None }) };
    let order = shuffled(choices.len(), seed, id);
    Ok(Choices {
        shown: order.iter().map(|index| choices[*index].clone()).collect(),
        correct: order.iter().position(|index| *index == correct).expect("a shuffle keeps every index"),
        order: Some(order),
    })
}

/// The field they come from, the choices, and the source's labels.
type Listed = (String, Vec<String>, Option<Vec<String>>);

fn listed(map: &ChoiceMap, row: &Value) -> Result<Listed, (String, String)> {
    let missing = |path: &String| (path.clone(), "is missing".to_owned());
    match &map.from {
        ChoicesFrom::Values(values) => Ok(("choices".to_owned(), values.clone(), None)),
        ChoicesFrom::Columns(columns) => {
            let one = |path: &String| {
                let value = find(row, path).ok_or_else(|| missing(path))?;
                text(&value).map_err(|message| (path.clone(), message))
            };
            Ok((columns.join(", "), columns.iter().map(one).collect::<Result<_, _>>()?, None))
        }
        ChoicesFrom::List { path, labels } => {
            let list = |path: &String| {
                let value = find(row, path).ok_or_else(|| missing(path))?;
                let values =
                    value.as_array().ok_or_else(|| (path.clone(), "must be a list of texts".to_owned()))?;
                let texts = values.iter().map(text).collect::<Result<Vec<_>, _>>();
                texts.map_err(|message| (path.clone(), message))
            };
            Ok((path.clone(), list(path)?, labels.as_ref().map(list).transpose()?))
        }
    }
}

fn position(way: Correct, answer: &str, choices: &[String], labels: Option<&[String]>) -> Option<usize> {
    let number = || answer.parse::<usize>().ok();
    let found = match way {
        Correct::First => Some(0),
        Correct::Index => number(),
        Correct::Number => number()?.checked_sub(1),
        Correct::Text => choices.iter().position(|choice| choice.trim() == answer),
        Correct::Letter => match labels {
            Some(labels) => labels.iter().position(|label| label.trim() == answer),
            None => match answer.as_bytes() {
                [letter] if letter.is_ascii_alphabetic() => {
                    Some(usize::from(letter.to_ascii_uppercase() - b'A'))
                }
                _ => None,
            },
        },
    };
    found.filter(|index| *index < choices.len())
}

/// Fisher and Yates' shuffle, each draw from a digest of seed, id and step.
fn shuffled(count: usize, seed: u64, id: &str) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update((last as u64).to_le_bytes());
        hash.update(id.as_bytes());
        let digest = hash.finalize();
        let draw = digest[..8].iter().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
        // Of 2^64 values for at most 26 places: the bias is below 1e-17.
        order.swap(last, (draw % (last as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(from: ChoicesFrom, correct: Correct) -> ChoiceMap {
        ChoiceMap { from, correct, shuffle: None }
    }

    #[test]
    fn choices_come_from_columns_lists_and_values() {
        let check = |map: &ChoiceMap, row: Value, answer: Option<&str>, shown: &[&str], correct: usize| {
            let found = of_row(map, &row, "p1", answer).unwrap();
            assert_eq!(
                (found.shown, found.correct),
                (shown.iter().map(|s| (*s).to_owned()).collect(), correct)
            );
        };
        let columns = ChoicesFrom::Columns(vec!["A".to_owned(), "B".to_owned()]);
        let row = json!({"A": "yes", "B": 7});
        check(&map(columns.clone(), Correct::Letter), row.clone(), Some("B"), &["yes", "7"], 1);
        check(&map(columns.clone(), Correct::First), row.clone(), None, &["yes", "7"], 0);
        check(&map(columns.clone(), Correct::Number), row.clone(), Some("2"), &["yes", "7"], 1);
        check(&map(columns, Correct::Text), row, Some("7"), &["yes", "7"], 1);
        let values = ChoicesFrom::Values(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]);
        check(&map(values, Correct::Index), json!({}), Some("2"), &["a", "b", "c"], 2);
        let list = ChoicesFrom::List { path: "q.c[].t".to_owned(), labels: Some("q.c[].l".to_owned()) };
        // As JSONL has it, a list of objects, and as the hub's Parquet has it, an object of lists.
        let objects = json!({"q": {"c": [{"l": "1", "t": "x"}, {"l": "2", "t": "y"}]}});
        check(&map(list.clone(), Correct::Letter), objects, Some("2"), &["x", "y"], 1);
        let lists = json!({"q": {"c": {"l": ["1", "2"], "t": ["x", "y"]}}});
        check(&map(list, Correct::Letter), lists, Some("1"), &["x", "y"], 0);
    }

    #[test]
    fn wrong_choices_name_their_field() {
        let check = |map: &ChoiceMap, row: Value, answer: Option<&str>, field: &str, part: &str| {
            let (found, message) = of_row(map, &row, "p1", answer).unwrap_err();
            assert!(found == field && message.contains(part), "{found}: {message}");
        };
        let columns = map(ChoicesFrom::Columns(vec!["A".to_owned(), "B".to_owned()]), Correct::Letter);
        check(&columns, json!({"A": "x"}), Some("A"), "B", "is missing");
        check(&columns, json!({"A": "x", "B": [1]}), Some("A"), "B", "must be a text");
        check(
            &columns,
            json!({"A": "x", "B": "y"}),
            Some("C"),
            "answer",
            "\"C\" names none of the 2 choices",
        );
        check(&columns, json!({"A": "x", "B": "y"}), Some("AB"), "answer", "names none");
        check(&columns, json!({"A": "x", "B": "y"}), None, "answer", "is missing");
        let list = map(ChoicesFrom::List { path: "c".to_owned(), labels: None }, Correct::Index);
        check(&list, json!({"c": "x"}), Some("0"), "c", "must be a list");
        check(&list, json!({"c": ["x"]}), Some("0"), "c", "has 1 choices");
    }

    #[test]
    fn a_shuffle_depends_on_seed_and_id_alone() {
        let order = shuffled(4, 0, "p1");
        assert_eq!(order, shuffled(4, 0, "p1"));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3]);
        // Every choice comes to every place about equally often: 4000 shuffles, 1000 expected, 6 standard errors.
        let mut counts = [[0u32; 4]; 4];
        for id in 0..4000 {
            for (place, choice) in shuffled(4, 7, &id.to_string()).into_iter().enumerate() {
                counts[place][choice] += 1;
            }
        }
        assert!(counts.as_flattened().iter().all(|count| (840..1160).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_shuffled_problem_keeps_its_answer() {
        let from = ChoicesFrom::Columns(["a", "b", "c", "d"].map(str::to_owned).to_vec());
        let map = ChoiceMap { from, correct: Correct::First, shuffle: Some(0) };
        let row = json!({"a": "right", "b": "1", "c": "2", "d": "3"});
        let mut places = std::collections::BTreeSet::new();
        for id in 0..40 {
            let found = of_row(&map, &row, &id.to_string(), None).unwrap();
            assert_eq!(found.shown[found.correct], "right");
            assert_eq!(found.order.unwrap()[found.correct], 0);
            places.insert(found.correct);
        }
        assert_eq!(places.len(), 4);
    }
}
