//! xenoglot.json: a MindMerger model as a folder. It names the parts, which may lie anywhere, and says how texts become
//! what the two models read.
//!
//! Read strictly: a misspelt key would silently change what the model answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::QueryTemplate;
use crate::model::ModelError;
use crate::model::reader::Reader;
use crate::protocol::nearest::nearest;
use crate::weights::WeightsError;

pub const FILE_NAME: &str = "xenoglot.json";
/// The only `kind` there is.
const KIND: &str = "mindmerger";
/// Templates and tags; a real file has less than two thousand bytes.
const BYTES_MAX: u64 = 1 << 20;

const KEYS: [&str; 8] = [
    "kind",
    "encoder",
    "llm",
    "mapping",
    "augmentation",
    "prompt_template",
    "encoder_template",
    "language_tags",
];

/// The parts of a MindMerger model; all paths exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AugmentedFolder {
    /// A Hugging Face directory.
    pub encoder: PathBuf,
    /// A Hugging Face directory or a GGUF file.
    pub llm: PathBuf,
    /// A PyTorch or safetensors file.
    pub mapping: PathBuf,
    /// Whether the language model reads the prompt behind the mapped states (the second stage), or the states alone.
    pub augmentation: bool,
    /// What the language model reads, in place of a chat template.
    pub prompt_template: QueryTemplate,
    /// What the encoder reads.
    pub encoder_template: QueryTemplate,
    /// BCP 47 to the encoder's tag, before the defaults.
    pub language_tags: BTreeMap<String, String>,
}

impl AugmentedFolder {
    /// Whether a path is such a model: a folder with a xenoglot.json, or that file.
    pub fn is_one(path: &Path) -> bool {
        let file = file_of(path);
        file.file_name().is_some_and(|name| name == FILE_NAME) && file.is_file()
    }

    /// Writes the xenoglot.json of `folder`, whole or not at all, over one that was there. Parts that lie in the folder are
    /// named from there, others by their absolute paths.
    ///
    /// # Errors
    /// A part that does not exist, a folder that cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), ModelError> {
        let io = |path: &Path, action| {
            let path = path.to_owned();
            move |source| WeightsError::Io { path, action, source }
        };
        let root = folder.canonicalize().map_err(io(folder, "find it"))?;
        let named = |key: &'static str, part: &Path| {
            let real =
                part.canonicalize().map_err(|_| ModelError::MissingPath { key, path: part.to_owned() })?;
            let path = real.strip_prefix(&root).unwrap_or(&real);
            path.to_str().map(str::to_owned).ok_or_else(|| ModelError::InvalidKey {
                key: key.to_owned(),
                found: path.display().to_string(),
                expected: "a path in UTF-8".to_owned(),
            })
        };
        let value = json!({
            "kind": KIND,
            "encoder": named("encoder", &self.encoder)?,
            "llm": named("llm", &self.llm)?,
            "mapping": named("mapping", &self.mapping)?,
            "augmentation": self.augmentation,
            "prompt_template": self.prompt_template.as_str(),
            "encoder_template": self.encoder_template.as_str(),
            "language_tags": self.language_tags,
        });
        let (file, partial) =
            (folder.join(FILE_NAME), folder.join(format!(".{FILE_NAME}.{}", std::process::id())));
        std::fs::write(&partial, format!("{value:#}\n")).map_err(io(&partial, "write it"))?;
        std::fs::rename(&partial, &file).map_err(io(&file, "give it its name"))?;
        Ok(())
    }

    /// Reads the xenoglot.json of a folder, or the file itself.
    ///
    /// # Errors
    /// A file that is not there or not JSON; a key that is missing, unknown or wrong; a part that does not exist.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let file = file_of(path);
        let value = read_json(&file)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        Self::parse(&value, folder).map_err(|problem| ModelError::At {
            place: file.display().to_string(),
            problem: Box::new(problem),
        })
    }

    fn parse(value: &Value, folder: &Path) -> Result<Self, ModelError> {
        let reader = Reader::new(value)?;
        check_keys(&reader)?;
        let kind = required(&reader, "kind", KIND)?;
        if kind != KIND {
            return Err(ModelError::unsupported("kind", &kind.into(), format!("the only kind is {KIND}")));
        }
        let augmentation = reader.flag("augmentation", true)?;
        let template = |key| reader.text(key)?.map(|text| QueryTemplate::parse(key, text)).transpose();
        let prompt_template = match template("prompt_template")? {
            Some(template) => template,
            // Without augmentation the language model reads no prompt.
            None if !augmentation => QueryTemplate::query_alone(),
            None => {
                let hint =
                    "give the prompt that the mapping was trained with, {query} where the user's text goes";
                return Err(ModelError::MissingKey {
                    key: "prompt_template".to_owned(),
                    hint: hint.to_owned(),
                });
            }
        };
        Ok(Self {
            encoder: part(&reader, folder, "encoder", "the folder of the encoder")?,
            llm: part(&reader, folder, "llm", "the folder or GGUF file of the language model")?,
            mapping: part(&reader, folder, "mapping", "the file of the mapping's weights")?,
            augmentation,
            prompt_template,
            encoder_template: template("encoder_template")?.unwrap_or_else(QueryTemplate::query_alone),
            language_tags: language_tags(&reader)?,
        })
    }
}

fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() }
}

fn read_json(path: &Path) -> Result<Value, ModelError> {
    let io = |action| move |source| WeightsError::Io { path: path.to_owned(), action, source };
    let problem = |problem| WeightsError::Json { path: path.to_owned(), problem };
    let length = std::fs::metadata(path).map_err(io("open it"))?.len();
    if length > BYTES_MAX {
        return Err(problem(format!("has {length} bytes, at most {BYTES_MAX} are read")).into());
    }
    let bytes = std::fs::read(path).map_err(io("read it"))?;
    Ok(serde_json::from_slice(&bytes).map_err(|error| problem(format!("is not valid: {error}")))?)
}

fn check_keys(reader: &Reader) -> Result<(), ModelError> {
    let Some(key) = reader.keys().find(|key| !KEYS.contains(&key.as_str())) else { return Ok(()) };
    let hint = match nearest(key, KEYS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("its keys are {}", KEYS.join(", ")),
    };
    Err(ModelError::UnknownKey { key: key.clone(), hint })
}

fn required<'a>(reader: &Reader<'a>, key: &str, what: &str) -> Result<&'a str, ModelError> {
    let missing = || ModelError::MissingKey { key: key.to_owned(), hint: format!("it is {what}") };
    reader.text(key)?.ok_or_else(missing)
}

fn part(reader: &Reader, folder: &Path, key: &'static str, what: &str) -> Result<PathBuf, ModelError> {
    let path = folder.join(required(reader, key, what)?);
    if path.exists() { Ok(path) } else { Err(ModelError::MissingPath { key, path }) }
}

