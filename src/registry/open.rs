//! A checkpoint whose parts belong together: its config, its tensors and its tokenizer agree. Nothing is loaded.

use std::path::Path;

use crate::model::{DecoderConfig, check_tensors, families};
use crate::weights::{Checkpoint, printable};

use super::RegistryError;

/// Opens a checkpoint and checks everything about it that can be checked before its weights are read.
///
/// # Errors
/// Whatever would stand in the way of loading it, by file, key or tensor.
pub fn open(path: &Path) -> Result<(Checkpoint, DecoderConfig), RegistryError> {
    let mut checkpoint = Checkpoint::open(path)?;
    let config = families::translate(&checkpoint.config).map_err(|error| error.at(&checkpoint))?;
    check_tensors(&config, &*checkpoint.tensors).map_err(|error| error.at(&checkpoint))?;
    check_vocabulary(&mut checkpoint, config.vocab_size)?;
    Ok((checkpoint, config))
}

/// Compares the tokenizer with the embedding's `rows`, and keeps of the ids that end a generation those that can be
/// drawn. An embedding with more rows than tokens is common.
fn check_vocabulary(checkpoint: &mut Checkpoint, rows: usize) -> Result<(), RegistryError> {
    let Checkpoint { path, tokenizer, eos_token_ids, .. } = checkpoint;
    if tokenizer.base_vocab_size() > rows {
        let tokens = tokenizer.base_vocab_size();
        return Err(RegistryError::Vocabulary { path: path.clone(), tokens, rows });
    }
    if tokenizer.vocab_size() > rows {
        // Some published checkpoints carry added tokens that nothing uses.
        let (shown, tokens) = (path.display(), tokenizer.vocab_size());
        tracing::warn!(
            "{shown}: of {tokens} tokens only {rows} have an embedding; prompts with others are refused"
        );
    }
    let (usable, outside): (Vec<u32>, Vec<u32>) = eos_token_ids.iter().partition(|id| (**id as usize) < rows);
    if !outside.is_empty() {
        if usable.is_empty() {
            return Err(RegistryError::EndOfGeneration { path: path.clone(), ids: outside, rows });
        }
        let (shown, ids) = (path.display(), printable(&format!("{outside:?}")));
        tracing::warn!("{shown}: `eos_token_id` {ids} lies outside the vocabulary of {rows} and never comes");
    }
    *eos_token_ids = usable;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    type Change<'a> = (&'a str, &'a dyn Fn(&mut Value));

    /// Opens the fixture of 96 tokens with changes to its JSON files.
    fn opened(changes: &[Change]) -> Result<Checkpoint, RegistryError> {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/llama2");
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(fixture).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        for (file, change) in changes {
            let path = folder.path().join(file);
            let mut json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            change(&mut json);
            std::fs::write(path, json.to_string()).unwrap();
        }
        open(folder.path()).map(|(checkpoint, _)| checkpoint)
    }

    fn check_error(changes: &[Change], parts: &[&str]) {
        let error = opened(changes).expect_err("refused").to_string();
        for part in parts {
            assert!(error.contains(part), "{error} does not say {part}");
        }
    }

    #[test]
    fn a_tokenizer_beyond_the_embedding_is_refused() {
        let base = |json: &mut Value| json["model"]["vocab"]["zebra"] = json!(97);
        check_error(&[("tokenizer.json", &base)], &["tokenizer has 98 tokens", "only 96 rows"]);
        let added = |json: &mut Value| {
            let mut token = json["added_tokens"][0].clone();
            (token["id"], token["content"]) = (json!(96), json!("<unused>"));
            json["added_tokens"].as_array_mut().unwrap().push(token);
        };
        assert_eq!(opened(&[("tokenizer.json", &added)]).unwrap().tokenizer.vocab_size(), 97);
    }

    #[test]
    fn ends_of_generations_can_be_drawn() {
        // The other places that name an end.
        let alone = |json: &mut Value| {
            json["eos_token"] = Value::Null;
            json["chat_template"] = Value::Null;
        };
        let ends = |ids: Value| {
            let set = move |json: &mut Value| json["eos_token_id"] = ids.clone();
            opened(&[("tokenizer_config.json", &alone), ("generation_config.json", &set)])
        };
        let check = |ids: Value, expected: &[u32]| assert_eq!(ends(ids).unwrap().eos_token_ids, expected);
        check(json!([95, 3]), &[95, 3]);
        check(json!([96, 95, 4000]), &[95]);
        let error = ends(json!([96, 97])).expect_err("refused").to_string();
        assert!(error.contains("`eos_token_id` is [96, 97], outside the vocabulary of 96"), "{error}");
    }

    #[test]
    fn what_contradicts_itself_is_told_with_its_place() {
        let check = |key: &str, value: Value, part: &str| {
            check_error(&[("config.json", &|json| json[key] = value.clone())], &["config.json: ", part]);
        };
        check("vocab_size", json!(97), "the config does not fit the tensors");
        check("hidden_size", json!(0), "`hidden_size` is 0");
    }
}
