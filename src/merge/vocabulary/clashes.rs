//! Ids that mean different tokens in two models. Where rows are merged by their number, as they are without a `tokenizer`
//! in the configuration, such rows are a mixture of unrelated tokens.

use std::cmp::Ordering;
use std::fmt;

use super::super::error::MergeError;
use super::super::inputs::InputModel;
use super::inputs::amounts;
use super::model_files::tokenizer_json;
use super::tokens::Vocabulary;

/// The ids that are told.
const TOLD_MAX: usize = 10;
/// In percent of the ids that both models have: more of them, and the merge is no model.
const PERCENT_MAX: usize = 1;

/// What two models disagree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The references.
    pub models: [String; 2],
    pub count: usize,
    /// Ids that both models have.
    pub compared: usize,
    /// The lowest ids.
    pub first: Vec<ClashingId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClashingId {
    pub id: u32,
    pub tokens: [String; 2],
}

/// The first model that has a tokenizer compared with each other that has one. Models that agree are left out.
///
/// # Errors
/// A tokenizer.json that cannot be read.
pub fn clashes(models: &[InputModel]) -> Result<Vec<Clash>, MergeError> {
    let mut clashes = Vec::new();
    let mut first: Option<(&InputModel, Vec<u8>, Option<Vocabulary>)> = None;
    for model in models {
        let Some(json) = tokenizer_json(&model.path)? else { continue };
        let Some((other, other_json, other_vocabulary)) = &mut first else {
            first = Some((model, json, None));
            continue;
        };
        // Fine-tunes have the same file.
        if json == *other_json {
            continue;
        }
        let vocabulary = match other_vocabulary {
            Some(known) => known,
            None => other_vocabulary.insert(Vocabulary::from_json(other_json, &other.path)?),
        };
        let clash = compare([*other, model], [&*vocabulary, &Vocabulary::from_json(&json, &model.path)?]);
        if clash.count > 0 {
            clashes.push(clash);
        }
    }
    Ok(clashes)
}

fn compare(models: [&InputModel; 2], vocabularies: [&Vocabulary; 2]) -> Clash {
    let mut clash = Clash {
        models: models.map(|model| model.reference.to_string()),
        count: 0,
        compared: 0,
        first: Vec::new(),
    };
    let limit = models.map(|model| amounts(model).1).into_iter().min().unwrap_or(0);
    let [mut left, mut right] = vocabularies
        .map(|vocabulary| vocabulary.tokens.iter().filter(|token| (token.id as usize) < limit).peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        match a.id.cmp(&b.id) {
            Ordering::Less => drop(left.next()),
            Ordering::Greater => drop(right.next()),
            Ordering::Equal => {
                clash.compared += 1;
                if a.text != b.text {
                    clash.count += 1;
                    if clash.first.len() < TOLD_MAX {
                        clash.first.push(ClashingId { id: a.id, tokens: [a.text.clone(), b.text.clone()] });
                    }
                }
                left.next();
                right.next();
            }
        }
    }
    clash
}

impl Clash {
    /// Whether rows of unrelated tokens would be mixed on a large scale.
    pub fn is_garbage(&self) -> bool {
        self.count * 100 > self.compared * PERCENT_MAX
    }
}

/// A table.
impl fmt::Display for Clash {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Self { models: [a, b], count, compared, first } = self;
        write!(formatter, "{count} of {compared} ids mean different tokens in {a} and {b}:")?;
        for ClashingId { id, tokens: [a, b] } in first {
            write!(formatter, "\n{id:>8}  {a:?}  {b:?}")?;
        }
        if *count > first.len() {
            write!(formatter, "\n     ...")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Folder;
    use super::*;

    fn words(count: u32, renamed: &[u32]) -> Vec<String> {
        (0..count).map(|id| format!("{}{id}", if renamed.contains(&id) { "other" } else { "word" })).collect()
    }

    #[test]
    fn same_ids_with_different_tokens() {
        let check = |others: &[Vec<String>], expected: &[(usize, usize, bool)]| {
            let mut folders = vec![Folder::new(150).vocabulary(&words(150, &[]))];
            folders.extend(others.iter().map(|words| Folder::new(150).vocabulary(words)));
            let models: Vec<InputModel> = folders.iter().map(Folder::open).collect();
            let clashes = clashes(&models).expect("tokenizers");
            let found: Vec<_> =
                clashes.iter().map(|clash| (clash.count, clash.compared, clash.is_garbage())).collect();
            assert_eq!(found, expected);
        };
        check(&[words(150, &[])], &[]);
        check(&[words(140, &[])], &[]);
        check(&[words(150, &[7])], &[(1, 150, false)]);
        check(&[words(150, &[7, 8])], &[(2, 150, true)]);
        check(&[words(200, &[160, 170])], &[]);
        check(&[words(150, &[7]), words(150, &[]), words(100, &[1, 2])], &[(1, 150, false), (2, 100, true)]);
    }

    #[test]
    fn a_table_tells_the_first_ids() {
        let renamed: Vec<u32> = (20..40).collect();
        let folders =
            [Folder::new(50).vocabulary(&words(50, &[])), Folder::new(50).vocabulary(&words(50, &renamed))];
        let models: Vec<InputModel> = folders.iter().map(Folder::open).collect();
        let clash = &clashes(&models).expect("tokenizers")[0];
        assert_eq!((clash.first.len(), clash.first[9].id), (10, 29));
        let table = clash.to_string();
        assert!(
            table.starts_with("20 of 50 ids mean different tokens in ") && table.ends_with("\n     ..."),
            "{table}"
        );
        assert!(table.contains("\n      20  \"word20\"  \"other20\"\n"), "{table}");
    }

    #[test]
    fn models_without_a_tokenizer_are_passed_over() {
        let folders = [Folder::new(4), Folder::new(4).vocabulary(&words(4, &[])), Folder::new(4)];
        let models: Vec<InputModel> = folders.iter().map(Folder::open).collect();
        assert_eq!(clashes(&models).expect("tokenizers"), []);
    }
}