fn language_tags(reader: &Reader) -> Result<BTreeMap<String, String>, ModelError> {
    let Some(value) = reader.get("language_tags") else { return Ok(BTreeMap::new()) };
    let expected = "an object of BCP 47 languages and the encoder's tags, as in {\"ja\": \"jpn_Jpan\"}";
    let object = value.as_object().ok_or_else(|| ModelError::invalid("language_tags", value, expected))?;
    let tag = |(language, tag): (&String, &Value)| match tag.as_str() {
        Some(text) => Ok((language.clone(), text.to_owned())),
        None => Err(ModelError::invalid(&format!("language_tags.{language}"), tag, "a string")),
    };
    object.iter().map(tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Value {
        json!({
            "kind": "mindmerger", "encoder": "enc", "llm": "llm", "mapping": "mapping.safetensors",
            "augmentation": true, "prompt_template": "Q: {query}", "encoder_template": "{query}",
            "language_tags": {"ja": "jpn_Jpan"},
        })
    }

    fn folder_of(value: &Value) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for part in ["enc", "llm", "mapping.safetensors"] {
            std::fs::write(folder.path().join(part), "").unwrap();
        }
        std::fs::write(folder.path().join(FILE_NAME), value.to_string()).unwrap();
        folder
    }

    #[test]
    fn a_folder_is_read_with_paths_relative_to_it() {
        let folder = folder_of(&complete());
        let read = AugmentedFolder::open(folder.path()).unwrap();
        assert_eq!(read, AugmentedFolder::open(&folder.path().join(FILE_NAME)).unwrap());
        assert_eq!(read.encoder, folder.path().join("enc"));
        assert_eq!(read.prompt_template.render("x"), "Q: x");
        assert_eq!(read.language_tags["ja"], "jpn_Jpan");
        assert!(read.augmentation && AugmentedFolder::is_one(folder.path()));
        assert!(!AugmentedFolder::is_one(&folder.path().join("elsewhere")));
        assert!(
            !AugmentedFolder::is_one(&folder.path().join("mapping.safetensors")),
            "a file of another name"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let (folder, elsewhere) = (folder_of(&complete()), tempfile::tempdir().unwrap());
        std::fs::write(elsewhere.path().join("llm.gguf"), "").unwrap();
        let mut parts = AugmentedFolder::open(folder.path()).unwrap();
        parts.llm = elsewhere.path().join("llm.gguf").canonicalize().unwrap();
        parts.prompt_template = QueryTemplate::parse("prompt_template", "{a} \"{query}\"\n").unwrap();
        parts.augmentation = false;
        parts.save(folder.path()).unwrap();
        assert_eq!(AugmentedFolder::open(folder.path()).unwrap(), parts);
        let written = std::fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
        assert!(written.contains("\"encoder\": \"enc\"") && written.contains("/llm.gguf\""), "{written}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4, "nothing else is left");
        parts.mapping = "nowhere".into();
        assert!(parts.save(folder.path()).unwrap_err().to_string().contains("`mapping` is nowhere"));
        assert!(parts.save(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn defaults_are_those_of_the_second_stage() {
        let mut value = complete();
        let object = value.as_object_mut().unwrap();
        object
            .retain(|key, _| !["augmentation", "encoder_template", "language_tags"].contains(&key.as_str()));
        let read = AugmentedFolder::open(folder_of(&value).path()).unwrap();
        assert!(read.augmentation && read.language_tags.is_empty());
        assert_eq!(read.encoder_template, QueryTemplate::query_alone());
        value["augmentation"] = json!(false);
        value["prompt_template"] = Value::Null;
        assert!(!AugmentedFolder::open(folder_of(&value).path()).unwrap().augmentation);
    }

    #[test]
    fn errors_name_the_file_and_the_key() {
        let check = |key: &str, value: Value, part: &str| {
            let mut file = complete();
            file[key] = value;
            let message = AugmentedFolder::open(folder_of(&file).path()).unwrap_err().to_string();
            assert!(message.contains(FILE_NAME) && message.contains(part), "{message}");
        };
        check("kind", json!("merge"), "`kind` = \"merge\" is not supported; the only kind is mindmerger");
        check("encoder", Value::Null, "`encoder` is missing");
        check("mapping", json!("mapping.pt"), "`mapping` is ");
        check("mapping", json!("../nowhere/mapping.pt"), "which does not exist");
        check("llm", json!(3), "`llm` is 3, but must be a string");
        check("augmentation", json!("yes"), "`augmentation` is \"yes\", but must be true or false");
        check("prompt_template", json!("Q:"), "`prompt_template` is \"Q:\"");
        check("prompt_template", Value::Null, "`prompt_template` is missing");
        check("language_tags", json!(["ja"]), "`language_tags` is");
        check("language_tags", json!({"ja": 1}), "`language_tags.ja` is 1");
        check("promt_template", json!(""), "did you mean `prompt_template`?");
        check("colours", json!(""), "its keys are kind, encoder");
        let missing = AugmentedFolder::open(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(missing.contains("/nowhere: cannot open it"), "{missing}");
    }
}
